"""Learning platforms: whose a downloaded file is, by its name; class lists; and the files that platforms import.

Moodle, assignment, "Download all submissions": a folder for each student, NAME_NUMBER_assignsubmission_file_, or, where
"in folders" is off, files with that in front of their names. NUMBER is that of the "Identifier" in the grading
worksheet, "Participant NUMBER" (https://docs.moodle.org/en/Using_Assignment, mod/assign/locallib.php).
Canvas, "Download Submissions": lastfirst_LATE_USER_NUMBER_FILE, where the file of a second attempt is called NAME-1.py
(https://community.canvaslms.com, instructor guide). Canvas imports a CSV of its gradebook's columns.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from functools import cached_property
from pathlib import Path

from . import names

FORMATS = ("moodle", "canvas")
_MOODLE = re.compile(r"(?s)(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)(?:_(?P<file>.*))?")
_CANVAS = re.compile(r"(?s)(?P<name>[^_\s]+)_(?P<late>LATE_)?(?P<id>\d+)_(?P<number>\d+)_(?P<file>.+)")
_ATTEMPT = re.compile(r"(?s)(?P<stem>.+?)-(?P<number>\d{1,3})(?P<suffix>(?:\.[A-Za-z0-9]{1,8})+)")
_STAMPS = ("%A, %d %B %Y, %I:%M %p", "%A, %d %B %Y, %H:%M", "%Y-%m-%d %H:%M:%S")  # of Moodle, by its language pack
_LARGEST = 20_000_000  # bytes of a class list
_CANVAS_HEAD = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
_MOODLE_HEAD = ("Identifier", "Full name", "Email address", "Grade", "Maximum Grade", "Feedback comments")
_NAMES = ("student", "full name", "name", "submission")
_IDS = (
    "identifier",
    "id",
    "sis user id",
    "sis login id",
    "login id",
    "id number",
    "email address",
    "email",
    "username",
)


@dataclass(frozen=True)
class Handed:
    """What a name in a download says. name: of the student. file: what the student called it; "" for a folder."""

    name: str
    id: str
    file: str
    attempt: int = 1
    late: bool = False


def of_moodle(name: str) -> Handed | None:
    """What a name in Moodle's download says, None for any other name."""
    match = _MOODLE.fullmatch(name)
    return Handed(match["name"], match["id"], match["file"] or "") if match else None


def of_canvas(name: str) -> Handed | None:
    """What a name in Canvas' download says, None for any other name."""
    match = _CANVAS.fullmatch(name)
    if not match:
        return None
    again = _ATTEMPT.fullmatch(match["file"])
    file = f"{again['stem']}{again['suffix']}" if again else match["file"]
    return Handed(match["name"], match["id"], file, int(again["number"]) + 1 if again else 1, bool(match["late"]))


class RosterError(Exception):
    """A class list that cannot be used, in a sentence."""


@dataclass(frozen=True)
class Person:
    """A student of the class list; `row` is the line as it was, `ids` are all that identifies the student in it."""

    name: str
    ids: tuple[str, ...]
    row: Mapping[str, str]


@dataclass(frozen=True)
class Roster:
    """A class list; `head` are its columns, in their order."""

    head: tuple[str, ...]
    people: tuple[Person, ...]

    def person_of(self, name: str, student_id: str) -> Person | None:
        """The student on the list with this number, else the only one with this name; None where there is none."""
        for number in (student_id, f"participant {student_id}") if student_id else ():
            if number in self._by_id:
                return self._by_id[number]
        found = self._by_name.get(_spelled(name), [])
        return found[0] if len(found) == 1 else None

    @cached_property
    def _by_id(self) -> dict[str, Person]:
        return {one.casefold(): person for person in self.people for one in person.ids}

    @cached_property
    def _by_name(self) -> dict[str, list[Person]]:
        found: dict[str, list[Person]] = {}
        for person in self.people:
            for spelling in _spellings(person):
                found.setdefault(spelling, []).append(person)
        return found


def _spelled(name: str) -> str:
    return re.sub(r"[\W_]+", "", names.key(name))


def _spellings(person: Person) -> set[str]:
    """Ways to write a student: "Eva Bauer", "Bauer, Eva", Canvas' "bauereva", and the identifiers."""
    last, comma, first = person.name.partition(",")
    words = [person.name, *([f"{first} {last}"] if comma else [])]
    if not comma and len(pieces := person.name.split()) > 1:
        words.append(f"{pieces[-1]} {' '.join(pieces[:-1])}")
    ids = (one.split("@")[0] for one in person.ids if not one.isdigit())
    return {_spelled(word) for word in (*words, *person.ids, *ids)} - {""}


def read_roster(file: Path) -> Roster:
    """The class list in a CSV file: Moodle's grading worksheet, Canvas' gradebook, or one with a column "name".

    Raises RosterError with a sentence.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise RosterError(f"{file} is larger than {_LARGEST // 1_000_000} MB: is it the class list?")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RosterError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RosterError(f"{file} is not text in UTF-8: save it as CSV in UTF-8.") from None
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(line)]
    except csv.Error as error:
        raise RosterError(f"{file} is not a table of CSV: {error}.") from None
    head = tuple(cell.strip() for cell in lines[0]) if lines else ()
    known = [cell.casefold() for cell in head]
    named = next((known.index(name) for name in _NAMES if name in known), None)
    if named is None and {"first name", "last name"} <= set(known):
        lines = [[*line, _full(line, known)] for line in lines]
        known, named = [*known, "name"], len(known)
    if named is None:
        raise RosterError(f"{file}: no column is called Student, Full name or name; its first line names the columns.")
    people = []
    for line in lines[1:]:
        cells = [cell.strip() for cell in line] + [""] * (len(known) - len(line))
        name = cells[named]
        if not name or re.match(r"(?i)\s*(points possible|student, test)", name):
            continue
        ids = tuple(cells[n] for n, column in enumerate(known) if column in _IDS and cells[n])
        people.append(Person(name, ids, dict(zip(head, cells, strict=False))))
    if not people:
        raise RosterError(f"{file} names no student.")
    return Roster(head, tuple(people))


def times_of(roster: Roster, zone: tzinfo | None) -> dict[str, datetime]:
    """When each student handed in, as Moodle's worksheet tells; by name, and by the number of the participant.

    zone: in which Moodle tells it. A time in another language than English is left out: the file's time counts then.
    """
    found = {}
    for person in roster.people:
        stamp = person.row.get("Last modified (submission)", "")
        for form in _STAMPS:
            try:
                when = datetime.strptime(stamp, form).replace(tzinfo=zone)
            except ValueError:
                continue
            found[names.key(person.name)] = when
            found |= {one.casefold().removeprefix("participant "): when for one in person.ids}
    return found


def _full(line: Sequence[str], known: Sequence[str]) -> str:
    cells = dict(zip(known, line, strict=False))
    return f"{cells.get('first name', '')} {cells.get('last name', '')}".strip()


@dataclass(frozen=True)
class Entry:
    """What goes into a platform for one student. points: None for nobody who is graded yet."""

    name: str
    id: str
    points: Decimal | None
    feedback: str
    person: Person | None = None


def number(value: Decimal | None) -> str:
    """A number as programs read it, without superfluous zeros: 7, 7.5; "" for none."""
    return "" if value is None else f"{value.normalize():f}"


def guarded(text: str) -> str:
    """Text for a cell: a spreadsheet program takes it for no formula, and nothing in it is a control character."""
    text = " ".join(names.clean(text, keep="\t\n\r").split()).lstrip("\ufeff\u200b\u200c\u200d\u2060 ")
    first = text.lstrip("\ufffd ")[:1]
    return f"'{text}" if first and first in "=+-@|%＝＋－＠﹢﹣﹦﹫−" else text


def moodle(entries: Sequence[Entry], most: Decimal, roster: Roster | None) -> str:
    """CSV for Moodle: the grading worksheet of an assignment ("Upload grading worksheet").

    The columns are those of the class list, where that is such a worksheet.
    """
    ours = {"Grade", "Maximum Grade", "Feedback comments"}
    head = roster.head if roster and {"Identifier", "Grade"} <= set(roster.head) else _MOODLE_HEAD
    head = (*head, *(["Feedback comments"] if "Feedback comments" not in head else []))
    rows = []
    for entry in entries:
        row = dict(entry.person.row) if entry.person else {}
        row.setdefault("Identifier", f"Participant {entry.id}" if entry.id else "")
        row.setdefault("Full name", entry.person.name if entry.person else entry.name)
        row["Feedback comments"], row["Grade"] = entry.feedback, number(entry.points)
        row["Maximum Grade"] = row.get("Maximum Grade") or number(most)
        rows.append([row.get(column, "") if column in ours else guarded(row.get(column, "")) for column in head])
        rows[-1][head.index("Feedback comments")] = guarded(entry.feedback)
    return _csv([head, *rows])


def canvas(entries: Sequence[Entry], most: Decimal, roster: Roster | None, lab: str) -> str:
    """CSV for Canvas' gradebook ("Import"): the five columns that name a student, and one for the assignment.

    lab: its number. The assignment is the column of the class list that names the lab; without one, Canvas asks.
    """
    head = roster.head if roster else ()
    title = rf"(?i).*\b(lab|exercise|assignment|sheet)\W*0*{int(lab)}\b.*" if lab.isdigit() else ".*"
    column = next((name for name in head if name not in _CANVAS_HEAD and re.fullmatch(title, name)), f"Lab {lab}")
    rows = []
    for entry in entries:
        row = dict(entry.person.row) if entry.person else {}
        row.setdefault("Student", entry.person.name if entry.person else entry.name)
        row.setdefault("ID", entry.id)
        rows.append([*(guarded(row.get(name, "")) for name in _CANVAS_HEAD), number(entry.points)])
    return _csv([(*_CANVAS_HEAD, guarded(column)), ("    Points Possible", "", "", "", "", number(most)), *rows])


def _csv(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()
