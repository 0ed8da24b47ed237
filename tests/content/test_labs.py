"""The labs in both products, on the product's own torch and data, without network.

tests/labs runs inside the tree, as the student, with the tree's Python; pytest comes from the test environment.
"""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

from coursebox.paths import CHECKOUT
from coursebox.stage import is_litter

DATA = "/usr/share/coursebox/data"
LABS = "/usr/share/coursebox/labs"
SELFTEST = "/usr/lib/coursebox/selftest"
PYTHON = "/opt/jupyter/bin/python"
LAB_TESTS = CHECKOUT / "tests" / "labs"
PYTEST = ["pytest", "_pytest", "py.py", "pluggy", "iniconfig", "xdist", "execnet"]

# Two processes share the tests in this order, the long ones first.
MODULES = [
    "targets", "selftest_cpu", "grading", "selftest_fast", "checking_notebook", "examples", "selftest_gpu_rows",
    "each_lab", "checking_runs", "checking_messages", "prologue", "prologue_data",
]  # fmt: skip


@pytest.fixture
def with_pytest(container: str) -> str:
    """The container, with pytest in /tmp/pytest."""
    library = Path(sysconfig.get_path("purelib"))
    plugins = [path.name for path in library.glob("pytest_xdist-*.dist-info")]  # a plug-in is found by its entry point
    tar = subprocess.run(
        ["tar", "--create", "--directory", library, *PYTEST, *plugins], check=True, capture_output=True
    )
    subprocess.run(["docker", "exec", container, "mkdir", "-p", "/tmp/pytest"], check=True)
    subprocess.run(
        ["docker", "exec", "--interactive", container, "tar", "--extract", "--directory", "/tmp/pytest"],
        input=tar.stdout, check=True,
    )  # fmt: skip
    return container


def test_labs_prologue_examples_and_selftest(with_pytest: str, place):
    """All of tests/labs, and no test of it skipped."""
    assert {f"test_{name}.py" for name in MODULES} == {path.name for path in LAB_TESTS.glob("test_*.py")}
    command = [
        "docker", "exec", "--user", place.user, "--workdir", "/checkout",
        "--env", "PYTHONPATH=/tmp/pytest", "--env", "PYTHONDONTWRITEBYTECODE=1", "--env", "MPLCONFIGDIR=/tmp/mpl",
        "--env", f"COURSEBOX_TEST_DATA={DATA}", "--env", f"COURSEBOX_TEST_LABS={LABS}",
        "--env", f"COURSEBOX_TEST_SELFTEST={SELFTEST}",
        with_pytest, PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=15",
        "--numprocesses=2", "--dist=loadgroup", "--no-loadscope-reorder",
        *(f"tests/labs/test_{name}.py" for name in MODULES),
    ]  # fmt: skip
    log = CHECKOUT / "build" / f"test-labs-{place.kind}.log"  # to be followed while it grows
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=output, check=False)
    said = log.read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, said[-6000:]
    assert " passed" in said and " skipped" not in said, said[-2000:]


def test_no_solution_reaches_a_student(host, members):
    ours = [Path(name) for name in members if name.startswith(("usr/share/coursebox/", "home/"))]
    assert [path for path in ours if path.name in ("solutions", "mutants.py", "labkit.py")] == []
    marked = host.run("grep -rlE 'BEGIN SOLUTION|END SOLUTION' /usr/share/coursebox /home")
    assert marked.stdout == "" and marked.rc == 1


def test_labs_are_those_of_the_course_and_writable(host, place, members):
    folder: Path = place.course.labs.folder
    wanted = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")
              if path.is_file() and not is_litter(path.relative_to(folder))}  # fmt: skip
    pristine, home = f"{LABS[1:]}/", f"home/{place.user}/labs/"
    # A container fills its home when it starts: tests/container has that.
    for top in [pristine, home][: 2 if place.kind == "vm" else 1]:
        assert {n.removeprefix(top) for n, m in members.items() if n.startswith(top) and m.isreg()} == set(wanted)
    for name, path in wanted.items():
        assert host.file(f"/{pristine}{name}").content == path.read_bytes()
    for name, path in wanted.items() if place.kind == "vm" else ():
        assert members[home + name].uid == 1000 and members[home + name].mode & 0o200
        assert host.file(f"/{home}{name}").content == path.read_bytes()


@pytest.mark.parametrize("place", ["vm"], indirect=True)
def test_the_welcome_page_is_there(members, place):
    assert f"home/{place.user}/labs/welcome.md" in members
