"""A build → what its image says of itself: the course, its PyTorch, the locks."""

from __future__ import annotations

from coursebox.core.context import Context
from coursebox.core.digests import sha256_value
from coursebox.formats.oci.config import About
from coursebox.lock.resolve_wheels import upstream_version

VARIANTS = {"cpu": "cpu", "cuda": ""}  # tree → the variant of its image's names; that for CUDA came first


def about(context: Context) -> About:
    """What the image says of itself."""
    course, locks, tree = context.course, context.locks, context.tree
    torch, cuda = torch_of(context)
    locked = [[deb.sha256 for deb in locks.debs[tree]], [wheel.sha256 for wheel in locks.wheels[tree]]]
    return About(
        name=course.name,
        version=course.version,
        title=course.title,
        user=course.container.user,
        epoch=context.epoch,
        torch=torch,
        cuda=cuda,
        locks=sha256_value([*locked, [file.sha256 for file in locks.data]]),
        architecture=context.architecture.oci,
        variant=VARIANTS[tree],
    )


def torch_of(context: Context) -> tuple[str, str]:
    """The version of the PyTorch in the context's tree, and that of the CUDA which it brings, "" for none."""
    wheels = {wheel.name: wheel.version for wheel, _ in context.fetched.wheels[context.tree]}
    if "torch" in wheels:
        return wheels["torch"], ".".join(wheels["nvidia-cuda-runtime"].split(".")[:2])
    debs = {deb.package: deb.version for deb, _ in context.fetched.debs[context.tree]}
    return upstream_version(debs["python3-torch"]), ""
