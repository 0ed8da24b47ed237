"""The checks of lab 19. Reading them is allowed and useful."""

import ctypes
import importlib.util
import itertools
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side

PARTS = [
    "occupancy",
    "add_kernel",
    "softmax_kernel",
    "bias_relu_kernel",
    "FusedBiasReLU",
    "matmul_kernel",
    "matmul_reads",
    "ema_source",
]
lab = Lab(__file__, parts=PARTS)
tl = None  # the language of a kernel: a Machine, or Triton itself; it is set for each call


def no_triton() -> str | None:
    """Why kernels cannot run with Triton here; None where they can."""
    return None if importlib.util.find_spec("triton") else "Triton is not installed here; the container has it"


def no_compiler() -> str | None:
    """Why C++ cannot be compiled here; None where it can."""
    return None if shutil.which("g++") else "there is no C++ compiler (g++) here; the container has one"


# ---- the machine on which kernels are checked: as in exercise.py, and it counts, and it notices races


@student_side
class Address:
    """A block of addresses: a tensor and offsets into it."""

    def __init__(self, tensor, offsets=0):
        self.tensor, self.offsets = tensor, offsets

    def __add__(self, more):
        return Address(self.tensor, self.offsets + more)

    __radd__ = __add__


@student_side
class Machine:
    """triton.language for one program after another; counts numbers read and written, and the sectors of 32 bytes."""

    float32 = torch.float32

    def __init__(self):
        self.program, self.number = (0,), 0
        self.reads = self.writes = self.sectors = 0
        self.writer = {}

    def program_id(self, axis):
        return self.program[axis] if axis < len(self.program) else 0

    def cdiv(self, a, b):
        return -(-a // b)

    def arange(self, start, end):
        self.power("tl.arange", end - start)
        return torch.arange(start, end)

    def zeros(self, shape, dtype):
        for size in shape:
            self.power("tl.zeros", size)
        return torch.zeros(shape, dtype=dtype)

    def full(self, shape, value, dtype):
        return self.zeros(shape, dtype) + value

    def power(self, name, size):
        if size < 1 or size & (size - 1):
            raise ValueError(f"{name}: a block has a power of 2 numbers, not {size}")

    def sum(self, block, axis=None):
        return block.sum() if axis is None else block.sum(axis)

    def max(self, block, axis=None):
        return block.amax() if axis is None else block.amax(axis)

    def min(self, block, axis=None):
        return block.amin() if axis is None else block.amin(axis)

    def exp(self, block):
        return torch.exp(block)

    def where(self, condition, block, other):
        return torch.where(condition, block, other)

    def maximum(self, block, other):
        return torch.maximum(torch.as_tensor(block), torch.as_tensor(other))

    def dot(self, a, b, acc=None, **_options):
        if min(*a.shape, *b.shape) < 16:
            raise ValueError(f"tl.dot: each side has at least 16 numbers, here {tuple(a.shape)} and {tuple(b.shape)}")
        return a @ b if acc is None else acc + a @ b

    def within(self, what, pointer, mask):
        if not isinstance(pointer, Address):
            raise TypeError(f"tl.{what} needs a pointer plus offsets, not {type(pointer).__name__}")
        mask = torch.as_tensor(True if mask is None else mask)
        offsets, mask = torch.broadcast_tensors(torch.as_tensor(pointer.offsets), mask)
        wrong = offsets[mask & ((offsets < 0) | (offsets >= pointer.tensor.numel()))]
        if len(wrong):
            raise IndexError(
                f"program {self.program}: tl.{what} of number {int(wrong[0])}, but there are only "
                f"{pointer.tensor.numel()}: is the mask right?"
            )
        return offsets, mask

    def count(self, offsets, mask, size):
        lane = torch.arange(offsets.numel())[mask.flatten()] // 32
        sector = offsets.flatten()[mask.flatten()] * size // 32
        self.sectors += len(torch.stack([lane, sector]).unique(dim=1).T)

    def load(self, pointer, mask=None, other=float("nan")):
        offsets, mask = self.within("load", pointer, mask)
        self.reads += int(mask.sum())
        self.count(offsets, mask, pointer.tensor.element_size())
        return torch.where(mask, pointer.tensor.view(-1)[torch.where(mask, offsets, 0)], other)

    def store(self, pointer, block, mask=None):
        offsets, mask = self.within("store", pointer, mask)
        block = torch.as_tensor(block, dtype=pointer.tensor.dtype).broadcast_to(offsets.shape)
        self.writes += int(mask.sum())
        self.count(offsets, mask, pointer.tensor.element_size())
        owner = self.writer.setdefault(pointer.tensor.data_ptr(), torch.full((pointer.tensor.numel(),), -1))
        others = owner[offsets[mask]]
        if bool(((others >= 0) & (others != self.number)).any()):
            raise RuntimeError(f"program {self.program} writes where another program has written: a race")
        owner[offsets[mask]] = self.number
        pointer.tensor.view(-1)[offsets[mask]] = block[mask]


@student_side
def on_machine(kernel, grid, *arguments, **sizes):
    """Run a kernel for each program of a grid on a Machine, and return it."""
    names = kernel.__globals__
    before, machine = names.get("tl"), Machine()
    names["tl"] = machine
    try:
        for machine.number, machine.program in enumerate(itertools.product(*map(range, grid))):
            kernel(*(Address(a) if isinstance(a, torch.Tensor) else a for a in arguments), **sizes)
    finally:
        names["tl"] = before
    return machine


@student_side(changes=True)
def simulated(student, name, grid, arguments, sizes):
    """Run the student's kernel; its last tensor is the output. Returns it and what the machine counted."""
    machine = on_machine(getattr(student, name), grid, *arguments, **sizes)
    return arguments[output_of(arguments)], machine.reads, machine.writes, machine.sectors


@student_side
def output_of(arguments):
    return max(n for n, value in enumerate(arguments) if isinstance(value, torch.Tensor))


@student_side
def triton_afresh(interpret):
    """Import Triton so that it interprets kernels on the processor, or compiles them."""
    os.environ.pop("TRITON_INTERPRET", None)
    if interpret:
        os.environ["TRITON_INTERPRET"] = "1"
    for stale in [n for n in sys.modules if n.split(".")[0] == "triton" and not n.startswith("triton._C")]:
        del sys.modules[stale]
    import triton
    import triton.language

    return triton


@student_side
def kernel_with(triton, student, name):
    """The student's kernel, with Triton's language as `tl`. A stub is called, to say "not yet": compilers would not."""
    kernel = getattr(student, name)
    if "NotImplementedError" in kernel.__code__.co_names:
        kernel(*[None] * kernel.__code__.co_argcount)
    kernel.__globals__["tl"] = triton.language
    return kernel


@student_side(changes=True)
def interpreted(student, name, grid, arguments, sizes):
    """Run the student's kernel with Triton's interpreter, with 64 numbers before and behind each tensor."""
    triton = triton_afresh(True)
    kernel = kernel_with(triton, student, name)
    padded = [torch.full((a.numel() + 128,), 777.0) if isinstance(a, torch.Tensor) else a for a in arguments]
    for number, value in enumerate(arguments):
        if isinstance(value, torch.Tensor):
            padded[number][64:-64] = value.flatten()
    inner = [a[64:-64] if isinstance(a, torch.Tensor) else a for a in padded]
    try:
        triton.jit(kernel)[grid](*inner, **sizes)
    except Exception as error:  # the interpreter wraps what a kernel raises
        raise error.__cause__ or error from None
    number = output_of(arguments)
    border = torch.cat(
        [a[part] for a in padded if isinstance(a, torch.Tensor) for part in (slice(64), slice(-64, None))]
    )
    return inner[number].reshape(arguments[number].shape), bool((border == 777).all())


@student_side
def compiled(student, name, types, sizes):
    """Compile the student's kernel for an A100, which takes no GPU: the bytes of its code, and of shared memory."""
    triton = triton_afresh(False)
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = kernel_with(triton, student, name)
    signature = dict(zip(kernel.__code__.co_varnames, types)) | dict.fromkeys(sizes, "constexpr")  # noqa: B905
    fixed = {(list(signature).index(key),): value for key, value in sizes.items()}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRITON_CACHE_DIR"] = folder
        made = triton.compile(ASTSource(triton.jit(kernel), signature, fixed), target=GPUTarget("cuda", 80, 32))
    return len(made.asm["cubin"]), int(made.metadata.shared)


def run_both_ways(student, name: str, grid: tuple, arguments: list, sizes: dict, want: Tensor) -> None:
    """With the interpreter: the result, and nothing written outside. With the compiler: that there is code."""
    with case("with Triton's interpreter"):
        got, clean = student.run(interpreted, name, grid, arguments, sizes)
        expect(got, want, atol=1e-4)
        require(clean, "the kernel writes outside of its tensors", look="the mask of tl.store")
    with case("compiled for an A100", look="Triton knows less than Python: only what the table on the sheet lists"):
        types = ["*fp32" if isinstance(value, Tensor) else "i32" for value in arguments]
        size, _ = student.run(compiled, name, types, sizes)
        require(size > 0, "Triton made no code")


# ---- occupancy


@lab.reference
def occupancy(block, registers, shared):
    warps = (block + 31) // 32
    best = 0
    for blocks in range(1, 33):
        portions = (registers * 32 + 255) // 256
        fits = blocks * warps <= 64 and blocks * warps * portions * 256 <= 65536
        if fits and blocks * ((shared + 1023) // 1024) <= 100:
            best = blocks
    return best * warps / 64


@lab.check("occupancy")
def all_limits(student, rng):
    """each limit in turn, and 60 random blocks, against trying 1 to 32 blocks"""
    cases = [
        ("warps are the limit", 1024, 16, 0),
        ("blocks are the limit", 32, 16, 0),
        ("registers are the limit", 256, 128, 0),
        ("shared memory is the limit", 128, 32, 20_000),
        ("the last warp is not full", 100, 32, 0),
        ("registers in portions", 64, 33, 0),
        ("shared memory in portions", 64, 16, 3073),
        ("not one block fits: registers", 1024, 255, 0),
        ("not one block fits: shared memory", 64, 32, 102_401),
        ("whole blocks only", 768, 32, 0),
    ]
    for _round in range(60):
        cases.append(("", rng.int(1, 1025), rng.int(16, 256), rng.int(0, 2) * rng.int(0, 60_000)))
    for text, block, registers, shared in cases:
        warps, fine = math.ceil(block / 32), math.ceil(registers * 32 / 256) * 256
        blocks = [32, 64 // warps, 65536 // (warps * fine), 102400 // max(1, math.ceil(shared / 1024) * 1024)]
        with case(text or f"{block} threads, {registers} registers, {shared} bytes"):
            expect(
                student.occupancy(block, registers, shared),
                occupancy(block, registers, shared),
                mistakes={
                    "half blocks count: only whole blocks do": min(64, 65536 / fine) / 64,
                    "at most 32 blocks": min(blocks[1:]) * warps / 64,
                    "registers come in portions of 256 for each warp": min(
                        blocks[0], blocks[1], 65536 // (warps * registers * 32), blocks[3]
                    )
                    * warps
                    / 64,
                    "shared memory comes in portions of 1024": min(*blocks[:3], 102400 // max(1, shared)) * warps / 64,
                    "a warp that is not full is a whole warp": min(blocks) * block / 2048,
                    "shared memory is forgotten": min(blocks[:3]) * warps / 64,
                    "registers are counted for each thread, but whole warps get them": min(
                        blocks[0], blocks[1], 65536 // (block * registers), blocks[3]
                    )
                    * warps
                    / 64,
                    "the largest of the limits, it should be the smallest": max(blocks[: 4 if shared else 3])
                    * warps
                    / 64,
                    "a warp that is not full counts, too: round up": lambda t=block, fine=fine, b=blocks: (
                        min(32, 64 // (t // 32), 65536 // (t // 32 * fine), b[3]) * (t // 32) / 64
                    ),
                    "the limit of 64 warps is forgotten": min(blocks[0], *blocks[2:]) * warps / 64,
                    "registers are forgotten": min(blocks[0], blocks[1], blocks[3]) * warps / 64,
                    "the number of blocks, not the share of the warps": float(min(blocks)),
                    "in percent": 100 * min(blocks) * warps / 64,
                },
            )


# ---- kernels


@lab.reference
def add_kernel(x, y, out, n, BLOCK):
    for i in range(tl.program_id(0) * BLOCK, min(n, (tl.program_id(0) + 1) * BLOCK)):
        tl.store(out + i, tl.load(x + i) + tl.load(y + i))


@lab.check("add_kernel")
def sums_of_blocks(student, rng):
    """full and ragged last blocks; each number read once and written once"""
    for n, block in (1000, 128), (256, 64), (1, 16), (130, 128):
        x, y = rng.normal(n), rng.normal(n)
        grid = (math.ceil(n / block),)
        likely = "program p has the numbers from p · BLOCK to (p + 1) · BLOCK − 1, and the mask ends at n"
        with case(f"{n} numbers, {grid[0]} programs of {block}", look=likely):
            arguments = [x, y, torch.full((n,), 99.0), n]
            got, reads, writes, _ = student.run(simulated, "add_kernel", grid, arguments, {"BLOCK": block})
            untouched = torch.full((n,), 99.0)
            first, no_first, no_last = (x + y).clone(), (x + y).clone(), (x + y).clone()
            first[block:], no_first[0], no_last[-1] = 99.0, 99.0, 99.0
            expect(
                got,
                x + y,
                mistakes={
                    "nothing is stored": untouched,
                    "only the first BLOCK numbers are done": first,
                    "number 0 is left out: offsets begin with 0": no_first,
                    "the last number is left out: the mask ends one too early": no_last,
                    "y is not loaded": x,
                    "x is not loaded": y,
                    "x is added to itself": 2 * x,
                    "y is added to itself": 2 * y,
                    "a difference, it should be the sum": x - y,
                    "a product, it should be the sum": x * y,
                },
            )
            require(
                (reads, writes) == (2 * n, n),
                f"{reads} numbers are read and {writes} written, not {2 * n} and {n}",
                look="load x and y once each, and store once",
            )


@lab.check("add_kernel", seconds=60, needs=no_triton)
def sums_with_triton(student, rng):
    """with Triton itself: interpreted, and compiled for a GPU that need not be there"""
    x, y = rng.normal(300), rng.normal(300)
    run_both_ways(student, "add_kernel", (5,), [x, y, torch.zeros(300), 300], {"BLOCK": 64}, x + y)


@lab.reference
def softmax_kernel(x, out, columns, BLOCK):
    begin = tl.program_id(0) * columns
    row = tl.load(x + (begin + torch.arange(columns)))
    tl.store(out + (begin + torch.arange(columns)), row.double().softmax(0).float())


@lab.check("softmax_kernel")
def softmax_of_rows(student, rng):
    """against torch; ragged rows; numbers near ±1000 and below −100"""
    for rows, columns, block, shift, scale in (
        (7, 100, 128, 0, 1),
        (3, 64, 64, 0, 50),
        (5, 33, 64, 1000, 1),
        (4, 5, 16, -1000, 1),
        (2, 1, 16, 0, 1),
    ):
        x = shift + scale * rng.normal(rows, columns)
        padded = torch.nn.functional.pad(x, (0, block - columns))
        with case(f"{rows} × {columns} numbers near {shift}, BLOCK {block}"):
            arguments = [x, torch.full_like(x, 99.0), columns]
            got, reads, writes, _ = student.run(simulated, "softmax_kernel", (rows,), arguments, {"BLOCK": block})
            expect(
                got,
                x.double().softmax(1).float(),
                mistakes={
                    "masked places hold 0 and take part in maximum and sum: −inf stays out of both": padded.softmax(1)[
                        :, :columns
                    ],
                    "the largest number of the row is not subtracted: exp overflows": lambda x=x: (
                        x.exp() / x.exp().sum(1, keepdim=True)
                    ),
                    "nothing is stored": torch.full_like(x, 99.0),
                    "it is not divided by the sum": lambda x=x: (x - x.amax(1, keepdim=True)).exp(),
                    "the sum is not that of the powers, but that of the row": lambda x=x: (
                        (x - x.amax(1, keepdim=True)).exp() / x.sum(1, keepdim=True)
                    ),
                    "the logarithm of the softmax": lambda x=x: x.log_softmax(1),
                    "exp is missing": lambda x=x: (
                        (x - x.amax(1, keepdim=True)) / (x - x.amax(1, keepdim=True)).sum(1, keepdim=True)
                    ),
                    "the sign is turned: that is the softmax of −x": lambda x=x: (-x).softmax(1),
                    "the smallest number is subtracted, it should be the largest": lambda x=x: (
                        (x - x.amin(1, keepdim=True)).exp() / (x - x.amin(1, keepdim=True)).exp().sum(1, keepdim=True)
                    ),
                    "the last number of each row is left out": lambda x=x: torch.cat(
                        [x[:, :-1].softmax(1), torch.full_like(x[:, -1:], 99.0)], 1
                    ),
                    "only row 0 is written": lambda x=x: torch.cat([x[:1].softmax(1), torch.full_like(x[1:], 99.0)]),
                    "masked places count 1 each in the sum": lambda x=x, b=block: (
                        (x - x.amax(1, keepdim=True)).exp()
                        / ((x - x.amax(1, keepdim=True)).exp().sum(1, keepdim=True) + b - x.shape[1])
                    ),
                },
                look="nan: a place that was masked in tl.load holds anything, unless `other` says what; or 0 / 0",
            )
            n = rows * columns
            require(
                (reads, writes) == (n, n),
                f"{reads} numbers are read and {writes} written, not {n} and {n}",
                likely="every number is read twice: load a row once and keep it" if reads == 2 * n else None,
            )


@lab.check("softmax_kernel", seconds=60, needs=no_triton)
def softmax_with_triton(student, rng):
    """with Triton itself: interpreted, and compiled for a GPU that need not be there"""
    x = 50 * rng.normal(3, 50)
    run_both_ways(student, "softmax_kernel", (3,), [x, torch.zeros_like(x), 50], {"BLOCK": 64}, x.softmax(1))


@lab.reference
def bias_relu_kernel(x, bias, out, columns, BLOCK):
    for column in range(columns):
        at = tl.program_id(0) * columns + column
        tl.store(out + at, (tl.load(x + at) + tl.load(bias + column)).clamp(min=0))


@lab.check("bias_relu_kernel")
def rows_longer_than_a_block(student, rng):
    """one block, several blocks, a ragged last one"""
    for rows, columns, block in (5, 100, 32), (3, 16, 16), (4, 7, 64), (1, 1, 16), (2, 129, 128):
        x, bias = rng.normal(rows, columns), rng.normal(columns)
        total = x + bias
        with case(f"{rows} × {columns} numbers, BLOCK {block}"):
            arguments = [x, bias, torch.full_like(x, 99.0), columns]
            got, reads, _, _ = student.run(simulated, "bias_relu_kernel", (rows,), arguments, {"BLOCK": block})
            part = torch.full_like(x, 99.0)
            part[:, :block] = total.relu()[:, :block]
            expect(
                got,
                total.relu(),
                mistakes={
                    "only the first BLOCK numbers of each row are done": part,
                    "the ReLU is missing": total,
                    "the bias is added after the ReLU": x.relu() + bias,
                    "the bias is missing": x.relu(),
                    "every block takes the first numbers of bias": lambda x=x, bias=bias, b=block: (
                        x + bias[torch.arange(x.shape[1]) % b]
                    ).relu(),
                    "the smaller of the sum and 0, it should be the larger": total.clamp(max=0),
                    "the absolute value, it should be 0 where the sum is negative": total.abs(),
                    "the bias is subtracted, it should be added": (x - bias).relu(),
                    "the last block, which is not full, is left out": lambda t=total, b=block: torch.cat(
                        [t[:, : t.shape[1] // b * b].relu(), torch.full_like(t[:, t.shape[1] // b * b :], 99.0)], 1
                    ),
                    "the sign of x alone decides, it should be that of x + bias": torch.where(x > 0, total, 0.0),
                    "nothing is stored": torch.full_like(x, 99.0),
                },
                look="offsets in x and out begin with the row, offsets in bias do not",
            )
            want = 2 * rows * columns
            require(
                reads == want,
                f"{reads} numbers are read, not {want}",
                look="in each program: its row once, and bias once",
            )


@lab.check("bias_relu_kernel", seconds=60, needs=no_triton)
def rows_with_triton(student, rng):
    """with Triton itself: interpreted, and compiled for a GPU that need not be there"""
    x, bias = rng.normal(3, 50), rng.normal(50)
    arguments = [x, bias, torch.zeros_like(x), 50]
    run_both_ways(student, "bias_relu_kernel", (3,), arguments, {"BLOCK": 32}, (x + bias).relu())


@student_side
def through_fused(student, x, bias, weight, again):
    """Forward and backward of FusedBiasReLU, which finds a counting machine behind `launch`."""
    machines, kernels = [], []

    def counting(kernel, grid, *arguments, **sizes):
        kernels.append(kernel is student.bias_relu_kernel)
        machines.append(on_machine(kernel, tuple(grid), *arguments, **sizes))

    student.FusedBiasReLU.forward.__globals__["launch"] = counting
    x, bias = x.clone().requires_grad_(), bias.clone().requires_grad_()
    out = student.FusedBiasReLU.apply(x, bias)
    for _ in range(1 + again):
        (out * weight).sum().backward(retain_graph=True)
    return out.detach(), x.grad, bias.grad, [machine.writes for machine in machines], all(kernels)


@lab.check("FusedBiasReLU")
def fused_and_its_gradients(student, rng):
    """result and gradients, against torch; one kernel, with each number written once"""
    for n, d, dtype in (4, 5, torch.float32), (1, 3, torch.float32), (3, 200, torch.float32), (2, 6, torch.float64):
        x, bias, weight = rng.normal(n, d, dtype=dtype), rng.normal(d, dtype=dtype), rng.normal(n, d, dtype=dtype)
        passed = weight * (x + bias > 0)
        with case(f"{n} × {d} numbers, {str(dtype).removeprefix('torch.')}"):
            out, of_x, of_bias, writes, right = student.run(through_fused, x, bias, weight, False)
            expect(
                out,
                (x + bias).relu(),
                mistakes={
                    "only the first 128 numbers of each row are done": lambda x=x, bias=bias: torch.cat(
                        [(x + bias)[:, :128].relu(), torch.zeros_like(x)[:, 128:]], 1
                    ),
                    "the bias is missing": x.relu(),
                    "the ReLU is missing": x + bias,
                },
            )
            require(
                len(writes) == 1,
                f"launch was called {len(writes)} times in forward, once is enough",
                likely=None if writes else "the sheet asks for bias_relu_kernel by launch, not for torch",
            )
            require(right, "launch got another kernel than bias_relu_kernel")
            require(writes == [n * d], f"{writes[0]} numbers are written, not {n * d}")
            require(
                of_x is not None and of_bias is not None,
                "x or bias gets no gradient",
                look="backward returns one gradient for each argument of forward",
            )
            with case("gradient with respect to x"):
                expect(
                    of_x,
                    passed,
                    mistakes={
                        "the gradient passes where the result is 0, too": weight,
                        "the mask is that of x alone: the bias belongs to it": weight * (x > 0),
                        "gradient is not used: only the mask came": 1.0 * (x + bias > 0),
                        "gradient times the result: the derivative is 1 or 0": weight * (x + bias).relu(),
                        "the mask is the wrong way round": weight * (x + bias <= 0),
                    },
                )
            with case("gradient with respect to bias"):
                expect(
                    of_bias,
                    passed.sum(0),
                    mistakes={
                        "the mean over the rows, not their sum": passed.mean(0),
                        "summed over the columns": lambda p=passed: p.sum(1),
                        "the mask is forgotten": weight.sum(0),
                        "the first row alone, not the sum over the rows": passed[0],
                        "not summed over the rows": passed,
                    },
                )
    x, bias, weight = rng.normal(3, 4), rng.normal(4), rng.normal(3, 4)
    with case("backward twice"):
        _, of_x, *_ = student.run(through_fused, x, bias, weight, True)
        expect(of_x, 2 * weight * (x + bias > 0))


# ---- tiles


@lab.reference
def matmul_kernel(a, b, c, m, n, k, BM, BN, BK):
    rows, columns = torch.arange(m), torch.arange(n)
    rows = rows[rows // BM == tl.program_id(0)]
    columns = columns[columns // BN == tl.program_id(1)]
    left = tl.load(a + (rows[:, None] * k + torch.arange(k)))
    right = tl.load(b + (torch.arange(k)[:, None] * n + columns))
    tl.store(c + (rows[:, None] * n + columns), left @ right)


@lab.check("matmul_kernel")
def products_of_tiles(student, rng):
    """ragged sizes, against torch"""
    for m, n, k, bm, bn, bk in (
        (35, 20, 50, 16, 16, 16),
        (32, 48, 16, 16, 16, 16),
        (17, 70, 33, 32, 16, 32),
        (1, 1, 1, 16, 16, 16),
        (5, 40, 7, 16, 32, 16),
    ):
        a, b = rng.normal(m, k), rng.normal(k, n)
        grid = (math.ceil(m / bm), math.ceil(n / bn))
        with case(f"{m} × {k} times {k} × {n}, tiles {bm} × {bn}, {bk} at a time"):
            arguments = [a, b, torch.full((m, n), 99.0), m, n, k]
            got, reads, writes, _ = student.run(
                simulated, "matmul_kernel", grid, arguments, {"BM": bm, "BN": bn, "BK": bk}
            )
            last = bk * ((k - 1) // bk)
            expect(
                got,
                a @ b,
                atol=1e-4,
                mistakes={
                    "only the first BK of the k products are added": a[:, :bk] @ b[:bk],
                    "only the last BK of the k products are there: add, do not replace": a[:, last:] @ b[last:],
                    "nothing is stored": torch.full((m, n), 99.0),
                    "program_id(0) is the row of the tile and program_id(1) its column: they are exchanged": (
                        lambda a=a, b=b, rows=grid[1] * bm, columns=grid[0] * bn: partly(a @ b, rows, columns)
                    ),
                    "every round reads the first BK numbers again": lambda a=a, b=b, bk=bk: (
                        -(-a.shape[1] // bk) * (a[:, :bk] @ b[:bk])
                    ),
                    "the offsets into a stay at its first BK columns": lambda a=a, b=b, bk=bk: sum(
                        a[:, : len(rows)] @ rows for rows in b.split(bk)
                    ),
                    "a row of a has k numbers, not m: its rows are k apart": lambda a=a, b=b: (
                        a.as_strided(a.shape, (a.shape[0], 1)) @ b
                    ),
                    "the last, ragged step along k is left out": lambda a=a, b=b, bk=bk: (
                        a[:, : a.shape[1] // bk * bk] @ b[: a.shape[1] // bk * bk]
                    ),
                    "the sum does not begin with 0": 1 + a @ b,
                },
                look="masked places hold anything, unless `other` says 0; all three sizes need a mask",
            )
            require(writes == m * n, f"{writes} numbers are written, not {m * n}")
            want = matmul_reads(m, n, k, bm, bn)
            look = "each program reads its rows of a and its columns of b once, without masked places"
            require(reads == want, f"{reads} numbers are read, not {want}", look=look)


def partly(product, rows, columns):
    """Only so many rows and columns of a product; 99 is what was there before."""
    result = torch.full_like(product, 99.0)
    result[:rows, :columns] = product[:rows, :columns]
    return result


@lab.check("matmul_kernel", seconds=120, needs=no_triton)
def products_with_triton(student, rng):
    """with Triton itself: interpreted, and compiled for a GPU that need not be there"""
    a, b = rng.normal(20, 33), rng.normal(33, 18)
    arguments = [a, b, torch.zeros(20, 18), 20, 18, 33]
    run_both_ways(student, "matmul_kernel", (2, 2), arguments, {"BM": 16, "BN": 16, "BK": 32}, a @ b)


@lab.reference
def matmul_reads(m, n, k, bm, bn):
    total = 0
    for top in range(0, m, bm):
        for left in range(0, n, bn):
            total += (min(bm, m - top) + min(bn, n - left)) * k
    return total


@lab.check("matmul_reads")
def reads_tile_by_tile(student, rng):
    """against adding up all tiles"""
    for m, n, k, bm, bn in (
        (64, 64, 64, 16, 16),
        (35, 20, 50, 16, 8),
        (10, 7, 3, 1, 1),
        (5, 9, 4, 32, 64),
        (70, 50, 90, 32, 16),
        (1, 1, 1, 1, 1),
        *[tuple(rng.int(1, 60) for _ in range(5)) for _ in range(20)],
    ):
        with case(f"{m} × {k} times {k} × {n}, tiles {bm} × {bn}"):
            expect(
                student.matmul_reads(m, n, k, bm, bn),
                matmul_reads(m, n, k, bm, bn),
                mistakes={
                    "masked places are not read: the last tiles are smaller": -(-m // bm) * -(-n // bn) * (bm + bn) * k,
                    "whole tiles only: the ragged ones count, too": m * k * (n // bn) + k * n * (m // bm),
                    "a is read once for each column of tiles, b for each row: they are exchanged": m * k * -(-m // bm)
                    + k * n * -(-n // bn),
                    "without reuse: each tile reads its numbers once": 2 * m * n * k,
                    "each number once: other tiles need it again": m * k + k * n,
                    "the numbers of a alone": m * k * -(-n // bn),
                    "the numbers of b alone": k * n * -(-m // bm),
                    "bm stands where bn belongs": m * k * -(-n // bm) + k * n * -(-m // bm),
                    "bm and bn are exchanged": m * k * -(-n // bm) + k * n * -(-m // bn),
                    "the numbers of c are written, not read": m * k * -(-n // bn) + k * n * -(-m // bm) + m * n,
                    "the number of tiles, not of numbers": -(-m // bm) * -(-n // bn),
                    "a tile is counted for one step of k alone": -(-m // bm) * -(-n // bn) * (bm + bn),
                },
            )


# ---- C++


@lab.check("ema_source")
def text_of_the_recurrence(student, rng):
    """C++ with the right declaration, a loop, and brackets that match"""
    text = student.ema_source()
    require(isinstance(text, str), f"a text is expected, not {type(text).__name__}")
    code = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    words = re.sub(r"\s+", " ", code)
    require(re.search(r'extern "C"', words), 'extern "C" is missing: C++ would change the name of the function')
    declared = re.search(r"void ema ?\(([^)]*)\)", words)
    require(declared, "there is no `void ema(…)`")
    kinds = [re.sub(r" ?\w+ ?$", "", part).replace(" *", "*").strip() for part in declared.group(1).split(",")]
    wanted = ["const float*", "float*", "long", "long", "float"]
    require(kinds == wanted, f"the arguments are {', '.join(kinds)}, not {', '.join(wanted)}")
    body = words[declared.end() :]
    require(re.search(r"\b(for|while)\b", body), "there is no loop")
    for name in re.findall(r"(\w+) ?(?:,|$)", declared.group(1)):
        require(re.search(rf"\b{name}\b", body), f"`{name}` is not used")
    for opening, closing in ("{}", "()", "[]"):
        require(code.count(opening) == code.count(closing), f"{opening} and {closing} do not match")


@student_side
def averages(student, x, decay):
    """Compile the student's C++ and run it on x: the result, what the compiler says, nothing written elsewhere."""
    library, words = shared_library(student.ema_source())
    if library is None:
        return None, words, True
    out = torch.full((x.numel() + 128,), 777.0)
    inner = out[64:-64]
    library.ema(x.data_ptr(), inner.data_ptr(), x.shape[0], x.shape[1], decay)
    border = torch.cat([out[:64], out[-64:]])
    return inner.reshape(x.shape), "", bool((border == 777).all())


@student_side
def shared_library(source):
    """A loaded library and "", or None and what the compiler says."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "ema.cpp")
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(source)
        made = os.path.join(folder, "ema.so")
        done = subprocess.run(["g++", "-O2", "-shared", "-fPIC", "-o", made, file], capture_output=True, text=True)
        if done.returncode:
            found = [line.split("error: ")[-1] for line in done.stderr.splitlines() if "error: " in line]
            return None, (found or done.stderr.splitlines() or ["g++ failed"])[0]
        library = ctypes.CDLL(made)
    pointer, long = ctypes.c_void_p, ctypes.c_long
    library.ema.argtypes, library.ema.restype = [pointer, pointer, long, long, ctypes.c_float], None
    return library, ""


def slow_averages(x: Tensor, decay: float, what: str = "") -> Tensor:
    """The recurrence in torch, or with a mistake."""
    flat = x.double().reshape(1, -1) if what == "rows" else x.double()
    columns, kept = [], flat[:, 0] * {"zero": 1 - decay, "whole, y[0] too": 1 + decay}.get(what, 1)
    for t, now in enumerate(flat.T):
        if t:
            old, new = (1 - decay, decay) if what == "exchanged" else (decay, 1 - decay)
            kept = old * kept + (1 if what.startswith("whole") else new) * now
        columns.append(kept)
    return torch.stack(columns, 1).reshape(x.shape).float()


@lab.check("ema_source", seconds=60, needs=no_compiler)
def averages_in_cpp(student, rng):
    """compiled, against the recurrence in torch"""
    for rows, columns, decay in (3, 7, 0.9), (1, 1, 0.5), (5, 2, 0.0), (2, 50, 0.99):
        x = rng.normal(rows, columns)
        with case(f"{rows} × {columns} numbers, decay {decay}"):
            got, words, clean = student.run(averages, x, decay)
            require(got is not None, f"it does not compile: {words}")
            require(clean, "it writes outside of y", look="rows × columns numbers, from 0")
            expect(
                got,
                slow_averages(x, decay),
                mistakes={
                    "each row starts afresh": lambda x=x, d=decay: slow_averages(x, d, "rows"),
                    "decay and 1 − decay are exchanged": lambda x=x, d=decay: slow_averages(x, d, "exchanged"),
                    "it starts with 0, not with x[0]": lambda x=x, d=decay: slow_averages(x, d, "zero"),
                    "y is not written": torch.full_like(x, 777.0),
                    "x[t − 1] stands where y[t − 1] belongs": lambda x=x, d=decay: torch.cat(
                        [x[:, :1], d * x[:, :-1] + (1 - d) * x[:, 1:]], 1
                    ),
                    "1 − decay is missing before x[t]": lambda x=x, d=decay: slow_averages(x, d, "whole"),
                    "1 − decay is missing before x[t], and y[0] is not x[0]": lambda x=x, d=decay: slow_averages(
                        x, d, "whole, y[0] too"
                    ),
                    "only the first row is written": lambda x=x, d=decay: torch.cat(
                        [slow_averages(x, d)[:1], torch.full_like(x[1:], 777.0)]
                    ),
                    "y[t − 1] is forgotten": lambda x=x, d=decay: torch.cat([x[:, :1], (1 - d) * x[:, 1:]], 1),
                },
            )


if __name__ == "__main__":
    sys.exit(run_checks(lab))
