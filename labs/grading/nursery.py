"""Where students' processes come from: forked from a process that has imported torch and knows nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from checking import worker
from checking.session import PRINTED, Limits, clean, how_it_ended

from . import sandbox
from .sandbox import Protection

_GRACE = 0.2  # seconds that a process has to end by itself
_ANSWER = 60.0  # seconds within which a sandbox must answer, on however busy a machine


def _say(connection: socket.socket, message: dict[str, Any], *descriptors: int) -> None:
    socket.send_fds(connection, [json.dumps(message).encode()], descriptors)


def _hear(connection: socket.socket, descriptors: int = 2) -> tuple[dict[str, Any], list[int]]:
    """The next message and what came with it; empty when the other side has gone."""
    content, fds, _, _ = socket.recv_fds(connection, 1 << 16, descriptors)
    return (json.loads(content) if content else {}), list(fds)


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Nursery:
    """The process that makes sandboxes. Start it before anything that a student must not see is in memory."""

    def __init__(self, protection: Protection, labs: Path, data: Path | None) -> None:
        self._connection, theirs = _pair()
        self._pid = os.fork()
        if self._pid == 0:
            self._connection.close()
            with contextlib.suppress(BaseException):
                _make_sandboxes(theirs, protection, labs, data)
            os._exit(0)
        theirs.close()

    def sandbox(self, slot: int, scratch: Path) -> socket.socket:
        """A new sandbox that may write into `scratch`; the socket by which to command it. Closing it ends it."""
        ours, theirs = _pair()
        _say(self._connection, {"slot": slot, "scratch": str(scratch)}, theirs.fileno())
        theirs.close()
        return ours

    def close(self) -> None:
        self._connection.close()
        os.waitpid(self._pid, 0)


def _make_sandboxes(orders: socket.socket, protection: Protection, labs: Path, data: Path | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who grades
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the sandboxes
    sandbox.keep_memory_private()
    while True:
        order, descriptors = _hear(orders)
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
    while True:
        order, descriptors = _hear(commands)
        if not order:
            _end_all(protection, place)
            return
        if "start" in order:
            pid = os.fork()
            if pid == 0:
                os.setsid()
                commands.close()
                limits = Limits(**order["start"]).of(base)
                sandbox.enter(protection, place)
                worker.run(socket.socket(fileno=descriptors[0]), descriptors[1], limits)
            for descriptor in descriptors:
                os.close(descriptor)
            _say(commands, {"pid": pid})
        else:
            status = _end(int(order["end"]))
            _end_all(protection, place)
            _say(commands, {"status": status})


def _end(pid: int) -> int | None:
    """End a child: its status if it had ended by itself, else None."""
    until = time.monotonic() + _GRACE
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            return status
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


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


@dataclass
class Sandboxed:
    """A worker in a sandbox (the protocol Worker of checking/session.py)."""

    commands: socket.socket
    limits: Limits

    def __post_init__(self) -> None:
        self.connection, theirs = socket.socketpair()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._ended: str | None = None
        with theirs:
            answer = self._command({"start": asdict(self.limits)}, theirs.fileno(), self._output.fileno())
        self._pid = int(answer.get("pid", 0))

    def _command(self, message: dict[str, Any], *descriptors: int) -> dict[str, Any]:
        self.commands.settimeout(_ANSWER)
        try:
            _say(self.commands, message, *descriptors)
            return _hear(self.commands)[0]
        except (OSError, ValueError):
            return {}

    def end(self) -> str:
        if self._ended is None:
            self.connection.close()
            answer = self._command({"end": self._pid}) if self._pid else {}
            status = answer.get("status", 9)
            self._ended = "" if status is None else how_it_ended(int(status))
        return self._ended

    def output(self) -> str:
        self._output.seek(0)
        return clean(self._output.read(4 * PRINTED).decode("utf-8", "replace"))
