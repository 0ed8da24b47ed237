"""Run course-grade in tests, and read what it wrote.

COURSEBOX_TEST_GRADING   folder of the package as it was delivered, whose command then is the installed one; without it,
                         the package of this checkout
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import lab_cases as cases
from bad_submissions import GRADING

DELIVERED = "COURSEBOX_TEST_GRADING" in os.environ
COMMAND = ["/usr/local/bin/course-grade"] if DELIVERED else [sys.executable, "-m", "course_grade"]


ENVIRONMENT = os.environ | {
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": "" if DELIVERED else str(GRADING),
}


def run_grader(
    folder: Path, *options: str, cwd: Path, temporary: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Grade a class; the ended process. temporary: where temporary files go, instead of this test's own place."""
    more = {"TMPDIR": str(temporary)} if temporary else {}
    return subprocess.run(
        [*COMMAND, str(folder), "--labs", str(cases.LABS), *options],
        cwd=cwd, env=ENVIRONMENT | more, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def write(folder: Path, name: str, text: str | bytes) -> None:
    (folder / name).mkdir(parents=True)
    content = text.encode() if isinstance(text, str) else text
    (folder / name / "exercise.py").write_bytes(content)


def rows(out: Path) -> dict[str, dict[str, str]]:
    read = csv.DictReader(io.StringIO((out / "grades.csv").read_text(encoding="utf-8-sig")))
    return {row["submission"]: row for row in read}
