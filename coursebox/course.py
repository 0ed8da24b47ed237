"""course.toml → Course: every wrong entry gets one message with its place and a remedy, all of them at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from coursebox import validators as entries
from coursebox.core.errors import CourseboxError

Port = Annotated[int, Field(ge=1, le=65535)]
# In strict mode a TOML array (a list) is no tuple; the entries themselves have one type in both modes.
Names = Field(default=(), strict=False)


class Section(BaseModel):
    """What all tables of course.toml share: no unknown keys, no guessed types, no later change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class About(Section):
    """[course]: what the files are called, and what students read."""

    name: Annotated[str, AfterValidator(entries.course_name)]
    version: Annotated[str, AfterValidator(entries.course_version)]
    title: Annotated[str, AfterValidator(entries.title)]


class User(Section):
    """[user]: the account of the students; `password` is NFC-normalised."""

    name: Annotated[str, AfterValidator(entries.user_name)]
    password: Annotated[str, AfterValidator(entries.password)]


class Ports(Section):
    """[ports]: TCP ports on the student's own computer, bound to 127.0.0.1 there."""

    jupyter: Port = 8888
    ssh: Port = 2022


class Machine(Section):
    """[machine]: memory in MiB, number of processors, disk in GiB."""

    memory: Annotated[int, Field(ge=1024, le=65536)] = 2048
    processors: Annotated[int, Field(ge=1, le=32)] = 2
    disk: Annotated[int, Field(ge=10, le=1024)] = 20


class Packages(Section):
    """[packages]: what this course needs beyond the packages of every course."""

    debian: Annotated[
        tuple[Annotated[str, AfterValidator(entries.debian_package)], ...], AfterValidator(entries.nothing_twice)
    ] = Names
    python: Annotated[
        tuple[Annotated[str, AfterValidator(entries.python_requirement)], ...], AfterValidator(entries.nothing_twice)
    ] = Names


class Data(Section):
    """[data]: the data sets inside, some of `entries.data_sets()`."""

    sets: Annotated[
        tuple[Annotated[str, AfterValidator(entries.data_set)], ...], AfterValidator(entries.each_set_once)
    ] = Field(default_factory=entries.data_sets, strict=False)


class Labs(Section):
    """[labs]: the exercises; `folder` is absolute."""

    folder: Annotated[Path, BeforeValidator(entries.folder), AfterValidator(entries.existing)]


class Locks(Section):
    """[locks]: exactly what goes in; `folder` is absolute, and may not exist before the first `make lock`."""

    folder: Annotated[Path, BeforeValidator(entries.folder), AfterValidator(entries.no_file)]


class Container(Section):
    """[container]: the account in the container image; its home is /home/<user>."""

    user: Annotated[str, AfterValidator(entries.user_name)] = "student"


class Security(Section):
    """[security]: "open" for single students behind the forwards, "hardened" where others reach the machine."""

    profile: Literal["open", "hardened"] = "open"


class Course(Section):
    """One course, complete and checked. Made by `load_course`."""

    about: About = Field(alias="course")
    user: User
    ports: Ports
    machine: Machine
    packages: Packages
    data: Data
    labs: Labs
    locks: Locks
    container: Container
    security: Security
    _source: Path = PrivateAttr(default=Path("course.toml"))

    @property
    def name(self) -> str:
        """course.name: names the files, the VM and its host name."""
        return self.about.name

    @property
    def version(self) -> str:
        """course.version: as the instructor counts, "2026.11"."""
        return self.about.version

    @property
    def title(self) -> str:
        """course.title: what students read, any printable text."""
        return self.about.title

    @property
    def source(self) -> Path:
        """The file that this course was read from, absolute."""
        return self._source

    @property
    def hardened(self) -> bool:
        """JupyterLab asks for the user's password, root has none and cannot log in by it."""
        return self.security.profile == "hardened"


@dataclass(frozen=True)
class Problem:
    """One wrong entry: its keys from the outside in, a sentence, a remedy."""

    place: tuple[str | int, ...]
    sentence: str
    hint: str

    def __str__(self) -> str:
        place = ""
        for part in self.place:
            if isinstance(part, int):
                place += f"[{part}]"
            else:
                bare = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else entries.quoted(part)
                place += f".{bare}" if place else bare
        return f"{place}: {self.sentence}\n  hint: {self.hint}"


def load_course(path: Path) -> Course:
    """Read and check a course file.

    Raises CourseboxError with one line and one hint for each wrong entry, in the order of the sections.
    """
    shown = _shown(path)
    raw = _read(path, shown)
    # A section with defaults for all of its keys can be left out; one with required keys is reported key by key.
    document: dict[str, Any] = {name: {} for name in _SECTIONS} | raw
    for name, default in (("labs", "labs"), ("locks", "locks")):
        if isinstance(document[name], dict):
            document[name] = {"folder": default} | document[name]
    folder = Path(os.path.abspath(path)).parent
    problems: list[Problem] = []
    course = None
    try:
        course = Course.model_validate(document, context={"folder": folder})
    except ValidationError as error:
        problems += _without_echo([_explain(detail) for detail in error.errors(include_url=False)])
    problems += _across_sections(document)
    if problems or course is None:
        order = list(_SECTIONS)
        problems.sort(key=lambda problem: order.index(problem.place[0]) if problem.place[0] in order else len(order))
        raise CourseboxError("\n".join(f"{shown}: {problem}" for problem in problems))
    course._source = Path(os.path.abspath(path))
    return course


_SECTIONS: dict[str, type[Section]] = {
    (field.alias or name): field.annotation
    for name, field in Course.model_fields.items()
    if isinstance(field.annotation, type)
}


def _shown(path: Path) -> str:
    """The file as the user would name it from where they are."""
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


def _read(path: Path, shown: str) -> dict[str, Any]:
    try:
        # utf-8-sig: the Notepad of Windows puts a byte order mark first.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise CourseboxError(
            f"{shown}: there is no such file", hint="name a course file, as in: make ova COURSE=course.toml"
        ) from None
    except IsADirectoryError:
        raise CourseboxError(
            f"{shown}: is a folder", hint="name the course file in it, as in: make ova COURSE=course.toml"
        ) from None
    except OSError as error:
        raise CourseboxError(f"{shown}: cannot be read ({error.strerror})", hint="check its owner and mode") from None
    except UnicodeDecodeError as error:
        raise CourseboxError(
            f"{shown}: byte {error.start + 1} is not UTF-8", hint="save the file as UTF-8 in your editor"
        ) from None
    except tomllib.TOMLDecodeError as error:
        # Python 3.11 has line and column in the message only.
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|(end of document))\)", str(error), re.DOTALL)
        reason, line, column, _ = found.groups() if found else (str(error), None, None, None)
        where = f"line {line}, column {column}" if line else "at its end"
        reason = reason[:1].lower() + reason[1:]
        raise CourseboxError(
            f"{shown}: {where}: not valid TOML ({reason})",
            hint='an entry looks like: name = "text", number = 8888, list = ["one", "two"]',
        ) from None


def _keys_beside(place: tuple[str | int, ...]) -> tuple[str, ...]:
    """The known keys of the table that this key is in."""
    if len(place) == 1:
        return tuple(_SECTIONS)
    return tuple(_SECTIONS[str(place[0])].model_fields)


def _shown_value(value: object) -> str:
    """A value of a wrong type, in TOML's words."""
    match value:
        case bool():
            return f"the truth value {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {entries.quoted(value)}"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"the date {value}"


def _explain(detail: ErrorDetails) -> Problem:
    """One pydantic error as a sentence and a remedy."""
    place, value, context = detail["loc"], detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "coursebox":
            return Problem(place, context["sentence"], context["hint"])
        case "extra_forbidden" if len(place) == 1:
            return Problem(
                place, "unknown section", entries.nearest_hint(str(place[0]), _keys_beside(place), "the sections are")
            )
        case "extra_forbidden":
            return Problem(
                place, "unknown entry", entries.nearest_hint(str(place[-1]), _keys_beside(place), "known here:")
            )
        case "missing":
            return Problem(place, "missing", f"add it under [{place[0]}]")
        case "greater_than_equal" | "less_than_equal":
            low, high, unit = _range(place)
            return Problem(place, f"{value} is out of range", f"choose a number from {low} to {high}{unit}")
        case "literal_error":
            choices = tuple(re.findall(r"'([^']*)'", context["expected"]))
            return Problem(
                place,
                f"{entries.quoted(str(value))} is not possible",
                entries.nearest_hint(str(value), choices, "choose one of"),
            )
        case "int_type" | "int_parsing" | "int_from_float":
            return Problem(place, f"must be a whole number, not {_shown_value(value)}", "write digits without quotes")
        case "string_type" | "path_type" | "is_instance_of":
            return Problem(place, f"must be a text, not {_shown_value(value)}", "put the text between quotes")
        case "tuple_type":
            return Problem(place, f"must be a list, not {_shown_value(value)}", 'write it as ["one", "two"]')
        case "model_type":
            return Problem(
                place, f"must be a section, not {_shown_value(value)}", f"write [{place[0]}] on a line of its own"
            )
        case other:
            raise AssertionError(f"course.toml: no sentence for pydantic's {other} at {place}")


def _range(place: tuple[str | int, ...]) -> tuple[int, int, str]:
    """Lowest and highest value of a number, and its unit."""
    metadata = _SECTIONS[str(place[0])].model_fields[str(place[1])].metadata
    low = next(mark.ge for mark in metadata if hasattr(mark, "ge"))
    high = next(mark.le for mark in metadata if hasattr(mark, "le"))
    return low, high, {"memory": " (MiB)", "disk": " (GiB)"}.get(str(place[1]), "")


def _without_echo(problems: list[Problem]) -> list[Problem]:
    """A misspelt key is one mistake: drop "missing" where an unknown key beside is probably meant to be it."""
    meant = {
        (*problem.place[:-1], entries.nearest(str(problem.place[-1]), _keys_beside(problem.place)))
        for problem in problems
        if problem.sentence.startswith("unknown ")
    }
    return [
        problem
        for problem in problems
        if problem.sentence != "missing" or not any(problem.place[: len(place)] == place for place in meant)
    ]


def _across_sections(document: Mapping[str, Any]) -> list[Problem]:
    """Rules about two entries, on the unchecked document: a mistake elsewhere must not hide them."""

    def entry(section: str, key: str, default: object = None) -> Any:
        table = document.get(section)
        return table.get(key, default) if isinstance(table, dict) else default

    problems = []
    ssh, jupyter = entry("ports", "ssh", Ports().ssh), entry("ports", "jupyter", Ports().jupyter)
    if ssh == jupyter and type(ssh) is int:
        sentence = f"{ssh} is used twice, ports.jupyter has it too"
        problems.append(Problem(("ports", "ssh"), sentence, "choose another port for one of them"))
    password = entry("user", "password")
    if entry("security", "profile") == "hardened" and isinstance(password, str) and password:
        if len(password) < entries.HARDENED_LENGTH:
            sentence = f"has {len(password)} characters, the hardened profile wants at least {entries.HARDENED_LENGTH}"
            hint = 'choose a longer one, or set security.profile = "open"'
            problems.append(Problem(("user", "password"), sentence, hint))
        if password.casefold() == str(entry("user", "name")).casefold():
            sentence = "is the user name, which the hardened profile refuses"
            problems.append(Problem(("user", "password"), sentence, "choose another one"))
    return problems
