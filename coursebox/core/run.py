"""Run external programs: their output goes to a log, their failure becomes a sentence."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from coursebox.core.errors import CourseboxError

TAIL = 15  # lines of a failed program's output that are shown


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    what: str,
    log: Path,
    stdout: IO[bytes] | None = None,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    hint: str | None = None,
) -> None:
    """Run `command` to its end; `what` says what it does, for the message when it fails.

    Its stderr, and its stdout unless a file is given for it, are appended to `log`. Raises CourseboxError with the
    last lines of the log when the program is missing or fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as record:
        record.write(f"$ {shlex.join(os.fspath(word) for word in command)}\n".encode())
        record.flush()
        try:
            done = subprocess.run(
                command,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=stdout or record,
                stderr=record,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                check=False,
            )
        except FileNotFoundError as error:
            raise CourseboxError(f"{what} failed: {command[0]} is not installed.", hint="Run `make doctor`.") from error
    if done.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        raise CourseboxError(
            f"{what} failed (exit status {done.returncode}):\n" + "\n".join(f"    {line}" for line in lines),
            hint=hint or f"The whole output is in {log}.",
        )


def capture(
    command: Sequence[str | os.PathLike[str]], *, stdin: bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short command and return what it printed, without judging its exit status; 127 when it is not installed."""
    data = None if stdin is None else stdin.decode()
    try:
        return subprocess.run(command, input=data, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
