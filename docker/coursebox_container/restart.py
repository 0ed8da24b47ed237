"""RESTARTABLE=yes: the server comes back when it ends by itself, as after "Shut Down" in its menu."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from coursebox_container.messages import say

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
PAUSE = 1.0  # seconds between two starts: a server that cannot start must not keep a processor busy


def run_constantly(command: list[str]) -> int:
    """Run the command again and again until a signal asks for the end; returns its last exit status."""
    stopping = False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        os.kill(child, number)

    while True:
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)  # tini -g signals our group: the server gets its signals from here, and only once
            os.execvp(command[0], command)
        for number in ENDS:
            signal.signal(number, stop)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if stopping:
            return status if status >= 0 else 128 - status
        say(f"The server has ended with status {status} and starts again (RESTARTABLE).")
        time.sleep(PAUSE)
