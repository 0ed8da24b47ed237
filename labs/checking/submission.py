"""A student's work as text: a script, or the definitions in a notebook."""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from .outcome import CheckFailed

LARGEST = 2_000_000  # bytes; longer than any honest answer
_TAG = re.compile(r"\d\d\.\d+ ")
Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Submission:
    """What is checked: the text, the file that it came from, and whether its lines are those of that file."""

    text: str
    file: Path
    tree: ast.Module
    lines_count: bool = True

    def definitions(self) -> dict[str, Definition]:
        """Top-level functions and classes; of several with one name the last counts, as in Python."""
        return {node.name: node for node in self.tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}

    def source(self, name: str) -> str:
        """The text of a function or class; "" where there is none."""
        node = self.definitions().get(name)
        return (ast.get_source_segment(self.text, node) or "") if node else ""


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


def _names_a_type(node: ast.expr, known: Set[str]) -> bool:
    """Whether an expression is a type such as `list[torch.Tensor | None]`, made of names in `known` only."""
    match node:
        case ast.Constant(value=None):
            return True
        case ast.Name():
            return node.id in known
        case ast.Attribute():
            return _names_a_type(node.value, known)
        case ast.Subscript():
            return _names_a_type(node.value, known) and _names_a_type(node.slice, known)
        case ast.BinOp(op=ast.BitOr()):
            return _names_a_type(node.left, known) and _names_a_type(node.right, known)
        case ast.Tuple() | ast.List():
            return all(_names_a_type(element, known) for element in node.elts)
    return False


def _types(bodies: Iterable[list[ast.stmt]]) -> Set[str]:
    """The names that stand for types or modules: Python's own, and what the cells import."""
    imports = [node for body in bodies for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names}
    return imported | {name for name, value in vars(builtins).items() if isinstance(value, type)}


def _keeps(node: ast.stmt, types: Set[str]) -> bool:
    """Whether a statement of a notebook belongs to its definitions: what computes, prints or draws does not."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)):
        return True
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        if isinstance(node.value, (ast.Subscript, ast.BinOp)) and _names_a_type(node.value, types):
            return True
        try:
            ast.literal_eval(node.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return False
        return True
    return False


def definitions_of_notebook(text: str, file: Path) -> str:
    """The imports, functions, classes, constants and names of types in a notebook's cells of code, as a script."""
    try:
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _unusable(f"{file.name} is not a notebook.") from None
    parsed: list[tuple[str, list[ast.stmt]]] = []
    for number, source in enumerate(sources, start=1):
        lines = [f"# {line}" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()]
        cell = "\n".join(lines)
        try:
            parsed.append((cell, ast.parse(cell).body))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = f", line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else ""
            raise _unusable(f"{file.name} is not Python yet: code cell {number}{where}") from None
    types = _types(body for _, body in parsed)
    nodes = [(node, cell) for cell, body in parsed for node in body if _keeps(node, types)]
    kept = [text_of(node, cell) for node, cell in nodes if "checking" not in ast.unparse(node).split()]
    return "\n\n".join(kept) + "\n"


def text_of(node: ast.stmt, text: str) -> str:
    """A statement as it is written in `text`, with its decorators."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


def read(file: Path) -> Submission:
    """The submission in a .py or .ipynb file. Raises CheckFailed ("unusable") with a sentence."""
    try:
        if file.stat().st_size > LARGEST:
            raise _unusable(f"{file.name} is larger than {LARGEST // 1_000_000} MB.")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _unusable(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise _unusable(f"{file.name} is not text in UTF-8.") from None
    if file.suffix == ".ipynb":
        return parse(definitions_of_notebook(text, file), file, lines_count=False)
    return parse(text, file)


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
    for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
        if paragraph.startswith("Hint:"):
            return " ".join(paragraph.removeprefix("Hint:").split())
    return ""
