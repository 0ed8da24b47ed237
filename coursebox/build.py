"""Build a target: from the locks to the file in dist/ and what lies beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from coursebox.architecture import AMD64, Architecture
from coursebox.core.console import say
from coursebox.core.context import Context
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.settings import settings
from coursebox.core.stages import Result, Stages, exclusive
from coursebox.course import Course
from coursebox.delivery import report
from coursebox.delivery.report import Built
from coursebox.fetch.course import fetch
from coursebox.host.bases import keep_images
from coursebox.host.engine import image_name
from coursebox.host.packages import ensure_packages
from coursebox.lock.lockfile import read_locks
from coursebox.prune import prune
from coursebox.target import Target
from coursebox.trees.bootstrap import build_tools
from coursebox.trees.packer import unpack_packer


def build(course: Course, target: Target, *, dist: Path | None = None, load: bool = True) -> Built:
    """Build one target into `dist` (dist/ of the checkout), with digests, package lists and a report.

    load: also what the format does with its file on this machine, as loading an image into the engine. Raises
    CourseboxError for whatever goes wrong; finished stages stay in the cache.
    """
    start = time.monotonic()
    with opened(course, target.format.tree, target.architecture) as (context, fetching):
        product = target.format.make(context)
        file = product.write((dist or CHECKOUT / "dist") / target.filename(course))
        built = Built(target, file, context, fetching, product.facts)
        report.write(built)
        if load and product.load is not None:
            product.load(file)
        tidy(context, f"{course.name}-{course.version}: {target.name}", product.images)
    say(report.summary(built, time.monotonic() - start))
    return built


def build_all(course: Course, targets: Sequence[Target], *, dist: Path | None = None, load: bool = True) -> list[Built]:
    """Build several targets one after the other; what they have in common is made once."""
    return [build(course, target, dist=dist, load=load) for target in targets]


def tidy(context: Context, name: str, images: Sequence[str]) -> None:
    """Remove images of earlier builds from the engine, and what is too much from the cache.

    name: of the build; images: those that the next build of this name goes on from.
    """
    stages, fetched = context.stages, context.fetched
    if not all(result.reused for result in stages.results):
        keep_images(stages.cache, name, [image_name("tools", context.tools), *images])
    objects = [path for tree in (*fetched.debs.values(), *fetched.wheels.values()) for _, path in tree]
    folders = [result.folder for result in stages.results]
    prune(stages.cache, keep=[*folders, *objects, fetched.tools["packer"][1]])


def make_tools(course: Course) -> Result:
    """Only the tools tree of the course's locks: the one stage that the machine's own mmdebstrap makes."""
    with opened(course) as (context, _):
        return context.tools


@contextmanager
def opened(course: Course, tree: str = "", architecture: Architecture = AMD64) -> Iterator[tuple[Context, float]]:
    """The context of a build of `tree`, a group of packages, and the seconds that fetching took.

    The cache is held as long as the block lasts. Without a tree there are the tools, and nothing of the course.
    """
    start = time.monotonic()
    ensure_packages("build")
    cache = Cache.from_environment()
    locks = read_locks(course.locks.folder)
    with exclusive(cache):
        log = cache.root / "logs" / f"{tree or 'tools'}.log"
        log.parent.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)
        trees = ("tools", tree) if tree else ("tools",)
        fetched = fetch(course, locks, cache, strict=settings().strict, trees=trees, data=bool(tree))
        fetching = time.monotonic() - start
        stages = Stages(cache)
        tools = build_tools(stages, fetched.debs["tools"], epoch=locks.epoch, log=log)
        packer = unpack_packer(stages, *fetched.tools["packer"])
        yield Context(tree, architecture, stages, course, locks, fetched, tools, packer, log), fetching
