"""Where a function of a student was when its time was used up, and what shows why: for the student's side."""

from __future__ import annotations

import ast
import linecache
import math
import signal
from types import FrameType
from typing import Any

import torch

_HUGE = 1e30  # no quantity of a lab is as large
_DEEP = 50  # calls of one function within each other
_LARGEST = 1_000_000  # elements of a tensor that is looked at


class TimeUp(BaseException):
    """The time for computing is used up. No `except Exception` of a student catches it."""

    def __init__(self, frame: FrameType | None) -> None:
        super().__init__()
        self.at: list[tuple[FrameType, int]] = []  # each frame, the inner ones first, with the line that runs now
        while frame is not None:
            self.at.append((frame, frame.f_lineno))
            frame = frame.f_back


def _stop(_number: int, frame: FrameType | None) -> None:
    raise TimeUp(frame)


def watch() -> None:
    """From now on, SIGXCPU raises TimeUp; a process that computes on is killed by the kernel 2 s later."""
    signal.signal(signal.SIGXCPU, _stop)


def explain(error: TimeUp, module: dict[str, Any]) -> dict[str, Any]:
    """What is known, as plain data: line and code of the student's own frame, `loop`, `recursive`, `diverged`.

    module: the names of the student's module. loop: the first line of the loop that was running, "" without one.
    diverged: the name of a variable that is no longer finite, or "". nan: whether that is for not being a number.
    """
    own = [(frame, line) for frame, line in error.at if frame.f_globals is module]
    if not own:
        return {"line": 0, "code": "", "loop": "", "recursive": False, "diverged": "", "nan": False}
    inner, line = own[0]
    name = inner.f_code.co_filename
    found = next((one for frame, _ in own for one in _not_finite(frame.f_locals)), ("", False))
    calls = sum(frame.f_code is inner.f_code for frame, _ in own)
    return {
        "line": line,
        "code": linecache.getline(name, line).strip(),
        "loop": next((loop for frame, at in own if (loop := _loop(frame, at))), ""),
        "recursive": calls > _DEEP,
        "diverged": found[0],
        "nan": found[1],
    }


def _loop(frame: FrameType, line: int) -> str:
    """The first line of the innermost loop around this line of a frame."""
    lines = linecache.getlines(frame.f_code.co_filename)
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    first = frame.f_code.co_firstlineno
    around = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, (ast.For, ast.While)) and first <= node.lineno <= line <= (node.end_lineno or 0)
    ]
    return lines[max(around) - 1].strip() if around else ""


def _not_finite(names: dict[str, Any]) -> list[tuple[str, bool]]:
    """The variables that are no longer finite, each with whether it is nan."""
    found = [(name, _diverged(value)) for name, value in names.items() if not name.startswith("_")]
    return [(name, how == "nan") for name, how in found if how]


def _diverged(value: Any) -> str:
    """ "nan", "huge", or "" for what is finite."""
    if isinstance(value, float):
        if math.isinf(value) and value > 0:
            return ""  # a usual first minimum
        return "nan" if math.isnan(value) else "huge" if abs(value) > _HUGE else ""
    if isinstance(value, torch.Tensor) and value.is_floating_point() and 0 < value.numel() <= _LARGEST:
        values = value.detach()
        return "nan" if bool(values.isnan().any()) else "huge" if bool((values.abs() > _HUGE).all()) else ""
    return ""
