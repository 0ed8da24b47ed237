"""The command line. Exit codes: 0 no check failed, 1 one did, 2 wrong usage, 130 interrupted, 143 terminated."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from course_selftest import catalog, report, table
from course_selftest.catalog import Check
from course_selftest.isolation import Worker
from course_selftest.options import Options
from course_selftest.outcome import Row
from course_selftest.progress import ProgressLine, TimeLeft
from course_selftest.suite import StartWorker, Suite

PROGRAM = "course-selftest"


def main(arguments: Sequence[str] | None = None, start_worker: StartWorker = Worker) -> int:
    """Run the command and return its exit code; argparse leaves by SystemExit(2) when the usage is wrong."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    chosen = parser.parse_args(words)
    if chosen.json not in (None, "-") and not os.access(Path(chosen.json).resolve().parent, os.W_OK):
        parser.error(f"--json: there is no folder {Path(chosen.json).resolve().parent}, or it cannot be written to")
    checks = catalog.choose(chosen.only, chosen.fast)
    options = Options(chosen.full, chosen.repeat, chosen.data_dir, "--cpu was given" if chosen.cpu else "")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        if chosen.list:
            _print_list()
            return 0
        return _run(checks, options, chosen, shlex.join([PROGRAM, *words]), start_worker)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the table has gone; Python must not try to write the rest when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # no place for the report or for temporary files
        place = f"{error.filename}: " if error.filename else ""
        print(f"{PROGRAM}: {place}{error.strerror or error}", file=sys.stderr)
        return 1


def _terminated(number: int, frame: object) -> None:
    """Leave by an exception, so that the process of the checks and its files go, too."""
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Check this machine for the course, from the versions of its libraries to a training on MNIST, "
        "and print a table of what was measured. Nothing is downloaded and nothing is changed.",
        epilog="Exit code 0: no check failed; 1: one did; 2: wrong usage. Checks that cannot be made here are skipped.",
    )
    parser.add_argument("--fast", action="store_true", help="train lecture 1a's network the fast way, too")
    parser.add_argument("--full", action="store_true",
                        help=f"train all {catalog.EPOCHS} epochs on a CPU, too (a GPU always does)")  # fmt: skip
    parser.add_argument("--repeat", type=_count, default=1, metavar="N",
                        help="train with N seeds and show the median (default 1)")  # fmt: skip
    parser.add_argument("--only", action="append", default=[], choices=catalog.NAMES, metavar="NAME",
                        help="run this check alone; can be given several times")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print the names of the checks and what they are about")
    parser.add_argument("--cpu", action="store_true", help="leave the GPU alone")
    parser.add_argument("--data-dir", metavar="DIR", help="where the data sets are (default $PYTORCH_DATA_DIR)")
    parser.add_argument("--json", metavar="FILE", help="write the result for machines; - for standard output")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown, for a page")
    parser.add_argument("--verbose", action="store_true", help="print the tracebacks of failed checks below the table")
    return parser


def _print_list() -> None:
    width = max(map(len, catalog.NAMES))
    print(*(f"{check.name:{width}}  {check.title}" for check in catalog.CHECKS), sep="\n", flush=True)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _run(
    checks: list[Check], options: Options, chosen: argparse.Namespace, command: str, start_worker: StartWorker
) -> int:
    start = time.monotonic()
    shown = not (chosen.markdown or chosen.json == "-")
    time_left = TimeLeft(checks, options)
    line = ProgressLine(sys.stderr, checks, time_left)
    rows: list[Row] = []
    with Suite(options, start_worker) as suite:
        for check in checks:
            time_left.begin(check)
            line.show(check)
            row = suite.run(check, lambda share, check=check: line.show(check, share))  # type: ignore[misc]
            line.wipe()
            if shown and not rows:
                print(f"{table.machine_line(suite.machine)}\n", flush=True)
            time_left.device = suite.machine.get("device", "cpu")
            rows.append(row)
            if shown:
                _print_row(row, checks)
    seconds = time.monotonic() - start
    if shown:
        print(f"\n{table.summary_line(rows, seconds)}")
    if chosen.markdown and chosen.json != "-":
        print(table.markdown(suite.machine, rows, command, date.today().isoformat()), end="")
    if chosen.verbose and (details := table.details(rows)):
        print(f"\n{details}", file=sys.stdout if shown else sys.stderr)
    if chosen.json:
        text = report.to_json(report.build(command, suite.machine, rows, seconds))
        if chosen.json == "-":
            print(text, end="")
        else:
            report.write(Path(chosen.json), text)
    sys.stdout.flush()
    return report.exit_code(rows)


def _print_row(row: Row, checks: Sequence[Check]) -> None:
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = shutil.get_terminal_size((110, 24)).columns
    print(table.text_row(row, max(len(check.name) for check in checks), width, colour), flush=True)
