"""An OCI archive → what is in it. Believes nothing: every digest, size and reference is held against the bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from coursebox.core.console import silent
from coursebox.core.digests import sha256_bytes
from coursebox.core.errors import CourseboxError
from coursebox.formats.oci import oci
from coursebox.formats.oci.compression import GZIP
from coursebox.formats.oci.layers import OPAQUE, WHITEOUT

_BLOCK = 1 << 20
_SMALL = 16 << 20  # no document of an image is larger


@dataclass(frozen=True)
class ImageLayer:
    """A layer in an archive, from byte `start` on; `size` and `unpacked` in bytes.

    digest, diff_id: SHA-256 (64 hex digits) of the blob and of the tar in it.
    """

    name: str
    media_type: str
    digest: str
    diff_id: str
    start: int
    size: int
    unpacked: int


@dataclass(frozen=True)
class Image:
    """An image whose documents fit together. names: as in `docker load`; layers from the bottom to the top."""

    path: Path
    names: tuple[str, ...]
    manifest_digest: str
    config_digest: str
    config_size: int
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    layers: tuple[ImageLayer, ...]


def open_archive(path: Path) -> Image:
    """Read the documents of an archive that holds one image; of the layers it looks at the sizes only.

    Raises CourseboxError when the file is missing, no such archive or damaged.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except FileNotFoundError:
        raise CourseboxError(f"{path} does not exist", hint="build it with: make docker") from None
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise _damaged(path, f"an entry of its documents is missing or of the wrong kind ({error})") from None


def verify_layers(image: Image, *, on_progress: Callable[[int], None] = silent) -> None:
    """Hold the bytes of all layers, packed and unpacked, against their digests and sizes.

    on_progress: called with bytes of the blobs as they are read. Raises CourseboxError on damage.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda layer: _verify(image, layer, on_progress), image.layers))


@contextmanager
def opened_layer(image: Image, layer: ImageLayer) -> Iterator[tarfile.TarFile]:
    """The uncompressed tar of a layer, to be read once from its beginning to its end."""
    with io.BufferedReader(_Stream(_unpacked(image, layer)), _BLOCK) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                yield tar
        except tarfile.TarError as error:
            raise _damaged(image.path, f"its layer {layer.name} is no whole tar archive ({error})") from None


def members(image: Image, layer: ImageLayer) -> Iterator[tarfile.TarInfo]:
    """The entries of a layer, in its order."""
    with opened_layer(image, layer) as tar:
        yield from tar


def merged(path: Path) -> dict[str, tarfile.TarInfo]:
    """Path → entry of the file system that an engine makes of the archive `path`, all layers on top of each other."""
    image = open_archive(path)
    tree: dict[str, tarfile.TarInfo] = {}
    for layer in image.layers:
        found = list(members(image, layer))
        for member in found:
            folder, _, base = member.name.rpartition("/")
            if base == OPAQUE:
                _remove(tree, folder, itself=False)
            elif base.startswith(WHITEOUT):
                _remove(tree, f"{folder}/{base.removeprefix(WHITEOUT)}".lstrip("/"))
        for member in found:
            if not member.name.rpartition("/")[2].startswith(WHITEOUT):
                below = tree.get(member.name)
                if below is not None and below.isdir() and not member.isdir():
                    _remove(tree, member.name)
                tree[member.name] = member
    return tree


def _remove(tree: dict[str, tarfile.TarInfo], path: str, *, itself: bool = True) -> None:
    for name in [name for name in tree if name.startswith(f"{path}/") or (itself and name == path)]:
        del tree[name]


def _read(path: Path, file: BinaryIO) -> Image:
    places = _places(path, file)

    def content(name: str) -> bytes:
        place = places.get(name)
        if place is None:
            raise _damaged(path, f"there is no {name} in it")
        if place[1] > _SMALL:
            raise _damaged(path, f"{name} has {place[1]} bytes")
        return os.pread(file.fileno(), place[1], place[0])

    def document(name: str) -> Any:
        try:
            return json.loads(content(name))
        except ValueError:
            raise _damaged(path, f"{name} is not JSON") from None

    def blob(descriptor: Mapping[str, Any], what: str, media_type: str) -> str:
        digest = _digest(path, descriptor)
        data = content(f"{oci.BLOBS}{digest}")
        if (descriptor["size"], digest) != (len(data), sha256_bytes(data)):
            raise _damaged(path, f"its {what} does not fit size and digest")
        if descriptor["mediaType"] != media_type:
            raise _damaged(path, f"its {what} is called {descriptor['mediaType']}")
        return digest

    if document(oci.LAYOUT) != oci.LAYOUT_VERSION:
        raise _damaged(path, "it has another version of the OCI layout")
    entries = document(oci.INDEX)["manifests"]
    digests = {blob(entry, "manifest", oci.MANIFEST_TYPE) for entry in entries}
    if len(digests) != 1:
        raise _damaged(path, f"its index names {len(digests)} images")
    manifest_digest = digests.pop()
    manifest = document(f"{oci.BLOBS}{manifest_digest}")
    config_digest = blob(manifest["config"], "config", oci.CONFIG_TYPE)
    config = document(f"{oci.BLOBS}{config_digest}")
    if any(entry["platform"] != {key: config[key] for key in ("architecture", "os")} for entry in entries):
        raise _damaged(path, "index and config name different platforms")
    layers = _layers(path, places, manifest, config)
    named = {f"{oci.BLOBS}{digest}" for digest in (manifest_digest, config_digest, *(one.digest for one in layers))}
    if stray := sorted(set(places) - named - {oci.LAYOUT, oci.INDEX, oci.DOCKER}):
        raise _damaged(path, f"nothing refers to {stray[0]} in it")
    names = tuple(entry["annotations"][oci.CONTAINERD_NAME].removeprefix("docker.io/library/") for entry in entries)
    expected = [
        {
            "Config": f"{oci.BLOBS}{config_digest}",
            "RepoTags": list(names),
            "Layers": [f"{oci.BLOBS}{layer.digest}" for layer in layers],
        }
    ]
    if document(oci.DOCKER) != expected:
        raise _damaged(path, f"{oci.DOCKER} speaks of another image than {oci.INDEX}")
    config_size = manifest["config"]["size"]
    return Image(path, names, manifest_digest, config_digest, config_size, manifest, config, layers)


def _places(path: Path, file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Name → (offset, size) of the archive's members, in bytes."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            entries = tar.getmembers()
    except (tarfile.TarError, EOFError) as error:
        raise _damaged(path, f"it is no whole tar archive ({error})") from None
    for entry in entries:
        if not entry.isreg():
            raise _damaged(path, f"{entry.name} is no plain file")
    places = {entry.name: (entry.offset_data, entry.size) for entry in entries}
    if len(places) != len(entries):
        raise _damaged(path, "a name is twice in it")
    return places


def _layers(
    path: Path, places: Mapping[str, tuple[int, int]], manifest: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[ImageLayer, ...]:
    diff_ids = config["rootfs"]["diff_ids"]
    if len(diff_ids) != len(manifest["layers"]):
        raise _damaged(path, f"its config names {len(diff_ids)} layers, its manifest {len(manifest['layers'])}")
    layers = []
    for descriptor, diff_id in zip(manifest["layers"], diff_ids, strict=True):
        digest, name = _digest(path, descriptor), descriptor["annotations"][oci.LAYER_NAME]
        if f"{oci.BLOBS}{digest}" not in places:
            raise _damaged(path, f"its layer {name} is missing")
        start, size = places[f"{oci.BLOBS}{digest}"]
        if size != descriptor["size"]:
            raise _damaged(path, f"its layer {name} has {size} bytes instead of {descriptor['size']}")
        if descriptor["mediaType"] not in _UNPACK:
            raise _damaged(path, f"its layer {name} is called {descriptor['mediaType']}")
        layers.append(
            ImageLayer(
                name,
                descriptor["mediaType"],
                digest,
                diff_id.removeprefix("sha256:"),
                start,
                size,
                unpacked=int(descriptor["annotations"][oci.UNPACKED]),
            )
        )
    return tuple(layers)


def _digest(path: Path, descriptor: Mapping[str, Any]) -> str:
    algorithm, _, digest = descriptor["digest"].partition(":")
    if algorithm != "sha256":
        raise _damaged(path, f"a digest in it is no SHA-256 ({descriptor['digest']})")
    return str(digest)


def _verify(image: Image, layer: ImageLayer, on_progress: Callable[[int], None]) -> None:
    packed, unpacked = hashlib.sha256(), hashlib.sha256()
    for piece in _pieces(image, layer):
        packed.update(piece)
        on_progress(len(piece))
    if packed.hexdigest() != layer.digest:
        raise _damaged(image.path, f"its layer {layer.name} does not fit its digest")
    size = 0
    for piece in _unpacked(image, layer):
        unpacked.update(piece)
        size += len(piece)
    if (size, unpacked.hexdigest()) != (layer.unpacked, layer.diff_id):
        raise _damaged(image.path, f"its layer {layer.name} is not the one that its config names")


def _pieces(image: Image, layer: ImageLayer) -> Iterator[bytes]:
    """The compressed bytes of a layer."""
    with image.path.open("rb", buffering=0) as file:
        file.seek(layer.start)
        rest = layer.size
        while rest and (piece := file.read(min(rest, _BLOCK))):
            rest -= len(piece)
            yield piece


def _unpacked(image: Image, layer: ImageLayer) -> Iterator[bytes]:
    """The uncompressed bytes of a layer."""
    try:
        yield from _UNPACK[layer.media_type](_pieces(image, layer))
    except (zlib.error, EOFError) as error:
        raise _damaged(image.path, f"its layer {layer.name} cannot be unpacked ({error})") from None


def _gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    return _across(pieces, lambda: zlib.decompressobj(16 + zlib.MAX_WBITS))


def _across(pieces: Iterator[bytes], member: Callable[[], Any]) -> Iterator[bytes]:
    """One stream out of many members."""
    unpack = member()
    for piece in pieces:
        rest = piece
        while rest:
            if unpack.eof:
                unpack = member()
            yield unpack.decompress(rest)
            rest = unpack.unused_data
    if not unpack.eof:
        raise EOFError("it ends too early")


_UNPACK: Mapping[str, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
    GZIP.media_type: _gunzip,
}


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _damaged(path: Path, reason: str) -> CourseboxError:
    return CourseboxError(
        f"{path} is damaged: {reason}", hint="compare its SHA-256 with SHA256SUMS, and build or download it again"
    )
