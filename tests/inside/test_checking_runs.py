"""check.py as a student runs it, on a small lab: what it prints, how it ends, and what it survives."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lab_cases as cases
import pytest
import torch
from checking import run_checks
from checking.kernel import kernel_submission
from checking.loading import load_lab

CHECK = """
import sys
import torch
sys.path.insert(0, LABS)
from checking import Lab, case, expect, progress, require, run_checks, student_side

lab = Lab(__file__, parts=["double", "total", "collect"])
SCALE = 2
lab.forbid("double", loops=True, why="at once")

@lab.reference
def double(x):
    return torch.stack([SCALE * value for value in x])

@lab.check("double", seconds=2)
def doubles(student, rng):
    "twice the numbers"
    x = rng.normal(3)
    with case("three numbers"):
        expect(student.double(x), SCALE * x, mistakes={"that is x": x})

@lab.check("total", seconds=2)
def sums(student, rng):
    "the sum of the doubled numbers"
    x = rng.normal(4)
    expect(student.total(x), float(2 * x.sum()))

@student_side
def three_times(student, start):
    class Counter:
        value = start
    counter = Counter()
    for _ in progress(range(3), "counting"):
        student.collect(counter)
    return counter.value, torch.get_num_threads(), sys.argv

@lab.check("collect", seconds=2)
def collects(student, rng):
    "one more each time, with an object that lives beside the student's code"
    value, threads, argv = student.run(three_times, 4)
    expect(value, 7)
    require(threads == 1, "there must be one thread")

@lab.check("double", needs=lambda: "no abacus here")
def with_an_abacus(student, rng):
    "on an abacus"

if __name__ == "__main__":
    sys.exit(run_checks(lab))
"""

EXPERIMENTS = """
import torch
from check import SCALE, lab
from checking import data, student_side

@lab.experiment("double", seconds=0.5)
def measured(student, metrics, data, rng):
    "how well it doubles"
    metrics.equal("twice 21", float(student.double(torch.tensor([21.0]))), SCALE * 21, "%")
    metrics.within("chance", 0.4, 0, 1)
    metrics.at_most("most", 1, 2)
    metrics.at_least("least", 3, 2)
    metrics.seen("seen", 0.123456)
    with metrics.picture("line.png") as figure:
        figure.subplots().plot([1, 2])

@lab.experiment("collect", seconds=1)
def needs_data(student, metrics, data, rng):
    "with data"
    student.run(loads)

@student_side
def loads(student):
    return data.mnist()[0].shape

@lab.gpu("double", seconds=1)
def on_the_gpu(student, metrics, data, rng):
    "on a GPU"
"""

SOLVED = '''"""Lab."""
import torch

def double(x):
    """Twice x.

    Hint: use your head.
    """
    return 2 * x

def total(x):
    """The sum.

    Hint: use the other head.
    """
    return float(double(x).sum())

def collect(counter):
    """Count."""
    counter.value += 1
'''


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "labs" / "77_tiny"
    folder.mkdir(parents=True)
    (folder / "check.py").write_text(CHECK.replace("LABS", repr(str(cases.LABS))))
    (folder / "experiments.py").write_text(EXPERIMENTS)
    (folder / "exercise.py").write_text(SOLVED)
    return folder


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Check = Callable[..., Done]


@pytest.fixture
def check(lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run check.py in this process, which has torch already; `text` is the exercise."""
    monkeypatch.chdir(lab)
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.delenv("PYTORCH_DATA_DIR", raising=False)

    def run(*arguments: str, text: str = SOLVED) -> Done:
        (lab / "exercise.py").write_text(text)
        try:
            status = run_checks(load_lab(lab), arguments)
        except SystemExit as stopped:
            status = stopped.code if isinstance(stopped.code, int) else 1
        out, err = capsys.readouterr()
        return Done(status, out, err)

    return run


def instead(old: str, new: str) -> str:
    assert old in SOLVED
    return SOLVED.replace(old, new)


def test_all_right(lab: Path) -> None:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "check.py"], cwd=lab, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "  77.1 double\n    ✓ written without a loop" in done.stdout
    assert "      skipped    no abacus here" in done.stdout
    assert "  3 of 3 pass · 1 skipped · " in done.stdout
    assert "  Next: python check.py --targets   (the measured results, about 2 s)" in done.stdout
    assert "\x1b" not in done.stdout


def test_not_yet_comes_with_the_hint_and_leaves_the_others_alone(check: Check) -> None:
    done = check(text=instead("return 2 * x", 'raise NotImplementedError("77.1 double")'))
    assert done.returncode == 1
    assert "○ not yet (3 checks wait)\n      hint       use your head." in done.stdout
    assert "✓ the sum of the doubled numbers" in done.stdout  # the specification stands in
    assert "Traceback" not in done.stdout + done.stderr


def test_a_wrong_part_does_not_fail_another(check: Check) -> None:
    done = check(text=instead("return 2 * x", "return 3 * x"))
    assert "✗ twice the numbers" in done.stdout and "✓ the sum of the doubled numbers" in done.stdout


def test_the_message_in_its_order(check: Check) -> None:
    done = check("--only", "1", "--seed", "5", text=instead("return 2 * x", "print('hello')\n    return x.clone()"))
    labels = [line[6:17].strip() for line in done.stdout.splitlines() if line.startswith("      ")]
    assert [label for label in labels if label] == ["called", "case", "wrong", "likely", "printed", "again", "skipped"]
    assert "called     double(3 float32)" in done.stdout and "case       three numbers" in done.stdout
    assert "likely     that is x" in done.stdout and "printed    hello" in done.stdout
    assert "again      python check.py --only 1 --seed 5" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return 2 * x", "return x.mul_(2)", "argument 1 has changed"),
        ("return 2 * x", "return (2 * x).double().tolist()", "expected a tensor (3 float32), got a list"),
        ("return 2 * x", "return undefined", "NameError: name 'undefined' is not defined"),
        ("return 2 * x", "return 2 / 0", "where      exercise.py, line 9: return 2 / 0"),
        ("return 2 * x", "while True: pass", "not done after 2 s"),
        ("return 2 * x", "import sys; sys.exit(3)", "ends the whole program"),
        ("return 2 * x", "import os; os._exit(3)", "the process ended itself with status 3"),
        ("return 2 * x", "import ctypes; ctypes.string_at(0)", "the process crashed (SIGSEGV)"),
        ("return 2 * x", "return torch.ones(1 << 33)", "needs more memory than there is"),
        ("return 2 * x", "while True: print('x' * 9999)", "printed or wrote more than is allowed"),
        ("return 2 * x", "return double(x)", "RecursionError"),
        ("return 2 * x", "return torch.nn.Linear(1, 1)", "expected a tensor (3 float32), got Linear"),
        ("return 2 * x", "yield x", "expected a tensor (3 float32), got generator"),
        ("def double(x)", "def doubel(x)", "there is no double in exercise.py"),
        ("def double(x)", "def double(x, y)", "TypeError: double() missing 1 required positional argument: 'y'"),
        ("import torch\n", "import torch\nimport no_such_thing\n", "exercise.py cannot be loaded: ModuleNotFoundError"),
        ("import torch\n", "import torch\ndouble(1)\nx =\n", "exercise.py is not Python yet: line 4"),
        ("import torch\n", "import torch\nraise KeyboardInterrupt\n", "ends the whole program"),
    ],
)
def test_every_failure_is_a_sentence(check: Check, old: str, new: str, said: str) -> None:
    done = check("--only", "double", text=instead(old, new))
    assert said in done.stdout
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr


SLOW = [
    ("while True:\n        x = x + 1", "an endless loop: `while True:` stays true"),
    ("step = 1.0\n    while step > 0:\n        step = 1.0", "an endless loop: `while step > 0:` stays true"),
    ("w = x\n    while abs(float(w.sum())) != 1:\n        w = 1e9 * w", "iteration diverges: `w` is larger than any"),
    ("e = -1.0\n    while e < 1:\n        e = 2 * e", "the iteration diverges: `e` is larger than any"),
    ("w = 0 * x\n    while not (w == 1).all():\n        w = w / w", "`w` is not a number (nan) any more"),
    ("def f(n):\n        return f(n - 1) + f(n - 1) if n else 0\n    return f(60)", "the function calls itself again"),
    ("best = 9e9\n    for n in range(10**9):\n        best = min(best, n)", "the loop `for n in range(10**9):` takes"),
    ("try:\n        while True: pass\n    except Exception:\n        return x", "an endless loop: `while True: pass`"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "likely"), SLOW)
def test_used_up_time_is_explained_by_what_is_seen(check: Check, code: str, likely: str) -> None:
    done = check("--only", "double", text=instead("return 2 * x", code))
    folded = " ".join(done.stdout.split())
    assert "not done after 2 s" in folded and likely in folded and "where exercise.py, line " in folded
    assert folded.count("likely") == 1


def test_one_hanging_part_does_not_hold_up_the_others(check: Check) -> None:
    begin = time.monotonic()
    done = check(text=instead("return 2 * x", "while True: pass"))
    assert "✓ the sum of the doubled numbers" in done.stdout and time.monotonic() - begin < 40


def test_other_files(lab: Path, check: Check) -> None:
    (lab / "mine.py").write_text(instead("return 2 * x", "return x"))
    done = check("mine.py", "--only", "77.1")
    assert done.returncode == 1 and "again      python check.py mine.py --only 1" in done.stdout
    cells = [{"cell_type": "code", "source": SOLVED.splitlines(keepends=True)}]
    (lab / "mine.ipynb").write_text(json.dumps({"cells": cells}))
    assert check("mine.ipynb").returncode == 0
    done = check("nowhere.py")
    assert done.returncode == 1 and "nowhere.py cannot be read: No such file or directory." in done.stdout


@pytest.mark.parametrize("arguments", [["--only", "9"], ["--only", "dubble"], ["--seed", "x"], ["--target"]])
def test_wrong_command_lines(check: Check, arguments: list[str]) -> None:
    done = check(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.startswith("usage: check.py")


def test_targets_in_a_terminal(lab: Path) -> None:
    """check.py is the program itself here, and experiments.py takes what it shares from it."""
    done = subprocess.run(
        [sys.executable, "check.py", "--targets", "--only", "1"],
        cwd=lab, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "✓ twice 21" in done.stdout, done.stdout + done.stderr


def test_check_as_an_imported_module_has_its_experiments_once(lab: Path) -> None:
    program = "import check; s = [check.run_checks(check.lab, ['--targets', '--only', '1']) for _ in 'ab']; print(s)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=lab, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.stdout.count("✓ twice 21") == 2 and done.stdout.endswith("[0, 0]\n"), done.stdout + done.stderr


def test_a_lab_without_experiments(lab: Path, check: Check) -> None:
    (lab / "experiments.py").unlink()
    done = check("--targets")
    assert done.returncode == 0 and "Targets" not in done.stdout and "Next" not in done.stdout


def test_targets_are_measured_and_drawn(lab: Path, check: Check) -> None:
    done = check("--targets")
    assert done.returncode == 0, done.stdout
    assert "✓ twice 21 " in done.stdout and "42 %   = 42 %" in done.stdout and "· seen" in done.stdout
    assert (lab / "results" / "line.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"skipped    .*dlc_practical_prologue\.py\s+is missing", done.stdout, re.S)
    (lab / "results" / "line.png").unlink()
    missed = check("--targets", text=instead("return 2 * x", "return 2.5 * x"))
    assert missed.returncode == 1 and "not reached: twice 21" in missed.stdout
    assert "again      python check.py --targets --only 1" in missed.stdout


def test_a_target_waits_for_its_parts(check: Check) -> None:
    done = check("--targets", text=instead("return 2 * x", 'raise NotImplementedError("77.1 double")'))
    assert "○ how well it doubles: waits for 77.1 double" in done.stdout


def test_without_a_gpu_its_parts_are_skipped(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = check("--gpu")
    assert done.returncode == 0 and "skipped    no GPU with CUDA here" in done.stdout


def test_results_for_gradescope(lab: Path, check: Check) -> None:
    done = check("--json", "results.json", text=instead("return 2 * x", "return -2 * x"))
    assert done.returncode == 1
    results = json.loads((lab / "results.json").read_text(encoding="utf-8"))
    assert results["score"] == 2 and results["execution_time"] > 0  # a rule of form is a condition, not a point
    assert [test["max_score"] for test in results["tests"]] == [0, 1, 1, 1]
    assert all(test["status"] in ("passed", "failed") for test in results["tests"])
    wrong = [test for test in results["tests"] if test["status"] == "failed"]
    assert [test["name"] for test in wrong] == ["77.1 double: twice the numbers"]
    assert "seen: the sign is wrong" in wrong[0]["output"] and len(results["tests"]) == 4


def test_on_a_terminal_there_are_colours_and_a_bar(lab: Path) -> None:
    (lab / "exercise.py").write_text(instead("return 2 * x", "import time; time.sleep(4); return 2 * x"))
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    program = subprocess.Popen([sys.executable, "check.py", "--only", "1", "--patience", "9"], cwd=lab,
                               env=environment, stdout=theirs, stderr=theirs, close_fds=True)  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    assert program.wait(timeout=60) == 0
    text = shown.decode()
    assert "\x1b[32m✓\x1b[0m" in text and "━" in text and "twice the numbers" in text


def test_ctrl_c_ends_quietly(lab: Path) -> None:
    (lab / "exercise.py").write_text(instead("return 2 * x", "print('begun'); import time; time.sleep(60)"))
    program = subprocess.Popen([sys.executable, "check.py", "--only", "1", "--patience", "50"], cwd=lab,
                               env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    assert program.stdout is not None
    for line in program.stdout:
        if "written without a loop" in line:
            break
    time.sleep(1.0)
    program.send_signal(signal.SIGINT)  # which a shell's background job ignores, hence SIG_DFL above
    out, err = program.communicate(timeout=30)
    assert program.returncode == 130 and "interrupted" in out and "Traceback" not in err


TYPED = """
import torch
Tensors = list[torch.Tensor | None]

def first(x: Tensors) -> torch.Tensor:
    return x[0]
"""


def test_a_notebook_keeps_the_names_of_types(tmp_path: Path) -> None:
    """They stand in annotations, which Python evaluates; what only looks like one is computing, and stays out."""
    cells = [TYPED, "images = torch.zeros(3)\none = images[0]\nboth = images | images"]
    text = json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]})
    kept = cases.script_of_notebook(text, tmp_path / "exercise.ipynb")
    assert "Tensors = " in kept and "images" not in kept

    kernel: dict[str, Any] = {"__name__": "__main__", "In": cells}
    exec("\n".join(cells).replace("images | images", "images"), kernel)
    made = kernel_submission(kernel, tmp_path / "exercise.ipynb").text
    assert "Tensors = list" in made and "images" not in made
    exec(made, {})
