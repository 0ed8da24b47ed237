"""The two examples of lecture 1a, run as programs and as notebooks, without a screen and without a network."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from labs_support import Run

# The pixels that the lecture prints: rows 0 to 3, columns 0 to 11, of each channel of image 43.
HORSE = """
 99   98  100  103  105  107  108  110  114  115  117  118
100  100  102  105  107  109  110  112  115  117  119  120
104  104  106  109  111  112  114  116  119  121  123  124
109  109  111  113  116  117  118  120  123  124  127  128
166  165  167  169  171  172  173  175  176  178  179  181
166  164  167  169  169  171  172  174  176  177  179  180
169  167  170  171  171  173  174  176  178  179  182  183
170  169  172  173  175  176  177  178  179  181  183  184
198  196  199  200  200  202  203  204  205  206  208  209
195  194  197  197  197  199  200  201  202  203  206  207
197  195  198  198  198  199  201  202  203  204  206  207
197  196  199  198  198  199  200  201  203  204  207  208
"""

FROM_NOTEBOOK = """
import json, sys
cells = json.load(open(sys.argv.pop(1), encoding="utf-8"))["cells"]
there = {"__name__": "__main__"}
for cell in cells:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), "cell", "exec"), there)
"""


def sees_a_horse(printed: str) -> None:
    assert "torch.Size([3, 32, 32]) torch.uint8" in printed
    table = printed[printed.index("tensor(") : printed.index("dtype=")]
    assert [int(number) for number in re.findall(r"\d+", table)] == [int(number) for number in HORSE.split()]
    assert printed.endswith("It is a horse. The picture is in horse.png.\n")


def is_picture(file: Path) -> None:
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 5000


def test_horse(run: Run, labs: Path, data_dir: Path, tmp_path: Path) -> None:
    done = run(labs / "examples" / "horse.py", data=data_dir)
    assert (done.returncode, done.stderr) == (0, "")
    sees_a_horse(done.stdout)
    is_picture(tmp_path / "horse.png")


def test_convnet_learns_on_the_reduced_set(run: Run, labs: Path, data_dir: Path, tmp_path: Path) -> None:
    done = run(labs / "examples" / "mnist_convnet.py", "--force_cpu", data=data_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert "** Use 1000 train and 1000 test samples" in done.stdout
    assert "105506 parameters" in done.stdout
    losses = [float(x) for x in re.findall(r"^epoch +\d+ of 10   loss (\d\.\d+)   \d+\.\d s$", done.stdout, re.M)]
    assert len(losses) == 10 and 1.5 < losses[0] < 2.4 and losses[-1] < 0.5
    error = re.search(r"^test error (\d+\.\d\d) % \((\d+) of 1000\)$", done.stdout, re.M)
    assert error is not None
    assert float(error[1]) == pytest.approx(int(error[2]) / 10)
    assert 5 < float(error[1]) < 20  # seen with four seeds: 11.9 to 14.0
    is_picture(tmp_path / "mnist_convnet.png")


@pytest.mark.parametrize("name", ["horse", "mnist_convnet"])
def test_notebook_runs_from_top_to_bottom(run: Run, labs: Path, data_dir: Path, tmp_path: Path, name: str) -> None:
    home = tmp_path / "labs"
    shutil.copytree(labs, home, copy_function=shutil.copyfile)  # the pristine labs are read-only, the home's are not
    for folder in [home, *filter(Path.is_dir, home.rglob("*"))]:
        folder.chmod(0o755)
    runner = tmp_path / "runner.py"
    runner.write_text(FROM_NOTEBOOK)
    # Not on PYTHONPATH: a notebook finds the prologue by itself.
    done = run(runner, f"{name}.ipynb", data=data_dir, cwd=home / "examples", env={"PYTHONPATH": ""})
    assert (done.returncode, done.stderr) == (0, "")
    is_picture(home / "examples" / f"{name}.png")
    if name == "horse":
        sees_a_horse(done.stdout)
    else:
        assert re.search(r"^test error 1?\d\.\d\d % ", done.stdout, re.M)


@pytest.mark.parametrize("name", ["horse", "mnist_convnet"])
def test_without_data_an_example_says_so(run: Run, labs: Path, tmp_path: Path, name: str) -> None:
    done = run(labs / "examples" / f"{name}.py", data=tmp_path / "none")
    assert done.returncode == 1
    assert re.fullmatch(r"(MNIST|CIFAR-10) is missing: there is no .*; nothing is downloaded\.\n", done.stderr)


def test_notebooks_carry_no_output(labs: Path) -> None:
    # Those of the labs are in test_each_lab.py.
    notebooks = sorted(file for file in labs.rglob("*.ipynb") if not file.relative_to(labs).parts[0][:2].isdigit())
    assert [file.stem for file in notebooks if file.parent.name == "examples"] == ["horse", "mnist_convnet"]
    for file in notebooks:
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)
