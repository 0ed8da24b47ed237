#!/usr/bin/env python3
"""Make what students get out of the one source of each lab, and the notebooks of the examples.

    python tools/labs.py [NAME …]            write sheet.md, exercise.py and exercise.ipynb of each lab, and notebooks
    python tools/labs.py --check             write nothing; name what is not up to date, and end with status 1
    python tools/labs.py --solve FOLDER      write the solved labs, scripts and notebooks, for an instructor

The source of a lab is labs/NN_name/author/lab.py, in jupytext's percent format. `# %%` begins a cell of code for script
and notebook, `# %% [markdown]` a cell of text for sheet and notebook; `sheet`, `notebook` or `script` behind either
restricts it. A function or class with a region between `# BEGIN SOLUTION` and `# END SOLUTION` is a part, to be
written by the student. What its rule in check.py forbids is put before its hint. A program in labs/examples is the
source of the notebook beside it. The same sources always give the same bytes. Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from labrules import rules

CHECKOUT = Path(__file__).resolve().parent.parent
LABS = CHECKOUT / "labs"
MARK, BEGIN, END, HINT = "# %%", "# BEGIN SOLUTION", "# END SOLUTION", "Hint:"
PLACES = ("", "sheet", "notebook", "script")


class SourceError(Exception):
    """A source that cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class Cell:
    """A cell of a source: kind is "code" or "markdown", place one of PLACES, line where it begins."""

    kind: str
    place: str
    lines: tuple[str, ...]
    line: int

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Part:
    """A function or class to write."""

    tag: str
    name: str
    node: ast.FunctionDef | ast.ClassDef


def cells(script: str, name: str) -> list[Cell]:
    """The cells of a script in percent format, without empty lines at either end of each."""
    begun: list[tuple[str, str, int, list[str]]] = []
    for number, line in enumerate(script.splitlines(), start=1):
        if line.startswith(MARK):
            match = re.fullmatch(r"# %%(?P<kind> \[markdown\])?(?: (?P<place>[a-z]+))?", line)
            if match is None or (match["place"] or "") not in PLACES:
                raise SourceError(f"{name}, line {number}: “{line}” begins neither a cell of code nor one of text")
            begun.append(("markdown" if match["kind"] else "code", match["place"] or "", number, []))
        elif not begun:
            raise SourceError(f"{name}, line {number}: the script must begin with a “{MARK}” line")
        elif begun[-1][0] == "code":
            begun[-1][3].append(line)
        elif line == "" or line == "#" or line.startswith("# "):
            begun[-1][3].append(line[2:])
        else:
            raise SourceError(f"{name}, line {number}: in a cell of text each line is a comment")
    found = []
    for kind, place, number, lines in begun:
        while lines and not lines[-1]:
            lines.pop()
        while lines and not lines[0]:
            lines.pop(0)
        if not lines:
            raise SourceError(f"{name}, line {number}: a cell ({kind}) is empty")
        found.append(Cell(kind, place, tuple(lines), number))
    return found


def notebook(made: list[Cell], source: str) -> str:
    """The notebook (nbformat 4.5, JSON, without outputs) of these cells; its metadata name the source."""
    listed = []
    for number, cell in enumerate(made, start=1):
        lines = cell.text.splitlines(keepends=True)
        one: dict[str, object] = {"cell_type": cell.kind, "id": f"cell-{number:02d}", "metadata": {}, "source": lines}
        if cell.kind == "code":
            one |= {"execution_count": None, "outputs": []}
        listed.append(dict(sorted(one.items())))
    whole = {
        "cells": listed,
        "metadata": {
            "coursebox": {"made from": source, "made by": "tools/labs.py"},
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def regions(text: str, name: str) -> list[tuple[int, int]]:
    """The marked regions of a text, as (line of BEGIN, line of END), from 1. Nested or open ones are errors."""
    found, begun = [], 0
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.strip()
        if words == BEGIN:
            if begun:
                raise SourceError(f"{name}, line {number}: a region begins inside of another")
            begun = number
        elif words == END:
            if not begun:
                raise SourceError(f"{name}, line {number}: a region ends that has not begun")
            found.append((begun, number))
            begun = 0
    if begun:
        raise SourceError(f"{name}, line {begun}: a region does not end")
    return found


class Lab:
    """One lab's source, read; raises SourceError where it is not in order."""

    def __init__(self, source: Path) -> None:
        self.name = source.parents[1].name
        self.number = self.name[:2]
        self.label = f"labs/{self.name}/author/{source.name}"
        self.script = source.read_text(encoding="utf-8")
        self.cells = cells(self.script, self.label)
        if self.cells[0].kind != "markdown" or not self.cells[0].lines[0].startswith(f"# {self.number} · "):
            raise SourceError(f"{self.label}: the first cell is a text that begins with “# {self.number} · ”")
        self.title = self.cells[0].lines[0].removeprefix(f"# {self.number} · ")
        tree = ast.parse(self.script, self.label)
        self._regions = regions(self.script, self.label)
        self.parts: list[Part] = []
        self._owners: dict[int, str] = {}  # line of BEGIN → tag of the stub
        self._rules: dict[int, list[str]] = {}  # line of a hint → the lines that go before it
        try:
            self._forbidden = rules(source.parents[1] / "check.py")
        except (NameError, TypeError, SyntaxError) as error:
            raise SourceError(f"labs/{self.name}/check.py: its rules cannot be read: {error}") from None
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and self._inside(node):
                tag = f"{self.number}.{len(self.parts) + 1} {node.name}"
                self.parts.append(Part(tag, node.name, node))
                self._own(node, tag)
                if node.name in self._forbidden:
                    self._rule(node, self._forbidden[node.name])
        if lost := [begin for begin, _ in self._regions if begin not in self._owners]:
            raise SourceError(f"{self.label}, line {lost[0]}: a region must lie inside of a function, in one piece")

    def _inside(self, node: ast.stmt) -> list[tuple[int, int]]:
        return [(b, e) for b, e in self._regions if node.lineno < b and e <= _last_line(node, self.script)]

    def _own(self, node: ast.FunctionDef | ast.ClassDef, tag: str) -> None:
        """Give the regions of a part their tags: those of a function its own, those of a method "tag.method"."""
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    self._own(inner, f"{tag}.{inner.name}")
            return
        inside = self._inside(node)
        if len(inside) > 1:
            raise SourceError(f"{self.label}, line {inside[1][0]}: one region for each function is enough")
        for begin, _ in inside:
            self._owners[begin] = tag

    def _rule(self, node: ast.FunctionDef | ast.ClassDef, sentence: str) -> None:
        """Put the rule of a part before the hint of its docstring, in lines of at most 120 characters."""
        for number, line in enumerate(self.script.splitlines()[node.lineno : node.end_lineno], start=node.lineno + 1):
            if line.strip().startswith(HINT):
                indent = line[: len(line) - len(line.lstrip())]
                self._rules[number] = [
                    *textwrap.wrap(sentence, 120, initial_indent=indent, subsequent_indent=indent),
                    "",
                ]
                return
        raise SourceError(f"{self.label}: {node.name} has a rule, so its docstring needs a paragraph “{HINT} …”")

    def _stubbed(self, cell: Cell) -> list[str]:
        """The lines of a cell of code with its regions replaced by "not yet"."""
        kept: list[str] = []
        skipping = False
        for number, line in enumerate(self.script.splitlines()[cell.line :], start=cell.line + 1):
            if line.startswith(MARK):
                break
            kept += self._rules.get(number, ())
            if number in self._owners:
                indent = line[: len(line) - len(line.lstrip())]
                kept.append(f'{indent}raise NotImplementedError("{self._owners[number]}")')
                skipping = True
            elif line.strip() == END:
                skipping = False
            elif not skipping:
                kept.append(line)
        return _trimmed(kept)

    def _solved(self, cell: Cell) -> list[str]:
        kept: list[str] = []
        for number, line in enumerate(self.script.splitlines()[cell.line :], start=cell.line + 1):
            if line.startswith(MARK):
                break
            kept += [*self._rules.get(number, ()), *([] if line.strip() in (BEGIN, END) else [line])]
        return _trimmed(kept)

    def _parts_of(self, cell: Cell) -> list[Part]:
        last = cell.line + len(self.script.splitlines()[cell.line :])
        following = [c.line for c in self.cells if c.line > cell.line]
        return [part for part in self.parts if cell.line < part.node.lineno < min([*following, last + 1])]

    def sheet(self) -> str:
        """The sheet: the texts, and behind them what each part is asked to do."""
        blocks = []
        for cell in self.cells:
            if cell.kind == "markdown" and cell.place in ("", "sheet"):
                blocks.append(cell.text)
            elif cell.kind == "code":
                blocks += [
                    _section(part, self.script, self._forbidden.get(part.name, "")) for part in self._parts_of(cell)
                ]
        return f"<!-- Made by tools/labs.py from {self.label}. -->\n\n" + "\n\n".join(blocks) + "\n"

    def script_of(self, solved: bool = False) -> str:
        """exercise.py, or the solved one."""
        heading = f"# Made by tools/labs.py from {self.label}; write your functions here.\n"
        heading += f'"""Lab {self.number}: {_plain(self.title)}.\n\n'
        heading += 'What to do is in sheet.md. Check your work with: python check.py\n"""\n'
        blocks = []
        for cell in self.cells:
            if cell.kind == "code" and cell.place in ("", "script"):
                blocks.append("\n".join(self._solved(cell) if solved else self._stubbed(cell)))
        return heading + "\n" + "\n\n\n".join(blocks) + "\n"

    def notebook_of(self, solved: bool = False) -> str:
        """exercise.ipynb, or the solved one."""
        made: list[Cell] = []
        begun = False
        for cell in self.cells:
            if cell.place in ("sheet", "script"):
                continue
            if cell.kind == "markdown":
                made.append(cell)
                continue
            lines = self._solved(cell) if solved else self._stubbed(cell)
            made.append(Cell("code", "", tuple(lines), cell.line))
            if not begun:
                begun = True
                made.append(_code(_SETUP.format(name=self.name)))
            if parts := self._parts_of(cell):
                made.append(_code(f"check({', '.join(json.dumps(part.name) for part in parts)})"))
        how_to_go_on = made[-1].kind == "markdown" and made[-1].place == "notebook"
        made.insert(len(made) - how_to_go_on, _code("check(targets=True)"))  # and below it what to do next
        return notebook(made, self.label)

    def files(self, solved: bool = False) -> dict[str, str]:
        """File name → text, of what is generated."""
        made = {"exercise.py": self.script_of(solved), "exercise.ipynb": self.notebook_of(solved)}
        return made if solved else {"sheet.md": self.sheet()} | made


_SETUP = """import sys

sys.path.append("..")
from checking import notebook

check = notebook("{name}")  # check() looks at everything, check("name") at one part"""


def _code(text: str) -> Cell:
    return Cell("code", "", tuple(text.split("\n")), 0)


def _trimmed(lines: list[str]) -> list[str]:
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def _last_line(node: ast.stmt, script: str) -> int:
    """The last line of a definition, with the END that may follow it (a comment is no part of the tree)."""
    last = node.end_lineno or node.lineno
    following = script.splitlines()[last : last + 1]
    return last + 1 if following and following[0].strip() == END else last


def _plain(title: str) -> str:
    """A title without Markdown's signs."""
    return re.sub(r"[*`]", "", title)


def _signature(node: ast.FunctionDef, owner: str = "") -> str:
    """A function's name, arguments and result, without the types of the arguments: the text below names them."""
    arguments = ast.parse(ast.unparse(node)).body[0].args  # type: ignore[attr-defined]  # a copy
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        argument.annotation = None
    if owner and arguments.args and arguments.args[0].arg == "self":
        arguments.args = arguments.args[1:]
    returns = f" → {ast.unparse(node.returns)}" if node.returns else ""
    return f"{owner}{node.name}({ast.unparse(arguments)}){returns}"


def _words(node: ast.FunctionDef | ast.ClassDef, rule: str = "") -> str:
    """A docstring as it stands on the sheet, the rule before the hint, and the hint in italics."""
    blocks: list[str] = []
    for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
        if paragraph.startswith(HINT):
            blocks += [*([rule] if rule else []), f"*{HINT} {' '.join(paragraph.removeprefix(HINT).split())}*"]
        else:
            blocks.append(paragraph)
    return "\n\n".join(blocks)


def _section(part: Part, text: str, rule: str) -> str:
    """What the sheet says about a part: signature and docstring; of a class also those methods that are to be written.

    text: the source, to find the regions in it. rule: what is forbidden, "" where nothing is.
    """
    number = part.tag.split()[0]
    if isinstance(part.node, ast.FunctionDef):
        return f"**{number}** `{_signature(part.node)}`\n\n{_words(part.node, rule)}"
    bases = ", ".join(ast.unparse(base) for base in part.node.bases)
    blocks = [f"**{number}** `class {part.name}{f'({bases})' if bases else ''}`\n\n{_words(part.node, rule)}"]
    for inner in part.node.body:
        if isinstance(inner, ast.FunctionDef) and BEGIN in (ast.get_source_segment(text, inner) or ""):
            words = f"\n\n{_words(inner)}" if ast.get_docstring(inner) else ""
            blocks.append(f"**{number}** `{_signature(inner, f'{part.name}.')}`{words}")
    return "\n\n".join(blocks)


def sources(names: list[str]) -> list[Path]:
    """The sources of the labs whose folder begins with one of `names`; of all without names."""
    found = sorted(LABS.glob("[0-9][0-9]_*/author/lab.py"))
    return [path for path in found if not names or any(path.parents[1].name.startswith(name) for name in names)]


def wanted(names: list[str]) -> Iterator[tuple[Path, str]]:
    """Each file that is made, with its text."""
    for source in sources(names):
        for file, text in Lab(source).files().items():
            yield source.parents[1] / file, text
    for script in sorted((LABS / "examples").glob("*.py")) if not names else []:
        text = script.read_text(encoding="utf-8")
        if text.startswith(MARK):
            label = f"labs/examples/{script.name}"
            yield script.with_suffix(".ipynb"), notebook(cells(text, label), label)


def solve(names: list[str], folder: Path) -> None:
    """Write the solved labs into `folder`, with all that they need to run: the library, the checks, the prologue."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = shutil.ignore_patterns("__pycache__", "results")
    shutil.copytree(LABS / "checking", folder / "checking", ignore=ignore, dirs_exist_ok=True)
    shutil.copy(LABS / "dlc_practical_prologue.py", folder)
    for source in sources(names):
        lab = source.parents[1]
        target = folder / lab.name
        target.mkdir(exist_ok=True)
        for name in ("check.py", "experiments.py", "sheet.md"):
            if (lab / name).is_file():
                shutil.copy(lab / name, target)
        for name, text in Lab(source).files(solved=True).items():
            (target / name).write_text(text, encoding="utf-8", newline="\n")
        print(f"wrote {target}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Make what students get out of the one source of each lab.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only labs whose name begins so")
    parser.add_argument("--check", action="store_true", help="write nothing, name what is not up to date")
    parser.add_argument("--solve", type=Path, metavar="FOLDER", help="write the solved labs into this folder")
    options = parser.parse_args()
    stale = 0
    try:
        if options.solve:
            solve(options.names, options.solve)
            return 0
        for target, text in wanted(options.names):
            if target.is_file() and target.read_text(encoding="utf-8") == text:
                continue
            stale += 1
            shown = target.relative_to(CHECKOUT)
            if options.check:
                print(f"{shown} is not what tools/labs.py makes of its source")
            else:
                target.parent.mkdir(exist_ok=True)
                target.write_text(text, encoding="utf-8", newline="\n")
                print(f"wrote {shown}")
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
