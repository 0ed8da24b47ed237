"""Unpacking what nobody vouches for."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.fetch import unpack
from coursebox.fetch.unpack import gunzip, plain


def tar_gz(members: dict[str, bytes | None]) -> bytes:
    """A tar archive; None makes a symbolic link to /etc/passwd."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


def test_nothing_leaves_the_folder_when_unpacking(tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar.gz"
    absolute = str(tmp_path / "absolute")
    members = {"../evil": b"x", absolute: b"x", "a/../../evil": b"x", "link": None, "a/good": b"good"}
    bad.write_bytes(tar_gz(members))
    unpack.untar(bad, tmp_path / "out")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*")) if not path.is_dir()] == [
        "bad.tar.gz",
        "out/a/good",
    ]


def test_unpacking_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(tar_gz({"zeros": bytes(1 << 20)}))
    monkeypatch.setattr(unpack, "UNPACKED_LIMIT", 1 << 19)
    with pytest.raises(CourseboxError, match="unpacks to more than"):
        unpack.untar(bomb, tmp_path / "out")


def test_gunzip_stops_at_the_limit() -> None:
    packed = gzip.compress(bytes(1000))
    assert b"".join(gunzip([packed[:10], packed[10:]], 1000)) == bytes(1000)
    with pytest.raises(unpack.zlib.error, match="more than 999 bytes"):
        list(gunzip([packed], 999))
    with pytest.raises(unpack.zlib.error, match="is cut"):
        list(gunzip([packed[:-1]], 1000))


@pytest.mark.parametrize("size", [1, 2, 7, 5000])
@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"as it is" * 100, gzip.compress(b"as it is" * 100)],
    ids=["empty", "one", "plain", "gzip"],
)
def test_only_what_is_compressed_is_unpacked(content: bytes, size: int) -> None:
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    found = b"".join(plain(blocks, 10_000))
    assert found == (b"as it is" * 100 if content.startswith(unpack.GZIP) else content)
