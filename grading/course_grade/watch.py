"""Count what all processes of one submission take together, and end them when it is too much.

The kernel's limits (setrlimit) count one process. Here they are counted together: whoever descends from the supervisor
of the sandbox, which adopts what loses its parent (PR_SET_CHILD_SUBREAPER), so that nobody gets out of its sight.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

_SUBREAPER = 36
_SLACK = 128 << 20  # bytes beyond the limit of memory: what the kernel counts differently
PROCESSES = 64  # with threads
COMPUTING = 2.0  # seconds that processes beside the one that is checked may compute, for each check
_PROC = Path("/proc")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Relative:
    """A process of the sandbox.

    seen: its number in /proc. pid: its number in the sandbox, which kill() takes. anonymous, shared: bytes.
    """

    seen: int
    pid: int
    threads: int
    running: bool
    anonymous: int
    shared: int


def adopt_orphans() -> None:
    """Let this process be the parent of all its descendants whose own parent has ended."""
    _libc.prctl(_SUBREAPER, 1, 0, 0, 0)


def _relative(seen: int) -> Relative:
    """Raises OSError or KeyError for a process that has ended."""
    lines = (_PROC / str(seen) / "status").read_text("utf-8", "replace").splitlines()
    found = dict(line.split(":", 1) for line in lines if ":" in line)

    def kib(name: str) -> int:
        return 1024 * int(found.get(name, "0 kB").split()[0])

    numbers = found.get("NSpid", found["Pid"]).split()
    return Relative(
        seen, int(numbers[-1]), int(found["Threads"]), found["State"].split()[0] == "R", kib("RssAnon"), kib("RssShmem")
    )


def _children(seen: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(_PROC / str(seen) / "task"):
            with contextlib.suppress(OSError):
                found += map(int, (_PROC / str(seen) / "task" / thread / "children").read_text("ascii").split())
    return found


def _scan() -> dict[int, list[int]]:
    """Parent → children, of all processes in sight: for a kernel whose /proc has no lists of children."""
    found: dict[int, list[int]] = {}
    for name in os.listdir(_PROC):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((_PROC / name / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
                found.setdefault(parent, []).append(int(name))
    return found


def relatives() -> list[Relative]:
    """All descendants of this process."""
    me = int(os.readlink(_PROC / "self"))
    lists = (_PROC / str(me) / "task" / str(me) / "children").exists()
    table = {} if lists else _scan()
    found, waiting = [], [me]
    while waiting:
        seen = waiting.pop()
        waiting += _children(seen) if lists else table.get(seen, [])
        if seen != me:
            with contextlib.suppress(OSError, KeyError, ValueError, IndexError):
                found.append(_relative(seen))
    return found


def end_all() -> None:
    """End all descendants of this process. They are stopped first, since one that runs could make another."""
    family: list[Relative] = []
    for _ in range(20):
        known = {one.pid for one in family}
        family = relatives()
        if {one.pid for one in family} <= known:
            break
        _signal(family, signal.SIGSTOP)
    _signal(family, signal.SIGKILL)


def _signal(family: Collection[Relative], number: int) -> None:
    for one in family:
        with contextlib.suppress(OSError):
            os.kill(one.pid, number)


class Watch:
    """What a submission has taken so far.

    memory: bytes that all its processes may have together, None: not counted. overfull: says in words what is wrong
    with its scratch folder, "" when nothing is.
    """

    def __init__(self, memory: int | None, overfull: Callable[[], str]) -> None:
        me = _relative(int(os.readlink(_PROC / "self")))
        self._base, self._memory, self._overfull = me.anonymous, memory, overfull
        self.begin()

    def begin(self) -> None:
        """A new check: nothing has been computed yet."""
        self._computed, self._looked = 0.0, time.monotonic()

    def look(self, checked: Collection[int]) -> str:
        """Count; end everything where it is too much: why it was ended, "" when it was not.

        checked: the processes that are meant to compute.
        """
        now = time.monotonic()
        family = relatives()
        others = [one for one in family if one.pid not in checked]
        self._computed += (now - self._looked) * sum(one.running for one in others)
        self._looked = now
        memory = sum(max(0, one.anonymous - self._base) + one.shared for one in family)
        why = ""
        if self._memory is not None and memory > self._memory + _SLACK:
            why = "was ended: its processes need more memory together than there is"
        elif sum(one.threads for one in family) > PROCESSES + len(checked):
            why = f"was ended: it has more than {PROCESSES} processes and threads"
        elif self._computed > COMPUTING:
            why = f"was ended: processes that it started have computed for more than {COMPUTING:g} s"
        else:
            why = self._overfull()
            why = why and f"was ended: {why}"
        if why:
            end_all()
        return why
