"""The experiments of lab 05: what can be measured and seen once its parts work."""

import math
import time

import torch
from check import PARTS, lab, smooth, text_of
from checking import progress, student_side
from checking.kit import float64


@student_side
def weights_of(seed):
    """Weights of 2–25–25–25–1, float64."""
    chosen, sizes = torch.Generator().manual_seed(seed), (2, 25, 25, 25, 1)
    shapes = [shape for size in zip(sizes, sizes[1:]) for shape in (size, (size[1],))]  # noqa: B905, RUF007
    return [torch.randn(shape, generator=chosen, dtype=torch.float64) * shape[0] ** -0.5 for shape in shapes]


@student_side
def disc(seed):
    """2000 points in [−1, 1]², and +1 for those within √(2/π) of the middle, −1 for the others."""
    points = 2 * torch.rand(2000, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    return points, 2.0 * (points.square().sum(1, keepdim=True) < 2 / math.pi).double() - 1


@student_side
def network(x, weights):
    """Linear layers with tanh between them, for Vars and for tensors."""
    for number in range(0, len(weights), 2):
        x = x @ weights[number] + weights[number + 1]
        x = x.tanh() if number + 2 < len(weights) else x
    return x


@student_side
def trained(student, seed, epochs, own):
    """Weights and losses after some epochs on 1000 points, with the student's engine or with PyTorch's; seconds."""
    points, sign = disc(seed)
    shuffle = torch.Generator().manual_seed(seed)
    weights, losses = weights_of(seed), []
    leaves = [student.Var(w, True) if own else w.requires_grad_() for w in weights]
    begin = time.thread_time()
    for epoch in progress(range(epochs), "your engine" if own else "PyTorch"):
        total, rate = 0.0, 0.05 / 25 * (1 - epoch / epochs)
        for rows in torch.randperm(1000, generator=shuffle).split(25):
            if own:
                miss = network(student.Var(points[rows]), leaves) - student.Var(sign[rows])
                loss = (miss * miss).sum()
                student.backward(loss)
                for leaf in leaves:
                    leaf.data = leaf.data - rate * leaf.grad
                    leaf.grad = None
                total += loss.data.item()
            else:
                loss = (network(points[rows], leaves) - sign[rows]).square().sum()
                loss.backward()
                with torch.no_grad():
                    for leaf in leaves:
                        leaf -= rate * leaf.grad
                        leaf.grad = None
                total += loss.item()
        losses.append(total / 1000)
    seconds = time.thread_time() - begin
    return [leaf.data if own else leaf for leaf in leaves], losses, seconds


@student_side
def portrait(student):
    """The graph of a small network's loss, in the student's order: name, shape, needs_grad, names of the parents."""
    names = {}

    def call(name, var):
        names[id(var)] = name
        return var

    x, t = call("x", student.Var(torch.ones(25, 2))), student.Var(torch.zeros(25, 1))
    w1, b1 = call("w₁", student.Var(torch.ones(2, 8), True)), call("b₁", student.Var(torch.ones(8), True))
    w2, b2 = call("w₂", student.Var(torch.ones(8, 1), True)), call("b₂", student.Var(torch.ones(1), True))
    hidden = call("tanh", call("+", call("@", x @ w1) + b1).tanh())
    miss = call("−", call("+ ", call("@ ", hidden @ w2) + b2) + call("−t", t * -1.0))
    root = call("sum", call("²", miss * miss).sum())
    return [
        (names[id(v)], list(v.data.shape), v.needs_grad, [names[id(p)] for p in v.parents])
        for v in student.topological_order(root)
    ]


@student_side
def gap_by_step(student, inputs, steps):
    return [student.gradcheck(smooth, inputs, step) for step in steps]


@lab.experiment(*PARTS[:6], seconds=3)
def your_engine_learns(student, metrics, data, rng):
    """a network of four layers on the disc, trained by your engine"""
    seed = rng.seed()
    weights, _, _ = student.run(trained, seed, 120, True)
    student.run(trained, seed, 1, False)  # what PyTorch does once must not count
    same, _, seconds = student.run(trained, seed, 5, False)
    early, _, own_seconds = student.run(trained, seed, 5, True)
    points, sign = disc(seed)
    wrong = 100 * (network(points[1000:], weights) * sign[1000:] <= 0).double().mean().item()
    metrics.at_most("test errors", wrong, 6, unit="%")
    gap = max((a - b).abs().max().item() for a, b in zip(early, same, strict=True))
    metrics.at_most("difference from PyTorch's weights after 200 steps", gap, 1e-8)
    metrics.seen("time of a step, as a multiple of PyTorch's", round(own_seconds / seconds, 2))
    with metrics.picture("engine.png", size=(11.5, 3.9)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(2.15, 1))
        draw_graph(left, student.run(portrait))
        draw_disc(right, weights, points[1000:], sign[1000:], wrong)


PLACES = {
    "x": (0, 0),
    "w₁": (0, 1),
    "@": (1, 0),
    "b₁": (1, 1),
    "+": (2, 0),
    "tanh": (3, 0),
    "w₂": (3, 1),
    "@ ": (4, 0),
    "b₂": (4, 1),
    "+ ": (5, 0),
    "−": (6, 0),
    "²": (7, 0),
    "sum": (8, 0),
    "−t": (5, -1),
}


def draw_graph(axes, nodes):
    """Every variable with its number in the order; blue leaves get a gradient, grey ones are constants."""
    for number, (name, shape, needs_grad, parents) in enumerate(nodes):
        x, y = PLACES[name]
        for parent in set(parents):
            arrow = {"arrowstyle": "-|>", "color": "#4a5568", "shrinkA": 17, "shrinkB": 17, "lw": 1}
            axes.annotate("", (x, y), PLACES[parent], arrowprops=arrow)
        colour = "#f7fafc" if parents else "#bcd7f5" if needs_grad else "#e2e8f0"
        edge = "#2b6cb0" if needs_grad else "#a0aec0"
        axes.text(
            x,
            y,
            name.strip(),
            ha="center",
            va="center",
            fontsize=10,
            bbox={"boxstyle": "circle,pad=0.55", "fc": colour, "ec": edge},
        )
        axes.text(x, y - 0.42, f"{number}: {text_of(shape)}", ha="center", va="center", fontsize=7, color="#4a5568")
    axes.set(xlim=(-0.5, 8.6), ylim=(-1.6, 1.5), title="what record remembers: number in your order, and shape")
    axes.axis("off")


def draw_disc(axes, weights, points, sign, wrong):
    line = torch.linspace(-1, 1, 121, dtype=float64)
    surface = network(torch.cartesian_prod(line, line), weights).view(121, 121).T.numpy()
    axes.imshow(surface.clip(-1.2, 1.2), origin="lower", extent=(-1, 1, -1, 1), cmap="cividis", vmin=-1.6, vmax=1.6)
    axes.contour(surface, levels=[0.0], extent=(-1, 1, -1, 1), colors="black", linewidths=1)
    for side, mark, colour in (1, ".", "black"), (-1, "x", "white"):
        x, y = points[sign[:, 0] == side].T.numpy()
        axes.plot(x, y, mark, markersize=2, markeredgewidth=0.6, color=colour)
    axes.set_xlabel("dots: inside, crosses: outside; bright: taken for inside", fontsize=7)
    axes.set(xticks=[], yticks=[], title=f"learned by your engine: {wrong:.1f} % errors")


@lab.experiment(*PARTS[:7], seconds=2)
def which_step(student, metrics, data, rng):
    """gradcheck with steps from 1 down to a trillionth"""
    inputs = [rng.normal(3, 4, dtype=float64), rng.normal(4, 2, dtype=float64), rng.normal(2, dtype=float64)]
    steps = [10 ** (-k / 3) for k in range(37)]
    gaps_found = student.run(gap_by_step, inputs, steps)
    best = min(range(len(steps)), key=gaps_found.__getitem__)
    metrics.at_most("smallest difference", gaps_found[best], 1e-8)
    metrics.within("the step that gives it", steps[best], 1e-7, 1e-3)
    metrics.at_least("difference with the smallest step", gaps_found[-1], 1e-6)
    with metrics.picture("steps.png", size=(6, 3.8)) as figure:
        axes = figure.subplots()
        axes.loglog(steps, gaps_found, "o-", markersize=4)
        axes.loglog(steps[:16], [gaps_found[3] * (h / steps[3]) ** 2 for h in steps[:16]], "--", color="grey", lw=1)
        axes.text(3e-3, 1e-7, "∝ h²", color="grey")
        axes.loglog(steps[16:], [gaps_found[-4] * steps[-4] / h for h in steps[16:]], "--", color="grey", lw=1)
        axes.text(2e-9, 1e-9, "∝ 1/h", color="grey")
        axes.set(xlabel="step h", ylabel="largest difference", title="Central differences: too far, too close")
