"""What a check can end with, and the row that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Figure = float | int | str | bool | list[str] | list[float]
Result = Literal["ok", "FAILED", "skipped"]


@dataclass(frozen=True)
class Measured:
    """A check that went well: what was measured, for people, and the same as figures, for machines.

    The name of a figure ends with its unit, where it has one: `_seconds`, `_percent`, `_bytes`, `_tflops`.
    """

    text: str
    figures: Mapping[str, Figure] = field(default_factory=dict)


class Failed(Exception):
    """A check found something wrong: one sentence, with the remedy where there is one; figures as in Measured."""

    def __init__(self, sentence: str, figures: Mapping[str, Figure] | None = None) -> None:
        super().__init__(sentence)
        self.figures = dict(figures or {})


class Skipped(Exception):
    """A check cannot be made here: the reason."""


@dataclass(frozen=True)
class Row:
    """One line of the table. detail: traceback or output of a failed check, for whoever looks for the cause."""

    name: str
    result: Result
    text: str
    seconds: float = 0.0
    figures: dict[str, Figure] = field(default_factory=dict)
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def sentence(error: BaseException) -> str:
    """The first line of an exception that nobody expected, with its type: `RuntimeError: cuDNN error: …`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
