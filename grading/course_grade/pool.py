"""Grade several submissions at a time, each in a process of its own, and lose none."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from checking import worker

from .grader import Report, Task, failed_report, from_data, grade, to_data
from .sandbox import Protection, keep_memory_private
from .scratch import remove
from .submissions import Submitted
from .support import lay_out
from .zygote import Zygote

_SLACK = 60.0  # seconds that a grader may take beyond the time of its submission
_GRADER = 3 << 30  # bytes that a grader may reserve beyond what it starts with
_ENDING = 5.0  # seconds within which the processes of a sandbox end
_PATIENCE = 60.0  # seconds to wait for a free process or for room on the disk
_ATTEMPTS = 2


def _lay_out(submitted: Submitted, scratch: Path) -> None:
    """Fill the scratch folder with what a submission brings along."""
    lay_out(submitted.folder, scratch)


def _computed_too_long(_number: int, _frame: FrameType | None) -> None:
    """Raise out of a check what it counts as a failure of the submission."""
    raise TimeoutError("what came back takes too long to compare")


@dataclass
class _Waiting:
    submitted: Submitted
    attempts: int = 0
    since: float = field(default_factory=time.monotonic)


@dataclass
class _Running:
    waiting: _Waiting
    pid: int
    slot: int
    until: float
    scratch: Path
    result: int
    ended: int  # a pipe: see Zygote.sandbox


class Pool:
    """Grades submissions, `jobs` of them at a time."""

    def __init__(self, zygote: Zygote, protection: Protection, task: Task, jobs: int) -> None:
        self._zygote, self._protection, self._task, self._jobs = zygote, protection, task, jobs
        self._running: list[_Running] = []
        self._waiting: list[_Waiting] = []

    def grade(self, submissions: Sequence[Submitted]) -> Iterator[Report]:
        """The reports, in the order in which the graders end.

        Whoever stops to ask for more, or is interrupted, leaves neither processes nor files behind.
        """
        self._waiting = [_Waiting(submitted) for submitted in reversed(submissions)]
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._jobs:
                    one = self._waiting.pop()
                    try:
                        self._start(one)
                    except OSError as error:  # no free process, no room on the disk: others may give some back
                        if not self._running and time.monotonic() > one.since + _PATIENCE:
                            remark = f"It could not be graded, which is not its fault: {error.strerror or error}."
                            yield failed_report(one.submitted.name, self._task, remark)
                        else:
                            self._waiting.append(one)
                        break
                yield from self._done()
                time.sleep(0.01)
        finally:
            for running in self._running:
                os.kill(running.pid, signal.SIGKILL)
                os.waitpid(running.pid, 0)
                self._clear(running)

    def _start(self, one: _Waiting) -> None:
        submitted = one.submitted
        used = {running.slot for running in self._running}
        slot = next(number for number in range(self._jobs) if number not in used)
        scratch = Path(tempfile.mkdtemp(prefix="submission-"))
        try:
            _lay_out(submitted, scratch)
            sandbox, ended = self._zygote.sandbox(slot, scratch)
        except OSError:
            remove(scratch)
            raise
        result = os.memfd_create("report")  # no submission can fill what it is kept in
        try:
            pid = os.fork()
        except OSError:
            os.close(result)
            os.close(ended)
            sandbox.close()
            remove(scratch)
            raise
        if pid == 0:
            status = 1
            try:
                keep_memory_private()
                space = worker.address_space() + _GRADER
                resource.setrlimit(resource.RLIMIT_AS, (space, space))
                signal.signal(signal.SIGPROF, _computed_too_long)
                report = grade(submitted.name, submitted.file, self._task, sandbox, scratch)
                content = json.dumps(to_data(report), ensure_ascii=False).encode("utf-8", "replace")
                with open(result, "wb", closefd=False) as file:
                    file.write(content)
                status = 0
            finally:
                os._exit(status)
        sandbox.close()  # the grader has it, and when the grader ends, the sandbox does
        until = time.monotonic() + self._task.seconds + _SLACK
        self._running.append(_Running(one, pid, slot, until, scratch, result, ended))

    def _done(self) -> Iterator[Report]:
        for one in list(self._running):
            ended, status = os.waitpid(one.pid, os.WNOHANG)
            late = not ended and time.monotonic() > one.until
            if late:
                os.kill(one.pid, signal.SIGKILL)
                os.waitpid(one.pid, 0)
            elif not ended:
                continue
            self._running.remove(one)
            name, report = one.waiting.submitted.name, None
            if not late and status == 0:
                with contextlib.suppress(OSError, ValueError):
                    os.lseek(one.result, 0, os.SEEK_SET)
                    with open(one.result, "rb", closefd=False) as file:
                        report = from_data(json.loads(file.read()))
            self._clear(one)
            one.waiting.attempts += 1
            if report is None and not late and one.waiting.attempts < _ATTEMPTS:
                self._waiting.append(one.waiting)
            else:
                yield report or failed_report(name, self._task, "The grading of this submission broke off.")

    def _clear(self, one: _Running) -> None:
        """Wait until the sandbox has ended, and remove what it leaves."""
        select.select([one.ended], [], [], _ENDING)
        os.close(one.ended)
        os.close(one.result)
        remove(one.scratch)
