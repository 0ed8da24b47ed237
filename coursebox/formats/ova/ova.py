"""Descriptor, manifest and disk → one OVA file.

The order is that of VMware's own tool (DSP0243 section 5.3 allows it): descriptor, manifest, disk.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from coursebox.core.console import silent
from coursebox.core.digests import sha256_bytes
from coursebox.core.files import atomic
from coursebox.formats.ova.vmdk import VmdkInfo
from coursebox.formats.tarball import TarWriter

_BLOCK_OF_TAR = tarfile.BLOCKSIZE
# The largest size that twelve octal digits of a USTAR header can hold, plus one.
_USTAR_LIMIT = 8 << 30


@dataclass(frozen=True)
class OvaInfo:
    """A written OVA: `size` in bytes."""

    path: Path
    size: int
    sha256: str


def vmdk_name(name: str) -> str:
    """The disk's file name in the OVA called `name`, as it must stand in the descriptor."""
    return f"{_stem(name)}-disk1.vmdk"


def write_ova(
    target: Path,
    ovf: bytes,
    vmdk: Path,
    disk: VmdkInfo,
    *,
    name: str,
    epoch: int,
    on_progress: Callable[[int], None] = silent,
) -> OvaInfo:
    """Write `target` from a descriptor and a disk.

    name: the stem of the member names, ASCII; more than 80 characters are cut. epoch: the members' modification
    time, seconds since 1970. on_progress: called with bytes of the disk that were copied.
    The disk is digested again on the way: raises CourseboxError when the file is not the one that `disk` speaks of.
    `target` appears complete or not at all.
    """
    stem = _stem(name)
    manifest = f"SHA256({stem}.ovf)= {sha256_bytes(ovf)}\nSHA256({vmdk_name(name)})= {disk.sha256}\n".encode("ascii")
    with atomic(target) as part, part.open("wb") as sink, ThreadPoolExecutor(2) as pool:
        tar = TarWriter(sink, pool, partial(_header, epoch=epoch))
        tar.add(f"{stem}.ovf", ovf)
        tar.add(f"{stem}.mf", manifest)
        tar.copy(vmdk_name(name), vmdk, disk.size, disk.sha256, on_progress)
        size = tar.finish()
    return OvaInfo(target, size, tar.sha256)


def _stem(name: str) -> str:
    """What the members' names begin with: a tar header has room for 100 characters."""
    return name[:80]


def _header(name: str, size: int, epoch: int) -> bytes:
    """The tar header of a plain file that says nothing about who built it, 512 bytes.

    USTAR (DSP0243 asks for it). Above 8 GiB, which USTAR cannot write down, GNU's form: VirtualBox and vSphere read it,
    and both refuse PAX (https://github.com/vmware/open-vmdk/pull/65).
    """
    large = size >= _USTAR_LIMIT
    fields = [
        name.encode("ascii").ljust(100, b"\0"),
        b"0000644\0",
        *(b"0000000\0", b"0000000\0"),  # owner and group
        b"\x80" + size.to_bytes(11, "big") if large else b"%011o\0" % size,
        b"%011o\0" % epoch,
        b" " * 8,
        b"0".ljust(101, b"\0"),  # a plain file, which is no link
        b"ustar  \0" if large else b"ustar".ljust(6, b"\0") + b"00",
    ]
    header = b"".join(fields).ljust(_BLOCK_OF_TAR, b"\0")
    checksum = b"%06o\0 " % sum(header)
    return header[:148] + checksum + header[156:]
