"""Root's shell in a running machine: one login for many commands."""

from __future__ import annotations

import shlex
import time
import uuid

import paramiko

from coursebox.core.errors import CourseboxError
from coursebox.verify.machine.guest import Outcome

COMPLAINTS = "/run/coursebox-test.err"


class RootShell:
    """A bash of root that `su` has started with the password.

    `su` digests the password in a way that is made to take long: on an emulated processor about ten seconds. So it is
    asked once, and each command is a bash of its own in that shell.
    """

    def __init__(self, client: paramiko.SSHClient, password: str) -> None:
        transport = client.get_transport()
        if transport is None:
            raise CourseboxError("ssh: no connection for the shell of root")
        self._channel = transport.open_session()
        self._channel.exec_command("su - root -c 'exec bash'")
        self._mark = uuid.uuid4().hex
        self._said = b""
        self._channel.sendall(f"{password}\n".encode())

    @property
    def open(self) -> bool:
        """Whether the shell takes commands."""
        return not (self._channel.closed or self._channel.exit_status_ready())

    def run(self, command: str, timeout: float) -> Outcome:
        """Run a command with an empty standard input; CourseboxError when it has not ended after `timeout` seconds."""
        line = (
            f"bash -c {shlex.quote(command)} < /dev/null 2> {COMPLAINTS}; rc=$?;"
            f" echo {self._mark}; cat {COMPLAINTS}; echo {self._mark} $rc\n"
        )
        end = time.monotonic() + timeout
        try:
            self._channel.sendall(line.encode())
            out = self._until(f"{self._mark}\n", command, end)
            err = self._until(f"{self._mark} ", command, end)
            rc = self._until("\n", command, end)
        except TimeoutError:
            self._channel.close()
            raise CourseboxError(f"ssh: no end of `{command}` by root after {timeout:.0f} s") from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise CourseboxError(f"ssh: the connection broke during `{command}` by root: {error}") from None
        return Outcome(int(rc), out, err)

    def _until(self, mark: str, command: str, end: float) -> str:
        """What the shell says up to `mark`."""
        wanted = mark.encode()
        while wanted not in self._said:
            self._channel.settimeout(max(0.1, end - time.monotonic()))
            more = self._channel.recv(1 << 16)
            if not more:
                said = self._channel.makefile_stderr("rb").read().decode(errors="replace").strip()
                raise CourseboxError(f"ssh: the shell of root has ended before the end of `{command}`: {said}")
            self._said += more
        found, _, self._said = self._said.partition(wanted)
        return found.decode(errors="replace")
