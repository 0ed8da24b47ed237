"""The checks of lab 03. Reading them is allowed and useful."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import float64

lab = Lab(
    __file__,
    parts=[
        "fit_least_squares",
        "perceptron",
        "logsumexp",
        "softmax_loss_grad",
        "hinge_loss_grad",
        "sgd_epoch",
        "confusion_matrix",
        "roc_curve",
    ],
)
AUTOGRAD = ["backward", "autograd", "func.grad"]
lab.forbid("logsumexp", names=["logsumexp", "log_softmax", "logaddexp"], why="the function is the exercise")
lab.forbid("softmax_loss_grad", names=[*AUTOGRAD, "cross_entropy"], why="loss and gradient are to be written by hand")
lab.forbid("hinge_loss_grad", names=[*AUTOGRAD, "multi_margin_loss"], why="loss and gradient are to be written by hand")


# ---- least squares


def normal_equations(x, t, penalty, bias_too=False, mean=False):
    """w and b from the normal equations of the inputs with a column of ones; needs as many samples as unknowns."""
    ones = torch.cat((x.to(float64), torch.ones(len(x), 1, dtype=float64)), 1)
    diagonal = torch.full((ones.size(1),), float(penalty), dtype=float64)
    if not bias_too:
        diagonal[-1] = 0
    gram = ones.T @ ones / (len(x) if mean else 1) + diagonal.diag()
    both = torch.linalg.solve(gram, ones.T @ t.to(float64) / (len(x) if mean else 1))
    return both[:-1].T, both[-1]


def uncentred(x, t, penalty):
    """w and b where only the targets were centred."""
    gram = x.T @ x + penalty * torch.eye(x.size(1), dtype=x.dtype)
    w = torch.linalg.solve(gram, x.T @ (t - t.mean(0))).T
    return w, t.mean(0) - w @ x.mean(0)


def wrong_squares(x, t, penalty):
    return {
        "there is no bias in the fit": lambda: (torch.linalg.lstsq(x, t).solution.T, torch.zeros_like(t[0])),
        "the penalty holds for the bias, too": lambda: normal_equations(x, t, penalty, bias_too=True),
        "the squares are averaged, so that the penalty weighs N times as much": lambda: normal_equations(
            x, t, penalty, mean=True
        ),
        "the penalty is squared: the rows to append are √penalty · I": lambda: normal_equations(x, t, penalty**2),
        "the penalty is not used": lambda: normal_equations(x, t, 0.0),
        "the penalty counts twice": lambda: normal_equations(x, t, 2 * penalty),
        "the penalty pushes outwards: it is added to the squares": lambda: normal_equations(x, t, -penalty),
        "b is the mean of the targets only: w · mean of x is to be taken away": {1: t.mean(0)},
        "b has the wrong sign at w · mean of x": lambda: (
            right := normal_equations(x, t, penalty)[0],
            t.mean(0) + right @ x.mean(0),
        ),
        "the mean of the inputs is not taken away": lambda: uncentred(x, t, penalty),
    }


@lab.check("fit_least_squares")
def squares_are_least(student, rng):
    """against the normal equations; tall systems, with and without a penalty"""
    for n, d, k, penalty in (11, 3, 2, 0.0), (17, 5, 3, 2.5), (40, 7, 1, 0.3):
        with case(f"{n} samples, {d} inputs, {k} outputs, penalty {penalty}"):
            x, t = 2 * rng.normal(n, d, dtype=float64) + 3, rng.normal(n, k, dtype=float64) - 5
            got = student.fit_least_squares(x, t, penalty)
            expect(got, normal_equations(x, t, penalty), names=("w", "b"), mistakes=wrong_squares(x, t, penalty))


@lab.check("fit_least_squares")
def smallest_of_many(student, rng):
    """fewer samples than unknowns: the smallest weights that leave no residual"""
    for n, d, k in (1, 4, 2), (5, 9, 3), (7, 23, 1):
        with case(f"{n} samples of dimension {d}, one column constant"):
            x, t = rng.normal(n, d, dtype=float64), rng.normal(n, k, dtype=float64)
            x[:, 2] = 4.0
            x_mean, t_mean = x.mean(0), t.mean(0)
            w = (torch.linalg.pinv(x - x_mean) @ (t - t_mean)).T
            joint = (torch.linalg.pinv(torch.cat((x, torch.ones(n, 1, dtype=float64)), 1)) @ t).T
            expect(
                student.fit_least_squares(x, t),
                (w, t_mean - w @ x_mean),
                names=("w", "b"),
                mistakes={
                    "the bias is kept small along with the weights: take the means away first, then solve": (
                        joint[:, :-1],
                        joint[:, -1],
                    )
                },
                look="of all solutions without residual, the one with the smallest weights is wanted",
            )


@lab.check("fit_least_squares")
def types_are_kept(student, rng):
    """float32 in and out, float64 in between; inputs around 1000, a transposed view"""
    with case("29 samples around 1000, float32"):
        x, t = (rng.normal(4, 29) + 1000).T, rng.normal(29, 2)
        w, b = normal_equations(x - 1000, t, 0.5)
        b = b - 1000 * w.sum(1)
        got = student.fit_least_squares(x, t, 0.5)
        expect(
            got,
            (w.float(), b.float()),
            names=("w", "b"),
            rtol=1e-3,
            atol=1e-3,
            look="digits are lost: compute in float64 and convert at the end",
        )


# ---- perceptron


def rosenblatt(
    x, t, epochs, strict=False, bias=True, always=False, stop=True, blind=False, sign_of=True, uphill=False,
    opposite=False, at_once=False, scored=True, count_of="all",
):  # fmt: skip
    """The perceptron in exact integer arithmetic, with its typical variations.

    blind: the score lacks b. sign_of: t_n is a factor of x_n; scored: and of the score. uphill: what is added is
    subtracted. opposite: right samples correct. at_once: an epoch's scores come from its first weights. count_of:
    "all" corrections, those of the "last" epoch, or the "epochs" that had one.
    """
    rows, signs = x.long().tolist(), t.long().tolist()
    w, b, count = [0] * x.size(1), 0, 0
    for _epoch in range(epochs):
        clean, old_w, old_b = True, w, b
        count = 0 if count_of == "last" else count
        for row, sign in zip(rows, signs, strict=True):
            used_w, used_b = (old_w, old_b) if at_once else (w, b)
            score = sum(p * q for p, q in zip(used_w, row, strict=True)) + used_b * (not blind)
            score *= sign if scored else 1
            if always or (score < 0 or (score == 0 and not strict)) != opposite:
                way = -1 if uphill else 1
                w = [p + way * (sign if sign_of else 1) * q for p, q in zip(w, row, strict=True)]
                b += way * sign * bias
                count += clean if count_of == "epochs" else 1
                clean = False
        if clean and stop:
            break
    return torch.tensor(w, dtype=x.dtype), float(b), count


def plain(result):
    """The result of `perceptron` with numbers where a tensor of one number came: both are fine."""
    if isinstance(result, (tuple, list)) and len(result) == 3:
        w, *numbers = result
        numbers = [n.item() if isinstance(n, torch.Tensor) and n.numel() == 1 else n for n in numbers]
        if isinstance(numbers[1], float) and numbers[1].is_integer():
            numbers[1] = int(numbers[1])
        return (w, *numbers)
    return result


def wrong_corrections(x, t, epochs):
    return {
        "a score of zero is a mistake, too: from w = 0 nothing would ever move": lambda: rosenblatt(
            x, t, epochs, strict=True
        ),
        "the bias is not corrected": lambda: rosenblatt(x, t, epochs, bias=False),
        "every sample corrects, also those that are right": lambda: rosenblatt(x, t, epochs, always=True),
        "only one epoch is made": lambda: rosenblatt(x, t, 1),
        "b is not in the score": lambda: rosenblatt(x, t, epochs, blind=True),
        "x_n is added without its sign t_n": lambda: rosenblatt(x, t, epochs, sign_of=False),
        "what should be added is subtracted": lambda: rosenblatt(x, t, epochs, uphill=True),
        "the samples that are right correct, those that are wrong should": lambda: rosenblatt(
            x, t, epochs, opposite=True
        ),
        "all scores of an epoch come from the weights at its start: each correction should count at once": lambda: (
            rosenblatt(x, t, epochs, at_once=True)
        ),
        "the score is not multiplied by t_n": lambda: rosenblatt(x, t, epochs, scored=False),
        "only the corrections of the last epoch are counted": lambda: rosenblatt(x, t, epochs, count_of="last"),
        "epochs are counted, not corrections": lambda: rosenblatt(x, t, epochs, count_of="epochs"),
        "there is one epoch too many": lambda: rosenblatt(x, t, epochs + 1),
    }


@lab.check("perceptron")
def every_correction(student, rng):
    """weights, bias and number of corrections, where classes overlap"""
    for n, d, epochs in (7, 3, 1), (19, 2, 4), (1, 5, 3):
        with case(f"{n} samples of dimension {d}, at most {epochs} epochs"):
            x = rng.integers(-9, 10, n, d).to(float64)
            t = (2 * rng.integers(0, 2, n) - 1).to(float64)
            got = plain(student.perceptron(x, t, epochs))
            expect(
                got,
                rosenblatt(x, t, epochs),
                names=("w", "b", "corrections"),
                mistakes=wrong_corrections(x, t, epochs),
            )


@lab.check("perceptron")
def bound_of_novikoff(student, rng):
    """separable classes: all right at the end, after at most (R/γ)² corrections"""
    for margin in 2.0, 8.0:
        normal = torch.tensor([3.0, -4.0, 0.0], dtype=float64) / 5
        x = rng.integers(-20, 21, 300, 3).to(float64)
        x = x[(x @ normal).abs() >= margin][:61]
        t = (x @ normal).sign()
        ones = torch.cat((x, torch.ones(len(x), 1, dtype=float64)), 1)
        bound = float(ones.norm(dim=1).max() / margin) ** 2
        with case(f"{len(x)} samples with margin {margin:g}"):
            w, b, corrections = plain(student.perceptron(x, t, 10_000))
            require(
                ((x @ w + b) * t > 0).all(),
                "some samples are on the wrong side at the end",
                look="it stops before an epoch without mistakes",
            )
            require(corrections <= bound, f"{corrections} corrections, Novikoff's bound is {bound:.0f}")
            expect((w, b, corrections), rosenblatt(x, t, 10_000), names=("w", "b", "corrections"))


# ---- logistic regression


@lab.reference
def logsumexp(x):
    wide = x.double()
    top = wide.amax(-1)
    return (top + torch.log(sum(torch.exp(wide[..., k] - top) for k in range(x.size(-1))))).to(x.dtype)


@lab.check("logsumexp")
def sums_of_exponentials(student, rng):
    """against the formula as it stands, over the last of one, two or three dimensions"""
    for shape in (4,), (3, 5), (2, 3, 7), (6, 1):
        with case(f"shape {'×'.join(map(str, shape))}"):
            x = rng.normal(*shape, dtype=float64)
            want = x.exp().sum(-1).log()
            expect(
                student.logsumexp(x),
                want,
                mistakes={
                    "the sum goes over all numbers, not over the last dimension": x.exp()
                    .sum()
                    .log()
                    .expand(shape[:-1]),
                    "the maximum that was taken out is not added again": want - x.amax(-1),
                    "the logarithm is missing": want.exp(),
                    "the logarithm of the sum is missing": (x - x.amax(-1, True)).exp().sum(-1) + x.amax(-1),
                    "the largest number was subtracted again: it should be added": want - 2 * x.amax(-1),
                    "that is the largest number only": x.amax(-1),
                    "the mean of the exponentials, it should be their sum": want - torch.tensor(x.size(-1)).log(),
                    "the sum goes over the first dimension, not over the last": lambda x=x: x.exp().sum(0).log(),
                    "that is the sum of the numbers: the exponential is missing": x.sum(-1),
                    "the sum of the logarithms of exponentials: sum first, then take the logarithm": x.sum(-1),
                    "a logarithm of base 2": want / torch.tensor(2.0).log(),
                    "1 was added inside the logarithm": want.exp().log1p(),
                },
            )


@lab.check("logsumexp")
def any_size(student, rng):
    """scores of ±1000: no overflow, no underflow, and adding c adds c"""
    x = rng.normal(5, 4)
    base = logsumexp(x.double())
    for shift in 1000.0, -1000.0:
        with case(f"scores around {shift:g}", look="exp of the score itself: take the largest one out first"):
            expect(student.logsumexp(x.double() + shift), base + shift)
    with case("scores from −1000 to +1000 in each row", look="take out the largest of each row, not of the table"):
        steep = torch.tensor([[1000.0, -1000.0, 0.0], [-1000.0, -1001.0, -1000.0], [0.0, 0.0, 1000.0]])
        expect(student.logsumexp(steep), logsumexp(steep))


def derivative(loss, w, b, x, t):
    """loss(scores, t) with its gradient, by autograd in float64."""
    w, b = w.to(float64, copy=True).requires_grad_(), b.to(float64, copy=True).requires_grad_()
    value = loss(x.to(float64) @ w.T + b, t)
    return value.detach(), *torch.autograd.grad(value, (w, b))


def sum_of_cross_entropies(scores, t):
    return F.cross_entropy(scores, t, reduction="sum")


def without_target(scores, t):
    return logsumexp(scores).mean()


def across_samples(scores, t):
    """The cross-entropy with the softmax over the wrong dimension."""
    return F.nll_loss(scores.log_softmax(0), t)


def wrong_slopes(w, b, x, t):
    right, n = derivative(F.cross_entropy, w, b, x, t), len(t)
    slope = torch.softmax(torch.addmm(b, x, w.T), 0) - F.one_hot(t, len(b))
    return {
        "the sum over the batch, where the mean is wanted": lambda: derivative(sum_of_cross_entropies, w, b, x, t),
        "the loss is a mean, but the gradient is that of the sum": lambda: (right[0], n * right[1], n * right[2]),
        "the gradient lacks the one-hot targets": lambda: (right[0], *derivative(without_target, w, b, x, t)[1:]),
        "the bias is not in the scores": lambda: derivative(F.cross_entropy, w, 0 * b, x, t),
        "the gradient of the bias is forgotten": {2: 0 * b},
        "db is the sum over samples, it should be divided by N as dw": {2: n * right[2]},
        "dw is the sum over samples, it should be divided by N as db": {1: n * right[1]},
        "db is divided by N twice": {2: right[2] / n},
        "the gradient is divided by N twice": {1: right[1] / n, 2: right[2] / n},
        "loss and gradient have the wrong sign": tuple(-part for part in right),
        "the gradient has the wrong sign: it is P − one-hot(t)": (right[0], -right[1], -right[2]),
        "the loss has the wrong sign: it is the mean of −log P": {0: -right[0]},
        "the loss is a sum, but the gradient is that of the mean": {0: n * right[0]},
        "the loss is divided by the number of classes, too": {0: right[0] / len(b)},
        "the softmax goes over the samples, it should go over the classes": lambda: derivative(
            across_samples, w, b, x, t
        ),
        "the softmax of the gradient goes over the samples, it should go over the classes": (
            right[0],
            slope.T @ x / n,
            slope.sum(0) / n,
        ),
    }


@lab.check("softmax_loss_grad")
def cross_entropy_and_slope(student, rng):
    """loss and both gradients against autograd in float64"""
    for n, d, k in (7, 5, 3), (1, 4, 2), (13, 1, 11):
        with case(f"{n} samples, {d} inputs, {k} classes"):
            w, b, x = rng.normal(k, d, dtype=float64), rng.normal(k, dtype=float64), rng.normal(n, d, dtype=float64)
            t = rng.integers(0, k, n)
            got, want = student.softmax_loss_grad(w, b, x, t), derivative(F.cross_entropy, w, b, x, t)
            expect(got, want, names=("loss", "dw", "db"), mistakes=wrong_slopes(w, b, x, t))
    with case("float32 in, float32 out"):
        w, b, x, t = rng.normal(3, 6), rng.normal(3), rng.normal(5, 6), rng.integers(0, 3, 5)
        want = [part.float() for part in derivative(F.cross_entropy, w, b, x, t)]
        expect(student.softmax_loss_grad(w, b, x, t), want, names=("loss", "dw", "db"))


@lab.check("softmax_loss_grad")
def scores_of_a_thousand(student, rng):
    """finite where the exponentials are not"""
    w = torch.tensor([[1000.0, 0.0], [-1000.0, 500.0], [0.0, 2.0]], dtype=float64)
    b, x, t = rng.normal(3, dtype=float64), rng.normal(9, 2, dtype=float64), rng.integers(0, 3, 9)
    with case("scores of ±1000", look="the logarithm of a probability that was rounded to 0: subtract logsumexp"):
        expect(
            student.softmax_loss_grad(w, b, x, t), derivative(F.cross_entropy, w, b, x, t), names=("loss", "dw", "db")
        )


@lab.check("softmax_loss_grad")
def uniform_scores(student, rng):
    """all weights zero: the loss is log K, db is 1/K minus the frequencies"""
    x, t = rng.normal(8, 3, dtype=float64), torch.tensor([0, 0, 0, 1, 1, 4, 4, 4])
    zero = torch.zeros(5, 3, dtype=float64)
    frequency = torch.tensor([3, 2, 0, 0, 3], dtype=float64) / 8
    loss, _, db = student.softmax_loss_grad(zero, zero[:, 0].contiguous(), x, t)
    expect(loss, torch.tensor(5.0, dtype=float64).log(), look="the loss of five equally likely classes is log 5")
    expect(db, 0.2 - frequency, mistakes={"the gradient has the wrong sign": frequency - 0.2})


# ---- margin


def hinge(scores, t, margin=1.0, own=False, worst=False):
    """The mean hinge loss, sample by sample."""
    total = 0.0
    for row, right in zip(scores, t.tolist(), strict=True):
        short = torch.stack([(row[k] - row[right] + margin).clamp(min=0) for k in range(len(row)) if own or k != right])
        total = total + (short.max() if worst else short.sum())
    return total / len(t)


def squared_hinge(scores, t, margin):
    """Half the mean of the squares of what is missing."""
    short = (scores - scores.gather(1, t[:, None]) + margin).clamp(min=0)
    return (short**2).scatter(1, t[:, None], 0.0).sum(1).mean() / 2


def mean_over_classes(scores, t, margin=1.0):
    return hinge(scores, t, margin) / scores.size(1)


def pulled_once(w, b, x, t, margin, loss, weight=1.0):
    """The gradient with `weight` for the right class instead of the number of violations."""
    scores = torch.addmm(b, x, w.T)
    table = (scores - scores.gather(1, t[:, None]) + margin > 0).to(float64)
    table.scatter_(1, t[:, None], 0.0)
    table.scatter_(1, t[:, None], -weight * (table.sum(1, keepdim=True) > 0).to(float64))
    return loss, (table / len(t)).T @ x, (table / len(t)).sum(0)


def wrong_margins(w, b, x, t, margin):
    def by_autograd(**change):
        return derivative(lambda scores, t: hinge(scores, t, **change), w, b, x, t)

    right, n = by_autograd(margin=margin), len(t)
    return {
        "the right class counts as a violation of its own margin": lambda: (
            by_autograd(margin=margin, own=True)[0],
            right[1],
            right[2],
        ),
        "the margin has the wrong sign": lambda: by_autograd(margin=-margin),
        "there is no margin": lambda: by_autograd(margin=0.0),
        "the bias is not in the scores": lambda: derivative(lambda scores, t: hinge(scores, t, margin), w, 0 * b, x, t),
        "the gradient of the bias is forgotten": {2: 0 * b},
        "the gradient has the wrong sign": (right[0], -right[1], -right[2]),
        "db is the sum over samples, it should be divided by N as dw": {2: n * right[2]},
        "dw is the sum over samples, it should be divided by N as db": {1: n * right[1]},
        "the loss is a sum, but the gradient is that of the mean": {0: n * right[0]},
        "what is missing pulls by its size: each positive entry should pull by 1": lambda: (
            right[0],
            *derivative(lambda scores, t: squared_hinge(scores, t, margin), w, b, x, t)[1:],
        ),
        "the margin is always 1": lambda: by_autograd(margin=1.0),
        "only the worst class of each sample counts": lambda: by_autograd(margin=margin, worst=True),
        "the sum over the batch, where the mean is wanted": lambda: tuple(n * part for part in right),
        "the loss is a mean, but the gradient is that of the sum": lambda: (right[0], n * right[1], n * right[2]),
        "divided by the number of classes": lambda: derivative(mean_over_classes, w, b, x, t),
        "the row of the right class is pulled once, not once for each violation": lambda: pulled_once(
            w, b, x, t, margin, right[0]
        ),
        "the row of the right class is pulled the wrong way: its entry is minus the number of violations": lambda: (
            right[0],
            *(2 * a - b for a, b in zip(pulled_once(w, b, x, t, margin, right[0], 0.0)[1:], right[1:], strict=True)),
        ),
        "the row of the right class is not pulled at all": lambda: pulled_once(w, b, x, t, margin, right[0], 0.0),
    }


@lab.check("hinge_loss_grad")
def missing_margins(student, rng):
    """loss and both gradients against autograd in float64"""
    for n, d, k, margin in (7, 5, 3, 1.0), (1, 4, 2, 0.25), (11, 2, 6, 3.0):
        with case(f"{n} samples, {d} inputs, {k} classes, margin {margin:g}"):
            w, b, x = rng.normal(k, d, dtype=float64), rng.normal(k, dtype=float64), rng.normal(n, d, dtype=float64)
            t = rng.integers(0, k, n)
            want = derivative(lambda scores, t, margin=margin: hinge(scores, t, margin), w, b, x, t)
            got = student.hinge_loss_grad(w, b, x, t, margin)
            expect(got, want, names=("loss", "dw", "db"), mistakes=wrong_margins(w, b, x, t, margin))


@lab.check("hinge_loss_grad")
def silent_when_satisfied(student, rng):
    """every margin holds, scores of ±1000: loss and gradient are exactly zero"""
    t = torch.tensor([2, 0, 1, 1])
    x = F.one_hot(t, 3).to(float64)
    w, b = 1000 * (2 * torch.eye(3, dtype=float64) - 1), torch.zeros(3, dtype=float64)
    own = {"the right class counts as a violation of its own margin": {0: torch.tensor(1.0, dtype=float64)}}
    got = student.hinge_loss_grad(w, b, x, t)
    expect(got, (torch.tensor(0.0, dtype=float64), 0 * w, b), names=("loss", "dw", "db"), mistakes=own)


# ---- descent


@student_side
def pull(w, b, x, t):
    """A loss that any two samples give other values for, with its gradient (no softmax, no hinge)."""
    miss = x @ w.T + b - t.to(x.dtype).unsqueeze(1)
    return (miss**2).sum(1).mean(), 2 * miss.T @ x / len(t), 2 * miss.mean(0)


@student_side
def passes(student, w, b, x, t, orders, batch_size, rate):
    """Several epochs; what each returned, the weights at the end, and the batches that the loss was asked for."""
    w, b, asked = w.clone(), b.clone(), []

    def loss_grad(w, b, x, t):
        asked.append(t.clone())
        return pull(w, b, x, t)

    losses = [student.sgd_epoch(w, b, x, t, order, loss_grad, batch_size, rate) for order in orders]
    return losses, w, b, asked


def steps_written_out(w, b, x, t, orders, batch_size, rate, parts=(1, 1), weight=lambda size: 1, after=False):
    """w and b at the end, the loss per sample and the mean over batches of each epoch, the targets of each batch.

    parts: factors of the steps of w and b. weight: a factor that follows from the size of the batch. after: the loss
    is that after the step.
    """
    per_sample, per_batch, shown = [], [], []
    for order in orders:
        losses = []
        for start in range(0, len(t), batch_size):
            rows = order[start : start + batch_size]
            loss, dw, db = pull(w, b, x[rows], t[rows])
            step = rate * weight(len(rows))
            w, b = w - parts[0] * step * dw, b - parts[1] * step * db
            loss = pull(w, b, x[rows], t[rows])[0] if after else loss
            losses.append((loss.item(), len(rows)))
            shown.append(t[rows])
        per_sample.append(sum(loss * n for loss, n in losses) / len(t))
        per_batch.append(sum(loss for loss, _ in losses) / len(losses))
    return w, b, per_sample, per_batch, shown


@lab.check("sgd_epoch")
def step_by_step(student, rng):
    """three epochs, step by step; a short last batch, one batch of all, batches of one"""
    for n, batch_size in (13, 5), (6, 6), (4, 1), (7, 100):
        with case(f"{n} samples in batches of {batch_size}"):
            w, b, x = rng.normal(3, 4, dtype=float64), rng.normal(3, dtype=float64), rng.normal(n, 4, dtype=float64)
            t, orders = rng.permutation(n), [rng.permutation(n) for _ in range(3)]
            losses, got_w, got_b, asked = student.run(passes, w, b, x, t, orders, batch_size, 0.01)
            want_w, want_b, per_sample, per_batch, shown = steps_written_out(w, b, x, t, orders, batch_size, 0.01)
            seen = sum(map(len, asked)) / 3
            require(asked, "the loss was never asked for", look="does the loop make a step?")
            require(
                seen == n,
                f"{seen:g} samples in an epoch, there are {n}",
                likely="the last batch is short: it must not be dropped"
                if n % batch_size and seen == n - n % batch_size
                else None,
                look="where does a batch begin, and where does it end?",
            )
            as_they_lie = torch.equal(torch.cat(asked), t.repeat(3)) or all(
                torch.equal(targets, t[: len(targets)]) for targets in asked
            )
            require(
                len(asked) == len(shown) and all(map(torch.equal, asked, shown)),
                "the batches hold other samples than the next of `order`",
                likely="x and t are taken as they lie, without order" if as_they_lie else None,
                look="the first batch is order[:batch_size]",
            )
            likely = (
                "w and b must change in place: w -= …, not w = w − …"
                if torch.equal(got_w, w) and torch.equal(got_b, b)
                else None
            )
            as_if_full = [mean * len(shown) / 3 * batch_size / n for mean in per_batch]
            written = (w, b, x, t, orders, batch_size)
            uphill = steps_written_out(*written, -0.01)[:2]
            after_step = steps_written_out(*written, 0.01, after=True)[2]
            expect(
                (got_w, got_b),
                (want_w, want_b),
                names=("w", "b"),
                look=likely,
                mistakes={
                    "the step goes uphill: w −= rate · dw": uphill,
                    "the rate is missing in the step of w": lambda a=written: steps_written_out(
                        *a, 0.01, parts=(100, 1)
                    )[:2],
                    "the rate is missing in the step of b": lambda a=written: steps_written_out(
                        *a, 0.01, parts=(1, 100)
                    )[:2],
                    "the rate is not used": lambda a=written: steps_written_out(*a, 1.0)[:2],
                    "b makes no step: it must change in place, b -= …, not b = b − …": lambda a=written: (
                        steps_written_out(*a, 0.01, parts=(1, 0))[:2]
                    ),
                    "w makes no step: it must change in place, w -= …, not w = w − …": lambda a=written: (
                        steps_written_out(*a, 0.01, parts=(0, 1))[:2]
                    ),
                    "the step is divided by the size of the batch: the gradient is a mean already": (
                        lambda a=written: steps_written_out(*a, 0.01, weight=lambda size: 1 / size)[:2]
                    ),
                    "the step is multiplied by the size of the batch": (
                        lambda a=written: steps_written_out(*a, 0.01, weight=lambda size: size)[:2]
                    ),
                },
            )
            expect(
                [loss.item() if isinstance(loss, torch.Tensor) else loss for loss in losses],
                per_sample,
                rtol=1e-6,
                mistakes={
                    "the mean over batches gives a short batch the weight of a full one": per_batch,
                    "the sum over samples: divide by their number": [n * value for value in per_sample],
                    "a short batch counts as a full one: it has len(batch) samples": as_if_full,
                    "the loss is that after the step, it should be the one before": after_step,
                    "the sum over batches: each counts for its samples, divided by N": [
                        mean * len(shown) / 3 for mean in per_batch
                    ],
                },
            )


# ---- evaluation


def counted(t, predicted, classes):
    table = torch.zeros(classes, classes, dtype=torch.int64)
    for true, taken in zip(t.tolist(), predicted.tolist(), strict=True):
        table[true, taken] += 1
    return table


@lab.check("confusion_matrix")
def pairs_are_counted(student, rng):
    """against counting one by one"""
    for n, classes in (23, 4), (50, 3), (3, 1):
        with case(f"{n} samples, {classes} classes"):
            t, predicted = rng.integers(0, classes, n), rng.integers(0, classes, n)
            want = counted(t, predicted, classes)
            hits = t[t == predicted]
            wrong = {
                "rows and columns are exchanged: the true class is the row": want.T,
                "only the right answers are counted": counted(hits, hits, classes),
                "each pair counts once: with repeated indices, += adds only once": (want > 0).long(),
                "the right answers are not counted": want - want.diag().diag(),
                "t is not multiplied: different pairs have the same number": lambda t=t, p=predicted, k=classes: (
                    torch.bincount(t + p, minlength=k * k).view(k, k)
                ),
                "t is multiplied by classes − 1: different pairs have the same number": (
                    lambda t=t, p=predicted, k=classes: torch.bincount(t * (k - 1) + p, minlength=k * k).view(k, k)
                ),
            }
            expect(student.confusion_matrix(t, predicted, classes), want, mistakes=wrong)


@lab.check("confusion_matrix")
def absent_classes(student, rng):
    """classes that never occur have their row and column, even when there are no samples"""
    for n in 5, 0:
        with case(
            f"{n} samples, 9 classes, the last of them absent", look="the size follows from `classes`: minlength"
        ):
            t, predicted = rng.integers(0, 8, n), rng.integers(0, 8, n)
            expect(student.confusion_matrix(t, predicted, 9), counted(t, predicted, 9))


def thresholds(score, t):
    """The curve, threshold by threshold."""
    alarms, hits = [0.0], [0.0]
    for level in sorted(set(score.tolist()), reverse=True):
        yes = score >= level
        alarms.append((yes & (t == 0)).sum().item() / (t == 0).sum().item())
        hits.append((yes & (t == 1)).sum().item() / (t == 1).sum().item())
    return torch.tensor(alarms), torch.tensor(hits)


def chance_of_order(score, t):
    """P(a positive scores higher than a negative) + ½ P(they score the same), pair by pair."""
    positive, negative = score[t == 1], score[t == 0]
    wins = (positive[:, None] > negative).sum() + 0.5 * (positive[:, None] == negative).sum()
    return wins.float() / (len(positive) * len(negative))


def wrong_curves(score, t):
    alarms, hits = thresholds(score, t)
    area, one_by_one = chance_of_order(score, t), t[score.argsort(descending=True, stable=True)]
    broken = [torch.cat((torch.zeros(1), part.cumsum(0) / part.sum())) for part in (1 - one_by_one, one_by_one)]
    return {
        "each sample makes its own point: samples with equal scores cross the threshold together": (*broken, area),
        "the thresholds go from low to high": (*thresholds(-score, t), 1 - area),
        "hits and false alarms are exchanged": (hits, alarms, 1 - area),
        "the first point (0, 0) is missing": (alarms[1:], hits[1:], area),
        "the area is negative: the curve is walked from the right": (alarms, hits, -area),
        "the area has hits and false alarms exchanged": (alarms, hits, 1 - area),
        "rectangles below the curve, the area wants trapezoids": {
            2: (alarms.diff() * hits[:-1]).sum(),
        },
        "rectangles above the curve, the area wants trapezoids": {
            2: (alarms.diff() * hits[1:]).sum(),
        },
        "the area is the mean of the hits": {2: hits.mean()},
        "the last threshold is missing: with the lowest score, all say yes": {0: alarms[:-1], 1: hits[:-1]},
        "the numbers are counts, not fractions": {0: alarms * (t == 0).sum(), 1: hits * (t == 1).sum()},
        "the hits are divided by the number of all samples": {
            1: hits * t.float().mean(),
            2: area * t.float().mean(),
        },
        "the false alarms are divided by the number of all samples": {
            0: alarms * (t == 0).float().mean(),
            2: area * (t == 0).float().mean(),
        },
        "divided by the number of all samples": (alarms * (t == 0).float().mean(), hits * t.float().mean(), area),
    }


@lab.check("roc_curve")
def every_threshold(student, rng):
    """the curve threshold by threshold, the area pair by pair; ties, scores of ±1000"""
    for text, score in (
        ("distinct scores", rng.normal(17)),
        ("many ties", rng.integers(-3, 3, 29).float()),
        ("two samples", torch.tensor([-1000.0, 1000.0])),
        ("all scores equal", torch.full((7,), 0.5)),
    ):
        t = rng.integers(0, 2, len(score))
        t[:2] = torch.tensor([0, 1])
        with case(text):
            want = (*thresholds(score, t), chance_of_order(score, t))
            expect(
                student.roc_curve(score, t),
                want,
                names=("false alarms", "hits", "area"),
                mistakes=wrong_curves(score, t),
            )


@lab.check("roc_curve")
def only_the_order_counts(student, rng):
    """any increasing function of the score leaves the curve as it is"""
    score, t = rng.normal(31), rng.integers(0, 2, 31)
    t[:2] = torch.tensor([0, 1])
    expect(
        student.roc_curve(score.exp() * 1000 - 7, t),
        (*thresholds(score, t), chance_of_order(score, t)),
        names=("false alarms", "hits", "area"),
    )


if __name__ == "__main__":
    sys.exit(run_checks(lab))
