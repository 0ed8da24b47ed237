"""Config and layers → manifest, index, and the archive that `docker load`, `podman load` and skopeo read.

The archive is an OCI image layout (https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md) with
Docker's own `manifest.json` beside, as `docker save` has written it since 25: older engines read nothing else.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from coursebox.core.console import silent
from coursebox.core.digests import sha256_bytes
from coursebox.core.files import atomic
from coursebox.formats.oci.config import ANNOTATION, OWN, About, base_config, image_config, image_names, labels
from coursebox.formats.oci.layers import Layer
from coursebox.formats.tarball import TarWriter

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYOUT = "oci-layout"
INDEX = "index.json"
DOCKER = "manifest.json"
BLOBS = "blobs/sha256/"
LAYOUT_VERSION = {"imageLayoutVersion": "1.0.0"}
LAYER_NAME = f"{OWN}.layer"
UNPACKED = f"{OWN}.unpacked"
REF_NAME = f"{ANNOTATION}.ref.name"
# containerd takes the name of an image from here:
# https://github.com/containerd/containerd/blob/main/core/images/annotations.go
CONTAINERD_NAME = "io.containerd.image.name"


@dataclass(frozen=True)
class Documents:
    """The small files of an image, as bytes: config and manifest are blobs, index and Docker's manifest are not."""

    config: bytes
    manifest: bytes
    index: bytes
    docker: bytes

    @property
    def config_digest(self) -> str:
        """64 hex digits; the image's id in Docker's classic store."""
        return sha256_bytes(self.config)

    @property
    def manifest_digest(self) -> str:
        """64 hex digits; what a registry calls the image, and its id in containerd's store."""
        return sha256_bytes(self.manifest)


# Field of `Documents` → the name of the file that holds it among the results of a stage.
DOCUMENTS = {
    "config": "config.json",
    "manifest": "image-manifest.json",
    "index": "index.json",
    "docker": "manifest.json",
}


@dataclass(frozen=True)
class BlobFile:
    """A blob that lies in a file: its digest (SHA-256, 64 hex digits) and size in bytes."""

    path: Path
    digest: str
    size: int


@dataclass(frozen=True)
class Archive:
    """A written archive: `size` in bytes."""

    path: Path
    size: int
    sha256: str


def documents(about: About, layers: Sequence[Layer]) -> Documents:
    """Everything of an image but its layers, which are given from the bottom to the top."""
    names = image_names(about.name, about.version, about.variant)
    return _documents(names, image_config(about, layers), layers, labels(about))


def base_documents(name: str, layers: Sequence[Layer], *, epoch: int, architecture: str) -> Documents:
    """The same for the image `name` (repository:tag) of the system alone; architecture: in Go's words."""
    return _documents([name], base_config(epoch, layers, architecture), layers, {})


def _documents(
    names: Sequence[str], described: Mapping[str, Any], layers: Sequence[Layer], about: Mapping[str, str]
) -> Documents:
    config = encode(described)
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [
                {
                    "mediaType": layer.media_type,
                    "digest": f"sha256:{layer.blob.digest}",
                    "size": layer.blob.size,
                    "annotations": {LAYER_NAME: layer.name, UNPACKED: str(layer.blob.unpacked)},
                }
                for layer in layers
            ],
            "annotations": about,
        }
    )
    platform = {key: described[key] for key in ("architecture", "os")}
    entry = {**_descriptor(MANIFEST_TYPE, manifest), "platform": platform}
    index = encode(
        {
            "schemaVersion": 2,
            "mediaType": INDEX_TYPE,
            # One entry for each name: containerd knows no other way to load both.
            "manifests": [
                {
                    **entry,
                    "annotations": {CONTAINERD_NAME: f"docker.io/library/{name}", REF_NAME: name.partition(":")[2]},
                }
                for name in names
            ],
        }
    )
    docker = encode(
        [
            {
                "Config": f"{BLOBS}{sha256_bytes(config)}",
                "RepoTags": names,
                "Layers": [f"{BLOBS}{layer.blob.digest}" for layer in layers],
            }
        ]
    )
    return Documents(config, manifest, index, docker)


def encode(value: object) -> bytes:
    """JSON with one form for one value: keys sorted, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def write_archive(
    target: Path,
    image: Documents,
    layers: Iterable[BlobFile],
    *,
    epoch: int,
    on_progress: Callable[[int], None] = silent,
) -> Archive:
    """Write `target`, a tar whose bytes depend on nothing but the image.

    epoch: the time of all members, seconds since 1970. on_progress: called with bytes of layers that were copied.
    Each layer is digested again on the way: raises CourseboxError when a file is not the one that was recorded.
    `target` appears complete or not at all.
    """
    small = {
        LAYOUT: encode(LAYOUT_VERSION),
        INDEX: image.index,
        DOCKER: image.docker,
        f"{BLOBS}{image.config_digest}": image.config,
        f"{BLOBS}{image.manifest_digest}": image.manifest,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic(target) as part, part.open("wb") as sink, ThreadPoolExecutor(2) as pool:
        tar = TarWriter(sink, pool, partial(_header, epoch=epoch))
        for name, data in small.items():
            tar.add(name, data)
        for layer in {layer.digest: layer for layer in layers}.values():
            tar.copy(f"{BLOBS}{layer.digest}", layer.path, layer.size, layer.digest, on_progress)
        size = tar.finish()
    return Archive(target, size, tar.sha256)


def _header(name: str, size: int, *, epoch: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = size, epoch
    return member.tobuf(tarfile.PAX_FORMAT)


def _descriptor(media_type: str, data: bytes) -> Mapping[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256_bytes(data)}", "size": len(data)}
