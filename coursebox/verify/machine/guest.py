"""Inside a running machine: its web pages and its shell, as a student reaches them through the forwards."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

import httpx
import paramiko

from coursebox.core.errors import CourseboxError
from coursebox.verify.machine.qemu import LOCALHOST

# paramiko prints a traceback for each connection that an unfinished guest drops; the waiting loop knows better.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class Outcome(NamedTuple):
    """What a command left: exit status, standard output, standard error."""

    rc: int
    out: str
    err: str


def wait_for_http(url: str, timeout: float, *, alive: Callable[[], bool] = lambda: True, pause: float = 0.5) -> float:
    """Ask for `url` until it answers 200, with `pause` seconds between; the seconds it took.

    Raises CourseboxError after `timeout` seconds, or when not `alive()`.
    """
    start = time.monotonic()
    last = "no connection"
    # Proxy settings are for the world outside, not for this machine.
    with httpx.Client(trust_env=False, timeout=10.0) as client:
        while (passed := time.monotonic() - start) < timeout:
            if not alive():
                raise CourseboxError(f"the machine ended before {url} answered")
            try:
                answer = client.get(url)
                if answer.status_code == httpx.codes.OK:
                    return time.monotonic() - start
                last = f"status {answer.status_code}"
            except httpx.HTTPError as error:
                last = str(error) or type(error).__name__
            time.sleep(min(pause, max(0.0, timeout - passed)))
    raise CourseboxError(f"{url} does not answer after {timeout:.0f} s (last: {last})")


class Guest:
    """An ssh connection with a password; the host's key is accepted as it is, made at this machine's first start."""

    def __init__(self, port: int, user: str, password: str, *, host: str = LOCALHOST) -> None:
        self.port, self.user, self._password, self._host = port, user, password, host
        self.client = paramiko.SSHClient()
        self.client.set_missing_host_key_policy(paramiko.AutoAddPolicy())

    def connect(self) -> None:
        """One login, by nothing but the password; time limits are those of an emulated processor."""
        self.client.connect(
            self._host,
            self.port,
            self.user,
            self._password,
            allow_agent=False,
            look_for_keys=False,
            timeout=20,
            banner_timeout=60,
            auth_timeout=60,
        )

    def __enter__(self) -> Guest:
        if self.client.get_transport() is None:
            self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()

    def run(self, command: str, *, timeout: float = 120.0, stdin: str = "") -> Outcome:
        """Run a shell command; CourseboxError when it gives nothing for `timeout` s or the machine goes away."""
        try:
            given, out, err = self.client.exec_command(command, timeout=timeout)
            given.write(stdin)
            given.flush()
            given.channel.shutdown_write()
            printed, complained = out.read(), err.read()
            status = out.channel.recv_exit_status()
        except TimeoutError:
            raise CourseboxError(f"ssh: no end of `{command}` after {timeout:.0f} s") from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise CourseboxError(f"ssh: the connection broke during `{command}`: {error}") from None
        return Outcome(status, printed.decode(errors="replace"), complained.decode(errors="replace"))

    def output(self, command: str, *, timeout: float = 120.0) -> str:
        """Standard output of a command that must succeed, without the last line end."""
        done = self.run(command, timeout=timeout)
        if done.rc != 0:
            said = done.err.strip() or done.out.strip()
            raise CourseboxError(f"ssh: `{command}` ended with status {done.rc}: {said}")
        return done.out.rstrip("\n")
