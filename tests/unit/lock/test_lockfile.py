"""The lock folder: what is written is read back, and no damage goes unnoticed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from coursebox.core.errors import CourseboxError
from coursebox.lock import lockfile as locks_module
from coursebox.lock.lockfile import DataFile, Deb, Locks, Request, Wheel, check_requests, read_locks, write_locks

DEB = Deb("bash", "5.2-1", "amd64", "bash", "main", "pool/main/b/bash/bash_5.2-1_amd64.deb", 1234, "a" * 64)
LOCKS = Locks(
    epoch=1_789_199_741,
    snapshot="20261119T021254Z",
    suite="trixie",
    architecture="amd64",
    debs={"tools": (DEB,), "vm": (DEB, replace(DEB, package="dash", sha256="b" * 64))},
    wheels={"vm": (Wheel("six", "1.17.0", "six-1.17.0-py2.py3-none-any.whl", 11050, "c" * 64),)},
    requests={"tools": Request(("bash",)), "vm": Request(("dash", "bash"), ("six>=1",), {"numpy": "python3-numpy"})},
    data=(DataFile("mnist", "complete", "mnist", "a.gz", "mnist/MNIST/raw/a", "gzip", 10, "d" * 64),),
    tools=(replace(DEB, package="packer"),),
)

words = some.text(some.characters(exclude_categories=["Cs"]), max_size=12)
debs = some.builds(Deb, words, words, words, words, words, words, some.integers(0, 2**40), words)
wheels = some.builds(Wheel, words, words, words, some.integers(0, 2**40), words)
data_files = some.builds(DataFile, words, words, words, words, words, words, some.integers(0, 2**40), words)
requests = some.builds(Request, some.tuples(words, words), some.tuples(words), some.dictionaries(words, words))
trees = some.sampled_from(["tools", "vm", "cuda"])


def tuples_of(items: some.SearchStrategy[object]) -> some.SearchStrategy[tuple[object, ...]]:
    """Sorted, as they come back."""
    return some.lists(items, max_size=3).map(lambda found: tuple(sorted(found)))  # type: ignore[type-var]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    some.builds(
        Locks,
        epoch=some.integers(0, 2**33),
        snapshot=words,
        suite=words,
        architecture=words,
        debs=some.dictionaries(trees, tuples_of(debs)),
        wheels=some.dictionaries(trees, tuples_of(wheels)),
        requests=some.dictionaries(trees, requests),
        data=tuples_of(data_files),
        tools=tuples_of(debs),
    )
)
def test_what_is_written_is_read_back(tmp_path: Path, locks: Locks) -> None:
    write_locks(tmp_path, locks)
    assert read_locks(tmp_path) == locks


def test_one_item_on_a_line_and_sorted(tmp_path: Path) -> None:
    write_locks(tmp_path, LOCKS)
    lines = (tmp_path / "debs-vm.json").read_text().splitlines()
    items = [json.loads(line.rstrip(",")) for line in lines if line.startswith("  ")]
    assert [item["package"] for item in items] == ["bash", "dash"]


def test_order_does_not_matter(tmp_path: Path) -> None:
    write_locks(tmp_path / "one", LOCKS)
    turned = replace(LOCKS, debs={tree: held[::-1] for tree, held in reversed(LOCKS.debs.items())})
    turned = replace(turned, requests=dict(reversed(LOCKS.requests.items())))
    write_locks(tmp_path / "two", turned)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_files_hold_no_address(tmp_path: Path) -> None:
    write_locks(tmp_path, LOCKS)
    assert not [path for path in tmp_path.iterdir() if "://" in path.read_text()]


def test_a_tree_that_went_leaves_no_file(tmp_path: Path) -> None:
    write_locks(tmp_path, LOCKS)
    (tmp_path / "notes.json").write_text("mine")
    write_locks(tmp_path, replace(LOCKS, debs={"vm": (DEB,)}, wheels={}))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "data.json",
        "debs-vm.json",
        "lock.json",
        "notes.json",
        "tools.json",
    ]


def test_failed_writing_leaves_the_old_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_locks(tmp_path, LOCKS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("full")

    write_text = Path.write_text
    monkeypatch.setattr(
        Path, "write_text", lambda self, *a, **k: full() if self.name == "lock.json" else write_text(self, *a, **k)
    )
    with pytest.raises(OSError, match="full"):
        write_locks(tmp_path, replace(LOCKS, epoch=1, debs={"vm": ()}))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_locks(tmp_path: Path) -> None:
    with pytest.raises(CourseboxError) as caught:
        read_locks(tmp_path)
    assert caught.value.message == f"there are no locks in {tmp_path}"
    assert caught.value.hint == "run `make lock`"


@pytest.mark.parametrize(
    ("file", "old", "new", "how"),
    [
        ("debs-vm.json", "1234", "1235", "its content does not match its digest"),
        ("debs-vm.json", '"' + "a" * 64, '"' + "a" * 63 + "b", "its content does not match its digest"),
        ("wheels-vm.json", '"six"', '"seven"', "its content does not match its digest"),
        ("data.json", '"complete"', '"sample"', "its content does not match its digest"),
        ("tools.json", '"size": 1234', '"size": 1', "its content does not match its digest"),
        ("lock.json", "1789199741", "1789199742", "its content does not match its digest"),
        ("lock.json", '"bash"', '"zsh"', "its content does not match its digest"),
        ("lock.json", "debs-vm.json", "../debs-vm.json", "its content does not match its digest"),
        ("debs-vm.json", '"items"', '"itmes"', "its content does not match its digest"),
        ("debs-vm.json", "}", "", "it is not readable JSON"),
        ("lock.json", "{", "", "it is not readable JSON"),
        ("lock.json", None, "[]", "it is not readable JSON"),
        ("debs-vm.json", None, "<<<<<<< HEAD", "it is not readable JSON"),
        ("debs-vm.json", None, None, "it is missing"),
        ("debs-tools.json", None, "debs-vm.json", "it does not belong to this lock.json"),
    ],
)
def test_damage_is_found_and_named(tmp_path: Path, file: str, old: str | None, new: str | None, how: str) -> None:
    write_locks(tmp_path, LOCKS)
    path = tmp_path / file
    if new is None:
        path.unlink()
    elif old is not None:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
    else:
        path.write_bytes((tmp_path / new).read_bytes() if new.endswith(".json") else new.encode())
    with pytest.raises(CourseboxError) as caught:
        read_locks(tmp_path)
    assert caught.value.message == f"the lock file {path} is damaged: {how}"
    assert caught.value.hint == "restore the folder with `git checkout`, or write it anew with `make lock`"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(some.data())
def test_no_changed_byte_gets_through(tmp_path: Path, data: some.DataObject) -> None:
    """Whatever byte changes anywhere: an error, or, in the comment or between the words, the same locks."""
    write_locks(tmp_path, LOCKS)
    path = data.draw(some.sampled_from(sorted(tmp_path.iterdir())))
    content = bytearray(path.read_bytes())
    place = data.draw(some.integers(0, len(content) - 1))
    content[place] = data.draw(some.integers(0, 255).filter(lambda value: value != content[place]))
    path.write_bytes(content)
    try:
        found = read_locks(tmp_path)
    except CourseboxError:
        return
    assert found == LOCKS


def test_other_format_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks_module, "FORMAT", 7)
    write_locks(tmp_path, LOCKS)
    monkeypatch.undo()
    with pytest.raises(CourseboxError, match=re.escape("lock.json has the format 7, and this version reads 1")):
        read_locks(tmp_path)


def test_fields_of_another_version_are_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks_module, "asdict", lambda item: {"package": "bash", "colour": "red"})
    with pytest.raises(CourseboxError, match="an item has not the expected fields"):
        write_locks(tmp_path, LOCKS)
        read_locks(tmp_path)


def test_requests_that_fit() -> None:
    check_requests(LOCKS, LOCKS.requests, ["mnist"], place="course.toml")


@pytest.mark.parametrize(
    ("tree", "request_", "sets", "what"),
    [
        (
            "vm",
            Request(("bash", "dash", "graphviz"), ("six>=1",), {"numpy": "python3-numpy"}),
            [],
            "Debian package 'graphviz' (vm) is asked for and not locked",
        ),
        (
            "vm",
            Request(("bash",), ("six>=1",), {"numpy": "python3-numpy"}),
            [],
            "Debian package 'dash' (vm) is locked and not asked for",
        ),
        (
            "vm",
            Request(("bash", "dash"), ("six>=2",), {"numpy": "python3-numpy"}),
            [],
            "Python requirement 'six>=2' (vm) is asked for and not locked; "
            "Python requirement 'six>=1' (vm) is locked and not asked for",
        ),
        (
            "vm",
            Request(("bash", "dash"), ("six>=1",)),
            [],
            "the Python packages that Debian provides (vm) have changed",
        ),
        ("cuda", Request(("bash",)), [], "Debian package 'bash' (cuda) is asked for and not locked"),
        ("tools", Request(("bash",)), ["mnist", "cifar10"], "data set 'cifar10' is asked for and not locked"),
    ],
)
def test_requests_that_do_not_fit(tree: str, request_: Request, sets: list[str], what: str) -> None:
    with pytest.raises(CourseboxError) as caught:
        check_requests(LOCKS, {tree: request_}, sets, place="course.toml")
    assert caught.value.message == f"the locks do not fit course.toml: {what}"
    assert caught.value.hint == "run `make lock`"
