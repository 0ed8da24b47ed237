"""What travels with the functions of a notebook: the statements that they need, and nothing else.

check() takes the cells that the kernel has run, grading those of the file that was handed in. Both come here, so both
check the same script. A function needs the names that it uses: imports, constants, computed values, helpers, classes,
however they are defined. What computes, prints, draws or trains, and is needed by no function, stays behind.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from .cells import Parsed, Statement

_OURS = "checking"  # the module of check(), which no function needs
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_KNOWN = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__", "__annotations__", "get_ipython"}
_NO_SHELL = """class get_ipython:
    def __getattr__(self, name):
        return lambda *arguments, **options: None  # magics and shell commands do nothing here"""


@dataclass(frozen=True)
class Script:
    """The text that is checked. missing: part → names that it needs and no statement defines."""

    text: str
    remarks: tuple[str, ...]
    missing: dict[str, tuple[str, ...]]
    bound: frozenset[str]


@dataclass
class _Step:
    statement: Statement
    binds: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)  # objects that it changes in place
    everything: bool = False  # from module import *
    defines: bool = False  # nothing but a definition, an import or a constant


def travelling(cells: Parsed, parts: Collection[str] = ()) -> Script:
    """The script of these parts; of all functions and classes, where no part is named.

    Raises RecursionError where a statement is nested deeper than Python can look at.
    """
    lazy = any(_is_future(one.node) and "annotations" in one.text for one in cells.statements)
    steps = [_step(statement, lazy) for statement in cells.statements]
    ours = _of_the_checker(steps)
    steps = [step for step in steps if not (step.uses | step.binds) & ours]
    roots = set(parts) or {name for step in steps if isinstance(step.statement.node, _DEFINES) for name in step.binds}
    taken = _needed(steps, roots)
    chosen = [step for number, step in enumerate(steps) if number in taken]
    bound = frozenset().union(*(step.binds for step in steps)) if steps else frozenset()
    whole = any(step.everything for step in chosen)
    missing = {} if whole else dict(_missing(steps, parts, bound))
    future = [step for step in chosen if _is_future(step.statement.node)]
    rest = [step for step in chosen if not _is_future(step.statement.node)]
    shell = [_NO_SHELL] if any("get_ipython" in step.uses for step in rest) else []
    text = "\n\n".join([*(step.statement.text for step in future), *shell, *map(_text, rest)])
    return Script(f"{text}\n", cells.remarks, missing, bound)


def _needed(steps: Sequence[_Step], roots: Collection[str]) -> set[int]:
    """The numbers of the steps that define these names, or what those need in turn."""
    makes: dict[str, set[int]] = {}
    for number, step in enumerate(steps):
        for name in step.binds:
            makes.setdefault(name, set()).add(number)
    modules = {
        name for name, by in makes.items() if all(isinstance(steps[number].statement.node, _IMPORTS) for number in by)
    }
    for number, step in enumerate(steps):
        for name in step.changes - modules:  # torch.manual_seed(0) is no part of a function
            makes.setdefault(name, set()).add(number)
    taken = {number for number, step in enumerate(steps) if step.everything or _is_future(step.statement.node)}
    names, waiting = set(roots), [*roots]
    while waiting:
        for number in makes.get(waiting.pop(), set()) - taken:
            taken.add(number)
            waiting += steps[number].uses - names
            names |= steps[number].uses
    return taken


def _missing(
    steps: Sequence[_Step], parts: Collection[str], bound: Collection[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    last = {name: number for number, step in enumerate(steps) for name in step.binds if step.defines}
    current = [
        step
        for number, step in enumerate(steps)
        if not isinstance(step.statement.node, _DEFINES) or any(last[name] == number for name in step.binds)
    ]
    for part in parts:
        used = set().union(*(current[number].uses for number in _needed(current, [part])))
        if lacking := sorted(used - set(bound) - _KNOWN):
            yield part, tuple(lacking)


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _of_the_checker(steps: Sequence[_Step]) -> set[str]:
    """The names that come from the checker, and what is made of them: `check = notebook(…)`."""
    ours: set[str] = set()
    for step in steps:
        node = step.statement.node
        from_checker = (isinstance(node, ast.Import) and any(a.name.split(".")[0] == _OURS for a in node.names)) or (
            isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == _OURS
        )
        if from_checker or (step.uses & ours and not isinstance(node, _DEFINES)):
            ours |= step.binds
    return ours


def _step(statement: Statement, lazy: bool) -> _Step:
    """What a statement binds, uses and changes. lazy: nothing evaluates its annotations."""
    node, step = statement.node, _Step(statement)
    step.everything = isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    is_lambda = isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)
    step.defines = isinstance(node, (*_DEFINES, *_IMPORTS)) or is_lambda or _is_literal(node)
    if step.everything:
        return step
    text = ast.unparse(_WithoutAnnotations().visit(ast.parse(statement.text))) if lazy else statement.text
    table = symtable.symtable(text, "<cell>", "exec")
    for symbol in table.get_symbols():
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
            step.binds.add(symbol.get_name())
        if symbol.is_referenced():
            step.uses.add(symbol.get_name())
    for child in table.get_children():
        step.uses |= _globals(child)
        step.binds |= _declared(child)
    if isinstance(node, ast.AugAssign):
        step.uses |= step.binds
    step.changes = {name for inner in ast.walk(node) for name in _changed(inner, node)}
    return step


class _WithoutAnnotations(ast.NodeTransformer):
    """Takes the annotations of arguments and results away."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


def _globals(table: symtable.SymbolTable) -> set[str]:
    """The names outside of a function or class that it uses."""
    found = {s.get_name() for s in table.get_symbols() if s.is_global() and (s.is_referenced() or s.is_assigned())}
    for child in table.get_children():
        found |= _globals(child)
    return found


def _declared(table: symtable.SymbolTable) -> set[str]:
    """The names that a function declares `global` and assigns."""
    found = {s.get_name() for s in table.get_symbols() if s.is_declared_global() and s.is_assigned()}
    for child in table.get_children():
        found |= _declared(child)
    return found


def _changed(inner: ast.AST, whole: ast.stmt) -> Iterator[str]:
    """The names of objects that a statement changes: `table[k] = v`, `table.append(v)`, `model.scale = 2`."""
    if isinstance(whole, _DEFINES):
        return
    if isinstance(inner, (ast.Subscript, ast.Attribute)) and isinstance(inner.ctx, (ast.Store, ast.Del)):
        yield from _root(inner)
    if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call):
        function = inner.value.func
        if isinstance(function, ast.Attribute):
            yield from _root(function)


def _root(node: ast.expr) -> Iterator[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _is_literal(node: ast.stmt) -> bool:
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
        return False
    try:
        ast.literal_eval(node.value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


def _text(step: _Step) -> str:
    """A statement as it goes into the script; one that computes may fail, and then only its names are missing."""
    if step.defines:
        return step.statement.text
    body = ast.unparse(step.statement.node).replace("\n", "\n    ")
    return f"try:\n    {body}\nexcept Exception:\n    pass"
