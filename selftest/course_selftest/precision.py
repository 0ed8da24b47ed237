"""TF32 and bf16: which GPU has them, and how TF32 is switched on and off."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def is_ampere_or_later(device: torch.device) -> bool:
    """Whether it is a GPU that computes with TF32 and bf16 itself; older ones imitate bf16 slowly."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in float32 products and convolutions; afterwards it is as PyTorch has it by default.

    By the older switches: PyTorch 2.6 has no others, and one that is set by the newer ones makes torch.compile fail,
    which reads the older ones (https://github.com/pytorch/pytorch/issues/166387). Change over when those are gone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
        try:
            yield
        finally:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = True
