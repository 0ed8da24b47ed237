"""The experiments of lab 20: what can be measured and seen once its parts work."""

import math

import torch
from check import classical_mds, lab, log_likelihood
from checking import progress, student_side
from checking.kit import float64
from torch import Tensor


@student_side
def learning_curves(student, x, unseen, w, steps):
    """Both models from the same start, and the log-likelihood of unseen data every few steps."""
    d = x.shape[1]
    mean, sigma2, psi, w_fa = x.mean(0), 1.0, torch.ones(d, dtype=x.dtype), w
    curves = [], []
    for _ in progress(range(steps // 5), "EM"):
        w, sigma2 = student.ppca_em(x, w, sigma2, 5)
        w_fa, psi = student.fa_em(x, w_fa, psi, 5)
        curves[0].append(student.log_likelihood(unseen, mean, w, torch.full((d,), sigma2, dtype=x.dtype)))
        curves[1].append(student.log_likelihood(unseen, mean, w_fa, psi))
    return w, sigma2, w_fa, psi, curves


def widest_angle(a: Tensor, b: Tensor) -> float:
    """Between the spaces that the columns of a and b span, in degrees."""
    cosine = torch.linalg.svdvals(torch.linalg.qr(a)[0].T @ torch.linalg.qr(b)[0]).min()
    return math.degrees(cosine.clamp(max=1).arccos().item())


@lab.experiment("log_likelihood", "ppca_em", "fa_em", seconds=1)
def noise_of_twenty_sensors(student, metrics, data, rng):
    """Twenty sensors, three causes, noise from 0.1 to 10: factor analysis and probabilistic PCA"""
    d, k, n, steps = 20, 3, 5000, 300
    loadings = rng.normal(d, k, dtype=float64)
    noise = 10 ** torch.linspace(-1, 1, d, dtype=float64)[rng.permutation(d)]
    x, unseen = (
        rng.normal(n, k, dtype=float64) @ loadings.T + rng.normal(n, d, dtype=float64) * noise.sqrt() for _ in "ab"
    )
    start = rng.normal(d, k, dtype=float64)
    w, sigma2, w_fa, psi, (pca_curve, fa_curve) = student.run(learning_curves, x, unseen, start, steps)
    truth = log_likelihood(unseen, torch.zeros(d, dtype=float64), loadings, noise)
    metrics.at_most(
        "factor analysis: largest error of a noise variance", 100 * ((psi - noise) / noise).abs().max().item(), 30, "%"
    )
    metrics.at_most("factor analysis: angle to the true factors", widest_angle(w_fa, loadings), 6, "°")
    metrics.seen("probabilistic PCA: angle to the true factors", widest_angle(w, loadings), "°")
    metrics.at_most("log-likelihood of unseen data: truth − factor analysis", truth - fa_curve[-1], 0.15, "nats")
    metrics.seen("log-likelihood of unseen data: truth − probabilistic PCA", truth - pca_curve[-1], "nats")
    with metrics.picture("sensors.png", size=(9.5, 3.4)) as figure:
        plots, tables = figure.subfigures(1, 2, width_ratios=[4, 1])
        left, right = plots.subplots(1, 2)
        left.plot([0.08, 12], [0.08, 12], color="#a0aec0", linewidth=1)
        left.plot(noise.numpy(), psi.numpy(), "o", markersize=5, label="factor analysis")
        left.plot([0.1, 10], [sigma2, sigma2], label="probabilistic PCA")
        left.set(
            xscale="log", yscale="log", xlabel="true noise variance", ylabel="estimate", title="noise of each sensor"
        )
        left.legend()
        right.plot(range(5, steps + 1, 5), fa_curve, label="factor analysis")
        right.plot(range(5, steps + 1, 5), pca_curve, label="probabilistic PCA")
        right.axhline(truth, color="#4a5568", linewidth=1, linestyle=":", label="true parameters")
        right.set(xscale="log", xlabel="step of EM", ylabel="nats", title="log-likelihood of unseen data")
        right.legend()
        order = noise.argsort()
        tables.suptitle("W Wᵀ, quiet sensors first", fontsize=9)
        kinds = (("true", loadings), ("FA", w_fa), ("PPCA", w))
        for axes, (name, found) in zip(tables.subplots(3, 1), kinds, strict=True):
            axes.imshow((found[order] @ found[order].T).numpy(), cmap="cividis", vmin=-5, vmax=5)
            axes.set(xticks=[], yticks=[], ylabel=name)
            axes.grid(False)


@student_side
def parts_and_axes(student, v, w, h, steps):
    errors = []
    for _ in progress(range(steps // 10), "parts"):
        w, h = student.nmf(v, w, h, 10)
        errors.append(float((v - w @ h).norm() / v.norm()))
    return w, h, errors


@lab.experiment("nmf", seconds=1)
def parts_of_digits(student, metrics, data, rng):
    """1000 digits as sums of 25 parts"""
    images, _, _, _ = data.mnist()
    v, k = images.T / 255, 25
    w, h, errors = student.run(parts_and_axes, v, rng.uniform(784, k), rng.uniform(k, 1000), 200)
    u, s, _ = torch.linalg.svd(v, full_matrices=False)
    bound = (s[k:].norm() / s.norm()).item()
    metrics.within("relative error of 25 parts", errors[-1], bound, 0.53)
    metrics.seen("relative error of 25 axes, the best of rank 25", bound)
    used = (h > 0.1 * h.amax(0)).sum(0).double().mean().item()
    metrics.seen("parts in one digit, above a tenth of the largest", used)
    with metrics.picture("parts.png", size=(9.5, 3.6)) as figure:
        parts, axes_of_pca, sums = figure.subfigures(1, 3, width_ratios=[1, 1, 1.5])
        gallery(parts, w.T, "25 parts: nothing is negative", "gray_r", None)
        gallery(axes_of_pca, u[:, :k].T, "25 axes: bright adds, dark takes away", "cividis", 0.12)
        sums.suptitle("a digit, its sum, and its five largest parts", fontsize=9)
        for row, n in zip(sums.subplots(4, 7), (1, 4, 7, 9), strict=True):
            strongest = (h[:, n] * w.sum(0)).argsort(descending=True)[:5]
            shown = [v[:, n], w @ h[:, n], *[w[:, j] * h[j, n] for j in strongest]]
            for number, (axes, image) in enumerate(zip(row, shown, strict=True)):
                axes.imshow(image.view(28, 28).numpy(), cmap="Blues" if number > 1 else "gray_r", vmin=0, vmax=1)
                axes.axis("off")


def gallery(figure, rows: Tensor, title: str, colours: str, limit: float | None) -> None:
    figure.suptitle(title, fontsize=9)
    for axes, row in zip(figure.subplots(5, 5).flat, rows, strict=True):
        axes.imshow(row.view(28, 28).numpy(), cmap=colours, vmin=limit and -limit, vmax=limit)
        axes.axis("off")


def swiss_roll(n: int, rng) -> tuple[Tensor, Tensor]:
    """n places on a rolled-up sheet, N × 3, and how far along the sheet each is."""
    angle = torch.linspace(1.5 * math.pi, 4.5 * math.pi, 4000, dtype=float64)
    length = 0.5 * (angle * (1 + angle**2).sqrt() + angle.asinh())
    along = length[0] + (length[-1] - length[0]) * rng.uniform(n, dtype=float64)
    t = angle[torch.searchsorted(length, along).clamp(max=3999)]
    return torch.stack([t * t.cos(), 10 * rng.uniform(n, dtype=float64), t * t.sin()], 1), along


@student_side
def maps_of(student, x, neighbours, many):
    curve = [student.isomap(x, m, 1)[:, 0] for m in progress(many, "isomap")]
    return student.isomap(x, neighbours, 2), student.lle(x, 12, 2), curve


def agreement(a: Tensor, b: Tensor) -> float:
    return abs(torch.corrcoef(torch.stack([a, b]))[0, 1].item())


@lab.experiment("classical_mds", "geodesic_distances", "lle", seconds=2)
def a_roll_is_unrolled(student, metrics, data, rng):
    """A rolled-up sheet in three dimensions, unrolled"""
    x, along = swiss_roll(600, rng)
    many = (5, 8, 12, 20, 30, 40, 60, 100)
    flat, local, curve = student.run(maps_of, x, 10, many)
    linear = classical_mds(torch.cdist(x, x), 2)
    metrics.at_least("Isomap: |correlation| with the length along the sheet", agreement(flat[:, 0], along), 0.99)
    metrics.seen("LLE", max(agreement(local[:, j], along) for j in (0, 1)))
    metrics.seen("PCA", max(agreement(linear[:, j], along) for j in (0, 1)))
    with metrics.picture("roll.png", size=(10, 2.9)) as figure:
        space = figure.add_subplot(1, 5, 1, projection="3d")
        space.scatter(*x.T.numpy(), c=along.numpy(), s=4, cmap="viridis")
        space.view_init(12, -72)
        space.set(xticks=[], yticks=[], zticks=[], title="600 places in space")
        for n, (name, y) in enumerate((("PCA", linear), ("Isomap", flat), ("LLE", local)), start=2):
            axes = figure.add_subplot(1, 5, n)
            axes.scatter(*y.T.numpy(), c=along.numpy(), s=4, cmap="viridis")
            axes.set(xticks=[], yticks=[], title=name, aspect="auto" if name == "LLE" else "equal")
            axes.set_box_aspect(1 if name == "LLE" else None)
            axes.grid(False)
        axes = figure.add_subplot(1, 5, 5)
        axes.plot(many, [agreement(y, along) for y in curve], marker="o", markersize=4)
        axes.set(xscale="log", xlabel="neighbours", title="Isomap: |correlation|", ylim=(0, 1.05))
        axes.set_xticks([5, 10, 20, 50, 100], labels=["5", "10", "20", "50", "100"])
        axes.minorticks_off()
        axes.set_box_aspect(1)


def slant_and_ink(images: Tensor) -> tuple[Tensor, Tensor]:
    """How far each image leans, and how much ink it has; images: N × 28 × 28."""
    y, x = torch.meshgrid(torch.arange(28.0).double(), torch.arange(28.0).double(), indexing="ij")
    ink = images.sum((1, 2))
    left, down = (
        x - ((images * x).sum((1, 2)) / ink)[:, None, None],
        y - ((images * y).sum((1, 2)) / ink)[:, None, None],
    )
    return (images * left * down).sum((1, 2)) / (images * down**2).sum((1, 2)), ink


@student_side
def map_of_images(student, x, neighbours):
    return student.isomap(x, neighbours, 2)


@lab.experiment("classical_mds", "geodesic_distances", seconds=2)
def ones_lean(student, metrics, data, rng):
    """500 handwritten ones: what do the two coordinates of Isomap mean?"""
    images, target, _, _ = data.mnist(full=True)
    ones = images[target == 1][:500].double() / 255
    flat = student.run(map_of_images, ones, 8)
    slant, ink = slant_and_ink(ones.view(-1, 28, 28))
    linear = classical_mds(torch.cdist(ones, ones), 2)
    metrics.at_least("first coordinate of Isomap: |correlation| with the slant", agreement(flat[:, 0], slant), 0.97)
    metrics.seen("first coordinate of PCA: |correlation| with the slant", agreement(linear[:, 0], slant))
    metrics.seen("second coordinate of Isomap: |correlation| with the ink", agreement(flat[:, 1], ink))
    with metrics.picture("ones.png", size=(9.5, 4)) as figure:
        axes = figure.subplots()
        place = flat * torch.where(
            torch.stack([flat[:, 0] @ (slant - slant.mean()), flat[:, 1] @ (ink - ink.mean())]) > 0, 1, -1
        )
        axes.scatter(*place.T.numpy(), s=3, color="#cbd5e0")
        thumbnails(axes, place, ones.view(-1, 28, 28))
        axes.set(
            xlabel="first coordinate of Isomap",
            ylabel="second",
            xticks=[],
            yticks=[],
            title="500 ones, laid out by Isomap",
        )
        axes.grid(False)


def thumbnails(axes, place: Tensor, images: Tensor) -> None:
    """Images at their places, as many as do not cover each other."""
    span = place.amax(0) - place.amin(0)
    step = torch.stack([span[0] / 30, span[1] / 13])
    shown: list[Tensor] = []
    for xy, image in zip(place, images, strict=True):
        if all(bool(((xy - other).abs() > step).any()) for other in shown):
            shown.append(xy)
            left, bottom, width, height = float(xy[0]), float(xy[1]), float(step[0]) * 0.62, float(step[1]) * 0.62
            axes.imshow(
                1 - image.numpy(),
                cmap="gray",
                vmin=0,
                vmax=1,
                aspect="auto",
                zorder=2,
                extent=(left - width, left + width, bottom - height, bottom + height),
                alpha=(image > 0.1).double().numpy(),
            )
    axes.set_xlim(float(place[:, 0].min() - step[0]), float(place[:, 0].max() + step[0]))
    axes.set_ylim(float(place[:, 1].min() - step[1]), float(place[:, 1].max() + step[1]))
