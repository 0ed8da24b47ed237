"""The checks of lab 16. Reading them is allowed and useful."""

import math
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks

PARTS = [
    "adjacency",
    "laplacian",
    "normalised_adjacency",
    "chebyshev_filter",
    "message_passing",
    "edge_softmax",
    "gcn_layer",
    "label_propagation",
]
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
            expect(
                student.adjacency(edges, n),
                want,
                mistakes={
                    "only one of the two places of each edge is set": lambda e=edges, n=n: one_way(e, n),
                    "the other of the two places of each edge is missing": lambda e=edges, n=n: one_way(e, n).T,
                    "every node is its own neighbour: the diagonal must be 0": want + torch.eye(n),
                    "the first two rows of the table are taken for its two columns": lambda e=edges, n=n: adjacency(
                        e[:2].T, n
                    ),
                },
            )


def one_way(edges: Tensor, n: int) -> Tensor:
    return torch.zeros(n, n).index_put((edges[:, 0], edges[:, 1]), torch.tensor(1.0))


@lab.check("adjacency")
def edges_listed_twice_count_once(student, rng):
    """repeated edges, both directions, a loop at a node, a node without edges"""
    edges = torch.tensor([[0, 3], [3, 0], [1, 3], [1, 3], [2, 2], [4, 1]])
    counted = torch.zeros(6, 6).index_put((edges[:, 0], edges[:, 1]), torch.ones(6), accumulate=True)
    loops = adjacency(edges, 6)
    loops[2, 2] = 1
    once = one_way(edges, 6)
    expect(
        student.adjacency(edges, 6),
        adjacency(edges, 6),
        mistakes={
            "an edge that is listed twice is counted twice": (counted + counted.T).fill_diagonal_(0),
            "an edge that is listed twice is counted twice, and a node is its own neighbour": counted + counted.T,
            "an edge that is listed in both directions is counted twice": (once + once.T).fill_diagonal_(0),
            "an edge in both directions is counted twice, and a node is its own neighbour": once + once.T,
            "an edge that is listed again removes what the first one set": ((counted + counted.T) % 2).fill_diagonal_(
                0
            ),
            "edges that are listed twice or in both directions are lost": (
                (counted + counted.T == 1).float().fill_diagonal_(0)
            ),
            "a node is its own neighbour: the diagonal must be 0": loops,
        },
    )
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
        roots = degrees.clamp(min=1e-30).rsqrt()
        by_roots = roots[:, None] * roots
        with case(f"{n} nodes, {'random weights' if weighted else 'weights of 1'}"):
            expect(
                student.laplacian(a),
                laplacian(a),
                mistakes={
                    "A − D instead of D − A": a - degrees.diag(),
                    "D + A: the sign of the edges is wrong": degrees.diag() + a,
                    "D alone: − A is missing": degrees.diag(),
                    "the normalised Laplacian I − D^(−1/2) A D^(−1/2)": torch.eye(n) - a * by_roots,
                    "the Laplacian of a random walk, I − D⁻¹ A": torch.eye(n) - a / degrees.clamp(min=1e-30)[:, None],
                    "the degrees count the node itself: D holds the sums of A, not of A + I": (
                        (degrees + 1).diag() - a
                    ),
                    "the degrees are added to whole rows or columns: D is a diagonal matrix": degrees - a,
                    "the degrees are added to whole rows: D is a diagonal matrix": degrees[:, None] - a,
                    "neighbours are counted: the degree is the sum of their weights": (a > 0).sum(1).float().diag() - a,
                },
            )


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
            expect(
                student.normalised_adjacency(a),
                normalised_adjacency(a),
                mistakes={
                    "without I: a node must be its own neighbour": a * (degree[:, None] * degree).rsqrt(),
                    "the degrees are those of A, not of A + I": (a + eye) * (degree[:, None] * degree).rsqrt(),
                    "rows are divided by the degree: each side gets the power −1/2": (a + eye) / with_self[:, None],
                    "columns are divided by the degree: each side gets the power −1/2": (a + eye) / with_self,
                    "divided by the degrees of both ends: the power is −1/2": (a + eye)
                    / (with_self[:, None] * with_self),
                    "I is added after the normalisation": a * (degree[:, None] * degree).rsqrt() + eye,
                    "multiplied by the roots of the degrees: the power is −1/2": (a + eye)
                    * (with_self[:, None] * with_self).sqrt(),
                    "only the rows are scaled: D̃^(−1/2) stands on both sides": (a + eye) * with_self.rsqrt()[:, None],
                    "only the columns are scaled: D̃^(−1/2) stands on both sides": (a + eye) * with_self.rsqrt(),
                    "I minus it: a Laplacian, not the propagation matrix": eye
                    - (a + eye) * (with_self[:, None] * with_self).rsqrt(),
                    "A − I instead of A + I": (a - eye) * ((a - eye).sum(1)[:, None] * (a - eye).sum(1)).rsqrt(),
                },
            )


@lab.check("normalised_adjacency")
def a_lonely_node_stays_finite(student, rng):
    """nodes without edges, and eigenvalues in (−1, 1]"""
    a = random_graph(rng, 11, 0.3, dtype=torch.float64)
    a[4], a[:, 4] = 0, 0
    p = student.normalised_adjacency(a)
    with case("node 4 has no edges", look="the degree of a node without edges is 0 if I is not added first"):
        expect(p, normalised_adjacency(a))
    eigenvalues = torch.linalg.eigvalsh(p)
    require(
        eigenvalues[0] > -1 and eigenvalues[-1] < 1 + 1e-9,
        f"the eigenvalues go from {eigenvalues[0]:.3f} to {eigenvalues[-1]:.3f}, not within (−1, 1]",
    )


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

        eye, highest = torch.eye(n, dtype=lap.dtype), torch.linalg.eigvalsh(lap)[-1].item()
        s = 2 / largest * lap - eye

        def powers(s=s, x=x, theta=theta):
            return sum(c * torch.linalg.matrix_power(s, k) @ x for k, c in enumerate(theta))

        def recursion(s, first=1, factor=2, sign=-1, x=x, theta=theta):
            terms = [x, first * s @ x]
            while len(terms) < len(theta):
                terms.append(factor * s @ terms[-1] + sign * terms[-2])
            return sum(c * term for c, term in zip(theta, terms, strict=False))

        mistakes = {
            "powers of S instead of Chebyshev polynomials": powers,
            "the factor 2 of the recursion is missing": lambda f=recursion, s=s: f(s, factor=1),
            "+ Tₖ₋₂ in the recursion: it is subtracted": lambda f=recursion, s=s: f(s, sign=1),
            "T₁ is S, not 2 S: those are polynomials of the second kind": lambda f=recursion, s=s: f(s, first=2),
            "L / λ_max − I: the factor 2 of the shift is missing": lambda f=recursion, s=s, eye=eye: f((s - eye) / 2),
            "L is not shifted to [−1, 1]": lambda f=recursion, lap=lap: f(lap),
            "2 L / λ_max without − I": lambda f=recursion, s=s, eye=eye: f(s + eye),
            "I − 2 L / λ_max: S has the other sign": lambda f=recursion, s=s: f(-s),
            "`largest` is not used: it may be a bound above the largest eigenvalue": (
                lambda f=recursion, lap=lap, eye=eye, top=highest: f(2 / top * lap - eye)
            ),
            "T₀ is missing: the sum begins with theta[0] x": lambda x=x, c=theta, f=recursion, s=s: f(s) - c[0] * x,
            "the last coefficient is not used": lambda f=recursion, s=s, c=theta: f(s, theta=c[:-1]),
            "the coefficients are used in reverse: the first is that of T₀": lambda f=recursion, s=s, c=theta: f(
                s, theta=c.flip(0)
            ),
            "the first coefficient belongs to T₀, not to T₁": lambda f=recursion, s=s, c=theta: f(
                s, theta=torch.cat([c[:1] * 0, c])
            ),
            "the sum of the coefficients times the last polynomial": lambda f=recursion, s=s, c=theta: (
                c.sum() * f(s, theta=torch.eye(len(c), dtype=c.dtype)[-1])
            ),
        }
        with case(f"{n} nodes, {d} signals, {count} coefficients"):
            got = student.chebyshev_filter(lap, x, theta, largest)
            # with one or two coefficients, many mistakes give the same, or nothing wrong
            told = mistakes if count > 2 else {}
            expect(got, chebyshev_filter(lap, x, theta, largest), rtol=1e-7, atol=1e-8, mistakes=told)


@lab.check("chebyshev_filter")
def filter_of_a_sparse_laplacian(student, rng):
    """a sparse Laplacian gives the same, and a filter of degree K reaches K steps"""
    n = 13
    ring = torch.zeros(n, n)
    ring[torch.arange(n), torch.arange(n).roll(1)] = 1
    lap = laplacian(ring + ring.T)
    x, theta = rng.normal(n, 2), rng.normal(5)
    impulse = torch.zeros(n, 1)
    impulse[6] = 1
    reached = student.chebyshev_filter(lap, impulse, torch.ones(4), 4.0)[:, 0].abs() > 1e-6
    require(
        bool(reached[3:10].all()) and int(reached.sum()) == 7,
        f"4 coefficients: an impulse reaches {int(reached.sum())} nodes of a ring, not itself and 3 on each side",
    )
    with case("a sparse tensor", look="no identity matrix is needed: S v is 2/largest · (lap @ v) − v"):
        expect(student.chebyshev_filter(lap.to_sparse(), x, theta, 4.0), chebyshev_filter(lap, x, theta, 4.0))


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
            expect(
                student.message_passing(edges, x),
                message_passing(edges, x),
                mistakes={
                    "sent against the direction of the edges: edges[0] are the senders": lambda e=edges, x=x: (
                        message_passing(e.flip(0), x)
                    ),
                    "the sum, not the mean": added,
                    "the mean over edges[0] instead of the mean at the receiver": lambda e=edges, f=added, n=n: (
                        f() / e[0].bincount(minlength=n).clamp(min=1)[:, None]
                    ),
                    "out[receiver] += … keeps one message of each: index_add_ adds all": lambda f=last, c=counted: (
                        f() / c()
                    ),
                    "out[receiver] = … keeps one message of each receiver": last,
                    "edges are used in both directions: they are directed here": lambda e=edges, x=x: message_passing(
                        torch.cat([e, e.flip(0)], 1), x
                    ),
                    "the node itself is not among its senders": lambda f=added, e=edges, x=x, n=n: (
                        (f() + x) / (e[1].bincount(minlength=n) + 1)[:, None]
                    ),
                    "the largest, not the mean": lambda e=edges, x=x: torch.zeros_like(x).scatter_reduce_(
                        0, e[1][:, None].expand(-1, x.shape[1]), x[e[0]], "amax", include_self=False
                    ),
                    "divided by the number of all nodes": lambda f=added, n=n: f() / n,
                    "divided by the number of all edges": lambda f=added, e=edges: f() / e.shape[1],
                    "divided by the number of edges that leave each sender": lambda e=edges, x=x, n=n: torch.zeros_like(
                        x
                    ).index_add_(0, e[1], (x / e[0].bincount(minlength=n).clamp(min=1)[:, None])[e[0]]),
                    "divided by √ of the number of edges": lambda f=added, c=counted: f() / c().sqrt(),
                    "a node that receives nothing keeps its features: it gets zeros": lambda e=edges, x=x: torch.where(
                        (e[1].bincount(minlength=len(x)) > 0)[:, None], message_passing(e, x), x
                    ),
                    "an edge that is listed twice sends once": once,
                    "divided by count + 1: the node itself is not among its senders": lambda f=added, e=edges, n=n: (
                        f() / (e[1].bincount(minlength=n) + 1)[:, None]
                    ),
                },
            )


@lab.check("message_passing")
def nobody_sends(student, rng):
    """zeros where nothing arrives, in both precisions, and without edges at all"""
    x = rng.normal(5, 3, dtype=torch.float64)
    edges = torch.tensor([[0, 1, 4], [2, 2, 1]])
    with case("three of five nodes receive nothing", look="0 / 0: divide by at least 1"):
        expect(
            student.message_passing(edges, x),
            message_passing(edges, x),
            mistakes={
                "a node that receives nothing keeps its features: it gets zeros": torch.where(
                    edges[1].bincount(minlength=5)[:, None] > 0, message_passing(edges, x), x
                )
            },
        )
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
            return score.exp() / (
                total.sum()
                if by == "all"
                else torch.zeros_like(total).index_add_(0, receiver, torch.ones_like(score))[receiver]
            )

        with case(f"{count} edges into {n} nodes"):
            expect(
                student.edge_softmax(score, receiver, n),
                edge_softmax(score, receiver, n),
                mistakes={
                    "one softmax over all edges instead of one for each receiver": lambda f=divided: f("all"),
                    "divided by the number of edges, not by the sum of their exp": lambda f=divided: f("count"),
                    "divided by the sum over all edges, not those into one node": lambda s=score, r=receiver, n=n: (
                        sum_of_all(s, r, n)
                    ),
                    "exp without a division: the weights into one node sum to 1": score.exp(),
                    "exp of the score below the largest one, without a division": lambda s=score, r=receiver, n=n: (
                        s - torch.full((n,), -math.inf, dtype=s.dtype).scatter_reduce_(0, r, s, "amax")[r]
                    ).exp(),
                    "divided by the sum of the scores: exp is missing": lambda s=score, r=receiver, n=n: (
                        s / torch.zeros(n, dtype=s.dtype).index_add_(0, r, s)[r]
                    ),
                    "the logarithm of the softmax": lambda s=score, r=receiver, n=n: edge_softmax(s, r, n).log(),
                    "a softmax of −score": lambda s=score, r=receiver, n=n: edge_softmax(-s, r, n),
                    "in the order of the receivers: an answer stands where its edge stands": (
                        lambda s=score, r=receiver, n=n: edge_softmax(s, r, n)[r.argsort(stable=True)]
                    ),
                    "the receivers must be sorted for this": lambda s=score, r=receiver, n=n: edge_softmax(
                        s, r.sort().values, n
                    ),
                    "2 in the place of e": lambda s=score, r=receiver, n=n: edge_softmax(s * math.log(2), r, n),
                },
            )


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
        with case(
            text,
            look="subtract the largest score of the same node; one maximum for all or a start at 0 is not enough",
        ):
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
                expect(
                    student.gcn_layer(matrix, x, weight, bias),
                    gcn_layer(p, x, weight, bias),
                    mistakes={
                        "the bias is added before p mixes the nodes": p @ (x @ weight + bias),
                        "the weight is used transposed": lambda p=p, x=x, w=weight, b=bias: p @ x @ w.T + b,
                        "p is missing": x @ weight + bias,
                        "the weight is missing": lambda p=p, x=x, b=bias: p @ x + b,
                        "the bias is subtracted": p @ x @ weight - bias,
                        "the bias is multiplied, not added": p @ x @ weight * bias,
                        "p is used twice": p @ (p @ x @ weight) + bias,
                        "x weight is added again: p already holds the node itself": p @ x @ weight + x @ weight + bias,
                        "the bias is missing": p @ x @ weight,
                        "a ReLU is applied: the layer is linear": (p @ x @ weight + bias).relu(),
                        "a sigmoid is applied: the layer is linear": (p @ x @ weight + bias).sigmoid(),
                        "a tanh is applied: the layer is linear": (p @ x @ weight + bias).tanh(),
                        "a softmax is applied: the layer is linear": (p @ x @ weight + bias).softmax(1),
                        "rows of p are divided by their sums": p / p.sum(1, keepdim=True) @ x @ weight + bias,
                    },
                )


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
            expect(
                student.label_propagation(a, label, steps),
                label_propagation(a, label, steps),
                mistakes={
                    "known nodes forget their label: put it back in every step": lambda f=spread, a=a, d=degree: f(
                        a / d, False
                    ),
                    "unknown nodes start as class 0: blank their rows": lambda c=label, a=a, d=degree, steps=steps: (
                        averaged(a / d, torch.eye(3)[c.clamp(min=0)], c >= 0, steps)
                    ),
                    "unknown nodes start as the last: blank their rows": lambda c=label, a=a, d=degree, steps=steps: (
                        averaged(a / d, torch.eye(3)[c], c >= 0, steps)
                    ),
                    "divided by the degree of the sender: columns instead of rows": lambda f=spread, a=a, d=degree: f(
                        a / d.T, True
                    ),
                    "the sum over the neighbours, not their average": lambda f=spread, a=a: f(a, True),
                    "divided by √ of both degrees: here it is the average": lambda f=spread, m=by_both: f(m, True),
                    "the weights of the edges are ignored": lambda f=spread, m=counted: f(m, True),
                    "one step too many": lambda a=a, c=label, k=steps: label_propagation(a, c, k + 1),
                    "one step too few": lambda a=a, c=label, k=steps: label_propagation(a, c, k - 1),
                    "only one step, whatever `steps` says": lambda a=a, c=label: label_propagation(a, c, 1),
                    "known nodes get their label back at the end only": (
                        lambda f=spread, a=a, d=degree, k=known, s=start: torch.where(k[:, None], s, f(a / d, False))
                    ),
                    "each node is among its own neighbours": lambda f=spread, a=a: f(
                        (a + torch.eye(len(a))) / (a + torch.eye(len(a))).sum(1, keepdim=True), True
                    ),
                    "unknown nodes start with 1/C for each class: they start at 0": (
                        lambda s=start, k=known, a=a, d=degree, steps=steps: averaged(
                            a / d, torch.where(k[:, None], s, torch.full_like(s, 1 / 3)), k, steps
                        )
                    ),
                    "nodes see what others became in the same step: all change at once": (
                        lambda a=a, d=degree, s=start, k=known, steps=steps: one_after_another(a / d, s, k, steps)
                    ),
                    "rows are divided by their sums": lambda a=a, d=degree, s=start, k=known, steps=steps: (
                        divided_by_sums(a / d, s, k, steps)
                    ),
                    "each row is reduced to its best class": lambda a=a, c=label, k=steps: torch.eye(3)[
                        label_propagation(a, c, k).argmax(1)
                    ],
                },
            )


def averaged(walk: Tensor, start: Tensor, fixed: Tensor, steps: int) -> Tensor:
    score = start
    for _ in [None] * steps:
        score = walk @ score
        score[fixed] = start[fixed]
    return score


def one_after_another(walk: Tensor, start: Tensor, fixed: Tensor, steps: int) -> Tensor:
    score = start.clone()
    for _ in [None] * steps:
        for node in (~fixed).nonzero()[:, 0]:
            score[node] = walk[node] @ score
    return score


def divided_by_sums(walk: Tensor, start: Tensor, fixed: Tensor, steps: int) -> Tensor:
    score = start
    for _ in [None] * steps:
        score = walk @ score
        score = score / score.sum(1, keepdim=True).clamp(min=1e-12)
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
    with case("the node without edges", look="0 / 0: divide by at least a tiny number"):
        expect(got[n], torch.zeros(2))
    with case("the solution of the Laplace equation with the known nodes as boundary"):
        expect(got[unknown], harmonic.float(), atol=1e-4)


if __name__ == "__main__":
    sys.exit(run_checks(lab))
