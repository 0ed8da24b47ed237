"""What an instructor gets: a table for a spreadsheet (CSV), and a page to read (HTML)."""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Collection, Sequence
from html import escape

from checking.lab import Lab

from .grader import CheckResult, Report
from .likeness import Pair
from .lms import guarded, number
from .marks import Mark, Row

NOT_YET = "Not graded yet: run the same command again."


def table(lab: Lab, rows: Sequence[Row]) -> str:
    """CSV for a spreadsheet program: one line for each submission. It begins with a byte order mark, for umlauts.

    Each part has two columns: what was reached, and of how much. A cell with text is never taken for a formula.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    parts = [name for part in lab.parts for name in (lab.tag(part), f"{lab.tag(part)} of")]
    head = ["submission", "id", "points", "of", "percent", "passed", "checks", *parts, "late", "comment", "remark"]
    writer.writerow([*map(guarded, head), "seconds"])
    for row in rows:
        cells: list[object] = [guarded(row.submitted.name), guarded(row.submitted.id)]
        if row.report is None or row.mark is None:
            cells += [""] * (5 + len(parts) + 2)
        else:
            report, mark = row.report, row.mark
            cells += [number(mark.points), number(mark.of), f"{mark.percent:f}", report.passed, report.count]
            cells += [count for part in lab.parts for count in report.of_part(part)]
            cells += [guarded(mark.late), guarded(mark.comment)]
        cells += [guarded(row.remark), round(row.report.seconds, 1) if row.report else ""]
        writer.writerow(cells)
    return f"\ufeff{out.getvalue()}"


STYLE = """
:root { --line: #d9dee5; --ink: #1d2733; --soft: #5c6b7a; --good: #2f855a; --bad: #c0392b; --paper: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --line: #38424e; --ink: #e4e9ee; --soft: #9aa7b4; --good: #68c08b; --bad: #ef8376; --paper: #161b21; }
}
body {
  font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
}
h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
a { color: inherit; }
.soft { color: var(--soft); }
p.note { border-left: 3px solid var(--bad); padding-left: .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; border-bottom: 1px solid var(--line); padding: .3rem .6rem; vertical-align: top; }
th { font-weight: 600; color: var(--soft); white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.bar { display: inline-block; height: .6rem; width: 8rem; border: 1px solid var(--line); vertical-align: middle; }
.bar > span { display: block; height: 100%; background: var(--good); }
.all { color: var(--good); }
.none { color: var(--bad); }
details { border: 1px solid var(--line); border-radius: 4px; margin: .4rem 0; padding: .3rem .8rem; }
summary { cursor: pointer; }
pre { margin: .2rem 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; color: var(--soft); }
.passed::before { content: "✓ "; color: var(--good); }
.failed::before { content: "✗ "; color: var(--bad); }
.yet::before { content: "○ "; color: var(--soft); }
.skipped::before { content: "– "; color: var(--soft); }
.histogram { display: flex; align-items: flex-end; gap: 3px; height: 7rem; }
.histogram div {
  flex: 1; height: 100%; display: flex; flex-direction: column; justify-content: flex-end;
  text-align: center; font-size: .75rem; color: var(--soft);
}
.histogram i { display: block; background: var(--good); min-height: 1px; }
"""


def page(
    lab: Lab, rows: Sequence[Row], notes: Sequence[str], seconds: float, pairs: Sequence[Pair] = (), held: str = "",
    when: float | None = None,
) -> str:  # fmt: skip
    """The whole class on one page that needs no other file.

    notes: sentences for the one who grades, such as what is not protected here. pairs: submissions that are alike.
    held: what was protected.
    """
    graded = [row for row in rows if row.mark is not None]
    percents = [float(row.mark.percent) for row in graded if row.mark is not None]
    reports = [row.report for row in graded if row.report is not None]
    stamp = time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
    median = f" · median {statistics.median(percents):.0f} %" if percents else ""
    waiting = f" · {len(rows) - len(graded)} not graded yet" if len(graded) < len(rows) else ""
    pieces = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Lab {escape(lab.name)}</title><style>{STYLE}</style>",
        f"<h1>Lab {escape(lab.number)} · {escape(lab.name[3:].replace('_', ' '))}</h1>",
        f"<p class=soft>{len(rows)} submissions{waiting}{median} · {stamp} · graded in {seconds:.0f} s</p>",
        *(f"<p class=note>{escape(note)}</p>" for note in notes),
        f"<p class=soft>{escape(held)}</p>" if held else "",
        "<h2>Points</h2>",
        _histogram(percents),
        "<h2>What was difficult</h2>",
        _parts(lab, reports),
        _difficulty(lab, reports),
        "<h2>Submissions</h2>",
        _overview(lab, rows),
        *_alike(lab, pairs),
        "<h2>Details</h2>",
        *(_details(lab, number, row) for number, row in enumerate(rows)),
        "</html>",
    ]
    return "\n".join(pieces) + "\n"


def _alike(lab: Lab, pairs: Sequence[Pair]) -> list[str]:
    """The pairs that are alike, as a hint."""
    if not pairs:
        return []
    rows = ["<tr><th>submission<th>submission<th class=number>the same<th>parts"]
    for pair in pairs:
        parts = ", ".join(lab.tag(part) for part in pair.parts)
        rows.append(
            f"<tr><td>{escape(pair.first)}<td>{escape(pair.second)}<td class=number>{100 * pair.share:.0f} %"
            f"<td class=soft>{escape(parts)}"
        )
    said = (
        "A hint to a person, not a proof: look at both before you think of anyone. Names, comments and layout are not "
        "compared, nor what the course ships or what more than ten students have. A short task has few right answers."
    )
    return [
        "<h2>Which are alike</h2>",
        f"<p class=soft>{said}</p>",
        f"<div class=wide><table>{''.join(rows)}</table></div>",
    ]


def _parts(lab: Lab, reports: Sequence[Report]) -> str:
    """The share of the points that the class reached in each part, the most difficult first."""
    shares = []
    for part in lab.parts:
        both = [report.of_part(part) for report in reports]
        if of := sum(of for _, of in both):
            full = sum(passed == of for passed, of in both if of)
            shares.append((sum(passed for passed, _ in both) / of, full, part))
    rows = ["<tr><th>part<th>reached<th class=number><th class=number>with all points"]
    for share, full, part in sorted(shares, key=lambda one: one[0]):
        rows.append(
            f"<tr><td>{escape(lab.tag(part))}<td>{_bar(share)}<td class=number>{100 * share:.0f} %"
            f"<td class=number>{full} of {len(reports)}"
        )
    return f"<div class=wide><table>{''.join(rows)}</table></div>"


def _histogram(percents: Sequence[float]) -> str:
    counts = [sum(10 * n <= p < 10 * (n + 1) or (n == 9 and p == 100) for p in percents) for n in range(10)]
    most = max([*counts, 1])
    columns = [
        f"<div>{count or ''}<i style='height:{85 * count / most:.1f}%'></i>{10 * n}–{10 * (n + 1)} %</div>"
        for n, count in enumerate(counts)
    ]
    return f"<div class=histogram>{''.join(columns)}</div>"


def _bar(share: float) -> str:
    return f"<span class=bar><span style='width:{100 * share:.1f}%'></span></span>"


def _difficulty(lab: Lab, reports: Sequence[Report]) -> str:
    """How many passed each check, and the mistake that was made most often."""
    rows = ["<tr><th>part<th>check<th>passed<th class=number><th>most frequent mistake"]
    for place, check in enumerate(reports[0].results if reports else ()):
        ones = [report.results[place] for report in reports]
        share = sum(one.status == "passed" for one in ones) / len(ones)
        rows.append(
            f"<tr><td>{escape(lab.tag(check.parts[0]))}<td>{escape(check.title)}<td>{_bar(share)}"
            f"<td class=number>{100 * share:.0f} %<td class=soft>{escape(_most_frequent(ones))}"
        )
    return f"<div class=wide><table>{''.join(rows)}</table></div>"


def _most_frequent(ones: Sequence[CheckResult]) -> str:
    said = []
    for one in (one for one in ones if one.status == "failed" and one.text):
        lines = one.text.splitlines()
        likely = [line.removeprefix("likely: ") for line in lines if line.startswith("likely: ")]
        said += likely or lines[:1]
    if not said:
        return ""
    sentence = statistics.mode(said)
    return f"{sentence} ({said.count(sentence)})"


def _overview(lab: Lab, rows: Sequence[Row]) -> str:
    heads = "".join(f"<th title='{escape(tag)}'>{escape(tag.split()[0])}" for tag in map(lab.tag, lab.parts))
    lines = [f"<tr><th>submission<th class=number>points<th>{heads}<th>remark"]
    for place, row in enumerate(rows):
        link = f"<tr><td><a href='#s{place}'>{escape(row.submitted.name)}</a>"
        if row.report is None or row.mark is None:
            lines.append(f"{link}<td><td>{'<td>' * len(lab.parts)}<td class=soft>{escape(row.remark)}")
            continue
        cells = []
        for part in lab.parts:
            passed, of = row.report.of_part(part)
            look = "all" if passed == of else "none" if passed == 0 else ""
            cells.append(f"<td class='{look}'>{passed}/{of}")
        lines.append(
            f"{link}<td class=number>{points_of(row.mark)}"
            f"<td>{_bar(min(1.0, float(row.mark.percent) / 100))}{''.join(cells)}"
            f"<td class=soft>{escape(' '.join(filter(None, (row.mark.said, row.remark))))}"
        )
    return f"<div class=wide><table>{''.join(lines)}</table></div>"


def points_of(mark: Mark) -> str:
    """The points as people write them: 12.5/16."""
    return f"{number(mark.points)}/{number(mark.of)}"


def result_rows(lab: Lab, results: Sequence[CheckResult], hidden: Collection[str] = ()) -> str:
    """A table's rows for the checks of one submission; those in `hidden` are not told, but for how they went."""
    rows = []
    for one in results:
        look = "yet" if one.status == "not yet" else one.status
        secret = one.name in hidden
        title = "a check that is not shown" if secret else one.title
        said = "" if secret or one.status == "not yet" or not one.text else f"<pre>{escape(one.text)}</pre>"
        rows.append(
            f"<tr><td class=soft>{escape(lab.tag(one.parts[0]))}<td class={look}>{escape(title)}{said}"
            f"<td class=number>{one.seconds:.1f} s"
        )
    return "".join(rows)


def _details(lab: Lab, place: int, row: Row) -> str:
    remarks = [row.mark.said, row.mark.comment, row.remark] if row.mark else [row.remark]
    remark = f" · <span class=soft>{escape(' '.join(filter(None, remarks)))}</span>" if any(remarks) else ""
    points = points_of(row.mark) if row.mark else "not graded yet"
    rows = result_rows(lab, row.report.results) if row.report else ""
    return (
        f"<details id=s{place}><summary>{escape(row.submitted.name)} · {points}{remark}</summary>"
        f"<div class=wide><table>{rows}</table></div></details>"
    )
