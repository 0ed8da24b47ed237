"""A machine made of small shell scripts: what the verbs ask for and change is seen, and nothing real is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

BASICS = ("cat", "env", "setsid", "sh", "sleep", "touch")


class Host:
    """Programs in `bin` are the only ones on the path; those made here note their calls in `calls`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.cache = folder / "cache"
        for name in BASICS:
            (self.bin / name).symlink_to(shutil.which(name) or name)

    def program(self, name: str, script: str = "") -> None:
        """Make a program of this shell script; `$host` is the folder in it."""
        text = f'#!/bin/sh\nhost={self.folder}\nprintf "%s\\n" "{name} $*" >>"$host/calls"\n{script}\n'
        path = self.bin / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setenv("PATH", str(host.bin))
    monkeypatch.setenv("COURSEBOX_CACHE", str(host.cache))
    monkeypatch.delenv("V", raising=False)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return host


@pytest.fixture
def as_user(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the caller a plain user, with a sudo that just goes on or without one."""

    def change(*, sudo: bool) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        if sudo:
            host.program("sudo", 'shift\nexec "$@"')

    return change
