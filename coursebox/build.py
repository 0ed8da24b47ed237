"""`make ova` and `make docker`: the stages in their order, from the locks to dist/."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coursebox.core.console import say
from coursebox.core.digests import sha256_value
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.stages import Result, Stages, exclusive
from coursebox.course import Course
from coursebox.delivery import report
from coursebox.disk.stage import build_disk, identity
from coursebox.fetch.course import fetch
from coursebox.formats.oci.config import About
from coursebox.formats.oci.oci import image_names
from coursebox.formats.oci.stage import Packing, build_course_layers, build_image, deliver_image, layers_of, write_base
from coursebox.formats.ova.stage import build_ova as build_appliance
from coursebox.formats.ova.stage import build_vmdk
from coursebox.host.dockerd import ensure_engine
from coursebox.host.engine import have_image, image_name, load_archive, remove_images, remove_leftovers
from coursebox.host.packages import ensure_packages
from coursebox.lock.lockfile import read_locks
from coursebox.prune import prune
from coursebox.trees.bootstrap import build_tools
from coursebox.trees.course import Build, build_bootstrap, build_changes, build_course, build_system
from coursebox.trees.packer import unpack_packer


def make_tools(course: Course) -> Result:
    """Only the tools tree of the course's locks: the one stage that the machine's own mmdebstrap makes."""
    with opened(course) as (build, _):
        return build.tools


@contextmanager
def opened(course: Course, kind: str | None = None) -> Iterator[tuple[Build, float]]:
    """Everything that the stages of `kind` ("vm" or "cuda") need, and the seconds that fetching it took.

    The cache is held as long as the block lasts. Without a kind there is the tools tree, and nothing of the course.
    """
    start = time.monotonic()
    ensure_packages("build")
    cache = Cache.from_environment()
    locks = read_locks(course.locks.folder)
    with exclusive(cache):
        log = cache.root / "logs" / f"{kind or 'tools'}.log"
        log.parent.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)
        strict = os.environ.get("STRICT", "") not in ("", "0")
        fetched = fetch(course, locks, cache, strict=strict, trees=("tools", *([kind] if kind else [])),
                        data=kind is not None)  # fmt: skip
        fetching = time.monotonic() - start
        stages = Stages(cache)
        tools = build_tools(stages, fetched.debs["tools"], epoch=locks.epoch, log=log)
        packer = unpack_packer(stages, *fetched.tools["packer"])
        yield Build(stages, course, locks, fetched, tools, packer, log), fetching


def machine_trees(build: Build) -> tuple[Result, Result]:
    """The system's tree, and the sealed tree of the course machine."""
    course = build.course
    root = str(identity(course.name, course.version, "root"))
    variables = {"root_uuid": root, "course_title": course.title}
    system = build_system(build, "vm", build_bootstrap(build, "vm"), variables)
    return system, build_course(build, system)


def build_ova(course: Course, *, dist: Path | None = None) -> report.Built:
    """Build the course's OVA into `dist` (dist/ of the checkout), with digests, package lists and a report.

    Raises CourseboxError for whatever goes wrong; finished stages stay in the cache.
    """
    start = time.monotonic()
    with opened(course, "vm") as (build, fetching):
        stages, epoch = build.stages, build.epoch
        system, tree = machine_trees(build)
        disk = build_disk(stages, tree, course=course.name, version=course.version, gib=course.machine.disk,
                          epoch=epoch, tools=build.tools, log=build.log)  # fmt: skip
        vmdk = build_vmdk(stages, disk)
        name = f"{course.name}-{course.version}"
        appliance = build_appliance(stages, vmdk, course, name=name, epoch=epoch)
        folder = dist or CHECKOUT / "dist"
        ova = report.deliver(appliance, f"{name}.ova", folder)
        built = report.Built("vm", ova, appliance.files[f"{name}.ova"], build, fetching)
        report.write(folder, name, built)
        tidy(build, [image_name("tree", system)])
    next_steps = (
        f"`make try` boots it here and serves JupyterLab at http://localhost:{course.ports.jupyter};\n"
        "        `make test` proves it; hand out the OVA with SHA256SUMS and docs/student.md."
    )
    say(report.summary(built, time.monotonic() - start, next_steps))
    return built


@dataclass(frozen=True)
class BuiltImage:
    """The stages of the container image: its documents, and those whose folders hold its layers; its base's name."""

    image: Result
    layers: tuple[Result, Result]
    base: str


def image_stages(build: Build) -> BuiltImage:
    """The stages of the container image, and the system's layers in the engine as the image that it stands on."""
    stages, epoch = build.stages, build.epoch
    packing = Packing(epoch)
    system = build_system(build, "cuda", build_bootstrap(build, "cuda"), {}, pack=packing, packing=packing.key,
                          code=packing.code)  # fmt: skip
    base = f"coursebox-tree:{sha256_value([layer.blob.diff_id for layer in layers_of([system])])[:32]}"
    changes = build_changes(build, base, lambda: load_base(build, system, base))
    course = build_course_layers(stages, changes, epoch=epoch)
    about = About(
        name=build.course.name,
        version=build.course.version,
        title=build.course.title,
        user=build.course.container.user,
        epoch=epoch,
        torch=wheel_version(build, "torch"),
        cuda=".".join(wheel_version(build, "nvidia-cuda-runtime").split(".")[:2]),
        locks=locks_digest(build),
    )
    return BuiltImage(build_image(stages, [system, course], about), (system, course), base)


def load_base(build: Build, system: Result, name: str) -> None:
    """Load the system's layers into the engine as the image `name`, unless it is there."""
    ensure_engine()
    remove_leftovers()
    if have_image(name):
        return
    archive = build.stages.cache.tmp / "base.oci.tar"
    write_base(archive, system, name, epoch=build.epoch)
    load_archive(archive, [name], [], log=build.log)
    archive.unlink()


def wheel_version(build: Build, name: str) -> str:
    """The version of a locked wheel of the container image."""
    return next(wheel.version for wheel, _ in build.fetched.wheels["cuda"] if wheel.name == name)


def locks_digest(build: Build) -> str:
    """One digest of all that is locked for the container image."""
    locks = build.locks
    debs, wheels = [deb.sha256 for deb in locks.debs["cuda"]], [wheel.sha256 for wheel in locks.wheels["cuda"]]
    return sha256_value([debs, wheels, [file.sha256 for file in locks.data]])


def build_docker(course: Course, *, dist: Path | None = None, load: bool = True) -> report.Built:
    """Build the course's container image into `dist`, with digests, package lists and a report.

    load: the engine gets it, too, as <name>:<version> and <name>:latest. Raises CourseboxError for whatever goes wrong;
    finished stages stay in the cache.
    """
    start = time.monotonic()
    image_names(course.name, course.version)  # a name that no engine takes is known before anything is built
    with opened(course, "cuda") as (build, fetching):
        made = image_stages(build)
        name = f"{course.name}-{course.version}-cuda"
        folder = dist or CHECKOUT / "dist"
        archive = deliver_image(made.image, made.layers, folder / f"{name}.oci.tar")
        facts = dict(made.image.facts)
        built = report.Built("cuda", archive.path, archive.sha256, build, fetching, {"image": facts})
        report.write(folder, name, built)
        if load:
            ids = [f"sha256:{facts[key]}" for key in ("config", "manifest")]
            load_archive(archive.path, facts["names"], ids, log=build.log)
        tidy(build, [made.base])
    next_steps = (
        f"docker run --gpus all -p 127.0.0.1:8888:8888 {course.name} (without a GPU, leave out --gpus all);\n"
        "        `make test` proves it; hand out the file with SHA256SUMS and docs/container.md."
    )
    say(report.summary(built, time.monotonic() - start, next_steps))
    return built


def tidy(build: Build, images: Sequence[str]) -> None:
    """Remove the images of earlier builds but `images` from the engine, and what is too much from the cache."""
    if not all(result.reused for result in build.stages.results):
        remove_images(keep=[image_name("tools", build.tools), *images])
    fetched = build.fetched
    objects = [path for tree in (*fetched.debs.values(), *fetched.wheels.values()) for _, path in tree]
    folders = [result.folder for result in build.stages.results]
    prune(build.stages.cache, keep=[*folders, *objects, fetched.tools["packer"][1]])
