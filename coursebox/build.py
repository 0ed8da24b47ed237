"""Build a target: from the locks to the file in dist/ and what lies beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from coursebox.core.console import say
from coursebox.core.context import Context
from coursebox.core.paths import CHECKOUT
from coursebox.core.settings import settings
from coursebox.course import Course
from coursebox.delivery import report
from coursebox.delivery.report import Built
from coursebox.delivery.stage import build_licences
from coursebox.host.bases import keep_images
from coursebox.host.engine import image_name
from coursebox.prepare import prepared
from coursebox.prune import prune
from coursebox.target import Target


def build(course: Course, target: Target, *, dist: Path | None = None, load: bool = True) -> Built:
    """Build one target into `dist` (dist/ of the checkout), with digests, package lists and a report.

    load: also what the format does with its file on this machine, as loading an image into the engine. Raises
    CourseboxError for whatever goes wrong; finished stages stay in the cache.
    """
    start = time.monotonic()
    with prepared(course, target.format.tree, target.architecture) as (context, fetching):
        product = target.format.make(context)
        file = product.write((dist or CHECKOUT / "dist") / target.filename(course))
        licences = build_licences(context, file.path.name)
        built = Built(target, file, context, fetching, product.facts, licences)
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

    name: of the build; images: those that the next build of this name goes on from. Where the cache has no limit,
    nothing is removed.
    """
    stages, fetched = context.stages, context.fetched
    if settings().cache_limit and not all(result.reused for result in stages.results):
        keep_images(stages.cache, name, [image_name("tools", context.tools.files["tree.tar"]), *images])
    objects = [path for tree in (*fetched.debs.values(), *fetched.wheels.values()) for _, path in tree]
    folders = [result.folder for result in stages.results]
    prune(stages.cache, keep=[*folders, *objects, fetched.tools["packer"][1]])
