"""The delivered OVA, and a real VirtualBox to import it with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from equipment.ova import Ova, extract_disk, open_ova
from equipment.virtualbox import VirtualBox, open_virtualbox, unpacked

from coursebox.core.paths import CHECKOUT, Cache
from coursebox.course import Course, load_course


@pytest.fixture(scope="session")
def course() -> Course:
    """The course that was built."""
    return load_course(CHECKOUT / os.environ.get("COURSE", "course.toml"))


@pytest.fixture(scope="session")
def ova(course: Course) -> Ova:
    """The OVA of $COURSEBOX_OVA, else of this course in dist/; its digests were checked."""
    chosen = os.environ.get("COURSEBOX_OVA")
    path = Path(chosen).resolve() if chosen else CHECKOUT / "dist" / f"{course.name}-{course.version}.ova"
    assert path.is_file(), f"there is no {path}: build it with make ova, or name another one in COURSEBOX_OVA"
    return open_ova(path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Room for some copies of the disk; emptied at the end, and not when pytest thinks of it."""
    path = tmp_path_factory.mktemp("appliance")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def raw(ova: Ova, folder: Path) -> Path:
    """The disk in the OVA as this project's own reader finds it."""
    extract_disk(ova, folder / "disk.raw")
    return folder / "disk.raw"


@pytest.fixture(scope="session")
def make_virtualbox(folder: Path) -> Callable[[str, Path], VirtualBox]:
    """(name, folder with an OVA) → VirtualBox with an empty list of machines, kept under that name."""
    unpacked(Cache.from_environment())

    def make(name: str, shared: Path) -> VirtualBox:
        scratch = folder / name
        scratch.mkdir()
        return open_virtualbox(scratch, shared)

    return make
