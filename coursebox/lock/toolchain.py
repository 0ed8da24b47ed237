"""The Python packages that the builder itself runs on: pyproject.toml → locks/host/requirements-*.txt.

One file serves every Python that the supported hosts bring: each package has one version, and the digest of the wheel
of each Python. The index is the one of the machine's own pip settings, and is not named in the files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from coursebox.core.console import step
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.lock.resolve_wheels import platforms, target_environment

# Debian 12 and 13.
PYTHONS = ("3.11", "3.13")
GLIBC = 36  # minor version of Debian 12's, the older one
ARCHITECTURE = "amd64"


@dataclass(frozen=True)
class Locked:
    """One chosen package: canonical name, version, SHA-256 of its wheel, and what it requires."""

    name: str
    version: str
    sha256: str
    requires: tuple[str, ...]


def lock_toolchain(checkout: Path = CHECKOUT) -> None:
    """Resolve the dependencies in pyproject.toml, and write the two requirements files.

    Raises CourseboxError when pip finds no set of wheels that fits together.
    """
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    build: list[str] = project["dependencies"]
    test: list[str] = project["optional-dependencies"]["test"]
    chosen: dict[str, dict[str, Locked]] = {}
    versions: dict[str, str] = {}
    for python in PYTHONS:
        with step(f"resolving the builder's Python tools for Python {python}"):
            chosen[python] = _resolve_completely(python, [*build, *test], versions)
        versions |= {locked.name: locked.version for locked in chosen[python].values()}
    for_build = set[str]().union(*(_closure(chosen[python], build, python) for python in PYTHONS))
    folder = checkout / "locks" / "host"
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "requirements-build.txt", "the verbs", chosen.values(), for_build)
    _write(
        folder / "requirements-test.txt",
        "the tests, beside those of the verbs",
        chosen.values(),
        set(versions) - for_build,
    )


def _resolve_completely(python: str, wanted: list[str], versions: Mapping[str, str]) -> dict[str, Locked]:
    # pip evaluates markers for the Python that runs it, whatever --python-version says, so what only the other Python
    # needs is found here and asked for by name (https://github.com/pypa/pip/issues/11664; remove when that is solved).
    extra: set[str] = set()
    while True:
        found = _resolve(python, [*wanted, *sorted(extra)], versions)
        missing = _closure(found, wanted, python) - set(found)
        if not missing:
            return found
        if missing <= extra:
            raise CourseboxError(f"pyproject.toml: no wheel of {', '.join(sorted(missing))} for Python {python}")
        extra |= missing


def _resolve(python: str, wanted: list[str], versions: Mapping[str, str]) -> dict[str, Locked]:
    """What pip would install on a Debian host with this Python."""
    with tempfile.TemporaryDirectory(prefix="coursebox-lock-") as scratch:
        constraints = Path(scratch, "constraints.txt")
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8")
        report = Path(scratch, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-input"]
        command += ["--disable-pip-version-check", f"--report={report}", f"--target={scratch}/none"]
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
        command += [f"--platform={platform}" for platform in platforms(ARCHITECTURE, GLIBC)]
        command += [f"--constraint={constraints}", *wanted]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C.UTF-8"})
        if done.returncode != 0:
            lines = done.stderr.splitlines() or ["pip failed"]
            reason = next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")), lines[-1])
            raise CourseboxError(
                f"the builder's Python tools cannot be resolved for Python {python}: {reason}",
                hint='check the index with "pip config list", or the entry in pyproject.toml',
            )
        return _parse(json.loads(report.read_text(encoding="utf-8")))


def _parse(report: Mapping[str, Any]) -> dict[str, Locked]:
    """pip's installation report (https://pip.pypa.io/en/stable/reference/installation-report/), by canonical name."""
    found: dict[str, Locked] = {}
    for entry in report["install"]:
        metadata, archive = entry["metadata"], entry["download_info"]["archive_info"]
        name = canonicalize_name(metadata["name"])
        found[name] = Locked(
            name, metadata["version"], archive["hashes"]["sha256"], tuple(metadata.get("requires_dist", ()))
        )
    return found


def _closure(found: Mapping[str, Locked], wanted: Iterable[str], python: str) -> set[str]:
    """Names of everything that these requirements need, directly or not, on a Linux host with this Python."""
    environment = {key: str(value) for key, value in default_environment().items()}
    environment |= target_environment(python, ARCHITECTURE)
    names: set[str] = set()
    done: set[tuple[str, str]] = set()
    queue = [(Requirement(text), "") for text in wanted]
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker is not None and not requirement.marker.evaluate(environment | {"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        names.add(name)
        for inner in ("", *requirement.extras):
            if (name, inner) not in done and name in found:
                done.add((name, inner))
                queue += [(Requirement(text), inner) for text in found[name].requires]
    return names


def _write(file: Path, purpose: str, chosen: Iterable[Mapping[str, Locked]], names: set[str]) -> None:
    by_python = list(chosen)
    lines = [f'# The Python packages of {purpose}: written by "make lock" from pyproject.toml, not to be edited.']
    for name in sorted(names):
        locked = [found[name] for found in by_python if name in found]
        hashes = sorted({one.sha256 for one in locked})
        lines.append(
            " \\\n    ".join([f"{name}=={locked[0].version}", *(f"--hash=sha256:{digest}" for digest in hashes)])
        )
    beside = file.with_name(file.name + ".new")
    beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(beside, file)
