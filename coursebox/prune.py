"""Keep the cache below its limit, and remove what was built.

What a build used last goes last: finished stages first, since the next build can make them again from what is here,
then Python environments, then downloads. Stages also go where the disk has too little room for the next build.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from coursebox.core.console import say
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.settings import settings
from coursebox.core.stages import exclusive
from coursebox.fetch.store import last_used
from coursebox.host.engine import remove_images

ROOM = 15_000_000_000  # bytes that a build of all targets takes on the disk, with the images in the engine


@dataclass(frozen=True)
class Entry:
    """One thing that pruning keeps or removes as a whole; `used`: seconds since 1970, `size`: bytes on the disk."""

    path: Path
    kind: str
    used: float
    size: int


def cache_limit() -> int:
    """Bytes that the cache may take; 0: no limit."""
    return settings().cache_limit


def entries(cache: Cache) -> list[Entry]:
    """All that can be pruned, in the order in which it goes."""
    stages = [_entry(path, "stages", path) for path in _below(cache.stages, 2)]
    tools = [_entry(path, "python", path / "complete") for path in _below(cache.root / "python", 1) if path.is_dir()]
    used = last_used(cache)
    objects = [_object(path, used.get(path.name)) for path in _below(cache.root / "objects", 2)]
    return [
        entry for kind in (stages, tools, objects) for entry in sorted(kind, key=lambda entry: (entry.used, entry.path))
    ]


def prune(cache: Cache, keep: Collection[Path], limit: int | None = None) -> int:
    """Remove what was not used for the longest time until the cache is below its limit; returns the bytes freed.

    keep: stage folders and objects of the running build, which stay even when they alone are above the limit; the
    Python environment that runs this stays, too. Where the disk has less than ROOM left, stages go below the limit.
    To be called while the build holds the cache (`stage.exclusive`).
    """
    limit = cache_limit() if limit is None else limit
    if limit == 0 or not cache.root.is_dir():
        return 0
    found = entries(cache)
    above = sum(entry.size for entry in found) - limit
    lacking = ROOM - shutil.disk_usage(cache.root).free
    if max(above, lacking) <= 0:
        return 0
    stays = {Path(os.path.abspath(path)) for path in keep}
    freed, removed = 0, 0
    for entry in found:
        if freed >= (max(above, lacking) if entry.kind == "stages" else above):
            continue
        if entry.path in stays or (entry.kind == "python" and _in_use(entry.path)):
            continue
        remove(entry.path, cache)
        freed += entry.size
        removed += 1
    if removed:
        say(f"‣ cache: removed {removed} things unused for the longest time, {freed / 1e9:.1f} GB")
    return freed


def sizes(cache: Cache) -> dict[str, int]:
    """Bytes on the disk below each folder of the cache."""
    return {path.name: disk_usage(path) for path in _below(cache.root, 1) if path.is_dir()}


def disk_usage(path: Path) -> int:
    """Bytes that a file or folder takes on the disk; a file with several names in it counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for status in _walk(path):
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
    return total


def remove(path: Path, cache: Cache) -> None:
    """Delete a file or folder of the cache; it is gone from its place at once, and never half there."""
    cache.tmp.mkdir(parents=True, exist_ok=True)
    grave = Path(tempfile.mkdtemp(prefix="removed-", dir=cache.tmp))
    path.rename(grave / path.name)
    shutil.rmtree(grave)


def clean(*, stages: bool, checkout: Path = CHECKOUT, cache: Cache | None = None) -> None:
    """`make clean`: remove dist/ and build/ of the checkout; `stages`: the finished stages in the cache, too.

    Downloads and Python environments stay: nothing but the network could bring them back.
    """
    for folder in (checkout / "dist", checkout / "build"):
        if folder.is_dir():
            size = disk_usage(folder)
            shutil.rmtree(folder)
            say(f"removed {folder} ({size / 1e9:.1f} GB)")
    if not stages:
        return
    cache = cache or Cache.from_environment()
    with exclusive(cache):
        size = disk_usage(cache.stages)
        for path in _below(cache.stages, 1):
            remove(path, cache)
        say(f"removed the finished stages in {cache.stages} ({size / 1e9:.1f} GB)")
    remove_images(cache)  # where no engine answers, there is nothing to remove


def _entry(path: Path, kind: str, clock: Path) -> Entry:
    # An environment without its mark of completeness was never used; with it, its size stands there.
    if not clock.is_file() or clock == path:
        return Entry(path, kind, clock.stat().st_mtime if clock.exists() else 0.0, disk_usage(path))
    noted = clock.read_text(encoding="ascii", errors="replace").strip()
    size = int(noted) if noted.isdecimal() and len(noted) < 16 else disk_usage(path)
    return Entry(path, kind, clock.stat().st_mtime, size)


def _object(path: Path, used: float | None) -> Entry:
    """A download; one whose use nobody has noted was used when it came."""
    entry = _entry(path, "objects", path)
    return entry if used is None else replace(entry, used=max(used, entry.used))


def _below(folder: Path, depth: int) -> list[Path]:
    """What is exactly `depth` levels below a folder, sorted; nothing where there is no folder."""
    return sorted(folder.glob("/".join(["*"] * depth)))


def _in_use(environment: Path) -> bool:
    """Whether this very Python, or the one that it builds on, lives in the environment."""
    return any(Path(place).is_relative_to(environment) for place in (sys.prefix, *sys.path))


def _walk(path: Path) -> Iterator[os.stat_result]:
    try:
        yield path.lstat()
        if path.is_dir() and not path.is_symlink():
            with os.scandir(path) as listing:
                for found in listing:
                    if found.is_dir(follow_symlinks=False):
                        yield from _walk(Path(found.path))
                    else:
                        yield found.stat(follow_symlinks=False)
    except OSError:
        # What vanishes or may not be read while it is counted does not count.
        return
