"""Resolving with pip, the real one, from a folder of tiny wheels and without a network."""

from __future__ import annotations

import hashlib
import os
import platform
import zipfile
from pathlib import Path

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.lock.lockfile import Deb
from coursebox.lock.resolve_wheels import (
    platforms,
    provided_versions,
    resolve_wheels,
    target_environment,
    upstream_version,
)


def make_wheel(folder: Path, name: str, version: str, *requires: str, tag: str = "py3-none-any") -> Path:
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        info = f"{name}-{version}.dist-info"
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        wheel.writestr(f"{info}/METADATA", "\n".join([*lines, *(f"Requires-Dist: {need}" for need in requires)]) + "\n")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip knows."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_wheels_for_the_course_not_for_this_machine(index: Path) -> None:
    """Tags and markers are those of CPython 3.13 on Linux, whatever runs this test."""
    here = ".".join(platform.python_version_tuple()[:2])
    assert here != "3.19"
    make_wheel(
        *(index, "app", "1.0"),
        'new; python_version >= "3.19"',
        'old; python_version < "3.19"',
        'full; python_full_version >= "3.19.0"',
        'other; sys_platform == "win32"',
        'machine; platform_machine == "x86_64"',
    )
    native = make_wheel(index, "new", "2.0", tag="cp319-cp319-manylinux_2_28_x86_64")
    make_wheel(index, "new", "3.0", tag="cp319-cp319-manylinux_2_99_x86_64")
    make_wheel(index, "new", "4.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    for name in ("old", "full", "other", "machine"):
        make_wheel(index, name, "1.0")
    found = resolve_wheels(["app"], python="3.19")
    assert [(wheel.name, wheel.version) for wheel in found] == [
        ("app", "1.0"),
        ("full", "1.0"),
        ("machine", "1.0"),
        ("new", "2.0"),
    ]
    assert found[3].filename == native.name
    assert found[3].size == native.stat().st_size
    assert found[3].sha256 == hashlib.sha256(native.read_bytes()).hexdigest()


def test_what_debian_provides_counts_and_is_left_out(index: Path) -> None:
    make_wheel(index, "lib", "1.0", "Big_Math>=2.2", "small")
    make_wheel(index, "lib", "2.0", "Big_Math>=2.3", "small")
    make_wheel(index, "big_math", "2.3", "huge")
    make_wheel(index, "huge", "9")
    make_wheel(index, "small", "1")
    found = resolve_wheels(["lib"], provided={"big.math": "2.2.4"})
    assert [(wheel.name, wheel.version) for wheel in found] == [("lib", "1.0"), ("small", "1")]
    assert {wheel.name for wheel in resolve_wheels(["lib"])} == {"lib", "small", "big-math", "huge"}


def test_nothing_asked_for() -> None:
    assert resolve_wheels([]) == ()


@pytest.mark.parametrize("requirement", ["nothing-of-this-name", "lib==9", "-r /etc/passwd", "--help"])
def test_no_such_wheels(index: Path, requirement: str) -> None:
    make_wheel(index, "lib", "1.0")
    with pytest.raises(CourseboxError) as caught:
        resolve_wheels(["lib", requirement])
    assert caught.value.message.startswith(f"pip finds no wheels for lib, {requirement} together: ")
    assert caught.value.hint is not None
    assert "only wheels" in caught.value.hint


def test_target() -> None:
    environment = target_environment("3.13", "arm64")
    assert environment["python_full_version"] == "3.13.0"
    assert environment["platform_machine"] == "aarch64"
    tags = platforms("amd64", 41)
    assert tags[0] == "manylinux_2_41_x86_64"
    assert {"manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"} < set(tags)
    assert tags.index("manylinux_2_28_x86_64") < tags.index("manylinux2014_x86_64") < tags.index("linux_x86_64")
    assert platforms("arm64", 18) == [
        "manylinux_2_18_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
        "linux_aarch64",
    ]


@pytest.mark.parametrize(
    ("debian", "upstream"),
    [
        ("1:2.2.4+ds-1", "2.2.4"),
        ("2.6.0+dfsg-7", "2.6.0"),
        ("1.0~rc2-1", "1.0rc2"),
        ("3.10.1+dfsg1-4", "3.10.1"),
        ("2.2.3+dfsg-9", "2.2.3"),
        ("1.4.2~dfsg-1", "1.4.2"),
        ("4.67.1-5", "4.67.1"),
        ("0.21.0-3+b1", "0.21.0"),
        ("2-1-3", "2-1"),
        ("7", "7"),
    ],
)
def test_upstream_version(debian: str, upstream: str) -> None:
    assert upstream_version(debian) == upstream


def test_provided_versions() -> None:
    debs = [Deb("python3-numpy", "1:2.2.4+ds-1", "amd64", "numpy", "main", "f", 1, "a")]
    assert provided_versions({"numpy": "python3-numpy"}, debs) == {"numpy": "2.2.4"}
    with pytest.raises(CourseboxError, match="count as provided and are not in the tree: python3-torch"):
        provided_versions({"torch": "python3-torch"}, debs)
