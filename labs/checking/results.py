"""What came out of the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .lab import Check
from .metrics import Metric
from .outcome import CheckFailed


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


def summary(results: Sequence[Result]) -> dict[str, int]:
    """Status → how many results have it, for all four statuses."""
    return {status: sum(r.status == status for r in results) for status in ("passed", "failed", "not yet", "skipped")}


def counts(result: Result) -> bool:
    """Whether a result is a point. A rule on the form is a condition: any function that is no stub keeps many rules."""
    return result.check.rule is None


def broken_parts(results: Sequence[Result]) -> frozenset[str]:
    """The parts that break a rule on their form: they have no points."""
    return frozenset(r.check.parts[0] for r in results if not counts(r) and r.status == "failed")
