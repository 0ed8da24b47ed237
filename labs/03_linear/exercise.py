# Made by tools/labs.py from labs/03_linear/author/lab.py; write your functions here.
"""Lab 03: Linear models.

What to do is in sheet.md. Check your work with: python check.py
"""

from collections.abc import Callable

import torch
from torch import Tensor


def fit_least_squares(x: Tensor, t: Tensor, penalty: float = 0.0) -> tuple[Tensor, Tensor]:
    """The w and b that minimise Σ_n ‖w x_n + b − t_n‖² + penalty · ‖w‖² (b is not penalised).

    x: N × D, t: N × K, floating point. Returns w (K × D) and b (K) in the type of x; of several minimisers, the one
    with the smallest ‖w‖.

    Hint: `torch.linalg.lstsq(…, driver="gelsd")`, in float64. My version has 430 characters.
    """
    raise NotImplementedError("03.1 fit_least_squares")


def perceptron(x: Tensor, t: Tensor, epochs: int) -> tuple[Tensor, float, int]:
    """The perceptron rule on two classes.

    x: N × D, t: N numbers −1 or +1 of the same type. Start at zero and go through the samples in order, at most
    `epochs` times. Where t_n (w · x_n + b) ≤ 0, add t_n x_n to w and t_n to b. Stop after an epoch without
    any. Returns w (D), b, and the number of corrections.

    Hint: two plain loops; `.item()` makes a number of a tensor. My version has 360 characters.
    """
    raise NotImplementedError("03.2 perceptron")


def logsumexp(x: Tensor) -> Tensor:
    """log Σ exp(x) over the last dimension, for numbers of any size.

    x: … × K, floating point. Returns the shape without the last dimension.

    Not allowed: `logsumexp`, `log_softmax`, `logaddexp`. The function is the exercise.

    Hint: take the largest number out of the sum; what does it add to the logarithm? `amax`. My version has 85
    characters.
    """
    raise NotImplementedError("03.3 logsumexp")


def softmax_loss_grad(w: Tensor, b: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean cross-entropy of a batch and its gradient, without autograd.

    w: K × D, b: K, x: N × D, floating point; t: N classes. Returns the loss (one number), dw (K × D) and db (K).

    Not allowed: `backward`, `autograd`, `func.grad`, `cross_entropy`. Loss and gradient are to be written by hand.

    Hint: first find why the gradient with respect to the scores is (P − one-hot(t)) / N. Use your `logsumexp`, and
    an index. My version has 240 characters.
    """
    raise NotImplementedError("03.4 softmax_loss_grad")


def hinge_loss_grad(w: Tensor, b: Tensor, x: Tensor, t: Tensor, margin: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """The mean hinge loss of a batch and its gradient, without autograd.

    Like `softmax_loss_grad`; `margin` is Δ.

    Not allowed: `backward`, `autograd`, `func.grad`, `multi_margin_loss`. Loss and gradient are to be written by hand.

    Hint: a table of what is missing, N × K, zero where k = t; each positive entry pulls on two rows of w, its own
    and that of the right class. `clamp`. My version has 300 characters.
    """
    raise NotImplementedError("03.5 hinge_loss_grad")


def sgd_epoch(
    w: Tensor, b: Tensor, x: Tensor, t: Tensor, order: Tensor, loss_grad: Callable, batch_size: int, rate: float
) -> float:
    """One pass of stochastic gradient descent; w and b change in place.

    order: a permutation of 0 … N − 1 (int64). Each batch is the next `batch_size` samples in that order, the last
    may be short. `loss_grad(w, b, x_batch, t_batch)` returns loss, dw, db; the step is −rate times the gradient.
    Returns the mean loss over samples, each with the loss of its batch before the step.

    Hint: `order.split`. In place is `w -= …`, not `w = w - …`. My version has 210 characters.
    """
    raise NotImplementedError("03.6 sgd_epoch")


def confusion_matrix(t: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """How often class i (row) was taken for class j (column).

    t, predicted: N classes, int64. Returns classes × classes, int64, also when a class does not occur.

    Hint: one number for each pair, then `torch.bincount(…, minlength=…)`. My version has 90 characters.
    """
    raise NotImplementedError("03.7 confusion_matrix")


def roc_curve(score: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Receiver operating characteristic of a detector that says yes where score ≥ threshold.

    score: N, floating point; t: N, int64, 1 for positives, 0 for negatives. The thresholds are the
    distinct scores, from high to low. Returns the fractions of negatives and of positives with a yes (float32, a
    first 0, then one entry for each threshold), and the area under the curve (one number, trapezoids).

    Hint: `torch.unique(…, return_inverse=True)`, `bincount`, `cumsum`, `torch.trapezoid`. My version has 390
    characters.
    """
    raise NotImplementedError("03.8 roc_curve")
