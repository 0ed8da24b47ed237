"""What a tree asks for → the wheels that go in, with what Debian's packages provide left out."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from packaging.utils import canonicalize_name

from coursebox.architecture import AMD64, Architecture
from coursebox.archives.pip import read_pip
from coursebox.archives.reach import archive_client
from coursebox.core.errors import CourseboxError
from coursebox.lock.lockfile import Deb, Wheel
from coursebox.lock.uv import FoundWheel, find_wheels


def resolve_wheels(
    requirements: Sequence[str],
    *,
    python: str = "3.13",
    architecture: Architecture = AMD64,
    glibc: int = 41,
    provided: Mapping[str, str] | None = None,
) -> tuple[Wheel, ...]:
    """The wheels for `requirements` and all they need, sorted by name.

    python: version of the target's Python; glibc: the minor version of its C library, 2.<glibc>
    provided: distributions that are there already: name → version. They count for the resolution. The result has
        neither them nor what only they need
    Raises `CourseboxError` when there is no such set of wheels.
    """
    if not requirements:
        return ()
    settings = read_pip()
    with tempfile.TemporaryDirectory(prefix="provided-") as name:
        stubs: dict[str, str] = {}
        for package, version in (provided or {}).items():
            stubs[canonicalize_name(package)] = _stub(Path(name), canonicalize_name(package), version)
        found = find_wheels(
            requirements,
            python=python,
            architecture=architecture,
            glibc=glibc,
            versions=stubs,
            folder=Path(name) if stubs else None,
            settings=settings,
        )
    with archive_client(pip=settings) as client, ThreadPoolExecutor(8) as pool:
        return tuple(sorted(pool.map(lambda one: _wheel(one, client), [one for one in found if one.name not in stubs])))


def provided_versions(provided: Mapping[str, str], debs: Sequence[Deb]) -> dict[str, str]:
    """Distribution → upstream version, for the Debian packages in `provided` ({"numpy": "python3-numpy"}).

    Raises `CourseboxError` when a package is not among `debs`.
    """
    versions = {deb.package: deb.version for deb in debs}
    missing = sorted(package for package in provided.values() if package not in versions)
    if missing:
        raise CourseboxError(f"Debian packages count as provided and are not in the tree: {', '.join(missing)}")
    return {name: upstream_version(versions[package]) for name, package in provided.items()}


def upstream_version(version: str) -> str:
    """The Python version inside a Debian version: 1:2.2.4+ds-1 → 2.2.4, 2.6.0+dfsg-7 → 2.6.0, 1.0~rc2-1 → 1.0rc2."""
    upstream = version.split(":", 1)[-1].rsplit("-", 1)[0]
    return re.split(r"\+|~(?:ds|dfsg|git|really)", upstream)[0].replace("~", "")


def _stub(folder: Path, name: str, version: str) -> str:
    """Write an empty wheel that stands for a provided distribution; its version, marked so that nothing else fits."""
    marked = f"{version}+provided"
    base = f"{name.replace('-', '_')}-{marked}"
    with zipfile.ZipFile(folder / f"{base}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{base}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {marked}\n")
        wheel.writestr(
            f"{base}.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: coursebox\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{base}.dist-info/RECORD", "")
    return marked


def _wheel(found: FoundWheel, client: httpx.Client) -> Wheel:
    size = _remote_size(found.address, client) if found.size is None else found.size
    return Wheel(found.name, found.version, found.filename, size, found.sha256)


def _remote_size(address: str, client: httpx.Client) -> int:
    """Size of a remote file in bytes, by HEAD, or by reading it where the server does not tell."""
    try:
        head = client.head(address)
        if head.is_success and head.headers.get("Content-Length", "").isdigit():
            return int(head.headers["Content-Length"])
        with client.stream("GET", address) as response:
            response.raise_for_status()
            return sum(len(block) for block in response.iter_raw())
    except httpx.HTTPError as error:
        name = address.rsplit("/", 1)[-1]
        raise CourseboxError(f"the size of {name} cannot be told: {error}", hint="try again") from error
