"""The checks of lab 10. Reading them is allowed and useful."""

import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import Broken, count_hooks, filled

MAPS = ["saliency", "grad_times_input", "smooth_grad", "integrated_gradients", "guided_saliency"]
lab = Lab(__file__, parts=[*MAPS, "activation_maximisation", "fgsm", "pgd"])

SMALL = 367  # parameters of the small network below
LINEAR = 52  # parameters of the linear model


@student_side
def little_model(weights):
    """A small network, or a linear model, from images of 12 pixels to 4 scores, in float64."""
    layers = [nn.Linear(12, 11), nn.ReLU(), nn.Linear(11, 9), nn.Tanh(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 4)]
    model = nn.Sequential(nn.Flatten(), *(layers if len(weights) == SMALL else [nn.Linear(12, 4)])).double()
    filled(model, weights)
    return model


@student_side
def watched(student, name, weights, training, *arguments):
    """What the function returns, and what has become of the model."""
    model = little_model(weights).train(training)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    result = getattr(student, name)(model, *arguments)
    left = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    recording = all(p.requires_grad for p in model.parameters())
    modes = [module.training for module in model.modules()]
    after = parameters_to_vector(model.parameters())
    return result, after, parameters_to_vector(left), modes, recording, count_hooks(model)


def call(student, name, weights, training, *arguments):
    """The result, after a look at the model."""
    result, after, left, modes, recording, hooks = student.run(watched, name, weights, training, *arguments)
    require(torch.equal(after, weights), "the model's parameters have changed")
    require(
        left.eq(1).all(),
        "the .grad of the parameters has changed",
        look="backward() writes it: torch.autograd.grad gives the derivative for x alone",
    )
    before = "in" if training else "not in"
    require(modes == [training] * len(modes), f"the model was {before} training mode, that changed")
    require(recording, "some parameters no longer require a gradient")
    require(hooks == 0, f"{hooks} hooks are still there", look="hook.remove() is missing")
    return result


class Guided(torch.autograd.Function):
    """A ReLU that passes only positive derivatives."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, dl_dy):
        return dl_dy.clamp(min=0) * (ctx.saved_tensors[0] > 0)


class Deconvolution(Guided):
    """The sign of the input forgotten, as in a deconvolution network."""

    @staticmethod
    def backward(ctx, dl_dy):
        return dl_dy.clamp(min=0)


class Upwards(Guided):
    """The positive derivatives cut, not the negative ones."""

    @staticmethod
    def backward(ctx, dl_dy):
        return dl_dy.clamp(max=0) * (ctx.saved_tensors[0] > 0)


class Unsigned(Guided):
    """The derivatives without their sign."""

    @staticmethod
    def backward(ctx, dl_dy):
        return dl_dy.abs() * (ctx.saved_tensors[0] > 0)


def scores(weights, x, relu=None, places=(2, 6)):
    """The scores, with other ReLUs at these places of the model."""
    for place, layer in enumerate(little_model(weights)):
        x = relu.apply(x) if relu and isinstance(layer, nn.ReLU) and place in places else layer(x)
    return x


def derivative(x, function):
    """Of function(x) with respect to x, one image after the other."""
    rows = []
    for n in range(len(x)):
        leaf = x[n : n + 1].clone().requires_grad_()
        rows.append(torch.autograd.grad(function(leaf, n), leaf)[0])
    return torch.cat(rows)


def of_score(weights, x, classes, relu=None, places=(2, 6)):
    return derivative(x, lambda leaf, n: scores(weights, leaf, relu, places)[0, classes[n]])


def of_loss(weights, x, labels):
    return derivative(x, lambda leaf, n: F.cross_entropy(scores(weights, leaf), labels[n : n + 1]))


def problem(rng, n, count=SMALL):
    """Weights, images 1 × 3 × 4 (some pixels exactly 0 or 1), classes; the model is in training mode or not."""
    x = rng.uniform(n, 1, 3, 4, low=-0.2, high=1.2, dtype=torch.float64).clamp(0, 1)
    return 0.8 * rng.normal(count, dtype=torch.float64), x, rng.integers(0, 4, n)


def cases(rng):
    for n, training in (5, False), (1, True), (7, True):
        with case(f"{n} images, model.training is {training}" if n > 1 else "one image, model.training is True"):
            yield (*problem(rng, n), training)


# ---- the maps


def saliency_mistakes(weights, x, classes):
    want = of_score(weights, x, classes)
    return {
        "that is the derivative of the sum of all scores": lambda: derivative(x, lambda t, n: scores(weights, t).sum()),
        "that is the derivative of the largest score, whatever `classes` says": lambda: derivative(
            x, lambda t, n: scores(weights, t).max()
        ),
        "that is the derivative of the cross-entropy, it should be that of the score": lambda: of_loss(
            weights, x, classes
        ),
        "that is the derivative of the probability, it should be that of the score": lambda: derivative(
            x, lambda t, n: scores(weights, t).softmax(1)[0, classes[n]]
        ),
        "that is the derivative of the log-probability, it should be that of the score": lambda: (
            -of_loss(weights, x, classes)
        ),
        "model(x)[:, classes] takes the classes of all images for each; one belongs to each": lambda: derivative(
            x, lambda t, n: scores(weights, t)[:, classes].sum()
        ),
        "the classes are off by one": lambda: of_score(weights, x, (classes + 1) % 4),
        "the map is divided by its largest value": want / want.abs().max(),
        "the map is multiplied with the pixels: that is grad_times_input": x * want,
        "the map is multiplied with the score": lambda: derivative(
            x, lambda t, n: scores(weights, t)[0, classes[n]] ** 2 / 2
        ),
        "the colours are added up, the result has the shape of x": lambda: want.sum(1),
        "the class of the first image is used for all": lambda: of_score(weights, x, classes[:1].expand(len(x))),
        "the sign should stay": want.abs(),
        "the derivatives of the images add up; one image does not influence another": lambda: want.sum(
            0, keepdim=True
        ).expand_as(want),
        "the mean over the batch divides by N": want / len(x),
    }


@lab.reference
def saliency(model, x, classes):
    return torch.cat(
        [
            torch.autograd.functional.jacobian(lambda t, c=c: model(t)[0, c], one[None])
            for one, c in zip(x.detach(), classes, strict=True)
        ]
    )


@lab.check("saliency")
def derivative_of_one_score(student, rng):
    """the derivative, image by image, against autograd"""
    for weights, x, classes, training in cases(rng):
        expect(
            call(student, "saliency", weights, training, x, classes),
            of_score(weights, x, classes),
            mistakes=saliency_mistakes(weights, x, classes),
        )


@lab.check("saliency")
def of_a_linear_model(student, rng):
    """for a linear model it is the row of its weights"""
    weights, x, classes = problem(rng, 3, LINEAR)
    rows = weights[:48].reshape(4, 12)
    expect(
        call(student, "saliency", weights, False, x, classes),
        rows[classes].reshape(3, 1, 3, 4),
        mistakes=saliency_mistakes(weights, x, classes),
    )
    with case("images that are already flat, 3 × 12"):
        expect(call(student, "saliency", weights, False, x.flatten(1), classes), rows[classes])


@lab.check("grad_times_input")
def pixel_by_pixel(student, rng):
    """the derivative times the pixel"""
    for weights, x, classes, training in cases(rng):
        g = of_score(weights, x, classes)
        expect(
            call(student, "grad_times_input", weights, training, x, classes),
            x * g,
            mistakes={
                "the product with the pixels is missing": g,
                "the sign should stay": (x * g).abs(),
                "pixel and derivative are added": x + g,
                "the square of the derivative, it should be times the pixel": g * g,
                "the square of the pixel, once is enough": x * x * g,
                "the sum over the pixels, each should keep its own": (x * g).flatten(1).sum(1),
                "negative products are cut": (x * g).clamp(min=0),
            },
        )


@lab.check("grad_times_input")
def sums_to_the_score(student, rng):
    """for a linear model its sum is the score without the bias"""
    weights, x, classes = problem(rng, 6, LINEAR)
    got = call(student, "grad_times_input", weights, False, x, classes)
    expect(got.flatten(1).sum(1), (scores(weights, x) - weights[48:])[range(6), classes].detach())


@lab.check("smooth_grad")
def without_noise(student, rng):
    """with sigma = 0 it is the saliency"""
    for weights, x, classes, training in cases(rng):
        g = of_score(weights, x, classes)
        expect(
            call(student, "smooth_grad", weights, training, x, classes, 0.0, 3),
            g,
            mistakes={
                "a mean: divide by n": 3 * g,
                "a mean: divide by n, not by n − 1": 1.5 * g,
                "the maps lose their sign before the mean": g.abs(),
                "the mean is multiplied with the pixels, nobody asked for that": x * g,
                "the mean of the squares, it should be of the maps": g * g,
            },
        )


@student_side
class Squares(nn.Module):
    """The scores are sums of squares, so their derivatives are linear in x."""

    def __init__(self, a):
        super().__init__()
        self.a = a

    def forward(self, x):
        return x.flatten(1).square() @ self.a.T


@student_side
def smooth_on_squares(student, a, *arguments):
    return student.smooth_grad(Squares(a), *arguments)


@lab.check("smooth_grad")
def size_of_the_noise(student, rng):
    """noise of standard deviation sigma, new for each of the n maps"""
    for sigma, n in (0.2, 9), (3.0, 4):
        with case(f"sigma = {sigma}, n = {n}, a model with squares"):
            a, x = rng.uniform(2, 1600, low=1, high=2), rng.uniform(3, 1, 40, 40, low=0, high=5)
            classes = torch.tensor([1, 0, 1])
            got = student.run(smooth_on_squares, a, x, classes, sigma, n)
            slope = 2 * a[classes].reshape(x.shape)
            expect(got.shape == x.shape, True, look="the result has not the shape of x")
            factor = float((got * slope * x).sum() / (slope * x).square().sum())
            require(abs(factor - 1) < 0.08, f"the mean of many maps is {factor:.3g} times what it should be")
            noise = (got - slope * x) / slope
            expect(
                noise.std().item(),
                sigma / math.sqrt(n),
                rtol=0.08,
                mistakes={
                    "the noise is the same in all n maps": sigma,
                    "sigma is multiplied with the range of x": 5 * sigma / math.sqrt(n),
                    "the noise of one map stays in the next: each begins at x itself": sigma
                    * math.sqrt(sum(k * k for k in range(1, n + 1)))
                    / n,
                    "sigma is squared": sigma**2 / math.sqrt(n),
                    "there is no noise": 0.0,
                    "sigma is a standard deviation, not a variance": math.sqrt(sigma / n),
                    "the noise is uniform: torch.randn_like gives normal numbers": sigma / math.sqrt(12 * n),
                },
            )
            require(
                abs(noise.mean()) < 5 * sigma / math.sqrt(n * x.numel()),
                "the mean of the noise is not 0",
                likely="torch.rand_like gives only positive numbers",
            )
            require(
                (noise[0] * noise[1]).mean().abs() < 0.2 * noise.var(),
                "all images get the same noise",
                likely="randn_like(x) draws a number for each pixel of each image",
            )


def integral(weights, x, classes, points):
    """The mean of the derivatives at the fractions `points` of x."""
    return sum(of_score(weights, t * x, classes) for t in points) / len(points)


@lab.check("integrated_gradients")
def mean_on_the_way(student, rng):
    """x times the mean over `steps` images, against autograd"""
    for steps in 1, 4:
        for weights, x, classes, training in cases(rng):
            middle = [(k + 0.5) / steps for k in range(steps)]
            mean = integral(weights, x, classes, middle)
            expect(
                call(student, "integrated_gradients", weights, training, x, classes, steps),
                x * mean,
                mistakes={
                    "the product with x is missing": mean,
                    "a mean: divide by steps": x * mean * steps,
                    "t begins at 0 and ends before 1; it should be in the middle of each step": x
                    * integral(weights, x, classes, [k / steps for k in range(steps)]),
                    "t begins at 1/steps and ends at 1; it should be in the middle of each step": x
                    * integral(weights, x, classes, [(k + 1) / steps for k in range(steps)]),
                    "t goes from 0 to 1 with both ends; it should be in the middle of each step": x
                    * integral(weights, x, classes, torch.linspace(0, 1, steps).tolist()),
                    "there are steps + 1 images from 0 to 1": x
                    * integral(weights, x, classes, torch.linspace(0, 1, steps + 1).tolist()),
                    "the derivatives are multiplied with t·x, it should be x": x
                    * sum(t * of_score(weights, t * x, classes) for t in middle)
                    / steps,
                    "only the last derivative counts": x * of_score(weights, middle[-1] * x, classes) / steps,
                    "the sign should stay": (x * mean).abs(),
                    "all derivatives are taken at x itself": x * of_score(weights, x, classes),
                },
            )


@lab.check("integrated_gradients")
def sum_is_the_difference(student, rng):
    """its sum is the score minus that of a black image"""
    weights, x, classes = problem(rng, 4)
    got = call(student, "integrated_gradients", weights, False, x, classes, 200).flatten(1).sum(1)
    want = (scores(weights, x) - scores(weights, 0 * x))[range(4), classes].detach()
    expect(got, want, rtol=1e-2, atol=1e-2)


@lab.check("guided_saliency")
def only_positive_derivatives(student, rng):
    """the derivative, against ReLUs written as autograd functions"""
    for weights, x, classes, training in cases(rng):
        plain = of_score(weights, x, classes)
        got = call(student, "guided_saliency", weights, training, x, classes)
        expect(
            got,
            of_score(weights, x, classes, Guided),
            mistakes={
                "the ReLUs are not guided: that is the plain saliency": plain,
                "only the last derivative is cut at 0, not that of each ReLU": plain.clamp(min=0),
                "only the first ReLU is guided": lambda w=weights, t=x, c=classes: of_score(w, t, c, Guided, (2,)),
                "only the last ReLU is guided": lambda w=weights, t=x, c=classes: of_score(w, t, c, Guided, (6,)),
                "the positive derivatives are cut, it should be the negative ones": lambda w=weights, t=x, c=classes: (
                    of_score(w, t, c, Upwards)
                ),
                "the negative derivatives turn positive, they should be cut": lambda w=weights, t=x, c=classes: (
                    of_score(w, t, c, Unsigned)
                ),
                "the guided map is cut at 0 once more": lambda w=weights, t=x, c=classes: of_score(
                    w, t, c, Guided
                ).clamp(min=0),
                "the sign of the ReLU's input still counts": lambda w=weights, t=x, c=classes: of_score(
                    w, t, c, Deconvolution
                ),
            },
        )


@student_side
def guided_in_depth(student, weights, x, classes):
    """The map of the small network, whose first ReLU lies in a module of its own; how many hooks are left."""
    layers = list(little_model(weights))
    model = nn.Sequential(layers[0], nn.Sequential(*layers[1:4]), *layers[4:])
    return student.guided_saliency(model, x, classes), count_hooks(model)


@lab.check("guided_saliency")
def guides_relus_at_any_depth(student, rng):
    """a model with a ReLU inside of another module"""
    weights, x, classes = problem(rng, 6)
    got, hooks = student.run(guided_in_depth, weights, x, classes)
    expect(
        got,
        of_score(weights, x, classes, Guided),
        mistakes={
            "the ReLUs are not guided: that is the plain saliency": of_score(weights, x, classes),
            "only the last ReLU is guided, the one outside of other modules: modules() has all, children() does not": (
                of_score(weights, x, classes, Guided, (6,))
            ),
        },
    )
    require(hooks == 0, f"{hooks} hooks are still there", look="hook.remove() is missing")


@student_side
def hooks_after_failure(student, weights, x, classes):
    model = nn.Sequential(*little_model(weights), Broken())
    try:
        student.guided_saliency(model, x, classes)
    except ZeroDivisionError:
        return count_hooks(model), True
    return count_hooks(model), False


@lab.check("guided_saliency")
def removes_its_hooks(student, rng):
    """no hook is left when the model raises"""
    weights, x, classes = problem(rng, 2)
    hooks, raised = student.run(hooks_after_failure, weights, x, classes)
    require(raised, "the model's own error is swallowed", look="finally, not except, and no return in finally")
    require(hooks == 0, f"{hooks} hooks are still there", look="try: … finally: … removes them in any case")


# ---- images that change


def ascent(weights, x, classes, steps, lr, decay, late=False, change=lambda g: g, gradient=of_score, follow=True):
    first = x
    for _step in range(steps):
        g = change(gradient(weights, x if follow else first, classes))
        x = (x + lr * g) * (1 - lr * decay) if late else x + lr * (g - decay * x)
    return x


@lab.check("activation_maximisation")
def uphill(student, rng):
    """some steps of gradient ascent, against steps written out"""
    for steps, lr, decay in (1, 0.5, 0.0), (3, 0.2, 0.3), (0, 1.0, 1.0):
        for weights, x, classes, training in cases(rng):
            setting = (steps, lr, decay)
            got = call(student, "activation_maximisation", weights, training, x, classes, *setting)
            expect(
                got,
                ascent(weights, x, classes, *setting),
                mistakes={
                    "the steps go downhill": ascent(weights, x, classes, steps, -lr, -decay),
                    "the decay has the wrong sign: it makes x larger": ascent(weights, x, classes, steps, lr, -decay),
                    "the decay is missing": ascent(weights, x, classes, steps, lr, 0),
                    "the decay should use x before the step": ascent(weights, x, classes, *setting, late=True),
                    "the decay is to be multiplied by lr, too": lambda w=weights, t=x, c=classes, s=setting: ascent(
                        w, t, c, s[0], s[1], s[2] / s[1]
                    ),
                    "there is one step only": ascent(weights, x, classes, 1, lr, decay),
                    "one step too many": ascent(weights, x, classes, steps + 1, lr, decay),
                    "one step too few": ascent(weights, x, classes, steps - 1, lr, decay),
                    "the steps follow the sign of the derivative": ascent(
                        weights, x, classes, *setting, change=torch.sign
                    ),
                    "all steps follow the derivative at the first x": ascent(
                        weights, x, classes, *setting, follow=False
                    ),
                    "the steps lower the loss, they should raise the score": ascent(
                        weights, x, classes, *setting, change=torch.neg, gradient=of_loss
                    ),
                    "only the change is returned, it should be the images": ascent(weights, x, classes, *setting) - x,
                    "lr is ignored": ascent(weights, x, classes, steps, 1.0, decay),
                    "the pixels are cut to 0 … 1, nobody asked for that": ascent(weights, x, classes, *setting).clamp(
                        0, 1
                    ),
                },
            )


def attack(weights, x, labels, step, steps=1, epsilon=None, around_last=False, cut=True, follow=True):
    now = x
    for _step in range(steps):
        before = now
        now = now + step * of_loss(weights, now if follow else x, labels).sign()
        now = now.clamp(0, 1) if cut else now
        if epsilon is not None:
            centre = before if around_last else x
            now = centre + (now - centre).clamp(-epsilon, epsilon)
    return now


@lab.reference
def fgsm(model, x, labels, epsilon):
    rows = [
        torch.autograd.functional.jacobian(lambda t, c=c: -model(t).log_softmax(1)[0, c], one[None])
        for one, c in zip(x.detach(), labels, strict=True)
    ]
    return torch.clip(x + epsilon * torch.cat(rows).sign(), 0.0, 1.0)


@lab.check("fgsm")
def one_signed_step(student, rng):
    """one step along the sign of the derivative, pixels in 0 … 1"""
    for epsilon in 0.07, 0.5:
        for weights, x, labels, training in cases(rng):
            g, away = of_loss(weights, x, labels), of_score(weights, x, labels)
            got = call(student, "fgsm", weights, training, x, labels, epsilon)
            expect(
                got,
                attack(weights, x, labels, epsilon),
                atol=1e-12,
                mistakes={
                    "the step goes downhill: the loss should grow": attack(weights, x, labels, -epsilon),
                    "the sign is missing: that is a step along the derivative itself": (x + epsilon * g).clamp(0, 1),
                    "pixels leave 0 … 1": attack(weights, x, labels, epsilon, cut=False),
                    "that is away from the score of the label; the loss looks at all scores": (
                        x - epsilon * away.sign()
                    ).clamp(0, 1),
                    "only the change is returned": epsilon * g.sign(),
                    "the derivative is divided by its length, it should be its sign": (
                        x + epsilon * g / g.flatten(1).norm(dim=1)[:, None, None, None]
                    ).clamp(0, 1),
                    "the derivative is cut to ±epsilon, it should be epsilon times its sign": (
                        x + g.clamp(-epsilon, epsilon)
                    ).clamp(0, 1),
                    "pixels are cut to −1 … 1": attack(weights, x, labels, epsilon, cut=False).clamp(-1, 1),
                    "epsilon is divided by 255": attack(weights, x, labels, epsilon / 255),
                    "the step is along the score of the label, which grows": (x + epsilon * away.sign()).clamp(0, 1),
                    "the labels are not used: that is the loss of the model's own answer": attack(
                        weights, x, scores(weights, x).argmax(1), epsilon
                    ),
                    "epsilon is ignored: the step has size 1": attack(weights, x, labels, 1.0),
                },
            )


@lab.check("pgd")
def signed_steps_and_back(student, rng):
    """several steps, each brought back, against steps written out"""
    for epsilon, step, steps in (0.1, 0.04, 0), (0.1, 0.04, 5), (0.05, 0.2, 2), (0.3, 0.3, 1):
        for weights, x, labels, training in cases(rng):
            setting = (weights, x, labels, step, steps)
            got = call(student, "pgd", weights, training, x, labels, epsilon, step, steps)
            near = isinstance(got, torch.Tensor) and got.shape == x.shape and (got - x).abs().max() <= epsilon
            stepped = near and torch.allclose(got, attack(*setting[:4], 1, epsilon), atol=1e-9)
            require(
                steps or not near or stepped or torch.equal(got, x),
                "without a step the images should stay as they are",
                likely="the first step starts from x itself, not from a random place",
            )
            expect(
                got,
                attack(*setting, epsilon),
                atol=1e-12,
                mistakes={
                    "pixels are brought back to those of the step before, it should be the first x": attack(
                        *setting, epsilon, around_last=True
                    ),
                    "pixels are not brought back to epsilon around x": attack(*setting),
                    "pixels leave 0 … 1": attack(*setting, epsilon, cut=False),
                    "there is one step only": attack(*setting[:4], 1, epsilon),
                    "one step too many": attack(*setting[:4], steps + 1, epsilon),
                    "one step too few": attack(*setting[:4], steps - 1, epsilon),
                    "every step starts from x, it should start where the last one ended": attack(*setting[:4], 1),
                    "every step follows the derivative at the first x": attack(*setting, epsilon, follow=False),
                    "pixels are brought back at the end only, it should be after each step": x
                    + (attack(*setting) - x).clamp(-epsilon, epsilon),
                    "only the change is returned": attack(*setting, epsilon) - x,
                    "the steps go downhill: the loss should grow": attack(weights, x, labels, -step, steps, epsilon),
                    "each step has the size epsilon, it should be `step`": attack(
                        weights, x, labels, epsilon, steps, epsilon
                    ),
                },
            )
            require((got - x).abs().max() <= epsilon + 1e-9, "a pixel is more than epsilon away from the first x")
            require(got.min() >= 0 and got.max() <= 1, "a pixel is outside of 0 … 1")


if __name__ == "__main__":
    sys.exit(run_checks(lab))
