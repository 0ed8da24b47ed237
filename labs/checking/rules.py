"""Rules on how a part is written: without loops, without the function that is the answer."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from .outcome import CheckFailed
from .submission import Submission, is_stub

_LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.AsyncFor)
_HIDDEN_LOOPS = {"map", "filter", "reduce", "vectorize", "apply_", "map_", "apply_along_axis", "fromiter", "accumulate"}
_HIDING = {"eval", "exec", "compile", "__import__", "globals", "vars", "locals"}


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


def _dotted(node: ast.AST) -> str:
    """An expression as a dotted name, "torch.optim.SGD"; "…" stands for what is not a name.

    `getattr(torch, "cdist")` is another way to write torch.cdist.
    """
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    match node:
        case ast.Call(func=ast.Name(id="getattr"), args=[of, ast.Constant(value=str(name)), *_]):
            return f"{_dotted(of)}.{name}"
    return "…"


@dataclass(frozen=True)
class _Use:
    """A node that a part reaches, and the names that are variables of the function around it."""

    node: ast.AST
    local: frozenset[str]
    line: int  # in the submission's text; 0 for a node of another file


def _used(submission: Submission, part: str, others: Set[str]) -> Iterator[_Use]:
    """All that a part reaches: functions, classes, statements, files of the submission; but no other part."""
    definitions = submission.definitions()
    imported = {name: full.split(".")[0] for name, full in _imported(submission).items()}
    waiting, seen = [part], {part, *others}
    while waiting:
        name = waiting.pop()
        node: ast.AST = definitions[name] if name in definitions else submission.beside[imported[name]]
        local = _variables(node) if name in definitions else frozenset()
        for inner in ast.walk(node):
            yield _Use(inner, local, getattr(inner, "lineno", 0) if name in definitions else 0)
            if not isinstance(inner, ast.Name) or inner.id in seen or inner.id in local:
                continue
            if inner.id in definitions or imported.get(inner.id) in submission.beside:
                seen.add(inner.id)
                waiting.append(inner.id)


def _variables(node: ast.AST) -> frozenset[str]:
    """The arguments of a function, and the names that it assigns."""
    if not isinstance(node, (ast.FunctionDef, ast.Lambda)):
        return frozenset()
    given = {inner.arg for inner in ast.walk(node) if isinstance(inner, ast.arg)}
    made = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)}
    everywhere = {name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names}
    return frozenset((given | made) - everywhere)


def _recursive(submission: Submission, part: str, others: Set[str]) -> str:
    """The name of a function that reaches itself, from this part on; "" where there is none."""
    definitions = submission.definitions()
    calls = {
        name: {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        - _variables(node)
        for name, node in definitions.items()
        if name not in others and isinstance(node, (ast.FunctionDef, ast.Assign))
    }
    reached, waiting = {part}, [part]
    while waiting:
        new = (calls.get(waiting.pop(), set()) & calls.keys()) - reached
        reached |= new
        waiting += new
    for name in reached:
        seen, waiting = set(), [name]
        while waiting:
            for called in calls.get(waiting.pop(), set()) & calls.keys():
                if called == name:
                    return name
                if called not in seen:
                    seen.add(called)
                    waiting.append(called)
    return ""


def _imported(submission: Submission) -> dict[str, str]:
    """Name in the student's file → the full name that an import gave to it."""
    names: dict[str, str] = {}
    for node in ast.walk(submission.tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module or alias.name}.{alias.name}" for alias in node.names}
    return names


def _is(name: str, forbidden: str) -> bool:
    return f".{forbidden}." in f".{name}."


def check(rule: Rule, submission: Submission, parts: Sequence[str], tag: str) -> None:
    """Raise CheckFailed where the part breaks the rule; other parts that it uses answer for themselves.

    tag: what the stub says, "02.3 PCA".
    """
    node = submission.definitions().get(rule.part)
    if node is None:
        raise CheckFailed("unusable", f"there is no {rule.part} in {submission.file.name}")
    if is_stub(node):
        raise CheckFailed("not yet", tag)
    others = frozenset(parts) - {rule.part}
    imported = _imported(submission)
    because = f": {rule.why}" if rule.why else ""
    for used in _used(submission, rule.part, others):
        if broken := _breaks(rule, used, imported):
            raise _broken(f"{broken}{because}", _where(submission, used.line))
    if rule.loops and (name := _recursive(submission, rule.part, others)):
        raise _broken(f"{name} calls itself, which is a loop in disguise{because}", "")


def _where(submission: Submission, line: int) -> str:
    if not 0 < line <= len(submission.lines):
        return ""
    return (f"line {line}: " if submission.lines_count else "") + submission.lines[line - 1].strip()


def _breaks(rule: Rule, used: _Use, imported: Mapping[str, str]) -> str:
    """What is wrong with a node, as a sentence; "" where nothing is."""
    node = used.node
    if rule.loops and isinstance(node, _LOOPS):
        return "a loop is not allowed here"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult) and "@" in rule.names:
        return "@ is not allowed here"
    if isinstance(node, ast.Call) and (hides := _hides(node, used.local)):
        return f"{hides} hides what is called, so this part must do without it"
    if not isinstance(node, (ast.Name, ast.Attribute, ast.Call)):
        return ""
    name = _dotted(node)
    first, _, rest = name.partition(".")
    if first == "self" or (isinstance(node, ast.Name) and node.id in used.local):
        return ""  # of the student's own
    full = name if first in used.local else f"{imported.get(first, first)}{'.' if rest else ''}{rest}"
    if rule.loops and full.rsplit(".", 1)[-1] in _HIDDEN_LOOPS:
        return f"{name} is a loop in disguise"
    for forbidden in rule.names:
        if _is(full, forbidden):
            return f"{forbidden} is not allowed here"
    return ""


def _hides(call: ast.Call, local: Set[str]) -> str:
    """The function by which a call could reach any other; "" for any other call."""
    name = _dotted(call.func)
    if name.split(".")[0] in local:
        return ""
    if name == "getattr" and len(call.args) > 1 and not isinstance(call.args[1], ast.Constant):
        return "getattr with a computed name"
    return name if name in _HIDING or name.startswith("importlib.") else ""


def _broken(text: str, where: str) -> CheckFailed:
    failed = CheckFailed("wrong", text)
    failed.where = where
    return failed
