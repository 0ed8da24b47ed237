"""The files of the data sets: complete, else a sample, else none. Mirrors of this machine come before public places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

import httpx

from coursebox.archives.datasets import DataSet, read_data_sets, wanted
from coursebox.archives.http import make_client
from coursebox.archives.mirrors import data_mirrors, join, local_path
from coursebox.core.console import say, warn
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.fetch.download import Download, Fallback, download
from coursebox.fetch.retry import RetryPolicy
from coursebox.fetch.store import Store
from coursebox.lock.lockfile import DataFile, Locks

SYNTHETIC = "stand-in"  # the word in SOURCES.json, which the labs read
# A public place has others behind it, and what came from one is continued at the next: none is waited for long.
RETRY = RetryPolicy(connect=5.0, stall=20.0, slowest=16 << 10, attempts=3)


@dataclass(frozen=True)
class Chosen:
    """What a build takes for one data set.

    kind: "complete", "sample" or SYNTHETIC; note: one sentence for students
    files: the locked files, all of them in the cache; none for a synthetic data set
    """

    kind: str
    note: str
    files: tuple[DataFile, ...] = ()


def choose_data(
    locks: Locks,
    sets: Sequence[str],
    cache: Cache,
    *,
    strict: bool,
    mirrors: Callable[[], Sequence[str]] = data_mirrors,
    described: Mapping[str, DataSet] | None = None,
    retry: RetryPolicy = RETRY,
) -> dict[str, Chosen]:
    """Bring the best edition of each data set into the cache; data set → what was found, sorted.

    sets: their names, or name and edition: "cifar10/sample" takes the sample wherever the complete set is
    strict: raise `CourseboxError` unless every data set is complete, or the edition that is asked for
    mirrors: gives folders and URLs, asked when something is missing
    described: the data sets with their public addresses; by default those of datasets.toml
    Raises `CourseboxError` too when a mirror does not answer and nothing else has the file, and when no source has a
    data set of which there is no synthetic one.
    """
    known = read_data_sets() if described is None else described
    asked = dict(map(wanted, sets))
    chosen: dict[str, Chosen] = {}
    reasons: dict[str, str] = {}
    with _Finder(cache, mirrors, known, retry) as finder:
        for kind in ("complete", "sample"):
            files = {
                name: [item for item in locks.data if item.set == name and item.kind == kind]
                for name in sorted(set(asked) - set(chosen))
                if asked[name] in (None, kind)
            }
            missing = finder.fetch([item for items in files.values() for item in items])
            for name, items in files.items():
                lacking = [missing[item.sha256] for item in items if item.sha256 in missing]
                if items and not lacking:
                    edition = dict(known[name].editions())[kind]
                    chosen[name] = Chosen(kind, edition.note, tuple(items))
                elif items:
                    reasons.setdefault(name, lacking[0])
    for name in sorted(set(asked) - set(chosen)):
        note = known[name].synthetic
        if note is None and not strict:
            raise CourseboxError(
                f"no source has the data set {name} ({reasons.get(name, 'none is known')})",
                hint="check the network, or set MIRROR to a folder or a URL that has it",
            )
        chosen[name] = Chosen(SYNTHETIC, note or "")
    for name, found in sorted(chosen.items()):
        if found.kind != (asked[name] or "complete"):
            if strict:
                raise _incomplete(name, asked[name] or "complete", found.kind, locks)
            warn(f"data: {found.note}")
            say(f"  {known[name].title}, complete: {reasons.get(name, 'no source is known')}")
    return dict(sorted(chosen.items()))


def _incomplete(name: str, asked: str, kind: str, locks: Locks) -> CourseboxError:
    offered = [f"{item.folder}/{item.file}" for item in locks.data if item.set == name and item.kind == asked]
    what = "complete data set" if asked == "complete" else f"{asked} of the data set"
    other = f', ask for "{name}/{kind}" in the course file,' if kind != SYNTHETIC else ","
    return CourseboxError(
        f"no source has the {what} {name}, and STRICT=1 takes no {kind}",
        hint=f"set MIRROR to a folder or a URL that has {', '.join(offered)}{other} or leave STRICT out",
    )


class _Finder:
    """Downloads data files from the mirrors, and from those public places that answer."""

    def __init__(
        self, cache: Cache, mirrors: Callable[[], Sequence[str]], known: Mapping[str, DataSet], retry: RetryPolicy
    ) -> None:
        self._cache, self._ask, self._known, self._retry = cache, mirrors, known, retry
        self._wanted: list[DataFile] = []

    def __enter__(self) -> _Finder:
        return self

    def __exit__(self, *_: object) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    def fetch(self, items: Sequence[DataFile]) -> dict[str, str]:
        """Bring the files into the cache; SHA-256 → why no source has the file, for those that are missing."""
        there = Store(self._cache).verified({item.sha256: item.file for item in items})
        self._wanted = [item for item in items if item.sha256 not in there]
        # A file without any address is not missing because of the network, and no line about downloads is printed.
        offered = [item for item in self._wanted if any(True for _ in self._addresses(item))]
        missing = {item.sha256: self._nowhere(item) for item in self._wanted if item not in offered}
        if offered:
            downloads = [self._download(item) for item in offered]
            got = download(downloads, self._cache, retry=self._retry, client=lambda: self._client, title="data sets")
            missing |= got.gone
        return missing

    @cached_property
    def _mirrors(self) -> Sequence[str]:
        return self._ask()

    @cached_property
    def _client(self) -> httpx.Client:
        return make_client(connect=self._retry.connect, stall=self._retry.stall)

    def _download(self, item: DataFile) -> Download:
        packed = item.packing == "gzip"
        return Download(item.file, item.sha256, item.size, lambda: self._addresses(item), packed=packed)

    def _addresses(self, item: DataFile) -> Iterator[str]:
        names = [item.file, item.file.removesuffix(".gz")] if item.packing == "gzip" else [item.file]
        for name in names:
            for mirror in self._mirrors:
                address = join(mirror, f"{item.folder}/{name}")
                local = local_path(address)
                if local is None or local.is_file():
                    yield address
        for address in self._public(item):
            if self._silent.get(_host(address)) is None:
                yield Fallback(address)

    def _public(self, item: DataFile) -> list[str]:
        if item.set not in self._known:
            return []
        edition = dict(self._known[item.set].editions()).get(item.kind)
        return [f"{base}{item.file}" for base in edition.addresses] if edition else []

    @cached_property
    def _silent(self) -> dict[str, str]:
        """Host → why it does not answer, for the hosts of all public addresses that may be needed.

        All are asked at the same time, so that a dead network costs one time limit and not one for each file.
        """
        first = {_host(address): address for item in self._wanted for address in reversed(self._public(item))}
        with ThreadPoolExecutor(max_workers=max(len(first), 1)) as pool:
            answers = dict(zip(first, pool.map(self._trouble, first.values()), strict=True))
        return {host: why for host, why in answers.items() if why is not None}

    def _trouble(self, address: str) -> str | None:
        """Why a host does not answer; None when it does, whatever the answer is."""
        limit = self._retry.connect
        try:
            self._client.head(address, timeout=httpx.Timeout(limit, pool=None), follow_redirects=False)
        except httpx.TimeoutException:
            return f"no answer within {limit:.0f} s"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return str(error) or type(error).__name__
        return None

    def _nowhere(self, item: DataFile) -> str:
        """Why there is no address to try."""
        silent = [f"{host}: {why}" for host in map(_host, self._public(item)) if (why := self._silent.get(host))]
        return "; ".join(silent) or "no mirror has it"


def _host(address: str) -> str:
    return urlsplit(address).netloc
