"""Proofs: which tests have passed on which bytes.

A proof is kept like the result of a stage. Its key is the digest of all that the tests read: the delivered bytes, the
tests' sources, the versions of the tools. Its content is the list of tests that passed. When nothing of that has
changed, the tests need not run again. What failed or was skipped is never kept.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from coursebox.core.digests import sha256_value
from coursebox.core.files import write_text
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.run import capture
from coursebox.core.stages import storage_error

FORMAT = 1  # of the records; another number makes all of them unknown
KEPT = 30  # records of one claim; the oldest goes first


@dataclass(frozen=True)
class Claim:
    """Something that tests prove together.

    name: what the user reads, for example "container/test_ssh.py". reads: what decides the outcome, JSON-like values;
    files and trees stand there by their digests.
    """

    name: str
    reads: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The digest (32 hex digits) of all that is read."""
        return sha256_value({"format": FORMAT, "claim": self.name, "reads": self.reads})[:32]


@dataclass(frozen=True)
class Proof:
    """A kept outcome: the tests that passed, each with its seconds; when (ISO 8601, UTC), where, on which commit."""

    claim: str
    key: str
    tests: Mapping[str, float]
    when: str
    where: str
    commit: str

    @property
    def seconds(self) -> float:
        """The time of all its tests."""
        return sum(self.tests.values())


@dataclass(frozen=True)
class Proofs:
    """The proofs in a cache: proofs/<claim>/<key>.json. fresh: pretend that nothing is proved yet."""

    cache: Cache
    fresh: bool = False

    def find(self, claim: Claim) -> Proof | None:
        """The proof of `claim` for exactly what it reads now; a damaged record counts as none."""
        if self.fresh:
            return None
        place = self._place(claim)
        proof = _read(place)
        if proof is None or (proof.claim, proof.key) != (claim.name, claim.key):
            return None
        with contextlib.suppress(OSError):  # the cache of somebody else can be read, too
            os.utime(place)  # the oldest record goes first
        return proof

    def keep(self, claim: Claim, tests: Mapping[str, float]) -> Proof:
        """Record that all `tests` (name → seconds) of a claim have passed; at least one.

        The record is whole or absent. Raises CourseboxError when the cache cannot be written.
        """
        if not tests:
            raise ValueError(f"{claim.name}: no test has passed, so nothing is proved")
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        proof = Proof(claim.name, claim.key, dict(sorted(tests.items())), when, where(), commit())
        place = self._place(claim)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_text(place, json.dumps(asdict(proof), indent=1, ensure_ascii=False))
        except OSError as error:
            raise storage_error(error, self.cache) from error
        for old in self._records(claim)[KEPT:]:
            old.unlink(missing_ok=True)
        return proof

    def last(self, claim: Claim) -> Proof | None:
        """The newest proof of a claim of this name, of whatever it has read."""
        return next((proof for place in self._records(claim) if (proof := _read(place))), None)

    def forget(self, claim: Claim) -> None:
        """Remove the proof of a claim whose tests have failed now."""
        self._place(claim).unlink(missing_ok=True)

    def _place(self, claim: Claim) -> Path:
        return self.cache.root / "proofs" / quote(claim.name, safe=" .") / f"{claim.key}.json"

    def _records(self, claim: Claim) -> list[Path]:
        """The records of all claims of this name; the one that was used last comes first."""
        return sorted(self._place(claim).parent.glob("[!.]*.json"), key=_used, reverse=True)


def missing(claims: Collection[Claim], proofs: Proofs) -> list[Claim]:
    """Those of `claims` that have no proof."""
    return [claim for claim in claims if proofs.find(claim) is None]


def _read(place: Path) -> Proof | None:
    """The record at `place`; None where there is none, or where it is not what `keep` writes."""
    try:
        proof = Proof(**json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = (proof.claim, proof.key, proof.when, proof.where, proof.commit)
    if not all(isinstance(text, str) for text in texts) or not isinstance(proof.tests, dict) or not proof.tests:
        return None
    return proof if all(isinstance(seconds, int | float) for seconds in proof.tests.values()) else None


def _used(place: Path) -> float:
    """When a record was last used, in seconds since 1970; 0 when it is gone meanwhile."""
    try:
        return place.stat().st_mtime
    except OSError:
        return 0.0


@functools.cache
def where() -> str:
    """This machine in a few words: its processors and its system."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        info = ""
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    return f"{os.cpu_count()} × {names[0] if names else platform.machine()}"


@functools.cache
def commit() -> str:
    """The commit that is checked out, with a plus sign when files differ from it; "" without git."""
    head = capture(["git", "-C", CHECKOUT, "rev-parse", "--short", "HEAD"]).stdout.strip()
    changed = capture(["git", "-C", CHECKOUT, "status", "--porcelain"]).stdout.strip()
    return head + ("+" if head and changed else "")
