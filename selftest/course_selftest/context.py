"""What a check gets to know: where it runs, and how to tell how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from course_selftest.options import Options
from course_selftest.outcome import Skipped


@dataclass(frozen=True)
class Context:
    """device: the first GPU that PyTorch can use, else the CPU. no_gpu: why it is the CPU; empty with a GPU.

    progress: call it now and then with the share (0 to 1) that is done.
    """

    options: Options
    device: torch.device
    no_gpu: str
    progress: Callable[[float], None] = lambda share: None

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def synchronize(self) -> None:
        """Wait for the GPU; an error of anything before surfaces here at the latest."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def progress_of(self, part: int, parts: int) -> Callable[[float], None]:
        """`progress` for one of several equal parts, counted from 0."""
        return lambda share: self.progress((part + share) / parts)

    def require_gpu(self) -> None:
        if self.no_gpu:
            raise Skipped(f"no GPU: {self.no_gpu}")

    def require_cuda_build(self) -> str:
        """The version of CUDA that PyTorch was built for, such as 13.0."""
        if torch.version.cuda is None:
            raise Skipped("this PyTorch was built without CUDA")
        return torch.version.cuda

    def require_leave_to_look(self) -> None:
        """The GPU must not even be looked at when the command line says so, or when that has ended a worker before."""
        if self.options.no_gpu:
            self.require_gpu()
