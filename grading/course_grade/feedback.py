"""A page of feedback for each student. It holds nothing of another student, and not the seed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from checking.lab import Lab

from . import names
from .marks import Row
from .report import STYLE, points_of, result_rows

FOLDER = "feedback"


def files(lab: Lab, rows: Sequence[Row], hidden: Collection[str]) -> dict[str, str]:
    """Name of a file → page, for every student who is graded. hidden: names of checks that students are not shown."""
    graded = [row for row in rows if row.mark is not None]
    stems = names.distinct(names.file_stem(row.submitted.name) for row in graded)
    return {f"{stem}.html": page(lab, row, hidden) for stem, row in zip(stems, graded, strict=True)}


def page(lab: Lab, row: Row, hidden: Collection[str]) -> str:
    """What one student reads; it needs no other file."""
    assert row.mark is not None and row.report is not None
    name = escape(row.submitted.name)
    said = [text for text in (row.mark.comment, row.mark.said, row.remark) if text]
    pieces = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{name} · lab {escape(lab.number)}</title><style>{STYLE}</style>",
        f"<h1>Lab {escape(lab.number)} · {escape(lab.name[3:].replace('_', ' '))}</h1>",
        f"<p>{name} · <b>{points_of(row.mark)} points</b></p>",
        *(f"<p>{escape(text)}</p>" for text in said),
        f"<div class=wide><table>{result_rows(lab, row.report.results, hidden)}</table></div>",
        f"<p class=soft>Your labs hold the same checks: python check.py, or check() in the notebook. "
        f"The grading draws other inputs. What to do is in the sheet of lab {escape(lab.number)}.</p>",
        "</html>",
    ]
    return "\n".join(pieces) + "\n"


def summary(row: Row, hidden: Collection[str]) -> str:
    """The feedback in a few words, for a cell of a platform's table."""
    if row.mark is None or row.report is None:
        return ""
    missed = [one for one in row.report.results if one.status in ("failed", "not yet") and one.name not in hidden]
    parts = list(dict.fromkeys(one.parts[0] for one in missed))
    pieces = [row.mark.comment, row.mark.said, row.remark, f"Not all passed in: {', '.join(parts)}." if parts else ""]
    return " ".join(piece for piece in pieces if piece)
