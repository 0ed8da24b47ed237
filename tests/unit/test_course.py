"""course.toml: a table of bad entries with the exact message of each, and the odd ones that must work."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.course import load_course

GOOD = {
    "course": {"name": '"deep-learning"', "version": '"2026.11"', "title": '"Deep Learning"'},
    "user": {"name": '"dave"', "password": '"dummy"'},
    "ports": {"jupyter": "8888", "ssh": "2022"},
    "machine": {"memory": "2048", "processors": "2", "disk": "20"},
    "packages": {"debian": '["graphviz"]', "python": '["seaborn>=0.13"]'},
    "data": {"sets": '["mnist", "cifar10"]'},
    "labs": {"folder": '"labs"'},
    "locks": {"folder": '"locks"'},
    "container": {"user": '"student"'},
    "security": {"profile": '"open"'},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty course: the labs folder alone, and the working directory in it, as with `make ova`."""
    (tmp_path / "labs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text_with(**changes: str | None) -> str:
    """A good course file with some entries changed, `section__key=TOML`, or left out, `section__key=None`."""
    document = {section: dict(entries) for section, entries in GOOD.items()}
    for place, value in changes.items():
        section, key = place.split("__")
        if value is None:
            del document[section][key]
        else:
            document.setdefault(section, {})[key] = value
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for section, entries in document.items()
    )


def message_of(file: Path, text: str) -> str:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CourseboxError) as caught:
        load_course(Path(file.name))
    return str(caught.value)


WORD = 'small letters a-z, digits, "." and "-", with a letter or digit at both ends, as in "deep-learning"'
VERSION = 'letters, digits, ".", "_" and "-", with a letter or digit at both ends, as in "2026.11"'
LOGIN = 'use small letters a-z, digits, "_" and "-", with a letter first, as in "dave"'
PORT = "choose a number from 1 to 65535"
DIGITS = "write digits without quotes"
QUOTES = "put the text between quotes"
REQUIREMENT = 'write a name and perhaps versions, as in "seaborn" or "seaborn>=0.13,<1"'
PACKAGE = 'write the name alone, without version or architecture, as in "graphviz"'
TYPED = "use letters, digits, signs and spaces on one line"

BAD = [
    # place, TOML, sentence, hint
    ("course.nmae", '"x"', "unknown entry", 'did you mean "name"?'),
    ("course.zzz", "1", "unknown entry", "known here: name, version, title"),
    ("course.name", None, "missing", "add it under [course]"),
    ("course.name", "7", "must be a text, not the number 7", QUOTES),
    ("course.name", "2026-11-01", "must be a text, not the date 2026-11-01", QUOTES),
    ("course.name", '""', "must not be empty", f"use {WORD}"),
    ("course.name", '"a/b"', '"a/b" contains "/", and the name becomes a part of file names', f"use {WORD}"),
    ("course.name", '"a..b"', '"a..b" contains "..", and the name becomes a part of file names', f"use {WORD}"),
    ("course.name", '".."', '".." contains "..", and the name becomes a part of file names', f"use {WORD}"),
    ("course.name", '"Deep Learning"', '"Deep Learning" is not a possible name', f"use {WORD}"),
    ("course.name", '"-x"', '"-x" is not a possible name', f"use {WORD}"),
    ("course.name", '"x."', '"x." is not a possible name', f"use {WORD}"),
    ("course.name", '"x\\n"', '"x\\u000a" is not a possible name', f"use {WORD}"),
    ("course.name", f'"{"x" * 64}"', "has 64 characters, at most 63 are possible", "choose a shorter one"),
    ("course.version", '"1/2"', '"1/2" contains "/", and the version becomes a part of file names', f"use {VERSION}"),
    ("course.version", "2026.11", "must be a text, not the number 2026.11", QUOTES),
    ("course.version", '"1 2"', '"1 2" is not a possible version', f"use {VERSION}"),
    ("course.title", '" "', "must not be empty", 'write what students shall read, as in "Deep Learning"'),
    (
        "course.title",
        '"two\\nlines"',
        "contains the character U+000A, which cannot be printed",
        "write the title on one line",
    ),
    ("course.title", f'"{"x" * 81}"', "has 81 characters, at most 80 fit on the console", "choose a shorter one"),
    ("user.name", '"root"', '"root" is a user or group of the system itself', 'choose another one, as in "dave"'),
    ("user.name", '"sudo"', '"sudo" is a user or group of the system itself', 'choose another one, as in "dave"'),
    ("user.name", '"Dave"', '"Dave" is not a possible user name', LOGIN),
    ("user.name", '"dave:x"', '"dave:x" is not a possible user name', LOGIN),
    ("user.name", '"1dave"', '"1dave" is not a possible user name', LOGIN),
    ("user.name", '"dävid"', '"dävid" is not a possible user name', LOGIN),
    ("user.name", '""', "must not be empty", LOGIN),
    ("user.name", f'"{"d" * 33}"', "has 33 characters, at most 32 are possible", "choose a shorter one"),
    ("user.password", '""', "must not be empty", "students type it for ssh and on the console: choose a word"),
    ("user.password", None, "missing", "add it under [user]"),
    ("user.password", "1234", "must be a text, not the number 1234", QUOTES),
    ("user.password", '"a\\nb"', "contains the character U+000A, which cannot be typed", TYPED),
    ("user.password", '"a\\tb"', "contains the character U+0009, which cannot be typed", TYPED),
    ("user.password", '"a\\u200bb"', "contains the character U+200B, which cannot be typed", TYPED),
    ("user.password", f'"{"x" * 128}"', "has 128 characters, at most 127 are possible", "choose a shorter one"),
    ("ports.ssh", "0", "0 is out of range", PORT),
    ("ports.ssh", "70000", "70000 is out of range", PORT),
    ("ports.ssh", "-1", "-1 is out of range", PORT),
    ("ports.ssh", '"2022"', 'must be a whole number, not the text "2022"', DIGITS),
    ("ports.ssh", "2022.0", "must be a whole number, not the number 2022.0", DIGITS),
    ("ports.ssh", "true", "must be a whole number, not the truth value true", DIGITS),
    ("ports.ssh", "8888", "8888 is used twice, ports.jupyter has it too", "choose another port for one of them"),
    ("ports.jupiter", "8889", "unknown entry", 'did you mean "jupyter"?'),
    ("machine.memory", "512", "512 is out of range", "choose a number from 1024 to 65536 (MiB)"),
    ("machine.memory", "[2048]", "must be a whole number, not a list", DIGITS),
    ("machine.processors", "0", "0 is out of range", "choose a number from 1 to 32"),
    ("machine.disk", "5", "5 is out of range", "choose a number from 10 to 1024 (GiB)"),
    ("packages.debian", '"graphviz"', 'must be a list, not the text "graphviz"', 'write it as ["one", "two"]'),
    ("packages.debian", '["ab", "a=1"]', '"a=1" is not the name of a Debian package', PACKAGE),
    ("packages.debian", '["Graph"]', '"Graph" is not the name of a Debian package', PACKAGE),
    ("packages.debian", "[1]", "must be a text, not the number 1", QUOTES),
    ("packages.debian", '["ab", "ab"]', '"ab" is there twice', "remove one of them"),
    ("packages.python", '["a b"]', '"a b" is not a Python requirement', REQUIREMENT),
    (
        "packages.python",
        '["a @ https://mirror.example/a.whl"]',
        '"a @ https://mirror.example/a.whl" names an address, and only packages of the index can be locked',
        REQUIREMENT,
    ),
    ("data.sets", '["mnst"]', '"mnst" is not a known data set', 'did you mean "mnist"?'),
    ("data.sets", '["svhn"]', '"svhn" is not a known data set', "the data sets are mnist, cifar10"),
    ("labs.folder", '"exercises"', "there is no folder FOLDER/exercises", "make it, or correct the entry"),
    (
        "labs.folder",
        '"course.toml"',
        "FOLDER/course.toml is not a folder",
        "name a folder, relative to the course file",
    ),
    ("labs.folder", '""', "must not be empty", "name a folder, relative to the course file"),
    ("labs.folder", "1", "must be a text, not the number 1", QUOTES),
    (
        "labs.folder",
        '"a\\u0000b"',
        '"a\\u0000b" is not the name of a folder',
        "name a folder, relative to the course file",
    ),
    (
        "locks.folder",
        '"course.toml"',
        "FOLDER/course.toml is not a folder",
        "name a folder, relative to the course file",
    ),
    ("security.profile", '"hard"', '"hard" is not possible', 'did you mean "hardened"?'),
    ("security.profile", '"xyz"', '"xyz" is not possible', "choose one of open, hardened"),
    ("security.profile", "true", '"True" is not possible', "choose one of open, hardened"),
]


@pytest.mark.parametrize(("place", "toml", "sentence", "hint"), BAD, ids=[f"{row[0]}={row[1]}" for row in BAD])
def test_bad_entry(folder: Path, place: str, toml: str | None, sentence: str, hint: str) -> None:
    message = message_of(folder / "course.toml", text_with(**{place.replace(".", "__"): toml}))
    message = message.replace(str(folder), "FOLDER")
    shown, _, rest = message.partition(": ")
    found, _, rest = rest.partition(": ")
    assert shown == "course.toml"
    assert found.partition("[")[0] == place
    assert rest == f"{sentence}\n  hint: {hint}"


def test_an_entry_of_a_list_is_named_by_its_number(folder: Path) -> None:
    message = message_of(folder / "course.toml", text_with(packages__debian='["fine", "No", "good"]'))
    assert message.startswith('course.toml: packages.debian[1]: "No" is not')


def test_bad_section(folder: Path) -> None:
    text = text_with().replace("[security]\n", "[secruity]\n")
    assert message_of(folder / "course.toml", text) == (
        'course.toml: secruity: unknown section\n  hint: did you mean "security"?'
    )
    text = text_with() + "[hub]\nusers = 500\n"
    assert message_of(folder / "course.toml", text) == (
        "course.toml: hub: unknown section\n"
        "  hint: the sections are course, user, ports, machine, packages, data, labs, locks, container, security"
    )
    no_ports = text_with(ports__jupyter=None, ports__ssh=None).replace("[ports]\n", "")
    assert message_of(folder / "course.toml", "ports = 8888\n" + no_ports) == (
        "course.toml: ports: must be a section, not the number 8888\n  hint: write [ports] on a line of its own"
    )


def test_a_misspelt_key_is_one_mistake(folder: Path) -> None:
    text = text_with(user__name=None, user__nam='"dave"')
    assert message_of(folder / "course.toml", text) == (
        'course.toml: user.nam: unknown entry\n  hint: did you mean "name"?'
    )
    text = text_with().replace("[user]", "[users]")
    assert message_of(folder / "course.toml", text) == (
        'course.toml: users: unknown section\n  hint: did you mean "user"?'
    )


def test_all_mistakes_at_once_in_the_order_of_the_sections(folder: Path) -> None:
    text = text_with(
        course__name='"a/b"',
        user__password='""',
        ports__jupyter="0",
        ports__ssh="70000",
        machine__memroy="1",
        data__sets='["mnist", "mnist"]',
        labs__folder='"nowhere"',
    )
    lines = message_of(folder / "course.toml", text).splitlines()
    assert [line.split(": ")[1] for line in lines[::2]] == [
        "course.name",
        "user.password",
        "ports.jupyter",
        "ports.ssh",
        "machine.memroy",
        "data.sets",
        "labs.folder",
    ]
    assert all(line.startswith("  hint: ") for line in lines[1::2])


def test_rules_about_two_entries_are_not_hidden_by_other_mistakes(folder: Path) -> None:
    text = text_with(
        course__name='"A"',
        ports__ssh="8888",
        security__profile='"hardened"',
        user__password='"short"',
        machine__disk="1",
    )
    places = [line.split(": ")[1] for line in message_of(folder / "course.toml", text).splitlines()[::2]]
    assert places == ["course.name", "user.password", "ports.ssh", "machine.disk"]


@pytest.mark.parametrize(
    ("name", "password", "sentence"),
    [
        ("dave", "elevenchars", "has 11 characters, the hardened profile wants at least 12"),
        ("professor-dave", "Professor-Dave", "is the user name, which the hardened profile refuses"),
    ],
)
def test_hardened_refuses_a_weak_password(folder: Path, name: str, password: str, sentence: str) -> None:
    text = text_with(security__profile='"hardened"', user__name=f'"{name}"', user__password=f'"{password}"')
    message = message_of(folder / "course.toml", text)
    assert message.startswith(f"course.toml: user.password: {sentence}\n  hint: choose ")
    assert password not in message


def test_files_that_cannot_be_read(folder: Path) -> None:
    with pytest.raises(CourseboxError) as caught:
        load_course(Path("other.toml"))
    assert str(caught.value) == (
        "other.toml: there is no such file\n  hint: name a course file, as in: make ova COURSE=course.toml"
    )
    with pytest.raises(CourseboxError) as caught:
        load_course(Path("labs"))
    assert str(caught.value) == (
        "labs: is a folder\n  hint: name the course file in it, as in: make ova COURSE=course.toml"
    )
    Path("latin.toml").write_bytes(text_with().encode() + "# für\n".encode("latin-1"))
    with pytest.raises(CourseboxError) as caught:
        load_course(Path("latin.toml"))
    position = len(text_with().encode()) + 4
    assert str(caught.value) == (
        f"latin.toml: byte {position} is not UTF-8\n  hint: save the file as UTF-8 in your editor"
    )


EXAMPLE = 'an entry looks like: name = "text", number = 8888, list = ["one", "two"]'


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[course]\nname = deep\n", "line 2, column 8: not valid TOML (invalid value)"),
        ("[course]\nname = 'a'\nname = 'b'\n", "line 3, column 11: not valid TOML (cannot overwrite a value)"),
        ("[course\n", "line 1, column 8: not valid TOML (expected ']' at the end of a table declaration)"),
        ('[course]\nname = "a', "at its end: not valid TOML (unterminated string)"),
    ],
)
def test_syntax_errors_have_their_line(folder: Path, text: str, place: str) -> None:
    assert message_of(folder / "course.toml", text) == f"course.toml: {place}\n  hint: {EXAMPLE}"


def test_a_file_elsewhere_is_named_by_its_whole_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "course.toml").write_text(text_with(ports__ssh="0"), encoding="utf-8")
    monkeypatch.chdir(folder / "labs")
    with pytest.raises(CourseboxError) as caught:
        load_course(Path("../course.toml"))
    assert caught.value.message.startswith(f"{folder}/course.toml: ports.ssh: 0 is out of range")


PASSWORDS = [
    "dummy",
    "\"double\" and 'single'",
    "a:b:c",
    "$HOME $(id) `id`",
    "Schlüsselgrün ß",
    "back\\slash \\n",
    "{braces} %percent",
    "пароль 密码",
    " ",
]


@pytest.mark.parametrize("password", PASSWORDS)
def test_odd_passwords_work(folder: Path, password: str) -> None:
    escaped = password.replace("\\", "\\\\").replace('"', '\\"')
    (folder / "course.toml").write_text(text_with(user__password=f'"{escaped}"'), encoding="utf-8")
    assert load_course(Path("course.toml")).user.password == password


def test_a_decomposed_umlaut_is_what_the_keyboard_sends(folder: Path) -> None:
    (folder / "course.toml").write_text(text_with(user__password='"gru\u0308n"'), encoding="utf-8")
    assert load_course(Path("course.toml")).user.password == "gr\u00fcn"


@settings(deadline=None)
@given(st.text(string.printable[:95] + "äöüßéñ€", min_size=1, max_size=127))
def test_every_password_that_can_be_typed_works(tmp_path_factory: pytest.TempPathFactory, password: str) -> None:
    folder = tmp_path_factory.mktemp("course")
    (folder / "labs").mkdir()
    escaped = password.replace("\\", "\\\\").replace('"', '\\"')
    (folder / "course.toml").write_text(text_with(user__password=f'"{escaped}"'), encoding="utf-8")
    assert load_course(folder / "course.toml").user.password == password


def test_a_good_course(folder: Path) -> None:
    (folder / "course.toml").write_text("\ufeff" + text_with(), encoding="utf-8")
    course = load_course(Path("course.toml"))
    assert (course.name, course.version, course.title) == ("deep-learning", "2026.11", "Deep Learning")
    assert (course.user.name, course.user.password) == ("dave", "dummy")
    assert (course.ports.jupyter, course.ports.ssh) == (8888, 2022)
    assert (course.machine.memory, course.machine.processors, course.machine.disk) == (2048, 2, 20)
    assert (course.packages.debian, course.packages.python) == (("graphviz",), ("seaborn>=0.13",))
    assert course.data.sets == ("mnist", "cifar10")
    assert (course.labs.folder, course.locks.folder) == (folder / "labs", folder / "locks")
    assert (course.security.profile, course.hardened) == ("open", False)
    assert course.source == folder / "course.toml"
    with pytest.raises(ValidationError):
        course.ports.ssh = 1


def test_everything_with_a_default_can_be_left_out(folder: Path) -> None:
    text = '[course]\nname = "a"\nversion = "1"\ntitle = "A"\n[user]\nname = "dave"\npassword = "x"\n'
    (folder / "course.toml").write_text(text, encoding="utf-8")
    (folder / "whole.toml").write_text(
        text_with(
            course__name='"a"',
            course__version='"1"',
            course__title='"A"',
            user__password='"x"',
            packages__debian="[]",
            packages__python="[]",
        ),
        encoding="utf-8",
    )
    assert load_course(Path("course.toml")).model_dump() == load_course(Path("whole.toml")).model_dump()


def test_folders_with_spaces_and_umlauts_and_elsewhere(folder: Path) -> None:
    (folder / "Übungen für alle").mkdir()
    (folder / "courses").mkdir()
    (folder / "courses" / "other.toml").write_text(
        text_with(labs__folder='"../Übungen für alle"', locks__folder='"../my locks"'), encoding="utf-8"
    )
    course = load_course(Path("courses/other.toml"))
    assert course.labs.folder == folder / "Übungen für alle"
    assert course.locks.folder == folder / "my locks"


def test_the_two_courses_of_this_checkout() -> None:
    course = load_course(CHECKOUT / "course.toml")
    hardened = load_course(CHECKOUT / "course-hardened.toml")
    assert (course.name, course.user.name, course.user.password, course.hardened) == (
        "deep-learning",
        "dave",
        "dummy",
        False,
    )
    assert hardened.hardened
    assert hardened.name != course.name
    assert hardened.model_dump(exclude={"about", "user", "security"}) == course.model_dump(
        exclude={"about", "user", "security"}
    )


@pytest.mark.parametrize(("sets", "wrong"), [
    ('["mnist", "cifar10/sample"]', None), ('["cifar10/complete"]', None), ('["cifar10", "cifar10/sample"]', "twice"),
    ('["mnist/sample"]', "is not a known data set"), ('["cifar10/"]', "is not a known data set"),
])  # fmt: skip
def test_an_entry_may_name_an_edition(tmp_path: Path, sets: str, wrong: str | None) -> None:
    text = (CHECKOUT / "course.toml").read_text(encoding="utf-8")
    file = tmp_path / "course.toml"
    file.write_text(re.sub(r"(?m)^sets = \[.*?\]", f"sets = {sets}", text), encoding="utf-8")
    for folder in ("labs", "locks"):
        (tmp_path / folder).symlink_to(CHECKOUT / folder)
    if wrong is None:
        assert list(load_course(file).data.sets) == ast.literal_eval(sets)
    else:
        with pytest.raises(CourseboxError, match=wrong):
            load_course(file)
