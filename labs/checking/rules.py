"""Rules on how a part is written: without loops, without the function that is the answer."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .outcome import CheckFailed
from .submission import Submission, is_stub

_LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.AsyncFor)
_HIDDEN_LOOPS = {"map", "filter", "vectorize", "apply_", "apply_along_axis", "fromiter"}


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
    """An expression as a dotted name, "torch.optim.SGD"; "…" stands for what is not a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "…"


def _used(submission: Submission, part: str) -> Iterator[ast.AST]:
    """All nodes of a part and of the student's own functions that it reaches."""
    definitions = submission.definitions()
    waiting, seen = [part], {part}
    while waiting:
        for node in ast.walk(definitions[waiting.pop()]):
            yield node
            if isinstance(node, ast.Name) and node.id in definitions and node.id not in seen:
                seen.add(node.id)
                waiting.append(node.id)


def _imported(submission: Submission) -> dict[str, str]:
    """Name in the student's file → the full name that an import gave to it."""
    names: dict[str, str] = {}
    for node in ast.walk(submission.tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
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
    others = {name: d for name, d in submission.definitions().items() if name == rule.part or name not in parts}
    body = [d for d in submission.tree.body if getattr(d, "name", None) is None or d in others.values()]
    own = replace(submission, tree=ast.Module(body=body, type_ignores=[]))
    imported = _imported(submission)
    because = f": {rule.why}" if rule.why else ""
    for used in _used(own, rule.part):
        line = getattr(used, "lineno", 0)
        where = f"line {line}: " if submission.lines_count else ""
        where = f"{where}{submission.text.splitlines()[line - 1].strip()}" if line else ""
        if rule.loops and isinstance(used, _LOOPS):
            raise _broken(f"a loop is not allowed here{because}", where)
        if isinstance(used, (ast.Name, ast.Attribute)):
            name = _dotted(used)
            first, _, rest = name.partition(".")
            full = f"{imported.get(first, first)}{'.' if rest else ''}{rest}"
            if rule.loops and name.rsplit(".", 1)[-1] in _HIDDEN_LOOPS:
                raise _broken(f"{name} is a loop in disguise{because}", where)
            for forbidden in rule.names:
                if _is(full, forbidden):
                    raise _broken(f"{forbidden} is not allowed here{because}", where)
        if isinstance(used, ast.BinOp) and isinstance(used.op, ast.MatMult) and "@" in rule.names:
            raise _broken(f"@ is not allowed here{because}", where)


def _broken(text: str, where: str) -> CheckFailed:
    failed = CheckFailed("wrong", text)
    failed.where = where
    return failed
