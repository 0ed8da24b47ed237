"""How two processes share these tests: what goes into one process, and in which order.

pytest-xdist hands out units of work, one after the other, in the order of the command line. Here a file is a unit, for
its tests share costly fixtures; each lab is one, for its tests share the outcomes of its mutants; and each notebook is
one, for it shares nothing and takes long.

The mark `xdist_group` does not serve: with pytest 9.2 pytest-xdist 3.8 passes over it without a word
(https://github.com/pytest-dev/pytest-xdist/issues/1386), so every fixture was made in both processes.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

ALONE = "test_targets.py"  # each of its tests is a unit
BY_LAB = "test_each_lab.py"
# Files that measure the machine while they grade: one after the other, never side by side.
TOGETHER = {"test_grading_attacks.py": "test_grading.py"}
LAB = re.compile(r"\[(?:\d-)?(\d\d_[a-z_]+?)(?:-|\])")  # in the name of a test: [07_optimisers-2], [2-07_optimisers]


def unit(test: str) -> str:
    """The name of the unit that a test belongs to; test: as pytest names it, "tests/inside/test_x.py::test_y[z]"."""
    path, _, name = test.partition("::")
    file = path.rpartition("/")[2]
    if file == ALONE:
        return test
    if file == BY_LAB and (lab := LAB.search(name)):
        return f"{file} {lab[1]}"
    return TOGETHER.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With several processes, who gets what: a whole unit, the next one when at most two of its tests are left."""
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    return Sharing(config, log)
