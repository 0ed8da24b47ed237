"""The checks of lab 01. Reading them is allowed, and useful."""

import sys
import time
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side

lab = Lab(__file__, parts=["frame_matrix", "mul_row", "mul_row_fast", "similarity_eigenvalues", "windows", "gemm_rate"])

# ---- 1 frame_matrix

lab.forbid("frame_matrix", loops=True, names=["tensor.tolist"], why="slices do it")


def _frame(value_of_line=2, blocks=((3, 4), (8, 9)), lines=(1, 6, 11)):
    """Number by number, from the rule on the sheet."""
    rows = []
    inside = [n for pair in blocks for n in pair]
    for i in range(13):
        rows.append(
            [value_of_line if i in lines or j in lines else 3 if i in inside and j in inside else 1 for j in range(13)]
        )
    return torch.tensor(rows, dtype=torch.float32)


@lab.check("frame_matrix")
def every_number_is_right(student, rng):
    """all 169 numbers"""
    only_rows = _frame()
    only_rows[[0, 2, 5, 7, 10, 12]] = 1.0
    no_blocks = _frame()
    no_blocks[no_blocks == 3] = 1.0
    diagonal = _frame()
    diagonal[3:5, 8:10] = diagonal[8:10, 3:5] = 1.0
    expect(
        student.frame_matrix(),
        _frame(),
        mistakes={
            "rows and columns are counted from 1, not from 0": _frame(lines=(0, 5, 10), blocks=((2, 3), (7, 8))),
            "the blocks of threes are missing": no_blocks,
            "there are four blocks of threes, not two": diagonal,
            "the blocks begin one row and column too early": _frame(blocks=((2, 3), (7, 8))),
        },
        look="look at it: print(frame_matrix())",
    )


# ---- 2 mul_row, 3 mul_row_fast

lab.forbid("mul_row", names=["@", "mm", "mul", "arange", "diag", "einsum"], why="this one is the slow version")
lab.forbid("mul_row_fast", loops=True, why="this one is the fast version")


def _tables(rng):
    """Awkward tables of numbers."""
    yield "3 × 5 float32", rng.normal(3, 5)
    yield "1 × 4 float64", rng.normal(1, 4, dtype=torch.float64)
    yield "7 × 1 int64", rng.integers(-9, 9, 7, 1)
    yield "not contiguous, 4 × 6", rng.normal(6, 4).T
    yield "values of ±1000", 1000 * rng.normal(5, 2)


def _rows_multiplied(student_function, rng):
    for text, m in _tables(rng):
        with case(text):
            n, d = m.shape
            numbers = [[m[i, j].item() * (i + 1) for j in range(d)] for i in range(n)]
            expect(
                student_function(m),
                torch.tensor(numbers, dtype=m.dtype),
                mistakes={
                    "row i is multiplied by i, not by i + 1": torch.arange(n)[:, None] * m,
                    "the columns are multiplied, not the rows": torch.arange(1, d + 1) * m,
                    "the columns are multiplied, and by j instead of j + 1": torch.arange(d) * m,
                    "that is m itself": m,
                },
                look="an integer table stays a table of integers" if not m.is_floating_point() else None,
            )


@lab.check("mul_row")
def rows_are_multiplied_slowly(student, rng):
    """row i times i + 1, for five tables"""
    _rows_multiplied(student.mul_row, rng)


@lab.check("mul_row")
def really_has_two_loops(student, rng):
    """two loops, and no slice"""
    text = student.source("mul_row")
    student.mul_row(rng.normal(2, 2))
    loops = text.count("for ") + text.count("while ")
    count = "one loop" if loops == 1 else "no loop"
    require(loops >= 2, f"there is {count}, not two", "one for rows, one for columns")


@lab.check("mul_row_fast")
def rows_are_multiplied_fast(student, rng):
    """row i times i + 1, for five tables"""
    _rows_multiplied(student.mul_row_fast, rng)


# ---- 4 similarity_eigenvalues


@lab.check("similarity_eigenvalues")
def eigenvalues_are_those_of_the_diagonal(student, rng):
    """M⁻¹ · diag(d) · M has the eigenvalues d"""
    for n in 7, 1, 20, 2:
        with case(f"N = {n}"):
            m = rng.normal(n, n, dtype=torch.float64) + 3 * torch.eye(n, dtype=torch.float64)
            d = (torch.arange(n, dtype=torch.float64) + rng.number(-2, 0.5))[rng.permutation(n)]
            product = torch.linalg.inv(m) @ torch.diag(d) @ m
            expect(
                student.similarity_eigenvalues(d, m),
                d.sort().values,
                rtol=1e-5,
                atol=1e-6,
                mistakes={
                    "the eigenvalues are not in increasing order": lambda p=product: torch.linalg.eigvals(p).real,
                    "the order is decreasing": d.sort(descending=True).values,
                    "eigvalsh and eigh are for symmetric matrices, this one is not": torch.linalg.eigvalsh(product),
                    "that is Mᵀ · diag(d) · M: the inverse is no transpose": torch.linalg.eigvals(
                        m.T @ torch.diag(d) @ m
                    )
                    .real.sort()
                    .values,
                    "diag(d) is missing from the product": torch.ones(n, dtype=torch.float64),
                    "M is multiplied number by number: @ is the product of matrices": torch.linalg.eigvals(
                        torch.linalg.inv(m) * m * d[:, None]
                    )
                    .real.sort()
                    .values,
                },
                look="torch.linalg.eigvals returns complex numbers: take .real",
            )


@lab.check("similarity_eigenvalues")
def really_computes_them(student, rng):
    """for a matrix that does not commute with others, the eigenvalues follow from M and d together"""
    d = rng.normal(5, dtype=torch.float64)
    singular = torch.ones(5, 5, dtype=torch.float64)
    try:
        got = student.similarity_eigenvalues(d, singular)
    except Exception as failed:
        if getattr(failed, "kind", "") == "error":
            return  # a matrix without an inverse is refused
        raise
    sorted_d = isinstance(got, torch.Tensor) and got.shape == d.shape and torch.allclose(got, d.sort().values)
    require(not sorted_d, "an M without an inverse gives the eigenvalues d, too", "d is only sorted: compute them")


# ---- 5 windows

lab.forbid("windows", loops=True, names=["unfold", "stack", "cat", "clone"], why="as_strided makes a view")


@lab.check("windows")
def windows_have_their_values(student, rng):
    """the values of all windows, also of x[::2] and of a column"""
    table = rng.normal(11, 3)
    for text, x, k in (
        ("10 numbers, k = 3", rng.normal(10), 3),
        ("k = 1", rng.integers(0, 99, 4), 1),
        ("k = N", rng.normal(6), 6),
        ("x[::2], k = 4", rng.normal(17)[::2], 4),
        ("a column of a table, k = 5", table[:, 1], 5),
    ):
        with case(text):
            right = torch.stack([x[i : i + k] for i in range(len(x) - k + 1)])
            step = x.stride(0)
            memory = x.as_strided((1 + (len(x) - 1) * step,), (1,))
            expect(
                student.windows(x, k),
                right,
                mistakes={
                    "a stride of 1 is taken for granted: this x has another one": memory.as_strided(
                        right.shape, (1, 1)
                    ),
                    "the windows lie side by side: each should begin one further": lambda x=x, k=k, s=right.shape: x[
                        : s[0] * k
                    ].reshape(s),
                    "rows and columns are exchanged": lambda r=right: r.T,
                },
            )


@student_side
def after_writing(student, x, k, place, value):
    """The windows of a part of a larger tensor, after a number of it has changed."""
    whole = x.clone()
    result = student.windows(whole[4:], k)
    whole[4 + place] = value
    return result


@lab.check("windows")
def windows_are_a_view(student, rng):
    """no number is copied: writing into x shows, and x may begin in the middle of its storage"""
    x, k, place = rng.normal(15), 3, rng.int(2, 8)
    changed = x.clone()[4:]
    changed[place] = 1000.0
    right = torch.stack([changed[i : i + k] for i in range(len(changed) - k + 1)])
    untouched = torch.stack([x[4 + i : 4 + i + k] for i in range(len(changed) - k + 1)])
    from_start = x.clone()
    from_start[4 + place] = 1000.0
    expect(
        student.run(after_writing, x, k, place, 1000.0),
        right,
        mistakes={
            "the numbers are copied: clone, contiguous and indexing with a tensor copy": untouched,
            "the view begins at the start of the storage: give as_strided the storage_offset": from_start.as_strided(
                right.shape, (1, 1)
            ),
        },
    )


# ---- 6 gemm_rate


@student_side
def rates_in_slow_motion(student, n, wait):
    """Some rates that are returned; with each the shape, seconds and type of the products that were made for it.

    Each product takes `wait` seconds of computing more than it needs. So other work on the machine, and the machine
    itself, hardly matter: the rate must be the one of these products, however long they took.
    """
    products, multiply = [], {getattr(torch.ops.aten, name) for name in ("mm", "bmm", "addmm", "baddbmm")}

    class SlowMotion(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            begin, until = time.perf_counter(), time.thread_time() + wait
            result = operation(*args, **kwargs or {})
            if operation.overloadpacket in multiply:
                while time.thread_time() < until:
                    pass
                products.append((list(result.shape), time.perf_counter() - begin, str(result.dtype)))
            return result

    found, enough = [], time.thread_time() + 2.0
    with SlowMotion():
        while len(found) < 5 and time.thread_time() < enough:
            found.append((student.gemm_rate(n), products[:]))
            products.clear()
    return found


def _compare_rate(rate, lowest, highest, n):
    if lowest <= rate <= highest:
        return
    said = f"{rate:.3g} products per second are returned, right are {lowest:.3g} to {highest:.3g}"
    require(rate > 1, said, "that is a time, not a rate")
    for cause, text in (
        (2, "a product of two numbers counts as one, without the sum"),
        (1 / n, "an n × n product has n³ products of numbers, not n²"),
        (1e-9, "the unit is products per second, not thousand million of them"),
    ):
        require(not cause * lowest / 1.2 < rate < 1.2 * cause * highest, said, text)
    require(rate > lowest, said, "time one product of two n × n matrices, after one that warms up")
    require(rate < highest, said, "the clock stops before the work is done")


@lab.check("gemm_rate")
def rate_is_that_of_the_product(student, rng):
    """products per second, those of the product that is timed; here it takes longer than usual"""
    for n, wait in (96, 0.02), (64, 0.1):
        with case(f"n = {n}"):
            found = student.run(rates_in_slow_motion, n, wait)
            for rate, products in found:
                require(isinstance(rate, (int, float)), "expected a float", "call .item() on a tensor")
                require(products, "no product of two matrices was seen", "multiply with torch.mm or @")
                require(all(shape[-2:] == [n, n] for shape, _, _ in products), f"a product is not {n} × {n}")
                require(all(kind == "torch.float32" for *_, kind in products), "the matrices are not float32")
                require(len(products) > 1, "one product was seen", "multiply once before the clock starts")
            ranges = [
                (rate, 0.7 * n**3 / max(s for _, s, _ in products), 1.3 * n**3 / min(s for _, s, _ in products))
                for rate, products in found
            ]
            wrong = [one for one in ranges if not one[1] <= one[0] <= one[2]]
            if 2 * len(wrong) > len(ranges):  # a single one may have been interrupted beside its product
                _compare_rate(*wrong[0], n)


if __name__ == "__main__":
    sys.exit(run_checks(lab))
