"""Requirement specifiers → the exact wheels that pip would install into the course's Python, which runs elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from packaging.utils import canonicalize_name

from coursebox.archives.http import make_client
from coursebox.archives.mirrors import local_path
from coursebox.archives.pip import pip_command, read_pip
from coursebox.core.digests import sha256_file
from coursebox.core.errors import CourseboxError
from coursebox.lock.lockfile import Deb, Wheel

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}

# pip's --python-version chooses the wheels, but environment markers are still evaluated for the Python that runs pip
# (https://github.com/pypa/pip/issues/11664); until that is mended, the target's values are put in their place.
RUN_PIP = """
import json, sys
from pip._vendor.packaging import markers
target = json.loads(sys.argv.pop(1))
default = markers.default_environment
markers.default_environment = lambda: {**default(), **target}
from pip._internal.cli.main import main
sys.exit(main())
"""


def resolve_wheels(
    requirements: Sequence[str],
    *,
    python: str = "3.13",
    architecture: str = "amd64",
    glibc: int = 41,
    provided: Mapping[str, str] | None = None,
) -> tuple[Wheel, ...]:
    """The wheels for `requirements` and all they need, sorted by name.

    python: version of the target's Python; glibc: the minor version of its C library, 2.<glibc>
    provided: distributions that are there already, by name, with their version: they count for the resolution,
        and neither they nor what only they would need is part of the result
    Raises `CourseboxError` when there is no such set of wheels.
    """
    if not requirements:
        return ()
    provided = {canonicalize_name(name): version for name, version in (provided or {}).items()}
    with tempfile.TemporaryDirectory(prefix="pip-") as name:
        folder = Path(name)
        stubs = {name: _stub(folder / "provided", name, version) for name, version in provided.items()}
        constraints = folder / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in stubs.items()), encoding="utf-8")
        report = folder / "report.json"
        command = [*pip_command(), "-c", RUN_PIP, json.dumps(target_environment(python, architecture)), "install"]
        command += ["--dry-run", "--quiet", "--ignore-installed", "--no-input", "--disable-pip-version-check"]
        command += ["--target", str(folder / "target")]
        command += ["--report", str(report)]
        command += ["--only-binary", ":all:"]
        command += ["--python-version", python]
        command += ["--implementation", "cp"]
        for platform in platforms(architecture, glibc):
            command += ["--platform", platform]
        if stubs:
            command += ["--find-links", str(folder / "provided"), "--constraint", str(constraints)]
        # Settings of the machine that are about installing on the machine, which nothing here does.
        environment = os.environ | {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "LC_ALL": "C.UTF-8"}
        # "--" keeps a requirement that begins with a dash from being taken for an option.
        done = subprocess.run(
            [*command, "--", *requirements], capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode:
            raise CourseboxError(
                f"pip finds no wheels for {', '.join(requirements)} together: {_complaint(done.stderr)}",
                hint="check names and versions; only wheels for the course's Python count, source packages do not",
            )
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
        found = [entry for entry in installs if canonicalize_name(entry["metadata"]["name"]) not in stubs]
        with make_client(cert=read_pip().cert) as client, ThreadPoolExecutor(8) as pool:
            return tuple(sorted(pool.map(lambda entry: _wheel(entry, client), found)))


def target_environment(python: str, architecture: str) -> dict[str, str]:
    """The environment markers (PEP 508) of CPython `python` on Linux; 0 stands for the unknown patch version."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": MACHINES[architecture],
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def platforms(architecture: str, glibc: int) -> list[str]:
    """Platform tags (PEP 600 and its forerunners) that a Linux with the C library 2.<glibc> takes, best first."""
    machine = MACHINES[architecture]
    oldest = {"x86_64": 5, "aarch64": 17}[machine]
    tags = []
    for minor in range(glibc, oldest - 1, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        if older := {17: "2014", 12: "2010", 5: "1"}.get(minor):
            tags.append(f"manylinux{older}_{machine}")
    return [*tags, f"linux_{machine}"]


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
    folder.mkdir(exist_ok=True)
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


def _wheel(entry: Mapping[str, Any], client: httpx.Client) -> Wheel:
    address = entry["download_info"]["url"]
    info = entry["download_info"].get("archive_info", {})
    path = local_path(address)
    digest = info.get("hashes", {}).get("sha256") or (sha256_file(path) if path else None)
    filename = unquote(urlsplit(address).path).rsplit("/", 1)[-1]
    if digest is None or not filename.endswith(".whl"):
        raise CourseboxError(
            f"the Python index gives no SHA-256 of {filename}", hint="use an index that does (PEP 503)"
        )
    return Wheel(
        name=canonicalize_name(entry["metadata"]["name"]),
        version=entry["metadata"]["version"],
        filename=filename,
        size=path.stat().st_size if path else _remote_size(address, client),
        sha256=digest,
    )


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


def _complaint(text: str) -> str:
    errors = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.startswith("ERROR: ")]
    return "; ".join(errors[:3]) or (text.strip().splitlines() or ["pip does not say why"])[-1]
