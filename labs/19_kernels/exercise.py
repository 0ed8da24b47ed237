# Made by tools/labs.py from labs/19_kernels/author/lab.py; write your functions here.
"""Lab 19: Custom kernels.

What to do is in sheet.md. Check your work with: python check.py
"""

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


def occupancy(block: int, registers: int, shared: int) -> float:
    """The share of the 64 warps of a multiprocessor that can be there at the same time.

    block: threads of a block, 1 to 1024, in whole warps of 32. registers: for each thread. shared: bytes of shared
    memory for each block. The multiprocessor has room for 64 warps, 32 blocks, 65 536 registers and 102 400 bytes of
    shared memory. A warp gets its registers in portions of 256, a block its shared memory in portions of 1024 bytes.
    Only whole blocks count; 0.0 if not one fits.

    Hint: four limits for the number of blocks; the smallest wins. My version has 220 characters.
    """
    raise NotImplementedError("19.1 occupancy")


def add_kernel(x, y, out, n, BLOCK: tl.constexpr):
    """out = x + y, elementwise, BLOCK numbers in each program; the grid is (n / BLOCK rounded up,).

    x, y, out: pointers to n numbers.

    Hint: offsets from program_id and arange, a mask, two loads, a store. My version has 177 characters.
    """
    raise NotImplementedError("19.2 add_kernel")


def softmax_kernel(x, out, columns, BLOCK: tl.constexpr):
    """out = softmax of each row of x, a row in each program; the grid is (rows,).

    x, out: pointers to rows × columns numbers, row after row; ±1000 included. BLOCK: a power of 2 ≥ columns.

    Hint: what must masked places hold so that they change neither the maximum nor the sum? My version has 272
    characters.
    """
    raise NotImplementedError("19.3 softmax_kernel")


def bias_relu_kernel(x, bias, out, columns, BLOCK: tl.constexpr):
    """out = max(x + bias, 0), a row in each program; the grid is (rows,).

    x, out: pointers to rows × columns numbers. bias: pointer to `columns` numbers. A row may be longer than BLOCK: the
    program goes through it, BLOCK numbers at a time.

    Hint: `for first in range(0, columns, BLOCK)`; then `tl.maximum` or `tl.where`. My version has 335 characters.
    """
    raise NotImplementedError("19.4 bias_relu_kernel")


class FusedBiasReLU(torch.autograd.Function):
    """max(x + bias, 0) by `bias_relu_kernel`, with its gradients; used as `FusedBiasReLU.apply(x, bias)`.

    x: N × D, bias: D, of one dtype. In torch these are two kernels, and x + bias goes to global memory and back.

    Hint: `torch.empty_like`, `launch`, a BLOCK of 128; `ctx.save_for_backward` what comes out. The gradient may use
    torch. My version has 223 characters.
    """

    @staticmethod
    def forward(ctx, x, bias):
        raise NotImplementedError("19.5 FusedBiasReLU.forward")

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("19.5 FusedBiasReLU.backward")


def matmul_kernel(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """c = a b, a tile of BM × BN in each program; the grid is (m / BM, n / BN), both rounded up.

    a: pointer to m × k numbers, b: to k × n, c: to m × n, row after row. The sizes need not be multiples of the tiles.

    Hint: offsets of rows `[:, None]` and columns `[None, :]` make a block of addresses. Go through k in steps of BK,
    add up in a block of float32 zeros with `tl.dot`. What must masked places hold? My version has 562 characters.
    """
    raise NotImplementedError("19.6 matmul_kernel")


def matmul_reads(m: int, n: int, k: int, bm: int, bn: int) -> int:
    """How many numbers a product of m × k and k × n reads from global memory, in tiles of bm × bn.

    Masked places are not read. bm = bn = 1 is the product without tiles.

    Hint: how many programs read a certain number of a? My version has 48 characters.
    """
    raise NotImplementedError("19.7 matmul_reads")


def ema_source() -> str:
    """C++ for exponential moving averages, as text, with a loop.

    It defines `extern "C" void ema(const float* x, float* y, long rows, long columns, float decay)`. x, y: rows ×
    columns numbers. In each row, y[0] = x[0], then y[t] = decay · y[t − 1] + (1 − decay) · x[t].

    Hint: two loops; each row starts afresh. A raw string r\"\"\"…\"\"\". My version has 381 characters.
    """
    raise NotImplementedError("19.8 ema_source")
