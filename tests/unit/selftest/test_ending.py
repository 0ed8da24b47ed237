"""However the command is ended, the process of the checks goes with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from course_selftest import cli

PACKAGES = Path(cli.__file__).parents[1]

# In place of PyTorch: notes which process imports it and where that writes, and never ends.
TORCH = """
import os, time
from pathlib import Path
note = Path(__file__).with_name("note")
note.with_suffix(".new").write_text(f"{os.getpid()} {os.environ['TMPDIR']}")
note.with_suffix(".new").rename(note)
time.sleep(600)
"""


def heed_interrupts() -> None:
    """A shell's background jobs ignore Ctrl-C, and with them these tests, which must not hand that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool], seconds: float = 100) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("number", "code", "tidy"),
    [(signal.SIGINT, 130, True), (signal.SIGTERM, 143, True), (signal.SIGKILL, -9, False)],
)
def test_the_worker_ends_with_the_command(tmp_path: Path, number: signal.Signals, code: int, tidy: bool) -> None:
    note = tmp_path / "torch" / "note"
    note.parent.mkdir()
    (note.parent / "__init__.py").write_text(TORCH)
    with subprocess.Popen(
        [sys.executable, "-m", "course_selftest", "--only", "svd"], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": f"{PACKAGES}{os.pathsep}{tmp_path}"}, preexec_fn=heed_interrupts,
    ) as command:  # fmt: skip
        assert until(note.is_file)
        pid, folder = note.read_text().split()
        command.send_signal(number)
        said = command.communicate(timeout=100)[1]
    assert command.returncode == code and "Traceback" not in said
    assert until(lambda: not alive(int(pid)))
    assert Path(folder).exists() is not tidy
    if not tidy:
        Path(folder).rmdir()
