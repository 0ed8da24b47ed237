"""The checks of lab 17. Reading them is allowed and useful."""

import math
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import float64

PARTS = ["median_distance", "mmd_rbf", "coral_align", "adabn", "GradReverse", "dann_step", "label_shift"]
lab = Lab(__file__, parts=PARTS)


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
        x, y = rng.normal(n, d, dtype=float64), 3 + rng.normal(m, d, dtype=float64)
        both = torch.cat([x, y])
        table = (both[:, None] - both[None]).norm(dim=2)
        pairs = table[*torch.triu_indices(n + m, n + m, 1)]
        with case(f"{n} and {m} rows of dimension {d}"):
            expect(
                student.median_distance(x, y),
                median_distance(x, y),
                mistakes={
                    "the lower of the two middle distances; take the mean of both": pairs.median().item(),
                    "the distance of a row to itself counts": table.flatten().quantile(0.5).item(),
                    "distances between x and y only: put both together first": table[:n, n:].quantile(0.5).item(),
                    "the mean instead of the median": pairs.mean().item(),
                    "the median of squared distances": pairs.square().quantile(0.5).item(),
                    "the upper of the two middle distances; take the mean of both": -(-pairs).median().item(),
                    "rows with themselves are among the pairs": (
                        torch.cat([pairs, torch.zeros(n + m, dtype=float64)]).quantile(0.5).item()
                    ),
                    "distances within x only: put both together first": lambda x=x: torch.pdist(x).quantile(0.5).item(),
                    "distances within y only: put both together first": lambda y=y: torch.pdist(y).quantile(0.5).item(),
                    "no pair of a row of x and a row of y is among them": lambda x=x, y=y: (
                        torch.cat([torch.pdist(x), torch.pdist(y)]).quantile(0.5).item()
                    ),
                    "divided by √2: the distance itself is asked for": pairs.quantile(0.5).item() / math.sqrt(2),
                    "half of it: the distance itself is asked for": pairs.quantile(0.5).item() / 2,
                    "sums of absolute differences, not the roots of sums of squares": (
                        torch.pdist(both, 1).quantile(0.5).item()
                    ),
                },
            )


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
        x, y = rng.normal(n, d, dtype=float64), 0.8 + rng.normal(m, d, dtype=float64)
        xx, yy, xy = ((a[:, None] - b[None]).square().sum(2) for a, b in ((x, x), (y, y), (x, y)))

        def with_kernel(k, xx=xx, yy=yy, xy=xy):
            return k(xx).mean() + k(yy).mean() - 2 * k(xy).mean()

        def k(squared, h=bandwidth):
            return (-squared / (2 * h**2)).exp()

        def apart(table, k=k):
            return (k(table).sum() - len(table)) / (len(table) * (len(table) - 1))

        with case(f"{n} and {m} rows of dimension {d}, bandwidth {bandwidth}"):
            want = mmd_rbf(x, y, bandwidth)
            expect(
                student.mmd_rbf(x, y, bandwidth),
                want,
                mistakes={
                    "the root: the squared discrepancy is asked for": lambda want=want: want.sqrt(),
                    "distances are not squared in the kernel": lambda f=with_kernel, h=bandwidth: f(
                        lambda s: (-s.sqrt() / (2 * h**2)).exp()
                    ),
                    "the factor 2 in 2 bandwidth² is missing": lambda f=with_kernel, h=bandwidth: f(
                        lambda s: (-s / h**2).exp()
                    ),
                    "the bandwidth is not squared": lambda f=with_kernel, h=bandwidth: f(
                        lambda s: (-s / (2 * h)).exp()
                    ),
                    "the mixed pairs count once: they are subtracted twice": lambda f=with_kernel, k=k, xy=xy: (
                        f(k) + k(xy).mean()
                    ),
                    "pairs of a row with itself are left out": lambda f=apart, k=k, xx=xx, yy=yy, xy=xy: (
                        f(xx) + f(yy) - 2 * k(xy).mean()
                    ),
                    "the mixed pairs are added: they are subtracted": lambda f=with_kernel, k=k, xy=xy: (
                        f(k) + 4 * k(xy).mean()
                    ),
                    "the squared distance is averaged over the D features, not added": lambda f=with_kernel, k=k, d=d: (
                        f(lambda s: k(s / d))
                    ),
                    "multiplied by 2 bandwidth², not divided": lambda f=with_kernel, h=bandwidth: f(
                        lambda s: (-s * (2 * h**2)).exp()
                    ),
                    "multiplied by the bandwidth, not divided by 2 bandwidth²": lambda f=with_kernel, h=bandwidth: f(
                        lambda s: (-s * h).exp()
                    ),
                    "the minus in the exponent is missing": lambda f=with_kernel, k=k: f(lambda s: k(-s)),
                    "the squared distance of the two means: no kernel": (x.mean(0) - y.mean(0)).square().sum(),
                    "only the mixed pairs: those within x and within y are missing": lambda k=k, xy=xy: (
                        -2 * k(xy).mean()
                    ),
                    "the sign is turned: the mixed pairs are subtracted": lambda want=want: -want,
                    "sums instead of means": lambda k=k, xx=xx, yy=yy, xy=xy: (
                        k(xx).sum() + k(yy).sum() - 2 * k(xy).sum()
                    ),
                },
            )


@student_side
def gradient_of_mmd(student, x, y, bandwidth):
    x = x.clone().requires_grad_()
    value = student.mmd_rbf(x, y, bandwidth)
    value.backward()
    return value.detach(), x.grad


@lab.check("mmd_rbf")
def discrepancy_has_a_gradient(student, rng):
    """0 for identical samples, larger for larger shifts, and a finite gradient"""
    x = rng.normal(40, 3, dtype=float64)
    expect(student.mmd_rbf(x, x[torch.arange(39, -1, -1)], 1.0), torch.zeros((), dtype=float64), atol=1e-9)
    values = [student.mmd_rbf(x, x + shift, 1.0).item() for shift in (0.1, 0.5, 1.0, 2.0)]
    require(values == sorted(values) and values[0] > 0, f"shifts of 0.1, 0.5, 1 and 2 give {values}: not increasing")
    y = rng.normal(30, 3, dtype=float64) + 0.5
    _, gradient = student.run(gradient_of_mmd, x, y, 1.5)
    small, want = 1e-5, torch.zeros(2, 3, dtype=float64)
    for i in range(2):
        for j in range(3):
            step = torch.zeros_like(x)
            step[i, j] = small
            want[i, j] = (mmd_rbf(x + step, y, 1.5) - mmd_rbf(x - step, y, 1.5)) / (2 * small)
    with case(
        "the gradient with respect to x, against differences",
        look="a square root has an infinite derivative at 0, where a row meets itself",
    ):
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


def power_of(matrix: Tensor, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ (values**power).diag() @ vectors.T


def turned_power(x: Tensor, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(torch.cov(x.T).reshape(x.shape[1], -1))
    return vectors.T @ (values**power).diag() @ vectors


@lab.check("coral_align")
def aligned_samples(student, rng):
    """against roots by singular values; mean and covariance are those of the target"""
    for n, m, d in (30, 20, 4), (12, 17, 3), (9, 8, 1):
        source = rng.normal(n, d, dtype=float64) @ rng.normal(d, d, dtype=float64) + 1
        target = rng.normal(m, d, dtype=float64) @ rng.normal(d, d, dtype=float64) - 3
        got = student.coral_align(source, target)

        def root(x, power, low=False):
            return power_of(torch.cov(x.T, correction=0 if low else 1).reshape(x.shape[1], -1), power)

        s, t = source - source.mean(0), target.mean(0)
        white, colour = root(source, -0.5), root(target, 0.5)
        with case(f"{n} source and {m} target rows of dimension {d}"):
            expect(
                got,
                coral_align(source, target),
                rtol=1e-6,
                mistakes={
                    "the mean of the source is kept": s @ white @ colour + source.mean(0),
                    "the mean of the target is missing": s @ white @ colour,
                    "the mean of the source is not subtracted": source @ white @ colour + t,
                    "the roles of source and target are exchanged": s @ root(target, -0.5) @ root(source, 0.5) + t,
                    "first the root of Ct, then that of Cs: the order is the other one": s @ colour @ white + t,
                    "Cs itself is inverted, not its root": s @ root(source, -1.0) @ colour + t,
                    "the covariance of the target is used, not its root": s @ white @ root(target, 1.0) + t,
                    "the source is whitened and not coloured": s @ white + t,
                    "the source is coloured and not whitened": s @ colour + t,
                    "only the mean is aligned": s + t,
                    "the source is centred with the mean of the target": (source - t) @ white @ colour + t,
                    "covariances are divided by N and M, not by N − 1 and M − 1": (
                        s @ root(source, -0.5, True) @ root(target, 0.5, True) + t
                    ),
                    "only the standard deviations are aligned, not the correlations": s / source.std(0) * target.std(0)
                    + t,
                    "multiplied by the root of Cs: it is inverted": s @ root(source, 0.5) @ colour + t,
                    "divided by the roots of both: Ct has the power +1/2": s @ white @ root(target, -0.5) + t,
                    "I is added to both covariances": lambda s=s, a=source, b=target, t=t, f=power_of: (
                        s
                        @ f(torch.cov(a.T).reshape(len(t), -1) + torch.eye(len(t)), -0.5)
                        @ f(torch.cov(b.T).reshape(len(t), -1) + torch.eye(len(t)), 0.5)
                        + t
                    ),
                    "means are not subtracted in the covariances": lambda s=s, a=source, b=target, t=t, f=power_of: (
                        s @ f(a.T @ a / (len(a) - 1), -0.5) @ f(b.T @ b / (len(b) - 1), 0.5) + t
                    ),
                    "Uᵀ Λᵖ U: a symmetric matrix is U Λ Uᵀ": lambda s=s, a=source, b=target, t=t: (
                        s @ turned_power(a, -0.5) @ turned_power(b, 0.5) + t
                    ),
                    "Cholesky factors instead of symmetric roots": lambda s=s, source=source, target=target, t=t: (
                        s
                        @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(source.T))).T
                        @ torch.linalg.cholesky(torch.cov(target.T)).T
                        + t
                    ),
                },
            )
            expect(torch.cov(got.T), torch.cov(target.T), rtol=1e-6, atol=1e-8)


@lab.check("coral_align")
def aligned_samples_without_an_inverse(student, rng):
    """a source feature that never changes; fewer rows than features"""
    source, target = (
        rng.normal(15, 4, dtype=float64),
        rng.normal(11, 4, dtype=float64) @ rng.normal(4, 4, dtype=float64),
    )
    source[:, 2] = 7
    with case("source feature 2 is always 7", look="an eigenvalue of 0 has no power −1/2: use 0 in its place"):
        expect(student.coral_align(source, target), coral_align(source, target), rtol=1e-6, atol=1e-8)
    source, target = rng.normal(4, 6, dtype=float64), rng.normal(5, 6, dtype=float64)
    with case("4 source rows of dimension 6", look="eigenvalues near 0 may come out negative: compare, then invert"):
        expect(student.coral_align(source, target), coral_align(source, target), rtol=1e-6, atol=1e-8)


def small_network(seed: int) -> nn.Sequential:
    """Convolution, batch normalisation, dropout and linear layers, with statistics of some source."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 2),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(27, 5),
        nn.BatchNorm1d(5, momentum=0.3),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Linear(5, 2),
    ).double()
    for layer in (model[1], model[6]):
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
        layer.num_batches_tracked += 7
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return model.eval()


@student_side
def after_adabn(student, layers, x, batch_size, training):
    """The state, the modes, the momenta and whether there are gradients after the student's adabn."""
    names = {
        "conv": torch.nn.Conv2d,
        "norm2": torch.nn.BatchNorm2d,
        "norm1": torch.nn.BatchNorm1d,
        "linear": torch.nn.Linear,
        "relu": torch.nn.ReLU,
        "tanh": torch.nn.Tanh,
        "flat": torch.nn.Flatten,
        "drop": torch.nn.Dropout,
    }
    modules = []
    for kind, arguments, state, mode in layers:
        module = names[kind](*arguments).double()
        module.load_state_dict(state)
        module.train(mode)
        modules.append(module)
    model = torch.nn.Sequential(*modules)
    model.training = training
    model[6].momentum = 0.3
    kept = torch.full_like(model[9].weight, 0.5)
    model[9].weight.grad = kept.clone()
    seen = []
    hook = model[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    result = student.adabn(model, x, batch_size)
    hook.remove()
    gradients = [name for name, p in model.named_parameters() if p.grad is not None]
    if model[9].weight.grad is not None and not torch.equal(model[9].weight.grad, kept):
        gradients = ["changed"]
    flags = [bool(model.training), *[bool(module.training) for module in modules]]
    states = [dict(module.state_dict()) for module in modules]
    return states, flags, [model[1].momentum, model[6].momentum], gradients, result is None, seen


def described(model: nn.Sequential, modes: list[bool]) -> list[tuple]:
    """The layers as data: kind, arguments, state, mode."""
    kinds = {
        nn.Conv2d: ("conv", (2, 3, 2)),
        nn.BatchNorm2d: ("norm2", (3,)),
        nn.BatchNorm1d: ("norm1", (5,)),
        nn.ReLU: ("relu", ()),
        nn.Tanh: ("tanh", ()),
        nn.Flatten: ("flat", ()),
        nn.Dropout: ("drop", (0.5,)),
    }
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
        if what == "old":
            mean, var = layer.running_mean.clone(), layer.running_var.clone()
        if what == "reset only":
            mean, var = torch.zeros_like(mean), torch.ones_like(var)
        if what in ("last", "first"):
            mean, var = (part.detach() for part in pairs[0 if what == "first" else -1])
        if what == "sum":
            mean, var = mean * len(pairs), var * len(pairs)
        if what == "deviation":
            var = var.sqrt()
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
    "old": "the statistics are those of the source, as before: were the layers in train mode?",
    "reset only": "means of 0 and variances of 1: they are reset, and nothing is measured",
    "last": "the statistics of the last batch alone: take the average over the batches",
    "first": "the statistics of the first batch alone: take the average over the batches",
    "sum": "the sum over the batches, not their average",
    "deviation": "running_var holds variances, not standard deviations",
    "frozen": "later layers saw features normalised with the old statistics",
}


@lab.check("adabn")
def statistics_of_the_target(student, rng):
    """running means and variances, layer by layer and batch by batch"""
    for n, batch_size in (12, 4), (6, 6), (10, 2):
        model, x = small_network(rng.seed()), 2 + 3 * rng.normal(n, 2, 4, 4, dtype=float64)
        states, _, _, _, _, _ = student.run(after_adabn, described(model, [False] * 10), x, batch_size, False)
        want = new_statistics(model, x, batch_size)
        wrong = {text: new_statistics(model, x, batch_size, what) for what, text in ADABN_MISTAKES.items()}
        for number in (1, 6):
            names = ("running_mean", "running_var")
            with case(
                f"{n} images in batches of {batch_size}, batch normalisation as layer {number}",
                look="did dropout, or a layer before this one, change its input?",
            ):
                got = tuple(states[number][name] for name in names)
                mistakes = {
                    text: value[number]
                    for text, value in wrong.items()
                    if not (number == 1 and text == ADABN_MISTAKES["frozen"]) and n > batch_size
                }
                expect(got, want[number], names=names, mistakes=mistakes)


@lab.check("adabn")
def one_pass_in_order(student, rng):
    """every row of x goes through the model once, batch after batch, in the order of x"""
    model, x = small_network(rng.seed()), rng.normal(12, 2, 4, 4, dtype=float64)
    *_, seen = student.run(after_adabn, described(model, [False] * 10), x, 4, False)
    sizes = [len(batch) for batch in seen]
    require(bool(sizes), "the model was never called")
    require(set(sizes) == {4}, f"12 rows with batch_size 4: the model got batches of {sizes}")
    require(len(seen) == 3, f"the model was called {len(seen)} times: 12 rows are 3 batches of 4, one pass")
    require(torch.equal(torch.cat(seen), x), "the rows do not come in the order of x")


@student_side
def adabn_of_other_models(student, x, batch_size):
    """Statistics after adabn of a lone layer, and of a layer deep inside of a module with its own forward."""

    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.ModuleDict({"deep": torch.nn.Sequential(torch.nn.BatchNorm1d(3, affine=False))})

        def forward(self, x):
            return x + 2 * self.inner["deep"](x)

    found = []
    for model in (torch.nn.BatchNorm1d(3).double(), Outer().double()):
        student.adabn(model, x, batch_size)
        found += [(name, value) for name, value in model.named_buffers() if "running" in name]
    volume = torch.nn.BatchNorm3d(3).double()
    student.adabn(volume, x[:, :, None, None, None], batch_size)
    return [*found, ("running_mean", volume.running_mean), ("running_var", volume.running_var)]


@lab.check("adabn")
def statistics_of_any_module(student, rng):
    """a model that is itself a batch normalisation, one deep inside of a module, and one of volumes"""
    x = 1 + 2 * rng.normal(9, 3, dtype=float64)
    batches = x.split(3)
    mean, var = torch.stack([b.mean(0) for b in batches]).mean(0), torch.stack([b.var(0) for b in batches]).mean(0)
    found = student.run(adabn_of_other_models, x, 3)
    models = ("a lone BatchNorm1d", "a BatchNorm1d in a Sequential in a ModuleDict", "a lone BatchNorm3d")
    for number, text in enumerate(models):
        with case(text):
            pair = found[2 * number : 2 * number + 2]
            untouched = (torch.zeros(3, dtype=float64), torch.ones(3, dtype=float64))
            expect(
                tuple(value for _, value in pair),
                (mean, var),
                names=("running_mean", "running_var"),
                mistakes={"nothing is measured in this layer: modules() has all, whatever their class": untouched},
            )


@lab.check("adabn")
def nothing_else_changes(student, rng):
    """weights, modes, momenta are as before, and there are no gradients"""
    model, x = small_network(rng.seed()), rng.normal(8, 2, 4, 4, dtype=float64)
    for text, modes, whole in (
        ("the model in eval mode", [False] * 10, False),
        ("the model in train mode", [True] * 10, True),
        ("layers 3 and 6 in train mode, all others in eval mode", [n in (3, 6) for n in range(10)], False),
    ):
        with case(text):
            before = described(model, modes)
            states, flags, momenta, gradients, none, _ = student.run(after_adabn, before, x, 4, whole)
            require(none, "adabn returned something: it changes the model and returns nothing")
            require(
                flags == [whole, *modes],
                f"train or eval mode afterwards: {flags}, before: {[whole, *modes]}",
                look="remember the mode of every module, and put it back",
            )
            require(
                momenta == [0.1, 0.3],
                f"the momenta were 0.1 and 0.3, afterwards they are {momenta}",
                likely="momentum = None was left in the layers" if None in momenta else None,
            )
            require(gradients != ["changed"], "the gradient of the last weight is another one now")
            require("9.weight" in gradients, "the gradient of the last weight is gone: gradients stay as they are")
            require(gradients == ["9.weight"], f"{len(gradients) - 1} parameters have gradients that had none before")
            for number, (_, _, old, _) in enumerate(before):
                for name, value in old.items():
                    if "running" not in name and "tracked" not in name:
                        require(torch.equal(states[number][name], value), f"{name} of layer {number} has changed")
            want = new_statistics(model, x, 4)
            for number in (1, 6):
                got = tuple(states[number][name] for name in ("running_mean", "running_var"))
                with case("the new statistics", look="dropout must do nothing during the pass, whatever its mode is"):
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


@student_side
def through_grad_reverse(student, x, weight, strength):
    x = x.clone().requires_grad_()
    y = student.GradReverse.apply(x, strength)
    (y * weight).sum().backward()
    return y.detach(), x.grad


@lab.check("GradReverse")
def gradient_turned_round(student, rng):
    """the identity forward, minus strength times the gradient backward"""
    for shape, strength in ((3, 5), 0.7), ((4,), 2.0), ((2, 1, 3), 0.0), ((1, 1), 1.0):
        x, weight = rng.normal(*shape, dtype=float64), rng.normal(*shape, dtype=float64)
        with case(f"{len(shape)}-dimensional x, strength {strength:g}"):
            y, gradient = student.run(through_grad_reverse, x, weight, strength)
            expect(y, x, mistakes={"the sign is turned in forward, too": -x, "scaled in forward, too": strength * x})
            require(isinstance(gradient, Tensor), "no gradient arrives at x")
            expect(
                gradient,
                -strength * weight,
                mistakes={
                    "the gradient keeps its sign": strength * weight,
                    "strength is ignored": -weight,
                    "the gradient passes as it is": weight,
                    "the gradient is divided by −strength": lambda w=weight, s=strength: -w / s,
                    "strength is subtracted, not multiplied": weight - strength,
                    "1 − strength in the place of −strength": (1 - strength) * weight,
                    "the gradient is multiplied by x, too": -strength * weight * x,
                    "the gradient is multiplied by strength twice": -(strength**2) * weight,
                    "no gradient goes through: it is 0": torch.zeros_like(weight),
                },
            )


@student_side
def two_strengths(student, x, weights, strengths):
    x = x.clone().requires_grad_()
    turned = [student.GradReverse.apply(x, strength) for strength in strengths]
    found = []
    for y, weight in zip(turned, weights, strict=True):
        x.grad = None
        (y * weight).sum().backward()
        found.append(x.grad)
    return found


@lab.check("GradReverse")
def each_call_keeps_its_strength(student, rng):
    """two calls with different strengths, then the backward passes of both"""
    x, weights, strengths = rng.normal(4, 3), [rng.normal(4, 3), rng.normal(4, 3)], [0.5, 3.0]
    found = student.run(two_strengths, x, weights, strengths)
    for number in (0, 1):
        require(isinstance(found[number], Tensor), "no gradient arrives at x")
        other = strengths[1 - number]
        with case(f"strength {strengths[number]:g}, beside a call with {other:g}"):
            expect(
                found[number],
                -strengths[number] * weights[number],
                mistakes={
                    "the strength of the other call: keep it in ctx, which belongs to one call": (
                        -other * weights[number]
                    ),
                    "the gradient keeps its sign": strengths[number] * weights[number],
                    "strength is ignored": -weights[number],
                    "the gradient passes as it is": weights[number],
                },
            )


def three_networks(seed: int) -> list[list[Tensor]]:
    """Weights of features 3 → 4, classifier 4 → 3, discriminator 4 → 1."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((4, 3), (3, 4), (1, 4))
    return [
        [
            torch.randn(*size, generator=generator, dtype=float64),
            torch.randn(size[0], generator=generator, dtype=float64),
        ]
        for size in sizes
    ]


@student_side
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


@student_side
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
        before = [[p.detach() for p in pair] for pair in weights]
        hidden = [(x @ weights[0][0].T + weights[0][1]).tanh() for x in (source, target)]
        scores = hidden[0] @ weights[1][0].T + weights[1][1]
        odds = [h @ weights[2][0].T + weights[2][1] for h in hidden]
        if what == "sigmoid":
            odds = [o.sigmoid() for o in odds]
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
        if what == "target only":
            domain = losses_of[1]
        if what == "sums":
            domain = domain * sum(counts)
        classes = cross_entropy(scores, label)
        losses.append((classes.item(), domain.item()))
        of_classes = torch.autograd.grad(classes, flat, retain_graph=True, allow_unused=True)
        of_domain = torch.autograd.grad(domain, flat, allow_unused=True)
        signs = {
            "not reversed": (1, 1),
            "strength forward": (strength, 1),
            "subtracted": (strength, -1),
            "all reversed": (-strength, -strength),
            "scaled": (-strength, strength),
            "strength twice": (-(strength**2), strength),
            "strength ignored": (-1, 1),
            "domain detached": (0, 1),
            "discriminator rests": (-strength, 0),
            "classes only": (0, 0),
        }
        sign = signs.get(what, (-strength, 1))
        total = []
        for number, (a, b) in enumerate(zip(of_classes, of_domain, strict=True)):
            b = torch.zeros_like(flat[number]) if b is None else b
            if what == "domain only" or (what == "classes detached" and number < 2):
                a = None
            total.append((0 if a is None else a) + (sign[0] if number < 2 else sign[1]) * b)
        if what == "accumulates" and kept is not None:
            total = [a + b for a, b in zip(total, kept, strict=True)]
        kept = total
        new = [(p - rate * g).detach() for p, g in zip(flat, total, strict=True)]
        weights = before if what == "wiped" else [new[0:2], new[2:4], new[4:6]]
        if what == "late":
            losses[-1] = dann_by_parts(weights, source, label, target, strength, rate, 1)[1][0]
    return [[p.detach() for p in pair] for pair in weights], losses


DANN_MISTAKES = {
    "not reversed": "the features help the discriminator: its gradient must be reversed before it reaches them",
    "all reversed": "the discriminator's own gradient is reversed, too: GradReverse belongs between features and it",
    "scaled": "the discriminator's loss is multiplied by strength: only the reversed gradient is",
    "labels": "the domains are exchanged: the discriminator gives the log-odds of the target",
    "two means": "the mean over the source plus that over the target: take one mean over all rows",
    "mean of means": "both domains weigh the same: take one mean over all rows",
    "source only": "the discriminator never sees the target",
    "target only": "the discriminator never sees the source",
    "sums": "the sum over all rows, not the mean, of the domains",
    "sigmoid": "a sigmoid before the loss: the discriminator gives log-odds, and the loss has its own sigmoid",
    "strength forward": "the features help the discriminator: the gradient is scaled and not reversed",
    "subtracted": "the loss of the domains is subtracted: add both, GradReverse turns the sign for the features",
    "strength twice": "strength is used twice: in the loss and in GradReverse",
    "strength ignored": "the gradient is reversed, strength is ignored",
    "domain detached": "no gradient of the domains reaches the features",
    "discriminator rests": "the discriminator does not learn: its own gradient is missing",
    "classes only": "the loss of the domains has no part in the step",
    "domain only": "the loss of the classes has no part in the step",
    "classes detached": "no gradient of the classes reaches the features",
    "wiped": "nothing has changed: a backward pass, then step, with zero_grad before both",
    "late": "the losses are measured after the step",
    "accumulates": "gradients of earlier steps are still there: zero_grad",
}


@lab.check("dann_step")
def steps_against_both_gradients(student, rng):
    """one and two steps of gradient descent, from the gradients of both losses taken apart"""
    for n, m, strength, steps in (5, 3, 0.6, 1), (2, 6, 1.7, 1), (4, 4, 0.0, 1), (4, 3, 0.5, 2):
        weights = three_networks(rng.seed())
        source, label = rng.normal(n, 3, dtype=float64), rng.integers(0, 3, n)
        target = 1 + rng.normal(m, 3, dtype=float64)
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
                mistakes["the sum of both losses is returned as the first"] = [(a + b, b) for a, b in right]
                mistakes["strength times the loss of the domains is returned"] = [(a, strength * b) for a, b in right]
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
        given = torch.eye(classes, dtype=float64) * 3 + rng.uniform(classes, classes, dtype=float64)
        given = given / given.sum(0)  # given[i, j]: the answer i for the class j
        before = rng.uniform(classes, low=0.5, high=2, dtype=float64)
        before = before / before.sum()
        after = rng.uniform(classes, low=0.05, high=1, dtype=float64)
        after = after / after.sum()
        confusion, answers = given * before, given @ after
        weight = after / before
        with case(f"{classes} classes"):
            expect(
                student.label_shift(confusion, answers),
                after,
                mistakes={
                    "the weights themselves, w: multiply them by the source frequencies": weight,
                    "the weights divided by their sum: multiply them by the source frequencies": weight / weight.sum(),
                    "the answers as they are: they contain the confusions": answers,
                    "column sums are the source frequencies, not row sums": lambda w=weight, c=confusion: (
                        w * c.sum(1) / (w * c.sum(1)).sum()
                    ),
                    "confusion is used transposed": lambda c=confusion, a=answers: with_the_transpose(c, a),
                    "the source frequencies: the answers on the target are not used": before,
                    "multiplied by the source frequencies twice: w has them already where confusion was divided by "
                    "its column sums": after * before / (after * before).sum(),
                    "confusion divided by its column sums, times answers: solve for the weights": (
                        confusion / confusion.sum(0)
                    )
                    @ answers,
                    "confusion divided by its column sums, transposed, times answers: solve for the weights": (
                        lambda c=confusion, a=answers: (c / c.sum(0)).T @ a / ((c / c.sum(0)).T @ a).sum()
                    ),
                    "the answers divided by the column sums: solve for the weights": (
                        lambda c=confusion, a=answers: a / c.sum(0) / (a / c.sum(0)).sum()
                    ),
                    "divided by the source frequencies, not multiplied": (weight / before) / (weight / before).sum(),
                    "source / target: the weights are the other way round": before / after,
                    "confusion times answers: solve for the weights": lambda c=confusion, a=answers, b=before: (
                        (c @ a) * b / ((c @ a) * b).sum()
                    ),
                    "the products of confusion and answers: solve for the weights": lambda c=confusion, a=answers: (
                        (c @ a) / (c @ a).sum()
                    ),
                    "confusion is divided by its row sums: Bayes with the source's frequencies": (
                        lambda c=confusion, a=answers: (c / c.sum(1, keepdim=True)).T @ a
                    ),
                },
            )


def with_the_transpose(confusion: Tensor, answers: Tensor) -> Tensor:
    share = torch.linalg.inv(confusion).T.mv(answers).relu() * confusion.sum(0)
    return share / share.sum()


@lab.check("label_shift")
def frequencies_are_frequencies(student, rng):
    """a class that is not there: nothing negative, and a sum of 1"""
    confusion = torch.tensor([[0.30, 0.05, 0.02], [0.03, 0.25, 0.03], [0.02, 0.03, 0.27]], dtype=float64)
    answers = torch.tensor([0.80, 0.17, 0.03], dtype=float64)
    weight = torch.linalg.solve(confusion, answers)
    negative = weight * confusion.sum(0)
    with case("the answer 2 is rarer than confusions alone explain"):
        expect(
            student.label_shift(confusion, answers),
            label_shift(confusion, answers),
            mistakes={
                "a negative frequency: negative weights become 0": negative / negative.sum(),
                "the absolute value of a negative weight: it becomes 0": negative.abs() / negative.abs().sum(),
                "shifted so that the least is 0: negative weights become 0": (
                    (negative - negative.min()) / (negative - negative.min()).sum()
                ),
                "a softmax: negative weights become 0, then divide by the sum": negative.softmax(0),
                "the sum is not 1: divide after the negative weights are gone": negative.clamp(min=0),
            },
        )


if __name__ == "__main__":
    sys.exit(run_checks(lab))
