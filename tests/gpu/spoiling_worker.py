"""The worker of course-selftest with one more check, which makes the process unfit for any other."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "selftest"))

from course_selftest import worker
from course_selftest.catalog import CHECKS, Check
from course_selftest.outcome import Measured

function = worker.function


def spoil(context):
    """Leaves an index out of range to the GPU and returns before it has noticed."""
    import torch

    values = torch.zeros(4, device=context.device)
    values[torch.tensor([9], device=context.device)]
    return Measured("nobody noticed")


worker.CHECKS = (*CHECKS, Check("spoil", "", "", 0, 1))
worker.function = lambda check: spoil if check.name == "spoil" else function(check)
worker.main(sys.argv[1:])
