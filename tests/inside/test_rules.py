"""Rules on how a part is written: no way around them by other words, and no right answer refused for its names."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import lab_cases as cases  # noqa: F401  # the path to `checking`
import pytest
from checking import rules
from checking.lab import Lab
from checking.outcome import CheckFailed
from checking.report import Page, gradescope
from checking.results import Result, idle, points, total
from checking.submission import parse, read

LOOPS = rules.Rule("f", True, (), "")
CDIST = rules.Rule("f", False, ("cdist", "optim.SGD"), "")


def broken(rule: rules.Rule, text: str, tmp_path: Path, beside: str = "") -> str:
    (tmp_path / "exercise.py").write_text(text)
    if beside:
        (tmp_path / "helper").mkdir()
        (tmp_path / "helper" / "__init__.py").write_text(beside)
        (tmp_path / "other.py").write_text(beside)
        (tmp_path / "third.py").write_text("import other\ndef go(x):\n    return other.slow(x)\n")
    try:
        rules.check(rule, read(tmp_path / "exercise.py"), ["f", "g"], "01.1 f")
    except CheckFailed as failed:
        assert failed.kind == "wrong"
        return failed.text
    return ""


SLOW = "def slow(x):\n    for y in x:\n        pass\n    return x\n"
AROUND_LOOPS = {
    "comprehension": "def f(x):\n    return {y: 1 for y in x}",
    "map": "def f(x):\n    return list(map(abs, x))",
    "reduce": "import functools\ndef f(x):\n    return functools.reduce(max, x)",
    "reduce by name": "from functools import reduce as r\ndef f(x):\n    return r(max, x)",
    "vectorize": "import numpy as np\ndef f(x):\n    return np.vectorize(abs)(x)",
    "helper": f"{SLOW}\ndef f(x):\n    return slow(x)",
    "helper of a helper": f"{SLOW}\ndef h(x):\n    return slow(x)\ndef f(x):\n    return h(x)",
    "class": "class H:\n    def go(self, x):\n        while x: x -= 1\ndef f(x):\n    return H().go(x)",
    "lambda": "h = lambda x: [y for y in x]\ndef f(x):\n    return h(x)",
    "lambda as the part": "f = lambda x: [y for y in x]",
    "rebinding": f"{SLOW}\ndef f(x):\n    return x\nf = slow",
    "guarded": "if True:\n    def f(x):\n        return [y for y in x]",
    "inner": "def f(x):\n    def g2(x):\n        for y in x: pass\n    return g2(x)",
    "recursion": "def f(x, n=9):\n    return x if n == 0 else f(x, n - 1)",
    "recursion in two": "def a(x):\n    return b(x)\ndef b(x):\n    return a(x)\ndef f(x):\n    return a(x)",
    "recursion of a lambda": "h = lambda n: n and h(n - 1)\ndef f(x):\n    return h(x)",
    "exec": "def f(x):\n    exec('for y in x: pass')",
    "eval": "def f(x):\n    return eval('[y for y in x]')",
    "compile": "def f(x):\n    return compile('1', '', 'eval')",
    "import": "def f(x):\n    return __import__('functools').reduce(max, x)",
    "importlib": "import importlib\ndef f(x):\n    return importlib.import_module('functools')",
    "globals": f"{SLOW}\ndef f(x):\n    return globals()['slow'](x)",
    "computed getattr": "import functools\ndef f(x):\n    return getattr(functools, 're' + 'duce')(max, x)",
    "decorator": f"{SLOW}\ndef d(g):\n    return slow\n@d\ndef f(x):\n    return x",
    "default": f"{SLOW}\ndef f(x, h=slow):\n    return h(x)",
    "rebinding with a type": f"{SLOW}\ndef f(x):\n    return x\nf: object = slow",
    "rebinding by a tuple": f"{SLOW}\ndef f(x):\n    return x\nf, y = slow, 1",
    "rebinding by a walrus": f"{SLOW}\ndef f(x):\n    return x\nif (f := slow): pass",
    "rebinding by a loop": f"{SLOW}\ndef f(x):\n    return x\nfor f in [slow]: pass",
    "rebinding by import": "def f(x):\n    return x\nfrom other import slow as f",
    "rebinding by a global": f"{SLOW}\ndef f(x):\n    return x\ndef h():\n    global f\n    f = slow\nh()",
    "rebinding by globals": f"{SLOW}\ndef f(x):\n    return x\nglobals()['f'] = slow",
    "rebinding in a function": f"{SLOW}\ndef f(x):\n    return x\ndef h():\n    globals()['f'] = slow\nh()",
    "rebinding by exec": f"{SLOW}\ndef f(x):\n    return x\nexec('f = slow')",
    "rebinding by modules": f"import sys\n{SLOW}\ndef f(x):\n    return x\nsys.modules['exercise'].f = slow",
    "rebinding by itself": f"{SLOW}\ndef f(x):\n    return x\nimport exercise\nexercise.f = slow",
    "exchanged code": f"{SLOW}\ndef f(x):\n    return x\nf.__code__ = slow.__code__",
    "exchanged method": f"{SLOW}\nclass f:\n    def go(self, x):\n        return x\nf.go = slow",
    "exchanged later": f"{SLOW}\nclass f:\n    pass\ndef h(c):\n    c.go = slow\nh(f)",
    "table of functions": f"{SLOW}\nT = {{}}\nT['slow'] = slow\ndef f(x):\n    return T['slow'](x)",
    "hidden by an inner name": f"{SLOW}\ndef f(x):\n    def unused(slow):\n        pass\n    return slow(x)",
    "hidden by a lambda": f"{SLOW}\ndef f(x):\n    y = lambda slow: 0\n    return slow(x)",
    "another name of exec": "e = exec\ndef f(x):\n    e('for y in x: pass')",
    "another name of getattr": "h = getattr\ndef f(x):\n    return h(x, 'a' + 'b')(max, x)",
    "builtins": "import builtins\ndef f(x):\n    builtins.exec('for y in x: pass')",
    "frames": f"import sys\n{SLOW}\ndef f(x):\n    return sys._getframe().f_globals['slow'](x)",
    "globals of a function": f"{SLOW}\ndef h(): pass\ndef f(x):\n    return h.__globals__['slow'](x)",
    "guarded recursion": "if True:\n    def f(n):\n        return n and f(n - 1)",
    "recursion by partial": "import functools\nh = functools.partial(lambda n: n and h(n - 1))\ndef f(x):\n"
    "    return h(x)",
    "recursion inside": "def f(x):\n    def h(n):\n        return n and h(n - 1)\n    return h(3)",
    "recursion of an inner lambda": "def f(x):\n    h = lambda n: n and h(n - 1)\n    return h(3)",
    "recursion of methods": "class H:\n    def a(self, n):\n        return self.b(n)\n    def b(self, n):\n"
    "        return n and self.a(n - 1)\ndef f(x):\n    return H().a(3)",
    "handed itself": "def h(g, n):\n    return n and g(g, n - 1)\ndef f(x):\n    return h(h, 3)",
    "loop at the top": "K = 0\nfor n in range(3):\n    K += 1\ndef f(x):\n    return K * x",
    "star of a file": "from other import *\ndef f(x):\n    return slow(x)",
    "file by a file": "import third\ndef f(x):\n    return third.go(x)",
    "the part in a file": "from other import slow as f",
    "file within": "def f(x):\n    from other import slow as s\n    return s(x)",
    "file by another name": "import other as o\np = o\ndef f(x):\n    return p.slow(x)",
    "numpy": "import numpy as np\ndef f(x):\n    return np.frompyfunc(abs, 1, 1)(x)",
    "deep": "def f(x):\n    return [y for y in x] + " + "-" * 150 + "1" + " + x" * 2000,
    "file": "import other\ndef f(x):\n    return other.slow(x)",
    "name of a file": "from other import slow as s\ndef f(x):\n    return s(x)",
    "folder": "import helper\ndef f(x):\n    return helper.slow(x)",
}


@pytest.mark.parametrize("name", AROUND_LOOPS)
def test_no_way_around_a_rule_on_loops(name: str, tmp_path: Path) -> None:
    assert broken(LOOPS, AROUND_LOOPS[name], tmp_path, beside=SLOW) != ""


AROUND_NAMES = {
    "attribute": "import torch\ndef f(x):\n    return torch.cdist(x, x)",
    "import": "from torch import cdist\ndef f(x):\n    return cdist(x, x)",
    "import as": "from torch import cdist as c\ndef f(x):\n    return c(x, x)",
    "import within": "def f(x):\n    from torch import cdist as c\n    return c(x, x)",
    "rebinding": "import torch\nc = torch.cdist\ndef f(x):\n    return c(x, x)",
    "local": "import torch\ndef f(x):\n    c = torch.cdist\n    return c(x, x)",
    "getattr": "import torch\ndef f(x):\n    return getattr(torch, 'cdist')(x, x)",
    "dict": "import torch\ndef f(x):\n    return vars(torch)['cdist'](x, x)",
    "module as": "import torch.optim as o\ndef f(x):\n    return o.SGD(x)",
    "method": "def f(x):\n    return x.cdist(x)",
    "lambda": "import torch\nc = lambda a: torch.cdist(a, a)\ndef f(x):\n    return c(x)",
    "partial": "import torch, functools\nc = functools.partial(torch.cdist, p=2)\ndef f(x):\n    return c(x, x)",
    "base class": "import torch\nclass f(torch.optim.SGD):\n    pass",
    "the part itself": "import torch\nf = torch.cdist",
    "the part by import": "from torch import cdist as f",
    "__dict__": "import torch\ndef f(x):\n    return torch.__dict__['cdist'](x, x)",
    "another name of a module": "import torch\no = torch.optim\ndef f(x):\n    return o.SGD(x)",
    "another name within": "import torch\ndef f(x):\n    o = torch.optim\n    return o.SGD(x)",
    "another name of another": "import torch as t\no = t.optim\np = o\ndef f(x):\n    return p.SGD(x)",
    "all names of a module": "from torch.optim import *\ndef f(x):\n    return SGD(x)",
    "hidden by an inner name": "from torch import cdist\ndef f(x):\n    y = lambda cdist: 0\n    return cdist(x, x)",
    "behind self": "import torch\ndef h(self, x):\n    return self.cdist(x, x)\ndef f(x):\n    return h(torch, x)",
    "in an attribute": "import torch\nclass f:\n    def __init__(self):\n        self.t = torch\n    def go(self, x):\n"
    "        return self.t.x.cdist(x, x)",
    "operator": "import operator, torch\ndef f(x):\n    return operator.attrgetter('cd' + 'ist')(torch)(x, x)",
    "default": "import torch\ndef f(x, c=torch.cdist):\n    return c(x, x)",
    "decorator": "import torch\ndef d(g):\n    return torch.cdist\n@d\ndef f(x):\n    return x",
}


@pytest.mark.parametrize("name", AROUND_NAMES)
def test_no_way_around_a_rule_on_names(name: str, tmp_path: Path) -> None:
    assert broken(CDIST, AROUND_NAMES[name], tmp_path) != ""


FINE = {
    "string": "def f(x):\n    'no cdist, no for loop'\n    return 'cdist'",
    "comment": "def f(x):\n    # for y in cdist: exec\n    return x",
    "longer name": "def f(x):\n    cdistance = 1\n    return cdistance",
    "variable": "def f(x):\n    cdist = x\n    return cdist",
    "argument": "def f(cdist):\n    return cdist",
    "own attribute": "class f:\n    def __init__(self):\n        self.cdist = 1\n    def go(self):\n"
    "        return self.cdist",
    "getattr of a constant": "def f(x):\n    return getattr(x, 'shape')",
    "names like loops": "def f(x):\n    mapping = {1: 2}\n    filtered = x\n    return mapping, filtered",
    "another part": "def g(x):\n    return [torch.cdist(y, y) for y in x]\ndef f(x):\n    return g(x)",
    "not reached": f"{SLOW}\nimport torch\nc = torch.cdist\ndef f(x):\n    return x",
    "regular expression": "import re\ndef f(x):\n    return re.compile('x')",
    "a helper": "def h(x):\n    return 2 * x\ndef f(x):\n    return h(h(x))",
    "method of the same name": "class f:\n    def f(self):\n        return 1",
    "torch.compile": "import torch\ndef f(x):\n    return torch.exp(x)",
    "a loop in another function of a file": "import other\ndef f(x):\n    return other.twice(x)",
    "a name from a file": "from other import twice as t\ndef f(x):\n    return t(x)",
    "the part in a file": "from other import twice as f",
    "a method of that name": "class f:\n    def cdist(self, x):\n        return x\n    def go(self, x):\n"
    "        return self.cdist(x)",
    "a function of that name": "def cdist(x):\n    return x\ndef f(x):\n    return cdist(x)",
    "a type": "import torch\ndef f(x: 'torch.cdist', o: torch.optim.SGD) -> torch.optim.SGD:\n    return x",
    "what runs by itself only": "def f(x):\n    return x\nif __name__ == '__main__':\n    f = globals()['f']\n"
    "    for n in range(3): f(n)",
    "getattr of self": "class f:\n    def go(self, n):\n        return getattr(self, f'w{n}')",
    "__dict__ of self": "class f:\n    def go(self, n):\n        self.__dict__.update(n)",
    "super": "class A:\n    def go(self, x):\n        return x\nclass f(A):\n    def go(self, x):\n"
    "        return super().go(x)",
    "eval of a model": "def f(model):\n    model.eval()\n    return model",
    "the top draws": "def f(x):\n    return x\nfor n in range(3):\n    print(f(n))\nprint([g for g in range(3)])",
    "methods that use each other": "class f:\n    def a(self):\n        return self.b()\n    def b(self):\n"
    "        return 1",
    "a long expression": "def f(x):\n    return x" + " + x" * 2000,
    "imports that may fail": "try:\n    import math\nexcept Exception as e:\n    print(e)\ndef f(x):\n"
    "    return math.sqrt(x)",
    "values of each other": "a = 1\nb = a + 1\na = b\ndef f(x):\n    return a * x",
    "loop as a name": "def f(loop):\n    for_each = map_ = loop\n    return for_each",
    "a file": "import other\ndef f(x):\n    return other.twice(x)",
}


@pytest.mark.parametrize("rule", [LOOPS, CDIST], ids=["loops", "names"])
@pytest.mark.parametrize("name", FINE)
def test_right_answers_are_not_refused_for_their_names(name: str, rule: rules.Rule, tmp_path: Path) -> None:
    assert broken(rule, FINE[name], tmp_path, beside=f"{SLOW}\ndef twice(x):\n    return 2 * x\n") == ""


def test_a_rule_names_the_line() -> None:
    with pytest.raises(CheckFailed) as failed:
        rules.check(LOOPS, parse("x = '\x0c'\ndef f(x):\n    return [y for y in x]\n", Path("a.py")), ["f"], "01.1 f")
    assert failed.value.where == "line 3: return [y for y in x]"


@dataclass(frozen=True)
class Kept:
    """A result as a grader keeps it."""

    parts: tuple[str, ...]
    kind: str
    status: str
    counts: bool = True
    text: str = ""


def kept(*rows: str) -> list[Kept]:
    """Results in short: "f+ g- rule:f- target:f,g+ f? f~": passed, failed, not yet, skipped."""
    made = []
    for row in rows:
        kind, _, name = row[:-1].rpartition(":")
        status = {"+": "passed", "-": "failed", "?": "not yet", "~": "skipped"}[row[-1]]
        sort = "experiment" if kind == "target" else "check"
        made.append(
            Kept(tuple(name.split(",")), sort, status, kind != "rule", "a loop\nwhere" if row[-1] == "-" else "")
        )
    return made


@pytest.mark.parametrize(
    ("rows", "given"),
    [
        ("f+ f+ g+", {"f": (2, 2), "g": (1, 1)}),
        ("rule:f+ f- g+", {"f": (0, 1), "g": (1, 1)}),  # a form that is kept is no point
        ("rule:f- f+ g+", {"f": (0, 1), "g": (1, 1)}),  # one that is not takes the points of its part alone
        ("f+ f+ rule:f-", {"f": (0, 2)}),  # whatever the order
        ("rule:f? f? g+", {"f": (0, 1), "g": (1, 1)}),
        ("rule:g- f,g+ f+", {"f": (2, 2)}),  # the points of a check are those of its first part
        ("f~ f+", {"f": (1, 1)}),
        ("f+ g+ target:f,g+", {"f": (2, 2), "g": (1, 1)}),
        ("f+ g- target:f,g+", {"f": (1, 2), "g": (0, 1)}),
        ("f+ g? target:f,g+", {"f": (1, 2), "g": (0, 1)}),
        ("f+ g+ rule:g- target:f,g+", {"f": (1, 2), "g": (0, 1)}),
        ("f+ g~ target:f,g+", {"f": (2, 2)}),
        ("target:f+", {"f": (1, 1)}),  # measured alone
        ("", {}),
    ],
)
def test_points(rows: str, given: dict[str, tuple[int, int]]) -> None:
    found = kept(*rows.split())
    assert points(found) == given
    assert total(found) == (sum(a for a, _ in given.values()), sum(b for _, b in given.values()))


def test_points_of_one_kind() -> None:
    found = kept("f+", "g-", "target:f,g+", "target:f+")
    assert points(found, ("experiment",)) == {"f": (1, 2)}  # the wrong g counts, too


def test_why_a_pass_is_no_point() -> None:
    assert idle(kept("f+", "rule:f-", "g-", "target:g+", "target:f+")) == [
        "does not count: a loop", "", "", "does not count: not all checks of g pass", "does not count: a loop"
    ]  # fmt: skip


def test_the_student_reads_what_counts(tmp_path: Path) -> None:
    lab = Lab(str(tmp_path / "77_x" / "check.py"), parts=["f", "g"])
    lab.forbid("f", loops=True)
    for part in ("f", "g"):

        def check(student: object, rng: object) -> None:
            "right"

        check.__name__ = f"checks_{part}"
        lab.check(part)(check)
    form, first, second = lab.checks
    results = [Result(form, "failed", 0.0, CheckFailed("wrong", "a loop is not allowed here")),
               Result(first, "passed", 0.0), Result(second, "passed", 0.0)]  # fmt: skip
    stream = io.StringIO()
    page = Page(stream, colour=False, alive=False)
    page.result(results[1], "", idle(results[:2])[-1])
    page.end(results, 1.0, "")
    said = stream.getvalue()
    assert "note       does not count: a loop is not allowed here" in said
    assert "  1 of 2 pass · 1 does not count · 1 rule not kept · 1.0 s" in said
    made = gradescope(lab, results, 1.0)
    assert made["score"] == 1.0
    assert [(one["score"], one["max_score"]) for one in made["tests"]] == [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    assert made["tests"][1]["output"] == "does not count: a loop is not allowed here"
