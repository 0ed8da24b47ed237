"""Measured results: what a target asks for, what came out, and the picture of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Okabe and Ito's colours, which colour-blind people tell apart, each with a line style of its own: a print without
# colour shows it, too. https://jfly.uni-koeln.de/color/
_CYCLE = {
    "#0072B2": "-",
    "#D55E00": "--",
    "#009E73": "-.",
    "#CC79A7": ":",
    "#E69F00": (0, (7, 2, 1, 2, 1, 2)),
    "#000000": (0, (9, 3)),
}
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "image.cmap": "gray_r",
    "figure.dpi": 110,
    "axes.prop_cycle": f"cycler('color', {list(_CYCLE)}) + cycler('linestyle', {list(_CYCLE.values())})",
}


@dataclass(frozen=True)
class Metric:
    """One line of a result: ok is None where nothing is asked."""

    label: str
    value: float
    wanted: str
    unit: str
    ok: bool | None

    def measured(self) -> str:
        text = f"{self.value:.0f}" if float(self.value).is_integer() else f"{self.value:.4g}"
        return f"{text} {self.unit}".strip()


class Metrics:
    """What one target measures; pictures go to `folder`, or nowhere where that is None."""

    def __init__(self, folder: Path | None) -> None:
        self.reached: list[Metric] = []
        self.pictures: list[Path] = []
        self.note = ""
        self._folder = folder

    def _note(self, label: str, value: Any, wanted: str, unit: str, ok: bool | None) -> None:
        number = float(value) if isinstance(value, (int, float)) else math.nan
        self.reached.append(Metric(label, number, f"{wanted} {unit}".strip(), unit, ok))

    def equal(self, label: str, value: Any, wanted: float, unit: str = "") -> None:
        self._note(label, value, f"= {wanted:g}", unit, value == wanted)

    def within(self, label: str, value: Any, low: float, high: float, unit: str = "") -> None:
        self._note(label, value, f"{low:g} to {high:g}", unit, _real(value) and low <= value <= high)

    def at_most(self, label: str, value: Any, bound: float, unit: str = "") -> None:
        self._note(label, value, f"≤ {bound:g}", unit, _real(value) and value <= bound)

    def at_least(self, label: str, value: Any, bound: float, unit: str = "") -> None:
        self._note(label, value, f"≥ {bound:g}", unit, _real(value) and value >= bound)

    def seen(self, label: str, value: Any, unit: str = "") -> None:
        """A measurement without a threshold."""
        self._note(label, value, "", unit, None)

    @contextmanager
    def picture(self, name: str, size: tuple[float, float] = (8, 3)) -> Iterator[Any]:
        """A matplotlib Figure of `size` inches, saved as `name` in the lab's folder results/."""
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=size, layout="constrained")
            FigureCanvasAgg(figure)
            yield figure
            if self._folder is None:
                return
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                figure.savefig(self._folder / name, dpi=150)
            except OSError as error:
                self.note = f"{name} cannot be written into {self._folder}: {error.strerror}; see --pictures"
            else:
                self.pictures.append(self._folder / name)


def _real(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
