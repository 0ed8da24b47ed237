"""The journal of a grading: each result is on the disk as soon as it is known, so nothing that was graded is lost.

A line of JSON for each graded submission. A result counts again only for the same checks, seed, options and content.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from .output import as_owner_of

NAME = "marks.jsonl"
Key = tuple[str, int, str]  # the student, the attempt, the digest of the content


class Busy(Exception):
    """Another grading writes into the same folder."""


def digest_of(files: Iterable[Path], settings: Mapping[str, Any]) -> str:
    """What the results depend on, beside the submission: the files of the checks, and settings such as the seed."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode("ascii"))
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)} ".encode("utf-8", "replace") + content)
    return digest.hexdigest()


class Journal:
    """The journal in the folder of the results; one grading at a time has it open.

    Raises Busy while another grading has it, OSError where it cannot be written.
    """

    def __init__(self, folder: Path, task: str, *, again: bool = False) -> None:
        self._file, self._task = folder / NAME, task
        with as_owner_of(folder):
            if again and self._file.is_file() and not self._file.is_symlink():
                self._file.replace(self._file.with_name("marks-before.jsonl"))
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._out: BinaryIO = os.fdopen(os.open(self._file, flags, 0o600), "r+b", buffering=0)
        try:
            fcntl.flock(self._out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._out.close()
            raise Busy(f"another grading writes into {folder}") from None
        self.results = self._read()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._out.close()

    def _read(self) -> dict[Key, dict[str, Any]]:
        """The results that still count. A line that was cut off when the power failed is none."""
        found: dict[Key, dict[str, Any]] = {}
        text = b""
        self._out.seek(0)
        while block := self._out.read(1 << 20):
            text += block
        for line in text.split(b"\n"):
            try:
                entry = json.loads(line)
                if entry["task"] == self._task:
                    found[entry["name"], entry["attempt"], entry["content"]] = entry["report"]
            except (ValueError, KeyError, TypeError):
                continue
        if text and not text.endswith(b"\n"):
            self._append(b"\n")
        return found

    def add(self, key: Key, report: dict[str, Any]) -> None:
        """Keep a result; it is on the disk when this returns. Raises OSError."""
        entry = {"task": self._task, "name": key[0], "attempt": key[1], "content": key[2], "report": report}
        self._append(json.dumps(entry).encode("ascii") + b"\n")
        os.fsync(self._out.fileno())
        self.results[key] = report

    def _append(self, line: bytes) -> None:
        while line:
            line = line[self._out.write(line) or 0 :]
