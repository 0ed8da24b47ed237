"""The cells of a notebook, as Python: of a file in any version of nbformat, read as IPython reads them."""

from __future__ import annotations

import ast
import inspect
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .outcome import CheckFailed

_LINE = re.compile(r"\r\n|\r|\n")  # where Python ends a line; str.splitlines knows more
_PYTHON_BELOW = re.compile(r"\s*%%(time|capture|prun|debug|memit|timeit)\b[^\n]*(\n|$)")  # their cells are Python
_TIME = re.compile(r"(.*?)get_ipython\(\)\.run_line_magic\('time', (.+)\)")
_NEW_NAMES = ("time", "capture", "prun", "debug")  # and these keep what the cell defines


@dataclass(frozen=True)
class Statement:
    """A statement of a cell: its node, its text with decorators, the number of its cell from 1.

    awaits: it can run in a notebook only. ours: it belongs to the checker.
    """

    node: ast.stmt
    text: str
    cell: int
    awaits: bool = False
    ours: bool = False


@dataclass(frozen=True)
class Parsed:
    """The statements of all cells that are Python, and a sentence for each cell that is not."""

    statements: tuple[Statement, ...]
    remarks: tuple[str, ...]


def lines_of(text: str) -> list[str]:
    """The lines of a text, as Python counts them."""
    return _LINE.split(text)


def code_cells(text: str, file: Path) -> list[str]:
    """The sources of the cells of code in a notebook, nbformat 3 and 4. Raises CheckFailed where it is none."""
    try:
        document = json.loads(text)
        sheets = document.get("worksheets")
        cells = [c for sheet in sheets for c in sheet["cells"]] if sheets is not None else document["cells"]
        return [_source(cell) for cell in cells if cell["cell_type"] == "code"]
    except (AttributeError, ValueError, KeyError, TypeError, RecursionError):
        raise CheckFailed("unusable", f"{file.name} is not a notebook.") from None


def _source(cell: dict[str, Any]) -> str:
    source = cell["source"] if "source" in cell else cell["input"]
    return source if isinstance(source, str) else "".join(source)


def parsed(cells: list[str]) -> Parsed:
    """The statements of these cells. A cell that is no Python costs itself alone, and a remark."""
    statements: list[Statement] = []
    remarks: list[str] = []
    for number, cell in enumerate(cells, start=1):
        try:
            statements += [*_statements(_python(cell), number)]
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            said = error.msg if isinstance(error, SyntaxError) else (str(error) or type(error).__name__)
            remarks.append(f"code cell {number} is not Python yet{line}: {said}")
    return Parsed(tuple(statements), tuple(remarks))


def _python(cell: str) -> str:
    """A cell as IPython would run it; magics, shell commands and help become calls of get_ipython()."""
    cell = "\n".join(lines_of(cell))
    if below := _PYTHON_BELOW.match(cell):
        if below[1] not in _NEW_NAMES:
            return ""
        cell = cell[below.end() :]
    try:
        ast.parse(cell)
    except SyntaxError as error:
        try:
            from IPython.core.inputtransformer2 import TransformerManager
        except ImportError:
            raise error from None
    else:
        return cell  # as nearly every cell is
    changed = TransformerManager().transform_cell(cell)
    return "\n".join(_timed(line) for line in lines_of(changed))


def _timed(line: str) -> str:
    """A line with the magic %time as IPython runs it: its statement stands there, and keeps what it assigns."""
    if found := _TIME.fullmatch(line):
        statement = str(ast.literal_eval(found[2]))
        return found[1] + (statement or "pass")
    return line


def _statements(source: str, number: int) -> Iterator[Statement]:
    """Raises SyntaxError where the cell could not run, as with a `return` outside of a function."""
    lines = lines_of(source)
    tree = ast.parse(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = compile(source, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    awaits = bool(code.co_flags & inspect.CO_COROUTINE)
    body = tree.body
    for place, node in enumerate(body):
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        last = node.end_lineno or node.lineno
        neighbours = [other for other in body[max(0, place - 1) : place + 2] if other is not node]
        shares = any(other.lineno <= last and (other.end_lineno or 0) >= first for other in neighbours)
        text = ast.unparse(node) if shares else "\n".join(lines[first - 1 : last])
        yield Statement(node, text, number, awaits and _awaits(text))


def _awaits(text: str) -> bool:
    try:
        compile(text, "<cell>", "exec", dont_inherit=True)
    except SyntaxError:
        return True
    return False
