# %% [markdown]
# # 03 · Linear models
#
# A linear model has a row of weights and a bias for each class; the class with the largest score
# s_k = w_k · x + b_k wins.
#
# Throughout: `x` is N × D, one sample per row; `w` is K × D, one class per row; `b` has K numbers; `t` has N
# classes (int64), unless a part says otherwise. The scores of all samples are `x @ w.T + b`.

# %%
from collections.abc import Callable

import torch
from torch import Tensor

# %% [markdown]
# ## Least squares
#
# Least squares have a closed form. Take the mean away from inputs and targets, and the
# bias is out of the way. A penalty λ is D more rows of the system: √λ · I, with target zero. With fewer
# samples than unknowns many solutions are perfect; we want the shortest.


# %%
def fit_least_squares(x: Tensor, t: Tensor, penalty: float = 0.0) -> tuple[Tensor, Tensor]:
    """The w and b that minimise Σ_n ‖w x_n + b − t_n‖² + penalty · ‖w‖² (b is not penalised).

    x: N × D, t: N × K, floating point. Returns w (K × D) and b (K) in the type of x; of several minimisers, the one
    with the smallest ‖w‖.

    Hint: `torch.linalg.lstsq(…, driver="gelsd")`, in float64. My version has 430 characters.
    """
    # BEGIN SOLUTION
    inputs, targets = x.double(), t.double()
    input_mean, target_mean = inputs.mean(0), targets.mean(0)
    ridge = penalty**0.5 * torch.eye(x.size(1), dtype=torch.float64)
    rows = torch.cat((inputs - input_mean, ridge))
    sides = torch.cat((targets - target_mean, targets.new_zeros(x.size(1), t.size(1))))
    w = torch.linalg.lstsq(rows, sides, driver="gelsd").solution.T
    b = target_mean - w @ input_mean
    return w.to(x.dtype), b.to(x.dtype)
    # END SOLUTION


# %% [markdown]
# ## The perceptron
#
# Rosenblatt's rule (1958) learns from mistakes only. If some hyperplane separates the classes with margin γ and
# no sample is longer than R, it makes at most (R/γ)² corrections (the bias counts as the weight of an
# input 1).


# %%
def perceptron(x: Tensor, t: Tensor, epochs: int) -> tuple[Tensor, float, int]:
    """The perceptron rule on two classes.

    x: N × D, t: N numbers −1 or +1 of the same type. Start at zero and go through the samples in order, at most
    `epochs` times. Where t_n (w · x_n + b) ≤ 0, add t_n x_n to w and t_n to b. Stop after an epoch without
    any. Returns w (D), b, and the number of corrections.

    Hint: two plain loops; `.item()` makes a number of a tensor. My version has 360 characters.
    """
    # BEGIN SOLUTION
    w, b, corrections = torch.zeros_like(x[0]), 0.0, 0
    for _ in range(epochs):
        before = corrections
        for sample, sign in zip(x, t.tolist(), strict=True):
            if sign * (sample.dot(w).item() + b) <= 0:
                w += sign * sample
                b += sign
                corrections += 1
        if corrections == before:
            break
    return w, b, corrections
    # END SOLUTION


# %% [markdown]
# ## Logistic regression
#
# P(k | x) = exp(s_k) / Σ_j exp(s_j), and the loss is the mean of −log P(t_n | x_n), the cross-entropy. The
# logarithm of the sum needs care: exp(1000) is infinite, exp(−1000) is zero.


# %%
def logsumexp(x: Tensor) -> Tensor:
    """log Σ exp(x) over the last dimension, for numbers of any size.

    x: … × K, floating point. Returns the shape without the last dimension.

    Hint: take the largest number out of the sum; what does it add to the logarithm? `amax`. My version has 85
    characters.
    """
    # BEGIN SOLUTION
    top = x.amax(-1, keepdim=True)
    return (x - top).exp().sum(-1).log() + top.squeeze(-1)
    # END SOLUTION


def softmax_loss_grad(w: Tensor, b: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean cross-entropy of a batch and its gradient, without autograd.

    w: K × D, b: K, x: N × D, floating point; t: N classes. Returns the loss (one number), dw (K × D) and db (K).

    Hint: first find why the gradient with respect to the scores is (P − one-hot(t)) / N. Use your `logsumexp`, and
    an index. My version has 240 characters.
    """
    # BEGIN SOLUTION
    scores = x @ w.T + b
    rows = torch.arange(len(t))
    log_p = scores - logsumexp(scores).unsqueeze(1)
    loss = -log_p[rows, t].mean()
    d_scores = log_p.exp()
    d_scores[rows, t] -= 1
    d_scores /= len(t)
    return loss, d_scores.T @ x, d_scores.sum(0)
    # END SOLUTION


# %% [markdown]
# ## The margin
#
# A support-vector machine asks that the right score beats every other one by a margin Δ, and counts what is
# missing: the loss of a sample is Σ_{k ≠ t} max(0, s_k − s_t + Δ). Where all margins hold, the sample has no say.


# %%
def hinge_loss_grad(w: Tensor, b: Tensor, x: Tensor, t: Tensor, margin: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """The mean hinge loss of a batch and its gradient, without autograd.

    Like `softmax_loss_grad`; `margin` is Δ.

    Hint: a table of what is missing, N × K, zero where k = t; each positive entry pulls on two rows of w, its own
    and that of the right class. `clamp`. My version has 300 characters.
    """
    # BEGIN SOLUTION
    scores = x @ w.T + b
    rows = torch.arange(len(t))
    missing = (scores - scores[rows, t].unsqueeze(1) + margin).clamp(min=0)
    missing[rows, t] = 0
    d_scores = (missing > 0).to(x.dtype)
    d_scores[rows, t] = -d_scores.sum(1)
    d_scores /= len(t)
    return missing.sum(1).mean(), d_scores.T @ x, d_scores.sum(0)
    # END SOLUTION


# %%
def sgd_epoch(
    w: Tensor, b: Tensor, x: Tensor, t: Tensor, order: Tensor, loss_grad: Callable, batch_size: int, rate: float
) -> float:
    """One pass of stochastic gradient descent; w and b change in place.

    order: a permutation of 0 … N − 1 (int64). Each batch is the next `batch_size` samples in that order, the last
    may be short. `loss_grad(w, b, x_batch, t_batch)` returns loss, dw, db; the step is −rate times the gradient.
    Returns the mean loss over samples, each with the loss of its batch before the step.

    Hint: `order.split`. In place is `w -= …`, not `w = w - …`. My version has 210 characters.
    """
    # BEGIN SOLUTION
    total = 0.0
    for batch in order.split(batch_size):
        loss, dw, db = loss_grad(w, b, x[batch], t[batch])
        w -= rate * dw
        b -= rate * db
        total += float(loss) * len(batch)
    return total / len(order)
    # END SOLUTION


# %% [markdown]
# ## More than one number
#
# A confusion matrix shows *which* classes are taken for one another. A detector ("is this a 4?") trades hits
# against false alarms; its ROC curve shows all thresholds. The area under it is the probability that a random
# positive scores higher than a random negative, ties counted as one half.


# %%
def confusion_matrix(t: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """How often class i (row) was taken for class j (column).

    t, predicted: N classes, int64. Returns classes × classes, int64, also when a class does not occur.

    Hint: one number for each pair, then `torch.bincount(…, minlength=…)`. My version has 90 characters.
    """
    # BEGIN SOLUTION
    return torch.bincount(t * classes + predicted, minlength=classes**2).view(classes, classes)
    # END SOLUTION


def roc_curve(score: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Receiver operating characteristic of a detector that says yes where score ≥ threshold.

    score: N, floating point; t: N, int64, 1 for positives, 0 for negatives. The thresholds are the
    distinct scores, from high to low. Returns the fractions of negatives and of positives with a yes (float32, a
    first 0, then one entry for each threshold), and the area under the curve (one number, trapezoids).

    Hint: `torch.unique(…, return_inverse=True)`, `bincount`, `cumsum`, `torch.trapezoid`. My version has 390
    characters.
    """
    # BEGIN SOLUTION
    values, place = torch.unique(-score, return_inverse=True)
    positives = torch.bincount(place[t == 1], minlength=len(values))
    negatives = torch.bincount(place[t == 0], minlength=len(values))
    start = torch.zeros(1)
    hits = torch.cat((start, positives.cumsum(0) / positives.sum()))
    alarms = torch.cat((start, negatives.cumsum(0) / negatives.sum()))
    return alarms, hits, torch.trapezoid(hits, alarms)
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# Pixels divided by 255; 2 cores, AMD EPYC 2.6 GHz, one thread. Two pictures lie in `results/`.
#
# | | test errors | time |
# | --- | --- | --- |
# | least squares, 200, 550, 5000 samples | 40 %, **85 %**, 17 % | 7 s |
# | the same with a penalty of 10 | 30 %, 22 %, 16 % | |
# | perceptron, 0 against 1, 4 against 9 | 0.05 %, 3.7 % | 1 s |
# | logistic regression, 1000 samples, all | 15 %, 8.3 % | 1 s |
# | margins, all samples | 8.2 % | 1 s |
#
# More samples, twice as many errors: why does least squares fail just there, why near 550 and not at 784, and what
# does the penalty do about it? And why is a class's own score a worse detector of an 8 than log P?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` fits the four linear models to digits, and draws their weights and the ROC curves (10 s). This
# lab has no part for a GPU.
#
# Next is lab 04, back-propagation by hand: there, a second layer stands on the first, and the chain rule gives its
# gradient.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
