"""The compose file and the Dockerfile that people start from."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from containers import docker, run_once, write

from coursebox.core.paths import CHECKOUT

DOCKER = CHECKOUT / "docker"
EXTEND = DOCKER / "examples" / "extend" / "Dockerfile"


@pytest.fixture(scope="module")
def compose() -> dict:
    """The compose file, with its merge keys resolved."""
    return yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))


def test_compose_has_one_service_with_a_gpu_and_one_without(compose: dict) -> None:
    services = compose["services"]
    assert {name: service["profiles"] for name, service in services.items()} == {"gpu": ["gpu"], "cpu": ["cpu"]}
    [device] = services["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert "deploy" not in services["cpu"]
    images = {name: service["image"] for name, service in services.items()}
    assert images == {"gpu": "${COURSE_IMAGE:-deep-learning:latest}", "cpu": "${COURSE_IMAGE:-deep-learning:cpu}"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])  # never an open port
        assert service["shm_size"] == "2gb" and "home:/home/student" in service["volumes"]
    assert set(compose["volumes"]) == {"home"}


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
def test_compose_is_valid(profile: str, tmp_path: Path) -> None:
    """By Compose itself where it is installed; the check of the structure above holds everywhere."""
    command = next(
        (words for words in (["docker", "compose"], ["docker-compose"])
         if shutil.which(words[0]) and subprocess.run([*words, "version"], capture_output=True).returncode == 0),
        None,
    )  # fmt: skip
    if command is None:
        names = re.findall(r"\$\{(\w+):-[\w.:-]+\}", (DOCKER / "compose.yaml").read_text(encoding="utf-8"))
        assert sorted(set(names)) == ["COURSE_GID", "COURSE_IMAGE", "COURSE_PORT", "COURSE_UID"]
        return
    done = subprocess.run(
        [*command, "--file", DOCKER / "compose.yaml", "--profile", profile, "config"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "COURSE_PORT": "9999"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "9999" in done.stdout and f"  {profile}:" in done.stdout


def wheel(folder: Path, name: str, version: str, *requirements: str) -> None:
    """A package with one module, by hand, so that no index is needed (PEP 427)."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {requirement}\n" for requirement in requirements),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(path, text)


def debian_package(folder: Path, name: str) -> None:
    """A Debian package with one command, and the index of its folder (Debian Policy, chapter 5)."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr" / "bin").mkdir(parents=True)
    control = (
        f"Package: {name}\nVersion: 99\nArchitecture: all\nMaintainer: test <test@example.org>\nDescription: test\n"
    )
    (tree / "DEBIAN" / "control").write_text(control)
    write(tree / "usr" / "bin" / "dot", "#!/bin/sh\necho a picture\n", 0o755)
    package = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True, capture_output=True)
    shutil.rmtree(tree)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    index = f"{control}Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n"
    (folder / "Packages").write_text(index)


@pytest.fixture(scope="module")
def offline(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image, with apt and pip pointed to two folders inside of it: what the example downloads is there."""
    context = tmp_path_factory.mktemp("offline")
    (context / "debian").mkdir()
    (context / "python").mkdir()
    debian_package(context / "debian", "graphviz")
    wheel(context / "python", "graphviz", "0.21", "torch")
    wheel(context / "python", "torch", "99.0")
    wheel(context / "python", "greedy", "1.0", "torch>=99")
    write(context / "sources.list", "deb [trusted=yes] file:/offline/debian ./\n")
    write(
        context / "Dockerfile",
        f"FROM {image}\nUSER root\n"
        "COPY debian /offline/debian\nCOPY python /offline/python\n"
        "RUN rm /etc/apt/sources.list.d/*\nCOPY sources.list /etc/apt/sources.list\n"
        "ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/offline/python\nUSER 1000\n",
    )
    name = f"test-coursebox-offline:{uuid.uuid4().hex[:8]}"
    build(context, name)
    yield name
    docker("rmi", "--force", name)


@pytest.fixture(scope="module")
def extended(offline: str) -> Iterator[str]:
    name = f"test-coursebox-extended:{uuid.uuid4().hex[:8]}"
    build(EXTEND.parent, name, "--build-arg", f"IMAGE={offline}")
    yield name
    docker("rmi", "--force", name)


def build(context: Path, name: str, *options: str) -> None:
    """docker build without network; with the engine's own builder, for not every client has BuildKit's."""
    done = subprocess.run(
        ["docker", "build", "--network", "none", "--tag", name, *options, context],
        capture_output=True, text=True, env={**os.environ, "DOCKER_BUILDKIT": "0"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_example_builds_and_both_packages_work(extended: str) -> None:
    code = "import subprocess, graphviz; print(graphviz.VERSION, subprocess.check_output(['dot'], text=True))"
    done = run_once(extended, "python", "-c", code)
    assert (done.status, done.out.split()) == (0, ["0.21", "a", "picture"])


def test_the_extended_image_still_runs_as_the_student(extended: str) -> None:
    assert run_once(extended, "id", "-un").out == "student\n"


@pytest.fixture(scope="module")
def with_files(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with files in the home, as an instructor adds his own."""
    context = tmp_path_factory.mktemp("files")
    write(context / "copied.py", "print('copied')\n")
    write(
        context / "Dockerfile",
        f"FROM {image}\nCOPY --chown=1000:100 copied.py /home/student/own/\n"
        "RUN echo made > /home/student/own/made.txt\n",
    )
    name = f"test-coursebox-files:{uuid.uuid4().hex[:8]}"
    build(context, name)
    yield name
    docker("rmi", "--force", name)


@pytest.mark.parametrize("mount", [False, True], ids=["without-volume", "in-a-new-volume"])
def test_files_that_a_derived_image_puts_into_the_home_stay(with_files: str, volume: str, mount: bool) -> None:
    """The base has no volume there, which would swallow them; the engine copies them into a new one of the user's."""
    options = ["--volume", f"{volume}:/home/student"] if mount else []
    done = run_once(with_files, "sh", "-c", "cd; python own/copied.py; cat own/made.txt; ls -d labs", options=options)
    assert (done.status, done.out, done.err) == (0, "copied\nmade\nlabs\n", "")


def test_torch_is_not_replaced(image: str, extended: str) -> None:
    version = ("python", "-c", "import importlib.metadata as m; print(m.version('torch'))")
    assert run_once(extended, *version).out == run_once(image, *version).out


def test_a_package_that_wants_another_torch_is_refused(offline: str) -> None:
    """The students' own pip install, too."""
    constrained = "torch==" in run_once(offline, "cat", "/usr/share/coursebox/constraints.txt").out
    assert constrained
    done = run_once(offline, "pip", "install", "greedy")
    assert done.status == 1
    assert "ResolutionImpossible" in done.err or "conflict" in done.err


def test_a_students_own_package_lands_in_the_home(offline: str, volume: str) -> None:
    """pip install in a notebook: it stays with the volume, and needs no root."""
    mount = ["--volume", f"{volume}:/home/student"]
    assert run_once(offline, "pip", "install", "--quiet", "graphviz", options=mount).status == 0
    found = run_once(offline, "python", "-c", "import graphviz; print(graphviz.__file__)", options=mount)
    assert found.out.startswith("/home/student/.local/lib/python3")
