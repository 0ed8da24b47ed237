"""SHA-256 of files and of structured values: the only hash the project uses."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

BLOCK = 1 << 20
_ZEROS = bytes(BLOCK)


def sha256_file(path: Path) -> str:
    """Digest (64 hex digits) of a file's bytes, read in blocks of 1 MiB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_digesting(source: Path, target: Path) -> str:
    """Copy a file's bytes to `target`; the digest (64 hex digits) of what was copied."""
    digest = hashlib.sha256()
    with source.open("rb") as file, target.open("wb") as copy:
        while block := file.read(BLOCK):
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()


def sha256_sparse(path: Path) -> str:
    """Digest (64 hex digits) of a large file that is mostly holes: its length and its blocks that are not all zero.

    Which zeros are stored and which are holes does not count, so a copy of the file has the same digest.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(b"sparse %d\n" % size)
        place = 0
        while place < size:
            try:
                place = os.lseek(file.fileno(), place, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError:  # ENXIO: nothing but a hole up to the end
                break
            block = os.pread(file.fileno(), BLOCK, place)
            if block != _ZEROS[: len(block)]:
                digest.update(b"%d\n" % place)
                digest.update(block)
            place += BLOCK
    return digest.hexdigest()


def sha256_bytes(data: bytes) -> str:
    """Digest (64 hex digits) of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_value(value: object) -> str:
    """Digest of a JSON-like value, independent of the order of its keys."""
    return sha256_bytes(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())
