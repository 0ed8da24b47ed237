"""What pytest reports of each test: read from the reports of real runs on small files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from coursebox.verify.outcomes import Outcome, options, read_outcomes

PLACE = "tests/Übungen/test_größe.py"
TESTS = """
import pytest

@pytest.fixture
def no_start():
    raise RuntimeError("no start")

@pytest.fixture
def no_end():
    yield
    raise RuntimeError("no end")

def test_passes(): pass
def test_fails(): assert False
def test_error_in_set_up(no_start): pass
def test_error_in_clean_up(no_end): pass
def test_error_after_a_failure(no_end): assert False
def test_error_after_a_skip(no_end): pytest.skip("not here")
def test_skips(): pytest.skip("not here")
@pytest.mark.skip(reason="never")
def test_marked(): pass
@pytest.mark.xfail
def test_is_expected_to_fail(): assert False
@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail_and_passes(): pass
def test_grüße(): pass
@pytest.mark.parametrize("text", ["a[b]", "02_neighbours-PCA", "x::y", "<&\\">", "é", "\\x1b"])
def test_with(text): assert text != "x::y"
"""
EXPECTED = {
    "test_passes": "passed",
    "test_fails": "failed",
    "test_error_in_set_up": "failed",
    "test_error_in_clean_up": "failed",
    "test_error_after_a_failure": "failed",
    "test_error_after_a_skip": "failed",
    "test_skips": "skipped",
    "test_marked": "skipped",
    "test_is_expected_to_fail": "skipped",  # it does not pass, so it proves nothing
    "test_is_expected_to_fail_and_passes": "failed",
    "test_grüße": "passed",
    "test_with[a[b]]": "passed",
    "test_with[02_neighbours-PCA]": "passed",
    "test_with[x::y]": "failed",
    'test_with[<&">]': "passed",
    "test_with[\\xe9]": "passed",
    "test_with[\\x1b]": "passed",
}


FILES = {
    PLACE: TESTS,
    "tests/test_broken.py": "import nowhere_to_be_found\ndef test_one(): pass\n",
}
CRASHES = "import os\ndef test_one(): pass\ndef test_crashes(): os._exit(3)\ndef test_two(): pass\n"


def run(folder: Path, files: Mapping[str, str], *words: str) -> tuple[int, list[Outcome], Path]:
    """Run pytest in a new folder on these files; its exit status, the outcomes, and the place of the report."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options(report), *words, *files]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plug-ins take most of the time
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    return done.returncode, read_outcomes(report), report


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[Outcome], Path]:
    """A run on FILES."""
    return run(tmp_path_factory.mktemp("alone"), FILES, "--continue-on-collection-errors")


@pytest.fixture(scope="module")
def report(made: tuple[int, list[Outcome], Path]) -> Path:
    return made[2]


def test_each_test_has_one_outcome_in_the_order_of_the_file(made: tuple[int, list[Outcome], Path]) -> None:
    status, outcomes, _ = made
    assert status == 1
    ours = {outcome.name: outcome.status for outcome in outcomes if outcome.file == PLACE}
    assert ours == EXPECTED
    assert list(ours) == list(EXPECTED)


def test_an_outcome_names_its_test_and_its_time(made: tuple[int, list[Outcome], Path]) -> None:
    assert f"{PLACE}::test_with[a[b]]" in {outcome.test for outcome in made[1]}
    assert all(0 <= outcome.seconds < 30 for outcome in made[1])


def test_a_file_that_cannot_be_read_is_a_failure(made: tuple[int, list[Outcome], Path]) -> None:
    others = [outcome for outcome in made[1] if outcome.file != PLACE]
    assert [(outcome.file, outcome.status) for outcome in others] == [("tests/test_broken.py", "failed")]


def test_two_processes_report_the_same_and_a_crash_is_a_failure(tmp_path: Path) -> None:
    crashing = "tests/test_crash.py"
    status, outcomes, _ = run(tmp_path, {PLACE: TESTS, crashing: CRASHES}, "-p", "xdist", "--numprocesses=2")
    expected = {f"{PLACE}::{name}": status for name, status in EXPECTED.items()}
    expected |= {f"{crashing}::test_{name}": "passed" for name in ("one", "two")}
    assert {outcome.test: outcome.status for outcome in outcomes} == {**expected, f"{crashing}::test_crashes": "failed"}
    assert status == 1


def test_the_worse_entry_of_a_test_counts_in_each_order(tmp_path: Path) -> None:
    case = '<testcase file="t.py" name="test_a" time="{}">{}</testcase>'
    passed, skipped, failed = case.format(1, ""), case.format(2, "<skipped/>"), case.format(3, "<error/>")
    report = tmp_path / "report.xml"
    for entries, status, seconds in (
        ((passed, failed), "failed", 3.0), ((failed, passed), "failed", 3.0), ((skipped, passed), "skipped", 2.0),
        ((failed, skipped), "failed", 3.0), ((passed, passed), "passed", 1.0),
    ):  # fmt: skip
        report.write_text(f"<testsuites><testsuite>{''.join(entries)}</testsuite></testsuites>")
        assert read_outcomes(report) == [Outcome("t.py", "test_a", seconds, status)]


def test_without_the_file_its_place_follows_from_the_module(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    case = '<testcase classname="tests.vm.test_a" name="test_b"/>'
    report.write_text(f"<testsuites><testsuite>{case}</testsuite></testsuites>")
    assert read_outcomes(report) == [Outcome("tests/vm/test_a.py", "test_b", 0.0, "passed")]


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.9, 1.0])
def test_a_report_that_was_cut_has_no_outcomes(report: Path, tmp_path: Path, kept: float) -> None:
    whole = report.read_bytes().rstrip()
    (tmp_path / "cut.xml").write_bytes(whole[: min(int(len(whole) * kept), len(whole) - 1)])
    assert read_outcomes(tmp_path / "cut.xml") == []


def test_what_is_no_report_has_no_outcomes(tmp_path: Path) -> None:
    (tmp_path / "text.xml").write_text("Error response from daemon: no such container")
    assert read_outcomes(tmp_path / "text.xml") == []
    assert read_outcomes(tmp_path / "missing.xml") == []
    assert read_outcomes(tmp_path) == []
