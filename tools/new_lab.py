#!/usr/bin/env python3
"""Lay out a new lab that passes its own tests, to be changed into what its author wants.

    python tools/new_lab.py 21_topic [--labs FOLDER]

Copies tools/lab_template into the folder of the new lab and makes the files for students.
Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

import labs as generator

TEMPLATE = Path(__file__).resolve().parent / "lab_template"
AUTHORS = ("lab.py", "mutants.py", "sentences.toml")  # these go into author/, the others beside it
NAME = re.compile(r"(?P<number>\d\d)_(?P<topic>[a-z][a-z0-9_]*)")


class BadName(Exception):
    """A name that cannot be used; the message is a sentence with a hint."""


def checked_name(name: str, labs: Path) -> re.Match[str]:
    """The number and the topic in the name of a new lab; raises BadName where it is wrong or taken."""
    match = NAME.fullmatch(name)
    if match is None:
        raise BadName(
            f"“{name}” cannot be the name of a lab.\n  hint: two digits, _, a word in small letters: 21_topic"
        )
    if not labs.is_dir():
        raise BadName(f"There is no folder {labs}.\n  hint: --labs names the folder that holds the labs")
    taken = sorted(path.name for path in labs.glob(f"{match['number']}_*"))
    if taken:
        used = {path.name[:2] for path in labs.glob("[0-9][0-9]_*")}
        free = next((f"{number:02d}" for number in range(1, 100) if f"{number:02d}" not in used), "no number")
        raise BadName(f"There is a lab with this number: {taken[0]}.\n  hint: {free} is free.")
    return match


def lay_out(name: str, labs: Path) -> Path:
    """Write the folder of a new lab below `labs`, whole or not at all; returns it."""
    match = checked_name(name, labs)
    title = match["topic"].replace("_", " ").capitalize()
    with tempfile.TemporaryDirectory(dir=labs, prefix=".new-lab-") as room:
        folder = Path(room) / name
        (folder / "author").mkdir(parents=True)
        for file in sorted(path for path in TEMPLATE.iterdir() if path.suffix in (".py", ".toml")):
            text = file.read_text(encoding="utf-8").replace("lab 00", f"lab {match['number']}")
            text = text.replace("# 00 · TITLE", f"# {match['number']} · {title}")
            target = folder / "author" / file.name if file.name in AUTHORS else folder / file.name
            target.write_text(text, encoding="utf-8", newline="\n")
        for file_name, text in generator.Lab(folder / "author" / "lab.py").files().items():
            (folder / file_name).write_text(text, encoding="utf-8", newline="\n")
        return Path(shutil.move(folder, labs / name))


def main() -> int:
    parser = argparse.ArgumentParser(description="Lay out a new lab.")
    parser.add_argument("name", help="two digits and a topic: 21_topic")
    parser.add_argument("--labs", type=Path, default=generator.LABS, help="the folder of the labs")
    options = parser.parse_args()
    try:
        folder = lay_out(options.name, options.labs)
    except BadName as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{folder}\n  author/lab.py        the text, the exercise and its solution; then run: python tools/labs.py")
    print("  author/mutants.py    typical mistakes, and other right ways")
    print(
        "  author/sentences.toml  the checks of each sentence that a part promises\n  check.py             the checks"
    )
    print("  experiments.py       what can be measured and seen\nHow a lab is written: labs/AUTHORS.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
