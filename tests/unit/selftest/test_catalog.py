"""The list of checks names functions that are there, and each check once."""

from __future__ import annotations

import ast
from pathlib import Path

import course_selftest
import pytest
from course_selftest.catalog import CHECKS, NAMES, Check, choose

CODE = Path(course_selftest.__file__).parent / "checks"


@pytest.mark.parametrize("check", CHECKS, ids=NAMES)
def test_its_function_is_there(check: Check) -> None:
    module, name = check.function.split(":")
    tree = ast.parse((CODE / f"{module}.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert [argument.arg for argument in functions[name].args.args] == ["context"]


def test_every_check_is_in_the_list() -> None:
    """A public function of that form is a check; one that nobody lists would never run."""
    found = {
        f"{file.stem}:{node.name}"
        for file in CODE.glob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id == "Measured"
        and not node.name.startswith("_")
    }  # fmt: skip
    assert found == {check.function for check in CHECKS}


def test_names_are_different() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_choice() -> None:
    assert [check.name for check in choose([], False)] == [name for name in NAMES if name != "fast"]
    assert [check.name for check in choose([], True)] == list(NAMES)
    assert [check.name for check in choose(["svd", "matmul", "svd"], False)] == ["matmul", "svd"]
    assert [check.name for check in choose(["fast"], False)] == ["fast"]
    assert [check.name for check in choose(["svd"], True)] == ["svd", "fast"]
