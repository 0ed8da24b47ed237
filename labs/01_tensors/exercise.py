# Made by tools/labs.py from labs/01_tensors/author/lab.py; write your functions here.
"""Lab 01: Tensors and storage.

What to do is in sheet.md. Check your work with: python check.py
"""

import time

import torch
from torch import Tensor


def frame_matrix() -> Tensor:
    """A 13 × 13 float32 matrix of ones, twos and threes.

    Rows 1, 6, 11 and columns 1, 6, 11 hold 2 (counted from 0). The four 2 × 2 blocks where rows 3, 4 or 8, 9 meet
    columns 3, 4 or 8, 9 hold 3. Everything else is 1.

    Not allowed: loops, comprehensions, `tensor.tolist`. Slices do it.

    Hint: `torch.full`, then assign to slices; a slice can have a step, as in `1::5`. My version has 153 characters.
    """
    raise NotImplementedError("01.1 frame_matrix")


def mul_row(m: Tensor) -> Tensor:
    """Row i of m (counted from 0) times i + 1, with two Python loops over single numbers, not even a slice.

    `m`: N × D of any type of numbers. Returns a new tensor of the same shape and type.

    Not allowed: `@`, `mm`, `mul`, `arange`, `diag`, `einsum`. This one is the slow version.

    Hint: `torch.empty_like`, `m.size(0)`, `m[i, j]`. My version has 141 characters.
    """
    raise NotImplementedError("01.2 mul_row")


def mul_row_fast(m: Tensor) -> Tensor:
    """What `mul_row` does, in operations on whole tensors.

    `m`: N × D of any type of numbers. Returns a new tensor of the same shape and type.

    Not allowed: loops, comprehensions. This one is the fast version.

    Hint: a column of factors, N × 1, is broadcast over all columns; `torch.arange(…, dtype=m.dtype)`. 100 characters.
    """
    raise NotImplementedError("01.3 mul_row_fast")


def similarity_eigenvalues(d: Tensor, m: Tensor) -> Tensor:
    """The eigenvalues of M⁻¹ · diag(d) · M, in increasing order.

    `d`: N float64, `m`: N × N float64, invertible. The eigenvalues are real: return their real parts, N float64.
    Compute them; do not sort d.

    Hint: `torch.linalg.inv` or `solve`; the product is not symmetric, so `torch.linalg.eigvals` is the one to use, and
    it returns complex numbers. 103 characters.
    """
    raise NotImplementedError("01.4 similarity_eigenvalues")


def windows(x: Tensor, k: int) -> Tensor:
    """All windows of k neighbouring values of x, as a **view**: no number is copied.

    `x`: N numbers of any type, not always contiguous. Returns (N − k + 1) × k; row i is x[i], …, x[i + k − 1]. Writing
    into x must show in the result. Use `as_strided`, not `unfold`.

    Not allowed: loops, comprehensions, `unfold`, `stack`, `cat`, `clone`. As_strided makes a view.

    Hint: `x.as_strided(size, stride, x.storage_offset())`; one step down is as far in memory as one step to the right,
    and how far that is, `x.stride(0)` knows. 96 characters.
    """
    raise NotImplementedError("01.5 windows")


def gemm_rate(n: int, device: str = "cpu") -> float:
    """How many products of two numbers this machine does in a second, in a product of two n × n matrices.

    The matrices are float32 and random. Multiply once before the clock starts, then time one product; n³ products of
    two numbers are in it. On a GPU (`device="cuda"`) the call returns before the work is done: wait with
    `torch.cuda.synchronize()` before each look at the clock. Returns products per second.

    Hint: `time.perf_counter()` before and after. My version has 226 characters.
    """
    raise NotImplementedError("01.6 gemm_rate")
