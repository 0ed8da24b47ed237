"""From results to points: weights of parts, the share of the targets, a late rule, points and comments by hand.

All of it stands in a small file (TOML). Points are exact fractions until they are rounded to two decimals, half up.
"""

from __future__ import annotations

import csv
import io
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import names
from .candidates import Exercise
from .submissions import Submitted

if TYPE_CHECKING:
    from .grader import Report

_DAY = timedelta(days=1)
_LARGEST = 1_000_000  # bytes
_KNOWN = ("points", "targets", "attempts", "hidden", "weights", "late", "manual")


class RulesError(Exception):
    """What is wrong with a file of rules: a sentence for each wrong entry."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = tuple(sentences)


@dataclass(frozen=True)
class Late:
    """deadline: with its time zone. per_day, most: per cent of the points that are taken."""

    deadline: datetime
    grace: timedelta
    per_day: Decimal
    most: Decimal


@dataclass(frozen=True)
class Manual:
    """What a person decided: points instead of those that were counted (None: as counted), and a comment."""

    points: Decimal | None = None
    comment: str = ""


@dataclass(frozen=True)
class Rules:
    """points: for everything right, None: one for each check. weights: of parts. targets: their share, 0 to 1."""

    points: Decimal | None = None
    weights: Mapping[str, Decimal] = field(default_factory=dict)
    targets: Decimal | None = None
    best: bool = False
    hidden: frozenset[str] = frozenset()
    late: Late | None = None
    manual: Mapping[str, Manual] = field(default_factory=dict)


@dataclass(frozen=True)
class Mark:
    """The points of a student. counted: before anything was taken or decided by hand. said: what was, in sentences."""

    points: Decimal
    of: Decimal
    counted: Decimal
    said: str = ""
    comment: str = ""
    late: str = ""

    @property
    def percent(self) -> Decimal:
        """The points in per cent, with one decimal."""
        return _rounded(Fraction(self.points) * 100 / Fraction(self.of), "0.1") if self.of else Decimal(0)


@dataclass(frozen=True)
class Row:
    """A line of the results. report, mark: None while the submission is not graded. remark: on the whole."""

    submitted: Submitted
    report: Report | None
    mark: Mark | None
    remark: str


def _rounded(value: Fraction, to: str = "0.01") -> Decimal:
    return (Decimal(value.numerator) / Decimal(value.denominator)).quantize(Decimal(to), ROUND_HALF_UP)


def read_rules(file: Path, exercise: Exercise) -> Rules:
    """The rules in a file. Raises RulesError with a sentence for each wrong entry."""
    try:
        if file.stat().st_size > _LARGEST:
            raise RulesError([f"{file} is too large for a file of rules."])
        data = tomllib.loads(file.read_text(encoding="utf-8-sig"), parse_float=Decimal)
    except OSError as error:
        raise RulesError([f"{file}: {error.strerror}."]) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, ArithmeticError, RecursionError) as error:
        raise RulesError([f"{file.name} is not TOML: {names.clean(str(error))}."]) from None
    reader = _Reader(file.name, exercise)
    rules = reader.rules(data)
    if reader.wrong:
        raise RulesError(reader.wrong)
    return rules


class _Reader:
    """Reads entries, and notes what is wrong with each."""

    def __init__(self, file: str, exercise: Exercise) -> None:
        self._file, self._exercise = file, exercise
        self.wrong: list[str] = []

    def _no(self, entry: str, why: str) -> None:
        self.wrong.append(f"{self._file}: {names.clean(entry, keep='')} {why}.")

    def _number(self, entry: str, value: object, most: int = 1_000_000) -> Decimal | None:
        right = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
        if not right or not Decimal(str(value)).is_finite() or Decimal(str(value)) < 0:
            self._no(entry, "must be a number that is not below 0")
            return None
        if Decimal(str(value)) > most:
            self._no(entry, f"must not be above {most}")
            return None
        return Decimal(str(value))

    def _table(self, data: Mapping[str, Any], entry: str, known: Sequence[str] = ()) -> Mapping[str, Any]:
        value = data.get(entry, {})
        if not isinstance(value, dict):
            self._no(entry, f"must be a table: [{entry}]")
            return {}
        for name in value if known else ():
            if name not in known:
                self._no(f"{entry}.{name}", f"is not known; there are {', '.join(known)}")
        return value

    def _part(self, name: str) -> str | None:
        """A part by its name, its number, or both: PCA, "3", "02.3"."""
        parts, lab = self._exercise.parts, self._exercise.lab[:2]
        number = name.removeprefix(f"{lab}.").split(" ")[0]
        if number.isdecimal() and 1 <= int(number) <= len(parts):
            return parts[int(number) - 1]
        if name in parts:
            return name
        self._no(f"weights.{name}", f"is no part of lab {lab}; there are {', '.join(parts)}")
        return None

    def rules(self, data: Mapping[str, Any]) -> Rules:
        for name in data:
            if name not in _KNOWN:
                self._no(name, f"is not known; there are {', '.join(_KNOWN)}")
        points = self._number("points", data["points"]) if "points" in data else None
        if points == 0:
            self._no("points", "must be above 0")
        targets = self._number("targets", data["targets"], 1) if "targets" in data else None
        weights: dict[str, Decimal] = {}
        for name, value in self._table(data, "weights").items():
            part, weight = self._part(name), self._number(f"weights.{name}", value)
            if part in weights:
                self._no(f"weights.{name}", f"is there twice: it is {self._exercise.tag(str(part))}")
            elif part is not None and weight is not None:
                weights[part] = weight
        if weights and set(weights) == set(self._exercise.parts) and not any(weights.values()):
            self._no("weights", "are all 0")
        if data.get("attempts", "last") not in ("last", "best"):
            self._no("attempts", 'must be "last" or "best"')
        hidden = data.get("hidden", [])
        if not isinstance(hidden, list) or not all(isinstance(name, str) for name in hidden):
            self._no("hidden", "must be a list of names of checks")
            hidden = []
        for name in hidden:
            if name not in self._exercise.checks:
                self._no("hidden", f"names {names.clean(name)!r}, which is no check of this lab; "
                         f"there are {', '.join(self._exercise.checks)}")  # fmt: skip
        late = self._late(self._table(data, "late", ("deadline", "grace_minutes", "per_day", "most")), "late" in data)
        manual = {names.key(name): self._manual(name, entry) for name, entry in self._table(data, "manual").items()}
        return Rules(points, weights, targets, data.get("attempts") == "best", frozenset(hidden), late, manual)

    def _late(self, data: Mapping[str, Any], there: bool) -> Late | None:
        if not there:
            return None
        deadline = data.get("deadline")
        if not isinstance(deadline, datetime):
            self._no("late.deadline", "must be a date with a time: 2026-12-01T23:59:00+01:00")
        elif deadline.tzinfo is None:
            self._no("late.deadline", "has no time zone: write +01:00 behind it, or Z for UTC")
        grace = self._number("late.grace_minutes", data.get("grace_minutes", 0), 1_000_000)
        per_day = self._number("late.per_day", data.get("per_day", 0), 100)
        most = self._number("late.most", data.get("most", 100), 100)
        if not isinstance(deadline, datetime) or deadline.tzinfo is None or None in (grace, per_day, most):
            return None
        return Late(
            deadline,
            timedelta(minutes=float(grace or 0)),
            per_day or Decimal(0),
            most if most is not None else Decimal(100),
        )

    def _manual(self, name: str, entry: object) -> Manual:
        if not isinstance(entry, dict) or set(entry) - {"points", "comment"} or not entry:
            self._no(f'manual."{name}"', "must have points, or comment, or both, and nothing else")
            return Manual()
        comment = entry.get("comment", "")
        if not isinstance(comment, str):
            self._no(f'manual."{name}".comment', "must be a text")
            comment = ""
        points = self._number(f'manual."{name}".points', entry["points"]) if "points" in entry else None
        return Manual(points, names.clean(comment))


def read_times(file: Path) -> dict[str, datetime]:
    """Name or number of a student → when the work came, from a CSV with two columns. Raises RulesError."""
    found: dict[str, datetime] = {}
    wrong = []
    try:
        text = file.read_bytes()[:_LARGEST].decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError([f"{file}: {getattr(error, 'strerror', None) or 'is not text in UTF-8'}."]) from None
    for number, line in enumerate(csv.reader(io.StringIO(text, newline="")), start=1):
        if not any(line):
            continue
        try:
            when = datetime.fromisoformat(line[1].strip())
            if when.tzinfo is None:
                wrong.append(f"{file.name}, line {number}: {line[1]} has no time zone: write +01:00 behind it.")
            found[names.key(line[0])] = when
        except (ValueError, IndexError):
            if number > 1:  # the first line may name the columns
                wrong.append(
                    f"{file.name}, line {number}: a name and a time as 2026-12-01T23:59:00+01:00 were expected."
                )
    if wrong:
        raise RulesError(wrong)
    return found


def counted(report: Report, rules: Rules) -> tuple[Fraction, Fraction]:
    """The points that the checks give, and how many they can give."""
    share_of_targets = Fraction(rules.targets) if rules.targets is not None else None
    kinds = ("check",) if share_of_targets is not None else ("check", "experiment", "gpu")
    reached = possible = Fraction(0)
    for part in report.parts:
        passed, of = report.of_part(part, kinds)
        weight = Fraction(rules.weights.get(part, Decimal(1))) if rules.weights else Fraction(of)
        if of:
            reached, possible = reached + weight * passed / of, possible + weight
    whole = Fraction(rules.points) if rules.points is not None else possible
    share = reached / possible if possible else Fraction(0)
    if share_of_targets is not None:
        both = [report.of_part(part, ("experiment", "gpu")) for part in report.parts]
        of = sum(of for _, of in both)
        measured = Fraction(sum(passed for passed, _ in both), of) if of else share
        share = (1 - share_of_targets) * share + share_of_targets * measured
    return share * whole, whole


def mark(report: Report, submitted: Submitted, rules: Rules, times: Mapping[str, datetime]) -> Mark:
    """The points of a student by the rules; `times`: see read_times."""
    points, of = counted(report, rules)
    before, said, late = points, [], ""
    if rules.late is not None:
        late, part = _lateness(rules.late, submitted, times)
        points *= 1 - Fraction(part) / 100
        said += [late] if late else []
    elif submitted.late:
        late = "late, as the platform says"
        said.append("Late, as the platform says.")
    by_hand = manual_of(submitted, rules)
    if by_hand.points is not None:
        points = Fraction(by_hand.points)
        said.append(f"Points by hand; {_rounded(before):f} were counted.")
    return Mark(_rounded(points), _rounded(of), _rounded(before), " ".join(said), by_hand.comment, late)


def manual_of(submitted: Submitted, rules: Rules) -> Manual:
    """What was decided by hand for a student, by name or number."""
    return rules.manual.get(names.key(submitted.name)) or rules.manual.get(submitted.id or "-") or Manual()


def _lateness(rule: Late, submitted: Submitted, times: Mapping[str, datetime]) -> tuple[str, Decimal]:
    """A sentence on how late something came, "" where it was in time, and the per cent that this takes."""
    when = times.get(names.key(submitted.name)) or (times.get(submitted.id) if submitted.id else None)
    when = when or datetime.fromtimestamp(submitted.time, UTC)
    behind = when - rule.deadline
    flagged = submitted.late and behind <= rule.grace  # the platform knows of it, the file's time does not
    if behind <= rule.grace and not flagged:
        return "", Decimal(0)
    days = 1 if flagged else math.ceil(behind / _DAY)
    part = min(days * rule.per_day, rule.most)
    how = "as the platform says, counted as 1 day" if flagged else f"{_length(behind)} after the deadline"
    return f"Late, {how}: {part.normalize():f} % of the points are taken.", part


def _length(time: timedelta) -> str:
    minutes = int(time.total_seconds() // 60)
    days, hours = minutes // 1440, minutes % 1440 // 60
    pieces = [(days, "d"), (hours, "h"), (minutes % 60 if not days else 0, "min")]
    return " ".join(f"{count} {unit}" for count, unit in pieces if count) or "less than a minute"
