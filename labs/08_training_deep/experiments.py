"""The experiments of lab 08: what can be measured and seen once its parts work."""

import math
from itertools import pairwise

import torch
from check import FLAGS, lab
from checking import progress, student_side
from torch import nn
from torch.nn import functional as F


@student_side
def fully_connected(sizes, norm):
    layers = []
    for here, there in pairwise(sizes[:-1]):
        layers += [nn.Linear(here, there), *([nn.BatchNorm1d(there)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


@student_side
def initialise(student, model, scheme):
    """By a part of the lab, by normal numbers of one size, or (None) as torch does it."""
    for layer in model:
        if isinstance(layer, nn.Linear) and scheme is not None:
            if isinstance(scheme, str):
                getattr(student, scheme)(layer.weight)
                nn.init.zeros_(layer.bias)
            else:
                nn.init.normal_(layer.weight, 0, scheme)
                nn.init.normal_(layer.bias, 0, scheme)


@student_side
def disc_networks(student, text, sizes, norm, schemes, side):
    """For each initialisation: the test error, and the probability of class 1 in side × side places of the square."""
    points, classes = student.generate_disc_set(1000)
    test_points, test_classes = student.generate_disc_set(1000)
    mean, std = points.mean(), points.std()
    ticks = torch.linspace(-1, 1, side)
    square = torch.cartesian_prod(ticks, ticks).flip(1)
    errors, maps = [], []
    for scheme in progress(schemes, text):
        model = fully_connected(sizes, norm)
        initialise(student, model, scheme)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(100):
            for x, t in zip(((points - mean) / std).split(100), classes.split(100), strict=True):
                optimizer.zero_grad()
                F.cross_entropy(model(x), t).backward()
                optimizer.step()
        model.eval()
        errors.append(model((test_points - mean) / std).argmax(1).ne(test_classes).float().mean().item() * 100)
        maps.append(model((square - mean) / std).softmax(1)[:, 1].reshape(side, side))
    return errors, maps


@lab.experiment("generate_disc_set", "xavier_", "kaiming_", seconds=13)
def discs(student, metrics, data, rng):
    """three networks on the disc, six initialisations, 100 epochs"""
    schemes = {
        "N(0, 0.001²)": 0.001,
        "N(0, 0.1²)": 0.1,
        "N(0, 1)": 1.0,
        "torch's default": None,
        "xavier_": "xavier_",
        "kaiming_": "kaiming_",
    }
    deep = [2, 4, 8, 16, 32, 64, 128, 2]
    networks = {"two layers": ([2, 128, 2], False), "seven layers": (deep, False), "seven, batch norm": (deep, True)}
    errors, maps = {}, {}
    for name, (sizes, norm) in networks.items():
        found = student.run(disc_networks, name, sizes, norm, list(schemes.values()), 61)
        errors[name], maps[name] = (dict(zip(schemes, values, strict=True)) for values in found)
    metrics.at_most("two layers, torch's default", errors["two layers"]["torch's default"], 4, unit="%")
    metrics.at_most("seven layers, torch's default", errors["seven layers"]["torch's default"], 20, unit="%")
    metrics.at_most("seven layers, kaiming_", errors["seven layers"]["kaiming_"], 20, unit="%")
    metrics.at_least("seven layers, N(0, 0.001²)", errors["seven layers"]["N(0, 0.001²)"], 45, unit="%")
    metrics.at_most("the same with batch norm", errors["seven, batch norm"]["N(0, 0.001²)"], 10, unit="%")
    with metrics.picture("discs.png", size=(11, 5.8)) as figure:
        turn = torch.linspace(0, 2 * math.pi, 200)
        radius = math.sqrt(2 / math.pi)
        grid = figure.subplots(len(networks), len(schemes))
        for row, name in zip(grid, networks, strict=True):
            for axes, scheme in zip(row, schemes, strict=True):
                axes.imshow(maps[name][scheme], extent=(-1, 1, -1, 1), origin="lower", cmap="cividis", vmin=0, vmax=1)
                axes.plot(radius * turn.cos(), radius * turn.sin(), color="black", linewidth=0.8, linestyle=":")
                axes.set(xticks=[], yticks=[])
                axes.set_xlabel(f"{errors[name][scheme]:.1f} %", labelpad=2)
                axes.spines[:].set_visible(False)
            row[0].set_ylabel(name)
        for axes, scheme in zip(grid[0], schemes, strict=True):
            axes.set_title(scheme)


@lab.experiment("ResNetBlock", "get_stats", seconds=6)
def derivatives_by_depth(student, metrics, data, rng):
    """the derivatives in 30 blocks, for 50 images of CIFAR-10"""
    images, labels, _, _ = data.cifar(normalize=True, flatten=False)
    curves = {}
    for skip, norm in FLAGS:
        name = " + ".join([*(["skip"] if skip else []), *(["batch norm"] if norm else [])]) or "neither"
        curves[name] = student.get_stats(skip, norm, images[:50], labels[:50])
    ratio = {name: (stats[0].mean() / stats[-1].mean()).item() for name, stats in curves.items()}
    metrics.within("first / last block, skip + batch norm", ratio["skip + batch norm"], 1, 200)
    metrics.within("first / last block, skip", ratio["skip"], 0.02, 20)
    metrics.at_least("first / last block, batch norm", ratio["batch norm"], 1000)
    metrics.at_most("first / last block, neither", ratio["neither"], 1e-6)
    with metrics.picture("derivatives.png", size=(7, 3.8)) as figure:
        axes = figure.subplots()
        for name, stats in curves.items():
            stats, blocks = stats.clamp(min=1e-12), range(1, len(stats) + 1)
            low, middle, high = stats.quantile(torch.tensor([0.1, 0.5, 0.9]), 1)
            axes.semilogy(blocks, middle, label=name)
            axes.fill_between(blocks, low, high, alpha=0.18, linewidth=0)
        axes.set(xlabel="block", ylabel="norm of the derivatives of conv1", ylim=(1e-9, 1e5), xlim=(1, 30))
        axes.legend(loc="lower left")
