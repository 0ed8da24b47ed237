"""A process that makes processes: forked early, while it knows little and computes nothing, it forks others on demand.

Why not fork where a process is needed: torch cannot run backward in a child once its parent has done so
(https://github.com/pytorch/pytorch/wiki/Autograd-and-Fork), CUDA does not survive a fork at all, and a child would
inherit what its parent knows. Why not start Python anew: importing torch takes seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

LOOK = 0.1  # seconds between two looks at what the processes take
GRACE = 0.2  # seconds that a process has to end by itself
_ANSWER = 120.0  # seconds within which a server must answer, on however busy a machine, its start included
_libc = ctypes.CDLL(None, use_errno=True)

Run = Callable[[dict[str, Any], list[int]], None]


class Care:
    """What a server does beside making processes; here nothing."""

    def begin(self) -> None:
        """A process is about to start."""

    def look(self, alive: set[int]) -> str:
        """Called every LOOK seconds while processes live: why they were ended just now, "" when they were not."""
        return ""

    def tidy(self) -> None:
        """A process has ended."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection that keeps messages apart and can carry file descriptors."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def say(connection: socket.socket, message: dict[str, Any], *descriptors: int) -> None:
    """Send a small message and some open files."""
    socket.send_fds(connection, [json.dumps(message).encode()], descriptors)


def hear(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message and the files that came with it; an empty one when the other side has gone."""
    content, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
    return (json.loads(content) if content else {}), list(descriptors)


def end(pid: int, grace: float = GRACE, look: Callable[[], None] = lambda: None) -> int | None:
    """End a child and what it has started: its status if it had ended by itself within `grace` seconds, else None.

    look: called every LOOK seconds.
    """
    until = time.monotonic() + grace
    looked = time.monotonic()
    found, status = os.waitpid(pid, os.WNOHANG)
    while not found and time.monotonic() < until:
        time.sleep(0.002)
        if time.monotonic() > looked + LOOK:
            looked = time.monotonic()
            look()
        found, status = os.waitpid(pid, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if not found:
        os.kill(pid, signal.SIGKILL)  # on a busy machine it may not lead its group yet
        os.waitpid(pid, 0)
    return status if found else None


def computed(pid: int) -> float:
    """The seconds that a process has computed until now."""
    clock = ctypes.c_int()
    if _libc.clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
        raise ProcessLookupError
    return time.clock_gettime(clock.value)


def serve(commands: socket.socket, run: Run, care: Care | None = None) -> None:
    """Fork, watch and end processes until the client has gone.

    run: what a process does with its order and its open files.
    """
    gc.collect()
    gc.freeze()  # what is here stays: a collection in a process would only copy its pages
    care = care or Care()
    alive: set[int] = set()
    why = ""  # the living were ended

    def look() -> None:
        nonlocal why
        why = care.look(alive) or why

    while True:
        while alive and not select.select([commands], [], [], LOOK)[0]:
            look()
        try:
            order, descriptors = hear(commands)
        except (OSError, ValueError):
            order = {}
        if not order:
            break
        answer: dict[str, Any] = {"number": order["number"]}
        if "start" in order:
            why = ""
            care.begin()
            try:
                pid = os.fork()
            except OSError:  # no free process or memory
                pid = -1
            if pid == 0:
                with contextlib.suppress(BaseException):
                    os.setsid()
                    commands.close()
                    run(order["start"], descriptors)
                os._exit(1)
            for descriptor in descriptors:
                os.close(descriptor)
            if pid > 0:
                alive.add(pid)
                answer["pid"] = pid
        elif order.get("computed") in alive:
            with contextlib.suppress(OSError):
                answer["seconds"] = computed(order["computed"])
        elif order.get("end") in alive:
            answer["status"] = end(order["end"], order["grace"], look)
            answer["why"] = why
            alive.remove(order["end"])
            care.tidy()
        with contextlib.suppress(OSError):  # a client that has gone is noticed above
            say(commands, answer)
    for pid in alive:
        end(pid)
    care.tidy()


class ForkServer:
    """The client's handle of a process that serves."""

    def __init__(self, commands: socket.socket, pid: int = 0) -> None:
        self._commands, self._pid, self._number = commands, pid, 0
        self.why = ""  # the process that was ended last was ended before, for this reason
        commands.settimeout(_ANSWER)

    @classmethod
    def forked(cls, run: Run) -> ForkServer:
        """Fork a server from this process, now: before this process computes anything."""
        ours, theirs = pair()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                ours.close()
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the client
                serve(theirs, run)
            os._exit(0)
        theirs.close()
        return cls(ours, pid)

    @classmethod
    def launched(cls, command: Sequence[str]) -> ForkServer:
        """Start a server from a process that may have computed already: `command` and the number of its open socket.

        Does not wait until it is ready. It has a session of its own, so that Ctrl-C is for the client.
        """
        ours, theirs = pair()
        with theirs:
            process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        process.returncode = 0  # this class waits for it, not subprocess
        return cls(ours, process.pid)

    def _ask(self, message: dict[str, Any], *descriptors: int) -> dict[str, Any]:
        self._number += 1
        try:
            say(self._commands, {"number": self._number, **message}, *descriptors)
            while (answer := hear(self._commands)[0]).get("number", self._number) != self._number:
                continue  # the answer to an order that Ctrl-C interrupted
        except (OSError, ValueError):
            return {}
        return answer

    def start(self, order: dict[str, Any], *descriptors: int) -> int:
        """Start a process; its number, or 0 where the server has gone."""
        return int(self._ask({"start": order}, *descriptors).get("pid", 0))

    def computed(self, pid: int) -> float | None:
        """The seconds that a process has computed until now, all its threads together; None where it has ended."""
        seconds: float | None = self._ask({"computed": pid}).get("seconds")
        return seconds

    def end(self, pid: int, grace: float = GRACE) -> int | None:
        """Make sure that a process is gone: its status if it had ended by itself within `grace` seconds, else None."""
        answer = self._ask({"end": pid, "grace": grace})
        self.why = str(answer.get("why", ""))
        status = answer.get("status", int(signal.SIGKILL))
        return None if status is None else int(status)

    def lives(self) -> bool:
        """Whether the server answers; waits until one that was launched is ready."""
        return bool(self._ask({}))

    def close(self) -> None:
        """Let the server go, with all that it has started."""
        self._commands.close()
        if self._pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0
