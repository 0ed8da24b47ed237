"""Tars of trees → layers: canonical entries, cut by rule, each layer a deterministic PAX tar, compressed on the way.

The tar that is read may have any size: its headers are kept in memory, its contents are copied by their offsets.
Layers follow the OCI image layer specification:
https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md
"""

from __future__ import annotations

import copy
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from coursebox.core.console import silent
from coursebox.core.errors import CourseboxError
from coursebox.core.stages import Result
from coursebox.formats.oci.compression import Blob, BlobWriter, Compression
from coursebox.formats.oci.rules import CHANGES, SYSTEM, Layering, layer_of_whiteout
from coursebox.trees.seal import Entry, belongs, canonical, canonical_entries, made_file, order

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
# The engine mounts its own over these; a container without an engine (Apptainer, chroot) finds something harmless.
ENGINE_FILES = {
    "etc/hostname": b"",
    "etc/hosts": b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n",
    "etc/resolv.conf": b"",
}
# What the build itself wrote gets this date, 1980-01-01, below the layer that students look at: a newer lock with the
# same torch then leaves the layers with torch as they are. It is the first date that a zip file can hold.
TIMELESS = 315532800
_DATED = ("course",)
_KINDS = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)


@dataclass(frozen=True)
class Layer:
    """A written layer: its name, the name of its file, its blob, and how many entries it has."""

    name: str
    file: str
    media_type: str
    blob: Blob
    entries: int

    def record(self) -> dict[str, Any]:
        """The same, JSON-like."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Layer:
        """What `record` returned."""
        return cls(**{**record, "blob": Blob(**record["blob"])})


def layers_of(results: Sequence[Result]) -> list[Layer]:
    """The layers in the folders of stages, from the bottom to the top."""
    return [Layer.from_record(record) for result in results for record in result.facts["layers"]]


@dataclass(frozen=True)
class Writing:
    """How layers are written: into `folder`, compressed by `workers` threads (by default one for each processor).

    on_progress: called with bytes of files as they are done; they add up to a little less than the tar that was read.
    """

    folder: Path
    compression: Compression
    workers: int | None = None
    on_progress: Callable[[int], None] = silent


def split_tree(exported: Path, writing: Writing, *, epoch: int) -> list[Layer]:
    """Cut the tar of a whole tree, as `docker export` writes it, into the layers of the system.

    epoch: the latest time of any entry, seconds since 1970. Returns the layers from the bottom to the top; one without
    entries is left out. Raises CourseboxError when the tar is damaged or holds what a layer cannot hold.
    """
    with _opened(exported) as (file, tar):
        entries = canonical_entries(tar, epoch=epoch, files=ENGINE_FILES, links={})
        return _write_all(file, _cut(exported, entries, SYSTEM), epoch, writing)


def split_changes(changes: Path, removed: Sequence[str], writing: Writing, *, epoch: int) -> list[Layer]:
    """Cut the tar of what changed against the system into the layers above it; as `split_tree`.

    removed: paths, relative to the root, that the system has and the course has not. A folder that was made anew
    stands in both: what the system had in it is gone.
    """
    with _opened(changes) as (file, tar):
        found = canonical_entries(tar, epoch=epoch, files={}, links={})
        entries = [entry for entry in found if entry.header.name not in ENGINE_FILES]
        cut = _cut(changes, entries, CHANGES)
        folders = {entry.header.name: entry for entry in entries if entry.header.isdir()}
        present = {entry.header.name for entry in entries}
        for path in _outermost(path for path in removed if belongs(path) and path not in ENGINE_FILES):
            if path in folders:
                name = f"{path}/{OPAQUE}"
            elif path in present:
                continue  # a file in place of another one hides it
            else:
                folder, _, base = path.rpartition("/")
                name = f"{folder}/{WHITEOUT}{base}".lstrip("/")
            mark = Entry(canonical(made_file(name, 0), epoch), None)
            _add(cut[layer_of_whiteout(path)], mark, folders, changes)
        return _write_all(file, cut, epoch, writing)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, tarfile.TarFile]]:
    """The tar at `path`, to read headers from, and its file, to copy contents from."""
    try:
        with path.open("rb", buffering=1 << 16) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            tar.getmembers()
            # Python takes a header that is damaged or cut off for the end of the archive.
            if os.pread(file.fileno(), tarfile.BLOCKSIZE, tar.offset) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"damaged after {tar.offset} bytes")
            yield file, tar
    except (tarfile.TarError, EOFError) as error:
        raise CourseboxError(
            f"{path} is no whole tar archive ({str(error) or 'it ends too early'})",
            hint="delete it, and build it again",
        ) from None


def _cut(path: Path, entries: Sequence[Entry], layering: Layering) -> dict[str, dict[str, Entry]]:
    """Layer → name → entry; with each entry the folders above it, and with each hard link its file."""
    cut: dict[str, dict[str, Entry]] = {name: {} for name in layering.names}
    folders = {entry.header.name: entry for entry in entries if entry.header.isdir()}
    for entry in entries:
        header = entry.header
        _check(path, entry)
        # The file of a hard link is the first of its names, and no link reaches from one layer into another.
        layer = layering.layer_of(header.linkname if header.islnk() else header.name)
        _add(cut[layer], entry, folders, path)
    return cut


def _check(path: Path, entry: Entry) -> None:
    header = entry.header
    if header.type not in _KINDS or (entry.origin is not None and entry.origin.issparse()):
        what = "a sparse file" if header.isreg() else "a device, a pipe or a socket"
        raise CourseboxError(f"{path} holds {header.name}, {what}", hint="a layer holds files, folders and links")
    if any(part.startswith(WHITEOUT) for part in header.name.split("/")):
        raise CourseboxError(
            f"{path} holds {header.name}, and engines take names with {WHITEOUT} in front for deleted files",
            hint="give the file another name",
        )


def _add(members: dict[str, Entry], entry: Entry, folders: Mapping[str, Entry], path: Path) -> None:
    """Add `entry` and the folders above it. Without them engines make up owners and modes, and hide the right ones."""
    name = entry.header.name
    for end in (place for place, letter in enumerate(name) if letter == "/"):
        above = name[:end]
        if above not in folders:
            raise CourseboxError(
                f"{path} holds {name} without its folder {above}", hint="the folders above belong into the tar, too"
            )
        members[above] = folders[above]
    members[name] = entry


def _outermost(paths: Iterable[str]) -> list[str]:
    """The paths that lie below no other of them, sorted."""
    found: list[str] = []
    for path in sorted(paths, key=lambda path: path.split("/")):
        if not found or not path.startswith(f"{found[-1]}/"):
            found.append(path)
    return found


def _write_all(file: BinaryIO, cut: Mapping[str, Mapping[str, Entry]], epoch: int, writing: Writing) -> list[Layer]:
    layers = []
    for name, members in cut.items():
        entries = sorted(members.values(), key=lambda entry: order(entry.header.name))
        if entries:
            layers.append(_write(file, name, entries if name in _DATED else _undated(entries, epoch), writing))
    return layers


def _undated(entries: Sequence[Entry], epoch: int) -> list[Entry]:
    """The entries without the date of the build."""
    undated = []
    for entry in entries:
        header = copy.copy(entry.header)
        header.mtime = TIMELESS if header.mtime == epoch else header.mtime
        undated.append(replace(entry, header=header))
    return undated


def _write(file: BinaryIO, name: str, entries: Sequence[Entry], writing: Writing) -> Layer:
    compression = writing.compression
    target = writing.folder / f"{name}{compression.suffix}"
    with BlobWriter(target, compression, workers=writing.workers) as blob:
        for entry in entries:
            header = entry.header
            blob.write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
            if entry.origin is None:
                blob.write(entry.data)
            elif header.isreg():
                blob.copy(file.fileno(), entry.origin.offset_data, header.size)
            blob.write(bytes(-header.size % tarfile.BLOCKSIZE))
            writing.on_progress(header.size)
        blob.write(bytes(2 * tarfile.BLOCKSIZE))
        return Layer(name, target.name, compression.media_type, blob.finish(), len(entries))
