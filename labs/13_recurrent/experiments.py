"""The experiments of lab 13: what can be measured and seen once its parts work."""

import contextlib
import io
import math

import torch
from check import lab
from checking import progress, student_side
from torch.nn import functional as F

# Targets


@student_side
def fading(student, seed, scales, biases):
    """The length of the gradient k steps before the loss, for RNNs with w_h = scale × a rotation, and for LSTMs."""
    time, n, d, h = 60, 20, 8, 64
    g = torch.Generator().manual_seed(seed)
    x, end = torch.randn(time, n, d, generator=g), torch.randn(n, h, generator=g)
    end /= end.norm()
    lengths = []
    for scale in progress(scales, "gradients of an RNN"):
        w_h = scale * torch.linalg.qr(torch.randn(h, h, generator=g)).Q
        w_x, b, zero = 0.1 * torch.randn(h, d, generator=g), torch.zeros(h), torch.zeros(n, h)
        states = student.rnn_forward(x, zero, w_x, w_h, b)
        lengths.append([])
        for k in range(1, time):
            dl_dh = torch.zeros(k, n, h)
            dl_dh[-1] = end
            arrived = student.bptt(x[-k:], states[-k - 1], w_x, w_h, states[-k:], dl_dh)[3]
            lengths[-1].append(float(arrived.norm()))
    for bias in progress(biases, "gradients of an LSTM"):
        w_h = torch.linalg.qr(torch.randn(4 * h, h, generator=g)).Q
        w_x, b, tape = 0.1 * torch.randn(4 * h, d, generator=g), torch.zeros(4 * h), []
        b[h : 2 * h] = bias
        hidden = c = torch.zeros(n, h)
        for row in x:
            new_h, new_c, gates = student.lstm_cell(row, hidden, c, w_x, w_h, b)
            tape.append((row, hidden, c, w_x, w_h, gates, new_c))
            hidden, c = new_h, new_c
        dh, dc = end, torch.zeros(n, h)
        lengths.append([])
        for step in tape[:0:-1]:
            _, dh, dc, *_ = student.lstm_cell_backward(*step, dh, dc)
            lengths[-1].append(float((dh.square().sum() + dc.square().sum()).sqrt()))
    return lengths


@lab.experiment("rnn_forward", "bptt", "lstm_cell", "lstm_cell_backward", seconds=1)
def how_far_a_gradient_comes(student, metrics, data, rng):
    """how much of a gradient is left after 50 steps back"""
    scales, biases = (0.8, 1.0, 1.3), (0.0, 1.0, 3.0)
    lengths = student.run(fading, rng.seed(), scales, biases)
    metrics.at_most("RNN, ‖w_h‖ = 0.8 (at most 0.8⁵⁰)", lengths[0][49], 0.8**50)
    metrics.at_most("RNN, ‖w_h‖ = 1", lengths[1][49], 0.02)
    metrics.seen("LSTM, forget bias 0", lengths[3][49])
    metrics.at_least("LSTM, forget bias 3", lengths[5][49], 0.05)
    with metrics.picture("gradients.png", size=(7.5, 4.4)) as figure:
        axes = figure.subplots()
        shades = ["#e8a877", "#d2722e", "#9a3f06", "#a9c6e8", "#4f86c6", "#17457d"]
        names = [f"RNN, ‖w_h‖ = {scale:g}" for scale in scales] + [f"LSTM, forget bias {bias:g}" for bias in biases]
        for shade, name, row in zip(shades, names, lengths, strict=True):
            axes.semilogy(range(1, 60), row, color=shade)
            axes.annotate(name, (59, row[-1]), xytext=(6, -3), textcoords="offset points", fontsize=8, color=shade)
        axes.set(xlabel="steps back from the loss", ylabel="length of the gradient", xlim=(0, 77))
        axes.set(xticks=range(0, 61, 10), title="How much of the gradient arrives")


@student_side
def sums_to_find(generator, n, length):
    """The adding problem: x[…, 0] is noise in [0, 1), x[…, 1] marks one step in each half; the target is their sum."""
    x = torch.zeros(length, n, 2)
    x[..., 0] = torch.rand(length, n, generator=generator)
    for low, high in (0, length // 2), (length // 2, length):
        x[torch.randint(low, high, (n,), generator=generator), torch.arange(n), 1] = 1
    return x, x.prod(2).sum(0)


@student_side
def learn_to_add(student, kind, seed, steps, length):
    """Training losses, and the error on 2000 new sequences, of one kind of network; it stops when it can add."""
    g, h, n = torch.Generator().manual_seed(seed), 32, 32
    gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind]
    rows = gates * h
    shapes = {"w_x": (rows, 2), "w_h": (rows, h), "b": (rows,), "b_h": (rows,), "out": (h,), "c": ()}
    w = {name: (torch.rand(shape, generator=g) * 2 - 1) / h**0.5 for name, shape in shapes.items()}
    if kind == "LSTM":
        w["b"][h : 2 * h] = 2.0
    for tensor in w.values():
        tensor.requires_grad_()

    def answer(x):
        state = cell = torch.zeros(x.size(1), h)
        if kind == "RNN":
            state = student.rnn_forward(x, state, w["w_x"], w["w_h"], w["b"])[-1]
        for row in x if kind != "RNN" else ():
            if kind == "LSTM":
                state, cell, _ = student.lstm_cell(row, state, cell, w["w_x"], w["w_h"], w["b"])
            else:
                state = student.gru_cell(row, state, w["w_x"], w["w_h"], w["b"], w["b_h"])
        return state @ w["out"] + w["c"]

    optimizer, losses = torch.optim.Adam(w.values(), lr=1e-2), []
    for _ in progress(range(steps), f"{kind} learns to add"):
        x, t = sums_to_find(g, n, length)
        loss = F.mse_loss(answer(x), t)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        student.clip_grad_norm(w.values(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if sum(losses[-50:]) < 50 * 0.002 and len(losses) > 50:
            break
    x, t = sums_to_find(g, 2000, length)
    with torch.no_grad():
        return losses, F.mse_loss(answer(x), t).item()


@lab.experiment("rnn_forward", "lstm_cell", "gru_cell", "clip_grad_norm", seconds=12)
def adding_over_30_steps(student, metrics, data, rng):
    """the adding problem: add two marked numbers out of 30"""
    seed = rng.seed()
    found = {kind: student.run(learn_to_add, kind, seed, 900, 30) for kind in ("RNN", "LSTM", "GRU")}
    metrics.at_least("squared error, RNN (always saying 1: 0.167)", found["RNN"][1], 0.10)
    metrics.at_most("squared error, LSTM", found["LSTM"][1], 0.02)
    metrics.at_most("squared error, GRU", found["GRU"][1], 0.02)
    with metrics.picture("adding.png", size=(7.5, 3.6)) as figure:
        axes = figure.subplots()
        for kind, (losses, error) in found.items():
            smooth = torch.tensor(losses).unfold(0, 20, 1).mean(1)
            axes.semilogy(range(20, len(losses) + 1), smooth, label=f"{kind}, {error:.4f} on new sequences")
        axes.axhline(1 / 6, color="0.5", linewidth=1, linestyle=":")
        axes.annotate("always say 1", (900, 1 / 6), xytext=(0, 12), textcoords="offset points", ha="right", fontsize=8)
        axes.set(xlabel="update", ylabel="squared error", xlim=(0, 900))
        axes.set_title("Two marked numbers out of 30, what is their sum?")
        axes.legend()


@student_side
class Reciter(torch.nn.Module):
    """The student's GRU cell over characters, and a linear readout."""

    def __init__(self, student, classes, h, generator):
        super().__init__()
        shapes = (3 * h, classes), (3 * h, h), (3 * h,), (3 * h,), (classes, h), (classes,)
        self.student, self.classes = student, classes
        self.weights = torch.nn.ParameterList(
            (torch.rand(shape, generator=generator) * 2 - 1) / h**0.5 for shape in shapes
        )

    def forward(self, x, h):
        *cell, out, bias = self.weights
        scores = []
        for row in F.one_hot(x, self.classes).float():
            h = self.student.gru_cell(row, h, *cell)
            scores.append(F.linear(h, out, bias))
        return torch.stack(scores), h


@student_side
def learn_by_heart(student, code, classes, seed, passes, chunk, temperatures):
    """Train on one text as a ring, read from 16 places at a time; then write it from its first character on."""
    g, n, h, rate = torch.Generator().manual_seed(seed), 16, 96, 1e-2
    model = Reciter(student, classes, h, g)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    places = (torch.arange(len(code)).unsqueeze(1) + torch.arange(n) * (len(code) // n)) % len(code)
    x, t, bits = code[places], code[(places + 1) % len(code)], []
    for done in progress(range(passes), "a GRU learns by heart"):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, max(0.1, 2 - 2 * done / passes))
        loss, _ = student.truncated_bptt(model, optimizer, x, t, torch.zeros(n, h), chunk)
        bits.append(loss / math.log(2))
    written = []
    with torch.no_grad():
        guesses = model(code[:, None], torch.zeros(1, h))[0][:-1, 0].argmax(1)
        for temperature in temperatures:
            state, last, sure = torch.zeros(1, h), code[:1], [1.0]
            text = [int(last)]
            for _ in range(len(code) - 1):
                scores, state = model(last.unsqueeze(0), state)
                last = student.sample(scores[0], temperature)
                text.append(int(last))
                sure.append(float(scores[0].softmax(1)[0, last]))
            written.append((text, sure))
    return bits, (guesses == code[1:]).double().mean().item(), written


def zen():
    """The 856 characters that `import this` prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    return "".join(this.d.get(letter, letter) for letter in this.s)


def _page(axes, text, sure, title):
    """Write a text into axes, each character coloured by how likely the network found it."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("sure", ["#d9480f", "#e8a13a", "#8aa0b8", "#17365c"])
    axes.set(xlim=(0, 70), ylim=(21.5, -0.5))
    axes.set_axis_off()
    axes.set_title(title, loc="left")
    line = column = 0
    for letter, p in zip(text, sure, strict=True):
        if letter == "\n" or column == 70:
            line, column = line + 1, 0
        if letter != "\n":
            axes.text(column, line, letter, color=shades(p**0.7), family="monospace", fontsize=7.4, va="top")
            column += 1


@lab.experiment("gru_cell", "truncated_bptt", "sample", seconds=6)
def a_poem_by_heart(student, metrics, data, rng):
    """a GRU learns the Zen of Python by heart, and recites it"""
    text = zen()
    letters = sorted(set(text))
    code = torch.tensor([letters.index(letter) for letter in text])
    bits, right, written = student.run(learn_by_heart, code, len(letters), rng.seed(), 18, 64, (0, 1.3))
    metrics.at_least("next character right, given those before", 100 * right, 98, unit="%")
    metrics.at_most("bits per character (a fair choice: 5.4)", bits[-1], 0.10)
    recited = [letters[k] == wanted for k, wanted in zip(written[0][0], text, strict=True)]
    metrics.seen(f"recited without a mistake, of {len(text)} characters", [*recited, False].index(False))
    with metrics.picture("poem.png", size=(11, 4.6)) as figure:
        pages = figure.subplots(1, 2)
        for axes, title, (codes, sure) in zip(pages, ("temperature 0", "temperature 1.3"), written, strict=True):
            _page(axes, [letters[k] for k in codes], sure, f"{title}   (blue: it was sure, orange: it was not)")
