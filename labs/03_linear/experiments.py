"""The experiments of lab 03: what can be measured and seen once its parts work."""

import torch
from check import lab, plain
from checking import data, progress, student_side

SIZES = [50, 100, 200, 300, 400, 500, 550, 600, 700, 800, 1000, 1500, 2000, 3000, 5000]


def percent_wrong(w, b, x, t):
    return 100 * ((x @ w.T + b).argmax(1) != t).float().mean().item()


@student_side
def fits(student, sizes, penalties):
    """Weights fitted to the first n training images, with the penalty and without; targets −1 and +1."""
    x, t, *_ = data.mnist(full=True, one_hot=True)
    x /= 255
    return [
        [student.fit_least_squares(x[:n], t[:n], penalty) for n in progress(sizes, f"penalty {penalty:g}")]
        for penalty in penalties
    ]


@lab.experiment("fit_least_squares", seconds=6)
def more_samples_more_errors(student, metrics, data, rng):
    """least squares on MNIST, from 50 to 5000 samples, with a penalty and without"""
    *_, x, t = data.mnist(full=True)
    plain_fits, penalised = student.run(fits, SIZES, [0.0, 10.0])
    free = [percent_wrong(w, b, x / 255, t) for w, b in plain_fits]
    tamed = [percent_wrong(w, b, x / 255, t) for w, b in penalised]
    metrics.at_most("test errors with 200 samples", free[SIZES.index(200)], 48, unit="%")
    metrics.at_least("… with 550 samples", free[SIZES.index(550)], 60, unit="%")
    metrics.at_most("… with 5000 samples", free[SIZES.index(5000)], 20, unit="%")
    metrics.at_most("… with 550 samples and penalty 10", tamed[SIZES.index(550)], 25, unit="%")
    with metrics.picture("more_samples.png", size=(7, 4)) as figure:
        axes = figure.subplots()
        axes.plot(SIZES, free, "o-", color="#D55E00", label="no penalty")
        axes.plot(SIZES, tamed, "s--", color="#0072B2", label="penalty 10")
        axes.axvline(784, color="grey", linestyle=":")
        axes.text(810, 80, "784 unknowns", color="grey")
        axes.set(
            xscale="log",
            ylim=(0, 100),
            xlabel="training samples",
            ylabel="test errors (%)",
            title="Least squares on MNIST: more samples, more errors",
        )
        axes.legend(frameon=False)


@student_side
def corrected(student, negative, positive, epochs):
    """The perceptron on two digits of the full training set."""
    x, t, *_ = data.mnist(full=True)
    chosen = (t == negative) | (t == positive)
    sign = (t[chosen] == positive).float() * 2 - 1
    return student.perceptron(x[chosen] / 255, sign, epochs)


@lab.experiment("perceptron", seconds=2)
def zeros_and_ones(student, metrics, data, rng):
    """the perceptron on two digits, five epochs"""
    *_, x, t = data.mnist(full=True)
    for negative, positive, bound in (0, 1, 0.6), (4, 9, 8.0):
        w, b, corrections = plain(student.run(corrected, negative, positive, 5))
        chosen = (t == negative) | (t == positive)
        sign = (t[chosen] == positive).float() * 2 - 1
        wrong = 100 * ((x[chosen] / 255 @ w + b) * sign <= 0).float().mean().item()
        metrics.at_most(f"test errors, {negative} against {positive}", wrong, bound, unit="%")
        metrics.seen(f"corrections, {negative} against {positive}", corrections)


@student_side
def descended(student, part, rate, epochs, full, seed):
    """Weights after some epochs with one of the two losses, and the loss of each epoch."""
    x, t, *_ = data.mnist(full=full)
    w, b, shuffle = torch.zeros(10, 784), torch.zeros(10), torch.Generator().manual_seed(seed)
    x, losses = x / 255, []
    for _ in progress(range(epochs), part.split("_")[0]):
        order = torch.randperm(len(t), generator=shuffle)
        losses.append(student.sgd_epoch(w, b, x, t, order, getattr(student, part), 100, rate))
    return w, b, [float(loss) for loss in losses]


@lab.experiment(
    "logsumexp", "softmax_loss_grad", "hinge_loss_grad", "sgd_epoch", "confusion_matrix", "roc_curve", seconds=6
)
def ten_templates(student, metrics, data, rng):
    """logistic regression and margins on MNIST"""
    *_, x, t = data.mnist(full=True)
    x = x / 255
    w, b, _ = student.run(descended, "softmax_loss_grad", 0.2, 30, False, rng.seed())
    metrics.at_most("test errors, cross-entropy, 1000 samples", percent_wrong(w, b, x[:1000], t[:1000]), 18, unit="%")
    w, b, losses = student.run(descended, "softmax_loss_grad", 0.5, 5, True, rng.seed())
    w_hinge, b_hinge, _ = student.run(descended, "hinge_loss_grad", 0.05, 5, True, rng.seed())
    metrics.at_most("test errors, cross-entropy, all samples", percent_wrong(w, b, x, t), 10, unit="%")
    metrics.at_most("test errors, margin, all samples", percent_wrong(w_hinge, b_hinge, x, t), 10, unit="%")
    metrics.at_most("cross-entropy of the fifth epoch", losses[-1], 0.32)

    scores = torch.addmm(b, x, w.T)
    table = student.confusion_matrix(t, scores.argmax(1), 10)
    mixed = table - table.diag().diag()
    worst = divmod(int(mixed.argmax()), 10)
    metrics.seen(f"most frequent confusion: {worst[0]} taken for {worst[1]}, times", mixed.max().item())
    log_p = scores.log_softmax(1)
    sure = {"0, by log P": (log_p, 0), "8, by log P": (log_p, 8), "8, by its score alone": (scores, 8)}
    curves = {name: student.roc_curve(by[:, k], (t == k).long()) for name, (by, k) in sure.items()}
    metrics.at_least("area under the curve for 8, by log P", curves["8, by log P"][2].item(), 0.97)
    metrics.seen("… by its score alone", curves["8, by its score alone"][2].item())
    with metrics.picture("templates.png", size=(11, 6.4)) as figure:
        draw_templates(figure, w, w_hinge, mixed, curves)


def draw_templates(figure, w, w_hinge, mixed, curves):
    """What the ten classes look for, what they confuse, and what a threshold trades."""
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.1, 1.5))
    grid = top.subplots(2, 10)
    for name, rows, line in ("cross-entropy", w, grid[0]), ("margin", w_hinge, grid[1]):
        for axes, row in zip(line, rows, strict=True):
            reach = row.abs().quantile(0.995).item()
            axes.imshow(row.view(28, 28).numpy(), cmap="cividis", vmin=-reach, vmax=reach)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    top.supxlabel("weights: dark is negative, bright is positive", fontsize=8)
    left, right = bottom.subplots(1, 2)
    left.imshow(mixed.numpy(), cmap="magma_r")
    left.grid(False)
    left.set(xticks=range(10), yticks=range(10), xlabel="taken for", ylabel="digit", title="errors on the test set")
    for i, j in (mixed >= 20).nonzero().tolist():
        left.text(j, i, mixed[i, j].item(), ha="center", va="center", fontsize=7, color="white")
    for name, (alarms, hits, area) in curves.items():
        right.plot(alarms.numpy(), hits.numpy(), label=f"{name}: area {area.item():.4f}")
    right.set(
        xscale="log", xlim=(1e-4, 1), xlabel="false alarms", ylabel="hits", title="ROC curves: is it a 0, is it an 8?"
    )
    right.legend(loc="lower right")
