"""Files by digest from whichever source has them: in parallel, resumed where they broke off, every byte verified.

A source may stall, cut, lie about lengths, send something else or redirect for ever. Each of that costs time and
never more than that: a file gets its name in the cache only after its SHA-256 was found right.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from coursebox.archives.http import make_client
from coursebox.archives.mirrors import local_path
from coursebox.archives.refusals import GONE, refusal
from coursebox.core.console import Advance, progress, say, silent
from coursebox.core.digests import BLOCK
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.fetch import answers
from coursebox.fetch.answers import AGAIN, PAGE, continues, first_bytes, host, is_page, sentence, strong_validator
from coursebox.fetch.retry import RateLimit, RetryPolicy, TooSlow
from coursebox.fetch.store import NoSpace, Part, Store, sweep
from coursebox.fetch.unpack import plain


class Fallback(str):
    """A fallback address: a failure there is not an error."""


@dataclass(frozen=True)
class Download:
    """A file to download: its SHA-256, its size in bytes (None: unknown, at most `limit`), and its addresses.

    addresses: gives URLs and paths in the order to try, a `Fallback` for each that may fail. It is called only when
        the file is missing. It may raise ConnectionError when a server that knows the addresses does not answer.
    packed: the addresses may give the content compressed by gzip; digest and size are those of the content
    """

    name: str
    sha256: str
    size: int | None
    addresses: Callable[[], Iterable[str]]
    limit: int = 8 << 30
    packed: bool = False


@dataclass(frozen=True)
class Downloads:
    """paths: digest → verified file; gone: digest → why no source has it (all answered, and had it not)."""

    paths: dict[str, Path]
    gone: dict[str, str] = field(default_factory=dict)


class _Gone(Exception):
    """This source answered, and has not what is wanted."""


class _Trouble(Exception):
    """This source may have it, but does not deliver now."""


class _Refusal(_Trouble):
    """The same, and asking once more does not help."""


def download(
    items: Sequence[Download],
    cache: Cache,
    *,
    retry: RetryPolicy | None = None,
    client: Callable[[], httpx.Client] | None = None,
    title: str = "fetch",
    quiet: bool = False,
) -> Downloads:
    """Bring all files into the cache and say what was done.

    client: gives the HTTP client to use, which stays open; called when something is missing
    quiet: say nothing when everything was there already
    Raises `CourseboxError` when files could not be had for a reason that may pass (no network), and when the cache
    cannot be written; files that no source has any more are returned in `gone`.
    """
    store = Store(cache)
    wanted = {item.sha256: item for item in items}
    paths = store.verified({sha256: item.name for sha256, item in wanted.items()})
    missing = [item for sha256, item in wanted.items() if sha256 not in paths]
    if not missing:
        if not quiet:
            say(f"  {title}: nothing to fetch, {_files(len(wanted))} there")
        return Downloads(paths)
    sweep(cache)
    _check_space(missing, cache)
    start = time.monotonic()
    retry = retry or RetryPolicy()
    shared = client() if client else None
    used = shared or make_client(retry.connections, connect=retry.connect, stall=retry.stall)
    worker = _Worker(store, retry, used)
    gone: dict[str, str] = {}
    trouble: dict[str, str] = {}
    with progress(title, sum(item.size or 0 for item in missing)) as advance:
        worker.advance = advance
        # Large files first: the last one to finish then is a small one.
        missing.sort(key=lambda item: -(item.size or 0))
        with ThreadPoolExecutor(max_workers=retry.connections) as pool:
            jobs = {pool.submit(worker.fetch, item): item for item in missing}
            try:
                wait(jobs, return_when=FIRST_EXCEPTION)
                for job in jobs:
                    if job.done():
                        job.result()
                for job, item in jobs.items():
                    answer = job.result()
                    if isinstance(answer, Path):
                        paths[item.sha256] = answer
                    elif isinstance(answer, _Gone):
                        gone[item.sha256] = str(answer)
                    else:
                        trouble[item.name] = str(answer)
            except NoSpace:
                worker.stop.set()
                pool.shutdown(cancel_futures=True)
                store.forget_parts(sha256 for sha256 in wanted)
                raise
            finally:
                worker.stop.set()
                pool.shutdown(cancel_futures=True)
                store.save()
                if shared is None:
                    used.close()
    fetched = [item for item in missing if item.sha256 in paths]
    seconds = time.monotonic() - start
    say(
        f"  {title}: {_files(len(fetched))}, {worker.received / 1e6:.1f} MB in {seconds:.0f} s; "
        f"{len(wanted) - len(missing)} there already"
    )
    if trouble:
        some = "; ".join(f"{name} ({why})" for name, why in list(trouble.items())[:3])
        more = f"; and {len(trouble) - 3} more" if len(trouble) > 3 else ""
        raise CourseboxError(
            f"{len(trouble)} of {_files(len(missing))} could not be fetched: {some}{more}",
            hint="check the network and run it again: what has come is kept, and it goes on from there",
        )
    return Downloads(paths, gone)


class _Worker:
    """What the threads share: the client, the bar, and which hosts are down."""

    def __init__(self, store: Store, retry: RetryPolicy, client: httpx.Client) -> None:
        self.store = store
        self.retry = retry
        self.client = client
        self.advance: Advance = silent
        self.stop = threading.Event()
        self.received = 0
        self._lock = threading.Lock()
        self._refused: Counter[str] = Counter()

    def fetch(self, item: Download) -> Path | _Gone | _Trouble:
        """One file from the first source that delivers it; else why none does."""
        answers: list[str] = []
        trouble = False
        with self.store.part(item.sha256, item.name, self._pause) as part:
            place = self.store.cache.object(item.sha256)
            if part is None:
                self.store.remember(item.sha256)
                return place
            self._advance(part.size, fresh=False)
            try:
                for address in item.addresses():
                    source = host(address) or address
                    try:
                        self._from(address, item, part)
                        part.finish()
                        return place
                    except (_Gone, _Trouble) as no:
                        answers.append(f"{source}: {no}")
                        trouble |= isinstance(no, _Trouble) and not isinstance(address, Fallback)
            except ConnectionError as no:
                answers.append(str(no))
                trouble = True
            if not part.size:
                part.discard()
        why = "; ".join(answers) or "no source offers it"
        return _Trouble(why) if trouble else _Gone(why)

    def _from(self, address: str, item: Download, part: Part) -> None:
        """Fill `part` from one address; returns when the digest is right."""
        if part.size and part.size == item.size and part.digest() == item.sha256:
            return
        if (path := local_path(address)) is not None:
            self._copy(path, item, part)
            return
        server = host(address)
        validator: str | None = None
        attempt = rounds = 0
        while True:
            if self._refused[server] >= 3 * self.retry.connections:
                raise _Trouble("cannot be reached")
            before = part.size
            try:
                validator = self._attempt(address, item, part, validator)
                self._refused[server] = 0
                return
            except _Cut as cut:
                validator, why = cut.validator, str(cut)
            except _Refusal:
                raise
            except _Trouble as no:
                why = str(no)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                self._refused[server] += 1
                why = f"cannot be reached ({str(error) or 'no answer'})"
            except httpx.TooManyRedirects:
                raise _Refusal("redirects without end") from None
            except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
                raise _Gone(str(error)) from None
            except httpx.HTTPError as error:
                why = sentence(error)
            # A source that cuts but gets on may go on for a while; one that does not gets few chances.
            attempt = 0 if part.size > before else attempt + 1
            rounds += 1
            if attempt >= self.retry.attempts or rounds >= 64:
                raise _Trouble(why)
            self._pause(self.retry.pause * 2**attempt * (0.75 + random.random() / 2))

    def _attempt(self, address: str, item: Download, part: Part, validator: str | None) -> str | None:
        """One request. Returns when `part` is complete and right; else raises, and `part` is whatever can be kept."""
        if item.packed:  # what came of a compressed stream does not tell where to go on
            self._reset(part)
        offset = part.size
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and validator:
            headers["If-Range"] = validator
        with self.client.stream("GET", address, headers=headers) as response:
            status = response.status_code
            self._refused[host(address)] = 0
            if status == 416 or (status == 206 and not continues(response, offset, item.size)):
                self._reset(part)
                raise _Trouble(f"gives another part than was asked for (HTTP {status})")
            if status == 200:
                self._reset(part)
                offset = 0
            elif status in AGAIN:
                raise _Trouble(f"HTTP {status}")
            elif status in GONE:
                raise _Gone(f"HTTP {status}")
            elif status != 206:
                raise _Refusal(refusal(status))
            if is_page(response, item.name):
                self._reset(part)
                raise _Refusal(PAGE)
            announced = response.headers.get("Content-Length", "")
            known = item.size is not None and announced.isdigit() and not item.packed
            if known and offset + int(announced) != item.size:
                why = f"has {offset + int(announced)} bytes, and {item.size} are expected"
                raise self._wrong(part, item, why, b"" if offset else first_bytes(response))
            validator = strong_validator(response)
            try:
                self._receive(response, item, part)
            except _Refusal:
                raise
            except (httpx.HTTPError, TooSlow, _Trouble) as error:
                raise _Cut(sentence(error), validator) from None
        if item.size is not None and part.size < item.size and not item.packed:
            if answers.begins_as_page(part.start(), item.name):
                self._reset(part)
                raise _Refusal(PAGE)
            raise _Cut(f"stops after {part.size} of {item.size} bytes", validator)
        if part.digest() != item.sha256:
            if offset:
                self._reset(part)
                raise _Trouble("the parts do not fit together")
            raise self._wrong(part, item, "has another content (SHA-256)")
        return validator

    def _receive(self, response: httpx.Response, item: Download, part: Part) -> None:
        """Append the response's body, within the file's size and not slower than RateLimit allows."""
        rate = RateLimit(self.retry)

        def blocks() -> Iterator[bytes]:
            most = (item.limit if item.size is None else item.size) + BLOCK  # compressing never adds that much
            for block in response.iter_raw():
                if self.stop.is_set():
                    raise _Trouble("stopped")
                if (most := most - len(block)) < 0:
                    raise self._wrong(part, item, "sends without end")
                yield block
                rate.count(len(block))

        self._append(blocks(), item, part)

    def _append(self, blocks: Iterable[bytes], item: Download, part: Part) -> None:
        """Write the blocks into `part`, unpacked where need be; raises _Gone for more than the file's size."""
        limit = item.limit if item.size is None else item.size
        try:
            for block in plain(blocks, limit) if item.packed else blocks:
                if part.size + len(block) > limit:
                    raise self._wrong(part, item, f"sends more than {limit} bytes", block)
                part.write(block)
                self._advance(len(block))
        except zlib.error as error:
            self._reset(part)
            raise _Gone(f"has another content ({error})") from None

    def _copy(self, path: Path, item: Download, part: Part) -> None:
        try:
            with path.open("rb") as file:
                self._reset(part)
                self._append(iter(lambda: file.read(BLOCK), b""), item, part)
        except FileNotFoundError:
            raise _Gone("is not there") from None
        except IsADirectoryError as error:
            raise _Gone(error.strerror) from None
        except PermissionError as error:
            raise _Refusal(error.strerror) from None
        if part.digest() != item.sha256:
            self._reset(part)
            raise _Gone("has another content (SHA-256)")

    def _wrong(self, part: Part, item: Download, why: str, block: bytes = b"") -> _Gone | _Refusal:
        """Why a content that is not the file's is not taken: it is a page, or `why`. Forgets what is in `part`.

        block: what comes behind the content of `part`
        """
        page = answers.begins_as_page((part.start() + block)[: answers.START], item.name)
        self._reset(part)
        return _Refusal(PAGE) if page else _Gone(why)

    def _reset(self, part: Part) -> None:
        self._advance(-part.size)
        part.reset()

    def _advance(self, count: int, *, fresh: bool = True) -> None:
        with self._lock:
            self.received += count if fresh and count > 0 else 0
            self.advance(count)

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise _Stopped


class _Cut(_Trouble):
    """The body broke off; `validator` allows to ask for the rest of the same content (RFC 9110, 13.1.5)."""

    def __init__(self, why: str, validator: str | None) -> None:
        super().__init__(why)
        self.validator = validator


class _Stopped(CourseboxError):
    """Another thread's failure ended the whole; its error is the one that is told."""

    def __init__(self) -> None:
        super().__init__("stopped")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _check_space(missing: Sequence[Download], cache: Cache) -> None:
    """Say before the first byte when the files cannot fit."""
    need = sum(item.size or 0 for item in missing)
    folder = cache.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if need > free:
        raise CourseboxError(
            f"no space left on the device: {need / 1e6:.1f} MB are to be fetched into the cache {cache.root}, "
            f"where {free / 1e6:.1f} MB are free",
            hint="make room there, or set COURSEBOX_CACHE to a folder on a larger disk",
        )
