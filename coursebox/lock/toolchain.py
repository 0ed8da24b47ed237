"""The Python packages that the builder itself runs on: pyproject.toml → locks/host/requirements-*.txt.

One file serves every Python that the supported hosts bring: each package has one version, and the digest of the wheel
of each Python. The index is the one of the machine's own pip settings, and is not named in the files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from coursebox.architecture import BUILDER, PYTHONS
from coursebox.core.console import step
from coursebox.core.files import write_text
from coursebox.core.paths import CHECKOUT
from coursebox.lock.uv import FoundWheel, find_wheels

GLIBC = 36  # minor version of Debian 12's, the older one


def lock_toolchain(checkout: Path = CHECKOUT) -> None:
    """Resolve the dependencies in pyproject.toml, and write the two requirements files.

    Raises CourseboxError when there is no set of wheels that fits together.
    """
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    build: list[str] = project["dependencies"]
    test: list[str] = project["optional-dependencies"]["test"]
    chosen: dict[str, dict[str, FoundWheel]] = {}
    versions: dict[str, str] = {}
    for_build: set[str] = set()
    for python in PYTHONS:
        with step(f"resolving the builder's Python tools for Python {python}"):
            chosen[python] = _resolve(python, [*build, *test], versions)
            versions |= {found.name: found.version for found in chosen[python].values()}
            for_build |= _resolve(python, build, versions).keys()
    folder = checkout / "locks" / "host"
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "requirements-build.txt", "the verbs", chosen.values(), for_build)
    _write(
        folder / "requirements-test.txt",
        "the tests, beside those of the verbs",
        chosen.values(),
        set(versions) - for_build,
    )


def _resolve(python: str, wanted: list[str], versions: Mapping[str, str]) -> dict[str, FoundWheel]:
    """Name → wheel, for a Debian host with this Python; of packages in `versions` that version."""
    found = find_wheels(wanted, python=python, architecture=BUILDER, glibc=GLIBC, versions=versions)
    return {wheel.name: wheel for wheel in found}


def _write(file: Path, purpose: str, chosen: Iterable[Mapping[str, FoundWheel]], names: set[str]) -> None:
    by_python = list(chosen)
    lines = [f'# The Python packages of {purpose}: written by "make lock" from pyproject.toml, not to be edited.']
    for name in sorted(names):
        locked = [found[name] for found in by_python if name in found]
        hashes = sorted({one.sha256 for one in locked})
        lines.append(
            " \\\n    ".join([f"{name}=={locked[0].version}", *(f"--hash=sha256:{digest}" for digest in hashes)])
        )
    write_text(file, "\n".join(lines) + "\n")
