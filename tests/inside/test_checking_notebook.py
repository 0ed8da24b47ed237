"""`check()` in a kernel that has been used for other things: for training, on a GPU where there is one."""

from __future__ import annotations

import re
import shutil

import lab_cases as cases
import nbformat
import pytest
import torch
from nbclient import NotebookClient

CHECK = """
import sys
import torch
from checking import Lab, student_side, case, expect, require

lab = Lab(__file__, parts=["slope", "scale", "Ramp"])
lab.forbid("scale", loops=True, why="at once")

@lab.check("slope", seconds=3)
def slopes(student, rng):
    "the slope of x²"
    x = rng.normal(3)
    reference = x.clone().requires_grad_()
    reference.square().sum().backward()
    expect(student.slope(x), reference.grad, mistakes={"that is half of it": x})

@lab.check("scale", seconds=3)
def scales(student, rng):
    "ten times the numbers"
    x = rng.normal(3)
    expect(student.scale(x), 10 * x)

@lab.check("Ramp")
def ramps(student, rng):
    "a ramp"
    expect(student.run(ramp, 3), torch.arange(3.0))

@student_side
def ramp(student, n):
    return student.Ramp(n).values()

@lab.gpu("slope", seconds=5)
def on_the_gpu(student, metrics, data, rng):
    "on a GPU"
    metrics.at_most("error", float((student.slope(torch.ones(2, device="cuda")) - 2).abs().max()), 0.01)
"""

SETUP = """
import sys
sys.path.append("..")
from checking import notebook
check = notebook("77_tiny")
"""

# A kernel of which no fork would be of any use, as after backward with threads (torch 2.6), or with CUDA.
USED = """
import os, threading
import numpy as np
import torch
from torch import Tensor
os.register_at_fork(after_in_child=lambda: os._exit(77))
torch.set_num_threads(2)
torch.set_default_dtype(torch.float64)
if torch.cuda.is_available():
    torch.set_default_device("cuda")

def trains():
    w = torch.randn(300, 300, requires_grad=True)
    (w @ w).sum().backward()

trains()
thread = threading.Thread(target=trains)
thread.start()
thread.join()
FACTOR = int(np.float64(10))
data = torch.ones(3)
"""

STUBS = """
def slope(x: Tensor) -> Tensor:
    '''The slope of x².

    Hint: use your head.
    '''
    raise NotImplementedError("77.1 slope")

def scale(x):
    raise NotImplementedError("77.2 scale")

class Ramp:
    def __init__(self, n):
        raise NotImplementedError("77.3 Ramp.__init__")
"""

SOLVED = """
double = lambda x: 2 * x

def slope(x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        x.square().sum().backward()
    return double(x.grad) / 2

@torch.no_grad()
def scale(x):
    return FACTOR * x

class Base:
    size = 1

class Ramp(Base):
    def __init__(self, n):
        self.n = n

    def values(self):
        return torch.from_numpy(np.arange(self.n, dtype=np.float32))
"""

CELLS = {
    "setup": SETUP,
    "used": USED,
    "stubs": f"{STUBS}\ncheck()",
    "solved": f"{SOLVED}\ncheck()",
    "other seed": "check('slope', seed=4)",
    "settings": "print(torch.get_num_threads(), torch.get_default_dtype(), torch.ones(1).device.type)",
    "wrong": "def slope(x):\n    return x.clone()\n\ncheck('slope', seed=3)",
    "raises": "def slope(x):\n    return x / nothing(0)\n\ncheck('slope')",
    "needs a value": "def slope(x):\n    return x * data\n\ncheck('slope')",
    "needs the rest": "globals()['other'] = 2\ndef slope(x):\n    return x * other\n\ncheck('slope')",
    "loops": "def scale(x):\n    return torch.stack([10 * v for v in x])\n\ncheck('scale')",
    "endless": "def slope(x):\n    while True: pass\n\ncheck('slope', patience=0.3)",
    "sleeps": "import time\ndef slope(x):\n    time.sleep(600)\n\ncheck('slope', patience=0.3)",
    "interrupted": "threading.Timer(4, lambda: os.kill(os.getpid(), 2)).start()\ncheck('slope', patience=9)",
    "solved again": f"{SOLVED}\ncheck('slope')",
    "killed": "inner = sys.modules['checking.notebook']\nos.kill(inner._servers[0]._pid, 9)\ncheck('slope')",
    "set up again": f"first = inner._servers[0]\n{SETUP}\ncheck('Ramp')\nprint(inner._servers[0] is first)",
    "gpu": "check(gpu=True)",
    "no such part": "check('slop')",
    "deleted": "del slope\ncheck('slope')",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each cell printed, in one kernel, one after the other."""
    labs = tmp_path_factory.mktemp("labs")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(cases.LABS / "checking", labs / "checking", copy_function=shutil.copyfile, ignore=ignore)
    folder = labs / "77_tiny"
    folder.mkdir()
    (folder / "check.py").write_text(CHECK)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    texts = ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]
    return {name: re.sub(r"\x1b\[\d+m", "", text) for name, text in zip(CELLS, texts, strict=True)}


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("stubs", "77.1 slope\n    ○ not yet (1 check waits)\n      hint       use your head."),
        ("stubs", "  0 of 3 pass · 3 not yet · "),
        ("solved", "  3 of 3 pass · "),
        ("other seed", "Lab 77 · seed 4"),
        ("other seed", "  1 of 1 pass · "),
        ("settings", "2 torch.float64"),
        ("wrong", "likely     that is half of it"),
        ("wrong", 'again      check("slope", seed=3)'),
        ("raises", "error      NameError: name 'nothing' is not defined"),
        ("raises", "where      exercise.ipynb: return x / nothing(0)"),
        ("needs a value", "likely     that is half of it"),
        ("needs the rest", "note: slope uses `other`, which this kernel has, but no cell defines it"),
        ("needs the rest", "seen       no cell of code defines `other`"),
        ("loops", "a loop is not allowed here: at once"),
        ("loops", "where      return torch.stack([10 * v for v in x])"),
        ("endless", "not done after 0.9 s"),
        ("sleeps", "nothing has happened for 4 s"),
        ("interrupted", "  interrupted"),
        ("solved again", "  1 of 1 pass · "),
        ("killed", "  1 of 1 pass · "),
        ("set up again", "  1 of 1 pass · "),
        ("set up again", "True"),
        ("gpu", "  1 of 1 pass · " if torch.cuda.is_available() else "skipped    no GPU with CUDA here"),
        ("no such part", "there is no part slop in lab 77"),
        ("deleted", "there is no function slope in exercise.ipynb"),
    ],
)
def test_a_used_kernel_is_checked(shown: dict[str, str], cell: str, said: str) -> None:
    assert said in shown[cell]
    assert "Traceback" not in shown[cell]
