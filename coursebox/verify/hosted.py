"""Run pytest on this machine, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from coursebox.core.paths import CHECKOUT
from coursebox.verify import outcomes

PARALLEL = "--numprocesses=auto"  # for tests that share nothing: pytest-xdist, a process for each core


# They make tests look at another file, or leave tests out: a proof would be of something else than it says.
MISLEADING = ("COURSEBOX_OVA", "COURSEBOX_TEST_IMAGE", "COURSEBOX_TEST_TARGET", "PYTEST_ADDOPTS", "PYTEST_PLUGINS")


def run(
    arguments: Sequence[str],
    report: Path | None = None,
    output: IO[bytes] | None = None,
    *,
    parallel: bool = False,
    course: Path | None = None,
    target: str = "",
) -> int:
    """pytest with files and options, started from the checkout; its exit status.

    report: where the JUnit report goes; with it, misleading variables of the environment are left out. output: where
    the output goes; None is the terminal. course: the course file that the tests read, whatever $COURSE says.
    target: the one that the tests look at, where there are several of their kind.
    """
    command = [sys.executable, "-m", "pytest", *([PARALLEL] if parallel else [])]
    command += outcomes.options(report) if report else []
    environment = {name: value for name, value in os.environ.items() if report is None or name not in MISLEADING}
    if course is not None:
        environment["COURSE"] = os.fspath(course)
    if target:
        environment["COURSEBOX_TEST_TARGET"] = target
    return subprocess.run(
        [*command, *arguments], cwd=CHECKOUT, env=environment, stdout=output, stderr=output, check=False
    ).returncode
