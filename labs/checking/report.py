"""What a student reads: one line for each check, and what is wrong in the order in which one would look for it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from .lab import Check, Lab
from .results import Result, idle, summary, total
from .session import Tick

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}
_SIGNS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "not yet": ("○", "yellow"), "skipped": ("–", "dim")}
_SLOW = 2.0  # seconds after which a bar appears


class Page:
    """Text for a terminal, a file or a notebook; `alive` allows a line that moves."""

    def __init__(self, stream: TextIO, colour: bool, alive: bool) -> None:
        self._stream, self._colour, self._alive = stream, colour, alive
        self._width = min(shutil.get_terminal_size((110, 30)).columns, 120)
        self._bar = ""

    @classmethod
    def standard(cls) -> Page:
        """The page on standard output."""
        terminal = sys.stdout.isatty()
        return cls(sys.stdout, terminal and not os.environ.get("NO_COLOR"), terminal)

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._colour else text

    def line(self, text: str = "") -> None:
        self._wipe()
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        self._stream.flush()

    def _wipe(self) -> None:
        if self._bar:
            self._stream.write("\r" + " " * len(self._bar) + "\r")
            self._bar = ""

    def tick(self, check: Check) -> Tick:
        """A moving bar for a check that takes its time."""
        last = 0.0

        def show(seconds: float, progress: tuple[int, int, str] | None) -> None:
            nonlocal last
            if not self._alive or seconds < _SLOW or time.monotonic() - last < 0.2:
                return
            last = time.monotonic()
            done, total, text = progress or (0, 0, "")
            part = done / total if total > 0 else min(0.97, seconds / max(check.seconds, 0.1))
            full = round(24 * max(0.0, min(1.0, part)))
            bar = f"    {'━' * full}{'╌' * (24 - full)} {100 * part:3.0f} %  {seconds:.0f} s  {text or check.title}"
            self._wipe()
            self._bar = bar[: self._width - 1]
            self._stream.write(self._bar)
            self._stream.flush()

        return show

    def _field(self, label: str, text: str) -> None:
        indent = " " * 17
        lines = [piece for raw in text.split("\n") for piece in textwrap.wrap(raw, self._width - 18) or [""]]
        for number, piece in enumerate(lines):
            head = f"      {label:<10} " if number == 0 else indent
            self.line(f"{self.paint(head, 'dim')}{piece}")

    def part(self, tag: str) -> None:
        self.line()
        self.line(f"  {self.paint(tag, 'bold')}")

    def not_yet(self, count: int, hint: str) -> None:
        sign, colour = _SIGNS["not yet"]
        self.line(f"    {self.paint(sign, colour)} not yet ({count} {'check waits' if count == 1 else 'checks wait'})")
        if hint:
            self._field("hint", hint)

    def result(self, result: Result, again: str, why_idle: str = "") -> None:
        """One check: a line, and below it what is wrong. why_idle: why it is no point, though it passed."""
        sign, colour = _SIGNS[result.status]
        title = result.check.title
        time_text = f"{result.seconds:.2f} s" if result.seconds >= 0.005 else ""
        room = self._width - 16
        self.line(f"    {self.paint(sign, colour)} {title[:room]:<{min(room, 74)}} {self.paint(time_text, 'dim')}")
        for metric in result.metrics:
            mark, tint = ("✓", "green") if metric.ok else ("·", "dim") if metric.ok is None else ("✗", "red")
            wanted = self.paint(f"   {metric.wanted}" if metric.ok is not None else "", "dim")
            self.line(f"      {self.paint(mark, tint)} {metric.label:<44} {metric.measured():>12}{wanted}")
        for picture in result.pictures:
            self._field("picture", shown_path(picture))
        if result.reason:
            self._field("skipped" if result.status == "skipped" else "note", result.reason)
        if why_idle:
            self._field("note", why_idle)
        if result.failed is not None:
            self.failure(result, again)

    def failure(self, result: Result, again: str) -> None:
        failed = result.failed
        assert failed is not None
        if failed.called:
            self._field("called", failed.called)
        if failed.cases:
            self._field("case", ", ".join(failed.cases))
        self._field(failed.kind, failed.text)
        if failed.where:
            self._field("where", failed.where)
        for sentence in failed.seen:
            self._field("seen", sentence)
        for sentence in failed.likely[:3]:
            self._field("likely", sentence)
        if failed.look and not failed.likely:
            self._field("look at", failed.look)
        if failed.printed.strip():
            self._field("printed", "\n".join(failed.printed.strip().splitlines()[-8:]))
        if again:
            self._field("again", again)

    def end(self, results: Sequence[Result], seconds: float, then: str) -> None:
        """The last line: how many of how many."""
        count, (reached, of) = summary([one for one in results if one.counts]), total(results)
        words = [f"{reached} of {of} pass"]
        words += [f"{count[status]} {status}" for status in ("failed", "not yet", "skipped") if count[status]]
        if vain := sum(map(bool, idle(results))):
            words.append(f"{vain} {'does' if vain == 1 else 'do'} not count")
        if broken := sum(one.status == "failed" for one in results if not one.counts):
            words.append(f"{broken} {'rule' if broken == 1 else 'rules'} not kept")
        good = all(one.status in ("passed", "skipped") for one in results)
        self.line()
        self.line(f"  {self.paint(' · '.join(words), 'green' if good else 'bold')} · {seconds:.1f} s")
        if then:
            self.line(f"  {then}")


def shown_path(path: Path) -> str:
    """A path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def plain(result: Result) -> str:
    """What is wrong, as text for a form, a table or a test."""
    if result.failed is None:
        measured = "; ".join(f"{metric.label}: {metric.measured()}" for metric in result.metrics)
        return result.reason or measured
    failed = result.failed
    pieces = [
        ("", f"{failed.kind}: {failed.text}" if failed.kind != "wrong" else failed.text),
        ("called: ", failed.called),
        ("case: ", ", ".join(failed.cases)),
        ("where: ", failed.where),
        *(("seen: ", sentence) for sentence in failed.seen),
        *(("likely: ", sentence) for sentence in failed.likely),
        ("look at: ", "" if failed.likely else failed.look),
    ]
    return "\n".join(f"{label}{text}" for label, text in pieces if text)


def gradescope(lab: Lab, results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """The results in the form of Gradescope's results.json (its autograder documentation), which otter reads, too."""
    status = {"passed": "passed", "failed": "failed", "not yet": "failed"}
    ran = [result for result in results if result.status != "skipped"]
    tests = []
    for number, (result, why_idle) in enumerate(zip(ran, idle(ran), strict=True), start=1):
        tests.append(
            {
                "name": f"{' + '.join(lab.tag(part) for part in result.check.parts)}: {result.check.title}",
                "number": str(number),
                "status": status[result.status],
                "score": float(result.status == "passed" and result.counts and not why_idle),
                "max_score": float(result.counts),
                "output": "not yet" if result.status == "not yet" else why_idle or plain(result),
                "visibility": "visible",
                "tags": [result.check.kind, *result.check.parts],
            }
        )
    return {
        "score": sum(test["score"] for test in tests),
        "execution_time": round(seconds, 2),
        "visibility": "visible",
        "stdout_visibility": "visible",
        "output": f"Lab {lab.name}",
        "tests": tests,
    }


def write_json(lab: Lab, results: Sequence[Result], seconds: float, file: Path) -> None:
    file.write_text(json.dumps(gradescope(lab, results, seconds), indent=1, ensure_ascii=False) + "\n", "utf-8")
