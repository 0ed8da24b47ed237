"""What came out of the checks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .lab import Check
from .metrics import Metric
from .outcome import CheckFailed

KINDS = ("check", "experiment", "gpu")


class Scored(Protocol):
    """What points are counted from: the results here, and those that a grader keeps."""

    @property
    def parts(self) -> tuple[str, ...]: ...
    @property
    def kind(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def counts(self) -> bool: ...


@dataclass(frozen=True)
class Result:
    """What came out of one check; status is "passed", "failed", "not yet" or "skipped"."""

    check: Check
    status: str
    seconds: float
    failed: CheckFailed | None = None
    reason: str = ""
    metrics: tuple[Metric, ...] = ()
    pictures: tuple[Path, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that are checked; the points go to the first."""
        return self.check.parts

    @property
    def kind(self) -> str:
        """What it is: a check, an experiment or a part for the GPU."""
        return self.check.kind

    @property
    def text(self) -> str:
        """What is wrong, in a sentence; "" where nothing is."""
        return self.failed.text if self.failed else ""

    @property
    def counts(self) -> bool:
        """Whether it is a point. A rule is none: any function that is no stub keeps most rules."""
        return self.check.rule is None


def summary(results: Sequence[Result]) -> dict[str, int]:
    """Status → how many results have it, for all four statuses."""
    return {status: sum(r.status == status for r in results) for status in ("passed", "failed", "not yet", "skipped")}


def idle(results: Iterable[Scored]) -> list[str]:
    """For each result, why it is no point though it passed; "" where it is one, and where it did not pass.

    A rule on the form is a condition: a part that breaks it has no points. A target counts when all checks of its
    parts pass: what a stub claims is worth nothing.
    """
    found = list(results)
    broken = {one.parts[0]: one.text for one in reversed(found) if not one.counts and one.status == "failed"}
    failing = {
        part for one in found if one.kind == "check" and one.status in ("failed", "not yet") for part in one.parts
    }
    return [_idle(one, broken, failing) if one.status == "passed" and one.counts else "" for one in found]


def _idle(one: Scored, broken: Mapping[str, str], failing: Set[str]) -> str:
    if one.parts[0] in broken:
        return f"does not count: {broken[one.parts[0]].partition(chr(10))[0]}"
    wrong = [part for part in one.parts if part in failing]
    if one.kind != "check" and wrong:
        return f"does not count: not all checks of {' and '.join(wrong)} pass"
    return ""


def points(results: Iterable[Scored], kinds: Collection[str] = KINDS) -> dict[str, tuple[int, int]]:
    """Part → its points, and how many there could be; what was skipped does not count, nor does a rule by itself.

    results: all that came out, rules included. kinds: what gives points.
    """
    found = list(results)
    given: dict[str, tuple[int, int]] = {}
    for one, why in zip(found, idle(found), strict=True):
        if one.counts and one.kind in kinds and one.status != "skipped":
            passed, of = given.get(one.parts[0], (0, 0))
            given[one.parts[0]] = (passed + (one.status == "passed" and not why), of + 1)
    return given


def total(results: Iterable[Scored]) -> tuple[int, int]:
    """All points together, and how many there could be."""
    given = points(results).values()
    return sum(passed for passed, _ in given), sum(of for _, of in given)
