# %% [markdown]
# # 19 · Custom kernels
#
# A graphics processor runs thousands of copies of one small program, a **kernel**, at once. It computes far
# faster than it reads: what counts is how often a number comes from global memory. In Triton (Tillet and others, 2019) a
# kernel works on blocks: `tl.load` and `tl.store` move a block of numbers between global memory and registers, and
# everything in between is as in torch. `tl.program_id(0)` says which copy this is.
#
# Without a graphics processor, `launch` runs your kernels on a simulator in torch: slow, but it says where a kernel
# reaches beyond its data. The checks use one that counts. They also use Triton and a C++ compiler where
# installed, as in the container, or say what they skip. A pointer plus offsets is a block of addresses:
#
# | | |
# | --- | --- |
# | `tl.program_id(axis)`, `tl.cdiv(a, b)` | which copy, a / b rounded up |
# | `tl.arange(0, n)`, `tl.zeros((n, m), dtype=tl.float32)` | blocks; n and m are powers of 2 |
# | `tl.load(p + offsets, mask=…, other=0.0)`, `tl.store(p + offsets, block, mask=…)` | only where the mask is true |
# | `tl.sum(b, axis=0)`, `tl.max(b, axis=0)`, `tl.exp(b)`, `tl.maximum(b, c)`, `tl.where(m, b, c)` | as in torch |
# | `tl.dot(a, b)` | product of two blocks, each side at least 16 |

# %%
import itertools
import math

import torch
from torch import Tensor


class Pointer:
    """A tensor in global memory, and offsets into it, counted in numbers."""

    def __init__(self, tensor, offsets=0):
        self.tensor, self.offsets = tensor, offsets

    def __add__(self, more):
        return Pointer(self.tensor, self.offsets + more)


class Simulator:
    """The part of `triton.language` that this lab needs, in torch, for one program at a time."""

    constexpr, float32 = "constexpr", torch.float32  # Triton looks for this word in annotations
    exp, where, dot, zeros = torch.exp, torch.where, torch.matmul, torch.zeros
    program = (0, 0, 0)

    @classmethod
    def program_id(cls, axis):
        return cls.program[axis]

    @staticmethod
    def cdiv(a, b):
        return -(-a // b)

    @staticmethod
    def arange(start, end):
        if (end - start) & (end - start - 1):
            raise ValueError(f"tl.arange({start}, {end}): the length must be a power of 2")
        return torch.arange(start, end)

    @staticmethod
    def sum(block, axis):
        return block.sum(axis)

    @staticmethod
    def max(block, axis):
        return block.amax(axis)

    @staticmethod
    def maximum(block, other):
        return torch.maximum(torch.as_tensor(block), torch.as_tensor(other))

    @classmethod
    def inside(cls, pointer, mask):
        """Offsets and mask of the same shape, after a look whether they stay within the tensor."""
        mask = torch.as_tensor(True if mask is None else mask)
        where, here = torch.broadcast_tensors(torch.as_tensor(pointer.offsets), mask)
        wrong = where[here & ((where < 0) | (where >= pointer.tensor.numel()))]
        if len(wrong):
            raise IndexError(f"program {cls.program} reaches for number {int(wrong[0])} of {pointer.tensor.numel()}")
        return where, here

    @classmethod
    def load(cls, pointer, mask=None, other=float("nan")):
        where, here = cls.inside(pointer, mask)
        return torch.where(here, pointer.tensor.view(-1)[torch.where(here, where, 0)], other)

    @classmethod
    def store(cls, pointer, block, mask=None):
        where, here = cls.inside(pointer, mask)
        block = torch.as_tensor(block, dtype=pointer.tensor.dtype).expand(where.shape)
        pointer.tensor.view(-1)[where[here]] = block[here]


class tl(Simulator):
    """What kernels call: the simulator, unless `launch` has put Triton in its place."""


def launch(kernel, grid, *arguments, **sizes):
    """Run a kernel for each program of a grid, with Triton on a GPU, with the simulator elsewhere.

    launch(add_kernel, (8,), x, y, out, 1000, BLOCK=128) runs 8 programs. Tensors are contiguous.
    """
    names = kernel.__globals__
    if arguments[0].is_cuda:
        import triton
        import triton.language

        names["tl"] = triton.language
        triton.jit(kernel)[grid](*arguments, **sizes)
    else:
        names["tl"] = Simulator
        for Simulator.program in itertools.product(*map(range, grid)):
            kernel(*(Pointer(a) if isinstance(a, Tensor) else a for a in arguments), **sizes)


# %% [markdown]
# ## How full is the machine?
#
# While a warp, a group of 32 threads, waits for memory, a multiprocessor goes on with others. How many fit depends on
# what each of them takes.


# %%
def occupancy(block: int, registers: int, shared: int) -> float:
    """The share of the 64 warps of a multiprocessor that can be there at the same time.

    block: threads of a block, 1 to 1024, in whole warps of 32. registers: for each thread. shared: bytes of shared
    memory for each block. The multiprocessor has room for 64 warps, 32 blocks, 65 536 registers and 102 400 bytes of
    shared memory. A warp gets its registers in portions of 256, a block its shared memory in portions of 1024 bytes.
    Only whole blocks count; 0.0 if not one fits.

    Hint: four limits for the number of blocks; the smallest wins. My version has 220 characters.
    """
    # BEGIN SOLUTION
    warps = math.ceil(block / 32)
    limits = [32, 64 // warps, 65536 // (warps * math.ceil(registers * 32 / 256) * 256)]
    if shared:
        limits.append(102400 // (math.ceil(shared / 1024) * 1024))
    return min(limits) * warps / 64
    # END SOLUTION


# %% [markdown]
# ## Kernels
#
# The data seldom fill the last block. A mask says which of its numbers exist. A program reads each number once and writes
# each result once.


# %%
def add_kernel(x, y, out, n, BLOCK: tl.constexpr):
    """out = x + y, elementwise, BLOCK numbers in each program; the grid is (n / BLOCK rounded up,).

    x, y, out: pointers to n numbers.

    Hint: offsets from program_id and arange, a mask, two loads, a store. My version has 177 characters.
    """
    # BEGIN SOLUTION
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out + offsets, tl.load(x + offsets, mask=mask) + tl.load(y + offsets, mask=mask), mask=mask)
    # END SOLUTION


# %%
def softmax_kernel(x, out, columns, BLOCK: tl.constexpr):
    """out = softmax of each row of x, a row in each program; the grid is (rows,).

    x, out: pointers to rows × columns numbers, row after row; ±1000 included. BLOCK: a power of 2 ≥ columns.

    Hint: what must masked places hold so that they change neither the maximum nor the sum? My version has 272
    characters.
    """
    # BEGIN SOLUTION
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    start = tl.program_id(0) * columns
    row = tl.load(x + start + offsets, mask=mask, other=-float("inf"))
    power = tl.exp(row - tl.max(row, axis=0))
    tl.store(out + start + offsets, power / tl.sum(power, axis=0), mask=mask)
    # END SOLUTION


# %%
def bias_relu_kernel(x, bias, out, columns, BLOCK: tl.constexpr):
    """out = max(x + bias, 0), a row in each program; the grid is (rows,).

    x, out: pointers to rows × columns numbers. bias: pointer to `columns` numbers. A row may be longer than BLOCK: the
    program goes through it, BLOCK numbers at a time.

    Hint: `for first in range(0, columns, BLOCK)`; then `tl.maximum` or `tl.where`. My version has 335 characters.
    """
    # BEGIN SOLUTION
    start = tl.program_id(0) * columns
    for first in range(0, columns, BLOCK):
        offsets = first + tl.arange(0, BLOCK)
        mask = offsets < columns
        total = tl.load(x + start + offsets, mask=mask, other=0.0) + tl.load(bias + offsets, mask=mask, other=0.0)
        tl.store(out + start + offsets, tl.where(total > 0, total, 0.0), mask=mask)
    # END SOLUTION


# %%
class FusedBiasReLU(torch.autograd.Function):
    """max(x + bias, 0) by `bias_relu_kernel`, with its gradients; used as `FusedBiasReLU.apply(x, bias)`.

    x: N × D, bias: D, of one dtype. In torch these are two kernels, and x + bias goes to global memory and back.

    Hint: `torch.empty_like`, `launch`, a BLOCK of 128; `ctx.save_for_backward` what comes out. The gradient may use
    torch. My version has 223 characters.
    """

    @staticmethod
    def forward(ctx, x, bias):
        # BEGIN SOLUTION
        out = torch.empty_like(x)
        launch(bias_relu_kernel, (x.size(0),), x, bias, out, x.size(1), BLOCK=128)
        ctx.save_for_backward(out)
        return out
        # END SOLUTION

    @staticmethod
    def backward(ctx, gradient):
        # BEGIN SOLUTION
        (out,) = ctx.saved_tensors
        passed = gradient * (out > 0)
        return passed, passed.sum(0)
        # END SOLUTION


# %% [markdown]
# ## Tiles
#
# A product of matrices needs each number many times. A program that computes a whole tile of the result reads its
# numbers of a and b once, and uses each for a row or column of the tile.


# %%
def matmul_kernel(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """c = a b, a tile of BM × BN in each program; the grid is (m / BM, n / BN), both rounded up.

    a: pointer to m × k numbers, b: to k × n, c: to m × n, row after row. The sizes need not be multiples of the tiles.

    Hint: offsets of rows `[:, None]` and columns `[None, :]` make a block of addresses. Go through k in steps of BK,
    add up in a block of float32 zeros with `tl.dot`. What must masked places hold? My version has 562 characters.
    """
    # BEGIN SOLUTION
    rows = tl.program_id(0) * BM + tl.arange(0, BM)[:, None]
    columns = tl.program_id(1) * BN + tl.arange(0, BN)[None, :]
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for first in range(0, k, BK):
        across = first + tl.arange(0, BK)[None, :]
        down = first + tl.arange(0, BK)[:, None]
        left = tl.load(a + rows * k + across, mask=(rows < m) & (across < k), other=0.0)
        right = tl.load(b + down * n + columns, mask=(down < k) & (columns < n), other=0.0)
        total += tl.dot(left, right)
    tl.store(c + rows * n + columns, total, mask=(rows < m) & (columns < n))
    # END SOLUTION


# %%
def matmul_reads(m: int, n: int, k: int, bm: int, bn: int) -> int:
    """How many numbers a product of m × k and k × n reads from global memory, in tiles of bm × bn.

    Masked places are not read. bm = bn = 1 is the product without tiles.

    Hint: how many programs read a certain number of a? My version has 48 characters.
    """
    # BEGIN SOLUTION
    return m * k * -(-n // bn) + k * n * -(-m // bm)
    # END SOLUTION


# %% [markdown]
# ## C++ on the processor
#
# A recurrence needs a loop, and in Python each round of it takes microseconds.


# %%
def ema_source() -> str:
    """C++ for exponential moving averages, as text, with a loop.

    It defines `extern "C" void ema(const float* x, float* y, long rows, long columns, float decay)`. x, y: rows ×
    columns numbers. In each row, y[0] = x[0], then y[t] = decay · y[t − 1] + (1 − decay) · x[t].

    Hint: two loops; each row starts afresh. A raw string r\"\"\"…\"\"\". My version has 381 characters.
    """
    # BEGIN SOLUTION
    return r"""
    extern "C" void ema(const float* x, float* y, long rows, long columns, float decay) {
        for (long r = 0; r < rows; ++r) {
            const float* from = x + r * columns;
            float* to = y + r * columns;
            float kept = columns ? from[0] : 0;
            for (long t = 0; t < columns; ++t)
                to[t] = kept = decay * kept + (1 - decay) * from[t];
        }
    }
    """
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# `kernels.png`: in a product of 128 × 128, each result costs 256 numbers read without tiles, 16 with tiles of 16, 2 with
# tiles of 128. Memory comes in sectors of 32 bytes: 32 threads that read neighbours need 4 of them, and 32 if they read
# every eighth number. Blocks of 256 threads with 64 registers each fill half of a multiprocessor. A recurrence of 20 000
# steps takes 0.4 s in Python and 0.14 ms in C++. Compiled for an A100, tiles of 64 × 64 take 32 768 bytes of shared
# memory. Checks take 2 s, everything 5 s, with Triton 10 s (2 cores, AMD EPYC 2.6 GHz, one thread). On a GPU, `--gpu`
# compares your kernels with torch's.
#
# The larger the tile, the fewer numbers are read. What keeps you from tiles of 1024? And which mask of `add_kernel`
# could you leave out on a GPU without anybody noticing, until one day?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` counts what products and strides read, times the recurrence in Python and in C++, and draws
# `kernels.png` (5 s, with Triton 10 s). On a machine with a graphics processor, `check(gpu=True)` compares your kernels
# with torch's.
#
# Next is lab 20, factor models: large tables written as products of small ones.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
