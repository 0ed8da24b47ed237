"""The VMDK writer and reader: golden bytes, random disks, qemu-img's opinion, and every kind of damage."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import deflate
import pytest
from equipment.vmdk import extract_raw
from hypothesis import given, settings
from hypothesis import strategies as st

from coursebox.core.digests import sha256_file
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.formats.ova import vmdk as writer
from coursebox.formats.ova import vmdk_layout as layout
from coursebox.formats.ova.vmdk import write_vmdk
from coursebox.formats.ova.vmdk_read import read_vmdk

GRAIN, SECTOR = layout.GRAIN, layout.SECTOR
# What the reader knows: sector numbers of the disk that `small` makes.
FIRST_GRAIN = layout.OVERHEAD_SECTORS


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that no compressor shrinks."""
    return random.Random(seed).randbytes(size)


def text(size: int) -> bytes:
    """Bytes that compress well."""
    return b"deep learning in a box. ".ljust(32, b"\n") * (size // 32 + 1)


def make_disk(path: Path, capacity: int, pieces: Iterable[tuple[int, bytes]]) -> Path:
    """A sparse file with these (offset, bytes)."""
    with path.open("wb") as file:
        file.truncate(capacity)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data[: capacity - offset])
    return path


def small(folder: Path) -> Path:
    """Four grains: zeros, 64 KiB of "A", a hole, and half a grain with one byte."""
    return make_disk(
        folder / "small.raw", 3 * GRAIN + GRAIN // 2, [(0, bytes(GRAIN)), (GRAIN, b"A" * GRAIN), (3 * GRAIN, b"!")]
    )


def qemu_img(*args: str | Path) -> str:
    """Run qemu-img, which `make test` installs: without it these tests fail."""
    tool = shutil.which("qemu-img")
    assert tool, "qemu-img is missing: make test installs it (Debian package qemu-utils)"
    done = subprocess.run([tool, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"qemu-img {args[0]}: {done.stdout}{done.stderr}"
    return done.stdout


# ---------------------------------------------------------------------------------------------------- golden bytes


def test_golden_bytes(tmp_path: Path) -> None:
    """The whole file of a small disk, sector by sector, written out by hand."""
    info = write_vmdk(small(tmp_path), tmp_path / "small.vmdk")
    data = (tmp_path / "small.vmdk").read_bytes()
    sectors = [data[place : place + SECTOR] for place in range(0, len(data), SECTOR)]

    header = (
        "4b444d56"  # "KDMV"
        "03000000 01000300"  # version 3; newline test, compressed, markers
        "c001000000000000 8000000000000000"  # capacity 448 sectors; grains of 128 sectors
        "0100000000000000 1400000000000000"  # descriptor from sector 1, 20 sectors
        "00020000 0000000000000000 ffffffffffffffff"  # 512 entries a table; no second directory; directory at the end
        "8000000000000000 00 0a200d0a 0100"  # first grain in sector 128; clean; newlines; deflate
    )
    assert sectors[0] == bytes.fromhex(header).ljust(SECTOR, b"\0")
    assert (
        b"".join(sectors[1:21]).rstrip(b"\0").decode()
        == f"""\
# Disk DescriptorFile
version=1
CID={info.cid}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW 448 SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "10"
ddb.adapterType = "ide"
ddb.geometry.cylinders = "0"
ddb.geometry.heads = "16"
ddb.geometry.sectors = "63"
ddb.longContentID = "{read_vmdk(tmp_path / "small.vmdk").content_id}"
"""
    )
    assert not any(b"".join(sectors[21:128]))
    # Two grains of one sector each: first sector on the disk, length of the zlib stream, zlib stream.
    for sector, place, content in ((128, 128, b"A" * GRAIN), (129, 384, b"!" + bytes(GRAIN - 1))):
        found, size = struct.unpack_from("<QI", sectors[sector])
        assert found == place
        assert zlib.decompress(sectors[sector][12 : 12 + size]) == content
        assert not any(sectors[sector][12 + size :])
    # Marker (4 sectors, kind 1) and grain table: grain 1 is in sector 128, grain 3 in sector 129.
    assert sectors[130] == struct.pack("<QII", 4, 0, 1).ljust(SECTOR, b"\0")
    assert b"".join(sectors[131:135]) == struct.pack("<IIII", 0, 128, 0, 129).ljust(4 * SECTOR, b"\0")
    # Marker (1 sector, kind 2) and grain directory: the only table is in sector 131.
    assert sectors[135] == struct.pack("<QII", 1, 0, 2).ljust(SECTOR, b"\0")
    assert sectors[136] == struct.pack("<I", 131).ljust(SECTOR, b"\0")
    # Marker (1 sector, kind 3) and footer: the header, with the directory in sector 136.
    assert sectors[137] == struct.pack("<QII", 1, 0, 3).ljust(SECTOR, b"\0")
    assert sectors[138] == sectors[0].replace(b"\xff" * 8, struct.pack("<Q", 136))
    # The end of the stream is a sector of zeros.
    assert sectors[139:] == [bytes(SECTOR)]


def test_golden_digest(tmp_path: Path) -> None:
    """One digest over everything, compressed bytes included: it changes only with the layout or with libdeflate."""
    info = write_vmdk(small(tmp_path), tmp_path / "small.vmdk")
    assert info == writer.VmdkInfo(
        capacity=229376,
        size=71680,
        sha256=sha256_file(tmp_path / "small.vmdk"),
        populated=2 * GRAIN,
        grains=2,
        cid="875c3165",
    )
    assert info.sha256 == "164a6013468b395e1be214e70f78d8b130a5a03928b990a7f9ddd94b6145b4ea"


def test_cid_follows_the_content(tmp_path: Path) -> None:
    """Another byte, another place or another capacity is another CID; the compression level is not."""
    cids = []
    for number, (capacity, offset, byte) in enumerate(
        [
            (4 * GRAIN, 0, b"a"),
            (4 * GRAIN, 0, b"b"),
            (4 * GRAIN, 1, b"a"),
            (4 * GRAIN, GRAIN, b"a"),
            (5 * GRAIN, 0, b"a"),
        ]
    ):
        raw = make_disk(tmp_path / f"{number}.raw", capacity, [(offset, byte)])
        cids.append(write_vmdk(raw, tmp_path / "x.vmdk").cid)
    assert len(set(cids)) == 5


# ---------------------------------------------------------------------------------------------------- round trips

pieces = st.lists(
    st.tuples(
        st.integers(0, 1100 * 128 - 1),  # sector
        st.integers(1, 3 * GRAIN),  # length
        st.sampled_from(["noise", "text", "zeros"]),
    ),
    max_size=8,
)


def fill(kind: str, length: int) -> bytes:
    makers: dict[str, Callable[[int], bytes]] = {"noise": noise, "text": text, "zeros": bytes}
    return makers[kind](length)[:length]


@settings(max_examples=25, deadline=None)
@given(pieces=pieces, sectors=st.integers(1, 1100 * 128))
def test_any_disk_comes_back(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int, str]], sectors: int
) -> None:
    """Whatever is on a disk up to 69 MiB, with three grain tables: the same bytes come back, sparse as before."""
    folder = tmp_path_factory.mktemp("disk")
    capacity = sectors * SECTOR
    content = [(s * SECTOR, fill(kind, length)) for s, length, kind in pieces if s < sectors]
    raw = make_disk(folder / "disk.raw", capacity, content)
    progress: list[int] = []
    info = write_vmdk(raw, folder / "disk.vmdk", workers=3, on_progress=progress.append)
    assert info.capacity == capacity == sum(progress)
    assert info.sha256 == sha256_file(folder / "disk.vmdk")
    assert write_vmdk(raw, folder / "again.vmdk", workers=1) == info
    progress.clear()
    assert extract_raw(folder / "disk.vmdk", folder / "back.raw", on_progress=progress.append) == capacity
    assert sum(progress) == info.size
    data = raw.read_bytes()
    assert (folder / "back.raw").read_bytes() == data
    grains = [place // GRAIN for place in range(0, capacity, GRAIN) if data[place : place + GRAIN].strip(b"\0")]
    assert sorted(read_vmdk(folder / "disk.vmdk").places) == grains
    assert info.grains == len(grains)
    assert info.populated == len(grains) * GRAIN
    shutil.rmtree(folder)


DISKS: dict[str, Callable[[Path], Path]] = {
    "empty": lambda p: make_disk(p, 64 * GRAIN, []),
    "one sector": lambda p: make_disk(p, SECTOR, [(0, b"x" * SECTOR)]),
    "one partial grain": lambda p: make_disk(p, 17 * SECTOR, [(3 * SECTOR, noise(5 * SECTOR))]),
    "incompressible last grain": lambda p: make_disk(p, 40 * GRAIN, [(0, text(GRAIN)), (38 * GRAIN, noise(2 * GRAIN))]),
    "incompressible last partial grain": lambda p: make_disk(p, 40 * GRAIN - SECTOR, [(39 * GRAIN, noise(GRAIN))]),
    "full": lambda p: make_disk(p, 600 * GRAIN, [(0, text(600 * GRAIN))]),
    "two tables, next to each other": lambda p: make_disk(p, 2000 * GRAIN, [(511 * GRAIN, noise(2 * GRAIN))]),
    "far away": lambda p: make_disk(p, 20 << 30, [(512, b"a"), ((20 << 30) - SECTOR, b"z" * SECTOR)]),
    "zeros that are no hole": lambda p: make_disk(p, 8 * GRAIN, [(0, bytes(8 * GRAIN))]),
}


@pytest.mark.parametrize("name", DISKS)
def test_qemu_img_agrees(tmp_path: Path, name: str) -> None:
    """qemu-img finds no error, the same content and the same capacity; so does this reader."""
    raw = DISKS[name](tmp_path / "disk.raw")
    vmdk = tmp_path / "disk.vmdk"
    info = write_vmdk(raw, vmdk)
    qemu_img("check", vmdk)
    qemu_img("compare", "-f", "raw", "-F", "vmdk", raw, vmdk)
    assert f"({info.capacity} bytes)" in qemu_img("info", vmdk)
    extract_raw(vmdk, tmp_path / "back.raw")
    qemu_img("compare", "-f", "raw", "-F", "raw", raw, tmp_path / "back.raw")


def test_qemu_img_can_disagree(tmp_path: Path) -> None:
    """The comparison above sees one changed byte."""
    raw = make_disk(tmp_path / "disk.raw", 4 * GRAIN, [(0, b"a")])
    write_vmdk(raw, tmp_path / "disk.vmdk")
    make_disk(raw, 4 * GRAIN, [(0, b"b")])
    with pytest.raises(AssertionError, match="Content mismatch"):
        qemu_img("compare", "-f", "raw", "-F", "vmdk", raw, tmp_path / "disk.vmdk")


def test_it_stays_sparse_and_skips_holes(tmp_path: Path) -> None:
    """Of a disk of 1 TiB with one sector on it, only that sector's grain is read, stored and written back."""
    raw = make_disk(tmp_path / "disk.raw", 1 << 40, [(1 << 39, b"x" * SECTOR)])
    info = write_vmdk(raw, tmp_path / "disk.vmdk")
    assert info.grains == 1
    extract_raw(tmp_path / "disk.vmdk", tmp_path / "back.raw")
    assert (tmp_path / "back.raw").stat().st_size == 1 << 40
    assert (tmp_path / "back.raw").stat().st_blocks * 512 <= 2 * GRAIN


def test_memory_is_bounded(tmp_path: Path) -> None:
    """200 MiB that don't compress, written and read back in less than 120 MB."""
    raw = make_disk(tmp_path / "disk.raw", 200 << 20, ((n << 20, noise(1 << 20, n)) for n in range(200)))
    program = (
        "import sys; from pathlib import Path; from coursebox.formats.ova.vmdk import write_vmdk\n"
        "sys.path.append('tests'); from equipment.vmdk import extract_raw\n"
        "raw, vmdk, back = map(Path, sys.argv[1:])\n"
        "write_vmdk(raw, vmdk, workers=4); write_vmdk(raw, vmdk, memo=vmdk, workers=4); extract_raw(vmdk, back)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
    )
    command = [sys.executable, "-c", program, str(raw), str(tmp_path / "disk.vmdk"), str(tmp_path / "back.raw")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120_000


# ---------------------------------------------------------------------------------------------------- memo


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each grain that the writer compresses."""
    calls: list[int] = []
    original = deflate.zlib_compress

    def counting(data: bytes, level: int) -> bytearray:
        calls.append(level)
        return original(data, level)

    monkeypatch.setattr(deflate, "zlib_compress", counting)
    return calls


def edited(folder: Path) -> tuple[Path, Path]:
    """A disk of 300 grains, and the same after an edit in the middle, at the end, and with some of it emptied."""
    pieces = [(0, text(200 * GRAIN)), (200 * GRAIN, noise(90 * GRAIN))]
    old = make_disk(folder / "old.raw", 300 * GRAIN, pieces)
    changes = [(100 * GRAIN + 7, b"changed"), (150 * GRAIN, bytes(3 * GRAIN)), (295 * GRAIN, b"new")]
    return old, make_disk(folder / "new.raw", 300 * GRAIN, pieces + changes)


def test_memo_gives_the_same_bytes_and_compresses_only_what_changed(tmp_path: Path, compressed: list[int]) -> None:
    old, new = edited(tmp_path)
    write_vmdk(old, tmp_path / "old.vmdk")
    fresh = write_vmdk(new, tmp_path / "fresh.vmdk")
    assert len(compressed) == 290 + 288
    compressed.clear()
    assert write_vmdk(new, tmp_path / "new.vmdk", memo=tmp_path / "old.vmdk") == fresh
    # One changed grain, one new one, and one known grain of each of the five batches for proof.
    assert len(compressed) == 2 + 5


def test_memo_may_be_the_target(tmp_path: Path) -> None:
    old, new = edited(tmp_path)
    fresh = write_vmdk(new, tmp_path / "fresh.vmdk")
    write_vmdk(old, tmp_path / "disk.vmdk")
    assert write_vmdk(new, tmp_path / "disk.vmdk", memo=tmp_path / "disk.vmdk") == fresh


def test_memo_of_another_capacity(tmp_path: Path) -> None:
    old = make_disk(tmp_path / "old.raw", 40 * GRAIN, [(0, text(40 * GRAIN))])
    new = make_disk(tmp_path / "new.raw", 10 * GRAIN + SECTOR, [(0, text(40 * GRAIN))])
    fresh = write_vmdk(new, tmp_path / "fresh.vmdk")
    write_vmdk(old, tmp_path / "old.vmdk")
    assert write_vmdk(new, tmp_path / "new.vmdk", memo=tmp_path / "old.vmdk") == fresh


def test_memo_of_another_compressor_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VMDK with the same content in other bytes must not show in the result."""
    old, new = edited(tmp_path)
    fresh = write_vmdk(new, tmp_path / "fresh.vmdk")
    with monkeypatch.context() as other:
        other.setattr(writer, "LEVEL", 1)
        assert write_vmdk(old, tmp_path / "old.vmdk").cid != fresh.cid
    assert write_vmdk(new, tmp_path / "new.vmdk", memo=tmp_path / "old.vmdk") == fresh


def damage(path: Path, place: int, byte: int | None = None) -> None:
    """Change one byte of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        old = file.read(1)[0]
        file.seek(place)
        file.write(bytes([(old ^ 0x10) if byte is None else byte]))


@pytest.mark.parametrize(
    "place", [0, 600, FIRST_GRAIN * SECTOR, FIRST_GRAIN * SECTOR + 9, FIRST_GRAIN * SECTOR + 40, -600, -1100]
)
def test_damaged_memo_does_not_show(tmp_path: Path, place: int) -> None:
    old, new = edited(tmp_path)
    fresh = write_vmdk(new, tmp_path / "fresh.vmdk")
    size = write_vmdk(old, tmp_path / "old.vmdk").size
    damage(tmp_path / "old.vmdk", place % size)
    assert write_vmdk(new, tmp_path / "new.vmdk", memo=tmp_path / "old.vmdk") == fresh


def test_missing_memo(tmp_path: Path) -> None:
    old, _ = edited(tmp_path)
    assert write_vmdk(old, tmp_path / "a.vmdk", memo=tmp_path / "none.vmdk") == write_vmdk(old, tmp_path / "b.vmdk")


# ---------------------------------------------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The VMDK of a disk with two tables and an incompressible end."""
    folder = tmp_path_factory.mktemp("whole")
    pieces = [(0, text(3 * GRAIN)), (600 * GRAIN, noise(GRAIN))]
    write_vmdk(make_disk(folder / "disk.raw", 601 * GRAIN, pieces), folder / "disk.vmdk")
    return (folder / "disk.vmdk").read_bytes()


def refused(folder: Path, data: bytes) -> str:
    """The sentence with which `extract_raw` refuses these bytes; it must leave nothing behind."""
    path = folder / "bad.vmdk"
    path.write_bytes(data)
    with pytest.raises(CourseboxError) as caught:
        extract_raw(path, folder / "out.raw")
    assert sorted(entry.name for entry in folder.iterdir()) == ["bad.vmdk"]
    assert caught.value.hint
    assert caught.value.message.startswith(f"the disk in {path} is damaged: ")
    return caught.value.message.removeprefix(f"the disk in {path} is damaged: ")


def test_damage_is_named(tmp_path: Path, whole: bytes) -> None:
    """A table of things that go wrong, each with its sentence."""
    end = len(whole)
    directory, footer = end - 5 * SECTOR, end - 3 * SECTOR
    first, table = FIRST_GRAIN * SECTOR, whole.index(struct.pack("<QII", 4, 0, 1) + bytes(496))

    last = whole.index(struct.pack("<Q", 600 * 128), table)

    def put(place: int, data: bytes) -> bytes:
        return whole[:place] + data + whole[place + len(data) :]

    cases = [
        (b"", "it ends too early"),
        (b"\0" * 4096, "it does not start with the header of a stream-optimized disk"),
        (put(4, b"\1"), "it does not start with the header of a stream-optimized disk"),
        (put(600, b"x"), "its descriptor is not the one that belongs to such a disk"),
        (put(first - 1, b"x"), "there is something between descriptor and first grain"),
        (put(first, b"\1"), "the grain marker in sector 128 cannot stand there"),
        (put(last, struct.pack("<Q", 601 * 128)), f"the grain marker in sector {last // SECTOR} cannot stand there"),
        (put(last, struct.pack("<Q", 2 * 128)), f"the grain marker in sector {last // SECTOR} cannot stand there"),
        (whole[:footer] + whole[first:], f"the grain marker in sector {footer // SECTOR} cannot stand there"),
        (put(first + 8, b"\xff\xff\xff\0"), "the grain marker in sector 128 cannot stand there"),
        (put(first + 100, b"\0\0\0\0"), "the grain in sector 128 does not expand to what was written"),
        (put(table - 1, b"x"), f"the grain in sector {table // SECTOR - 1} does not expand to what was written"),
        (put(table, b"\5"), f"there is no valid marker in sector {table // SECTOR}"),
        (put(table + 12, b"\7"), f"there is no valid marker in sector {table // SECTOR}"),
        (
            put(table + 100, b"x"),
            f"the marker in sector {table // SECTOR} carries something that does not belong to it",
        ),
        (put(table + SECTOR, b"\1"), f"the table in sector {table // SECTOR + 1} does not fit the grains"),
        (
            whole[:table] + whole[table + 5 * SECTOR :],
            f"the grain table in front of sector {table // SECTOR} is missing",
        ),
        (put(directory + SECTOR, b"\1"), f"the table in sector {directory // SECTOR + 1} does not fit the grains"),
        (put(footer + SECTOR + 12, b"\1"), f"the table in sector {footer // SECTOR + 1} does not fit the grains"),
        (whole[:-SECTOR], "it ends too early"),
        (whole[: end // 2], "it ends too early"),
        (whole + bytes(SECTOR), "it goes on behind its end-of-stream marker"),
        (whole[:directory] + bytes(SECTOR), f"the marker in sector {directory // SECTOR} comes at a wrong place"),
    ]
    for data, sentence in cases:
        assert refused(tmp_path, data) == sentence


def test_another_content_under_the_same_id_is_seen(tmp_path: Path, whole: bytes) -> None:
    """A disk that is whole in itself, but not the one of its descriptor."""
    other = make_disk(tmp_path / "other.raw", 601 * GRAIN, [(0, b"other")])
    write_vmdk(other, tmp_path / "other.vmdk")
    data = (tmp_path / "other.vmdk").read_bytes()
    other.unlink()
    (tmp_path / "other.vmdk").unlink()
    mixed = data[:SECTOR] + whole[SECTOR : 21 * SECTOR] + data[21 * SECTOR :]
    assert refused(tmp_path, mixed) == "its content is not the one its content ID names"


@settings(max_examples=150, deadline=None)
@given(choice=st.data())
def test_no_flipped_bit_gives_another_disk(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, choice: st.DataObject
) -> None:
    """One bit anywhere: it is refused, or (in bits that deflate does not use) the disk is the same."""
    folder = tmp_path_factory.mktemp("flip")
    place = choice.draw(st.integers(0, len(whole) - 1))
    (folder / "bad.vmdk").write_bytes(whole)
    damage(folder / "bad.vmdk", place, whole[place] ^ (1 << choice.draw(st.integers(0, 7))))
    try:
        extract_raw(folder / "bad.vmdk", folder / "out.raw")
    except CourseboxError:
        assert not (folder / "out.raw").exists()
    else:
        (folder / "good.vmdk").write_bytes(whole)
        extract_raw(folder / "good.vmdk", folder / "good.raw")
        assert sha256_file(folder / "out.raw") == sha256_file(folder / "good.raw")
    shutil.rmtree(folder)


@pytest.mark.parametrize("place", [0, 40, 700, -3 * SECTOR + 60, -2 * SECTOR])
def test_index_of_a_damaged_file(tmp_path: Path, whole: bytes, place: int) -> None:
    path = tmp_path / "bad.vmdk"
    path.write_bytes(whole)
    damage(path, place % len(whole))
    if place == -3 * SECTOR + 60:  # a marker, which the index does not need
        read_vmdk(path)
    else:
        with pytest.raises(CourseboxError, match="is damaged"):
            read_vmdk(path)


def test_within_another_file(tmp_path: Path, whole: bytes) -> None:
    """A VMDK can be read where it lies in an OVA."""
    (tmp_path / "disk.vmdk").write_bytes(whole)
    (tmp_path / "in.ova").write_bytes(b"before" * 99 + whole + b"behind")
    extract_raw(tmp_path / "disk.vmdk", tmp_path / "a.raw")
    extract_raw(tmp_path / "in.ova", tmp_path / "b.raw", start=594, size=len(whole))
    assert sha256_file(tmp_path / "a.raw") == sha256_file(tmp_path / "b.raw")
    index = read_vmdk(tmp_path / "in.ova", start=594, size=len(whole))
    plain = read_vmdk(tmp_path / "disk.vmdk")
    assert index.places == {grain: place + 594 for grain, place in plain.places.items()}


@pytest.mark.parametrize("size", [0, 1, 511, 513])
def test_what_is_no_disk(tmp_path: Path, size: int) -> None:
    raw = tmp_path / "no.raw"
    raw.write_bytes(bytes(size))
    with pytest.raises(CourseboxError) as caught:
        write_vmdk(raw, tmp_path / "no.vmdk")
    assert caught.value.message == f"{raw} is no disk image: {size} bytes are no whole number of 512-byte sectors"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["no.raw"]


def test_too_large_a_disk(tmp_path: Path) -> None:
    raw = make_disk(tmp_path / "no.raw", (1 << 40) + SECTOR, [])
    with pytest.raises(CourseboxError, match="is larger than 1 TiB") as caught:
        write_vmdk(raw, tmp_path / "no.vmdk")
    assert caught.value.hint == "choose a smaller disk in the section [machine] of the course file"


def test_a_failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that stops in the middle leaves the target as it was, and nothing beside it."""
    target = tmp_path / "disk.vmdk"
    target.write_bytes(b"old")

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deflate, "zlib_compress", full)
    with pytest.raises(OSError, match="No space"):
        write_vmdk(small(tmp_path), target)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["disk.vmdk", "small.raw"]
