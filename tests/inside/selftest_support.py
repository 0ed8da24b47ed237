"""What the tests of course-selftest share: contexts, and what a check says in one of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from course_selftest import worker
from course_selftest.catalog import CHECKS
from course_selftest.context import Context
from course_selftest.options import Options
from course_selftest.outcome import Failed, Measured, Row, Skipped

CPU = Context(Options(), torch.device("cpu"), "the test says so")
# For checks whose use of torch.cuda is replaced by the test.
GPU = Context(Options(), torch.device("cuda", 0), "")


def row(name: str, context: Context) -> Row:
    """The row of the check of this name."""
    return worker.run_check(next(check for check in CHECKS if check.name == name), context)[0]


def outcome(check: Callable[[Context], Measured], context: Context) -> str:
    """What the row of a check would say, with its result before it."""
    try:
        return f"ok: {check(context).text}"
    except Skipped as reason:
        return f"skipped: {reason}"
    except Failed as failure:
        return f"FAILED: {failure}"
