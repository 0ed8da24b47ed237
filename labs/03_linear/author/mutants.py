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


@mutant("sgd_epoch", says="must not be dropped")
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


# ---- more wrong versions

edit("fit_least_squares", "penalty**0.5 *", "0 *", says="the penalty is not used")
edit(
    "fit_least_squares", "b = target_mean - w @ input_mean", "b = target_mean", says="b is the mean of the targets only"
)
edit("fit_least_squares", "target_mean - w", "target_mean + w", says="wrong sign at w")
edit("fit_least_squares", "inputs - input_mean", "inputs", says="the mean of the inputs is not taken away")
edit("fit_least_squares", "penalty**0.5", "(2 * penalty) ** 0.5", says="the penalty counts twice")

edit("perceptron", ".item() + b)", ".item())", says="b is not in the score")
edit("perceptron", "w += sign * sample", "w += sample", says="without its sign")
edit("perceptron", "w += sign * sample\n                b += sign", "w -= sign * sample\n                b -= sign",
     says="is subtracted")  # fmt: skip
edit("perceptron", "<= 0", "> 0", says="the samples that are right", also=["a score of zero"])
edit("perceptron", "if sign * (", "if (", says="the score is not multiplied by t_n")
edit("perceptron", "return w, b, corrections", "return w, b, corrections - before", says="of the last epoch")
edit("perceptron", "range(epochs)", "range(epochs + 1)", says="one epoch too many")
edit("perceptron", "for sample, sign in zip(x, t.tolist(), strict=True):\n            if sign * (sample.dot(w).item() + b)",
     "scores = (x @ w + b).tolist()\n        for sample, sign, score in zip(x, t.tolist(), scores, strict=True):\n"
     "            if sign * score", says="weights at its start")  # fmt: skip

edit("logsumexp", "+ top", "- top", says="was subtracted again")
edit("logsumexp", ".sum(-1)", ".mean(-1)", says="mean of the exponentials")
edit("logsumexp", ".log()", "", says="the logarithm of the sum is missing")
edit("logsumexp", ".sum(-1)", ".sum(0)", says="shape")
edit("logsumexp", "(x - top).exp().sum(-1).log() + top.squeeze(-1)", "top.squeeze(-1)", says="the largest number only")


@mutant("logsumexp", says="over the first dimension")
def of_the_columns(x):
    top = x.amax(0, keepdim=True)
    return (x - top).exp().sum(0).log() + top.squeeze(0)


edit("softmax_loss_grad", "d_scores.sum(0)", "torch.zeros_like(b)", says="gradient of the bias is forgotten")
edit("softmax_loss_grad", "d_scores.sum(0)", "d_scores.mean(0)", says="db is divided by N twice")
edit("softmax_loss_grad", "-log_p[rows, t].mean()", "log_p[rows, t].mean()", says="the loss has the wrong sign")
edit("softmax_loss_grad", "-log_p[rows, t].mean()", "-log_p[rows, t].sum()", says="the loss is a sum")
edit("softmax_loss_grad", "d_scores[rows, t] -= 1\n    d_scores /=", "d_scores[rows, t] -= 1\n    d_scores /= -",
     says="the gradient has the wrong sign")  # fmt: skip
edit("softmax_loss_grad", "x @ w.T + b", "x @ w.T", says="the bias is not in the scores")
edit("softmax_loss_grad", "log_p.exp()", "scores.softmax(0)", says="of the gradient goes over the samples")
edit("softmax_loss_grad", "logsumexp(scores).unsqueeze(1)", "logsumexp(scores.T)", says="should go over the classes")
edit("softmax_loss_grad", "d_scores.sum(0)", "d_scores.sum(1)", says="shape")

edit("hinge_loss_grad", "d_scores /= len(t)", "pass", says="gradient is that of the sum")
edit("hinge_loss_grad", "d_scores.sum(0)", "torch.zeros_like(b)", says="gradient of the bias is forgotten")
edit("hinge_loss_grad", "+ margin", "- margin", says="the margin has the wrong sign")
edit("hinge_loss_grad", " + margin", "", says="there is no margin")
edit("hinge_loss_grad", "x @ w.T + b", "x @ w.T", says="the bias is not in the scores")
edit("hinge_loss_grad", "(missing > 0).to(x.dtype)", "missing.clone()", says="each positive entry should pull by 1")
edit("hinge_loss_grad", "d_scores[rows, t] = -d_scores.sum(1)", "pass", says="not pulled at all")
edit("hinge_loss_grad", "missing.sum(1)", "missing.amax(1)", says="only the worst class")
edit("hinge_loss_grad", "missing.sum(1).mean()", "missing.sum()", says="the loss is a sum")
edit("hinge_loss_grad", "-d_scores.sum(1)", "d_scores.sum(1)", says="pulled the wrong way")

edit("sgd_epoch", "w -= rate * dw", "w -= dw", says="missing in the step of w")
edit("sgd_epoch", "        b -= rate * db\n", "", says="b makes no step")
edit("sgd_epoch", "w -= rate * dw\n        b -= rate * db", "w -= dw\n        b -= db", says="the rate is not used")
edit("sgd_epoch", "        w -= rate * dw\n        b -= rate * db",
     "        rate_now = rate / len(batch)\n        w -= rate_now * dw\n        b -= rate_now * db",
     says="the gradient is a mean already")  # fmt: skip
edit("sgd_epoch", "float(loss) *", "float(loss_grad(w, b, x[batch], t[batch])[0]) *", says="samples in an epoch")
edit("sgd_epoch", "total / len(order)", "total", says="divide by their number")
edit("sgd_epoch", "order.split", "order.flip(0).split", says="other samples than the next")

edit("confusion_matrix", "t * classes + predicted", "t * (classes - 1) + predicted", says="classes − 1")
edit("confusion_matrix", "t * classes + predicted", "t + predicted", says="t is not multiplied")


@mutant("confusion_matrix", says="adds only once")
def by_an_index(t, predicted, classes):
    table = torch.zeros(classes, classes, dtype=torch.int64)
    table[t, predicted] += 1
    return table


@mutant("confusion_matrix", says="only the right answers")
def right_ones_only(t, predicted, classes):
    return torch.diag(torch.bincount(t[t == predicted], minlength=classes))


edit("roc_curve", "torch.trapezoid(hits, alarms)", "torch.trapezoid(alarms, hits)", says="exchanged")
edit("roc_curve", "torch.trapezoid(hits, alarms)", "(alarms.diff() * hits[:-1]).sum()", says="rectangles below")
edit("roc_curve", "torch.trapezoid(hits, alarms)", "(alarms.diff() * hits[1:]).sum()", says="rectangles above")
edit("roc_curve", "return alarms, hits", "return hits, alarms", says="hits and false alarms are exchanged")
edit("roc_curve", "torch.trapezoid(hits, alarms)", "hits.mean()", says="the mean of the hits")
edit(
    "roc_curve",
    "positives.cumsum(0) / positives.sum()",
    "positives.cumsum(0) / len(t)",
    says="hits are divided by the number of all samples",
)

# ---- more right versions


@alternative("fit_least_squares")
def by_the_pseudo_inverse(x, t, penalty=0.0):
    wide, mean = x.double(), x.double().mean(0, keepdim=True)
    rows = torch.vstack((wide - mean, torch.diag(torch.full((x.size(1),), penalty, dtype=torch.float64).sqrt())))
    sides = torch.vstack((t.double(), torch.zeros(x.size(1), t.size(1), dtype=torch.float64)))
    sides[: len(t)] -= t.double().mean(0)
    w = (torch.linalg.pinv(rows) @ sides).mT.contiguous()
    return w.type_as(x), (t.double() - wide @ w.T).mean(0).type_as(x)


@alternative("perceptron")
def in_lists(x, t, epochs):
    rows, w, b, count, epoch, wrong = x.tolist(), [0.0] * x.shape[1], 0.0, 0, 0, True
    while wrong and epoch < epochs:
        wrong, epoch = False, epoch + 1
        for row, sign in zip(rows, t.tolist(), strict=True):
            if not sign * (sum(p * q for p, q in zip(w, row, strict=True)) + b) > 0:
                w, b = [p + sign * q for p, q in zip(w, row, strict=True)], b + sign
                count, wrong = count + 1, True
    return torch.tensor(w, dtype=x.dtype), b, count


@alternative("logsumexp")
def by_a_running_pair(x):
    total = x[..., 0].clone()
    for k in range(1, x.size(-1)):
        high, low = torch.maximum(total, x[..., k]), torch.minimum(total, x[..., k])
        total = high + torch.log1p(torch.exp(low - high))
    return total


@alternative("logsumexp")
def through_a_probability(x):
    top = x.max(dim=-1).values
    return top - torch.log(torch.softmax(x, dim=-1).amax(-1))


@alternative("logsumexp")
def by_softplus(x):
    total = x[..., 0]
    for k in range(1, x.size(-1)):
        total = total + torch.nn.functional.softplus((x[..., k] - total).double(), threshold=800).to(x.dtype)
    return total


@alternative("softmax_loss_grad")
def sample_after_sample(w, b, x, t):
    loss, dw, db = torch.zeros((), dtype=x.dtype), torch.zeros_like(w), torch.zeros_like(b)
    for n in range(len(x)):
        log_p = torch.log_softmax(torch.mv(w, x[n]) + b, 0)
        loss = loss - log_p[t[n]]
        pulled = log_p.exp()
        pulled[t[n]] -= 1
        dw.addr_(pulled, x[n])
        db += pulled
    return loss / len(x), dw.div(len(x)), db.div(len(x))


@alternative("hinge_loss_grad")
def pair_after_pair(w, b, x, t, margin=1.0):
    loss, dw, db = 0.0 * x.sum(), torch.zeros_like(w), torch.zeros_like(b)
    for sample, right in zip(x, t.tolist(), strict=True):
        for k in range(len(b)):
            short = (w[k] - w[right]).dot(sample) + b[k] - b[right] + margin
            if k != right and short > 0:
                loss = loss + short
                dw[k] += sample
                dw[right] -= sample
                db[k] += 1
                db[right] -= 1
    return loss / len(x), dw / len(x), db / len(x)


@alternative("hinge_loss_grad")
def with_masks(w, b, x, t, margin=1.0):
    s, hot = torch.nn.functional.linear(x, w, b), torch.nn.functional.one_hot(t, b.numel()).bool()
    missing = torch.relu(s - s[hot][:, None] + margin).masked_fill(hot, 0)
    pull = missing.sign()
    pull = pull - hot * pull.sum(1, keepdim=True)
    return missing.sum() / len(x), torch.einsum("nk,nd->kd", pull, x) / len(x), pull.mean(0)


@alternative("sgd_epoch")
def by_places(w, b, x, t, order, loss_grad, batch_size, rate):
    losses, start, x, t = [], 0, x[order], t.index_select(0, order)
    while start < len(t):
        rows = slice(start, start + batch_size)
        loss, dw, db = loss_grad(w, b, x[rows], t[rows])
        w.sub_(dw, alpha=rate)
        b.copy_(b - rate * db)
        losses += [loss] * len(t[rows])
        start += batch_size
    return torch.stack(losses).mean().item()


@alternative("confusion_matrix")
def by_one_hot_rows(t, predicted, classes):
    def hot(labels):
        return (labels[:, None] == torch.arange(classes)).double()

    return (hot(t).T @ hot(predicted)).round().long()


@alternative("confusion_matrix")
def accumulated(t, predicted, classes):
    table = torch.zeros((classes, classes), dtype=torch.long)
    return table.index_put_((t, predicted), torch.ones_like(t), accumulate=True)


@alternative("roc_curve")
def over_a_sorted_list(score, t):
    pairs = sorted(zip(score.tolist(), t.tolist(), strict=True), reverse=True)
    positives, negatives = sum(t.tolist()), len(t) - sum(t.tolist())
    hits, alarms, yes, no = [0.0], [0.0], 0, 0
    for place, (value, label) in enumerate(pairs):
        yes, no = yes + label, no + 1 - label
        if place == len(pairs) - 1 or pairs[place + 1][0] != value:
            hits.append(yes / positives)
            alarms.append(no / negatives)
    area = sum((q - p) * (a + b) / 2 for p, q, a, b in zip(alarms, alarms[1:], hits, hits[1:], strict=False))
    return torch.tensor(alarms), torch.tensor(hits), torch.tensor(area)
