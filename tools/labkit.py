"""How the mutants, alternatives and sentences of a lab are written down, and how variants become submissions.

A mutants.py says `from labkit import alternative, edit, mutant`. A mutant is a version of one part with a mistake that
students make; some check must reject it in words that name the mistake. An alternative is right by another route, and
every check must accept it. A sentences.toml names the check of each sentence that a sheet promises. tests/inside proves
all three.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
_known: list[Variant] = []


@dataclass(frozen=True)
class Variant:
    """Another version of one part: `old` and `new` for a change of text, else the name of a definition in mutants.py.

    says: what a failing check must say; None for an alternative. check: which check must fail, where it matters.
    also: what else may be said of this mistake, because it is true, too.
    """

    part: str
    name: str
    says: str | None
    check: str | None = None
    old: str = ""
    new: str = ""
    also: tuple[str, ...] = ()


def edit(part: str, old: str, new: str, *, says: str, check: str | None = None, also: Sequence[str] = ()) -> None:
    """The solution of `part` with `old`, which occurs once in it, replaced by `new`."""
    name = f"{part}: {old} → {new or 'nothing'}"
    _known.append(Variant(part, " ".join(name.split())[:90], says, check, old, new, tuple(also)))


def mutant(part: str, *, says: str, check: str | None = None, also: Sequence[str] = ()) -> Callable[[F], F]:
    """A whole function or class in the place of `part`, wrong."""

    def note(function: F) -> F:
        _known.append(Variant(part, function.__name__, says, check, also=tuple(also)))
        return function

    return note


def alternative(part: str) -> Callable[[F], F]:
    """A whole function or class in the place of `part`, right by another route."""

    def note(function: F) -> F:
        _known.append(Variant(part, function.__name__, None))
        return function

    return note


def variants(file: Path) -> list[Variant]:
    """What a mutants.py declares, in its order."""
    _known.clear()
    sys.modules["labkit"] = sys.modules[__name__]
    spec = importlib.util.spec_from_file_location(f"mutants_{file.parents[1].name}", file)
    assert spec and spec.loader
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return list(_known)


def sentences(docstring: str) -> list[str]:
    """The sentences of a docstring, each on one line; its hint and its rules do not count. A list is one sentence."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", docstring.strip()):
        words = " ".join(paragraph.split())
        if words.startswith(("Hint:", "Not allowed:")):
            continue
        found += [words] if words.startswith(("* ", "- ")) else re.split(r"(?<=[.!?]) (?=[^a-z])", words)
    return found


def checked_by(file: Path) -> dict[str, dict[str, list[str]]]:
    """What a sentences.toml says: part or "Class.method" → sentence → names of its checks, none where nothing is said.

    Raises ValueError where an entry is neither a name nor a list of names.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for place, entries in tomllib.loads(file.read_text(encoding="utf-8")).items():
        found[place] = {}
        for sentence, checks in entries.items():
            listed = [checks] if isinstance(checks, str) else checks
            if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
                raise ValueError(f"{file}: [{place}] “{sentence}” names a check, or a list of checks")
            found[place][" ".join(sentence.split())] = [name for name in listed if name]
    return found


def definitions(text: str) -> dict[str, tuple[int, int]]:
    """Top-level functions and classes of a script → their first and last line, from 1."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name: (node.lineno, node.end_lineno or node.lineno)
            for node in ast.parse(text).body if isinstance(node, kinds)}  # fmt: skip


def replaced(script: str, part: str, text: str) -> str:
    """A script with the definition of `part` replaced by another text."""
    first, last = definitions(script)[part]
    lines = script.split("\n")
    return "\n".join([*lines[: first - 1], *text.split("\n"), *lines[last:]])


def _behind_docstring(text: str) -> tuple[str, str]:
    """A definition's text up to the end of its docstring, and the rest."""
    body = ast.parse(text).body[0].body  # type: ignore[attr-defined]
    first = body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    lines = text.split("\n")
    at = (first.end_lineno or 1) if has_docstring else 0
    return "".join(f"{line}\n" for line in lines[:at]), "\n".join(lines[at:])


def applied(variant: Variant, solved: str, file: Path) -> str:
    """The solved script with one part exchanged for the variant; `file` is its mutants.py."""
    first, last = definitions(solved)[variant.part]
    text = "\n".join(solved.split("\n")[first - 1 : last])
    if variant.old:
        words, code = _behind_docstring(text)
        if code.count(variant.old) != 1:
            raise ValueError(f"{file}: {variant.old!r} occurs {code.count(variant.old)} times in {variant.part}")
        return replaced(solved, variant.part, words + code.replace(variant.old, variant.new))
    kept = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            if node.name == variant.name:
                node.name, node.decorator_list = variant.part, []
                whole = ast.unparse(node)
            elif not node.decorator_list:
                kept.append(ast.unparse(node))
        elif isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign)) and "labkit" not in ast.unparse(node):
            kept.append(ast.unparse(node))
    # A class that extends the one which it replaces needs that one above it: then it follows instead of replacing.
    extends = f"class {variant.part}({variant.part}" in whole
    script = f"{solved}\n\n\n{whole}\n" if extends else replaced(solved, variant.part, whole)
    return with_imports(script, "\n\n".join(kept))


def with_imports(script: str, text: str) -> str:
    """A script with more definitions behind its docstring."""
    if not text:
        return script
    body = ast.parse(script).body
    future = [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    last = [body[0], *future][-1].end_lineno
    lines = script.split("\n")
    return "\n".join([*lines[:last], "", text, *lines[last:]])
