"""What pytest says of each test, read from its JUnit report (`--junitxml`, family xunit1, which names the file)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lxml import etree

Status = Literal["passed", "failed", "skipped"]
_WORST: Sequence[Status] = ("passed", "skipped", "failed")


@dataclass(frozen=True)
class Outcome:
    """One test: its file (relative to the checkout), its name with parameters, its seconds, and how it ended."""

    file: str
    name: str
    seconds: float
    status: Status

    @property
    def test(self) -> str:
        """How pytest names the test."""
        return f"{self.file}::{self.name}"


def options(report: Path | str) -> list[str]:
    """The options of pytest that make it write `report`."""
    return ["--override-ini=junit_family=xunit1", f"--junitxml={report}"]


def read_outcomes(report: Path) -> list[Outcome]:
    """The outcomes in a report, one for each test; none where pytest has not written one or was cut off.

    A test that passed and whose clean-up failed has two entries: the worse one counts.
    """
    try:
        root = etree.parse(report).getroot()
    except (OSError, etree.XMLSyntaxError):
        return []
    found: dict[str, Outcome] = {}
    for case in root.iter("testcase"):
        children = {str(child.tag) for child in case}
        status: Status = "passed"
        if children & {"failure", "error"}:
            status = "failed"
        elif "skipped" in children:
            status = "skipped"
        file = case.get("file") or f"{(case.get('classname') or '').replace('.', '/')}.py"
        outcome = Outcome(file, case.get("name") or "", float(case.get("time") or 0), status)
        before = found.get(outcome.test)
        if before is None or _WORST.index(status) >= _WORST.index(before.status):
            found[outcome.test] = outcome
    return list(found.values())
