"""Grade a class: what is left to do, each result as it comes, and the results at the end, whatever ends it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, cast

from . import likeness, lms, names, output, sandbox
from .candidates import Exercise, code_of
from .journal import Busy, Journal, digest_of
from .marks import Row, Rules, mark
from .submissions import Submitted

if TYPE_CHECKING:
    from checking.lab import Lab

    from .grader import Report, Task
    from .pool import Pool
    from .zygote import Zygote

_OFTEN = 60.0  # seconds between two times that the results are written while the grading goes on
NOT_ITS_FAULT = "not its fault"  # in the remark of a report that tells of the machine
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # signals that ask a program to end
_TOO_LARGE = 400_000  # bytes of a file that is compared with others


@dataclass(frozen=True)
class Setup:
    """What is graded, and how. students: those that alone are graded, again. hidden: what no student may read."""

    options: argparse.Namespace
    submissions: Sequence[Submitted]
    exercise: Exercise
    labs: Path
    out: Path
    protection: sandbox.Protection
    rules: Rules
    roster: lms.Roster | None
    times: Mapping[str, datetime]
    students: frozenset[str] = frozenset()
    hidden: tuple[Path, ...] = ()


def say(text: str, *, error: bool = True, end: str = "\n") -> None:
    """Print for the one who grades; nothing in it steers the terminal."""
    stream = sys.stderr if error else sys.stdout
    print(names.clean(text, keep="\n\r"), end=end, file=stream, flush=True)


class Class:
    """One run: the reports so far, and how they become files."""

    def __init__(self, setup: Setup, lab: Lab, task: Task, journal: Journal) -> None:
        self._setup, self._lab, self._task, self._journal = setup, lab, task, journal
        self._begin = time.monotonic()
        self._written = self._begin
        self._reports: dict[int, Report] = {}
        self._pairs: list[likeness.Pair] = []
        self.broken = 0

    @property
    def seconds(self) -> float:
        """How long this run has taken so far."""
        return time.monotonic() - self._begin

    def todo(self) -> list[Submitted]:
        """What is left to grade, with its number for a name: a name of a student says nothing to the graders."""
        from .grader import failed_report, from_data

        left = []
        for number, one in enumerate(self._setup.submissions):
            known = self._journal.results.get(_key(one))
            again = one.name in self._setup.students
            if one.file is None:
                self._reports[number] = failed_report(one.name, self._task, one.remark)
            elif known is not None and not again:
                self._reports[number] = from_data(known)
            elif again or not self._setup.students:
                left.append(replace(one, name=str(number)))
        return left

    @property
    def before(self) -> int:
        """How many are graded already, with the same checks and the same content."""
        return sum(self._setup.submissions[number].file is not None for number in self._reports)

    def grade(self, pool: Pool, left: Sequence[Submitted]) -> None:
        """Grade what is left. Each result is on the disk before the next one is looked at."""
        from .grader import to_data

        with closing(cast("Generator[Report]", pool.grade(left))) as reports:
            for done, named in enumerate(reports, start=1):
                number = int(named.name)
                one = self._setup.submissions[number]
                report = tidy(replace(named, name=one.name))
                with _undisturbed():  # what is in the journal is among the reports, and the other way round
                    if NOT_ITS_FAULT in report.remark:
                        self.broken += 1  # of the machine: it is no mark, and the next run tries again
                    else:
                        self._journal.add(_key(one), to_data(report))
                    self._reports[number] = report
                if sys.stderr.isatty():
                    say(f"\r{done} of {len(left)} graded, {self.seconds:.0f} s", end="")
                if time.monotonic() > self._written + _OFTEN:
                    self.write(whole=False)

    def rows(self) -> list[Row]:
        """A line for each student; of several attempts the one with the most points counts."""
        found: dict[str, Row] = {}
        counts: dict[str, int] = {}
        for number, one in enumerate(self._setup.submissions):
            row = self._row(one, self._reports.get(number))
            counts[one.name] = counts.get(one.name, 0) + 1
            other = found.get(one.name)
            if other is None or (row.mark and (not other.mark or row.mark.points >= other.mark.points)):
                found[one.name] = row
        return [
            replace(
                row, remark=f"Attempt {row.submitted.attempt} of {counts[name]} counts: it is the best. {row.remark}"
            )
            if counts[name] > 1
            else row
            for name, row in found.items()
        ]

    def _row(self, one: Submitted, report: Report | None) -> Row:
        from .report import NOT_YET

        if report is None:
            return Row(one, None, None, " ".join(filter(None, (NOT_YET, one.remark))))
        remarks = [one.remark, *([report.remark] if report.remark != one.remark else [])]
        return Row(
            one, report, mark(report, one, self._setup.rules, self._setup.times), " ".join(filter(None, remarks))
        )

    def compare(self) -> None:
        """Look for submissions that are alike."""
        prints = {}
        for one in self._setup.submissions:
            if one.file is not None and one.file.stat().st_size <= _TOO_LARGE:
                code = code_of(one.file.read_bytes(), one.file.suffix == ".ipynb")
                prints[one.name] = likeness.fingerprint(code, self._setup.exercise)
        self._pairs = likeness.alike(prints)

    def notes(self) -> list[str]:
        """Sentences for the one who grades: what is not protected, whom the class list and the rules do not fit."""
        setup, said = self._setup, self._setup.protection.notes()
        by_hand = {names.key(one.name) for one in setup.submissions} | {one.id for one in setup.submissions}
        for name in setup.rules.manual:
            if name not in by_hand:
                said.append(f"The rules name {name}, who handed in nothing.")
        if setup.roster is not None:
            people = [setup.roster.person_of(one.name, one.id) for one in setup.submissions]
            there = {person.name for person in people if person}
            missing = [person.name for person in setup.roster.people if person.name not in there]
            strange = [one.name for one, person in zip(setup.submissions, people, strict=True) if person is None]
            if missing:
                said.append(f"On the class list, but nothing was handed in: {', '.join(missing)}.")
            if strange:
                said.append(f"Handed in, but not on the class list: {', '.join(dict.fromkeys(strange))}.")
        elif setup.options.format:
            without = list(dict.fromkeys(one.name for one in setup.submissions if not one.id))
            if without:
                said.append(f"{setup.options.format} cannot tell who these are: {names.listed(without)}. "
                            "Name the class list with --roster (ROSTER=… of make).")  # fmt: skip
        return [names.clean(text, keep="") for text in said]

    def write(self, *, whole: bool = True) -> list[Path]:
        """Write the results; the files, the page first. whole: the pages of the students, too. Raises OSError."""
        from . import feedback
        from .report import page, table

        setup, rows = self._setup, self.rows()
        texts = {
            "report.html": page(self._lab, rows, self.notes(), self.seconds, self._pairs, held(setup.protection)),
            "grades.csv": table(self._lab, rows),
        }
        if setup.options.format:
            texts[f"{setup.options.format}.csv"] = self._for_platform(rows)
        for name, text in texts.items():
            output.write(setup.out / name, text)
        if whole:
            output.make_folder(setup.out / feedback.FOLDER)
            for name, text in feedback.files(self._lab, rows, setup.rules.hidden).items():
                output.write(setup.out / feedback.FOLDER / name, text)
        self._written = time.monotonic()
        return [setup.out / name for name in texts]

    def _for_platform(self, rows: Sequence[Row]) -> str:
        from .feedback import summary

        roster, entries = self._setup.roster, []
        for row in rows:
            one = row.submitted
            person = roster.person_of(one.name, one.id) if roster else None
            if row.mark is not None and (person is not None or roster is None):
                said = summary(row, self._setup.rules.hidden)
                entries.append(lms.Entry(one.name, one.id, row.mark.points, said, person))
        most = next((row.mark.of for row in rows if row.mark is not None), Decimal(0))
        if self._setup.options.format == "moodle":
            return lms.moodle(entries, most, roster)
        return lms.canvas(entries, most, roster, self._lab.number)


def held(protection: sandbox.Protection) -> str:
    """What kept submissions apart while they were graded, in a sentence; what did not is in the protection's notes."""
    means = [
        ("no network and no sight of other processes (namespaces)", protection.namespaces),
        ("no file but libraries and their own (Landlock)", protection.files),
        ("a user that owns nothing", protection.other_user),
    ]
    said = [text for text, there in means if there]
    return f"What held while these were graded: {'; '.join(said) or 'nothing'}."


def tidy(report: Report) -> Report:
    """The report without what no file or terminal may get: surrogates, control characters."""
    results = tuple(replace(one, text=names.clean(one.text), title=names.clean(one.title)) for one in report.results)
    return replace(report, remark=names.clean(report.remark, keep=""), results=results)


def _key(one: Submitted) -> tuple[str, int, str]:
    return one.name, one.attempt, one.digest


@contextmanager
def _undisturbed() -> Iterator[None]:
    """An interruption waits until what is inside has ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _interruptible() -> Iterator[None]:
    """A program that is told to end is interrupted, as by Ctrl-C: it writes what it has."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def grade_class(setup: Setup) -> int:
    """Grade the class and write the results; the exit status. Raises OSError, and SystemExit with a sentence."""
    sys.dont_write_bytecode = True  # root could write it into the pristine labs
    sys.path.insert(0, str(setup.labs))
    import torch  # here, since it takes seconds
    from checking.cli import gpu_missing
    from checking.loading import load_lab
    from checking.preload import preload
    from checking.processes import Limits

    from .grader import Task
    from .zygote import Zygote

    options = setup.options
    torch.set_num_threads(1)
    preload("optim, matplotlib")  # once for all submissions
    data = os.environ.get("PYTORCH_DATA_DIR")
    # The zygote comes before the seed and the lab's checks: from here on, a child knows more than a student may.
    hidden = [*setup.hidden, setup.out, *([options.seed_file] if options.seed_file else [])]
    memory = options.memory << 20
    zygote = Zygote(setup.protection, setup.labs, Path(data).resolve() if data else None, hidden, memory)
    try:
        sandbox.keep_memory_private()
        limits = Limits(memory=memory, processes=sandbox.most_processes(setup.protection))
        with tempfile.TemporaryDirectory(prefix="trial-") as folder:
            zygote.trial(Path(folder), limits)  # where no process starts, nobody is graded
        targets = options.targets or setup.rules.targets is not None
        kinds = ("check", *(("experiment",) if targets else ()), *(("gpu",) if options.gpu else ()))
        lab = load_lab(setup.labs / setup.exercise.lab)
        output.make_folder(setup.out)  # now: what is wrong with it must not show after an hour of grading
        seed_file = (options.seed_file or setup.out / "seed.txt").absolute()
        seed = _seed(seed_file)
        task = Task(lab, seed, kinds, limits, options.patience, options.seconds, gpu_missing() if options.gpu else "")
        settings = {
            "seed": seed, "kinds": kinds, "memory": options.memory, "seconds": options.seconds,
            "patience": options.patience, "gpu": task.gpu_missing,
        }  # fmt: skip
        files = [*lab.files(), *(setup.labs / "checking").glob("*.py")]
        with _interruptible(), Journal(setup.out, digest_of(files, settings), again=options.again) as journal:
            return _grade(Class(setup, lab, task, journal), setup, task, zygote, seed_file)
    except Busy as busy:
        sys.exit(f"Nothing was graded: {busy}.")
    finally:
        zygote.close()


def _seed(file: Path) -> int:
    """The seed in a file; a new one is drawn and kept where there is no file yet."""
    try:
        return output.kept_seed(file)
    except ValueError:
        sys.exit(f"{file} holds no seed: a number was expected.")


def _grade(graded: Class, setup: Setup, task: Task, zygote: Zygote, seed_file: Path) -> int:
    from .pool import Pool

    left, interrupted = graded.todo(), False
    for note in graded.notes():
        say(f"note: {note}")
    if graded.before:
        say(f"{graded.before} graded before, {len(left)} to go")
    try:
        graded.grade(Pool(zygote, setup.protection, task, setup.options.jobs), left)
        graded.compare()
    except KeyboardInterrupt:
        interrupted = True
    seconds = graded.seconds
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)  # what is known is written now, and that takes no time
    written, rows = graded.write(), graded.rows()
    count = sum(row.report is not None for row in rows)
    start = "\r" if sys.stderr.isatty() else ""
    if interrupted:
        say(f"{start}interrupted: {count} of {len(rows)} are graded and kept; the same command goes on from there")
        return 130
    say(f"{start}{len(rows)} submissions, {len(left)} graded now in {seconds:.1f} s", error=False)
    if graded.broken:
        say(f"{graded.broken} of them could not be graded, which is not their fault: the same command tries them again")
    for file in written:
        say(f"  {file}", error=False)
    say(f"  {setup.out / 'feedback'}   a page for each student", error=False)
    say(f"  {seed_file}   keep it from students", error=False)
    return 1 if left and graded.broken == len(left) else 0
