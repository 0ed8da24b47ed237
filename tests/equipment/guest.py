"""A running machine under test: what a test does in it beyond running a command."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import paramiko

from coursebox.core.errors import CourseboxError
from coursebox.verify.machine.guest import Guest, Outcome


def answers_http(url: str, timeout: float) -> bool:
    """Whether one request, given `timeout` seconds, gets any HTTP answer at all."""
    try:
        httpx.get(url, timeout=timeout, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


class TestedGuest(Guest):
    """A login that can wait for the machine, be root, and move files."""

    @classmethod
    def wait_for(
        cls,
        port: int,
        user: str,
        password: str,
        timeout: float,
        *,
        alive: Callable[[], bool] = lambda: True,
    ) -> TestedGuest:
        """Log in as soon as that is possible; CourseboxError after `timeout` s, or at once for a wrong password."""
        end = time.monotonic() + timeout
        while True:
            guest = cls(port, user, password)
            try:
                guest.connect()
                return guest
            except paramiko.AuthenticationException:
                guest.close()
                raise CourseboxError(f"ssh: the password of {user} is refused") from None
            except (OSError, EOFError, paramiko.SSHException) as error:
                guest.close()
                if not alive():
                    raise CourseboxError("the machine ended before ssh answered") from None
                if time.monotonic() > end:
                    raise CourseboxError(f"ssh: no login after {timeout:.0f} s (last: {error})") from None
            time.sleep(1.0)

    def as_root(self, command: str, *, timeout: float = 120.0) -> Outcome:
        """Run a shell command as root through `su`, with the same password."""
        quoted = "'" + command.replace("'", "'\\''") + "'"
        done = self.run(f"su - root -c {quoted}", timeout=timeout, stdin=f"{self._password}\n")
        return done._replace(err=done.err.removeprefix("Password:").lstrip())

    def fetch(self, remote: str, local: Path) -> Path:
        """Copy a file out of the guest."""
        local.parent.mkdir(parents=True, exist_ok=True)
        with self.client.open_sftp() as files:
            files.get(remote, str(local))
        return local

    def write(self, remote: str, content: str) -> None:
        """Write a file of the user in the guest."""
        with self.client.open_sftp() as files, files.open(remote, "w") as file:
            file.write(content)
