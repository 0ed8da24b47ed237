# Made by tools/labs.py from labs/13_recurrent/author/lab.py; write your functions here.
"""Lab 13: Recurrent networks.

What to do is in sheet.md. Check your work with: python check.py
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F


def rnn_forward(x: Tensor, h0: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> Tensor:
    """All states of h_t = tanh(W_x x_t + W_h h_{t−1} + b).

    x: T × N × D, h0: N × H, w_x: H × D, w_h: H × H, b: H, floating point. Returns h_1 … h_T, T × N × H. Autograd must
    be able to pass.

    Not allowed: `RNN`, `RNNCell`, `rnn_tanh`. Write the recursion yourself.

    Hint: a list, and `torch.stack`. My version has 130 characters.
    """
    raise NotImplementedError("13.1 rnn_forward")


def bptt(x: Tensor, h0: Tensor, w_x: Tensor, w_h: Tensor, h: Tensor, dl_dh: Tensor) -> tuple[Tensor, ...]:
    """Back-propagation through time for `rnn_forward`, without autograd.

    h: the states that `rnn_forward` returned; dl_dh: T × N × H, what the loss itself sends to each state, not counting
    the way through later states. Returns dl/dw_x, dl/dw_h, dl/db and dl/dh0.

    Not allowed: `autograd`, `backward`, `vjp`, `requires_grad`, `requires_grad_`. This part is the gradient by hand.

    Hint: go backwards and carry one N × H tensor from step to step. tanh′ is 1 − h². My version has 430 characters.
    """
    raise NotImplementedError("13.2 bptt")


def lstm_cell(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """One step of an LSTM.

    x: N × D, h, c: N × H, w_x: 4H × D, w_h: 4H × H, b: 4H; blocks i, f, g, o in this order. Returns the new h, the new
    c, and i, f, g, o side by side (N × 4H).

    Not allowed: `LSTM`, `LSTMCell`, `torch.lstm_cell`. Write the gates yourself.

    Hint: one sum for all four gates, then `chunk`. My version has 190 characters.
    """
    raise NotImplementedError("13.3 lstm_cell")


def lstm_cell_backward(
    x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor, gates: Tensor, new_c: Tensor,
    dl_dh: Tensor, dl_dc: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The gradient of one LSTM step, without autograd.

    gates, new_c: what `lstm_cell` returned; dl_dh: N × H, all that reaches the new h; dl_dc: N × H, what reaches the
    new c from the next step, not through the new h. Returns the gradient with respect to x, h, c, w_x, w_h, b.

    Not allowed: `autograd`, `backward`, `vjp`, `requires_grad`, `requires_grad_`. This part is the gradient by hand.

    Hint: first the whole gradient of the new c, then that of s; the rest is a linear layer. σ′ = σ (1 − σ). My version
    has 330 characters.
    """
    raise NotImplementedError("13.4 lstm_cell_backward")


def gru_cell(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> Tensor:
    """One step of a gated recurrent unit.

    x: N × D, h: N × H, w_x: 3H × D, w_h: 3H × H, b_x, b_h: 3H; blocks r, z, n in this order. Returns the new h, N × H.

    Not allowed: `GRU`, `GRUCell`, `torch.gru_cell`. Write the gates yourself.

    Hint: p and q, each in three chunks. My version has 210 characters.
    """
    raise NotImplementedError("13.5 gru_cell")


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor, so that together they are a vector no longer than max_norm.

    Skips parameters whose `.grad` is None. Changes gradients in place; short ones stay as they are. Returns the length
    before.

    Not allowed: `clip_grad_norm_`, `clip_grads_with_norm_`. It is the answer.

    Hint: `parameters` may be a generator, which one can go through only once. My version has 220 characters.
    """
    raise NotImplementedError("13.6 clip_grad_norm")


def truncated_bptt(
    model: Callable, optimizer: torch.optim.Optimizer, x: Tensor, t: Tensor, h: Tensor, length: int
) -> tuple[float, Tensor]:
    """Go through a long sequence once, with an update after each chunk of `length` steps.

    x: T × N × …, t: T × N classes (int64), h: the first state. `model(x[i:j], h)` returns scores ((j−i) × N × K) and
    the state after them. The last chunk may be shorter. A chunk's loss is its mean cross-entropy. Returns the mean
    loss of all T steps (a float) and the last state, detached.

    Hint: `split`, `detach`, `F.cross_entropy` on `flatten(0, 1)`. My version has 340 characters.
    """
    raise NotImplementedError("13.7 truncated_bptt")


def sample(scores: Tensor, temperature: float) -> Tensor:
    """Draw a class for each row, k with a probability proportional to exp(score_k / temperature).

    scores: N × K. Temperature 0 means the largest score. Returns N classes, int64.

    Hint: `torch.multinomial`. My version has 130 characters.
    """
    raise NotImplementedError("13.8 sample")
