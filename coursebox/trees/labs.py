"""What of the folder of the labs students get: all but what its authors write for themselves."""

from __future__ import annotations

from pathlib import Path

from coursebox.core.stages import is_litter, tree_digest

AUTHORS = ("author", "AUTHORS.md")  # sources with the solutions, mutants; how a lab is written


def stays(relative: Path) -> bool:
    """Whether a path of the folder of the labs stays with the authors: it is theirs, or litter of tools."""
    return is_litter(relative) or any(part in AUTHORS for part in relative.parts)


def labs_digest(folder: Path) -> str:
    """Digest of what students get: paths, whether they are executable, and bytes."""
    return tree_digest(folder, stays)


def lab_files(folder: Path) -> list[tuple[Path, Path]]:
    """What students get, sorted: the path of each file in the folder of the labs, and where it lies."""
    found = ((path.relative_to(folder), path) for path in sorted(folder.rglob("*")) if path.is_file())
    return [(relative, path) for relative, path in found if not stays(relative)]
