"""What a statement at the top of a module binds, uses and changes."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from .cells import Statement

DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
_AT_ONCE = ("listcomp", "setcomp", "dictcomp", "genexpr")  # scopes that run when the statement does
_CHANGES = {"append", "appendleft", "extend", "insert", "add", "update", "setdefault", "pop", "remove", "clear", "sort"}
_MOST_EFFECTS = 2000  # functions with effects that are followed
_CHANGES |= {"reverse", "discard", "popitem", "heappush", "heappop", "heapify", "shuffle", "insort", "setattr", "next"}


@dataclass
class Step:
    """A statement and its names.

    now: what it uses when it runs, unlike a function's body. changes: objects that it changes in place. everything:
    from module import *. defines: nothing but a definition, an import or a constant.
    """

    statement: Statement
    binds: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    now: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    everything: bool = False
    defines: bool = False
    _calls: set[str] = field(default_factory=set)  # what a function changes when it is called
    _alters: bool = False  # whether a function changes its arguments
    _hands: list[tuple[str, set[str]]] = field(default_factory=list)  # functions called for their effect: on what

    @property
    def node(self) -> ast.stmt:
        """Its syntax tree."""
        return self.statement.node


def is_future(node: ast.stmt) -> bool:
    """Whether it is `from __future__ import …`."""
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def steps_of(statements: Sequence[Statement]) -> list[Step]:
    """The steps of a module, with what the functions do that they call."""
    lazy = any(is_future(one.node) and "annotations" in one.text for one in statements)
    steps = [_step(statement, lazy) for statement in statements]
    _follow_calls(steps)
    return steps


def makers(steps: Sequence[Step]) -> dict[str, set[int]]:
    """Name → the numbers of the steps that bind it, or change its object."""
    makes: dict[str, set[int]] = {}
    for number, step in enumerate(steps):
        for name in step.binds:
            makes.setdefault(name, set()).add(number)
    modules = {name for name, by in makes.items() if all(isinstance(steps[number].node, IMPORTS) for number in by)}
    for number, step in enumerate(steps):
        for name in step.changes - modules:  # torch.manual_seed(0) is no part of a function
            makes.setdefault(name, set()).add(number)
    return makes


def needed(steps: Sequence[Step], makes: dict[str, set[int]], roots: Collection[str]) -> set[int]:
    """The numbers of the steps that define these names, or what those need in turn."""
    taken: set[int] = set()
    names, waiting = set(roots), [*roots]
    while waiting:
        for number in makes.get(waiting.pop(), set()) - taken:
            taken.add(number)
            new = steps[number].uses - names
            waiting += new
            names |= new
    return taken


def _step(statement: Statement, lazy: bool) -> Step:
    """lazy: nothing evaluates its annotations."""
    node, step = statement.node, Step(statement)
    step.everything = isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    is_lambda = isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)
    step.defines = isinstance(node, (*DEFINES, *IMPORTS)) or is_lambda or _is_literal(node)
    if step.everything:
        return step
    if isinstance(node, IMPORTS):
        step.binds = {alias.asname or alias.name.split(".")[0] for alias in node.names}
        return step
    try:
        _look_up(step, lazy)
    except (SyntaxError, RecursionError, ValueError, MemoryError):
        _look_through(step)
    if isinstance(node, ast.AugAssign):
        step.uses |= step.binds
    if _is_literal(node):
        return step
    inside = {name for one in ast.walk(node) for name in _changed(one)}
    if isinstance(node, DEFINES):
        step._calls |= inside & step.uses
        step._alters = any(isinstance(one, ast.arg) and one.arg in inside for one in ast.walk(node))
    else:
        step.changes = inside & (step.uses | step.binds)
        step._hands = [handed for one in ast.walk(node) for handed in _handed(one)]
    return step


def _look_up(step: Step, lazy: bool) -> None:
    """Python's own table says what a statement binds and uses. Raises RecursionError for one that is nested deeply."""
    text = step.statement.text
    if lazy and isinstance(step.node, (*DEFINES, ast.AnnAssign)):
        text = ast.unparse(_WithoutAnnotations().visit(ast.parse(text)))
    table = symtable.symtable(text, "<cell>", "exec")
    for symbol in table.get_symbols():
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
            step.binds.add(symbol.get_name())
        if symbol.is_referenced():
            step.uses.add(symbol.get_name())
    step.now = set(step.uses)
    for child in table.get_children():
        step.uses |= _globals(child)
        step.now |= _globals_now(child)
        step._calls |= _declared(child)


def _look_through(step: Step) -> None:
    """Without that table: every name in the statement."""
    for node in ast.walk(step.node):
        if isinstance(node, ast.Name):
            (step.uses if isinstance(node.ctx, ast.Load) else step.binds).add(node.id)
        elif isinstance(node, DEFINES):
            step.binds.add(node.name)
    step.now = set(step.uses)


def _follow_calls(steps: Sequence[Step]) -> None:
    """What a function changes outside of it, such as a `global` or its arguments, changes where it is called."""
    effects: dict[str, set[str]] = {}
    users: dict[str, list[Step]] = {}
    altering: set[str] = set()
    for step in steps:
        if isinstance(step.node, DEFINES):
            for name in step.uses:
                users.setdefault(name, []).append(step)
        for name in step.binds if step._calls else ():
            effects.setdefault(name, set()).update(step._calls)
        altering |= step.binds if step._alters else set()
    waiting = [*effects] if len(effects) < _MOST_EFFECTS else []
    while waiting:  # a function that calls such a function is one, too
        name = waiting.pop()
        for user in users.get(name, []):
            for its in user.binds:
                if more := effects[name] - effects.setdefault(its, set()):
                    effects[its] |= more
                    waiting.append(its)
    for step in steps:
        for name in step.now & effects.keys():
            step.changes |= effects[name]
        for function, arguments in step._hands:
            if function in altering or function in _CHANGES or (function.endswith("_") and function[0] != "_"):
                step.changes |= arguments


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


def _globals_now(table: symtable.SymbolTable) -> set[str]:
    """Those of them that it uses when its definition runs, not when it is called."""
    if table.get_type() == "function" and table.get_name() not in _AT_ONCE:
        return set()
    found = {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
    for child in table.get_children():
        found |= _globals_now(child)
    return found


def _declared(table: symtable.SymbolTable) -> set[str]:
    """The names that a function declares `global` and assigns."""
    found = {s.get_name() for s in table.get_symbols() if s.is_declared_global() and s.is_assigned()}
    for child in table.get_children():
        found |= _declared(child)
    return found


def _changed(inner: ast.AST) -> Iterator[str]:
    """The names of objects that a piece of a statement changes: `table[k] = v`, `table.append(v)`, `fill(table)`."""
    if isinstance(inner, (ast.Subscript, ast.Attribute)) and isinstance(inner.ctx, (ast.Store, ast.Del)):
        yield from _root(inner)
    if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call):
        if isinstance(inner.value.func, ast.Attribute):
            yield from _root(inner.value.func)
    elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
        name = inner.func.attr
        if name in _CHANGES or (name.endswith("_") and not name.startswith("_")):
            yield from _root(inner.func)


def _handed(inner: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """A function that is called for its effect, and the names of its arguments: `fill(table)`."""
    if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call) and (name := _last_name(inner.value.func)):
        yield name, {root for argument in inner.value.args for root in _root(argument)}


def _last_name(node: ast.expr) -> str:
    """The last name of `a.b.c`; "" where there is none."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


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
    return isinstance(node, ast.AnnAssign) or all(isinstance(target, ast.Name) for target in node.targets)
