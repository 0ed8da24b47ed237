"""A folder in the cache for one run of a verb; what killed runs have left is removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from coursebox.core.paths import Cache
from coursebox.core.stages import storage_error

LOCK = ".lock"  # held as long as the run lasts; a number of a process may be another one's by now


@contextmanager
def own_room(cache: Cache, verb: str) -> Iterator[Path]:
    """An empty folder <cache>/<verb>/<process>-…, removed at the end; rooms of runs that still go on stay.

    Raises CourseboxError when the cache cannot be written.
    """
    house = cache.root / verb
    try:
        house.mkdir(parents=True, exist_ok=True)
        with _held(house / LOCK):  # nobody sweeps while a room has no lock yet
            for left in sorted(house.iterdir()):
                if left.name != LOCK and not _in_use(left):
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
            room = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=house))
            room.chmod(0o755)  # a second build is another user's
            held = _held(room / LOCK)
    except OSError as error:
        raise storage_error(error, cache) from error
    with held:
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)


def _held(lock: Path) -> IO[str]:
    """The open file, locked until it is closed; waits for another one that holds it."""
    file = lock.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _in_use(room: Path) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError), (room / LOCK).open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
