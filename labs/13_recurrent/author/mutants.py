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


@mutant("clip_grad_norm", says="can be gone through only once", also=("nothing has changed",))
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
     says="has no effect")  # fmt: skip
edit("sample", ".squeeze(1)", "", says="a dimension of size 1")
edit("sample", "temperature == 0", "temperature >= 0", says="the largest score is always taken")


@mutant("sample", says="exp does")
def without_a_softmax(scores, temperature):
    if temperature == 0:
        return scores.argmax(dim=1)
    return torch.multinomial((scores / temperature).exp(), 1).squeeze(1)


# More of the classics.
edit("rnn_forward", "torch.tanh(", "torch.sigmoid(", says="there is a σ in the place of tanh")
edit("rnn_forward", "torch.tanh(", "torch.relu(", says="there is a ReLU")
edit("rnn_forward", "torch.tanh(row @ w_x.T + h @ w_h.T + b)", "row @ w_x.T + h @ w_h.T + b", says="tanh is missing")
edit("rnn_forward", "torch.tanh(row @ w_x.T + h @ w_h.T + b)", "torch.tanh(row @ w_x.T + b) + h @ w_h.T",
     says="tanh is taken of the input alone")  # fmt: skip
edit("rnn_forward", "states = h0, []", "states = h0, [h0]", says="h0 is among the states")
edit("rnn_forward", "in x:", "in x.flip(0):", says="read from its end")
edit("rnn_forward", " + h @ w_h.T", "", says="the state is not used")
edit("rnn_forward", "states.append(h)", "states.append(torch.tanh(h))", says="expected")
edit("bptt", "1 - now**2", "now * (1 - now)", says="that is σ′")
edit("bptt", "1 - now**2", "1 - now", says="not 1 − h")
edit("bptt", "1 - now**2", "1 - now.tanh()**2", says="tanh is applied to h again")
edit("bptt", "(direct + carried) * (1 - now**2)", "direct * (1 - now**2) + carried", says="missing for what is carried")
edit("bptt", "(direct + carried) * (1 - now**2)", "direct + carried * (1 - now**2)", says="what the loss itself sends")
edit("bptt", "return dw_x, dw_h, db, carried", "return dw_x, dw_h, db, ds", says="the way through w_h")
edit("bptt", "torch.cat((h0.unsqueeze(0)", "torch.cat((0 * h0.unsqueeze(0)", says="here it was zero")
edit("bptt", "return dw_x, dw_h, db, carried", "return dw_x / len(h0), dw_h / len(h0), db / len(h0), carried",
     says="a gradient is the sum")  # fmt: skip
edit("bptt", "return dw_x, dw_h", "return dw_x, dw_h.T", says="dl/dw_h is transposed")


@mutant("lstm_cell", says="the bias is missing")
def no_bias(x, h, c, w_x, w_h, b):
    i, f, g, o = (x @ w_x.T + h @ w_h.T).chunk(4, dim=1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * c + i * g
    return o * c.tanh(), c, torch.cat((i, f, g, o), dim=1)


edit("lstm_cell", "f * c + i * g", "f * c + (1 - f) * g", says="were coupled")
edit("lstm_cell", "f * c + i * g", "f * c + g", says="the input gate i is missing")
edit("lstm_cell", "f * c + i * g", "c + i * g", says="the forget gate f is missing")
edit("lstm_cell", "o * c.tanh()", "c.tanh()", says="the output gate o is missing")
edit("lstm_cell", "o * c.tanh()", "o * c.sigmoid()", says="in the place of tanh(c′)")
edit("lstm_cell", "g.tanh()", "g", says="g is missing its tanh")
edit("lstm_cell", "return o * c.tanh(), c,", "return c, o * c.tanh(),", says="h comes first")
edit("lstm_cell", "i, f, g, o = (x", "i, g, f, o = (x", says="taken as i, g, f, o")
edit("lstm_cell", "x @ w_x.T + h @ w_h.T", "x @ w_x.T", says="the state h has no say")
edit("lstm_cell_backward", "1 - g**2", "g * (1 - g)", says="the slope of g is that of tanh")
edit("lstm_cell_backward", "1 - top**2", "1 - new_c**2", says="not 1 − c′²")
edit("lstm_cell_backward", "dl_dh * o * (1", "dl_dh * (1", says="the factor o is missing")
edit("lstm_cell_backward", "whole * g, whole * c, whole * i", "whole * i, whole * c, whole * g",
     says="i and g are exchanged")  # fmt: skip
edit("lstm_cell_backward", "dl_dh * top)", "dl_dh * new_c)", says="the output gate met tanh")
edit("lstm_cell_backward", "new_c.tanh()", "c.tanh()", says="made of the old c")
edit("lstm_cell_backward", "whole * f,", "dl_dc * f,", says="dl_dh goes through o")
edit("lstm_cell_backward", "ds.T @ x, ds.T @ h, ds.sum(0)", "ds.T @ x / len(x), ds.T @ h / len(x), ds.mean(0)",
     says="a gradient is the sum")  # fmt: skip
edit("gru_cell", "torch.tanh(x_n", "torch.sigmoid(x_n", says="it wants tanh")
edit("gru_cell", "torch.tanh(x_n + r * h_n)", "x_n + r * h_n", says="n is missing its tanh")
edit("gru_cell", " + b_h)", ")", says="b_h is missing")
edit("gru_cell", " + b_x)", ")", says="b_x is missing")
edit("gru_cell", "return n + z * (h - n)", "return n", says="that is n alone")
edit("gru_cell", "h_r, h_z, h_n = (h @ w_h.T + b_h)", "h_r, h_n, h_z = (h @ w_h.T + b_h)", says="expected")


@mutant("gru_cell", says="taken as r, n, z")
def other_order(x, h, w_x, w_h, b_x, b_h):
    x_r, x_n, x_z = (x @ w_x.T + b_x).chunk(3, dim=1)
    h_r, h_n, h_z = (h @ w_h.T + b_h).chunk(3, dim=1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


edit("clip_grad_norm", "g.mul_(max_norm / length)", "g.mul_(length / max_norm)", says="upside down")
edit("clip_grad_norm", "g.mul_(max_norm / length)", "g.div_(length)", says="became 1, not max_norm")
edit("clip_grad_norm", "g.mul_(max_norm / length)", "g.zero_()", says="became zero")
edit("clip_grad_norm", "g.mul_(max_norm / length)", "g.mul_(max_norm)", says="the division by the length is missing")
edit("clip_grad_norm", "** 0.5", "** 1", says="the square of the length")
edit("clip_grad_norm", "float(g.square().sum()) for g in gradients) ** 0.5", "float(g.norm()) for g in gradients)",
     says="the norms of the tensors were added")  # fmt: skip


@mutant("clip_grad_norm", says="another tensor now")
def new_tensors(parameters, max_norm):
    parameters = [p for p in parameters if p.grad is not None]
    length = sum(float(p.grad.square().sum()) for p in parameters) ** 0.5
    for p in parameters:
        p.grad = p.grad * min(1.0, max_norm / (length + 1e-12))
    return length


edit("truncated_bptt", "optimizer.step()", "pass", says="optimizer.step() missing")
edit("truncated_bptt", "model(inputs, h.detach())", "model(inputs, 0 * h.detach())", says="a state of zeros")
edit("truncated_bptt", "return total / len(x)", "return total", says="the sum of the losses")
edit("truncated_bptt", "return total / len(x)", "return loss.item()", says="the loss of the last chunk alone")
edit("truncated_bptt", "total += loss.item() * len(inputs)\n    return total / len(x)",
     "total += loss.item()\n    return total / len(x.split(length))", says="counts the short chunk like")  # fmt: skip
edit("sample", "scores / temperature", "-scores / temperature", says="the sign is wrong")
edit("sample", "scores / temperature", "scores", says="has no effect")
edit("sample", "(scores / temperature).softmax(dim=1)", "(scores / temperature).sigmoid()", says="went through σ")
edit("sample", ".softmax(dim=1), 1", ".softmax(dim=1).softmax(dim=1), 1", says="the softmax was taken twice")
edit("sample", ".softmax(dim=1), 1", ".softmax(dim=0), 1", says="all classes come equally often")
edit("sample", "scores.argmax(dim=1)", "scores.argmin(dim=1)", says="the smallest score")
edit("sample", "scores.argmax(dim=1)", "scores.amax(dim=1)", says="counts are integers")
edit("sample", ".squeeze(1)", ".squeeze()", says="a dimension of size 1")


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


@alternative("rnn_forward")
def into_a_tensor(x, h0, w_x, w_h, b):
    both = torch.cat((w_x, w_h), dim=1)
    h, states = h0, x.new_empty(0, *h0.shape)
    for t in range(x.size(0)):
        h = (torch.cat((x[t], h), dim=1) @ both.t() + b).tanh()
        states = torch.cat((states, h[None]))
    return states


@alternative("bptt")
def by_einsum(x, h0, w_x, w_h, h, dl_dh):
    grads = [torch.zeros_like(w_x), torch.zeros_like(w_h), torch.zeros_like(w_x[:, 0])]
    dh = torch.zeros_like(h0)
    for t in range(len(x) - 1, -1, -1):
        ds = (dh + dl_dh[t]) * (1 - h[t]) * (1 + h[t])
        grads[0] = grads[0] + torch.einsum("nh,nd->hd", ds, x[t])
        grads[1] = grads[1] + torch.einsum("nh,nk->hk", ds, h[t - 1] if t > 0 else h0)
        grads[2] = grads[2] + ds.sum(dim=0)
        dh = torch.einsum("nh,hk->nk", ds, w_h)
    return [*grads, dh]


@alternative("lstm_cell")
def by_slices(x, h, c, w_x, w_h, b):
    s, k = torch.addmm(b, x, w_x.t()) + torch.mm(h, w_h.t()), h.size(1)
    gates = torch.sigmoid(s)
    gates = torch.cat((gates[:, : 2 * k], torch.tanh(s[:, 2 * k : 3 * k]), gates[:, 3 * k :]), dim=1)
    new_c = gates[:, k : 2 * k] * c + gates[:, :k] * gates[:, 2 * k : 3 * k]
    return gates[:, 3 * k :] * torch.tanh(new_c), new_c, gates


@alternative("lstm_cell_backward")
def gate_after_gate(x, h, c, w_x, w_h, gates, new_c, dl_dh, dl_dc):
    i, f, g, o = torch.split(gates, h.shape[1], dim=1)
    through = torch.tanh(new_c)
    total = dl_dc.clone()
    total += dl_dh * o * (1 - through * through)
    sums = [total * g * i * (1 - i), total * c * f * (1 - f), total * i * (1 - g * g), dl_dh * through * o * (1 - o)]
    k = h.shape[1]
    dx = sum(s @ w_x[n * k : (n + 1) * k] for n, s in enumerate(sums))
    dh = sum(s @ w_h[n * k : (n + 1) * k] for n, s in enumerate(sums))
    dw_x = torch.cat([s.T @ x for s in sums])
    dw_h = torch.cat([s.T @ h for s in sums])
    return dx, dh, total * f, dw_x, dw_h, torch.cat([s.sum(0) for s in sums])


@alternative("gru_cell")
def by_rows_of_the_weights(x, h, w_x, w_h, b_x, b_h):
    def p(k):
        rows = slice(k * h.size(1), (k + 1) * h.size(1))
        return F.linear(x, w_x[rows], b_x[rows]), F.linear(h, w_h[rows], b_h[rows])

    r, z = (torch.sigmoid(sum(p(k))) for k in (0, 1))
    own, other = p(2)
    return torch.lerp(torch.tanh(own + r * other), h, z)


@alternative("clip_grad_norm")
def through_data(parameters, max_norm):
    gradients = []
    for p in parameters:
        if p.grad is not None:
            gradients.append(p.grad)
    if not gradients:
        return 0.0
    length = torch.cat([g.reshape(-1) for g in gradients]).norm(p=2).item()
    factor = min(1.0, max_norm / length) if length else 1.0
    for g in gradients:
        g.copy_(g * factor)
    return length


@alternative("truncated_bptt")
def with_an_index(model, optimizer, x, t, h, length):
    h, losses, i = h.detach(), [], 0
    while i < x.size(0):
        scores, h = model(x[i : i + length], h)
        log_p = torch.log_softmax(scores, dim=-1)
        loss = F.nll_loss(log_p.permute(0, 2, 1), t[i : i + length])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        h = h.data
        losses.append((loss.detach(), min(length, x.size(0) - i)))
        i += length
    return sum(value.item() * count for value, count in losses) / x.size(0), h


@alternative("sample")
def by_a_distribution(scores, temperature):
    if temperature == 0:
        return torch.max(scores, dim=1).indices
    return torch.distributions.Categorical(logits=scores / temperature).sample()


@alternative("sample")
def by_the_cumulative_sum(scores, temperature):
    if not temperature:
        return scores.argmax(-1)
    steps = F.softmax(scores.double() / temperature, dim=-1).cumsum(-1)
    return (
        (torch.rand(len(scores), 1, dtype=torch.float64) * steps[:, -1:] >= steps).sum(-1).clamp(max=scores.size(1) - 1)
    )
