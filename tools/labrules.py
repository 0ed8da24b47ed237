"""The rules of a lab in words: "Not allowed: …", from the calls of `lab.forbid` in its check.py.

check.py itself cannot be imported here, since it needs torch. So only those of its statements are run that declare
rules, with the constants that they name. Only the standard library is needed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

LEAD = "Not allowed:"


class _Recorder:
    """Stands for the lab: notes what is forbidden."""

    def __init__(self) -> None:
        self.words: dict[str, str] = {}

    def forbid(self, part: str, *, loops: bool = False, names: Iterable[str] = (), why: str = "") -> None:
        things = [*(["loops", "comprehensions"] if loops else []), *(f"`{name}`" for name in names)]
        because = f" {why[0].upper()}{why[1:]}." if why else ""
        self.words[part] = f"{LEAD} {', '.join(things)}.{because}"


def _is_forbid(node: ast.stmt) -> bool:
    if isinstance(node, ast.For):
        return all(_is_forbid(inner) for inner in node.body)
    return (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "lab.forbid"
    )


def _is_constant(node: ast.stmt) -> bool:
    plain = (ast.Constant, ast.Name, ast.Load, ast.List, ast.Tuple, ast.Set, ast.Starred, ast.Dict)
    return isinstance(node, ast.Assign) and all(isinstance(inner, plain) for inner in ast.walk(node.value))


def rules(check: Path) -> dict[str, str]:
    """Part → the sentence on what its rule forbids; empty where there is no check.py.

    Raises NameError where a rule needs more than constants that stand above it in the file.
    """
    if not check.is_file():
        return {}
    lab = _Recorder()
    names: dict[str, object] = {"lab": lab}
    for node in ast.parse(check.read_text(encoding="utf-8")).body:
        if _is_forbid(node):
            exec(compile(ast.Module([node], []), str(check), "exec"), names)
        elif _is_constant(node):
            try:
                exec(compile(ast.Module([node], []), str(check), "exec"), names)
            except NameError:
                continue  # a constant made of what was imported: no rule of ours
    return lab.words
