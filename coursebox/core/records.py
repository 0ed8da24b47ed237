"""The record of a finished stage: what is in its folder, and whether all of that is still there and whole.

A record that is damaged counts as none, and a folder that does not hold what its record says is no result: the stage
is made again. A file is read again only where its stamp says that something has happened to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from coursebox.core.digests import sha256_file, sha256_sparse, sha256_value
from coursebox.core.files import stamp, write_text

RECORD = "stage.json"
NEEDED = {"files", "facts", "seconds", "stamps"}


def file_digest(path: Path) -> str:
    """The digest of a result file. Of a raw disk only what is not zero: reading 20 GiB takes longer than making it.

    The name decides, not how a file system stores the file: the same bytes have the same digest everywhere.
    """
    return sha256_sparse(path) if path.suffix == ".raw" else sha256_file(path)


def files_in(folder: Path) -> dict[str, Path]:
    """The files below a stage's folder by their paths in it, without the record."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink())
    named = {path.relative_to(folder).as_posix(): path for path in found}
    named.pop(RECORD, None)
    return named


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record with the stamps of all files and a digest of its own."""
    body = {**record, "stamps": {name: stamp(path) for name, path in files_in(folder).items()}}
    text = json.dumps({**body, "digest": sha256_value(body)}, indent=1, sort_keys=True)
    write_text(folder / RECORD, text)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a folder, a dict with "files", "facts", "seconds" and what else was written; None without one."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        whole = record.pop("digest") == sha256_value(record) and record.keys() >= NEEDED
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if whole else None


def is_whole(folder: Path, record: dict[str, Any], digest: Callable[[Path], str] = file_digest) -> bool:
    """Whether the folder holds exactly the files of its record, with the bytes that they had.

    A file whose stamp is another is read; when all are right, the record gets the new stamps.
    """
    try:
        found = files_in(folder)
        if found.keys() != record["files"].keys():
            return False
        touched = [name for name, path in found.items() if stamp(path) != record["stamps"][name]]
        if any(digest(found[name]) != record["files"][name] for name in touched):
            return False
    except OSError:
        return False
    if touched:
        with suppress(OSError):  # somebody else's cache: then they are read again the next time, too
            write_record(folder, {name: value for name, value in record.items() if name != "stamps"})
    return True
