"""The script is the source: what is committed is what tools/notebooks.py makes of it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from labs_support import CHECKOUT

SCRIPT = """\
# %% [markdown]
# # Title
#
# Text with `code` and an ü.

# %%
x = 1


def f():
    return x


# %% [markdown]
# End
"""


@pytest.fixture(scope="module")
def notebooks() -> ModuleType:
    """The generator, tools/notebooks.py."""
    spec = importlib.util.spec_from_file_location("notebooks", CHECKOUT / "tools" / "notebooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_notebooks_are_up_to_date(notebooks: ModuleType) -> None:
    scripts = notebooks.scripts(CHECKOUT / "labs")
    assert {script.stem for script in scripts} >= {"horse", "mnist_convnet"}
    for script in scripts:
        made = notebooks.notebook(script.read_text(encoding="utf-8"), script.name)
        assert script.with_suffix(".ipynb").read_bytes() == made.encode(), (
            f"run python tools/notebooks.py ({script.name})"
        )


def test_no_notebook_without_its_script(notebooks: ModuleType) -> None:
    expected = {script.with_suffix(".ipynb") for script in notebooks.scripts(CHECKOUT / "labs")}
    assert set((CHECKOUT / "labs").rglob("*.ipynb")) == expected


def test_cells(notebooks: ModuleType) -> None:
    made = json.loads(notebooks.notebook(SCRIPT, "x.py"))
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]] == [
        ("markdown", "# Title\n\nText with `code` and an ü."),
        ("code", "x = 1\n\n\ndef f():\n    return x"),
        ("markdown", "End"),
    ]
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in made["cells"]]
    assert len(set(ids)) == 3 and all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in ids)
    assert [sorted(cell) for cell in made["cells"]] == [
        ["cell_type", "id", "metadata", "source"],
        ["cell_type", "execution_count", "id", "metadata", "outputs", "source"],
        ["cell_type", "id", "metadata", "source"],
    ]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import torch\n", "x.py, line 1: the script must begin with a “# %%” line"),
        ("# %%\nx = 1\n# %% [raw]\n", "x.py, line 3: “# %% [raw]” begins neither a cell of code nor one of text"),
        ("# %% [markdown]\n# Text\nx = 1\n", "x.py, line 3: in a cell of text each line is a comment"),
        ("# %% [markdown]\n#Text\n", "x.py, line 2: in a cell of text each line is a comment"),
        ("# %%\n\n# %%\nx = 1\n", "x.py: a cell (code) is empty"),
    ],
)
def test_bad_scripts(notebooks: ModuleType, script: str, message: str) -> None:
    with pytest.raises(notebooks.ScriptError) as error:
        notebooks.notebook(script, "x.py")
    assert str(error.value) == message


def test_check_names_what_is_stale_and_writes_nothing(
    notebooks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labs").mkdir()
    (tmp_path / "labs" / "a.py").write_text(SCRIPT)
    (tmp_path / "labs" / "module.py").write_text("import torch\n")
    notebook = tmp_path / "labs" / "a.ipynb"
    monkeypatch.setattr(notebooks, "LABS", tmp_path / "labs")

    monkeypatch.setattr(sys, "argv", ["notebooks.py", "--check"])
    assert notebooks.main() == 1
    assert capsys.readouterr().out == "labs/a.ipynb is not what tools/notebooks.py makes of a.py\n"
    assert not notebook.exists()

    monkeypatch.setattr(sys, "argv", ["notebooks.py"])
    assert notebooks.main() == 0
    assert notebook.read_text() == notebooks.notebook(SCRIPT, "a.py")
    assert list((tmp_path / "labs").glob("*.ipynb")) == [notebook]
    monkeypatch.setattr(sys, "argv", ["notebooks.py", "--check"])
    assert notebooks.main() == 0


@pytest.mark.parametrize("page", ["labs/welcome.md", "labs/README.md", "docs/student.md"])
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in target]
    assert targets
    missing = [target for target in targets if not (CHECKOUT / page).parent.joinpath(target).exists()]
    assert missing == []
