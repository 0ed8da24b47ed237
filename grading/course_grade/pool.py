"""Grade several submissions at a time, each in a process of its own, and lose none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .grader import Report, Task, failed_report, from_data, grade, to_data
from .sandbox import FIRST_UID, Protection, keep_memory_private
from .submissions import Submitted
from .support import lay_out
from .zygote import Zygote

_SLACK = 60.0  # seconds that a grader may take beyond the time of its submission


def _lay_out(submitted: Submitted, scratch: Path, protection: Protection, slot: int) -> None:
    """Fill the scratch folder with what a submission brings along, and give it to its user."""
    lay_out(submitted.folder, scratch)
    if protection.other_user:
        for path in (scratch, *scratch.rglob("*")):
            os.chown(path, FIRST_UID + slot, FIRST_UID + slot)


@dataclass
class _Running:
    submitted: Submitted
    pid: int
    slot: int
    until: float
    scratch: Path
    result: Path


class Pool:
    """Grades submissions, `jobs` of them at a time."""

    def __init__(self, zygote: Zygote, protection: Protection, task: Task, jobs: int) -> None:
        self._zygote, self._protection, self._task, self._jobs = zygote, protection, task, jobs
        self._room = Path(tempfile.mkdtemp(prefix="grading-"))  # for us alone; scratch folders lie elsewhere
        self._running: list[_Running] = []

    def grade(self, submissions: Sequence[Submitted]) -> Iterator[Report]:
        """The reports, in the order in which the graders end."""
        waiting = list(reversed(submissions))
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._jobs:
                    self._start(waiting.pop())
                yield from self._done()
                time.sleep(0.01)
        finally:
            for one in self._running:
                os.kill(one.pid, signal.SIGKILL)
                os.waitpid(one.pid, 0)
                shutil.rmtree(one.scratch, ignore_errors=True)
            shutil.rmtree(self._room, ignore_errors=True)

    def _start(self, submitted: Submitted) -> None:
        used = {one.slot for one in self._running}
        slot = next(number for number in range(self._jobs) if number not in used)
        scratch = Path(tempfile.mkdtemp(prefix="submission-"))
        result = self._room / f"{slot}.json"
        result.unlink(missing_ok=True)
        _lay_out(submitted, scratch, self._protection, slot)
        sandbox = self._zygote.sandbox(slot, scratch)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                keep_memory_private()
                report = grade(submitted.name, submitted.file, self._task, sandbox, scratch)
                result.with_suffix(".new").write_text(json.dumps(to_data(report)), "utf-8")
                result.with_suffix(".new").rename(result)
                status = 0
            finally:
                os._exit(status)
        sandbox.close()  # the grader has it, and when the grader ends, the sandbox does
        until = time.monotonic() + self._task.seconds + _SLACK
        self._running.append(_Running(submitted, pid, slot, until, scratch, result))

    def _done(self) -> Iterator[Report]:
        for one in list(self._running):
            ended = os.waitpid(one.pid, os.WNOHANG)[0] != 0
            if not ended and time.monotonic() > one.until:
                os.kill(one.pid, signal.SIGKILL)
                os.waitpid(one.pid, 0)
                ended = True
            if not ended:
                continue
            self._running.remove(one)
            try:
                report = from_data(json.loads(one.result.read_text("utf-8")))
            except (OSError, ValueError):
                report = failed_report(one.submitted.name, self._task, "The grading of this submission broke off.")
            _remove(one.scratch)
            yield report


def _remove(scratch: Path) -> None:
    """Remove a scratch folder, whatever a submission did to the rights in it."""

    def make_writable(_function: Callable[..., object], path: str, _error: object) -> None:
        try:
            os.chmod(os.path.dirname(path), 0o700)  # a folder that rmtree walked into: never behind a link
            if os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, 0o700)
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
        except OSError:
            return

    shutil.rmtree(scratch, onerror=make_writable)
