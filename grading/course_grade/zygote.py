"""The zygote: the process that all students' processes are forked from. It has imported torch and knows no more."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from checking import forkserver, protocol, worker
from checking.forkserver import ForkServer
from checking.processes import Limits, NoProcess, Remote, run_worker

from . import sandbox
from . import scratch as folders
from .sandbox import Place, Protection
from .watch import Watch, adopt_orphans, end_all

_TRIAL = 60.0  # seconds that the first process may take, on however busy a machine


class Zygote:
    """The process that makes sandboxes. Start it before anything that a student must not see is in memory.

    labs: the folder of the labs. data: the folder of the data sets, None where there are none. hidden: further places
    that students must not read. memory: bytes that all processes of a submission may have together.
    """

    def __init__(
        self,
        protection: Protection,
        labs: Path,
        data: Path | None,
        hidden: Collection[Path] = (),
        memory: int | None = None,
    ) -> None:
        self._connection, theirs = forkserver.pair()
        self._pid = os.fork()
        if self._pid == 0:
            self._connection.close()
            with contextlib.suppress(BaseException):
                readable = tuple(sandbox.readable(labs, data, hidden))
                _make_sandboxes(theirs, protection, Place(Path(), data, readable, 0), memory)
            os._exit(0)
        theirs.close()

    def sandbox(self, slot: int, scratch: Path) -> tuple[ForkServer, int]:
        """A new sandbox that may write into `scratch`: a server of processes; closing it ends them all.

        And the end of a pipe, for the caller to close: it can be read, and is empty, when the last process has ended.
        """
        ours, theirs = forkserver.pair()
        ended, lives = os.pipe2(os.O_CLOEXEC)
        with theirs:
            forkserver.say(self._connection, {"slot": slot, "scratch": str(scratch)}, theirs.fileno(), lives)
        os.close(lives)
        return ForkServer(ours), ended

    def trial(self, scratch: Path, limits: Limits) -> None:
        """Run a program of one line as that of a student. Raises OSError where it does not run."""
        server, ended = self.sandbox(0, scratch)
        try:
            remote = Remote(server, limits)
            remote.connection.settimeout(_TRIAL)
            order = {"source": "x = 1", "file": str(scratch / "x.py"), "helpers": "", "substitutes": [], "labs": ""}
            try:
                protocol.send(remote.connection, {"load": order})
                said = protocol.receive(remote.connection)
            except (OSError, protocol.ProtocolError) as error:
                raise OSError(f"the first process of the sandbox {remote.end() or error}") from None
            if said:
                raise OSError(f"the first process of the sandbox cannot run a program: {said}")
            remote.end()
        except NoProcess:
            raise OSError("no process can be started in a sandbox here") from None
        finally:
            server.close()
            os.close(ended)

    def close(self) -> None:
        """End the zygote; returns when it has ended."""
        self._connection.close()
        os.waitpid(self._pid, 0)


def _make_sandboxes(orders: socket.socket, protection: Protection, place: Place, memory: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who grades
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the sandboxes
    sandbox.leave_terminal()
    sandbox.close_all_but([orders.fileno()])
    sandbox.keep_memory_private()
    while True:
        order, descriptors = forkserver.hear(orders)
        if not order:
            return
        with contextlib.suppress(OSError):  # no free process: the one who asked sees that its connection ends
            if os.fork() == 0:
                with contextlib.suppress(BaseException):
                    orders.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    mine = replace(place, scratch=Path(order["scratch"]), uid=sandbox.FIRST_UID + int(order["slot"]))
                    _make_one(socket.socket(fileno=descriptors[0]), protection, mine, memory)
                os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _make_one(commands: socket.socket, protection: Protection, place: Place, memory: int | None) -> None:
    files = folders.contents(place.scratch)
    if protection.namespaces:
        sandbox.separate(place.scratch if protection.quota else None)
    if protection.quota or protection.other_user:
        folders.lay(place.scratch, files, place.uid if protection.other_user else None)
    if protection.namespaces:
        first = os.fork()  # the first process of its world: when it ends, all others end
        if first:
            commands.close()
            os.waitpid(first, 0)
            return
    os.setsid()
    adopt_orphans()
    base = worker.address_space()

    def run(order: dict[str, Any], descriptors: list[int]) -> None:
        sandbox.close_all_but(descriptors)
        sandbox.enter(protection, place)
        run_worker(order, descriptors, base)

    meter = None if protection.quota else folders.Meter(place.scratch, files)
    forkserver.serve(commands, run, _Care(protection, memory, meter))


class _Care(forkserver.Care):
    """What the supervisor of a sandbox does: count, and leave nothing behind."""

    def __init__(self, protection: Protection, memory: int | None, meter: folders.Meter | None) -> None:
        self._namespaces = protection.namespaces
        self._watch = Watch(memory, meter.overfull if meter else lambda: "")

    def begin(self) -> None:
        self._watch.begin()

    def look(self, alive: set[int]) -> str:
        return self._watch.look(alive)

    def tidy(self) -> None:
        """End what a submission may have left running."""
        if self._namespaces:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        else:
            end_all()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
