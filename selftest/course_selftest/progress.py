"""One line on a terminal that says what runs and about how long the rest takes; nothing anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TextIO

from course_selftest.catalog import Check
from course_selftest.options import Options

CLEAR = "\r\x1b[K"
START_SECONDS = 3.0  # to start the process of the checks and to import PyTorch
PRIOR_SECONDS = 5.0


class TimeLeft:
    """Estimates from what was expected of each check, and from how long those so far have really taken.

    device: "cpu" or "cuda"; set it as soon as it is known.
    """

    def __init__(self, checks: Sequence[Check], options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self.device = "cpu"
        self._checks = list(checks)
        self._options = options
        self._clock = clock
        self._start = self._begun = clock()
        self._current = 0

    def begin(self, check: Check) -> None:
        """This check begins now, and those before it in the list are done."""
        self._current, self._begun = self._checks.index(check), self._clock()

    def seconds(self, share: float = 0.0) -> float:
        """About how long all the rest takes, when `share` (0 to 1) of the current check is done."""
        expected = [
            check.expected_seconds(self.device, self._options.full, self._options.repeat) for check in self._checks
        ]
        expected[0] += START_SECONDS
        done = sum(expected[: self._current])
        # At first nothing was measured: the pace begins at 1 and moves away from it by what a few seconds can tell.
        pace = (self._begun - self._start + PRIOR_SECONDS) / (done + PRIOR_SECONDS)
        running = self._clock() - self._begun
        if share > 0:
            rest = running * (1 - share) / share
        else:
            rest = max(expected[self._current] * pace - running, running / 10)
        return rest + sum(expected[self._current + 1 :]) * pace


class ProgressLine:
    """Writes that line to a stream, when it is a terminal, and wipes it away before something else is written."""

    def __init__(self, stream: TextIO, checks: Sequence[Check], time_left: TimeLeft) -> None:
        self._stream = stream
        self._names = [check.name for check in checks]
        self._time_left = time_left
        self._shown = stream.isatty()

    def show(self, check: Check, share: float = 0.0) -> None:
        if self._shown:
            place = f"{self._names.index(check.name) + 1}/{len(self._names)}"
            left = duration(self._time_left.seconds(share))
            self._stream.write(f"{CLEAR}[{place}] {check.name} … about {left} left")
            self._stream.flush()

    def wipe(self) -> None:
        if self._shown:
            self._stream.write(CLEAR)
            self._stream.flush()


def duration(seconds: float) -> str:
    """A time as people say it: 8 s, 2 min 30 s, 1 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
