"""`make test`: all tests, in two lanes, because most of them wait for machines and containers half of the time.

The labs' tests only compute, and their limits count computing time: they run beside the others, with less right to the
processors. What they print is kept in a file and shown at the end.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from coursebox.console import say
from coursebox.paths import CHECKOUT

PARALLEL = "--numprocesses=auto"  # for tests that share nothing: pytest-xdist, a process for each core
LABS = "tests/content/test_labs.py"  # runs tests/labs inside the delivered trees
ROOMS = ("content", "container", "gpu", "acceptance", "vm", "build")  # the quick ones first


def pytest(arguments: Sequence[str], output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """pytest in a process of its own, started from the checkout."""
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.Popen(command, cwd=CHECKOUT, stdout=output, stderr=output)


def prove() -> int:
    """Run everything; 0 when all passed, otherwise the exit code of pytest."""
    log = CHECKOUT / "build" / "test-labs.log"
    log.parent.mkdir(exist_ok=True)
    say("  the labs' tests run beside the others; what they say comes last, and meanwhile in build/test-labs-*.log")
    with log.open("wb") as output:
        beside = pytest([LABS], output)
        try:
            unit = pytest([PARALLEL, "tests/unit"]).wait()
            rooms = pytest([f"--ignore={LABS}", *(f"tests/{room}" for room in ROOMS)]).wait()
            beside.wait()
        finally:
            beside.terminate()  # where the lane above was interrupted
            beside.wait()
    print(log.read_text(encoding="utf-8", errors="replace"), flush=True)
    return unit or rooms or beside.returncode
