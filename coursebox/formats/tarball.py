"""A tar archive that is digested while it is written: the container of an OVA and of an image."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO

from coursebox.core.console import silent
from coursebox.core.errors import CourseboxError

_COPY = 4 << 20  # bytes that are read at once


class TarWriter:
    """Writes members one after the other to `sink`, which must be at its start.

    pool: digests beside the writing; they release the interpreter's lock. header: (name, size in bytes) → the header
    of a member, a multiple of 512 bytes.
    """

    def __init__(self, sink: BinaryIO, pool: Executor, header: Callable[[str, int], bytes]) -> None:
        self._sink = sink
        self._pool = pool
        self._header = header
        self._whole = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The digest (64 hex digits) of what was written so far."""
        return self._whole.hexdigest()

    def add(self, name: str, data: bytes) -> None:
        """A member with this content."""
        self._put(self._header(name, len(data)) + data + _padding(len(data)))

    def copy(
        self, name: str, source: Path, size: int, sha256: str, on_progress: Callable[[int], None] = silent
    ) -> None:
        """A member with the content of a file, which is digested again on the way.

        size, sha256: those that the file had when it was written. on_progress: called with bytes that were copied.
        Raises CourseboxError when the file is another one now.
        """
        self._put(self._header(name, size))
        copied, done = hashlib.sha256(), 0
        buffer = memoryview(bytearray(_COPY))
        with source.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                block = buffer[:count]
                digesting = [self._pool.submit(digest.update, block) for digest in (copied, self._whole)]
                self._sink.write(block)
                for job in digesting:
                    job.result()
                done += count
                on_progress(count)
        if (done, copied.hexdigest()) != (size, sha256):
            raise CourseboxError(f"{source} has changed since it was written", hint="delete it, and build it again")
        self._put(_padding(size))

    def finish(self) -> int:
        """End the archive; returns its size in bytes."""
        self._put(bytes(2 * tarfile.BLOCKSIZE))
        self._put(bytes(-self._sink.tell() % tarfile.RECORDSIZE))
        return self._sink.tell()

    def _put(self, data: bytes) -> None:
        self._sink.write(data)
        self._whole.update(data)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
