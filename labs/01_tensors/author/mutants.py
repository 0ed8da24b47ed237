"""Wrong and right versions of the parts of lab 01."""

import time

import torch
from labkit import alternative, edit, mutant

edit("frame_matrix", "m[for_blocks[:, None], for_blocks]", "m[for_blocks[:0]]", says="blocks of threes are missing")
edit("frame_matrix", "1.0)", "1)", says="float32")


@mutant("frame_matrix", says="counted from 1")
def counts_from_one():
    m = torch.ones(13, 13)
    m[0::5, :] = 2
    m[:, 0::5] = 2
    for_rows = torch.tensor([2, 3, 7, 8])
    m[for_rows[:, None], for_rows] = 3
    return m


@mutant("frame_matrix", says="a loop is not allowed")
def number_by_number():
    m = torch.ones(13, 13)
    for i in (1, 6, 11):
        m[i] = m[:, i] = 2
    blocks = torch.tensor([3, 4, 8, 9])
    m[blocks[:, None], blocks] = 3
    return m


edit("mul_row", "* (i + 1)", "* i", says="by i, not by i + 1")
edit("mul_row", "* (i + 1)", "* (j + 1)", says="columns are multiplied")
edit("mul_row", "result = torch.empty_like(m)", "result = m", says="has changed")


@mutant("mul_row", says="not two", also=["one for rows, one for columns"])
def whole_rows(m):
    result = torch.empty_like(m)
    for i in range(len(m)):
        result[i] = m[i] * (i + 1)
    return result


edit("mul_row_fast", "1, m.size(0) + 1", "0, m.size(0)", says="by i, not by i + 1")
edit("mul_row_fast", "dtype=m.dtype", "dtype=torch.float32", says="int64")


@mutant("mul_row_fast", says="the columns are multiplied", check="rows_are_multiplied_fast")
def forgets_the_column(m):
    return m * torch.arange(1, m.size(1) + 1, dtype=m.dtype)


@mutant("mul_row_fast", says="a loop")
def hides_the_loop(m):
    return torch.stack([row * (i + 1) for i, row in enumerate(m)])


@mutant("mul_row_fast", says="has changed")
def in_place(m):
    return m.mul_(torch.arange(1, m.size(0) + 1, dtype=m.dtype)[:, None])


edit("similarity_eigenvalues", ".sort().values", "", says="not in increasing order")
edit("similarity_eigenvalues", ".real.sort().values", "", says="is .real missing")
edit("similarity_eigenvalues", "eigvals(similar).real", "eigvalsh(similar)", says="symmetric")
edit("similarity_eigenvalues", "torch.linalg.solve(m, d[:, None] * m)", "m.T @ (d[:, None] * m)", says="no transpose")


@mutant("similarity_eigenvalues", says="only sorted", check="really_computes_them")
def sorts_the_diagonal(d, m):
    return d.sort().values


edit("windows", "(step, step)", "(1, 1)", says="stride of 1")
edit("windows", ", x.storage_offset())", ", 0)", says="start of the storage")
edit("windows", "x.storage_offset())", "x.storage_offset()).contiguous()", says="copied")
edit("windows", "(step, step)", "(k * step, step)", says="storage")
edit("windows", "x.as_strided((x.size(0) - k + 1, k), (step, step), x.storage_offset())", "x.unfold(0, k, step)",
     says="unfold is not allowed")  # fmt: skip
edit("gemm_rate", "n**3", "n**2", says="n³")
edit(
    "gemm_rate",
    "torch.randn(2, n, n, device=device)",
    "torch.randn(2, n, n, device=device).double()",
    says="not float32",
)
edit("gemm_rate", "n**3", "2 * n**3", says="counts as one")
edit(
    "gemm_rate", "    torch.mm(a, b)\n    wait()\n    start", "    start", says="multiply once before the clock starts"
)
edit("gemm_rate", "    torch.mm(a, b)\n    wait()\n    start = time.perf_counter()\n",
     "    start = time.perf_counter()\n    torch.mm(a, b)\n", says="after one that warms up")  # fmt: skip
edit("gemm_rate", "n**3 / (time.perf_counter() - start)", "time.perf_counter() - start", says="time, not a rate")


@mutant("gemm_rate", says="expected a float", also=["call .item()"])
def returns_a_tensor(n, device="cpu"):
    a, b = torch.randn(2, n, n, device=device)
    start = time.perf_counter()
    torch.mm(a, b)
    return torch.tensor(n**3 / (time.perf_counter() - start))


@alternative("frame_matrix")
def by_products():
    line = torch.zeros(13)
    line[[1, 6, 11]] = 1
    inside = torch.zeros(13)
    inside[[3, 4, 8, 9]] = 1
    return 1 + torch.maximum(line[:, None], line) + 2 * inside[:, None] * inside


@alternative("mul_row_fast")
def by_a_diagonal_matrix(m):
    factors = torch.arange(1, len(m) + 1, dtype=torch.float64)
    return (torch.diag(factors) @ m.double()).to(m.dtype)


@alternative("similarity_eigenvalues")
def by_the_inverse(d, m):
    values = torch.linalg.eig(torch.linalg.inv(m) @ torch.diag(d) @ m)[0]
    return torch.sort(values.real)[0]


@alternative("windows")
def with_set(x, k):
    view = torch.empty(0, dtype=x.dtype)
    return view.set_(x.untyped_storage(), x.storage_offset(), (len(x) + 1 - k, k), (x.stride(0), x.stride(0)))


@alternative("gemm_rate")
def the_mean_of_three(n, device="cpu"):
    a = torch.randn(n, n, device=device)
    a @ a
    start = time.time()
    for _ in range(3):
        a @ a
    if device == "cuda":
        torch.cuda.synchronize()
    return 3 * n**3 / (time.time() - start)
