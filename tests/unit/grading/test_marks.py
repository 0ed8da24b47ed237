"""The file of rules: exact points, and a sentence for each wrong entry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from course_grade import candidates, marks
from course_grade.marks import RulesError, read_rules
from course_grade.submissions import Submitted

from coursebox.core.paths import CHECKOUT

EXERCISE = candidates.read_exercise(CHECKOUT / "labs" / "02_neighbours")
DEADLINE = datetime.fromisoformat("2026-12-01T23:59:00+01:00")
EVA = Submitted("Eva", None, id="11", time=DEADLINE.timestamp())


@dataclass(frozen=True)
class Report:
    """As the grader's, with points given by hand: part → (passed, of), checks and measured results."""

    checks: dict[str, tuple[int, int]]
    targets: dict[str, tuple[int, int]]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.checks)

    def of_part(self, part: str, kinds: tuple[str, ...] = ("check", "experiment", "gpu")) -> tuple[int, int]:
        found = [
            table.get(part, (0, 0)) for kind, table in (("check", self.checks), ("gpu", self.targets)) if kind in kinds
        ]
        return sum(passed for passed, _ in found), sum(of for _, of in found)


def rules(tmp_path: Path, text: str) -> marks.Rules:
    (tmp_path / "grading.toml").write_text(text, encoding="utf-8")
    return read_rules(tmp_path / "grading.toml", EXERCISE)


def mark(rules: marks.Rules, report: Report, submitted: Submitted = EVA, times: Any = ()) -> marks.Mark:
    return marks.mark(cast("Any", report), submitted, rules, dict(times))


REPORT = Report({"nearest_classification": (2, 2), "PCA": (1, 3), "kmeans": (0, 4)}, {"kmeans": (1, 2)})


@pytest.mark.parametrize(
    ("text", "points", "of"),
    [
        ("", "4.00", "11.00"),  # one for each check and each measured result
        ("points = 20", "7.27", "20.00"),
        ("[weights]\nPCA = 3\n", "2.17", "5.00"),  # 1 + 3·1/3 + 1·1/6
        ("[weights]\nPCA = 0.1\n'02.1' = 0.2\n4 = 0\n", "0.23", "0.30"),
        ("points = 10\ntargets = 0.25", "3.75", "10.00"),  # 0.75·3/9 + 0.25·1/2
        ("targets = 1", "4.50", "9.00"),
    ],
)
def test_points_are_exact(tmp_path: Path, text: str, points: str, of: str) -> None:
    found = mark(rules(tmp_path, text), REPORT)
    assert (str(found.points), str(found.of)) == (points, of)


LATE = "[late]\ndeadline = 2026-12-01T23:59:00+01:00\ngrace_minutes = 15\nper_day = 10\nmost = 25\n"


@pytest.mark.parametrize(
    ("seconds", "points", "said"),
    [
        (-1, "10.00", ""),
        (15 * 60, "10.00", ""),
        (15 * 60 + 1, "9.00", "Late, 15 min after the deadline: 10 % of the points are taken."),
        (86_400 + 3600, "8.00", "Late, 1 d 1 h after the deadline: 20 % of the points are taken."),
        (30 * 86_400, "7.50", "Late, 30 d after the deadline: 25 % of the points are taken."),
    ],
)
def test_the_late_rule(tmp_path: Path, seconds: int, points: str, said: str) -> None:
    report = Report({"PCA": (10, 10)}, {})
    late = replace(EVA, time=DEADLINE.timestamp() + seconds)
    found = mark(rules(tmp_path, LATE), report, late)
    assert (str(found.points), found.said) == (points, said)
    in_time = {"eva": DEADLINE}
    assert mark(rules(tmp_path, LATE), report, late, in_time.items()).said == ""


def test_a_platform_that_says_late_counts_as_a_day(tmp_path: Path) -> None:
    found = mark(rules(tmp_path, LATE), Report({"PCA": (10, 10)}, {}), replace(EVA, late=True))
    assert found.points == 9 and "as the platform says" in found.late


def test_points_by_hand_replace_what_was_counted(tmp_path: Path) -> None:
    text = f'{LATE}[manual."EVA"]\npoints = 14.5\ncomment = "Well explained."\n[manual."11"]\npoints = 3\n'
    found = mark(rules(tmp_path, text), REPORT, replace(EVA, time=DEADLINE.timestamp() + 10**6))
    assert (found.points, found.comment) == (Decimal("14.5"), "Well explained.")
    assert "Points by hand; 4.00 were counted." in found.said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("points = -1", "grading.toml: points must be a number that is not below 0."),
        ("points = true", "points must be a number"),
        ("points = nan", "points must be a number"),
        ("points = 0", "points must be above 0"),
        ("targets = 25", "targets must not be above 1"),
        ("[weights]\npca = 1", "weights.pca is no part of lab 02; there are nearest_classification,"),
        ("[weights]\n7 = 1", "weights.7 is no part"),
        ("[weights]\nPCA = -2", "weights.PCA must be a number that is not below 0"),
        ("[weights]\nPCA = 1\n3 = 2", "weights.3 is there twice: it is 02.3 PCA"),
        ("weights = 3", "weights must be a table: [weights]"),
        ('attempts = "first"', 'attempts must be "last" or "best"'),
        ('hidden = ["x"]', "hidden names 'x', which is no check of this lab; there are takes_the_class"),
        ("wieghts = 1", "wieghts is not known; there are points,"),
        ("[late]\ndeadline = 2026-12-01T23:59:00", "late.deadline has no time zone"),
        ("[late]\ndeadline = 2026-12-01", "late.deadline must be a date with a time"),
        ("[late]\ndeadline = 2026-12-01T23:59:00Z\nper_day = 200", "late.per_day must not be above 100"),
        ("[late]\ndeadline = 2026-12-01T23:59:00Z\nperday = 2", "late.perday is not known; there are deadline,"),
        ('[manual."Eva"]\npoint = 3', 'manual."Eva" must have points, or comment'),
        ('[manual."Eva"]\npoints = "3"', 'manual."Eva".points must be a number'),
        ("points = ", "grading.toml is not TOML: "),
        ("points = 1e999999", "points must not be above 1000000"),
    ],
)
def test_a_wrong_entry_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RulesError) as caught:
        rules(tmp_path, text)
    assert said in str(caught.value) and str(caught.value).endswith(".")


def test_every_wrong_entry_has_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(RulesError) as caught:
        rules(tmp_path, "points = -1\ntargets = 2\n[weights]\nx = 1\nPCA = -1\n")
    assert len(caught.value.sentences) == 4


def test_times_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,time\nEva Bauer,2026-12-01T10:00:00+01:00\n12,2026-12-02 10:00Z\n")
    found = marks.read_times(tmp_path / "t.csv")
    assert list(found) == ["eva bauer", "12"] and found["12"].isoformat() == "2026-12-02T10:00:00+00:00"
    (tmp_path / "t.csv").write_text("Eva,2026-12-01\nTom,soon\n")
    with pytest.raises(RulesError) as caught:
        marks.read_times(tmp_path / "t.csv")
    assert "line 1: 2026-12-01 has no time zone" in str(caught.value) and "line 2: a name and a time" in str(
        caught.value
    )
