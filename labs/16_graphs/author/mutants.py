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


edit("adjacency", "a.fill_diagonal_(0)", "a.fill_diagonal_(1)", says="every node is its own neighbour")
edit("adjacency", "a.fill_diagonal_(0)", "a.fill_diagonal_(0).long()", says="expected float32 numbers, got int64",
     also=["integer tensor"])  # fmt: skip
edit(
    "adjacency", "a = torch.zeros(n, n)", "edges, a = edges[:2].T, torch.zeros(n, n)", says="taken for its two columns"
)


@mutant("adjacency", says="listed in both directions is counted twice")
def adjacency_plus_its_transpose(edges: Tensor, n: int) -> Tensor:
    a = torch.zeros(n, n)
    a[edges[:, 0], edges[:, 1]] = 1
    return (a + a.T).fill_diagonal_(0)


@mutant("adjacency", says="removes what the first one set")
def adjacency_that_toggles(edges: Tensor, n: int) -> Tensor:
    a = torch.zeros(n, n).index_put_((edges[:, 0], edges[:, 1]), torch.ones(len(edges)), accumulate=True)
    return ((a + a.T) % 2).fill_diagonal_(0)


edit("laplacian", "a.sum(1).diag() - a", "a.sum(1).diag()", says="− A is missing")
edit("laplacian", "a.sum(1).diag() - a", "a.sum(1).diag() + a", says="the sign of the edges is wrong")
edit("laplacian", "a.sum(1).diag() - a", "torch.eye(len(a)) - a / a.sum(1).clamp(min=1e-30)[:, None]",
     says="of a random walk")  # fmt: skip
edit("laplacian", "a.sum(1).diag() - a", "(1 + a.sum(1)).diag() - a", says="not of A + I")
edit("laplacian", "a.sum(1).diag() - a", "(a.sum(1).diag() - a).float()", says="digits are lost",
     check="laplacian_counts_components")  # fmt: skip


@mutant("laplacian", says="the normalised Laplacian")
def laplacian_of_kipf(a: Tensor) -> Tensor:
    scale = a.sum(1).clamp(min=1e-30).rsqrt()
    return torch.eye(len(a), dtype=a.dtype) - scale[:, None] * a * scale


edit("laplacian", "a.sum(1).diag() - a", "a - a.sum(1).diag()", says="A − D instead of D − A")
edit("laplacian", "a.sum(1).diag() - a", "a.sum(1) - a", says="D is a diagonal matrix")
edit("laplacian", "a.sum(1)", "(a > 0).sum(1).to(a.dtype)", says="neighbours are counted")

edit(
    "normalised_adjacency", "a = a + torch.eye(len(a), dtype=a.dtype)", "pass", says="a node must be its own neighbour"
)
edit("normalised_adjacency", "scale[:, None] * a * scale", "scale[:, None] ** 2 * a", says="rows are divided")
edit("normalised_adjacency", ".rsqrt()", ".sqrt()", says="multiplied by the roots of the degrees")
edit("normalised_adjacency", "scale[:, None] * a * scale", "scale[:, None] * a", says="only the rows are scaled")
edit("normalised_adjacency", "scale[:, None] * a * scale", "a * scale", says="only the columns are scaled")
edit("normalised_adjacency", "scale[:, None] * a * scale", "torch.eye(len(a)) - scale[:, None] * a * scale",
     says="a Laplacian, not the propagation matrix")  # fmt: skip
edit(
    "normalised_adjacency", "scale[:, None] * a * scale", "(scale[:, None] * a * scale).float()", says="digits are lost"
)
edit(
    "normalised_adjacency",
    "a = a + torch.eye(len(a), dtype=a.dtype)",
    "a.fill_diagonal_(1)",
    says="argument 1 has changed",
)
edit("normalised_adjacency", ".rsqrt()", ".reciprocal()", says="divided by the degrees of both ends")


@mutant("normalised_adjacency", says="I is added after the normalisation")
def normalised_with_i_at_the_end(a: Tensor) -> Tensor:
    scale = a.sum(1).clamp(min=1e-30).rsqrt()
    return scale[:, None] * a * scale + torch.eye(len(a), dtype=a.dtype)


@mutant("normalised_adjacency", says="not of A + I")
def normalised_by_the_degrees_of_a(a: Tensor) -> Tensor:
    scale = a.sum(1).rsqrt()
    return scale[:, None] * (a + torch.eye(len(a), dtype=a.dtype)) * scale


edit("chebyshev_filter", "2 * shifted(now) - before", "shifted(now) - before", says="factor 2 of the recursion")
edit("chebyshev_filter", "2 * shifted(now) - before", "shifted(now)", says="powers of S")
edit("chebyshev_filter", "2 / largest", "1 / largest", says="factor 2 of the shift")
edit("chebyshev_filter", "y = theta[0] * before", "y = 0 * before", says="T₀ is missing")
edit("chebyshev_filter", "2 * shifted(now) - before", "2 * shifted(now) + before", says="it is subtracted")
edit("chebyshev_filter", "before, now = x, shifted(x)", "before, now = x, 2 * shifted(x)", says="of the second kind")
edit("chebyshev_filter", "(lap @ v) - v", "(lap @ v)", says="without − I")
edit("chebyshev_filter", "2 / largest * (lap @ v) - v", "v - 2 / largest * (lap @ v)", says="S has the other sign")
edit("chebyshev_filter", "2 / largest * (lap @ v) - v", "lap @ v", says="is not shifted")
edit("chebyshev_filter", "for coefficient in theta[1:]", "for coefficient in theta[1:-1]", says="the last coefficient",
     also=["T₀ is missing"])  # fmt: skip
edit("chebyshev_filter", "before, now = x, shifted(x)", "theta = theta.flip(0)\n    before, now = x, shifted(x)",
     says="used in reverse")  # fmt: skip
edit("chebyshev_filter", "before, now = x, shifted(x)",
     "theta = torch.cat([theta[:1] * 0, theta])\n    before, now = x, shifted(x)", says="belongs to T₀")  # fmt: skip
edit("chebyshev_filter", "before, now = x, shifted(x)",
     "largest = float(torch.linalg.matrix_norm(lap.to_dense(), 2))\n    before, now = x, shifted(x)",
     says="it may be a bound")  # fmt: skip
edit("chebyshev_filter", "for coefficient in theta[1:]", "for coefficient in [*theta[1:], theta[-1]]",
     says="reaches", check="filter_of_a_sparse_laplacian")  # fmt: skip


@mutant("chebyshev_filter", says="eigh is not allowed")
def filter_by_eigenvectors(lap: Tensor, x: Tensor, theta: Tensor, largest: float) -> Tensor:
    frequency, basis = torch.linalg.eigh(lap.to_dense())
    angle = (2 * frequency / largest - 1).clamp(-1, 1).arccos()
    return basis @ (sum(c * (k * angle).cos() for k, c in enumerate(theta))[:, None] * (basis.T @ x))


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
edit("message_passing", "sender, receiver = edges", "sender, receiver = torch.cat([edges, edges.flip(0)], 1)",
     says="in both directions")  # fmt: skip
edit("message_passing", "sender, receiver = edges", "sender, receiver = edges.unique(dim=1)", says="twice sends once")
edit("message_passing", ".clamp(min=1)", " + 1", says="divided by count + 1")
edit("message_passing", "count[:, None].to(x.dtype)", "len(x)", says="by the number of all nodes")
edit("message_passing", "count[:, None].to(x.dtype)", "edges.shape[1]", says="by the number of all edges", also=["nan"])
edit("message_passing", "count[:, None].to(x.dtype)", "count[:, None].to(x.dtype).sqrt()", says="by √")
edit(
    "message_passing", "total / count[:, None].to(x.dtype)", "(total / count[:, None]).float()", says="digits are lost"
)


@mutant("message_passing", says="keeps its features", also=["not among its senders"])
def messages_or_what_was_there(edges: Tensor, x: Tensor) -> Tensor:
    sender, receiver = edges
    index = receiver[:, None].expand(-1, x.shape[1])
    return x.scatter_reduce(0, index, x[sender], "mean", include_self=False)


@mutant("message_passing", says="not among its senders")
def messages_with_the_node_itself(edges: Tensor, x: Tensor) -> Tensor:
    sender, receiver = edges
    count = receiver.bincount(minlength=len(x)) + 1
    return (x + torch.zeros_like(x).index_add_(0, receiver, x[sender])) / count[:, None]


@mutant("message_passing", says="the largest, not the mean")
def messages_by_maximum(edges: Tensor, x: Tensor) -> Tensor:
    sender, receiver = edges
    index = receiver[:, None].expand(-1, x.shape[1])
    return torch.zeros_like(x).scatter_reduce_(0, index, x[sender], "amax", include_self=False)


@mutant("message_passing", says="that leave each sender")
def messages_shared_out(edges: Tensor, x: Tensor) -> Tensor:
    sender, receiver = edges
    share = x / sender.bincount(minlength=len(x)).clamp(min=1)[:, None]
    return torch.zeros_like(x).index_add_(0, receiver, share[sender])


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
edit("edge_softmax", "weight / total[receiver]", "weight", says="without a division")
edit("edge_softmax", "weight / total[receiver]", "(weight / total[receiver]).log()", says="the logarithm of the softmax",
     also=["the sign is wrong"])  # fmt: skip
edit("edge_softmax", "weight / total[receiver]", "(weight / total[receiver]).float()", says="digits are lost")
edit("edge_softmax", "(score - top[receiver]).exp()", "(score - top[receiver]).exp2()", says="2 in the place of e")
edit("edge_softmax", "weight / total[receiver]", "(weight / total[receiver])[receiver.argsort(stable=True)]",
     says="in the order of the receivers")  # fmt: skip
edit("edge_softmax", "top = torch", "score = -score\n    top = torch", says="a softmax of −score")


@mutant("edge_softmax", says="the sum of the scores")
def softmax_without_exp(score: Tensor, receiver: Tensor, n: int) -> Tensor:
    return score / torch.zeros(n, dtype=score.dtype).index_add_(0, receiver, score)[receiver]


@mutant("edge_softmax", says="must be sorted")
def softmax_of_runs(score: Tensor, receiver: Tensor, n: int) -> Tensor:
    receiver = receiver.sort().values
    weight = (score - score.max()).exp().double()
    total = torch.zeros(n, dtype=torch.float64).index_add_(0, receiver, weight)
    return weight / total[receiver]


@mutant("edge_softmax", says="one softmax over all edges")
def softmax_of_all_edges(score: Tensor, receiver: Tensor, n: int) -> Tensor:
    return score.softmax(0)


edit("gcn_layer", "p @ (x @ weight) + bias", "p @ (x @ weight + bias)", says="before p mixes")
edit("gcn_layer", "+ bias", "", says="the bias is missing")
edit("gcn_layer", "p @ (x @ weight) + bias", "(p @ (x @ weight) + bias).relu()", says="the layer is linear")

edit("gcn_layer", "p @ (x @ weight) + bias", "p @ (x @ weight.T) + bias", says="shapes cannot be multiplied",
     also=["transposed"])  # fmt: skip
edit("gcn_layer", "p @ (x @ weight) + bias", "x @ weight + bias", says="p is missing", also=["p is used twice"])
edit("gcn_layer", "+ bias", "- bias", says="the bias is subtracted")
edit("gcn_layer", "p @ (x @ weight)", "p @ (x @ weight) + x @ weight", says="added again")
edit("gcn_layer", "p @ (x @ weight)", "p @ (p @ (x @ weight))", says="p is used twice")
edit("gcn_layer", "p @ (x @ weight) + bias", "(p @ (x @ weight) + bias).sigmoid()", says="a sigmoid is applied")
edit("gcn_layer", "p @ (x @ weight) + bias", "(p @ (x @ weight) + bias).float()", says="digits are lost",
     check="layer_does_not_see_numbers")  # fmt: skip

edit("label_propagation", "range(steps)", "range(steps + 1)", says="one step too many")
edit("label_propagation", "range(steps)", "range(steps - 1)", says="one step too few")
edit(
    "label_propagation",
    "range(steps)",
    "range(1)",
    says="only one step",
    also=["one step too many", "one step too few"],
)
edit("label_propagation", "        score = torch.where(known[:, None], start, walk @ score)\n    return score",
     "        score = walk @ score\n    return torch.where(known[:, None], start, score)", says="at the end only")  # fmt: skip
edit("label_propagation", "walk = a /", "a = a + torch.eye(len(a))\n    walk = a /", says="among its own neighbours")
edit("label_propagation", "walk = a /", "start = torch.where(known[:, None], start, 1 / start.shape[1])\n    walk = a /",
     says="start with 1/C")  # fmt: skip
edit("label_propagation", "a / a.sum(1, keepdim=True).clamp(min=1e-12)", "a", says="not their average")
edit("label_propagation", "    return score", "    return torch.eye(score.shape[1])[score.argmax(1)]",
     says="reduced to its best class")  # fmt: skip
edit("label_propagation", "    return score", "    return score / score.sum(1, keepdim=True).clamp(min=1e-12)",
     says="rows are divided by their sums")  # fmt: skip


@mutant("label_propagation", says="all change at once")
def labels_one_after_another(a: Tensor, label: Tensor, steps: int) -> Tensor:
    score = torch.eye(int(label.max()) + 1)[label.clamp(min=0)] * (label >= 0)[:, None]
    for _ in range(steps):
        for node in range(len(a)):
            if label[node] < 0 and a[node].sum() > 0:
                score[node] = a[node] @ score / a[node].sum()
    return score


@mutant("label_propagation", says="√ of both degrees")
def labels_by_symmetric_weights(a: Tensor, label: Tensor, steps: int) -> Tensor:
    known = (label >= 0)[:, None]
    start = torch.eye(int(label.max()) + 1)[label.clamp(min=0)] * known
    scale = a.sum(1).clamp(min=1e-12).rsqrt()
    score = start
    for _ in range(steps):
        score = torch.where(known, start, scale[:, None] * a * scale @ score)
    return score


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


@alternative("adjacency")
def adjacency_by_one_hot_products(edges: Tensor, n: int) -> Tensor:
    first, second = torch.nn.functional.one_hot(edges, n).unbind(1)
    joined = first.T @ second
    return ((joined + joined.T) > 0).float() - torch.diag((joined.diagonal() > 0).float())


@alternative("adjacency")
def adjacency_by_flat_numbers(edges: Tensor, n: int) -> Tensor:
    proper = edges[edges[:, 0] != edges[:, 1]]
    flat = torch.cat((proper[:, 0] * n + proper[:, 1], proper[:, 1] * n + proper[:, 0])).unique()
    return torch.zeros(n * n).index_fill(0, flat, 1.0).reshape(n, n)


@alternative("laplacian")
def laplacian_by_loops(a: Tensor) -> Tensor:
    out = a.neg()
    for i, row in enumerate(a):
        out[i, i] = sum(row.tolist())
    return out


@alternative("normalised_adjacency")
def normalised_by_numpy(a: Tensor) -> Tensor:
    whole = a.numpy().astype(float)
    for i in range(len(whole)):
        whole[i, i] += 1
    root = whole.sum(0) ** 0.5
    return torch.from_numpy(whole / root / root[:, None]).to(a.dtype)


@alternative("normalised_adjacency")
def normalised_from_the_other_end(a: Tensor) -> Tensor:
    degree = a.sum(0) + 1
    return (a + torch.eye(len(a)).to(a)).div(torch.outer(degree, degree).sqrt())


@alternative("chebyshev_filter")
def filter_by_recursion(lap: Tensor, x: Tensor, theta: Tensor, largest: float) -> Tensor:
    def polynomial(k: int) -> Tensor:
        if k == 0:
            return x
        shifted = lap.matmul(polynomial(k - 1)).mul(2.0 / largest).sub(polynomial(k - 1))
        return shifted if k == 1 else 2 * shifted - polynomial(k - 2)

    return torch.stack([polynomial(k) for k in range(len(theta))], -1) @ theta


@alternative("message_passing")
def messages_by_scatter_reduce(edges: Tensor, x: Tensor) -> Tensor:
    index = edges[1].unsqueeze(1).repeat(1, x.size(1))
    return torch.zeros_like(x).scatter_reduce(0, index, x.index_select(0, edges[0]), reduce="mean", include_self=False)


@alternative("message_passing")
def messages_by_one_hot(edges: Tensor, x: Tensor) -> Tensor:
    arrives = torch.nn.functional.one_hot(edges[1], len(x)).to(torch.float64)
    return arrives.T @ x[edges[0]].double() / arrives.sum(0).clamp_min(1).unsqueeze(1)


@alternative("edge_softmax")
def softmax_by_a_table_of_edges(score: Tensor, receiver: Tensor, n: int) -> Tensor:
    same = receiver[:, None] == receiver
    return 1 / torch.where(same, score - score[:, None], -torch.inf).exp().sum(1)


@alternative("gcn_layer")
def layer_by_linear(p: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.nn.functional.linear(torch.matmul(p, x), weight.t(), bias)


@alternative("gcn_layer")
def layer_node_by_node(p: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mixed = p.to_dense() if p.is_sparse else p
    return torch.stack([bias + sum(share * row for share, row in zip(line, x @ weight, strict=True)) for line in mixed])


@alternative("label_propagation")
def labels_in_plain_loops(a: Tensor, label: Tensor, steps: int) -> Tensor:
    rows = [[float(c == k) for k in range(max(label.tolist()) + 1)] for c in label.tolist()]
    weights = a.tolist()
    for _ in range(steps):
        before = [row[:] for row in rows]
        for i, known in enumerate(label.tolist()):
            total = sum(weights[i])
            if known < 0 and total:
                for k in range(len(rows[i])):
                    rows[i][k] = sum(w * row[k] for w, row in zip(weights[i], before, strict=True)) / total
    return torch.tensor(rows)
