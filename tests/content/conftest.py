"""What is inside the delivered files, looked at in containers: the OVA's tree without a boot, and the image as it is.

Promises that both keep are tested on both, in the same words, so that the two cannot drift apart. A module about one of
them says so: `pytestmark = pytest.mark.parametrize("place", ["vm"], indirect=True)`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
from equipment.oci import merged
from testinfra.host import Host

from coursebox.core.paths import CHECKOUT, Cache
from coursebox.course import Course, load_course
from coursebox.formats.oci.about import VARIANTS
from coursebox.formats.oci.config import image_names
from coursebox.formats.table import OWN
from coursebox.host.dockerd import ensure_engine
from coursebox.host.engine import image_name, import_image
from coursebox.target import Target

Members = dict[str, tarfile.TarInfo]
# Tree → the first format of the table that delivers it: the trees are asked the same questions.
DELIVERED = {each.tree: each for each in reversed(OWN)}


@dataclass(frozen=True)
class Place:
    """A delivered file and what its report says: kind "vm" (the OVA), "cpu" or "cuda" (the images)."""

    kind: str
    course: Course
    report: dict[str, Any]
    file: Path

    @property
    def user(self) -> str:
        """The student's account in it."""
        return self.course.user.name if self.kind == "vm" else self.course.container.user

    @property
    def group(self) -> str:
        return self.user if self.kind == "vm" else "users"

    @property
    def image(self) -> str:
        """Name of the image in the engine, of an image."""
        return image_names(self.course.name, self.course.version, VARIANTS[self.kind])[0] if self.kind != "vm" else ""

    def result(self, stage: str, name: str) -> Path:
        """A result file of one of its stages, in the cache."""
        (found,) = [made for made in self.report["stages"] if made["name"] == stage]
        return Cache.from_environment().stages / stage / found["key"] / name


@pytest.fixture(scope="session", params=sorted(DELIVERED, reverse=True))
def place(request: pytest.FixtureRequest) -> Place:
    course = load_course(Path(os.environ.get("COURSE") or CHECKOUT / "course.toml"))
    place = CHECKOUT / "dist" / Target(DELIVERED[request.param]).beside(course, "report.json")
    report = json.loads(place.read_text(encoding="utf-8"))
    return Place(request.param, course, report, CHECKOUT / "dist" / report["file"]["name"])


@pytest.fixture(scope="session")
def members(place: Place) -> Members:
    """Path → entry: of the sealed tree (test_delivered.py proves that it is the OVA's), or of the image's layers."""
    if place.kind != "vm":
        return merged(place.file)
    with tarfile.open(place.result("course-vm", "tree.tar"), "r:") as tar:
        return {member.name: member for member in tar}


@pytest.fixture(scope="session")
def tools_image(place: Place, tmp_path_factory: pytest.TempPathFactory) -> str:
    tree = place.result("tools", "tree.tar")
    image = image_name("tools", tree.parent.name)
    import_image(tree, image, log=tmp_path_factory.mktemp("log") / "tools.log")
    return image


@pytest.fixture(scope="session")
def container(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running container of the tree, or of the image, with root and without network; its name."""
    ensure_engine()
    image = place.image
    if place.kind == "vm":
        image = f"coursebox-sealed:{uuid.uuid4().hex[:8]}"
        import_image(place.result("course-vm", "tree.tar"), image, log=tmp_path_factory.mktemp("log") / "sealed.log")
    name = f"coursebox-content-{uuid.uuid4().hex[:8]}"
    subprocess.run(
        ["docker", "run", "--detach", "--rm", "--network", "none", "--name", name, "--label", "org.coursebox.test",
         "--user", "root", "--entrypoint", "sleep", "--volume", f"{CHECKOUT}:/checkout:ro", image, "infinity"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    yield name
    subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, stdout=subprocess.DEVNULL)
    if place.kind == "vm":
        subprocess.run(["docker", "rmi", image], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def host(container: str) -> Host:
    return testinfra.get_host(f"docker://{container}")
