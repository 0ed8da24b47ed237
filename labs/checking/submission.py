"""A student's work as text: a script, or the definitions in a notebook."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from .cells import Parsed, code_cells, lines_of, parsed
from .outcome import CheckFailed
from .travel import Script, travelling

if TYPE_CHECKING:
    from .reach import Modules

LARGEST = 2_000_000  # bytes of code; longer than any honest answer
_LARGEST_NOTEBOOK = 100_000_000  # with its pictures, which do not count
_FILES_BESIDE = 100
_TAG = re.compile(r"\d\d\.\d+ ")
Definition = ast.FunctionDef | ast.ClassDef | ast.Assign


@dataclass(frozen=True)
class Submission:
    """What is checked: the text, the file that it came from, and whether its lines are those of that file.

    remarks: sentences on what could not be read. missing: part → names that it needs and nothing defines. computed:
    name → where a notebook computes it. beside: the modules of the submission that it may import, by name; of a folder
    all of its files together.
    """

    text: str
    file: Path
    tree: ast.Module
    lines_count: bool = True
    remarks: tuple[str, ...] = ()
    missing: tuple[tuple[str, tuple[str, ...]], ...] = ()
    computed: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, ast.Module] = field(default_factory=dict)

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text, as Python counts them."""
        return lines_of(self.text)

    @cached_property
    def modules(self) -> Modules:
        """The statements of the submission and of the files beside it, for rules on how a part is written."""
        from .reach import Modules  # it needs this module

        return Modules(self)

    def definitions(self) -> dict[str, Definition]:
        """Functions and classes outside of others, also those in `if` and `try`; of one name the last counts.

        A name that is bound in another way, as by a lambda, stands for that statement.
        """
        found: dict[str, Definition] = {}
        for node in _statements(self.tree.body):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found[node.name] = node
            elif isinstance(node, ast.Assign):
                found |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
        return found

    def source(self, name: str) -> str:
        """The text of a function or class; "" where there is none."""
        node = self.definitions().get(name)
        return (ast.get_source_segment(self.text, node) or "") if node else ""


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, also those within `if`, `try` and `with`."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            yield from _statements(node.body)
            yield from _statements(getattr(node, "orelse", []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)


def _unusable(text: str) -> CheckFailed:
    return CheckFailed("unusable", text)


def parse(text: str, file: Path, lines_count: bool = True) -> Submission:
    """Raises CheckFailed ("unusable") with a sentence where the text is not Python."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        words = (error.text or "").strip()
        line = f"line {error.lineno}: " if error.lineno else ""
        failed = _unusable(f"{file.name} is not Python yet: {line}{error.msg}")
        failed.where = f"line {error.lineno}: {words}" if words else ""
        raise failed from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _unusable(f"{file.name} cannot be read as Python: {error or type(error).__name__}") from None
    return Submission(text, file, tree, lines_count)


def of_cells(cells: Parsed, file: Path, parts: Collection[str] = ()) -> tuple[Submission, Script]:
    """The submission that these cells of a notebook make, with what travels along. Raises CheckFailed ("unusable")."""
    try:
        script = travelling(cells, parts)
    except (RecursionError, MemoryError, SyntaxError, ValueError):
        raise _unusable(f"{file.name} has code that is nested too deeply.") from None
    made = parse(script.text, file, lines_count=False)
    missing = tuple(script.missing.items())
    return replace(made, remarks=script.remarks, missing=missing, computed=script.computed), script


def read(file: Path, parts: Collection[str] = ()) -> Submission:
    """The submission in a .py or .ipynb file. Raises CheckFailed ("unusable") with a sentence.

    parts: the functions that are to be checked; of a notebook these are read, with what they need.
    """
    notebook = file.suffix.lower() == ".ipynb"
    try:
        if file.stat().st_size > (_LARGEST_NOTEBOOK if notebook else LARGEST):
            largest = _LARGEST_NOTEBOOK if notebook else LARGEST
            raise _unusable(f"{file.name} is larger than {largest // 1_000_000} MB.")
        content = file.read_bytes()
    except OSError as error:
        raise _unusable(f"{file} cannot be read: {error.strerror}.") from None
    if not notebook:
        made = parse(_decoded(content, file), file)
        return replace(made, beside=modules_beside(file, made.tree))
    try:
        cells = code_cells(content.decode("utf-8-sig"), file)
    except UnicodeDecodeError:
        raise _unusable(f"{file.name} is not text in UTF-8.") from None
    if sum(map(len, cells)) > LARGEST:
        raise _unusable(f"{file.name} has more than {LARGEST // 1_000_000} MB of code.")
    made = of_cells(parsed(cells), file, parts)[0]
    return replace(made, beside=modules_beside(file, made.tree))


def _imported(tree: ast.AST) -> set[str]:
    """The first names of the modules that a text imports."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split(".")[0] for name in names} - {""}


def modules_beside(file: Path, tree: ast.Module) -> dict[str, ast.Module]:
    """The modules that a submission imports from its own folder, and those that they import from there."""
    found: dict[str, ast.Module] = {}
    seen = _imported(tree)
    waiting = sorted(seen)
    while waiting and len(found) < _FILES_BESIDE:
        name = waiting.pop(0)
        files = [file.with_name(f"{name}.py"), *sorted((file.parent / name).rglob("*.py"))[:_FILES_BESIDE]]
        body: list[ast.stmt] = []
        for other in files:
            try:
                if other.is_file() and other.stat().st_size <= LARGEST:
                    body += ast.parse(_decoded(other.read_bytes(), other)).body
            except (OSError, SyntaxError, ValueError, RecursionError, MemoryError, CheckFailed):
                continue  # whoever imports it gets that error
        if body:
            found[name] = ast.Module(body, [])
            new = _imported(found[name]) - seen
            seen |= new
            waiting += sorted(new)
    return found


def _decoded(content: bytes, file: Path) -> str:
    """The text of a script: UTF-8, or what its coding line says (PEP 263)."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _unusable(f"{file.name} is text in UTF-16: save it in UTF-8.")
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(content).readline)
        return "\n".join(lines_of(content.decode(encoding)))
    except (UnicodeDecodeError, SyntaxError, LookupError):
        raise _unusable(f"{file.name} is not text in UTF-8.") from None


def is_stub(node: ast.AST) -> bool:
    """Whether a part still raises its "not yet"."""
    return any(_TAG.match(tag) for tag in _tags(node))


def _tags(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Raise) and isinstance(inner.exc, ast.Call) and inner.exc.args:
            name, argument = inner.exc.func, inner.exc.args[0]
            if isinstance(name, ast.Name) and name.id == "NotImplementedError" and isinstance(argument, ast.Constant):
                yield str(argument.value)


def hint(node: Definition) -> str:
    """The paragraph of the docstring that begins with "Hint:", as one line without that word; "" if there is none."""
    if isinstance(node, ast.Assign):
        return ""
    for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
        if paragraph.startswith("Hint:"):
            return " ".join(paragraph.removeprefix("Hint:").split())
    return ""
