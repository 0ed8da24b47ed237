"""Known-wrong versions of lab 19, each with the words that its message must hold, and right ones by another route."""

from __future__ import annotations

import math
import shutil

import torch
from labkit import alternative, edit, mutant

edit("occupancy", "min(limits) * warps / 64", "min(limits) * block / 2048", says="not full is a whole warp")
edit("occupancy", "math.ceil(registers * 32 / 256) * 256", "registers * 32", says="portions of 256")
edit("occupancy", "(math.ceil(shared / 1024) * 1024)", "shared", says="portions of 1024")
edit("occupancy", "limits = [32, ", "limits = [", says="at most 32 blocks")
edit("occupancy", "if shared:", "if False:", says="shared memory is forgotten")

edit("add_kernel", "offsets < n", "offsets <= n", says="is the mask right?")
edit("add_kernel", "tl.load(x + offsets, mask=mask)", "tl.load(x + offsets)", says="is the mask right?")
edit("add_kernel", "tl.program_id(0) * BLOCK", "tl.program_id(0)", says="another program has written: a race")
edit("add_kernel", " + tl.load(y + offsets, mask=mask)", "", says="y is not loaded")

edit("softmax_kernel", '-float("inf")', "0.0", says="masked places hold 0")
edit("softmax_kernel", ', other=-float("inf")', "", says="a place that was masked in tl.load holds anything")
edit("softmax_kernel", "row - tl.max(row, axis=0)", "row", says="the largest number of the row is not subtracted")
edit("softmax_kernel", "power / tl.sum(power, axis=0)", "power", says="not divided by the sum")
edit("softmax_kernel", "tl.program_id(0) * columns", "tl.program_id(0) * BLOCK", says="there are only")


@mutant("softmax_kernel", says="load a row once and keep it")
def row_loaded_twice(x, out, columns, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    places = tl.program_id(0) * columns + offsets
    largest = tl.max(tl.load(x + places, mask=mask, other=-float("inf")), axis=0)
    power = tl.exp(tl.load(x + places, mask=mask, other=-float("inf")) - largest)
    tl.store(out + places, power / tl.sum(power, axis=0), mask=mask)


edit("bias_relu_kernel", "range(0, columns, BLOCK)", "range(0, 1)", says="only the first BLOCK numbers")
edit("bias_relu_kernel", "tl.load(bias + offsets", "tl.load(bias + start + offsets", says="there are only")
edit("bias_relu_kernel", "tl.where(total > 0, total, 0.0)", "total", says="the ReLU is missing")

edit("FusedBiasReLU", "gradient * (out > 0)", "gradient", says="passes where the result is 0")
edit("FusedBiasReLU", "passed.sum(0)", "passed.mean(0)", says="the mean over the rows")
edit(
    "FusedBiasReLU",
    "return passed, passed.sum(0)",
    "return passed, None",
    says="gets no gradient",
)
edit("FusedBiasReLU", "launch(bias_relu_kernel, (x.size(0),), x, bias, out, x.size(1), BLOCK=128)",
     "out = (x + bias).relu()", says="by launch, not for torch")  # fmt: skip

edit("matmul_kernel", "total += tl.dot", "total = tl.dot", says="add, do not replace")
edit("matmul_kernel", "range(0, k, BK)", "range(0, BK, BK)", says="only the first BK")
edit("matmul_kernel", "(across < k), other=0.0", "(across < k)", says="masked places hold anything")
edit("matmul_kernel", "(rows < m) & (across < k)", "rows < m", says="there are only")


@mutant("matmul_reads", says="the last tiles are smaller")
def reads_of_full_tiles(m: int, n: int, k: int, bm: int, bn: int) -> int:
    return math.ceil(m / bm) * math.ceil(n / bn) * (bm + bn) * k


@mutant("matmul_reads", says="the ragged ones count, too")
def reads_without_ragged_tiles(m: int, n: int, k: int, bm: int, bn: int) -> int:
    return m * k * (n // bn) + k * n * (m // bm)


@mutant("matmul_reads", says="they are exchanged")
def reads_exchanged(m: int, n: int, k: int, bm: int, bn: int) -> int:
    return m * k * math.ceil(m / bm) + k * n * math.ceil(n / bn)


edit("ema_source", 'extern "C" ', "", says="would change the name of the function")
edit("ema_source", "float decay)", "double decay)", says="the arguments are const float*, float*, long, long, double")
edit("ema_source", "for (long t = 0; t < columns; ++t)", "for (long t = 0; t < columns; ++t) {", says="do not match")
edit("ema_source", "decay * kept + (1 - decay) * from[t]", "from[t]", says="`decay` is not used")

if shutil.which("g++"):  # what only a compiled program shows
    edit("ema_source", "decay * kept + (1 - decay) * from[t]", "(1 - decay) * kept + decay * from[t]", says="exchanged")
    edit("ema_source", "columns ? from[0] : 0", "0", says="it starts with 0")
    edit("ema_source", "t < columns", "t <= columns", says="it writes outside of y")
    edit("ema_source", "float kept = columns ? from[0] : 0;", "float kept = from[0]", says="it does not compile")
    edit("ema_source", "float kept = columns", "static float kept = columns", says="each row starts afresh")


edit("occupancy", "min(limits)", "max(limits)", says="the largest of the limits")
edit("occupancy", "math.ceil(block / 32)", "block // 32", says="counts, too: round up")
edit("occupancy", "64 // warps", "32", says="64 warps is forgotten")
edit("occupancy", "min(limits) * warps / 64", "float(min(limits))", says="not the share of the warps")
edit("occupancy", "min(limits) * warps / 64", "100 * min(limits) * warps / 64", says="in percent")
edit("occupancy", "65536 // (warps * math.ceil(registers * 32 / 256) * 256)", "65536 // (registers * block)",
     says="whole warps get them")  # fmt: skip
edit("occupancy", ", 65536 // (warps * math.ceil(registers * 32 / 256) * 256)", "", says="registers are forgotten")
edit("add_kernel", "mask = offsets < n", "mask = offsets < BLOCK", says="only the first BLOCK numbers")
edit("add_kernel", "mask = offsets < n", "mask = offsets < n - 1", says="the last number is left out")
edit("add_kernel", "BLOCK + tl.arange(0, BLOCK)", "BLOCK + 1 + tl.arange(0, BLOCK)", says="number 0 is left out")
edit("add_kernel", "tl.program_id(0) * BLOCK + ", "", says="a race")
edit("add_kernel", "tl.load(y + offsets", "tl.load(x + offsets", says="x is added to itself")
edit("add_kernel", ") + tl.load(y", ") - tl.load(y", says="a difference")
edit("softmax_kernel", "row - tl.max(row, axis=0)", "tl.max(row, axis=0) - row", says="everything is zero")
edit("softmax_kernel", "tl.sum(power, axis=0)", "tl.sum(row, axis=0)", says="everything is zero")
edit("softmax_kernel", "tl.sum(power, axis=0)", "tl.max(power, axis=0)", says="not divided by the sum")
edit("softmax_kernel", "start = tl.program_id(0) * columns", "start = 0", says="a race")
edit("softmax_kernel", "offsets < columns", "offsets <= columns", says="a race")
edit("softmax_kernel", "offsets < columns", "offsets < columns - 1", says="last number of each row is left out")
edit(
    "softmax_kernel",
    "    power = ",
    "    row = tl.where(mask, row, tl.max(row, axis=0))\n    power = ",
    says="count 1 each",
)
edit("bias_relu_kernel", "tl.load(bias + offsets, mask=mask, other=0.0)",
     "tl.load(bias + tl.arange(0, BLOCK), mask=tl.arange(0, BLOCK) < columns, other=0.0)",
     says="the first numbers of bias")  # fmt: skip
edit("bias_relu_kernel", "range(0, columns, BLOCK)", "range(0, columns // BLOCK * BLOCK, BLOCK)", says="is left out")
edit("bias_relu_kernel", "tl.where(total > 0, total, 0.0)", "tl.where(total < 0, total, 0.0)", says="the smaller")
edit("bias_relu_kernel", "tl.where(total > 0, total, 0.0)", "tl.where(total > 0, total, -total)", says="absolute value")
edit("bias_relu_kernel", "other=0.0) + tl.load", "other=0.0) - tl.load", says="subtracted")
edit("bias_relu_kernel", "start = tl.program_id(0) * columns", "start = tl.program_id(0) * BLOCK", says="a race")
edit("bias_relu_kernel", "offsets < columns", "offsets < BLOCK", says="only the first BLOCK numbers")
edit("FusedBiasReLU", "gradient * (out > 0)", "1.0 * (out > 0)", says="gradient is not used")
edit("FusedBiasReLU", "gradient * (out > 0)", "gradient * out", says="the derivative is 1 or 0")
edit("FusedBiasReLU", "gradient * (out > 0)", "gradient * (out <= 0)", says="the wrong way round")
edit("FusedBiasReLU", "passed.sum(0)", "passed.sum(1)", says="invalid gradient at index 1")
edit("FusedBiasReLU", "passed.sum(0)", "gradient.sum(0)", says="the mask is forgotten")
edit("FusedBiasReLU", "passed, passed.sum(0)", "passed.sum(0), passed", says="invalid gradient at index 0")
edit("FusedBiasReLU", "torch.empty_like(x)", "torch.empty(x.shape)", says="float64")
edit("FusedBiasReLU", "(x.size(0),)", "(x.size(1),)", says="there are only")
edit("matmul_kernel", "tl.program_id(0) * BM", "tl.program_id(1) * BM", says="a race")
edit(
    "matmul_kernel",
    "first + tl.arange(0, BK)[None, :]",
    "tl.arange(0, BK)[None, :]",
    says="stay at its first BK columns",
)
edit("matmul_kernel", "range(0, k, BK)", "range(0, k // BK * BK, BK)", says="ragged step along k")
edit("matmul_kernel", "rows * k + across", "rows * m + across", says="its rows are k apart")
edit("matmul_kernel", "down * n + columns", "down * k + columns", says="there are only")
edit("matmul_kernel", "c + rows * n + columns", "c + rows * m + columns", says="there are only")
edit("matmul_reads", "-(-n // bn)", "-(-n // bm)", says="bm stands where bn belongs")
edit("matmul_reads", " + k * n * -(-m // bm)", "", says="the numbers of a alone")
edit("matmul_reads", "m * k * -(-n // bn) + k * n * -(-m // bm)", "m * k * -(-n // bm) + k * n * -(-m // bn)",
     says="bm and bn are exchanged")  # fmt: skip
edit("matmul_reads", "k * n * -(-m // bm)", "k * n * -(-m // bm) + m * n", says="written, not read")
edit("matmul_reads", "m * k * -(-n // bn) + k * n * -(-m // bm)", "2 * m * n * k", says="without reuse")
edit("matmul_reads", "m * k * -(-n // bn) + k * n * -(-m // bm)", "m * k + k * n", says="each number once")
edit("ema_source", "void ema", "void average", says="there is no `void ema")
if shutil.which("g++"):
    edit("ema_source", "+ (1 - decay) * from[t]", "+ from[t]", says="1 − decay is missing")
    edit("ema_source", "kept = decay * kept + (1 - decay) * from[t]",
         "decay * (t ? from[t - 1] : from[0]) + (1 - decay) * from[t]", says="x[t − 1] stands where")  # fmt: skip
    edit("ema_source", "r < rows", "r < 1 && rows", says="only the first row")


@alternative("occupancy")
def occupancy_by_trying(block: int, registers: int, shared: int) -> float:
    warps, portions = -(-block // 32), -(-registers // 8)
    fitting = [
        b for b in range(33) if b * warps <= 64 and b * warps * portions <= 256 and b * -(-shared // 1024) <= 100
    ]
    return fitting[-1] * warps / 64


@alternative("add_kernel")
def add_with_zeros(x, y, out, n, BLOCK: tl.constexpr):
    places = BLOCK * tl.program_id(0) + tl.arange(0, BLOCK)
    total = tl.load(x + places, mask=places < n, other=0.0)
    total += tl.load(y + places, mask=places < n, other=0.0)
    tl.store(out + places, total, mask=places < n)


@alternative("softmax_kernel")
def softmax_with_where(x, out, columns, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    row = tl.load(x + tl.program_id(0) * columns + column, mask=column < columns, other=-1e30)
    power = tl.where(column < columns, tl.exp(row - tl.max(row, axis=0)), 0.0)
    tl.store(out + tl.program_id(0) * columns + column, power / tl.sum(power, axis=0), mask=column < columns)


@alternative("bias_relu_kernel")
def bias_relu_by_maximum(x, bias, out, columns, BLOCK: tl.constexpr):
    for block in range(tl.cdiv(columns, BLOCK)):
        column = block * BLOCK + tl.arange(0, BLOCK)
        place = tl.program_id(0) * columns + column
        total = tl.load(x + place, mask=column < columns) + tl.load(bias + column, mask=column < columns)
        tl.store(out + place, tl.maximum(total, 0.0), mask=column < columns)


@alternative("FusedBiasReLU")
class FusedFromInputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bias):
        ctx.save_for_backward(x, bias)
        out = x.new_empty(x.shape)
        launch(bias_relu_kernel, (len(x),), x, bias, out, x.shape[1], BLOCK=128)
        return out

    @staticmethod
    def backward(ctx, gradient):
        x, bias = ctx.saved_tensors
        passed = torch.where(x + bias > 0, gradient, 0.0)
        return passed, torch.ones(len(x), dtype=x.dtype, device=x.device) @ passed


@alternative("matmul_kernel")
def matmul_with_moving_pointers(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    column = tl.program_id(1) * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    left, right = a + (row[:, None] * k + inner[None, :]), b + (inner[:, None] * n + column[None, :])
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for step in range(tl.cdiv(k, BK)):
        rest = k - step * BK
        here = tl.load(left, mask=(row[:, None] < m) & (inner[None, :] < rest), other=0.0)
        there = tl.load(right, mask=(inner[:, None] < rest) & (column[None, :] < n), other=0.0)
        total = total + tl.dot(here, there)
        left += BK
        right += BK * n
    tl.store(c + (row[:, None] * n + column[None, :]), total, mask=(row[:, None] < m) & (column[None, :] < n))


@alternative("matmul_reads")
def reads_by_programs(m: int, n: int, k: int, bm: int, bn: int) -> int:
    programs = [(min(bm, m - i), min(bn, n - j)) for i in range(0, m, bm) for j in range(0, n, bn)]
    return sum((high + wide) * k for high, wide in programs)


@alternative("ema_source")
def ema_by_pointers() -> str:
    return """
    // one row after the other
    extern "C" void ema(const float *x, float *y, long rows, long columns, float decay)
    {
        for (const float *end = x + rows * columns; x < end; ) {
            const float *row = x + columns;
            *y++ = *x++;
            while (x < row) { *y = decay * y[-1] + (1.0f - decay) * *x++; ++y; }
        }
    }
    """


@alternative("occupancy")
def by_growing(block: int, registers: int, shared: int) -> float:
    warps, blocks = (block + 31) // 32, 0
    each = warps * 256 * ((registers * 32 + 255) // 256), 1024 * ((shared + 1023) // 1024)
    while blocks < 32 and (blocks + 1) * warps <= 64:
        if (blocks + 1) * each[0] > 65536 or (blocks + 1) * each[1] > 102400:
            break
        blocks += 1
    return blocks * warps / 64


@alternative("add_kernel")
def add_with_moved_pointers(x, y, out, n, BLOCK: tl.constexpr):
    begin, inner = tl.program_id(0) * BLOCK, tl.arange(0, BLOCK)
    here = inner < n - begin
    x += begin
    y += begin
    tl.store(out + begin + inner, tl.load(y + inner, mask=here, other=1.0) + tl.load(x + inner, mask=here), here)


@alternative("softmax_kernel")
def softmax_by_a_factor(x, out, columns, BLOCK: tl.constexpr):
    inner = tl.arange(0, BLOCK)
    mine = tl.program_id(0) * columns + inner
    row = tl.load(x + mine, mask=inner < columns, other=float("-inf"))
    power = tl.exp(row - tl.max(row, axis=0))
    factor = 1.0 / tl.sum(power, axis=0)
    tl.store(out + mine, factor * power, mask=inner < columns)


@alternative("bias_relu_kernel")
def bias_relu_by_a_product(x, bias, out, columns, BLOCK: tl.constexpr):
    inner = tl.arange(0, BLOCK)
    x += tl.program_id(0) * columns
    out += tl.program_id(0) * columns
    for first in range(0, columns, BLOCK):
        here = inner < columns - first
        total = tl.load(bias + first + inner, mask=here, other=0.0) + tl.load(x + first + inner, mask=here, other=0.0)
        tl.store(out + first + inner, total * (total > 0), mask=here)


@alternative("FusedBiasReLU")
class FusedWithAMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bias):
        rows, columns = x.shape
        out = torch.zeros(rows, columns, dtype=x.dtype, device=x.device)
        launch(bias_relu_kernel, (rows,), x, bias, out, columns, BLOCK=64)
        ctx.mask = out != 0
        return out

    @staticmethod
    def backward(ctx, gradient):
        passed = gradient.masked_fill(~ctx.mask, 0.0)
        return passed, torch.einsum("nd->d", passed)


@alternative("matmul_kernel")
def matmul_with_an_accumulator(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    row, column = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN)
    rows, columns = row[:, None], column[None, :]
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for step in range(0, tl.cdiv(k, BK)):
        inner = step * BK + tl.arange(0, BK)
        left = tl.load(a + (rows * k + inner[None, :]), mask=(rows < m) & (inner[None, :] < k), other=0.0)
        right = tl.load(b + (inner[:, None] * n + columns), mask=(inner[:, None] < k) & (columns < n), other=0.0)
        total = tl.dot(left, right) + total
    tl.store(c + (rows * n + columns), total, (rows < m) & (columns < n))


@alternative("matmul_reads")
def reads_by_ceil(m: int, n: int, k: int, bm: int, bn: int) -> int:
    return k * (m * math.ceil(n / bn) + n * math.ceil(m / bm))


@alternative("matmul_reads")
def reads_by_numbers(m: int, n: int, k: int, bm: int, bn: int) -> int:
    return sum(k for _ in range(m) for _ in range(0, n, bn)) + sum(k for _ in range(n) for _ in range(0, m, bm))


@alternative("ema_source")
def ema_in_a_block() -> str:
    return r"""
    #include <cstddef>
    extern "C" {
    void ema(const float* x, float* y, long rows, long columns, float decay) {
        long r = 0;
        while (r < rows) {
            for (long t = 0; t < columns; t++) {
                const std::size_t at = r * columns + t;
                y[at] = t == 0 ? x[at] : x[at] + decay * (y[at - 1] - x[at]);
            }
            r++;
        }
    }
    }
    """
