"""The image under test, and containers of it that are watched and removed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

# pytest's importlib mode puts no folder of tests on the search path.
sys.path.insert(0, str(Path(__file__).parent))

from containers import Container, docker

from coursebox.core.paths import CHECKOUT
from coursebox.course import Course, load_course

Start = Callable[..., Container]


@pytest.fixture(scope="session")
def course() -> Course:
    return load_course(Path(os.environ.get("COURSE") or CHECKOUT / "course.toml"))


@pytest.fixture(scope="session")
def device() -> str:
    """What the PyTorch of the image is made for, "cpu" or "cuda": the target is `$COURSEBOX_TEST_TARGET`, or that for
    CUDA. The table of targets is not asked, or an edit of any format would open these tests.
    """
    return {"image": "cpu", "image-cuda": "cuda"}[os.environ.get("COURSEBOX_TEST_TARGET") or "image-cuda"]


@pytest.fixture(scope="session")
def image(course: Course, device: str) -> str:
    """Name of the image in the engine: `$COURSEBOX_TEST_IMAGE`, else what `make build` has loaded."""
    built = f"{course.name}:{course.version}" + ("-cpu" if device == "cpu" else "")
    name = os.environ.get("COURSEBOX_TEST_IMAGE") or built
    found = subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False)
    assert found.returncode == 0, f"the engine has no image {name}: run make build TARGETS=image, or make docker"
    return name


@pytest.fixture(scope="session")
def archive(course: Course, device: str) -> Path:
    """The delivered file."""
    return CHECKOUT / "dist" / f"{course.name}-{course.version}-{device}.oci.tar"


def containers(image: str) -> Iterator[Start]:
    started: list[Container] = []

    def start(*command: str, options: Sequence[str] = (), allowed: Sequence[str] = ()) -> Container:
        container = Container(image, command, tuple(options), list(allowed))
        started.append(container)
        return container.start()

    yield start
    alarms = {}
    for container in started:
        alarms[container.name] = container.alarms()
        container.remove()
    assert not any(alarms.values()), f"lines that a healthy container does not write: {alarms}"


@pytest.fixture
def start(image: str, request: pytest.FixtureRequest) -> Iterator[Start]:
    """A function that starts a container; at the end the test fails on any alarming line that it did not allow."""
    if "volume" in request.fixturenames:
        request.getfixturevalue("volume")  # made before, so removed after its containers
    yield from containers(image)


@pytest.fixture(scope="module")
def start_shared(image: str) -> Iterator[Start]:
    """The same, for containers that the tests of one file share."""
    yield from containers(image)


@pytest.fixture
def volume() -> Iterator[str]:
    """A new, empty volume."""
    name = docker("volume", "create", "--label", "org.coursebox.test").strip()
    yield name
    docker("volume", "rm", "--force", name)
