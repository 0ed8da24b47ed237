"""The experiments of lab 01: what can be measured and seen once its parts work."""

import time

import torch
from check import _compare_rate, lab
from checking import expect, progress, student_side


@student_side
def seconds_of_both(student, m):
    """The computing time of the slow version and of the fast one, and their results."""
    begin = time.thread_time()
    slow = student.mul_row(m)
    middle = time.thread_time()
    fast = student.mul_row_fast(m)
    first = time.thread_time() - middle
    again = []
    for _ in range(20):
        once_more = time.thread_time()
        student.mul_row_fast(m)
        again.append(time.thread_time() - once_more)
    return middle - begin, min(first, *again), slow, fast


@student_side
def rates_of(student, sizes):
    return [max(student.gemm_rate(n) for _ in range(3)) for n in progress(sizes, "products")]


@student_side
def rates_on_a_gpu(student, n):
    """The best of the student's rates, and the best that is measured here."""
    one, other = torch.randn(2, n, n, device="cuda")
    best = 0.0
    for _ in range(20):
        torch.cuda.synchronize()
        before = time.perf_counter()
        torch.mm(one, other)
        torch.cuda.synchronize()
        best = max(best, n**3 / (time.perf_counter() - before))
    return max(student.gemm_rate(n, "cuda") for _ in range(5)), best


@lab.experiment("mul_row", "mul_row_fast", seconds=2)
def loops_are_slow(student, metrics, data, rng):
    """the price of a Python loop"""
    slow, fast, one, other = student.run(seconds_of_both, rng.normal(200, 400))
    expect(other, one, look="the two versions differ")
    metrics.seen("loop", 1000 * slow, "ms")
    metrics.seen("tensor operation", 1000 * fast, "ms")
    metrics.at_least("times as fast", slow / fast, 50)


@lab.experiment("frame_matrix", "windows", "gemm_rate", seconds=1)
def what_tensors_can_do(student, metrics, data, rng):
    """a matrix, a smooth curve, and the speed of this machine"""
    sizes = [8, 16, 32, 64, 128, 256, 512, 1000]
    measured = student.run(rates_of, sizes)
    metrics.seen("products per second, n = 1000", measured[-1] / 1e9, "thousand million")
    time_axis = torch.linspace(0, 12, 400)
    noisy = torch.sin(time_axis) + 0.4 * rng.normal(400)
    smooth = student.windows(noisy, 25).mean(1)
    metrics.at_most("noise that is left", float((smooth - torch.sin(time_axis)[12:-12]).std()), 0.2)
    with metrics.picture("tensors.png", size=(9, 2.8)) as figure:
        left, middle, right = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1, 1.6, 1.4]})
        left.imshow(student.frame_matrix(), cmap="YlGnBu")
        left.set_title("frame_matrix()")
        left.axis("off")
        middle.plot(time_axis, noisy, ".", color="0.75", markersize=3)
        middle.plot(time_axis[12:-12], smooth, linewidth=2)
        middle.set(title="windows(x, 25).mean(1)", xlabel="time")
        right.loglog(sizes, measured, marker="o")
        right.set(title="products per second", xlabel="n")


@lab.gpu("gemm_rate", seconds=5)
def rate_of_the_gpu(student, metrics, data, rng):
    """products per second on the GPU, with the clock stopped when the work is done"""
    rate, right = student.run(rates_on_a_gpu, 4096)
    _compare_rate(rate, right / 3, 3 * right, 4096)
    metrics.seen("products per second, n = 4096", rate / 1e12, "million million")
