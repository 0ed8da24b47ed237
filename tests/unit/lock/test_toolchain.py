"""The builder's own Python packages: the resolution for two Pythons, and the files that it wrote."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.host import toolchain
from coursebox.host.toolchain import Locked, lock_toolchain

# name → (version, what it requires); "only313" is what a pip under Python 3.11 never asks for.
WORLD = {
    "app": ("1.0", ("lib[speed]>=1", 'only313; python_version >= "3.13"', 'windows; sys_platform == "win32"')),
    "lib": ("2.0", ("leaf", 'fast; extra == "speed"')),
    "leaf": ("3.0", ()),
    "only313": ("4.0", ("deep",)),
    "deep": ("5.0", ()),
    "fast": ("6.0", ()),
    "checker": ("7.0", ("leaf",)),
}


def world(python: str, wanted: list[str], versions: Mapping[str, str]) -> dict[str, Locked]:
    """Resolve in `WORLD` as pip does: markers as of Python 3.11, whatever Python is asked for."""
    found: dict[str, Locked] = {}
    queue = [(Requirement(text), "") for text in wanted]
    while queue:
        requirement, extra = queue.pop()
        environment = {"python_version": "3.11", "sys_platform": "linux", "extra": extra}
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        name = canonicalize_name(requirement.name)
        version, requires = WORLD[name]
        assert versions.get(name, version) == version
        digest = "f" * 64 if name == "leaf" else f"{name}-{python}".encode().hex().ljust(64, "0")
        found[name] = Locked(name, version, digest, requires)
        queue += [(Requirement(text), inner) for text in requires for inner in ("", *requirement.extras)]
    return found


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["app>=1"]\n[project.optional-dependencies]\ntest = ["checker"]\n', encoding="utf-8"
    )
    monkeypatch.setattr(toolchain, "_resolve", world)
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
    assert blocks["leaf"] == f"leaf==3.0 \\\n    --hash=sha256:{'f' * 64}"
    assert blocks["app"].count("--hash=sha256:") == 2
    assert blocks["only313"].count("--hash=sha256:") == 1


def test_a_package_without_a_wheel_is_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(python: str, wanted: list[str], versions: Mapping[str, str]) -> dict[str, Locked]:
        return {name: locked for name, locked in world(python, wanted, versions).items() if name != "deep"}

    monkeypatch.setattr(toolchain, "_resolve", without)
    with pytest.raises(CourseboxError) as caught:
        lock_toolchain(checkout)
    assert str(caught.value) == "pyproject.toml: no wheel of deep for Python 3.13"
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
