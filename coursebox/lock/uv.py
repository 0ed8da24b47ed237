"""Requirement specifiers → exact wheels for a Python that runs elsewhere: uv resolves, pip's settings say where.

uv resolves for any Python and platform, whatever runs this. It does not read pip's settings, so it gets the indexes by
environment variables: an address may hold a password, which other users could read in the list of processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from coursebox.architecture import Architecture
from coursebox.archives.mirrors import local_path
from coursebox.archives.pip import PipSettings, read_pip
from coursebox.core.digests import sha256_file
from coursebox.core.errors import CourseboxError

NEWEST_GLIBC = 40  # that uv has a name for; no index has wheels that need a newer one


@dataclass(frozen=True)
class FoundWheel:
    """One wheel of a resolution. size: bytes, None where the index does not tell; address: a URL or a path."""

    name: str
    version: str
    filename: str
    sha256: str
    size: int | None
    address: str


def find_wheels(
    requirements: Sequence[str],
    *,
    python: str,
    architecture: Architecture,
    glibc: int,
    versions: Mapping[str, str] | None = None,
    folder: Path | None = None,
    settings: PipSettings | None = None,
) -> tuple[FoundWheel, ...]:
    """The wheels for `requirements` and all they need, sorted by name.

    python: version of the target's Python; glibc: the minor version of its C library, 2.<glibc>
    versions: by name; a package that is needed gets this version
    folder: wheels that count as well
    settings: where wheels are; by default what pip's settings say
    Raises `CourseboxError` when there is no such set of wheels.
    """
    settings = settings or read_pip()
    asked = ", ".join(requirements)
    hint = "check names and versions; only wheels for the course's Python count, source packages do not"
    try:
        lines = [str(Requirement(text)) for text in requirements]  # a line could be an option for uv, too
    except InvalidRequirement as error:
        raise CourseboxError(f"there are no wheels for {asked} together: {error}", hint=hint) from error
    with tempfile.TemporaryDirectory(prefix="uv-") as name:
        place = Path(name)
        (place / "requirements.in").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        pins = "".join(f"{name}=={version}\n" for name, version in (versions or {}).items())
        (place / "constraints.txt").write_text(pins, encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--no-config", "--no-cache", "--no-python-downloads"]
        command += ["--quiet", "--color=never", "--python", sys.executable, "--python-version", python]
        command += ["--python-platform", f"{architecture.uname}-manylinux_2_{min(glibc, NEWEST_GLIBC)}"]
        command += ["--only-binary", ":all:", "--constraints", str(place / "constraints.txt")]
        command += ["--format", "pylock.toml", "--output-file", str(place / "pylock.toml")]
        command += [] if settings.indexes else ["--no-index"]
        command += [str(place / "requirements.in")]
        environment = _environment(settings, folder)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise CourseboxError(f"there are no wheels for {asked} together: {_complaint(done.stderr)}", hint=hint)
        lock = tomllib.loads((place / "pylock.toml").read_text(encoding="utf-8"))
        tags = {tag: rank for rank, tag in enumerate(_tags(python, architecture, glibc))}
        return tuple(_best(package, tags, place) for package in lock.get("packages", ()))


def _environment(settings: PipSettings, folder: Path | None) -> dict[str, str]:
    """uv's settings as environment variables, none but these."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    variables |= {"LC_ALL": "C.UTF-8", "UV_SYSTEM_CERTS": "1"}
    if settings.indexes:
        # In pip's order: the default index is uv's last. The newest version wins, on whatever index it is.
        variables["UV_INDEX"] = " ".join(settings.indexes[:-1])
        variables["UV_DEFAULT_INDEX"] = settings.indexes[-1]
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    links = [*settings.find_links, *([str(folder)] if folder else [])]
    if links:
        variables["UV_FIND_LINKS"] = ",".join(links)
    if settings.cert:
        variables["SSL_CERT_FILE"] = settings.cert
    if settings.proxy:
        variables["ALL_PROXY"] = settings.proxy
    return variables


def platforms(architecture: Architecture, glibc: int) -> list[str]:
    """Platform tags (PEP 600 and its forerunners) that a Linux with the C library 2.<glibc> takes, best first."""
    machine = architecture.uname
    tags = []
    for minor in range(glibc, architecture.manylinux - 1, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        if older := {17: "2014", 12: "2010", 5: "1"}.get(minor):
            tags.append(f"manylinux{older}_{machine}")
    return [*tags, f"linux_{machine}"]


def _tags(python: str, architecture: Architecture, glibc: int) -> Iterator[Tag]:
    """All tags of wheels that the target takes, best first."""
    major, minor = map(int, python.split(".")[:2])
    names = platforms(architecture, glibc)
    yield from cpython_tags((major, minor), platforms=names)
    yield from compatible_tags((major, minor), f"cp{major}{minor}", names)


def _best(package: Mapping[str, Any], tags: Mapping[Tag, int], place: Path) -> FoundWheel:
    """The wheel of a package that pip would take: of all that fit, the one with the most specific tag."""
    ranked = []
    for wheel in package.get("wheels", ()):
        address = wheel.get("url") or str(place / wheel["path"])
        filename = wheel.get("name") or unquote(urlsplit(address).path).rsplit("/", 1)[-1]
        try:
            _, _, build, own = parse_wheel_filename(filename)
        except InvalidWheelFilename:
            continue
        fitting = [tags[tag] for tag in own if tag in tags]
        if fitting:
            ranked.append((min(fitting), tuple(-part if isinstance(part, int) else part for part in build), filename,
                           address, wheel))  # fmt: skip
    name, version = canonicalize_name(package["name"]), package["version"]
    if not ranked:
        raise CourseboxError(f"{name} {version} has no wheel for the course's Python", hint="ask for another version")
    _, _, filename, address, wheel = min(ranked, key=lambda one: one[:3])
    path = local_path(address)
    digest = wheel.get("hashes", {}).get("sha256") or (sha256_file(path) if path else None)
    if digest is None:
        raise CourseboxError(
            f"the Python index gives no SHA-256 of {filename}", hint="use an index that does (PEP 503)"
        )
    size = path.stat().st_size if path else wheel.get("size")
    return FoundWheel(name, version, filename, digest, size, address)


def _complaint(text: str) -> str:
    """What uv says is wrong, in one line, without its hints."""
    message = text.split("\nhint:", 1)[0]
    words = " ".join(message.split()).removeprefix("error: ")
    return words or "uv does not say why"
