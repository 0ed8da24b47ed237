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


# ---- more wrong versions

edit("frame_matrix", "m[1::5, :] = 2.0", "pass", says="rows of twos are missing")
edit("frame_matrix", "m[:, 1::5] = 2.0", "pass", says="columns of twos are missing")
edit(
    "frame_matrix", "m[1::5, :] = 2.0\n    m[:, 1::5] = 2.0", "m[1::5, 1::5] = 2.0", says="only where rows and columns"
)
edit("frame_matrix", "m[1::5, :] = 2.0\n    m[:, 1::5] = 2.0", "m[1:11:5] = 2.0\n    m[:, 1:11:5] = 2.0",
     says="row and column 11 are missing")  # fmt: skip
edit("frame_matrix", "[3, 4, 8, 9]", "[3, 8]", says="blocks are 1 × 1")
edit("frame_matrix", "[3, 4, 8, 9]", "[3, 4, 5, 8, 9, 10]", says="blocks are 3 × 3")
edit("frame_matrix", "[3, 4, 8, 9]", "[2, 3, 7, 8]", says="one row and column too early")
edit("frame_matrix", "m[for_blocks[:, None], for_blocks] = 3.0", "m[3:10, 3:10] = 3.0", says="one large block")
edit("frame_matrix", "m[for_blocks[:, None], for_blocks] = 3.0", "m[for_blocks] = 3.0\n    m[:, for_blocks] = 3.0",
     says="whole rows and columns are 3")  # fmt: skip
edit("frame_matrix", "m[for_blocks[:, None], for_blocks] = 3.0", "m[3:5, 3:5] = m[8:10, 8:10] = 3.0", says="not two")
edit("frame_matrix", "1.0)", "0.0)", says="everything else is 0")

edit("mul_row", "* (i + 1)", "+ (i + 1)", says="is added")
edit("mul_row", "* (i + 1)", "* (m.size(0) - i)", says="from the bottom to the top")
edit("mul_row", "* (i + 1)", "* (i + 1) * (j + 1)", says="the columns are multiplied, too")
edit("mul_row", "* (i + 1)", "* j", says="by j instead of j + 1")
edit("mul_row", "torch.empty_like(m)", "torch.zeros(m.shape)", says="float32")
edit("mul_row", "result[i, j] = m[i, j] *", "result[i, j : j + 1] = m[i, j : j + 1] *", says="slices are taken")

edit("mul_row_fast", "torch.arange(1, m.size(0) + 1, dtype=m.dtype, device=m.device)",
     "torch.arange(1, m.size(0) + 1)", says="expected int32 numbers")  # fmt: skip
edit("mul_row_fast", "m * factors", "m + factors", says="is added")
edit("mul_row_fast", "m * factors", "m / factors", says="is divided")
edit("mul_row_fast", "1, m.size(0) + 1", "2, m.size(0) + 2", says="by i + 2")
edit("mul_row_fast", "m * factors[:, None]", "m * m.size(0)", says="all rows are multiplied by N")
edit("mul_row_fast", "factors[:, None]", "factors.flip(0)[:, None]", says="from the bottom to the top")
edit("mul_row_fast", "factors[:, None]", "factors", says="size of tensor")

edit("similarity_eigenvalues", ".sort()", ".sort(descending=True)", says="decreasing")
edit("similarity_eigenvalues", ".real", ".abs()", says="abs does not")
edit("similarity_eigenvalues", ".real", ".imag", says="imaginary parts")
edit("similarity_eigenvalues", "torch.linalg.eigvals(similar).real.sort().values", "torch.linalg.svdvals(similar)",
     says="singular values")  # fmt: skip
edit("similarity_eigenvalues", "torch.linalg.solve(m, d[:, None] * m)", "d[:, None] * m", says="M⁻¹ is missing")
edit("similarity_eigenvalues", "d[:, None] * m)", "torch.diag(d))", says="M is missing")
edit("similarity_eigenvalues", "torch.linalg.solve(m, d[:, None] * m)", "m @ torch.diag(d) @ m",
     says="the inverse is missing")  # fmt: skip
edit("similarity_eigenvalues", "torch.linalg.solve(m, d[:, None] * m)", "torch.linalg.inv(m) * torch.diag(d) * m",
     says="number by number")  # fmt: skip
edit("similarity_eigenvalues", "torch.linalg.solve(m, d[:, None] * m)", "torch.linalg.solve(m, m)",
     says="diag(d) is missing")  # fmt: skip

edit("windows", "step = x.stride(0)", "x, step = x.contiguous(), 1", says="copied", check="windows_are_a_view")
edit("windows", "x.size(0) - k + 1", "x.size(0) - k", says="the last window is missing")
edit("windows", "(step, step)", "(0, step)", says="all rows are the first window")
edit("windows", "(step, step)", "(step, 0)", says="one number k times")
edit("windows", "(x.size(0) - k + 1, k)", "(k, x.size(0) - k + 1)", says="rows and columns are exchanged")
edit("windows", "x.storage_offset())", "x.storage_offset()).clone()", says="clone is not allowed",
     also=["are copied"])  # fmt: skip

edit("gemm_rate", "torch.randn(2, n, n, device=device)", "torch.ones(2, n, n, device=device)", says="not random")
edit("gemm_rate", "torch.randn(2, n, n, device=device)", "torch.randn(2, n, n + 1, device=device)", says="shapes")
edit("gemm_rate", "n**3 /", "1 /", says="one product of matrices was counted")
edit("gemm_rate", "n**3 /", "1e-9 * n**3 /", says="thousand million")
edit("gemm_rate", "n**3 /", "1e-3 * n**3 /", says="milliseconds")
edit("gemm_rate", "torch.mm(a, b)\n    wait()\n    return", "a * b\n    wait()\n    return", says="one product was seen",
     also=["multiply once"])  # fmt: skip

# ---- more right versions


@alternative("frame_matrix")
def by_assignment_in_turn():
    m = torch.ones((13, 13), dtype=torch.float64)
    m[3:5, 3:5] = m[3:5, 8:10] = m[8:10, 3:5] = m[8:10, 8:10] = 3
    m[[1, 6, 11]] = 2
    m[..., 1:12:5] = 2
    return m.float()


@alternative("frame_matrix")
def from_a_pattern():
    line = torch.tensor([0, 1, 0, 2, 2, 0, 1, 0, 2, 2, 0, 1, 0])
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    lines = (rows == 1) | (columns == 1)
    return torch.where(lines, 2.0, torch.where((rows == 2) & (columns == 2), 3.0, 1.0))


@alternative("mul_row")
def by_lists(m):
    n, d = m.shape[:2]
    return torch.tensor([[m[i][j].item() * (i + 1) for j in range(d)] for i in range(n)], dtype=m.dtype)


@alternative("mul_row")
def by_adding_again(m):
    copy, i = m.clone(), 0
    while i < len(m):
        for j, number in enumerate(m[i]):
            copy[i][j] = sum([number] * (i + 1))
        i += 1
    return copy


@alternative("mul_row")
def in_place_on_a_copy(m):
    result = torch.zeros(m.shape, dtype=m.dtype)
    for j in range(m.shape[1]):
        for i in range(m.shape[0]):
            result[i, j] += (1 + i) * m[i, j]
    return result


@alternative("mul_row_fast")
def by_a_running_sum(m):
    return (torch.ones_like(m).cumsum(0) * m).to(m.dtype)


@alternative("mul_row_fast")
def transposed_and_back(m):
    return m.T.mul(torch.arange(len(m)).add(1).to(m)).T


@alternative("mul_row_fast")
def by_einsum(m):
    return torch.einsum("i,ij->ij", torch.arange(1, len(m) + 1).to(m.dtype), m)


@alternative("similarity_eigenvalues")
def of_the_transposed_product(d, m):
    product = m.T @ torch.diag_embed(d) @ torch.linalg.inv(m).T
    return torch.linalg.eigvals(product).real.msort()


@alternative("similarity_eigenvalues")
def by_pseudo_inverse_and_argsort(d, m):
    values = torch.view_as_real(torch.linalg.eigvals(torch.linalg.pinv(m) @ (m.T * d).T))[:, 0]
    return values[values.argsort()]


@alternative("windows")
def through_keywords(x, k):
    return torch.as_strided(x, size=[x.numel() + 1 - k, k], stride=2 * x.stride(), storage_offset=x.storage_offset())


@alternative("gemm_rate")
def with_out(n, device="cpu"):
    a, b, c = (torch.rand(n, n, device=device) for _ in range(3))
    times = []
    for _ in range(2):
        start = time.perf_counter_ns()
        torch.matmul(a, b, out=c)
        if a.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter_ns() - start)
    return float(n) ** 3 / (times[-1] * 1e-9)


@alternative("gemm_rate")
def of_one_matrix_with_a_bias(n, device="cpu"):
    a, zero = torch.empty(n, n, device=device).normal_(), torch.zeros(n, device=device)
    torch.addmm(zero, a, a)
    before = time.monotonic()
    torch.addmm(zero, a, a)
    if device == "cuda":
        torch.cuda.synchronize()
    return n * n * n / (time.monotonic() - before)
