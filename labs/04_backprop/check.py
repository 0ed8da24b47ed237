"""The checks of lab 04. Reading them is allowed and useful."""

import itertools
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import float64, numeric_gradient

PARTS = ["prepare_data", "dsigma", "dloss", "forward_pass", "backward_pass", "Linear", "ReLU", "Sequential"]
lab = Lab(__file__, parts=PARTS)
for part in "dsigma", "dloss", "backward_pass", "Linear", "ReLU", "Sequential":
    lab.forbid(part, names=["autograd", "requires_grad_", "func.grad"], why="the derivatives are the exercise")

NAMES = ("dl_dw1", "dl_db1", "dl_dw2", "dl_db2")


# ---- data


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
        "the test set is normalised with its own mean: a single test image could not be classified": lambda: prepared(
            *arguments, own=True
        ),
        "each column has a mean of its own: one mean and one deviation for everything": lambda: prepared(
            *arguments, by_column=True
        ),
        "the test set is divided by 255, not treated like the training set": (x, t, test_input / 255),
        "the other columns hold 0, not −0.9": (x, t.clamp(min=0), x_test),
        "the targets are 0 and 1": lambda: prepared(*arguments, low=0.0),
        "the targets are −1 and +1": (x, t / 0.9, x_test),
        "0.9 and −0.9 are exchanged": (x, -t, x_test),
        "the class is one column too far to the right": (x, t.roll(1, 1), x_test),
        "the class is one column too far to the left": (x, t.roll(-1, 1), x_test),
        "the mean is not subtracted": (train_input / train_input.std(), t, test_input / train_input.std()),
        "not divided by the standard deviation": (x * train_input.std(), t, x_test * train_input.std()),
        "the mean is not divided: subtract first, then divide": (
            train_input / train_input.std() - train_input.mean(),
            t,
            test_input / train_input.std() - train_input.mean(),
        ),
        "the test set is left as it was": (x, t, test_input),
        "the standard deviation is divided by N: `std` divides by N − 1": lambda: (
            (train_input - train_input.mean()) / train_input.std(correction=0),
            t,
            (test_input - train_input.mean()) / train_input.std(correction=0),
        ),
        "divided by the largest value": (
            (train_input - train_input.mean()) / train_input.max(),
            t,
            (test_input - train_input.mean()) / train_input.max(),
        ),
        "each row has a mean of its own: one mean and one deviation for everything": lambda: (
            (train_input - train_input.mean(1, True)) / train_input.std(1, keepdim=True),
            t,
            (test_input - test_input.mean(1, True)) / test_input.std(1, keepdim=True),
        ),
        "the mean and the deviation are those of both sets together": lambda: (
            (train_input - (both := torch.cat((train_input, test_input))).mean()) / both.std(),
            t,
            (test_input - both.mean()) / both.std(),
        ),
        "divided by the variance, not by the standard deviation": (
            x / train_input.std(),
            t,
            x_test / train_input.std(),
        ),
    }


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


# ---- two layers


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
        ("5×3 float64", rng.normal(5, 3, dtype=float64)),
        ("a single number", rng.normal(dtype=float64)),
        ("a transposed view", rng.normal(4, 7, dtype=float64).T),
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
                    "the derivative of the logistic function: σ is tanh here": x.sigmoid() * (1 - x.sigmoid()),
                    "y (1 − y) belongs to the logistic function: σ is tanh here": x.tanh() * (1 - x.tanh()),
                    "the derivative is taken at tanh(x): here it is taken at x": 1 - x.tanh().tanh() ** 2,
                    "the 1 is squared, too: only tanh(x) is": (1 - x.tanh()) ** 2,
                    "the square is added, it should be subtracted": 1 + x.tanh() ** 2,
                    "1 / cosh is not squared": 1 / x.cosh(),
                    "the derivative of ReLU: σ is tanh here": (x > 0).to(x.dtype),
                    "the 1 is missing": -(x.tanh() ** 2),
                    "a factor 2 is too many": 2 - 2 * x.tanh() ** 2,
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
            v, t = rng.normal(*shape, dtype=float64), rng.normal(*shape, dtype=float64)
            want = numeric_gradient(lambda p, t=t: ((p - t) ** 2).sum(), v)
            mean = {
                "a mean, where the loss is a sum": want / want.numel(),
                "the factor 2 is missing": want / 2,
                "v and t are exchanged: the loss grows with v where v > t": -want,
                "v and t are exchanged, and the factor 2 is missing": -want / 2,
                "that is the loss of each number, not its derivative": (v - t) ** 2,
                "only v is doubled": 2 * v - t,
                "only the sign of the difference is taken": (v - t).sign(),
                "the size of the difference without its sign": want.abs(),
                "v and t are added": 2 * (v + t),
                "a mean over the rows, where the loss is a sum": want / len(want),
            }
            expect(student.dloss(v, t), want, rtol=1e-6, atol=1e-8, mistakes=mean)


def forwards(w1, b1, w2, b2, x, early=False, straight=False, last=True, biases=(1, 1), sigma=torch.tanh):
    """The specification of forward_pass, neuron by neuron, with its typical variations."""

    def layer(w, b, rows):
        rows = rows + b if early else rows
        sums = torch.stack([(rows * (w[:, k] if straight else w[k])).sum(1) for k in range(len(w))], 1)
        return sums if early else sums + b

    s1 = layer(w1, biases[0] * b1, x)
    s2 = layer(w2, biases[1] * b2, sigma(s1))
    return x, s1, sigma(s1), s2, sigma(s2) if last else s2


def without_hidden_sigma(w1, b1, w2, b2, x):
    """What forward_pass returns where the second layer is given s1."""
    s1 = torch.addmm(b1, x, w1.T)
    s2 = torch.addmm(b2, s1, w2.T)
    return s1, s2


def network(rng, n, d, h, k):
    shapes = ((h, d), (h,), (k, h), (k,))
    return [rng.normal(*shape, dtype=float64) for shape in shapes], rng.normal(n, d, dtype=float64)


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
                    "b1 is missing": lambda w=weights, x=x: forwards(*w, x, biases=(0, 1)),
                    "b2 is missing": lambda w=weights, x=x: forwards(*w, x, biases=(1, 0)),
                    "both biases are missing": lambda w=weights, x=x: forwards(*w, x, biases=(0, 0)),
                    "the biases are subtracted": lambda w=weights, x=x: forwards(*w, x, biases=(-1, -1)),
                    "σ is tanh here, not the logistic function": lambda w=weights, x=x: forwards(
                        *w, x, sigma=torch.sigmoid
                    ),
                    "σ is tanh here, not ReLU": lambda w=weights, x=x: forwards(*w, x, sigma=torch.relu),
                    "the second layer is given s1, it should be given x1": lambda w=weights, x=x: (
                        *forwards(*w, x)[:3],
                        without_hidden_sigma(*w, x)[1],
                        without_hidden_sigma(*w, x)[1].tanh(),
                    ),
                    "the hidden layer does not go through sigma": lambda w=weights, x=x: (
                        x,
                        without_hidden_sigma(*w, x)[0],
                        *without_hidden_sigma(*w, x),
                        without_hidden_sigma(*w, x)[1].tanh(),
                    ),
                    "sums and outputs are exchanged": lambda w=weights, x=x: [
                        forwards(*w, x)[k] for k in (0, 2, 1, 4, 3)
                    ],
                },
            )


def backwards(
    weights, t, states, held, slope=dsigma, outer=True, mean=False, kept=True, inner=True, factor=2, passed=True,
    straight=False, biases=True, source=None,
):  # fmt: skip
    """What the accumulators hold afterwards, sample by sample, with typical variations.

    outer, inner: σ′ is used at the output, in the hidden layer. passed: what goes below has the σ′ of the output.
    straight: the square w2 is transposed on the way. source: what stands in the place of x in the first layer.
    """
    _, _, w2, _ = weights
    x, s1, x1, s2, x2 = states
    sums = [part.clone() if kept else torch.zeros_like(part) for part in held]
    for n in range(len(x)):
        error = factor * (x2[n] - t[n])
        e2 = error * (slope(s2[n]) if outer else 1)
        below = e2 if passed else error
        e1 = (w2 @ below if straight else below @ w2) * (slope(s1[n]) if inner else 1)
        parts = (torch.outer(e1, (x if source is None else source)[n]), e1, torch.outer(e2, x1[n]), e2)
        for place, (total, part) in enumerate(zip(sums, parts, strict=True)):
            if biases or place % 2 == 0:
                total += part / (len(x) if mean else 1)
    return sums


def wrong_gradients(weights, t, states, held):
    arguments = (weights, t, states, held)
    return {
        "nothing has arrived: an assignment makes a new tensor, add_ or += change the one that is there": held,
        "the accumulators are overwritten: what they held must stay in the sum": lambda: backwards(
            *arguments, kept=False
        ),
        "the derivative of sigma is taken at x, not at s": lambda: backwards(
            weights, t, (states[0], states[2], states[2], states[4], states[4]), held
        ),
        "the derivative of sigma at the hidden layer is taken at x1, not at s1": lambda: backwards(
            weights, t, (states[0], states[2], *states[2:]), held
        ),
        "the derivative of sigma at the output is missing": lambda: backwards(*arguments, outer=False),
        "no derivative of sigma anywhere": lambda: backwards(*arguments, slope=torch.ones_like),
        "the mean over the batch: the loss is a sum": lambda: backwards(*arguments, mean=True),
        "the derivative of sigma at the hidden layer is missing": lambda: backwards(*arguments, inner=False),
        "what goes down from the output lacks the derivative of sigma there": lambda: backwards(
            *arguments, passed=False
        ),
        "the factor 2 of the loss is missing": lambda: backwards(*arguments, factor=1),
        "the sign is wrong: the derivative of the loss is 2 (x2 − t)": lambda: backwards(*arguments, factor=-2),
        "the gradients of the biases are forgotten": lambda: backwards(*arguments, biases=False),
        "w2 is transposed on the way down": lambda: backwards(*arguments, straight=True),
        "y (1 − y) belongs to the logistic function: σ is tanh here": lambda: backwards(
            *arguments, slope=lambda s: s.tanh() * (1 - s.tanh())
        ),
        "the first layer takes x1 in the place of x": lambda: backwards(*arguments, source=states[2]),
    }


@lab.check("backward_pass")
def central_differences(student, rng):
    """each of the gradients against differences of the loss, added to what was there"""
    for n, d, h, k in (5, 2, 3, 4), (1, 4, 3, 2), (3, 3, 3, 3):
        with case(f"{n} samples, layers {d}–{h}–{k}"):
            weights, x = network(rng, n, d, h, k)
            t, held = rng.normal(n, k, dtype=float64), [rng.normal(*w.shape, dtype=float64) for w in weights]
            want = []
            for place in range(4):

                def risk(changed, place=place, weights=weights, x=x, t=t):
                    return (forwards(*weights[:place], changed, *weights[place + 1 :], x)[4] - t).pow(2).sum()

                want.append(held[place] + numeric_gradient(risk, weights[place]))
            states = forwards(*weights, x)
            result, after = student.changing("backward_pass", *weights, t, *states, *held, may=[10, 11, 12, 13])
            wrong = wrong_gradients(weights, t, states, held)
            expect(after[10:], want, names=NAMES, rtol=1e-6, atol=1e-7, mistakes=wrong)
            require(result is None, "it returns something: the result is in the last four arguments")


@lab.check("backward_pass")
def calls_add_up(student, rng):
    """three calls add the gradient three times; float32"""
    weights, x = network(rng, 6, 3, 5, 2)
    weights, x, t = [w.float() for w in weights], x.float(), rng.normal(6, 2)
    states, held = forwards(*weights, x), [torch.zeros_like(w) for w in weights]
    once = backwards(weights, t, states, held)
    for _ in range(3):
        _, after = student.changing("backward_pass", *weights, t, *states, *held, may=[10, 11, 12, 13])
        held = after[10:]
    expect(
        held,
        [3 * part for part in once],
        names=NAMES,
        mistakes={"each call replaces what the one before has added": once},
    )


# ---- blocks


@student_side
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


@student_side
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
        "the gradients are averaged over the batch": lambda: (
            out,
            d_out @ weight,
            d_weight + d_out.T @ x / len(x),
            d_bias + d_out.mean(0),
        ),
        "the bias is missing": lambda: (x @ weight.T, d_out @ weight, *added),
        "the gradient of the bias is not written": {3: d_bias},
        "the gradient of the bias is overwritten: add to it": {3: d_out.sum(0)},
        "the gradient of the weights is overwritten: add to it": {2: d_out.T @ x},
        "the gradient of the weights is subtracted: add it": {2: d_weight - d_out.T @ x},
        "the gradient of the weights is averaged over the batch": {2: d_weight + d_out.T @ x / len(x)},
        "the gradient of the bias is averaged over the batch": {3: d_bias + d_out.mean(0)},
        "the gradient of the bias goes over the outputs, it should go over the samples": lambda: {
            3: d_bias + d_out.sum(1)
        },
        "backward returns d_out as it came": {1: d_out},
        "the gradients are not written": lambda: (out, d_out @ weight, *held),
        "the gradient of the weights is transposed": lambda: (out, d_out @ weight, d_weight + x.T @ d_out, added[1]),
    }


@lab.check("Linear")
def layer_against_einsum(student, rng):
    """output, derivative and accumulated gradients of two batches; square, rectangular, one sample"""
    for n, inputs, outputs in (4, 3, 3), (5, 2, 7), (1, 6, 1):
        weight, bias = rng.normal(outputs, inputs, dtype=float64), rng.normal(outputs, dtype=float64)
        batches = [(rng.normal(m, inputs, dtype=float64), rng.normal(m, outputs, dtype=float64)) for m in (n, n + 2)]
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
    weight, bias = rng.normal(4, 3, dtype=float64), rng.normal(4, dtype=float64)
    x, d_out = rng.normal(5, 3, dtype=float64), rng.normal(5, 4, dtype=float64)
    kinds, out, d_weight, d_bias = student.run(moved, weight, bias, x, d_out)
    expect(
        kinds,
        [[(4, 3), (4, 3)], [(4,), (4,)]],
        look="two pairs, (weight, d_weight) and (bias, d_bias)",
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
    expect(
        (d_weight, d_bias),
        (0 * weight, 0 * bias),
        names=("d_weight", "d_bias"),
        look="param hands out copies: the gradients of the layer were not set to zero",
    )


@student_side
def rectified(student, batches):
    with torch.no_grad():
        block = student.ReLU()
        return [(block.forward(x), block.backward(d_out), block.param()) for x, d_out in batches]


@lab.check("ReLU")
def half_of_it(student, rng):
    """output and derivative, with zeros among the inputs, twice with one block; ±1000"""
    batches = []
    for shape in (5, 3), (1, 1), (2, 7):
        x = rng.normal(*shape, dtype=float64) * 1000
        x[0, 0] = 0.0
        batches.append((x, rng.normal(*shape, dtype=float64)))
    for (x, d_out), got in zip(batches, student.run(rectified, batches), strict=True):
        with case(f"shape {x.size(0)}×{x.size(1)}, with a zero"):
            expect(
                got,
                (torch.where(x > 0, x, torch.zeros_like(x)), torch.where(x > 0, d_out, torch.zeros_like(x)), []),
                names=("forward", "backward", "param"),
                mistakes={
                    "at 0 the derivative is 0 here": lambda x=x, d=d_out: (x.relu(), d * (x >= 0), []),
                    "the derivative is not multiplied by d_out": lambda x=x: (x.relu(), (x > 0).double(), []),
                    "the sign of d_out decides, where that of the input should": lambda x=x, d=d_out: (
                        x.relu(),
                        d.relu(),
                        [],
                    ),
                    "the derivative is passed on everywhere, it should be only where the input is positive": {1: d_out},
                    "the derivative is passed on where the input is negative": {1: d_out * (x < 0)},
                    "the sign of the derivative is wrong": {1: -d_out * (x > 0)},
                    "the size without the sign: max(0, x) is 0 below 0": {0: x.abs()},
                    "that is min(0, x)": {0: x.clamp(max=0)},
                    "nothing changes: max(0, x) is 0 below 0": {0: x},
                    "the output is 1 where x > 0, it should be x": {0: (x > 0).double()},
                    "the slope below 0 is 0 here": {0: torch.where(x > 0, x, 0.01 * x)},
                    "the derivative is multiplied by the input": lambda x=x, d=d_out: (x.relu(), d * x.relu(), []),
                },
            )


@student_side
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


@student_side
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
            x, d_out = rng.normal(2, 3, dtype=float64), rng.normal(2, 3, dtype=float64)
            pairs = [(torch.tensor(a), torch.tensor(c)) for a, c in blocks]
            got = student.run(chained, blocks, x, d_out)
            forward, backward = in_order(blocks, x), in_order(blocks[::-1], d_out)
            expect(
                got[:2],
                (forward, backward),
                names=("forward", "backward"),
                mistakes={
                    "backward goes through the blocks in the order of forward": (forward, in_order(blocks, d_out)),
                    "forward goes through the blocks backwards": {0: in_order(blocks[::-1], x)},
                    "forward gives every block the first input: each takes what the one before returned": (
                        {0: in_order(blocks[-1:], x)} if blocks else None
                    ),
                    "backward gives every block the first d_out: each takes what the one after returned": (
                        {1: in_order(blocks[:1], d_out)} if blocks else None
                    ),
                    "backward returns d_out as it came": {1: d_out},
                    "forward returns the input as it came": {0: x},
                    "only the first block is used": (in_order(blocks[:1], x), in_order(blocks[:1], d_out)),
                    "only the last block is used": (in_order(blocks[-1:], x), in_order(blocks[-1:], d_out)),
                },
            )
            require(
                not (count > 1 and isinstance(got[2], list) and got[2][::-1] == pairs),
                "the pairs are in another order",
                likely="param goes through the blocks backwards",
            )
            expect(got[2], pairs, look="param: one list with the pairs of all blocks, in their order")


@student_side
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
        (rng.normal(outputs, inputs, dtype=float64), rng.normal(outputs, dtype=float64))
        for inputs, outputs in itertools.pairwise(sizes)
    ]
    x, t = rng.normal(7, 3, dtype=float64), rng.normal(7, 2, dtype=float64)
    leaves = [x.clone().requires_grad_(), *(part.clone().requires_grad_() for pair in weights for part in pair)]
    point, w1, b1, w2, b2, w3, b3 = leaves
    out = torch.addmm(b3, torch.addmm(b2, torch.addmm(b1, point, w1.T).tanh(), w2.T).relu(), w3.T)
    d_in, *gradients = torch.autograd.grad(((out - t) ** 2).sum(), leaves)
    got = student.run(stack, weights, x, t)
    expect(
        got,
        (out.detach(), d_in, gradients),
        names=("forward", "backward", "gradients"),
        look="each block alone may be right: is what backward returns that for the input?",
    )


if __name__ == "__main__":
    sys.exit(run_checks(lab))
