"""The container images, for the CPU and for CUDA: a system → layers → the image of a course, and its archive in dist/.

The system is packed once, in the stage that makes it; an edited lab packs nothing but the course anew. The image itself
is a few small files that refer to the layers; gigabytes are copied only once, into the archive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from coursebox.core.context import Context
from coursebox.core.stages import Result, Stages
from coursebox.course import Course
from coursebox.formats.oci.about import VARIANTS, about
from coursebox.formats.oci.config import About, image_names
from coursebox.formats.oci.delivery import base_of, deliver_image, load_base, load_image
from coursebox.formats.oci.layers import layers_of
from coursebox.formats.oci.oci import DOCUMENTS, documents
from coursebox.formats.oci.packing import Packing, build_course_layers
from coursebox.target import File, Format, Product
from coursebox.trees.container import build_changes
from coursebox.trees.stage import build_system

HERE = Path(__file__)
IMAGE_CODE = [HERE.with_name(name) for name in ("config.py", "oci.py")]


def make(context: Context) -> Product:
    """The image of a course with the context's PyTorch, from the locked packages on."""
    image_names(context.course.name, context.course.version)  # a name that no engine takes is known before all work
    image, layers, base = image_stages(context)
    return Product(
        write=partial(deliver_image, image, layers),
        facts={"image": dict(image.facts)},
        images=[base],
        load=partial(load_image, context, image, layers, base),
    )


def image_stages(context: Context) -> tuple[Result, tuple[Result, Result], str]:
    """The image's documents; the stages whose folders hold its layers, from the bottom to the top; the name of the
    system in the engine, on which the course was provisioned.
    """
    packing = Packing(context.epoch)
    system = build_system(context, "container", {}, pack=packing, packing=packing.key, code=packing.code)
    content, base = base_of(system)
    changes = build_changes(context, content, base, lambda: load_base(context, system, base))
    layers = system, build_course_layers(context.stages, changes, epoch=context.epoch)
    return build_image(context.stages, layers, about(context)), layers, base


def build_image(stages: Stages, layers: Sequence[Result], about: About) -> Result:
    """The documents of the image, and where its blobs lie; layers: stages of layers from the bottom to the top.

    Facts: `names` in an engine; `manifest` and `config`, digests of 64 hex digits; `config_size`, `size` and `unpacked`
    of all layers, in bytes; and `layers`: name, digest, diff_id, size and unpacked of each.
    """
    found = layers_of(layers)
    image = documents(about, found)

    def make(work: Path) -> Mapping[str, Any]:
        for field, name in DOCUMENTS.items():
            (work / name).write_bytes(getattr(image, field))
        return {
            "names": image_names(about.name, about.version, about.variant),
            "manifest": image.manifest_digest,
            "config": image.config_digest,
            "config_size": len(image.config),
            "epoch": about.epoch,
            "size": sum(layer.blob.size for layer in found),
            "unpacked": sum(layer.blob.unpacked for layer in found),
            "layers": [{"name": layer.name, **asdict(layer.blob)} for layer in found],
        }

    inputs = {"documents": [getattr(image, field).decode() for field in DOCUMENTS]}
    return stages.run("image", inputs, make, code=[*IMAGE_CODE, HERE])


def next_steps(tree: str, options: str, course: Course, file: File) -> str:
    """What an instructor does with the image; options: of docker run, for this image alone."""
    name = image_names(course.name, course.version, VARIANTS[tree])[-1].removesuffix(":latest")
    without = "        (without a GPU, leave out --gpus all; " if options else "        ("
    home = f"/home/{course.container.user}"
    return (
        f"docker run --rm {options}--shm-size=2g -p 127.0.0.1:8888:8888 -v course:{home} {name}\n"
        f"{without}the volume keeps notebooks and labs);\n"
        "        `make test` proves it; hand out the file with SHA256SUMS and docs/container.md."
    )


CPU = Format(
    name="image",
    what="container image, an OCI archive",
    audience="Docker or Podman on any computer; small",
    tree="cpu",
    variant="-cpu",
    extension=".oci.tar",
    make=make,
    next_steps=partial(next_steps, "cpu", ""),
    beside="-cpu",
)
CUDA = Format(
    name="image-cuda",
    what="container image, an OCI archive",
    audience="Docker or Podman, with an NVIDIA GPU",
    tree="cuda",
    variant="-cuda",
    extension=".oci.tar",
    make=make,
    next_steps=partial(next_steps, "cuda", "--gpus all "),
    beside="-cuda",
)
