"""The checks of lab 08. Reading them is allowed and useful."""

import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import differentiable, shape_texts

lab = Lab(
    __file__,
    parts=["generate_disc_set", "xavier_", "kaiming_", "Dropout", "BatchNorm", "ResNetBlock", "get_stats"],
)
HERE = "it is what you are writing"
lab.forbid("xavier_", names=["init"], why=HERE)
lab.forbid("kaiming_", names=["init"], why=HERE)
lab.forbid("Dropout", names=["dropout", "nn.Dropout", "autograd"], why=HERE)
lab.forbid("BatchNorm", names=["batch_norm", "BatchNorm1d", "autograd"], why=HERE)

# ---- 1 generate_disc_set


@lab.check("generate_disc_set")
def inside_is_one(student, rng):
    """the class of every point, from its distance"""
    for nb in 500, 7, 1:
        with case(f"{nb} points" if nb > 1 else "one point"):
            points, classes = student.generate_disc_set(nb)
            expect(points * 0, torch.zeros(nb, 2))
            require(points.dtype == torch.float32, f"the points should be float32, they are {str(points.dtype)[6:]}")
            squares = points.double().square().sum(1)
            sure = (squares - 2 / math.pi).abs() > 1e-6  # on the circle itself a rounding may decide
            expect(
                classes * sure,
                (squares < 2 / math.pi).long() * sure,
                mistakes={
                    "that is a square of half the area, not a disc": (points.abs().amax(1) < 0.5**0.5) * sure,
                    "the distance is |x| + |y| here, it should be √(x² + y²)": (
                        points.abs().sum(1) < math.sqrt(2 / math.pi)
                    )
                    * sure,
                    "class 1 should be inside of the disc, not outside": (squares > 2 / math.pi).long() * sure,
                    "the radius is √(2/π): compare the squared distance with 2/π": (squares < (2 / math.pi) ** 2)
                    * sure,
                    "the distance is compared with 2/π, not with its root": (squares.sqrt() < 2 / math.pi) * sure,
                    "the disc of radius 1 has more than half of the area": (squares < 1) * sure,
                },
            )


@student_side
def two_sets(student, nb):
    return student.generate_disc_set(nb)[0], student.generate_disc_set(nb)[0]


@lab.check("generate_disc_set")
def points_fill_the_square(student, rng):
    """points uniform in the square, half of them inside"""
    points, classes = student.generate_disc_set(4000)
    require(points.abs().max() <= 1, "there are points outside of the square")
    require(
        points.min() < -0.9,
        "there are no points near −1",
        likely="torch.rand gives numbers in [0, 1]" if points.min() >= 0 else None,
    )
    require(points.max() > 0.9, "there are no points near 1")
    one, other = student.run(two_sets, 50)
    require(not torch.equal(one, other), "two calls give the same points", likely="a seed is set in the function")
    spread = points.var(0)
    require((spread - 1 / 3).abs().max() < 0.03, f"the variance is {spread.mean():.2f}; that of uniform points is 0.33")
    correlation = float((points[:, 0] * points[:, 1]).mean())
    require(abs(correlation) < 0.03, "the two coordinates are not independent")
    share = classes.double().mean().item()
    require(0.45 < share < 0.55, f"{100 * share:.0f} % of the points have class 1, it should be about half")


# ---- 2 and 3, initialisation

SHAPES = ((300, 100), (100, 300), (40, 30, 5, 3), (30, 40, 3, 5))


def check_scale(student, name, rng, variance):
    """Normal numbers in place, with the variance that `variance(fan_in, fan_out)` gives."""
    for shape in SHAPES:
        with case("a weight of " + " × ".join(map(str, shape))):
            w = 7 * rng.normal(*shape) + 1
            result, (after,) = student.changing(name, w, may=[0])
            require(
                not torch.equal(after, w),
                "the weight is as it was",
                likely="a new tensor was filled, not w"
                if isinstance(result, torch.Tensor) and not torch.equal(result, w)
                else None,
            )
            expect(result, after, look="what is returned should be w itself")
            d, c, kernel = shape[0], shape[1], math.prod(shape[2:])
            right = variance(c * kernel, d * kernel)
            expect(
                after.double().std().item(),
                math.sqrt(right),
                rtol=0.03,
                mistakes={
                    "normal_ wants a standard deviation, that is a variance": right,
                    "numbers that are uniform up to the standard deviation have a third of the variance": math.sqrt(
                        right / 3
                    ),
                    "√(6 / …) is the bound of the uniform version, √3 times the standard deviation": math.sqrt(
                        3 * right
                    ),
                    "the standard deviation is 1: the numbers are not scaled": 1.0,
                    "that is 1 / fan_in": math.sqrt(1 / (c * kernel)),
                    "kh·kw belongs to both fans, one of them lacks it": math.sqrt(variance(c * kernel, d)),
                    "fan_in and fan_out are exchanged": math.sqrt(variance(d * kernel, c * kernel)),
                    "a convolution adds up kh·kw pixels of each channel": math.sqrt(variance(c, d)),
                    "the variance has 1 instead of 2 above": math.sqrt(right / 2),
                    "that is 2 / fan_in": math.sqrt(2 / (c * kernel)),
                    "that is 2 / (fan_in + fan_out)": math.sqrt(2 / (c * kernel + d * kernel)),
                    "that is 2 / fan_out": math.sqrt(2 / (d * kernel)),
                },
            )
            z = (after.double() - after.double().mean()) / after.double().std()
            require(2.7 < z.pow(4).mean() < 3.3, "the numbers are not normal", likely="uniform_ instead of normal_")
            require(abs(after.mean()) < 5 * math.sqrt(right / w.numel()), "the mean is not 0")


@student_side
def on_parameter(student, name, *shape):
    w = nn.Parameter(torch.zeros(shape))
    result = getattr(student, name)(w)
    return result is w or result.data_ptr() == w.data_ptr(), w.requires_grad and w.is_leaf, w


def check_parameter(student, name):
    with case("a parameter that records", look="torch.no_grad() is missing"):
        same, leaf, w = student.run(on_parameter, name, 5, 3)
        require(same, "what is returned is not the weight itself")
        require(leaf, "the weight has become the result of a recorded operation")
        require(w.count_nonzero() > 10, "the weight is as it was")


@lab.check("xavier_")
def scale_between_both_fans(student, rng):
    """normal numbers, variance 2 / (fan_in + fan_out)"""
    check_scale(student, "xavier_", rng, lambda fan_in, fan_out: 2 / (fan_in + fan_out))


@lab.check("xavier_")
def xavier_of_parameter(student, rng):
    """works in place on a parameter that records"""
    check_parameter(student, "xavier_")


@lab.check("kaiming_")
def scale_for_relu(student, rng):
    """normal numbers, variance 2 / fan_in"""
    check_scale(student, "kaiming_", rng, lambda fan_in, fan_out: 2 / fan_in)


@lab.check("kaiming_")
def kaiming_of_parameter(student, rng):
    """works in place on a parameter that records"""
    check_parameter(student, "kaiming_")


@student_side
def mean_squares(student, x, depth):
    found = []
    for _ in range(depth):
        w = torch.empty(x.shape[1], x.shape[1])
        student.kaiming_(w)
        x = (x @ w.T).relu()
        found.append(x.square().mean().item())
    return found


@lab.check("kaiming_")
def signal_keeps_its_size(student, rng):
    """the mean square of a signal through 20 layers with ReLU"""
    found = student.run(mean_squares, rng.normal(20, 1000), 20)
    last = found[-1]
    require(
        1 / 3 < last < 3,
        f"it is {last:.2g} after 20 layers, it should stay near 1",
        likely="the signal vanishes" if last < 1 else "the signal explodes",
    )


# ---- 4 Dropout


@student_side
def dropped(student, p, training, x, dl_dy):
    layer = student.Dropout(p)
    layer.training = training
    y = layer.forward(x)
    dl_dx = layer.backward(dl_dy)
    return y, dl_dx, layer.forward(x)


@student_side
def dropped_after_training(student, p, x, dl_dy):
    layer = student.Dropout(p)
    layer.forward(x)
    layer.training = False
    return layer.forward(x), layer.backward(dl_dy)


@lab.check("Dropout")
def zeros_in_training(student, rng):
    """zeros with probability p, the rest scaled; another mask each time"""
    for p, dtype in (0.3, torch.float32), (0.8, torch.float64), (0.0, torch.float32):
        with case(f"p = {p}, {str(dtype)[6:]}"):
            n, d = 211, 53
            x = rng.uniform(n, d, low=1, high=2, dtype=dtype) * (2 * rng.integers(0, 2, n, d) - 1)
            y, _, again = student.run(dropped, p, True, x, x)
            kept = (y != 0).to(dtype)
            if p > 0:
                for dim, what in (1, "whole samples"), (0, "the same values of all samples"):
                    usual = p * (1 - p) / kept.shape[dim]
                    require(
                        kept.mean(dim).var() < 3 * usual,
                        f"{what} become zero together",
                        likely="each value needs a random number of its own",
                    )
            share = 1 - kept.mean().item()
            near = 5 * math.sqrt(p * (1 - p) / (n * d)) + 1e-9
            expect(
                share,
                p,
                atol=near,
                rtol=0.0,
                mistakes={
                    "p is the probability of a zero, not of being kept": 1 - p,
                    "nothing becomes zero: in training some values must": 0.0 if near < 0.05 < p else math.nan,
                },
            )
            expect(
                y,
                x * kept / (1 - p),
                mistakes={
                    "what is kept is divided by its share in this batch, it should be 1 − p": lambda x=x, kept=kept: (
                        x * kept / kept.mean()
                    ),
                    "what is kept should be divided by 1 − p": x * kept,
                    "what is kept is multiplied by 1 − p, it should be divided": x * kept * (1 - p),
                    "what is kept is divided by p": lambda x=x, kept=kept, p=p: x * kept / p,
                },
            )
            if p > 0:
                require(
                    not torch.equal(again, y),
                    "two passes have the same zeros",
                    likely="the mask must be drawn in forward",
                )


@lab.check("Dropout")
def same_mask_backward(student, rng):
    """the derivative goes where the signal went"""
    for p in 0.25, 0.6:
        with case(f"p = {p}"):
            x, dl_dy = rng.uniform(17, 31, low=1, high=2), rng.normal(17, 31)
            y, dl_dx, _ = student.run(dropped, p, True, x, dl_dy)
            kept = (y != 0).float()
            expect(
                dl_dx,
                dl_dy * kept / (1 - p),
                mistakes={
                    "the scale 1 / (1 − p) is missing": dl_dy * kept,
                    "the mask is missing": dl_dy,
                    "the mask is the other way round": dl_dy * (1 - kept) / (1 - p),
                    "the derivative is multiplied with y": dl_dy * y,
                    "backward draws zeros of its own; it needs the mask of the last forward pass, not a new one": dl_dy
                    * (dl_dx != 0)
                    / (1 - p)
                    if dl_dx.shape == dl_dy.shape and ((dl_dx != 0) & (kept == 0)).any()
                    else math.nan,
                    "the scale 1 / (1 − p) is there twice": dl_dy * kept / (1 - p) ** 2,
                    "the derivative is multiplied by 1 − p, it should be divided": dl_dy * kept * (1 - p),
                },
            )


@lab.check("Dropout")
def nothing_outside_training(student, rng):
    """the identity when training is False"""
    x, dl_dy = rng.normal(5, 7, dtype=torch.float64), rng.normal(5, 7, dtype=torch.float64)
    y, dl_dx, _ = student.run(dropped, 0.4, False, x, dl_dy)
    expect(
        y,
        x,
        mistakes={
            "without training there is nothing to scale: training does it": 0.6 * x,
            "without training, too, x is divided by 1 − p": x / 0.6,
            "without training there are zeros, too": x * (y != 0) / 0.6 if (y == 0).any() else math.nan,
            "without training there are zeros, and nothing is divided": x * (y != 0) if (y == 0).any() else math.nan,
        },
    )
    derivative = {
        "without training the derivative passes as it is, it is scaled": 0.6 * dl_dy,
        "without training the derivative passes as it is, it is divided by 1 − p": dl_dy / 0.6,
    }
    expect(dl_dx, dl_dy, mistakes=derivative, look="without training the derivative passes as it is")
    with case("a pass in training, then one outside of it"):
        y, dl_dx = student.run(dropped_after_training, 0.4, x, dl_dy)
        expect(y, x)
        stale = dl_dx.shape == dl_dy.shape and bool((dl_dx == 0).any())
        derivative["backward uses the mask of an older pass, it belongs to the last one"] = (
            dl_dy * (dl_dx != 0) / 0.6 if stale else math.nan
        )
        expect(dl_dx, dl_dy, mistakes=derivative)


# ---- 5 BatchNorm


@student_side
def normalised(student, batches, later, weight, bias, options):
    """Training passes, then one outside of training; the running values before and after the last."""
    layer = student.BatchNorm(weight.numel(), **options)
    layer.weight, layer.bias = weight, bias
    layer.running_mean, layer.running_var = layer.running_mean.double(), layer.running_var.double()
    outputs = [layer.forward(x) for x in batches]
    running = (layer.running_mean.clone(), layer.running_var.clone())
    layer.training = False
    return outputs, running, layer.forward(later), (layer.running_mean, layer.running_var)


def batch_norm(x, weight, bias, eps, correction=0, dim=0):
    variance = x.var(dim, correction=correction, keepdim=True)
    return weight * (x - x.mean(dim, keepdim=True)) / (variance + eps).sqrt() + bias


def running(batches, momentum, correction=1, keep=None):
    keep = 1 - momentum if keep is None else keep
    mean, variance = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for x in batches:
        mean = keep * mean + momentum * x.mean(0)
        variance = keep * variance + momentum * x.var(0, correction=correction)
    return mean, variance


def by_running(batches, momentum, weight, bias, eps):
    """The last batch, normalised by the running values that it has moved already."""
    mean, variance = running(batches, momentum)
    return weight * (batches[-1] - mean) / (variance + eps).sqrt() + bias


def roots(batches, momentum):
    """running_var, made of standard deviations."""
    found = torch.ones(1, dtype=torch.float64)
    for x in batches:
        found = (1 - momentum) * found + momentum * x.std(0)
    return found


NORMS = (("", 7, 5, {}), ("eps = 0.5, momentum = 0.3", 4, 3, {"eps": 0.5, "momentum": 0.3}), ("", 2, 1, {}))


def norm_problem(rng, n, d):
    batches = [3 * rng.normal(n, d, dtype=torch.float64) + 2, rng.normal(n + 1, d, dtype=torch.float64) - 1]
    weight, bias = rng.normal(d, dtype=torch.float64), rng.normal(d, dtype=torch.float64)
    return batches, rng.normal(3, d, dtype=torch.float64), weight, bias


@lab.check("BatchNorm")
def output_in_training(student, rng):
    """the normalised batch, against torch"""
    for text, n, d, options in NORMS:
        with case(f"{n} samples with {d} features{', ' if text else ''}{text}"):
            batches, later, weight, bias = norm_problem(rng, n, d)
            eps = options.get("eps", 1e-5)
            momentum = options.get("momentum", 0.1)
            outputs = student.run(normalised, batches, later, weight, bias, options)[0]
            for count, (x, y) in enumerate(zip(batches, outputs, strict=True), 1):
                expect(
                    y,
                    F.batch_norm(x, None, None, weight, bias, True, 0.1, eps),
                    mistakes={
                        "the running values are moved and used, in training it is the batch's own": by_running(
                            batches[:count], momentum, weight, bias, eps
                        ),
                        "eps is missing": batch_norm(x, weight, bias, 0),
                        "eps is ignored, it is always 1e-5": batch_norm(x, weight, bias, 1e-5),
                        "the mean is not subtracted": batch_norm(x, weight, bias, eps)
                        + weight * x.mean(0) / (x.var(0, correction=0) + eps).sqrt(),
                        "the weight is missing": batch_norm(x, 1, bias, eps),
                        "the bias is missing": batch_norm(x, weight, 0, eps),
                        "one mean and one variance for all columns; each has its own": weight
                        * (x - x.mean())
                        / (x.var(correction=0) + eps).sqrt()
                        + bias,
                        "the normalisation divides by N, not by N − 1": batch_norm(x, weight, bias, eps, 1),
                        "eps belongs under the root": weight * (x - x.mean(0)) / (x.std(0, correction=0) + eps) + bias,
                        "the root is missing": weight * (x - x.mean(0)) / (x.var(0, correction=0) + eps) + bias,
                        "mean and variance run over the features; each column has its own": batch_norm(
                            x, weight, bias, eps, dim=1
                        ),
                        "weight and bias are missing": batch_norm(x, 1, 0, eps),
                        "the running values are used, in training it is the batch's own": weight
                        * x
                        / math.sqrt(1 + eps)
                        + bias,
                    },
                )


@lab.check("BatchNorm")
def running_values(student, rng):
    """the running mean and variance after two batches"""
    for text, n, d, options in NORMS:
        with case(f"{n} and {n + 1} samples with {d} features{', ' if text else ''}{text}"):
            batches, later, weight, bias = norm_problem(rng, n, d)
            momentum = options.get("momentum", 0.1)
            found = student.run(normalised, batches, later, weight, bias, options)[1]
            expect(
                found,
                running(batches, momentum),
                names=("running_mean", "running_var"),
                mistakes={
                    "running_var takes the variance with N − 1": running(batches, momentum, 0),
                    "mean and variance are those of the result, not of x": running(
                        [batch_norm(x, weight, bias, options.get("eps", 1e-5)) for x in batches], momentum
                    ),
                    "running_var holds standard deviations": {1: roots(batches, momentum)},
                    "the old running values do not fade: they are to be multiplied by 1 − momentum": running(
                        batches, momentum, keep=1.0
                    ),
                    "momentum is ignored, it is always 0.1": running(batches, 0.1),
                    "momentum and 1 − momentum are exchanged": running(batches, 1 - momentum),
                    "only the last batch counts: the old running values are lost": running(batches[1:], momentum),
                    "the running values are not updated": running([], momentum),
                    "mean and variance are taken again, after the normalisation": running(
                        [batch_norm(x, 1, 0, options.get("eps", 1e-5)) for x in batches], momentum
                    ),
                    "they are the last batch's mean and variance": running(batches[1:], 1),
                },
            )


@lab.check("BatchNorm")
def outside_training(student, rng):
    """the running values are used, and stay, when training is False"""
    for text, n, d, options in NORMS:
        with case(f"{n} and {n + 1} samples, then 3, with {d} features{', ' if text else ''}{text}"):
            batches, later, weight, bias = norm_problem(rng, n, d)
            eps, momentum = options.get("eps", 1e-5), options.get("momentum", 0.1)
            _, before, y, after = student.run(normalised, batches, later, weight, bias, options)
            mean, variance = before
            expect(
                y,
                weight * (later - mean) / (variance + eps).sqrt() + bias,
                mistakes={
                    "the batch's own mean and variance are used": batch_norm(later, weight, bias, eps),
                    "running_var is a variance: its root is missing": weight * (later - mean) / (variance + eps) + bias,
                    "running_mean is not subtracted": weight * later / (variance + eps).sqrt() + bias,
                    "eps is missing": weight * (later - mean) / variance.sqrt() + bias,
                    "weight and bias are missing": (later - mean) / (variance + eps).sqrt(),
                    "outside of training nothing is normalised": later,
                    "the running values move first, and then they are used": by_running(
                        [*batches, later], momentum, weight, bias, eps
                    ),
                },
            )
            expect(
                after,
                before,
                names=("running_mean", "running_var"),
                mistakes={
                    "outside of training the running values must not move": running([*batches, later], momentum),
                },
                look="outside of training the running values must not move",
            )


@student_side
def norm_derivatives(student, x, dl_dy, weight, bias):
    layer = student.BatchNorm(weight.numel())
    layer.weight, layer.bias = weight, bias
    layer.running_mean, layer.running_var = layer.running_mean.double(), layer.running_var.double()
    layer.forward(x)
    first = layer.backward(dl_dy), layer.dl_dweight.clone(), layer.dl_dbias.clone()
    layer.forward(x)
    return first, [layer.backward(dl_dy), layer.dl_dweight, layer.dl_dbias]


@lab.check("BatchNorm")
def derivatives(student, rng):
    """the three derivatives, against autograd in float64"""
    for n, d, shift in (7, 5, 0.0), (2, 3, 0.0), (11, 4, 1000.0):
        with case(f"{n} samples with {d} features around {shift:g}"):
            x, dl_dy = shift + 2 * rng.normal(n, d, dtype=torch.float64), rng.normal(n, d, dtype=torch.float64)
            weight, bias = rng.normal(d, dtype=torch.float64), rng.normal(d, dtype=torch.float64)
            leaves = differentiable(x, weight, bias)
            y = F.batch_norm(leaves[0], None, None, leaves[1], leaves[2], True)
            want = torch.autograd.grad(y, leaves, dl_dy)
            factor = 1 / (x.var(0, correction=0) + 1e-5).sqrt()
            z, g = (x - x.mean(0)) * factor, weight * dl_dy
            first, again = student.run(norm_derivatives, x, dl_dy, weight, bias)
            expect(
                first,
                want,
                names=("dl_dx", "dl_dweight", "dl_dbias"),
                rtol=1e-6,
                atol=1e-8,
                mistakes={
                    "mean and variance depend on x, too: they are treated as constants": {0: factor * g},
                    "the variance depends on x, too: only the mean is differentiated": {0: factor * (g - g.mean(0))},
                    "the mean depends on x, too: only the variance is differentiated": {
                        0: factor * (g - z * (g * z).mean(0))
                    },
                    "that is divided by the variance, it should be its root": {
                        0: factor**2 * (g - g.mean(0) - z * (g * z).mean(0))
                    },
                    "mean and sum are exchanged: these are means over the batch": {
                        0: factor * (g - g.sum(0) - z * (g * z).sum(0))
                    },
                    "the component along z is added, it should be removed": {
                        0: factor * (g - g.mean(0) + z * (g * z).mean(0))
                    },
                    "dl_dy is multiplied with the weight, which concerns dl_dx only": {
                        1: (g * z).sum(0),
                        2: g.sum(0),
                    },
                    "weight and bias have one derivative for each column: add up the samples": {1: dl_dy * z, 2: dl_dy},
                    "the derivatives of weight and bias are exchanged": {1: dl_dy.sum(0), 2: (dl_dy * z).sum(0)},
                    "the weight is missing": {0: factor * (dl_dy - dl_dy.mean(0) - z * (dl_dy * z).mean(0))},
                    "the division by the standard deviation is missing": {0: g - g.mean(0) - z * (g * z).mean(0)},
                    "dl_dweight goes with the normalised x, not with x": {1: (dl_dy * x).sum(0)},
                    "the derivatives of weight and bias are sums over the batch": {
                        1: (dl_dy * z).mean(0),
                        2: dl_dy.mean(0),
                    },
                },
            )
            with case("forward and backward a second time"):
                expect(
                    again,
                    list(want),
                    names=("dl_dx", "dl_dweight", "dl_dbias"),
                    rtol=1e-6,
                    atol=1e-8,
                    mistakes={
                        "the derivatives of the passes add up: backward sets them": {1: 2 * want[1], 2: 2 * want[2]}
                    },
                )


# ---- 6 and 7, residual networks


@lab.reference
class ResNetBlock(nn.Module):
    """The specification: the layers in a dictionary, the sum written out."""

    def __init__(self, nb_channels, kernel_size, skip_connections=True, batch_normalization=True):
        super().__init__()
        self.skip, keep = float(skip_connections), (kernel_size - 1) // 2
        for name in "conv1", "conv2":
            self.add_module(name, nn.Conv2d(nb_channels, nb_channels, kernel_size, 1, keep))
        for name in "bn1", "bn2":
            self.add_module(name, nn.BatchNorm2d(nb_channels) if batch_normalization else nn.Identity())

    def forward(self, x):
        inner = self.conv2(self.bn1(self.conv1(x)).clamp(min=0))
        return (self.bn2(inner) + self.skip * x).clamp(min=0)


def block(x, w, skip, norm, first_relu=True, last_relu=True, added="before", evaluated=False, without=()):
    """A block with the weights w, or one with a mistake.

    evaluated: batch normalisation as a new one does it outside of training. without: the names of missing layers.
    """

    def bn(t, name):
        if not norm or name in without:
            return t
        scale, shift = w[f"{name}.weight"], w[f"{name}.bias"]
        if evaluated:
            return F.batch_norm(t, torch.zeros_like(scale), torch.ones_like(scale), scale, shift, False)
        return F.batch_norm(t, None, None, scale, shift, True)

    def conv(t, name):
        return F.conv2d(t, w[f"{name}.weight"], w[f"{name}.bias"], padding=w["conv1.weight"].shape[-1] // 2)

    y = bn(conv(x, "conv1"), "bn1")
    y = conv(y.relu() if first_relu else y, "conv2")
    if skip and added == "inside":
        y = y + x
    y = bn(y, "bn2")
    y = y.relu() if added == "relu" else y
    if skip and added in ("before", "relu"):
        y = y + x
    y = y.relu() if last_relu else y
    return y + x if skip and added == "after" else y


def block_weights(rng, c, k, norm, prefix=""):
    shapes = {"conv1.weight": (c, c, k, k), "conv1.bias": (c,), "conv2.weight": (c, c, k, k), "conv2.bias": (c,)}
    shapes |= {"bn1.weight": (c,), "bn1.bias": (c,), "bn2.weight": (c,), "bn2.bias": (c,)} if norm else {}
    return {prefix + name: 0.4 * rng.normal(*shape) for name, shape in shapes.items()}


@student_side
def block_sizes(student, *arguments):
    model = student.ResNetBlock(*arguments)
    return shape_texts(dict(model.named_parameters()))


@student_side
def block_output(student, x, weights, *arguments):
    model = student.ResNetBlock(*arguments)
    model.load_state_dict(weights, strict=False)
    return model(x)


FLAGS = ((True, True), (True, False), (False, True), (False, False))


def flags_text(skip, norm):
    return f"skip_connections={skip}, batch_normalization={norm}"


@lab.check("ResNetBlock")
def flags_make_layers(student, rng):
    """conv1 and conv2, with bn1 and bn2 only where they are wanted"""
    for skip, norm in FLAGS:
        with case(flags_text(skip, norm)):
            want = shape_texts(block_weights(rng, 4, 5, norm))
            expect(student.run(block_sizes, 4, 5, skip, norm), want)


def renamed(weights, layer, other):
    """The weights, those of `layer` also in the place of `other`."""
    return weights | {name.replace(layer, other): t for name, t in weights.items() if layer in name}


def block_mistakes(x, weights, skip, norm):
    return {
        "the input is added after the last ReLU, it should be before": lambda: block(
            x, weights, skip, norm, added="after"
        ),
        "there is a ReLU before the input is added, too": lambda: block(x, weights, skip, norm, added="relu"),
        "bn1 is not used": lambda: block(x, weights, skip, norm, without=("bn1",)),
        "bn2 is not used": lambda: block(x, weights, skip, norm, without=("bn2",)),
        "bn1 is used twice": lambda: block(x, renamed(weights, "bn1", "bn2"), skip, norm),
        "conv1 is used twice": lambda: block(x, renamed(weights, "conv1", "conv2"), skip, norm),
        "the two flags are exchanged": lambda: block(x, weights, norm, skip),
        "the batch normalisation is in evaluation mode": lambda: block(x, weights, skip, norm, evaluated=True),
        "the input is added before bn2, it should be after": lambda: block(x, weights, skip, norm, added="inside"),
        "the first ReLU is missing": lambda: block(x, weights, skip, norm, first_relu=False),
        "the last ReLU is missing": lambda: block(x, weights, skip, norm, last_relu=False),
        "skip_connections is ignored": lambda: block(x, weights, not skip, norm),
        "batch_normalization is ignored": lambda: block(x, weights, skip, False),
    }


@lab.check("ResNetBlock")
def output_of_a_block(student, rng):
    """the output, with weights of ours"""
    for skip, norm in FLAGS:
        for n, c, k, h, w in (3, 4, 3, 6, 5), (1, 2, 5, 7, 7), (2, 3, 1, 2, 3):
            with case(f"{flags_text(skip, norm)}, {n} × {c} × {h} × {w}, kernel_size={k}"):
                x, weights = rng.normal(n, c, h, w), block_weights(rng, c, k, norm)
                expect(
                    student.run(block_output, x, weights, c, k, skip, norm),
                    block(x, weights, skip, norm),
                    mistakes=block_mistakes(x, weights, skip, norm),
                    rtol=1e-3,
                    atol=1e-4,
                )


@lab.check("ResNetBlock")
def nothing_added_is_the_input(student, rng):
    """with a last layer of zeros the block is a ReLU of its input"""
    for skip, norm in (True, True), (True, False):
        with case(flags_text(skip, norm)):
            x, weights = rng.normal(3, 4, 5, 6), block_weights(rng, 4, 3, norm)
            for name in weights:
                if name.startswith("bn2" if norm else "conv2"):
                    weights[name] = torch.zeros_like(weights[name])
            expect(
                student.run(block_output, x, weights, 4, 3, skip, norm),
                x.relu(),
                mistakes={
                    "the last ReLU is missing": x,
                    "the input is added after the last ReLU": x,
                    "the input is not added": torch.zeros_like(x),
                },
            )


@student_side
def stats_with(student, weights, *arguments):
    """get_stats with networks whose weights are ours, whatever it draws."""
    names = student.get_stats.__globals__
    given = names["ResNet"]

    class WithOurWeights(given):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            mine = self.state_dict()
            known = {name: t for name, t in weights.items() if name in mine and mine[name].shape == t.shape}
            self.load_state_dict(known, strict=False)

    names["ResNet"] = WithOurWeights
    try:
        return student.get_stats(*arguments)
    finally:
        names["ResNet"] = given


def network(x, weights, skip, norm, nb_blocks, evaluated=False):
    x = F.conv2d(x, weights["conv0.weight"], weights["conv0.bias"]).relu()
    for b in range(nb_blocks):
        prefix = f"blocks.{b}."
        x = block(
            x,
            {k.removeprefix(prefix): t for k, t in weights.items() if k.startswith(prefix)},
            skip,
            norm,
            evaluated=evaluated,
        )
    return F.linear(x.mean((2, 3)), weights["fc.weight"], weights["fc.bias"])


def gradients(images, labels, weights, skip, norm, nb_blocks, layer="conv1.weight", evaluated=False):
    """For each block: the derivatives of the mean cross-entropy."""
    w = {name: t.clone().requires_grad_() for name, t in weights.items()}
    loss = F.cross_entropy(network(images, w, skip, norm, nb_blocks, evaluated), labels)
    return torch.autograd.grad(loss, [w[f"blocks.{b}.{layer}"] for b in range(nb_blocks)])


def norms(images, labels, weights, skip, norm, nb_blocks, layer="conv1.weight", add_up=False, evaluated=False, order=2):
    columns, total = [], [0.0] * nb_blocks
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        found = gradients(image, label, weights, skip, norm, nb_blocks, layer, evaluated)
        total = [old + new for old, new in zip(total, found, strict=True)] if add_up else found
        columns.append(torch.stack([g.flatten().norm(order) for g in total]))
    return torch.stack(columns, 1)


def stats_mistakes(images, labels, weights, skip, norm, nb_blocks):
    problem = (images, labels, weights)
    want = norms(*problem, skip, norm, nb_blocks)
    whole = torch.stack([g.norm() for g in gradients(*problem, skip, norm, nb_blocks)])
    return {
        "the two flags do not reach the network": lambda: norms(*problem, True, True, nb_blocks),
        "the two flags are exchanged": lambda: norms(*problem, norm, skip, nb_blocks),
        "the derivatives of the images add up: zero_grad is missing": lambda: norms(
            *problem, skip, norm, nb_blocks, add_up=True
        ),
        "all images go through the network together, it should be one at a time": whole[:, None].expand(
            -1, len(images)
        ),
        "the square of the norm": want**2,
        "the sum of the absolute values, the Euclidean norm is the root of the sum of squares": lambda: norms(
            *problem, skip, norm, nb_blocks, order=1
        ),
        "the largest absolute value, not the Euclidean norm": lambda: norms(
            *problem, skip, norm, nb_blocks, order=math.inf
        ),
        "the root of the mean of the squares, the Euclidean norm has their sum": want / math.sqrt(900),
        "the network is in evaluation mode": lambda: norms(*problem, skip, norm, nb_blocks, evaluated=True),
        "nb_blocks is ignored: there are always 30": torch.empty(30, len(images)),
        "the batch normalisation is missing": lambda: norms(*problem, skip, False, nb_blocks),
        "skip_connections is ignored": lambda: norms(*problem, True, norm, nb_blocks),
        "that is the derivative of conv1.bias": lambda: norms(*problem, skip, norm, nb_blocks, "conv1.bias"),
        "that is the derivative of conv2.weight": lambda: norms(*problem, skip, norm, nb_blocks, "conv2.weight"),
        "a row is a block, a column is an image": want.T,
    }


@lab.check("get_stats")
def norms_of_each_block(student, rng):
    """the norms for each block and image, with weights of ours"""
    for skip, norm in (True, False), (False, True), (True, True), (False, False):
        for nb_blocks, n in (3, 5), (2, 1):
            with case(f"{flags_text(skip, norm)}, {nb_blocks} blocks, {n} images"):
                weights = {"conv0.weight": rng.normal(10, 3, 1, 1), "conv0.bias": rng.normal(10)}
                weights |= {"fc.weight": rng.normal(10, 10), "fc.bias": rng.normal(10)}
                for b in range(nb_blocks):
                    weights |= block_weights(rng, 10, 3, norm, f"blocks.{b}.")
                images, labels = rng.normal(n, 3, 6, 5), rng.integers(0, 10, n)
                got = student.run(stats_with, weights, skip, norm, images, labels, nb_blocks)
                full = block_full(rng, weights, nb_blocks)
                expect(
                    got,
                    norms(images, labels, weights, skip, norm, nb_blocks),
                    rtol=1e-3,
                    atol=1e-4,
                    mistakes=stats_mistakes(images, labels, full, skip, norm, nb_blocks),
                )


def block_full(rng, weights, nb_blocks):
    """The same weights with those of a new batch normalisation where there is none."""
    fresh = {"bn1.weight": torch.ones(10), "bn1.bias": torch.zeros(10)}
    fresh |= {name.replace("bn1", "bn2"): t for name, t in fresh.items()}
    return {f"blocks.{b}.{name}": t for b in range(nb_blocks) for name, t in fresh.items()} | weights


if __name__ == "__main__":
    sys.exit(run_checks(lab))
