"""Where an image goes: as an archive into dist/, and into the container engine of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coursebox.core.console import progress, warn
from coursebox.core.context import Context
from coursebox.core.digests import sha256_value
from coursebox.core.errors import CourseboxError
from coursebox.core.stages import Result
from coursebox.formats.oci.layers import layers_of
from coursebox.formats.oci.oci import DOCUMENTS, BlobFile, Documents, base_documents, write_archive
from coursebox.formats.place import write_once
from coursebox.host.dockerd import ensure_engine
from coursebox.host.engine import has_image, have_image, image_name, load_archive, remove_leftovers
from coursebox.target import File


def deliver_image(image: Result, layers: Sequence[Result], target: Path) -> File:
    """Write the archive of `image`, which was built of `layers`, to `target`, unless that very file is there already.

    Raises CourseboxError when a layer is not in the cache any more.
    """

    def write(path: Path) -> tuple[str, int]:
        with progress("writing the image", image.facts["size"]) as advance:
            archive = write_archive(path, _documents(image), blobs(layers), epoch=image.facts["epoch"],
                                    on_progress=advance)  # fmt: skip
        return archive.sha256, archive.size

    return write_once(target, image.facts["manifest"], write)


def base_of(system: Result) -> tuple[str, str]:
    """The digest of the content of the system's layers, and the name of the image of them in the engine."""
    content = sha256_value([layer.blob.diff_id for layer in layers_of([system])])
    return content, image_name("tree", content)


def load_base(context: Context, system: Result, name: str) -> None:
    """Load the system's layers into the engine as the image `name`, which runs as root, unless it is there."""
    ensure_engine()
    remove_leftovers()
    if have_image(name):
        return
    archive = context.scratch / "base.oci.tar"
    write_base(archive, system, name, epoch=context.epoch, architecture=context.architecture.oci)
    load_archive(archive, [name], log=context.log)
    archive.unlink()


def write_base(target: Path, system: Result, name: str, *, epoch: int, architecture: str) -> None:
    """Write an archive of the system's layers alone, an image called `name` that runs as root, to provision upon."""
    found = layers_of([system])
    image = base_documents(name, found, epoch=epoch, architecture=architecture)
    with progress("writing the system as an image", sum(layer.blob.size for layer in found)) as advance:
        write_archive(target, image, blobs([system]), epoch=epoch, on_progress=advance)


def load_image(context: Context, image: Result, layers: Sequence[Result], base: str, file: File) -> None:
    """Load the image into the engine under its names, unless the engine has it.

    Where the engine holds the image `base`, the lower layers are there already, and it gets an archive without them:
    Docker's classic store opens only the layers that it lacks
    (https://github.com/moby/moby/blob/v20.10.24/image/tarexport/load.go). An engine that wants them all, as that of
    containerd does, gets the delivered file.
    """
    ensure_engine()
    names = image.facts["names"]
    ids = [f"sha256:{image.facts[key]}" for key in ("config", "manifest")]
    if has_image(names, ids):
        return
    if have_image(base):
        small = context.scratch / "image.oci.tar"
        write_archive(small, _documents(image), blobs(layers[1:]), epoch=context.epoch)
        try:
            load_archive(small, names, log=context.log)
        except CourseboxError:
            pass
        finally:
            small.unlink()
        if has_image(names, ids):
            return
    load_archive(file.path, names, log=context.log)
    if not has_image(names, ids):
        warn(f"the container engine has loaded {names[0]} under another id than the one that was built")


def blobs(results: Sequence[Result]) -> list[BlobFile]:
    """Where the layers of `results` lie. Raises CourseboxError when one is not in the cache any more."""
    found = []
    for result in results:
        for layer in layers_of([result]):
            path = result.path(layer.file)
            if not path.exists():
                raise CourseboxError(f"the layer {path} is not in the cache", hint="build the image again")
            found.append(BlobFile(path, layer.blob.digest, layer.blob.size))
    return found


def _documents(image: Result) -> Documents:
    return Documents(**{field: image.path(name).read_bytes() for field, name in DOCUMENTS.items()})
