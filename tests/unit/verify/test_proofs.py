"""Proofs: found only for exactly what was read, whole or absent, and never of anything but passed tests."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.verify import proofs as module
from coursebox.verify.proofs import Claim, Proofs, missing

READS: Mapping[str, Any] = {"cuda": {"system": "1a", "entry": "2b"}, "tests": "3c", "mutants": True, "files": [1, "x"]}
CLAIM = Claim("container/test_ssh.py", READS)
TESTS = {"tests/container/test_ssh.py::test_größe[a-b]": 1.5, "tests/container/test_ssh.py::test_a": 0.25}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def proofs(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Proofs:
    monkeypatch.setattr(module, "where", lambda: "2 × a processor")
    monkeypatch.setattr(module, "commit", lambda: "abcdef0+")
    return Proofs(cache)


@pytest.fixture
def record(proofs: Proofs) -> Path:
    """The file of a proof of CLAIM."""
    proofs.keep(CLAIM, TESTS)
    (path,) = files(proofs)
    return path


def files(proofs: Proofs) -> list[Path]:
    """Everything that lies below the folder of proofs."""
    return sorted(path for path in (proofs.cache.root / "proofs").rglob("*") if not path.is_dir())


def test_a_proof_is_found_as_it_was_kept(proofs: Proofs) -> None:
    kept = proofs.keep(CLAIM, TESTS)
    found = Proofs(proofs.cache).find(CLAIM)
    assert found == kept
    assert found is not None and found.tests == TESTS and found.seconds == 1.75
    assert (found.claim, found.where, found.commit) == (CLAIM.name, "2 × a processor", "abcdef0+")
    assert found.when.endswith("Z") and found.when[10] == "T"


CHANGES: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "a digest": lambda reads: reads.update(tests="3d"),
    "a digest in a part": lambda reads: reads.update(cuda={"system": "1a", "entry": "2c"}),
    "a part more": lambda reads: reads.update(cuda={**reads["cuda"], "labs": ""}),
    "a part less": lambda reads: reads.update(cuda={"system": "1a"}),
    "an entry more": lambda reads: reads.update(vm={}),
    "an entry less": lambda reads: reads.pop("mutants"),
    "another truth": lambda reads: reads.update(mutants=False),
    "another kind of the same text": lambda reads: reads.update(mutants="true"),
    "another order of a list": lambda reads: reads.update(files=["x", 1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_in_what_is_read_there_is_no_proof(proofs: Proofs, change: str) -> None:
    proofs.keep(CLAIM, TESTS)
    reads = dict(READS)
    CHANGES[change](reads)
    assert proofs.find(replace(CLAIM, reads=reads)) is None
    assert proofs.find(CLAIM) is not None


def test_another_name_or_another_form_of_record_is_another_claim(
    proofs: Proofs, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs.keep(CLAIM, TESTS)
    other = replace(CLAIM, name="container/test_hub.py")
    assert proofs.find(other) is None and other.key != CLAIM.key
    monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
    assert proofs.find(CLAIM) is None


def test_the_order_of_entries_does_not_count(proofs: Proofs) -> None:
    proofs.keep(CLAIM, TESTS)
    assert proofs.find(replace(CLAIM, reads=dict(reversed(READS.items())))) is not None


def test_names_that_only_look_alike_are_kept_apart(proofs: Proofs) -> None:
    names = ("labs/a", "labs%2Fa", "labs_a", "labs/a.py", "../labs")
    for name in names:
        proofs.keep(Claim(name, {}), {name: 1.0})
    for name in names:
        found = proofs.find(Claim(name, {}))
        assert found is not None and list(found.tests) == [name]
        assert proofs.last(Claim(name, {"another": "edition"})) == found
    assert {path.parent.parent for path in files(proofs)} == {proofs.cache.root / "proofs"}


def changed(text: str, **fields: object) -> bytes:
    return json.dumps({**json.loads(text), **fields}).encode()


def without(text: str, field: str) -> bytes:
    return json.dumps({name: value for name, value in json.loads(text).items() if name != field}).encode()


DAMAGES: Mapping[str, Callable[[str], bytes]] = {
    "empty": lambda text: b"",
    "cut": lambda text: text.encode()[: len(text) // 2],
    "cut at its end": lambda text: text.encode()[:-1],
    "zeros": lambda text: bytes(len(text)),
    "not UTF-8": lambda text: text.encode("utf-16"),
    "null": lambda text: b"null",
    "a list": lambda text: b"[]",
    "a number": lambda text: b"7",
    "a text": lambda text: b'"passed"',
    "an empty table": lambda text: b"{}",
    "very deep": lambda text: b"[" * 100_000,
    "without commit": lambda text: without(text, "commit"),
    "with more": lambda text: changed(text, more=1),
    "of another claim": lambda text: changed(text, claim="container/test_hub.py"),
    "of another key": lambda text: changed(text, key="0" * 32),
    "no tests": lambda text: changed(text, tests={}),
    "tests in a list": lambda text: changed(text, tests=[["a", 1.0]]),
    "tests as a text": lambda text: changed(text, tests="all"),
    "tests as a number": lambda text: changed(text, tests=3),
    "seconds as a text": lambda text: changed(text, tests={"a": "1.0"}),
    "without seconds": lambda text: changed(text, tests={"a": None}),
    "a date that is a number": lambda text: changed(text, when=20261128),
    "a place that is a list": lambda text: changed(text, where=["here"]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_an_absent_one(proofs: Proofs, record: Path, damage: str) -> None:
    whole = record.read_text(encoding="utf-8")
    record.write_bytes(DAMAGES[damage](whole))
    assert proofs.find(CLAIM) is None
    last = proofs.last(CLAIM)
    assert last is None or last.seconds > 0  # of another claim or key it is whole
    assert missing([CLAIM], proofs) == [CLAIM]
    proofs.keep(CLAIM, TESTS)
    assert proofs.find(CLAIM) is not None and record.read_text(encoding="utf-8")[:10] == whole[:10]


def test_what_is_no_file_is_no_record(proofs: Proofs, record: Path) -> None:
    record.unlink()
    record.mkdir()
    assert proofs.find(CLAIM) is None and proofs.last(CLAIM) is None
    record.rmdir()
    record.symlink_to("nowhere")
    assert proofs.find(CLAIM) is None and proofs.last(CLAIM) is None


def test_without_a_cache_nothing_is_proved(proofs: Proofs) -> None:
    assert proofs.find(CLAIM) is None and proofs.last(CLAIM) is None
    proofs.forget(CLAIM)
    assert not proofs.cache.root.exists()


def test_a_cache_that_can_only_be_read_is_enough(proofs: Proofs, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "utime", refuse)
    assert proofs.find(CLAIM) is not None


def test_fresh_hides_proofs_and_keeps_new_ones(proofs: Proofs, record: Path) -> None:
    fresh = Proofs(proofs.cache, fresh=True)
    assert fresh.find(CLAIM) is None and missing([CLAIM], fresh) == [CLAIM]
    fresh.keep(CLAIM, {"only": 1.0})
    found = proofs.find(CLAIM)
    assert found is not None and found.tests == {"only": 1.0}


def test_nothing_is_proved_without_a_test(proofs: Proofs) -> None:
    with pytest.raises(ValueError, match=r"container/test_ssh\.py: no test has passed"):
        proofs.keep(CLAIM, {})
    assert files(proofs) == []


def test_a_forgotten_proof_is_gone_and_others_stay(proofs: Proofs, record: Path) -> None:
    other = replace(CLAIM, reads={})
    proofs.keep(other, TESTS)
    proofs.forget(CLAIM)
    assert missing([CLAIM, other], proofs) == [CLAIM]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """A function that sets the time of a record; each call is a second later than the one before."""
    now = iter(range(1_000_000_000, 2_000_000_000))

    def tick(path: Path, *_: object) -> None:
        real(path, (second := next(now), second))

    real = os.utime
    monkeypatch.setattr(os, "utime", tick)
    yield tick


def test_the_records_of_a_claim_are_limited_and_the_unused_go(
    proofs: Proofs, monkeypatch: pytest.MonkeyPatch, clock: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    claims = [replace(CLAIM, reads={"edition": number}) for number in range(5)]
    other = Claim("vm", {})
    proofs.keep(other, TESTS)
    for claim in claims[:3]:
        proofs.keep(claim, TESTS)
        clock(proofs._place(claim))
    assert proofs.find(claims[0]) is not None  # used, so it is not the next one to go
    proofs.keep(claims[3], TESTS)
    clock(proofs._place(claims[3]))
    assert missing(claims, proofs) == [claims[1], claims[4]]
    proofs.keep(claims[4], TESTS)
    assert len(files(proofs)) == 4 and proofs.find(other) is not None


def test_the_last_proof_of_a_name_tells_how_long_it_took(proofs: Proofs, clock: Callable[[Path], None]) -> None:
    for number in (1, 3, 2):
        claim = replace(CLAIM, reads={"edition": number})
        proofs.keep(claim, {"test": float(number)})
        clock(proofs._place(claim))
    found = proofs.last(CLAIM)
    assert found is not None and found.seconds == 2.0
    proofs._place(claim).write_text("{")
    found = proofs.last(CLAIM)
    assert found is not None and found.seconds == 3.0


def test_a_killed_write_leaves_no_record(cache: Cache) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from coursebox.core.paths import Cache;"
        "from coursebox.verify.proofs import Claim, Proofs\n"
        "os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Proofs(Cache(Path(sys.argv[1]))).keep(Claim('vm', {}), {'test': 1.0})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(cache.root)], check=False)
    proofs = Proofs(cache)
    assert done.returncode == -signal.SIGKILL
    assert len(files(proofs)) == 1  # what was being written
    assert proofs.find(Claim("vm", {})) is None and proofs.last(Claim("vm", {})) is None
    proofs.keep(Claim("vm", {}), {"test": 2.0})
    assert proofs.find(Claim("vm", {})) is not None


def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(
    proofs: Proofs, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = record.read_bytes()
    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(CourseboxError, match="No space left on device"):
        proofs.keep(CLAIM, {"other": 1.0})
    assert files(proofs) == [record] and record.read_bytes() == before


def test_a_record_is_replaced_and_not_written_over(proofs: Proofs, record: Path, tmp_path: Path) -> None:
    before = record.read_bytes()
    os.link(record, tmp_path / "before")
    proofs.keep(CLAIM, {"other": 1.0})
    assert (tmp_path / "before").read_bytes() == before != record.read_bytes()


def test_a_record_is_on_the_disk_before_it_has_its_name(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def sync(file: int) -> None:
        if (place := Path(f"/proc/self/fd/{file}").resolve()).is_file():  # not the folder, which follows the rename
            written.append(place.read_text(encoding="utf-8"))
            assert proofs.find(CLAIM) is None

    monkeypatch.setattr(os, "fsync", sync)
    proofs.keep(CLAIM, TESTS)
    assert written == [files(proofs)[0].read_text(encoding="utf-8")]


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True)


def test_the_commit_says_whether_files_differ_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    commit = module.commit.__wrapped__
    assert commit() == ""
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "--message", "a")
    clean = commit()
    assert len(clean) >= 7 and "+" not in clean
    (tmp_path / "new").touch()
    assert commit() == f"{clean}+"


def test_the_place_is_this_machine() -> None:
    assert module.where().startswith(f"{os.cpu_count()} × ")
