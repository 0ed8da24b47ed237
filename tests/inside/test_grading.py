"""course-grade: a class with every kind of bad submission is graded, and nobody gains by cheating.

COURSEBOX_TEST_GRADING   folder of the package as it was delivered, whose command then is the installed one; without it,
                         the package of this checkout
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import lab_cases as cases
import pytest
from bad_submissions import ALL, CHECKS, GRADING, LAB, Bad, bad_submissions, instead_of  # puts the grader on the path
from course_grade import sandbox
from grading_runs import rows, run_grader, write

PROTECTION = sandbox.probe()
KIT = "13_recurrent"  # a lab whose checks import checking/kit.py
PCA_CHECKS = sum(check.parts[0] == "PCA" for check in CHECKS)
EXPECTED = bad_submissions(Path("canary"), PROTECTION)


@dataclass(frozen=True)
class Class:
    rows: dict[str, dict[str, str]]
    page: str
    done: subprocess.CompletedProcess[str]
    seconds: float
    canary: Path
    expected: dict[str, Bad]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Class:
    """One class, graded once: every bad submission between good ones."""
    room = tmp_path_factory.mktemp("grading")
    canary, folder = room / "canary", room / "class"
    canary.mkdir()
    (canary / "thesis.txt").write_text("years of work")
    folder.mkdir()
    expected = bad_submissions(canary, PROTECTION)
    write(folder, "aaa_good", cases.solved(LAB))
    write(folder, "zzz_good", cases.solved(LAB))
    (folder / "as_notebook.ipynb").write_text(cases.source(LAB).notebook_of(solved=True))
    (folder / "with_helper").mkdir()
    head, tail = cases.solved(LAB).split("import torch\n", 1)
    (folder / "with_helper" / "exercise.py").write_text(f"{head}import my_helper\nimport torch\n{tail}")
    (folder / "with_helper" / "my_helper.py").write_text("x = 1\n")
    (folder / "nothing_handed_in").mkdir()
    (folder / "as_shipped.py").write_text(cases.stubs(LAB))
    for name, bad in expected.items():
        write(folder, name, bad.text)
    begin = time.monotonic()
    done = run_grader(folder, "--lab", "02", "--out", str(room / "out"), "--jobs", "2", "--seconds", "200",
                      "--unprotected", "--patience", "0.3", cwd=room)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    page = (room / "out" / "report.html").read_text(encoding="utf-8")
    return Class(rows(room / "out"), page, done, time.monotonic() - begin, canary, expected)


def test_everybody_is_graded(graded: Class) -> None:
    others = {"aaa_good", "zzz_good", "as_notebook", "with_helper", "nothing_handed_in", "as_shipped"}
    assert set(graded.rows) == others | set(EXPECTED)
    assert list(graded.rows) == sorted(graded.rows, key=str.casefold)


@pytest.mark.parametrize("name", ["aaa_good", "zzz_good", "as_notebook", "with_helper"])
def test_good_work_gets_all_points(graded: Class, name: str) -> None:
    row = graded.rows[name]
    assert (row["passed"], row["checks"], row["percent"], row["remark"]) == (str(ALL), str(ALL), "100.0", "")


@pytest.mark.parametrize("name", ["nothing_handed_in", "as_shipped"])
def test_no_work_gets_no_points(graded: Class, name: str) -> None:
    assert graded.rows[name]["passed"] == "0"


@pytest.mark.parametrize("name", EXPECTED)
def test_a_bad_submission_harms_nobody_and_gains_nothing(graded: Class, name: str) -> None:
    row, bad = graded.rows[name], graded.expected[name]
    assert int(row["passed"]) <= bad.most
    details = graded.page[graded.page.index(f"<summary>{name} ") :]
    details = details[: details.index("</details>")]
    assert bad.says in row["remark"] + details


@pytest.mark.parametrize("name", ["endless_loop", "exits", "exits_hard", "crashes", "prints", "allocates"])
def test_the_other_parts_still_count(graded: Class, name: str) -> None:
    row = graded.rows[name]
    assert (row["02.3 PCA"], row["02.3 PCA of"]) == (str(PCA_CHECKS), str(PCA_CHECKS))


def test_nothing_was_deleted(graded: Class) -> None:
    assert (graded.canary / "thesis.txt").read_text() == "years of work"
    assert (cases.LABS / LAB / "check.py").is_file()


def test_the_page_needs_no_other_file(graded: Class) -> None:
    assert graded.page.startswith("<!doctype html>")
    assert not re.search(r"(?:src|href)=['\"]?(?!#)[a-z/]", graded.page)
    assert "<script" not in graded.page


def test_what_is_not_enforced_is_said(graded: Class) -> None:
    for note in PROTECTION.notes():
        assert note in graded.page and note in graded.done.stderr
    assert ("no network" in graded.page) == PROTECTION.namespaces
    assert ("(Landlock)" in graded.page) == PROTECTION.files


@pytest.mark.parametrize("options", [(), ("--unprotected",)], ids=["protected", "unprotected"])
def test_a_lab_whose_checks_use_the_kit(tmp_path: Path, options: tuple[str, ...]) -> None:
    """In the sandbox the file of the kit cannot be read."""
    if not options and not PROTECTION.protects_files:
        options = ("--unprotected",)
    write(tmp_path / "class", "ada", cases.solved(KIT))
    done = run_grader(tmp_path / "class", "--lab", KIT, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    row = rows(tmp_path / "class-grades")["ada"]
    assert row["passed"] == row["checks"] != "0", row["remark"]


def test_links_are_no_submissions(tmp_path: Path) -> None:
    """Neither somebody else's work nor a file of the one who grades is read by way of a link."""
    folder = tmp_path / "class"
    write(folder, "ada", cases.solved(LAB))
    (tmp_path / "solution.py").write_text(cases.solved(LAB))
    (folder / "eve").mkdir()
    (folder / "eve" / "exercise.py").symlink_to("../ada/exercise.py")
    (folder / "mal.py").symlink_to(tmp_path / "solution.py")
    (folder / "bob").symlink_to("ada")
    (folder / "carl").mkdir()
    (folder / "carl" / "deep").symlink_to("../ada")
    done = run_grader(folder, "--lab", LAB, "--unprotected", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(tmp_path / "class-grades")
    assert {name: row["passed"] for name, row in found.items() if name != "ada"} == dict.fromkeys(
        ("bob", "carl", "eve", "mal"), "0"
    )
    assert found["ada"]["passed"] == found["ada"]["checks"]


def test_clearing_a_scratch_folder_changes_no_mode_behind_a_link(tmp_path: Path) -> None:
    from course_grade.scratch import remove

    thesis, scratch = tmp_path / "thesis.txt", tmp_path / "scratch"
    thesis.write_text("years of work")
    thesis.chmod(0o640)
    (scratch / "d" / "e").mkdir(parents=True)
    (scratch / "d" / "link").symlink_to(thesis)
    (scratch / "d" / "e" / "file").touch()
    (scratch / "d" / "e").chmod(0o000)
    (scratch / "d").chmod(0o500)
    remove(scratch)
    assert not scratch.exists() and thesis.stat().st_mode & 0o777 == 0o640


def test_a_seed_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "class", "ada", cases.stubs(LAB))
    done = run_grader(tmp_path / "class", "--lab", LAB, "--unprotected", "--seed-file", "seeed.txt", cwd=tmp_path)
    assert done.returncode == 2 and "there is no file seeed.txt" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class"]


def test_the_same_seed_gives_the_same_grades_and_another_one_is_drawn(tmp_path: Path) -> None:
    write(tmp_path / "class", "good", cases.solved(LAB))
    wrong = instead_of("PCA", "return x.mean(0), torch.eye(x.size(1)), x.var(0)")
    write(tmp_path / "class", "<b>bold & wrong", wrong)
    first = run_grader(tmp_path / "class", "--lab", LAB, "--unprotected", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    out = tmp_path / "class-grades"
    seed, before = (out / "seed.txt").read_text(), rows(out)
    assert os.stat(out / "seed.txt").st_mode & 0o077 == 0
    assert before["good"]["percent"] == "100.0" and float(before["<b>bold & wrong"]["percent"]) < 100
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<b>bold" not in page and "&lt;b&gt;bold &amp; wrong" in page
    options = ("--seed-file", str(out / "seed.txt"), "--out", str(tmp_path / "again"), "--unprotected")
    again = run_grader(tmp_path / "class", "--lab", LAB, *options, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    for name, row in rows(tmp_path / "again").items():
        assert row | {"seconds": ""} == before[name] | {"seconds": ""}
    other = run_grader(
        tmp_path / "class", "--lab", LAB, "--out", str(tmp_path / "other"), "--unprotected", cwd=tmp_path
    )
    assert other.returncode == 0 and (tmp_path / "other" / "seed.txt").read_text() != seed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["nowhere", "--lab", "02"], "There is no folder nowhere."),
        ([".", "--lab", "77"], "There is no lab 77. There are: "),
        ([".", "--lab", "02", "--unprotected"], "There are no submissions in .: "),
    ],
)
def test_wrong_command_lines_are_answered_by_a_sentence(tmp_path: Path, options: list[str], sentence: str) -> None:
    (tmp_path / "work").mkdir()
    done = run_grader(Path(options[0]), *options[1:], cwd=tmp_path / "work")
    assert done.returncode == 1 and done.stderr.startswith(sentence) and "Traceback" not in done.stderr


def test_without_labs_it_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "class", "good", cases.solved(LAB))
    done = run_grader(tmp_path / "class", "--lab", "02", "--labs", str(tmp_path), cwd=tmp_path)  # the last one counts
    assert done.returncode == 2
    assert done.stderr == f"There are no labs in {tmp_path}: name the folder that holds `checking` with --labs.\n"


def test_neither_the_labs_nor_the_grader_can_be_read_in_a_sandbox() -> None:
    """But the helper that submissions import."""
    found = sandbox.readable(cases.LABS, None)
    assert cases.LABS / "dlc_practical_prologue.py" in found
    for hidden in (cases.LABS, GRADING, Path("/usr/share/coursebox/labs"), Path("/usr/lib/coursebox/grading")):
        assert [path for path in found if path == hidden or path in hidden.parents] == []


def test_without_protection_it_asks_first(tmp_path: Path) -> None:
    write(tmp_path / "class", "good", cases.solved(LAB))
    program = (
        f"import sys; sys.path.insert(0, {str(GRADING)!r})\n"
        "from course_grade import cli, sandbox\nsandbox.probe = lambda: sandbox.Protection(False, False, False)\n"
        f"cli.main(['class', '--lab', '02', '--labs', {str(cases.LABS)!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.startswith("Submissions could change or delete your files")
    assert not (tmp_path / "class-grades").exists()
