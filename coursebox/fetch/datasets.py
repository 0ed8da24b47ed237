"""The data sets as a folder ready to go into a tree: complete, else a sample, else a stand-in that says what it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx

from coursebox.archives.http import make_client
from coursebox.archives.mirrors import data_mirrors, join, local_path
from coursebox.core.console import say, step, warn
from coursebox.core.digests import BLOCK, sha256_file, sha256_value
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.fetch import synthetic
from coursebox.fetch.download import Download, download
from coursebox.fetch.retry import RateLimit, RetryPolicy, TooSlow
from coursebox.fetch.store import Store, stamp, unfinished, writing
from coursebox.lock.datasets import RAW
from coursebox.lock.lockfile import DataFile, Locks

BATCHES = "cifar10/cifar-10-batches-py"
UNPACKED_LIMIT = 1 << 30


NOTES = {
    ("mnist", "complete"): "MNIST, complete: 60000 training and 10000 test images",
    ("mnist", "stand-in"): "not MNIST but a stand-in of drawn digits: 60000 training and 10000 test images",
    ("cifar10", "complete"): "CIFAR-10, complete: 50000 training and 10000 test images",
    (
        "cifar10",
        "sample",
    ): "a sample of CIFAR-10: of each batch the first 932 images, 4660 for training, 932 for testing",
    ("cifar10", "stand-in"): "not CIFAR-10 but a stand-in of coloured shapes: 5000 training and 1000 test images",
}
SYNTHETIC: Mapping[str, tuple[str, Callable[[], Iterator[tuple[str, bytes]]]]] = {
    "mnist": (RAW, synthetic.mnist_files),
    "cifar10": (BATCHES, synthetic.cifar10_files),
}


@dataclass(frozen=True)
class DataTree:
    """The finished folder.

    path: what belongs into /usr/share/coursebox/data, SOURCES.json included; not to be written to
    digest: of all paths and contents in it
    sources: data set → {"kind": "complete" | "sample" | "stand-in", "note": …}, as in SOURCES.json
    """

    path: Path
    digest: str
    sources: Mapping[str, Mapping[str, str]]


def fetch_data(
    locks: Locks,
    sets: Sequence[str],
    cache: Cache,
    *,
    strict: bool,
    mirrors: Callable[[], Sequence[str]] = data_mirrors,
    retry: RetryPolicy | None = None,
) -> DataTree:
    """The folder with the data sets `sets`, from the cache, the mirrors or, not `strict`, a generator.

    strict: raise `CourseboxError` unless every set is complete
    Raises `CourseboxError` too when a mirror that may have a set cannot be reached.
    """
    found = _Finder(cache, mirrors, retry or RetryPolicy())
    kinds: dict[str, str] = {}
    files: dict[str, list[DataFile]] = {}
    for name in sorted(sets):
        kinds[name], files[name] = "stand-in", []
        for kind in ("complete", "sample"):
            wanted = [item for item in locks.data if item.set == name and item.kind == kind]
            if wanted and all(found.has(item) for item in wanted):
                kinds[name], files[name] = kind, wanted
                break
        if strict and kinds[name] != "complete":
            offered = [
                f"{item.folder}/{item.file}" for item in locks.data if item.set == name and item.kind == "complete"
            ]
            raise CourseboxError(
                f"no source has the complete data set {name}, and STRICT=1 takes no {kinds[name]}",
                hint=f"set MIRROR to a folder or a URL that has {', '.join(offered)}, or leave STRICT out",
            )
    found.close()
    sources = {name: {"kind": kind, "note": NOTES[name, kind]} for name, kind in kinds.items()}
    for source in sources.values():
        if source["kind"] != "complete":
            warn(f"data: {source['note']}")
    key = sha256_value(
        {
            "epoch": locks.epoch,
            "sources": sources,
            "files": {name: [[item.path, item.sha256] for item in wanted] for name, wanted in files.items()},
            "code": [sha256_file(Path(file)) for file in (__file__, synthetic.__file__)],
        }
    )
    place = cache.stages / "data" / key[:32]
    if (digest := _intact(place)) is None:
        with step("lay out the data sets"):
            digest = _build(place, cache, locks.epoch, sources, files)
    with contextlib.suppress(OSError):
        os.utime(place)  # pruning removes what was used longest ago
    return DataTree(place / "tree", digest, sources)


class _Finder:
    """Looks for data files in the cache and on the mirrors."""

    def __init__(self, cache: Cache, mirrors: Callable[[], Sequence[str]], retry: RetryPolicy) -> None:
        self._cache, self._retry = cache, retry
        self._store = Store(cache)
        self._ask = mirrors
        self._mirrors: Sequence[str] | None = None
        self._client: httpx.Client | None = None

    def has(self, item: DataFile) -> bool:
        """Whether the item is in the cache now, fetched if need be."""
        if self._store.verified({item.sha256: item.file}):
            return True
        if self._mirrors is None:
            self._mirrors = self._ask()
        if item.packing == "gzip":
            return self._fetch_content(item)
        places = list(self._places(f"{item.folder}/{item.file}"))
        if not places:
            return False
        wanted = Download(item.file, item.sha256, item.size, lambda: places)
        return not download([wanted], self._cache, retry=self._retry, client=self.client, title=item.file).gone

    def client(self) -> httpx.Client:
        """The HTTP client, made when first needed."""
        if self._client is None:
            self._client = make_client(connect=self._retry.connect, stall=self._retry.stall)
        return self._client

    def close(self) -> None:
        """Close the client, if there is one."""
        if self._client is not None:
            self._client.close()

    def _places(self, path: str) -> Iterator[str]:
        for mirror in self._mirrors or ():
            address = join(mirror, path)
            local = local_path(address)
            if local is None or local.is_file():
                yield address

    def _fetch_content(self, item: DataFile) -> bool:
        """Look for a file that is known by its content, compressed or not."""
        silent: list[str] = []
        plain = item.file.removesuffix(".gz")
        for address in [*self._places(f"{item.folder}/{item.file}"), *self._places(f"{item.folder}/{plain}")]:
            local = local_path(address)
            for attempt in range(1, self._retry.attempts + 1):
                try:
                    blocks = _file_blocks(local) if local else self._remote_blocks(address, item)
                    if address.endswith(".gz"):
                        blocks = gunzip(blocks, item.size)
                    if self._store.add(blocks, item.sha256, item.file):
                        self._store.save()
                        say(f"  {item.file}: from {address.removesuffix('/' + item.file)}")
                        return True
                    warn(f"{address} has not the content that is locked, and is passed over")
                except (zlib.error, _NotThere):
                    pass
                except (httpx.HTTPError, TooSlow, _ServerError) as error:
                    if attempt < self._retry.attempts:
                        time.sleep(self._retry.pause * 2**attempt)
                        continue
                    silent.append(f"{address} ({str(error) or type(error).__name__})")
                break
        if silent:
            raise CourseboxError(
                f"{item.file} could not be fetched: {'; '.join(silent)}",
                hint="check the network and $MIRROR, and run it again",
            )
        return False

    def _remote_blocks(self, address: str, item: DataFile) -> Iterator[bytes]:
        rate = RateLimit(self._retry)
        with self.client().stream("GET", address) as response:
            if response.status_code >= 500 or response.status_code == 429:
                raise _ServerError(f"HTTP {response.status_code}")
            if response.status_code != 200:
                raise _NotThere
            total = 0
            for block in response.iter_raw():
                rate.count(len(block))
                total += len(block)
                if total > item.size + BLOCK:  # compressing never adds that much
                    raise _NotThere
                yield block


class _NotThere(Exception):
    """A mirror answered, and has not what is wanted."""


class _ServerError(Exception):
    """A mirror answered with an error of its own."""


def gunzip(blocks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The content of a gzip file, of which not much more than `limit` bytes are ever expanded.

    Raises zlib.error when it is no gzip file, is cut, or would grow beyond the limit.
    """
    unpack = zlib.decompressobj(wbits=31)
    total = 0
    for block in blocks:
        rest = block
        while rest:
            if unpack.eof:  # a gzip file may consist of several members (RFC 1952, 2.2)
                unpack = zlib.decompressobj(wbits=31)
            out = unpack.decompress(rest, BLOCK)
            total += len(out)
            if total > limit:
                raise zlib.error(f"more than {limit} bytes of content")
            yield out
            rest = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
    if not unpack.eof:
        raise zlib.error("the gzip file is cut")


def _file_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _build(
    place: Path,
    cache: Cache,
    epoch: int,
    sources: Mapping[str, Mapping[str, str]],
    files: Mapping[str, Sequence[DataFile]],
) -> str:
    """Lay out the folder beside its place and rename it; its digest."""
    with writing("the data sets", cache.root), unfinished(cache) as name:
        folder = name / "data"
        tree = folder / "tree"
        tree.mkdir(parents=True)
        for data_set, items in files.items():
            for item in items:
                source = cache.object(item.sha256)
                if item.packing == "tar":
                    _unpack(source, tree / item.path)
                else:
                    (tree / item.path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, tree / item.path)
            if not items:
                below, generate = SYNTHETIC[data_set]
                (tree / below).mkdir(parents=True)
                for file, content in generate():
                    (tree / below / file).write_bytes(content)
        text = json.dumps(sources, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (tree / "SOURCES.json").write_text(text, encoding="utf-8")
        _settle(tree, epoch)
        digests = {
            path.relative_to(tree).as_posix(): sha256_file(path) for path in sorted(tree.rglob("*")) if path.is_file()
        }
        _write_record(folder, digests)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            place.rename(name / "damaged")
        folder.rename(place)
    return sha256_value(digests)


def _settle(tree: Path, epoch: int) -> None:
    """Modes and times that do not depend on who laid the files out, when, and under which umask."""
    for path in [*sorted(tree.rglob("*"), reverse=True), tree]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (epoch, epoch))


def _unpack(archive: Path, folder: Path) -> None:
    """Extract the regular files of a tar archive whose names stay below `folder`; anything else is not taken."""
    total = 0
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if not member.isfile() or name.is_absolute() or ".." in name.parts:
                continue
            total += member.size
            if total > UNPACKED_LIMIT:
                raise CourseboxError(f"{archive} unpacks to more than {UNPACKED_LIMIT} bytes")
            content = tar.extractfile(member)
            if content is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(content, file, BLOCK)


def _write_record(folder: Path, digests: Mapping[str, str]) -> None:
    stamps = {name: stamp(folder / "tree" / name) for name in digests}
    text = json.dumps({"digests": digests, "stamps": stamps}, sort_keys=True)
    beside = folder / f"record.json.{os.getpid()}"
    beside.write_text(text, encoding="utf-8")
    beside.replace(folder / "record.json")


def _intact(place: Path) -> str | None:
    """Digest of a folder that was laid out before, when it is still what it was; None when it is to be made anew."""
    try:
        record = json.loads((place / "record.json").read_text(encoding="utf-8"))
        digests: dict[str, str] = record["digests"]
        stamps = record["stamps"]
    except (OSError, ValueError, KeyError):
        return None
    tree = place / "tree"
    there = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    changed = [name for name in digests if stamp(tree / name) != stamps.get(name)]
    whole = there == set(digests) and all(sha256_file(tree / name) == digests[name] for name in changed)
    if not whole:
        warn(f"the data sets in the cache are damaged ({place}) and will be laid out anew")
        return None
    if changed:
        with contextlib.suppress(OSError):
            _write_record(place, digests)
    return sha256_value(digests)
