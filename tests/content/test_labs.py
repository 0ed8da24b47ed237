"""The labs in both products: all of them, writable in the home, and nothing of their solutions or of the grader."""

from __future__ import annotations

from pathlib import Path

import pytest

from coursebox.core.digests import sha256_file
from coursebox.trees.labs import look

LABS = "/usr/share/coursebox/labs"


def test_neither_solutions_nor_the_grader_are_among_the_labs(host, members):
    ours = [Path(name) for name in members if name.startswith(("usr/share/coursebox/", "home/"))]
    assert [path for path in ours if path.name in ("author", "AUTHORS.md", "mutants.py", "labkit.py")] == []
    assert [path for path in ours if path.name.startswith(("grade", "grading", "course_grade"))] == []
    marked = host.run("grep -rlE 'BEGIN SOLUTION|END SOLUTION' /usr/share/coursebox /home")
    assert marked.stdout == "" and marked.rc == 1


def test_labs_are_those_of_the_course_and_writable(host, place, members):
    folder: Path = place.course.labs.folder
    items = {item.path.as_posix(): item for item in look(folder).items if not item.folder}
    wanted = {name: folder / name for name in items}
    pristine, home = f"{LABS[1:]}/", f"home/{place.user}/labs/"
    # A container fills its home when it starts: tests/container has that.
    for top in [pristine, home][: 2 if place.kind == "vm" else 1]:
        assert {n.removeprefix(top) for n, m in members.items() if n.startswith(top) and m.isreg()} == set(wanted)
        assert digests(host, top) == {name: sha256_file(path) for name, path in wanted.items()}
    assert [name for name in wanted if items[name].executable and not members[pristine + name].mode & 0o111] == []
    for name in wanted if place.kind == "vm" else ():
        assert members[home + name].uid == 1000 and members[home + name].mode & 0o200


def digests(host, top: str) -> dict[str, str]:
    """Path below a folder → SHA-256, of all files there; asked for once, for a command in a container takes long."""
    shown = host.check_output("cd %s && find . -type f -exec sha256sum --zero {} +", f"/{top}")
    return {line[66:].removeprefix("./"): line[:64] for line in shown.split("\0") if line}


@pytest.mark.parametrize("place", ["vm"], indirect=True)
def test_the_welcome_page_is_there(members, place):
    assert f"home/{place.user}/labs/welcome.md" in members
