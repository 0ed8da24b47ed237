#!/usr/bin/env python3
"""Make the notebooks of labs/ out of their scripts: the script is the source, the notebook is committed beside it.

    python tools/notebooks.py            write every notebook anew
    python tools/notebooks.py --check    write nothing; name those that are not up to date, and end with status 1

A script is in jupytext's percent format: `# %%` begins a cell of code, `# %% [markdown]` a cell of text, whose lines
are comments. Only the standard library is needed, so that this runs wherever the labs do. The same script always gives
the same bytes, and a notebook is made without outputs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

LABS = Path(__file__).resolve().parent.parent / "labs"
MARK = "# %%"


class ScriptError(Exception):
    """A script that is not in percent format; the message names the file and the line."""


def cells(script: str, name: str) -> list[tuple[str, list[str]]]:
    """The cells of a script as (kind, lines without empty ones at either end); kind is "code" or "markdown"."""
    found: list[tuple[str, list[str]]] = []
    for number, line in enumerate(script.splitlines(), start=1):
        if line.startswith(MARK):
            rest = line.removeprefix(MARK).strip()
            if rest not in ("", "[markdown]"):
                raise ScriptError(f"{name}, line {number}: “{line}” begins neither a cell of code nor one of text")
            found.append(("markdown" if rest else "code", []))
        elif not found:
            raise ScriptError(f"{name}, line {number}: the script must begin with a “{MARK}” line")
        elif found[-1][0] == "code":
            found[-1][1].append(line)
        elif line == "" or line == "#" or line.startswith("# "):
            found[-1][1].append(line[2:])
        else:
            raise ScriptError(f"{name}, line {number}: in a cell of text each line is a comment")
    for kind, lines in found:
        while lines and not lines[-1]:
            lines.pop()
        while lines and not lines[0]:
            lines.pop(0)
        if not lines:
            raise ScriptError(f"{name}: a cell ({kind}) is empty")
    return found


def notebook(script: str, name: str) -> str:
    """The notebook (nbformat 4.5, JSON) for the text of a script; `name` is for error messages."""
    made = []
    for number, (kind, lines) in enumerate(cells(script, name), start=1):
        source = "\n".join(lines).splitlines(keepends=True)
        cell: dict[str, object] = {"cell_type": kind, "id": f"cell-{number:02d}", "metadata": {}, "source": source}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append(dict(sorted(cell.items())))
    whole = {
        "cells": made,
        "metadata": {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def scripts(folder: Path) -> list[Path]:
    """The scripts under `folder` that are notebooks: those whose first line begins a cell."""
    return sorted(file for file in folder.rglob("*.py") if file.read_text(encoding="utf-8").startswith(MARK))


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the notebooks of labs/ out of their scripts.")
    parser.add_argument("--check", action="store_true", help="write nothing, name what is not up to date")
    check = parser.parse_args().check
    stale = 0
    for script in scripts(LABS):
        target = script.with_suffix(".ipynb")
        try:
            text = notebook(script.read_text(encoding="utf-8"), str(script.relative_to(LABS.parent)))
        except ScriptError as error:
            print(error, file=sys.stderr)
            return 2
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if check:
            print(f"{target.relative_to(LABS.parent)} is not what tools/notebooks.py makes of {script.name}")
        else:
            target.write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote {target.relative_to(LABS.parent)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
