"""What a test reads of the checkout: its own file, what it imports from here, and the files beside it.

Imports are followed as text. What a module reads at run time (a table, a script) does not show in it: lanes.py names
such files.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from coursebox.core.digests import sha256_file, sha256_value
from coursebox.core.paths import CHECKOUT
from coursebox.core.run import capture
from coursebox.core.stages import is_litter

# Where an absolute import of our own is looked for, beside the folder of the file that has it. The browser of tests/vm
# serves tests/container, too.
ROOTS = (".", "docker", "selftest", "grading", "labs", "tests", "tests/vm")
# What git would not track either, where there is no git.
MADE = ("dist", "build", ".venv", ".ansible", ".hypothesis")


def tracked(checkout: Path = CHECKOUT) -> list[Path]:
    """Every file that git tracks, or would with `git add`; without git, every file that is no litter of tools."""
    listed = capture(["git", "-C", checkout, "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    if listed.returncode == 0:
        found = [checkout / name for name in set(listed.stdout.split("\0")) if name]
    else:
        tops = (path for path in checkout.iterdir() if path.name not in MADE)
        every = (path for top in tops for path in (top, *top.rglob("*")))
        found = [path for path in every if not _made(path.relative_to(checkout))]
    return sorted(path for path in found if path.is_file())


def _made(relative: Path) -> bool:
    """Whether tools have made a file, or a lab that was run."""
    return is_litter(relative) or (relative.parts[:1] == ("labs",) and relative.parts[2:3] == ("results",))


def files_digest(paths: Iterable[Path], checkout: Path = CHECKOUT) -> str:
    """One digest of files of the checkout: their places in it, whether they are executable, and their bytes."""
    lines = []
    for path in sorted(set(paths)):
        executable = bool(path.stat().st_mode & 0o100)
        lines.append([path.relative_to(checkout).as_posix(), executable, sha256_file(path)])
    return sha256_value(lines)


def below(*places: str, checkout: Path = CHECKOUT) -> list[Path]:
    """The tracked files at or below these places of the checkout. FileNotFoundError for a place without any."""
    found: list[Path] = []
    for place in places:
        here = [path for name, path in _tracked(checkout) if name == place or name.startswith(f"{place}/")]
        if not here:
            raise FileNotFoundError(f"{checkout / place}: no file of the checkout is there")
        found += here
    return found


def with_imports(files: Iterable[Path], checkout: Path = CHECKOUT) -> list[Path]:
    """`files` and all modules of the checkout that they import, directly or through others."""
    found: set[Path] = set()
    open_ends = list(files)
    while open_ends:
        path = open_ends.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix == ".py":
            open_ends += imported(path, checkout)
    return sorted(found)


def imported(path: Path, checkout: Path = CHECKOUT) -> tuple[Path, ...]:
    """The modules of the checkout that one Python file imports, with the packages that they are in.

    None for a file that is no Python: pytest will say what is wrong with it.
    """
    return _imported(path, path.stat().st_mtime_ns, checkout)


@functools.cache
def _imported(path: Path, _time: int, checkout: Path) -> tuple[Path, ...]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, ValueError):
        return ()
    found: list[Path] = []
    for name in _names(tree):
        for root in [path.parent, *(checkout / root for root in ROOTS)]:
            found += _modules(root, name.split("."))
    for name, level in _relative(tree):
        found += _modules(path.parents[level - 1], name.split(".") if name else [])
    return tuple(sorted(set(found)))


@functools.cache
def _tracked(checkout: Path) -> tuple[tuple[str, Path], ...]:
    """The tracked files with their places in the checkout."""
    return tuple((path.relative_to(checkout).as_posix(), path) for path in tracked(checkout))


def _names(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that may be a module of an absolute import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _relative(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The same of relative imports, with the number of dots before the name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            head = f"{node.module}." if node.module else ""
            yield from ((f"{head}{alias.name}", node.level) for alias in node.names)
            if node.module:
                yield node.module, node.level


def _modules(root: Path, words: Sequence[str]) -> Iterator[Path]:
    """The file of a module below `root` and the __init__.py of each package above it; nothing where it is not."""
    for count in range(1, len(words) + 1):
        package = root.joinpath(*words[:count])
        if (package / "__init__.py").is_file():
            yield package / "__init__.py"
        elif package.with_suffix(".py").is_file():
            yield package.with_suffix(".py")
