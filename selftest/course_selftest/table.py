"""The table, as text for a terminal and as Markdown for a page."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from course_selftest.outcome import Row

RESULT_WIDTH = len("skipped")
COLOURS = {"ok": "32", "FAILED": "1;31", "skipped": "33"}


def text_row(row: Row, name_width: int, width: int, colour: bool = False) -> str:
    """Name, result, and what was measured, folded to `width` columns with the first two columns left free."""
    indent = name_width + 2 + RESULT_WIDTH + 2
    lines = textwrap.wrap(row.text, max(30, width - indent), break_on_hyphens=False) or [""]
    result = f"{row.result:{RESULT_WIDTH}}"
    if colour:
        result = f"\x1b[{COLOURS[row.result]}m{result}\x1b[0m"
    first = f"{row.name:{name_width}}  {result}  {lines[0]}".rstrip()
    return "\n".join([first, *(" " * indent + line for line in lines[1:])])


def machine_line(machine: Mapping[str, Any]) -> str:
    """What the checks ran on, in one line: processor or GPU, PyTorch, Python, system."""
    if not machine:
        return "no PyTorch"
    hardware = machine["gpu"] or f"{machine['processor']}, {machine['threads']} threads"
    built = f"CUDA {machine['cuda']}" if machine["cuda"] else "without CUDA"
    return f"{hardware}; PyTorch {machine['torch']} ({built}), Python {machine['python']}; {machine['system']}"


def summary_line(rows: Sequence[Row], seconds: float) -> str:
    results = Counter(row.result for row in rows)
    return f"{results['ok']} ok, {results['FAILED']} FAILED, {results['skipped']} skipped in {seconds:.0f} s"


def details(rows: Iterable[Row]) -> str:
    """Traceback or output of each failed check."""
    parts = [f"--- {row.name}\n{row.detail}" for row in rows if row.result == "FAILED" and row.detail]
    return "\n\n".join(parts)


def markdown(machine: Mapping[str, Any], rows: Sequence[Row], command: str, day: str) -> str:
    """A section for docs/benchmarks.md: the machine, then a table. day: YYYY-MM-DD."""
    lines = [f"### {machine_line(machine)}", "", f"`{command}`, {day}", ""]
    lines += ["| check | result | measured |", "| --- | --- | --- |"]
    for row in rows:
        text = row.text.replace("|", r"\|")
        lines.append(f"| {row.name} | {row.result} | {text} |")
    return "\n".join(lines) + "\n"
