"""The home: filling, judging, recovering."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from coursebox_container import home
from coursebox_container.mounts import Facts, Mount


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
    assert home.explain(error, facts()).startswith("/home/student cannot be used (File exists): check")


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(home.os, "write", write)
    error = home.fault(str(tmp_path))
    assert error is not None and error.errno == errno.ENOSPC
    assert content(tmp_path) == {}


def facts(path: Path | str = "/home/student", **more: object) -> Facts:
    mount = Mount("/home/student", "ext4", False, False, False)
    return Facts(str(path), mount, (1234, 567), 0o755, (1000, 100), "/home/student")._replace(**more)


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (errno.ENOSPC, "is full: delete"),
        (errno.EDQUOT, "is full: delete"),
        (errno.EIO, "cannot be used (Input/output error): check the volume"),
        (errno.ESTALE, "check the volume or folder"),
    ],
)
def test_explain(code: int, part: str) -> None:
    assert part in home.explain(OSError(code, os.strerror(code)), facts())


def test_explain_names_the_owner_and_the_remedy_for_the_mount() -> None:
    denied = PermissionError(errno.EACCES, "Permission denied")
    assert home.explain(denied, facts()) == (
        "user 1000 may not write in /home/student, which belongs to user 1234: start with --user 1234:567."
    )
    read_only = facts(mount=Mount("/home/student", "ext4", True, False, False))
    assert home.explain(OSError(errno.EROFS, "Read-only file system"), read_only) == (
        "/home/student is mounted read-only: leave out the :ro behind the mount to keep your work there."
    )


def test_recover(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for _ in range(2):
        place = Path(home.recover(str(tmp_path / "runtime"), str(broken)))
        assert place == tmp_path / "runtime" / "home"
        assert (place / home.LINK).readlink() == broken


def test_unwritable_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("my work", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    found = [Mount(f"{tmp_path}/{name}", "ext4", name == "data", False, False) for name in ("my work", "data", "file")]
    monkeypatch.setattr(home.mounts, "below", lambda _: found)
    assert home.unwritable_mounts(str(tmp_path)) == []
    monkeypatch.setattr(home.os, "access", lambda *_, **__: False)
    assert home.unwritable_mounts(str(tmp_path)) == [f"{tmp_path}/my work"]


@pytest.mark.parametrize(
    ("noexec", "given", "cache", "said"),
    [
        ((), {}, None, False),
        (("/tmp",), {}, "/srv/me/.cache/torchinductor", False),
        (("/tmp",), {"TORCHINDUCTOR_CACHE_DIR": "/mine"}, "/mine", False),
        (("/tmp", "/srv/me"), {}, None, True),
        (("/dev/shm/x", "/srv/me"), {"TMPDIR": "/dev/shm/x"}, None, True),
        (("/srv/me",), {}, None, False),
    ],
)
def test_programs_are_kept_where_they_may_run(
    noexec: tuple[str, ...], given: dict[str, str], cache: str | None, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Status:
        def __init__(self, place: str) -> None:
            self.f_flag = os.ST_NOEXEC if place in noexec else 0

    monkeypatch.setattr(home.os, "statvfs", Status)
    environment = dict(given)
    assert bool(home.settle_caches(environment, "/srv/me")) is said
    assert environment.get("TORCHINDUCTOR_CACHE_DIR") == cache
