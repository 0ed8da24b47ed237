"""CUDA graphs: record work once, replay it without Python."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP = 3


def record(step: Callable[[], None]) -> Callable[[], None]:
    """Record what `step` asks of the current GPU, and return a function that asks for the same again.

    `step` must be the same list of kernels on the same memory each time, must not wait for the GPU, and must not take
    values from Python that change. It is called four times, so its effects are to be undone afterwards.

    As PyTorch's notes on CUDA graphs ask for (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs): first
    some calls on a side stream, in which libraries are loaded, allocate their workspaces and choose their algorithms.
    None of that may happen while the graph is recorded.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
