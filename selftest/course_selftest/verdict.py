"""Collects what a check measures, and says at the end whether it was right."""

from __future__ import annotations

from collections.abc import Mapping

from course_selftest.outcome import Failed, Figure, Measured


class Verdict:
    """Relative errors with their bounds, and what else was measured."""

    def __init__(self) -> None:
        self._figures: dict[str, Figure] = {}
        self._texts: list[str] = []
        self._wrong: list[str] = []

    def add(self, label: str, error: float, limit: float) -> None:
        """A relative error, and the largest that is right; NaN and infinity never are."""
        self.add_group(label, {"": (error, limit)})

    def add_group(self, label: str, parts: Mapping[str, tuple[float, float]]) -> None:
        """The errors and bounds of several results. Each is judged by itself; the text has the largest error only."""
        for part, (error, limit) in parts.items():
            whole = f"{label} {part}".strip()
            name = whole.replace(" ", "_")
            self._figures |= {f"{name}_error": error, f"{name}_bound": limit}
            if not error <= limit:
                self._wrong.append(f"{whole}: relative error {error:.1e}, at most {limit:.1e} is right")
        self._texts.append(f"{label} {max(error for error, _ in parts.values()):.1e}")

    def note(self, text: str, **figures: Figure) -> None:
        """Something to be told, that cannot be wrong."""
        self._texts.append(text)
        self._figures |= figures

    def measured(self) -> Measured:
        """Raises Failed when an error was too large."""
        if self._wrong:
            raise Failed(f"{'; '.join(self._wrong)}.", self._figures)
        return Measured(", ".join(self._texts), self._figures)
