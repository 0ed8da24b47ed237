"""The experiments of lab 07: what can be measured and seen once its parts work."""

import torch
from check import RULES, lab
from checking import data, progress, student_side


@student_side
def on_a_quadratic(student, name, options, rotate, limit):
    """The distance from the minimum after each step, relative to the start; 100 curvatures from 0.01 to 1."""
    curvature = torch.logspace(-2, 0, 100, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(100, 100, generator=torch.Generator().manual_seed(3), dtype=torch.float64)).Q
    matrix = turn @ curvature.diag() @ turn.T if rotate else curvature.diag()
    w = turn @ torch.ones(100, dtype=torch.float64) if rotate else torch.ones(100, dtype=torch.float64)
    state, distances = {}, []
    for _ in range(limit):
        getattr(student, name)([w], [matrix @ w], state, **options)
        distances.append(w.norm().item() / 10)
        if distances[-1] <= 1e-6:
            break
    return distances


@lab.experiment("sgd", "momentum", "adagrad", "best_heavy_ball", seconds=1)
def a_hundred_curvatures(student, metrics, data, rng):
    """steps to a millionth of the distance on a quadratic with κ = 100"""
    rate, m = student.best_heavy_ball(0.01, 1.0)
    descent = student.run(on_a_quadratic, "sgd", {"rate": 2 / 1.01}, True, 2000)
    ball = student.run(on_a_quadratic, "momentum", {"rate": rate, "m": m}, True, 2000)
    along = student.run(on_a_quadratic, "adagrad", {"rate": 1.0}, False, 2000)
    across = student.run(on_a_quadratic, "adagrad", {"rate": 1.0}, True, 2000)
    metrics.within("gradient descent with its best rate", len(descent), 500, 900)
    metrics.within("heavy ball with its best rate and momentum", len(ball), 60, 130)
    metrics.at_most("the second as a fraction of the first", round(len(ball) / len(descent), 3), 0.25)
    metrics.at_most("AdaGrad, valley along the axes", len(along), 2)
    metrics.at_least("AdaGrad, the same valley rotated", len(across), 100)
    with metrics.picture("quadratic.png", size=(6.5, 3.8)) as figure:
        axes = figure.subplots()
        for line, text in (
            (descent, "gradient descent"),
            (ball, "heavy ball"),
            (across, "AdaGrad"),
            ([1.0, *along], "AdaGrad, along the axes"),
        ):
            axes.semilogy(range(1, len(line) + 1), line, label=text)
        rounds = range(0, len(descent), 5)
        axes.semilogy(rounds, [(99 / 101) ** k for k in rounds], ":", color="grey", lw=1)
        axes.semilogy(rounds[:30], [k * (9 / 11) ** k if k else 1 for k in rounds[:30]], ":", color="grey", lw=1)
        axes.set(
            ylim=(5e-7, 2),
            xlabel="step",
            ylabel="distance from the minimum",
            xlim=(0, 700),
            title="κ = 100; dotted: theory",
        )
        axes.legend(loc="upper right")


VALLEY = [
    ("sgd", {"rate": 0.004}),
    ("momentum", {"rate": 0.004}),
    ("nesterov", {"rate": 0.004}),
    ("adagrad", {"rate": 0.4}),
    ("rmsprop", {"rate": 0.02}),
    ("adam", {"rate": 0.1}),
]


@student_side
def down_the_valley(student, name, options, steps):
    """The path of a rule on (1 − x)² + 20 (y − x²)² from (−1.4, 1.6)."""
    w, state, path = torch.tensor([-1.4, 1.6]), {}, [torch.tensor([-1.4, 1.6])]
    for _ in range(steps):
        x, y = w
        slope = torch.stack((2 * (x - 1) - 80 * x * (y - x * x), 40 * (y - x * x)))
        getattr(student, name)([w], [slope], state, **options)
        path.append(w.clone())
    return torch.stack(path)


DIGITS = [
    ("sgd", {"rate": 0.1}),
    ("momentum", {"rate": 0.1}),
    ("nesterov", {"rate": 0.1}),
    ("adagrad", {"rate": 0.03}),
    ("rmsprop", {"rate": 0.003}),
    ("adam", {"rate": 0.003}),
]


@student_side
def on_digits(student, entries, seed):
    """Two epochs on 10 000 digits, 784–100–10, for each rule: the loss of each of 200 steps, and the test errors."""
    x, t, x_test, t_test = data.mnist(full=True)
    x, t, x_test = x[:10_000] / 255, t[:10_000], x_test / 255
    answers = []
    for name, options, scheduled in entries:
        torch.manual_seed(seed)
        net = torch.nn.Sequential(torch.nn.Linear(784, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
        parameters, state, losses = list(net.parameters()), {}, []
        batches = [rows for _ in range(2) for rows in torch.randperm(len(x)).split(100)]
        for step, rows in enumerate(progress(batches, name)):
            loss = torch.nn.functional.cross_entropy(net(x[rows]), t[rows])
            gradients = list(torch.autograd.grad(loss, parameters))
            rate = options["rate"]
            if scheduled:
                rate = student.cosine_schedule(step, len(batches), 10, rate)
            with torch.no_grad():
                getattr(student, name)(parameters, gradients, state, **{**options, "rate": rate})
            losses.append(loss.item())
        with torch.no_grad():
            answers.append((losses, 100 * (net(x_test).argmax(1) != t_test).float().mean().item()))
    return answers


@lab.experiment(*RULES, "cosine_schedule", seconds=8)
def the_race(student, metrics, data, rng):
    """two epochs on 10 000 digits with each rule, and a curved valley"""
    data.mnist()
    paths = {name: student.run(down_the_valley, name, options, 150) for name, options in VALLEY}
    entries = [(name, options, False) for name, options in DIGITS] + [("adam", {"rate": 0.01}, True)]
    answers = student.run(on_digits, entries, rng.seed())
    names = [*RULES, "adam with warm-up and cosine"]
    lines = {name: losses for name, (losses, _) in zip(names, answers, strict=True)}
    ends = {name: sum(losses[-50:]) / 50 for name, losses in lines.items()}
    metrics.seen("sgd: loss of the last 50 steps", round(ends["sgd"], 3))
    for name in RULES[1:]:
        metrics.at_most(f"{name}: the same, relative to sgd", round(ends[name] / ends["sgd"], 3), 0.85)
    for name, (_, errors) in zip(RULES, answers, strict=False):
        metrics.seen(f"{name}: test errors", errors, unit="%")
    metrics.at_most("adam with warm-up and cosine: test errors", answers[-1][1], 9, unit="%")
    with metrics.picture("race.png", size=(11.5, 4.4)) as figure:
        draw_race(figure, paths, lines)


def draw_race(figure, paths, lines):
    """The paths down the valley, and the losses on MNIST."""
    left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
    x, y = torch.linspace(-1.9, 1.9, 400), torch.linspace(-0.6, 2.6, 400)
    height = (1 - x) ** 2 + 20 * (y[:, None] - x**2) ** 2
    for axes, (name, path) in zip(left.subplots(2, 3).flat, paths.items(), strict=True):
        axes.imshow(
            (height + 0.05).log().numpy(), origin="lower", extent=(-1.9, 1.9, -0.6, 2.6), cmap="bone", alpha=0.8
        )
        axes.plot(*path.clamp(-3, 4).T.numpy(), ".-", color="#c2571a", lw=0.9, ms=3)
        axes.plot(1, 1, "*", ms=11, color="gold", markeredgecolor="black", mew=0.6, zorder=5)
        axes.grid(False)
        axes.set(xlim=(-1.9, 1.9), ylim=(-0.6, 2.6), xticks=[], yticks=[], title=name)
    left.suptitle("150 steps down a curved valley", fontsize=10)
    plot = right.subplots()
    for name, losses in lines.items():
        smooth = torch.tensor(losses).unfold(0, 15, 1).mean(1)
        style = {"color": "black", "linestyle": "--"} if " " in name else {}
        plot.plot(range(15, len(losses) + 1), smooth.numpy(), lw=1.3, label=name, **style)
    plot.set(yscale="log", xlabel="step", title="loss on 10 000 digits, mean of 15 steps")
    plot.set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    plot.minorticks_off()
    plot.legend(fontsize=8)
