"""The experiments of lab 02: what can be measured and seen once its parts work."""

import time

import torch
from check import lab
from checking import data, progress, student_side


@lab.experiment("nearest_classification", "compute_nb_errors", "PCA", seconds=4)
def neighbours_on_mnist(student, metrics, data, rng):
    """1-NN on 1000 digits, raw and projected"""
    sets = data.mnist()
    mean, basis, _ = student.PCA(sets[0])
    metrics.equal("errors on raw pixels", student.compute_nb_errors(*sets), 172)
    wanted = {100: 164, 50: 155, 10: 214, 3: 597}
    errors = {c: student.compute_nb_errors(*sets, mean=mean, proj=basis[:c]) for c in wanted}
    for c, right in wanted.items():
        metrics.within(f"errors with PCA to {c}", errors[c], right - 3, right + 3)
    proj = torch.randn(100, 784, generator=torch.Generator().manual_seed(rng.seed()))
    metrics.within("errors with 100 random directions", student.compute_nb_errors(*sets, proj=proj), 190, 230)
    with metrics.picture("eigendigits.png", size=(9, 3.2)) as figure:
        axes = figure.subplots(2, 9, gridspec_kw={"wspace": 0.05})
        sample = sets[2][0]
        shown = [("mean", mean)] + [(f"axis {n + 1}", basis[n]) for n in range(8)]
        for (title, image), place in zip(shown, axes[0], strict=True):
            scale = float(image.abs().max())
            low, colours = (0, "gray_r") if title == "mean" else (-scale, "cividis")
            place.imshow(image.view(28, 28), cmap=colours, vmin=low, vmax=scale)
            place.set_title(title)
        for c, place in zip((1, 3, 10, 30, 50, 100, 200, 400, 784), axes[1], strict=True):
            place.imshow((mean + (sample - mean) @ basis[:c].T @ basis[:c]).view(28, 28), vmin=0, vmax=255)
            place.set_title(f"{c} {'axis' if c == 1 else 'axes'}")
        for place in axes.flat:
            place.axis("off")
        figure.supxlabel("of an axis: dark is negative, bright is positive", fontsize=8)


@lab.experiment("kmeans", seconds=1)
def kmeans_finds_digits(student, metrics, data, rng):
    """ten groups of digits, without labels"""
    x, target, _, _ = data.mnist()
    centres, assignment, objective = student.kmeans(x, 10, 0)
    right = sum(int(torch.bincount(target[assignment == j]).max()) for j in range(10) if (assignment == j).any())
    metrics.at_least("purity", right / len(x), 0.50)
    metrics.seen("steps", len(objective))
    with metrics.picture("kmeans.png", size=(9, 1.5)) as figure:
        for j, place in enumerate(figure.subplots(1, 10)):
            place.imshow(centres[j].view(28, 28), vmin=0, vmax=255)
            place.set_title(f"{int((assignment == j).sum())}")
            place.axis("off")


@lab.experiment("knn_classification", "best_k", seconds=2)
def cross_validation_on_mnist(student, metrics, data, rng):
    """the best number of neighbours"""
    x, target, test, truth = data.mnist()
    ks = [1, 2, 3, 5, 7, 10, 15, 25]
    k, rates = student.best_k(x, target, ks, 5)
    metrics.seen("best k", k)
    errors = int((student.knn_classification(x, target, test, k) != truth).sum())
    metrics.within("errors with it on the test set", errors, 130, 190)
    with metrics.picture("best_k.png", size=(4.5, 3)) as figure:
        place = figure.subplots()
        place.plot(ks, 100 * rates, marker="o")
        place.axvline(k, color="0.6", linestyle=":")
        place.set(xlabel="neighbours k", ylabel="cross-validation error (%)", title="How many neighbours?")


@student_side
def errors_on_all_digits(student):
    """The errors of the nearest neighbour on the whole test set, on the GPU, in blocks that fit into its memory."""
    sets = [tensor.cuda() for tensor in data.mnist(full=True)]
    blocks = zip(sets[2].split(1000), sets[3].split(1000), strict=True)
    begin = time.perf_counter()
    wrong = [(student.knn_classification(*sets[:2], x, 1) != truth).sum() for x, truth in progress(blocks)]
    torch.cuda.synchronize()
    return int(sum(wrong)), time.perf_counter() - begin


@lab.gpu("knn_classification", seconds=10)
def all_of_mnist_on_the_gpu(student, metrics, data, rng):
    """the nearest neighbour on all 70 000 digits"""
    errors, seconds = student.run(errors_on_all_digits)
    metrics.within("errors of 10 000", errors, 305, 313)
    metrics.seen("time", seconds, "s")
