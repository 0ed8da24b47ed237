# %% [markdown]
# # 14 · Embeddings, attention, transformers
#
# Words become vectors, vectors look at one another, and a small transformer learns to read French numbers. You write
# its parts: skip-grams, attention with several heads, positions, the block, and the loop that writes an answer.
#
# N × T × D is batch, position, dimension; what is looked at has S positions; σ(s) = 1 / (1 + e⁻ˢ). A mask is boolean,
# and True means *may look*. It is broadcast from the right: T × S holds for each sample, N × 1 × S for each query.

# %%
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# %% [markdown]
# ## A word is known by its company
#
# Mikolov et al. (2013) give each word two vectors, u as a centre and v as a neighbour. They ask that σ(u · v) be large
# for pairs that occur within a window, and small for pairs with words drawn at random.


# %%
def skipgram_pairs(sentence: Tensor, window: int) -> Tensor:
    """All pairs of a word and another one at most `window` places away.

    sentence: T word numbers, int64. Returns M × 2, int64: centre and neighbour, ordered by the place of the centre,
    then by that of the neighbour. A place is no neighbour of itself; beyond the ends there is nothing.

    Hint: two loops, or a table of distances |i − j| and `nonzero`. My version has 150 characters.
    """
    # BEGIN SOLUTION
    places = torch.arange(len(sentence))
    distance = (places.unsqueeze(1) - places).abs()
    return sentence[((distance > 0) & (distance <= window)).nonzero()]
    # END SOLUTION


def skipgram_loss(u: Tensor, v: Tensor, negatives: Tensor) -> Tensor:
    """Negative sampling: the mean over the pairs of −log σ(u · v) − Σ_k log σ(−u · n_k).

    u: N × D centres, v: N × D neighbours, negatives: N × K × D, K random words n_k for each pair. Returns one number,
    finite also for products of ±1000.

    Hint: `F.logsigmoid`; the K products of each row are `torch.einsum` or a product with `u.unsqueeze(2)`. My version
    has 140 characters.
    """
    # BEGIN SOLUTION
    right = F.logsigmoid((u * v).sum(1))
    wrong = F.logsigmoid(-(negatives @ u.unsqueeze(2)).squeeze(2)).sum(1)
    return -(right + wrong).mean()
    # END SOLUTION


# %% [markdown]
# ## Attention
#
# Each query asks all keys how well they match, and gets the mean of the values, weighted by softmax(q · k / √D). A
# transformer (Vaswani et al. 2017) is this, several times side by side, and a small network for each position.


# %%
def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention.

    q: … × T × D, k: … × S × D, v: … × S × E (E numbers for each value); mask: boolean, broadcast to … × T × S. Returns
    the output (… × T × E) and the weights (… × T × S). q and k may be as large as ±1000. A query that may look nowhere
    gets weights and output zero, and all gradients stay finite.

    Hint: `masked_fill` with −inf before the softmax; what becomes of a row of −inf? My version has 250 characters.
    """
    # BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    if mask is None:
        weights = scores.softmax(-1)
    else:
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ v, weights
    # END SOLUTION


def causal_mask(size: int) -> Tensor:
    """Which positions each position may look at: itself and those before it.

    Returns size × size, boolean; [t, s] is True where t may look at s.

    Hint: `tril`. My version has 54 characters.
    """
    # BEGIN SOLUTION
    return torch.ones(size, size, dtype=torch.bool).tril()
    # END SOLUTION


# %%
class MultiHead(nn.Module):
    """Attention with several heads: each sees its own projections, their outputs side by side go through one more.

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
        # BEGIN SOLUTION
        q, k, v = (
            whole.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for whole in (self.query(x), self.key(memory), self.value(memory))
        )
        found, weights = attention(q, k, v, None if mask is None else mask.unsqueeze(-3))
        return self.out(found.transpose(1, 2).flatten(2)), weights
        # END SOLUTION


# %% [markdown]
# ## The block
#
# Attention does not know order: shuffle its input, and its output is shuffled alike. So positions are added: waves of
# many lengths, such that a shift by k turns each pair of coordinates by an angle.


# %%
def sinusoidal_positions(length: int, dim: int) -> Tensor:
    """Entry [t, 2i] is sin(t / 10000^(2i/dim)), entry [t, 2i + 1] is cos of the same.

    Returns length × dim, float32; dim is even.

    Hint: slices with step 2. My version has 210 characters.
    """
    # BEGIN SOLUTION
    period = 10000.0 ** (torch.arange(0, dim, 2) / dim)
    angle = torch.arange(length).unsqueeze(1) / period
    table = torch.empty(length, dim)
    table[:, 0::2], table[:, 1::2] = angle.sin(), angle.cos()
    return table
    # END SOLUTION


# %%
class Block(nn.Module):
    """One layer of a transformer, normalised *before* each step: x ← x + step(norm(x)).

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
        # BEGIN SOLUTION
        normed = self.norm_self(x)
        x = x + self.attend_self(normed, normed, mask)[0]
        if memory is not None:
            x = x + self.attend_cross(self.norm_cross(x), memory, memory_mask)[0]
        return x + self.mlp(self.norm_mlp(x))
        # END SOLUTION


# %% [markdown]
# ## Writing an answer
#
# In training the decoder sees the right answer, shifted by one place, and is asked for each next symbol at once.
# Alone, it must write one symbol, look at it, and write the next.


# %%
def greedy_decode(model: nn.Module, source: Tensor, start: int, stop: int, length: int) -> Tensor:
    """The answer to each row of source, with the most likely symbol at each step.

    model(source, written): the scores N × T × K (K symbols) of the symbol after each of the N × T written ones; what is
    written begins with `start`. Returns N × length symbols (int64) without that `start`. After its first `stop` a row
    has only `stop`. Without gradients, in evaluation mode; leave the model in the mode that it was in.

    Hint: `model.training`, `torch.no_grad`, `torch.where`. My version has 440 characters.
    """
    # BEGIN SOLUTION
    training = model.training
    model.eval()
    written = torch.full((len(source), 1), start, device=source.device)
    done = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    with torch.no_grad():
        for _ in range(length):
            best = model(source, written)[:, -1].argmax(1)
            best[done] = stop
            done |= best == stop
            written = torch.cat((written, best.unsqueeze(1)), 1)
    model.train(training)
    return written[:, 1:]
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# After 1500 invented sentences about animals, kitchen, weather and music, the nearest neighbour of each word is of its
# own topic (100 %). After 700 updates a transformer with two blocks reads French numbers: of 1000 that it has never
# seen, 98 to 99 % come out right to the last digit. The pictures show what became of the words, and which of them the
# transformer looks at for each digit. With a GPU, `--gpu` lets your blocks read Python's standard library and write
# some Python. All targets take 18 s (2 cores, AMD EPYC 2.6 GHz, one thread).
#
# Paris says *soixante-dix-sept* for 77, and *quatre-vingt-douze* for 92. Which words does the network look at for the
# first digit, which for the second, and why could no table from word to digit do this?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` learns word vectors, trains the reader of French numbers, and shows what it looks at (18 s).
# `check(gpu=True)` lets your blocks write Python, where there is a GPU.
#
# Next is lab 15, reinforcement learning: there, nobody tells a network the right answer at all.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
