"""Resolving with uv, the real one, from a folder of tiny wheels and without a network."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from coursebox.architecture import AMD64, Architecture
from coursebox.archives.pip import PipSettings
from coursebox.core.errors import CourseboxError
from coursebox.lock.lockfile import Deb
from coursebox.lock.resolve_wheels import provided_versions, resolve_wheels, upstream_version
from coursebox.lock.uv import _environment, find_wheels, platforms
from tests.equipment.http_server import Server
from tests.equipment.wheels import make_wheel

ARM64 = replace(AMD64, name="arm64", uname="aarch64", oci="arm64", manylinux=17)


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


def test_a_newer_python_than_this_one_counts(index: Path) -> None:
    """pip on Debian 12 left out what needs more than its own Python."""
    make_wheel(index, "lib", "1.0")
    make_wheel(index, "lib", "2.0", python=">=3.13")
    assert [wheel.version for wheel in resolve_wheels(["lib"], python="3.13")] == ["2.0"]
    assert [wheel.version for wheel in find_wheels(["lib"], python="3.11", architecture=AMD64, glibc=36)] == ["1.0"]


def test_most_specific_wheel_of_a_version_is_taken(index: Path) -> None:
    for tag in ("py3-none-any", "cp39-abi3-manylinux_2_17_x86_64", "cp313-cp313-manylinux_2_28_x86_64",
                "cp313-cp313-manylinux_2_17_x86_64", "cp313-cp313t-manylinux_2_28_x86_64",
                "cp313-cp313-manylinux_2_28_aarch64", "cp313-cp313-musllinux_1_2_x86_64"):  # fmt: skip
        make_wheel(index, "lib", "1.0", tag=tag)

    def taken(python: str, architecture: Architecture, glibc: int) -> str:
        (found,) = find_wheels(["lib"], python=python, architecture=architecture, glibc=glibc)
        return found.filename

    assert taken("3.13", AMD64, 41) == "lib-1.0-cp313-cp313-manylinux_2_28_x86_64.whl"
    assert taken("3.13", AMD64, 17) == "lib-1.0-cp313-cp313-manylinux_2_17_x86_64.whl"
    assert taken("3.12", AMD64, 36) == "lib-1.0-cp39-abi3-manylinux_2_17_x86_64.whl"
    assert taken("3.13", ARM64, 41) == "lib-1.0-cp313-cp313-manylinux_2_28_aarch64.whl"
    assert taken("3.12", ARM64, 41) == "lib-1.0-py3-none-any.whl"


def test_only_wheels_count(index: Path) -> None:
    make_wheel(index, "lib", "1.0")
    (index / "lib-2.0.tar.gz").write_bytes(b"")
    assert [wheel.version for wheel in resolve_wheels(["lib"])] == ["1.0"]


def test_uv_gets_pips_settings_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UV_INDEX", "https://mine.example/simple")
    monkeypatch.setenv("UV_PRERELEASE", "allow")
    indexes = ("https://user:secret@one.example/simple", "file:///srv/simple", "https://two.example/simple")
    settings = PipSettings(indexes, ("/srv/wheels",), "/srv/ca.pem", "http://proxy.example:3128")
    found = {name: value for name, value in _environment(settings, tmp_path).items() if name.startswith("UV_")}
    assert found == {
        "UV_SYSTEM_CERTS": "1",
        "UV_INDEX": "https://user:secret@one.example/simple file:///srv/simple",
        "UV_DEFAULT_INDEX": "https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"/srv/wheels,{tmp_path}",
    }
    environment = _environment(settings, None)
    assert (environment["SSL_CERT_FILE"], environment["ALL_PROXY"]) == ("/srv/ca.pem", "http://proxy.example:3128")


def test_an_index_is_asked_and_the_size_it_does_not_tell_is_looked_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_wheel(tmp_path, "lib", "1.0")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    server.put("/simple/lib/", f'<a href="/w/{path.name}#sha256={digest}">lib</a>'.encode(), "text/html")
    server.put(f"/w/{path.name}", path.read_bytes())
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", server.url("/simple"))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    (found,) = resolve_wheels(["lib"])
    assert (found.version, found.sha256, found.size) == ("1.0", digest, path.stat().st_size)


def test_nothing_asked_for() -> None:
    assert resolve_wheels([]) == ()


@pytest.mark.parametrize("requirement", ["nothing-of-this-name", "lib==9", "-r /etc/passwd", "--help"])
def test_no_such_wheels(index: Path, requirement: str) -> None:
    make_wheel(index, "lib", "1.0")
    with pytest.raises(CourseboxError) as caught:
        resolve_wheels(["lib", requirement])
    assert caught.value.message.startswith(f"there are no wheels for lib, {requirement} together: ")
    assert caught.value.hint is not None
    assert "only wheels" in caught.value.hint


def test_a_requirement_is_never_an_option(index: Path, tmp_path: Path) -> None:
    make_wheel(index, "lib", "1.0")
    (tmp_path / "more.txt").write_text("lib\n")
    with pytest.raises(CourseboxError, match=r"there are no wheels for -r .*more\.txt together: "):
        resolve_wheels([f"-r {tmp_path}/more.txt"])


def test_target() -> None:
    tags = platforms(AMD64, 41)
    assert tags[0] == "manylinux_2_41_x86_64"
    assert {"manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"} < set(tags)
    assert tags.index("manylinux_2_28_x86_64") < tags.index("manylinux2014_x86_64") < tags.index("linux_x86_64")
    assert platforms(ARM64, 18) == [
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
    debs = [Deb("python3-numpy", "1:2.2.4+ds-1", AMD64, "numpy", "main", "f", 1, "a")]
    assert provided_versions({"numpy": "python3-numpy"}, debs) == {"numpy": "2.2.4"}
    with pytest.raises(CourseboxError, match="count as provided and are not in the tree: python3-torch"):
        provided_versions({"torch": "python3-torch"}, debs)
