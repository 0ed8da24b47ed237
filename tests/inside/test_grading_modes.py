"""Every way to protect a machine grades a right solution with all points; where no process starts, a sentence says so.

A test can only force less than the machine offers: what `sandbox.probe` found, without some of it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lab_cases as cases
import pytest
from bad_submissions import ALL, GRADING, LAB
from course_grade import sandbox
from grading_runs import rows, write

FOUND = sandbox.probe()
MODES = {
    "all": FOUND,
    "no namespaces": replace(FOUND, namespaces=False, quota=False),
    "namespaces without a scratch of a size": replace(FOUND, quota=False),
    "no seccomp": replace(FOUND, calls=False),
    "Landlock alone": sandbox.Protection(False, FOUND.files, False),
    "another user alone": sandbox.Protection(False, False, FOUND.other_user),
    "neither": sandbox.Protection(False, False, False),
}


def _graded(folder: Path, patch: str) -> subprocess.CompletedProcess[str]:
    program = (
        f"import sys; sys.path.insert(0, {str(GRADING)!r})\nfrom course_grade import cli, sandbox\n"
        f"from course_grade.sandbox import Protection\n{patch}\n"
        f"sys.exit(cli.main(['class', '--lab', '02', '--unprotected', '--labs', {str(cases.LABS)!r}]))"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", program], cwd=folder, capture_output=True, text=True, check=False, timeout=200
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_right_solution_gets_all_points(tmp_path: Path, mode: str) -> None:
    write(tmp_path / "class", "ada", cases.solved(LAB))
    done = _graded(tmp_path, f"sandbox.probe = lambda: {MODES[mode]!r}")
    assert done.returncode == 0, done.stdout + done.stderr
    row = rows(tmp_path / "class-grades")["ada"]
    assert (row["passed"], row["remark"]) == (str(ALL), "")
    for note in MODES[mode].notes():
        assert f"note: {note}" in done.stderr


def test_where_no_process_starts_a_sentence_says_so_and_nobody_is_graded(tmp_path: Path) -> None:
    write(tmp_path / "class", "ada", cases.solved(LAB))
    done = _graded(tmp_path, "def fails(*_):\n    raise OSError\nsandbox.enter = fails")
    assert done.returncode == 1 and done.stdout == ""
    assert "course-grade: the first process of the sandbox ended itself with status 1" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "class-grades" / "grades.csv").exists()
