"""Compressed blobs: what goes in comes out, the same bytes on any number of cores, and nothing half-written."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursebox.formats.oci.compression import GZIP, Blob, BlobWriter, Compression

SMALL = replace(GZIP, block=1000)


def pack(folder: Path, pieces: list[bytes], compression: Compression, workers: int | None = None) -> tuple[Blob, bytes]:
    target = folder / "blob"
    with BlobWriter(target, compression, workers=workers) as blob:
        for piece in pieces:
            blob.write(piece)
        return blob.finish(), target.read_bytes()


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.sampled_from([0, 1, 512, 999, 1000, 1001, 2000, 3500]), max_size=6), seed=st.integers(0, 9))
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int) -> None:
    pieces = [random.Random(seed).randbytes(size) for size in sizes]
    blob, data = pack(tmp_path_factory.mktemp("blob"), pieces, SMALL)
    whole = b"".join(pieces)
    assert (gzip.decompress(data) if data else b"") == whole
    assert blob == Blob(hashlib.sha256(data).hexdigest(), len(data), hashlib.sha256(whole).hexdigest(), len(whole))


def test_cores_and_pieces_do_not_count(tmp_path: Path) -> None:
    data = bytes(random.Random(1).choices(b"abcd", k=50_000))
    first = pack(tmp_path, [data], SMALL, workers=1)
    assert pack(tmp_path, [data], SMALL, workers=4) == first
    assert pack(tmp_path, [data[start : start + 77] for start in range(0, 50_000, 77)], SMALL) == first
    assert first[0].size < 25_000


def test_parts_of_files_are_copied(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(5000)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file, BlobWriter(tmp_path / "blob", SMALL) as blob:
        blob.write(b"head")
        blob.copy(file.fileno(), 10, 4000)
        blob.copy(file.fileno(), 0, 3)
        blob.finish()
    assert gzip.decompress((tmp_path / "blob").read_bytes()) == b"head" + data[10:4010] + data[:3]


def test_a_file_that_is_too_short_is_an_error_and_leaves_no_blob(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"short")
    with (tmp_path / "file").open("rb") as file, pytest.raises(EOFError), BlobWriter(tmp_path / "blob", GZIP) as blob:
        blob.copy(file.fileno(), 0, 6)
    assert not (tmp_path / "blob").exists()


def test_a_thread_that_fails_leaves_no_blob(tmp_path: Path) -> None:
    def fail(block: memoryview, level: int) -> bytes:
        raise MemoryError

    with pytest.raises(MemoryError):
        pack(tmp_path, [bytes(5000)], replace(SMALL, pack=fail))
    assert not (tmp_path / "blob").exists()


def test_other_programs_read_it(tmp_path: Path) -> None:
    """Many members in one file: GNU gzip takes them as one stream."""
    data = random.Random(3).randbytes(5000)
    _, packed = pack(tmp_path, [data], SMALL)
    done = subprocess.run(["gzip", "--decompress", "--stdout"], input=packed, capture_output=True, check=True)
    assert done.stdout == data


def test_memory_is_bounded_on_many_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most eight blocks are being packed and one waits to be written, however many cores there are."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    most = 0
    with BlobWriter(tmp_path / "blob", SMALL) as writer:
        for _ in range(100):
            writer.write(bytes(1000))
            most = max(most, len(writer._waiting))
        writer.finish()
    assert 2 < most <= 9


def test_the_key_holds_what_decides_the_bytes() -> None:
    assert GZIP.key == {"name": "gzip", "library": GZIP.library, "level": 6, "block": 4 << 20}
    assert GZIP.library.startswith("deflate ")
