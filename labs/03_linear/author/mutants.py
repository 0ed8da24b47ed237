"""Known-wrong versions of lab 03, as students write them, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant

edit("fit_least_squares", "penalty**0.5", "penalty", says="the rows to append are √penalty")
edit("fit_least_squares", "penalty**0.5", "(penalty * len(x)) ** 0.5", says="weighs N times as much")
edit("fit_least_squares", "return w.to", "return w.T.to", says="transposed")


@mutant("fit_least_squares", says="no bias in the fit")
def through_the_origin(x, t, penalty=0.0):
    w = torch.linalg.lstsq(x.double(), t.double(), driver="gelsd").solution.T
    return w.to(x.dtype), torch.zeros_like(w[:, 0]).to(x.dtype)


@mutant("fit_least_squares", says="compute in float64", check="types_are_kept")
def in_single_precision(x, t, penalty=0.0):
    gram = x.T @ x - len(x) * x.mean(0).outer(x.mean(0)) + penalty * torch.eye(x.size(1), dtype=x.dtype)
    w = (torch.linalg.pinv(gram) @ (x.T @ t - len(x) * x.mean(0).outer(t.mean(0)))).T
    return w, t.mean(0) - w @ x.mean(0)


@mutant(
    "fit_least_squares", says="penalty holds for the bias", also=["the bias is kept small"], check="squares_are_least"
)
def column_of_ones(x, t, penalty=0.0):
    rows = torch.cat((x.double(), x.new_ones(len(x), 1).double()), 1)
    gram = rows.T @ rows + penalty * torch.eye(rows.size(1), dtype=torch.float64)
    both = torch.linalg.lstsq(gram, rows.T @ t.double(), driver="gelsd").solution
    return both[:-1].T.to(x.dtype), both[-1].to(x.dtype)


edit("perceptron", "<= 0", "< 0", says="a score of zero is a mistake")
edit("perceptron", "b += sign", "b += 0", says="bias is not corrected")
edit("perceptron", "if corrections == before", "if corrections", says="only one epoch")
edit("perceptron", "if sign * (sample.dot(w).item() + b) <= 0", "if True", says="also those that are right")

edit("logsumexp", "x.amax(-1, keepdim=True)", "x.amax()", says="largest of each row")
edit("logsumexp", " + top.squeeze(-1)", "", says="not added again")


@mutant("logsumexp", says="take the largest one out first", check="any_size")
def straight(x):
    return x.exp().sum(-1).log()


edit("softmax_loss_grad", "d_scores /= len(t)", "pass", says="gradient is that of the sum")
edit("softmax_loss_grad", "d_scores[rows, t] -= 1", "pass", says="lacks the one-hot targets")
edit("softmax_loss_grad", "d_scores.T @ x", "x.T @ d_scores", says="transposed")


@mutant("softmax_loss_grad", says="rounded to 0", check="scores_of_a_thousand")
def softmax_then_log(w, b, x, t):
    p = (x @ w.T + b).softmax(1)
    hot = torch.nn.functional.one_hot(t, len(b)).to(x.dtype)
    d = (p - hot) / len(t)
    return -(p[hot.bool()]).log().mean(), d.T @ x, d.sum(0)


edit("hinge_loss_grad", "missing[rows, t] = 0", "pass", says="violation of its own margin")
edit("hinge_loss_grad", "-d_scores.sum(1)", "-(d_scores.sum(1) > 0).to(x.dtype)", says="pulled once")
edit("hinge_loss_grad", "missing.sum(1).mean()", "missing.mean()", says="divided by the number of classes")
edit("hinge_loss_grad", "+ margin", "+ 1", says="the margin is always 1")

edit("sgd_epoch", "w -= rate * dw", "w = w - rate * dw", says="must change in place")
edit("sgd_epoch", "x[batch], t[batch]", "x[: len(batch)], t[: len(batch)]", says="without order")
edit("sgd_epoch", "* len(batch)", "* batch_size", says="counts as a full one")


@mutant("sgd_epoch", says="uphill")
def ascent(w, b, x, t, order, loss_grad, batch_size, rate):
    total = 0.0
    for batch in order.split(batch_size):
        loss, dw, db = loss_grad(w, b, x[batch], t[batch])
        w.add_(dw, alpha=rate)
        b.add_(db, alpha=rate)
        total += float(loss) * len(batch)
    return total / len(order)


@mutant("sgd_epoch", says="mean over batches")
def mean_of_means(w, b, x, t, order, loss_grad, batch_size, rate):
    losses = []
    for batch in order.split(batch_size):
        loss, dw, db = loss_grad(w, b, x[batch], t[batch])
        w -= rate * dw
        b -= rate * db
        losses.append(float(loss))
    return sum(losses) / len(losses)


@mutant("sgd_epoch", says="neither be dropped")
def whole_batches_only(w, b, x, t, order, loss_grad, batch_size, rate):
    total = 0.0
    for first in range(0, len(order) - batch_size + 1, batch_size):
        batch = order[first : first + batch_size]
        loss, dw, db = loss_grad(w, b, x[batch], t[batch])
        w -= rate * dw
        b -= rate * db
        total += float(loss) * len(batch)
    return total / len(order)


edit("confusion_matrix", "t * classes + predicted", "predicted * classes + t", says="exchanged")
edit("confusion_matrix", ", minlength=classes**2", "", says="minlength", check="absent_classes")

edit("roc_curve", "torch.unique(-score", "torch.unique(score", says="from low to high")
edit("roc_curve", "start = torch.zeros(1)", "start = torch.zeros(0)", says="first point (0, 0) is missing")


@mutant("roc_curve", says="cross the threshold together")
def sample_by_sample(score, t):
    t = t[score.argsort(descending=True, stable=True)]
    hits = torch.cat((torch.zeros(1), t.cumsum(0) / t.sum()))
    alarms = torch.cat((torch.zeros(1), (1 - t).cumsum(0) / (1 - t).sum()))
    return alarms, hits, torch.trapezoid(hits, alarms)


@alternative("fit_least_squares")
def by_singular_values(x, t, penalty=0.0):
    u, s, v = torch.linalg.svd(x.double() - x.double().mean(0), full_matrices=False)
    kept = s > 1e-10 * s.max()
    factor = torch.where(kept, s / (s**2 + penalty), torch.zeros_like(s)) if kept.any() else torch.zeros_like(s)
    w = ((v.T * factor) @ u.T @ (t.double() - t.double().mean(0))).T
    return w, t.double().mean(0) - w @ x.double().mean(0)


@alternative("perceptron")
def with_a_column_of_ones(x, t, epochs):
    rows, w, count = torch.cat((x, torch.ones_like(x[:, :1])), 1), x.new_zeros(x.size(1) + 1), 0
    for _ in range(epochs):
        wrong = 0
        for n in range(len(x)):
            if t[n] * (rows[n] @ w) <= 0:
                w, wrong = w + t[n] * rows[n], wrong + 1
        count += wrong
        if not wrong:
            break
    return w[:-1], w[-1], count


@alternative("softmax_loss_grad")
def with_one_hot_rows(w, b, x, t):
    scores = x.double() @ w.double().T + b.double()
    hot = torch.nn.functional.one_hot(t, len(b)).double()
    loss = (torch.logsumexp(scores, 1) - (scores * hot).sum(1)).mean()
    slope = (scores.softmax(1) - hot) / len(t)
    return loss, torch.einsum("nk,nd->kd", slope, x.double()), slope.sum(0)


@alternative("roc_curve")
def by_comparison(score, t):
    levels = score.unique().flip(0)
    yes = torch.cat((torch.zeros(1, len(score), dtype=torch.bool), score >= levels[:, None]))
    hits, alarms = yes[:, t == 1].double().mean(1), yes[:, t == 0].double().mean(1)
    return alarms, hits, ((alarms[1:] - alarms[:-1]) * (hits[1:] + hits[:-1]) / 2).sum()
