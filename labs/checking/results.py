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
