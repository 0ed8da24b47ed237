"""The checks of lab 16. Reading them is allowed and useful."""

import math
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, beside, case, expect, progress, require

PARTS = [
    "adjacency", "laplacian", "normalised_adjacency", "chebyshev_filter", "message_passing", "edge_softmax",
    "gcn_layer", "label_propagation",
]  # fmt: skip
lab = Lab(__file__, parts=PARTS)
lab.forbid("adjacency", loops=True, why="index with all edges at once")
lab.forbid("chebyshev_filter", names=["eigh", "eig", "matrix_power", "inv"], why="products of lap with vectors suffice")
lab.forbid("message_passing", loops=True, why="the sheet asks for all edges at once")
lab.forbid("edge_softmax", loops=True, why="the sheet asks for all edges at once")
lab.forbid("label_propagation", names=["inv", "solve"], why="the sheet asks for steps")


def random_graph(rng, n: int, chance: float, weighted: bool = False, dtype=torch.float32) -> Tensor:
    """A symmetric n × n matrix with an empty diagonal."""
    upper = (rng.uniform(n, n) < chance).to(dtype).triu(1)
    if weighted:
        upper = upper * rng.uniform(n, n, low=0.5, high=3.0, dtype=dtype)
    return upper + upper.T


# ---- from edges to matrices


@lab.reference
def adjacency(edges, n):
    rows = [[0.0] * n for _ in range(n)]
    for first, second in edges.tolist():
        if first != second:
            rows[first][second] = rows[second][first] = 1.0
    return torch.tensor(rows).reshape(n, n)


@lab.check("adjacency")
def edges_become_ones(student, rng):
    """a 1 in both places of every edge, against all edges one by one"""
    for n, count in (5, 6), (11, 17), (2, 1):
        first = rng.integers(0, n, count)
        edges = torch.stack([first, (first + rng.integers(1, n, count)) % n], 1)
        keys = sorted({tuple(sorted(pair)) for pair in edges.tolist()})
        edges = torch.tensor([pair[:: 1 if rng.int(0, 2) else -1] for pair in keys])
        want = adjacency(edges, n)
        with case(f"{len(edges)} edges, {n} nodes"):
            expect(student.adjacency(edges, n), want, mistakes={
                "only one of the two places of each edge is set": lambda e=edges, n=n: one_way(e, n),
                "the other of the two places of each edge is missing": lambda e=edges, n=n: one_way(e, n).T,
            })  # fmt: skip


def one_way(edges: Tensor, n: int) -> Tensor:
    return torch.zeros(n, n).index_put((edges[:, 0], edges[:, 1]), torch.tensor(1.0))


@lab.check("adjacency")
def edges_listed_twice_count_once(student, rng):
    """repeated edges, both directions, a loop at a node, a node without edges"""
    edges = torch.tensor([[0, 3], [3, 0], [1, 3], [1, 3], [2, 2], [4, 1]])
    counted = torch.zeros(6, 6).index_put((edges[:, 0], edges[:, 1]), torch.ones(6), accumulate=True)
    loops = adjacency(edges, 6)
    loops[2, 2] = 1
    expect(student.adjacency(edges, 6), adjacency(edges, 6), mistakes={
        "an edge that is listed twice is counted twice": (counted + counted.T).fill_diagonal_(0),
        "an edge that is listed twice is counted twice, and a node is its own neighbour": counted + counted.T,
        "a node is its own neighbour: the diagonal must be 0": loops,
    })  # fmt: skip
    with case("a graph without edges"):
        expect(student.adjacency(torch.zeros(0, 2, dtype=torch.int64), 3), torch.zeros(3, 3))


@lab.reference
def laplacian(a):
    lap = torch.zeros_like(a)
    for i in range(len(a)):
        for j in range(len(a)):
            lap[i, j] = -a[i, j] if i != j else a[i].sum() - a[i, i]
    return lap


@lab.check("laplacian")
def laplacian_of_random_graphs(student, rng):
    """entry by entry, with and without weights"""
    for n, weighted in (5, False), (9, True), (1, False):
        a = random_graph(rng, n, 0.4, weighted)
        degrees = a.sum(1)
        with case(f"{n} nodes, {'random weights' if weighted else 'weights of 1'}"):
            expect(student.laplacian(a), laplacian(a), mistakes={
                "A − D instead of D − A": a - degrees.diag(),
                "D + A: the sign of the edges is wrong": degrees.diag() + a,
                "the degrees are added to whole rows or columns: D is a diagonal matrix": degrees - a,
                "the degrees are added to whole rows: D is a diagonal matrix": degrees[:, None] - a,
                "neighbours are counted: the degree is the sum of their weights": (a > 0).sum(1).float().diag() - a,
            })  # fmt: skip


@lab.check("laplacian")
def laplacian_counts_components(student, rng):
    """never negative, and a zero eigenvalue for each connected component"""
    cycles = [int(n) for n in rng.integers(3, 7, 3)]
    a = torch.zeros(sum(cycles) + 1, sum(cycles) + 1, dtype=torch.float64)
    start = 0
    for length in cycles:
        nodes = start + torch.arange(length)
        a[nodes, nodes.roll(1)] = 1
        start += length
    order = rng.permutation(len(a))
    a = (a + a.T)[order][:, order]
    lap = student.laplacian(a)
    expect(lap, laplacian(a))
    eigenvalues = torch.linalg.eigvalsh(lap)
    zeros = int((eigenvalues < 1e-9).sum())
    require(eigenvalues[0] > -1e-9, f"an eigenvalue of L is {eigenvalues[0]:.3g}: L must not be indefinite")
    require(zeros == 4, f"{zeros} eigenvalues are 0, but the graph has 4 components: {cycles} nodes in rings, 1 alone")


@lab.reference
def normalised_adjacency(a):
    n = len(a)
    with_self = [[float(a[i, j]) + (i == j) for j in range(n)] for i in range(n)]
    degree = [sum(row) for row in with_self]
    rows = [[with_self[i][j] / math.sqrt(degree[i] * degree[j]) for j in range(n)] for i in range(n)]
    return torch.tensor(rows, dtype=a.dtype)


@lab.check("normalised_adjacency")
def normalisation_of_random_graphs(student, rng):
    """entry by entry, with weights, in both precisions"""
    for n, dtype in (6, torch.float32), (9, torch.float64):
        a = random_graph(rng, n, 0.5, True, dtype) + 0.1 * (1 - torch.eye(n, dtype=dtype))
        eye = torch.eye(n, dtype=dtype)
        degree, with_self = a.sum(1), (a + eye).sum(1)
        with case(f"{n} nodes, {str(dtype)[6:]}"):
            expect(student.normalised_adjacency(a), normalised_adjacency(a), mistakes={
                "without I: a node must be its own neighbour": a * (degree[:, None] * degree).rsqrt(),
                "the degrees are those of A, not of A + I": (a + eye) * (degree[:, None] * degree).rsqrt(),
                "rows are divided by the degree: each side gets the power −1/2": (a + eye) / with_self[:, None],
                "columns are divided by the degree: each side gets the power −1/2": (a + eye) / with_self,
                "divided by the degrees of both ends: the power is −1/2": (a + eye) / (with_self[:, None] * with_self),
                "I is added after the normalisation": a * (degree[:, None] * degree).rsqrt() + eye,
            })  # fmt: skip


@lab.check("normalised_adjacency")
def a_lonely_node_stays_finite(student, rng):
    """nodes without edges, and eigenvalues in (−1, 1]"""
    a = random_graph(rng, 11, 0.3, dtype=torch.float64)
    a[4], a[:, 4] = 0, 0
    p = student.normalised_adjacency(a)
    with case("node 4 has no edges", likely="the degree of a node without edges is 0 if I is not added first"):
        expect(p, normalised_adjacency(a))
    eigenvalues = torch.linalg.eigvalsh(p)
    require(eigenvalues[0] > -1 and eigenvalues[-1] < 1 + 1e-9,
            f"the eigenvalues go from {eigenvalues[0]:.3f} to {eigenvalues[-1]:.3f}, not within (−1, 1]")  # fmt: skip


# ---- filters


@lab.reference
def chebyshev_filter(lap, x, theta, largest):
    dense = (lap.to_dense() if lap.is_sparse else lap).double()
    frequency, basis = torch.linalg.eigh(dense)
    angle = (2 * frequency / largest - 1).clamp(-1, 1).arccos()
    response = sum(float(c) * (k * angle).cos() for k, c in enumerate(theta))
    return (basis @ (response[:, None] * (basis.T @ x.double()))).to(x.dtype)


@lab.check("chebyshev_filter")
def filter_is_a_product_of_spectra(student, rng):
    """against U g(Λ) Uᵀ x, with 1 to 9 coefficients"""
    for n, d, count in (7, 3, 3), (11, 1, 9), (5, 2, 2), (6, 4, 1):
        lap = laplacian(random_graph(rng, n, 0.5, True, torch.float64))
        x, theta = rng.normal(n, d, dtype=torch.float64), rng.normal(count, dtype=torch.float64)
        largest = 1.1 * torch.linalg.eigvalsh(lap)[-1].item() + 0.1

        def powers(s, lap=lap, x=x, theta=theta):
            shift = s * lap - torch.eye(len(lap), dtype=lap.dtype)
            return sum(c * torch.linalg.matrix_power(shift, k) @ x for k, c in enumerate(theta))

        def recursion(scale, identity, factor, lap=lap, x=x, theta=theta):
            shift = scale * lap - identity * torch.eye(len(lap), dtype=lap.dtype)
            terms = [x, shift @ x]
            while len(terms) < len(theta):
                terms.append(factor * shift @ terms[-1] - terms[-2])
            return sum(c * term for c, term in zip(theta, terms, strict=False))

        with case(f"{n} nodes, {d} signals, {count} coefficients"):
            got = student.chebyshev_filter(lap, x, theta, largest)
            expect(got, chebyshev_filter(lap, x, theta, largest), rtol=1e-7, atol=1e-8, mistakes={
                "powers of S instead of Chebyshev polynomials": lambda largest=largest, f=powers: f(2 / largest),
                "the factor 2 of the recursion is missing": lambda b=largest, f=recursion: f(2 / b, 1, 1),
                "L / λ_max − I: the factor 2 of the shift is missing": lambda b=largest, f=recursion: f(1 / b, 1, 2),
                "L is not shifted to [−1, 1]": lambda f=recursion: f(1, 0, 2),
                "2 L / λ_max without − I": lambda b=largest, f=recursion: f(2 / b, 0, 2),
                "T₀ is missing: the sum begins with theta[0] x": lambda x=x, theta=theta, b=largest, f=recursion:
                    f(2 / b, 1, 2) - theta[0] * x,
                "the first coefficient belongs to T₀, not to T₁": lambda lap=lap, x=x, theta=theta, largest=largest:
                    chebyshev_filter(lap, x, torch.cat([theta[:1] * 0, theta]), largest),
            })  # fmt: skip


@lab.check("chebyshev_filter")
def filter_of_a_sparse_laplacian(student, rng):
    """a sparse Laplacian gives the same, and a filter of degree K reaches K steps"""
    n = 13
    ring = torch.zeros(n, n)
    ring[torch.arange(n), torch.arange(n).roll(1)] = 1
    lap = laplacian(ring + ring.T)
    x, theta = rng.normal(n, 2), rng.normal(5)
    with case("a sparse tensor", likely="no identity matrix is needed: S v is 2/largest · (lap @ v) − v"):
        expect(student.chebyshev_filter(lap.to_sparse(), x, theta, 4.0), chebyshev_filter(lap, x, theta, 4.0))
    impulse = torch.zeros(n, 1)
    impulse[6] = 1
    reached = student.chebyshev_filter(lap, impulse, torch.ones(4), 4.0)[:, 0].abs() > 1e-6
    require(bool(reached[3:10].all()) and int(reached.sum()) == 7,
            f"4 coefficients: an impulse reaches {int(reached.sum())} nodes of a ring, not itself and 3 on each side",
            likely="one product with lap too many or too few")  # fmt: skip


# ---- messages


@lab.reference
def message_passing(edges, x):
    out = torch.zeros_like(x)
    for node in range(len(x)):
        senders = edges[0][edges[1] == node]
        if len(senders):
            out[node] = sum(x[int(s)] for s in senders) / len(senders)
    return out


def random_edges(rng, n: int, count: int) -> Tensor:
    """Directed edges with some of them repeated; the last node receives nothing."""
    edges = torch.stack([rng.integers(0, n, count), rng.integers(0, max(1, n - 1), count)])
    return torch.cat([edges, edges[:, : count // 3]], 1)


@lab.check("message_passing")
def messages_one_by_one(student, rng):
    """the mean over the senders of each node, against all edges one by one"""
    for n, d, count in (6, 3, 20), (9, 2, 11), (1, 4, 3), (5, 1, 1):
        edges, x = random_edges(rng, n, count), rng.normal(n, d)

        def added(edges=edges, x=x):
            return torch.zeros_like(x).index_add_(0, edges[1], x[edges[0]])

        def counted(edges=edges, n=n):
            return edges[1].bincount(minlength=n).clamp(min=1)[:, None]

        def last(edges=edges, x=x):
            out = torch.zeros_like(x)
            for sender, receiver in edges.T.tolist():
                out[receiver] = x[sender]
            return out

        def once(edges=edges, x=x):
            return message_passing(edges.unique(dim=1), x)

        with case(f"{n} nodes, {edges.shape[1]} edges, some of them twice, {d} features"):
            expect(student.message_passing(edges, x), message_passing(edges, x), mistakes={
                "sent against the direction of the edges: edges[0] are the senders": lambda e=edges, x=x:
                    message_passing(e.flip(0), x),
                "the sum, not the mean": added,
                "the mean over edges[0] instead of the mean at the receiver": lambda e=edges, f=added, n=n:
                    f() / e[0].bincount(minlength=n).clamp(min=1)[:, None],
                "out[receiver] += … keeps one message of each receiver: index_add_ adds all": lambda f=last, c=counted:
                    f() / c(),
                "out[receiver] = … keeps one message of each receiver": last,
                "an edge that is listed twice sends once": once,
                "divided by count + 1: the node itself is not among its senders": lambda f=added, e=edges, n=n:
                    f() / (e[1].bincount(minlength=n) + 1)[:, None],
            })  # fmt: skip


@lab.check("message_passing")
def nobody_sends(student, rng):
    """zeros where nothing arrives, in both precisions, and without edges at all"""
    x = rng.normal(5, 3, dtype=torch.float64)
    edges = torch.tensor([[0, 1, 4], [2, 2, 1]])
    with case("three of five nodes receive nothing", likely="0 / 0: divide by at least 1"):
        expect(student.message_passing(edges, x), message_passing(edges, x))
    with case("no edges"):
        expect(student.message_passing(torch.zeros(2, 0, dtype=torch.int64), x), torch.zeros_like(x))
    order = rng.permutation(5)
    renamed = order.argsort()[edges]
    with case("the same graph with its nodes numbered in another way"):
        expect(student.message_passing(renamed, x[order]), message_passing(edges, x)[order])


@lab.reference
def edge_softmax(score, receiver, n):
    out = torch.zeros_like(score)
    for node in range(n):
        of_node = (receiver == node).nonzero()[:, 0]
        if len(of_node):
            out[of_node] = score[of_node].double().softmax(0).to(score.dtype)
    return out


@lab.check("edge_softmax")
def attention_node_by_node(student, rng):
    """a softmax for each receiver, against the nodes one by one"""
    for n, count, dtype in (4, 13, torch.float32), (7, 30, torch.float64), (3, 1, torch.float32), (1, 6, torch.float32):
        receiver, score = rng.integers(0, n, count), rng.normal(count, dtype=dtype)

        def divided(by, score=score, receiver=receiver, n=n):
            total = torch.zeros(n, dtype=score.dtype).index_add_(0, receiver, score.exp())
            return score.exp() / (total.sum() if by == "all" else torch.zeros_like(total).index_add_(
                0, receiver, torch.ones_like(score))[receiver])  # fmt: skip

        with case(f"{count} edges into {n} nodes"):
            expect(student.edge_softmax(score, receiver, n), edge_softmax(score, receiver, n), mistakes={
                "one softmax over all edges instead of one for each receiver": lambda f=divided: f("all"),
                "divided by the number of edges, not by the sum of their exp": lambda f=divided: f("count"),
                "divided by the sum over all edges instead of those into one node": lambda s=score, r=receiver, n=n:
                    sum_of_all(s, r, n),
            })  # fmt: skip


def sum_of_all(score: Tensor, receiver: Tensor, n: int) -> Tensor:
    weight = torch.zeros_like(score)
    for node in range(n):
        own = receiver == node
        weight[own] = (score[own] - score[own].max()).exp() if own.any() else score[own]
    return weight / weight.sum()


@lab.check("edge_softmax")
def attention_to_large_scores(student, rng):
    """scores of ±1000, at one node and at different nodes"""
    receiver = torch.tensor([0, 2, 2, 0, 1, 1, 0])
    for text, score in (
        ("all near +1000", 1000 + rng.normal(7)),
        ("all near −1000", -1000 + rng.normal(7)),
        ("node 0 near +1000, node 1 near −1000, node 2 near 0", torch.tensor([1000.0, 0, 0])[receiver] + rng.normal(7)),
    ):
        score[receiver == 1] = -score[receiver == 1].abs()
        with case(text, likely="subtract the largest score of the same node; one maximum for all or a start at 0 "
                               "is not enough"):  # fmt: skip
            expect(student.edge_softmax(score, receiver, 4), edge_softmax(score, receiver, 4))


# ---- networks


@lab.reference
def gcn_layer(p, x, weight, bias):
    dense = p.to_dense() if p.is_sparse else p
    return torch.einsum("ij,jd,dh->ih", dense, x, weight) + bias[None, :]


@lab.check("gcn_layer")
def layer_of_random_graphs(student, rng):
    """against sums written as einsum, with a dense and a sparse p"""
    for n, d, h in (7, 5, 3), (4, 4, 4), (9, 1, 6), (1, 3, 2):
        p = normalised_adjacency(random_graph(rng, n, 0.5))
        x, weight, bias = rng.normal(n, d), rng.normal(d, h), rng.normal(h)
        for form, matrix in ("dense", p), ("sparse", p.to_sparse()):
            with case(f"{n} nodes, {d} → {h} features, p {form}"):
                expect(student.gcn_layer(matrix, x, weight, bias), gcn_layer(p, x, weight, bias), mistakes={
                    "the bias is added before p mixes the nodes": p @ (x @ weight + bias),
                    "the weight is used transposed": lambda p=p, x=x, w=weight, b=bias: p @ x @ w.T + b,
                    "p is missing": x @ weight + bias,
                    "the bias is missing": p @ x @ weight,
                    "a ReLU is applied: the layer is linear": (p @ x @ weight + bias).relu(),
                })  # fmt: skip


@lab.check("gcn_layer")
def layer_does_not_see_numbers(student, rng):
    """numbering the nodes in another way reorders the result and changes nothing else"""
    p = normalised_adjacency(random_graph(rng, 11, 0.3, dtype=torch.float64))
    x, weight, bias = (rng.normal(*shape, dtype=torch.float64) for shape in ((11, 3), (3, 5), (5,)))
    order = rng.permutation(11)
    first = student.gcn_layer(p, x, weight, bias)
    second = student.gcn_layer(p[order][:, order], x[order], weight, bias)
    expect(second, gcn_layer(p, x, weight, bias)[order])
    require(torch.allclose(first[order], second), "the result depends on how the nodes are numbered")


@lab.reference
def label_propagation(a, label, steps):
    n, classes = len(a), int(label.max()) + 1
    start = [[float(int(c) == k) for k in range(classes)] for c in label]
    score = [list(row) for row in start]
    for _step in range(steps):
        new = [list(row) for row in score]
        for i in range(n):
            total = float(a[i].sum())
            for k in range(classes):
                reached = sum(float(a[i, j]) * score[j][k] for j in range(n))
                new[i][k] = start[i][k] if label[i] >= 0 else reached / total if total else 0.0
        score = new
    return torch.tensor(score)


@lab.check("label_propagation")
def labels_step_by_step(student, rng):
    """0, 1, 2 and 5 steps, against loops over all nodes"""
    for n, steps in (8, 0), (8, 1), (8, 2), (13, 5):
        a = random_graph(rng, n, 0.4, weighted=True)
        a[0, 1:4] = a[1:4, 0] = torch.tensor([1.0, 2.0, 0.5])
        label = torch.full((n,), -1)
        label[[1, 2, n - 1, 4]] = torch.tensor([2, 0, 1, 2])
        known = label >= 0
        start = torch.eye(3)[label.clamp(min=0)] * known[:, None]
        degree = a.sum(1, keepdim=True).clamp(min=1e-12)

        def spread(walk, keep, start=start, known=known, steps=steps):
            return averaged(walk, start, known if keep else known & False, steps)

        by_both = a / (degree * degree.T).sqrt()
        counted = (a > 0).float() / (a > 0).sum(1, keepdim=True).clamp(min=1)
        with case(f"{n} nodes, 4 of them known, {steps} steps"):
            expect(student.label_propagation(a, label, steps), label_propagation(a, label, steps), mistakes={
                "known nodes forget their label: put it back in every step": lambda f=spread, a=a, d=degree:
                    f(a / d, False),
                "unknown nodes start as class 0: blank their rows": lambda label=label, a=a, d=degree, steps=steps:
                    averaged(a / d, torch.eye(3)[label.clamp(min=0)], label >= 0, steps),
                "unknown nodes start as the last class: blank their rows": lambda c=label, a=a, d=degree, steps=steps:
                    averaged(a / d, torch.eye(3)[c], c >= 0, steps),
                "divided by the degree of the sender: columns instead of rows": lambda f=spread, a=a, d=degree:
                    f(a / d.T, True),
                "the sum over the neighbours, not their average": lambda f=spread, a=a: f(a, True),
                "divided by √ of both degrees: here it is the average": lambda f=spread, m=by_both: f(m, True),
                "the weights of the edges are ignored": lambda f=spread, m=counted: f(m, True),
            })  # fmt: skip


def averaged(walk: Tensor, start: Tensor, fixed: Tensor, steps: int) -> Tensor:
    score = start
    for _ in [None] * steps:
        score = walk @ score
        score[fixed] = start[fixed]
    return score


@lab.check("label_propagation")
def labels_after_many_steps(student, rng):
    """after 400 steps every unknown node is the average of its neighbours; a node alone stays at 0"""
    n = 9
    a = random_graph(rng, n, 0.5)
    a[torch.arange(n - 1), torch.arange(1, n)] = a[torch.arange(1, n), torch.arange(n - 1)] = 1
    a = torch.block_diag(a, torch.zeros(1, 1))
    label = torch.full((n + 1,), -1)
    label[[0, 5, 8]] = torch.tensor([0, 1, 0])
    unknown = (label < 0).nonzero()[:, 0][:-1]
    lap, known = laplacian(a.double()), label.clamp(min=0)[[0, 5, 8]]
    harmonic = torch.linalg.solve(lap[unknown][:, unknown], -lap[unknown][:, [0, 5, 8]] @ torch.eye(2).double()[known])
    got = student.label_propagation(a, label, 400)
    with case("the node without edges", likely="0 / 0: divide by at least a tiny number"):
        expect(got[n], torch.zeros(2))
    with case("the solution of the Laplace equation with the known nodes as boundary"):
        expect(got[unknown], harmonic.float(), atol=1e-4)


# ---- targets


def labyrinth(n: int, generator) -> tuple[Tensor, Tensor]:
    """n places in two arms of a spiral, evenly spread, and the arm of each."""
    share = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    angle = (1.2**2 + (7.2**2 - 1.2**2) * share).sqrt() * math.pi / 2
    radius = angle / (3.6 * math.pi) + 0.1 * (torch.rand(n, generator=generator) - 0.5)
    arm = torch.arange(n) % 2
    return torch.stack([radius * (angle + arm * math.pi).cos(), radius * (angle + arm * math.pi).sin()], 1), arm


def chebyshev_coefficients(g, largest: float, count: int) -> Tensor:
    """Those of the polynomial that agrees with g at the `count` Chebyshev points of [0, largest]."""
    angle = (torch.arange(count, dtype=torch.float64) + 0.5) * math.pi / count
    values = g(largest * (1 + angle.cos()) / 2)
    theta = torch.stack([(values * (k * angle).cos()).sum() * 2 / count for k in range(count)])
    theta[0] /= 2
    return theta


@beside
def heat(student, edges, n, thetas, start, largest):
    lap = student.laplacian(student.adjacency(edges, n)).double()
    return lap, [student.chebyshev_filter(lap, start, theta, largest) for theta in thetas]


@lab.target("adjacency", "laplacian", "chebyshev_filter", seconds=1)
def heat_in_a_labyrinth(student, goals, data, rng):
    """Heat in a labyrinth: polynomials of a low degree instead of 900 eigenvectors"""
    n, plans = 900, ((1.0, 30), (10.0, 60), (100.0, 200))  # time, degree
    place, arm = labyrinth(n, rng.generator)
    near = torch.cdist(place, place) < 0.08
    edges = near.triu(1).nonzero()
    largest = 2.0 * near.sum(1).max().item()  # no eigenvalue is above twice the largest degree
    start = torch.zeros(n, 1, dtype=torch.float64)
    start[0] = 1
    thetas = [chebyshev_coefficients(lambda f, t=t: (-t * f).exp(), largest, k + 1) for t, k in plans]
    lap, spread = student.run(heat, edges, n, thetas, start, largest)
    frequency, basis = torch.linalg.eigh(lap)
    for (t, degree), got in zip(plans, spread, strict=True):
        exact = basis @ ((-t * frequency).exp()[:, None] * (basis.T @ start))
        error = (got - exact).abs().max().item() / exact.max().item()
        goals.at_most(f"relative error after time {t:g}, degree {degree}", error, 1e-4)
    goals.at_most("heat in the other arm", spread[-1][arm != arm[0]].abs().sum().item(), 1e-6)
    with goals.picture("heat.png", size=(10, 3.5)) as figure:
        import matplotlib

        colours = matplotlib.colormaps["inferno"].with_extremes(under="#cbd5e0")
        for axes, (t, _), got in zip(figure.subplots(1, 3), plans, spread, strict=True):
            draw_edges(axes, place, edges, 0.3)
            shown = got[:, 0].abs().clamp(min=1e-9).log10()
            dots = axes.scatter(*place.T.numpy(), c=shown.numpy(), s=7, cmap=colours, vmin=-6, vmax=0, zorder=3)
            axes.set_title(f"after time {t:g}")
            bare(axes)
        bar = figure.colorbar(dots, ax=figure.axes, shrink=0.7, label="heat", extend="min")
        bar.set_ticks([-6, -4, -2, 0], labels=["$10^{-6}$", "$10^{-4}$", "$10^{-2}$", "1"])


def draw_edges(axes, place: Tensor, edges: Tensor, alpha: float) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(place[edges].tolist(), colors="#4a5568", linewidths=0.4, alpha=alpha, zorder=1))


def bare(axes) -> None:
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)


def groups(generator, n: int = 400, classes: int = 4, inside: float = 0.05, across: float = 0.006):
    """A stochastic block model with weak features: edges E × 2, features n × 16, classes n, 5 known nodes of each."""
    target = torch.arange(n) % classes
    chance = torch.where(target[:, None] == target, inside, across)
    edges = (torch.rand(n, n, generator=generator) < chance).triu(1).nonzero()
    centre = torch.randn(classes, 16, generator=generator)
    x = centre[target] + 3 * torch.randn(n, 16, generator=generator)
    order = torch.randperm(n, generator=generator)
    known = torch.cat([order[target[order] == c][:5] for c in range(classes)])
    return edges, x, target, known


@beside
def two_layers(student, edges, x, target, known, use_edges, steps):
    """Scores of two gcn_layers, trained on the known nodes; without edges p is the identity."""
    p = student.normalised_adjacency(student.adjacency(edges, len(x))) if use_edges else torch.eye(len(x))
    p = p.to_sparse()
    w1 = (torch.randn(x.shape[1], 16) / 4).requires_grad_()
    w2 = (torch.randn(16, 4) / 4).requires_grad_()
    b1, b2 = torch.zeros(16, requires_grad=True), torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.Adam([w1, b1, w2, b2], lr=0.01, weight_decay=5e-3)
    for _ in progress(range(steps), "with edges" if use_edges else "without edges"):
        hidden = torch.nn.functional.dropout(student.gcn_layer(p, x, w1, b1).relu(), 0.5)
        loss = torch.nn.functional.cross_entropy(student.gcn_layer(p, hidden, w2, b2)[known], target[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return student.gcn_layer(p, student.gcn_layer(p, x, w1, b1).relu(), w2, b2)


@beside
def attending(student, edges, x, target, known, steps):
    """Scores of two layers of attention over neighbours (a GAT with one head), trained on the known nodes."""
    n = len(x)
    loops = torch.arange(n)
    sender = torch.cat([edges[:, 0], edges[:, 1], loops])
    receiver = torch.cat([edges[:, 1], edges[:, 0], loops])
    sizes = [(x.shape[1], 16), (16, 4)]
    weights = [(torch.randn(d, h) / 4).requires_grad_() for d, h in sizes]
    pairs = [torch.zeros(h, 2, requires_grad=True) for _, h in sizes]  # attention begins as a mean
    optimizer = torch.optim.Adam(weights + pairs, lr=0.01, weight_decay=5e-3)

    def forward(x, drop):
        for number, (weight, pair) in enumerate(zip(weights, pairs, strict=True)):
            value = torch.nn.functional.dropout(x, 0.5, drop) @ weight if number else x @ weight
            part = value @ pair
            score = torch.nn.functional.leaky_relu(part[sender, 0] + part[receiver, 1], 0.2)
            share = student.edge_softmax(score, receiver, n)
            x = torch.zeros(n, value.shape[1]).index_add(0, receiver, share[:, None] * value[sender])
            x = x.relu() if number == 0 else x
        return x

    for _ in progress(range(steps), "attention"):
        loss = torch.nn.functional.cross_entropy(forward(x, True)[known], target[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return forward(x, False)


@beside
def smoothed(student, edges, x, target, known, counts):
    """For each k in counts: scores of a linear classifier of pᵏ x."""
    p = student.normalised_adjacency(student.adjacency(edges, len(x)))
    scores = []
    for k in progress(counts, "smoothing"):
        smooth = torch.linalg.matrix_power(p, k) @ x
        smooth = smooth / smooth.std()
        weight = torch.zeros(x.shape[1], 4, requires_grad=True)
        optimizer = torch.optim.Adam([weight], lr=0.1, weight_decay=5e-3)
        for _ in range(60):
            loss = torch.nn.functional.cross_entropy(smooth[known] @ weight, target[known])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scores.append((smooth @ weight).detach())
    return scores


@lab.target("adjacency", "normalised_adjacency", "edge_softmax", "gcn_layer", seconds=5)
def groups_by_their_edges(student, goals, data, rng):
    """Four groups, 20 labels, weak features: with and without edges, the mean of 3 graphs"""
    counts = (0, 1, 2, 4, 8, 12, 16, 20, 24, 32, 48)
    names = ("without edges", "graph convolution", "attention")
    right: dict[str, list[float]] = {name: [] for name in names}
    curves = []
    for _ in range(3):
        edges, x, target, known = groups(rng.generator)
        rest = torch.ones(len(x), dtype=torch.bool)
        rest[known] = False

        def accuracy(scores, rest=rest, target=target):
            return 100 * (scores.argmax(1) == target)[rest].double().mean().item()

        scores = {
            names[0]: student.run(two_layers, edges, x, target, known, False, 150),
            names[1]: student.run(two_layers, edges, x, target, known, True, 150),
            names[2]: student.run(attending, edges, x, target, known, 150),
        }
        for name in names:
            right[name].append(accuracy(scores[name]))
        curves.append([accuracy(s) for s in student.run(smoothed, edges, x, target, known, counts)])
    means = {name: sum(values) / len(values) for name, values in right.items()}
    goals.at_least("right with graph convolutions", means[names[1]], 75, "%")
    goals.at_least("more than without edges", means[names[1]] - means[names[0]], 30, "points")
    goals.seen("right without edges", means[names[0]], "%")
    goals.seen("right with attention", means[names[2]], "%")
    with goals.picture("groups.png", size=(10, 3.6)) as figure:
        plain, graph, curve = figure.subplots(1, 3)
        place = spectral_layout(edges, target)
        colours = ["#2b6cb0", "#c2571a", "#2f855a", "#805ad5"]
        for axes, name in (plain, names[0]), (graph, names[1]):
            guess = scores[name].argmax(1)
            draw_edges(axes, place, edges, 0.1)
            axes.scatter(*place.T.numpy(), s=12, c=[colours[c] for c in guess], zorder=3)
            axes.scatter(*place[known].T.numpy(), s=60, facecolors="none", edgecolors="black", linewidths=1, zorder=4)
            axes.set_title(f"{name}: {right[name][-1]:.0f} % right")
            bare(axes)
        for values in curves:
            curve.plot(range(len(counts)), values, color="#a0aec0", linewidth=1)
        curve.plot(range(len(counts)), torch.tensor(curves).mean(0).numpy(), marker="o", markersize=4)
        curve.set_xticks(range(len(counts)), labels=[str(k) for k in counts])
        curve.set(xlabel="smoothing steps $k$ of a linear classifier of $p^k x$", ylabel="right (%)", ylim=(20, 100),
                  title="smoothing helps, until it does not")  # fmt: skip


def spectral_layout(edges: Tensor, target: Tensor) -> Tensor:
    """Places in the plane: the three slowest eigenvectors, projected so that the four groups take the four corners."""
    p = normalised_adjacency(adjacency(edges, len(target)).double())
    slow = torch.linalg.eigh(p).eigenvectors[:, -4:-1] / p.sum(1, keepdim=True)
    centres = torch.stack([slow[target == c].mean(0) for c in range(4)])
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    return (slow @ torch.linalg.lstsq(centres, corners).solution).clamp(-2.5, 2.5).float()


def nearest_graph(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """All distances (the diagonal infinite), and the edges from each row to its k nearest ones."""
    distance = torch.cdist(x, x).fill_diagonal_(float("inf"))
    nearest = distance.topk(k, largest=False).indices
    return distance, torch.stack([torch.arange(len(x)).repeat_interleave(k), nearest.flatten()], 1)


@beside
def spread_labels(student, edges, labels, steps):
    a = student.adjacency(edges, labels.shape[1])
    return [student.label_propagation(a, label, steps) for label in progress(labels, "spreading labels")]


def shortest_path(edges: Tensor, start: int, goals: set[int]) -> list[int]:
    """Nodes from `start` to the nearest one in `goals`; empty if there is no way."""
    neighbours: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    came, waiting = {start: -1}, [start]
    for node in waiting:
        if node in goals:
            path = [node]
            while came[path[-1]] >= 0:
                path.append(came[path[-1]])
            return path[::-1]
        for other in neighbours.get(node, []):
            if other not in came:
                came[other] = node
                waiting.append(other)
    return []


@lab.target("adjacency", "label_propagation", seconds=3)
def digits_from_twenty_labels(student, goals, data, rng):
    """2000 digits, 2 labels of each: nearest labelled image, and labels spread over a graph"""
    images, target, _, _ = data.mnist(full=True)
    images, target = images[:2000], target[:2000]
    distance, edges = nearest_graph(images, 8)
    counts = (1, 2, 5, 10, 20)
    chosen = [torch.cat([(target == c).nonzero()[:count, 0] for c in range(10)]) for count in counts]
    labels = torch.full((len(counts), len(target)), -1)
    for label, known in zip(labels, chosen, strict=True):
        label[known] = target[known]
    spread = student.run(spread_labels, edges, labels, 60)
    curves: dict[str, list[float]] = {"nearest labelled image": [], "spread labels": []}
    for known, label, score in zip(chosen, labels, spread, strict=True):
        nearest, rest = target[known][distance[:, known].argmin(1)], label < 0
        curves["nearest labelled image"].append(100 * (nearest != target)[rest].double().mean().item())
        curves["spread labels"].append(100 * (score.argmax(1) != target)[rest].double().mean().item())
    goals.within("errors of the nearest of 20 labelled images", curves["nearest labelled image"][1], 38.9, 39.2, "%")
    goals.at_most("errors after spreading 20 labels", curves["spread labels"][1], 27.5, "%")
    goals.seen("errors after spreading 50 labels", curves["spread labels"][2], "%")
    with goals.picture("digits.png", size=(10, 3.4)) as figure:
        left, right = figure.subfigures(1, 2, width_ratios=[1, 1.5])
        axes = left.subplots()
        for name, values in curves.items():
            axes.plot(counts, values, marker="o", markersize=4, label=name)
        axes.set(xscale="log", xlabel="labels for each digit", ylabel="errors (%)", ylim=(0, 60))
        axes.set_xticks(counts, labels=[str(c) for c in counts])
        axes.minorticks_off()
        axes.legend()
        draw_walks(right, images, target, distance, edges, chosen[1], spread[1])


def draw_walks(
    figure, images: Tensor, target: Tensor, distance: Tensor, edges: Tensor, known: Tensor, score: Tensor
) -> None:
    """Digits that the nearest labelled image gets wrong and their neighbours get right, with the walk to a label."""
    nearest = known[distance[:, known].argmin(1)]
    saved = ((target[nearest] != target) & (score.argmax(1) == target)).nonzero()[:, 0].tolist()
    rows, seen = [], set()
    for node in saved:
        digit = int(target[node])
        path = shortest_path(edges, node, set(known[target[known] == digit].tolist()))
        if digit not in seen and 5 <= len(path) <= 8 and all(target[n] == digit for n in path):
            seen.add(digit)
            rows.append((node, path))
        if len(rows) == 4:
            break
    if not rows:
        return
    longest = max(len(path) for _, path in rows)
    grid = figure.subplots(len(rows), longest + 1, squeeze=False)
    figure.suptitle("nearest label (left), and the walk from a digit to a label over its neighbours", fontsize=9)
    for line, (node, path) in zip(grid, rows, strict=True):
        for axes, number in zip(line, [int(nearest[node]), *path, *[None] * (longest - len(path))], strict=True):
            axes.axis("off")
            if number is not None:
                axes.imshow(images[number].view(28, 28).numpy(), cmap="Reds" if number in known.tolist() else "gray_r")


if __name__ == "__main__":
    sys.exit(lab.main())
