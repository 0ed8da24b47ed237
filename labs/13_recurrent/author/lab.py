# %% [markdown]
# # 13 · Recurrent networks
#
# A recurrent network reads a sequence with one small network, applied again and again, and keeps what it has read in a
# state. You write three such cells, send the gradient back through time by hand, and end with a network that recites
# a poem.
#
# A sequence `x` is T × N × D (time, batch, dimension), a state `h` is N × H. `w_x` (kH × D) acts on the input, `w_h`
# (kH × H) on the state, with k blocks of H rows for k gates, as in `torch.nn`. Numbers may be as large as ±1000.

# %%
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

# %% [markdown]
# ## The simplest cell
#
# Elman (1990): h_t = tanh(W_x x_t + W_h h_{t−1} + b). Unrolled, this is a network with T layers that share their
# weights. Back-propagation *through time*: a state is used twice, by the loss now and by the next state; and the
# gradient of a shared weight is a sum over its uses.


# %%
def rnn_forward(x: Tensor, h0: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> Tensor:
    """All states of h_t = tanh(W_x x_t + W_h h_{t−1} + b).

    x: T × N × D, h0: N × H, w_x: H × D, w_h: H × H, b: H, floating point. Returns h_1 … h_T, T × N × H. Autograd must
    be able to pass.

    Hint: a list, and `torch.stack`. My version has 130 characters.
    """
    # BEGIN SOLUTION
    h, states = h0, []
    for row in x:
        h = torch.tanh(row @ w_x.T + h @ w_h.T + b)
        states.append(h)
    return torch.stack(states)
    # END SOLUTION


def bptt(x: Tensor, h0: Tensor, w_x: Tensor, w_h: Tensor, h: Tensor, dl_dh: Tensor) -> tuple[Tensor, ...]:
    """Back-propagation through time for `rnn_forward`, without autograd.

    h: the states that `rnn_forward` returned; dl_dh: T × N × H, what the loss itself sends to each state, not counting
    the way through later states. Returns dl/dw_x, dl/dw_h, dl/db and dl/dh0.

    Hint: go backwards and carry one N × H tensor from step to step. tanh′ is 1 − h². My version has 430 characters.
    """
    # BEGIN SOLUTION
    dw_x, dw_h, db = torch.zeros_like(w_x), torch.zeros_like(w_h), w_x.new_zeros(len(w_x))
    carried = torch.zeros_like(h0)
    before = torch.cat((h0.unsqueeze(0), h[:-1]))
    for now, was, row, direct in zip(h.flip(0), before.flip(0), x.flip(0), dl_dh.flip(0), strict=True):
        ds = (direct + carried) * (1 - now**2)
        dw_x += ds.T @ row
        dw_h += ds.T @ was
        db += ds.sum(0)
        carried = ds @ w_h
    return dw_x, dw_h, db, carried
    # END SOLUTION


# %% [markdown]
# ## A cell that forgets on purpose
#
# On its way back the gradient meets W_hᵀ and tanh′ at every step: it shrinks like a power, or grows like one.
# Hochreiter and Schmidhuber (1997) add a second state c with a shorter way back. With s = W_x x + W_h h + b in four
# blocks, i, f, o = σ(s_i, s_f, s_o) and g = tanh(s_g), it becomes c′ = f ⊙ c + i ⊙ g, and h′ = o ⊙ tanh(c′).


# %%
def lstm_cell(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """One step of an LSTM.

    x: N × D, h, c: N × H, w_x: 4H × D, w_h: 4H × H, b: 4H; blocks i, f, g, o in this order. Returns the new h, the new
    c, and i, f, g, o side by side (N × 4H).

    Hint: one sum for all four gates, then `chunk`. My version has 190 characters.
    """
    # BEGIN SOLUTION
    i, f, g, o = (x @ w_x.T + h @ w_h.T + b).chunk(4, dim=1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * c + i * g
    return o * c.tanh(), c, torch.cat((i, f, g, o), dim=1)
    # END SOLUTION


def lstm_cell_backward(
    x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor, gates: Tensor, new_c: Tensor,
    dl_dh: Tensor, dl_dc: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The gradient of one LSTM step, without autograd.

    gates, new_c: what `lstm_cell` returned; dl_dh: N × H, all that reaches the new h; dl_dc: N × H, what reaches the
    new c from the next step, not through the new h. Returns the gradient with respect to x, h, c, w_x, w_h, b.

    Hint: first the whole gradient of the new c, then that of s; the rest is a linear layer. σ′ = σ (1 − σ). My version
    has 330 characters.
    """
    # BEGIN SOLUTION
    i, f, g, o = gates.chunk(4, dim=1)
    top = new_c.tanh()
    whole = dl_dc + dl_dh * o * (1 - top**2)
    reaches = torch.cat((whole * g, whole * c, whole * i, dl_dh * top), dim=1)
    slope = torch.cat((i * (1 - i), f * (1 - f), 1 - g**2, o * (1 - o)), dim=1)
    ds = reaches * slope
    return ds @ w_x, ds @ w_h, whole * f, ds.T @ x, ds.T @ h, ds.sum(0)
    # END SOLUTION


# %% [markdown]
# The gated recurrent unit (Cho et al. 2014) does with one state. With p = W_x x + b_x and q = W_h h + b_h, torch's
# variant is r, z = σ(p_r + q_r, p_z + q_z), n = tanh(p_n + r ⊙ q_n), h′ = (1 − z) ⊙ n + z ⊙ h.


# %%
def gru_cell(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> Tensor:
    """One step of a gated recurrent unit.

    x: N × D, h: N × H, w_x: 3H × D, w_h: 3H × H, b_x, b_h: 3H; blocks r, z, n in this order. Returns the new h, N × H.

    Hint: p and q, each in three chunks. My version has 210 characters.
    """
    # BEGIN SOLUTION
    x_r, x_z, x_n = (x @ w_x.T + b_x).chunk(3, dim=1)
    h_r, h_z, h_n = (h @ w_h.T + b_h).chunk(3, dim=1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return n + z * (h - n)
    # END SOLUTION


# %% [markdown]
# ## Training them
#
# Gradients that explode are scaled down when they are too long (Pascanu et al. 2013). A sequence without end is cut: the state goes on from chunk to chunk, the gradient does not.


# %%
def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor, so that together they are a vector no longer than max_norm.

    Skips parameters whose `.grad` is None. Changes gradients in place; short ones stay as they are. Returns the length
    before.

    Hint: `parameters` may be a generator, which one can go through only once. My version has 220 characters.
    """
    # BEGIN SOLUTION
    gradients = [p.grad for p in parameters if p.grad is not None]
    length = sum(float(g.square().sum()) for g in gradients) ** 0.5
    if length > max_norm:
        for g in gradients:
            g.mul_(max_norm / length)
    return length
    # END SOLUTION


def truncated_bptt(
    model: Callable, optimizer: torch.optim.Optimizer, x: Tensor, t: Tensor, h: Tensor, length: int
) -> tuple[float, Tensor]:
    """Go through a long sequence once, with an update after each chunk of `length` steps.

    x: T × N × …, t: T × N classes (int64), h: the first state. `model(x[i:j], h)` returns scores ((j−i) × N × K) and
    the state after them. The last chunk may be shorter. A chunk's loss is its mean cross-entropy. Returns the mean
    loss of all T steps (a float) and the last state, detached.

    Hint: `split`, `detach`, `F.cross_entropy` on `flatten(0, 1)`. My version has 340 characters.
    """
    # BEGIN SOLUTION
    total = 0.0
    for inputs, targets in zip(x.split(length), t.split(length), strict=True):
        scores, h = model(inputs, h.detach())
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(inputs)
    return total / len(x), h.detach()
    # END SOLUTION


def sample(scores: Tensor, temperature: float) -> Tensor:
    """Draw a class for each row, k with a probability proportional to exp(score_k / temperature).

    scores: N × K. Temperature 0 means the largest score. Returns N classes, int64.

    Hint: `torch.multinomial`. My version has 130 characters.
    """
    # BEGIN SOLUTION
    if temperature == 0:
        return scores.argmax(dim=1)
    return torch.multinomial((scores / temperature).softmax(dim=1), 1).squeeze(1)
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# Fifty steps back, a gradient of length 1 has shrunk to about 10⁻⁷ in an RNN with ‖W_h‖ = 0.8, to 10⁻¹¹ in an LSTM
# with forget bias 0, and to 0.7 where its forget gate begins open (bias 3). Adding two marked numbers out of 30, the
# RNN ends at a squared error of 0.17, no better than always 1; LSTM and GRU stop at 0.002. A GRU
# learns the 856 characters of `import this` by heart; warmed to temperature 1.3 it becomes a poet.
# All takes 18 s (2 cores, AMD EPYC 2.6 GHz).
#
# An RNN with ‖W_h‖ = 1.3 keeps its gradient, too. Why not start there? And cut the poem into chunks of 4:
# where does the network go astray, and why there?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` measures how gradients fade, trains the three cells, and recites a poem; look at its three
# pictures (18 s).
#
# Next is lab 14, attention: instead of carrying all in one state, a network looks back at what it needs.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
