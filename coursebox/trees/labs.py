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


def copy_labs(source: Path, target: Path) -> None:
    """The labs as they go into the image: regular files, readable by all. target: a folder that is not there yet."""
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_file() and not stays(relative):
            copy = target / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
