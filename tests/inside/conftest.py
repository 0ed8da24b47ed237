"""What the tests of the labs share: where the labs and the data are, and two ways to use the prologue.

COURSEBOX_TEST_LABS   folder with the labs as they were delivered; without it, those of this checkout
COURSEBOX_TEST_DATA   folder with the data in the layout of the course machine; without it, one is laid out from
                      the mirror folder ../shared/datasets

Only pytest, numpy, torch and matplotlib are needed, so that these tests run inside the machines that were built.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for labs_support, whatever pytest's import mode is
sys.dont_write_bytecode = True  # delivered labs are read-only

from labs_support import CHECKOUT, Load, Run  # noqa: E402
from sharing import pytest_xdist_make_scheduler  # noqa: E402, F401

MIRROR = CHECKOUT.parent / "shared" / "datasets"


@pytest.fixture(scope="session")
def labs() -> Path:
    """The folder with the labs under test."""
    folder = Path(os.environ.get("COURSEBOX_TEST_LABS") or CHECKOUT / "labs")
    assert (folder / "dlc_practical_prologue.py").is_file(), f"no labs in {folder}"
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST, complete, and CIFAR-10, complete or a sample, as they lie on the course machine."""
    if chosen := os.environ.get("COURSEBOX_TEST_DATA"):
        return Path(chosen)
    assert MIRROR.is_dir(), f"neither COURSEBOX_TEST_DATA nor {MIRROR} is there"
    root = tmp_path_factory.mktemp("data")
    raw = root / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in sorted((MIRROR / "mnist").glob("*.gz")):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    with tarfile.open(MIRROR / "cifar10-sample" / "cifar-10-sample.tar.gz") as archive:
        archive.extractall(root / "cifar10", filter="data")
    sources = {
        "mnist": {"kind": "complete", "note": ""},
        "cifar10": {"kind": "sample", "note": "the first 932 images of each batch"},
    }
    (root / "SOURCES.json").write_text(json.dumps(sources))
    return root


@pytest.fixture
def load(labs: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """A function that imports the prologue afresh, as a program with this command line does.

    The first argument is the program, the others are its arguments; `data` is what PYTORCH_DATA_DIR says.
    """

    def importer(program: str = "dummy.py", *arguments: str, data: Path | None = None) -> ModuleType:
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        if data is None:
            monkeypatch.delenv("PYTORCH_DATA_DIR", raising=False)
        else:
            monkeypatch.setenv("PYTORCH_DATA_DIR", str(data))
        spec = importlib.util.spec_from_file_location("dlc_practical_prologue", labs / "dlc_practical_prologue.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return importer


@pytest.fixture
def run(labs: Path, tmp_path: Path) -> Run:
    """A function that runs a Python file as a student does in a terminal, without a screen; returns what it printed."""

    def runner(
        program: Path, *arguments: str, data: Path | None = None, env: dict[str, str] | None = None,
        cwd: Path | None = None, python: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTORCH_DATA_DIR", "DISPLAY")}
        environment |= {"PYTHONPATH": str(labs), "PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": str(tmp_path / "mpl")}
        environment |= {"PYTORCH_DATA_DIR": str(data)} if data else {}
        environment |= env or {}
        return subprocess.run(
            [sys.executable, *python, str(program), *arguments],
            cwd=cwd or tmp_path, env=environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip

    return runner
