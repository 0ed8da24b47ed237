"""A tree of a few files that has everything that layers must keep, and the image of it."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coursebox.formats.oci.compression import GZIP, Compression
from coursebox.formats.oci.config import About
from coursebox.formats.oci.layers import Layer, Writing, split_changes, split_tree
from coursebox.formats.oci.oci import Archive, BlobFile, Documents, documents, write_archive

EPOCH = 1_700_000_000
SITE = "opt/jupyter/lib/python3.13/site-packages"
CAPABILITY = "SCHILY.xattr.security.capability"
# As setcap writes it: revision 2, effective; the bytes above 127 are no UTF-8.
CAPABILITY_VALUE = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\xff\0\0\0\0\0\0\0".decode("utf-8", "surrogateescape")
LONG = f"usr/share/{'a' * 80}/{'b' * 120}"

Item = tuple[tarfile.TarInfo, bytes]


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: object) -> Item:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.mtime = kind, len(data), EPOCH + 1000
    for key, value in fields.items():
        setattr(member, key, value)
    return member, data


def folder(name: str, mode: int = 0o755, **fields: object) -> Item:
    return entry(name, kind=tarfile.DIRTYPE, mode=mode, **fields)


def link(name: str, target: str) -> Item:
    return entry(name, kind=tarfile.SYMTYPE, linkname=target, mode=0o777)


def hard(name: str, target: str) -> Item:
    return entry(name, kind=tarfile.LNKTYPE, linkname=target)


def above(*names: str) -> list[Item]:
    """All folders above these paths."""
    found = {"/".join(parts[:end]) for parts in (name.split("/") for name in names) for end in range(1, len(parts))}
    return [folder(name) for name in sorted(found)]


SYSTEM = [
    *above(f"{SITE}/torch/x", f"{SITE}/nvidia/cu13/lib/x", "usr/lib/python3/dist-packages/numpy/x", LONG, "usr/bin/x"),
    folder("etc"),
    folder("home"),
    folder("root", 0o700),
    folder("tmp", 0o1777),
    folder("var"),
    folder("var/mail", 0o2775, gid=8),
    folder("dev"),
    entry(".dockerenv"),
    entry("dev/null", kind=tarfile.CHRTYPE),
    entry("tmp/left", b"left"),
    entry("etc/hostname", b"0123456789ab\n"),
    entry("etc/resolv.conf", b"nameserver of the engine"),
    entry("etc/shadow", b"root:*\n", mode=0o640, gid=42),
    entry("usr/bin/ping", b"ping", mode=0o755, pax_headers={CAPABILITY: CAPABILITY_VALUE}),
    entry("usr/bin/sudo", b"sudo", mode=0o4755),
    entry("usr/bin/old", b"older than the lock", mtime=EPOCH - 5),
    link("bin", "usr/bin"),
    entry(LONG, b"long"),
    folder("usr/share/Übung"),
    entry("usr/share/Übung/ñ.txt", b"utf-8"),
    entry("usr/share/Übung/\udcff", b"no utf-8"),
    entry(f"{SITE}/nvidia/cu13/lib/libcublas.so.13", b"cublas" * 1000),
    entry(f"{SITE}/torch/__init__.py", b"torch"),
    hard("usr/bin/torchrun", f"{SITE}/torch/__init__.py"),
    entry(f"{SITE}/six.py", b"six", uid=70000, gid=3_000_000),
    entry("usr/lib/python3/dist-packages/numpy/__init__.py", b"numpy"),
]
DATA = "usr/share/coursebox/data"
CHANGES = [
    *above(f"{DATA}/mnist/x", "usr/share/coursebox/labs/x", "home/student/x", "etc/x", "usr/bin/x", "opt/x"),
    entry(f"{DATA}/mnist/train", b"mnist" * 100),
    entry("usr/share/coursebox/labs/lab.ipynb", b"lab", mtime=EPOCH - 10),
    entry("home/student/lab.ipynb", b"lab", uid=1000, gid=100, mtime=EPOCH - 10),
    entry("etc/passwd", b"student"),
]
REMOVED = ["usr/bin/old", "tmp/left"]


def write_tar(path: Path, items: Sequence[Item]) -> Path:
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for member, data in items:
            tar.addfile(member, io.BytesIO(data))
    return path


def system_layers(
    folder: Path, items: Sequence[Item] = SYSTEM, compression: Compression = GZIP, workers: int | None = None,
    epoch: int = EPOCH,
) -> list[Layer]:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    tar = write_tar(folder / "tree.tar", items)
    return split_tree(tar, Writing(folder, compression, workers), epoch=epoch)


def course_layers(
    folder: Path, items: Sequence[Item] = CHANGES, removed: Sequence[str] = REMOVED, compression: Compression = GZIP,
    epoch: int = EPOCH,
) -> list[Layer]:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    tar = write_tar(folder / "changes.tar", items)
    return split_changes(tar, removed, Writing(folder, compression), epoch=epoch)


def unpacked(path: Path) -> dict[str, tarfile.TarInfo]:
    """Name → entry of a gzip layer, as Python's own modules see it."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(path.read_bytes())), mode="r:") as tar:
        found = list(tar)
    assert len({member.name for member in found}) == len(found)
    return {member.name: member for member in found}


def about(**changed: object) -> About:
    values = {"name": "deep-learning", "version": "2026.11", "title": "Deep Learning", "user": "student",
              "epoch": EPOCH, "torch": "2.13.0", "cuda": "13.0", "locks": "f" * 64,
              "architecture": "amd64"}  # fmt: skip
    return About(**{**values, **changed})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Made:
    folder: Path
    layers: list[Layer]
    documents: Documents
    archive: Archive


def make_archive(folder: Path, changes: Sequence[Item] = CHANGES, compression: Compression = GZIP) -> Made:
    layers = [
        *system_layers(folder, compression=compression),
        *course_layers(folder, changes, compression=compression),
    ]
    made = documents(about(), layers)
    blobs = [BlobFile(folder / layer.file, layer.blob.digest, layer.blob.size) for layer in layers]
    return Made(folder, layers, made, write_archive(folder / "image.oci.tar", made, blobs, epoch=EPOCH))
