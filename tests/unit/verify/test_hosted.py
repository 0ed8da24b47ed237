"""pytest on this machine: how it is started, and what of the environment reaches the tests."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from coursebox.core.paths import CHECKOUT
from coursebox.verify import hosted, outcomes


class Started:
    """Stands for subprocess.run: the command and how it was called."""

    command: Sequence[str] = ()
    how: Mapping[str, Any] = {}

    def __call__(self, command: Sequence[str], **how: Any) -> subprocess.CompletedProcess[bytes]:
        self.command, self.how = command, how
        return subprocess.CompletedProcess(command, 3)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    made = Started()
    monkeypatch.setattr(hosted.subprocess, "run", made)
    return made


def test_it_runs_in_the_checkout_with_this_python(started: Started, tmp_path: Path) -> None:
    assert hosted.run(["tests/vm", "-x"]) == 3
    assert started.command == [sys.executable, "-m", "pytest", "tests/vm", "-x"]
    assert started.how["cwd"] == CHECKOUT and started.how["stdout"] is None
    with (tmp_path / "log").open("wb") as output:
        hosted.run(["tests/unit"], tmp_path / "report.xml", output, parallel=True)
    options = [hosted.PARALLEL, *outcomes.options(tmp_path / "report.xml")]
    assert started.command == [sys.executable, "-m", "pytest", *options, "tests/unit"]
    assert started.how["stdout"] is output and started.how["stderr"] is output


def test_nothing_leads_a_proof_to_other_files_or_tests(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COURSEBOX_OVA", "COURSEBOX_TEST_IMAGE", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "ACCEL"):
        monkeypatch.setenv(name, "other")
    hosted.run(["tests/vm"], tmp_path / "report.xml")
    assert {name for name, value in started.how["env"].items() if value == "other"} == {"ACCEL"}
    hosted.run(["tests/vm"])  # no proof: who calls it knows what he wants
    assert sum(value == "other" for value in started.how["env"].values()) == 5


def test_the_tests_read_the_course_that_was_built(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE", "course.toml")
    hosted.run(["tests/vm"], tmp_path / "report.xml", course=tmp_path / "other course.toml")
    assert started.how["env"]["COURSE"] == str(tmp_path / "other course.toml")
    hosted.run(["tests/vm"], tmp_path / "report.xml")
    assert started.how["env"]["COURSE"] == "course.toml"


def test_every_variable_that_the_tests_ask_for_is_known() -> None:
    """One that names what is tested has to be left out, or a claim has to read it."""
    asked: set[str] = set()
    for folder in ("content", "container", "acceptance", "vm", "build", "gpu"):
        for path in (CHECKOUT / "tests" / folder).glob("*.py"):
            asked |= set(re.findall(r"environ(?:\.get\(|\[)\"(COURSE\w*)\"", path.read_text(encoding="utf-8")))
    assert {"COURSEBOX_OVA", "COURSEBOX_TEST_IMAGE"} <= asked
    assert asked - set(hosted.MISLEADING) == {"COURSE", "COURSEBOX_REQUIRE_GPU"}
