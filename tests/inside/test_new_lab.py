"""tools/new_lab.py: a new lab passes the tests that every lab passes, before its author has changed anything."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from labs_support import CHECKOUT

NEW = CHECKOUT / "tools" / "new_lab.py"
TESTS = CHECKOUT / "tests" / "inside"


def lay_out(name: str, labs: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(NEW), name, "--labs", str(labs)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_passes_the_tests_of_a_lab(labs: Path, data_dir: Path, tmp_path: Path) -> None:
    ours = tmp_path / "labs"
    ours.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(labs / "checking", ours / "checking", copy_function=shutil.copyfile, ignore=ignore)
    shutil.copyfile(labs / "dlc_practical_prologue.py", ours / "dlc_practical_prologue.py")
    made = lay_out("21_rows_and_columns", ours)
    assert made.returncode == 0, made.stderr
    environment = os.environ | {
        "COURSEBOX_TEST_LABS": str(ours), "COURSEBOX_TEST_AUTHORS": str(ours), "COURSEBOX_TEST_DATA": str(data_dir),
        "COURSEBOX_TEST_ONLY": "",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={CHECKOUT}"]
    command += [f"--basetemp={tmp_path / 'inner'}", str(TESTS / "test_each_lab.py"), str(TESTS / "test_targets.py")]
    done = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # 3 seeds, 4 parts, 6 mutants or more, 2 alternatives or more, and the notebook
    last = done.stdout.strip().splitlines()[-1]
    assert int(last.split(" passed")[0].split()[-1]) >= 24 and "skipped" not in last


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensors", "“tensors” cannot be the name of a lab.\n  hint: two digits, _, a word in small letters: 21_topic"),
        ("21-topic", "“21-topic” cannot be the name of a lab."),
        ("21_Topic", "“21_Topic” cannot be the name of a lab."),
        ("21_", "“21_” cannot be the name of a lab."),
        ("../21_x", "“../21_x” cannot be the name of a lab."),
        ("01_other", "There is a lab with this number: 01_tensors.\n  hint: 02 is free."),
    ],
)
def test_a_name_that_cannot_be_used(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "01_tensors").mkdir()
    done = lay_out(name, tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["01_tensors"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = lay_out("21_topic", tmp_path / "none")
    assert done.returncode == 1 and done.stderr.startswith(f"error: There is no folder {tmp_path / 'none'}.")


def test_nothing_is_left_when_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab appears whole or not at all."""
    monkeypatch.syspath_prepend(str(NEW.parent))
    spec = importlib.util.spec_from_file_location("new_lab", NEW)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.generator.Lab, "files", lambda self: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        module.lay_out("21_topic", tmp_path)
    assert list(tmp_path.iterdir()) == []
