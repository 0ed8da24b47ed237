"""The functions that a notebook's kernel has at this moment, as a script: the text of the cells that defined them.

Like a notebook that is handed in (see submission.py), it holds definitions, what they import, constants and
names of types: what passes here passes there. A kernel has more, and no function should need it.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .submission import Submission, parse, text_of

_LARGEST = 10_000  # characters of a constant


def kernel_submission(names: dict[str, Any], file: Path) -> Submission:
    """The submission that the names of a kernel make up. Raises CheckFailed ("unusable") with a sentence."""
    definitions = {name: text for name, value in list(names.items()) if (text := _definition(name, value, names))}
    used = {node.id for node in ast.walk(ast.parse("\n".join(definitions.values()))) if isinstance(node, ast.Name)}
    others = {name: text for name in sorted(used - set(definitions)) if (text := _other(name, names.get(name)))}
    ordered: dict[str, str] = {}
    for name in definitions:
        _append(name, definitions, ordered)
    return parse("\n\n".join([*others.values(), *ordered.values()]) + "\n", file, lines_count=False)


def _append(name: str, definitions: dict[str, str], ordered: dict[str, str]) -> None:
    """Append a definition behind those that it needs when it is made: a class behind its base, for instance."""
    if name in ordered or name not in definitions:
        return
    waiting: list[ast.AST] = list(ast.parse(definitions[name]).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and node.id != name:
            _append(node.id, definitions, ordered)
        later = node.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else []
        waiting += [inner for inner in ast.iter_child_nodes(node) if inner not in later]
    ordered.setdefault(name, definitions[name])


def _typed(names: dict[str, Any]) -> list[str]:
    """What was typed into the notebook, the latest first."""
    return [cell for cell in reversed(names.get("In", [])) if isinstance(cell, str)]


def _cells(value: Any, names: dict[str, Any]) -> Iterator[str]:
    """The cells that may have defined a function or class: those of its code, then all, the latest first."""
    members = [value] if inspect.isfunction(value) else [getattr(f, "__func__", f) for f in vars(value).values()]
    for member in members:
        if inspect.isfunction(member):
            yield "".join(linecache.getlines(member.__code__.co_filename))
    yield from _typed(names)


def _definition(name: str, value: Any, names: dict[str, Any]) -> str:
    """The text of a function, a class or the name of a type of the notebook; "" for anything else."""
    if typing.get_origin(value) is not None and not name.startswith("_"):
        return next(filter(None, (_statement(name, cell, ast.Assign) for cell in _typed(names))), "")
    if not callable(value) or getattr(value, "__module__", "") != "__main__":
        return ""
    value = inspect.unwrap(value)  # behind a decorator
    if not inspect.isfunction(value) and not inspect.isclass(value):
        return ""
    kinds = (ast.Assign,) if value.__name__ == "<lambda>" else (ast.FunctionDef, ast.ClassDef)
    return next(filter(None, (_statement(name, cell, *kinds) for cell in _cells(value, names))), "")


def _statement(name: str, cell: str, *kinds: type[ast.stmt]) -> str:
    """The last statement of these kinds in a cell that defines `name`; "" where there is none."""
    try:
        body = ast.parse(cell).body
    except (SyntaxError, ValueError):
        return ""
    for node in reversed(body):
        targets = [ast.unparse(target) for target in node.targets] if isinstance(node, ast.Assign) else []
        if isinstance(node, kinds) and name in (getattr(node, "name", None), *targets):
            return text_of(node, cell)
    return ""


def _other(name: str, value: Any) -> str:
    """A line that brings back an imported name or a constant; "" where there is none."""
    if isinstance(value, types.ModuleType):
        return f"import {value.__name__} as {name}"
    module, own = getattr(value, "__module__", None), getattr(value, "__name__", "")
    if isinstance(module, str) and own and getattr(sys.modules.get(module), own, None) is value:
        return f"from {module} import {own} as {name}" if module not in ("builtins", "__main__") else ""
    text = repr(value) if isinstance(value, (bool, int, float, str, bytes, tuple, list, dict, set)) else ""
    try:
        return f"{name} = {text}" if text and len(text) <= _LARGEST and ast.literal_eval(text) == value else ""
    except (ValueError, SyntaxError):
        return ""
