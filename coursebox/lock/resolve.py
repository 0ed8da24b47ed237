"""`make lock`: what the course asks for → the lock folder, resolved against what the archives have today."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from coursebox.architecture import AMD64, Architecture
from coursebox.archives.apt import AptMirrors, read_apt
from coursebox.core.console import say, step
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.lock.lockfile import Locks, Request, write_locks
from coursebox.lock.resolve_data import resolve_data
from coursebox.lock.resolve_debs import open_archive
from coursebox.lock.resolve_wheels import provided_versions, resolve_wheels

PACKAGES = CHECKOUT / "packages.toml"
SUITE = "trixie"
PYTHON = "3.13"


class _Packages(Protocol):
    @property
    def debian(self) -> Sequence[str]: ...
    @property
    def python(self) -> Sequence[str]: ...


class _Data(Protocol):
    @property
    def sets(self) -> Sequence[str]: ...


class _Folder(Protocol):
    @property
    def folder(self) -> Path: ...


class CourseLike(Protocol):
    """What the lock needs of a coursebox.course.Course."""

    @property
    def packages(self) -> _Packages: ...
    @property
    def data(self) -> _Data: ...
    @property
    def locks(self) -> _Folder: ...
    @property
    def source(self) -> Path: ...


def read_requests(course: CourseLike, packages: Path = PACKAGES) -> dict[str, Request]:
    """Tree → what is asked for: `packages` (packages.toml), and the course's own additions.

    What the table [common] and the course name goes into every tree that students use. A table that another one takes
    in (`takes`) is no tree. Packages of the table [host] are written package/suite. Raises CourseboxError for a table
    that is taken in and not there.
    """
    tables: dict[str, Any] = tomllib.loads(packages.read_text(encoding="utf-8"))
    host = tables.pop("host", {})
    common = tables.pop("common", {})
    own = {"debian": course.packages.debian, "python": course.packages.python}
    taken = {name for table in tables.values() for name in table.get("takes", ())}
    if missing := sorted(taken - {*tables}):
        raise CourseboxError(f"{packages.name} takes in {', '.join(missing)}, and has no such table",
                             hint=f"tables are: {', '.join(tables)}")  # fmt: skip
    requests = {}
    for tree, table in tables.items():
        if tree in taken:
            continue
        parts = [table, *(tables[name] for name in table.get("takes", ()))]
        asked = parts if tree == "tools" else [*parts, common, own]
        debian, python = (tuple(name for part in asked for name in part.get(kind, ())) for kind in ("debian", "python"))
        requests[tree] = Request(debian, python, table.get("provided", {}))
    return requests | {"host": Request(tuple(f"{tool['package']}/{tool['suite']}" for tool in host.values()))}


def lock_course(course: CourseLike) -> Locks:
    """Resolve everything that the course asks for, and write its lock folder."""
    return make_locks(course, read_requests(course), course.locks.folder)


def make_locks(
    course: CourseLike,
    requests: Mapping[str, Request],
    folder: Path,
    epoch: int | None = None,
    *,
    suite: str = SUITE,
    architecture: Architecture = AMD64,
    python: str = PYTHON,
    mirrors: AptMirrors | None = None,
) -> Locks:
    """Resolve `requests` and the course's data sets, write them into `folder`, and return them.

    epoch: seconds since 1970; by default the date of the suite's Release file. Nothing is written when anything
    cannot be resolved.
    """
    data = resolve_data(course.data.sets)
    mirrors = mirrors or read_apt()
    debs = {}
    with (
        step(f"read the indexes of Debian {suite}"),
        open_archive(suite, architecture.name, mirrors=mirrors) as archive,
    ):
        dates = dict(archive.dates)
        for tree, request in requests.items():
            if tree != "host":
                debs[tree] = tuple(candidate.deb for candidate in archive.resolve(request.debian))
                say(f"  {tree}: {len(debs[tree])} packages, {sum(deb.size for deb in debs[tree]) / 1e6:.1f} MB")
    tools = []
    for wanted in requests.get("host", Request()).debian:
        package, _, other = wanted.partition("/")
        with open_archive(other or suite, architecture.name, mirrors=mirrors) as archive:
            tools.append(archive.single(package).deb)
    wheels = {}
    for tree, request in requests.items():
        if request.python:
            with step(f"resolve the Python packages of {tree}"):
                provided = provided_versions(request.provided, debs[tree])
                wheels[tree] = resolve_wheels(
                    request.python, python=python, architecture=architecture, provided=provided
                )
                say(f"  {tree}: {len(wheels[tree])} wheels, {sum(w.size for w in wheels[tree]) / 1e6:.1f} MB")
    if suite not in dates:
        raise CourseboxError(f"the mirror's Release file of {suite} has no date", hint="try another mirror")
    locks = Locks(
        epoch=dates[suite] if epoch is None else epoch,
        # The snapshot service has what the newest of the indexes lists from that moment on.
        snapshot=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(max(dates.values()))),
        suite=suite,
        architecture=architecture.name,
        debs=debs,
        wheels=wheels,
        requests=dict(requests),
        data=data,
        tools=tuple(sorted(tools)),
    )
    write_locks(folder, locks)
    say(f"  locks written: {folder}")
    return locks
