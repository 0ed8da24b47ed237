"""What a part of a submission reaches: functions, classes, statements, files beside it; and what names stand for."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property

from .cells import Statement
from .steps import DEFINES, IMPORTS, Step, makers, steps_of
from .submission import Submission

Names = Mapping[str, str]  # variable → what it stands for, as a dotted name; OWN for the student's own values
OWN = "…"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Use:
    """A node that is reached. names: what the variables around it stand for. attributes: those of the class around it.

    line: in the text of the submission, 0 for a node of another file.
    """

    node: ast.AST
    names: Names
    attributes: frozenset[str]
    line: int


@dataclass
class Module:
    """The statements of a module, and what each name of it is made of."""

    steps: list[Step]
    own: bool  # the submission itself, no file beside it

    @cached_property
    def makes(self) -> dict[str, set[int]]:
        return makers(self.steps)

    @cached_property
    def names(self) -> dict[str, str]:
        """Name of the module → the full name that an import gave to it, or OWN."""
        own = {name for step in self.steps if isinstance(step.node, DEFINES) for name in step.binds}
        found = dict.fromkeys(own, OWN)
        for step in self.steps:
            given = _given([node for node in ast.walk(step.node) if isinstance(node, (*IMPORTS, ast.Assign))])
            for name in step.binds - own:
                first, point, rest = given.get(name, OWN).partition(".")
                found[name] = f"{found.get(first, first)}{point}{rest}"
        return found

    @cached_property
    def stars(self) -> list[str]:
        """The modules of which all names were imported."""
        return [
            str(step.node.module) for step in self.steps if step.everything and isinstance(step.node, ast.ImportFrom)
        ]


class Modules:
    """A submission with the files beside it."""

    def __init__(self, submission: Submission) -> None:
        self._all = {"": Module(_steps(submission.tree), True)}
        self._all |= {name: Module(_steps(tree), False) for name, tree in submission.beside.items()}

    def binds(self, name: str) -> bool:
        """Whether the submission defines this name at its top."""
        main = self._all[""]
        return name in main.makes or any(name in self._all[star].makes for star in main.stars if star in self._all)

    def reached(self, part: str, others: Set[str]) -> list[tuple[Module, Step]]:
        """The statements that a part needs, or what those need in turn; but no other part."""
        return self._closure([("", part)], {("", name) for name in others})

    def executed(self) -> list[tuple[Module, Step]]:
        """What runs when the submission is loaded: statements that define nothing, and the functions that they use."""
        first = [(module, step) for module in self._all.values() for step in module.steps if _runs(step)]
        names = [(key, name) for key, module in self._all.items() for step in module.steps if _runs(step)
                 for name in step.now]  # fmt: skip
        return [*first, *self._closure(names, set())]

    def _closure(self, roots: list[tuple[str, str]], seen: set[tuple[str, str]]) -> list[tuple[Module, Step]]:
        found: dict[int, tuple[Module, Step]] = {}
        seen, waiting = {*seen, *roots}, [*roots]
        while waiting:
            key, name = waiting.pop()
            module = self._all[key]
            for number in module.makes.get(name, set()):
                step = module.steps[number]
                if id(step) in found:
                    continue
                found[id(step)] = (module, step)
                new = {*self._used(key, step)} - seen
                seen |= new
                waiting += new
            if name not in module.makes:
                new = {(star, name) for star in module.stars if star in self._all} - seen
                seen |= new
                waiting += new
        return [*found.values()]

    def _used(self, key: str, step: Step) -> Iterator[tuple[str, str]]:
        """The names that a step uses, with their modules."""
        module = self._all[key]
        yield from ((key, name) for name in step.uses)
        if isinstance(step.node, ast.ImportFrom):
            source = (step.node.module or "").split(".")[0] if not step.node.level else key
            if source in self._all and not step.everything:
                yield from ((source, alias.name) for alias in step.node.names)
            return
        if isinstance(step.node, ast.Import):
            return
        for node in ast.walk(step.node):
            if isinstance(node, (ast.Import, ast.ImportFrom)):  # within a function
                for full in _given([node]).values():
                    first, *rest = full.split(".")
                    yield from ((first, name) for name in rest if first in self._all)
            if isinstance(node, ast.Attribute):
                first, *rest = dotted(node).split(".")
                other = module.names.get(first, first).split(".")[0]
                if other in self._all and other != key:
                    yield from ((other, name) for name in rest)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                other = module.names.get(node.id, "")
                if other in self._all and other != key and not self._only_as_prefix(step, node.id):
                    yield from ((other, name) for name in self._all[other].makes)

    @staticmethod
    def _only_as_prefix(step: Step, name: str) -> bool:
        """Whether a module is used as in `module.name` only."""
        nodes = [*ast.walk(step.node)]
        prefixes = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        return all(id(node) in prefixes for node in nodes if isinstance(node, ast.Name) and node.id == name)


def _steps(tree: ast.Module) -> list[Step]:
    return steps_of([Statement(node, _written(node), 0) for node in tree.body if not _is_guard(node)])


def _written(node: ast.stmt) -> str:
    try:
        return ast.unparse(node)
    except RecursionError:
        return "("  # no Python: its names are looked up in the tree


def _runs(step: Step) -> bool:
    """Whether a statement does something when the module is loaded."""
    return not step.defines or isinstance(step.node, IMPORTS)


def _is_guard(node: ast.stmt) -> bool:
    """Whether it is `if __name__ == "__main__"`, which does nothing in a module."""
    names = {one.id for one in ast.walk(node.test) if isinstance(one, ast.Name)} if isinstance(node, ast.If) else set()
    return names == {"__name__"} and not getattr(node, "orelse", [])


def dotted(node: ast.AST) -> str:
    """An expression as a dotted name, "torch.optim.SGD"; OWN stands for what is not a name.

    `getattr(torch, "cdist")` and `torch.__dict__["cdist"]` are other ways to write torch.cdist.
    """
    names: list[str] = []
    while True:
        match node:
            case ast.Name(id=name):
                return ".".join([name, *reversed(names)])
            case ast.Attribute(value=inner, attr="__dict__"):
                node = inner
            case ast.Attribute(value=inner, attr=name):
                names.append(name)
                node = inner
            case ast.Call(func=ast.Name(id="getattr"), args=[inner, ast.Constant(value=str(name)), *_]):
                names.append(name)
                node = inner
            case ast.Subscript(value=ast.Attribute(attr="__dict__") as inner, slice=ast.Constant(value=str(name))):
                names.append(name)
                node = inner
            case _:
                return ".".join([OWN, *reversed(names)])


def _given(body: list[ast.stmt]) -> dict[str, str]:
    """What imports and plain renamings give names to: `from torch import cdist as c`, `o = optim`."""
    names: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
                      for alias in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module or alias.name}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Assign) and not (full := dotted(node.value)).startswith(OWN):
            first, point, rest = full.partition(".")
            full = f"{names.get(first, first)}{point}{rest}"
            names |= {target.id: full for target in node.targets if isinstance(target, ast.Name)}
    return names


def uses(module: Module, step: Step) -> Iterator[Use]:
    """All nodes of a statement, each with the variables around it."""
    waiting: list[tuple[ast.AST, Names, frozenset[str]]] = [(step.node, module.names, frozenset())]
    while waiting:
        node, names, attributes = waiting.pop()
        yield Use(node, names, attributes, getattr(node, "lineno", 0) if module.own else 0)
        inner, inside = (
            names,
            [one for one in ast.iter_child_nodes(node) if not any(one is other for other in _annotations(node))],
        )
        if isinstance(node, ast.Call) and dotted(node.func) == "getattr":
            inside.remove(node.func)
        if isinstance(node, ast.ClassDef):
            attributes = _attributes(node)
        elif isinstance(node, _FUNCTIONS):
            outside = [*getattr(node, "decorator_list", []), node.args]
            waiting += [(one, names, attributes) for one in outside]
            inner, inside = (
                {**names, **_variables(node, names)},
                [one for one in inside if not any(one is other for other in outside)],
            )
        elif isinstance(node, _COMPREHENSIONS):
            targets = [name for one in node.generators for name in ast.walk(one.target)]
            inner = {**names, **{one.id: OWN for one in targets if isinstance(one, ast.Name)}}
        waiting += [(one, inner, attributes) for one in inside]


def _annotations(node: ast.AST) -> list[ast.AST]:
    """What only describes: a type is no use of it."""
    found = [getattr(node, "returns", None), getattr(node, "annotation", None)]
    return [one for one in found if isinstance(one, ast.AST)]


def _scope(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions and classes in it."""
    body = getattr(node, "body", [])
    waiting = [*body] if isinstance(body, list) else [body]
    while waiting:
        inner = waiting.pop()
        yield inner
        if not isinstance(inner, (*_FUNCTIONS, ast.ClassDef)):
            waiting += ast.iter_child_nodes(inner)


def _variables(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, names: Names) -> dict[str, str]:
    """The arguments of a function and the names that it assigns, with what they stand for."""
    given = node.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    found = {argument.arg: OWN for argument in arguments}
    assigned: dict[str, int] = {}
    everywhere: set[str] = set()
    renamings: list[ast.stmt] = []
    for inner in _scope(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            assigned[inner.id] = assigned.get(inner.id, 0) + 1
        elif isinstance(inner, DEFINES):
            assigned[inner.name] = 2
        elif isinstance(inner, (ast.Global, ast.Nonlocal)):
            everywhere |= set(inner.names)
        if isinstance(inner, (ast.Import, ast.ImportFrom, ast.Assign)):
            renamings.append(inner)
    found |= dict.fromkeys(assigned, OWN)
    for name, full in _given(renamings).items():
        first, point, rest = full.partition(".")
        if assigned.get(name, 1) == 1 and found.get(first) != OWN:
            found[name] = f"{names.get(first, first)}{point}{rest}"
    return {name: full for name, full in found.items() if name not in everywhere}


def _attributes(node: ast.ClassDef) -> frozenset[str]:
    """The attributes that a class of the student defines: methods, and what it assigns to `self`."""
    found = {one.name for one in node.body if isinstance(one, DEFINES)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store) and dotted(inner.value) == "self":
            found.add(inner.attr)
    for one in node.body:
        targets = one.targets if isinstance(one, ast.Assign) else [one.target] if isinstance(one, ast.AnnAssign) else []
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)
