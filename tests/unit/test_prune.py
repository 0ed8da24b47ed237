"""The cache's limit: what was used last goes last, and what the running build needs stays."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from coursebox import prune as prune_module
from coursebox.core.paths import Cache
from coursebox.fetch.store import Store, last_used
from coursebox.prune import clean, disk_usage, entries, prune, sizes

MEGABYTE = 1_000_000


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Say how many bytes the disk has free; enough unless said."""

    def has(free: int) -> None:
        usage = SimpleNamespace(total=1 << 40, used=0, free=free)
        monkeypatch.setattr(prune_module.shutil, "disk_usage", lambda _path: usage)

    has(1 << 40)
    return has


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def put(path: Path, *, used: int, megabytes: float = 1.0) -> Path:
    """A file of this size, as if last used `used` seconds after 1970."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * int(megabytes * MEGABYTE))
    os.utime(path, (used, used))
    return path


def stage(cache: Cache, name: str, *, used: int) -> Path:
    folder = put(cache.stages / name / f"key{used}" / "tree.tar", used=1).parent
    os.utime(folder, (used, used))
    return folder


def environment(cache: Cache, name: str, *, used: int) -> Path:
    folder = cache.root / "python" / name
    put(folder / "lib" / "module.py", used=1)
    (folder / "complete").write_text("1500000\n", encoding="ascii")
    os.utime(folder / "complete", (used, used))
    return folder


def test_stages_go_before_environments_before_downloads_oldest_first(cache: Cache) -> None:
    expected = [
        stage(cache, "disk", used=5),
        stage(cache, "bootstrap-vm", used=7),
        stage(cache, "disk", used=9),
        environment(cache, "build-old", used=2),
        environment(cache, "build-new", used=4),
        put(cache.object("b" * 64), used=1),
        put(cache.object("a" * 64), used=3),
    ]
    assert [entry.path for entry in entries(cache)] == expected


def test_the_size_of_an_environment_is_what_was_noted(cache: Cache) -> None:
    folder = environment(cache, "build-1", used=2)
    assert entries(cache)[0].size == 1_500_000
    (folder / "complete").unlink()
    assert MEGABYTE <= entries(cache)[0].size < 1_500_000
    assert entries(cache)[0].used == 0.0


@pytest.mark.parametrize("mark", [b"", b"\xb15", b"9" * 5000, "²".encode(), b"-3"])
def test_a_damaged_mark_costs_only_counting(cache: Cache, mark: bytes) -> None:
    folder = environment(cache, "build-1", used=2)
    (folder / "complete").write_bytes(mark)
    assert MEGABYTE <= entries(cache)[0].size < 1_500_000


def test_nothing_goes_below_the_limit_or_without_one(cache: Cache) -> None:
    stage(cache, "disk", used=5)
    assert prune(cache, (), limit=10 * MEGABYTE) == 0
    assert prune(cache, (), limit=0) == 0
    assert len(entries(cache)) == 1


def test_only_as_much_goes_as_is_needed(cache: Cache) -> None:
    old, new = stage(cache, "disk", used=5), stage(cache, "disk", used=6)
    freed = prune(cache, (), limit=int(1.5 * MEGABYTE))
    assert not old.exists()
    assert new.exists()
    assert freed >= MEGABYTE
    assert not list(cache.tmp.iterdir())


def test_on_a_full_disk_stages_go_below_the_limit_and_nothing_else(
    cache: Cache, disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit alone let a cache and an engine fill a disk of 40 GB; downloads could not be had again."""
    oldest, older, kept = (stage(cache, "disk", used=n) for n in (1, 2, 3))
    others = [environment(cache, "build-1", used=1), put(cache.object("a" * 64), used=1)]
    monkeypatch.setattr(prune_module, "ROOM", 50 * MEGABYTE)
    disk(50 * MEGABYTE - 1)
    assert prune(cache, [kept], limit=100 * MEGABYTE) >= MEGABYTE
    assert not oldest.exists() and older.exists() and kept.exists()
    disk(0)
    prune(cache, [kept], limit=100 * MEGABYTE)
    assert not older.exists() and kept.exists() and all(path.exists() for path in others)
    assert prune(cache, (), limit=0) == 0  # whoever wants no limit looks after the disk


def test_the_running_build_keeps_what_it_uses(cache: Cache) -> None:
    kept_stage, other_stage = stage(cache, "disk", used=1), stage(cache, "disk", used=2)
    kept_object, other_object = put(cache.object("a" * 64), used=1), put(cache.object("b" * 64), used=2)
    prune(cache, [kept_stage, kept_object], limit=1)
    assert kept_stage.exists()
    assert kept_object.exists()
    assert not other_stage.exists()
    assert not other_object.exists()


def test_the_running_environments_stay(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    test = environment(cache, "test-1", used=1)
    build = environment(cache, "build-1", used=2)
    other = environment(cache, "build-0", used=3)
    monkeypatch.setattr(sys, "prefix", str(test))
    monkeypatch.setattr(sys, "path", [*sys.path, str(build / "lib")])
    prune(cache, (), limit=1)
    assert test.exists()
    assert build.exists()
    assert not other.exists()


def fetch(cache: Cache, name: str, monkeypatch: pytest.MonkeyPatch, *, when: float) -> Path:
    """A download that a build at this time, in seconds since 1970, has found in the cache."""
    content = name.encode() * MEGABYTE
    sha256 = hashlib.sha256(content).hexdigest()
    if not cache.object(sha256).exists():
        put(cache.object(sha256), used=1).write_bytes(content)
    monkeypatch.setattr(time, "time", lambda: when)
    assert set(Store(cache).verified({sha256: name})) == {sha256}
    return cache.object(sha256)


def test_downloads_go_by_their_last_use(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = fetch(cache, "a", monkeypatch, when=2e9), fetch(cache, "b", monkeypatch, when=2e9 + 10)
    assert [entry.path for entry in entries(cache)] == [first, second]
    fetch(cache, "a", monkeypatch, when=2e9 + 9000)
    assert [entry.path for entry in entries(cache)] == [second, first]
    prune(cache, (), limit=int(1.5 * MEGABYTE))
    assert (first.exists(), second.exists()) == (True, False)
    third = fetch(cache, "c", monkeypatch, when=2e9 + 19000)
    assert set(last_used(cache)) == {first.name, third.name}  # what is gone is not noted for ever


def test_a_use_is_noted_once_an_hour_and_no_file_is_touched(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build with nothing to do writes nothing, and reads no download again."""
    download = fetch(cache, "a", monkeypatch, when=2e9)
    noted, before = (cache.root / "used.json").stat(), download.stat()
    fetch(cache, "a", monkeypatch, when=2e9 + 3000)
    assert (cache.root / "used.json").stat() == noted
    fetch(cache, "a", monkeypatch, when=2e9 + 4000)
    assert last_used(cache) == {download.name: 2e9 + 4000}
    assert (download.stat().st_mtime_ns, download.stat().st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    fetch(cache, "a", monkeypatch, when=2e9)  # a clock that was wrong
    assert last_used(cache) == {download.name: 2e9}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"NAME": "x"}', '{"NAME": NaN}', '{"NAME": 1' + "0" * 400 + "}", '{"NAME": -1, "\\u0000": 1}'],
)
def test_a_damaged_list_of_uses_counts_as_none(cache: Cache, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    download = fetch(cache, "a", monkeypatch, when=2e9)
    (cache.root / "used.json").write_text(text.replace("NAME", download.name))
    assert download.name not in last_used(cache) and len(entries(cache)) == 1
    fetch(cache, "a", monkeypatch, when=2e9)
    assert last_used(cache) == {download.name: 2e9}


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    first = put(tmp_path / "a" / "one", used=1)
    once = disk_usage(tmp_path / "a")
    os.link(first, tmp_path / "a" / "two")
    assert disk_usage(tmp_path / "a") == once >= MEGABYTE


def test_sizes(cache: Cache) -> None:
    stage(cache, "disk", used=1)
    put(cache.object("a" * 64), used=1, megabytes=2)
    found = sizes(cache)
    assert set(found) == {"stages", "objects"}
    assert 2 * MEGABYTE <= found["objects"] < 3 * MEGABYTE


def test_clean(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[tuple[str, ...]] = []  # not from the engine of this machine, where other builds have their images
    monkeypatch.setattr(prune_module, "remove_images", lambda cache: removed.append(cache))
    made = [put(tmp_path / place / "file", used=1) for place in ("dist", "build", "labs")]
    folder, download = stage(cache, "disk", used=1), put(cache.object("a" * 64), used=1)
    clean(stages=False, checkout=tmp_path, cache=cache)
    assert [path.parent.exists() for path in made] == [False, False, True]
    assert folder.exists() and removed == []
    clean(stages=True, checkout=tmp_path, cache=cache)
    assert not folder.exists() and removed == [cache]
    assert download.exists()
