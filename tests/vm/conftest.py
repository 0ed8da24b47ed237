"""One delivered file, a few starts of it: they are slow without KVM, so the tests of a file share one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

# pytest's importlib mode puts no folder of tests on the search path; delivered and browser are for these tests only.
sys.path.insert(0, str(Path(__file__).parent))

from delivered import Delivered


@pytest.fixture(scope="session")
def delivered(request: pytest.FixtureRequest) -> Iterator[Delivered]:
    made = Delivered()
    request.session.stash[KEY] = made
    yield made
    shutil.rmtree(made.work)  # gigabytes; what tells of the run is elsewhere in build/


KEY: pytest.StashKey[Delivered] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a failed test leaves on the machine, before the machine goes."""
    report = yield
    made = item.session.stash.get(KEY, None)
    if report.failed and made is not None and made.session is not None:
        made.session.save_evidence(item.name)
    return report
