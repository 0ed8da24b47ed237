"""The line on the terminal: what it says, and that there is none anywhere else."""

from __future__ import annotations

import io

import pytest
from course_selftest.catalog import Check
from course_selftest.options import Options
from course_selftest.progress import CLEAR, ProgressLine, TimeLeft, duration

CHECKS = [
    Check("one", "", "x:y", 10, 1),
    Check("two", "", "x:y", 20, 2, trains=True, full_seconds=200),
    Check("three", "", "x:y", 30, 3),
]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (150, "2 min 30 s"),
        (3600, "1 h 0 min"),
        (4210, "1 h 10 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_time_left_is_what_was_expected_until_something_was_measured() -> None:
    assert TimeLeft(CHECKS, Options(), Clock()).seconds() == 3 + 60
    assert TimeLeft(CHECKS, Options(repeat=3), Clock()).seconds() == 3 + 100
    assert TimeLeft(CHECKS, Options(full=True, repeat=3), Clock()).seconds() == 3 + 640
    time_left = TimeLeft(CHECKS, Options(full=True), Clock())
    time_left.device = "cuda"  # where --full changes nothing
    assert time_left.seconds() == 3 + 6


def test_a_slow_machine_is_noticed() -> None:
    clock = Clock()
    time_left = TimeLeft(CHECKS, Options(), clock)
    time_left.begin(CHECKS[0])
    clock.now += 103  # for 10 + 3 expected seconds: a pace of (103 + 5) / (13 + 5) = 6
    time_left.begin(CHECKS[1])
    assert time_left.seconds() == pytest.approx(6 * (20 + 30))
    clock.now += 60
    assert time_left.seconds() == pytest.approx(6 * (20 + 30) - 60)
    clock.now += 540  # it takes longer than the pace says, and nobody knows by how much
    assert time_left.seconds() == pytest.approx(6 * 30 + 60)


def test_a_check_that_tells_its_share_is_believed() -> None:
    clock = Clock()
    time_left = TimeLeft(CHECKS, Options(), clock)
    clock.now += 30
    assert time_left.seconds(0.25) == pytest.approx(90 + 20 + 30)


def test_the_line_on_a_terminal() -> None:
    terminal, clock = Terminal(), Clock()
    line = ProgressLine(terminal, CHECKS, TimeLeft(CHECKS, Options(), clock))
    line.show(CHECKS[1])
    line.wipe()
    assert terminal.getvalue() == f"{CLEAR}[2/3] two … about 1 min 3 s left{CLEAR}"


def test_silence_elsewhere() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream, CHECKS, TimeLeft(CHECKS, Options(), Clock()))
    line.show(CHECKS[0], 0.5)
    line.wipe()
    assert stream.getvalue() == ""
