"""The checks of lab 13. Reading them is allowed and useful."""

import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import differentiable, float64

lab = Lab(
    __file__,
    parts=[
        "rnn_forward",
        "bptt",
        "lstm_cell",
        "lstm_cell_backward",
        "gru_cell",
        "clip_grad_norm",
        "truncated_bptt",
        "sample",
    ],
)
BY_HAND = "this part is the gradient by hand"
lab.forbid("rnn_forward", names=["RNN", "RNNCell", "rnn_tanh"], why="write the recursion yourself")
lab.forbid("bptt", names=["autograd", "backward", "vjp", "requires_grad", "requires_grad_"], why=BY_HAND)
lab.forbid("lstm_cell", names=["LSTM", "LSTMCell", "torch.lstm_cell"], why="write the gates yourself")
lab.forbid("lstm_cell_backward", names=["autograd", "backward", "vjp", "requires_grad", "requires_grad_"], why=BY_HAND)
lab.forbid("gru_cell", names=["GRU", "GRUCell", "torch.gru_cell"], why="write the gates yourself")
lab.forbid("clip_grad_norm", names=["clip_grad_norm_", "clip_grads_with_norm_"], why="it is the answer")

SIZES = [(7, 3, 5, 4), (1, 1, 2, 3), (2, 5, 1, 1)]  # T, N, D, H


def weights(rng, gates, d, h, dtype=float64):
    """w_x, w_h and two biases, large enough to be far from linear."""
    return (
        rng.normal(gates * h, d, dtype=dtype),
        rng.normal(gates * h, h, dtype=dtype) * 0.8,
        rng.normal(gates * h, dtype=dtype),
        rng.normal(gates * h, dtype=dtype),
    )


def library(kind, w_x, w_h, b_x, b_h):
    """torch's own layer or cell of this kind, with these weights."""
    own = kind(w_x.size(1), w_h.size(1), dtype=w_x.dtype)
    suffix = "_l0" if isinstance(own, nn.RNNBase) else ""
    values = {"weight_ih": w_x, "weight_hh": w_h, "bias_ih": b_x, "bias_hh": b_h}
    own.load_state_dict({name + suffix: value for name, value in values.items()})
    return own


def states(x, h0, w_x, w_h, b):
    """The states by torch's own RNN, with gradients for all arguments that ask for them."""
    return torch.func.functional_call(
        nn.RNN(x.size(2), h0.size(1), dtype=x.dtype),
        {"weight_ih_l0": w_x, "weight_hh_l0": w_h, "bias_ih_l0": b, "bias_hh_l0": torch.zeros_like(b)},
        (x, h0.unsqueeze(0)),
    )[0]


# The simplest cell


def _identity(x):
    return x


def _recursion(arguments, squash=torch.tanh, where="all"):
    """The states with a mistake."""
    x, h, w_x, w_h, b = arguments
    found = []
    for row in x:
        if where == "input":
            h = torch.tanh(F.linear(row, w_x, b)) + F.linear(h, w_h)
        else:
            h = F.linear(row, w_x, b) + F.linear(h, w_h)
            h = h if where == "shown" else squash(h)
        found.append(torch.tanh(h) if where == "shown" else h)
    return torch.stack(found)


def _states_case(student, rng, t, n, d, h):
    x, h0 = rng.normal(t, n, d, dtype=float64), rng.normal(n, h, dtype=float64)
    w_x, w_h, b, _ = weights(rng, 1, d, h)
    a = x, h0, w_x, w_h, b
    got = student.rnn_forward(x, h0, w_x, w_h, b)
    want = states(x, h0, w_x, w_h, b)
    expect(
        got,
        want.detach(),
        mistakes={
            "w_h is used transposed": lambda: states(x, h0, w_x, w_h.T, b).detach(),
            "the bias is missing": lambda: states(x, h0, w_x, w_h, 0 * b).detach(),
            "every step begins at h0: the state is not carried on": lambda: torch.tanh(x @ w_x.T + h0 @ w_h.T + b),
            "h0 is not used, the state begins at zero": lambda: states(x, 0 * h0, w_x, w_h, b).detach(),
            "these are the states before each step: h0 is among them, the last state is missing": lambda: torch.cat(
                (h0[None], want[:-1])
            ).detach(),
            "only the last state is returned": want[-1].detach(),
            "h0 is among the states; the first is h_1": lambda: torch.cat((h0[None], want)).detach(),
            "there is a σ in the place of tanh": lambda: _recursion(a, torch.sigmoid),
            "there is a ReLU in the place of tanh": lambda: _recursion(a, torch.relu),
            "tanh is missing": lambda: _recursion(a, _identity),
            "tanh is taken of the input alone; it belongs around the whole sum": lambda: _recursion(a, where="input"),
            "the state that is carried on is missing its tanh": lambda: _recursion(a, where="shown"),
            "the input is not used": lambda: states(0 * x, h0, w_x, w_h, b).detach(),
            "the state is not used": lambda: states(x, h0, w_x, 0 * w_h, b).detach(),
            "the bias is subtracted": lambda: states(x, h0, w_x, w_h, -b).detach(),
            "the sequence is read from its end": lambda: states(x.flip(0), h0, w_x, w_h, b).detach(),
            "all steps read the first row of x": lambda: states(x[:1].expand_as(x), h0, w_x, w_h, b).detach(),
        },
    )


@lab.check("rnn_forward")
def states_are_those_of_torch(student, rng):
    """the states of torch.nn.RNN with the same weights"""
    for t, n, d, h in SIZES:
        with case(f"{t} steps, batch {n}, dimension {d}, {h} hidden units"):
            _states_case(student, rng, t, n, d, h)


@lab.check("rnn_forward")
def large_inputs_and_single_precision(student, rng):
    """float32, inputs of ±1000, a state that is a transposed tensor"""
    x, h0 = 1000 * rng.normal(3, 2, 5), rng.normal(4, 2).T
    w_x, w_h, b, _ = weights(rng, 1, 5, 4, dtype=torch.float32)
    expect(student.rnn_forward(x, h0, w_x, w_h, b), states(x, h0.contiguous(), w_x, w_h, b).detach())


@student_side
def gradient_of_forward(student, x, h0, w_x, w_h, b, dl_dh):
    wanted = differentiable(w_x, w_h, b, h0)
    h = student.rnn_forward(x, wanted[3], *wanted[:3])
    if not h.requires_grad:
        return None
    return torch.autograd.grad(h, wanted, dl_dh, allow_unused=True)


@lab.check("rnn_forward")
def autograd_passes(student, rng):
    """autograd finds the way from the states back to weights and h0"""
    x, h0, dl_dh = (
        rng.normal(4, 3, 2, dtype=float64),
        rng.normal(3, 5, dtype=float64),
        rng.normal(4, 3, 5, dtype=float64),
    )
    w_x, w_h, b, _ = weights(rng, 1, 2, 5)
    got = student.run(gradient_of_forward, x, h0, w_x, w_h, b, dl_dh)
    require(got is not None, "the states do not know where they came from: a detach, no_grad or .data cuts the way")
    expect(got, _gradients(x, h0, w_x, w_h, b, dl_dh), names=NAMES, look="a detach, no_grad or .data on the way")


NAMES = ("dl/dw_x", "dl/dw_h", "dl/db", "dl/dh0")


def _gradients(x, h0, w_x, w_h, b, dl_dh):
    variables = differentiable(w_x, w_h, b, h0)
    return torch.autograd.grad(states(x, variables[3], *variables[:3]), variables, dl_dh)


def _by_hand(x, h0, w_x, w_h, h, dl_dh, *, carry=1.0, transposed=False, slope="now", outer="before", steps="all"):
    """Back-propagation through time with mistakes to choose from, as sums over einsum terms."""
    time = len(x)
    before = torch.cat((h0[None], h[:-1]))
    w = w_h.T if transposed else w_h
    ds = torch.zeros_like(h)
    arriving = torch.zeros_like(h0)
    for k in range(time - 1, -1, -1):
        inner = {
            "now": 1 - h[k] ** 2,
            "before": 1 - before[k] ** 2,
            "none": torch.ones_like(h0),
            "sigmoid": h[k] * (1 - h[k]),
            "twice": 1 - h[k].tanh() ** 2,
            "root": 1 - h[k],
        }.get(slope, 1 - h[k] ** 2)
        ds[k] = (dl_dh[k] + carry * arriving) * inner
        if slope == "direct":
            ds[k] = dl_dh[k] * inner + arriving
        if slope == "carried":
            ds[k] = dl_dh[k] + arriving * inner
        arriving = torch.einsum("nj,ji->ni", ds[k], w)
    used = {"all": slice(None), "first": slice(0, 1), "last": slice(time - 1, None)}[steps]
    states_used = before if outer in ("before", "zero") else h
    if outer == "zero":
        states_used = torch.cat((0 * h0[None], h[:-1]))
    if outer == "start":
        arriving = ds[0]
        states_used = before
    return (
        torch.einsum("tnh,tnd->hd", ds[used], x[used]),
        torch.einsum("tnh,tnk->hk", ds[used], states_used[used]),
        ds[used].sum((0, 1)),
        arriving,
    )


def _gradients_case(student, rng, t, n, d, h):
    x, h0 = rng.normal(t, n, d, dtype=float64), rng.normal(n, h, dtype=float64)
    w_x, w_h, b, _ = weights(rng, 1, d, h)
    path, dl_dh = states(x, h0, w_x, w_h, b).detach(), rng.normal(t, n, h, dtype=float64)
    got = student.bptt(x, h0, w_x, w_h, path, dl_dh)

    def wrong(**choice):
        return lambda: _by_hand(x, h0, w_x, w_h, path, dl_dh, **choice)

    expect(
        got,
        _gradients(x, h0, w_x, w_h, b, dl_dh),
        names=NAMES,
        mistakes={
            "nothing is carried from a step to the one before: only the loss now counts": wrong(carry=0.0),
            "the carried gradient went through w_h transposed": wrong(transposed=True),
            "tanh′ was taken at the state before, not at the state of this step": wrong(slope="before"),
            "tanh′ is missing": wrong(slope="none"),
            "that is σ′, h (1 − h); tanh′ is 1 − h²": wrong(slope="sigmoid"),
            "tanh is applied to h again; h is its result already": wrong(slope="twice"),
            "tanh′ is 1 − h², not 1 − h": wrong(slope="root"),
            "tanh′ is missing for what is carried": wrong(slope="direct"),
            "tanh′ is missing for what the loss itself sends": wrong(slope="carried"),
            "dl/dh0 is missing the way through w_h": {3: wrong(outer="start")()[3]},
            "the state before the first step is h0, here it was zero": wrong(outer="zero"),
            "the mean over the batch; a gradient is the sum": lambda: tuple(
                g / n if k < 3 else g for k, g in enumerate(_gradients(x, h0, w_x, w_h, b, dl_dh))
            ),
            "dl/dw_h is transposed": {1: _gradients(x, h0, w_x, w_h, b, dl_dh)[1].T},
            "dl/dw_h pairs a step with its own state; it is the state before that meets w_h": wrong(outer="now"),
            "the gradient of a shared weight is a sum over the steps; this is the first step's alone": wrong(
                steps="first"
            ),
            "the gradient of a shared weight is a sum over the steps; this is the last step's alone": wrong(
                steps="last"
            ),
        },
    )


@lab.check("bptt")
def gradients_are_those_of_autograd(student, rng):
    """the gradients of autograd through torch.nn.RNN, for 1, 2 and 7 steps"""
    for t, n, d, h in (7, 3, 5, 4), (2, 5, 2, 3), (1, 2, 3, 4), (2, 1, 1, 1):
        with case(f"{t} steps, batch {n}, dimension {d}, {h} hidden units"):
            _gradients_case(student, rng, t, n, d, h)


@lab.check("bptt")
def a_loss_at_the_end(student, rng):
    """a loss on the last state only reaches h0 through the product of all Jacobians"""
    t, n, h = 6, 3, 4
    x, h0 = rng.normal(t, n, 2, dtype=float64), rng.normal(n, h, dtype=float64)
    w_x, w_h, b, _ = weights(rng, 1, 2, h)
    path, dl_dh = states(x, h0, w_x, w_h, b).detach(), torch.zeros(t, n, h, dtype=float64)
    dl_dh[-1] = rng.normal(n, h, dtype=float64)
    want = torch.zeros(n, h, dtype=float64)
    for sample in range(n):
        product = torch.eye(h, dtype=float64)
        for state in path[:, sample]:
            product = torch.diag(1 - state**2) @ w_h @ product
        want[sample] = product.T @ dl_dh[-1, sample]
    expect(student.bptt(x, h0, w_x, w_h, path, dl_dh)[3], want, look="dl/dh0 is what arrives before the first step")


# LSTM and GRU


def _lstm(x, h, c, w_x, w_h, b, order="ifgo", squash_g=torch.tanh, squash_c=torch.tanh, old=False):
    """One step, gate by gate, with mistakes to choose from."""
    size = h.size(1)
    sums = {
        name: F.linear(x, w_x, b).narrow(1, k * size, size) + F.linear(h, w_h).narrow(1, k * size, size)
        for k, name in enumerate(order)
    }
    opened = {name: torch.sigmoid(sums[name]) for name in "ifo"} | {"g": squash_g(sums["g"])}
    kept = torch.addcmul(opened["i"] * opened["g"], opened["f"], c)
    seen = squash_c(c if old else kept)
    return opened["o"] * seen, kept, torch.cat([opened[name] for name in "ifgo"], 1)


def _lstm_case(student, rng, n, d, h):
    x, hidden, c = (rng.normal(n, k, dtype=float64) for k in (d, h, h))
    w_x, w_h, b, _ = weights(rng, 4, d, h)
    a = (x, hidden, c, w_x, w_h, b)
    with torch.no_grad():
        want_h, want_c = library(nn.LSTMCell, w_x, w_h, b, 0 * b)(x, (hidden, c))
    expect(
        student.lstm_cell(*a),
        (want_h, want_c, _lstm(*a)[2]),
        names=("h", "c", "gates"),
        mistakes={
            "the blocks of rows are i, f, g, o; here they were taken as i, f, o, g": lambda: _lstm(*a, order="ifog"),
            "the blocks of rows are i, f, g, o; here they were taken as f, i, g, o": lambda: _lstm(*a, order="figo"),
            "g has a σ; it can have both signs, it wants tanh": lambda: _lstm(*a, squash_g=torch.sigmoid),
            "h is o ⊙ c, without the tanh": lambda: _lstm(*a, squash_c=_identity),
            "h was made of the old c, not of the new one": lambda: _lstm(*a, old=True),
            "the gates are as they were before σ and tanh": lambda: (
                want_h,
                want_c,
                F.linear(x, w_x, b) + F.linear(hidden, w_h),
            ),
            "the state h has no say in the gates": lambda: _lstm(x, 0 * hidden, *a[2:]),
            "the input x has no say in the gates": lambda: _lstm(0 * x, *a[1:]),
            "the bias is missing": lambda: _lstm(*a[:5], 0 * b),
            "w_h is used transposed in each block": lambda: _lstm(
                *a[:4], torch.cat([block.T for block in w_h.chunk(4)]), b
            ),
            "the blocks of rows are i, f, g, o; here they were taken as i, g, f, o": lambda: _lstm(*a, order="igfo"),
            "the blocks of rows are i, f, g, o; here they were taken as o, f, g, i": lambda: _lstm(*a, order="ofgi"),
            "g is missing its tanh": lambda: _lstm(*a, squash_g=_identity),
            "i and 1 − f were coupled; the input gate is a gate of its own": lambda: _changed_cell(a, "coupled"),
            "the input gate i is missing: c′ = f ⊙ c + i ⊙ g": lambda: _changed_cell(a, "no i"),
            "the forget gate f is missing: c′ = f ⊙ c + i ⊙ g": lambda: _changed_cell(a, "no f"),
            "the output gate o is missing: h′ = o ⊙ tanh(c′)": lambda: _changed_cell(a, "no o"),
            "h has σ(c′) in the place of tanh(c′)": lambda: _lstm(*a, squash_c=torch.sigmoid),
            "h and c are exchanged: h comes first": (want_c, want_h, _lstm(*a[:6])[2]),
            "c′ was squashed by tanh: the cell c′ = f ⊙ c + i ⊙ g is not": {1: want_c.tanh()},
        },
    )


def _changed_cell(arguments, how):
    """One step with a gate left out or coupled."""
    c = arguments[2]
    _, _, gates = _lstm(*arguments)
    i, f, g, o = gates.chunk(4, 1)
    kept = {"coupled": f * c + (1 - f) * g, "no i": f * c + g, "no f": c + i * g}.get(how, f * c + i * g)
    return kept.tanh() * (1 if how == "no o" else o), kept, gates


@lab.check("lstm_cell")
def lstm_is_that_of_torch(student, rng):
    """h, c and gates, against torch.nn.LSTMCell with the same weights"""
    for n, d, h in (3, 5, 4), (1, 2, 3), (5, 1, 1):
        with case(f"batch {n}, dimension {d}, {h} hidden units"):
            _lstm_case(student, rng, n, d, h)


@lab.check("lstm_cell")
def an_open_forget_gate_keeps_the_cell(student, rng):
    """with f = 1 and i = 0 the cell keeps c for 50 steps, in float32"""
    h = c = rng.normal(2, 3)
    b = torch.tensor([-1000.0, 1000.0, 0.0, 0.0]).repeat_interleave(3)
    w_x, w_h, _, _ = weights(rng, 4, 5, 3, dtype=torch.float32)
    kept = c
    for x in rng.normal(50, 2, 5):
        h, kept, _ = student.lstm_cell(x, h.float(), kept.float(), w_x, w_h, b)
    expect(kept, c, look="c′ = f ⊙ c + i ⊙ g, and nothing else may touch c")


GRADIENTS = ("dl/dx", "dl/dh", "dl/dc", "dl/dw_x", "dl/dw_h", "dl/db")


def _lstm_gradients_case(student, rng, n, d, h):
    x, hidden, c, dl_dh, dl_dc = (rng.normal(n, k, dtype=float64) for k in (d, h, h, h, h))
    w_x, w_h, b, _ = weights(rng, 4, d, h)
    _, new_c, gates = _lstm(x, hidden, c, w_x, w_h, b)
    leaves = differentiable(x, hidden, c, w_x, w_h, b)
    names = ("weight_ih", "weight_hh", "bias_ih")
    out = torch.func.functional_call(
        nn.LSTMCell(d, h, dtype=float64),
        dict(zip(names, leaves[3:], strict=True)) | {"bias_hh": torch.zeros_like(b)},
        (leaves[0], (leaves[1], leaves[2])),
    )

    def grads(of_h, of_c):
        return lambda: torch.autograd.grad(out, leaves, (of_h, of_c), retain_graph=True)

    got = student.lstm_cell_backward(x, hidden, c, w_x, w_h, gates, new_c, dl_dh, dl_dc)
    right = grads(dl_dh, dl_dc)()
    o = gates[:, 3 * h :]
    expect(
        got,
        right,
        names=GRADIENTS,
        mistakes={
            "dl_dc is not used: the gradient that comes from the next step is lost": grads(dl_dh, 0 * dl_dc),
            "the new c also feeds the new h: dl_dh goes through o and tanh′ into it": lambda: _cell_only(
                x, hidden, c, w_x, w_h, gates, new_c, dl_dh, dl_dc
            ),
            "dl/dc is missing the factor f": {2: dl_dc + dl_dh * o * (1 - new_c.tanh() ** 2)},
            "the slope of tanh(c′) is missing": lambda: _cell_only(
                x, hidden, c, w_x, w_h, gates, new_c, dl_dh, dl_dc + dl_dh * o
            ),
            "the slopes of σ and tanh are missing": lambda: _cell_only(
                x, hidden, c, w_x, w_h, gates, new_c, dl_dh, dl_dc + dl_dh * o * (1 - new_c.tanh() ** 2), slopes=False
            ),
            "the slope of g is that of tanh, 1 − g², not g (1 − g)": lambda: _cell_only(
                x,
                hidden,
                c,
                w_x,
                w_h,
                gates,
                new_c,
                dl_dh,
                dl_dc + dl_dh * o * (1 - new_c.tanh() ** 2),
                how="sigmoid g",
            ),
            "tanh′ of c′ is 1 − tanh(c′)², not 1 − c′²": lambda: _cell_only(
                x, hidden, c, w_x, w_h, gates, new_c, dl_dh, dl_dc + dl_dh * o * (1 - new_c**2)
            ),
            "the factor o is missing on the way from h′ to c′": lambda: _cell_only(
                x, hidden, c, w_x, w_h, gates, new_c, dl_dh, dl_dc + dl_dh * (1 - new_c.tanh() ** 2)
            ),
            "i and g are exchanged: the gradient of i has the factor g, that of g the factor i": lambda: _cell_only(
                x, hidden, c, w_x, w_h, gates, new_c, dl_dh, dl_dc + dl_dh * o * (1 - new_c.tanh() ** 2), how="swapped"
            ),
            "the output gate met tanh(c′), not c′": lambda: _cell_only(
                x, hidden, c, w_x, w_h, gates, new_c, dl_dh, dl_dc + dl_dh * o * (1 - new_c.tanh() ** 2), how="raw o"
            ),
            "tanh(c′) was made of the old c": lambda: _cell_only(
                x, hidden, c, w_x, w_h, gates, c, dl_dh, dl_dc + dl_dh * o * (1 - c.tanh() ** 2)
            ),
            "dl/dw_x and dl/dw_h are exchanged": {3: right[4], 4: right[3]},
            "the mean over the batch; a gradient is the sum": {3: right[3] / n, 4: right[4] / n, 5: right[5] / n},
            "the forget gate was given the new c; it multiplied the old one": lambda: _cell_only(
                x, hidden, new_c, w_x, w_h, gates, new_c, dl_dh, dl_dc + dl_dh * o * (1 - new_c.tanh() ** 2)
            ),
        },
    )


@lab.check("lstm_cell_backward")
def lstm_gradients_are_those_of_autograd(student, rng):
    """the gradients of autograd through torch.nn.LSTMCell"""
    for n, d, h in (3, 5, 4), (1, 2, 3), (5, 1, 1):
        with case(f"batch {n}, dimension {d}, {h} hidden units"):
            _lstm_gradients_case(student, rng, n, d, h)


def _cell_only(x, h, c, w_x, w_h, gates, new_c, dl_dh, reaching_c, slopes=True, how=""):
    """All gradients where `reaching_c` is taken for the whole gradient of the new c."""
    size = h.size(1)
    i, f, g, o = (gates[:, k * size : (k + 1) * size] for k in range(4))
    parts = [reaching_c * g, reaching_c * c, reaching_c * i, dl_dh * new_c.tanh()]
    if how == "swapped":
        parts[0], parts[2] = parts[2], parts[0]
    if how == "raw o":
        parts[3] = dl_dh * new_c
    if slopes:
        of_g = g - g * g if how == "sigmoid g" else 1 - g * g
        parts = [p * s for p, s in zip(parts, (i - i * i, f - f * f, of_g, o - o * o), strict=True)]
    sums = torch.hstack(parts)
    return sums.matmul(w_x), sums.matmul(w_h), f * reaching_c, sums.mT.matmul(x), sums.mT.matmul(h), sums.sum(dim=0)


def _gru(
    x,
    h,
    w_x,
    w_h,
    b_x,
    b_h,
    early=False,
    swapped=False,
    order="rzn",
    inside=True,
    reset=True,
    squash=torch.tanh,
    only_n=False,
):
    """One step, gate by gate, with mistakes to choose from."""
    size = h.size(1)
    part = {name: slice(k * size, (k + 1) * size) for k, name in enumerate(order)}
    part = {"z": part["r"]} | part if order == "rrn" else part

    def add(name, state):
        return F.linear(x, w_x[part[name]], b_x[part[name]]), F.linear(state, w_h[part[name]], b_h[part[name]])

    r, z = (torch.sigmoid(sum(add(name, h))) for name in "rz")
    r = r if reset else torch.ones_like(r)
    from_x, from_h = add("n", r * h if early else h)
    if not inside:
        from_h = r * (from_h - b_h[part["n"]]) + b_h[part["n"]]
    n = squash(from_x + (from_h if early or not inside else r * from_h))
    if only_n:
        return n
    return torch.lerp(h, n, z) if swapped else torch.lerp(n, h, z)


def _gru_case(student, rng, n, d, h):
    a = (rng.normal(n, d, dtype=float64), rng.normal(n, h, dtype=float64), *weights(rng, 3, d, h))
    with torch.no_grad():
        want = library(nn.GRUCell, *a[2:])(*a[:2])
    expect(
        student.gru_cell(*a),
        want,
        mistakes={
            "z and 1 − z are exchanged: z keeps the old state": lambda: _gru(*a, swapped=True),
            "r multiplies h before the product; in torch's variant it multiplies W_h h + b_h": lambda: _gru(
                *a, early=True
            ),
            "r has no effect": lambda: _gru(*a, reset=False),
            "b_h is missing": lambda: _gru(*a[:5], 0 * a[5]),
            "b_x is missing": lambda: _gru(*a[:4], 0 * a[4], a[5]),
            "r and z are the same: the blocks of rows are r, z, n": lambda: _gru(*a, order="rrn"),
            "the blocks of rows are r, z, n; here they were taken as r, n, z": lambda: _gru(*a, order="rnz"),
            "n is missing its tanh": lambda: _gru(*a, squash=_identity),
            "n has a σ; it can have both signs, it wants tanh": lambda: _gru(*a, squash=torch.sigmoid),
            "that is n alone; z mixes it with the old state": lambda: _gru(*a, only_n=True),
            "r does not multiply b_h": lambda: _gru(*a, inside=False),
            "the blocks of rows are r, z, n; here they were taken as z, r, n": lambda: _gru(*a, order="zrn"),
        },
    )


@lab.check("gru_cell")
def gru_is_that_of_torch(student, rng):
    """the new state, against torch.nn.GRUCell with the same weights"""
    for n, d, h in (3, 5, 4), (1, 2, 3), (5, 1, 1):
        with case(f"batch {n}, dimension {d}, {h} hidden units"):
            _gru_case(student, rng, n, d, h)


@lab.check("gru_cell")
def a_closed_update_gate_keeps_the_state(student, rng):
    """with z = 1 the state stays for 50 steps, in float32"""
    start = h = rng.normal(2, 3)
    w_x, w_h, _, b_h = weights(rng, 3, 5, 3, dtype=torch.float32)
    b_x = torch.tensor([0.0, 1000.0, 0.0]).repeat_interleave(3)
    for x in rng.normal(50, 2, 5):
        h = student.gru_cell(x, h.float(), w_x, w_h, b_x, b_h)
    expect(h, start, look="where z is 1, h′ is h")


# Training


@student_side
def clipped(student, gradients, max_norm, lazily):
    """What clip_grad_norm makes of these gradients (None: a parameter without)."""
    parameters = [torch.zeros(2, 3, requires_grad=True) if g is None else g.clone().requires_grad_() for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.clone()
    own = [p.grad for p in parameters]
    length = student.clip_grad_norm((p for p in parameters) if lazily else parameters, max_norm)
    return length, [p.grad for p in parameters], all(p.grad is g for p, g in zip(parameters, own, strict=True))


def _length(gradients):
    return math.sqrt(sum(float((g**2).sum()) for g in gradients if g is not None))


def _scaled(gradients, factor):
    return [None if g is None else g * (factor(g) if callable(factor) else factor) for g in gradients]


@lab.check("clip_grad_norm")
def long_gradients_are_cut(student, rng):
    """one factor for all gradients, the length before, parameters without gradient"""
    gradients = [rng.normal(4, 3, dtype=float64), None, 30 * rng.normal(5, dtype=float64), rng.normal(1, dtype=float64)]
    length = _length(gradients)

    def own(gradient):
        return min(1.0, 1.5 / float(gradient.norm()))

    for lazily, how in (False, "a list"), (True, "a generator, as model.parameters() is"):
        with case(
            f"parameters in {how}",
            look="" if lazily else "skip parameters whose .grad is None",
        ):
            before, after, in_place = student.run(clipped, gradients, 1.5, lazily)
            expect(
                before,
                length,
                rtol=1e-5,
                mistakes={
                    "this is the length after clipping; wanted is the one before": 1.5,
                    "this is the square of the length": length**2,
                    "the norms of the tensors were added; the whole is the root of the sum of squares": sum(
                        float(g.norm()) for g in gradients if g is not None
                    ),
                    "the maximum of the tensors' norms": max(float(g.norm()) for g in gradients if g is not None),
                },
            )
            expect(
                after,
                _scaled(gradients, 1.5 / length),
                rtol=1e-5,
                mistakes={
                    "each tensor was clipped by itself; all must shrink by one factor": lambda: _scaled(gradients, own),
                    "each number was clamped; that changes the direction of the gradient": lambda: [
                        None if g is None else g.clamp(-1.5, 1.5) for g in gradients
                    ],
                    "nothing has changed: a generator can be gone through only once"
                    if lazily
                    else "nothing has changed: the gradients of the parameters must be changed in place": gradients,
                    "the factor is upside down: max_norm / length": lambda: _scaled(gradients, length / 1.5),
                    "the length became 1, not max_norm": lambda: _scaled(gradients, 1 / length),
                    "the factor is max_norm; the division by the length is missing": lambda: _scaled(gradients, 1.5),
                    "the factor has the square of the length: a root is missing": lambda: _scaled(
                        gradients, 1.5 / length**2
                    ),
                    "the factor has the sum of the tensors' norms": lambda: _scaled(
                        gradients, 1.5 / sum(float(g.norm()) for g in gradients if g is not None)
                    ),
                    "long gradients became zero": lambda: _scaled(gradients, 0.0),
                },
            )
            require(in_place, "some .grad is another tensor now: change the gradients in place")


@lab.check("clip_grad_norm")
def short_gradients_stay(student, rng):
    """gradients that are short enough stay as they are; no gradient at all is no error"""
    gradients = [rng.normal(4, 3, dtype=float64), rng.normal(5, dtype=float64)]
    length = _length(gradients)
    with case("gradients of length 0.9 × max_norm"):
        before, after, _ = student.run(clipped, gradients, length / 0.9, False)
        expect(before, length, rtol=1e-5)
        expect(
            after,
            gradients,
            mistakes={
                "short gradients were made longer: clipping only shortens": lambda: _scaled(gradients, 1 / 0.9),
            },
        )
    with case("gradients that are all zero", look="a division by the length, which is 0"):
        zero = torch.zeros(3, dtype=float64)
        expect(student.run(clipped, [zero], 1.0, False)[1], [zero])
    with case("no parameter has a gradient"):
        before, after, _ = student.run(clipped, [None, None], 1.0, False)
        require(float(before) == 0 and after == [None, None], f"expected the length 0, got {before}")


@student_side
class Reader(torch.nn.Module):
    """A small RNN with a readout, and a note of how it was called."""

    def __init__(self, w_x, w_h, w_o):
        super().__init__()
        self.w_x, self.w_h, self.w_o = (torch.nn.Parameter(w.clone()) for w in (w_x, w_h, w_o))
        self.calls = []

    def forward(self, x, h):
        self.calls.append((len(x), h.requires_grad))
        states = []
        for row in x:
            h = (row @ self.w_x.T + h @ self.w_h.T).tanh()
            states.append(h)
        return torch.stack(states) @ self.w_o.T, h


@student_side
def read_in_chunks(student, x, t, h, length, w_x, w_h, w_o, rate, passes):
    model = Reader(w_x, w_h, w_o)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(passes):
        loss, last = student.truncated_bptt(model, optimizer, x, t, h, length)
    return loss, last, last.requires_grad, [p.detach() for p in model.parameters()], model.calls


def _cut(
    x, t, h, length, weights, rate, passes, fresh=False, keep=False, drop=False, weigh=True, zeros=False, tail=False
):
    """Truncated back-propagation by torch.func, with mistakes to choose from; the loss, the state, the weights."""

    def loss_of(weights, inputs, targets, state):
        w_x, w_h, w_o = weights
        out = states(inputs, state, w_x, w_h, torch.zeros(len(w_h), dtype=w_h.dtype))
        scores = out @ w_o.T
        right = scores.gather(2, targets[:, :, None]).squeeze(2)
        return (scores.logsumexp(2) - right).mean(), out[-1]

    momentum = [torch.zeros_like(w) for w in weights]
    for _ in range(passes):
        state, losses = h, []
        for a in range(0, len(x), length):
            piece = slice(a, min(a + length, len(x)))
            if drop and a + length > len(x):
                break
            gradient, (loss, state) = _gradient_and_value(
                loss_of, weights, x[piece], t[piece], _begin(h, state, fresh, zeros)
            )
            momentum = [m + g for m, g in zip(momentum, gradient, strict=True)] if keep else gradient
            weights = [w - rate * g for w, g in zip(weights, momentum, strict=True)]
            losses = ([] if tail else losses) + [loss] * (len(x[piece]) if weigh else 1)
    return float(sum(losses) / len(losses)), state, list(weights)


def _begin(first, now, fresh, zeros):
    return (0 * first if zeros else first) if fresh else now


def _gradient_and_value(function, weights, *rest):
    leaves = [w.detach().requires_grad_() for w in weights]
    loss, state = function(leaves, *rest)
    return torch.autograd.grad(loss, leaves), (loss.detach(), state.detach())


@lab.check("truncated_bptt")
def chunks_are_cut_from_each_other(student, rng):
    """loss, state and weights after updates on chunks, a short one at the end"""
    x, t, h = rng.normal(7, 4, 2, dtype=float64), rng.integers(0, 3, 7, 4), rng.normal(4, 5, dtype=float64)
    w = rng.normal(5, 2, dtype=float64), rng.normal(5, 5, dtype=float64), rng.normal(3, 5, dtype=float64)
    for length in 3, 1, 7, 20:
        a = (x, t, h, length, w, 0.3, 2)
        with case(f"7 steps in chunks of {length}, two passes", look=CUT if length < 7 else None):
            loss, last, alive, after, calls = student.run(read_in_chunks, x, t, h, length, *w, 0.3, 2)
            lengths = [min(length, 7 - k) for k in range(0, 7, length)] * 2
            require(
                [n for n, _ in calls] == lengths,
                f"the model got chunks of {[n for n, _ in calls]} steps, expected {lengths}",
                "the last chunk may be shorter; it counts, too"
                if [n for n, _ in calls] == [n for n in lengths if n == length]
                else None,
            )
            mistakes = {
                "every chunk begins with the first state; the state must pass from chunk to chunk": lambda a=a: _cut(
                    *a, fresh=True
                ),
                "the weights have not changed: is optimizer.step() missing?": lambda a=a: _cut(*a[:5], 0.0, a[6]),
                "every chunk begins with a state of zeros; the state must pass from chunk to chunk": lambda a=a: _cut(
                    *a, fresh=True, zeros=True
                ),
                "that is the first state, not the last": {1: h},
                "that is the sum of the losses, not the mean over the steps": {0: _cut(*a)[0] * 7},
                "the loss of the last chunk alone": lambda a=a: (_cut(*a, tail=True)[0], *_cut(*a)[1:]),
                "gradients of earlier chunks are still in .grad: zero_grad before each backward": lambda a=a: _cut(
                    *a, keep=True
                ),
                "the mean of the chunks' losses counts the short chunk like the long ones": lambda a=a: _cut(
                    *a, weigh=False
                ),
                "the loss of the short chunk was multiplied by the length of a long one": lambda a=a: (
                    _cut(*a, weigh=False)[0] * math.ceil(7 / a[3]) * a[3] / 7,
                    *_cut(*a)[1:],
                ),
            }
            expect(
                (loss, last, after),
                _cut(*a),
                names=("mean loss", "last state", "weights"),
                mistakes=mistakes,
                look="the gradient must not pass from a chunk to the one before",
            )
            tied = any(hangs for _, hangs in calls)
            require(not tied, "the model got a state that still hangs on the chunk before", CUT)
            require(not alive, "the last state still has its history", "return h.detach()")


CUT = "h.detach() cuts the chunk from the one before"


@lab.check("sample")
def frequencies_follow_the_scores(student, rng):
    """50 000 draws come out as often as exp(score / temperature) says"""
    scores = rng.normal(1, 5)
    rows = scores.expand(50_000, 5)
    for temperature in 1.0, 0.5, 3.0:
        with case(f"temperature {temperature:g}"):
            got = student.sample(rows, temperature)
            expect(0 * got if isinstance(got, torch.Tensor) else got, torch.zeros(50_000, dtype=torch.int64))
            require(got.min() >= 0 and got.max() <= 4, "a class that does not exist was drawn")
            found = torch.bincount(got, minlength=5) / 50_000
            want = (scores[0] / temperature).softmax(0)
            expect(
                found,
                want,
                rtol=0,
                atol=0.015,
                mistakes={
                    "the largest score is always taken": F.one_hot(scores[0].argmax(), 5).float(),
                    "all classes come equally often": torch.full((5,), 0.2),
                    "the smaller the score, the more often it comes: the sign is wrong": (
                        -scores[0] / temperature
                    ).softmax(0),
                    "the scores are divided by the square of the temperature": (scores[0] / temperature**2).softmax(0),
                    "the scores went through σ, not through softmax": (scores[0] / temperature).sigmoid()
                    / (scores[0] / temperature).sigmoid().sum(),
                    "the softmax was taken twice": (scores[0] / temperature).softmax(0).softmax(0),
                    "the scores are multiplied by the temperature": (scores[0] * temperature).softmax(0),
                    "the temperature has no effect: not used, or a factor of the probabilities, which are normalised": (
                        scores[0].softmax(0)
                    ),
                },
                look="these are the frequencies of the classes",
            )


@lab.check("sample")
def cold_and_extreme(student, rng):
    """temperature 0 takes the largest score; scores of ±1000; rows are drawn by themselves"""
    scores = rng.normal(20, 7)
    with case("temperature 0"):
        expect(
            student.sample(scores, 0),
            scores.argmax(1),
            mistakes={
                "that is the smallest score": scores.argmin(1),
                "the largest score of each column; a row is a sample": lambda: scores.argmax(0),
                "that is the largest score itself, not its class": scores.amax(1),
            },
            look="a division by 0?",
        )
    for temperature in 1.0, 0:
        with case(f"a single row, temperature {temperature:g}"):
            expect(0 * student.sample(scores[:1], temperature), torch.zeros(1, dtype=torch.int64))
    with case("scores of ±1000 in the first column", look="softmax does not overflow, exp does"):
        scores[:, 0] = 1000 * scores[:, 0].sign()
        expect(student.sample(scores, 1.0) == 0, scores[:, 0] > 0)


if __name__ == "__main__":
    sys.exit(run_checks(lab))
