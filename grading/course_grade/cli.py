"""The command line: grade a folder of submissions of one lab.

    course-grade FOLDER --lab 02

FOLDER holds a file or a folder for each student. Each submission runs in processes of its own. They have limits of
time, memory, files and processes, no network, and access to nothing but their scratch folder. The checks are those
that students have. The random inputs come from a seed that is drawn now and kept beside the results.
Writes grades.csv, report.html and seed.txt.

Exit status: 0 graded, 1 something that the instructor can mend, 2 wrong usage or no labs, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from course_grade import output, sandbox
from course_grade.submissions import Submitted, find

PROGRAM = "course-grade"
INSTALLED_LABS = Path("/usr/share/coursebox/labs")
LABS_OF_CHECKOUT = Path(__file__).resolve().parents[2] / "labs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; SystemExit where there is nothing to grade or the usage is wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    folder: Path = options.folder.resolve()
    if not folder.is_dir():
        sys.exit(f"There is no folder {options.folder}.")
    labs: Path = (options.labs or _default_labs()).resolve()
    if not (labs / "checking" / "__init__.py").is_file():
        print(f"There are no labs in {labs}: name the folder that holds `checking` with --labs.", file=sys.stderr)
        return 2
    lab_folder = _lab_folder(labs, options.lab)
    if not (submissions := find(folder)):
        sys.exit(f"There are no submissions in {options.folder}: files .py or .ipynb, or folders with one.")
    if options.jobs < 1 or options.memory < 256 or options.seconds <= 0 or options.patience <= 0:
        parser.error("--jobs, --seconds and --patience must be positive, --memory at least 256")
    if options.seed_file and not options.seed_file.is_file():
        parser.error(f"--seed-file: there is no file {options.seed_file}; without the option a seed is drawn")
    out: Path = (options.out or folder.parent / f"{folder.name}-grades").resolve()
    protection = sandbox.probe()
    if not protection.protects_files and not options.unprotected:
        sys.exit(
            "Submissions could change or delete your files: this kernel has no Landlock, and you are not root.\n"
            "Grade in a machine or container made for it, or add --unprotected."
        )
    try:
        return _grade(options, submissions, labs, lab_folder, out, protection)
    except OSError as error:  # no place for the results or for temporary files
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(f"{PROGRAM}: {place}{error.strerror or error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Grade a folder of submissions of one lab.", allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, help="a file or a folder for each student")
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


def _seed(file: Path) -> int:
    """The seed in a file; a new one is drawn and kept where there is no file yet."""
    try:
        return output.kept_seed(file)
    except ValueError:
        sys.exit(f"{file} holds no seed: a number was expected.")


def _grade(
    options: argparse.Namespace,
    submissions: Sequence[Submitted],
    labs: Path,
    lab_folder: Path,
    out: Path,
    protection: sandbox.Protection,
) -> int:
    """Grade all submissions and write the results into `out`; the exit status. Raises OSError."""
    sys.dont_write_bytecode = True  # root could write it into the pristine labs
    sys.path.insert(0, str(labs))
    import torch  # here, since it takes seconds
    from checking.cli import gpu_missing
    from checking.loading import load_lab
    from checking.preload import preload
    from checking.processes import Limits

    from course_grade.grader import Task
    from course_grade.pool import Pool
    from course_grade.report import page, table
    from course_grade.zygote import Zygote

    torch.set_num_threads(1)
    preload("optim, matplotlib")  # once for all submissions
    data = os.environ.get("PYTORCH_DATA_DIR")
    # The zygote comes before the seed and the lab's checks: from here on, a child knows more than a student may.
    hidden = [options.folder, out, *([options.seed_file] if options.seed_file else [])]
    memory = options.memory << 20
    zygote = Zygote(protection, labs, Path(data).resolve() if data else None, hidden, memory)
    try:
        sandbox.keep_memory_private()
        limits = Limits(memory=memory, processes=sandbox.most_processes(protection))
        with tempfile.TemporaryDirectory(prefix="trial-") as folder:
            zygote.trial(Path(folder), limits)
        kinds = ("check", *(("experiment",) if options.targets else ()), *(("gpu",) if options.gpu else ()))
        lab = load_lab(lab_folder)
        output.make_folder(out)  # now: what is wrong with it must not show after an hour of grading
        seed_file = (options.seed_file or out / "seed.txt").absolute()
        seed = _seed(seed_file)
        task = Task(lab, seed, kinds, limits, options.patience, options.seconds, gpu_missing() if options.gpu else "")
        for note in protection.notes():
            print(f"note: {note}", file=sys.stderr)
        begin = time.monotonic()
        reports = []
        for report in Pool(zygote, protection, task, options.jobs).grade(submissions):
            reports.append(report)
            line = f"{len(reports)} of {len(submissions)} graded, {time.monotonic() - begin:.0f} s"
            if sys.stderr.isatty():
                print(f"\r{line}", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted; no grades were written", file=sys.stderr)
        return 130
    finally:
        zygote.close()
    order = {submitted.name: number for number, submitted in enumerate(submissions)}
    reports.sort(key=lambda report: order[report.name])
    seconds = time.monotonic() - begin
    output.write(out / "grades.csv", table(lab, reports))
    output.write(out / "report.html", page(lab, reports, protection.notes(), seconds))
    print(f"{chr(13) if sys.stderr.isatty() else ''}{len(reports)} submissions graded in {seconds:.1f} s")
    print(f"  {out / 'report.html'}\n  {out / 'grades.csv'}\n  {seed_file}   keep it from students")
    return 0
