"""What a build needs before its first stage: packages of this machine, the locked files, the tools tree."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from coursebox.architecture import AMD64, Architecture
from coursebox.core.context import Context
from coursebox.core.paths import Cache
from coursebox.core.settings import settings
from coursebox.core.stages import Result, Stages, exclusive
from coursebox.course import Course
from coursebox.fetch.course import fetch
from coursebox.host.packages import ensure_packages
from coursebox.lock.lockfile import read_locks
from coursebox.trees.bootstrap import build_tools
from coursebox.trees.packer import unpack_packer


def make_tools(course: Course) -> Result:
    """Only the tools tree of the course's locks: the one stage that the machine's own mmdebstrap makes."""
    with prepared(course) as (context, _):
        return context.tools


@contextmanager
def prepared(course: Course, tree: str = "", architecture: Architecture = AMD64) -> Iterator[tuple[Context, float]]:
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
