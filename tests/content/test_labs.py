"""The labs in both products: all of them, writable in the home, and nothing of their solutions or of the grader."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    for name, path in wanted.items():
        assert host.file(f"/{pristine}{name}").content == path.read_bytes()
        assert members[pristine + name].mode & 0o111 or not items[name].executable
    for name, path in wanted.items() if place.kind == "vm" else ():
        assert members[home + name].uid == 1000 and members[home + name].mode & 0o200
        assert host.file(f"/{home}{name}").content == path.read_bytes()


@pytest.mark.parametrize("place", ["vm"], indirect=True)
def test_the_welcome_page_is_there(members, place):
    assert f"home/{place.user}/labs/welcome.md" in members
