"""Run pytest on this machine, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from coursebox.core.paths import CHECKOUT
from coursebox.verify import outcomes

PARALLEL = "--numprocesses=auto"  # for tests that share nothing: pytest-xdist, a process for each core


def run(
    arguments: Sequence[str], report: Path | None = None, output: IO[bytes] | None = None, *, parallel: bool = False
) -> int:
    """pytest with files and options, started from the checkout; its exit status.

    report: where the JUnit report goes. output: where the output goes; None is the terminal.
    """
    command = [sys.executable, "-m", "pytest", *([PARALLEL] if parallel else [])]
    command += outcomes.options(report) if report else []
    return subprocess.run([*command, *arguments], cwd=CHECKOUT, stdout=output, stderr=output, check=False).returncode
