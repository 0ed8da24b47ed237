#!/usr/bin/env python3
"""Grade a folder of submissions of one lab.

    python labs/grade.py FOLDER --lab 02

FOLDER holds a file or a folder for each student. Every submission runs in processes of its own, with limits of time,
memory, files and processes, without network, and with access to nothing but its scratch folder. The checks are those
that students have; the random inputs come from a seed that is drawn now and kept beside the results.
Writes grades.csv, report.html and seed.txt.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from pathlib import Path

LABS = Path(__file__).resolve().parent
sys.path.insert(0, str(LABS))

from grading import sandbox  # noqa: E402
from grading.handed import find  # noqa: E402


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Grade a folder of submissions of one lab.", allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="a file or a folder for each student")
    parser.add_argument("--lab", required=True, help="the lab: 02, or its whole name")
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


def _lab_folder(name: str) -> Path:
    """The folder of a lab by its number or name; ends the program with a sentence where there is none."""
    found = [path.parent for path in sorted(LABS.glob("[0-9][0-9]_*/check.py"))]
    chosen = [folder for folder in found if folder.name == name or folder.name[:2] == name]
    if not chosen:
        sys.exit(f"There is no lab {name}. There are: {', '.join(folder.name for folder in found)}.")
    return chosen[0]


def _seed(file: Path) -> int:
    """The seed in a file; a new one is drawn and kept where there is no file yet."""
    if file.is_file():
        try:
            return int(file.read_text("ascii"))
        except ValueError:
            sys.exit(f"{file} holds no seed: a number was expected.")
    seed = secrets.randbelow(2**31)
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(f"{seed}\n")
    return seed


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    if not folder.is_dir():
        sys.exit(f"There is no folder {options.folder}.")
    lab_folder = _lab_folder(options.lab)
    if not (handed := find(folder)):
        sys.exit(f"There are no submissions in {options.folder}: files .py or .ipynb, or folders with one.")
    if options.jobs < 1 or options.memory < 256 or options.seconds <= 0 or options.patience <= 0:
        parser.error("--jobs, --seconds and --patience must be positive, --memory at least 256")
    out = options.out or folder.with_name(f"{folder.name}-grades")

    protection = sandbox.probe()
    if not protection.protects_files and not options.unprotected:
        sys.exit("Submissions could change or delete your files: this kernel has no Landlock, and you are not root.\n"
                 "Grade in a machine or container made for it, or add --unprotected.")  # fmt: skip
    import torch  # here, since it takes seconds
    from checking.cli import gpu_missing
    from checking.notebook import load_lab
    from checking.preload import preload
    from checking.processes import Limits
    from grading.classroom import Classroom
    from grading.nursery import Nursery
    from grading.page import report, table
    from grading.referee import Task

    torch.set_num_threads(1)
    preload("optim, matplotlib")  # once for all submissions
    data = os.environ.get("PYTORCH_DATA_DIR")
    # The nursery comes before the seed and the lab's checks: from here on, a child knows more than a student may.
    sandboxes = Nursery(protection, LABS, Path(data).resolve() if data else None)
    sandbox.keep_memory_private()
    limits = Limits(memory=options.memory << 20, processes=sandbox.most_processes(protection))
    kinds = ("check", *(("target",) if options.targets else ()), *(("gpu",) if options.gpu else ()))
    lab = load_lab(lab_folder)
    task = Task(lab, _seed(options.seed_file or out / "seed.txt"), kinds, limits, options.patience, options.seconds,
                gpu_missing() if options.gpu else "")  # fmt: skip
    for note in protection.notes():
        print(f"note: {note}", file=sys.stderr)
    begin = time.monotonic()
    sheets = []
    try:
        for sheet in Classroom(sandboxes, protection, task, options.jobs).grade(handed):
            sheets.append(sheet)
            seconds = time.monotonic() - begin
            line = f"{len(sheets)} of {len(handed)} graded, {seconds:.0f} s"
            if sys.stderr.isatty():
                print(f"\r{line}", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was written", file=sys.stderr)
        return 130
    finally:
        sandboxes.close()
    order = {one.name: number for number, one in enumerate(handed)}
    sheets.sort(key=lambda sheet: order[sheet.name])
    seconds = time.monotonic() - begin
    out.mkdir(parents=True, exist_ok=True)
    (out / "grades.csv").write_text(table(lab, sheets), "utf-8")
    (out / "report.html").write_text(report(lab, sheets, protection.notes(), seconds), "utf-8")
    print(f"{chr(13) if sys.stderr.isatty() else ''}{len(sheets)} submissions graded in {seconds:.1f} s")
    print(f"  {out / 'report.html'}\n  {out / 'grades.csv'}\n  {out / 'seed.txt'}   keep it from students")
    return 0


if __name__ == "__main__":
    sys.exit(main())
