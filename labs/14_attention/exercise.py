# Made by tools/labs.py from labs/14_attention/author/lab.py; write your functions here.
"""Lab 14: Embeddings, attention, transformers.

What to do is in sheet.md. Check your work with: python check.py
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def skipgram_pairs(sentence: Tensor, window: int) -> Tensor:
    """All pairs of a word and another one at most `window` places away.

    sentence: T word numbers, int64. Returns M × 2, int64: centre and neighbour, ordered by the place of the centre,
    then by that of the neighbour. A place is no neighbour of itself; beyond the ends there is nothing.

    Hint: two loops, or a table of distances |i − j| and `nonzero`. My version has 150 characters.
    """
    raise NotImplementedError("14.1 skipgram_pairs")


def skipgram_loss(u: Tensor, v: Tensor, negatives: Tensor) -> Tensor:
    """Negative sampling: the mean over the pairs of −log σ(u · v) − Σ_k log σ(−u · n_k).

    u: N × D centres, v: N × D neighbours, negatives: N × K × D, K random words n_k for each pair. Returns one number,
    finite also for products of ±1000.

    Hint: `F.logsigmoid`; the K products of each row are `torch.einsum` or a product with `u.unsqueeze(2)`. My version
    has 140 characters.
    """
    raise NotImplementedError("14.2 skipgram_loss")


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention.

    q: … × T × D, k: … × S × D, v: … × S × E (E numbers for each value); mask: boolean, broadcast to … × T × S. Returns
    the output (… × T × E) and the weights (… × T × S). q and k may be as large as ±1000. A query that may look nowhere
    gets weights and output zero, and all gradients stay finite.

    Not allowed: `scaled_dot_product_attention`, `MultiheadAttention`. It is the answer.

    Hint: `masked_fill` with −inf before the softmax; what becomes of a row of −inf? My version has 250 characters.
    """
    raise NotImplementedError("14.3 attention")


def causal_mask(size: int) -> Tensor:
    """Which positions each position may look at: itself and those before it.

    Returns size × size, boolean; [t, s] is True where t may look at s.

    Hint: `tril`. My version has 54 characters.
    """
    raise NotImplementedError("14.4 causal_mask")


class MultiHead(nn.Module):
    """Attention with several heads: each sees its own projections, their outputs side by side go through one more.

    Not allowed: `scaled_dot_product_attention`, `MultiheadAttention`. Put it together yourself.

    Hint: `unflatten` and `transpose` make N × heads × T × D/heads of N × T × D, `flatten` after `transpose` undoes it.
    My version has 280 characters.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Queries from x (N × T × D), keys and values from memory (N × S × D; the same as x for self-attention).

        Head h uses the h-th D/heads coordinates of each projection. mask: N × T × S, N × 1 × S or T × S, the same
        for all heads. Returns the output (N × T × D) and the weights (N × heads × T × S).
        """
        raise NotImplementedError("14.5 MultiHead.forward")


def sinusoidal_positions(length: int, dim: int) -> Tensor:
    """Entry [t, 2i] is sin(t / 10000^(2i/dim)), entry [t, 2i + 1] is cos of the same.

    Returns length × dim, float32; dim is even.

    Hint: slices with step 2. My version has 210 characters.
    """
    raise NotImplementedError("14.6 sinusoidal_positions")


class Block(nn.Module):
    """One layer of a transformer, normalised *before* each step: x ← x + step(norm(x)).

    Not allowed: `MultiheadAttention`, `TransformerEncoderLayer`, `TransformerDecoderLayer`. Put it together yourself.

    Hint: three lines; the second is left out without a memory. My version has 210 characters.
    """

    def __init__(self, dim: int, heads: int, cross: bool = False):
        super().__init__()
        self.norm_self, self.attend_self = nn.LayerNorm(dim), MultiHead(dim, heads)
        if cross:
            self.norm_cross, self.attend_cross = nn.LayerNorm(dim), MultiHead(dim, heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))

    def forward(
        self, x: Tensor, mask: Tensor | None, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """x attends to itself under `mask`; then, if there is a memory, to it under `memory_mask`; then the mlp.

        x: N × T × D, memory: N × S × D (it has been normalised already). Returns N × T × D.
        """
        raise NotImplementedError("14.7 Block.forward")


def greedy_decode(model: nn.Module, source: Tensor, start: int, stop: int, length: int) -> Tensor:
    """The answer to each row of source, with the most likely symbol at each step.

    model(source, written): the scores N × T × K (K symbols) of the symbol after each of the N × T written ones; what is
    written begins with `start`. Returns N × length symbols (int64) without that `start`. After its first `stop` a row
    has only `stop`. Without gradients, in evaluation mode; leave the model in the mode that it was in.

    Hint: `model.training`, `torch.no_grad`, `torch.where`. My version has 440 characters.
    """
    raise NotImplementedError("14.8 greedy_decode")
