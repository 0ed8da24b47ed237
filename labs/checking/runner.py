"""Run the checks of a lab, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import rules
from .datasets import DataSets, MissingData
from .lab import Check, Kind, Lab
from .metrics import Metrics
from .outcome import CheckFailed, Skipped
from .processes import Limits, Start
from .results import Result
from .rng import Rng
from .session import Student, Tick, conversation, silent
from .submission import Submission, hint

PATIENCE_WITH_EXPERIMENTS = 10  # times the usual seconds of an experiment, for slower machines
NO_GPU = "no GPU with CUDA here"


@dataclass(frozen=True)
class Plan:
    """What to run, and how."""

    lab: Lab
    seed: int = 0
    only: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ("check",)
    patience: float = 1.0
    pictures: Path | None = None
    limits: Limits = field(default_factory=Limits)
    gpu_missing: str = ""  # why parts for the GPU cannot run
    graded: bool = False  # points depend on it

    def checks(self) -> list[Check]:
        chosen = [check for kind in self.kinds for check in self.lab.of_kind(kind)]
        return [check for check in chosen if not self.only or set(check.parts) & set(self.only)]

    def worker_seed(self, check: Check) -> int:
        """What the student's side starts its random numbers with; it must not learn the seed of a grading."""
        return Rng(self.seed, f"{check.name}, student's side").seed() if self.graded else self.seed


def _examine(plan: Plan, check: Check, submission: Submission, start: Start, tick: Tick, metrics: Metrics) -> None:
    """Run one check; returns when it passed, raises CheckFailed or Skipped."""
    lab = plan.lab
    if check.rule is not None:
        rules.check(check.rule, submission, lab.parts, lab.tag(check.rule.part))
        return
    assert check.function is not None
    if check.kind == "gpu" and plan.gpu_missing:
        raise Skipped(plan.gpu_missing)
    if check.needs is not None and (reason := check.needs()):
        raise Skipped(reason)
    measures = check.kind != "check"
    seconds = max(30.0, PATIENCE_WITH_EXPERIMENTS * check.seconds) if measures else check.seconds
    limits = replace(plan.limits, seconds=seconds * plan.patience)
    if check.kind == "gpu":
        limits = replace(limits, memory=None)  # CUDA reserves far more addresses than memory
    helpers = lab.helpers(experiments=True) if measures else lab.helpers(check.parts)
    substitutes = [] if measures else [name for name in lab.references if name not in check.parts]
    rng, seed = Rng(plan.seed, check.name), plan.worker_seed(check)
    with conversation(start, submission, helpers, substitutes, lab.labs, limits, seed, tick) as student:
        _run(check, student, metrics, DataSets(lab.labs), rng)


def _run(check: Check, student: Student, metrics: Metrics, data: DataSets, rng: Rng) -> None:
    assert check.function is not None
    try:
        if check.kind == "check":
            check.function(student, rng)
            return
        check.function(student, metrics, data, rng)
    except (CheckFailed, Skipped, MissingData):
        raise
    except Exception as error:
        # The check took something for granted that does not hold for what the student's function returned.
        text = f"what came back cannot be used: {type(error).__name__}: {error}"
        raise CheckFailed("wrong", text) from error
    missed = [metric.label for metric in metrics.reached if metric.ok is False]
    if missed:
        raise CheckFailed("wrong", f"not reached: {', '.join(missed)}")


def run(
    plan: Plan,
    submission: Submission | CheckFailed,
    start: Start,
    tick: Callable[[Check], Tick] = lambda _check: silent,
) -> Iterator[Result]:
    """Run what is planned and yield each result as it comes; an unusable submission fails everything.

    start: makes the processes with the student's code.
    """
    fatal: CheckFailed | None = None
    for check in plan.checks():
        metrics, begin = Metrics(plan.pictures), time.monotonic()
        status, failed, reason = "passed", None, ""
        try:
            if isinstance(submission, CheckFailed):
                raise submission
            if fatal is not None:
                raise fatal
            _examine(plan, check, submission, start, tick(check), metrics)
        except CheckFailed as finding:
            if finding.kind == "no data" and not plan.graded:  # the student's side says so: worth nothing in a grading
                status, reason = "skipped", finding.text
            else:
                failed, status = finding, "not yet" if finding.kind == "not yet" else "failed"
                fatal = finding if finding.fatal else fatal
        except (Skipped, MissingData) as why:
            status, reason = "skipped", str(why)
        seconds = time.monotonic() - begin
        yield Result(
            check, status, seconds, failed, reason or metrics.note, tuple(metrics.reached), tuple(metrics.pictures)
        )


def hints(submission: Submission, parts: Sequence[str]) -> dict[str, str]:
    """The hint of each part that is there."""
    definitions = submission.definitions()
    return {part: hint(definitions[part]) for part in parts if part in definitions}
