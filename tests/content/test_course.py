"""What a student works with: Python, PyTorch, JupyterLab's settings, data sets, labs."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coursebox.paths import CHECKOUT
from coursebox.stage import is_litter

if TYPE_CHECKING:
    from testinfra.host import Host

# What is the same wherever the labs are: the prologue, the examples, the self-test.
LAB_TESTS = [f"tests/labs/test_{name}.py" for name in (
    "prologue", "prologue_data", "examples", "selftest_cpu", "selftest_fast", "selftest_gpu_rows")]  # fmt: skip
DATA = "/usr/share/coursebox/data"
PYTHON = "/opt/jupyter/bin/python"
SETTINGS = {
    "vm": [".ip = '0.0.0.0'", ".allow_remote_access = False", ".default_url = '/lab/tree/labs/welcome.md'"],
    "cuda": [".port_retries = 0", ".root_dir = '/home/student'", ".certfile = ''"],
}
VERSIONS = {"vm": ["2.6.0+debian", "0.21.0"], "cuda": ["2.13.0+cu130", "0.28.0+cu130"]}


def as_student(host: Host, place, code: str):
    """Run Python code as the student, in a login shell, with one thread."""
    return host.run("su - %s -c %s", place.user, f'OMP_NUM_THREADS=1 python -c "{code}"')


def test_imports_of_the_course(host: Host, place):
    modules = "torch, torchvision, numpy, scipy, matplotlib, pandas, sklearn"
    done = as_student(host, place, f"import {modules}; print(torch.__version__, torchvision.__version__)")
    assert done.rc == 0, done.stderr
    assert done.stdout.split() == VERSIONS[place.kind]


def test_torchvision_has_its_operators(host: Host, place):
    done = as_student(
        host, place,
        "import torch, torchvision; b = torch.tensor([[0., 0, 2, 2], [0, 0, 2, 2]]);"
        "print(torchvision.ops.nms(b, torch.tensor([1., 2]), 0.5).tolist())",
    )  # fmt: skip
    assert done.stdout.strip() == "[1]", done.stderr


def test_torch_multiplies_with_openblas(host: Host):
    linked = host.check_output("readlink -f /usr/lib/x86_64-linux-gnu/libblas.so.3")
    assert "openblas-pthread" in linked


def test_python_is_the_courses_in_every_session(host: Host, place):
    login = host.check_output("su - %s -c 'command -v python; echo $PYTORCH_DATA_DIR'", place.user)
    assert login.split() == [PYTHON, DATA]
    environment = host.file("/etc/environment").content_string
    assert f"PYTORCH_DATA_DIR={DATA}" in environment and "PATH=/opt/jupyter/bin:" in environment


def test_jupyterlab_starts_with_its_settings(host: Host, place):
    """The settings are valid: every name in them is one that the server knows."""
    done = host.run("su - %s -c 'jupyter lab --show-config 2>&1'", place.user)
    assert done.rc == 0, done.stdout
    assert "unrecognized" not in done.stdout.lower()
    assert [line for line in SETTINGS[place.kind] if line not in done.stdout] == []


def test_overrides_name_plugins_that_exist(host: Host):
    lab = "/opt/jupyter/share/jupyter/lab"
    overrides = json.loads(host.file(f"{lab}/settings/overrides.json").content_string)
    for name in overrides:
        extension, plugin = name.split(":")
        schema = json.loads(host.file(f"{lab}/schemas/{extension}/{plugin}.json").content_string)
        assert set(overrides[name]) <= set(schema["properties"])


def test_data_sets(host: Host, place):
    sources = json.loads(host.file(f"{DATA}/SOURCES.json").content_string)
    assert sources == place.report["data"]
    assert set(sources) == set(place.course.data.sets)


@pytest.mark.parametrize(
    ("file", "size", "magic"),
    [
        ("train-images-idx3-ubyte", 47_040_016, b"\0\0\x08\x03"),
        ("train-labels-idx1-ubyte", 60_008, b"\0\0\x08\x01"),
        ("t10k-images-idx3-ubyte", 7_840_016, b"\0\0\x08\x03"),
        ("t10k-labels-idx1-ubyte", 10_008, b"\0\0\x08\x01"),
    ],
)
def test_mnist_is_complete(host: Host, file: str, size: int, magic: bytes):
    found = host.file(f"{DATA}/mnist/MNIST/raw/{file}")
    assert found.size == size and found.mode == 0o444
    assert host.run(f"head -c 4 {DATA}/mnist/MNIST/raw/{file}").stdout_bytes == magic


def test_torchvision_reads_mnist(host: Host, place):
    code = "import torchvision as t; d = t.datasets.MNIST('/usr/share/coursebox/data/mnist'); print(len(d), d[0][1])"
    assert as_student(host, place, code).stdout.split() == ["60000", "5"]


def test_data_and_pristine_labs_are_read_only(members):
    writable = {name: oct(member.mode) for name, member in members.items()
                if name.startswith("usr/share/coursebox/") and (member.mode & 0o222 or member.uid != 0)}  # fmt: skip
    assert set(writable) <= {"usr/share/coursebox"}


def test_labs_are_those_of_the_course_and_writable(host: Host, place, members):
    folder: Path = place.course.labs.folder
    wanted = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")
              if path.is_file() and not is_litter(path.relative_to(folder))}  # fmt: skip
    pristine, home = "usr/share/coursebox/labs/", f"home/{place.user}/labs/"
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


def test_labs_run_on_the_machines_own_torch(container: str, place, tmp_path: Path):
    """tests/labs, run by the tree's Python on the delivered labs and data; pytest comes from the test environment."""
    library = Path(sysconfig.get_path("purelib"))
    tar = subprocess.run(
        ["tar", "--create", "--directory", library, "pytest", "_pytest", "py.py", "pluggy", "iniconfig"],
        check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(["docker", "exec", container, "mkdir", "-p", "/tmp/pytest"], check=True)
    subprocess.run(
        ["docker", "exec", "--interactive", container, "tar", "--extract", "--directory", "/tmp/pytest"],
        input=tar.stdout, check=True,
    )  # fmt: skip
    done = subprocess.run(
        ["docker", "exec", "--user", place.user, "--workdir", "/checkout",
         "--env", "PYTHONPATH=/tmp/pytest", "--env", "PYTHONDONTWRITEBYTECODE=1", "--env", "MPLCONFIGDIR=/tmp/mpl",
         "--env", f"COURSEBOX_TEST_DATA={DATA}", "--env", "COURSEBOX_TEST_LABS=/usr/share/coursebox/labs",
         container, PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", *LAB_TESTS],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and " skipped" not in done.stdout, done.stdout[-2000:]


def test_checkout_of_the_tests_is_this_one(host: Host):
    assert host.file("/checkout/course.toml").content == (CHECKOUT / "course.toml").read_bytes()
