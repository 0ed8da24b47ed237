"""Grade one submission: the checks of the lab here, the student's code in a sandbox."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from checking.forkserver import ForkServer
from checking.lab import Kind, Lab
from checking.outcome import CheckFailed
from checking.processes import Limits, Remote
from checking.report import plain
from checking.runner import Plan, Result, run
from checking.submission import Submission, read


@dataclass(frozen=True)
class Graded:
    """One check of one submission, as plain data."""

    parts: tuple[str, ...]
    kind: str
    title: str
    status: str
    text: str
    seconds: float


@dataclass(frozen=True)
class Sheet:
    """All that came out for one submission; `remark` says what is wrong with it as a whole."""

    name: str
    graded: tuple[Graded, ...]
    remark: str
    seconds: float

    @property
    def passed(self) -> int:
        return sum(one.status == "passed" for one in self.graded)

    def of_part(self, part: str) -> tuple[int, int]:
        """Passed checks and all checks of a part."""
        mine = [one for one in self.graded if one.parts[0] == part and one.status != "skipped"]
        return sum(one.status == "passed" for one in mine), len(mine)


@dataclass(frozen=True)
class Task:
    """What to grade and by which rules."""

    lab: Lab
    seed: int
    kinds: tuple[Kind, ...]
    limits: Limits
    patience: float
    seconds: float  # for the whole submission
    gpu_missing: str


def _graded(result: Result) -> Graded:
    text = "not yet" if result.status == "not yet" else plain(result)
    return Graded(result.check.parts, result.check.kind, result.check.title, result.status, text, result.seconds)


def failed_sheet(name: str, task: Task, remark: str, seconds: float = 0.0) -> Sheet:
    """A sheet on which nothing passed."""
    plan = Plan(task.lab, kinds=task.kinds)
    graded = tuple(Graded(c.parts, c.kind, c.title, "failed", remark, 0.0) for c in plan.checks())
    return Sheet(name, graded, remark, seconds)


def grade(name: str, file: Path | None, task: Task, sandbox: ForkServer, scratch: Path) -> Sheet:
    """Grade the submission in `file` with processes from a sandbox that may write into `scratch`."""
    begin = time.monotonic()
    if file is None:
        return failed_sheet(name, task, "There is no .py or .ipynb file.")
    submission: Submission | CheckFailed
    try:
        submission = replace(read(file), file=scratch / file.name)
    except CheckFailed as failed:
        return failed_sheet(name, task, f"{failed.text} {failed.where}".strip(), time.monotonic() - begin)
    plan = Plan(task.lab, task.seed, kinds=task.kinds, patience=task.patience, limits=task.limits,
                gpu_missing=task.gpu_missing, graded=True)  # fmt: skip
    graded: list[Graded] = []
    remark = ""
    for result in run(plan, submission, partial(Remote, sandbox)):
        graded.append(_graded(result))
        if result.failed is not None and result.failed.kind == "unusable" and not remark:
            remark = result.failed.text
        if time.monotonic() - begin > task.seconds:
            remark = f"Stopped after {task.seconds:.0f} s; what was not reached counts as failed."
            rest = plan.checks()[len(graded) :]
            graded += [Graded(c.parts, c.kind, c.title, "failed", "not reached in time", 0.0) for c in rest]
            break
    return Sheet(name, tuple(graded), remark, time.monotonic() - begin)


def to_data(sheet: Sheet) -> dict[str, Any]:
    return asdict(sheet)


def from_data(data: dict[str, Any]) -> Sheet:
    graded: Sequence[dict[str, Any]] = data["graded"]
    return Sheet(data["name"], tuple(Graded(**{**one, "parts": tuple(one["parts"])}) for one in graded),
                 data["remark"], data["seconds"])  # fmt: skip
