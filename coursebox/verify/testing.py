"""`make test`: prove what is not proved yet, and say of the rest when and where it was proved.

Rows of lanes run side by side. Nothing has less right to the processors than another: what is limited is limited in
computing time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from coursebox.core.console import say
from coursebox.core.paths import CHECKOUT
from coursebox.verify.lanes import Lane
from coursebox.verify.outcomes import Outcome, read_outcomes
from coursebox.verify.proofs import Claim, Proof, Proofs, missing

LOGS = CHECKOUT / "build" / "tests"
SIDE_BY_SIDE = 3  # rows at a time: two processors have something to do while one row waits
_FINE = (0, 5)  # exit statuses of pytest: all passed; no tests were found


@dataclass
class Verdict:
    """What is known of the claims of some lanes: proved in this run, proved before, not proved (with the reason)."""

    now: list[Proof] = field(default_factory=list)
    before: list[Proof] = field(default_factory=list)
    open: dict[str, str] = field(default_factory=dict)
    failed: bool = False


def prove(rows: Sequence[Sequence[Lane]], proofs: Proofs) -> int:
    """Run the lanes of each row one after the other, SIDE_BY_SIDE rows at a time; print what was proved.

    The rows begin in their order. The first one has the terminal; the output of the others is in
    build/tests/<lane>.log and follows at the end.
    Returns 0 when everything is proved, or skipped where a lane may skip; else 1. Raises what kept a lane from running.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    verdict = Verdict()
    stop = threading.Event()
    lock = threading.Lock()
    errors: list[Exception] = []
    first, *others = rows

    def run_row(lanes: Sequence[Lane], *, shown: bool) -> None:
        for lane in lanes:
            if stop.is_set():
                return
            _run_lane(lane, proofs, verdict, lock, shown=shown)

    def run_beside(lanes: Sequence[Lane]) -> None:
        try:
            run_row(lanes, shown=False)
        except Exception as error:  # the end of this row only; it is raised when the other ones have ended
            errors.append(error)

    pool = ThreadPoolExecutor(SIDE_BY_SIDE - 1)
    for lanes in others:
        pool.submit(run_beside, lanes)
    try:
        run_row(first, shown=True)
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown()  # waits for the other rows; one that has not begun sees the stop
    for lane in (lane for row in others for lane in row):
        _show(LOGS / f"{lane.name}.log")
    known = {*verdict.open, *(proof.claim for proof in (*verdict.now, *verdict.before))}
    for claim in (claim for row in rows for lane in row for claim in lane.claims if claim.name not in known):
        verdict.open[claim.name] = "its tests did not run"
        verdict.failed = True
    print(summary(verdict), flush=True)
    if errors:
        raise errors[0]
    return 1 if verdict.failed else 0


def _run_lane(lane: Lane, proofs: Proofs, verdict: Verdict, lock: threading.Lock, *, shown: bool) -> None:
    log = LOGS / f"{lane.name}.log"
    log.unlink(missing_ok=True)
    todo = missing(lane.claims, proofs)
    with lock:
        verdict.before += [proof for claim in lane.claims if claim not in todo and (proof := proofs.find(claim))]
    if not todo:
        return
    say(f"‣ {lane.name}: {len(todo)} of {len(lane.claims)} to prove{_estimate(todo, proofs)}"
        + ("" if shown else f"; its output is in {log.relative_to(CHECKOUT)}"))  # fmt: skip
    report = LOGS / f"{lane.name}.xml"
    report.unlink(missing_ok=True)
    begin = time.monotonic()
    if shown:
        status = lane.run(todo, report, None)
    else:
        with log.open("wb") as output:
            status = lane.run(todo, report, output)
    say(f"  {lane.name}: {time.monotonic() - begin:.1f} s")
    with lock:
        judge(lane, todo, status, read_outcomes(report), proofs, verdict)


def judge(
    lane: Lane, todo: Sequence[Claim], status: int, outcomes: Sequence[Outcome], proofs: Proofs, verdict: Verdict
) -> None:
    """Keep a proof of each claim whose tests have all passed; note why the others are open.

    status: how pytest ended. When it was cut off (neither 0 nor 1), nobody knows which tests are missing; when
    something failed that belongs to no claim, nobody knows whose fault it is: then nothing is kept. A claim that reads
    something else by now is not kept either.
    """
    keys = _keys_now(lane, todo)
    by_claim: dict[str, list[Outcome]] = {claim.name: [] for claim in todo}
    failures = [outcome for outcome in outcomes if outcome.status == "failed"]
    strays = [outcome.test for outcome in failures if lane.claim_of(outcome) not in by_claim]
    unclear = bool(strays) or (status == 1 and not failures)
    for outcome in outcomes:
        by_claim.setdefault(lane.claim_of(outcome), []).append(outcome)
    for claim in todo:
        found = by_claim[claim.name]
        failed = [outcome for outcome in found if outcome.status == "failed"]
        skipped = [outcome for outcome in found if outcome.status == "skipped"]
        if failed:
            verdict.open[claim.name] = f"{len(failed)} of {len(found)} tests failed"
            verdict.failed = True
            proofs.forget(claim)
        elif status not in (0, 1) or not found:
            verdict.open[claim.name] = f"the tests did not run to their end (pytest's exit status {status})"
            verdict.failed |= not (status in _FINE and lane.may_skip)
        elif skipped:
            verdict.open[claim.name] = f"{len(skipped)} of {len(found)} tests were skipped"
            verdict.failed |= not lane.may_skip
        elif unclear:
            verdict.open[claim.name] = "something failed beside its tests that belongs to no claim"
        elif claim.key not in keys:
            verdict.open[claim.name] = "a file that it reads was edited while the tests ran"
            verdict.failed = True
        else:
            tests = {outcome.test: outcome.seconds for outcome in found}
            verdict.now.append(proofs.keep(claim, tests))
    if unclear:
        verdict.open[lane.name] = "; ".join(strays) or "pytest reports an error"
        verdict.failed = True


def summary(verdict: Verdict) -> str:
    """The last lines of `make test`: every claim, with how and when it was proved, or why it is not."""
    lines = []
    for title, proofs in (("proved now", verdict.now), ("proved before, on these very bytes", verdict.before)):
        if proofs:
            lines += ["", f"  {title}"]
            lines += [_line(proof, dated=proofs is verdict.before) for proof in sorted(proofs, key=lambda p: p.claim)]
    if verdict.open:
        lines += ["", "  NOT PROVED"]
        lines += [f"    {name:<40} {reason}" for name, reason in sorted(verdict.open.items())]
    tests = sum(len(proof.tests) for proof in [*verdict.now, *verdict.before])
    counts = f"{len(verdict.now)} proved now, {len(verdict.before)} proved before, {len(verdict.open)} not proved"
    lines += ["", f"  {counts}; {tests} tests passed. FRESH=1 proves everything anew."]
    return "\n".join(lines)


def _keys_now(lane: Lane, todo: Sequence[Claim]) -> set[str]:
    """The keys of the lane's claims by what they read now; none when one of their files is gone."""
    try:
        return {claim.key for claim in (todo if lane.claims_now is None else lane.claims_now())}
    except OSError:
        return set()


def _estimate(todo: Sequence[Claim], proofs: Proofs) -> str:
    """How long these tests took when they last passed here."""
    seconds = [proof.seconds for claim in todo if (proof := proofs.last(claim))]
    return f", {sum(seconds):.0f} s of tests the last time" if len(seconds) == len(todo) else ""


def _line(proof: Proof, *, dated: bool) -> str:
    text = f"    {proof.claim:<40} {len(proof.tests):>5} tests {proof.seconds:>7.0f} s"
    return f"{text}   {proof.when} {proof.commit} on {proof.where}" if dated else text


def _show(log: Path) -> None:
    if log.is_file():
        print(log.read_text(encoding="utf-8", errors="replace"), flush=True)
