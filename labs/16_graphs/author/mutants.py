"""Known-wrong versions of lab 16, each with the words that its message must hold, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant
from torch import Tensor

edit("adjacency", "a[edges[:, 1], edges[:, 0]] = 1", "pass", says="only one of the two places")
edit("adjacency", "a.fill_diagonal_(0)", "a", says="a node is its own neighbour")


@mutant("adjacency", says="counted twice")
def adjacency_that_counts(edges: Tensor, n: int) -> Tensor:
    a = torch.zeros(n, n).index_put_((edges[:, 0], edges[:, 1]), torch.ones(len(edges)), accumulate=True)
    return (a + a.T).fill_diagonal_(0)


@mutant("adjacency", says="a loop is not allowed")
def adjacency_by_a_loop(edges: Tensor, n: int) -> Tensor:
    a = torch.zeros(n, n)
    for i, j in edges.tolist():
        a[i, j] = a[j, i] = float(i != j)
    return a


edit("laplacian", "a.sum(1).diag() - a", "a - a.sum(1).diag()", says="A − D instead of D − A")
edit("laplacian", "a.sum(1).diag() - a", "a.sum(1) - a", says="D is a diagonal matrix")
edit("laplacian", "a.sum(1)", "(a > 0).sum(1).to(a.dtype)", says="neighbours are counted")

edit(
    "normalised_adjacency", "a = a + torch.eye(len(a), dtype=a.dtype)", "pass", says="a node must be its own neighbour"
)
edit("normalised_adjacency", "scale[:, None] * a * scale", "scale[:, None] ** 2 * a", says="rows are divided")
edit("normalised_adjacency", ".rsqrt()", ".reciprocal()", says="divided by the degrees of both ends")


@mutant("normalised_adjacency", says="not of A + I")
def normalised_by_the_degrees_of_a(a: Tensor) -> Tensor:
    scale = a.sum(1).rsqrt()
    return scale[:, None] * (a + torch.eye(len(a), dtype=a.dtype)) * scale


edit("chebyshev_filter", "2 * shifted(now) - before", "shifted(now) - before", says="factor 2 of the recursion")
edit("chebyshev_filter", "2 * shifted(now) - before", "shifted(now)", says="powers of S")
edit("chebyshev_filter", "2 / largest", "1 / largest", says="factor 2 of the shift")
edit("chebyshev_filter", "y = theta[0] * before", "y = 0 * before", says="T₀ is missing")


@mutant("chebyshev_filter", says="no identity matrix is needed")
def filter_with_a_dense_shift(lap: Tensor, x: Tensor, theta: Tensor, largest: float) -> Tensor:
    shift = 2 * lap / largest - torch.eye(len(lap), dtype=x.dtype)
    terms = [x, shift @ x]
    while len(terms) < len(theta):
        terms.append(2 * shift @ terms[-1] - terms[-2])
    return sum(c * term for c, term in zip(theta, terms))  # noqa: B905


edit(
    "message_passing", "sender, receiver = edges", "receiver, sender = edges", says="against the direction of the edges"
)
edit("message_passing", "total / count[:, None].to(x.dtype)", "total", says="the sum, not the mean")
edit("message_passing", ".clamp(min=1)", "", says="nan")
edit("message_passing", "receiver.bincount", "sender.bincount", says="instead of the mean at the receiver")


@mutant("message_passing", says="index_add_ adds all")
def messages_that_overwrite(edges: Tensor, x: Tensor) -> Tensor:
    sender, receiver = edges
    total = torch.zeros_like(x)
    total[receiver] += x[sender]
    return total / receiver.bincount(minlength=len(x)).clamp(min=1)[:, None].to(x.dtype)


edit("edge_softmax", "(score - top[receiver]).exp()", "(score - score.max()).exp()", says="the same node")
edit("edge_softmax", "(score - top[receiver]).exp()", "score.exp()", says="nan")
edit(
    "edge_softmax",
    "torch.full((n,), -torch.inf, dtype=score.dtype)",
    "torch.zeros(n, dtype=score.dtype)",
    says="a start at 0",
)
edit("edge_softmax", "weight / total[receiver]", "weight / total.sum()", says="over all edges, not")


@mutant("edge_softmax", says="one softmax over all edges")
def softmax_of_all_edges(score: Tensor, receiver: Tensor, n: int) -> Tensor:
    return score.softmax(0)


edit("gcn_layer", "p @ (x @ weight) + bias", "p @ (x @ weight + bias)", says="before p mixes")
edit("gcn_layer", "+ bias", "", says="the bias is missing")
edit("gcn_layer", "p @ (x @ weight) + bias", "(p @ (x @ weight) + bias).relu()", says="the layer is linear")

edit("label_propagation", "torch.where(known[:, None], start, walk @ score)", "walk @ score", says="forget their label")
edit("label_propagation", " * known[:, None]", "", says="unknown nodes start as class 0")
edit("label_propagation", "a.sum(1, keepdim=True)", "a.sum(0, keepdim=True)", says="columns instead of rows")
edit("label_propagation", ".clamp(min=1e-12)", "", says="0 / 0")


@mutant("label_propagation", says="weights of the edges are ignored")
def labels_by_counting(a: Tensor, label: Tensor, steps: int) -> Tensor:
    known = label >= 0
    start = torch.nn.functional.one_hot(label.clamp(min=0)).float() * known[:, None]
    walk = (a > 0).float()
    walk = walk / walk.sum(1, keepdim=True).clamp(min=1)
    score = start
    for _ in range(steps):
        score = torch.where(known[:, None], start, walk @ score)
    return score


@alternative("adjacency")
def adjacency_from_a_sparse_tensor(edges: Tensor, n: int) -> Tensor:
    both = torch.cat([edges, edges.flip(1)]).T
    a = torch.sparse_coo_tensor(both, torch.ones(both.shape[1], dtype=torch.float64), (n, n)).to_dense()
    return (a > 0).double() * (1 - torch.eye(n, dtype=torch.float64))


@alternative("laplacian")
def laplacian_by_a_mask(a: Tensor) -> Tensor:
    return torch.where(torch.eye(len(a)) > 0, a.sum(0), -a)


@alternative("normalised_adjacency")
def normalised_by_products(a: Tensor) -> Tensor:
    wide = a.double() + torch.eye(len(a), dtype=torch.float64)
    root = torch.diag(wide.sum(0) ** -0.5)
    return root @ wide @ root


@alternative("chebyshev_filter")
def filter_by_clenshaw(lap: Tensor, x: Tensor, theta: Tensor, largest: float) -> Tensor:
    newer = older = torch.zeros_like(x)
    for k in range(len(theta) - 1, 0, -1):
        newer, older = theta[k] * x + 4 / largest * (lap @ newer) - 2 * newer - older, newer
    return theta[0] * x + 2 / largest * (lap @ newer) - newer - older


@alternative("message_passing")
def messages_by_a_sparse_matrix(edges: Tensor, x: Tensor) -> Tensor:
    ones = torch.ones(edges.shape[1], dtype=torch.float64)
    a = torch.sparse_coo_tensor(edges.flip(0), ones, (len(x), len(x)))
    count = torch.sparse.mm(a, torch.ones(len(x), 1, dtype=torch.float64))
    return torch.sparse.mm(a, x.double()) / count.clamp(min=1)


@alternative("edge_softmax")
def softmax_by_sorting(score: Tensor, receiver: Tensor, n: int) -> Tensor:
    table = torch.full((n, len(score)), -torch.inf, dtype=torch.float64)
    table[receiver, torch.arange(len(score))] = score.double()
    return table.softmax(1)[receiver, torch.arange(len(score))]


@alternative("label_propagation")
def labels_by_a_matrix_power(a: Tensor, label: Tensor, steps: int) -> Tensor:
    known = (label >= 0)[:, None]
    start = torch.where(known, torch.eye(int(label.max()) + 1, dtype=torch.float64)[label], 0.0)
    walk = torch.nan_to_num(a.double() / a.double().sum(1, keepdim=True))
    walk = torch.where(known, torch.eye(len(a), dtype=torch.float64), walk)
    return torch.linalg.matrix_power(walk, steps) @ start


# More of the classics.
edit("adjacency", "a[edges[:, 0], edges[:, 1]] = 1", "pass", says="the other of the two places")
edit("laplacian", "a.sum(1).diag() - a", "a.sum(1).diag() + a", says="the sign of the edges is wrong")
edit("laplacian", "a.sum(1).diag() - a", "torch.eye(len(a), dtype=a.dtype) - a", says="I − A")
edit("laplacian", "a.sum(1).diag() - a", "a.sum(1)[:, None] - a", says="added to whole rows")
edit("normalised_adjacency", "scale[:, None] * a * scale", "scale[:, None] * a", says="only the rows are scaled")
edit("normalised_adjacency", "scale[:, None] * a * scale", "a * scale", says="only the columns are scaled")
edit("normalised_adjacency", "scale[:, None] * a * scale", "a * scale**2", says="columns are divided by the degree")
edit("normalised_adjacency", ".rsqrt()", ".sqrt()", says="multiplied by the roots")
edit("chebyshev_filter", "2 / largest * (lap @ v) - v", "lap @ v", says="not shifted")
edit("chebyshev_filter", "2 / largest * (lap @ v) - v", "2 / largest * (lap @ v)", says="without − I")
edit("chebyshev_filter", "before, now = x, shifted(x)", "before, now = shifted(x), 2 * shifted(shifted(x)) - x",
     says="belongs to T₀")  # fmt: skip
edit(
    "message_passing",
    "total / count[:, None].to(x.dtype)",
    "total / (count[:, None] + 1).to(x.dtype)",
    says="count + 1",
)
edit("message_passing", "total / count[:, None].to(x.dtype)", "total / len(x)", says="by the number of nodes")
edit("message_passing", "total / count[:, None].to(x.dtype)", "total / len(sender)", says="number of all edges")
edit("message_passing", "sender, receiver = edges", "sender, receiver = edges.unique(dim=1)", says="sends once")
edit("gcn_layer", "p @ (x @ weight) + bias", "x @ weight + bias", says="p is missing")
edit("gcn_layer", "p @ (x @ weight) + bias", "p @ (p @ (x @ weight)) + bias", says="p is applied twice")
edit("label_propagation", "range(steps)", "range(steps - 1)", says="one step too few")
edit("label_propagation", "range(steps)", "range(steps + 1)", says="one step too many")
edit("label_propagation", "a / a.sum(1, keepdim=True).clamp(min=1e-12)", "a", says="the sum over the neighbours")


@mutant("message_passing", says="keeps one message of each receiver")
def messages_stored(edges: Tensor, x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[edges[1]] = x[edges[0]]
    return out


@alternative("laplacian")
def laplacian_by_embedding(a: Tensor) -> Tensor:
    return torch.diag_embed(torch.einsum("ij->i", a)) - a


@alternative("message_passing")
def messages_by_scatter(edges: Tensor, x: Tensor) -> Tensor:
    index = edges[1][:, None].expand(-1, x.shape[1])
    return torch.zeros_like(x).scatter_reduce(0, index, x[edges[0]], "mean", include_self=False)


@alternative("gcn_layer")
def layer_the_other_way_round(p: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.nn.functional.linear(p @ x, weight.T, bias)


@alternative("label_propagation")
def labels_written_back(a: Tensor, label: Tensor, steps: int) -> Tensor:
    start = torch.zeros(len(a), int(label.max()) + 1)
    for node, c in enumerate(label.tolist()):
        if c >= 0:
            start[node, c] = 1
    score, degree = start.clone(), a.sum(dim=1)
    for _ in range(steps):
        score = torch.nan_to_num(torch.matmul(a, score) / degree.unsqueeze(1))
        score[label >= 0] = start[label >= 0]
    return score
