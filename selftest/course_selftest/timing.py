"""Time work on a CPU or a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import torch


def median_seconds(work: Callable[[], object], device: torch.device, repeat: int) -> float:
    """The median time of `repeat` calls, after two that are not counted. The work must not wait for the GPU itself."""
    for _ in range(2):
        work()
    if device.type != "cuda":
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return median(times)
    torch.cuda.synchronize(device)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeat + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    torch.cuda.synchronize(device)
    milliseconds = [float(before.elapsed_time(after)) for before, after in pairwise(marks)]
    return median(milliseconds) / 1000
