"""What of the folder of the labs students get: all but what its authors write for themselves, and litter of tools.

What cannot be taken is said, with its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coursebox.core.console import say, warn
from coursebox.core.digests import sha256_bytes, sha256_file
from coursebox.core.stages import is_litter

AUTHORS = ("author", "AUTHORS.md")  # sources with the solutions, mutants; how a lab is written
CHECK = "check.py"
SHOWN = 5  # names of what was left out


@dataclass(frozen=True)
class Item:
    """What students get: a file, or a folder with nothing in it. path: in the folder of the labs."""

    path: Path
    folder: bool
    executable: bool


@dataclass(frozen=True)
class Found:
    """items: sorted by their paths. litter: paths of by-products of tools. refused: one sentence for each other thing
    that is not taken.
    """

    items: tuple[Item, ...]
    litter: tuple[Path, ...]
    refused: tuple[str, ...]


def look(folder: Path) -> Found:
    """Look through the folder of the labs. Raises OSError where it cannot be read."""
    items: list[Item] = []
    litter: list[Path] = []
    refused: list[str] = []
    _look(folder, Path(), items, litter.append, refused.append)
    return Found(tuple(sorted(items, key=lambda item: item.path)), tuple(litter), tuple(refused))


def labs_digest(folder: Path) -> str:
    """Digest of what students get: paths, whether they are executable, bytes, and empty folders.

    A warning says what is not taken.
    """
    found = look(folder)
    for sentence in found.refused:
        warn(f"labs: {sentence}")
    lines = (
        f"folder {item.path.as_posix()}"
        if item.folder
        else f"{sha256_file(folder / item.path)} {'x' if item.executable else '-'} {item.path.as_posix()}"
        for item in found.items
    )
    return sha256_bytes("\n".join(lines).encode())


def say_litter(found: Found) -> None:
    """Say which by-products of tools are left out."""
    if found.litter:
        names = ", ".join(path.as_posix() for path in found.litter[:SHOWN])
        more = f" and {len(found.litter) - SHOWN} more" if len(found.litter) > SHOWN else ""
        say(f"  labs: by-products of tools are left out: {names}{more}")


def _look(
    top: Path, below: Path, items: list[Item], litter: Callable[[Path], None], refused: Callable[[str], None]
) -> None:
    folder = top / below
    names = sorted(path.name for path in folder.iterdir())
    before = len(items)
    for relative in (below / name for name in names):
        path = top / relative
        if relative.name in AUTHORS:
            continue
        if is_litter(relative) or _of_a_run(path):
            litter(relative)
        elif path.is_dir() and not path.is_symlink():
            _look(top, relative, items, litter, refused)
        elif path.is_file():
            items.append(Item(relative, False, bool(path.stat().st_mode & 0o100)))
        else:
            refused(f"{path} {_why_not(path)}")
    if below.parts and not names and len(items) == before:
        items.append(Item(below, True, False))


def _of_a_run(path: Path) -> bool:
    """Whether a lab that was run has written this: the folder `results` beside its checks."""
    return path.name == "results" and path.is_dir() and path.with_name(CHECK).is_file()


def _why_not(path: Path) -> str:
    if path.is_symlink() and path.is_dir():
        return "is a link to a folder, and is left out: put the folder itself there"
    if path.is_symlink():
        return "is a link that leads nowhere, and is left out: mend it, or remove it"
    return "is neither a file nor a folder, and is left out: remove it"
