"""What the command line says, in the form that the worker gets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How the checks run.

    full: train all ten epochs on a CPU, too. repeat: number of seeds that a training is repeated with.
    data: folder with the data sets, None for PYTORCH_DATA_DIR. no_gpu: why the GPU must not be used; empty: it may.
    """

    full: bool = False
    repeat: int = 1
    data: str | None = None
    no_gpu: str = ""
