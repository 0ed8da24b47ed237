"""The experiments of lab 04: what can be measured and seen once its parts work."""

import math
import time

import torch
from check import lab
from checking import data, progress, student_side

HIDDEN = 50


@student_side
def by_hand(student, steps, scale, seed):
    """Full-batch gradient descent on 1000 digits, from weights of this scale: loss and both errors, and w1."""
    train, target, test, test_target = data.mnist()
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


@student_side
def seconds_of_a_step(student, one_by_one):
    """One gradient of 1000 samples, with one call or with a thousand."""
    train, target, test, _ = data.mnist()
    x, t, _ = student.prepare_data(train, target, test, 10)
    torch.manual_seed(0)
    weights = [0.1 * torch.randn(shape) for shape in ((HIDDEN, 784), (HIDDEN,), (10, HIDDEN), (10,))]
    gradients = [torch.zeros_like(w) for w in weights]
    begin = time.thread_time()
    for rows in range(len(x)) if one_by_one else [slice(None)]:
        part = x[rows].view(-1, 784), t[rows].view(-1, 10)
        student.backward_pass(*weights, part[1], *student.forward_pass(*weights, part[0]), *gradients)
    return time.thread_time() - begin, gradients


@lab.experiment("prepare_data", "dsigma", "dloss", "forward_pass", "backward_pass", seconds=9)
def digits_by_hand(student, metrics, data, rng):
    """50 hidden units on 1000 digits of MNIST, 1000 steps with all of them"""
    data.mnist()
    losses, errors, w1 = student.run(by_hand, 1000, 1e-6, rng.seed())
    stuck, stuck_errors, _ = student.run(by_hand, 100, 0.0, 0)
    metrics.at_most("training errors", errors[-1][0], 3, unit="%")
    metrics.at_most("test errors", errors[-1][1], 18, unit="%")
    metrics.at_least("test errors from weights of exactly zero", stuck_errors[-1][1], 80, unit="%")
    slow, one = student.run(seconds_of_a_step, True)
    fast, all_at_once = student.run(seconds_of_a_step, False)
    gap = max((a - b).abs().max().item() / b.abs().max().item() for a, b in zip(one, all_at_once, strict=True))
    metrics.at_most("relative difference, sample by sample and all at once", gap, 1e-3)
    metrics.seen("times faster all at once", round(slow / fast, 1))
    with metrics.picture("digits.png", size=(11.5, 3.8)) as figure:
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
    tiles.imshow(mosaic.numpy(), cmap="cividis", vmin=-1, vmax=1)
    tiles.set(title="what the 50 hidden units look at, largest weights first\n(dark: negative, bright: positive)")
    tiles.axis("off")


@student_side
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


@lab.experiment("dsigma", "dloss", "Linear", "ReLU", "Sequential", seconds=6)
def disc_with_blocks(student, metrics, data, rng):
    """three hidden layers of your blocks: which points lie in the disc?"""
    seed = rng.seed()
    seen = {block: student.run(on_the_disc, block, seed, 100) for block in ("Tanh", "ReLU")}
    for block, (wrong, *_) in seen.items():
        metrics.at_most(f"test errors, {block}", wrong, 6, unit="%")
    with metrics.picture("disc.png", size=(10, 3.4)) as figure:
        axes = figure.subplots(1, 3)
        for plot, (block, (wrong, surface, losses, points, sign)) in zip(axes, seen.items(), strict=False):
            shown = surface.clamp(-1.2, 1.2).numpy()
            plot.imshow(shown, origin="lower", extent=(0, 1, 0, 1), cmap="cividis", vmin=-1.6, vmax=1.6)
            plot.contour(surface.numpy(), levels=[0.0], extent=(0, 1, 0, 1), colors="black", linewidths=1)
            for side, mark, colour in (1, ".", "black"), (-1, "x", "white"):
                x, y = points[sign[:, 0] == side].T.numpy()
                plot.plot(x, y, mark, markersize=2, markeredgewidth=0.6, color=colour)
            plot.set(xticks=[], yticks=[], title=f"{block}: {wrong:.1f} % errors")
            plot.set_xlabel("dots: inside, crosses: outside; bright: taken for inside", fontsize=7)
            axes[2].plot(losses, label=block)
        axes[2].set(xlabel="epoch", ylim=(0, 1.1), title="loss per sample")
        axes[2].legend()
