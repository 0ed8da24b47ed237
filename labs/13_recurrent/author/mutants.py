"""Wrong and right versions of the parts of lab 13."""

import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.nn import functional as F

edit("rnn_forward", "h @ w_h.T", "h @ w_h", says="w_h is used transposed")
edit("rnn_forward", "h @ w_h.T", "h0 @ w_h.T", says="the state is not carried on")
edit("rnn_forward", " + b)", ")", says="the bias is missing")
edit("rnn_forward", "h, states = h0, []", "h, states = torch.zeros_like(h0), []", says="h0 is not used")
edit("rnn_forward", "return torch.stack(states)", "return states[-1]", says="only the last state is returned")
edit(
    "rnn_forward",
    "states.append(h)",
    "states.append(h.detach())",
    says="do not know where they came from",
    also=["a detach, no_grad or .data"],
)


@mutant("rnn_forward", says="the states before each step")
def one_step_late(x, h0, w_x, w_h, b):
    h, states = h0, []
    for row in x:
        states.append(h)
        h = torch.tanh(row @ w_x.T + h @ w_h.T + b)
    return torch.stack(states)


edit("bptt", "(direct + carried)", "direct", says="only the loss now counts")
edit("bptt", "ds @ w_h", "ds @ w_h.T", says="through w_h transposed")
edit("bptt", "(1 - now**2)", "(1 - was**2)", says="at the state before")
edit("bptt", " * (1 - now**2)", "", says="tanh′ is missing")
edit("bptt", "ds.T @ was", "ds.T @ now", says="state before that meets w_h")
edit("bptt", "dw_x += ds.T @ row", "dw_x = ds.T @ row", says="this is the first step's alone")


@mutant("bptt", says="autograd is not allowed")
def by_autograd_itself(x, h0, w_x, w_h, h, dl_dh):
    leaves = [w_x.clone().requires_grad_(), w_h.clone().requires_grad_(), h0.clone().requires_grad_()]
    return torch.autograd.grad(rnn_forward(x, leaves[2], leaves[0], leaves[1], 0), leaves, dl_dh)


edit("lstm_cell", "i, f, g, o = (x", "i, f, o, g = (x", says="taken as i, f, o, g")
edit("lstm_cell", "i, f, g, o = (x", "f, i, g, o = (x", says="taken as f, i, g, o")
edit("lstm_cell", "g.tanh()", "g.sigmoid()", says="it wants tanh")
edit("lstm_cell", "o * c.tanh()", "o * c", says="without the tanh")
edit("lstm_cell", "f * c + i * g", "(f * c + i * g).tanh()", says="nothing else may touch c")
edit("lstm_cell_backward", "dl_dc + dl_dh", "dl_dh", says="that comes from the next step is lost")
edit("lstm_cell_backward", "dl_dc + dl_dh * o * (1 - top**2)", "dl_dc", says="the new c also feeds the new h")
edit("lstm_cell_backward", "whole * f", "whole", says="missing the factor f")
edit("lstm_cell_backward", " * (1 - top**2)", "", says="slope of tanh(c′) is missing")
edit("lstm_cell_backward", "reaches * slope", "reaches", says="slopes of σ and tanh are missing")
edit("lstm_cell_backward", "whole * c", "whole * new_c", says="it multiplied the old one")
edit("gru_cell", "n + z * (h - n)", "h + z * (n - h)", says="z keeps the old state")
edit("gru_cell", "r * h_n", "h_n", says="r has no effect")
edit("gru_cell", "r, z = torch", "z, r = torch", says="here they were taken as z, r, n")


@mutant("gru_cell", says="r multiplies h before the product")
def reset_before_the_product(x, h, w_x, w_h, b_x, b_h):
    size = h.size(1)
    both = x @ w_x.T + b_x
    r, z = (both + h @ w_h.T + b_h)[:, : 2 * size].sigmoid().chunk(2, dim=1)
    n = torch.tanh(both[:, 2 * size :] + (r * h) @ w_h[2 * size :].T + b_h[2 * size :])
    return (1 - z) * n + z * h


@mutant("clip_grad_norm", says="each tensor was clipped by itself")
def one_by_one(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    length = sum(float(g.square().sum()) for g in gradients) ** 0.5
    for g in gradients:
        g.mul_(min(1.0, max_norm / (float(g.norm()) + 1e-12)))
    return length


@mutant("clip_grad_norm", says="can be gone through only once")
def a_generator_twice(parameters, max_norm):
    length = sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None) ** 0.5
    if length > max_norm:
        for p in parameters:
            if p.grad is not None:
                p.grad *= max_norm / length
    return length


edit("clip_grad_norm", " if p.grad is not None", "", says="skip parameters whose .grad is None")
edit("clip_grad_norm", "if length > max_norm", "if length > 0", says="clipping only shortens")
edit("clip_grad_norm", "g.mul_(max_norm / length)", "g.clamp_(-max_norm, max_norm)", says="each number was clamped")
edit("clip_grad_norm", "g.mul_(max_norm / length)", "g = g * max_norm / length", says="must be changed in place")
edit("clip_grad_norm", "return length", "return min(length, max_norm)", says="wanted is the one before")
edit("truncated_bptt", "h.detach())", "h)", says="h.detach()")
edit("truncated_bptt", "scores, h = model(inputs, h.detach())", "scores, _ = model(inputs, h.detach())",
     says="every chunk begins with the first state")  # fmt: skip
edit("truncated_bptt", "optimizer.zero_grad()", "pass", says="zero_grad before each backward")
edit("truncated_bptt", "loss.item() * len(inputs)", "loss.item() * length", says="multiplied by the length of")
edit("truncated_bptt", "return total / len(x), h.detach()", "return total / len(x), h", says="return h.detach()")


@mutant("truncated_bptt", says="the last chunk may be shorter")
def whole_chunks_only(model, optimizer, x, t, h, length):
    total, count = 0.0, max(1, len(x) // length)
    for n in range(count):
        scores, h = model(x[n * length : (n + 1) * length], h.detach())
        loss = F.cross_entropy(scores.flatten(0, 1), t[n * length : (n + 1) * length].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / count, h.detach()


edit("sample", "scores / temperature", "scores * temperature", says="multiplied by the temperature")
edit("sample", "(scores / temperature).softmax(dim=1)", "scores.softmax(dim=1) / temperature",
     says="divides the probabilities")  # fmt: skip
edit("sample", ".squeeze(1)", "", says="a dimension of size 1")
edit("sample", "temperature == 0", "temperature >= 0", says="the largest score is always taken")


@mutant("sample", says="exp does")
def without_a_softmax(scores, temperature):
    if temperature == 0:
        return scores.argmax(dim=1)
    return torch.multinomial((scores / temperature).exp(), 1).squeeze(1)


@alternative("rnn_forward")
def by_the_library_of_linear_maps(x, h0, w_x, w_h, b):
    from_inputs = F.linear(x.double(), w_x.double(), b.double())
    h = h0.double()
    return torch.stack([h := torch.tanh(s + F.linear(h, w_h.double())) for s in from_inputs])


@alternative("bptt")
def with_all_steps_at_the_end(x, h0, w_x, w_h, h, dl_dh):
    slope, ds, carried = 1 - h.square(), [], torch.zeros_like(h0)
    for t in reversed(range(len(x))):
        ds.insert(0, slope[t] * (dl_dh[t] + carried))
        carried = (w_h.T @ ds[0].T).T
    ds = torch.stack(ds).flatten(0, 1)
    before = torch.cat((h0[None], h))[:-1].flatten(0, 1)
    return ds.T @ x.flatten(0, 1), ds.T @ before, ds.sum(0), carried


@alternative("lstm_cell")
def gate_by_gate(x, h, c, w_x, w_h, b):
    x, h, c, w_x, w_h, b = (v.double() for v in (x, h, c, w_x, w_h, b))
    i, f, g, o = (x @ w_x[k].T + h @ w_h[k].T + b[k] for k in torch.arange(len(b)).view(4, -1))
    i, f, o, g = 1 / (1 + (-i).exp()), 1 / (1 + (-f).exp()), 1 / (1 + (-o).exp()), torch.tanh(g)
    new = f * c + i * g
    return o * torch.tanh(new), new, torch.hstack((i, f, g, o))


@alternative("gru_cell")
def as_the_paper_mixes(x, h, w_x, w_h, b_x, b_h):
    p, q = F.linear(x, w_x, b_x).double(), F.linear(h, w_h, b_h).double()
    h = h.double()
    size = h.shape[1]
    r = torch.sigmoid((p + q)[:, :size])
    z = torch.sigmoid((p + q)[:, size:-size])
    return torch.tanh(p[:, -size:] + r * q[:, -size:]) * (1 - z) + h * z


@alternative("clip_grad_norm")
def with_the_usual_small_number(parameters, max_norm):
    parameters = [p for p in parameters if p.grad is not None]
    length = torch.stack([p.grad.norm() for p in parameters]).norm() if parameters else torch.zeros(())
    for p in parameters:
        p.grad.mul_(torch.clamp(max_norm / (length + 1e-6), max=1.0))
    return float(length)


@alternative("truncated_bptt")
def by_positions(model, optimizer, x, t, h, length):
    losses = []
    for begin in range(0, x.shape[0], length):
        optimizer.zero_grad(set_to_none=False)
        h = h.detach().clone()
        y, h = model(x[begin : begin + length], h)
        classes = t[begin : begin + length].reshape(-1)
        nn.CrossEntropyLoss()(y.reshape(-1, y.shape[-1]), classes).backward()
        with torch.no_grad():
            log_p = y.log_softmax(-1).reshape(-1, y.shape[-1])
            losses.append(-log_p[torch.arange(len(classes)), classes].sum())
        optimizer.step()
    return float(sum(losses)) / t.numel(), h.detach()


@alternative("sample")
def by_gumbel_noise(scores, temperature):
    noise = -torch.log(-torch.log(torch.rand(scores.shape, dtype=torch.float64)))
    return (scores.double() + temperature * noise).argmax(1)
