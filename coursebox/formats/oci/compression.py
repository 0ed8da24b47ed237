"""Bytes → a compressed blob, on several cores, and the same bytes on any number of them.

The stream is cut into blocks of one size, and each block becomes a member of its own: RFC 1952 section 2.2 defines a
file as a sequence of members, so every reader of gzip takes the whole as one stream.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import deflate

# More threads would wait for the one that reads and digests, and only take memory.
MOST_WORKERS = 8


@dataclass(frozen=True)
class Compression:
    """How layers are packed: blocks of `block` bytes, each made a member by `pack(block, level)`.

    library: the version that decides the bytes.
    """

    name: str
    suffix: str
    media_type: str
    library: str
    level: int
    block: int
    pack: Callable[[memoryview, int], bytes]

    @property
    def key(self) -> dict[str, Any]:
        """All that decides the bytes, for the key of a stage."""
        return {"name": self.name, "library": self.library, "level": self.level, "block": self.block}


def _gzip(block: memoryview, level: int) -> bytes:
    return bytes(deflate.gzip_compress(block, level))


# Measured on the tree of the CUDA image, 6.27 GB, in seconds of one core with everything that the stage does:
# level 6 88 s, 3.208 GB; 7 100 s, 3.201 GB; 10, the first that gains more, needs six times as long. zstd would give
# 2.864 GB in 95 s, but Docker reads it from 23.0 on only (https://github.com/moby/moby/releases/tag/v23.0.0), and the
# engine of Debian 12 is older.
GZIP = Compression(
    name="gzip",
    suffix=".tar.gz",
    media_type="application/vnd.oci.image.layer.v1.tar+gzip",
    library=f"deflate {deflate.__version__}",
    level=6,
    block=4 << 20,
    pack=_gzip,
)


@dataclass(frozen=True)
class Blob:
    """A written blob. SHA-256 of the file and of the stream inside (64 hex digits); both sizes in bytes."""

    digest: str
    size: int
    diff_id: str
    unpacked: int


class BlobWriter:
    """Writes the file `target`; use it in a `with` block and call `finish` at its end, or there will be no file.

    workers: threads that compress, by default the processors this process may use, at most `MOST_WORKERS`.
    """

    def __init__(self, target: Path, compression: Compression, *, workers: int | None = None) -> None:
        self._target = target
        self._compression = compression
        self._workers = workers or min(len(os.sched_getaffinity(0)), MOST_WORKERS)
        self._block = memoryview(bytearray(compression.block))
        self._fill = 0
        self._waiting: deque[Future[bytes]] = deque()
        self._unpacked = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._sizes = [0, 0]  # unpacked, packed
        self._finished = False

    def __enter__(self) -> Self:
        self._sink = self._target.open("wb")
        self._pool = ThreadPoolExecutor(self._workers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._sink.close()
        if not self._finished:
            self._target.unlink()

    def write(self, data: bytes) -> None:
        """Append `data` to the stream."""
        rest = memoryview(data)
        while rest:
            count = min(len(rest), self._compression.block - self._fill)
            self._block[self._fill : self._fill + count] = rest[:count]
            self._advance(count)
            rest = rest[count:]

    def copy(self, file: int, start: int, size: int) -> None:
        """Append `size` bytes of an open file from offset `start` on. Raises EOFError when it is shorter."""
        end = start + size
        while start < end:
            room = self._block[self._fill : min(self._compression.block, self._fill + end - start)]
            count = os.preadv(file, [room], start)
            if count == 0:
                raise EOFError
            self._advance(count)
            start += count

    def finish(self) -> Blob:
        """Write what is still in memory; the file is complete then."""
        if self._fill:
            self._pack()
        while self._waiting:
            self._put()
        self._sink.flush()
        self._finished = True
        unpacked, packed = self._sizes
        return Blob(self._packed.hexdigest(), packed, self._unpacked.hexdigest(), unpacked)

    def _advance(self, count: int) -> None:
        self._fill += count
        if self._fill == self._compression.block:
            self._pack()

    def _pack(self) -> None:
        block = self._block[: self._fill]
        self._waiting.append(self._pool.submit(self._compression.pack, block, self._compression.level))
        self._unpacked.update(block)
        self._sizes[0] += len(block)
        self._block, self._fill = memoryview(bytearray(self._compression.block)), 0
        if len(self._waiting) > self._workers + 1:
            self._put()

    def _put(self) -> None:
        data = self._waiting.popleft().result()
        self._sink.write(data)
        self._packed.update(data)
        self._sizes[1] += len(data)
