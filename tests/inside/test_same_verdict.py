"""check() in a kernel and the grading of the saved notebook check the same script: one notebook after the other.

The same code takes the functions out of both. These tests hold what travels along, and what is said when it cannot.
"""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import lab_cases as cases
import nbformat
import pytest
from checking.cells import code_cells, parsed
from checking.kernel import History, kernel_submission
from checking.outcome import CheckFailed
from checking.session import raised
from checking.submission import LARGEST, of_cells, read

PARTS = ("f",)
SETUP = "import sys\nsys.path.append('..')\nfrom checking import notebook\ncheck = notebook('01_x')"
USES_K = "def f(x):\n    return K * x\ncheck('f')"
WANT = 6  # f(3)

# Notebooks, as cells; in each of them f(3) is 6.
RIGHT: dict[str, list[str]] = {
    "plain": ["def f(x):\n    return 2 * x"],
    "constant": ["K = 2", USES_K],
    "computed": ["import math\nnumbers = [1, 3]\nK = int(math.sqrt(sum(numbers)))", USES_K],
    "computed of computed": ["a = 1\nb = a + 1", "K = b * 1", USES_K],
    "annotated": ["K: int = 1 + 1", USES_K],
    "unpacked": ["K, other = 2, print", USES_K],
    "loop": ["K = 0\nfor n in range(2):\n    K += 1", USES_K],
    "with": ["import contextlib\nwith contextlib.nullcontext(2) as K:\n    pass", USES_K],
    "walrus": ["if (K := 2) > 1:\n    print(K)", USES_K],
    "augmented": ["K = 1\nK += 1", USES_K],
    "filled table": ["table = {}", "table['k'] = 2", "def f(x):\n    return table['k'] * x"],
    "appended": ["table = []", "table.append(2)", "def f(x):\n    return table[0] * x"],
    "attribute": ["class Box: pass\nbox = Box()", "box.k = 2", "def f(x):\n    return box.k * x"],
    "import in try": ["try:\n    import numpy as np\nexcept ImportError:\n    np = None",
                      "def f(x):\n    return int(np.int64(2)) * x"],
    "decides by import": ["try:\n    import no_such_module as m\nexcept ImportError:\n    m = None",
                          "def f(x):\n    return 2 * x if m is None else x"],
    "missing module elsewhere": ["import no_such_module", "def h(x):\n    return no_such_module.h(x)",
                                 "def f(x):\n    return 2 * x"],
    "missing module not called": ["import no_such_module", "def h(x):\n    return no_such_module.h(x)",
                                  "def f(x):\n    return 2 * x if x else h(x)"],
    "class without its base": ["class H(nothing): pass", "def f(x):\n    return 2 * x if x else H()"],
    "set up by a call": ["def set_up():\n    global K\n    K = 2", "set_up()", USES_K],
    "filled by a function": ["def fill(t):\n    t.append(2)", "T = []", "fill(T)", "def f(x):\n    return T[0] * x"],
    "filled by a library": ["import heapq\nT = []", "heapq.heappush(T, 2)", "def f(x):\n    return T[0] * x"],
    "filled with a result": ["T = []", "_ = T.append(2)", "def f(x):\n    return T[0] * x"],
    "registered": ["table = {}\ndef register(g):\n    table[g.__name__] = g\n    return g",
                   "@register\ndef twice(x):\n    return 2 * x", "def f(x):\n    return table['twice'](x)"],
    "method put in": ["class A: pass", "def g(self, x):\n    return 2 * x\nA.g = g", "def f(x):\n    return A().g(x)"],
    "match": ["match 2:\n    case int(K):\n        pass", USES_K],
    "timed": ["%time K = 2", USES_K],
    "timed call": ["K = %time 1 + 1", USES_K],
    "measured": ["t = %timeit -o -n 1 -r 1 1 + 1", "K = 2", USES_K],
    "indented cell": ["    K = 2\n    L = 3", USES_K],
    "prompts": [">>> K = 2\n>>> L = 3", USES_K],
    "checks in a loop": ["for K in range(3):\n    check('f', seed=K)", "K = 2", USES_K],
    "checks beside a function": ["if True:\n    def f(x):\n        return 2 * x\n    check('f')"],
    "checker beside an import": ["import math, checking\nfrom checking import notebook as n\nc = n('01_x')\nc()",
                                 "def f(x):\n    return 2 * int(math.sqrt(x * x))"],
    "own function named check": ["def check(x):\n    return 2 * x", "def f(x):\n    return check(x)"],
    "return outside": ["K = 2", "x = 3\nreturn x", USES_K],
    "argument twice": ["def h(a, a):\n    pass", "K = 2", USES_K],
    "await elsewhere": ["async def g():\n    return 3", "K = 2", "j = await g()", USES_K],
    "long sum": ["K = 2 + " + " + ".join(["0"] * 900), USES_K],
    "quotes": ['K = f"""{1 + 1}\n""".count("2") * 2\nS = """a\n  b"""', "def f(x):\n    return K * x + len(S) - 5"],
    "display": ["def f(x):\n    display(x)\n    return 2 * x"],
    "type alias of a string": ["from typing import TypeAlias\nN: TypeAlias = 'int | float'",
                               "def f(x: N) -> N:\n    return 2 * x"],
    "dataclass": ["from dataclasses import dataclass\n@dataclass\nclass D:\n    k: int = 2",
                  "def f(x):\n    return D().k * x"],
    "import in if": ["if True:\n    import math as m", "def f(x):\n    return int(m.sqrt(4)) * x"],
    "import star": ["from math import *", "def f(x):\n    return int(sqrt(4)) * x"],
    "future": ["from __future__ import annotations", "def f(x: Unknown) -> Nothing:\n    return 2 * x"],
    "helper": ["def twice(x):\n    return 2 * x", "def f(x):\n    return twice(x)"],
    "helper below": ["def f(x):\n    return twice(x)", "def twice(x):\n    return 2 * x"],
    "class": ["class Doubler:\n    def __call__(self, x):\n        return 2 * x",
              "def f(x):\n    return Doubler()(x)"],
    "lambda": ["f = lambda x: 2 * x"],
    "partial": ["from functools import partial\nf = partial(int.__mul__, 2)"],
    "decorated": ["import functools\ndef doubled(g):\n    @functools.wraps(g)\n    def inner(x):\n"
                  "        return 2 * g(x)\n    return inner", "@doubled\ndef f(x):\n    return x"],
    "guarded": ["if 1 < 2:\n    def f(x):\n        return 2 * x\nelse:\n    def f(x):\n        return x"],
    "in try": ["try:\n    def f(x):\n        return 2 * x\nexcept Exception:\n    raise"],
    "default": ["K = 2", "def f(x, k=K):\n    return k * x"],
    "global": ["def set_up():\n    global K\n    K = 2", "set_up()", "def f(x):\n    set_up()\n    return K * x"],
    "type alias": ["Number = int | float", "def f(x: Number) -> Number:\n    return 2 * x"],
    "twice": ["def f(x):\n    return x", "def f(x):\n    return 2 * x"],
    "the word checking": ["def f(x):\n    '''checking is done elsewhere.'''\n    return 2 * x"],
    "magic": ["%matplotlib inline\nK = 2", USES_K],
    "indented magic": ["if True:\n    %time K = 2\n    K = 2", USES_K],
    "shell": ["files = !ls\n!echo hello", "K = 2", USES_K],
    "help": ["print?\nstr.join??\n?len", "K = 2", USES_K],
    "bash": ["%%bash\nls |\\", "K = 2", USES_K],
    "timed cell": ["%%time\nK = 2", USES_K],
    "captured cell": ["%%capture out\ndef f(x):\n    return 2 * x"],
    "a line with %": ["K = (17\n% 5)", USES_K],
    "text with !": ["K = len('a!')\nprint('%d?' % K)", USES_K],
    "no Python": ["K = 2", "this is no Python", USES_K],
    "no Python, more": ["def g(:\n", USES_K, "K = 2", "x = = 3"],
    "separators": ["K = 2\r\nj = '\x0c'\r\n", "def f(x):\r\n    s = '\u2028'\r\n    return K * x"],
    "two on a line": ["K = 1; K = K + 1; print(K)", USES_K],
    "what trains": ["for n in range(3):\n    raise_nothing = n", "def f(x):\n    return 2 * x"],
    "failing before": ["K = 2", "L = undefined_name + 1", USES_K],
    "only draws": ["def draw():\n    return trained", "trained = 1 / 1", "def f(x):\n    return 2 * x"],
    "seed": ["import random\nrandom.seed(0)", "def f(x):\n    random.seed(1)\n    return 2 * x"],
}  # fmt: skip


def notebook(cells: list[str], **more: Any) -> str:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text, **more) for text in [SETUP, *cells]])
    return str(nbformat.writes(made))


def result(text: str) -> Any:
    names: dict[str, Any] = {"__name__": "exercise"}
    exec(compile(text, "exercise.ipynb", "exec", dont_inherit=True), names)
    return names["f"](3)


@pytest.mark.parametrize("name", RIGHT)
def test_both_check_the_same_script(name: str, tmp_path: Path) -> None:
    file = tmp_path / "exercise.ipynb"
    file.write_text(notebook(RIGHT[name]), encoding="utf-8")
    handed_in = read(file, PARTS)
    checked = kernel_submission({"In": ["", SETUP, *RIGHT[name]]}, file, PARTS)
    assert handed_in.text == checked.text
    assert result(handed_in.text) == WANT
    assert "checking" not in handed_in.text.replace("checking is done", "") and "f" in handed_in.definitions()
    assert handed_in.missing == () or name == "class without its base"
    assert bool(handed_in.remarks) == (name in ("return outside", "argument twice") or name.startswith("no Python"))


def test_what_no_function_needs_stays_behind(tmp_path: Path) -> None:
    file = tmp_path / "exercise.ipynb"
    file.write_text(notebook(["import torch, os\nx = 3\nprint(x)", "import math\nm = math.pi", *RIGHT["constant"]]))
    text = read(file, PARTS).text
    assert [word for word in ("torch", "print", "math", "sys", "check") if word in text] == []


def test_a_cell_that_is_no_python_costs_itself_and_is_told(tmp_path: Path) -> None:
    file = tmp_path / "exercise.ipynb"
    file.write_text(notebook(["x = 1\ny = = 2", "def f(x):\n    return 2 * x"]))
    (remark,) = read(file, PARTS).remarks
    assert remark.startswith("code cell 2 is not Python yet, line 2: ")


class Shell:
    """IPython's shell, as far as History knows it."""

    def __init__(self) -> None:
        self.events, self.names = self, {"In": ["", SETUP]}
        self.hooks: dict[str, Any] = {}

    def register(self, event: str, function: Any) -> None:
        self.hooks[event] = function

    def run(self, text: str, cell: str | None, success: bool = True, error: BaseException | None = None) -> None:
        info = type("Info", (), {"raw_cell": text, "cell_id": cell})
        self.hooks["pre_run_cell"](info)
        self.names["In"].append(text)
        self.hooks["post_run_cell"](type("Result", (), {"info": info, "success": success, "error_in_exec": error}))


def kernel(*runs: tuple[str, str | None, bool]) -> tuple[Shell, History]:
    shell = Shell()
    history = History(shell.names, shell)
    setup = type("Info", (), {"raw_cell": SETUP, "cell_id": "s"})
    shell.hooks["post_run_cell"](type("Result", (), {"info": setup, "success": True}))
    for run in runs:
        shell.run(*run)
    return shell, history


def test_a_cell_counts_as_it_ran_last(tmp_path: Path) -> None:
    shell, history = kernel(("K = 1", "a", True), (USES_K, "b", True), ("K = 2", "a", True), ("K = nope", "a", False))
    assert history.cells() == [SETUP, "K = 2", USES_K]
    assert result(kernel_submission(shell.names, tmp_path / "x.ipynb", PARTS, history).text) == WANT


def test_what_cannot_travel_is_said_at_once(tmp_path: Path) -> None:
    shell, history = kernel((USES_K, "b", True))
    shell.names["K"] = 2  # by %run, %store, or another program
    made = kernel_submission(shell.names, tmp_path / "x.ipynb", PARTS, history)
    assert made.missing == (("f", ("K",)),)
    assert made.remarks == ("f uses `K`, which this kernel has, but no cell defines it: grading will not find it",)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["K = int(input())", USES_K], "f uses `K` of code cell 2, which cannot be made again where functions are "
         "checked: it is typed in; hand it over as an argument, or write it down"),
        (["K = !ls", USES_K], "a command of IPython makes it"),
        (["async def g():\n    return 2", "K = await g()", USES_K], "it is awaited"),
        (["%run numbers.py", USES_K], "f uses `K`, which this kernel has, but no cell defines it"),
        (["from third import K", USES_K], "the functions use third.py, which lies beside the notebook: hand it in"),
        (["K = int(open('k.txt').read())", USES_K], "the functions use k.txt, which lies beside the notebook"),
    ],
)  # fmt: skip
def test_what_grading_would_not_find_is_said(tmp_path: Path, cells: list[str], said: str) -> None:
    (tmp_path / "third.py").write_text("K = 2\n")
    (tmp_path / "k.txt").write_text("2")
    made = kernel_submission({"In": ["", SETUP, *cells], "K": 2}, tmp_path / "exercise.ipynb", PARTS)
    assert len(made.remarks) == 1 and said in made.remarks[0]
    assert "third" in made.beside or "third" not in cells[0]


def test_what_fails_costs_itself_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    cells = ["import no_such_module", "K = no_such_module.k", "L = 1", USES_K]
    made, _ = of_cells(parsed(cells), Path("x.ipynb"), PARTS)
    with pytest.raises(NameError, match="'K'"):
        result(made.text)
    assert capsys.readouterr().out.splitlines() == [
        "code cell 1: ModuleNotFoundError: No module named 'no_such_module'",
        "code cell 2: NameError: name 'no_such_module' is not defined",
    ]
    assert made.computed == {"K": "code cell 2"}


def test_an_undefined_name_is_explained() -> None:
    made, _ = of_cells(parsed(["K = 1 / 0", "def f(x):\n    return K * x * other"]), Path("x.ipynb"), PARTS)
    for name, said in (("K", "`K` is made in code cell 1, which fails"), ("other", "no cell of code defines `other`")):
        (sentence,) = raised({"type": "NameError", "text": f"name '{name}' is not defined"}, made).seen
        assert sentence.startswith(said)


def test_a_cell_that_broke_off_counts_as_far_as_it_ran(tmp_path: Path) -> None:
    """A function is new in the kernel, though the line below it failed."""
    shell, history = kernel(("def f(x):\n    return x\nprint(1)", "a", True))
    text = "def f(x):\n    return 2 * x\nprint(f(nothing))\nf = None"
    with pytest.raises(NameError) as broken:
        exec(compile(text, "cell", "exec"), {})
    broken.value.__traceback__ = broken.tb
    shell.run(text, "a", False, broken.value)
    assert result(kernel_submission(shell.names, tmp_path / "x.ipynb", PARTS, history).text) == WANT


@pytest.mark.parametrize(("saved", "said"), [
    (["K = 2", USES_K], False), ([USES_K], True), (["K = 3", USES_K], True),
    (["K = 2", "def f(x):\n    return x"], False),
])  # fmt: skip
def test_a_saved_notebook_that_differs_is_told(tmp_path: Path, saved: list[str], said: bool) -> None:
    """A cell was deleted or edited after it ran; a function that is not saved yet is no reason for a word."""
    file = tmp_path / "exercise.ipynb"
    file.write_text(notebook(saved))
    shell, history = kernel(("K = 2", "a", True), (USES_K, "b", True))
    remarks = kernel_submission(shell.names, file, PARTS, history).remarks
    assert [remark.startswith("f uses `K`, which the saved notebook ") for remark in remarks] == [True] * said


def test_pictures_do_not_count_for_the_size(tmp_path: Path) -> None:
    file = tmp_path / "EXERCISE.IPYNB"
    picture = nbformat.v4.new_output("display_data", data={"image/png": "A" * 5_000_000})
    file.write_text(notebook(["def f(x):\n    return 2 * x"], outputs=[picture]))
    assert result(read(file, PARTS).text) == WANT
    file.write_text(notebook([f"x = {'1' * LARGEST}"]))
    with pytest.raises(CheckFailed, match="more than 2 MB of code"):
        read(file, PARTS)


def test_the_third_version_of_notebooks(tmp_path: Path) -> None:
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["K = 2\n", "x = 1"], "language": "python"}]},
                          {"cells": [{"cell_type": "code", "input": USES_K}]}], "nbformat": 3}  # fmt: skip
    assert code_cells(json.dumps(old), tmp_path / "x.ipynb") == ["K = 2\nx = 1", USES_K]


LATIN = "# -*- coding: latin-1 -*-\ndef f(x):\n    'süß'\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LATIN.encode("latin-1"), ""),
        (codecs.BOM_UTF8 + b"def f(x):\n    return 2 * x\n", ""),
        (b"def f(x):\r\n    return 2 * x\r\n", ""),
        ("def f(x):\n    return 2 * x\n".encode("utf-16"), "is text in UTF-16: save it in UTF-8"),
        ("def f(x):\n    'süß'\n".encode("latin-1"), "is not text in UTF-8"),
        (b"# coding: nonsense\n", "is not text in UTF-8"),
        (b"def f(x):\n    return 2 * x\n\0", "x.py"),
        (b"x = " + b"(" * 5000 + b")" * 5000, "x.py"),
        (b"x = " + b"-" * 50_000 + b"1", "x.py"),
    ],
)
def test_scripts_in_any_encoding(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "x.py"
    file.write_bytes(content)
    if not said:
        assert result(read(file, PARTS).text) == WANT
        return
    with pytest.raises(CheckFailed) as failed:
        read(file, PARTS)
    assert failed.value.kind == "unusable" and said in failed.value.text


def test_a_large_script_is_looked_at_once_per_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """To split the whole text for each node took minutes for a megabyte."""
    from checking import rules, submission

    calls = []
    monkeypatch.setattr(submission, "lines_of", lambda text: calls.append(1) or text.split("\n"))
    text = "def f(x):\n" + "    x = x + 1\n" * 2000 + "    return x\n"
    rules.check(rules.Rule("f", True, ("cdist",), ""), submission.parse(text, Path("x.py")), ["f"], "01.1 f")
    assert len(calls) <= 1


def test_the_labs_notebooks_travel_whole() -> None:
    """What the checks of a lab call is there, also what the lab gives."""
    for name in cases.NAMES:
        lab = cases.lab(name)
        cells = parsed(code_cells(cases.source(name).notebook_of(solved=True), Path("x.ipynb")))
        made, script = of_cells(cells, Path("x.ipynb"), lab.asked)
        assert script.missing == {} and script.remarks == ()
        assert set(lab.parts) <= set(made.definitions())
