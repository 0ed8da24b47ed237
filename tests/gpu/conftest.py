"""Tests that need an NVIDIA GPU: the checks of course-selftest, with the GPU's own PyTorch.

Only pytest and a PyTorch from 2.6 on are needed, coursebox need not be installed:

    PYTORCH_DATA_DIR=/path/to/data python -m pytest tests/gpu

PYTORCH_DATA_DIR        folder that holds mnist/MNIST/raw; without it the trainings are skipped
COURSEBOX_REQUIRE_GPU   set to 1 where there must be a GPU: what would be skipped for want of one then fails
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "selftest"))

from course_selftest.catalog import CHECKS
from course_selftest.options import Options
from course_selftest.outcome import Row
from course_selftest.suite import Suite


@pytest.fixture(scope="session")
def suite() -> Iterator[Suite]:
    with Suite(Options()) as running:
        yield running


@pytest.fixture(scope="session")
def gpu(suite: Suite) -> Row:
    """The row of the GPU. Everything that asks for it is skipped, with the reason, where there is none."""
    row = suite.run(next(check for check in CHECKS if check.name == "gpu"))
    if row.result == "skipped" or "No module named 'torch'" in row.text:
        if os.environ.get("COURSEBOX_REQUIRE_GPU") == "1":
            pytest.fail(f"COURSEBOX_REQUIRE_GPU=1, but {row.text}", pytrace=False)
        pytest.skip(row.text)
    assert row.result == "ok", f"{row.text}\n{row.detail}"
    return row
