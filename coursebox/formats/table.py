"""The table of formats: those of coursebox, and those that installed packages add.

A package adds one by an entry point of the group `coursebox.formats`, whose object is a `Format`:
https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

from coursebox.architecture import AMD64, ARCHITECTURES
from coursebox.core.errors import CourseboxError
from coursebox.formats.oci import stage as image
from coursebox.formats.ova import stage as ova
from coursebox.target import Format, Target

GROUP = "coursebox.formats"
OWN = (ova.FORMAT, image.CPU, image.CUDA)


@functools.cache
def formats() -> Mapping[str, Format]:
    """Name → format. CourseboxError for an entry point that gives no format, or a name that is taken."""
    found = {each.name: each for each in OWN}
    for entry in entry_points(group=GROUP):
        try:
            added = entry.load()
        except Exception as error:  # whatever the package raises when it is imported
            raise CourseboxError(
                f"the format {entry.name} ({entry.value}) cannot be loaded: {error}",
                hint="update or uninstall the package that brings it",
            ) from error
        if not isinstance(added, Format) or added.name in found:
            why = "its name is taken" if isinstance(added, Format) else "it is no coursebox.target.Format"
            raise CourseboxError(f"the format {entry.name} ({entry.value}) is refused: {why}",
                                 hint="update or uninstall the package that brings it")  # fmt: skip
        found[added.name] = added
    return found


def targets() -> dict[str, Target]:
    """Name → target, in the order of the table: every format for every architecture that it knows."""
    found = [Target(each, ARCHITECTURES[name]) for each in formats().values() for name in each.architectures]
    return {target.name: target for target in sorted(found, key=lambda target: target.architecture is not AMD64)}


def chosen(names: Sequence[str]) -> list[Target]:
    """The targets with these names, each once. CourseboxError names all unknown ones."""
    known = targets()
    if unknown := [name for name in names if name not in known]:
        near = dict.fromkeys(match for name in unknown for match in difflib.get_close_matches(name.lower(), known, 1))
        hint = f"targets are: {', '.join(known)}"
        raise CourseboxError(
            f"there is no target {', '.join(unknown)}",
            hint=f"did you mean {' '.join(near)}? {hint[0].upper()}{hint[1:]}" if near else hint,
        )
    return [known[name] for name in dict.fromkeys(names)]
