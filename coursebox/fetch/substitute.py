"""When the archive no longer has a locked .deb: the tree goes on with what the archive has now, and says so.

Whole source packages move, because binaries of one source depend on each other's exact version; what they newly
need moves with them, and everything else stays as it was locked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from debian.deb822 import PkgRelation
from debian.debian_support import version_compare

from coursebox.core.errors import CourseboxError
from coursebox.lock.lockfile import Deb, Locks, Request
from coursebox.lock.resolve_debs import Archive, Candidate, open_archive

HOST = "host"  # the tree of the packages that are unpacked on this machine
Resolve = Callable[[str, Request], Sequence[Candidate]]  # a tree's current packages
Key = tuple[str, str]  # package, architecture

HOLDS: dict[str, Callable[[int], bool]] = {
    "<<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    "=": lambda order: order == 0,
    ">=": lambda order: order >= 0,
    ">>": lambda order: order > 0,
    # Obsolete signs, which dpkg still reads.
    "<": lambda order: order <= 0,
    ">": lambda order: order >= 0,
}


@dataclass(frozen=True)
class Substitute:
    """A change against the locks: `locked` is None for a package that came in, `current` for one that went."""

    tree: str
    locked: Deb | None
    current: Deb | None

    def __str__(self) -> str:
        if self.locked is None and self.current is not None:
            return f"{self.current.package} {self.current.version} comes in ({self.tree})"
        if self.locked is not None and self.current is None:
            return f"{self.locked.package} {self.locked.version} is left out ({self.tree})"
        assert self.locked is not None and self.current is not None
        return f"{self.locked.package}: {self.current.version} instead of {self.locked.version} ({self.tree})"


def substitute(
    tree: str, locked: Sequence[Deb], missing: Iterable[Deb], fresh: Sequence[Candidate]
) -> tuple[tuple[Deb, ...], tuple[Substitute, ...]]:
    """(debs of the tree, sorted; what changed) when the sources have `missing` no more.

    fresh: the tree resolved anew against the archive's current indexes. Raises CourseboxError when these are older than
    the locks: nothing is ever replaced by an older version.
    """
    held = {(deb.package, deb.architecture): deb for deb in locked}
    current = {(one.deb.package, one.deb.architecture): one for one in fresh}
    moved = {deb.source for deb in missing}
    added: set[str] = set()
    while True:
        mix = {key: deb for key, deb in held.items() if deb.source not in moved}
        for key, one in current.items():
            sources = {one.deb.source, held[key].source} if key in held else set()
            if sources & moved or (key not in held and one.deb.package in added):
                mix[key] = one.deb
        further, packages = _needed(mix, held, current, moved)
        if further <= moved and packages <= added:
            break
        moved |= further
        added |= packages
    for key in held.keys() & mix.keys():
        if version_compare(mix[key].version, held[key].version) < 0:
            raise CourseboxError(
                f"{key[0]} {held[key].version} is gone, and the archive has only the older {mix[key].version}",
                hint="the mirror lags behind, or has no security updates: use another one, or try again later",
            )
    return tuple(sorted(mix.values())), changes(tree, locked, tuple(mix.values()))


def changes(tree: str, locked: Sequence[Deb], taken: Sequence[Deb]) -> tuple[Substitute, ...]:
    """What differs between the locked .deb files of a tree and those that are taken, sorted by package."""
    held = {(deb.package, deb.architecture): deb for deb in locked}
    mix = {(deb.package, deb.architecture): deb for deb in taken}
    return tuple(
        Substitute(tree, held.get(key), mix.get(key))
        for key in sorted(held.keys() | mix.keys())
        if held.get(key) != mix.get(key)
    )


@contextmanager
def current_archive(locks: Locks) -> Iterator[Resolve]:
    """Resolve with apt and the machine's mirrors; each suite's indexes are read once.

    The packages of the host are written package/suite.
    """
    with ExitStack() as stack:

        @functools.cache
        def opened(suite: str) -> Archive:
            return stack.enter_context(open_archive(suite, locks.architecture))

        def resolve(tree: str, request: Request) -> Sequence[Candidate]:
            if tree != HOST:
                return opened(locks.suite).resolve(request.debian)
            wanted = [package.partition("/") for package in request.debian]
            return [opened(suite or locks.suite).single(package) for package, _, suite in wanted]

        yield resolve


def _needed(
    mix: Mapping[Key, Deb], held: Mapping[Key, Deb], current: Mapping[Key, Candidate], moved: set[str]
) -> tuple[set[str], set[str]]:
    """What the mixture lacks before apt can install it: (sources that must move too, packages that must come in).

    A current package says what it needs. An older package that stayed does not say it, but its current version gives a
    hint. It may ask for exactly the new version of something that moved, or for a package from a source that moved.
    Then the older version needed the old one.
    """
    versions = {deb.package: deb for deb in mix.values()}
    offered = {one.deb.package: one.deb for one in current.values()}
    before = {package for package, _ in held}
    sources: set[str] = set()
    packages: set[str] = set()
    for key, deb in mix.items():
        if key not in current:
            continue
        is_current = current[key].deb.version == deb.version
        for relations in _relations(current[key]):
            if not is_current:
                for one in relations:
                    other = offered.get(one["name"])
                    came = other is not None and other.source in moved
                    if came and (_sign(one) == "=" or one["name"] not in before):
                        sources.add(deb.source)
            elif not any(_holds(one, versions) for one in relations):
                # A clause without a real package is about a virtual one, whose provider is not told here.
                for other in [offered[one["name"]] for one in relations if _holds(one, offered)][:1]:
                    packages.add(other.package)
                    if other.package in versions:
                        sources.add(other.source)
    return sources, packages


def _relations(candidate: Candidate) -> list[list[PkgRelation.ParsedRelation]]:
    """The clauses of a package's dependencies, each a list of alternatives."""
    return PkgRelation.parse_relations(candidate.depends) if candidate.depends else []


def _sign(relation: PkgRelation.ParsedRelation) -> str | None:
    version = relation["version"]
    return version[0] if version else None


def _holds(relation: PkgRelation.ParsedRelation, versions: Mapping[str, Deb]) -> bool:
    deb = versions.get(relation["name"])
    if deb is None:
        return False
    version = relation["version"]
    return version is None or HOLDS[version[0]](version_compare(deb.version, version[1]))
