"""tools/labrules.py and tools/labkit.py: the rules of a lab in words, and the sentences of its parts."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from coursebox.core.paths import CHECKOUT

CHECK = """\
import torch
from checking import Lab
HERE = "the function is the exercise"
LIBRARY = ["conv2d", "unfold"]
FLOAT = torch.float64
OTHER = [FLOAT]
lab = Lab(__file__, parts=["f", "g", "h"])
lab.forbid("f", loops=True, names=[*LIBRARY, "@"], why=HERE)
for part in "g", "h":
    lab.forbid(part, names=("autograd",))
lab.check("f")(print)
"""


@pytest.fixture(scope="module")
def tools() -> dict[str, ModuleType]:
    """Modules of tools/, by name."""
    found = {}
    for name in ("labkit", "labrules", "labs"):
        spec = importlib.util.spec_from_file_location(f"tools_{name}", CHECKOUT / "tools" / f"{name}.py")
        assert spec and spec.loader
        found[name] = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    return found


def test_rules_are_read_without_torch(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    check = tmp_path / "check.py"
    assert tools["labrules"].rules(check) == {}
    check.write_text(CHECK)
    assert tools["labrules"].rules(check) == {
        "f": "Not allowed: loops, comprehensions, `conv2d`, `unfold`, `@`. The function is the exercise.",
        "g": "Not allowed: `autograd`.",
        "h": "Not allowed: `autograd`.",
    }


SOURCE = '''\
# %% [markdown]
# # 07 · T

# %%
def f(x):
    """Twice x.

    HINT
    """
    # BEGIN SOLUTION
    return 2 * x
    # END SOLUTION
'''


@pytest.mark.parametrize("kind", ["exercise.py", "exercise.ipynb", "sheet.md"])
def test_a_rule_stands_before_the_hint_wherever_students_read(
    tools: dict[str, ModuleType], tmp_path: Path, kind: str
) -> None:
    source = tmp_path / "07_small" / "author" / "lab.py"
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE.replace("HINT", "Hint: a product."), encoding="utf-8")
    (tmp_path / "07_small" / "check.py").write_text('lab.forbid("f", names=["add"], why="a product does it")\n')
    for solved in (False, True):
        made = tools["labs"].Lab(source).files(solved)
        text = made.get(kind, made["exercise.py"])
        assert text.index("Twice x") < text.index("Not allowed: `add`. A product does it.") < text.index("Hint: a")


@pytest.mark.parametrize(
    ("rule", "hint", "message"),
    [
        ('lab.forbid("f", names=["add"])', "", "labs/07_small/author/lab.py: f has a rule, so its docstring needs a"),
        ('lab.forbid("f", names=NAMES)', "Hint: a", "labs/07_small/check.py: its rules cannot be read: name 'NAMES'"),
        ('lab.forbid("f", name="add")', "Hint: a", "labs/07_small/check.py: its rules cannot be read: "),
        ("lab.forbid(", "Hint: a", "labs/07_small/check.py: its rules cannot be read: "),
    ],
)
def test_a_rule_that_cannot_be_shown_is_an_error(
    tools: dict[str, ModuleType], tmp_path: Path, rule: str, hint: str, message: str
) -> None:
    source = tmp_path / "07_small" / "author" / "lab.py"
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE.replace("HINT", hint), encoding="utf-8")
    (tmp_path / "07_small" / "check.py").write_text(rule)
    with pytest.raises(tools["labs"].SourceError) as error:
        tools["labs"].Lab(source)
    assert str(error.value).startswith(message)


def test_sentences(tools: dict[str, ModuleType]) -> None:
    docstring = """The mean of all rows, e.g. of 3. Is it N × D? Yes! `x` stays.

    * one; Two.
      Three.

    Not allowed: loops. It is short.

    Hint: sum. And divide.
    """
    assert tools["labkit"].sentences(docstring) == [
        "The mean of all rows, e.g. of 3.", "Is it N × D?", "Yes!", "`x` stays.", "* one; Two. Three.",
    ]  # fmt: skip


def test_sentences_and_their_checks_are_read(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    file = tmp_path / "sentences.toml"
    file.write_text('[f]\n"Twice  x." = "a"\n"Both." = ["a", "b"]\n"Words." = ""\n["G.forward"]\n"It." = "c"\n')
    assert tools["labkit"].checked_by(file) == {
        "f": {"Twice x.": ["a"], "Both.": ["a", "b"], "Words.": []},
        "G.forward": {"It.": ["c"]},
    }
    file.write_text('[f]\n"Twice x." = 3\n')
    with pytest.raises(ValueError, match=r"“Twice x\.” names a check, or a list of checks"):
        tools["labkit"].checked_by(file)
