"""A class of lab 02 as students really hand in: 30 right solutions all get full points, and every other thing a line.

The environment is that of test_grading.py.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lab_cases as cases
import pytest
from bad_submissions import ALL, FIRST, GRADING, LAB, instead_of
from grading_runs import COMMAND, ENVIRONMENT, run_grader

SOLVED, STUBS = cases.solved(LAB), cases.stubs(LAB)
NOTEBOOK = cases.source(LAB).notebook_of(solved=True)
OLD, NEW = 1_700_000_000, 1_700_000_900


def read(out: Path, name: str = "grades.csv") -> dict[str, dict[str, str]]:
    text = (out / name).read_text(encoding="utf-8-sig")
    return {next(iter(row.values())): row for row in csv.DictReader(io.StringIO(text, newline=""))}


def write(file: Path, content: str | bytes, when: int = OLD) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(file, (when, when))
    return file


def zipped(file: Path, members: dict[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, text in members.items():
            out.writestr(name, text)


def tarred(file: Path, mode: str, members: dict[str, str]) -> None:
    with tarfile.open(file, mode) as out:  # type: ignore[call-overload]
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            out.addfile(info, io.BytesIO(text.encode()))


def lab_folder(place: Path, script: str, notebook: str) -> None:
    """A lab as it lies in a student's home, with what the course ships."""
    for name in ("check.py", "experiments.py", "sheet.md"):
        write(place / name, (cases.LABS / LAB / name).read_bytes())
    write(place / "exercise.py", script)
    write(place / "exercise.ipynb", notebook)
    write(place / "results" / "picture.png", b"\x89PNG")
    write(place / "__pycache__" / "check.pyc", b"\0")


def labs_folder(place: Path) -> None:
    """All labs, of which this one is solved."""
    for other in ("01_tensors", "03_linear"):
        write(place / other / "exercise.py", (cases.LABS / other / "exercise.py").read_bytes(), NEW)
    lab_folder(place / LAB, SOLVED, cases.source(LAB).notebook_of())
    write(place / "dlc_practical_prologue.py", (cases.LABS / "dlc_practical_prologue.py").read_bytes())
    write(place / "checking" / "__init__.py", "")


WITH_PACKAGE = SOLVED.replace(
    "import torch\n",
    "import json\nimport torch\nfrom utils.deep import ONE\nassert json.load(open('data.json')) == ONE\n",
    1,
)
HALF = cases.filled_in(LAB, "PCA")


def _package(c: Path) -> None:
    write(c / "pia" / "work" / "exercise.py", WITH_PACKAGE)
    write(c / "pia" / "work" / "utils" / "__init__.py", "")
    write(c / "pia" / "work" / "utils" / "deep.py", "ONE = 1\n")
    write(c / "pia" / "work" / "data.json", "1")


def _thrice(c: Path) -> None:
    write(c / "otto.py", HALF, OLD)
    write(c / "otto" / "exercise.py", STUBS, NEW)
    zipped(c / "otto.zip", {"exercise.py": SOLVED})
    os.utime(c / "otto.zip", (OLD + 5, OLD + 5))


def _twice_at_canvas(c: Path) -> None:
    write(c / "mollmia_2345_6788_exercise.py", HALF, NEW)
    write(c / "mollmia_2345_6789_exercise-1.py", SOLVED, OLD)


def _moodle_with_helper(c: Path) -> None:
    write(
        c / "Uwe Voss_777_assignsubmission_file_exercise.py",
        SOLVED.replace("import torch\n", "import torch\nimport mine\n", 1),
    )
    write(c / "Uwe Voss_777_assignsubmission_file_mine.py", "")


def _notebook(*before: str, edit: tuple[str, str] = ("", ""), picture: int = 0) -> str:
    """The solved notebook with cells before its own, a change in one of them, and a picture of so many bytes."""
    document = json.loads(NOTEBOOK)
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = "".join(cell["source"]).replace(*edit, 1) if edit[0] else cell["source"]
            if picture:
                data = {"image/png": "A" * picture}
                cell["outputs"] = [{"output_type": "display_data", "data": data, "metadata": {}}]
                picture = 0
    code = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    document["cells"][1:1] = [{**code, "id": f"more-{n}", "source": text} for n, text in enumerate(before)]
    return json.dumps(document)


MAGICS = (
    "%matplotlib inline\n!pip list",
    "torch.cdist?",
    "files = !ls",
    "%%bash\nls |",
    "x = (7\n% 5)",
    "no Python here",
)
COMPUTED = ("try:\n    import torch\nexcept ImportError:\n    torch = None", "power = len([0, 0])")
USES = ("square()", "pow(power)")
DOCSTRING = ('"""', '"""checking is done elsewhere. ')
assert USES[0] in NOTEBOOK

# The student's name in the table → how the work is handed in.
FORMS: dict[str, Callable[[Path], object]] = {
    "eva": lambda c: write(c / "eva.py", SOLVED),
    "tom": lambda c: write(c / "tom" / "exercise.ipynb", NOTEBOOK),
    "ada": lambda c: lab_folder(c / "ada", STUBS, NOTEBOOK),
    "bob": lambda c: labs_folder(c / "bob" / "labs"),
    "carl": lambda c: zipped(c / "carl.zip", {"exercise.py": SOLVED}),
    "dora": lambda c: zipped(c / "dora" / "hand in" / "work.zip", {f"{LAB}/exercise.py": SOLVED}),
    "EMIL": lambda c: write(c / "EMIL.PY", SOLVED),
    "FRITZ": lambda c: write(c / "FRITZ.IPYNB", NOTEBOOK),
    "gina": lambda c: tarred(c / "gina.tar.gz", "w:gz", {f"labs/{LAB}/exercise.py": SOLVED, "labs/x.py": ""}),
    "hans": lambda c: tarred(c / "hans.TAR.XZ", "w:xz", {"./exercise.py": SOLVED}),
    "Ida Jung": lambda c: write(c / "Ida Jung_12345_assignsubmission_file_" / "exercise.py", SOLVED),
    "Jan Klee": lambda c: write(c / "Jan Klee_12346_assignsubmission_file_exercise.ipynb", NOTEBOOK),
    "kleinlars": lambda c: write(c / "kleinlars_LATE_1234_5678_exercise-2.ipynb", NOTEBOOK),
    "mollmia": _twice_at_canvas,
    "J\ufffdrgen": lambda c: write(Path(os.fsdecode(os.fsencode(c) + b"/J\xfcrgen")) / "exercise.py", SOLVED),
    "nina\ufffdolsen": lambda c: write(c / "nina\nolsen" / "exercise.py", SOLVED),
    "pia": _package,
    "otto": _thrice,
    "quirin": lambda c: (write(c / "quirin/exercise.py", HALF, NEW), write(c / "quirin/exercise (1).py", SOLVED)),
    "rita": lambda c: zipped(c / "rita.zip", {f"labs\\{LAB}\\exercise.py": SOLVED}),
    "sven": lambda c: zipped(
        c / "sven.zip", {"__MACOSX/._exercise.py": "\0", ".DS_Store": "\0", "Lab 2 final/exercise final.py": SOLVED}
    ),
    "Uwe Voss": _moodle_with_helper,
    "Zoë": lambda c: write(c / unicodedata.normalize("NFD", "Zoë") / "exercise.py", SOLVED),
    "n magics": lambda c: write(c / "n magics.ipynb", _notebook(*MAGICS)),
    "n values": lambda c: write(c / "n values.ipynb", _notebook(*COMPUTED, edit=USES)),
    "n pictures": lambda c: write(c / "n pictures.ipynb", _notebook(picture=2_500_000)),
    "n words": lambda c: write(c / "n words.ipynb", _notebook(edit=DOCSTRING)),
    "n endings": lambda c: write(c / "n endings.ipynb", _notebook("x = '\x0c'\r\ny = '\u2028'\r\n")),
    "l latin": lambda c: write(c / "l latin.py", f"# coding: latin-1\n# süß\n{SOLVED}".encode("latin-1", "replace")),
    "xenia": lambda c: write(c / "xenia.py", b"\xef\xbb\xbf" + SOLVED.replace("\n", "\r\n").encode()),
}  # fmt: skip
assert len(FORMS) == 30


def _socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(os.path.relpath(place))


def _encrypted(file: Path) -> None:
    """A zip whose only member says that it is encrypted."""
    zipped(file, {"exercise.py": SOLVED})
    content = bytearray(file.read_bytes())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + place] |= 1
    file.write_bytes(bytes(content))


# What cannot be graded → how it comes, and what its line says.
OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a_empty": (lambda c: (c / "a_empty").mkdir(), "the folder is empty"),
    "a_pipe": (lambda c: os.mkfifo(c / "a_pipe"), "is a named pipe"),
    "a_socket": (lambda c: _socket(c / "a_socket"), "is a socket"),
    "a_dangling": (lambda c: (c / "a_dangling.py").symlink_to("nowhere"), "links are not followed"),
    "a_link": (lambda c: (c / "a_link.py").symlink_to("eva.py"), "links are not followed"),
    "a_linked": (
        lambda c: ((c / "a_linked").mkdir(), (c / "a_linked/labs").symlink_to("../ada")),
        "Links are not followed: labs.",
    ),
    "a_passwd": (
        lambda c: ((c / "a_passwd").mkdir(), (c / "a_passwd" / "exercise.py").symlink_to("/etc/passwd")),
        "Links are not followed: exercise.py",
    ),
    "a_word": (lambda c: write(c / "a_word.docx", b"PK\x03\x04"), "no .py or .ipynb file of its own, but a_word.docx"),
    "a_text": (lambda c: write(c / "a_text.txt", "hello"), "no .py or .ipynb file of its own, but a_text.txt"),
    "a_secret": (lambda c: _encrypted(c / "a_secret.zip"), "cannot be opened: it is encrypted"),
    "a_7z": (lambda c: write(c / "a_7z.7z", b"7z\xbc\xaf\x27\x1c\0\4"), "cannot be opened: it is a 7z archive"),
    "a_rar": (lambda c: write(c / "a_rar.rar", b"Rar!\x1a\x07\x01\0"), "cannot be opened: it is a RAR archive"),
    "a_broken": (lambda c: write(c / "a_broken.zip", b"PK\x03\x04 and no more"), "cannot be opened: it is damaged"),
    "a_other": (lambda c: write(c / "a_other" / "03_linear" / "exercise.py", "x = 1\n"), "It holds lab 03_linear"),
    "a_stub": (lambda c: write(c / "a_stub.py", STUBS), ""),
}  # fmt: skip
if os.geteuid() != 0:  # root reads everything
    OTHERS["a_unreadable"] = (
        lambda c: write(c / "a_unreadable.py", SOLVED).chmod(0), "cannot be read: Permission denied"
    )  # fmt: skip


@dataclass(frozen=True)
class Class:
    out: Path
    rows: dict[str, dict[str, str]]
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Class:
    room = tmp_path_factory.mktemp("c")
    folder = room / "class"
    folder.mkdir()
    here = Path.cwd()
    os.chdir(folder)  # a socket's path must be short
    try:
        for form in FORMS.values():
            form(folder)
        for form, _ in OTHERS.values():
            form(folder)
    finally:
        os.chdir(here)
    done = run_grader(folder, "--lab", "02", "--jobs", "2", "--unprotected", "--patience", "3", cwd=room)
    assert done.returncode == 0, done.stdout + done.stderr
    return Class(room / "class-grades", read(room / "class-grades"), done)


def test_every_thing_has_a_line_and_no_more(graded: Class) -> None:
    assert set(graded.rows) == {*FORMS, *OTHERS}


@pytest.mark.parametrize("name", FORMS)
def test_right_work_has_full_points_in_whatever_form_it_comes(graded: Class, name: str) -> None:
    row = graded.rows[name]
    assert (row["points"], row["of"], row["percent"]) == (str(ALL), str(ALL), "100.0"), row["remark"]


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_graded_says_why(graded: Class, name: str) -> None:
    row = graded.rows[name]
    assert row["points"] == "0" and OTHERS[name][1] in row["remark"], row["remark"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ada", "Of 2 files exercise.ipynb counts: 6 of 6 parts are written in it, none in exercise.py."),
        ("quirin", "Of 2 files exercise (1).py counts: 6 of 6 parts are written in it, 1 in exercise.py."),
        ("otto", "Handed in 3 times: otto.zip counts, the latest that was worked on; not otto.py, otto."),
        ("mollmia", "Handed in 2 times: attempt 2 counts, the latest; not attempt 1."),
        ("eva", ""),
        ("pia", ""),
        ("Uwe Voss", ""),
        ("sven", ""),
    ],
)
def test_which_file_counts_is_said_where_there_was_a_choice(graded: Class, name: str, said: str) -> None:
    remark = graded.rows[name]["remark"]
    assert remark.startswith(said) and bool(remark) == bool(said), remark


def test_what_platforms_say_is_taken_over(graded: Class) -> None:
    assert graded.rows["Ida Jung"]["id"] == "12345" and graded.rows["kleinlars"]["id"] == "1234"
    assert graded.rows["kleinlars"]["late"] == "late, as the platform says" and graded.rows["eva"]["late"] == ""


def test_the_table_opens_right_in_a_spreadsheet_program(graded: Class) -> None:
    content = (graded.out / "grades.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf") and not re.search(rb"[\x00-\x09\x0b\x0c\x0e-\x1f]", content)
    for row in graded.rows.values():
        for column, cell in row.items():
            assert not re.fullmatch(r"\d+/\d+", cell) and cell[:1] not in tuple("=+-@")
            if column.startswith("02.") or column in ("points", "of", "percent", "passed", "checks", "seconds"):
                assert re.fullmatch(r"\d+(\.\d+)?", cell), (column, cell)


def test_each_student_has_a_page_with_nobody_else_in_it(graded: Class) -> None:
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (graded.out / "feedback").iterdir()}
    assert len(pages) == len(FORMS) + len(OTHERS)
    seed = (graded.out / "seed.txt").read_text().strip()
    for name, page in pages.items():
        assert seed not in page and "<script" not in page and not re.search(r"(?:src|href)=", page)
        others = [other for other in ("Ida Jung", "kleinlars", "quirin", "xenia") if other != name]
        assert not any(other in page for other in others)
    assert f"{ALL}/{ALL} points" in pages["Ida Jung"]


def test_the_page_of_the_class_speaks_of_likeness_as_a_hint(tmp_path: Path) -> None:
    renamed = re.sub(r"\b(distances|d|centres|assign\w*|votes)\b", r"my_\1", SOLVED)
    write(tmp_path / "class" / "eva.py", SOLVED)
    write(tmp_path / "class" / "tom.py", f"# all my own work\n{renamed}")
    write(tmp_path / "class" / "ada.py", STUBS)
    done = run_grader(tmp_path / "class", "--lab", LAB, "--unprotected", cwd=tmp_path)
    assert done.returncode == 0
    page = (tmp_path / "class-grades" / "report.html").read_text(encoding="utf-8")
    told = page[page.index("Which are alike") : page.index("<h2>Details")]
    assert "A hint to a person, not a proof" in told and "<td>eva<td>tom<td" in told and "ada" not in told


def marks_of(out: Path) -> dict[str, dict[str, str]]:
    return {name: {key: cell for key, cell in row.items() if key != "seconds"} for name, row in read(out).items()}


def small_class(folder: Path, count: int = 6) -> None:
    for number in range(count):
        write(folder / f"s{number}.py", SOLVED if number % 2 else instead_of(FIRST, f"return train_target[{number}]"))


def test_a_grading_that_is_killed_five_times_gives_the_same_marks(tmp_path: Path) -> None:
    """At random moments, and by a signal that nothing can catch.

    Two jobs end two gradings, or three, before the signal comes, so 20 submissions last for more than five rounds.
    """
    folder, chance, count = tmp_path / "class", random.Random(os.getpid()), 20
    small_class(folder, count)
    write(tmp_path / "seed.txt", "4711\n")
    options = [str(folder), "--lab", LAB, "--labs", str(cases.LABS), "--unprotected", "--jobs", "2", "--patience", "3",
               "--seed-file", str(tmp_path / "seed.txt")]  # fmt: skip
    journal, kills, resumed = tmp_path / "killed" / "marks.jsonl", 0, []
    for _ in range(5):
        known = journal.read_bytes().count(b"\n") if journal.exists() else 0
        run = subprocess.Popen([*COMMAND, *options, "--out", str(tmp_path / "killed")], env=ENVIRONMENT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
        until = time.monotonic() + 120
        while run.poll() is None and time.monotonic() < until:
            if journal.exists() and journal.read_bytes().count(b"\n") > known:
                break
            time.sleep(0.01)
        time.sleep(chance.random() * 0.2)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        resumed.append(run.communicate()[1].decode())
    assert kills == 5, f"ended before it was killed: {resumed}"
    last = run_grader(folder, *options[1:3], *options[5:], "--out", str(tmp_path / "killed"), cwd=tmp_path)
    whole = run_grader(folder, *options[1:3], *options[5:], "--out", str(tmp_path / "whole"), cwd=tmp_path)
    assert last.returncode == whole.returncode == 0, last.stderr + whole.stderr
    before, rest = map(int, re.search(r"(\d+) graded before, (\d+) to go", resumed[-1]).groups())
    assert 0 < before < count and before + rest == count and f"{count} graded before" not in whole.stderr
    assert marks_of(tmp_path / "killed") == marks_of(tmp_path / "whole")


def test_an_interrupted_grading_keeps_its_marks_and_says_so(tmp_path: Path) -> None:
    small_class(tmp_path / "class", 12)
    command = [*COMMAND, "class", "--lab", LAB, "--labs", str(cases.LABS), "--unprotected", "--jobs", "1"]
    run = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           start_new_session=True)  # fmt: skip
    journal, until = tmp_path / "class-grades" / "marks.jsonl", time.monotonic() + 120
    while not (journal.exists() and journal.read_bytes()) and time.monotonic() < until and run.poll() is None:
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGINT)
    said = run.communicate(timeout=60)[1].decode()
    assert run.returncode == 130 and "are graded and kept" in said, said
    rows = read(tmp_path / "class-grades")
    assert len(rows) == 12
    waiting = [row for row in rows.values() if row["remark"].startswith("Not graded yet")]
    assert 0 < len(waiting) < 12 and all(row["points"] == "" for row in waiting)
    done = run_grader(tmp_path / "class", "--lab", LAB, "--unprotected", cwd=tmp_path)
    assert f"{12 - len(waiting)} graded before, {len(waiting)} to go" in done.stderr
    assert all(row["points"] for row in read(tmp_path / "class-grades").values())


def test_only_what_changed_and_who_is_named_is_graded_again(tmp_path: Path) -> None:
    folder, out = tmp_path / "class", tmp_path / "class-grades"
    small_class(folder, 3)

    def run(*options: str) -> str:
        return run_grader(folder, "--lab", LAB, "--unprotected", *options, cwd=tmp_path).stderr

    run()
    write(folder / "s0.py", SOLVED, NEW)
    assert "2 graded before, 1 to go" in run() and read(out)["s0"]["percent"] == "100.0"
    assert "3 graded before, 0 to go" in run()
    before = len((out / "marks.jsonl").read_bytes().splitlines())
    run("--student", "S1", "--student", "s2")
    assert len((out / "marks.jsonl").read_bytes().splitlines()) == before + 2
    assert "There is no submission of s9. There are: s0, s1, s2." in run("--student", "s9")
    assert "graded before" not in run("--again") and (out / "marks-before.jsonl").is_file()
    assert "graded before" not in run("--patience", "2")  # other limits may give other marks


def test_points_follow_the_rules_and_go_into_the_platform(tmp_path: Path) -> None:
    folder, out = tmp_path / "class", tmp_path / "class-grades"
    write(folder / "Eva Bauer_11_assignsubmission_file_" / "exercise.py", SOLVED, NEW)
    write(folder / "Tom Dill_12_assignsubmission_file_" / "exercise.py", instead_of("PCA", "return x, x, x"), OLD)
    write(folder / "=cmd.py", SOLVED, OLD)
    (folder / "grading.toml").write_text(
        'points = 20\nhidden = ["finds_the_directions_of_a_known_cloud"]\n[weights]\nPCA = 5\n"02.1" = 0\n'
        "[late]\ndeadline = 2023-11-14T22:20:00Z\nper_day = 10\n"
        '[manual."Tom Dill"]\ncomment = "Come and see me."\n[manual."=cmd"]\npoints = 7.25\n'
    )
    names = [check.name for check in cases.lab(LAB).of_kind("check") if check.parts[0] == "PCA" and check.function]
    text = (folder / "grading.toml").read_text().replace("finds_the_directions_of_a_known_cloud", names[0])
    (folder / "grading.toml").write_text(text)
    roster = tmp_path / "list.csv"
    roster.write_text("Identifier,Full name,Grade,Feedback comments\nParticipant 11,Eva Bauer,,\n"
                      "Participant 12,Tom Dill,,\n"
                      "Participant 13,Uta Fink,,\n")  # fmt: skip
    options = ("--lab", LAB, "--unprotected", "--format", "moodle", "--roster", str(roster))
    done = run_grader(folder, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read(out)
    assert set(rows) == {"Eva Bauer", "Tom Dill", "'=cmd"}
    assert rows["Eva Bauer"]["points"] == "18" and "10 % of the points are taken" in rows["Eva Bauer"]["late"]
    assert rows["Tom Dill"]["points"] == "8.89" and rows["Tom Dill"]["comment"] == "Come and see me."
    assert rows["'=cmd"]["points"] == "7.25"
    platform = read(out, "moodle.csv")
    assert platform["Participant 11"]["Grade"] == "18" and platform["Participant 12"]["Grade"] == "8.89"
    assert set(platform) == {"Participant 11", "Participant 12"}
    assert "On the class list, but nothing was handed in: Uta Fink." in done.stderr
    assert "Handed in, but not on the class list: =cmd." in done.stderr
    page = (out / "feedback" / "Tom Dill.html").read_text(encoding="utf-8")
    title = next(check.title for check in cases.lab(LAB).checks if check.name == names[0])
    assert (
        "a check that is not shown" in page and title not in page and title in (out / "report.html").read_text("utf-8")
    )


def test_nothing_of_a_submission_steers_the_terminal_or_stops_the_results(tmp_path: Path) -> None:
    evil = "raise ValueError('\\x1b[2J\\udc80 \\r9 of 9 graded')"
    write(tmp_path / "class" / "\x1b[31mred.py", instead_of(FIRST, evil))
    write(tmp_path / "class" / "eva.py", SOLVED)
    done = run_grader(tmp_path / "class", "--lab", LAB, "--unprotected", "--student", "eva", cwd=tmp_path)
    done = run_grader(tmp_path / "class", "--lab", LAB, "--unprotected", cwd=tmp_path)
    assert done.returncode == 0 and "\x1b" not in done.stdout + done.stderr
    out = tmp_path / "class-grades"
    for file in (out / "grades.csv", out / "report.html", *(out / "feedback").iterdir()):
        assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", file.read_bytes()), file
    assert read(out)["eva"]["percent"] == "100.0" and read(out)["\ufffd[31mred"]["points"] == str(ALL - 2)
    assert json.loads((out / "marks.jsonl").read_text(encoding="ascii").splitlines()[0])


def test_where_no_process_starts_the_exit_status_says_so(tmp_path: Path) -> None:
    """Nobody gets a mark for a fault of the machine, and nothing is kept of it."""
    write(tmp_path / "class" / "eva.py", SOLVED)
    program = (
        f"import sys; sys.path.insert(0, {str(GRADING)!r})\n"
        "from course_grade import cli, sandbox\n"
        "def enter(*_):\n    raise OSError(1, 'not here')\n"
        "sandbox.enter = enter\n"
        f"sys.exit(cli.main(['class', '--lab', '02', '--unprotected', '--labs', {str(cases.LABS)!r}]))"
    )
    command = [sys.executable, "-B", "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith("course-grade: ") and "the first process of the sandbox" in done.stderr
    assert not (tmp_path / "class-grades").exists()


def test_a_fault_of_the_machine_is_no_mark(tmp_path: Path) -> None:
    """The next run tries again."""
    write(tmp_path / "class" / "eva.py", SOLVED)
    program = (
        f"import sys; sys.path.insert(0, {str(GRADING)!r})\n"
        f"sys.path.insert(0, {str(cases.LABS)!r})\n"
        "from course_grade import cli, pool\n"
        "def grade(self, ones):\n"
        "    for one in ones:\n"
        "        yield pool.failed_report(one.name, self._task, 'It could not be graded, which is not its fault: x.')\n"
        "pool.Pool.grade = grade\n"
        f"sys.exit(cli.main(['class', '--lab', '02', '--unprotected', '--labs', {str(cases.LABS)!r}]))"
    )
    command = [sys.executable, "-B", "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1 and "1 of them could not be graded" in done.stderr, done.stderr
    assert read(tmp_path / "class-grades")["eva"]["points"] == "0"
    done = run_grader(tmp_path / "class", "--lab", LAB, "--unprotected", cwd=tmp_path)
    assert done.returncode == 0 and read(tmp_path / "class-grades")["eva"]["percent"] == "100.0"


def test_a_whole_download_is_graded_as_it_is(tmp_path: Path) -> None:
    zipped(tmp_path / "download.zip", {
        "Eva Bauer_11_assignsubmission_file_/exercise.py": SOLVED,
        "Tom Dill_12_assignsubmission_file_exercise.py": STUBS,
    })  # fmt: skip
    done = run_grader(tmp_path / "download.zip", "--lab", LAB, "--unprotected", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path / "download-grades")
    assert {name: row["percent"] for name, row in rows.items()} == {"Eva Bauer": "100.0", "Tom Dill": "0.0"}
