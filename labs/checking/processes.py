"""The processes of the student's code: their limits, how they are started, how they ended, what they printed."""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from . import worker
from .forkserver import GRACE, ForkServer, serve
from .preload import preload

PRINTED = 2000  # characters of a function's output that are shown
USED_UP = "has used up its time"


@dataclass(frozen=True)
class Limits:
    """What one check may take: seconds of computing, bytes; `until`: when all checks must be done (time.monotonic)."""

    seconds: float = 10.0
    memory: int | None = 2 << 30
    file_size: int = 16 << 20
    processes: int | None = None
    until: float = math.inf

    def of(self, base: int) -> dict[str, int | None]:
        """The arguments of worker.limit_resources, for a process that has reserved `base` bytes."""
        space = None if self.memory is None else base + self.memory
        seconds = math.ceil(self.seconds)
        return {"seconds": seconds, "address_space": space, "file_size": self.file_size, "processes": self.processes}


class NoProcess(Exception):
    """No process could be started: the machine's fault, not that of the submission."""


class Worker(Protocol):
    """A process with the student's code at the other end of `connection`."""

    connection: socket.socket

    def computed(self) -> float | None:
        """Seconds that it has computed; None where it has ended."""

    def end(self, grace: float = GRACE) -> str:
        """Make sure that it is gone; how it ended, as the end of a sentence, or "" if it was still alive."""

    def output(self) -> str:
        """What it printed."""


Start = Callable[[Limits], Worker]


class Remote:
    """A worker that a server has forked (see forkserver.py)."""

    def __init__(self, server: ForkServer, limits: Limits) -> None:
        self._server = server
        self._ended: str | None = None
        self.connection, theirs = socket.socketpair()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            self._pid = server.start(asdict(limits), theirs.fileno(), self._output.fileno())
        if not self._pid:
            self.connection.close()
            self._output.close()
            raise NoProcess("no process could be started")

    def computed(self) -> float | None:
        return self._server.computed(self._pid)

    def end(self, grace: float = GRACE) -> str:
        if self._ended is None:
            self._ended = ""
            self.connection.close()
            if (status := self._server.end(self._pid, grace)) is not None:
                self._ended = self._server.why or how_it_ended(status)
        return self._ended

    def output(self) -> str:
        self._output.seek(0)
        return clean(self._output.read(4 * PRINTED).decode("utf-8", "replace"))


def run_worker(order: dict[str, Any], descriptors: list[int], base: int | None = None) -> None:
    """The life of a worker: what a server forks; `base` is the address space that it has without the student's code."""
    base = worker.address_space() if base is None else base
    worker.run(socket.socket(fileno=descriptors[0]), descriptors[1], Limits(**order).of(base))


@contextmanager
def workers() -> Iterator[Start]:
    """Workers from a server that is forked now: only for a process that has computed nothing yet."""
    server = ForkServer.forked(run_worker)
    try:
        yield partial(Remote, server)
    finally:
        server.close()


def serve_apart(descriptor: str, *files: str) -> None:
    """The life of a server that was launched, not forked; its workers will help the checks in `files`."""
    torch.set_num_threads(1)
    preload(*(Path(file).read_text(encoding="utf-8") for file in files))
    serve(socket.socket(fileno=int(descriptor)), run_worker)


_APART = """import sys
sys.path.insert(0, sys.argv[1])
from checking import processes
processes.serve_apart(sys.argv[-1], *sys.argv[2:-1])
"""


def launch(labs: Path, files: Sequence[Path]) -> ForkServer:
    """A server in a Python of its own, for a process that may have computed, such as a notebook's kernel.

    labs: the folder of the labs. files: the programs of checks that its workers will help.
    """
    return ForkServer.launched([sys.executable, "-P", "-c", _APART, str(labs), *map(str, files)])


def how_it_ended(status: int) -> str:
    """The status of waitpid in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        names = {
            signal.SIGKILL: "was killed, probably for its use of memory",
            signal.SIGSEGV: "crashed (SIGSEGV)",
            signal.SIGXCPU: USED_UP,
        }
        return names.get(signal.Signals(number), f"was stopped by {signal.Signals(number).name}")
    return f"ended itself with status {os.waitstatus_to_exitcode(status)}"


def clean(text: str, limit: int = PRINTED) -> str:
    """Text from the student's side without control characters, which could steer a terminal, and not too long."""
    kept = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text[: limit + 1])
    return kept[:limit] + (" …" if len(kept) > limit else "")
