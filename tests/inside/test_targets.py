"""Every notebook with its solution, from top to bottom in a Jupyter kernel: all checks, then the measured results.

These are the slower tests: they train on real data, and each notebook ends in pictures.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import time
from pathlib import Path

import lab_cases as cases
import nbformat
import pytest
from nbclient import NotebookClient
from pictures import FOUND

COLOUR = re.compile(r"\x1b\[\d+m")


WATCH = f"""import sys
sys.path[:0] = ["..", {str(Path(__file__).parent)!r}]
from pathlib import Path
from checking.metrics import Metrics
from pictures import watch
watch(Metrics, Path.cwd())"""


def run_notebook(folder: Path) -> list[nbformat.NotebookNode]:
    """Execute folder/exercise.ipynb there; its code cells. Its pictures are watched (see pictures.py)."""
    notebook = nbformat.read(folder / "exercise.ipynb", as_version=4)
    watching = nbformat.v4.new_code_cell(WATCH)
    notebook.cells.insert(0, watching)
    for cell in notebook.cells:
        # The results count here, `make bench` has the times: beside other work they were ten times as long.
        cell.source = cell.source.replace("check(targets=True)", "check(targets=True, patience=5)")
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell is not watching]


def printed(cell: nbformat.NotebookNode) -> str:
    return COLOUR.sub("", "".join(output.get("text", "") for output in cell.outputs))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> Path:
    """A folder like a student's labs, without the labs themselves."""
    monkeypatch.setenv("PYTORCH_DATA_DIR", str(data_dir))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # a student's kernel computes with threads, and forks
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(cases.LABS / "checking", tmp_path / "checking", copy_function=shutil.copyfile, ignore=ignore)
    shutil.copyfile(cases.LABS / "dlc_practical_prologue.py", tmp_path / "dlc_practical_prologue.py")
    return tmp_path


def lay_out(labs: Path, name: str, notebook: str) -> Path:
    """The folder of a lab with this notebook."""
    folder = labs / name
    folder.mkdir()
    for file in ("check.py", "experiments.py"):
        shutil.copyfile(cases.LABS / name / file, folder / file)
    (folder / "exercise.ipynb").write_text(notebook, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", cases.NAMES)
def test_the_solved_notebook_reaches_its_targets(name: str, home: Path) -> None:
    folder = lay_out(home, name, cases.source(name).notebook_of(solved=True))
    begin = time.monotonic()
    cells = run_notebook(folder)
    seconds = time.monotonic() - begin

    passed = 0
    for cell in cells:
        if cell.source.startswith("check("):
            text = printed(cell)
            last = re.search(r"^  (\d+) of (\d+) pass · ", text, re.M)
            assert last and last[1] == last[2] and int(last[1]) > 0, f"{cell.source}\n{text}"
            passed += int(last[1])
    checks = [*cases.lab(name).of_kind("check"), *cases.lab(name).of_kind("experiment")]
    assert passed == sum(check.rule is None and not (check.needs and check.needs()) for check in checks)
    print(f"{name}: {seconds:.1f} s")

    shown = [output.data["image/png"] for output in cells[-1].outputs if "image/png" in output.get("data", {})]
    written = sorted((folder / "results").glob("*.png"))
    assert shown and len(shown) == len(written)
    for picture in shown:
        content = base64.b64decode(picture)
        assert content.startswith(b"\x89PNG") and len(content) > 5000

    watched = dict(json.loads(line) for line in (folder / FOUND).read_text(encoding="utf-8").splitlines())
    assert set(watched) == {file.name for file in written}
    assert {name: found for name, found in watched.items() if found} == {}, "told apart by colour alone"


@pytest.mark.parametrize("name", cases.NAMES[:1])  # one is enough
def test_an_empty_notebook_says_not_yet(name: str, home: Path) -> None:
    folder = lay_out(home, name, (cases.LABS / name / "exercise.ipynb").read_text(encoding="utf-8"))
    for cell in run_notebook(folder):
        if cell.source.startswith("check("):
            assert "not yet" in printed(cell) or "waits for" in printed(cell)
            assert re.search(r"^  0 of \d+ pass · \d+ not yet · ", printed(cell), re.M)
