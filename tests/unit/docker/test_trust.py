"""What root believes: planted links, also in the middle of a path, hooks of others, and files that are given away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from coursebox_container import hooks, privileges, trust
from coursebox_container.accounts import Account
from coursebox_container.trust import Untrusted

STUDENT = Account("student", 1000, 100, "users", "/home/student")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in which everything above is root's alone, unlike /tmp."""
    folder = Path(f"/run/coursebox-test-{os.getpid()}")
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


def users(path: Path) -> Path:
    """Give a file, folder or link to the student."""
    os.chown(path, 1000, 100, follow_symlinks=False)
    return path


def folder_of_user(path: Path) -> Path:
    path.mkdir()
    return users(path)


def opened(path: Path, *, strict: bool = False) -> str:
    descriptor = trust.open_path(str(path), strict=strict)
    try:
        return trust.path_of(descriptor)
    finally:
        os.close(descriptor)


def test_folders_and_roots_own_links_lead_on(place: Path) -> None:
    (place / "real" / "deep").mkdir(parents=True)
    (place / "absolute").symlink_to(place / "real")
    (place / "relative").symlink_to("./absolute/../real")
    for name in ("real", "absolute", "relative"):
        assert opened(place / name / "deep") == f"{place}/real/deep"
    assert opened(Path("/")) == "/"


@pytest.mark.parametrize("inner", ["", "/ssl"])
def test_a_planted_link_leads_nowhere(place: Path, inner: str) -> None:
    """The user's link, in the user's folder or in root's; and in the middle of a path."""
    home = folder_of_user(place / "home")
    (home / "x").symlink_to("/etc")
    with pytest.raises(Untrusted, match="home/x is a link that others than root can change"):
        opened(Path(f"{home}/x{inner}"))  # root's link, but in the user's folder
    (place / "y").symlink_to("/etc")
    users(place / "y")
    with pytest.raises(Untrusted, match="/y is a link"):
        opened(Path(f"{place}/y{inner}"))
    (place / "z").symlink_to(f"{home}/x")
    with pytest.raises(Untrusted, match="home/x is a link"):
        opened(Path(f"{place}/z{inner}"))


def test_a_circle_of_links_ends(place: Path) -> None:
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        opened(place / "a")


def test_no_descriptor_stays_open(place: Path) -> None:
    before = os.listdir("/proc/self/fd")
    (place / "real").mkdir()
    (place / "link").symlink_to("real")
    opened(place / "link")
    for path in ("missing", "link/missing"):
        with pytest.raises(FileNotFoundError):
            opened(place / path)
    assert os.listdir("/proc/self/fd") == before


def hook(folder: Path, mode: int = 0o644) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "10.sh"
    path.write_text("export PLANTED=1\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("kind", ["file", "mode", "group", "folder", "above", "link"])
def test_root_runs_no_hook_that_others_can_write(place: Path, capfd: pytest.CaptureFixture[str], kind: str) -> None:
    path = hook(place / "hooks")
    match kind:
        case "file":
            users(path)
        case "mode":
            path.chmod(0o646)
        case "group":
            path.chmod(0o664)
        case "folder":
            users(path.parent)
        case "above":
            users(place)
        case "link":
            theirs = hook(folder_of_user(place / "theirs"))
            path.unlink()
            path.symlink_to(theirs)
    hooks.run_hooks(str(path.parent))
    said = capfd.readouterr().err
    assert "PLANTED" not in os.environ
    assert said.count("\n") == 1 and f"the hook {path} is left out" in said
    assert said.endswith(": own it by root, or mount it :ro\n")


def test_a_hook_on_a_mount_that_nobody_here_can_write_is_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a folder of the host's user with :ro."""
    path = users(hook(folder_of_user(place / "hooks")))
    assert hooks.doubt(str(path))
    found = os.statvfs("/")

    class ReadOnly:
        f_flag = found.f_flag | os.ST_RDONLY

    monkeypatch.setattr(trust.os, "fstatvfs", lambda _: ReadOnly)
    assert hooks.doubt(str(path)) == ""


def test_a_config_map_of_kubernetes_is_believed(place: Path) -> None:
    """Its files are root's links by way of a folder ..data, which is a link, too."""
    hook(place / "hooks").rename(place / "10.sh")
    (place / "hooks" / "..2026").mkdir()
    (place / "10.sh").rename(place / "hooks" / "..2026" / "10.sh")
    (place / "hooks" / "..data").symlink_to("..2026")
    (place / "hooks" / "10.sh").symlink_to("..data/10.sh")
    assert hooks.doubt(f"{place}/hooks/10.sh") == ""


def give(environment: dict[str, str], account: Account = STUDENT) -> None:
    privileges.give_files(account, environment)


def owner(path: Path) -> int:
    return path.lstat().st_uid


def test_chown_extra_follows_no_planted_link(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    victim = place / "victim"
    (victim / "deep").mkdir(parents=True)
    home = folder_of_user(place / "home")
    (home / "link").symlink_to(victim)
    users(home / "link")
    for path in (home / "link", home / "link" / "deep"):
        give({"CHOWN_EXTRA": str(path), "CHOWN_EXTRA_OPTS": "-R"})
        assert owner(victim) == owner(victim / "deep") == 0
        assert "home/link is a link that others than root can change" in capfd.readouterr().err


@pytest.mark.parametrize("options", ["-R", "-RL", "-R -L", "-R -H --dereference", "--recursive -L"])
def test_links_inside_are_never_followed(place: Path, options: str) -> None:
    victim = place / "victim"
    victim.mkdir()
    (victim / "file").touch()
    extra = place / "extra"
    (extra / "sub").mkdir(parents=True)
    (extra / "folder").symlink_to(victim)
    (extra / "file").symlink_to(victim / "file")
    give({"CHOWN_EXTRA": str(extra), "CHOWN_EXTRA_OPTS": options})
    assert {owner(extra), owner(extra / "sub"), owner(extra / "file")} == {1000}
    assert owner(victim) == owner(victim / "file") == 0


def test_a_single_file_and_a_link_of_roots_own(place: Path) -> None:
    (place / "real").mkdir()
    (place / "file").touch()
    (place / "alias").symlink_to("real")
    give({"CHOWN_EXTRA": f"{place}/file, {place}/alias"})
    assert owner(place / "file") == owner(place / "real") == 1000
    assert owner(place / "alias") == 0


def test_what_is_missing_is_said(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    give({"CHOWN_EXTRA": f"{place}/missing"})
    assert f"not all of {place}/missing could be given to student" in capfd.readouterr().err


def test_a_second_name_of_a_file_of_roots_is_not_given(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the container's own layer a user may have made it for /etc/shadow."""
    (place / "shadow").touch()
    home = folder_of_user(place / "home")
    os.link(place / "shadow", home / "mine")
    layer = os.stat
    monkeypatch.setattr(privileges.os, "stat", lambda path, **more: layer(place if path == "/" else path, **more))
    give({"CHOWN_EXTRA": str(home), "CHOWN_EXTRA_OPTS": "-R"})
    assert owner(place / "shadow") == 0
    assert "home/mine is a second name of a file of root's" in capfd.readouterr().err


def settled(home: Path | str) -> str:
    return privileges.settle_home(STUDENT._replace(home=str(home)), "/home/student")


def test_a_home_that_is_a_planted_link_is_not_given(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """HOME=/data/x, where x leads to an empty folder of root's; and HOME=/data/x/new."""
    victim = place / "victim"
    victim.mkdir()
    data = folder_of_user(place / "data")
    (data / "x").symlink_to(victim)
    users(data / "x")
    assert settled(data / "x") == f"{data}/x"
    assert owner(victim) == 0 and "is not given to student" in capfd.readouterr().err
    assert settled(data / "x" / "new") == "/home/student"
    assert list(victim.iterdir()) == [] and "is not made" in capfd.readouterr().err


def test_an_empty_folder_of_roots_is_given_and_a_full_one_is_not(place: Path) -> None:
    (place / "empty").mkdir()
    (place / "full" / "theirs").mkdir(parents=True)
    for name in ("empty", "full"):
        assert settled(place / name) == f"{place}/{name}"
    assert (owner(place / "empty"), owner(place / "full")) == (1000, 0)


def test_a_missing_home_becomes_a_link_to_the_images(place: Path) -> None:
    assert settled(place / "alice") == f"{place}/alice"
    assert os.readlink(place / "alice") == "/home/student" and owner(place / "alice") == 0
