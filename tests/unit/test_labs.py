"""tools/labs.py: one source makes sheet, exercise and notebook, and what is committed is what it makes."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from coursebox.core.paths import CHECKOUT

SOURCE = '''\
# %% [markdown]
# # 07 · Small *things*
#
# Text with `code` and an ü.

# %%
import torch

# %% [markdown] notebook
# Only in the notebook.

# %% [markdown] sheet
# Only on the sheet.

# %%
def double(x: torch.Tensor, times: int = 2) -> torch.Tensor:
    """Twice x.

    `x`: any shape.

    Hint: a product is
    enough.
    """
    # BEGIN SOLUTION
    result = x * times
    return result
    # END SOLUTION


# %%
class Adder(torch.nn.Module):
    """Adds.

    Hint: plus.
    """

    def __init__(self, y: int) -> None:
        super().__init__()
        self.y = y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x + y."""
        if x is None:
            # BEGIN SOLUTION
            return self.y
            # END SOLUTION


# %% script
if __name__ == "__main__":
    print(double(torch.ones(1)))

# %% notebook
double(torch.ones(1))

# %% [markdown]
# ## The end
'''

EXERCISE = '''\
# Made by tools/labs.py from labs/07_small/author/lab.py; write your functions here.
"""Lab 07: Small things.

What to do is in sheet.md. Check your work with: python check.py
"""

import torch


def double(x: torch.Tensor, times: int = 2) -> torch.Tensor:
    """Twice x.

    `x`: any shape.

    Hint: a product is
    enough.
    """
    raise NotImplementedError("07.1 double")


class Adder(torch.nn.Module):
    """Adds.

    Hint: plus.
    """

    def __init__(self, y: int) -> None:
        super().__init__()
        self.y = y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x + y."""
        if x is None:
            raise NotImplementedError("07.2 Adder.forward")


if __name__ == "__main__":
    print(double(torch.ones(1)))
'''

SHEET = """\
<!-- Made by tools/labs.py from labs/07_small/author/lab.py. -->

# 07 · Small *things*

Text with `code` and an ü.

Only on the sheet.

**07.1** `double(x, times=2) → torch.Tensor`

Twice x.

`x`: any shape.

*Hint: a product is enough.*

**07.2** `class Adder(torch.nn.Module)`

Adds.

*Hint: plus.*

**07.2** `Adder.forward(x) → torch.Tensor`

x + y.

## The end
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/labs.py as a module."""
    spec = importlib.util.spec_from_file_location("tools_labs", CHECKOUT / "tools" / "labs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def lab(tool: ModuleType, folder: Path, text: str = SOURCE) -> object:
    source = folder / "labs" / "07_small" / "author" / "lab.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text, encoding="utf-8")
    return tool.Lab(source)


def test_what_is_committed_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "tools/labs.py", "--check"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_every_lab_and_every_notebook_has_its_source(tool: ModuleType) -> None:
    made = {path for path, _ in tool.wanted([])}
    labs = CHECKOUT / "labs"
    checks = {path.parent for path in labs.glob("[0-9][0-9]_*/check.py")}
    assert checks == {path.parent for path in made if path.name == "sheet.md"}
    notebooks = {path for path in labs.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts}
    assert notebooks == {path for path in made if path.suffix == ".ipynb"}


def test_exercise(tool: ModuleType, tmp_path: Path) -> None:
    assert lab(tool, tmp_path).files()["exercise.py"] == EXERCISE


def test_sheet(tool: ModuleType, tmp_path: Path) -> None:
    assert lab(tool, tmp_path).files()["sheet.md"] == SHEET


def test_solved_exercise(tool: ModuleType, tmp_path: Path) -> None:
    solved = lab(tool, tmp_path).files(solved=True)["exercise.py"]
    assert "    result = x * times\n    return result\n" in solved and "            return self.y\n" in solved
    assert "SOLUTION" not in solved and "NotImplementedError" not in solved


def test_notebook(tool: ModuleType, tmp_path: Path) -> None:
    made = json.loads(lab(tool, tmp_path).files()["exercise.ipynb"])
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]]
    assert [text.split("\n")[0] for _, text in cells] == [
        "# 07 · Small *things*",
        "import torch",
        "import sys",
        "Only in the notebook.",
        "def double(x: torch.Tensor, times: int = 2) -> torch.Tensor:",
        'check("double")',
        "class Adder(torch.nn.Module):",
        'check("Adder")',
        "double(torch.ones(1))",
        "## The end",
        "check(targets=True)",
    ]
    assert 'check = notebook("07_small")' in cells[2][1]
    assert made["metadata"]["coursebox"]["made from"] == "labs/07_small/author/lab.py"
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in made["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in ids)
    assert [sorted(cell) for cell in made["cells"][:2]] == [
        ["cell_type", "id", "metadata", "source"],
        ["cell_type", "execution_count", "id", "metadata", "outputs", "source"],
    ]


def test_a_last_text_of_the_notebook_stands_below_its_targets(tool: ModuleType, tmp_path: Path) -> None:
    text = f"{SOURCE}\n# %% [markdown] notebook\n# Go on with lab 08.\n"
    made = json.loads(lab(tool, tmp_path, text).files()["exercise.ipynb"])
    assert ["".join(cell["source"]) for cell in made["cells"][-2:]] == ["check(targets=True)", "Go on with lab 08."]


BEGIN, END = "    # BEGIN SOLUTION\n", "    # END SOLUTION\n"
HEAD = "# %% [markdown]\n# # 07 · T\n\n# %%\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch\n", "line 1: the script must begin with a “# %%” line"),
        ("# %%\nx = 1\n# %% [raw]\n", "line 3: “# %% [raw]” begins neither a cell of code nor one of text"),
        ("# %%\nx = 1\n# %% page\n", "line 3: “# %% page” begins neither a cell of code nor one of text"),
        ("# %% [markdown]\n# Text\nx = 1\n", "line 3: in a cell of text each line is a comment"),
        ("# %% [markdown]\n#Text\n", "line 2: in a cell of text each line is a comment"),
        ("# %%\n\n# %%\nx = 1\n", "line 1: a cell (code) is empty"),
        ("# %% [markdown]\n# # Title\n", "the first cell is a text that begins with “# 07 · ”"),
        (f"{HEAD}def f():\n{BEGIN}    x = 1\n{BEGIN}", "line 8: a region begins inside of another"),
        (f"{HEAD}def f():\n    x = 1\n{END}", "line 7: a region ends that has not begun"),
        (f"{HEAD}def f():\n{BEGIN}    x = 1\n", "line 6: a region does not end"),
        (f"{HEAD}# BEGIN SOLUTION\nx = 1\n# END SOLUTION\n",
         "line 5: a region must lie inside of a function, in one piece"),
        (f"{HEAD}class A:\n{BEGIN}    x = 1\n{END}", "line 6: a region must lie inside of a function, in one piece"),
        (f"{HEAD}def f():\n{BEGIN}    x = 1\n{END}{BEGIN}    y = 1\n{END}",
         "line 9: one region for each function is enough"),
    ],
)  # fmt: skip
def test_bad_sources(tool: ModuleType, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(tool.SourceError) as error:
        lab(tool, tmp_path, text)
    assert str(error.value).endswith(message) and str(error.value).startswith("labs/07_small/author/lab.py")


def test_check_names_what_is_stale_and_writes_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab(tool, tmp_path)
    monkeypatch.setattr(tool, "CHECKOUT", tmp_path)
    monkeypatch.setattr(tool, "LABS", tmp_path / "labs")
    (tmp_path / "labs" / "examples").mkdir(parents=True)
    (tmp_path / "labs" / "examples" / "a.py").write_text("# %%\nx = 1\n")
    (tmp_path / "labs" / "examples" / "module.py").write_text("import torch\n")

    monkeypatch.setattr(sys, "argv", ["labs.py", "--check"])
    assert tool.main() == 1
    stale = capsys.readouterr().out.splitlines()
    assert stale[-1] == "labs/examples/a.ipynb is not what tools/labs.py makes of its source"
    assert list(tmp_path.rglob("*.ipynb")) == []

    monkeypatch.setattr(sys, "argv", ["labs.py"])
    assert tool.main() == 0
    assert (tmp_path / "labs" / "07_small" / "exercise.py").read_text(encoding="utf-8") == EXERCISE
    assert not (tmp_path / "labs" / "examples" / "module.ipynb").exists()
    monkeypatch.setattr(sys, "argv", ["labs.py", "--check"])
    assert tool.main() == 0


@pytest.mark.parametrize("page", ["labs/welcome.md", "labs/README.md", "docs/student.md"])
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in target]
    assert targets
    missing = [target for target in targets if not (CHECKOUT / page).parent.joinpath(target).exists()]
    assert missing == []


README, AUTHORS = CHECKOUT / "labs" / "README.md", CHECKOUT / "labs" / "AUTHORS.md"
LECTURES = {1: 6, 2: 5, 3: 6, 4: 6, 5: 7, 6: 6, 7: 5, 8: 4, 9: 4, 10: 4, 11: 3}  # sections of EE-559's lectures
WEEKS = {str(week) for week in range(1, 15)} - {"6", "13"}  # of CS236605; there was no class in these two
TOPICS = {str(topic) for topic in range(1, 7)}  # of UE-ML3


def coverage() -> dict[str, list[set[str]]]:
    """Lab → what it covers of each of the three courses, from the page's matrix."""
    text = AUTHORS.read_text(encoding="utf-8").split("## Coverage")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| \d\d \|", line)]
    return {row[0]: [set(cell.split(", ")) for cell in row[1:]] for row in rows}


def test_the_coverage_matrix_has_no_hole() -> None:
    matrix = coverage()
    labs = {path.parents[1].name[:2] for path in (CHECKOUT / "labs").glob("*/author/lab.py")}
    assert set(matrix) == labs == {f"{number:02d}" for number in range(1, 21)}
    assert all(len(row) == 3 and all(cell and "" not in cell for cell in row) for row in matrix.values())
    without = {"1.1", "1.2", "1.3", "7.3", "7.4"}  # the page says why
    lectures = {f"{n}.{k}" for n, count in LECTURES.items() for k in range(1, count + 1)} - without
    ee559, technion, telecom = (set().union(*(row[n] for row in matrix.values())) for n in range(3))
    assert (ee559, technion, telecom) == (lectures, WEEKS, TOPICS)


def test_the_page_lists_every_lab() -> None:
    text = README.read_text(encoding="utf-8")
    for path in (CHECKOUT / "labs").glob("*/author/lab.py"):
        assert f"({path.parents[1].name}/sheet.md)" in text
