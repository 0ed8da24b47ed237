"""The finished builds, as the tests need them: the digest of each part, and how to start the tree in a container."""

from __future__ import annotations

from collections.abc import Sequence

from coursebox.core.paths import Cache
from coursebox.core.stages import Stages, exclusive
from coursebox.delivery.report import Built
from coursebox.formats.oci.about import torch_of
from coursebox.verify.contents import image_parts, machine_parts
from coursebox.verify.inside import Inside
from coursebox.verify.lanes import Delivered

# What `make test` builds and uses as a student would. A format that is added brings a test of its own.
TESTED = ("ova", "image", "image-cuda")


def delivered(built: Sequence[Built]) -> dict[str, Delivered]:
    """Tree ("vm", "cpu", "cuda") → its product, for the builds of `TESTED` in this order."""
    ova, *images = built
    return {"vm": machine(ova), **{image.context.tree: container(image) for image in images}}


def machine(built: Built) -> Delivered:
    """The OVA of a finished build."""
    cache = Cache.from_environment()
    tree, disk, ova = (built.stage(name) for name in ("course-vm", "disk", "ova"))
    with exclusive(cache):
        parts = machine_parts(Stages(cache), tree, disk, ova)
    inside = Inside("coursebox-sealed:test", built.context.course.user.name, tree.path("tree.tar"))
    torch, _ = torch_of(built.context)
    return Delivered(built.file.sha256, parts, inside, torch, _python(built))


def container(built: Built) -> Delivered:
    """The container image of a finished build; the engine has it."""
    cache = Cache.from_environment()
    course = built.context.course
    tree = built.context.tree
    system, layers, documents = (built.stage(name) for name in (f"system-{tree}", "layers-course", "image"))
    with exclusive(cache):
        parts = image_parts(Stages(cache), tree, (system, layers), documents)
    inside = Inside(documents.facts["names"][0], course.container.user)
    torch, _ = torch_of(built.context)
    return Delivered(built.file.sha256, parts, inside, torch, _python(built))


def _python(built: Built) -> str:
    """The version of Debian's Python in the tree."""
    debs = built.context.fetched.debs[built.context.tree]
    return next(deb.version for deb, _ in debs if deb.package == "python3")
