"""Start-up hooks, by the rules of jupyter/docker-stacks."""

from __future__ import annotations

import os
from pathlib import Path

from containers import Container, run_once, write

FOLDERS = {"first": "/usr/local/bin/start-notebook.d", "second": "/usr/local/bin/before-notebook.d"}


def mounts(tmp_path: Path) -> list[str]:
    """Options that mount tmp_path/first and tmp_path/second as the two folders of hooks."""
    tmp_path.chmod(0o755)
    options = []
    for name, place in FOLDERS.items():
        (tmp_path / name).mkdir(exist_ok=True)
        options += ["--volume", f"{tmp_path / name}:{place}:ro"]
    return options


def test_sourced_hooks_change_the_environment_in_their_order(image: str, tmp_path: Path) -> None:
    options = mounts(tmp_path)
    write(
        tmp_path / "first" / "10-set.sh",
        "export COURSE='deep learning' NB_UMASK=002\nunset PYTORCH_DATA_DIR\nlocal_one=1\n",
    )
    write(tmp_path / "second" / "20-see.sh", 'export SEEN="$COURSE in $HOME as $USER"\nexit 0\n')
    done = run_once(image, "sh", "-c", "echo $SEEN; echo .$PYTORCH_DATA_DIR.$local_one.$NB_UMASK.$fd", options=options)
    assert done.out == "deep learning in /home/student as student\n...002.\n"
    assert done.err == ""


def test_executables_run_and_others_are_named(image: str, tmp_path: Path) -> None:
    options = mounts(tmp_path)
    write(tmp_path / "first" / "10-run", "#!/bin/sh\necho ran\nexport LOST=1\n", 0o755)
    write(tmp_path / "first" / "20-python", "#!/usr/bin/python3\nprint('python ran')\n", 0o755)
    write(tmp_path / "first" / "README", "no hook\n")
    done = run_once(image, "sh", "-c", "echo $LOST.", options=options)
    assert done.out == "ran\npython ran\n.\n"
    assert done.err == (
        "warning: the hook /usr/local/bin/start-notebook.d/README is left out: name it *.sh to have it sourced,"
        " or make it executable\n"
    )


def test_a_failing_hook_is_reported_and_the_start_goes_on(image: str, tmp_path: Path) -> None:
    options = mounts(tmp_path)
    write(tmp_path / "first" / "10-fails.sh", "set -e\nexport BEFORE=1\nfalse\nexport AFTER=1\n")
    write(tmp_path / "second" / "20-no-program", "#!/no/such/shell\n", 0o755)
    done = run_once(image, "sh", "-c", "echo $BEFORE.$AFTER.", options=options)
    assert (done.status, done.out) == (0, "1..\n")
    assert done.alarms[0] == (
        "warning: the hook /usr/local/bin/start-notebook.d/10-fails.sh ended with status 1; the start goes on"
    )
    assert len([line for line in done.alarms if "20-no-program" in line]) == 2


def test_a_hook_may_leave_a_daemon_behind(image: str, tmp_path: Path) -> None:
    options = mounts(tmp_path)
    write(tmp_path / "first" / "10-daemon.sh", "sleep 100 &\nexport PASSED=1\n")
    done = run_once(image, "sh", "-c", "echo $PASSED; pgrep -c sleep", options=options)
    assert done.out == "1\n1\n"


def test_hooks_of_a_root_start_are_roots_and_reach_the_server(start, tmp_path: Path) -> None:
    """Both folders run before root is given up, and JupyterLab sees what they export."""
    options = mounts(tmp_path)
    write(tmp_path / "first" / "10-who.sh", "export FIRST=$(id -u)\n")
    write(tmp_path / "second" / "10-who.sh", "export SECOND=$(id -u):$HOME JUPYTER_PORT=8899\n")
    container: Container = start(options=[*options, "--user", "root"])
    assert ":8899/" in container.wait_for_server()
    process = container.server_process
    environment = container.execute("cat", f"/proc/{process}/environ", user="1000").split("\0")
    assert {"FIRST=0", "SECOND=0:/home/student"} <= set(environment)


def test_hooks_with_windows_line_ends(image: str, tmp_path: Path) -> None:
    options = mounts(tmp_path)
    (tmp_path / "first" / "10.sh").write_bytes(b"export COURSE=deep\r\nexit 0\r\n")
    write(tmp_path / "first" / "20-run", "", 0o755)
    (tmp_path / "first" / "20-run").write_bytes(b"#!/bin/sh\r\necho ran\r\n")
    done = run_once(image, "sh", "-c", 'echo "[$COURSE]"', options=options)
    assert done.out == "[deep]\n"
    [line] = done.err.splitlines()
    assert "20-run is left out, for its first line ends as in Windows (CRLF)" in line and "sed -i" in line


def test_root_runs_no_hook_that_the_student_can_write(image: str, tmp_path: Path) -> None:
    """A folder of the student's, mounted writable: he could put anything there for the next start."""
    options = [option.removesuffix(":ro") for option in mounts(tmp_path)]
    hook = write(tmp_path / "first" / "10-who.sh", "export WHO=$(id -u)\n")
    show = ["sh", "-c", "echo [$WHO]"]
    assert run_once(image, *show, options=[*options, "--user", "root"]).out == "[0]\n"  # root's own
    os.chown(hook, 1000, 100)
    done = run_once(image, *show, options=[*options, "--user", "root"])
    assert done.out == "[]\n"
    assert done.err.splitlines() == [
        "warning: the hook /usr/local/bin/start-notebook.d/10-who.sh is left out, for root would run it and others than"
        " root can write /usr/local/bin/start-notebook.d/10-who.sh: own it by root, or mount it :ro"
    ]
    assert run_once(image, *show, options=[*mounts(tmp_path), "--user", "root"]).out == "[0]\n"
    assert run_once(image, *show, options=options).out == "[1000]\n"
