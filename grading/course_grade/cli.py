"""The command line: grade a folder of submissions of one lab.

    course-grade FOLDER --lab 02

FOLDER holds a file or a folder for each student. Each submission runs in processes of its own. They have limits of
time, memory, files and processes, no network, and access to nothing but their scratch folder. The checks are those
that students have. The random inputs come from a seed that is drawn now and kept beside the results.
Each result is written at once: who interrupts a grading goes on with the same command. Writes grades.csv, report.html,
feedback/, seed.txt and marks.jsonl.

Exit status: 0 graded, 1 something that the instructor can mend, 2 wrong usage or no labs, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from course_grade import archives, lms, names, sandbox
from course_grade.candidates import Exercise, read_exercise
from course_grade.marks import Rules, RulesError, read_rules, read_times
from course_grade.run import Setup, grade_class, say
from course_grade.submissions import RULES, Submitted, find, ignored

PROGRAM = "course-grade"
INSTALLED_LABS = Path("/usr/share/coursebox/labs")
LABS_OF_CHECKOUT = Path(__file__).resolve().parents[2] / "labs"


# Of an archive that holds a whole class.
CLASS = archives.Limits(size=4_000_000_000, number=20_000, depth=20, ratio=1000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; SystemExit where there is nothing to grade or the usage is wrong."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name in any bytes must not end the program
    parser = _parser()
    options = parser.parse_args(arguments)
    folder: Path = options.folder.resolve()
    if not folder.is_dir() and not folder.is_file():
        sys.exit(f"There is no folder {options.folder}.")
    labs: Path = (options.labs or _default_labs()).resolve()
    if not (labs / "checking" / "__init__.py").is_file():
        say(f"There are no labs in {labs}: name the folder that holds `checking` with --labs.")
        return 2
    exercise = read_exercise(_lab_folder(labs, options.lab))
    if folder.is_dir() and not _has_work(folder):
        sys.exit(f"There are no submissions in {options.folder}: files .py or .ipynb, archives, or folders with one.")
    if options.jobs < 1 or options.memory < 256 or options.seconds <= 0 or options.patience <= 0:
        parser.error("--jobs, --seconds and --patience must be positive, --memory at least 256")
    if options.seed_file and not options.seed_file.is_file():
        parser.error(f"--seed-file: there is no file {options.seed_file}; without the option a seed is drawn")
    out: Path = (options.out or folder.parent / f"{folder.name if folder.is_dir() else folder.stem}-grades").resolve()
    protection = sandbox.probe()
    if not protection.protects_files and not options.unprotected:
        sys.exit(
            "Submissions could change or delete your files: this kernel has no Landlock, and you are not root.\n"
            "Grade in a machine or container made for it, or add --unprotected."
        )
    room = Path(tempfile.mkdtemp(prefix="handed-in-"))
    try:
        rules, roster, times = _tables(options, folder, exercise)
        submissions = find(_class_folder(folder, room), exercise, room / "copies", rules.best)
        if not submissions:
            sys.exit(f"There are no submissions in {options.folder}.")
        students = _students(options.student, submissions)
        setup = Setup(
            options, submissions, exercise, labs, out, protection, rules, roster, times, students, (folder, room)
        )
        return grade_class(setup)
    except (RulesError, lms.RosterError) as wrong:
        say(str(wrong))
        return 2
    except OSError as error:  # no place for the results or for temporary files
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(names.clean(f"{PROGRAM}: {place}{error.strerror or error}"))
    except KeyboardInterrupt:
        say("\ninterrupted; what was graded before is kept")
        return 130
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _has_work(folder: Path) -> bool:
    """Whether something was handed in at all."""
    return any(not ignored(path.name) and path.name != RULES for path in folder.iterdir())


def _class_folder(folder: Path, room: Path) -> Path:
    """The folder with the submissions; where the class is an archive, as a platform hands it out, that is opened."""
    (room / "copies").mkdir()
    if folder.is_dir():
        return folder
    try:
        opened = archives.unpack(folder, room / "class", CLASS)
    except archives.ArchiveError as why:
        sys.exit(names.clean(f"{folder} cannot be opened: {why}."))
    for note in opened.notes:
        say(f"note: {folder.name}: {note}.")
    inside = [path for path in (room / "class").iterdir() if not ignored(path.name)]
    single = len(inside) == 1 and inside[0].is_dir() and not lms.of_moodle(inside[0].name)
    return inside[0] if single else room / "class"


def _tables(
    options: argparse.Namespace, folder: Path, exercise: Exercise
) -> tuple[Rules, lms.Roster | None, dict[str, datetime]]:
    """The rules, the class list and the times of handing in. Raises RulesError and lms.RosterError."""
    beside = folder / RULES
    there = folder.is_dir() and (beside.exists() or beside.is_symlink())
    if there and not options.rules and not stat.S_ISREG(beside.lstat().st_mode):
        raise RulesError([f"{beside} is no file: rules are not read through a link."])
    file = options.rules or (beside if there else None)
    rules = read_rules(file, exercise) if file else Rules()
    roster = lms.read_roster(options.roster) if options.roster else None
    times = read_times(options.times) if options.times else {}
    if roster and rules.late:
        times = lms.times_of(roster, rules.late.deadline.tzinfo) | times
    return rules, roster, times


def _students(wanted: Sequence[str], submissions: Sequence[Submitted]) -> frozenset[str]:
    """The names of the students that were named; ends the program with a sentence for one who is not there."""
    found = set()
    for name in wanted:
        mine = {one.name for one in submissions if names.key(name) in (names.key(one.name), one.id)}
        if not mine:
            there = names.listed(dict.fromkeys(one.name for one in submissions), most=10)
            sys.exit(names.clean(f"There is no submission of {name}. There are: {there}."))
        found |= mine
    return frozenset(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Grade a folder of submissions of one lab.", allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, help="a file, a folder or an archive for each student")
    parser.add_argument("--lab", required=True, help="the lab: 02, or its whole name")
    parser.add_argument(
        "--labs", type=Path, metavar="FOLDER", help=f"the labs (default: {INSTALLED_LABS}, else those of the checkout)"
    )
    parser.add_argument("--out", type=Path, help="where results go (default: FOLDER-grades beside FOLDER)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="submissions at a time (default: cores)")
    parser.add_argument("--targets", action="store_true", help="the measured results, too (slow)")
    parser.add_argument("--gpu", action="store_true", help="the parts for a GPU, too")
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB", help="for each submission (default 2048)")
    parser.add_argument("--seconds", type=float, default=300.0, help="for each submission (default 300)")
    parser.add_argument(
        "--patience", type=float, default=1.0, metavar="X", help="multiply the time limits of all checks"
    )
    parser.add_argument("--seed-file", type=Path, help="the seed of an earlier grading, to grade again alike")
    parser.add_argument("--rules", type=Path, metavar="FILE", help=f"weights, late rule, … (default: FOLDER/{RULES})")
    parser.add_argument(
        "--roster", type=Path, metavar="FILE", help="the class list: a CSV of Moodle, Canvas or your own"
    )
    parser.add_argument("--times", type=Path, metavar="FILE", help="a CSV with a name and the time of handing in")
    parser.add_argument("--format", choices=lms.FORMATS, help="write what this platform imports, too")
    parser.add_argument(
        "--student", action="append", default=[], metavar="NAME", help="grade this student again, and nobody else"
    )
    parser.add_argument("--again", action="store_true", help="grade all anew, whatever was graded before")
    parser.add_argument("--unprotected", action="store_true", help="grade even where files cannot be protected")
    return parser


def _default_labs() -> Path:
    return INSTALLED_LABS if INSTALLED_LABS.is_dir() else LABS_OF_CHECKOUT


def _lab_folder(labs: Path, name: str) -> Path:
    """The folder of a lab by its number or name; ends the program with a sentence where there is none."""
    found = [path.parent for path in sorted(labs.glob("[0-9][0-9]_*/check.py"))]
    chosen = [folder for folder in found if folder.name == name or folder.name[:2] == name]
    if not chosen:
        sys.exit(f"There is no lab {name}. There are: {', '.join(folder.name for folder in found)}.")
    return chosen[0]
