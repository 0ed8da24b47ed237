"""The checks of lab 04. Reading them is allowed and useful."""

import itertools
import math
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, beside, case, expect, progress, require

PARTS = ["prepare_data", "dsigma", "dloss", "forward_pass", "backward_pass", "Linear", "ReLU", "Sequential"]
lab = Lab(__file__, parts=PARTS)
for part in "dsigma", "dloss", "backward_pass", "Linear":
    lab.forbid(part, names=["autograd", "requires_grad_", "func.grad"], why="the derivatives are the exercise")

F64 = torch.float64
NAMES = ("dl_dw1", "dl_db1", "dl_dw2", "dl_db2")


# ------------------------------------------------------------------------------------------------ data


def prepared(train_input, train_target, test_input, classes, low=-0.9, scale=1.0, own=False, by_column=False):
    """The specification of prepare_data with its typical variations."""
    targets = torch.full((len(train_target), classes), low, dtype=train_input.dtype)
    for n, k in enumerate(train_target.tolist()):
        targets[n, k] = 0.9 if low else 1.0
    dim = 0 if by_column else None
    std, mean = torch.std_mean(train_input, dim)
    other_std, other_mean = torch.std_mean(test_input, dim) if own else (std, mean)
    return scale * (train_input - mean) / std, targets, scale * (test_input - other_mean) / other_std


def wrong_data(train_input, train_target, test_input, classes):
    arguments = (train_input, train_target, test_input, classes)
    x, t, x_test = prepared(*arguments)
    return {
        "the inputs are multiplied by 0.9, not the targets": (0.9 * x, t / 0.9, 0.9 * x_test),
        "the test set is normalised with its own mean: a single test image could not be classified":
            lambda: prepared(*arguments, own=True),
        "each column has a mean of its own: one mean and one deviation for everything":
            lambda: prepared(*arguments, by_column=True),
        "the test set is divided by 255, not treated like the training set": (x, t, test_input / 255),
        "the other columns hold 0, not −0.9": (x, t.clamp(min=0), x_test),
        "the targets are 0 and 1": lambda: prepared(*arguments, low=0.0),
        "the targets are −1 and +1": (x, t / 0.9, x_test),
        "divided by the variance, not by the standard deviation":
            (x / train_input.std(), t, x_test / train_input.std()),
    }  # fmt: skip


@lab.check("prepare_data")
def training_set_rules(student, rng):
    """one mean and one deviation, those of the training set; targets of ±0.9"""
    for n, m, d, classes in (13, 5, 7, 4), (2, 9, 3, 6), (1, 1, 11, 1):
        with case(f"{n} training and {m} test samples of dimension {d}, {classes} classes"):
            train, test = rng.uniform(n, d, high=255) ** 1.1, rng.uniform(m, d, low=50, high=200)
            target = rng.integers(0, classes, n)
            got = student.prepare_data(train, target, test, classes)
            expect(
                got,
                prepared(train, target, test, classes),
                names=("train_input", "targets", "test_input"),
                mistakes=wrong_data(train, target, test, classes),
            )


# ------------------------------------------------------------------------------------------------ two layers


@lab.reference
def dsigma(x):
    slope = torch.cosh(x.double().clamp(-300, 300)) ** -2  # from 1 / cosh², so that it differs from what you write
    return slope.to(x.dtype)


@lab.reference
def dloss(v, t):
    return (v - t) + (v - t)


@lab.check("dsigma")
def slope_of_tanh(student, rng):
    """against differences of tanh; scalars, tables, a transposed view, ±1000"""
    for text, x in (
        ("5×3 float64", rng.normal(5, 3, dtype=F64)),
        ("a single number", rng.normal(dtype=F64)),
        ("a transposed view", rng.normal(4, 7, dtype=F64).T),
    ):
        step = 1e-5
        with case(text):
            want = ((x + step).tanh() - (x - step).tanh()) / (2 * step)
            expect(
                student.dsigma(x),
                want,
                rtol=1e-8,
                atol=1e-9,
                mistakes={
                    "the square of tanh(x) is missing": 1 - x.tanh(),
                    "the argument is taken for tanh(x): here it is x itself": 1 - x**2,
                    "that is tanh itself": x.tanh(),
                },
            )
    with case("float32, −1000, 0 and +1000"):
        x = torch.tensor([-1000.0, 0.0, 1000.0])
        expect(student.dsigma(x), torch.tensor([0.0, 1.0, 0.0]))


@lab.check("dloss")
def slope_of_squares(student, rng):
    """against differences of the loss, number by number"""
    for shape in (3, 5), (1, 1), (4,):
        with case(f"shape {'×'.join(map(str, shape))}"):
            v, t = rng.normal(*shape, dtype=F64), rng.normal(*shape, dtype=F64)
            want = numeric(lambda p, t=t: ((p - t) ** 2).sum(), v)
            mean = {"a mean, where the loss is a sum": want / want.numel(), "the factor 2 is missing": want / 2}
            expect(student.dloss(v, t), want, rtol=1e-6, atol=1e-8, mistakes=mean)


def numeric(f, x, step=1e-5):
    """The gradient of the number f(x) by central differences."""
    slope = torch.zeros_like(x)
    flat = slope.view(-1)
    for n in range(x.numel()):
        shift = torch.zeros(x.numel(), dtype=x.dtype)
        shift[n] = step
        flat[n] = (f(x + shift.view_as(x)) - f(x - shift.view_as(x))) / (2 * step)
    return slope


def forwards(w1, b1, w2, b2, x, early=False, straight=False, last=True):
    """The specification of forward_pass, neuron by neuron, with its typical variations."""

    def layer(w, b, rows):
        rows = rows + b if early else rows
        sums = torch.stack([(rows * (w[:, k] if straight else w[k])).sum(1) for k in range(len(w))], 1)
        return sums if early else sums + b

    s1 = layer(w1, b1, x)
    s2 = layer(w2, b2, s1.tanh())
    return x, s1, s1.tanh(), s2, s2.tanh() if last else s2


def network(rng, n, d, h, k):
    shapes = ((h, d), (h,), (k, h), (k,))
    return [rng.normal(*shape, dtype=F64) for shape in shapes], rng.normal(n, d, dtype=F64)


@lab.check("forward_pass")
def neuron_by_neuron(student, rng):
    """against sums neuron by neuron; square and rectangular layers, a single sample"""
    for n, d, h, k in (5, 3, 3, 3), (7, 2, 3, 4), (1, 5, 2, 1):
        with case(f"{n} samples, layers {d}–{h}–{k}"):
            weights, x = network(rng, n, d, h, k)
            expect(
                student.forward_pass(*weights, x),
                forwards(*weights, x),
                names=("x0", "s1", "x1", "s2", "x2"),
                mistakes={
                    "the bias is added before the linear map": lambda w=weights, x=x: forwards(*w, x, early=True),
                    "the weights are not transposed": lambda w=weights, x=x: forwards(*w, x, straight=True),
                    "the output does not go through sigma": lambda w=weights, x=x: forwards(*w, x, last=False),
                },
            )


def backwards(weights, t, states, held, slope=dsigma, outer=True, mean=False, kept=True):
    """What the accumulators hold afterwards, sample by sample, with typical variations."""
    _, _, w2, _ = weights
    x, s1, x1, s2, x2 = states
    sums = [part.clone() if kept else torch.zeros_like(part) for part in held]
    for n in range(len(x)):
        e2 = 2 * (x2[n] - t[n]) * (slope(s2[n]) if outer else 1)
        e1 = (e2[:, None] * w2).sum(0) * slope(s1[n])
        for total, part in zip(sums, (torch.outer(e1, x[n]), e1, torch.outer(e2, x1[n]), e2), strict=True):
            total += part / (len(x) if mean else 1)
    return sums


def wrong_gradients(weights, t, states, held):
    arguments = (weights, t, states, held)
    return {
        "nothing has arrived: an assignment makes a new tensor, add_ or += change the one that is there": held,
        "the accumulators are overwritten: what they held must stay in the sum":
            lambda: backwards(*arguments, kept=False),
        "the derivative of sigma is taken at x, not at s":
            lambda: backwards(weights, t, (states[0], states[2], states[2], states[4], states[4]), held),
        "the derivative of sigma at the hidden layer is taken at x1, not at s1":
            lambda: backwards(weights, t, (states[0], states[2], *states[2:]), held),
        "the derivative of sigma at the output is missing": lambda: backwards(*arguments, outer=False),
        "no derivative of sigma anywhere": lambda: backwards(*arguments, slope=torch.ones_like),
        "the mean over the batch: the loss is a sum": lambda: backwards(*arguments, mean=True),
    }  # fmt: skip


@lab.check("backward_pass")
def central_differences(student, rng):
    """each of the gradients against differences of the loss, added to what was there"""
    for n, d, h, k in (5, 2, 3, 4), (1, 4, 3, 2), (3, 3, 3, 3):
        with case(f"{n} samples, layers {d}–{h}–{k}"):
            weights, x = network(rng, n, d, h, k)
            t, held = rng.normal(n, k, dtype=F64), [rng.normal(*w.shape, dtype=F64) for w in weights]
            want = []
            for place in range(4):

                def risk(changed, place=place, weights=weights, x=x, t=t):
                    return (forwards(*weights[:place], changed, *weights[place + 1 :], x)[4] - t).pow(2).sum()

                want.append(held[place] + numeric(risk, weights[place]))
            states = forwards(*weights, x)
            result, after = student.changing("backward_pass", *weights, t, *states, *held, may=[10, 11, 12, 13])
            wrong = wrong_gradients(weights, t, states, held)
            expect(after[10:], want, names=NAMES, rtol=1e-6, atol=1e-7, mistakes=wrong)
            require(result is None, "it returns something: the result is in the last four arguments")


@lab.check("backward_pass")
def twice_is_double(student, rng):
    """two calls add the gradient twice; float32"""
    weights, x = network(rng, 6, 3, 5, 2)
    weights, x, t = [w.float() for w in weights], x.float(), rng.normal(6, 2)
    states, held = forwards(*weights, x), [torch.zeros_like(w) for w in weights]
    once = backwards(weights, t, states, held)
    for _ in range(2):
        _, after = student.changing("backward_pass", *weights, t, *states, *held, may=[10, 11, 12, 13])
        held = after[10:]
    expect(held, [2 * part for part in once], names=NAMES, mistakes={"the second call replaces the first": once})


# ------------------------------------------------------------------------------------------------ blocks


@beside
def linear(student, weight, bias, batches):
    """A Linear with these weights: outputs, derivatives and accumulators batch after batch."""
    with torch.no_grad():
        layer = student.Linear(weight.size(1), weight.size(0))
        layer.weight, layer.bias = weight.clone(), bias.clone()
        layer.d_weight, layer.d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        seen = []
        for x, d_out in batches:
            out = layer.forward(x)
            d_in = layer.backward(d_out)
            seen.append((out, d_in, layer.d_weight.clone(), layer.d_bias.clone()))
        return seen


@beside
def moved(student, weight, bias, x, d_out):
    """The output after one step of gradient descent by way of `param` alone, and the gradients after zeroing them."""
    with torch.no_grad():
        layer = student.Linear(weight.size(1), weight.size(0))
        layer.weight, layer.bias = weight.clone(), bias.clone()
        layer.d_weight, layer.d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        layer.forward(x)
        layer.backward(d_out)
        pairs = layer.param()
        kinds = [[tuple(part.shape) for part in pair] for pair in pairs]
        for parameter, gradient in pairs:
            parameter -= 0.5 * gradient
            gradient.zero_()
        return kinds, layer.forward(x), layer.d_weight, layer.d_bias


def wrong_layers(weight, bias, x, d_out, held):
    out = torch.addmm(bias, x, weight.T)
    d_weight, d_bias = held
    added = (d_weight + d_out.T @ x, d_bias + d_out.sum(0))
    return {
        "the bias is added before the linear map": lambda: ((x + bias) @ weight.T, d_out @ weight, *added),
        "the weights are not transposed": lambda: (x @ weight + bias, d_out @ weight, *added),
        "backward multiplies by the transposed weights": lambda: (out, d_out @ weight.T, *added),
        "the gradients are overwritten: add to them": lambda: (out, d_out @ weight, d_out.T @ x, d_out.sum(0)),
        "the gradients are averaged over the batch":
            lambda: (out, d_out @ weight, d_weight + d_out.T @ x / len(x), d_bias + d_out.mean(0)),
        "the gradients are not written": lambda: (out, d_out @ weight, *held),
        "the gradient of the weights is transposed": lambda: (out, d_out @ weight, d_weight + x.T @ d_out, added[1]),
    }  # fmt: skip


@lab.check("Linear")
def layer_against_einsum(student, rng):
    """output, derivative and accumulated gradients of two batches; square, rectangular, one sample"""
    for n, inputs, outputs in (4, 3, 3), (5, 2, 7), (1, 6, 1):
        weight, bias = rng.normal(outputs, inputs, dtype=F64), rng.normal(outputs, dtype=F64)
        batches = [(rng.normal(m, inputs, dtype=F64), rng.normal(m, outputs, dtype=F64)) for m in (n, n + 2)]
        held = (torch.zeros_like(weight), torch.zeros_like(bias))
        seen = student.run(linear, weight, bias, batches)
        for number, ((x, d_out), got) in enumerate(zip(batches, seen, strict=True), start=1):
            with case(f"{inputs} inputs, {outputs} outputs, batch {number} of {len(x)}"):
                want = (
                    torch.einsum("ni,oi->no", x, weight) + bias,
                    torch.einsum("no,oi->ni", d_out, weight),
                    held[0] + torch.einsum("no,ni->oi", d_out, x),
                    held[1] + torch.einsum("no->o", d_out),
                )
                names = ("forward", "backward", "d_weight", "d_bias")
                expect(got, want, names=names, mistakes=wrong_layers(weight, bias, x, d_out, held))
                held = want[2:]


@lab.check("Linear")
def param_is_alive(student, rng):
    """changing what `param` hands out changes the layer"""
    weight, bias = rng.normal(4, 3, dtype=F64), rng.normal(4, dtype=F64)
    x, d_out = rng.normal(5, 3, dtype=F64), rng.normal(5, 4, dtype=F64)
    kinds, out, d_weight, d_bias = student.run(moved, weight, bias, x, d_out)
    expect(
        kinds,
        [[(4, 3), (4, 3)], [(4,), (4,)]],
        likely="two pairs, (weight, d_weight) and (bias, d_bias)",
    )
    weight_after, bias_after = weight - 0.5 * (d_out.T @ x), bias - 0.5 * d_out.sum(0)
    expect(
        out,
        torch.addmm(bias_after, x, weight_after.T),
        mistakes={
            "param hands out copies: the layer does not see the step": torch.addmm(bias, x, weight.T),
            "param hands out a copy of the weight: the layer does not see the step": torch.addmm(
                bias_after, x, weight.T
            ),
            "the bias does not move": torch.addmm(bias, x, weight_after.T),
        },
    )
    expect((d_weight, d_bias), (0 * weight, 0 * bias), names=("d_weight", "d_bias"),
           likely="param hands out copies: the gradients of the layer were not set to zero")  # fmt: skip


@beside
def rectified(student, batches):
    with torch.no_grad():
        block = student.ReLU()
        return [(block.forward(x), block.backward(d_out), block.param()) for x, d_out in batches]


@lab.check("ReLU")
def half_of_it(student, rng):
    """output and derivative, with zeros among the inputs, twice with one block; ±1000"""
    batches = []
    for shape in (5, 3), (1, 1), (2, 7):
        x = rng.normal(*shape, dtype=F64) * 1000
        x[0, 0] = 0.0
        batches.append((x, rng.normal(*shape, dtype=F64)))
    for (x, d_out), got in zip(batches, student.run(rectified, batches), strict=True):
        with case(f"shape {x.size(0)}×{x.size(1)}, with a zero"):
            expect(
                got,
                (torch.where(x > 0, x, torch.zeros_like(x)), torch.where(x > 0, d_out, torch.zeros_like(x)), []),
                names=("forward", "backward", "param"),
                mistakes={
                    "at 0 the derivative is 0 here": lambda x=x, d=d_out: (x.relu(), d * (x >= 0), []),
                    "the derivative is not multiplied by d_out": lambda x=x: (x.relu(), (x > 0).double(), []),
                    "the sign of d_out decides, where that of the input should":
                        lambda x=x, d=d_out: (x.relu(), d.relu(), []),
                    "the derivative is multiplied by the input": lambda x=x, d=d_out: (x.relu(), d * x.relu(), []),
                },
            )  # fmt: skip


@beside
class Shift:
    """A block whose place in the order shows: forward a x + c, backward a d + c."""

    def __init__(self, a, c):
        self.a, self.c = a, c

    def forward(self, x):
        return self.a * x + self.c

    def backward(self, d_out):
        return self.a * d_out + self.c

    def param(self):
        return [(torch.tensor(self.a), torch.tensor(self.c))]


@beside
def chained(student, blocks, x, d_out):
    chain = student.Sequential(*(Shift(a, c) for a, c in blocks))
    return chain.forward(x), chain.backward(d_out), chain.param()


def in_order(blocks, x):
    for a, c in blocks:
        x = a * x + c
    return x


@lab.check("Sequential")
def there_and_back(student, rng):
    """forward in order, backward in the opposite order, all parameters; also one block, and none"""
    for count in 3, 1, 0:
        with case(f"{count} blocks"):
            blocks = [(rng.number(1, 3), rng.number(-2, 2)) for _ in range(count)]
            x, d_out = rng.normal(2, 3, dtype=F64), rng.normal(2, 3, dtype=F64)
            pairs = [(torch.tensor(a), torch.tensor(c)) for a, c in blocks]
            got = student.run(chained, blocks, x, d_out)
            forward, backward = in_order(blocks, x), in_order(blocks[::-1], d_out)
            expect(got[:2], (forward, backward), names=("forward", "backward"), mistakes={
                "backward goes through the blocks in the order of forward": (forward, in_order(blocks, d_out)),
                "forward goes through the blocks backwards": {0: in_order(blocks[::-1], x)},
                "only the first block is used": (in_order(blocks[:1], x), in_order(blocks[:1], d_out)),
                "only the last block is used": (in_order(blocks[-1:], x), in_order(blocks[-1:], d_out)),
            })  # fmt: skip
            expect(got[2], pairs, likely="param: one list with the pairs of all blocks, in their order")


@beside
def stack(student, weights, x, t):
    """Derivatives of a five-block network, parameters and input, by the student's blocks."""
    with torch.no_grad():
        sizes = [(w.size(1), w.size(0)) for w, _ in weights]
        layers = [student.Linear(*size) for size in sizes]
        for layer, (w, b) in zip(layers, weights, strict=True):
            layer.weight, layer.bias = w.clone(), b.clone()
            layer.d_weight, layer.d_bias = torch.zeros_like(w), torch.zeros_like(b)
        first, second, third = layers
        model = student.Sequential(first, student.Tanh(), second, student.ReLU(), third)
        out = model.forward(x)
        d_in = model.backward(student.LossMSE().backward(out, t))
        return out, d_in, [gradient for _, gradient in model.param()]


@lab.check("Linear", "ReLU", "Sequential")
def blocks_together(student, rng):
    """Linear, Tanh, Linear, ReLU, Linear and the loss against autograd in float64"""
    sizes = (3, 5, 4, 2)
    weights = [
        (rng.normal(outputs, inputs, dtype=F64), rng.normal(outputs, dtype=F64))
        for inputs, outputs in itertools.pairwise(sizes)
    ]
    x, t = rng.normal(7, 3, dtype=F64), rng.normal(7, 2, dtype=F64)
    leaves = [x.clone().requires_grad_(), *(part.clone().requires_grad_() for pair in weights for part in pair)]
    point, w1, b1, w2, b2, w3, b3 = leaves
    out = torch.addmm(b3, torch.addmm(b2, torch.addmm(b1, point, w1.T).tanh(), w2.T).relu(), w3.T)
    d_in, *gradients = torch.autograd.grad(((out - t) ** 2).sum(), leaves)
    got = student.run(stack, weights, x, t)
    expect(got, (out.detach(), d_in, gradients), names=("forward", "backward", "gradients"),
           likely="each block alone may be right: is what backward returns that for the input?")  # fmt: skip


# ------------------------------------------------------------------------------------------------ targets

HIDDEN = 50


@beside
def by_hand(student, steps, scale, seed):
    """Full-batch gradient descent on 1000 digits, from weights of this scale: loss and both errors, and w1."""
    train, target, test, test_target = data.mnist()  # noqa: F821
    x, t, x_test = student.prepare_data(train, target, test, 10)
    torch.manual_seed(seed)
    weights = [scale * torch.randn(shape) for shape in ((HIDDEN, 784), (HIDDEN,), (10, HIDDEN), (10,))]
    gradients = [torch.zeros_like(w) for w in weights]
    losses, errors = [], []
    for step in progress(range(steps), f"{steps} steps"):
        states = student.forward_pass(*weights, x)
        losses.append(student.loss(states[4], t).item())
        for gradient in gradients:
            gradient.zero_()
        student.backward_pass(*weights, t, *states, *gradients)
        for w, gradient in zip(weights, gradients, strict=True):
            w -= 0.1 / len(x) * gradient
        if step % 10 == 9:
            guesses = states[4].argmax(1), student.forward_pass(*weights, x_test)[4].argmax(1)
            pairs = zip(guesses, (target, test_target), strict=True)
            errors.append([100 * (guess != right).float().mean().item() for guess, right in pairs])
    return losses, errors, weights[0]


@beside
def seconds_of_a_step(student, one_by_one):
    """One gradient of 1000 samples, with one call or with a thousand."""
    train, target, test, _ = data.mnist()  # noqa: F821
    x, t, _ = student.prepare_data(train, target, test, 10)
    torch.manual_seed(0)
    weights = [0.1 * torch.randn(shape) for shape in ((HIDDEN, 784), (HIDDEN,), (10, HIDDEN), (10,))]
    gradients = [torch.zeros_like(w) for w in weights]
    begin = time.thread_time()
    for rows in range(len(x)) if one_by_one else [slice(None)]:
        part = x[rows].view(-1, 784), t[rows].view(-1, 10)
        student.backward_pass(*weights, part[1], *student.forward_pass(*weights, part[0]), *gradients)
    return time.thread_time() - begin, gradients


@lab.target("prepare_data", "dsigma", "dloss", "forward_pass", "backward_pass", seconds=9)
def digits_by_hand(student, goals, data, rng):
    """50 hidden units on 1000 digits of MNIST, 1000 steps with all of them"""
    data.mnist()
    losses, errors, w1 = student.run(by_hand, 1000, 1e-6, rng.seed())
    stuck, stuck_errors, _ = student.run(by_hand, 100, 0.0, 0)
    goals.at_most("training errors", errors[-1][0], 3, unit="%")
    goals.at_most("test errors", errors[-1][1], 18, unit="%")
    goals.at_least("test errors from weights of exactly zero", stuck_errors[-1][1], 80, unit="%")
    slow, one = student.run(seconds_of_a_step, True)
    fast, all_at_once = student.run(seconds_of_a_step, False)
    gap = max((a - b).abs().max().item() / b.abs().max().item() for a, b in zip(one, all_at_once, strict=True))
    goals.at_most("relative difference, sample by sample and all at once", gap, 1e-3)
    goals.seen("times faster all at once", round(slow / fast, 1))
    with goals.picture("digits.png", size=(11.5, 3.8)) as figure:
        draw_digits(figure, losses, stuck, errors, w1)


def draw_digits(figure, losses, stuck, errors, w1):
    """The loss with its plateau, the errors, and what the hidden units look at."""
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.45))
    axes = left.subplots(2, 1, sharex=True)
    axes[0].plot(range(1, len(stuck) + 1), stuck, color="grey", label="from weights of exactly 0")
    axes[0].plot(range(1, len(losses) + 1), losses, label="from weights of 0.000001")
    axes[0].set(xscale="log", yscale="log", ylabel="loss")
    axes[0].legend(loc="lower left")
    for place, name in enumerate(("training", "test")):
        axes[1].plot([10 * n for n in range(1, len(errors) + 1)], [e[place] for e in errors], label=name)
    axes[1].set(xlabel="step", ylabel="errors (%)", ylim=(0, 60))
    axes[1].legend(loc="lower left")
    mosaic = torch.full((5 * 30, 10 * 30), float("nan"))
    for place, row in enumerate(w1[w1.norm(dim=1).argsort(descending=True)]):
        top, side = 30 * (place // 10), 30 * (place % 10)
        mosaic[top + 1 : top + 29, side + 1 : side + 29] = (row / row.abs().max()).view(28, 28)
    tiles = right.subplots()
    tiles.imshow(mosaic.numpy(), cmap="RdBu", vmin=-1, vmax=1)
    tiles.set(title="what the 50 hidden units look at, largest weights first")
    tiles.axis("off")


@beside
def on_the_disc(student, block, seed, epochs):
    """Three hidden layers of 25 units on the disc: test errors, the output on a grid, the loss of each epoch."""
    shuffle = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    points = torch.rand(2000, 2, generator=shuffle)
    sign = 2.0 * ((points - 0.5).pow(2).sum(1) < 1 / (2 * math.pi)).float().unsqueeze(1) - 1
    mean, std = points[:1000].mean(), points[:1000].std()
    x = (points - mean) / std
    layers = [student.Linear(2, 25)]
    for outputs in 25, 25, 1:
        layers += [getattr(student, block)(), student.Linear(25, outputs)]
    model, criterion, losses = student.Sequential(*layers), student.LossMSE(), []
    for _ in progress(range(epochs), f"disc, {block}"):
        total = 0.0
        for rows in torch.randperm(1000, generator=shuffle).split(25):
            for _, gradient in model.param():
                gradient.zero_()
            out = model.forward(x[rows])
            total += criterion.forward(out, sign[rows]).item() / 1000
            model.backward(criterion.backward(out, sign[rows]))
            for parameter, gradient in model.param():
                parameter -= 0.05 / 25 * gradient
        losses.append(total)
    wrong = 100 * (model.forward(x[1000:]) * sign[1000:] <= 0).float().mean().item()
    line = torch.linspace(0, 1, 101)
    grid = torch.cartesian_prod(line, line)
    surface = model.forward((grid - mean) / std).view(101, 101).T
    return wrong, surface, losses, points[1000:], sign[1000:]


@lab.target("dsigma", "dloss", "Linear", "ReLU", "Sequential", seconds=6)
def disc_with_blocks(student, goals, data, rng):
    """three hidden layers of your blocks: which points lie in the disc?"""
    seed = rng.seed()
    seen = {block: student.run(on_the_disc, block, seed, 100) for block in ("Tanh", "ReLU")}
    for block, (wrong, *_) in seen.items():
        goals.at_most(f"test errors, {block}", wrong, 6, unit="%")
    with goals.picture("disc.png", size=(10, 3.4)) as figure:
        axes = figure.subplots(1, 3)
        for plot, (block, (wrong, surface, losses, points, sign)) in zip(axes, seen.items(), strict=False):
            shown = surface.clamp(-1.2, 1.2).numpy()
            plot.imshow(shown, origin="lower", extent=(0, 1, 0, 1), cmap="RdBu", vmin=-1.6, vmax=1.6)
            plot.contour(surface.numpy(), levels=[0.0], extent=(0, 1, 0, 1), colors="black", linewidths=1)
            for side, colour in (1, "#0b3c7a"), (-1, "#8c1a11"):
                x, y = points[sign[:, 0] == side].T.numpy()
                plot.plot(x, y, ".", markersize=2, color=colour)
            plot.set(xticks=[], yticks=[], title=f"{block}: {wrong:.1f} % errors")
            axes[2].plot(losses, label=block)
        axes[2].set(xlabel="epoch", ylim=(0, 1.1), title="loss per sample")
        axes[2].legend()


if __name__ == "__main__":
    sys.exit(lab.main())
