"""The command behind the image's name: its output, status, signals, children and terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
import uuid

import pytest
from containers import Container, docker, run_once, wait_for


def test_python_runs_with_torch_data_and_labs(image: str) -> None:
    code = "import os, torch; print(torch.ones(2).sum().item(), os.listdir(os.environ['PYTORCH_DATA_DIR']))"
    done = run_once(image, "python", "-c", code)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("2.0 [") and "'mnist'" in done.out


def test_output_is_the_commands_alone(image: str) -> None:
    done = run_once(image, "sh", "-c", "echo out; echo err >&2")
    assert (done.status, done.out, done.err) == (0, "out\n", "err\n")


def test_standard_input_reaches_the_command(image: str) -> None:
    assert run_once(image, "bash", stdin="echo $((6 * 7)); exit 3\n").out == "42\n"


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_exit_status_is_passed_on(image: str, status: int) -> None:
    assert run_once(image, "sh", "-c", f"exit {status}").status == status


def test_a_missing_command_gets_a_sentence_and_127(image: str) -> None:
    done = run_once(image, "no-such-command")
    assert done.status == 127
    assert done.err == (
        "error: no-such-command: there is no such command\n  hint: what follows the image's name is the command\n"
    )


def test_what_is_no_program_gets_a_sentence_and_126(image: str) -> None:
    done = run_once(image, "/etc/passwd")
    assert done.status == 126 and done.err.startswith("error: /etc/passwd cannot be run (Permission denied)\n")


def test_start_by_hand_does_nothing_twice(image: str) -> None:
    done = run_once(image, "start", "start", "sh", "-c", "echo $HOME", options=["--env", "GRANT_SUDO=yes"])
    assert done.out == "/home/student\n"
    assert done.err.count("GRANT_SUDO") == 1


@pytest.mark.parametrize("name", ["start.sh", "start.py", "start"])
def test_start_has_the_names_that_guides_use(image: str, name: str) -> None:
    assert run_once(image, name, "echo", "yes").out == "yes\n"


@pytest.mark.parametrize("signal", ["TERM", "INT", "USR1"])
def test_signals_reach_the_command(start, signal: str) -> None:
    container: Container = start("sh", "-c", f"trap 'exit 9' {signal}; echo ready; while :; do sleep 0.1; done")
    container.wait_for_line("ready")
    assert container.stop(signal) < 3
    assert container.exit_status == 9


def test_a_command_killed_by_a_signal_tells_so(start) -> None:
    container: Container = start("sh", "-c", "echo ready; exec sleep 60")
    container.wait_for_line("ready")
    assert container.stop("TERM") < 3
    assert container.exit_status == 143


def test_signals_reach_the_whole_group(start) -> None:
    """A shell waits for its child before it looks at its traps: the child must get the signal, too."""
    container: Container = start("sh", "-c", "trap 'exit 9' TERM; echo ready; sleep 60; exit 1")
    container.wait_for_line("ready")
    assert container.stop("TERM") < 3
    assert container.exit_status == 9


@pytest.mark.parametrize("options", [[], ["--init"]], ids=["alone", "under-docker-init"])
def test_no_zombies(start, options: list[str]) -> None:
    """Orphans that end are reaped."""
    orphans = "(sleep 0.2 & sleep 0.3 &); echo ready; exec sleep 60"
    container: Container = start("sh", "-c", orphans, options=options)
    container.wait_for_line("ready")
    wait_for(lambda: not re.search(r"^\S+ +sleep 0", "\n".join(container.processes()), re.M), "the orphans end")
    states = [line.split()[0] for line in container.processes()]
    assert len(states) >= 3 and not any(state.startswith("Z") for state in states), states


def test_ctrl_c_once_ends_the_server(image: str) -> None:
    """With a terminal, as students type it: docker run -it, then Ctrl-C."""
    name = f"coursebox-test-{uuid.uuid4().hex[:8]}"
    master, slave = pty.openpty()
    client = subprocess.Popen(
        ["docker", "run", "--rm", "--interactive", "--tty", "--name", name, image],
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    try:
        end = time.monotonic() + 60
        while b"token=" not in shown:
            assert time.monotonic() < end, shown
            if select.select([master], [], [], 1)[0]:
                shown += os.read(master, 4096)
        os.write(master, b"\x03")
        begun = time.monotonic()
        status = client.wait(timeout=20)
        assert time.monotonic() - begun < 5
        assert status == 0
    finally:
        docker("rm", "--force", "--volumes", name, check=False)
        client.wait(timeout=20)
        os.close(master)
