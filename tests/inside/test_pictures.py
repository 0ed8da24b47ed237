"""What the test of the notebooks calls “cannot be told apart” (see pictures.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lab_cases as cases  # noqa: F401  # the path to `checking`
import pytest
from checking.metrics import Metrics
from pictures import FOUND, alike, audit, watch

RED, GREEN, BLUE, YELLOW = (0.84, 0.37, 0.0), (0.45, 0.5, 0.0), (0.0, 0.45, 0.7), (0.95, 0.9, 0.25)


def drawn(draw: Callable[[Any], object]) -> list[str]:
    with Metrics(None).picture("x.png") as figure:
        draw(figure.subplots())
        return audit(figure)


def test_colours_that_look_alike() -> None:
    assert alike(RED, GREEN) != ""
    assert alike(BLUE, YELLOW) == ""
    assert alike((0.1, 0.4, 0.9), (0.53, 0.4, 0.0)) == "no colour"


def three(axes: Any, **style: Any) -> None:
    for colour in (RED, GREEN, BLUE):
        axes.plot([0, 1, 2], [0, 1, 0], color=colour, **style)


def bars(axes: Any, hatches: list[str | None]) -> None:
    for n, hatch in enumerate(hatches):
        axes.bar([n], [1], color=(RED, GREEN)[n], hatch=hatch)


@pytest.mark.parametrize(
    "draw",
    [
        lambda axes: three(axes, linestyle="-"),
        lambda axes: three(axes, linestyle="", marker="o"),
        lambda axes: [axes.scatter([0, 1], [1, 2], color=[colour]) for colour in (RED, GREEN)],
        lambda axes: axes.scatter([0, 1], [1, 2], color=[RED, GREEN]),
        lambda axes: bars(axes, [None, None]),
        lambda axes: axes.imshow([[0, 1], [2, 3]], cmap="tab10"),
        lambda axes: axes.pcolormesh([[0, 1], [2, 3]], cmap="jet"),
    ],
)
def test_colour_alone_is_found(draw: Callable[[Any], object]) -> None:
    assert drawn(draw) != []


@pytest.mark.parametrize(
    "draw",
    [
        lambda axes: [axes.plot([0, 1, 2], [n, 1, 0]) for n in range(6)],  # the cycle has line styles
        lambda axes: [axes.plot([0, 1], [n, 1], "o", color=BLUE) for n in range(3)],
        lambda axes: [axes.scatter([0], [1], color=[c], marker=m) for c, m in ((RED, "o"), (GREEN, "^"))],
        lambda axes: bars(axes, ["//", None]),
        lambda axes: axes.imshow([[0, 1], [2, 3]]),
        lambda axes: axes.figure.colorbar(axes.imshow([[0, 1], [2, 3]], cmap="RdBu")),
    ],
)
def test_form_is_enough(draw: Callable[[Any], object]) -> None:
    assert drawn(draw) == []


def test_pictures_are_watched(tmp_path: Path) -> None:
    class Watched(Metrics):
        pass

    watch(Watched, tmp_path)
    with Watched(None).picture("bad.png") as figure:
        three(figure.subplots(), linestyle="-")
    with Watched(None).picture("good.png", size=(2, 2)) as figure:
        figure.subplots().plot([0, 1, 2])
    lines = [json.loads(line) for line in (tmp_path / FOUND).read_text(encoding="utf-8").splitlines()]
    assert [name for name, _ in lines] == ["bad.png", "good.png"]
    assert lines[0][1] != [] and lines[1][1] == []
