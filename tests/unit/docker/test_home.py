"""The home: filling, judging, recovering."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from coursebox_container import home


@pytest.fixture
def pristine(tmp_path: Path) -> Path:
    folder = tmp_path / "pristine"
    (folder / "deep").mkdir(parents=True)
    (folder / "welcome.md").write_text("welcome")
    (folder / "deep" / "a lab.ipynb").write_text("{}")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o555 if path.suffix == ".sh" else 0o444)
    return folder


def fill(place: Path, pristine: Path) -> list[str]:
    return home.fill(str(place), ((str(pristine), "labs"),))


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


LABS = {"labs/welcome.md": "welcome", "labs/deep/a lab.ipynb": "{}", "labs/run.sh": "#!/bin/sh\n"}


def test_fill_an_empty_home(tmp_path: Path, pristine: Path) -> None:
    place = tmp_path / "home"
    place.mkdir()
    assert fill(place, pristine) == []  # nothing to tell: it is the first time
    assert content(place) == LABS | {home.RECORD: "labs/deep/a lab.ipynb\nlabs/run.sh\nlabs/welcome.md\n"}
    assert (place / "labs" / "run.sh").stat().st_mode & 0o700 == 0o700
    assert (place / "labs" / "welcome.md").stat().st_mode & 0o700 == 0o600


def test_fill_again_changes_nothing(tmp_path: Path, pristine: Path) -> None:
    place = tmp_path / "home"
    place.mkdir()
    fill(place, pristine)
    (place / "labs" / "welcome.md").write_text("mine")
    (place / "labs" / "run.sh").unlink()
    before = content(place)
    record = (place / home.RECORD).stat().st_ino
    assert fill(place, pristine) == []
    assert content(place) == before and (place / home.RECORD).stat().st_ino == record


def test_a_later_edition_adds_only_what_is_new(tmp_path: Path, pristine: Path) -> None:
    place = tmp_path / "home"
    place.mkdir()
    fill(place, pristine)
    (place / "labs" / "run.sh").unlink()
    (place / "labs" / "third.py").write_text("mine")
    for name in ("second.py", "third.py"):
        (pristine / name).write_text("new")
    assert fill(place, pristine) == ["labs/second.py"]
    assert (place / "labs" / "third.py").read_text() == "mine"
    assert not (place / "labs" / "run.sh").exists()
    assert fill(place, pristine) == []


def test_a_dangling_link_stays(tmp_path: Path, pristine: Path) -> None:
    place = tmp_path / "home"
    (place / "labs").mkdir(parents=True)
    (place / "labs" / "welcome.md").symlink_to(tmp_path / "elsewhere")
    fill(place, pristine)
    assert (place / "labs" / "welcome.md").is_symlink() and not (tmp_path / "elsewhere").exists()


def test_missing_sources_are_no_error(tmp_path: Path) -> None:
    assert home.fill(str(tmp_path), ((str(tmp_path / "missing"), "labs"),)) == []


def test_nothing_half_written_stays(tmp_path: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "home"
    place.mkdir()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(home.os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        fill(place, pristine)
    assert content(place) == {}


def test_a_good_home_has_no_fault_and_no_traces(tmp_path: Path) -> None:
    assert home.fault(str(tmp_path)) is None
    assert home.fault(str(tmp_path / "made")) is None
    assert content(tmp_path) == {}


def test_a_file_in_place_of_the_home(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = home.fault(str(tmp_path / "file"))
    assert error is not None
    assert home.explain("/home/student", error, 1000).startswith("/home/student cannot be used (File exists): check")


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(home.os, "write", write)
    error = home.fault(str(tmp_path))
    assert error is not None and error.errno == errno.ENOSPC
    assert content(tmp_path) == {}


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (errno.ENOSPC, "is full: delete"),
        (errno.EDQUOT, "is full: delete"),
        (errno.EROFS, "is mounted read-only: leave out the :ro"),
        (errno.EIO, "cannot be used (Input/output error): check the volume"),
        (errno.ESTALE, "check the volume or folder"),
    ],
)
def test_explain(code: int, part: str) -> None:
    assert part in home.explain("/home/student", OSError(code, os.strerror(code)), 1000)


def test_explain_names_the_owner_and_the_remedy(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 567)
    text = home.explain(str(tmp_path), PermissionError(errno.EACCES, "Permission denied"), 1000)
    assert text == f"user 1000 may not write in {tmp_path}, which belongs to user 1234: start with --user 1234:567."
    os.chown(tmp_path, 0, 0)
    assert "sudo chown" in home.explain(str(tmp_path), PermissionError(errno.EACCES, "Permission denied"), 1000)


def test_recover(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for _ in range(2):
        place = Path(home.recover(str(tmp_path / "runtime"), str(broken)))
        assert place == tmp_path / "runtime" / "home"
        assert (place / home.LINK).readlink() == broken


MOUNTINFO = """36 35 98:0 / {home} rw,noatime shared:1 - ext4 /dev/sda rw
37 36 98:0 / {home}/my\\040work rw - ext4 /dev/sda rw
38 36 98:0 / {home}/data ro,nosuid - ext4 /dev/sda rw
39 36 98:0 / {home}/missing rw - ext4 /dev/sda rw
40 36 98:0 / {home}er/other rw - ext4 /dev/sda rw
"""


def test_unwritable_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "student"
    for name in ("my work", "data"):
        (place / name).mkdir(parents=True)
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTINFO.format(home=place))
    assert home.unwritable_mounts(str(place), str(table)) == []
    monkeypatch.setattr(home.os, "access", lambda *_, **__: False)
    owner = os.stat(place)
    assert home.unwritable_mounts(str(place), str(table)) == [(f"{place}/my work", owner.st_uid, owner.st_gid)]
