"""What a student works with: Python, PyTorch, JupyterLab's settings, data sets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from coursebox.core.paths import CHECKOUT

if TYPE_CHECKING:
    from testinfra.host import Host

DATA = "/usr/share/coursebox/data"
PYTHON = "/opt/jupyter/bin/python"
SETTINGS = {
    "vm": [".ip = '0.0.0.0'", ".allow_remote_access = False", ".default_url = '/lab/tree/labs/welcome.md'"],
    "cpu": [".port_retries = 0", ".root_dir = '/home/student'", ".certfile = ''"],
    "cuda": [".port_retries = 0", ".root_dir = '/home/student'", ".certfile = ''"],
}
DEBIAN = ["2.6.0+debian", "0.21.0"]
VERSIONS = {"vm": DEBIAN, "cpu": DEBIAN, "cuda": ["2.13.0+cu130", "0.28.0+cu130"]}


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
    assert "openblas-openmp" in linked  # with threads of its own, beside those of torch, both wait for each other


EXPORT = """
from nbconvert.exporters import base
from nbconvert.nbconvertapp import NbConvertApp
app = NbConvertApp()
app.load_config_file()
notebook = "/usr/share/coursebox/labs/examples/horse.ipynb"
for name in base.get_export_names(app.config):
    if name != "custom":  # JupyterLab leaves it out, for it needs a template
        base.get_exporter(name, app.config)(config=app.config).from_filename(notebook)
        print(name)
"""


def test_each_offered_export_works(host: Host, place):
    """The server asks nbconvert for the formats of its menu in the same way; PDF and others need TeX or pandoc."""
    done = host.run("su - %s -c %s", place.user, f"python -c '{EXPORT}'")
    assert done.rc == 0, done.stderr
    assert set(done.stdout.split()) == {"html", "markdown", "notebook", "python", "script", "slides"}


def test_python_is_the_courses_in_every_session(host: Host, place):
    login = host.check_output("su - %s -c 'command -v python; echo $PYTORCH_DATA_DIR'", place.user)
    assert login.split() == [PYTHON, DATA]
    waiting = host.check_output("su - %s -c 'echo $OMP_WAIT_POLICY'", place.user)
    assert waiting == "PASSIVE"
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
    assert set(sources) == {entry.partition("/")[0] for entry in place.course.data.sets}


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


@pytest.mark.parametrize(("command", "room"), [("course-selftest", "selftest"), ("course-grade", "grading")])
def test_commands_of_the_instructor_are_installed(host: Host, place, members, command: str, room: str):
    """Root's own, compiled as a whole, and they start for everybody."""
    package = f"usr/lib/coursebox/{room}/"
    assert (members[f"usr/local/bin/{command}"].mode, members[f"usr/local/bin/{command}"].uid) == (0o755, 0)
    sources = {name for name in members if name.startswith(package) and name.endswith(".py")}
    assert f"{package}{command.replace('-', '_')}/cli.py" in sources
    compiled = {name for name in members if name.startswith(package) and name.endswith(".pyc")}
    assert len(compiled) == len(sources)
    done = host.run("su - %s -c %s", place.user, f"/usr/local/bin/{command} --help")
    assert done.rc == 0 and done.stdout.startswith(f"usage: {command} "), done.stderr


def test_data_and_pristine_labs_are_read_only(members):
    writable = {name: oct(member.mode) for name, member in members.items()
                if name.startswith("usr/share/coursebox/") and (member.mode & 0o222 or member.uid != 0)}  # fmt: skip
    assert set(writable) <= {"usr/share/coursebox"}


def test_checkout_of_the_tests_is_this_one(host: Host):
    assert host.file("/checkout/course.toml").content == (CHECKOUT / "course.toml").read_bytes()
