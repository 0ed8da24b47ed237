"""The experiments of lab 16: what can be measured and seen once its parts work."""

import math

import torch
from check import adjacency, lab, normalised_adjacency
from checking import progress, student_side
from torch import Tensor


def labyrinth(n: int, generator) -> tuple[Tensor, Tensor]:
    """n places in two arms of a spiral, evenly spread, and the arm of each."""
    share = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    angle = (1.2**2 + (7.2**2 - 1.2**2) * share).sqrt() * math.pi / 2
    radius = angle / (3.6 * math.pi) + 0.1 * (torch.rand(n, generator=generator) - 0.5)
    arm = torch.arange(n) % 2
    return torch.stack([radius * (angle + arm * math.pi).cos(), radius * (angle + arm * math.pi).sin()], 1), arm


def chebyshev_coefficients(g, largest: float, count: int) -> Tensor:
    """Those of the polynomial that agrees with g at the `count` Chebyshev points of [0, largest]."""
    angle = (torch.arange(count, dtype=torch.float64) + 0.5) * math.pi / count
    values = g(largest * (1 + angle.cos()) / 2)
    theta = torch.stack([(values * (k * angle).cos()).sum() * 2 / count for k in range(count)])
    theta[0] /= 2
    return theta


@student_side
def heat(student, edges, n, thetas, start, largest):
    lap = student.laplacian(student.adjacency(edges, n)).double()
    return lap, [student.chebyshev_filter(lap, start, theta, largest) for theta in thetas]


@lab.experiment("adjacency", "laplacian", "chebyshev_filter", seconds=1)
def heat_in_a_labyrinth(student, metrics, data, rng):
    """Heat in a labyrinth: polynomials of a low degree instead of 900 eigenvectors"""
    n, plans = 900, ((1.0, 30), (10.0, 60), (100.0, 200))  # time, degree
    place, arm = labyrinth(n, rng.generator)
    near = torch.cdist(place, place) < 0.08
    edges = near.triu(1).nonzero()
    largest = 2.0 * near.sum(1).max().item()  # no eigenvalue is above twice the largest degree
    start = torch.zeros(n, 1, dtype=torch.float64)
    start[0] = 1
    thetas = [chebyshev_coefficients(lambda f, t=t: (-t * f).exp(), largest, k + 1) for t, k in plans]
    lap, spread = student.run(heat, edges, n, thetas, start, largest)
    frequency, basis = torch.linalg.eigh(lap)
    for (t, degree), got in zip(plans, spread, strict=True):
        exact = basis @ ((-t * frequency).exp()[:, None] * (basis.T @ start))
        error = (got - exact).abs().max().item() / exact.max().item()
        metrics.at_most(f"relative error after time {t:g}, degree {degree}", error, 1e-4)
    metrics.at_most("heat in the other arm", spread[-1][arm != arm[0]].abs().sum().item(), 1e-6)
    with metrics.picture("heat.png", size=(10, 3.5)) as figure:
        import matplotlib

        colours = matplotlib.colormaps["inferno"].with_extremes(under="#cbd5e0")
        for axes, (t, _), got in zip(figure.subplots(1, 3), plans, spread, strict=True):
            draw_edges(axes, place, edges, 0.3)
            shown = got[:, 0].abs().clamp(min=1e-9).log10()
            dots = axes.scatter(*place.T.numpy(), c=shown.numpy(), s=7, cmap=colours, vmin=-6, vmax=0, zorder=3)
            axes.set_title(f"after time {t:g}")
            bare(axes)
        bar = figure.colorbar(dots, ax=figure.axes, shrink=0.7, label="heat", extend="min")
        bar.set_ticks([-6, -4, -2, 0], labels=["$10^{-6}$", "$10^{-4}$", "$10^{-2}$", "1"])


def draw_edges(axes, place: Tensor, edges: Tensor, alpha: float) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(place[edges].tolist(), colors="#4a5568", linewidths=0.4, alpha=alpha, zorder=1))


def bare(axes) -> None:
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)


def groups(generator, n: int = 400, classes: int = 4, inside: float = 0.05, across: float = 0.006):
    """A stochastic block model with weak features: edges E × 2, features n × 16, classes n, 5 known nodes of each."""
    target = torch.arange(n) % classes
    chance = torch.where(target[:, None] == target, inside, across)
    edges = (torch.rand(n, n, generator=generator) < chance).triu(1).nonzero()
    centre = torch.randn(classes, 16, generator=generator)
    x = centre[target] + 3 * torch.randn(n, 16, generator=generator)
    order = torch.randperm(n, generator=generator)
    known = torch.cat([order[target[order] == c][:5] for c in range(classes)])
    return edges, x, target, known


@student_side
def two_layers(student, edges, x, target, known, use_edges, steps):
    """Scores of two gcn_layers, trained on the known nodes; without edges p is the identity."""
    p = student.normalised_adjacency(student.adjacency(edges, len(x))) if use_edges else torch.eye(len(x))
    p = p.to_sparse()
    w1 = (torch.randn(x.shape[1], 16) / 4).requires_grad_()
    w2 = (torch.randn(16, 4) / 4).requires_grad_()
    b1, b2 = torch.zeros(16, requires_grad=True), torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.Adam([w1, b1, w2, b2], lr=0.01, weight_decay=5e-3)
    for _ in progress(range(steps), "with edges" if use_edges else "without edges"):
        hidden = torch.nn.functional.dropout(student.gcn_layer(p, x, w1, b1).relu(), 0.5)
        loss = torch.nn.functional.cross_entropy(student.gcn_layer(p, hidden, w2, b2)[known], target[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return student.gcn_layer(p, student.gcn_layer(p, x, w1, b1).relu(), w2, b2)


@student_side
def attending(student, edges, x, target, known, steps):
    """Scores of two layers of attention over neighbours (a GAT with one head), trained on the known nodes."""
    n = len(x)
    loops = torch.arange(n)
    sender = torch.cat([edges[:, 0], edges[:, 1], loops])
    receiver = torch.cat([edges[:, 1], edges[:, 0], loops])
    sizes = [(x.shape[1], 16), (16, 4)]
    weights = [(torch.randn(d, h) / 4).requires_grad_() for d, h in sizes]
    pairs = [torch.zeros(h, 2, requires_grad=True) for _, h in sizes]  # attention begins as a mean
    optimizer = torch.optim.Adam(weights + pairs, lr=0.01, weight_decay=5e-3)

    def forward(x, drop):
        for number, (weight, pair) in enumerate(zip(weights, pairs, strict=True)):
            value = torch.nn.functional.dropout(x, 0.5, drop) @ weight if number else x @ weight
            part = value @ pair
            score = torch.nn.functional.leaky_relu(part[sender, 0] + part[receiver, 1], 0.2)
            share = student.edge_softmax(score, receiver, n)
            x = torch.zeros(n, value.shape[1]).index_add(0, receiver, share[:, None] * value[sender])
            x = x.relu() if number == 0 else x
        return x

    for _ in progress(range(steps), "attention"):
        loss = torch.nn.functional.cross_entropy(forward(x, True)[known], target[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return forward(x, False)


@student_side
def smoothed(student, edges, x, target, known, counts):
    """For each k in counts: scores of a linear classifier of pᵏ x."""
    p = student.normalised_adjacency(student.adjacency(edges, len(x)))
    scores = []
    for k in progress(counts, "smoothing"):
        smooth = torch.linalg.matrix_power(p, k) @ x
        smooth = smooth / smooth.std()
        weight = torch.zeros(x.shape[1], 4, requires_grad=True)
        optimizer = torch.optim.Adam([weight], lr=0.1, weight_decay=5e-3)
        for _ in range(60):
            loss = torch.nn.functional.cross_entropy(smooth[known] @ weight, target[known])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scores.append((smooth @ weight).detach())
    return scores


@lab.experiment("adjacency", "normalised_adjacency", "edge_softmax", "gcn_layer", seconds=5)
def groups_by_their_edges(student, metrics, data, rng):
    """Four groups, 20 labels, weak features: with and without edges, the mean of 3 graphs"""
    counts = (0, 1, 2, 4, 8, 12, 16, 20, 24, 32, 48)
    names = ("without edges", "graph convolution", "attention")
    right: dict[str, list[float]] = {name: [] for name in names}
    curves = []
    for _ in range(3):
        edges, x, target, known = groups(rng.generator)
        rest = torch.ones(len(x), dtype=torch.bool)
        rest[known] = False

        def accuracy(scores, rest=rest, target=target):
            return 100 * (scores.argmax(1) == target)[rest].double().mean().item()

        scores = {
            names[0]: student.run(two_layers, edges, x, target, known, False, 150),
            names[1]: student.run(two_layers, edges, x, target, known, True, 150),
            names[2]: student.run(attending, edges, x, target, known, 150),
        }
        for name in names:
            right[name].append(accuracy(scores[name]))
        curves.append([accuracy(s) for s in student.run(smoothed, edges, x, target, known, counts)])
    means = {name: sum(values) / len(values) for name, values in right.items()}
    metrics.at_least("right with graph convolutions", means[names[1]], 75, "%")
    metrics.at_least("more than without edges", means[names[1]] - means[names[0]], 30, "points")
    metrics.seen("right without edges", means[names[0]], "%")
    metrics.seen("right with attention", means[names[2]], "%")
    with metrics.picture("groups.png", size=(10, 3.6)) as figure:
        plain, graph, curve = figure.subplots(1, 3)
        place = spectral_layout(edges, target)
        looks = (("o", "#0072B2"), ("^", "#D55E00"), ("s", "#009E73"), ("x", "#000000"))  # of Okabe and Ito
        for axes, name in (plain, names[0]), (graph, names[1]):
            guess = scores[name].argmax(1)
            draw_edges(axes, place, edges, 0.1)
            for group, (marker, colour) in enumerate(looks):
                axes.scatter(*place[guess == group].T.numpy(), s=14, marker=marker, c=colour, linewidths=1, zorder=3)
            axes.scatter(*place[known].T.numpy(), s=70, facecolors="none", edgecolors="black", linewidths=1, zorder=4)
            axes.text(0.5, -0.02, "marker: the group it is given; ring: its label is known", size=7, ha="center",
                      va="top", transform=axes.transAxes)  # fmt: skip
            axes.set_title(f"{name}: {right[name][-1]:.0f} % right")
            bare(axes)
        for number, values in enumerate(curves):
            curve.plot(
                range(len(counts)), values, ":", color="#4a5568", linewidth=1, label="" if number else "one graph"
            )
        mean = torch.tensor(curves).mean(0).numpy()
        curve.plot(range(len(counts)), mean, "-o", color="#0072B2", markersize=4, label="mean of 3 graphs")
        curve.legend()
        curve.set_xticks(range(len(counts)), labels=[str(k) for k in counts])
        curve.set(
            xlabel="smoothing steps $k$ of a linear classifier of $p^k x$",
            ylabel="right (%)",
            ylim=(20, 100),
            title="smoothing helps, until it does not",
        )


def spectral_layout(edges: Tensor, target: Tensor) -> Tensor:
    """Places in the plane: the three slowest eigenvectors, projected so that the four groups take the four corners."""
    p = normalised_adjacency(adjacency(edges, len(target)).double())
    slow = torch.linalg.eigh(p).eigenvectors[:, -4:-1] / p.sum(1, keepdim=True)
    centres = torch.stack([slow[target == c].mean(0) for c in range(4)])
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    return (slow @ torch.linalg.lstsq(centres, corners).solution).clamp(-2.5, 2.5).float()


def nearest_graph(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """All distances (the diagonal infinite), and the edges from each row to its k nearest ones."""
    distance = torch.cdist(x, x).fill_diagonal_(float("inf"))
    nearest = distance.topk(k, largest=False).indices
    return distance, torch.stack([torch.arange(len(x)).repeat_interleave(k), nearest.flatten()], 1)


@student_side
def spread_labels(student, edges, labels, steps):
    a = student.adjacency(edges, labels.shape[1])
    return [student.label_propagation(a, label, steps) for label in progress(labels, "spreading labels")]


def shortest_path(edges: Tensor, start: int, goals: set[int]) -> list[int]:
    """Nodes from `start` to the nearest one in `goals`; empty if there is no way."""
    neighbours: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    came, waiting = {start: -1}, [start]
    for node in waiting:
        if node in goals:
            path = [node]
            while came[path[-1]] >= 0:
                path.append(came[path[-1]])
            return path[::-1]
        for other in neighbours.get(node, []):
            if other not in came:
                came[other] = node
                waiting.append(other)
    return []


@lab.experiment("adjacency", "label_propagation", seconds=3)
def digits_from_twenty_labels(student, metrics, data, rng):
    """2000 digits, 2 labels of each: nearest labelled image, and labels spread over a graph"""
    images, target, _, _ = data.mnist(full=True)
    images, target = images[:2000], target[:2000]
    distance, edges = nearest_graph(images, 8)
    counts = (1, 2, 5, 10, 20)
    chosen = [torch.cat([(target == c).nonzero()[:count, 0] for c in range(10)]) for count in counts]
    labels = torch.full((len(counts), len(target)), -1)
    for label, known in zip(labels, chosen, strict=True):
        label[known] = target[known]
    spread = student.run(spread_labels, edges, labels, 60)
    curves: dict[str, list[float]] = {"nearest labelled image": [], "spread labels": []}
    for known, label, score in zip(chosen, labels, spread, strict=True):
        nearest, rest = target[known][distance[:, known].argmin(1)], label < 0
        curves["nearest labelled image"].append(100 * (nearest != target)[rest].double().mean().item())
        curves["spread labels"].append(100 * (score.argmax(1) != target)[rest].double().mean().item())
    metrics.within("errors of the nearest of 20 labelled images", curves["nearest labelled image"][1], 38.9, 39.2, "%")
    metrics.at_most("errors after spreading 20 labels", curves["spread labels"][1], 27.5, "%")
    metrics.seen("errors after spreading 50 labels", curves["spread labels"][2], "%")
    with metrics.picture("digits.png", size=(10, 3.4)) as figure:
        left, right = figure.subfigures(1, 2, width_ratios=[1, 1.5])
        axes = left.subplots()
        for name, values in curves.items():
            axes.plot(counts, values, "-o" if "nearest" in name else "--s", markersize=4, label=name)
        axes.set(xscale="log", xlabel="labels for each digit", ylabel="errors (%)", ylim=(0, 60))
        axes.set_xticks(counts, labels=[str(c) for c in counts])
        axes.minorticks_off()
        axes.legend()
        draw_walks(right, images, target, distance, edges, chosen[1], spread[1])


def draw_walks(
    figure, images: Tensor, target: Tensor, distance: Tensor, edges: Tensor, known: Tensor, score: Tensor
) -> None:
    """Digits that the nearest labelled image gets wrong and their neighbours get right, with the walk to a label."""
    nearest = known[distance[:, known].argmin(1)]
    saved = ((target[nearest] != target) & (score.argmax(1) == target)).nonzero()[:, 0].tolist()
    rows, seen = [], set()
    for node in saved:
        digit = int(target[node])
        path = shortest_path(edges, node, set(known[target[known] == digit].tolist()))
        if digit not in seen and 5 <= len(path) <= 8 and all(target[n] == digit for n in path):
            seen.add(digit)
            rows.append((node, path))
        if len(rows) == 4:
            break
    if not rows:
        return
    longest = max(len(path) for _, path in rows)
    grid = figure.subplots(len(rows), longest + 1, squeeze=False)
    title = "nearest label (left), and the walk from a digit to a label over its neighbours; white on black: labelled"
    figure.suptitle(title, fontsize=8)
    for line, (node, path) in zip(grid, rows, strict=True):
        for axes, number in zip(line, [int(nearest[node]), *path, *[None] * (longest - len(path))], strict=True):
            axes.axis("off")
            if number is not None:
                axes.imshow(images[number].view(28, 28).numpy(), cmap="gray" if number in known.tolist() else "gray_r")
