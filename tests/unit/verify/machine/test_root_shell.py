"""The shell of root in a machine under test, held against a bash of this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT


class Channel:
    """Stands for a channel of paramiko: the standard input and output of a bash that has asked for a password."""

    def __init__(self) -> None:
        self.asked = ""
        self.closed = False
        self._limit = 0.0
        self._bash: subprocess.Popen[bytes] | None = None

    @property
    def bash(self) -> subprocess.Popen[bytes]:
        assert self._bash is not None and self._bash.stdin is not None and self._bash.stdout is not None
        return self._bash

    def exec_command(self, command: str) -> None:
        self.asked = command
        line = ["bash", "-c", 'read -r password; test "$password" = secret && exec bash']
        self._bash = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                                      start_new_session=True)  # fmt: skip

    def sendall(self, data: bytes) -> None:
        assert self.bash.stdin is not None
        self.bash.stdin.write(data)

    def settimeout(self, seconds: float) -> None:
        self._limit = seconds

    def recv(self, size: int) -> bytes:
        assert self.bash.stdout is not None
        if not select.select([self.bash.stdout], [], [], self._limit)[0]:
            raise TimeoutError
        return self.bash.stdout.read(min(size, 7))  # marks arrive in pieces

    def makefile_stderr(self, mode: str) -> Any:
        return subprocess.Popen(["echo", "su: refused"], stdout=subprocess.PIPE).stdout

    def exit_status_ready(self) -> bool:
        return self.bash.poll() is not None

    def close(self) -> None:
        self.closed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.bash.pid, signal.SIGKILL)  # with the command that has not ended, which holds the output
        self.bash.communicate()


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("root_shell", CHECKOUT / "tests" / "vm" / "root_shell.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def login(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """A function that opens the shell with a password."""
    monkeypatch.setattr(module, "COMPLAINTS", str(tmp_path / "err"))
    channel = Channel()

    class Client:
        def get_transport(self) -> Any:
            return self

        def open_session(self) -> Channel:
            return channel

    yield lambda password: module.RootShell(Client(), password)
    channel.close()


def test_each_command_leaves_its_status_and_both_outputs(login: Callable[[str], Any]) -> None:
    shell = login("secret")
    assert shell.run("echo 'it'\"'\"'s'; echo no >&2; exit 3", 20) == (3, "it's\n", "no\n")
    assert shell.run("printf 'no line end'", 20) == (0, "no line end", "")
    assert shell.run("cat; cd /; x=1; exit 0", 20) == (0, "", "")  # no input, and nothing stays
    assert shell.run("echo \"${x-none}\"; printf 'a\\n\\nb\\n'", 20) == (0, "none\na\n\nb\n", "")
    assert shell.open


def test_a_command_without_an_end_ends_the_shell(login: Callable[[str], Any]) -> None:
    shell = login("secret")
    with pytest.raises(CourseboxError, match="no end of `sleep 60` by root"):
        shell.run("sleep 60", 0.2)
    assert not shell.open


def test_a_wrong_password_is_told(login: Callable[[str], Any]) -> None:
    with pytest.raises(CourseboxError, match=r"su: refused|the connection broke"):
        login("wrong").run("true", 20)
