"""The tree inside the delivered OVA, in a container: the same files, without a boot."""

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
from testinfra.host import Host

from coursebox.course import Course, load_course
from coursebox.host.docker import ensure_engine
from coursebox.machine.docker import import_image
from coursebox.paths import CHECKOUT, Cache


@dataclass(frozen=True)
class Delivered:
    """What `make ova` left in dist/, and the sealed tree that it was made of (test_delivered.py proves that it was)."""

    course: Course
    report: dict[str, Any]
    ova: Path
    tree: Path
    tree_key: str
    disk: Path
    tools: Path
    tools_digest: str

    def members(self) -> dict[str, tarfile.TarInfo]:
        """Path → entry of the sealed tree."""
        with tarfile.open(self.tree, "r:") as tar:
            return {member.name: member for member in tar}


@pytest.fixture(scope="session")
def delivered() -> Delivered:
    course = load_course(Path(os.environ.get("COURSE") or CHECKOUT / "course.toml"))
    name = f"{course.name}-{course.version}"
    report = json.loads((CHECKOUT / "dist" / f"{name}.report.json").read_text(encoding="utf-8"))
    stages = {stage["name"]: stage for stage in report["stages"]}
    folder = Cache.from_environment().stages

    def file(stage: str, result: str) -> Path:
        return folder / stage / stages[stage]["key"] / result

    return Delivered(
        course,
        report,
        CHECKOUT / "dist" / report["file"]["name"],
        file("course", "tree.tar"),
        stages["course"]["key"],
        file("disk", "disk.raw"),
        file("tools", "tree.tar"),
        stages["tools"]["files"]["tree.tar"],
    )


@pytest.fixture(scope="session")
def members(delivered: Delivered) -> dict[str, tarfile.TarInfo]:
    return delivered.members()


@pytest.fixture(scope="session")
def tools_image(delivered: Delivered, tmp_path_factory: pytest.TempPathFactory) -> str:
    image = f"coursebox-tools:{delivered.tools_digest[:32]}"
    import_image(delivered.tools, image, log=tmp_path_factory.mktemp("log") / "tools.log")
    return image


@pytest.fixture(scope="session")
def container(delivered: Delivered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running container of the sealed tree, without network; its name."""
    ensure_engine()
    image = f"coursebox-sealed:{delivered.tree_key}"
    import_image(delivered.tree, image, log=tmp_path_factory.mktemp("log") / "sealed.log")
    name = f"coursebox-content-{uuid.uuid4().hex[:8]}"
    subprocess.run(
        ["docker", "run", "--detach", "--rm", "--network", "none", "--name", name, "--label", "org.coursebox.test",
         "--volume", f"{CHECKOUT}:/checkout:ro", image, "sleep", "infinity"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    yield name
    subprocess.run(["docker", "rm", "--force", name], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["docker", "rmi", image], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def host(container: str) -> Host:
    return testinfra.get_host(f"docker://{container}")
