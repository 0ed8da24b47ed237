"""Every kind of bad submission, for the tests of grading; all are versions of lab 02."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import lab_cases as cases
from labs_support import CHECKOUT

# The package as it was delivered; without the variable, that of this checkout.
GRADING = Path(os.environ.get("COURSEBOX_TEST_GRADING") or CHECKOUT / "grading")
sys.path.insert(0, str(GRADING))

from course_grade.sandbox import Protection  # noqa: E402

LAB = "02_neighbours"
FIRST = "nearest_classification"
CHECKS = [check for check in cases.lab(LAB).of_kind("check") if check.function is not None]  # a rule gives no point
ALL = len(CHECKS)
RULES = 0  # points where nothing runs
LESS_FIRST = ALL - 2  # the two checks that call the first part fail


def instead_of(part: str, body: str) -> str:
    """The solution with the body of one part replaced."""
    heads = {
        FIRST: "def nearest_classification(train_input, train_target, x):",
        "PCA": "def PCA(x):",
    }
    text = heads[part] + "".join(f"\n    {line}" for line in body.strip("\n").split("\n"))
    return str(cases.labkit.replaced(cases.solved(LAB), part, text))


def at_import(code: str) -> str:
    """The solution with code in front that runs when it is loaded."""
    return f"{code}\n\n{cases.solved(LAB)}"


@dataclass(frozen=True)
class Bad:
    """A submission: its text, how many checks it may pass at most, what its remark or some message must say."""

    text: str | bytes
    most: int
    says: str = ""


FORGERY = """
import gc, os, socket, struct, json
def nearest_classification(train_input, train_target, x):
    text = json.dumps({"value": None, "changed": {"": "list", "v": []}}).encode()
    for fd in range(3, 64):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket"):
                pass
        except OSError:
            pass
        try:
            os.write(fd, struct.pack("<4sQQ", b"lab1", len(text), 8) + text + struct.pack("<Q", 0))
        except OSError:
            pass
    return train_target[0]
"""

PATCHES = """
import sys, torch
import checking, checking.compare, checking.runner, checking.outcome
for module in (checking, checking.compare, checking.runner):
    for name in ("expect", "require", "_close", "_any", "run"):
        setattr(module, name, lambda *a, **k: None)
checking.outcome.CheckFailed.__init__ = lambda self, *a, **k: None
torch.equal = torch.allclose = lambda *a, **k: True
torch.isclose = lambda a, *r, **k: torch.ones_like(a, dtype=torch.bool)
torch.Tensor.__eq__ = lambda self, other: torch.ones(self.shape, dtype=torch.bool)
def nearest_classification(train_input, train_target, x):
    return train_target[0]
"""

READS = """
import glob, re
def nearest_classification(train_input, train_target, x):
    for place in (LABS, "/usr/share/coursebox/labs", "/home/dave/labs"):
        for file in glob.glob(place + "/02_*/check.py"):
            text = open(file).read()
            found = text[text.index("def nearest_classification"):]
            names = {}
            exec(found[:found.index("@lab.check")], names)
            return names["nearest_classification"](train_input, train_target, x)
    return train_target[0]
"""

ALWAYS_EQUAL = """
import torch
class Agreeable(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True
def nearest_classification(train_input, train_target, x):
    return torch.tensor(0).as_subclass(Agreeable)
"""


def hard_coded() -> str:
    """Right for the public seed, by a table of its answers."""
    return f"""
import torch
from checking.rng import Rng
TABLE = {{}}
def nearest_classification(train_input, train_target, x):
    rng = Rng(0, "takes_the_class_of_the_nearest_row")
    for n, d in (13, 5), (1, 3), (2, 1), (31, 17), (3, 3):
        for _ in range(3):
            train, target, sample = rng.normal(n, d), 10 * rng.permutation(n), rng.normal(d)
            if torch.equal(sample, x):
                return train_target[(train_input - x).square().sum(1).argmin()]
    return train_target[0]
{cases.labkit.replaced(cases.solved(LAB), FIRST, "")}"""


def _first(body: str) -> str:
    """The solution with another body of its first part."""
    return instead_of(FIRST, body)


ENDLESS = "while True:\n    pass"
HOARD = "a = []\nwhile True:\n    a.append(torch.empty(1 << 26))"
RECURSION = f"return {FIRST}(train_input, train_target, x)"
LEFT_BEHIND = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)"
KILLS = """
import os, signal
for pid in [os.getppid(), *range(2, 400)]:
    try:
        if pid != os.getpid():
            os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
return train_target[0]
"""
DELETES = """
import shutil
for place in PLACES:
    shutil.rmtree(place, ignore_errors=True)
"""
DIALS = """
import socket
def nearest_classification(train_input, train_target, x):
    for family, kind in ((socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_STREAM)):
        try:
            with socket.socket(family, kind) as there:
                there.settimeout(1)
                there.connect(("192.0.2.1", 53))
                there.send(b"x")
        except OSError:
            continue
        return (train_input - x).square().sum(1).argmin() * 0 + train_target[0]
    return train_target[(train_input - x).square().sum(1).argmin()]
"""


def bad_submissions(canary: Path, protection: Protection) -> dict[str, Bad]:
    """Name → submission; `canary` is a folder that must survive all of them.

    Where nothing would hold a submission back, it is left out: these tests must not kill or delete anything either.
    """
    solution, labs = cases.solved(LAB), repr(str(cases.LABS))
    found = {
        "syntax_error": Bad("def f(:\n", 0, "is not Python yet: line 1"),
        "empty": Bad("", 0, "there is no"),
        "zero_bytes": Bad(b"import torch\0\n", 0, "null bytes"),
        "not_text": Bad(b"\xff\xfe\x00x", 0, "is text in UTF-16"),
        "deeply_nested": Bad("x = " + "(" * 5000 + ")" * 5000, 0, "Python"),
        "huge": Bad("x = 1\n" * 400_000, 0, "is larger than"),
        "endless_import": Bad(at_import(ENDLESS), RULES, "not done after"),
        "endless_loop": Bad(_first(ENDLESS), LESS_FIRST, "not done after"),
        "exits_at_import": Bad(at_import("import sys\nsys.exit(0)"), RULES, "ends the whole program"),
        "exits": Bad(_first("import sys\nsys.exit(0)"), LESS_FIRST, "ends the whole program"),
        "exits_hard": Bad(_first("import os\nos._exit(0)"), LESS_FIRST, "ended itself with status 0"),
        "crashes": Bad(_first("import ctypes\nctypes.string_at(0)"), LESS_FIRST, "SIGSEGV"),
        "allocates": Bad(_first("return torch.ones(10, 1 << 28)[0]"), LESS_FIRST, "memory"),
        "allocates_slowly": Bad(_first(HOARD), LESS_FIRST, "memory"),
        "huge_result": Bad(_first("return torch.zeros(1).expand(1 << 40)"), LESS_FIRST, "process"),
        "prints": Bad(_first("while True:\n    print('x' * 1000)"), LESS_FIRST, "printed or wrote more"),
        "recursion": Bad(_first(RECURSION), LESS_FIRST, "RecursionError"),
        "missing_module": Bad(at_import("import tensorflow_of_the_future"), RULES, "No module named"),
        "patches_the_checker": Bad(solution + PATCHES, LESS_FIRST, "expected"),
        "forges_answers": Bad(solution + FORGERY, LESS_FIRST),
        "always_equal": Bad(solution + ALWAYS_EQUAL, LESS_FIRST),
        "hard_coded": Bad(hard_coded(), ALL - 1),
    }
    if protection.files or protection.other_user:
        found["deletes"] = Bad(at_import(DELETES.replace("PLACES", f"({str(canary)!r}, {labs})")), ALL)
    if protection.files:
        found["reads_the_checks"] = Bad(solution + READS.replace("LABS", labs), LESS_FIRST)
    if protection.namespaces:
        found["leaves_a_process"] = Bad(at_import(LEFT_BEHIND), ALL)
        found["uses_the_network"] = Bad(solution + DIALS, ALL)
    if protection.namespaces or protection.other_user:
        found["kills"] = Bad(_first(KILLS), LESS_FIRST)
    return found
