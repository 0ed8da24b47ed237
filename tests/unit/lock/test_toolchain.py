"""The builder's own Python packages: the resolution for two Pythons, and the files that it wrote."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from coursebox.architecture import PYTHONS
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.lock.toolchain import lock_toolchain
from tests.equipment.wheels import make_wheel

REQUIRES = {
    "app": ("1.0", "lib[speed]>=1", 'only313; python_version >= "3.13"', 'windows; sys_platform == "win32"'),
    "lib": ("2.0", "leaf", 'fast; extra == "speed"'),
    "leaf": ("3.0",),
    "only313": ("4.0", "deep"),
    "deep": ("5.0",),
    "fast": ("6.0",),
    "checker": ("7.0", "leaf"),
}


@pytest.fixture
def checkout(tmp_path: Path, index: Path) -> Path:
    """A checkout that asks for app and checker; app has a wheel for each Python, and each Python could have another."""
    for name, (version, *requires) in REQUIRES.items():
        tags = [f"cp{python.replace('.', '')}-cp{python.replace('.', '')}-manylinux_2_17_x86_64" for python in PYTHONS]
        for tag in tags if name == "app" else ["py3-none-any"]:
            make_wheel(index, name, version, *requires, tag=tag)
    make_wheel(index, "leaf", "3.1", python=">=3.12")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["app>=1"]\n[project.optional-dependencies]\ntest = ["checker"]\n', encoding="utf-8"
    )
    return tmp_path


def names(file: Path) -> list[str]:
    return re.findall(r"^([a-z0-9-]+)==", file.read_text(encoding="utf-8"), re.MULTILINE)


def test_each_package_is_in_one_file(checkout: Path) -> None:
    lock_toolchain(checkout)
    assert names(checkout / "locks/host/requirements-build.txt") == ["app", "deep", "fast", "leaf", "lib", "only313"]
    assert names(checkout / "locks/host/requirements-test.txt") == ["checker"]


def test_a_package_has_the_digests_of_both_pythons_each_once(checkout: Path) -> None:
    lock_toolchain(checkout)
    text = (checkout / "locks/host/requirements-build.txt").read_text(encoding="utf-8")
    blocks = {block.partition("==")[0]: block for block in re.split(r"\n(?=\S)", text)}
    assert re.fullmatch(r"leaf==3\.0 \\\n    --hash=sha256:[0-9a-f]{64}", blocks["leaf"])
    assert blocks["app"].count("--hash=sha256:") == 2
    assert blocks["only313"].count("--hash=sha256:") == 1


def test_a_package_without_a_wheel_is_named(checkout: Path, index: Path) -> None:
    next(index.glob("deep-*")).unlink()
    with pytest.raises(CourseboxError) as caught:
        lock_toolchain(checkout)
    assert "there are no wheels for app>=1, checker together: " in caught.value.message
    assert "deep was not found" in caught.value.message
    assert not (checkout / "locks").exists()


def test_the_locks_of_this_checkout_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    build = CHECKOUT / "locks" / "host" / "requirements-build.txt"
    test = CHECKOUT / "locks" / "host" / "requirements-test.txt"
    for wanted, file in ((project["dependencies"], build), (project["optional-dependencies"]["test"], test)):
        text = file.read_text(encoding="utf-8")
        locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+) ", text, re.MULTILINE))
        for requirement in map(Requirement, wanted):
            assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)])
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", text)) >= len(locked)
        assert "://" not in text
    assert not set(names(build)) & set(names(test))
