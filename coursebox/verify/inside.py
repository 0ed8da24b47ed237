"""Run tests/inside inside a delivered tree: as the student, with the tree's Python, without network.

pytest comes from the test environment; everything else is what students get.
"""

from __future__ import annotations

import subprocess
import sysconfig
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.host.dockerd import ensure_engine
from coursebox.host.engine import import_image
from coursebox.verify import outcomes

DATA = "/usr/share/coursebox/data"
LABS = "/usr/share/coursebox/labs"
SELFTEST = "/usr/lib/coursebox/selftest"
GRADING = "/usr/lib/coursebox/grading"
PYTHON = "/opt/jupyter/bin/python"
REPORT = "/tmp/report.xml"
_PYTEST = ("pytest", "_pytest", "py.py", "pluggy", "iniconfig", "xdist", "execnet")
_DISTRIBUTIONS = ("pytest", "pluggy", "iniconfig", "pytest-xdist", "execnet")


@dataclass(frozen=True)
class Inside:
    """A delivered tree that can be started as a container.

    image: its name in the engine, or the name that `tree`, a tar of the whole tree, gets there for the time of the
    tests. user: the student's account in it.
    """

    image: str
    user: str
    tree: Path | None = None


def run_inside(inside: Inside, arguments: Sequence[str], report: Path, output: IO[bytes], *, only: str = "") -> int:
    """Run pytest with `arguments` in a new container; its exit status. `report` gets the JUnit report.

    only: numbers of labs, separated by spaces; all labs when empty.
    """
    with _container(inside, output) as name:
        command = [
            "docker", "exec", "--user", inside.user, "--workdir", "/checkout",
            "--env", "OMP_WAIT_POLICY=PASSIVE",  # as in every session of the tree
            "--env", "PYTHONPATH=/tmp/pytest", "--env", "PYTHONDONTWRITEBYTECODE=1", "--env", "MPLCONFIGDIR=/tmp/mpl",
            "--env", f"COURSEBOX_TEST_DATA={DATA}", "--env", f"COURSEBOX_TEST_LABS={LABS}",
            "--env", f"COURSEBOX_TEST_SELFTEST={SELFTEST}", "--env", f"COURSEBOX_TEST_GRADING={GRADING}",
            "--env", f"COURSEBOX_TEST_ONLY={only}",
            name, PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", *outcomes.options(REPORT), *arguments,
        ]  # fmt: skip
        status = subprocess.run(command, stdout=output, stderr=output, check=False).returncode
        written = subprocess.run(["docker", "exec", name, "cat", REPORT], capture_output=True, check=False)
        report.write_bytes(written.stdout)
    return status


def pytest_versions() -> dict[str, str]:
    """What goes into the tree for the tests: distribution → version; "" for one that is not installed here."""
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


@contextmanager
def _container(inside: Inside, output: IO[bytes]) -> Iterator[str]:
    """A container with pytest in /tmp/pytest and the checkout, read-only, in /checkout; its name."""
    ensure_engine()
    image = inside.image
    if inside.tree is not None:
        image = f"{image}-{uuid.uuid4().hex[:8]}"
        import_image(inside.tree, image, log=Path(output.name))
    name = f"coursebox-inside-{uuid.uuid4().hex[:8]}"
    try:
        _docker("run", "--detach", "--rm", "--network", "none", "--name", name, "--label", "org.coursebox.test",
                "--user", "root", "--entrypoint", "sleep", "--volume", f"{CHECKOUT}:/checkout:ro", image,
                "infinity")  # fmt: skip
        _docker("exec", name, "mkdir", "-p", "/tmp/pytest")
        _docker("exec", "--interactive", name, "tar", "--extract", "--directory", "/tmp/pytest", stdin=_pytest())
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)
        if inside.tree is not None:
            subprocess.run(["docker", "rmi", image], capture_output=True, check=False)


def _pytest() -> bytes:
    """pytest and its plug-in for several processes, which is found by its entry point, as a tar."""
    library = Path(sysconfig.get_path("purelib"))
    plugins = [path.name for path in library.glob("pytest_xdist-*.dist-info")]
    command = ["tar", "--create", "--directory", str(library), *_PYTEST, *plugins]
    return subprocess.run(command, check=True, capture_output=True).stdout


def _docker(*words: str, stdin: bytes | None = None) -> None:
    done = subprocess.run(["docker", *words], input=stdin, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise CourseboxError(f"docker {words[0]} failed: {said}", hint="`docker info` tells how the engine does.")
