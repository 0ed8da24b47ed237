"""The zygote: the process that all students' processes are forked from. It has imported torch and knows no more."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

from checking import forkserver, worker
from checking.forkserver import ForkServer
from checking.processes import run_worker

from . import sandbox
from .sandbox import Protection


class Zygote:
    """The process that makes sandboxes. Start it before anything that a student must not see is in memory.

    labs: the folder of the labs. data: the folder of the data sets, None where there are none.
    """

    def __init__(self, protection: Protection, labs: Path, data: Path | None) -> None:
        self._connection, theirs = forkserver.pair()
        self._pid = os.fork()
        if self._pid == 0:
            self._connection.close()
            with contextlib.suppress(BaseException):
                _make_sandboxes(theirs, protection, labs, data)
            os._exit(0)
        theirs.close()

    def sandbox(self, slot: int, scratch: Path) -> ForkServer:
        """A new sandbox that may write into `scratch`: a server of processes; closing it ends them all."""
        ours, theirs = forkserver.pair()
        forkserver.say(self._connection, {"slot": slot, "scratch": str(scratch)}, theirs.fileno())
        theirs.close()
        return ForkServer(ours)

    def close(self) -> None:
        """End the zygote; returns when it has ended."""
        self._connection.close()
        os.waitpid(self._pid, 0)


def _make_sandboxes(orders: socket.socket, protection: Protection, labs: Path, data: Path | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who grades
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the sandboxes
    sandbox.keep_memory_private()
    while True:
        order, descriptors = forkserver.hear(orders)
        if not order:
            return
        if os.fork() == 0:
            orders.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            commands = socket.socket(fileno=descriptors[0])
            if protection.namespaces:
                sandbox.separate()
                first = os.fork()  # the first process of its world: when it ends, all others end
                if first:
                    commands.close()
                    os.waitpid(first, 0)
                    os._exit(0)
            with contextlib.suppress(BaseException):
                _supervise(commands, protection, int(order["slot"]), Path(order["scratch"]), labs, data)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _supervise(
    commands: socket.socket, protection: Protection, slot: int, scratch: Path, labs: Path, data: Path | None
) -> None:
    """Start and end processes in a sandbox, until the one who commands has gone."""
    os.setsid()
    base = worker.address_space()
    place = sandbox.Place(scratch, data, tuple(sandbox.readable(labs, data)), sandbox.FIRST_UID + slot)

    def run(order: dict[str, Any], descriptors: list[int]) -> None:
        sandbox.enter(protection, place)
        run_worker(order, descriptors, base)

    forkserver.serve(commands, run, lambda: _end_all(protection, place))


def _end_all(protection: Protection, place: sandbox.Place) -> None:
    """End what a submission may have left running, as far as it can be told from other processes."""
    if protection.namespaces:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    elif protection.other_user:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                sandbox.become(place.uid)
                os.kill(-1, signal.SIGKILL)  # every process of the user that only this sandbox runs as
            os._exit(0)
        os.waitpid(pid, 0)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
