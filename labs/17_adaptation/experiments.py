"""The experiments of lab 17: what can be measured and seen once its parts work."""

import copy
import math

import torch
from check import lab
from checking import progress, student_side
from checking.kit import float64, half_circles
from torch import Tensor, nn


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


@student_side
def camera_network():
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


@student_side
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


@lab.experiment("median_distance", "mmd_rbf", "adabn", seconds=4)
def another_camera(student, metrics, data, rng):
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
    metrics.at_least("errors on faded digits, as it is", errors["faded"][0], 40, "%")
    metrics.at_most("errors on faded digits, after adabn", errors["faded"][1], 8, "%")
    metrics.at_most("errors on noisy digits, after adabn", errors["noisy"][1], 25, "%")
    metrics.seen("errors on noisy digits, as it is", errors["noisy"][0], "%")
    metrics.seen("errors on inverted digits, after adabn", errors["inverted"][1], "%")
    metrics.at_most("squared MMD to the source, faded digits: after / before", gaps["faded"][1] / gaps["faded"][0], 0.3)
    with metrics.picture("cameras.png", size=(10, 3.6)) as figure:
        left, right = figure.subfigures(1, 2, width_ratios=[1.5, 1])
        rows = left.subplots(len(domains), 10)
        left.suptitle("what the adapted network says (with ×: wrong)", fontsize=9)
        for line, (name, images), row in zip(rows, domains.items(), found, strict=True):
            for n, axes in enumerate(line):
                axes.imshow(images[n, 0].numpy(), vmin=0, vmax=1, cmap="gray")
                axes.axis("off")
                answer, good = int(row[1][0][n]), bool(row[1][0][n] == y_target[n])
                text = f"{answer}" if good else f"×{answer}"
                axes.text(29, 20, text, fontsize=8, color="#007a5a" if good else "#b34700")
            line[0].text(-4, 14, name, ha="right", va="center", fontsize=8)
        axes = right.subplots()
        for name in domains:
            (before, after), (gap, gap_after) = errors[name], gaps[name]
            axes.annotate(
                "",
                (gap_after, after),
                (gap, before),
                arrowprops={"arrowstyle": "->", "color": "#718096", "linewidth": 1},
            )
            axes.text(gap, before + (-6 if name == "lamp" else 2.5), name, fontsize=8, ha="center")
        points = [torch.tensor([[gaps[name][k], errors[name][k]] for name in domains]) for k in (0, 1)]
        axes.plot(*points[0].T.numpy(), "^", label="as it is", color="#D55E00")
        axes.plot(*points[1].T.numpy(), "o", label="after adabn", color="#009E73")
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


@lab.experiment("coral_align", seconds=1)
def aligned_covariances(student, metrics, data, rng):
    """A linear classifier of 40 principal components; the target is faded, or its sensors are mixed"""
    train, t, test, test_t = data.mnist()
    x, y = train / 255, test / 255
    axes_of_pca = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:40].T
    mixing = torch.eye(40) + 0.15 * rng.normal(40, 40)
    source = x @ axes_of_pca
    plain = linear_classifier(source, t)
    metrics.seen("errors on the source's own test set", errors_of(plain, y @ axes_of_pca, test_t), "%")
    for name, target, bound in (
        ("faded", (0.3 * y + 0.4) @ axes_of_pca, 30),
        ("mixed sensors", y @ axes_of_pca @ mixing + 1, 60),
    ):
        aligned = student.coral_align(source, target)
        metrics.seen(f"{name}: errors without alignment", errors_of(plain, target, test_t), "%")
        error = errors_of(linear_classifier(aligned, t), target, test_t)
        metrics.at_most(f"{name}: errors with CORAL", error, bound, "%")


def moons(n: int, angle: float, generator) -> tuple[Tensor, Tensor]:
    """Two half circles, turned by an angle: n × 2 and labels."""
    t = torch.rand(n, generator=generator) * math.pi
    label = torch.arange(n) % 2
    x = half_circles(t, label == 1) - torch.tensor([0.5, 0.25])
    x = x + 0.1 * torch.randn(n, 2, generator=generator)
    c, s = math.cos(angle), math.sin(angle)
    return x @ torch.tensor([[c, s], [-s, c]]), label


@student_side
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


@lab.experiment("GradReverse", "dann_step", seconds=5)
def an_adversary_turns_moons(student, metrics, data, rng):
    """Two moons, turned by 30°, with and without an adversary: five runs of the same program"""
    source, label = moons(300, 0.0, rng.generator)
    target, truth = moons(300, math.pi / 6, rng.generator)
    side = torch.linspace(-2.2, 2.2, 90)
    grid = torch.cartesian_prod(side, side)
    found = student.run(turned_moons, source, label, target, grid, [rng.seed() for _ in range(5)], 300)
    errors = [[100 * (scores.argmax(1) != truth).double().mean().item() for scores, _, _ in pair] for pair in found]
    for k, name in enumerate(("without an adversary", "with an adversary")):
        values = sorted(error[k] for error in errors)
        metrics.seen(f"errors {name}: best of five", values[0], "%")
        metrics.seen(f"errors {name}: median", values[2], "%")
        metrics.seen(f"errors {name}: worst", values[4], "%")
    fooled = sum(pair[1][2] for pair in found) / len(found)
    metrics.within("loss of the discriminator against an adversary, mean", fooled, 0.4, 1.2, "nats")
    with metrics.picture("moons.png", size=(10, 2.0)) as figure:
        grid_of = figure.subplots(1, 6)
        shown = [
            (found[0][0], errors[0][0], "no adversary"),
            *[(p[1], e[1], "") for p, e in zip(found, errors, strict=True)],
        ]
        figure.supxlabel("crosses are class 0, dots class 1; dark: class 0 is answered, bright: class 1", fontsize=8)
        for number, (axes, ((_, scores, _), error, name)) in enumerate(zip(grid_of, shown, strict=True)):
            margin = (scores[:, 1] - scores[:, 0]).view(90, 90).T
            axes.contourf(side.numpy(), side.numpy(), margin.sigmoid().numpy(), 20, cmap="gray", alpha=0.5)
            axes.contour(side.numpy(), side.numpy(), margin.numpy(), [0], colors="black", linewidths=1)
            for label_of, (marker, colour) in enumerate((("x", "#0072B2"), ("o", "#D55E00"))):
                axes.scatter(*target[truth == label_of].T.numpy(), s=4, marker=marker, c=colour, linewidths=0.6)
            axes.set(xticks=[], yticks=[], title=f"{name or f'adversary, run {number}'}: {error:.0f} %", aspect="equal")
            axes.title.set_fontsize(8)
            axes.grid(False)


@student_side
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


@lab.experiment("label_shift", seconds=1)
def an_epidemic_of_threes(student, metrics, data, rng):
    """Digits with other frequencies: how many threes are there?"""
    train, t, test, test_t = data.mnist(full=True)
    x, held, new = train[:1000] / 255, train[1000:6000] / 255, test / 255
    wanted = torch.tensor([0.5, 0.5, 0.5, 5.0, 0.5, 0.5, 0.5, 1.0, 0.5, 0.5])
    chosen = torch.multinomial((wanted / wanted.max())[test_t], 3000, generator=rng.generator)
    answers, new_answers = student.run(confusing_network, x, t[:1000], [held, new[chosen]], rng.seed())
    confusion = torch.zeros(10, 10, dtype=float64)
    confusion.index_put_((answers, t[1000:6000]), torch.tensor(1 / 5000, dtype=float64), accumulate=True)
    counted = new_answers.bincount(minlength=10).double() / 3000
    truth = test_t[chosen].bincount(minlength=10).double() / 3000
    estimate = student.label_shift(confusion, counted)
    metrics.at_most(
        "largest error of a frequency, label_shift", 100 * (estimate - truth).abs().max().item(), 3, "points"
    )
    metrics.seen("largest error of a frequency, counting answers", 100 * (counted - truth).abs().max().item(), "points")
    with metrics.picture("threes.png", size=(7, 2.8)) as figure:
        axes = figure.subplots()
        place = torch.arange(10)
        kinds = (
            (truth, "truth", "#000000", ""),
            (counted, "answers, counted", "#E69F00", "////"),
            (estimate, "label_shift", "#56B4E9", "...."),
        )
        for k, (values, name, colour, hatch) in enumerate(kinds):
            left, height = (place + 0.27 * (k - 1)).numpy(), (100 * values).numpy()
            axes.bar(left, height, 0.25, label=name, color=colour, hatch=hatch, edgecolor="black", linewidth=0.5)
        axes.set(xlabel="digit", ylabel="frequency (%)", xticks=range(10))
        axes.legend()
