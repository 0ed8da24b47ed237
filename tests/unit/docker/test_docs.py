"""The commands that people copy: one line each, that bash, zsh and PowerShell read alike, and that keeps their work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from coursebox.core.paths import CHECKOUT
from coursebox.course import load_course
from coursebox.formats.oci.stage import CUDA
from coursebox.target import File

PAGES = ("README.md", "docs/container.md", "docker/compose.yaml", "docker/examples/extend/Dockerfile")
MODULES = sorted((CHECKOUT / "docker" / "coursebox_container").glob("*.py"))
COMMAND = re.compile(r"\b(?:docker|podman|apptainer) (?:run|load|build|compose|exec|image|stats|logs)\b[^`\n]*")
QUOTED = re.compile(r'(?:^|(?<=\s))"[^"]*"(?=\s|$)')  # a whole word
# What one of the shells reads in another way than the others.
TRAPS = {
    "a line that goes on": re.compile(r"\\$"),
    "a variable without braces, of whose name PowerShell takes a colon for a part": re.compile(r"\$\w"),
    "single quotation marks": re.compile(r"'"),
}
TRAPS_OUTSIDE_OF_QUOTED_WORDS = {
    "a quotation mark in the middle of a word": re.compile(r'"'),
    "a command in place of a word": re.compile(r"\$\("),
    "a list": re.compile(r"\w,\w"),
}


def commands(path: Path) -> list[str]:
    return COMMAND.findall(path.read_text(encoding="utf-8"))


def traps(command: str) -> list[str]:
    outside = QUOTED.sub("", command)
    return [name for name, trap in TRAPS.items() if trap.search(command)] + [
        name for name, trap in TRAPS_OUTSIDE_OF_QUOTED_WORDS.items() if trap.search(outside)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_shell_reads_the_commands_alike(page: str) -> None:
    assert {command: traps(command) for command in commands(CHECKOUT / page) if traps(command)} == {}


@pytest.mark.parametrize("page", PAGES)
def test_no_command_has_variables_in_front(page: str) -> None:
    assert not re.search(rf"\b[A-Z_]+=\S+ {COMMAND.pattern}", (CHECKOUT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "command",
    [
        'docker run -v "$PWD":/home/student/work x',
        'docker run -v "$PWD:/home/student/work" x',
        "docker run -v ${PWD}:/x \\",
        'docker run -e SSH_PUBLIC_KEY="$(cat key)" x',
        "docker run --user $(id -u):$(id -g) x",
        "docker image inspect --format '{{.Id}}' x",
        "podman run --userns keep-id:uid=1000,gid=100 x",
    ],
)
def test_the_traps_are_found(command: str) -> None:
    assert traps(command)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_remedies_quote_words_as_a_whole(path: Path) -> None:
    assert not re.search(r'-[ev] [\w${}]+[=:]\\?"', path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("page", "kept"), [("README.md", 1), ("docs/container.md", 2)])
def test_the_first_command_keeps_the_home(page: str, kept: int) -> None:
    words = shlex.split(next(line for line in commands(CHECKOUT / page) if line.startswith("docker run")))
    assert ["course:/home/student", "${PWD}:/home/student/work"][:kept] == [word for word in words if ":/home" in word]


def test_the_command_that_a_build_prints_is_that_of_the_readme() -> None:
    course = load_course(CHECKOUT / "course.toml")
    printed = CUDA.next_steps(course, File(Path("x"), "", 0)).splitlines()[0].strip()
    assert printed == next(line for line in commands(CHECKOUT / "README.md") if line.startswith("docker run"))
