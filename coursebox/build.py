"""`make ova`: the stages in their order, from the locks to dist/."""

from __future__ import annotations

import os
import time
from pathlib import Path

from coursebox import report
from coursebox.appliance.stage import build_ova as build_appliance
from coursebox.appliance.stage import build_vmdk
from coursebox.console import say
from coursebox.course import Course
from coursebox.disk.image import build_disk, identity
from coursebox.host.packages import ensure_packages
from coursebox.machine.docker import image_name, remove_images
from coursebox.paths import CHECKOUT, Cache
from coursebox.prune import prune
from coursebox.sources.fetch import Fetched, fetch
from coursebox.sources.locks import read_locks
from coursebox.stage import Result, Stages, exclusive
from coursebox.tree.bootstrap import build_tools, build_tree
from coursebox.tree.course_tree import build_course, build_system
from coursebox.tree.packer import unpack_packer


def make_tools(course: Course) -> Result:
    """Only the tools tree of the course's locks: the one stage that the machine's own mmdebstrap makes."""
    cache = Cache.from_environment()
    locks = read_locks(course.locks.folder)
    with exclusive(cache):
        fetched = fetch(course, locks, cache, strict=False, trees=("tools",), data=False)
        return build_tools(Stages(cache), fetched.debs["tools"], epoch=locks.epoch, log=cache.root / "logs" / "ova.log")


def make_trees(
    stages: Stages, course: Course, fetched: Fetched, *, epoch: int, log: Path
) -> tuple[Result, Result, Result]:
    """The tools tree, the system's tree, and the sealed tree of the course machine."""
    tools = build_tools(stages, fetched.debs["tools"], epoch=epoch, log=log)
    packer = unpack_packer(stages, *fetched.tools["packer"])
    bootstrap = build_tree(stages, "vm", fetched.debs["vm"], tools=tools, epoch=epoch, log=log)
    root = str(identity(course.name, course.version, "root"))
    system = build_system(stages, bootstrap, fetched, course, root_uuid=root, epoch=epoch, packer=packer, log=log)
    return tools, system, build_course(stages, system, fetched, course, epoch=epoch, packer=packer, log=log)


def build_ova(course: Course, *, dist: Path | None = None) -> report.Built:
    """Build the course's OVA into `dist` (dist/ of the checkout), with digests, package lists and a report.

    Raises CourseboxError for whatever goes wrong; finished stages stay in the cache.
    """
    start = time.monotonic()
    ensure_packages("build")
    cache = Cache.from_environment()
    locks = read_locks(course.locks.folder)
    with exclusive(cache):
        log = cache.root / "logs" / "ova.log"
        log.parent.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)
        fetched = fetch(course, locks, cache, strict=os.environ.get("STRICT", "") not in ("", "0"))
        fetching = time.monotonic() - start
        stages = Stages(cache)
        epoch = locks.epoch
        tools, system, tree = make_trees(stages, course, fetched, epoch=epoch, log=log)
        disk = build_disk(stages, tree, course=course.name, version=course.version, gib=course.machine.disk,
                          epoch=epoch, tools=tools, log=log)  # fmt: skip
        vmdk = build_vmdk(stages, disk)
        name = f"{course.name}-{course.version}"
        appliance = build_appliance(stages, vmdk, course, name=name, epoch=epoch)
        folder = dist or CHECKOUT / "dist"
        ova = report.deliver(appliance, f"{name}.ova", folder)
        built = report.Built(ova, appliance.files[f"{name}.ova"], stages, fetched)
        report.write(folder, name, course, locks, built, fetching)
        if not all(result.reused for result in stages.results):
            remove_images(keep=[image_name("tools", tools), image_name("tree", system)])
        objects = [path for tree in (*fetched.debs.values(), *fetched.wheels.values()) for _, path in tree]
        prune(cache, keep=[*(result.folder for result in stages.results), *objects, fetched.tools["packer"][1]])
    say(report.summary(course, built, fetching, time.monotonic() - start))
    return built
