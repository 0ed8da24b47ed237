"""The part of course-selftest that shows the table needs no PyTorch, and neither do these tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "selftest"))

from course_selftest.isolation import Died, Progress
from course_selftest.options import Options
from course_selftest.outcome import Row

MACHINE = {
    "device": "cpu", "gpu": "", "no_gpu": "this PyTorch was built without CUDA", "processor": "AMD EPYC", "threads": 2,
    "torch": "2.6.0", "cuda": "", "python": "3.13.5", "system": "Debian GNU/Linux 13 (trixie), x86_64",
}  # fmt: skip


class FakeWorker:
    """Answers with prepared rows, and raises a Died among them; `spoils` names the checks after which it is unfit."""

    def __init__(self, answers: dict[str, Row | Died], spoils: Sequence[str] = (), error: str = "") -> None:
        self.machine: dict[str, Any] = MACHINE
        self.error = error
        self.healthy = True
        self.closed = False
        self.ran: list[str] = []
        self._answers = answers
        self._spoils = spoils

    def run(self, name: str, limit: float, progress: Progress = lambda share: None) -> Row:
        assert self.healthy and not self.closed
        self.ran.append(name)
        progress(0.5)
        self.healthy = name not in self._spoils
        answer = self._answers.get(name, Row(name, "ok", f"{name} was measured"))
        if isinstance(answer, Died):
            self.healthy = False
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


class Starter:
    """Makes fake workers; keeps them, and the options that each was started with. A Died is raised instead."""

    def __init__(self, make: Callable[[Options], FakeWorker | Died]) -> None:
        self._make = make
        self.started: list[tuple[Options, FakeWorker | Died]] = []

    def __call__(self, options: Options) -> Any:
        made = self._make(options)
        self.started.append((options, made))
        if isinstance(made, Died):
            raise made
        return made


@pytest.fixture
def starter() -> Callable[..., Starter]:
    """A function that makes a Starter of workers which all answer alike."""

    def make(answers: dict[str, Row | Died] | None = None, spoils: Sequence[str] = (), error: str = "") -> Starter:
        return Starter(lambda options: FakeWorker(answers or {}, spoils, error))

    return make
