"""The finished builds, as the tests need them: the digest of each part, and how to start the tree in a container."""

from __future__ import annotations

from coursebox.core.paths import Cache
from coursebox.core.stages import Result, Stages, exclusive
from coursebox.delivery.report import Built
from coursebox.verify.contents import image_parts, machine_parts
from coursebox.verify.inside import Inside
from coursebox.verify.lanes import Delivered


def machine(built: Built) -> Delivered:
    """The OVA of a finished build."""
    cache = Cache.from_environment()
    tree, disk, ova = (_stage(built, name) for name in ("course-vm", "disk", "ova"))
    with exclusive(cache):
        parts = machine_parts(Stages(cache), tree, disk, ova)
    inside = Inside("coursebox-sealed:test", built.build.course.user.name, tree.path("tree.tar"))
    torch = next(deb.version for deb, _ in built.build.fetched.debs["vm"] if deb.package == "python3-torch")
    return Delivered(built.sha256, parts, inside, torch.split("+")[0])


def image(built: Built) -> Delivered:
    """The container image of a finished build; the engine has it."""
    cache = Cache.from_environment()
    course = built.build.course
    system, layers, documents = (_stage(built, name) for name in ("system-cuda", "layers-course", "image"))
    with exclusive(cache):
        parts = image_parts(Stages(cache), (system, layers), documents)
    torch = next(wheel.version for wheel, _ in built.build.fetched.wheels["cuda"] if wheel.name == "torch")
    inside = Inside(f"{course.name}:{course.version}", course.container.user)
    return Delivered(built.sha256, parts, inside, torch.split("+")[0])


def _stage(built: Built, name: str) -> Result:
    return next(result for result in built.build.stages.results if result.name == name)
