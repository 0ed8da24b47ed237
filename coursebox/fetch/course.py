"""`make fetch`: everything that the locks name → verified files in the cache, and a record of what had to differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from coursebox.core.console import say, step, warn
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.core.stages import Stages, exclusive
from coursebox.fetch import decided
from coursebox.fetch.datasets import SYNTHETIC, choose_data
from coursebox.fetch.download import download
from coursebox.fetch.locations import Locator
from coursebox.fetch.stage import DataTree, lay_out_data
from coursebox.fetch.substitute import HOST, Resolve, Substitute, changes, current_archive, substitute
from coursebox.lock.lockfile import Deb, Locks, Wheel, check_requests, read_locks
from coursebox.lock.resolve import CourseLike, read_requests


@dataclass(frozen=True)
class Fetched:
    """Verified files for a build.

    debs, wheels: by tree, each with its file in the cache, in the order of the locks
    tools: package → the .deb to unpack on the host
    data: the folder with the data sets, None when it was not asked for
    substitutes: .deb files that differ from the locks, because no source has the locked ones any more
    """

    debs: Mapping[str, tuple[tuple[Deb, Path], ...]]
    wheels: Mapping[str, tuple[tuple[Wheel, Path], ...]]
    tools: Mapping[str, tuple[Deb, Path]]
    data: DataTree | None
    substitutes: tuple[Substitute, ...] = ()

    @property
    def synthetic(self) -> tuple[str, ...]:
        """Data sets that were generated, since no source has them."""
        if self.data is None:
            return ()
        return tuple(sorted(name for name, source in self.data.sources.items() if source["kind"] == SYNTHETIC))

    @property
    def reproducible(self) -> bool:
        """Whether the same locks give the same files elsewhere: nothing was substituted or generated."""
        return not self.substitutes and not self.synthetic


def fetch_course(course: CourseLike, *, strict: bool, fresh: bool = False) -> Fetched:
    """Read the course's locks and fetch everything into the user's cache; strict: as `fetch` takes it.

    fresh: look for the locked packages again, where substitutes were decided.
    """
    locks = read_locks(course.locks.folder)
    cache = Cache.from_environment()
    with exclusive(cache):
        if fresh:
            decided.forget(cache, locks)
        return fetch(course, locks, cache, strict=strict, trees=tuple(locks.debs))


def fetch(
    course: CourseLike,
    locks: Locks,
    cache: Cache,
    *,
    strict: bool,
    trees: Sequence[str],
    data: bool = True,
    resolve: Resolve | None = None,
    stages: Stages | None = None,
) -> Fetched:
    """Bring what `locks` name for `trees` into the cache, and the course's data sets when `data`.

    strict: raise `CourseboxError` where else a substitute or a stand-in would be taken
    resolve: (tree, request) → the tree's current packages; by default with apt and the machine's mirrors
    stages: runs the stage `data`, for which the caller holds the cache
    """
    check_requests(locks, read_requests(course), course.data.sets, place=course.source.name)
    before = decided.Decision({}) if strict else decided.read(cache, locks)
    now = before
    wanted = (*trees, HOST)
    debs = _chosen(locks, now, wanted)
    wheels = {tree: locks.wheels.get(tree, ()) for tree in trees}
    with Locator(locks) as locator:
        files = [locator.deb(deb) for held in debs.values() for deb in held]
        files += [locator.wheel(wheel) for held in wheels.values() for wheel in held]
        got = download(files, cache, client=locator.client, title="packages")
        for wheel in (wheel for held in wheels.values() for wheel in held):
            if wheel.sha256 in got.gone:
                raise CourseboxError(
                    f"no Python index has {wheel.filename} with the locked digest any more ({got.gone[wheel.sha256]})",
                    hint="set PIP_EXTRA_INDEX_URL to an index that has it, or run `make lock`",
                )
        if got.gone:
            with nullcontext(resolve) if resolve else current_archive(locks) as current:
                now = _substitute(before, locks, got.gone, strict, wanted, current)
            debs = _chosen(locks, now, wanted)
            files = [locator.deb(deb) for held in debs.values() for deb in held]
            again = download(files, cache, client=locator.client, title="substitutes")
            for deb in (deb for held in debs.values() for deb in held):
                if deb.sha256 in again.gone:
                    raise CourseboxError(
                        f"the archive lists {deb.name} and does not have it ({again.gone[deb.sha256]})",
                        hint="the mirror may be amid an update: try again in an hour, or choose another mirror",
                    )
            got.paths.update(again.paths)
            now = decided.keep(cache, locks, now.debs)
    substitutes = [change for tree in wanted for change in changes(tree, _locked(locks)[tree], debs[tree])]
    _tell(substitutes, before, now)
    return Fetched(
        debs={name: tuple((deb, got.paths[deb.sha256]) for deb in debs[name]) for name in trees},
        wheels={name: tuple((wheel, got.paths[wheel.sha256]) for wheel in wheels[name]) for name in trees},
        tools={deb.package: (deb, got.paths[deb.sha256]) for deb in debs[HOST]},
        data=_data(locks, course.data.sets, stages or Stages(cache), strict=strict) if data else None,
        substitutes=tuple(substitutes),
    )


def _data(locks: Locks, sets: Sequence[str], stages: Stages, *, strict: bool) -> DataTree:
    return lay_out_data(stages, choose_data(locks, sets, stages.cache, strict=strict), locks.epoch)


def _locked(locks: Locks) -> dict[str, tuple[Deb, ...]]:
    return {**locks.debs, HOST: locks.tools}


def _chosen(locks: Locks, decision: decided.Decision, trees: Sequence[str]) -> dict[str, tuple[Deb, ...]]:
    """Tree → its packages: those that were decided, else the locked ones."""
    return {tree: decision.debs.get(tree, _locked(locks)[tree]) for tree in trees}


def _substitute(
    before: decided.Decision,
    locks: Locks,
    gone: Mapping[str, str],
    strict: bool,
    wanted: Sequence[str],
    resolve: Resolve,
) -> decided.Decision:
    """Put what the archive has now in the place of what is gone, in every tree that has it: all products shall agree.

    A tree that is not wanted now, and cannot be put together, is left to its own build.
    """
    trees = _chosen(locks, before, tuple(_locked(locks)))
    names = sorted({deb.name for tree in wanted for deb in trees[tree] if deb.sha256 in gone})
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    if strict:
        raise CourseboxError(
            f"no source has {len(names)} of the locked packages any more, and STRICT=1 takes no others: {some}",
            hint="set COURSEBOX_DEBIAN_SNAPSHOT to a Debian snapshot service, run `make lock`, or leave STRICT out",
        )
    warn(f"no source has {len(names)} of the locked packages any more: {some}")
    made = dict(before.debs)
    for tree, held in trees.items():
        missing = [deb for deb in held if deb.sha256 in gone]
        if missing:
            with (
                nullcontext() if tree in wanted else suppress(CourseboxError),
                step(f"take the current packages of {tree} from the archive"),
            ):
                made[tree], _ = substitute(tree, held, missing, resolve(tree, locks.requests[tree]))
    return decided.Decision(made)


def _tell(substitutes: Sequence[Substitute], before: decided.Decision, now: decided.Decision) -> None:
    """Say aloud what is not as locked."""
    for change in substitutes:
        warn(f"not as locked: {change}")
    if substitutes:
        warn("what is built now is not reproducible from its locks; `make lock` locks what the archive has today")
    if substitutes and now is before:
        say(f"  decided on {now.when}; `make fetch FRESH=1` looks for the locked packages again")
