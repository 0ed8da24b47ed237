"""Files that appear whole or not at all, also after a power cut."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; at the end the file is flushed to the disk and renamed to `target`.

    After an error nothing is left, and what was at `target` before is still there. Two writers do not disturb each
    other: the last one wins. The block must write the file. Raises OSError as writing and renaming do.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield part
        flush(part)
        os.replace(part, target)
        flush(target.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` in UTF-8, whole or not at all."""
    with atomic(target) as part:
        part.write_text(text, encoding="utf-8")


def stamp(path: Path) -> list[int]:
    """What changes when a file is written to or replaced: size in bytes, two times in nanoseconds, inode."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def flush(path: Path) -> None:
    """Bring a file, or the names in a folder, from the system's memory to the disk (fsync(2))."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def flush_tree(folder: Path) -> None:
    """The same for a folder and everything below it; links are not followed."""
    for path in folder.rglob("*"):
        if not path.is_symlink() and (path.is_file() or path.is_dir()):
            flush(path)
    flush(folder)
