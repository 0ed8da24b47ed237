"""The checks of lab 01. Reading them is allowed, and useful."""

import ast
import sys
import textwrap
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
    only_rows, only_columns = _frame(), _frame()
    only_rows[[0, 2, 3, 4, 5, 7, 8, 9, 10, 12]] = _frame(lines=())[[0, 2, 3, 4, 5, 7, 8, 9, 10, 12]]
    only_columns[:] = only_rows.T
    crossings = _frame(lines=())
    crossings[1::5, 1::5] = 2.0
    filled = _frame()
    filled[3:10, 3:10] = 3.0
    covered = _frame(blocks=((3, 4), (8, 9)))
    covered[3:5], covered[8:10], covered[:, 3:5], covered[:, 8:10] = 3.0, 3.0, 3.0, 3.0
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
            "the blocks are 1 × 1: the end of a slice does not belong to it": _frame(blocks=((3,), (8,))),
            "the blocks are 3 × 3: the end of a slice does not belong to it": _frame(blocks=((3, 4, 5), (8, 9, 10))),
            "the blocks have become one large block": filled,
            "whole rows and columns are 3, only where they meet there should be blocks": covered,
            "the columns of twos are missing": only_rows,
            "the rows of twos are missing": only_columns,
            "the twos are only where rows and columns meet": crossings,
            "row and column 11 are missing: the end of a slice does not belong to it": _frame(lines=(1, 6)),
            "everything else is 0, it should be 1": _frame() * (_frame() > 1),
            "twos and threes are exchanged": _frame() + (_frame() == 2).float() - (_frame() == 3).float(),
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
    yield "2 × 3 int32", rng.integers(1, 9, 2, 3).int()
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
                    "i + 1 is added, it should be multiplied": torch.arange(1, n + 1)[:, None] + m,
                    "row i is multiplied by N − i: the factors go from the bottom to the top": lambda m=m, n=n: (
                        torch.arange(n, 0, -1)[:, None] * m
                    ),
                    "row i is multiplied by i + 2": torch.arange(2, n + 2)[:, None] * m,
                    "all rows are multiplied by N": n * m,
                    "row i is divided by i + 1": m / torch.arange(1, n + 1)[:, None],
                    "the columns are multiplied, too": torch.arange(1, n + 1)[:, None] * m * torch.arange(1, d + 1),
                    "the last row is not multiplied": torch.cat((torch.arange(1, n)[:, None] * m[:-1], m[-1:])),
                },
                look="an integer table stays a table of integers" if not m.is_floating_point() else None,
            )


@lab.check("mul_row")
def rows_are_multiplied_slowly(student, rng):
    """row i times i + 1, for five tables"""
    _rows_multiplied(student.mul_row, rng)


@student_side
def slices_of(student, m):
    """How many slices are taken of tensors while `mul_row` works."""
    taken = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            if operation.overloadpacket is torch.ops.aten.slice:
                taken.append(1)
            return operation(*args, **kwargs or {})

    with Watch():
        student.mul_row(m)
    return len(taken)


@lab.check("mul_row")
def really_has_two_loops(student, rng):
    """two loops, and no slice"""
    taken = student.run(slices_of, rng.normal(3, 4))
    tree = ast.parse(textwrap.dedent(student.source("mul_row")))
    loops = sum(isinstance(node, (ast.For, ast.While, ast.comprehension)) for node in ast.walk(tree))
    require(not taken, f"{taken} slices are taken of a table of 3 × 4", look="m[i, j] is a single number")
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
            d = (torch.arange(n, dtype=torch.float64) + rng.number(-2, -0.5))[rng.permutation(n)]
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
                    "those are the sizes of the eigenvalues: .real keeps the sign, abs does not": d.abs().sort().values,
                    "those are the imaginary parts": torch.zeros(n, dtype=torch.float64),
                    "those are singular values, not eigenvalues": torch.linalg.svdvals(product),
                    "those are singular values, in increasing order, not eigenvalues": torch.linalg.svdvals(
                        product
                    ).flip(0),
                    "that is diag(d) · M: M⁻¹ is missing": lambda m=m, d=d: (
                        torch.linalg.eigvals(d[:, None] * m).real.sort().values
                    ),
                    "that is M⁻¹ · diag(d): M is missing": lambda m=m, d=d: (
                        torch.linalg.eigvals(torch.linalg.inv(m) * d).real.sort().values
                    ),
                    "that is M · diag(d) · M: the inverse is missing": lambda m=m, d=d: (
                        torch.linalg.eigvals(m @ torch.diag(d) @ m).real.sort().values
                    ),
                    "diag(d) is missing from the product": torch.ones(n, dtype=torch.float64),
                    "M is multiplied number by number: @ is the product of matrices": torch.linalg.eigvals(
                        torch.linalg.inv(m) * torch.diag(d) * m
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
                    "the last window is missing: there are N − k + 1": right[:-1],
                    "all rows are the first window: one step down is as far as one to the right": right[:1].expand(
                        right.shape
                    ),
                    "each window holds one number k times: one step to the right is as far as one down": right[
                        :, :1
                    ].expand(right.shape),
                    "the windows run backwards": right.flip(1),
                },
            )


@student_side
def after_writing(student, x, k, place, value, step):
    """The windows of a part of a larger tensor, after a number of it has changed."""
    whole = x.clone()
    part = whole[4::step]
    result = student.windows(part, k)
    part[place] = value
    return result


@lab.check("windows")
def windows_are_a_view(student, rng):
    """no number is copied: writing into x shows, and x may begin in the middle of its storage"""
    k = 3
    for text, x, step, place in (
        ("x without gaps", rng.normal(15), 1, rng.int(2, 8)),
        ("x is every second number of a tensor", rng.normal(23), 2, rng.int(2, 7)),
    ):
        with case(text):
            from_start = x.clone()
            changed = from_start[4::step]
            changed[place] = 1000.0
            rows = range(len(changed) - k + 1)
            right = torch.stack([changed[i : i + k] for i in rows])
            untouched = torch.stack([x[4::step][i : i + k] for i in rows])
            expect(
                student.run(after_writing, x, k, place, 1000.0, step),
                right,
                mistakes={
                    "the numbers are copied: clone, contiguous and indexing with a tensor copy": untouched,
                    "the view begins at the start of the storage: give as_strided the storage_offset": (
                        from_start.as_strided(right.shape, (step, step))
                    ),
                },
            )


# ---- 6 gemm_rate


@student_side
def rates_in_slow_motion(student, n, wait):
    """Some rates that are returned; with each the products made for it: shape, seconds, type, whether one is constant.

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
                alike = any(bool((factor == factor.flatten()[0]).all()) for factor in args[-2:])
                products.append((list(result.shape), time.perf_counter() - begin, str(result.dtype), alike))
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
    require(not n**3 / highest / 1.2 < rate < 1.2 * n**3 / lowest, said, "that is a time, not a rate")
    for cause, text in (
        (2, "a product of two numbers counts as one, without the sum"),
        (1 / n, "an n × n product has n³ products of numbers, not n²"),
        (1 / n**3, "one product of matrices was counted, there are n³ products of numbers in it"),
        (1e-3, "the time is taken in milliseconds: the unit is products per second"),
        (1e-9, "the unit is products per second, not thousand million of them"),
    ):
        require(not cause * lowest / 1.2 < rate < 1.2 * cause * highest, said, text)
    require(
        rate > lowest,
        said,
        look="time one product of two n × n matrices, after one that warms up: what else lies between the two looks at "
        "the clock?",
    )
    require(rate < highest, said, look="does the clock stop before the work is done, or were other products counted?")


@lab.check("gemm_rate")
def rate_is_that_of_the_product(student, rng):
    """products per second, those of the product that is timed; here it takes longer than usual"""
    for n, wait in (96, 0.02), (64, 0.1):
        with case(f"n = {n}"):
            found = student.run(rates_in_slow_motion, n, wait)
            for rate, products in found:
                require(isinstance(rate, (int, float)), "expected a float", "call .item() on a tensor")
                require(products, "no product of two matrices was seen", "multiply with torch.mm or @")
                require(all(shape[-2:] == [n, n] for shape, *_ in products), f"a product is not {n} × {n}")
                require(all(kind == "torch.float32" for _, _, kind, _ in products), "the matrices are not float32")
                alike = any(constant for *_, constant in products)
                require(not alike, "the matrices are not random: all numbers of one are the same", look="torch.randn")
                require(len(products) > 1, "one product was seen", "multiply once before the clock starts")
            ranges = [
                (rate, 0.7 * n**3 / max(s for _, s, *_ in products), 1.3 * n**3 / min(s for _, s, *_ in products))
                for rate, products in found
            ]
            wrong = [one for one in ranges if not one[1] <= one[0] <= one[2]]
            if 2 * len(wrong) > len(ranges):  # a single one may have been interrupted beside its product
                _compare_rate(*wrong[0], n)


if __name__ == "__main__":
    sys.exit(run_checks(lab))
