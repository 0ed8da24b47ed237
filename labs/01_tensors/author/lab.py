# %% [markdown]
# # 01 · Tensors and storage
#
# A tensor is a table of numbers, and a way to walk through memory. Operations on whole tensors run in compiled code;
# a Python loop over single numbers is hundreds of times slower. This lab makes you feel that factor, and shows what a
# *view* is: another way to walk through the same memory.

# %%
import time

import torch
from torch import Tensor

# %% [markdown]
# ## Slices instead of loops


# %%
def frame_matrix() -> Tensor:
    """A 13 × 13 float32 matrix of ones, twos and threes.

    Rows 1, 6, 11 and columns 1, 6, 11 hold 2 (counted from 0). The four 2 × 2 blocks where rows 3, 4 or 8, 9 meet
    columns 3, 4 or 8, 9 hold 3. Everything else is 1.

    Hint: `torch.full`, then assign to slices; a slice can have a step, as in `1::5`. My version has 153 characters.
    """
    # BEGIN SOLUTION
    m = torch.full((13, 13), 1.0)
    m[1::5, :] = 2.0
    m[:, 1::5] = 2.0
    for_blocks = torch.tensor([3, 4, 8, 9])
    m[for_blocks[:, None], for_blocks] = 3.0
    return m
    # END SOLUTION


# %% [markdown]
# ## The same, slow and fast


# %%
def mul_row(m: Tensor) -> Tensor:
    """Row i of m (counted from 0) times i + 1, with two Python loops over single numbers, not even a slice.

    `m`: N × D of any type of numbers. Returns a new tensor of the same shape and type.

    Hint: `torch.empty_like`, `m.size(0)`, `m[i, j]`. My version has 141 characters.
    """
    # BEGIN SOLUTION
    result = torch.empty_like(m)
    for i in range(m.size(0)):
        for j in range(m.size(1)):
            result[i, j] = m[i, j] * (i + 1)
    return result
    # END SOLUTION


# %%
def mul_row_fast(m: Tensor) -> Tensor:
    """What `mul_row` does, in operations on whole tensors.

    `m`: N × D of any type of numbers. Returns a new tensor of the same shape and type.

    Hint: a column of factors, N × 1, is broadcast over all columns; `torch.arange(…, dtype=m.dtype)`. 100 characters.
    """
    # BEGIN SOLUTION
    factors = torch.arange(1, m.size(0) + 1, dtype=m.dtype, device=m.device)
    return m * factors[:, None]
    # END SOLUTION


# %% [markdown]
# ## A little linear algebra


# %%
def similarity_eigenvalues(d: Tensor, m: Tensor) -> Tensor:
    """The eigenvalues of M⁻¹ · diag(d) · M, in increasing order.

    `d`: N float64, `m`: N × N float64, invertible. The eigenvalues are real: return their real parts, N float64.
    Compute them; do not sort d.

    Hint: `torch.linalg.inv` or `solve`; the product is not symmetric, so `torch.linalg.eigvals` is the one to use, and
    it returns complex numbers. 103 characters.
    """
    # BEGIN SOLUTION
    similar = torch.linalg.solve(m, d[:, None] * m)
    return torch.linalg.eigvals(similar).real.sort().values
    # END SOLUTION


# %% [markdown]
# ## Views
#
# `x.stride()` says how many places to go in memory for one step in each dimension. Two different tensors can walk
# through the same memory, and then a change of one is a change of the other.


# %%
def windows(x: Tensor, k: int) -> Tensor:
    """All windows of k neighbouring values of x, as a **view**: no number is copied.

    `x`: N numbers of any type, not always contiguous. Returns (N − k + 1) × k; row i is x[i], …, x[i + k − 1]. Writing
    into x must show in the result. Use `as_strided`, not `unfold`.

    Hint: `x.as_strided(size, stride, x.storage_offset())`; one step down is as far in memory as one step to the right,
    and how far that is, `x.stride(0)` knows. 96 characters.
    """
    # BEGIN SOLUTION
    step = x.stride(0)
    return x.as_strided((x.size(0) - k + 1, k), (step, step), x.storage_offset())
    # END SOLUTION


# %% [markdown]
# ## How fast is this machine?


# %%
def gemm_rate(n: int, device: str = "cpu") -> float:
    """How many products of two numbers this machine does in a second, in a product of two n × n matrices.

    The matrices are float32 and random. Multiply once before the clock starts, then time one product; n³ products of
    two numbers are in it. On a GPU (`device="cuda"`) the call returns before the work is done: wait with
    `torch.cuda.synchronize()` before each look at the clock. Returns products per second.

    Hint: `time.perf_counter()` before and after. My version has 226 characters.
    """
    # BEGIN SOLUTION
    a, b = torch.randn(2, n, n, device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    torch.mm(a, b)
    wait()
    start = time.perf_counter()
    torch.mm(a, b)
    wait()
    return n**3 / (time.perf_counter() - start)
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# On 200 × 400 numbers `mul_row_fast` is more than 50 times as fast as `mul_row`; here it is more than 10 000 times. One
# thread does about 40 thousand million products per second in a product of two 1000 × 1000 matrices, and far fewer in a
# small one. The targets take 3 s, and write a picture (2 cores, AMD EPYC 2.6 GHz, one thread).
#
# Does all this make sense? The loop does the same number of products. Where does it spend its time? And why is the
# rate of a 10 × 10 product so low?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` compares the loop with the operation on whole tensors, smooths a noisy curve with your windows,
# and measures the rate of this machine (3 s). `check(gpu=True)` measures the rate of a GPU, where there is one.
#
# Next is lab 02, nearest neighbours: there, one operation gives all distances between two sets of images.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
