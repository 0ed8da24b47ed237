"""Run checks one after the other, each in a process that none before it has spoilt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from course_selftest.catalog import Check
from course_selftest.isolation import Died, Progress, Worker
from course_selftest.options import Options
from course_selftest.outcome import Row

StartWorker = Callable[[Options], Worker]


class Suite:
    """The worker in use, and what is known about the machine. Use it as a context manager.

    machine: what the first worker says about itself; empty before the first check.
    """

    def __init__(self, options: Options, start_worker: StartWorker = Worker) -> None:
        self.machine: dict[str, Any] = {}
        self._options = options
        self._start_worker = start_worker
        self._worker: Worker | None = None
        self._given_up = ""

    def __enter__(self) -> Suite:
        return self

    def __exit__(self, *error: object) -> None:
        if self._worker is not None:
            self._worker.close()

    def run(self, check: Check, progress: Progress = lambda share: None) -> Row:
        """The row of one check, whatever happens in it. progress: see Worker.run."""
        start = time.monotonic()
        if self._given_up:
            return Row(check.name, "skipped", self._given_up)
        try:
            row = self._ready().run(check.name, check.limit_seconds, progress)
        except Died as death:
            row = Row(check.name, "FAILED", death.sentence(), detail=death.printed)
        return replace(row, seconds=round(time.monotonic() - start, 3))

    def _ready(self) -> Worker:
        """A worker that can be given a check: the one in use, else a new one. Raises Died."""
        if self._worker is not None and self._worker.healthy:
            return self._worker
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        try:
            worker = self._start_worker(self._options)
        except Died as death:
            # The first thing that a worker does, after importing PyTorch, is to look at the GPU. When that ends it,
            # the check that asked for the worker fails, and the others go on without a GPU.
            if self._options.no_gpu:
                self._given_up = "PyTorch cannot be started"
            else:
                self._options = replace(self._options, no_gpu="CUDA cannot be started")
            raise Died(f"PyTorch or CUDA cannot be started: {death}", death.printed) from None
        if worker.error:
            worker.close()
            self._given_up = "PyTorch cannot be imported"
            raise Died(f"{self._given_up}: {worker.error}", "")
        self._worker, self.machine = worker, self.machine or worker.machine
        return worker
