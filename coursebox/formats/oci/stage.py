"""The container stages: trees → layers → image, and the archive in dist/.

The system is packed once, in the stage that makes it; an edited lab packs nothing but the course anew. The image itself
is a few small files that refer to the layers; gigabytes are copied only once, into the archive.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from coursebox.core.console import progress
from coursebox.core.errors import CourseboxError
from coursebox.core.stages import Result, Stages
from coursebox.formats.oci.compression import GZIP, Compression
from coursebox.formats.oci.config import About
from coursebox.formats.oci.layers import Layer, Writing, split_changes, split_tree
from coursebox.formats.oci.oci import (
    Archive,
    BlobFile,
    Documents,
    base_documents,
    documents,
    image_names,
    write_archive,
)
from coursebox.trees import seal
from coursebox.trees.diff import CHANGES, REMOVED

HERE = Path(__file__)
LAYER_CODE = [*(HERE.with_name(name) for name in ("compression.py", "layers.py", "rules.py")), Path(seal.__file__)]
IMAGE_CODE = [HERE.with_name(name) for name in ("config.py", "oci.py", "rules.py")]
_FILES = {"config": "config.json", "manifest": "image-manifest.json", "index": "index.json", "docker": "manifest.json"}


@dataclass(frozen=True)
class Packing:
    """How the stage that exports the system's tree packs it: as layers, so that the tree itself is never kept.

    Called with the exported tar and the stage's folder. The result has one file for each layer, and their record among
    its facts. key, code: the values and the source files that decide the bytes.
    """

    epoch: int
    compression: Compression = GZIP
    code: ClassVar[Sequence[Path]] = LAYER_CODE

    @property
    def key(self) -> dict[str, Any]:
        return self.compression.key

    def __call__(self, exported: Path, work: Path) -> Mapping[str, Any]:
        with _writing("system", exported, work, self.compression) as writing:
            return _record(split_tree(exported, writing, epoch=self.epoch))


def build_course_layers(stages: Stages, changes: Result, *, epoch: int, compression: Compression = GZIP) -> Result:
    """The layers above the system's, from changes.tar and removed.json: one file each, and their record."""
    tar = changes.path(CHANGES)

    def make(work: Path) -> Mapping[str, Any]:
        removed = json.loads(changes.path(REMOVED).read_text(encoding="utf-8"))
        with _writing("course", tar, work, compression) as writing:
            return _record(split_changes(tar, removed, writing, epoch=epoch))

    inputs = {
        **{name: changes.files[name] for name in (CHANGES, REMOVED)},
        "epoch": epoch,
        "compression": compression.key,
    }
    return stages.run("layers-course", inputs, make, code=LAYER_CODE)


def layers_of(results: Sequence[Result]) -> list[Layer]:
    """The layers in the folders of stages, from the bottom to the top."""
    return [Layer.from_record(record) for result in results for record in result.facts["layers"]]


@contextmanager
def _writing(kind: str, tar: Path, work: Path, compression: Compression) -> Iterator[Writing]:
    with progress(f"packing the layers of the {kind}", tar.stat().st_size) as bar:
        yield Writing(work, compression, on_progress=lambda count: bar.advance(0, count))  # type: ignore[arg-type]


def _record(layers: Sequence[Layer]) -> dict[str, Any]:
    return {"layers": [layer.record() for layer in layers]}


def write_base(target: Path, system: Result, name: str, *, epoch: int) -> Documents:
    """Write an archive of the system's layers alone, an image called `name` that runs as root, to provision upon."""
    image = base_documents(name, layers_of([system]), epoch=epoch)
    with progress("writing the system as an image", sum(layer.blob.size for layer in layers_of([system]))) as bar:
        write_archive(target, image, _blobs([system]), epoch=epoch,
                      on_progress=lambda count: bar.advance(0, count))  # type: ignore[arg-type]  # fmt: skip
    return image


def _blobs(results: Sequence[Result]) -> list[BlobFile]:
    """Where the layers of `results` lie. Raises CourseboxError when one is not in the cache any more."""
    blobs = []
    for result in results:
        for layer in layers_of([result]):
            path = result.path(layer.file)
            if not path.exists():
                raise CourseboxError(f"the layer {path} is not in the cache", hint="build the image again")
            blobs.append(BlobFile(path, layer.blob.digest, layer.blob.size))
    return blobs


def build_image(stages: Stages, layers: Sequence[Result], about: About) -> Result:
    """The documents of the image, and where its blobs lie; layers: stages of layers from the bottom to the top.

    Facts: `names` in an engine; `manifest` and `config`, digests of 64 hex digits; `config_size`, `size` and `unpacked`
    of all layers, in bytes; and `layers`: name, digest, diff_id, size and unpacked of each.
    """
    found = layers_of(layers)
    image = documents(about, found)

    def make(work: Path) -> Mapping[str, Any]:
        for field, name in _FILES.items():
            (work / name).write_bytes(getattr(image, field))
        return {
            "names": image_names(about.name, about.version),
            "manifest": image.manifest_digest,
            "config": image.config_digest,
            "config_size": len(image.config),
            "epoch": about.epoch,
            "size": sum(layer.blob.size for layer in found),
            "unpacked": sum(layer.blob.unpacked for layer in found),
            "layers": [{"name": layer.name, **asdict(layer.blob)} for layer in found],
        }

    inputs = {"documents": [getattr(image, field).decode() for field in _FILES]}
    return stages.run("image", inputs, make, code=[*IMAGE_CODE, HERE])


def deliver_image(image: Result, layers: Sequence[Result], target: Path) -> Archive:
    """Write the archive of `image`, which was built of `layers`, to `target`, unless that very file is there already.

    What was written where stands beside the image's documents, not beside the archive. Raises CourseboxError when a
    layer is not in the cache any more.
    """
    note = image.path(f"{target.name}.json")
    known = _note(note)
    if known is not None and target.exists() and known["file"] == _identity(target):
        return Archive(target, known["size"], known["sha256"])
    parts = Documents(**{field: image.path(name).read_bytes() for field, name in _FILES.items()})
    with progress("writing the image", image.facts["size"]) as bar:
        archive = write_archive(target, parts, _blobs(layers), epoch=image.facts["epoch"],
                                on_progress=lambda count: bar.advance(0, count))  # type: ignore[arg-type]  # fmt: skip
    note.write_text(
        json.dumps({"size": archive.size, "sha256": archive.sha256, "file": _identity(target)}), encoding="utf-8"
    )
    return archive


def _note(path: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) else None


def _identity(path: Path) -> list[Any]:
    """What changes when a file is replaced or written to: place, inode, size in bytes, time in nanoseconds."""
    status = path.stat()
    return [os.fspath(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns]
