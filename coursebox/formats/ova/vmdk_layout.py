"""The bytes of a stream-optimized VMDK: header, markers, tables, descriptor. No input or output here.

Source: VMware, Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse Extents". The file is a sequence of
512-byte sectors: header, descriptor, then grains with a grain table after the last grain of each, the grain
directory, the footer (the header again, with the directory's place) and the end-of-stream marker. qemu-img leaves the
last three out, and VirtualBox then refuses some of its files (VERR_EOF), and ESXi all of them.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace

SECTOR = 512
GRAIN = 64 << 10
GRAIN_SECTORS = GRAIN // SECTOR
TABLE_ENTRIES = 512
TABLE_SECTORS = TABLE_ENTRIES * 4 // SECTOR
DESCRIPTOR_SECTORS = 20
OVERHEAD_SECTORS = 128
# Sector numbers have 32 bits; half of that leaves room for the markers of a disk that does not compress.
MAX_CAPACITY = 1 << 40
# Deflate stores what it cannot shrink: a few bytes for each block more, never a whole sector.
MAX_RECORD = GRAIN + SECTOR

END_OF_STREAM, GRAIN_TABLE, GRAIN_DIRECTORY, FOOTER = range(4)

_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH433x")
_MAGIC = b"KDMV"
_VERSION = 3
_FLAGS = 0x30001  # newline test valid, grains compressed, markers present
_NEWLINES = b"\n \r\n"
_DEFLATE = 1
_DIRECTORY_AT_END = (1 << 64) - 1

_GRAIN_MARKER = struct.Struct("<QI")
_MARKER = struct.Struct("<QII496x")


@dataclass(frozen=True)
class Header:
    """The sparse extent header: `capacity` in sectors, `directory` the grain directory's sector (None at the front)."""

    capacity: int
    directory: int | None = None

    def pack(self) -> bytes:
        """The header's sector, 512 bytes."""
        place = _DIRECTORY_AT_END if self.directory is None else self.directory
        return _HEADER.pack(
            _MAGIC, _VERSION, _FLAGS, self.capacity, GRAIN_SECTORS, 1, DESCRIPTOR_SECTORS, TABLE_ENTRIES,
            0, place, OVERHEAD_SECTORS, 0, _NEWLINES, _DEFLATE,
        )  # fmt: skip

    @classmethod
    def unpack(cls, sector: bytes) -> Header | None:
        """The header in these 512 bytes; None when they are not exactly what `pack` writes."""
        if len(sector) != SECTOR:
            return None
        fields = _HEADER.unpack(sector)
        capacity, place = fields[3], fields[9]
        header = cls(capacity, None if place == _DIRECTORY_AT_END else place)
        return header if header.pack() == sector and 0 < capacity <= MAX_CAPACITY // SECTOR else None

    def at(self, directory: int) -> Header:
        """The footer: this header with the sector of the grain directory filled in."""
        return replace(self, directory=directory)

    @property
    def grains(self) -> int:
        """How many grains the disk has, the last one perhaps reaching over its end."""
        return -(-self.capacity // GRAIN_SECTORS)

    @property
    def tables(self) -> int:
        """How many grain tables, hence entries of the directory, the disk has."""
        return -(-self.grains // TABLE_ENTRIES)

    @property
    def directory_sectors(self) -> int:
        """The length of the grain directory."""
        return -(-self.tables * 4 // SECTOR)


@dataclass(frozen=True)
class Marker:
    """What stands in front of a grain or of metadata.

    Grain: `value` is its first sector on the disk, `size` its compressed length in bytes (never 0), `kind` is void.
    Metadata: `value` is the length of what follows in sectors, `size` is 0, `kind` one of END_OF_STREAM … FOOTER.
    """

    value: int
    size: int
    kind: int

    @classmethod
    def unpack(cls, sector: bytes) -> Marker:
        """Read a marker from the first 16 bytes of its sector."""
        return cls(*struct.unpack_from("<QII", sector))


def grain_record(grain: int, compressed: bytes) -> bytes:
    """A grain as it stands in the file: marker, zlib stream, zeros up to the next sector."""
    length = _GRAIN_MARKER.size + len(compressed)
    return _GRAIN_MARKER.pack(grain * GRAIN_SECTORS, len(compressed)) + compressed + bytes(-length % SECTOR)


def record_length(size: int) -> int:
    """Bytes in the file of a grain whose zlib stream has `size` bytes."""
    return -(-(_GRAIN_MARKER.size + size) // SECTOR) * SECTOR


def compressed_part(record: bytes, size: int) -> bytes:
    """The zlib stream in a grain's record."""
    return record[_GRAIN_MARKER.size : _GRAIN_MARKER.size + size]


def metadata(kind: int, content: bytes = b"") -> bytes:
    """A metadata marker and its content, padded to whole sectors."""
    content += bytes(-len(content) % SECTOR)
    return _MARKER.pack(len(content) // SECTOR, 0, kind) + content


def table_bytes(entries: list[int]) -> bytes:
    """Sector numbers as a grain table or directory, padded to whole sectors."""
    packed = struct.pack(f"<{len(entries)}I", *entries)
    return packed + bytes(-len(packed) % SECTOR)


def table_entries(content: bytes, count: int) -> list[int]:
    """The first `count` sector numbers of a grain table or directory."""
    return list(struct.unpack_from(f"<{count}I", content))


def descriptor(capacity: int, content_id: str) -> bytes:
    """The text part, padded to its 20 sectors.

    capacity: of the disk, in sectors. content_id: 32 hex digits; the last 8 are the CID. The file name in the extent
    line is fixed, since a file that is named in its own bytes could not be renamed; readers of a disk in one file
    don't use it. VirtualBox wants the first line as it is here: https://github.com/imcleod/VMDK-stream-converter/issues/1
    """
    # VMware writes "ide" for SATA disks; VirtualBox takes at most 16 heads and 16383 cylinders as a geometry.
    cylinders = min(capacity // (16 * 63), 16383)
    text = f"""\
# Disk DescriptorFile
version=1
CID={content_id[-8:]}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW {capacity} SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "10"
ddb.adapterType = "ide"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "16"
ddb.geometry.sectors = "63"
ddb.longContentID = "{content_id}"
"""
    return text.encode("ascii").ljust(DESCRIPTOR_SECTORS * SECTOR, b"\0")


class ContentId:
    """Names a disk's content: a digest over its capacity, and number and Adler-32 of each grain that is not zero."""

    def __init__(self, capacity: int) -> None:
        self._digest = hashlib.sha256(struct.pack("<Q", capacity))

    def add(self, grain: int, compressed: bytes) -> None:
        """Count in the next grain by its zlib stream."""
        # A zlib stream ends in the Adler-32 of what it holds (RFC 1950), so nothing is read twice here.
        self._digest.update(struct.pack("<Q", grain) + compressed[-4:])

    @property
    def hex(self) -> str:
        """32 hex digits. The CID (the last 8) of a disk must not be that of "no parent" or of "unknown"."""
        found = self._digest.hexdigest()[:32]
        return found[:-1] + "0" if found.endswith(("ffffffff", "fffffffe")) else found

    @property
    def cid(self) -> str:
        """8 hex digits, the CID of the descriptor."""
        return self.hex[-8:]
