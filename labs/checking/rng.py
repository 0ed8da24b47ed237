"""Random inputs that follow from one seed."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

Integer = int  # a method below has the short name


class Rng:
    """Random tensors for one check; the same seed and the same name of the check give the same ones."""

    def __init__(self, seed: int, name: str) -> None:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self.generator = torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(dtype)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Numbers between low and high."""
        return (low + (high - low) * torch.rand(shape, generator=self.generator, dtype=torch.float64)).to(dtype)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """int64 numbers from low to high − 1."""
        return torch.randint(low, high, shape, generator=self.generator)

    def permutation(self, count: int) -> Tensor:
        """0 … count − 1 in random order, int64."""
        return torch.randperm(count, generator=self.generator)

    def number(self, low: float = 0.0, high: float = 1.0) -> float:
        """One number between low and high."""
        return self.uniform(1, low=low, high=high, dtype=torch.float64).item()

    def int(self, low: Integer, high: Integer) -> Integer:
        """One number from low to high − 1."""
        return Integer(self.integers(low, high, 1))

    def seed(self) -> Integer:
        """A seed for a function that asks for one."""
        return self.int(0, 2**31 - 1)
