"""Unpack gzip streams and tar archives that nobody vouches for: within limits, and never outside of a folder."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from coursebox.core.digests import BLOCK
from coursebox.core.errors import CourseboxError

GZIP = b"\x1f\x8b"
UNPACKED_LIMIT = 1 << 30


def plain(blocks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The content of a file that may or may not be compressed by gzip. Raises zlib.error, see `gunzip`.

    A server may unpack a .gz file on its way, so the first two bytes decide, not the name.
    """
    stream = iter(blocks)
    head = b""
    for block in stream:
        head += block
        if len(head) >= len(GZIP):
            break
    whole = chain([head], stream)
    yield from gunzip(whole, limit) if head.startswith(GZIP) else whole


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


def untar(archive: Path, folder: Path) -> None:
    """Extract the regular files of a tar archive whose names stay below `folder`; anything else is left out.

    Raises CourseboxError for more than UNPACKED_LIMIT bytes.
    """
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
