"""Mounts: their facts, and for each kind of trouble the one remedy that works there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from coursebox_container import mounts, notebook, privileges
from coursebox_container.accounts import Account
from coursebox_container.image import Image
from coursebox_container.mounts import Facts, Mount

HOME = "/home/student"
TABLE = f"""21 1 0:30 / / ro,relatime - overlay overlay rw,lowerdir=/l
22 21 0:31 / /proc rw - proc proc rw
36 21 98:0 / /home/student rw,noatime shared:1 master:2 - ext4 /dev/sda rw,seclabel
37 36 98:0 /x /home/student/my\\040work rw - ext4 /dev/sda rw
38 36 98:1 / /home/student/data ro,nosuid - fuse.sshfs host:/ rw
39 36 98:2 / {HOME}er/other rw - ext4 /dev/sda ro
40 36 0:40 / /home/student/data/deep rw - tmpfs tmpfs rw
41 36 98:3 / /home/student/data ro - nfs4 server:/ rw,vers=4.2
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    return str(path)


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/etc/x", Mount("/", "overlay", True, False, False)),
        (HOME, Mount(HOME, "ext4", False, False, True)),
        (f"{HOME}/labs", Mount(HOME, "ext4", False, False, True)),
        (f"{HOME}/my work/a", Mount(f"{HOME}/my work", "ext4", False, False, False)),
        (f"{HOME}/data", Mount(f"{HOME}/data", "nfs4", True, False, False)),
        (f"{HOME}/data/deep", Mount(f"{HOME}/data/deep", "tmpfs", False, False, False)),
        (f"{HOME}er", Mount("/", "overlay", True, False, False)),
        (f"{HOME}er/other", Mount(f"{HOME}er/other", "ext4", False, True, False)),
    ],
)
def test_the_deepest_mount(table: str, path: str, mount: Mount) -> None:
    assert mounts.mount_of(path, table) == mount


def test_mounts_below_the_home(table: str) -> None:
    assert [mount.point for mount in mounts.below(HOME, table)] == [
        f"{HOME}/data", f"{HOME}/data/deep", f"{HOME}/my work",
    ]  # fmt: skip


def test_a_mount_without_a_source_and_a_kernel_that_says_nothing(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("21 1 0:30 / / rw - tmpfs  ro\n")
    assert mounts.mount_of("/x", str(table)) == Mount("/", "tmpfs", False, True, False)
    missing = str(tmp_path / "missing")
    assert mounts.mount_of("/x", missing).point == "" and not mounts.vanishes("/x", missing)


@pytest.mark.parametrize(("path", "gone"), [("/srv", True), (HOME, False), (f"{HOME}/data/deep", True)])
def test_what_vanishes_with_the_container(table: str, path: str, gone: bool) -> None:
    assert mounts.vanishes(path, table) is gone


PLAIN = Mount(HOME, "ext4", False, False, False)
FACTS = Facts(HOME, PLAIN, (0, 0), 0o755, (1000, 100), HOME)
WORK = FACTS._replace(path=f"{HOME}/work", mount=PLAIN._replace(point=f"{HOME}/work"))


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        (FACTS._replace(mount=PLAIN._replace(read_only=True)), "leave out the :ro behind the mount"),
        (FACTS._replace(mount=PLAIN._replace(point="/", read_only=True)), "--read-only, so add -v course:/home/stu"),
        (FACTS._replace(mount=PLAIN._replace(read_only=True, disk_read_only=True)), "mount it there for writing"),
        (FACTS._replace(owner=(65534, 65534), namespace=True), "--user root -e NB_UID=0 -e NB_GID=0 (Podman: --userns"),
        (FACTS._replace(owner=(65534, 65534)), "start with --user 65534:65534"),
        *((WORK._replace(mount=PLAIN._replace(kind=kind)), "with the options uid=1000,gid=100")
          for kind in mounts.OWNERLESS),
        (WORK._replace(owner=None, mount=PLAIN._replace(kind="fuse.sshfs")), "option allow_other"),
        (WORK._replace(owner=None), "chmod a+x the folders above it"),
        (WORK._replace(owner=(1000, 100), mode=0o555), 'chmod u+wx "/home/student/work"'),
        (WORK._replace(owner=(1000, 100), mount=PLAIN._replace(labels=True)), "put :Z behind the mount"),
        (WORK._replace(owner=(1000, 100)), "setfacl -m u:1000:rwx FOLDER"),
        (WORK._replace(mode=0o777), "setfacl -m u:1000:rwx FOLDER"),
        (WORK._replace(owner=(0, 100), mode=0o775), "setfacl -m u:1000:rwx FOLDER"),
        (WORK._replace(mode=0o777, mount=PLAIN._replace(kind="nfs4")), "but the file server does not"),
        (FACTS._replace(namespace=True), "start with --user root -e NB_UID=0 -e NB_GID=0"),
        (FACTS._replace(mount=PLAIN._replace(kind="nfs")), "on the file server: chown 1000:100 FOLDER"),
        (FACTS, "start with --user root -e CHOWN_HOME=yes"),
        (WORK, "start with --user root -e CHOWN_EXTRA=/home/student/work"),
        (WORK._replace(path=f"{HOME}/my work"), 'start with --user root -e "CHOWN_EXTRA=/home/student/my work"'),
        (WORK._replace(path=f"{HOME}/a,b"), "on your computer: sudo chown 1000:100 FOLDER"),
        (WORK._replace(user=(5, 6)), " --user root -e NB_UID=5 -e NB_GID=6 -e CHOWN_EXTRA=/home/student/work"),
        (WORK._replace(mode=0o555), "on your computer: chmod u+wx FOLDER; then start with --user root -e CHOWN_EXTRA="),
        (WORK._replace(owner=(7, 8)), "start with --user 7:8"),
        (WORK._replace(owner=(7, 8), by_root=True), "start with -e NB_UID=7 -e NB_GID=8"),
    ],
)  # fmt: skip
def test_remedies(facts: Facts, remedy: str) -> None:
    said = mounts.remedy(facts)
    assert remedy in said and "\n" not in said and not said.endswith(".")


def test_facts_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 567)
    tmp_path.chmod(0o751)
    found = mounts.facts_of(f"{tmp_path}/new/deep", (1000, 100), HOME)
    assert (found.path, found.owner, found.mode) == (str(tmp_path), (1234, 567), 0o751)


def test_empty_mounts_of_roots_below_the_home_are_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the folders that Docker has made on the way; what has files in it, and what is not root's, stays."""
    for name in ("a/b", "full", "theirs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "full" / "file").touch()
    os.chown(tmp_path / "theirs", 7, 8)
    points = [f"{tmp_path}/{name}" for name in ("a/b", "full", "theirs", "missing")]
    monkeypatch.setattr(mounts, "below", lambda _: [PLAIN._replace(point=point) for point in points])
    privileges.give_mounts(Account("student", 1000, 100, "users", str(tmp_path)))
    owners = {name: (tmp_path / name).stat().st_uid for name in (".", "a", "a/b", "full", "theirs")}
    assert owners == {".": 0, "a": 1000, "a/b": 1000, "full": 0, "theirs": 7}


@pytest.mark.parametrize(
    ("home", "gone", "hub", "said"),
    [
        (HOME, True, "", True),
        (HOME, False, "", False),
        (HOME, True, "token", False),
        ("{folder}/home", True, "", False),
    ],
)
def test_the_start_says_that_a_home_vanishes(
    home: str, gone: bool, hub: str, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(mounts, "vanishes", lambda _: gone)
    monkeypatch.setattr(notebook, "read_image", lambda: Image("student", 1000, 100, "cuda"))
    monkeypatch.setattr(notebook.gpu, "diagnose_in_time", lambda: notebook.gpu.Diagnosis((), False))
    notebook.prepare({"HOME": home.format(folder=tmp_path), "JUPYTERHUB_API_TOKEN": hub}, str(tmp_path))
    line = "‣ What you save in /home/student goes with the container: docker run -v course:/home/student keeps it.\n"
    assert capfd.readouterr().err == (line if said else "")
