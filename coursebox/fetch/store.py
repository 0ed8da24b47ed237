"""The objects of the cache: verified once, remembered by a stamp, and written so that none is ever half there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from coursebox.core.console import warn
from coursebox.core.digests import BLOCK, sha256_file
from coursebox.core.errors import CourseboxError
from coursebox.core.files import stamp
from coursebox.core.paths import Cache
from coursebox.fetch.answers import START

PARTIAL = "partial"
USED = "used.json"
NOTED_AGAIN = 3600  # seconds
LATEST = 2**40  # seconds since 1970; what is later is damage
OLD = 7 * 24 * 3600
FULL = (errno.ENOSPC, errno.EDQUOT)


class NoSpace(CourseboxError):
    """The cache's device is full."""


class Store:
    """Objects by digest. A stamp (size, change times, inode) tells that a file is the one whose digest was checked."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._file = cache.root / "verified.json"
        self._stamps = self._load()
        self._news: dict[str, list[int]] = {}
        self._used: set[str] = set()

    def verified(self, names: Mapping[str, str]) -> dict[str, Path]:
        """Those of `names` (digest → what messages call the file) that are there and whole, with their places.

        A file whose content is not what its name says is deleted, with a warning, so that it is fetched again.
        """
        good: dict[str, Path] = {}
        unsure: list[str] = []
        for sha256 in names:
            now = _stamp(self.cache.object(sha256))
            if now is not None and self._stamps.get(sha256) == now:
                good[sha256] = self.cache.object(sha256)
            elif now is not None:
                unsure.append(sha256)
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            digests = pool.map(lambda one: _digest(self.cache.object(one)), unsure)
            for sha256, found in zip(unsure, digests, strict=True):
                path = self.cache.object(sha256)
                if found == sha256:
                    self.remember(sha256)
                    good[sha256] = path
                else:
                    warn(f"{names[sha256]} is damaged in the cache ({path}) and will be fetched again")
                    path.unlink(missing_ok=True)
        self._used |= good.keys()
        self.save()
        return good

    def remember(self, sha256: str) -> None:
        """Note that the object has just been found to be whole."""
        now = _stamp(self.cache.object(sha256))
        if now is not None:
            self._stamps[sha256] = self._news[sha256] = now

    def save(self) -> None:
        """Write down new stamps, beside those that others have written, and what was used; losing one costs little."""
        note_use(self.cache, self._used | self._news.keys())
        if not self._news:
            return
        with contextlib.suppress(OSError):
            _replace(self._file, self._load() | self._news)
            self._news.clear()

    def _load(self) -> dict[str, list[int]]:
        return _read(self._file)

    def forget_parts(self, names: Iterable[str]) -> None:
        """Delete what was begun of these objects, to give room back."""
        for sha256 in names:
            (self.cache.root / PARTIAL / sha256).unlink(missing_ok=True)

    def add(self, blocks: Iterable[bytes], sha256: str, name: str) -> Path | None:
        """Store content that is at hand; None, and nothing stored, when it has not this digest."""
        with self.part(sha256, name) as part:
            if part is None:
                return self.cache.object(sha256)
            part.reset()
            for block in blocks:
                part.write(block)
            if part.digest() != sha256:
                part.discard()
                return None
            part.finish()
            return self.cache.object(sha256)

    @contextmanager
    def part(self, sha256: str, name: str, wait: Callable[[float], object] | None = None) -> Iterator[Part | None]:
        """The unfinished file of an object, held against other processes; None when another one has finished it.

        wait: called with seconds while another process holds the file; may raise to give up
        """
        path = self.cache.root / PARTIAL / sha256
        with writing(name, self.cache.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = _hold(path, wait or threading.Event().wait)
            try:
                if _digest(self.cache.object(sha256)) == sha256:
                    path.unlink(missing_ok=True)
                    yield None
                else:
                    yield Part(self, sha256, path, file)
            except OSError as error:
                if error.errno in FULL:
                    path.unlink(missing_ok=True)
                raise
            finally:
                with contextlib.suppress(OSError):
                    file.close()


def last_used(cache: Cache) -> dict[str, float]:
    """Digest of an object → when a build used it last, in seconds since 1970; without those that nobody has noted.

    The times are not those of the files: these are part of the stamps, and a touched file would be read again.
    """
    noted = _read(cache.root / USED)
    return {name: when for name, when in noted.items() if isinstance(when, int | float) and 0 <= when < LATEST}


def note_use(cache: Cache, names: Collection[str]) -> None:
    """Note that these objects are used now. Within an hour nothing is written again: a build may have nothing to do."""
    now, noted = time.time(), last_used(cache)
    if all(0 <= now - noted.get(name, 0.0) < NOTED_AGAIN for name in names):
        return
    with contextlib.suppress(OSError):
        there = {name: when for name, when in noted.items() if cache.object(name).exists()}
        _replace(cache.root / USED, there | dict.fromkeys(names, int(now)))


class Part:
    """A file that is being written; its digest is computed along the way."""

    def __init__(self, store: Store, sha256: str, path: Path, file: BinaryIO) -> None:
        self._store = store
        self._sha256 = sha256
        self._path = path
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0
        file.seek(0)
        while block := file.read(BLOCK):
            self._hash.update(block)
            self.size += len(block)

    def write(self, block: bytes) -> None:
        """Append bytes."""
        self._file.write(block)
        self._hash.update(block)
        self.size += len(block)

    def digest(self) -> str:
        """SHA-256 of all that was written."""
        return self._hash.hexdigest()

    def start(self) -> bytes:
        """The first bytes, as many as tell what the content is."""
        self._file.flush()
        return os.pread(self._file.fileno(), START, 0)

    def reset(self) -> None:
        """Begin anew."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0

    def discard(self) -> None:
        """Leave nothing behind."""
        self._path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Move the file to its place; only after `digest` was found right."""
        self._file.flush()
        os.fchmod(self._file.fileno(), 0o444)
        place = self._store.cache.object(self._sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(place)
        self._store.remember(self._sha256)


def sweep(cache: Cache) -> None:
    """Delete what killed or abandoned runs have begun, once it is too old to be resumed."""
    for left in (cache.root / PARTIAL).glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > OLD:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


@contextmanager
def writing(name: str, folder: Path) -> Iterator[None]:
    """Turn the errors of a file system into a sentence about `name`, which is being written into `folder`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        if error.errno in FULL:
            raise NoSpace(
                f"no space left on the device: {name} could not be stored in the cache {folder}",
                hint="make room there, or set COURSEBOX_CACHE to a folder on a larger disk",
            ) from error
        raise CourseboxError(
            f"{name} could not be stored in the cache {folder}: {error.strerror or error}",
            hint="check the folder's owner and permissions, or set COURSEBOX_CACHE to another folder",
        ) from error


def _hold(path: Path, wait: Callable[[float], object]) -> BinaryIO:
    """Open `path` for this process alone; whoever held it may have renamed it meanwhile, then it is opened again."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=BLOCK)
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    wait(0.2)
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _read(file: Path) -> dict[str, Any]:
    """A table that `_replace` has written; a damaged one counts as empty."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        table = json.loads(file.read_text(encoding="utf-8"))
        return table if isinstance(table, dict) else {}
    return {}


def _replace(file: Path, table: Mapping[str, object]) -> None:
    beside = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
    beside.write_text(json.dumps(table), encoding="utf-8")
    beside.replace(file)


def _stamp(path: Path) -> list[int] | None:
    """The stamp of a file; None when it is not there."""
    try:
        return stamp(path)
    except OSError:
        return None


def _digest(path: Path) -> str | None:
    """Digest of a file; None when it cannot be read."""
    try:
        return sha256_file(path)
    except OSError:
        return None
