"""The home: filled once, never written over, and replaced where it is broken."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from containers import Container, docker, run_once

PRISTINE = "/usr/share/coursebox/labs"
NEW = "/home/student/labs/welcome.md"


def home_of(path: Path, uid: int = 1000, gid: int = 100) -> Path:
    """A folder of the student's."""
    path.mkdir()
    os.chown(path, uid, gid)
    return path


def labs_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_empty_volume_gets_all_labs_and_they_are_writable(image: str, volume: str) -> None:
    check = f"diff -r {PRISTINE} ~/labs && find ~/labs ! -writable | wc -l && ls -A ~ | sort | tr '\\n' ' '"
    done = run_once(image, "sh", "-c", check, options=["--volume", f"{volume}:/home/student"])
    assert done.out.splitlines()[0] == "0", done.out
    assert done.out.splitlines()[1].split() == [".bash_logout", ".bashrc", ".local", ".profile", "labs"]
    assert done.err == ""


def test_a_second_start_changes_nothing(image: str, volume: str) -> None:
    """What was changed stays changed, what was deleted stays deleted, what was made stays."""
    mount = ["--volume", f"{volume}:/home/student"]
    run_once(image, "sh", "-c", f"echo mine > {NEW}; rm -r ~/labs/examples; echo more > ~/labs/more.py", options=mount)
    listing = "cd ~ && find . -type f | sort | xargs stat --format='%n %Y %s %a %u' && cat labs/welcome.md labs/more.py"
    first = run_once(image, "sh", "-c", listing, options=mount).out
    second = run_once(image, "sh", "-c", listing, options=mount)
    assert second.out == first and second.err == ""
    assert first.endswith("mine\nmore\n") and "examples" not in first


def test_a_new_lab_of_a_later_edition_appears(image: str, volume: str, tmp_path: Path) -> None:
    mount = ["--volume", f"{volume}:/home/student"]
    run_once(image, "sh", "-c", f"echo mine > {NEW}", options=mount)
    later = home_of(tmp_path / "labs")
    (later / "welcome.md").write_text("theirs\n")
    (later / "week2").mkdir()
    (later / "week2" / "new lab.ipynb").write_text("{}\n")
    show = f"cat {NEW} '/home/student/labs/week2/new lab.ipynb'"
    done = run_once(image, "sh", "-c", show, options=[*mount, "--volume", f"{later}:{PRISTINE}:ro"])
    assert done.out == "mine\n{}\n"
    assert done.err == "‣ New in your home: labs/week2/new lab.ipynb\n"


def test_a_bind_mounted_folder_is_filled_and_belongs_to_its_owner(image: str, tmp_path: Path) -> None:
    folder = home_of(tmp_path / "home", 4321, 4321)
    (folder / "own.txt").write_text("own")
    done = run_once(image, "true", options=["--user", "4321:4321", "--volume", f"{folder}:/home/student"])
    assert (done.status, done.err) == (0, "")
    assert "welcome.md" in labs_below(folder / "labs")
    assert {path.stat().st_uid for path in (folder / "labs").rglob("*")} == {4321}
    assert (folder / "own.txt").read_text() == "own"


def test_a_folder_called_labs_is_not_touched(image: str, tmp_path: Path) -> None:
    folder = home_of(tmp_path / "home")
    own = folder / "labs" / "welcome.md"
    own.parent.mkdir()
    own.write_text("own")
    os.chown(own.parent, 1000, 100)
    run_once(image, "true", options=["--volume", f"{folder}:/home/student"])
    assert own.read_text() == "own"


def test_work_folder_of_the_issue(image: str, tmp_path: Path) -> None:
    """docker run -v "$PWD":/home/student/work, by the folder's owner."""
    work = home_of(tmp_path / "work", 4321, 4321)
    mount = ["--volume", f"{work}:/home/student/work"]
    done = run_once(image, "sh", "-c", "echo x > work/result", options=[*mount, "--user", "4321:4321"])
    assert (done.status, done.err) == (0, "")
    assert (work / "result").stat().st_uid == 4321


def test_a_work_folder_that_cannot_be_written_is_named_with_the_remedy(image: str, tmp_path: Path) -> None:
    work = home_of(tmp_path / "my work", 4321, 4321)
    done = run_once(image, "true", options=["--volume", f"{work}:/home/student/my work"])
    assert done.err == (
        "warning: user 1000 may not write in /home/student/my work, which belongs to user 4321:"
        " start with --user 4321:4321\n"
    )
    assert run_once(image, "true", options=["--volume", f"{work}:/home/student/my work:ro"]).err == ""


def prepared(volume: str, image: str, script: str) -> str:
    """Do something as root in a volume, and return its name."""
    options = ["--volume", f"{volume}:/v", "--user", "root", "--entrypoint", "/bin/sh"]
    assert run_once(image, "-c", f"cd /v; {script}", options=options).status == 0
    return volume


REMEDIES = {
    "a volume of root's below the home": ("touch file", "/home/student/stage", []),
    "a volume of root's with a space": ("touch file", "/home/student/my stage", []),
    "a volume of root's as the home": ("touch file", "/home/student", []),
    "another user's volume": ("chown 4321:4322 .; touch file", "/home/student/stage", []),
    "another user's home": ("chown 4321:4322 .; touch file", "/home/student", []),
    "a volume of root's, another user": ("touch file", "/home/student/stage", ["--user", "4321:4321"]),
    "another user's volume, from root": ("chown 4321:4322 .; touch file", "/home/student/stage", ["--user", "root"]),
}


@pytest.mark.parametrize("kind", REMEDIES)
def test_the_remedy_of_a_warning_works_for_that_mount(image: str, volume: str, kind: str) -> None:
    """One warning; with the options that it prints, none, and the folder can be written."""
    script, place, options = REMEDIES[kind]
    mount = ["--volume", f"{prepared(volume, image, script)}:{place}"]
    done = run_once(image, "true", options=[*mount, *options])
    [line] = done.alarms
    advised = shlex.split(re.split(r"start with |\. Until then", line)[1])
    added = [*([] if "--user" in advised else options), *advised]
    done = run_once(image, "touch", f"{place}/written", options=[*mount, *added])
    assert (done.status, done.alarms) == (0, []), done.err


def test_the_remedy_for_a_mode_works(image: str, volume: str) -> None:
    """A folder of the user's own with mode 0555: the command is one for a terminal in the container."""
    place = "/home/student/stage"
    mount = ["--volume", f"{prepared(volume, image, 'chown 1000:100 .; chmod 0555 .; touch file')}:{place}"]
    done = run_once(image, "true", options=mount)
    [line] = done.alarms
    assert "its mode 0555 denies it to its owner, too: " in line
    run_once(image, "sh", "-c", line.split("too: ")[1], options=mount)
    done = run_once(image, "touch", f"{place}/written", options=mount)
    assert (done.status, done.alarms) == (0, [])


def test_the_remedy_for_a_read_only_mount_works(image: str, tmp_path: Path) -> None:
    folder = home_of(tmp_path / "home")
    done = run_once(image, "true", options=["--volume", f"{folder}:/home/student:ro"])
    assert "leave out the :ro" in done.alarms[0]
    assert run_once(image, "true", options=["--volume", f"{folder}:/home/student"]).err == ""


def test_new_mounts_below_the_home_are_given_with_root(image: str, volume: str) -> None:
    """Docker makes volumes, and folders on the way to them, as root's."""
    options = ["--user", "root", "--volume", f"{volume}:/home/student/deep/stage"]
    done = run_once(image, "touch", "/home/student/deep/a", "/home/student/deep/stage/b", options=options)
    assert (done.status, done.err) == (0, "")


def test_a_home_in_the_containers_own_layer_is_named_by_jupyterlab(start, volume: str) -> None:
    line = "What you save in /home/student goes with the container: docker run -v course:/home/student keeps it."
    first: Container = start()
    first.wait_for_server()
    assert f"‣ {line}" in first.log.splitlines()
    second: Container = start(options=["--volume", f"{volume}:/home/student"])
    second.wait_for_server()
    assert "goes with the container" not in second.log


BROKEN = {
    "full": (
        ["--tmpfs", "/home/student:size=64k,mode=1777"],
        "warning: /home/student is full: delete what you no longer need there, then start again. ",
    ),
    "read-only": (
        ["--volume", "{folder}:/home/student:ro"],
        "warning: /home/student is mounted read-only: leave out the :ro behind the mount to keep your work there. ",
    ),
    "not-writable": (
        ["--volume", "{folder}:/home/student", "--user", "4321:4321"],
        "warning: user 4321 may not write in /home/student, which belongs to user 1000: start with --user 1000:100. ",
    ),
    "roots": (
        ["--volume", "{root}:/home/student"],
        "warning: user 1000 may not write in /home/student, which belongs to user 0:"
        " start with --user root -e CHOWN_HOME=yes. ",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_jupyterlab_starts_with_a_broken_home(start, tmp_path: Path, kind: str) -> None:
    """One line, a recovery home with the labs, and a way to the broken one."""
    folder = home_of(tmp_path / "home")
    (folder / "own.txt").write_text("own")
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    (root / "own.txt").write_text("own")
    options, line = BROKEN[kind]
    container: Container = start(
        options=[option.format(folder=folder, root=root) for option in options], allowed=["^warning: .*/home/student"]
    )
    container.wait_for_server()
    warnings = [text for text in container.log.splitlines() if text.startswith("warning: ")]
    assert len(warnings) == 1 and warnings[0].startswith(line)
    assert "which vanishes with the container; your-home in it leads to your files." in warnings[0]
    names = {entry["name"] for entry in container.as_student("/api/contents").json()["content"]}
    assert {"labs", "your-home"} <= names
    made = container.as_student("/api/contents/labs", method="POST", json={"type": "notebook"})
    assert made.status_code == 201
    kernel = container.as_student("/api/kernels", method="POST", json={"name": "python3"})
    assert kernel.status_code == 201
    if kind != "full":
        assert container.as_student("/api/contents/your-home/own.txt").json()["content"] == "own"
    container.execute("healthcheck")


def test_a_full_home_can_be_emptied_and_used_again(image: str) -> None:
    """From inside of the recovery home: delete, and the next start is a normal one."""
    home = ["--tmpfs", "/home/student:size=3m,mode=1777"]
    script = (
        "head -c 3000000 /dev/zero > /home/student/big; unset COURSEBOX_RUNTIME HOME;"
        "start sh -c 'echo $HOME; rm your-home/big'; unset COURSEBOX_RUNTIME HOME; start sh -c 'echo $HOME'"
    )
    done = run_once(image, "bash", "-c", script, options=home)
    first, second = done.out.split()
    assert first.endswith("/home") and first.startswith("/tmp/coursebox-1000-")
    assert second == "/home/student"


def test_labs_are_complete_or_absent_when_the_home_fills_up(image: str, tmp_path: Path) -> None:
    """Room for the probe, not for all labs: nothing half-written is left."""
    big = tmp_path / "labs"
    big.mkdir()
    (big / "a.bin").write_bytes(bytes(900_000))
    (big / "b.bin").write_bytes(bytes(900_000))
    options = ["--tmpfs", "/home/student:size=1200k,mode=1777", "--volume", f"{big}:{PRISTINE}:ro"]
    done = run_once(image, "sh", "-c", "ls -l /home/student/labs; ls $HOME/labs", options=options)
    assert "/home/student is full" in done.err
    sizes = [line.split()[4] for line in done.out.splitlines() if line.endswith(".bin") and " " in line]
    assert set(sizes) <= {"900000"}
    assert done.out.split()[-2:] == ["a.bin", "b.bin"]


def test_two_starts_of_the_server_with_one_volume(start, volume: str) -> None:
    """A notebook made in the first is there in the second, and nothing of the first is in its way."""
    options = ["--volume", f"{volume}:/home/student"]
    first: Container = start(options=options)
    first.wait_for_server()
    notebook = {"type": "notebook", "content": {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}}
    assert first.as_student("/api/contents/mine.ipynb", method="PUT", json=notebook).status_code == 201
    first.stop("KILL")
    second: Container = start(options=options)
    second.wait_for_server()
    assert second.as_student("/api/contents/mine.ipynb").status_code == 200
    docker("inspect", first.name)  # both are still known: the volume is not copied but shared
