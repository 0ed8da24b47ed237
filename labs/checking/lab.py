"""A lab: its parts, the checks of each, rules on how they are written, experiments."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from .rules import Rule

Kind = Literal["check", "experiment", "gpu"]
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Needs = Callable[[], str | None]


@dataclass(frozen=True)
class Check:
    """One thing that is checked: `parts` are the functions that it needs, `seconds` its limit or its usual time.

    needs: tells why the check cannot run on this machine, or None when it can.
    """

    kind: Kind
    parts: tuple[str, ...]
    name: str
    title: str
    function: Callable[..., None] | None
    seconds: float
    rule: Rule | None = None
    needs: Needs | None = None


_MARKS = ("student_side", "lab.reference")  # of what runs in the student's process
_OURS = ("checking", "check")  # where names come from that the student's side has of its own


def _is_import(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        return not any(alias.name in _OURS for alias in node.names)
    return isinstance(node, ast.ImportFrom) and node.module not in _OURS


def _is_constant(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return bool(targets) and all(isinstance(target, ast.Name) and target.id.isupper() for target in targets)


class LabError(Exception):
    """A check.py that is not well formed: for its author."""


@overload
def student_side(function: F) -> F: ...
@overload
def student_side(*, changes: bool) -> Callable[[F], F]: ...
def student_side(function: Any = None, *, changes: bool = False) -> Any:
    """A function or class that runs in the student's process, for `student.run`; see worker.py for what it can use.

    `changes`: tensors that are handed to it may come back changed.
    """

    def mark(decorated: Any) -> Any:
        decorated.changes_arguments = changes
        return decorated

    return mark if function is None else mark(function)


def progress(items: Iterable[T], text: str = "") -> Iterator[T]:
    """Go through `items`; in a @student_side function the worker's own (worker.py) has this name and draws a bar."""
    yield from items


class Lab:
    """The checks of one lab, as its check.py declares them; `parts` are all functions to write, in their order."""

    def __init__(self, file: str, parts: Sequence[str]) -> None:
        self.file = Path(file).resolve()
        self.folder = self.file.parent
        self.labs = self.folder.parent
        self.name = self.folder.name
        self.number = self.name[:2]
        self.parts = tuple(parts)
        self.checks: list[Check] = []
        self.references: dict[str, Callable[..., Any]] = {}
        self.experiments_loaded = False

    def tag(self, part: str) -> str:
        """The part with its number: "02.3 PCA"."""
        return f"{self.number}.{self.parts.index(part) + 1} {part}"

    def _add(
        self,
        kind: Kind,
        parts: Sequence[str],
        function: Callable[..., None] | None,
        seconds: float,
        rule: Rule | None = None,
        needs: Needs | None = None,
    ) -> None:
        if unknown := set(parts) - set(self.parts):
            raise LabError(f"{self.file}: {', '.join(sorted(unknown))}: no part of this lab")
        if function is not None:
            title = (inspect.getdoc(function) or "").split("\n")[0].rstrip(".")
            name = function.__name__
        else:
            assert rule is not None
            title, name = rule.title, f"form_of_{rule.part}"
        if not title:
            raise LabError(f"{self.file}: {name} needs a docstring: its first line is what students read")
        if not parts or any(other.name == name for other in self.checks):
            raise LabError(f"{self.file}: {name} is there twice, or names no part")
        self.checks.append(Check(kind, tuple(parts), name, title, function, seconds, rule, needs))

    def check(self, *parts: str, seconds: float = 10.0, needs: Needs | None = None) -> Callable[[F], F]:
        """Declare a check of a part: `function(student, rng)`; `seconds` is its time limit.

        needs: called here, before the check; where it returns a reason, the check is skipped with it.
        """

        def declare(function: F) -> F:
            self._add("check", parts, function, seconds, needs=needs)
            return function

        return declare

    def experiment(self, *parts: str, seconds: float, needs: Needs | None = None) -> Callable[[F], F]:
        """Declare a measured result: `function(student, metrics, data, rng)`; `seconds` is what it usually takes."""

        def declare(function: F) -> F:
            self._add("experiment", parts, function, seconds, needs=needs)
            return function

        return declare

    def gpu(self, *parts: str, seconds: float, needs: Needs | None = None) -> Callable[[F], F]:
        """Declare an experiment that needs a GPU with CUDA, and is skipped without one."""

        def declare(function: F) -> F:
            self._add("gpu", parts, function, seconds, needs=needs)
            return function

        return declare

    def forbid(self, part: str, *, loops: bool = False, names: Iterable[str] = (), why: str = "") -> None:
        """Declare how a part must be written: without loops, without these names."""
        self._add("check", (part,), None, 10.0, Rule(part, loops, tuple(names), why))

    def reference(self, function: F) -> F:
        """Declare a specification of the part with its name; it stands in for it while other parts are checked."""
        if function.__name__ not in self.parts:
            raise LabError(f"{self.file}: {function.__name__}: no part of this lab")
        self.references[function.__name__] = function
        function.changes_arguments = False  # type: ignore[attr-defined]
        return function

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The names of a submission that the checks use: the parts, and what else they call `student.…`."""
        given = re.findall(r"\bstudent\.([A-Za-z_]\w*)", self.program())
        return (*self.parts, *sorted(set(given) - {*self.parts, "run", "changing", "source"}))

    def of_kind(self, kind: Kind) -> list[Check]:
        """The checks of one kind, part after part."""
        return sorted((c for c in self.checks if c.kind == kind), key=lambda c: self.parts.index(c.parts[0]))

    @property
    def experiments(self) -> Path:
        """The file with the experiments, beside check.py; a lab need not have one."""
        return self.file.with_name("experiments.py")

    def files(self, experiments: bool = True) -> list[Path]:
        """check.py, and experiments.py when that is wanted and there."""
        return [self.file, *([self.experiments] if experiments and self.experiments.is_file() else [])]

    def program(self, experiments: bool = True) -> str:
        """The text of check.py, with that of experiments.py behind it when that is wanted and there."""
        return "\n\n".join(file.read_text(encoding="utf-8") for file in self.files(experiments))

    @cached_property
    def _in_checks(self) -> list[tuple[str, str]]:
        return student_side_of(self.file)

    @cached_property
    def _in_experiments(self) -> list[tuple[str, str]]:
        return student_side_of(self.experiments) if self.experiments.is_file() else []

    def helpers(self, checked: Sequence[str] = (), experiments: bool = False) -> str:
        """The text that the student's process gets: @student_side functions, references of all parts but `checked`."""
        found = [*self._in_checks, *(self._in_experiments if experiments else [])]
        return "\n\n".join(text for name, text in found if name not in checked) + "\n"


def student_side_of(file: Path) -> list[tuple[str, str]]:
    """What a file of checks has for the student's side, in its order: (name of a reference or "", text).

    These are imports, constants in capitals, and what is marked as @student_side or @lab.reference.
    """
    found: list[tuple[str, str]] = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if _is_import(node) or _is_constant(node):
            found.append(("", ast.unparse(node)))
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            marks = {ast.unparse(mark).split("(")[0]: mark for mark in node.decorator_list}
            if marks.keys() & set(_MARKS):
                node.decorator_list = [mark for name, mark in marks.items() if name not in _MARKS]
                found.append((node.name if "lab.reference" in marks else "", ast.unparse(node)))
    return found
