"""The experiments of lab 19: what can be measured and seen once its parts work."""

import math
import time

import torch
from check import (
    Address,
    Machine,
    compiled,
    kernel_with,
    lab,
    no_compiler,
    no_triton,
    on_machine,
    shared_library,
    tl,
    triton_afresh,
)
from checking import progress, student_side


@student_side
def copy_with_stride(x, out, stride, BLOCK):
    """A program reads BLOCK numbers that lie `stride` apart, and writes them side by side."""
    lane = tl.arange(0, BLOCK)
    tl.store(out + lane, tl.load(x + lane * stride))


@student_side(changes=True)
def measured(student, a, b, tiles, strides):
    """Numbers read for each tile size; sectors of a warp for each stride; who reads what, for 16 × 16 tiles."""
    m, k, n = a.shape[0], a.shape[1], b.shape[1]
    reads, results = [], []
    for tile in progress(tiles, "tiles"):
        c = torch.zeros(m, n)
        sizes = {"BM": tile, "BN": tile, "BK": 16}
        machine = on_machine(student.matmul_kernel, (-(-m // tile), -(-n // tile)), a, b, c, m, n, k, **sizes)
        reads.append(machine.reads)
        results.append(c)
    sectors = []
    for stride in strides:
        machine = on_machine(copy_with_stride, (1,), torch.zeros(32 * stride), torch.zeros(32), stride, BLOCK=32)
        sectors.append(machine.sectors - 4)  # the 32 numbers written take 4
    return reads, results, sectors


@student_side(changes=True)
def footprint(student, m, n, k, tile, program):
    """Which numbers of a, b and c one program touches: three maps."""
    touched = {}

    class Watching(Machine):
        def load(self, pointer, mask=None, other=float("nan")):
            offsets, where = self.within("load", pointer, mask)
            touched[pointer.tensor.data_ptr()].view(-1)[offsets[where]] += 1
            return super().load(pointer, mask, other)

        def store(self, pointer, block, mask=None):
            offsets, where = self.within("store", pointer, mask)
            touched[pointer.tensor.data_ptr()].view(-1)[offsets[where]] += 1

    tensors = [torch.ones(m, k), torch.ones(k, n), torch.zeros(m, n)]
    for tensor in tensors:
        touched[tensor.data_ptr()] = torch.zeros_like(tensor)
    machine, names = Watching(), student.matmul_kernel.__globals__
    before, names["tl"], machine.program = names.get("tl"), machine, program
    student.matmul_kernel(*(Address(t) for t in tensors), m, n, k, BM=tile, BN=tile, BK=16)
    names["tl"] = before
    return list(touched.values())


@lab.experiment("occupancy", "matmul_kernel", "matmul_reads", seconds=2)
def what_tiles_save(student, metrics, data, rng):
    """A product of 128 × 128: numbers read from global memory, and how full the machine is"""
    a, b, tiles = rng.normal(128, 128), rng.normal(128, 128), (16, 32, 64, 128)
    strides = (1, 2, 3, 4, 6, 8, 12, 16, 32)
    reads, results, sectors = student.run(measured, a, b, tiles, strides)
    worst = max((c - a @ b).abs().max().item() for c in results)
    metrics.at_most("largest error of a product", worst, 1e-3)
    for tile, count in zip(tiles, reads, strict=True):
        metrics.equal(f"numbers read, tiles of {tile}", count, student.matmul_reads(128, 128, 128, tile, tile))
    metrics.equal("occupancy, 256 threads with 64 registers", student.occupancy(256, 64, 0), 0.5)
    metrics.seen("sectors of 32 bytes for a warp that reads neighbours", sectors[0])
    metrics.seen("sectors for a warp that reads every eighth number", sectors[strides.index(8)])
    blocks, registers = list(range(32, 1025, 32)), list(range(16, 256, 4))
    full = torch.tensor([[student.occupancy(block, r, 0) for block in blocks] for r in registers])
    maps = student.run(footprint, 100, 90, 80, 32, (1, 2))
    with metrics.picture("kernels.png", size=(10, 5.6)) as figure:
        upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.05])
        for axes, touched, name, size in zip(
            upper.subplots(1, 3, width_ratios=[80, 90, 90]),
            maps,
            "abc",
            ("100 × 80", "80 × 90", "100 × 90"),
            strict=True,
        ):
            axes.imshow(touched.numpy(), cmap="Blues", vmin=0, vmax=1.4)
            for at in range(32, touched.shape[0], 32 if name != "b" else 16):
                axes.axhline(at - 0.5, color="#cbd5e0", linewidth=0.6)
            for at in range(32 if name != "a" else 16, touched.shape[1], 32 if name != "a" else 16):
                axes.axvline(at - 0.5, color="#cbd5e0", linewidth=0.6)
            axes.set(xticks=[], yticks=[], title=f"{name}: {size}")
            axes.grid(False)
        upper.suptitle("what program (1, 2) touches, tiles of 32 × 32", fontsize=9)
        left, middle, right = lower.subplots(1, 3)
        shown = left.imshow(
            100 * full.numpy(), origin="lower", aspect="auto", extent=(16, 1040, 14, 254), cmap="viridis"
        )
        left.set(xlabel="threads of a block", ylabel="registers of a thread", title="occupancy (%)")
        left.grid(False)
        lower.colorbar(shown, ax=left)
        sizes = [2**j for j in range(8)]
        middle.plot(sizes, [student.matmul_reads(128, 128, 128, s, s) / 128**2 for s in sizes], label="matmul_reads")
        middle.plot(tiles, [count / 128**2 for count in reads], "o", label="counted")
        middle.set(xscale="log", yscale="log", xlabel="side of a tile", title="numbers read for each result")
        middle.set_xticks(sizes, labels=[str(s) for s in sizes])
        middle.minorticks_off()
        middle.legend()
        right.plot(strides, sectors, marker="o", markersize=4)
        right.set(xlabel="distance of the numbers read", title="sectors of 32 bytes for a warp", ylim=(0, 34))


@student_side
def timed_averages(student, x, decay):
    """Seconds of computing and results: the recurrence in torch, column by column; in C++ (compiling not counted)."""
    began = time.thread_time()
    slow = x.clone()
    for t in progress(range(1, x.shape[1]), "in Python"):
        slow[:, t] = decay * slow[:, t - 1] + (1 - decay) * x[:, t]
    between = time.thread_time()
    library, words = shared_library(student.ema_source())
    if library is None:
        raise RuntimeError(f"it does not compile: {words}")
    fast = torch.empty_like(x)
    found = []
    for _ in range(10):  # the first call touches the memory, other work on the machine makes single ones slower
        started = time.thread_time()
        library.ema(x.data_ptr(), fast.data_ptr(), *x.shape, decay)
        found.append(time.thread_time() - started)
    return between - began, min(found), slow, fast


@lab.experiment("ema_source", seconds=2, needs=no_compiler)
def a_loop_in_cpp(student, metrics, data, rng):
    """A recurrence over 20 000 steps, in Python and in C++"""
    x = rng.normal(4, 20_000)
    slow_time, fast_time, slow, fast = student.run(timed_averages, x, 0.999)
    metrics.at_most("largest difference", (slow - fast).abs().max().item(), 1e-4)
    metrics.seen("in Python", slow_time, "s")
    metrics.seen("in C++", fast_time, "s")
    metrics.at_least("Python / C++", slow_time / fast_time, 20, "times")


@lab.experiment("matmul_kernel", seconds=8, needs=no_triton)
def shared_memory_of_tiles(student, metrics, data, rng):
    """The product of tiles, compiled for an A100: what a block takes of its shared memory"""
    types = ["*fp32"] * 3 + ["i32"] * 3
    for tile in 32, 64:
        size, shared = student.run(compiled, "matmul_kernel", types, {"BM": tile, "BN": tile, "BK": 32})
        metrics.at_least(f"bytes of code, tiles of {tile}", size, 1000)
        metrics.seen(f"shared memory of a block, tiles of {tile}", shared, "bytes")


# ---- with a GPU


@student_side
def milliseconds(run, repeats=20):
    """The shortest of several runs on the GPU, by events: a call returns before the work is done."""
    best = math.inf
    run()
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end))
    return best


@student_side
def jitted(student, name):
    triton = triton_afresh(False)
    return triton, triton.jit(kernel_with(triton, student, name))


@student_side
def add_on_gpu(student, n):
    triton, kernel = jitted(student, "add_kernel")
    x, y = torch.randn(n, device="cuda"), torch.randn(n, device="cuda")
    out = torch.full_like(x, 99.0)
    grid = (triton.cdiv(n, 1024),)
    mine = milliseconds(lambda: kernel[grid](x, y, out, n, BLOCK=1024))
    copied = milliseconds(lambda: out.copy_(x))
    kernel[grid](x, y, out, n, BLOCK=1024)
    return bool(torch.equal(out, x + y)), 12 * n / mine / 1e6, 8 * n / copied / 1e6


@lab.gpu("add_kernel", seconds=15, needs=no_triton)
def bandwidth_of_add(student, metrics, data, rng):
    """Adding 64 million numbers: bandwidth, beside a copy"""
    exact, mine, copied = student.run(add_on_gpu, 1 << 26)
    metrics.equal("the same sums as torch", int(exact), 1)
    metrics.seen("bandwidth of a copy", copied, "GB/s")
    metrics.at_least("bandwidth of add_kernel, share of a copy's", 100 * mine / copied, 70, "%")


@student_side
def softmax_on_gpu(student, rows, columns):
    _, kernel = jitted(student, "softmax_kernel")
    x = 10 * torch.randn(rows, columns, device="cuda")
    out = torch.full_like(x, 99.0)
    block = 1 << (columns - 1).bit_length()
    mine = milliseconds(lambda: kernel[(rows,)](x, out, columns, BLOCK=block))
    by_torch = milliseconds(lambda: torch.softmax(x, 1))
    by_hand = milliseconds(lambda: in_steps(x))
    return float((out - x.softmax(1)).abs().max()), mine, by_torch, by_hand


@student_side
def in_steps(x):
    power = (x - x.amax(1, keepdim=True)).exp()
    return power / power.sum(1, keepdim=True)


@lab.gpu("softmax_kernel", seconds=15, needs=no_triton)
def softmax_in_one_kernel(student, metrics, data, rng):
    """Softmax of 16 384 × 1000 numbers: one kernel, torch's kernel, and torch in five steps"""
    error, mine, by_torch, by_hand = student.run(softmax_on_gpu, 16_384, 1000)
    metrics.at_most("largest error", error, 1e-5)
    metrics.seen("your kernel", mine, "ms")
    metrics.seen("torch.softmax", by_torch, "ms")
    metrics.at_least("torch in five steps / your kernel", by_hand / mine, 1.5, "times")


@student_side
def fused_on_gpu(student, rows, columns):
    _, kernel = jitted(student, "bias_relu_kernel")
    x, bias = torch.randn(rows, columns, device="cuda"), torch.randn(columns, device="cuda")
    out = torch.full_like(x, 99.0)
    mine = milliseconds(lambda: kernel[(rows,)](x, bias, out, columns, BLOCK=1024))
    in_two = milliseconds(lambda: (x + bias).relu())
    leaf = x.requires_grad_()
    out = student.FusedBiasReLU.apply(leaf, bias)
    out.sum().backward()
    want = (x + bias).relu()
    return torch.equal(out, want) and torch.equal(leaf.grad, (want > 0).float()), mine, in_two


@lab.gpu("bias_relu_kernel", "FusedBiasReLU", seconds=15, needs=no_triton)
def one_kernel_for_two(student, metrics, data, rng):
    """Bias and ReLU of 16 384 × 4096 numbers: one kernel, and torch with two"""
    same, mine, in_two = student.run(fused_on_gpu, 16_384, 4096)
    metrics.equal("the same numbers and gradients as torch", int(same), 1)
    metrics.seen("your kernel", mine, "ms")
    metrics.at_least("torch with two kernels / your kernel", in_two / mine, 1.2, "times")


@student_side
def matmul_on_gpu(student, size, tile):
    triton, kernel = jitted(student, "matmul_kernel")
    a, b = torch.randn(size, size - 24, device="cuda"), torch.randn(size - 24, size - 8, device="cuda")
    c = torch.empty(size, size - 8, device="cuda")
    m, k, n = size, size - 24, size - 8
    grid = (triton.cdiv(m, tile), triton.cdiv(n, tile))
    mine = milliseconds(lambda: kernel[grid](a, b, c, m, n, k, BM=tile, BN=tile, BK=32), 5)
    by_torch = milliseconds(lambda: a @ b, 5)
    exact = a.double() @ b.double()
    work = 2e-9 * m * n * k
    return float((c - exact).abs().max() / exact.abs().max()), work / mine, work / by_torch


@lab.gpu("matmul_kernel", seconds=25, needs=no_triton)
def product_on_the_gpu(student, metrics, data, rng):
    """A product of about 2048 × 2048, in two sizes of tiles"""
    for tile in 32, 64:
        error, mine, by_torch = student.run(matmul_on_gpu, 2048, tile)
        metrics.at_most(f"largest error, relative, tiles of {tile}", error, 5e-3)  # tl.dot may use TF32
        metrics.seen(f"tiles of {tile}", mine, "TFLOP/s")
    metrics.seen("torch", by_torch, "TFLOP/s")
