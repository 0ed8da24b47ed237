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
from checking.lab import Check, Kind, Lab
from checking.outcome import CheckFailed
from checking.processes import Limits, Remote
from checking.report import plain
from checking.results import KINDS, Result, idle, points
from checking.runner import Plan, run
from checking.submission import Submission, read

_COMPUTING = 60.0  # seconds that the trusted side may compute for one check, before SIGPROF interrupts it


@dataclass(frozen=True)
class CheckResult:
    """The result of one check of one submission, as plain data; `seconds` is the time that it took.

    name: of the check in check.py. counts: whether it gives a point; a rule on the form gives none.
    """

    parts: tuple[str, ...]
    kind: str
    title: str
    status: str
    text: str
    seconds: float
    name: str = ""
    counts: bool = True


@dataclass(frozen=True)
class Report:
    """The results of one submission; `remark` says what is wrong with it as a whole."""

    name: str
    results: tuple[CheckResult, ...]
    remark: str
    seconds: float

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the lab that have results, in their order."""
        return tuple(dict.fromkeys(result.parts[0] for result in self.results))

    @property
    def passed(self) -> int:
        """How many points there are, one for each check that passed."""
        return sum(self.of_part(part)[0] for part in self.parts)

    @property
    def count(self) -> int:
        """How many points there could be."""
        return sum(self.of_part(part)[1] for part in self.parts)

    def of_part(self, part: str, kinds: Sequence[str] = KINDS) -> tuple[int, int]:
        """The points of a part, and how many there could be: see points() of the labs."""
        return points(self.results, kinds).get(part, (0, 0))


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
    return CheckResult(
        check.parts, check.kind, check.title, result.status, text, result.seconds, check.name, result.counts
    )


def _not_run(check: Check, why: str) -> CheckResult:
    return CheckResult(check.parts, check.kind, check.title, "failed", why, 0.0, check.name, check.rule is None)


def failed_report(name: str, task: Task, remark: str, seconds: float = 0.0) -> Report:
    """A report in which nothing passed; `seconds` is the time that it took to see that."""
    plan = Plan(task.lab, kinds=task.kinds)
    results = tuple(_not_run(check, remark) for check in plan.checks())
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
        submission = replace(read(file, task.lab.asked), file=scratch / file.name)
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
    remark = " ".join(f"{said[0].upper()}{said[1:]}." for said in submission.remarks)
    signal.setitimer(signal.ITIMER_PROF, _COMPUTING)
    for result in run(plan, submission, partial(Remote, sandbox)):
        signal.setitimer(signal.ITIMER_PROF, _COMPUTING)  # for the next check
        results.append(_check_result(result))
        if result.failed is not None and result.failed.kind == "unusable" and result.failed.text not in remark:
            remark = f"{remark} {result.failed.text}".strip()
        if time.monotonic() - begin > task.seconds:
            remark = f"{remark} Stopped after {task.seconds:.0f} s; what was not reached counts as failed.".strip()
            rest = plan.checks()[len(results) :]
            results += [_not_run(check, "not reached in time") for check in rest]
            break
    told = (replace(one, text=why or one.text) for one, why in zip(results, idle(results), strict=True))
    return Report(name, tuple(told), remark, time.monotonic() - begin)


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
