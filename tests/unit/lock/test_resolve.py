"""make lock: requests from packages.toml and the course, resolved and written; nothing half."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace as Some
from typing import Any

import pytest

from coursebox.archives.apt import AptMirrors
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.lock import resolve as lock_module
from coursebox.lock.lockfile import Deb, Request, Wheel, read_locks
from coursebox.lock.resolve import lock_course, make_locks, read_requests
from coursebox.lock.resolve_debs import Candidate

PACKAGES = """\
[tools]
debian = ["mmdebstrap"]
[common]
debian = ["python3"]
python = ["jupyterlab"]
[vm]
debian = ["python3-numpy"]
provided = { numpy = "python3-numpy" }
[host]
packer = { package = "packer", suite = "bookworm" }
"""
MIRRORS = AptMirrors(("http://mirror.example/debian",), ())


class Played:
    """An archive whose packages are exactly those that are asked for."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.dates = {suite: 1_000_000, f"{suite}-security": 1_200_000}

    def resolve(self, packages: Sequence[str]) -> list[Candidate]:
        return [self.single(package) for package in packages]

    def single(self, package: str) -> Candidate:
        if package == "conflict":
            raise CourseboxError("conflict")
        return Candidate(Deb(package, f"1:2.2.4+ds-1~{self.suite}", "amd64", package, "main", "pool/x", 1, "a"), "")


@pytest.fixture
def wheels_asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    asked: list[Any] = []

    @contextmanager
    def opened(suite: str, architecture: str, **options: Any) -> Iterator[Played]:
        assert (architecture, options) == ("amd64", {"mirrors": MIRRORS})
        yield Played(suite)

    def resolve_wheels(requirements: Sequence[str], **options: Any) -> tuple[Wheel, ...]:
        asked.append((tuple(requirements), options))
        return (Wheel("jupyterlab", "4", "jupyterlab-4.whl", 1, "b"),)

    monkeypatch.setattr(lock_module, "open_archive", opened)
    monkeypatch.setattr(lock_module, "resolve_wheels", resolve_wheels)
    monkeypatch.setattr(lock_module, "read_apt", lambda: MIRRORS)
    return asked


@pytest.fixture
def course(tmp_path: Path) -> Any:
    return Some(
        packages=Some(debian=("graphviz",), python=("seaborn>=0.13",)),
        data=Some(sets=("mnist",)),
        locks=Some(folder=tmp_path / "meine Locks"),
        source=tmp_path / "course.toml",
    )


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    (tmp_path / "packages.toml").write_text(PACKAGES)
    return tmp_path / "packages.toml"


def test_course_adds_to_the_machine_and_not_to_the_tools(course: Any, packages: Path) -> None:
    assert read_requests(course, packages) == {
        "tools": Request(("mmdebstrap",)),
        "vm": Request(
            ("graphviz", "python3", "python3-numpy"), ("jupyterlab", "seaborn>=0.13"), {"numpy": "python3-numpy"}
        ),
        "host": Request(("packer/bookworm",)),
    }


def test_the_projects_own_packages_are_readable(course: Any) -> None:
    requests = read_requests(course)
    assert set(requests) == {"tools", "vm", "cpu", "cuda", "host"}
    assert "graphviz" in requests["vm"].debian
    assert all(request.debian for request in requests.values())


@pytest.mark.parametrize("kind", ["debs", "wheels"])
@pytest.mark.parametrize("other", ["cpu", "cuda"])
def test_what_two_trees_hold_has_one_version(course: Any, kind: str, other: str) -> None:
    """A student finds the same JupyterLab, and the same libraries, on the course machine and in each container."""
    locks = read_locks(CHECKOUT / "locks")
    vm, image = (
        {getattr(item, "package", None) or item.name: item.version for item in getattr(locks, kind)[tree]}
        for tree in ("vm", other)
    )
    shared = vm.keys() & image.keys()
    assert len(shared) > 80
    assert {name: vm[name] for name in shared} == {name: image[name] for name in shared}


def test_a_table_that_others_take_in_is_no_tree(course: Any, packages: Path) -> None:
    packages.write_text(
        '[tools]\ndebian = ["apt"]\n[shared]\ndebian = ["tini"]\npython = ["hub"]\n'
        '[one]\ntakes = ["shared"]\ndebian = ["sudo"]\n[two]\ntakes = ["shared"]\n'
    )
    requests = read_requests(course, packages)
    assert set(requests) == {"tools", "one", "two", "host"}
    assert {"tini", "sudo", "graphviz"} == set(requests["one"].debian)
    assert {"tini", "graphviz"} == set(requests["two"].debian) and "hub" in requests["two"].python


def test_a_table_that_is_taken_in_and_missing_is_a_sentence(course: Any, packages: Path) -> None:
    packages.write_text('[one]\ntakes = ["shard"]\n[shared]\ndebian = ["tini"]\n')
    with pytest.raises(CourseboxError, match=r"packages\.toml takes in shard, and has no such table") as caught:
        read_requests(course, packages)
    assert caught.value.hint == "tables are: one, shared"


def test_everything_is_locked(course: Any, packages: Path, wheels_asked: list[Any]) -> None:
    locks = make_locks(course, read_requests(course, packages), course.locks.folder)
    assert read_locks(course.locks.folder) == locks
    assert [deb.package for deb in locks.debs["vm"]] == ["graphviz", "python3", "python3-numpy"]
    assert locks.debs["tools"][0].version.endswith("~trixie")
    assert [(deb.package, deb.version[-8:]) for deb in locks.tools] == [("packer", "bookworm")]
    assert "host" not in locks.debs
    assert list(locks.wheels) == ["vm"]
    assert {item.set for item in locks.data} == {"mnist"}
    assert (locks.epoch, locks.snapshot) == (1_000_000, "19700114T212000Z")
    ((requirements, options),) = wheels_asked
    assert requirements == ("jupyterlab", "seaborn>=0.13")
    assert options["provided"] == {"numpy": "2.2.4"}


def test_epoch_may_be_given(course: Any, packages: Path, wheels_asked: list[Any]) -> None:
    assert make_locks(course, read_requests(course, packages), course.locks.folder, 77).epoch == 77


def test_nothing_is_written_when_something_cannot_be_resolved(
    course: Any, packages: Path, wheels_asked: list[Any]
) -> None:
    requests = {**read_requests(course, packages), "cuda": Request(("conflict",))}
    with pytest.raises(CourseboxError, match="conflict"):
        make_locks(course, requests, course.locks.folder)
    assert not course.locks.folder.exists()


def test_lock_course_writes_where_the_course_says(
    course: Any, wheels_asked: list[Any], packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "read_requests", lambda course: read_requests(course, packages))
    assert lock_course(course) == read_locks(course.locks.folder)
