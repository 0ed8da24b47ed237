"""What in a picture cannot be told apart without colour: for the notebooks' kernels in test_targets.py.

Two lines, clouds of points or bars of one picture are told apart by line style, marker or hatch. Where these are the
same, their colours must differ for everybody: in print without colour, and with each kind of colour blindness.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

# Matrices for linear RGB, complete deficiency: Machado, Oliveira, Fernandes, "A Physiologically-based Model for
# Simulation of Color Vision Deficiency", IEEE TVCG 15 (2009), table 1, severity 1.0.
EYES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
    "no colour": ((0.2126, 0.7152, 0.0722), (0.2126, 0.7152, 0.0722), (0.2126, 0.7152, 0.0722)),
}
APART = 12.0  # of CIELAB, in which 2.3 is just noticeable
ORDERED_MAPS = ("gray", "viridis", "cividis", "magma", "inferno", "plasma", "Greys", "Blues", "YlGnBu", "bone")
FOUND = "pictures.jsonl"

Rgb = tuple[float, float, float]


def lab_of(colour: Sequence[float], eyes: str) -> np.ndarray[Any, Any]:
    """The CIELAB coordinates (3) of an sRGB colour in 0 … 1, as these eyes see it."""
    srgb = np.asarray(colour[:3], dtype=float)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = (np.asarray(EYES[eyes]) @ linear).clip(0, 1)
    to_xyz = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    xyz = np.asarray(to_xyz) @ linear / np.asarray((0.95047, 1.0, 1.08883))
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.asarray((116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])))


def alike(one: Sequence[float], other: Sequence[float]) -> str:
    """For whom two different colours look alike; "" where all tell them apart."""
    for eyes in EYES:
        if math.dist(lab_of(one, eyes), lab_of(other, eyes)) < APART:
            return eyes
    return ""


def _rgb(colour: Any) -> Rgb:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return round(red, 3), round(green, 3), round(blue, 3)


def _marks(axes: Any) -> Iterator[tuple[str, Any, Rgb]]:
    """What is drawn: its kind, its form, its colour."""
    for line in axes.lines:
        if len(line.get_xdata(orig=False)) > 2 or line.get_marker() not in ("None", None, "", " "):
            form = (str(line._dash_pattern), str(line.get_marker()), line.get_markerfacecolor() == "none")
            yield "lines", form, _rgb(line.get_color())
    for points in axes.collections:
        if type(points).__name__ == "PathCollection" and points.get_array() is None:
            paths = points.get_paths()
            form = (np.round(paths[0].vertices, 3).tobytes() if paths else b"", len(points.get_facecolor()) == 0)
            for colour in {_rgb(c) for c in (*points.get_facecolor(), *points.get_edgecolor())}:
                yield "points", form, colour
    for bars in axes.containers:
        if type(bars).__name__ == "BarContainer":
            for bar in bars:
                yield "bars", bar.get_hatch(), _rgb(bar.get_facecolor())


def audit(figure: Any) -> list[str]:
    """A sentence for each pair told apart by colour alone, and for each image whose colours nothing explains."""
    found: list[str] = []
    for number, axes in enumerate(axes for axes in figure.axes if axes.get_label() != "<colorbar>"):
        where = f"axes {number}" + (f" ({axes.get_title()!r})" if axes.get_title() else "")
        for (kind, form, colour), (other_kind, other_form, other) in combinations(
            sorted(set(_marks(axes)), key=str), 2
        ):
            if kind == other_kind and form == other_form and colour != other and (eyes := alike(colour, other)):
                found.append(f"{where}: {kind} of the colours {colour} and {other} are alike: {eyes}")
        maps = {image.get_cmap().name for image in axes.images if image.get_array().ndim == 2}
        maps |= {c.get_cmap().name for c in axes.collections if c.get_array() is not None and c.get_cmap().N > 1}
        bars = [c for c in (*axes.images, *axes.collections) if getattr(c, "colorbar", None) is not None]
        for name in sorted(maps):
            base = name.removesuffix("_r")
            if base not in ORDERED_MAPS and not bars:
                found.append(f"{where}: the colours of {name} have no order and no scale beside them")
    return sorted(set(found))


def watch(metrics: type[Any], folder: Path) -> None:
    """Let every picture that is drawn note what `audit` finds in it, in a file in `folder`."""
    plain = metrics.picture

    @contextmanager
    def picture(self: Any, name: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with plain(self, name, *args, **kwargs) as figure:
            yield figure
            with (folder / FOUND).open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, audit(figure)]) + "\n")

    metrics.picture = picture
