"""The checks of lab 17. Reading them is allowed and useful."""

import copy
import math
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, beside, case, expect, progress, require

PARTS = ["median_distance", "mmd_rbf", "coral_align", "adabn", "GradReverse", "dann_step", "label_shift"]
lab = Lab(__file__, parts=PARTS)
WIDE = torch.float64


# ---- distances between samples


@lab.reference
def median_distance(x, y):
    rows = [*x.tolist(), *y.tolist()]
    pairs = sorted(math.dist(rows[i], rows[j]) for i in range(len(rows)) for j in range(i))
    return (pairs[(len(pairs) - 1) // 2] + pairs[len(pairs) // 2]) / 2


@lab.check("median_distance")
def median_of_all_pairs(student, rng):
    """odd and even numbers of pairs, against a sorted list"""
    for n, m, d in (4, 3, 2), (3, 2, 5), (1, 1, 3), (2, 5, 1):
        x, y = rng.normal(n, d, dtype=WIDE), 3 + rng.normal(m, d, dtype=WIDE)
        both = torch.cat([x, y])
        table = (both[:, None] - both[None]).norm(dim=2)
        pairs = table[*torch.triu_indices(n + m, n + m, 1)]
        with case(f"{n} and {m} rows of dimension {d}"):
            expect(student.median_distance(x, y), median_distance(x, y), mistakes={
                "the lower of the two middle distances; take the mean of both": pairs.median().item(),
                "the distance of a row to itself counts": table.flatten().quantile(0.5).item(),
                "distances between x and y only: put both together first": table[:n, n:].quantile(0.5).item(),
                "the mean instead of the median": pairs.mean().item(),
                "the median of squared distances": pairs.square().quantile(0.5).item(),
            })  # fmt: skip


@lab.check("median_distance")
def median_of_many_pairs(student, rng):
    """600 rows, 179 700 pairs, in float32"""
    x, y = rng.normal(350, 3), 0.5 + rng.normal(250, 3)
    expect(student.median_distance(x, y), median_distance(x, y), rtol=1e-4)


@lab.reference
def mmd_rbf(x, y, bandwidth):
    def average(a, b):
        rows = [(-(row - b).square().sum(1) / (2 * bandwidth * bandwidth)).exp().mean() for row in a]
        return torch.stack(rows).mean()

    return average(x, x) - average(x, y) - average(y, x) + average(y, y)


@lab.check("mmd_rbf")
def discrepancy_pair_by_pair(student, rng):
    """against all pairs row by row"""
    for n, m, d, bandwidth in (5, 7, 3, 1.3), (4, 4, 2, 0.7), (1, 3, 2, 2.0), (6, 1, 1, 1.0):
        x, y = rng.normal(n, d, dtype=WIDE), 0.8 + rng.normal(m, d, dtype=WIDE)
        xx, yy, xy = ((a[:, None] - b[None]).square().sum(2) for a, b in ((x, x), (y, y), (x, y)))

        def with_kernel(k, xx=xx, yy=yy, xy=xy):
            return k(xx).mean() + k(yy).mean() - 2 * k(xy).mean()

        def k(squared, h=bandwidth):
            return (-squared / (2 * h**2)).exp()

        def apart(table, k=k):
            return (k(table).sum() - len(table)) / (len(table) * (len(table) - 1))

        with case(f"{n} and {m} rows of dimension {d}, bandwidth {bandwidth}"):
            want = mmd_rbf(x, y, bandwidth)
            expect(student.mmd_rbf(x, y, bandwidth), want, mistakes={
                "the root: the squared discrepancy is asked for": lambda want=want: want.sqrt(),
                "distances are not squared in the kernel": lambda f=with_kernel, h=bandwidth:
                    f(lambda s: (-s.sqrt() / (2 * h**2)).exp()),
                "the factor 2 in 2 bandwidth² is missing": lambda f=with_kernel, h=bandwidth:
                    f(lambda s: (-s / h**2).exp()),
                "the bandwidth is not squared": lambda f=with_kernel, h=bandwidth: f(lambda s: (-s / (2 * h)).exp()),
                "the mixed pairs count once: they are subtracted twice": lambda f=with_kernel, k=k, xy=xy:
                    f(k) + k(xy).mean(),
                "pairs of a row with itself are left out": lambda f=apart, k=k, xx=xx, yy=yy, xy=xy:
                    f(xx) + f(yy) - 2 * k(xy).mean(),
                "sums instead of means": lambda k=k, xx=xx, yy=yy, xy=xy: k(xx).sum() + k(yy).sum() - 2 * k(xy).sum(),
            })  # fmt: skip


@beside
def gradient_of_mmd(student, x, y, bandwidth):
    x = x.clone().requires_grad_()
    value = student.mmd_rbf(x, y, bandwidth)
    value.backward()
    return value.detach(), x.grad


@lab.check("mmd_rbf")
def discrepancy_has_a_gradient(student, rng):
    """0 for identical samples, larger for larger shifts, and a finite gradient"""
    x = rng.normal(40, 3, dtype=WIDE)
    expect(student.mmd_rbf(x, x[torch.arange(39, -1, -1)], 1.0), torch.zeros((), dtype=WIDE), atol=1e-9)
    values = [student.mmd_rbf(x, x + shift, 1.0).item() for shift in (0.1, 0.5, 1.0, 2.0)]
    require(values == sorted(values) and values[0] > 0, f"shifts of 0.1, 0.5, 1 and 2 give {values}: not increasing")
    y = rng.normal(30, 3, dtype=WIDE) + 0.5
    _, gradient = student.run(gradient_of_mmd, x, y, 1.5)
    small, want = 1e-5, torch.zeros(2, 3, dtype=WIDE)
    for i in range(2):
        for j in range(3):
            step = torch.zeros_like(x)
            step[i, j] = small
            want[i, j] = (mmd_rbf(x + step, y, 1.5) - mmd_rbf(x - step, y, 1.5)) / (2 * small)
    with case("the gradient with respect to x, against differences",
              likely="a square root has an infinite derivative at 0, where a row meets itself"):  # fmt: skip
        require(gradient is not None, "there is no gradient: x has been detached")
        expect(gradient[:2], want, rtol=1e-4, atol=1e-8)


# ---- alignment


@lab.reference
def coral_align(source, target):
    def root(x, inverse):
        _, s, v = torch.linalg.svd((x - x.mean(0)).double() / math.sqrt(len(x) - 1), full_matrices=False)
        s = torch.where(s**2 > 1e-6 * s[0] ** 2, 1 / s if inverse else s, torch.zeros_like(s))
        return v.T @ s.diag() @ v

    moved = (source.double() - source.double().mean(0)) @ root(source, True) @ root(target, False)
    return (moved + target.double().mean(0)).to(source.dtype)


@lab.check("coral_align")
def aligned_samples(student, rng):
    """against roots by singular values; mean and covariance are those of the target"""
    for n, m, d in (30, 20, 4), (12, 17, 3), (9, 8, 1):
        source = rng.normal(n, d, dtype=WIDE) @ rng.normal(d, d, dtype=WIDE) + 1
        target = rng.normal(m, d, dtype=WIDE) @ rng.normal(d, d, dtype=WIDE) - 3
        got = student.coral_align(source, target)

        def root(x, power, low=False):
            values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0 if low else 1).reshape(x.shape[1], -1))
            return vectors @ (values**power).diag() @ vectors.T

        s, t = source - source.mean(0), target.mean(0)
        white, colour = root(source, -0.5), root(target, 0.5)
        with case(f"{n} source and {m} target rows of dimension {d}"):
            expect(got, coral_align(source, target), rtol=1e-6, mistakes={
                "the mean of the source is kept": s @ white @ colour + source.mean(0),
                "the mean of the target is missing": s @ white @ colour,
                "the mean of the source is not subtracted": source @ white @ colour + t,
                "the roles of source and target are exchanged": s @ root(target, -0.5) @ root(source, 0.5) + t,
                "first the root of Ct, then that of Cs: the order is the other one": s @ colour @ white + t,
                "Cs itself is inverted, not its root": s @ root(source, -1.0) @ colour + t,
                "the covariance of the target is used, not its root": s @ white @ root(target, 1.0) + t,
                "the source is whitened and not coloured": s @ white + t,
                "Cholesky factors instead of symmetric roots": lambda s=s, source=source, target=target, t=t:
                    s @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(source.T))).T
                    @ torch.linalg.cholesky(torch.cov(target.T)).T + t,
            })  # fmt: skip
            expect(torch.cov(got.T), torch.cov(target.T), rtol=1e-6, atol=1e-8)


@lab.check("coral_align")
def aligned_samples_without_an_inverse(student, rng):
    """a source feature that never changes; fewer rows than features"""
    source, target = rng.normal(15, 4, dtype=WIDE), rng.normal(11, 4, dtype=WIDE) @ rng.normal(4, 4, dtype=WIDE)
    source[:, 2] = 7
    with case("source feature 2 is always 7", likely="an eigenvalue of 0 has no power −1/2: use 0 in its place"):
        expect(student.coral_align(source, target), coral_align(source, target), rtol=1e-6, atol=1e-8)
    source, target = rng.normal(4, 6, dtype=WIDE), rng.normal(5, 6, dtype=WIDE)
    with case("4 source rows of dimension 6", likely="eigenvalues near 0 may come out negative: compare, then invert"):
        expect(student.coral_align(source, target), coral_align(source, target), rtol=1e-6, atol=1e-8)


def small_network(seed: int) -> nn.Sequential:
    """Convolution, batch normalisation, dropout and linear layers, with statistics of some source."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(27, 5), nn.BatchNorm1d(5, momentum=0.3), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 2),
    ).double()  # fmt: skip
    for layer in (model[1], model[6]):
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
        layer.num_batches_tracked += 7
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return model.eval()


@beside
def after_adabn(student, layers, x, batch_size, training):
    """The state, the modes, the momenta and whether there are gradients after the student's adabn."""
    names = {"conv": torch.nn.Conv2d, "norm2": torch.nn.BatchNorm2d, "norm1": torch.nn.BatchNorm1d,
             "linear": torch.nn.Linear, "relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "flat": torch.nn.Flatten,
             "drop": torch.nn.Dropout}  # fmt: skip
    modules = []
    for kind, arguments, state, mode in layers:
        module = names[kind](*arguments).double()
        module.load_state_dict(state)
        module.train(mode)
        modules.append(module)
    model = torch.nn.Sequential(*modules)
    model.training = training
    model[6].momentum = 0.3
    result = student.adabn(model, x, batch_size)
    gradients = sum(p.grad is not None for p in model.parameters())
    flags = [bool(model.training), *[bool(module.training) for module in modules]]
    states = [dict(module.state_dict()) for module in modules]
    return states, flags, [model[1].momentum, model[6].momentum], gradients, result is None


def described(model: nn.Sequential, modes: list[bool]) -> list[tuple]:
    """The layers as data: kind, arguments, state, mode."""
    kinds = {nn.Conv2d: ("conv", (2, 3, 2)), nn.BatchNorm2d: ("norm2", (3,)), nn.BatchNorm1d: ("norm1", (5,)),
             nn.ReLU: ("relu", ()), nn.Tanh: ("tanh", ()), nn.Flatten: ("flat", ()),
             nn.Dropout: ("drop", (0.5,))}  # fmt: skip
    found = []
    for layer, mode in zip(model, modes, strict=True):
        size = ("linear", (getattr(layer, "in_features", 0), getattr(layer, "out_features", 0)))
        kind, arguments = kinds.get(type(layer), size)
        found.append((kind, arguments, {k: v.clone() for k, v in layer.state_dict().items()}, mode))
    return found


def new_statistics(
    model: nn.Sequential, x: Tensor, batch_size: int, what: str = ""
) -> dict[int, tuple[Tensor, Tensor]]:
    """For each batch-normalisation layer, mean and variance as adabn should set them, or with a mistake."""
    seen: dict[int, list[tuple[Tensor, Tensor]]] = {1: [], 6: []}
    for batch in [x] if what == "whole" else x.split(batch_size):
        h = batch
        for number, layer in enumerate(model):
            if number in seen:
                dims = [d for d in range(h.dim()) if d != 1]
                mean, var = h.mean(dims), h.var(dims, correction=0 if what == "biased" else 1)
                seen[number].append((mean, var))
                if what == "frozen":
                    h = layer(h)
                else:
                    h = nn.functional.batch_norm(h, None, None, layer.weight, layer.bias, True)
            elif not isinstance(layer, nn.Dropout):
                h = layer(h)
    found = {}
    for number, pairs in seen.items():
        layer = model[number]
        mean, var = (torch.stack(parts).mean(0).detach() for parts in zip(*pairs, strict=True))
        if what in ("momentum", "momentum, reset"):
            mean, var = layer.running_mean.clone(), layer.running_var.clone()
            if what == "momentum, reset":
                mean, var = torch.zeros_like(mean), torch.ones_like(var)
            for m, v in pairs:
                mean = (1 - layer.momentum) * mean + layer.momentum * m.detach()
                var = (1 - layer.momentum) * var + layer.momentum * v.detach()
        if what == "no reset":
            mean, var = layer.running_mean.clone(), layer.running_var.clone()
            for count, (m, v) in enumerate(pairs, start=8):
                mean, var = mean + (m.detach() - mean) / count, var + (v.detach() - var) / count
        found[number] = mean, var
    return found


ADABN_MISTAKES = {
    "momentum": "the source's statistics are mixed in: reset them, and momentum = None makes a plain average",
    "momentum, reset": "the momentum still weights the batches: with momentum = None the average of all is plain",
    "no reset": "the statistics of the source are averaged in: reset them first",
    "whole": "all of x in one batch: go through it in batches",
    "biased": "the variance is divided by N; running_var holds the unbiased one, as in training",
    "frozen": "later layers saw features normalised with the old statistics",
}


@lab.check("adabn")
def statistics_of_the_target(student, rng):
    """running means and variances, layer by layer and batch by batch"""
    for n, batch_size in (12, 4), (6, 6), (10, 2):
        model, x = small_network(rng.seed()), 2 + 3 * rng.normal(n, 2, 4, 4, dtype=WIDE)
        states, _, _, _, _ = student.run(after_adabn, described(model, [False] * 10), x, batch_size, False)
        want = new_statistics(model, x, batch_size)
        wrong = {text: new_statistics(model, x, batch_size, what) for what, text in ADABN_MISTAKES.items()}
        for number in (1, 6):
            names = ("running_mean", "running_var")
            with case(f"{n} images in batches of {batch_size}, batch normalisation as layer {number}",
                      likely="did dropout, or a layer before this one, change its input?"):  # fmt: skip
                got = tuple(states[number][name] for name in names)
                mistakes = {text: value[number] for text, value in wrong.items()
                            if not (number == 1 and text == ADABN_MISTAKES["frozen"])
                            and not (n == batch_size and text == ADABN_MISTAKES["whole"])}  # fmt: skip
                expect(got, want[number], names=names, mistakes=mistakes)


@lab.check("adabn")
def nothing_else_changes(student, rng):
    """weights, modes, momenta are as before, and there are no gradients"""
    model, x = small_network(rng.seed()), rng.normal(8, 2, 4, 4, dtype=WIDE)
    for text, modes, whole in (
        ("the model in eval mode", [False] * 10, False),
        ("the model in train mode", [True] * 10, True),
        ("layers 3 and 6 in train mode, all others in eval mode", [n in (3, 6) for n in range(10)], False),
    ):
        with case(text):
            before = described(model, modes)
            states, flags, momenta, gradients, none = student.run(after_adabn, before, x, 4, whole)
            require(none, "adabn returned something: it changes the model and returns nothing")
            require(flags == [whole, *modes], f"train or eval mode afterwards: {flags}, before: {[whole, *modes]}",
                    likely="remember the mode of every module, and put it back")  # fmt: skip
            require(momenta == [0.1, 0.3], f"the momenta were 0.1 and 0.3, afterwards they are {momenta}",
                    likely="momentum = None was left in the layers")  # fmt: skip
            require(gradients == 0, f"{gradients} parameters have gradients now")
            for number, (_, _, old, _) in enumerate(before):
                for name, value in old.items():
                    if "running" not in name and "tracked" not in name:
                        require(torch.equal(states[number][name], value), f"{name} of layer {number} has changed")
            want = new_statistics(model, x, 4)
            for number in (1, 6):
                got = tuple(states[number][name] for name in ("running_mean", "running_var"))
                with case("the new statistics", likely="dropout must do nothing during the pass, whatever its mode is"):
                    expect(got, want[number], names=("running_mean", "running_var"))


# ---- adversary


@lab.reference
class GradReverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.factor = -strength
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


@beside
def through_grad_reverse(student, x, weight, strength):
    x = x.clone().requires_grad_()
    y = student.GradReverse.apply(x, strength)
    (y * weight).sum().backward()
    return y.detach(), x.grad


@lab.check("GradReverse")
def gradient_turned_round(student, rng):
    """the identity forward, minus strength times the gradient backward"""
    for shape, strength in ((3, 5), 0.7), ((4,), 2.0), ((2, 1, 3), 0.0), ((1, 1), 1.0):
        x, weight = rng.normal(*shape, dtype=WIDE), rng.normal(*shape, dtype=WIDE)
        with case(f"{len(shape)}-dimensional x, strength {strength:g}"):
            y, gradient = student.run(through_grad_reverse, x, weight, strength)
            expect(y, x, mistakes={"the sign is turned in forward, too": -x, "scaled in forward, too": strength * x})
            require(isinstance(gradient, Tensor), "no gradient arrives at x")
            expect(gradient, -strength * weight, mistakes={
                "the gradient keeps its sign": strength * weight,
                "strength is ignored": -weight,
                "the gradient passes as it is": weight,
            })  # fmt: skip


def three_networks(seed: int) -> list[list[Tensor]]:
    """Weights of features 3 → 4, classifier 4 → 3, discriminator 4 → 1."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((4, 3), (3, 4), (1, 4))
    return [[torch.randn(*size, generator=generator, dtype=WIDE), torch.randn(size[0], generator=generator, dtype=WIDE)]
            for size in sizes]  # fmt: skip


@beside
class Descent:
    """Plain gradient descent: the first optimizer of torch.optim in a process takes a second to load."""

    def __init__(self, parameters, rate):
        self.parameters, self.rate = list(parameters), rate

    def zero_grad(self, set_to_none=True):
        for p in self.parameters:
            p.grad = None if set_to_none or p.grad is None else torch.zeros_like(p)

    def step(self):
        with torch.set_grad_enabled(False):
            for p in self.parameters:
                p -= 0 if p.grad is None else self.rate * p.grad


@beside
def after_dann_steps(student, weights, source, label, target, strength, rate, steps):
    layers = []
    for weight, bias in weights:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0]).double()
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers.append(layer)
    features, classifier, discriminator = torch.nn.Sequential(layers[0], torch.nn.Tanh()), layers[1], layers[2]
    optimizer = Descent([p for layer in layers for p in layer.parameters()], rate)
    losses = []
    for _ in range(steps):
        losses.append(
            student.dann_step(features, classifier, discriminator, optimizer, source, label, target, strength)
        )
    return [[layer.weight.detach(), layer.bias.detach()] for layer in layers], losses


def dann_by_parts(weights, source, label, target, strength, rate, steps, what=""):
    """The weights after some steps, from the gradients of both losses taken apart."""
    cross_entropy = nn.functional.cross_entropy
    bce = nn.functional.binary_cross_entropy_with_logits
    weights = [[p.clone() for p in pair] for pair in weights]
    losses, kept = [], None
    for _step in range(steps):
        flat = [p.requires_grad_() for pair in weights for p in pair]
        hidden = [(x @ weights[0][0].T + weights[0][1]).tanh() for x in (source, target)]
        scores = hidden[0] @ weights[1][0].T + weights[1][1]
        odds = [h @ weights[2][0].T + weights[2][1] for h in hidden]
        is_target = (1.0, 0.0) if what == "labels" else (0.0, 1.0)
        losses_of = [bce(o, torch.full_like(o, t)) for o, t in zip(odds, is_target, strict=True)]
        counts = [len(source), len(target)]
        domain = (losses_of[0] * counts[0] + losses_of[1] * counts[1]) / sum(counts)
        if what == "two means":
            domain = losses_of[0] + losses_of[1]
        if what == "mean of means":
            domain = (losses_of[0] + losses_of[1]) / 2
        if what == "source only":
            domain = losses_of[0]
        classes = cross_entropy(scores, label)
        losses.append((classes.item(), domain.item()))
        of_classes = torch.autograd.grad(classes, flat, retain_graph=True, allow_unused=True)
        of_domain = torch.autograd.grad(domain, flat, allow_unused=True)
        signs = {"not reversed": (1, 1), "all reversed": (-strength, -strength), "scaled": (-strength, strength)}
        sign = signs.get(what, (-strength, 1))
        total = []
        for number, (a, b) in enumerate(zip(of_classes, of_domain, strict=True)):
            b = torch.zeros_like(flat[number]) if b is None else b
            total.append((0 if a is None else a) + (sign[0] if number < 2 else sign[1]) * b)
        if what == "accumulates" and kept is not None:
            total = [a + b for a, b in zip(total, kept, strict=True)]
        kept = total
        new = [(p - rate * g).detach() for p, g in zip(flat, total, strict=True)]
        weights = [new[0:2], new[2:4], new[4:6]]
    return [[p.detach() for p in pair] for pair in weights], losses


DANN_MISTAKES = {
    "not reversed": "the features help the discriminator: its gradient must be reversed before it reaches them",
    "all reversed": "the discriminator's own gradient is reversed, too: GradReverse belongs between features and it",
    "scaled": "the discriminator's loss is multiplied by strength: only the reversed gradient is",
    "labels": "the domains are exchanged: the discriminator gives the log-odds of the target",
    "two means": "the mean over the source plus that over the target: take one mean over all rows",
    "mean of means": "both domains weigh the same: take one mean over all rows",
    "source only": "the discriminator never sees the target",
    "accumulates": "gradients of earlier steps are still there: zero_grad",
}


@lab.check("dann_step")
def steps_against_both_gradients(student, rng):
    """one and two steps of gradient descent, from the gradients of both losses taken apart"""
    for n, m, strength, steps in (5, 3, 0.6, 1), (2, 6, 1.7, 1), (4, 4, 0.0, 1), (4, 3, 0.5, 2):
        weights = three_networks(rng.seed())
        source, label = rng.normal(n, 3, dtype=WIDE), rng.integers(0, 3, n)
        target = 1 + rng.normal(m, 3, dtype=WIDE)
        arguments = weights, source, label, target, strength, 0.1, steps
        with case(f"{n} source and {m} target rows, strength {strength:g}, {steps} step{'s' * (steps > 1)}"):
            got, losses = student.run(after_dann_steps, *arguments)
            want, right = dann_by_parts(*arguments)
            wrong = {
                text: lambda a=arguments, what=what: dann_by_parts(*a, what=what)
                for what, text in DANN_MISTAKES.items()
            }
            with case("losses before the step"):
                mistakes = {text: lambda f=f: f()[1] for text, f in wrong.items()}
                mistakes["the two losses are exchanged"] = [(b, a) for a, b in right]
                expect(losses, right, mistakes=mistakes)
            for number, name in (1, "classifier"), (2, "discriminator"), (0, "features"):
                mistakes = {text: lambda f=f, number=number: f()[0][number] for text, f in wrong.items()}
                with case(f"weights of the {name} after the step"):
                    expect(got[number], want[number], names=("weight", "bias"), mistakes=mistakes)


@lab.reference
def label_shift(confusion, answers):
    share = torch.linalg.lstsq(confusion.double(), answers.double()[:, None]).solution[:, 0]
    weights = [max(0.0, float(w)) * float(c) for w, c in zip(share, confusion.double().sum(0), strict=True)]
    return torch.tensor(weights, dtype=confusion.dtype) / sum(weights)


@lab.check("label_shift")
def frequencies_from_answers(student, rng):
    """a classifier with known confusions answers on a known mixture"""
    for classes in 3, 5, 2:
        given = torch.eye(classes, dtype=WIDE) * 3 + rng.uniform(classes, classes, dtype=WIDE)
        given = given / given.sum(0)  # given[i, j]: the answer i for the class j
        before = rng.uniform(classes, low=0.5, high=2, dtype=WIDE)
        before = before / before.sum()
        after = rng.uniform(classes, low=0.05, high=1, dtype=WIDE)
        after = after / after.sum()
        confusion, answers = given * before, given @ after
        weight = after / before
        with case(f"{classes} classes"):
            expect(student.label_shift(confusion, answers), after, mistakes={
                "the weights themselves, w: multiply them by the source frequencies": weight,
                "the weights divided by their sum: multiply them by the source frequencies": weight / weight.sum(),
                "the answers as they are: they contain the confusions": answers,
                "column sums are the source frequencies, not row sums": lambda w=weight, c=confusion:
                    w * c.sum(1) / (w * c.sum(1)).sum(),
                "confusion is used transposed": lambda c=confusion, a=answers: with_the_transpose(c, a),
            })  # fmt: skip


def with_the_transpose(confusion: Tensor, answers: Tensor) -> Tensor:
    share = torch.linalg.inv(confusion).T.mv(answers).relu() * confusion.sum(0)
    return share / share.sum()


@lab.check("label_shift")
def frequencies_are_frequencies(student, rng):
    """a class that is not there: nothing negative, and a sum of 1"""
    confusion = torch.tensor([[0.30, 0.05, 0.02], [0.03, 0.25, 0.03], [0.02, 0.03, 0.27]], dtype=WIDE)
    answers = torch.tensor([0.80, 0.17, 0.03], dtype=WIDE)
    weight = torch.linalg.solve(confusion, answers)
    negative = weight * confusion.sum(0)
    with case("the answer 2 is rarer than confusions alone explain"):
        expect(student.label_shift(confusion, answers), label_shift(confusion, answers), mistakes={
            "a negative frequency: negative weights become 0": negative / negative.sum(),
            "the sum is not 1: divide after the negative weights are gone": negative.clamp(min=0),
        })  # fmt: skip


# ---- targets


def shifted(images: Tensor, generator) -> dict[str, Tensor]:
    """Digits as another camera would see them; images: N × 1 × 28 × 28 in [0, 1]."""
    noise = torch.randn(images.shape, generator=generator)
    lamp = torch.rand(len(images), 1, 1, 1, generator=generator)
    return {
        "as before": images,
        "faded": 0.3 * images + 0.4,
        "noisy": (images + 0.4 * noise).clamp(0, 1),
        "blurred": nn.functional.avg_pool2d(images, 5, 1, 2),
        "lamp": 0.6 * images + 0.4 * lamp,
        "inverted": 1 - images,
    }


@beside
def camera_network():
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


@beside
def two_cameras(student, x, t, domains, seed):
    """Answers and last features of a network for each domain: as it is, and after adabn."""
    torch.manual_seed(seed)
    model = camera_network()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    batches = [batch for _ in range(2) for batch in torch.randperm(len(x)).split(100)]
    for batch in progress(batches, "source"):
        loss = torch.nn.functional.cross_entropy(model(x[batch]), t[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    model.eval()
    found = []
    with torch.set_grad_enabled(False):
        reference = model[:-1](x[:300])
    for images in progress(domains, "targets"):
        adapted = copy.deepcopy(model)
        student.adabn(adapted, images, 500)
        row = []
        for network in (model, adapted):
            with torch.set_grad_enabled(False):
                last = network[:-1](images)
                row.append((network[-1](last).argmax(1), last[:300]))
        found.append(row)
    return reference, found


@lab.target("median_distance", "mmd_rbf", "adabn", seconds=4)
def another_camera(student, goals, data, rng):
    """Digits from another camera: batch normalisation with its statistics, without a single label"""
    train, target, test, test_target = data.mnist(full=True, flatten=False)
    x, t, y, y_target = train[:5000] / 255, target[:5000], test[:2000] / 255, test_target[:2000]
    domains = shifted(y, rng.generator)
    reference, found = student.run(two_cameras, x, t, list(domains.values()), rng.seed())
    bandwidth = student.median_distance(reference, reference)
    errors, gaps = {}, {}
    for name, row in zip(domains, found, strict=True):
        errors[name] = [100 * (answers != y_target).double().mean().item() for answers, _ in row]
        gaps[name] = [float(student.mmd_rbf(reference, last, bandwidth)) for _, last in row]
    goals.at_least("errors on faded digits, as it is", errors["faded"][0], 40, "%")
    goals.at_most("errors on faded digits, after adabn", errors["faded"][1], 8, "%")
    goals.at_most("errors on noisy digits, after adabn", errors["noisy"][1], 25, "%")
    goals.seen("errors on noisy digits, as it is", errors["noisy"][0], "%")
    goals.seen("errors on inverted digits, after adabn", errors["inverted"][1], "%")
    goals.at_most("squared MMD to the source, faded digits: after / before", gaps["faded"][1] / gaps["faded"][0], 0.3)
    with goals.picture("cameras.png", size=(10, 3.6)) as figure:
        left, right = figure.subfigures(1, 2, width_ratios=[1.5, 1])
        rows = left.subplots(len(domains), 10)
        left.suptitle("what the adapted network says (red: wrong)", fontsize=9)
        for line, (name, images), row in zip(rows, domains.items(), found, strict=True):
            for n, axes in enumerate(line):
                axes.imshow(images[n, 0].numpy(), vmin=0, vmax=1, cmap="gray")
                axes.axis("off")
                answer, good = int(row[1][0][n]), bool(row[1][0][n] == y_target[n])
                axes.text(29, 20, answer, fontsize=8, color="#2f855a" if good else "#c53030")
            line[0].text(-4, 14, name, ha="right", va="center", fontsize=8)
        axes = right.subplots()
        for name in domains:
            (before, after), (gap, gap_after) = errors[name], gaps[name]
            axes.annotate("", (gap_after, after), (gap, before),
                          arrowprops={"arrowstyle": "->", "color": "#718096", "linewidth": 1})  # fmt: skip
            axes.text(gap, before + (-6 if name == "lamp" else 2.5), name, fontsize=8, ha="center")
        points = [torch.tensor([[gaps[name][k], errors[name][k]] for name in domains]) for k in (0, 1)]
        axes.plot(*points[0].T.numpy(), "o", label="as it is", color="#c2571a")
        axes.plot(*points[1].T.numpy(), "o", label="after adabn", color="#2f855a")
        axes.set(xlabel="squared MMD to the source, last features", ylabel="errors (%)", ylim=(0, 108))
        axes.legend(loc="center right")


def linear_classifier(x: Tensor, t: Tensor) -> Tensor:
    """Weights (D + 1) × 10 of a softmax regression, by Adam."""
    inputs = torch.cat([x, torch.ones(len(x), 1)], 1)
    w = torch.zeros(inputs.shape[1], 10, requires_grad=True)
    optimizer = torch.optim.Adam([w], 0.02, weight_decay=1e-3)
    for _ in range(200):
        loss = nn.functional.cross_entropy(inputs @ w, t)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return w.detach()


def errors_of(w: Tensor, x: Tensor, t: Tensor) -> float:
    return 100 * ((x @ w[:-1] + w[-1]).argmax(1) != t).double().mean().item()


@lab.target("coral_align", seconds=1)
def aligned_covariances(student, goals, data, rng):
    """A linear classifier of 40 principal components; the target is faded, or its sensors are mixed"""
    train, t, test, test_t = data.mnist()
    x, y = train / 255, test / 255
    axes_of_pca = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:40].T
    mixing = torch.eye(40) + 0.15 * rng.normal(40, 40)
    source = x @ axes_of_pca
    plain = linear_classifier(source, t)
    goals.seen("errors on the source's own test set", errors_of(plain, y @ axes_of_pca, test_t), "%")
    for name, target, bound in (
        ("faded", (0.3 * y + 0.4) @ axes_of_pca, 30),
        ("mixed sensors", y @ axes_of_pca @ mixing + 1, 60),
    ):
        aligned = student.coral_align(source, target)
        goals.seen(f"{name}: errors without alignment", errors_of(plain, target, test_t), "%")
        error = errors_of(linear_classifier(aligned, t), target, test_t)
        goals.at_most(f"{name}: errors with CORAL", error, bound, "%")


def moons(n: int, angle: float, generator) -> tuple[Tensor, Tensor]:
    """Two half circles, turned by an angle: n × 2 and labels."""
    t = torch.rand(n, generator=generator) * math.pi
    label = torch.arange(n) % 2
    upper, lower = torch.stack([t.cos(), t.sin()], 1), torch.stack([1 - t.cos(), 0.5 - t.sin()], 1)
    x = torch.where(label[:, None] == 1, lower, upper) - torch.tensor([0.5, 0.25])
    x = x + 0.1 * torch.randn(n, 2, generator=generator)
    c, s = math.cos(angle), math.sin(angle)
    return x @ torch.tensor([[c, s], [-s, c]]), label


@beside
def turned_moons(student, source, label, target, grid, seeds, steps):
    """For each seed and with strength 0 and 1: scores of target and grid after training, and the last domain loss."""
    nn = torch.nn
    found = []
    for number, seed in enumerate(seeds):
        pair = []
        for strength in (0.0, 1.0):
            torch.manual_seed(seed)
            features = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
            classifier, discriminator = nn.Linear(32, 2), nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
            networks = nn.ModuleList([features, classifier, discriminator])
            optimizer = torch.optim.Adam(networks.parameters(), 5e-3)
            for step in progress(range(steps), f"adversary {number + 1} of {len(seeds)}"):
                grown = strength * (2 / (1 + math.exp(-10 * step / steps)) - 1)
                _, domain = student.dann_step(
                    features, classifier, discriminator, optimizer, source, label, target, grown
                )
            with torch.set_grad_enabled(False):
                pair.append((classifier(features(target)), classifier(features(grid)), domain))
        found.append(pair)
    return found


@lab.target("GradReverse", "dann_step", seconds=5)
def an_adversary_turns_moons(student, goals, data, rng):
    """Two moons, turned by 30°, with and without an adversary: five runs of the same program"""
    source, label = moons(300, 0.0, rng.generator)
    target, truth = moons(300, math.pi / 6, rng.generator)
    side = torch.linspace(-2.2, 2.2, 90)
    grid = torch.cartesian_prod(side, side)
    found = student.run(turned_moons, source, label, target, grid, [rng.seed() for _ in range(5)], 300)
    errors = [[100 * (scores.argmax(1) != truth).double().mean().item() for scores, _, _ in pair] for pair in found]
    for k, name in enumerate(("without an adversary", "with an adversary")):
        values = sorted(error[k] for error in errors)
        goals.seen(f"errors {name}: best of five", values[0], "%")
        goals.seen(f"errors {name}: median", values[2], "%")
        goals.seen(f"errors {name}: worst", values[4], "%")
    fooled = sum(pair[1][2] for pair in found) / len(found)
    goals.within("loss of the discriminator against an adversary, mean", fooled, 0.4, 1.2, "nats")
    with goals.picture("moons.png", size=(10, 2.0)) as figure:
        grid_of = figure.subplots(1, 6)
        shown = [
            (found[0][0], errors[0][0], "no adversary"),
            *[(p[1], e[1], "") for p, e in zip(found, errors, strict=True)],
        ]
        for number, (axes, ((_, scores, _), error, name)) in enumerate(zip(grid_of, shown, strict=True)):
            margin = (scores[:, 1] - scores[:, 0]).view(90, 90).T
            axes.contourf(side.numpy(), side.numpy(), margin.sigmoid().numpy(), 20, cmap="RdBu", alpha=0.5)
            axes.contour(side.numpy(), side.numpy(), margin.numpy(), [0], colors="black", linewidths=1)
            axes.scatter(*target.T.numpy(), s=3, c=truth.numpy(), cmap="RdBu", edgecolors="#4a5568", linewidths=0.1)
            axes.set(xticks=[], yticks=[], title=f"{name or f'adversary, run {number}'}: {error:.0f} %", aspect="equal")
            axes.title.set_fontsize(8)
            axes.grid(False)


@beside
def confusing_network(student, x, t, held, seed):
    torch.manual_seed(seed)
    w = torch.zeros(x.shape[1] + 1, 10, requires_grad=True)
    inputs, optimizer = torch.nn.functional.pad(x, (0, 1), value=1.0), torch.optim.Adam([w], 0.02)
    for _ in range(100):
        loss = torch.nn.functional.cross_entropy(inputs @ w, t)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return [(torch.nn.functional.pad(images, (0, 1), value=1.0) @ w).argmax(1).detach() for images in held]


@lab.target("label_shift", seconds=1)
def an_epidemic_of_threes(student, goals, data, rng):
    """Digits with other frequencies: how many threes are there?"""
    train, t, test, test_t = data.mnist(full=True)
    x, held, new = train[:1000] / 255, train[1000:6000] / 255, test / 255
    wanted = torch.tensor([0.5, 0.5, 0.5, 5.0, 0.5, 0.5, 0.5, 1.0, 0.5, 0.5])
    chosen = torch.multinomial((wanted / wanted.max())[test_t], 3000, generator=rng.generator)
    answers, new_answers = student.run(confusing_network, x, t[:1000], [held, new[chosen]], rng.seed())
    confusion = torch.zeros(10, 10, dtype=WIDE)
    confusion.index_put_((answers, t[1000:6000]), torch.tensor(1 / 5000, dtype=WIDE), accumulate=True)
    counted = new_answers.bincount(minlength=10).double() / 3000
    truth = test_t[chosen].bincount(minlength=10).double() / 3000
    estimate = student.label_shift(confusion, counted)
    goals.at_most("largest error of a frequency, label_shift", 100 * (estimate - truth).abs().max().item(), 3, "points")
    goals.seen("largest error of a frequency, counting answers", 100 * (counted - truth).abs().max().item(), "points")
    with goals.picture("threes.png", size=(7, 2.8)) as figure:
        axes = figure.subplots()
        place = torch.arange(10)
        kinds = (
            (truth, "truth", "#4a5568"),
            (counted, "answers, counted", "#c2571a"),
            (estimate, "label_shift", "#2f855a"),
        )
        for k, (values, name, colour) in enumerate(kinds):
            axes.bar((place + 0.27 * (k - 1)).numpy(), (100 * values).numpy(), 0.25, label=name, color=colour)
        axes.set(xlabel="digit", ylabel="frequency (%)", xticks=range(10))
        axes.legend()


if __name__ == "__main__":
    sys.exit(lab.main())
