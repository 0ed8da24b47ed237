"""Archives of others: what is honest is opened, what is not costs a sentence, and nothing is written elsewhere."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from course_grade import archives
from course_grade.archives import ArchiveError, Limits, unpack

SMALL = Limits(size=3_000_000, number=20, depth=4)


def zipped(file: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members:
            out.writestr(name, content, zipfile.ZIP_DEFLATED)
    return file


def tarred(file: Path, mode: str, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(file, mode) as out:  # type: ignore[call-overload]
        for info, content in members:
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return file


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def regular(name: str, content: bytes = b"x = 1\n") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.mark.parametrize(
    ("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")]
)
def test_tars_of_all_kinds(tmp_path: Path, suffix: str, mode: str) -> None:
    archive = tarred(tmp_path / f"a.{suffix}", mode, special("work", tarfile.DIRTYPE), regular("work/exercise.py"))
    assert unpack(archive, tmp_path / "out", SMALL).notes == []
    assert (tmp_path / "out" / "work" / "exercise.py").read_bytes() == b"x = 1\n"


def test_a_zip_keeps_times_and_loses_rights(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("exercise.py", (2026, 11, 3, 14, 0, 0))
    info.external_attr = (stat.S_IFREG | 0o4777) << 16
    assert unpack(zipped(tmp_path / "a.zip", (info, b"x = 1\n")), tmp_path / "out", SMALL).notes == []
    status = (tmp_path / "out" / "exercise.py").stat()
    assert status.st_mode & 0o7000 == 0 and time.localtime(status.st_mtime)[:4] == (2026, 11, 3, 14)


def test_what_no_honest_work_needs_is_left_out_and_told(tmp_path: Path) -> None:
    archive = tarred(
        tmp_path / "a.tar", "w", regular("good.py"), regular("../above.py"), regular("/tmp/absolute.py"),
        special("link", tarfile.SYMTYPE, "/etc/passwd"), special("hard", tarfile.LNKTYPE, "good.py"),
        special("pipe", tarfile.FIFOTYPE), special("device", tarfile.CHRTYPE), regular("link/through.py"),
        regular("GOOD.py"), regular("a/b/c/d/e/deep.py"), regular("good.py/below.py"),
    )  # fmt: skip
    notes = " ".join(unpack(archive, tmp_path / "out", SMALL).notes)
    assert files(tmp_path / "out") == {"good.py", "link/through.py"}
    assert files(tmp_path) == {"a.tar", "out/good.py", "out/link/through.py"}
    for name in ("../above.py", "/tmp/absolute.py", "link, hard", "pipe, device", "GOOD.py", "good.py/below.py"):
        assert name in notes


def test_links_in_a_zip(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    opened = unpack(zipped(tmp_path / "a.zip", (info, b"/etc"), ("link/x.py", b"")), tmp_path / "out", SMALL)
    assert files(tmp_path / "out") == {"link/x.py"} and opened.notes == ["left out: a link: link"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("labs\\02_neighbours\\exercise.py", ("labs", "02_neighbours", "exercise.py")),
        ("./a//b.py", ("a", "b.py")),
        ("Zoe\u0308.py", ("Zoë.py",)),
        ("a\x1b[2J.py", ("a\ufffd[2J.py",)),
        ("..", None),
        ("a/../../b", None),
        ("C:\\b.py", None),
        ("\\\\server\\b.py", None),
        ("", None),
        ("x" * 300, None),
    ],
)
def test_names(name: str, place: tuple[str, ...] | None) -> None:
    assert archives.place_of(name, SMALL) == place


def test_names_without_a_word_on_their_encoding(tmp_path: Path) -> None:
    content = zipped(tmp_path / "a.zip", ("prxx.py", b"")).read_bytes().replace(b"prxx", "prü".encode())
    (tmp_path / "a.zip").write_bytes(content)
    unpack(tmp_path / "a.zip", tmp_path / "out", SMALL)
    assert files(tmp_path / "out") == {"prü.py"}


def bomb_of_tar(file: Path) -> Path:
    """A header that announces names as long as the memory, and then gives them, well compressed."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2_000_000_000
    with gzip.open(file, "wb", 1) as out:
        out.write(info.tobuf())
        for _ in range(2000):
            out.write(bytes(1_000_000))
    return file


def encrypted(file: Path) -> Path:
    content = bytearray(zipped(file, ("exercise.py", b"x = 1\n")).read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    return file


def lying(file: Path) -> Path:
    """A zip that says that its member is small."""
    content = zipped(file, ("a", bytes(50_000_000))).read_bytes()
    file.write_bytes(content.replace(struct.pack("<I", 50_000_000), struct.pack("<I", 1000)))
    return file


def long_directory(file: Path) -> Path:
    content = zipped(file, ("a", b"")).read_bytes()
    place = content.index(b"PK\x05\x06") + 12
    file.write_bytes(content[:place] + struct.pack("<I", 900_000_000) + content[place + 4 :])
    return file


def written(content: bytes) -> Callable[[Path], Path]:
    def write(file: Path) -> Path:
        file.write_bytes(content)
        return file

    return write


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.zip", encrypted, "it is encrypted"),
        ("a.zip", lambda file: zipped(file, ("a", bytes(50_000_000))), "unpacked it is larger than 3 MB"),
        ("a.zip", lying, "it is damaged"),
        ("a.zip", lambda file: zipped(file, ("a", bytes(2_900_000))), "unpacked it is more than 200 times as large"),
        ("a.zip", lambda file: zipped(file, *((f"{n}", b"") for n in range(30))), "it holds more than 20 files"),
        ("a.zip", long_directory, "it holds too many files"),
        ("a.zip", written(b""), "it is empty"),
        ("a.zip", written(b"PK\x03\x04" + bytes(100)), "it is damaged"),
        ("a.zip", written(b"Rar!\x1a\x07\x01\x00"), "it is a RAR archive; hand in a zip or tar archive"),
        ("a.7z", written(b"7z\xbc\xaf\x27\x1c\x00\x04"), "it is a 7z archive"),
        ("a.tar.gz", written(b"\x1f\x8b\x08\x00" + bytes(50)), "it is damaged"),
        ("a.tar.gz", written(gzip.compress(b"no tar")), "it is damaged, or no tar archive"),
        ("a.tar.gz", bomb_of_tar, "it needs too much memory"),
        ("a.zip", written(b"hello"), "it is neither a zip nor a tar archive"),
    ],
)
def test_what_cannot_be_opened_says_why(tmp_path: Path, name: str, make: Callable[[Path], Path], said: str) -> None:
    begin = time.monotonic()
    with pytest.raises(ArchiveError) as caught:
        unpack(make(tmp_path / name), tmp_path / "out", SMALL)
    assert str(caught.value).startswith(said) and time.monotonic() - begin < 60
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) <= SMALL.size


def test_the_one_who_asks_needs_no_memory_for_it(tmp_path: Path) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArchiveError):
        unpack(bomb_of_tar(tmp_path / "a.tar.gz"), tmp_path / "out", SMALL)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_of_two_with_one_name_the_last_counts(tmp_path: Path) -> None:
    archive = tarred(tmp_path / "a.tar", "w", regular("a.py", b"old"), regular("./a.py", b"new"))
    assert unpack(archive, tmp_path / "out", SMALL).notes == []
    assert (tmp_path / "out" / "a.py").read_bytes() == b"new" and os.listdir(tmp_path / "out") == ["a.py"]
