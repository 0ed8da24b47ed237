"""The code that decides the bytes of a stage: its modules, with all of ours that they import."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from coursebox.core.digests import sha256_file
from coursebox.core.paths import CHECKOUT

# The environment that every stage runs in: Ansible, libdeflate, the readers of Debian's files.
HOST_LOCK = CHECKOUT / "locks" / "host" / "requirements-build.txt"
# Modules that run a build and decide no byte of a result; what they hand on stands in the inputs of the stages.
ASIDE = {
    "__init__.py": "says which version it is",
    "archives/": "where files lie; what was found stands in the inputs, by digest",
    "core/console.py": "what a build says",
    "core/context.py": "passes values",
    "core/code.py": "makes keys",
    "core/errors.py": "messages",
    "core/files.py": "how a file appears; not what is in it",
    "core/paths.py": "where things lie",
    "core/records.py": "the record beside a result",
    "core/run.py": "runs a program and keeps its output",
    "core/settings.py": "reads the environment",
    "core/stages.py": "makes keys, and runs the stages",
    "course.py": "reads the course; its values stand in the inputs",
    "host/dockerd.py": "starts an engine",
    "host/packages.py": "installs what this machine lacks",
    "lock/": "reads the locks; their items stand in the inputs",
    "target.py": "names what can be built",
}
# Only imports at the beginning of a line: not those inside of functions or for the type checker.
IMPORT = re.compile(r"^from (coursebox[\w.]*) import (\([^)]*\)|[^\n]*)|^import (coursebox[\w.]*)", re.MULTILINE)
DECLARES = "stage.py"  # of a room: each of its stages names its own code, so its imports are not followed


def code_digests(code: Sequence[Path]) -> dict[str, str]:
    """Source file → its digest, for these files, all modules of ours that they import, and the host's lock.

    Files of the checkout are named by their place in it, others by their names alone.
    """
    return {_name(path): sha256_file(path) for path in [*closure(code), HOST_LOCK]}


def closure(code: Sequence[Path]) -> list[Path]:
    """These files and what they import of ours, directly or through others; without what stands in ASIDE."""
    found: set[Path] = set()
    open_ends = [path.resolve() for path in code]
    while open_ends:
        path = open_ends.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix == ".py" and path.name != DECLARES:
            open_ends += [module for module in imported(path) if not is_aside(module)]
    return sorted(found)


def is_aside(module: Path) -> bool:
    """Whether a module of ours decides no bytes."""
    name = module.relative_to(CHECKOUT / "coursebox").as_posix()
    return name.endswith("/__init__.py") or any(
        name.startswith(aside) if aside.endswith("/") else name == aside for aside in ASIDE
    )


def imported(path: Path) -> tuple[Path, ...]:
    """The modules of ours that a source file imports at its top."""
    return _imported(path, path.stat().st_mtime_ns)


@functools.cache
def _imported(path: Path, _time: int) -> tuple[Path, ...]:
    found = set()
    for module, names, plain in IMPORT.findall(path.read_text(encoding="utf-8")):
        place = CHECKOUT.joinpath(*(module or plain).split("."))
        words = re.findall(r"\w+", re.sub(r"#.*|\bas \w+", "", names))
        for candidate in (place, *(place / word for word in words)):
            if candidate.with_suffix(".py").is_file():
                found.add(candidate.with_suffix(".py"))
    return tuple(sorted(found))


def _name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix() if path.is_relative_to(CHECKOUT) else path.name
