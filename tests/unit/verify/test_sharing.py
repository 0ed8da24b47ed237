"""Two processes share the tests inside a tree: what shares a costly fixture is in one of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from coursebox.core.paths import CHECKOUT
from coursebox.verify import lanes

INSIDE = CHECKOUT / "tests" / "inside"
RECORDING = """
import os, pathlib, pytest
@pytest.fixture(scope="module")
def costly():
    with pathlib.Path("made").open("a") as file:
        file.write(f"{pathlib.Path(__file__).name}\\n")
@pytest.mark.parametrize("of", %r)
def test_of(of, costly, request):
    with pathlib.Path("ran").open("a") as file:
        file.write(f"{os.getpid()} {request.node.nodeid}\\n")
"""
LABS = ["01_tensors", "02_neighbours", "03_linear"]
FILES = {
    "test_targets.py": LABS,
    "test_each_lab.py": [f"{lab}-{mutant}" for mutant in "abcdefgh" for lab in LABS],
    "test_grading.py": [*"abcdefgh"],
    "test_rules.py": [*"abcdefgh"],
    "test_grading_attacks.py": [*"abcdefgh"],
}


def test_each_unit_is_in_one_process(tmp_path: Path) -> None:
    shutil.copyfile(INSIDE / "sharing.py", tmp_path / "sharing.py")
    imported = "from sharing import pytest_xdist_make_scheduler"
    assert imported in (INSIDE / "conftest.py").read_text(encoding="utf-8")
    (tmp_path / "conftest.py").write_text(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{imported}\n")
    for name, of in FILES.items():
        (tmp_path / name).write_text(RECORDING % of)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist", *lanes.SHARED, *FILES]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plug-ins take most of the time
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    processes: dict[str, set[str]] = {}
    ran = (tmp_path / "ran").read_text().splitlines()
    for line in ran:
        process, test = line.split(" ", 1)
        processes.setdefault(together(test), set()).add(process)
    assert len(ran) == sum(map(len, FILES.values()))
    assert len(set().union(*processes.values())) == 2, "one of the two processes had nothing to do"
    assert {unit: len(used) for unit, used in processes.items()} == dict.fromkeys(processes, 1)
    assert len(processes) == 2 * len(LABS) + 2
    made = (tmp_path / "made").read_text().splitlines()
    for name in ("test_grading.py", "test_rules.py", "test_grading_attacks.py"):
        assert made.count(name) == 1, f"the fixture of {name} was made in both processes"


def together(test: str) -> str:
    """What must be in one process: a notebook, a lab, a file, the two files that measure the machine."""
    file, _, name = test.partition("::")
    if file == "test_targets.py":
        return test
    if file == "test_each_lab.py":
        return name.removeprefix("test_of[").partition("-")[0]
    return file.replace("_attacks", "")
