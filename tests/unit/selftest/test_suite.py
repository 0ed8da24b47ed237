"""One check must not hide another, whatever it does to the process that it runs in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from course_selftest.catalog import Check
from course_selftest.isolation import Died
from course_selftest.options import Options
from course_selftest.outcome import Row
from course_selftest.suite import Suite

CHECKS = [Check(name, name, "x:y", 1, 1) for name in ("one", "two", "three")]


def results(suite: Suite) -> dict[str, tuple[str, str]]:
    rows = [suite.run(check) for check in CHECKS]
    return {row.name: (row.result, row.text) for row in rows}


def test_one_worker_serves_all_and_is_closed(starter: Callable[..., Any]) -> None:
    start = starter()
    with Suite(Options(), start) as suite:
        assert {result for result, _ in results(suite).values()} == {"ok"}
    assert [worker.ran for _, worker in start.started] == [["one", "two", "three"]]
    assert start.started[0][1].closed
    assert suite.machine["torch"] == "2.6.0"


def test_a_spoilt_worker_is_replaced(starter: Callable[..., Any]) -> None:
    failed = Row("one", "FAILED", "CUDA error: device-side assert triggered")
    start = starter({"one": failed}, spoils=["one"])
    with Suite(Options(), start) as suite:
        assert [result for result, _ in results(suite).values()] == ["FAILED", "ok", "ok"]
    assert [worker.ran for _, worker in start.started] == [["one"], ["two", "three"]]
    assert all(worker.closed for _, worker in start.started)


def test_a_dead_worker_is_replaced_and_its_last_words_are_told(starter: Callable[..., Any]) -> None:
    start = starter({"two": Died("the process of the checks was ended by signal 11 (SIGSEGV)", "first\nlast")})
    with Suite(Options(), start) as suite:
        row = [suite.run(check) for check in CHECKS][1]
        assert suite.run(CHECKS[2]).result == "ok"
    assert row.result == "FAILED"
    assert row.text == "The process of the checks was ended by signal 11 (SIGSEGV). Its last words: last"
    assert row.detail == "first\nlast"


def test_without_torch_the_first_row_says_so(starter: Callable[..., Any]) -> None:
    start = starter(error="ModuleNotFoundError: No module named 'torch'")
    with Suite(Options(), start) as suite:
        said = results(suite)
    assert said["one"] == ("FAILED", "PyTorch cannot be imported: ModuleNotFoundError: No module named 'torch'.")
    assert said["two"] == said["three"] == ("skipped", "PyTorch cannot be imported")
    assert len(start.started) == 1 and suite.machine == {}


def test_when_cuda_ends_the_process_the_rest_goes_on_without(starter: Callable[..., Any]) -> None:
    good = starter()

    def make(options: Options) -> Any:
        return good(options) if options.no_gpu else Died("did not end within 600 s", "")

    start = type(good)(make)
    with Suite(Options(repeat=3), start) as suite:
        said = results(suite)
    assert said["one"] == ("FAILED", "PyTorch or CUDA cannot be started: did not end within 600 s.")
    assert said["two"][0] == said["three"][0] == "ok"
    assert [options.no_gpu for options, _ in start.started] == ["", "CUDA cannot be started"]
    assert {options.repeat for options, _ in start.started} == {3}


def test_when_nothing_starts_it_is_tried_twice(starter: Callable[..., Any]) -> None:
    start = type(starter())(lambda options: Died("the process of the checks ended with exit code 1", ""))
    with Suite(Options(), start) as suite:
        said = results(suite)
    assert [result for result, _ in said.values()] == ["FAILED", "FAILED", "skipped"]
    assert said["three"][1] == "PyTorch cannot be started"
    assert len(start.started) == 2
