"""Grade one submission: the checks of the lab run here, the student's code runs in a sandbox."""

from __future__ import annotations

import signal
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
from checking.results import Result
from checking.runner import Plan, run
from checking.submission import Submission, read

_COMPUTING = 60.0  # seconds that the trusted side may compute for one check, before SIGPROF interrupts it


@dataclass(frozen=True)
class CheckResult:
    """The result of one check of one submission, as plain data; `seconds` is the time that it took."""

    parts: tuple[str, ...]
    kind: str
    title: str
    status: str
    text: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """The results of one submission; `remark` says what is wrong with it as a whole."""

    name: str
    results: tuple[CheckResult, ...]
    remark: str
    seconds: float

    @property
    def passed(self) -> int:
        """How many checks passed."""
        return sum(result.status == "passed" for result in self.results)

    def of_part(self, part: str) -> tuple[int, int]:
        """How many checks of a part passed, and how many there are; skipped ones do not count."""
        mine = [result for result in self.results if result.parts[0] == part and result.status != "skipped"]
        return sum(result.status == "passed" for result in mine), len(mine)


@dataclass(frozen=True)
class Task:
    """What to grade, and by which rules. `seconds`: the time that a whole submission may take."""

    lab: Lab
    seed: int
    kinds: tuple[Kind, ...]
    limits: Limits
    patience: float
    seconds: float
    gpu_missing: str


def _check_result(result: Result) -> CheckResult:
    text = "not yet" if result.status == "not yet" else plain(result)
    check = result.check
    return CheckResult(check.parts, check.kind, check.title, result.status, text, result.seconds)


def failed_report(name: str, task: Task, remark: str, seconds: float = 0.0) -> Report:
    """A report in which nothing passed; `seconds` is the time that it took to see that."""
    plan = Plan(task.lab, kinds=task.kinds)
    results = tuple(CheckResult(c.parts, c.kind, c.title, "failed", remark, 0.0) for c in plan.checks())
    return Report(name, results, remark, seconds)


def grade(name: str, file: Path | None, task: Task, sandbox: ForkServer, scratch: Path) -> Report:
    """Grade the submission in `file`, in processes of a sandbox that may write into `scratch`.

    A submission that cannot be read or used gets a report in which nothing passed; nothing is raised.
    """
    begin = time.monotonic()
    if file is None:
        return failed_report(name, task, "There is no .py or .ipynb file of its own; links are not followed.")
    submission: Submission | CheckFailed
    try:
        submission = replace(read(file), file=scratch / file.name)
    except CheckFailed as failed:
        return failed_report(name, task, f"{failed.text} {failed.where}".strip(), time.monotonic() - begin)
    plan = Plan(
        task.lab,
        task.seed,
        kinds=task.kinds,
        patience=task.patience,
        limits=replace(task.limits, until=begin + task.seconds),
        gpu_missing=task.gpu_missing,
        graded=True,
    )
    results: list[CheckResult] = []
    remark = ""
    signal.setitimer(signal.ITIMER_PROF, _COMPUTING)
    for result in run(plan, submission, partial(Remote, sandbox)):
        signal.setitimer(signal.ITIMER_PROF, _COMPUTING)  # for the next check
        results.append(_check_result(result))
        if result.failed is not None and result.failed.kind == "unusable" and not remark:
            remark = result.failed.text
        if time.monotonic() - begin > task.seconds:
            remark = f"Stopped after {task.seconds:.0f} s; what was not reached counts as failed."
            rest = plan.checks()[len(results) :]
            results += [CheckResult(c.parts, c.kind, c.title, "failed", "not reached in time", 0.0) for c in rest]
            break
    return Report(name, tuple(results), remark, time.monotonic() - begin)


def to_data(report: Report) -> dict[str, Any]:
    """The report as plain data, for JSON."""
    return asdict(report)


def from_data(data: dict[str, Any]) -> Report:
    """The report that `to_data` made into plain data."""
    results: Sequence[dict[str, Any]] = data["results"]
    return Report(
        data["name"],
        tuple(CheckResult(**{**one, "parts": tuple(one["parts"])}) for one in results),
        data["remark"],
        data["seconds"],
    )
