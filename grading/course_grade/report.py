"""What an instructor gets: a table for a spreadsheet (CSV), and a page to read (HTML)."""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Sequence
from html import escape

from checking.lab import Lab

from .grader import CheckResult, Report


def table(lab: Lab, reports: Sequence[Report]) -> str:
    """CSV: one line for each submission: name, points, percent, each part, remark, seconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["submission", "passed", "checks", "percent", *map(lab.tag, lab.parts), "remark", "seconds"])
    for report in reports:
        parts = ["{}/{}".format(*report.of_part(part)) for part in lab.parts]
        count = _counted(report)
        percent = round(100 * report.passed / count, 1) if count else 0.0
        name = f"'{report.name}" if report.name.startswith(("=", "+", "-", "@")) else report.name  # no formula
        writer.writerow([name, report.passed, count, percent, *parts, report.remark, round(report.seconds, 1)])
    return out.getvalue()


def _counted(report: Report) -> int:
    return sum(one.status != "skipped" for one in report.results)


_STYLE = """
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


def page(lab: Lab, reports: Sequence[Report], notes: Sequence[str], seconds: float, when: float | None = None) -> str:
    """The whole class on one page that needs no other file."""
    percents = [100 * report.passed / max(1, _counted(report)) for report in reports]
    stamp = time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
    median = f"median {statistics.median(percents):.0f} %" if percents else ""
    pieces = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Lab {escape(lab.name)}</title><style>{_STYLE}</style>",
        f"<h1>Lab {escape(lab.number)} · {escape(lab.name[3:].replace('_', ' '))}</h1>",
        f"<p class=soft>{len(reports)} submissions · {median} · {stamp} · graded in {seconds:.0f} s</p>",
        *(f"<p class=note>{escape(note)}</p>" for note in notes),
        "<h2>Points</h2>",
        _histogram(percents),
        "<h2>What was difficult</h2>",
        _difficulty(lab, reports),
        "<h2>Submissions</h2>",
        _overview(lab, reports),
        "<h2>Details</h2>",
        *(_details(lab, number, report) for number, report in enumerate(reports)),
        "</html>",
    ]
    return "\n".join(pieces) + "\n"


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
    for number, check in enumerate(reports[0].results if reports else ()):
        ones = [report.results[number] for report in reports]
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


def _overview(lab: Lab, reports: Sequence[Report]) -> str:
    heads = "".join(f"<th title='{escape(tag)}'>{escape(tag.split()[0])}" for tag in map(lab.tag, lab.parts))
    rows = [f"<tr><th>submission<th class=number>points<th>{heads}<th>remark"]
    for number, report in enumerate(reports):
        count = _counted(report)
        cells = []
        for part in lab.parts:
            passed, of = report.of_part(part)
            look = "all" if passed == of else "none" if passed == 0 else ""
            cells.append(f"<td class='{look}'>{passed}/{of}")
        rows.append(
            f"<tr><td><a href='#s{number}'>{escape(report.name)}</a><td class=number>{report.passed}/{count}"
            f"<td>{_bar(report.passed / max(1, count))}{''.join(cells)}"
            f"<td class=soft>{escape(report.remark)}"
        )
    return f"<div class=wide><table>{''.join(rows)}</table></div>"


def _details(lab: Lab, number: int, report: Report) -> str:
    rows = []
    for one in report.results:
        look = "yet" if one.status == "not yet" else one.status
        said = f"<pre>{escape(one.text)}</pre>" if one.status not in ("passed", "not yet") else ""
        rows.append(
            f"<tr><td class=soft>{escape(lab.tag(one.parts[0]))}<td class={look}>{escape(one.title)}{said}"
            f"<td class=number>{one.seconds:.1f} s"
        )
    remark = f" · <span class=soft>{escape(report.remark)}</span>" if report.remark else ""
    points = f"{report.passed}/{_counted(report)}"
    return (
        f"<details id=s{number}><summary>{escape(report.name)} · {points}{remark}</summary>"
        f"<div class=wide><table>{''.join(rows)}</table></div></details>"
    )
