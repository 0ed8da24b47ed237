# Made by tools/labs.py from labs/16_graphs/author/lab.py; write your functions here.
"""Lab 16: Graph networks.

What to do is in sheet.md. Check your work with: python check.py
"""

import torch
from torch import Tensor


def adjacency(edges: Tensor, n: int) -> Tensor:
    """The adjacency matrix of an undirected graph whose edges all have the weight 1.

    edges: E × 2 int64, two nodes in each row. An edge may be listed more than once and in both directions, and counts
    once; a row with twice the same node is ignored. Returns n × n float32, where n is the number of nodes.

    Not allowed: loops, comprehensions. Index with all edges at once.

    Hint: index a matrix of zeros with two columns at once. My version has 112 characters.
    """
    raise NotImplementedError("16.1 adjacency")


def laplacian(a: Tensor) -> Tensor:
    """The Laplacian L = D − A, where D is the diagonal matrix of the degrees.

    a: n × n, symmetric, weights ≥ 0. Returns n × n of the dtype of a.

    The number xᵀ L x = ½ Σᵢⱼ A[i, j] (xᵢ − xⱼ)² says how much x varies along the edges.

    Hint: `torch.diag`. My version has 26 characters.
    """
    raise NotImplementedError("16.2 laplacian")


def normalised_adjacency(a: Tensor) -> Tensor:
    """The propagation matrix of Kipf and Welling (2017): D̃^(−1/2) (A + I) D̃^(−1/2).

    a: n × n, symmetric, weights ≥ 0. D̃ holds the degrees of A + I, so a node is one of its own neighbours. Returns n ×
    n of the dtype of a.

    Hint: `torch.rsqrt`; multiply rows and columns by broadcasting. My version has 99 characters.
    """
    raise NotImplementedError("16.3 normalised_adjacency")


def chebyshev_filter(lap: Tensor, x: Tensor, theta: Tensor, largest: float) -> Tensor:
    """The filtered signals Σₖ theta[k] Tₖ(S) x, with S = 2 lap / largest − I.

    lap: n × n, dense or sparse. x: n × d, a signal in each column. theta: K ≥ 1 coefficients, the first is that of T₀.
    largest: the largest eigenvalue of lap, or a bound for it. Returns n × d.

    Not allowed: `eigh`, `eig`, `matrix_power`, `inv`. Products of lap with vectors suffice.

    Hint: keep the last two Tₖ(S) x. Multiply `lap` by n × d matrices only, without S itself, and a sparse `lap` works,
    too. My version has 223 characters.
    """

    raise NotImplementedError("16.4 chebyshev_filter")


def message_passing(edges: Tensor, x: Tensor) -> Tensor:
    """The mean of the features that arrive at each node.

    edges: 2 × E int64; an edge that is listed twice sends twice. x: n × d float. Returns n × d of the dtype of x; a
    node that receives nothing gets zeros.

    Not allowed: loops, comprehensions. The sheet asks for all edges at once.

    Hint: `Tensor.index_add_` adds up repeated indices, `out[index] += …` does not. Count with `torch.bincount`;
    nothing of size n × n is needed. My version has 186 characters.
    """
    raise NotImplementedError("16.5 message_passing")


def edge_softmax(score: Tensor, receiver: Tensor, n: int) -> Tensor:
    """Attention over neighbourhoods: a softmax over all edges that arrive at the same node.

    score: E float, ±1000 included. receiver: E int64, where each edge arrives; n: number of nodes.
    Returns E weights of the dtype of score; those of the edges into one node sum to 1.

    Not allowed: loops, comprehensions. The sheet asks for all edges at once.

    Hint: subtract the largest score *of the same node* before `exp`: `Tensor.scatter_reduce_` with "amax", then
    `index_add_`. My version has 242 characters.
    """
    raise NotImplementedError("16.6 edge_softmax")


def gcn_layer(p: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One graph convolution without the non-linearity: p x weight + bias.

    p: n × n, dense or sparse, from `normalised_adjacency`. x: n × d. weight: d × h. bias: h, added after the mixing.
    Returns n × h.

    Hint: of the two orders of the products, one multiplies p by fewer columns when h < d. My version has 30 characters.
    """
    raise NotImplementedError("16.7 gcn_layer")


def label_propagation(a: Tensor, label: Tensor, steps: int) -> Tensor:
    """Spreads known classes over a graph (Zhu, Ghahramani and Lafferty, 2003).

    a: n × n float32, symmetric, weights ≥ 0. label: n int64, a class of 0 … C − 1, or −1 where it is unknown; the
    largest one is C − 1. Returns n × C float32. At the start, rows of known nodes are one-hot, all others 0. In each of
    `steps` ≥ 0 steps every node takes the average of its neighbours, weighted by a, then the known ones return to what
    they were. Nodes without neighbours and without a label stay at 0.

    Not allowed: `inv`, `solve`. The sheet asks for steps.

    Hint: `F.one_hot` refuses −1; clamp, then blank. My version has 261 characters.
    """
    raise NotImplementedError("16.8 label_propagation")
