"""For each locked package file the addresses where it may lie, from the building machine's own settings."""

from __future__ import annotations

import calendar
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from types import TracebackType
from typing import TypeVar

import httpx

from coursebox.archives.apt import AptMirrors, read_apt
from coursebox.archives.indexes import find_wheel
from coursebox.archives.mirrors import data_mirrors, join, local_path
from coursebox.archives.pip import PipSettings, read_pip
from coursebox.archives.reach import archive_client
from coursebox.fetch.download import Download, Fallback
from coursebox.lock.lockfile import Deb, Locks, Wheel

DAY = 24 * 3600
Value = TypeVar("Value")


class Locator:
    """Reads apt's and pip's settings when the first file is missing, not before: a warm build costs nothing.

    Folders that the user added as mirrors come first, then apt's mirrors or pip's indexes, then the snapshot
    service, then URLs that the user added. Threads may share one.
    """

    def __init__(
        self,
        locks: Locks,
        *,
        apt: Callable[[], AptMirrors] = read_apt,
        pip: Callable[[], PipSettings] = read_pip,
        mirrors: Callable[[], tuple[str, ...]] = data_mirrors,
    ) -> None:
        self._locks = locks
        self._read_apt, self._read_pip, self._read_mirrors = apt, pip, mirrors
        self._lock = threading.RLock()

    def __enter__(self) -> Locator:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    def client(self) -> httpx.Client:
        """The HTTP client that knows the machine's proxies and certificates."""
        with self._lock:
            return self._client

    def deb(self, deb: Deb) -> Download:
        """What to download for a .deb."""
        return Download(deb.name, deb.sha256, deb.size, lambda: self._places_of_deb(deb))

    def wheel(self, wheel: Wheel) -> Download:
        """What to download for a wheel; its address is looked up by name and digest."""
        return Download(wheel.filename, wheel.sha256, wheel.size, lambda: self._places_of_wheel(wheel))

    @cached_property
    def _apt(self) -> AptMirrors:
        return self._read_apt()

    @cached_property
    def _pip(self) -> PipSettings:
        return self._read_pip()

    @cached_property
    def _mirrors(self) -> tuple[str, ...]:
        return self._read_mirrors()

    @cached_property
    def _client(self) -> httpx.Client:
        return archive_client(self._apt, self._pip)

    def _folders(self, path: str) -> Iterator[str]:
        for mirror in self._mirrors:
            place = local_path(join(mirror, path))
            if place is not None and place.is_file():
                yield str(place)

    def _urls(self, path: str) -> Iterator[str]:
        yield from (Fallback(join(mirror, path)) for mirror in self._mirrors if local_path(mirror) is None)

    def _places_of_deb(self, deb: Deb) -> Iterator[str]:
        with self._lock:
            bases = self._apt.bases(deb.archive)
            snapshots = self._apt.snapshots(deb.archive, snapshot_moments(self._locks.snapshot))
            folders, urls = list(self._folders(deb.filename)), list(self._urls(deb.filename))
            moved = [join(base, name) for name in names_in_main(deb) for base in self._apt.main]
        yield from folders
        yield from (join(base, deb.filename) for base in bases)
        yield from moved
        yield from (Fallback(join(base, deb.filename)) for base in snapshots)
        yield from urls

    def _places_of_wheel(self, wheel: Wheel) -> Iterator[str]:
        path = f"wheels/{wheel.filename}"
        with self._lock:
            folders, urls, settings = list(self._folders(path)), list(self._urls(path)), self._pip
        yield from folders
        yield from find_wheel(wheel.filename, wheel.sha256, settings, self.client())
        yield from urls


def names_in_main(deb: Deb) -> list[str]:
    """Where the main archive has a file of the security archive, from a point release on; none for other files."""
    prefix = "pool/updates/main/"
    return [f"pool/main/{deb.filename.removeprefix(prefix)}"] if deb.filename.startswith(prefix) else []


def snapshot_moments(snapshot: str) -> tuple[str, ...]:
    """Moments to ask the snapshot service for: when the indexes were written, and a day later.

    The service takes its snapshots a few times a day, so the first may still be without the newest files.
    """
    form = "%Y%m%dT%H%M%SZ"
    then = calendar.timegm(time.strptime(snapshot, form))
    return snapshot, time.strftime(form, time.gmtime(then + DAY))
