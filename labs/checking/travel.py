"""What travels with the functions of a notebook: the statements that they need, and nothing else.

check() takes the cells that the kernel has run, grading those of the file that was handed in. Both come here, so both
check the same script. A function needs the names that it uses: imports, constants, computed values, helpers, classes,
however they are defined. What computes, prints, draws or trains, and is needed by no function, stays behind.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .cells import Parsed, Statement
from .steps import DEFINES, IMPORTS, Step, is_future, makers, needed, steps_of

_OURS = "checking"  # the module of check(), which no function needs
_KNOWN = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__", "__annotations__", "get_ipython", "display"}
_INSTEAD = {
    "get_ipython": "class get_ipython:\n    def __getattr__(self, name):\n"
    "        return lambda *arguments, **options: None  # magics and shell commands do nothing here",
    "display": "def display(*things, **options):\n    pass  # nobody looks",
}
_ASKS = {"get_ipython": "a command of IPython makes it", "input": "it is typed in"}


@dataclass(frozen=True)
class Script:
    """The text that is checked.

    remarks: sentences on what cannot travel. missing: part → names that it needs and no statement defines. computed:
    name → where it is computed, for values. pieces: name → the statements that make it, for each name that is needed.
    uses: name → the names that these use.
    """

    text: str
    remarks: tuple[str, ...]
    missing: Mapping[str, tuple[str, ...]]
    computed: Mapping[str, str] = field(default_factory=dict)
    pieces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    uses: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def needs(self, part: str) -> list[str]:
        """The names that a part needs, directly or not; those nearest to it first."""
        found, seen = [part], {part}
        for name in found:
            new = self.uses.get(name, frozenset()) - seen
            seen |= new
            found += sorted(new)
        return found[1:]


def travelling(cells: Parsed, parts: Collection[str] = ()) -> Script:
    """The script of these parts; of all functions and classes, where no part is named."""
    steps = _steps(cells.statements)
    ours = {name for step in steps for name in step.binds if step.statement.ours}
    steps = [step for step in steps if not step.statement.ours]
    makes = makers(steps)
    roots = set(parts) or {name for step in steps if isinstance(step.node, DEFINES) for name in step.binds}
    taken = needed(steps, makes, roots)
    stars = {number for number, step in enumerate(steps) if step.everything}
    for number in stars:
        taken |= {number} | needed(steps, makes, steps[number].uses)
    chosen = [steps[number] for number in sorted(taken) if not is_future(steps[number].node)]
    future = [step for step in steps if is_future(step.node)]
    missing = {} if stars else dict(_missing(steps, makes, parts, ours))
    bound = {name for step in chosen for name in step.binds}
    used = {name for step in chosen for name in step.uses}
    instead = [text for name, text in _INSTEAD.items() if name in used and name not in bound]
    safe = _sure(steps)
    pieces = [*dict.fromkeys(step.statement.text for step in future), *instead, *(_text(step, safe) for step in chosen)]
    made: dict[str, list[str]] = {}
    uses: dict[str, set[str]] = {}
    for step in chosen:
        for name in step.binds | step.changes:
            made.setdefault(name, []).append(step.statement.text)
            uses.setdefault(name, set()).update(step.uses)
    told = {name: tuple(texts) for name, texts in made.items()}
    used_by = {name: frozenset(names) for name, names in uses.items()}
    values = [step for step in chosen if not step.defines]
    computed = {name: f"code cell {step.statement.cell}" for step in values for name in step.binds | step.changes}
    remarks = (*cells.remarks, *_cannot(steps, makes, parts))
    return Script("\n\n".join(pieces) + "\n", remarks, missing, computed, told, used_by)


def _missing(
    steps: Sequence[Step], makes: Mapping[str, set[int]], parts: Collection[str], ours: Collection[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names that the last definitions of a part need, and nothing defines."""
    last = {name: number for number, step in enumerate(steps) for name in step.binds if isinstance(step.node, DEFINES)}
    old = {
        number
        for number, step in enumerate(steps)
        if isinstance(step.node, DEFINES) and not any(last[name] == number for name in step.binds)
    }
    current = {name: by - old for name, by in makes.items()}
    for part in parts:
        used = {name for number in needed(steps, current, [part]) for name in steps[number].uses}
        if lacking := sorted(name for name in used if name not in makes and (name in ours or name not in _KNOWN)):
            yield part, tuple(lacking)


def _cannot(steps: Sequence[Step], makes: dict[str, set[int]], parts: Collection[str]) -> Iterator[str]:
    """A sentence for each value that a part needs and that nothing can make again."""
    told: set[str] = set()
    for part in parts:
        for number in sorted(needed(steps, makes, [part])):
            step = steps[number]
            why = next((said for name, said in _ASKS.items() if name in step.now and name not in makes), "")
            why = "it is awaited" if step.statement.awaits else why
            names = sorted((step.binds | step.changes) - told)
            if why and names and not isinstance(step.node, DEFINES):
                told.update(names)
                yield (
                    f"{part} uses `{names[0]}` of code cell {step.statement.cell}, which cannot be made again where "
                    f"functions are checked: {why}; hand it over as an argument, or write it down"
                )


def _steps(statements: Sequence[Statement]) -> list[Step]:
    """The steps, without what belongs to the checker; statements.ours marks what it makes."""
    ours: set[str] = set()
    kept: list[Statement] = []
    for one in statements:
        if not ours and _OURS not in one.text:
            kept.append(one)
            continue
        kept += _without_checker(one, ours)
    return steps_of(kept)


def _without_checker(statement: Statement, ours: set[str]) -> list[Statement]:
    """A statement without imports of the checker and calls of check(); ours: their names, brought up to date."""
    node = statement.node
    if isinstance(node, DEFINES):
        ours.discard(node.name)  # the student's own
        return [statement]
    cleaner = _Cleaner(ours)
    try:
        tree = cleaner.visit(ast.parse(statement.text))
    except RecursionError:
        return [statement]
    if not cleaner.taken:
        return [statement]
    marks = [replace(statement, node=one, text=ast.unparse(one), ours=True) for one in cleaner.taken]
    left = [one for one in tree.body if not isinstance(one, ast.Pass)]
    return [*marks, *(replace(statement, node=one, text=ast.unparse(one)) for one in left)]


class _Cleaner(ast.NodeTransformer):
    """Replaces imports of the checker, what is made of them, and calls of it by `pass`."""

    def __init__(self, ours: set[str]) -> None:
        self.ours = ours
        self.taken: list[ast.stmt] = []

    def _take(self, node: ast.stmt, names: Collection[str] = ()) -> ast.stmt:
        self.ours |= set(names)
        self.taken.append(node)
        return ast.Pass()

    def visit_Import(self, node: ast.Import) -> ast.stmt:
        mine = [alias for alias in node.names if alias.name.split(".")[0] == _OURS]
        rest = [alias for alias in node.names if alias not in mine]
        if not mine:
            return node
        taken = self._take(ast.Import(mine), {alias.asname or _OURS for alias in mine})
        return ast.Import(rest) if rest else taken

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if (node.module or "").split(".")[0] != _OURS:
            return node
        return self._take(node, {alias.asname or alias.name for alias in node.names})

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if names and self._is_ours(node.value):
            return self._take(node, names)
        self.ours -= names  # the student's own from here on
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        return self._take(node) if self._is_ours(node.value) else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.stmt:
        return node

    def _is_ours(self, node: ast.expr) -> bool:
        while isinstance(node, (ast.Call, ast.Attribute)):
            node = node.func if isinstance(node, ast.Call) else node.value
        return isinstance(node, ast.Name) and node.id in self.ours


def _sure(steps: Sequence[Step]) -> frozenset[str]:
    """The names that are there when a definition asks for them: of Python, imported, or defined."""
    sure = {name for step in steps if isinstance(step.node, IMPORTS) for name in step.binds} | _KNOWN
    for step in steps:
        if isinstance(step.node, (ast.FunctionDef, ast.ClassDef)) and step.now <= sure:
            sure |= step.binds
    return frozenset(sure)


def _text(step: Step, sure: frozenset[str]) -> str:
    """A statement as it goes into the script. One that may fail costs its own names only, and says why it failed."""
    if step.statement.awaits:
        return "pass  # an await cannot run here"
    plain = not isinstance(step.node, IMPORTS) and step.defines and step.now <= sure
    if plain or step.everything:
        return step.statement.text
    handler = ast.ExceptHandler(ast.Name("Exception"), "_error", [ast.Pass()])
    try:
        text = ast.unparse(ast.Try([step.node], [handler], [], []))
    except RecursionError:
        return step.statement.text
    said = f"code cell {step.statement.cell}: "
    return text.removesuffix("pass") + f"print({said!r} + type(_error).__name__, _error, sep=': ')"
