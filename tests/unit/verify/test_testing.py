"""`make test`: what is kept of a run, what runs again, and what is said of the rest."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.verify import outcomes, proofs, testing
from coursebox.verify.lanes import Lane
from coursebox.verify.outcomes import Outcome, Status
from coursebox.verify.proofs import Claim, Proofs
from coursebox.verify.testing import Verdict, judge, prove

PATIENCE = 60  # seconds: ends a test that hangs, and judges nothing
ONE, TWO = Claim("room/test_one.py", {"file": "1"}), Claim("room/test_two.py", {"file": "2"})


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proofs:
    """An empty cache of proofs; the logs go to a folder of the test."""
    monkeypatch.setattr(proofs, "where", lambda: "2 × a processor")
    monkeypatch.setattr(proofs, "commit", lambda: "abcdef0")
    monkeypatch.setattr(testing, "CHECKOUT", tmp_path)
    monkeypatch.setattr(testing, "LOGS", tmp_path / "build" / "tests")
    return Proofs(Cache(tmp_path / "cache"))


def claim_of(outcome: Outcome) -> str:
    return f"room/{Path(outcome.file).name}"


def never(*_: object) -> int:
    pytest.fail("the tests ran again")


def lane_of(*claims: Claim, may_skip: bool = False, now: Callable[[], Sequence[Claim]] | None = None) -> Lane:
    return Lane("room", claims, never, claim_of, may_skip, now)


def test_of(claim: Claim, status: Status = "passed", name: str = "test_a") -> Outcome:
    return Outcome(f"tests/{claim.name}", name, 1.5, status)


test_of.__test__ = False  # type: ignore[attr-defined]  # no test, whatever its name


def judged(kept: Proofs, status: int, *found: Outcome, lane: Lane | None = None) -> Verdict:
    verdict = Verdict()
    lane = lane or lane_of(ONE, TWO)
    judge(lane, lane.claims, status, found, kept, verdict)
    return verdict


# --------------------------------------------------------------------------------------------------- the judge


def test_what_has_passed_is_kept(kept: Proofs) -> None:
    verdict = judged(kept, 0, test_of(ONE), test_of(ONE, name="test_b[ü]"), test_of(TWO))
    assert [proof.claim for proof in verdict.now] == [ONE.name, TWO.name]
    assert (verdict.open, verdict.failed) == ({}, False)
    proof = kept.find(ONE)
    assert proof is not None
    assert proof.tests == {"tests/room/test_one.py::test_a": 1.5, "tests/room/test_one.py::test_b[ü]": 1.5}


def test_a_failure_is_not_kept_and_what_passed_beside_it_is(kept: Proofs) -> None:
    verdict = judged(kept, 1, test_of(ONE), test_of(ONE, "failed", "test_b"), test_of(TWO))
    assert verdict.open == {ONE.name: "1 of 2 tests failed"} and verdict.failed
    assert kept.find(ONE) is None
    assert kept.find(TWO) is not None and [proof.claim for proof in verdict.now] == [TWO.name]


def test_a_failure_ends_an_earlier_proof_of_the_same(kept: Proofs) -> None:
    other = Claim(ONE.name, {"file": "before"})
    for claim in (ONE, other):
        kept.keep(claim, {"test": 1.0})
    judged(kept, 1, test_of(ONE, "failed"), test_of(TWO))
    assert kept.find(ONE) is None and kept.find(other) is not None


@pytest.mark.parametrize("may_skip", [False, True])
def test_a_skip_is_never_kept_and_fails_the_whole_unless_the_lane_may_skip(kept: Proofs, may_skip: bool) -> None:
    lane = lane_of(ONE, TWO, may_skip=may_skip)
    verdict = judged(kept, 0, test_of(ONE), test_of(ONE, "skipped", "test_b"), test_of(TWO), lane=lane)
    assert verdict.open == {ONE.name: "1 of 2 tests were skipped"}
    assert verdict.failed is not may_skip
    assert kept.find(ONE) is None and kept.find(TWO) is not None


def test_a_failure_among_skips_fails_a_lane_that_may_skip(kept: Proofs) -> None:
    verdict = judged(kept, 1, test_of(ONE, "skipped"), test_of(ONE, "failed", "b"), lane=lane_of(ONE, may_skip=True))
    assert verdict.failed and verdict.open == {ONE.name: "1 of 2 tests failed"}


@pytest.mark.parametrize("may_skip", [False, True])
@pytest.mark.parametrize("status", [2, 3, 4, -2, -9, 137, 255])
def test_nothing_is_kept_of_a_run_that_was_cut_off(kept: Proofs, status: int, may_skip: bool) -> None:
    """Interrupted, an internal error, wrong usage, a signal: nobody knows which tests are missing."""
    kept.keep(Claim(ONE.name, {}), {"test": 1.0})
    verdict = judged(kept, status, test_of(ONE), test_of(TWO), lane=lane_of(ONE, TWO, may_skip=may_skip))
    assert verdict.failed and verdict.now == []
    reason = f"the tests did not run to their end (pytest's exit status {status})"
    assert verdict.open == {ONE.name: reason, TWO.name: reason}
    assert kept.find(ONE) is None and kept.find(TWO) is None


@pytest.mark.parametrize("status", [0, 1, 5, -9])
def test_nothing_is_kept_without_a_report(kept: Proofs, status: int) -> None:
    verdict = judged(kept, status)
    assert verdict.failed and set(verdict.open) >= {ONE.name, TWO.name} and verdict.now == []
    assert kept.find(ONE) is None


def test_a_claim_for_which_no_test_ran_is_not_proved(kept: Proofs) -> None:
    verdict = judged(kept, 0, test_of(TWO))
    assert verdict.failed and set(verdict.open) == {ONE.name}
    assert kept.find(ONE) is None and kept.find(TWO) is not None


@pytest.mark.parametrize(("status", "failed"), [(5, False), (0, False), (1, True), (2, True), (4, True)])
def test_a_lane_that_may_skip_may_have_no_tests_and_no_error(kept: Proofs, status: int, failed: bool) -> None:
    verdict = judged(kept, status, lane=lane_of(ONE, may_skip=True))
    assert verdict.failed is failed and ONE.name in verdict.open and kept.find(ONE) is None


def test_a_failure_that_belongs_to_no_claim_fails_the_whole_and_nothing_is_kept(kept: Proofs) -> None:
    """Kept claims would not run again, and with them the failure would be gone."""
    stray = Outcome("tests/room/test_three.py", "test_x", 1.0, "failed")
    for lane in (lane_of(ONE, TWO), lane_of(ONE, TWO, may_skip=True)):
        verdict = judged(kept, 1, test_of(ONE), stray, test_of(TWO), lane=lane)
        assert verdict.failed and verdict.now == []
        assert set(verdict.open) == {ONE.name, TWO.name, "room"}
        assert verdict.open["room"] == "tests/room/test_three.py::test_x"
        assert kept.find(ONE) is None and kept.find(TWO) is None


def test_a_test_of_no_claim_that_passes_or_is_skipped_changes_nothing(kept: Proofs) -> None:
    strays = [Outcome("tests/room/test_three.py", status, 1.0, status) for status in ("passed", "skipped")]
    verdict = judged(kept, 0, test_of(ONE), *strays, test_of(TWO))
    assert (verdict.open, verdict.failed) == ({}, False)
    found = kept.find(ONE)
    assert found is not None and list(found.tests) == ["tests/room/test_one.py::test_a"]


def test_an_error_of_no_test_fails_the_whole_and_nothing_is_kept(kept: Proofs) -> None:
    verdict = judged(kept, 1, test_of(ONE), test_of(TWO))
    assert verdict.failed and verdict.open["room"] == "pytest reports an error"
    assert kept.find(ONE) is None and kept.find(TWO) is None


def test_what_was_edited_while_the_tests_ran_is_not_kept(kept: Proofs) -> None:
    edited = Claim(ONE.name, {"file": "edited"})
    verdict = judged(kept, 0, test_of(ONE), test_of(TWO), lane=lane_of(ONE, TWO, now=lambda: [edited, TWO]))
    assert verdict.failed and verdict.open == {ONE.name: "a file that it reads was edited while the tests ran"}
    assert kept.find(ONE) is None and kept.find(edited) is None and kept.find(TWO) is not None


def test_nothing_is_kept_when_a_file_went_while_the_tests_ran(kept: Proofs) -> None:
    def gone() -> Sequence[Claim]:
        raise FileNotFoundError("tests/room/test_one.py")

    verdict = judged(kept, 0, test_of(ONE), test_of(TWO), lane=lane_of(ONE, TWO, now=gone))
    assert verdict.failed and set(verdict.open) == {ONE.name, TWO.name}


# ------------------------------------------------------------------------------------------------ whole runs


@dataclass
class Fake:
    """A lane whose tests do what the test says; `ran`: the names of the claims of each run.

    does: called in the middle of a run. passes: names of claims whose tests pass, all of them by default.
    """

    name: str
    names: Sequence[str] = ("a",)
    does: Callable[[], object] = lambda: None
    fails: set[str] = field(default_factory=set)
    ran: list[list[str]] = field(default_factory=list)

    @property
    def lane(self) -> Lane:
        claims = [Claim(f"{self.name}/{name}", {"file": name}) for name in self.names]
        return Lane(self.name, claims, self.run, lambda outcome: outcome.file)

    def run(self, todo: Sequence[Claim], report: Path, output: IO[bytes] | None) -> int:
        assert not report.exists()
        self.ran.append([claim.name for claim in todo])
        if output is not None:
            output.write(f"output of {self.name}\n".encode())
        else:
            print(f"output of {self.name}", flush=True)
        self.does()
        cases = [
            f'<testcase file="{claim.name}" name="test" time="2">{"<failure/>" * (claim.name in self.fails)}</testcase>'
            for claim in todo
        ]
        report.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
        return 1 if self.fails & {claim.name for claim in todo} else 0


def rows(*fakes: Sequence[Fake]) -> list[list[Lane]]:
    return [[fake.lane for fake in row] for row in fakes]


def test_a_second_run_runs_nothing_and_says_when_everything_was_proved(
    kept: Proofs, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = Fake("room", ("a", "b")), Fake("labs", ("c",))
    assert prove(rows([first], [second]), kept) == 0
    assert (first.ran, second.ran) == ([["room/a", "room/b"]], [["labs/c"]])
    printed = capsys.readouterr().out
    assert "  proved now\n" in printed and "on these very bytes" not in printed
    assert "3 proved now, 0 proved before, 0 not proved; 3 tests passed." in printed

    assert prove(rows([first], [second]), kept) == 0
    assert len(first.ran) == len(second.ran) == 1
    printed = capsys.readouterr().out
    assert "output of" not in printed and "  proved now" not in printed
    assert "0 proved now, 3 proved before, 0 not proved; 3 tests passed." in printed
    (line,) = [line for line in printed.splitlines() if "room/a" in line]
    proof = kept.find(first.lane.claims[0])
    assert proof is not None and line.split() == [
        "room/a", "1", "tests", "2", "s", proof.when, "abcdef0", "on", "2", "×", "a", "processor",
    ]  # fmt: skip


def test_only_what_has_no_proof_runs(kept: Proofs, capsys: pytest.CaptureFixture[str]) -> None:
    fake = Fake("room", ("a", "b", "c"))
    kept.keep(fake.lane.claims[1], {"test": 1.0})
    assert prove(rows([fake]), kept) == 0
    assert fake.ran == [["room/a", "room/c"]]
    assert "2 proved now, 1 proved before, 0 not proved" in capsys.readouterr().out


def test_a_failure_runs_again_alone(kept: Proofs, capsys: pytest.CaptureFixture[str]) -> None:
    fake = Fake("room", ("a", "b"), fails={"room/b"})
    assert prove(rows([fake]), kept) == 1
    printed = capsys.readouterr().out
    assert "NOT PROVED\n    room/b " in printed and "1 of 1 tests failed" in printed
    fake.fails.clear()
    assert prove(rows([fake]), kept) == 0
    assert fake.ran == [["room/a", "room/b"], ["room/b"]]


def test_fresh_proves_everything_anew(kept: Proofs, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = Fake("room", ("a", "b")), Fake("labs", ("c",))
    for _ in range(2):
        assert prove(rows([first], [second]), Proofs(kept.cache, fresh=True)) == 0
    assert (len(first.ran), len(second.ran)) == (2, 2)
    assert "3 proved now, 0 proved before" in capsys.readouterr().out
    first.fails = {"room/a"}
    assert prove(rows([first], [second]), Proofs(kept.cache, fresh=True)) == 1
    first.fails = set()
    assert prove(rows([first], [second]), kept) == 0
    assert first.ran[-1] == ["room/a"]  # the failure has ended its proof


def test_two_rows_run_side_by_side_and_the_log_of_the_second_follows(
    kept: Proofs, capsys: pytest.CaptureFixture[str]
) -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE)  # breaks unless both lanes are there at the same time
    first, last = Fake("room", does=meeting.wait), Fake("last")
    second = Fake("labs", does=meeting.wait)
    assert prove(rows([first, last], [second]), kept) == 0
    printed = capsys.readouterr().out
    places = [printed.index(f"output of {name}") for name in ("room", "last", "labs")]
    assert places == sorted(places) and places[-1] < printed.index("proved now")
    assert (testing.LOGS / "labs.log").read_text() == "output of labs\n"


def test_a_further_row_begins_when_one_has_ended(kept: Proofs) -> None:
    """The rows that run at the same time all wait for each other, so none has ended; the further one comes then."""
    meeting = threading.Barrier(testing.SIDE_BY_SIDE, timeout=PATIENCE)
    order: list[str] = []

    def meet() -> None:
        meeting.wait()
        order.append("met")
        meeting.wait()

    fakes = [Fake(f"room-{number}", does=meet) for number in range(testing.SIDE_BY_SIDE)]
    further = [Fake(name, does=lambda name=name: order.append(name)) for name in ("labs", "last")]  # type: ignore[misc]
    assert prove(rows(*([fake] for fake in fakes), [*further]), kept) == 0
    assert order == ["met"] * testing.SIDE_BY_SIDE + ["labs", "last"]


def test_the_lanes_of_a_row_run_one_after_the_other(kept: Proofs) -> None:
    order: list[str] = []
    fakes = [Fake(name, does=lambda name=name: order.append(name)) for name in ("one", "two", "three")]  # type: ignore[misc]
    assert prove(rows(fakes), kept) == 0
    assert order == ["one", "two", "three"]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[threading.Event]]:
    """The first event that a run makes: it tells the rows to stop."""
    made: list[threading.Event] = []
    real = threading.Event

    def make() -> threading.Event:
        made.append(real())
        return made[-1]

    monkeypatch.setattr(testing.threading, "Event", make)
    yield made


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CourseboxError("the disk is full")])
def test_an_interruption_starts_no_further_lane(
    kept: Proofs, stop: list[threading.Event], error: BaseException
) -> None:
    begun = threading.Event()

    def interrupt() -> None:
        assert begun.wait(PATIENCE)
        raise error

    def wait() -> None:
        begun.set()
        assert stop[0].wait(PATIENCE)

    running, further = Fake("labs", does=wait), Fake("labs-2")
    first, behind = Fake("room", does=interrupt), Fake("room-2")
    stop.clear()
    with pytest.raises(type(error)):
        prove(rows([first, behind], [running, further]), kept)
    assert (len(running.ran), further.ran, behind.ran) == (1, [], [])
    assert kept.find(first.lane.claims[0]) is None
    assert kept.find(running.lane.claims[0]) is not None  # it came to its end


def test_an_error_in_the_second_row_is_not_lost(kept: Proofs, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise CourseboxError("docker run failed")

    first, broken, behind = Fake("room"), Fake("labs", ("x", "y"), does=fail), Fake("behind")
    with pytest.raises(CourseboxError, match="docker run failed"):
        prove(rows([first], [broken, behind]), kept)
    assert len(first.ran) == 1 and behind.ran == []
    printed = capsys.readouterr().out
    assert "output of labs" in printed
    for name in ("labs/x", "labs/y", "behind/a"):
        assert f"    {name:<40} its tests did not run" in printed
    assert "1 proved now, 0 proved before, 3 not proved" in printed


def test_an_old_report_or_log_does_not_count(kept: Proofs, capsys: pytest.CaptureFixture[str]) -> None:
    fake = Fake("labs")
    assert prove(rows([], [fake]), kept) == 0
    killed = Fake("labs")
    killed.run = lambda todo, report, output: -9  # type: ignore[method-assign]
    capsys.readouterr()
    assert prove(rows([], [killed]), Proofs(kept.cache, fresh=True)) == 1
    printed = capsys.readouterr().out
    assert "exit status -9" in printed and "output of labs" not in printed
    assert prove(rows([], [fake]), kept) == 0
    assert "output of labs" not in capsys.readouterr().out


def test_the_time_that_it_took_the_last_time_is_said_before(kept: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(testing, "say", said.append)
    fake = Fake("room", ("a", "b"))
    prove(rows([fake], []), kept)
    prove(rows([fake], []), Proofs(kept.cache, fresh=True))
    announced = [line for line in said if line.startswith("‣")]
    assert announced == [
        "‣ room: 2 of 2 to prove",
        "‣ room: 2 of 2 to prove, 4 s of tests the last time",
    ]
    prove(rows([], [Fake("labs")]), kept)
    assert said[-2] == "‣ labs: 1 of 1 to prove; its output is in build/tests/labs.log"


TESTS = """
import os, pytest

@pytest.mark.parametrize("lab", ["01_a", "02_b"])
def test_solution(lab): assert lab != os.environ.get("BROKEN")

def test_ends():
    if os.environ.get("ENDS"): raise KeyboardInterrupt
"""


def test_with_pytest_itself(kept: Proofs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption keeps nothing, though tests have passed before it; a failure keeps the other claim."""
    (tmp_path / "test_labs.py").write_text(TESTS)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # plug-ins take most of the time
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    chosen: list[list[str]] = []

    def run(todo: Sequence[Claim], report: Path, output: IO[bytes] | None) -> int:
        chosen.append([claim.name for claim in todo])
        words = ["-q", "-p", "no:cacheprovider", *outcomes.options(report), "test_labs.py"]
        return subprocess.run(
            [sys.executable, "-m", "pytest", *words], cwd=tmp_path, stdout=subprocess.DEVNULL, check=False
        ).returncode

    def claim_of(outcome: Outcome) -> str:
        return outcome.name.partition("[")[2].rstrip("]") or "01_a"

    lane = Lane("labs", [Claim("01_a", {}), Claim("02_b", {})], run, claim_of)
    monkeypatch.setenv("ENDS", "1")
    assert prove([[lane]], kept) == 1
    monkeypatch.delenv("ENDS")
    monkeypatch.setenv("BROKEN", "01_a")
    assert prove([[lane]], kept) == 1
    assert kept.find(Claim("01_a", {})) is None and kept.find(Claim("02_b", {})) is not None
    assert chosen == [["01_a", "02_b"], ["01_a", "02_b"]]
