"""`make targets`: the table of what can be built, with the last build of each in dist/."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from coursebox.core.paths import CHECKOUT
from coursebox.course import Course
from coursebox.formats.table import targets
from coursebox.target import Target


def show_targets(course: Course, dist: Path = CHECKOUT / "dist") -> None:
    """Print the table to standard output: name, what, for whom, from which tree, and the last build."""
    table = Table("target", "what", "for whom", "tree", "the last build", box=None, padding=(0, 2, 0, 0))
    for name, target in targets().items():
        table.add_row(
            name, target.format.what, target.format.audience, target.format.tree, last_build(target, course, dist)
        )
    # In a log there is no width to fit into; rich would assume 80 characters.
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


def last_build(target: Target, course: Course, dist: Path) -> str:
    """Size, time and date of the file in `dist`, by its report; "-" where there is none."""
    place = dist / target.beside(course, "report.json")
    try:
        report = json.loads(place.read_text(encoding="utf-8"))
        size, seconds = report["file"]["size"], sum(stage["seconds"] for stage in report["stages"])
        date = datetime.fromtimestamp(place.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return "-"
    return f"{size / 1e6:.1f} MB, {seconds:.0f} s of stages, {date:%Y-%m-%d %H:%M}"
