"""Platforms: whose a file is by its name, class lists, and what is imported."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from course_grade import lms
from course_grade.lms import Entry, Handed


@pytest.mark.parametrize(
    ("name", "handed"),
    [
        ("Eva Bauer_12345_assignsubmission_file_", Handed("Eva Bauer", "12345", "")),
        ("Eva Bauer_12345_assignsubmission_file", Handed("Eva Bauer", "12345", "")),
        ("Eva_Bauer_12345_assignsubmission_file_a_b.py", Handed("Eva_Bauer", "12345", "a_b.py")),
        ("Participant_7_assignsubmission_file_x.ipynb", Handed("Participant", "7", "x.ipynb")),
        ("Eva Bauer_5_assignsubmission_onlinetext_", Handed("Eva Bauer", "5", "")),
        ("eva.py", None),
        ("Eva_12345", None),
    ],
)
def test_names_of_moodle(name: str, handed: Handed | None) -> None:
    assert lms.of_moodle(name) == handed


@pytest.mark.parametrize(
    ("name", "handed"),
    [
        ("lastfirst_LATE_1234_5678_exercise-2.ipynb", Handed("lastfirst", "1234", "exercise.ipynb", 3, True)),
        ("bauereva_1234_5678_exercise.py", Handed("bauereva", "1234", "exercise.py")),
        ("bauereva_1234_5678_my_work-1.tar.gz", Handed("bauereva", "1234", "my_work.tar.gz", 2)),
        ("my_exercise_2.py", None),
        ("lab_02_neighbours.py", None),
    ],
)
def test_names_of_canvas(name: str, handed: Handed | None) -> None:
    assert lms.of_canvas(name) == handed


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def roster(tmp_path: Path, text: str) -> lms.Roster:
    (tmp_path / "list.csv").write_text(text, encoding="utf-8-sig")
    return lms.read_roster(tmp_path / "list.csv")


GRADEBOOK = """Student,ID,SIS User ID,SIS Login ID,Section,Lab 1 (98),Lab 02: Neighbours (99),Final Score
    Points Possible,,,,,10,16,(read only)
"Bauer, Eva",1234,u1,eva@x.org,A,3,,
"Dill, Tom",1235,u2,tom@x.org,A,4,,
"""
HEAD = "Identifier,Full name,Email address,Status,Grade,Maximum Grade,Last modified (submission),Feedback comments"
WORKSHEET = f"""{HEAD}
Participant 11,Eva Bauer,eva@x.org,Submitted,,20.00,,
Participant 12,Tom Dill,tom@x.org,,,20.00,,
"""


@pytest.mark.parametrize(
    ("text", "name", "number", "found"),
    [
        (GRADEBOOK, "bauereva", "1234", "Bauer, Eva"),
        (GRADEBOOK, "bauereva", "", "Bauer, Eva"),
        (GRADEBOOK, "eva_bauer", "", "Bauer, Eva"),
        (GRADEBOOK, "tom", "", "Dill, Tom"),
        (GRADEBOOK, "nobody", "9", None),
        (WORKSHEET, "Eva Bauer", "11", "Eva Bauer"),
        (WORKSHEET, "Eva", "11", "Eva Bauer"),
        ("name;email\nEva Bauer;e@x.org\n", "eva bauer", "", "Eva Bauer"),
        ("First name,Last name\nEva,Bauer\n", "EVA BAUER", "", "Eva Bauer"),
    ],
)
def test_a_class_list_names_students(tmp_path: Path, text: str, name: str, number: str, found: str | None) -> None:
    person = roster(tmp_path, text).person_of(name, number)
    assert (person.name if person else None) == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\n1,2\n", "no column is called Student"),
        (b"name\n", "names no student"),
        (b"n\xe4me\n", "is not text in UTF-8"),
        (b"", "no column"),
    ],
)
def test_a_wrong_class_list_is_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(lms.RosterError, match=said):
        lms.read_roster(tmp_path / "list.csv")


def test_moodle_gets_its_own_columns_back(tmp_path: Path) -> None:
    people = roster(tmp_path, WORKSHEET)
    entry = Entry("Eva", "11", Decimal("7.50"), "=HYPERLINK(1)", people.person_of("Eva", "11"))
    head, line = rows(lms.moodle([entry], Decimal(16), people))
    assert head == HEAD.split(",")
    assert line == ["Participant 11", "Eva Bauer", "eva@x.org", "Submitted", "7.5", "20.00", "", "'=HYPERLINK(1)"]
    head, line = rows(lms.moodle([Entry("Eva", "11", Decimal(16), "")], Decimal(16), None))
    assert dict(zip(head, line, strict=True)) | {"Feedback comments": ""} == {
        "Identifier": "Participant 11", "Full name": "Eva", "Email address": "", "Grade": "16", "Maximum Grade": "16",
        "Feedback comments": "",
    }  # fmt: skip


def test_moodle_tells_when(tmp_path: Path) -> None:
    text = WORKSHEET.replace("Submitted,,20.00,,", 'Submitted,,20.00,"Tuesday, 1 December 2026, 11:59 PM",')
    found = lms.times_of(roster(tmp_path, text.replace("Tom Dill,tom@x.org,,,20.00,,", "T,t,,,20.00,gestern,")), UTC)
    assert found["eva bauer"] == found["11"] == datetime(2026, 12, 1, 23, 59, tzinfo=UTC) and "t" not in found


def test_canvas_gets_its_five_columns_and_the_assignment(tmp_path: Path) -> None:
    people = roster(tmp_path, GRADEBOOK)
    entry = Entry("bauereva", "1234", Decimal(12), "", people.person_of("bauereva", "1234"))
    assert rows(lms.canvas([entry], Decimal(16), people, "02")) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lab 02: Neighbours (99)"],
        ["    Points Possible", "", "", "", "", "16"],
        ["Bauer, Eva", "1234", "u1", "eva@x.org", "A", "12"],
    ]
    assert rows(lms.canvas([Entry("x", "5", None, "")], Decimal(16), None, "02"))[::2] == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lab 02"], ["x", "5", "", "", "", ""],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "  =1", "\t=1", "\r=1", "\n@x", "\x00=1", "＝1", "\ufeff=1", "|x", "\u200b=1"]
)
def test_no_cell_is_a_formula(text: str) -> None:
    assert lms.guarded(text).startswith("'") and lms.guarded(text).isprintable()


@pytest.mark.parametrize("text", ["Eva", "", "größe", "a=b", "2 of 3"])
def test_other_text_stays(text: str) -> None:
    assert lms.guarded(text) == text


def test_numbers() -> None:
    assert [lms.number(Decimal(text)) for text in ("7", "7.50", "100", "0.00", "20.0")] == [
        "7",
        "7.5",
        "100",
        "0",
        "20",
    ]
