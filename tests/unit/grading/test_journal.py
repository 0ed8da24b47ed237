"""The journal: what is written stays, whatever ends the program; results of other checks do not count."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from course_grade.journal import NAME, Busy, Journal, digest_of

EVA = ("Eva\udcff", 1, "abc")


def test_results_come_back(tmp_path: Path) -> None:
    with Journal(tmp_path, "task") as journal:
        journal.add(EVA, {"points": 1, "text": "\ud800"})
        journal.add(EVA, {"points": 2})
        assert (tmp_path / NAME).read_bytes().count(b"\n") == 2  # at once
    with Journal(tmp_path, "task") as journal:
        assert journal.results == {EVA: {"points": 2}}
    with Journal(tmp_path, "other checks") as journal:
        assert journal.results == {}
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_off_costs_itself_alone(tmp_path: Path, cut: int) -> None:
    with Journal(tmp_path, "task") as journal:
        journal.add(EVA, {"n": 1})
        journal.add(("Tom", 1, "x"), {"n": 2})
    os.truncate(tmp_path / NAME, (tmp_path / NAME).stat().st_size - cut)
    with Journal(tmp_path, "task") as journal:
        assert set(journal.results) <= {EVA, ("Tom", 1, "x")} and EVA in journal.results
        journal.add(("Ada", 1, "y"), {"n": 3})
    with Journal(tmp_path, "task") as journal:
        assert journal.results[EVA] == {"n": 1} and journal.results["Ada", 1, "y"] == {"n": 3}


def test_other_lines_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'\n[]\n{"task": "task"}\nnull\n\xff\n{"task": "task", "name": [], "attempt": 1}\n')
    with Journal(tmp_path, "task") as journal:
        assert journal.results == {}


def test_one_grading_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path, "task"), pytest.raises(Busy, match="another grading writes into"):
        Journal(tmp_path, "task")
    Journal(tmp_path, "task").__exit__(None, None, None)


def test_again_keeps_the_old_journal_beside(tmp_path: Path) -> None:
    with Journal(tmp_path, "task") as journal:
        journal.add(EVA, {})
    with Journal(tmp_path, "task", again=True) as journal:
        assert journal.results == {}
    assert (tmp_path / "marks-before.jsonl").read_bytes()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Journal(tmp_path, "task")
    assert not (tmp_path / "elsewhere").exists()


def test_the_digest_follows_checks_and_settings(tmp_path: Path) -> None:
    (tmp_path / "check.py").write_text("1")
    first = digest_of([tmp_path / "check.py"], {"seed": 1})
    assert digest_of([tmp_path / "check.py"], {"seed": 2}) != first
    (tmp_path / "check.py").write_text("2")
    assert digest_of([tmp_path / "check.py"], {"seed": 1}) != first
