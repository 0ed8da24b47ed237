"""Rules on how a part is written: without loops, without the function that is the answer."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .outcome import CheckFailed
from .reach import OWN, Module, Use, dotted, uses
from .steps import Step
from .submission import Submission, is_stub

_LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.AsyncFor)
_HIDDEN_LOOPS = {"map", "filter", "reduce", "vectorize", "apply_", "map_", "apply_along_axis", "apply_over_axes"}
_HIDDEN_LOOPS |= {"fromiter", "frompyfunc", "accumulate", "starmap", "filterfalse", "takewhile", "dropwhile"}
_HIDING = {"eval", "exec", "compile", "__import__", "globals", "vars", "locals", "__builtins__", "breakpoint"}
_HIDING_MODULES = {"importlib", "builtins", "inspect", "ctypes", "marshal", "pickle", "runpy", "exercise", "__main__"}
_HIDING_NAMES = {"sys.modules", "sys._getframe", "types.FunctionType", "types.CodeType", "operator.attrgetter"}
_HIDING_NAMES |= {"operator.methodcaller", "gc.get_objects", "gc.get_referrers"}
_HIDING_ATTRIBUTES = {"__globals__", "__code__", "__builtins__", "__subclasses__", "__getattribute__", "__closure__"}
_HIDING_ATTRIBUTES |= {"__import__", "__annotations__", "__loader__", "__wrapped__", "f_globals", "f_locals", "f_back"}
_HIDING_ATTRIBUTES |= {"f_builtins", "tb_frame", "gi_frame", "cr_frame", "__setattr__"}
_REBINDING = {"eval", "exec", "globals", "sys.modules", "exercise", "__main__", "__globals__"}


@dataclass(frozen=True)
class Rule:
    """`part` must do without loops, and without certain names ("cdist", "optim.SGD"); `why` is told to the student."""

    part: str
    loops: bool
    names: tuple[str, ...]
    why: str

    @property
    def title(self) -> str:
        words = [*(["a loop"] if self.loops else []), *self.names]
        return f"written without {', '.join(words[:-1])}{' or ' if len(words) > 1 else ''}{words[-1]}"


def _is(name: str, forbidden: str) -> bool:
    return f".{forbidden}." in f".{name}."


def check(rule: Rule, submission: Submission, parts: Sequence[str], tag: str) -> None:
    """Raise CheckFailed where the part breaks the rule; other parts that it uses answer for themselves.

    tag: what the stub says, "02.3 PCA".
    """
    node = submission.definitions().get(rule.part)
    modules = submission.modules
    if node is None and not modules.binds(rule.part):
        raise CheckFailed("unusable", f"there is no {rule.part} in {submission.file.name}")
    if node is not None and is_stub(node):
        raise CheckFailed("not yet", tag)
    because = f": {rule.why}" if rule.why else ""
    reached = modules.reached(rule.part, frozenset(parts) - {rule.part})
    for module, step in reached:
        for use in uses(module, step):
            if broken := _breaks(rule, use, module):
                raise _broken(f"{broken}{because}", _where(submission, use.line))
    for module, step in modules.executed():
        for use in uses(module, step):
            if (hides := _hides(use, module)) in _REBINDING:
                text = f"{hides} at the top of a file could exchange {rule.part}, so the file must do without it"
                raise _broken(text, _where(submission, use.line))
    if rule.loops and (name := _recursive(reached)):
        raise _broken(f"{name} calls itself, which is a loop in disguise{because}", "")


def _where(submission: Submission, line: int) -> str:
    if not 0 < line <= len(submission.lines):
        return ""
    return (f"line {line}: " if submission.lines_count else "") + submission.lines[line - 1].strip()


def _breaks(rule: Rule, use: Use, module: Module) -> str:
    """What is wrong with a node, as a sentence; "" where nothing is."""
    node = use.node
    if rule.loops and isinstance(node, _LOOPS):
        return "a loop is not allowed here"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult) and "@" in rule.names:
        return "@ is not allowed here"
    if hides := _hides(use, module):
        return f"{hides} hides what is called, so this part must do without it"
    for full in _full(use, module):
        if rule.loops and full.rsplit(".", 1)[-1] in _HIDDEN_LOOPS:
            return f"{full.removeprefix(f'{OWN}.')} is a loop in disguise"
        for forbidden in rule.names:
            if _is(full, forbidden):
                return f"{forbidden} is not allowed here"
    return ""


def _full(use: Use, module: Module) -> Iterator[str]:
    """The full names that a node may stand for; none for what is the student's own."""
    node = use.node
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        source = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        yield from (f"{source}{alias.name}" for alias in node.names if source or alias.asname)
    if not isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
        return
    first, point, rest = dotted(node).partition(".")
    stands = use.names.get(first, first)
    if first == "self" and rest.partition(".")[0] in use.attributes:  # of the student's own class
        stands, rest = OWN, rest.partition(".")[2]
    if stands == OWN and not rest:
        return
    yield f"{stands}{point}{rest}"
    if first not in use.names and first != OWN:
        yield from (f"{star}.{first}{point}{rest}" for star in module.stars)


def _hides(use: Use, module: Module) -> str:
    """The name by which a node could reach any other function; "" where it cannot."""
    node = use.node
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        return next((name for name in names if name.split(".")[0] in _HIDING_MODULES), "")
    if isinstance(node, ast.Call):
        if dotted(node.func) == "getattr" and "getattr" not in use.names and not _plain_getattr(node):
            return "getattr with a computed name"
        return ""
    if isinstance(node, ast.Attribute):
        if node.attr in _HIDING_ATTRIBUTES:
            return node.attr
        if node.attr == "__dict__" and dotted(node.value) not in ("self", OWN):
            return "__dict__"
    if not isinstance(node, (ast.Name, ast.Attribute)):
        return ""
    if isinstance(node, ast.Name) and node.id == "getattr" and "getattr" not in use.names:
        return "getattr by another name"  # where it is called, reach.py leaves it out
    for full in _full(use, module):
        if full in _HIDING_NAMES or full.split(".")[0] in _HIDING_MODULES or full.removeprefix("builtins.") in _HIDING:
            return full
    return ""


def _plain_getattr(call: ast.Call) -> bool:
    """Whether the name of an attribute stands there, or it is one of the student's own object."""
    if len(call.args) < 2:
        return False
    of, name = call.args[:2]
    return isinstance(name, ast.Constant) or (isinstance(of, ast.Name) and of.id == "self")


def _recursive(reached: Sequence[tuple[Module, Step]]) -> str:
    """The name of a function that reaches itself; "" where there is none."""
    calls: dict[object, set[object]] = {}
    for module, step in reached:
        for name, used in _functions(step):
            calls.setdefault((id(module), name), set()).update((id(module), other) for other in used)
        for node in ast.walk(step.node):
            if isinstance(node, ast.ClassDef):
                _add_methods(node, calls)
            elif isinstance(node, (ast.FunctionDef, ast.Lambda)):
                _add_inner(node, calls)
            elif isinstance(node, ast.Call) and (name := _hands_itself(node)):
                return name
    found = _circle(calls)
    return str(found[-1]) if isinstance(found, tuple) else ""


def _functions(step: Step) -> Iterator[tuple[str, set[str]]]:
    """The functions that a statement makes, with the names that they use; values may well be made of each other."""
    if isinstance(step.node, ast.FunctionDef):
        yield step.node.name, step.uses
        return
    for node in ast.walk(step.node) if not isinstance(step.node, ast.ClassDef) else ():
        if isinstance(node, ast.FunctionDef):
            yield node.name, _loaded(node)
        elif isinstance(node, ast.Assign) and (isinstance(node.value, ast.Lambda) or _is_partial(node.value)):
            yield from ((target.id, _loaded(node)) for target in node.targets if isinstance(target, ast.Name))


def _is_partial(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in ("partial", "wraps", "lru_cache")


def _loaded(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}


def _hands_itself(call: ast.Call) -> str:
    """The name of a function that is called with itself: it can call itself by another name."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    return name if any(isinstance(one, ast.Name) and one.id == name for one in call.args) else ""


def _add_methods(node: ast.ClassDef, calls: dict[object, set[object]]) -> None:
    for method in node.body:
        if isinstance(method, ast.FunctionDef):
            used = {n.attr for n in ast.walk(method) if isinstance(n, ast.Attribute) and dotted(n.value) == "self"}
            calls[id(node), method.name] = {(id(node), name) for name in used}


def _add_inner(node: ast.FunctionDef | ast.Lambda, calls: dict[object, set[object]]) -> None:
    """The functions within a function: those that it defines, and lambdas that it gives a name."""
    inner: dict[str, ast.AST] = {}
    for one in node.body if isinstance(node, ast.FunctionDef) else []:
        for child in ast.walk(one) if not isinstance(one, ast.ClassDef) else []:
            if isinstance(child, ast.FunctionDef):
                inner[child.name] = child
            elif isinstance(child, ast.Assign) and isinstance(child.value, ast.Lambda):
                inner |= {target.id: child.value for target in child.targets if isinstance(target, ast.Name)}
    for name, function in inner.items():
        calls[id(node), name] = {(id(node), other) for other in _loaded(function) & inner.keys()}


def _circle(calls: Mapping[object, set[object]]) -> object:
    """A node of a graph that reaches itself; None where there is none."""
    done: set[object] = set()
    for start in calls:
        path: dict[object, list[object]] = {start: [*calls[start]]} if start not in done else {}
        while path:
            node = next(reversed(path))
            if not path[node]:
                done.add(node)
                del path[node]
                continue
            following = path[node].pop()
            if following in path:
                return following
            if following in calls and following not in done:
                path[following] = [*calls[following]]
    return None


def _broken(text: str, where: str) -> CheckFailed:
    failed = CheckFailed("wrong", text)
    failed.where = where
    return failed
