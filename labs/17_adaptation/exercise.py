# Made by tools/labs.py from labs/17_adaptation/author/lab.py; write your functions here.
"""Lab 17: Domain adaptation.

What to do is in sheet.md. Check your work with: python check.py
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def median_distance(x: Tensor, y: Tensor) -> float:
    """A usual bandwidth for a kernel: the median of all distances between different rows of x and y put together.

    x: N × D, y: M × D, N + M ≥ 2. Each pair counts once. The median of an even number of distances is the mean of the
    middle two.

    Hint: `torch.pdist` gives each pair once; `torch.quantile` is limited in size and `torch.median` takes the lower of
    two. Sort. My version has 151 characters.
    """
    raise NotImplementedError("17.1 median_distance")


def mmd_rbf(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    """The squared maximum mean discrepancy of two samples (Gretton and others, 2012).

    x: N × D, y: M × D. With k(a, b) = exp(−‖a − b‖² / (2 bandwidth²)): the mean of k over all N² pairs of rows of x,
    plus that over all M² pairs of y, minus twice that over all N M mixed pairs. Pairs of a row with itself count.
    Returns one number as a tensor that autograd can follow; 0 for identical samples, never negative.

    Hint: broadcast to N × M × D. No root is needed, and its derivative at 0 would be infinite. My version has 204
    characters.
    """

    raise NotImplementedError("17.2 mmd_rbf")


def coral_align(source: Tensor, target: Tensor) -> Tensor:
    """The source with mean and covariance of the target (Sun, Feng and Saenko, 2016).

    source: N × D, target: M × D. Returns N × D of their dtype: (source − its mean) Cs^(−1/2) Ct^(1/2) + mean of target,
    where Cs and Ct are the covariances (divided by N − 1 and M − 1) and the roots are symmetric. Directions in which
    the source has no variance (eigenvalue ≤ 1e-6 × the largest) have no inverse: use 0 in its place.

    Hint: `torch.cov`, `torch.linalg.eigh`: a symmetric matrix U Λ Uᵀ has the power U Λᵖ Uᵀ. My version has 338
    characters.
    """

    raise NotImplementedError("17.3 coral_align")


def adabn(model: nn.Module, x: Tensor, batch_size: int) -> None:
    """Replaces the running statistics in all batch-normalisation layers by those of target data (Li and others, 2016).

    The layers may be of one, two or three dimensions. model: any module, changed in place. x: N × … target inputs,
    without labels; N is a multiple of batch_size. One pass over x in batches, in order; each layer normalises with the
    statistics of the batch itself. Afterwards running_mean and running_var are the plain averages, over the batches, of
    what the layer saw. Weights, gradients, momentum and the mode (train or eval) of every module are as before; dropout
    does nothing during the pass.

    Hint: `reset_running_stats`, `momentum = None` (see the documentation of `nn.BatchNorm2d`), `torch.no_grad`; the
    class of all these layers is `nn.modules.batchnorm._BatchNorm`. My version has 554 characters.
    """
    raise NotImplementedError("17.4 adabn")


class GradReverse(torch.autograd.Function):
    """The identity forward; backward, the gradient times −strength.

    Used as `GradReverse.apply(x, strength)`, with a float strength.

    Hint: return a view or a copy of x, not x itself. `backward` returns a gradient for each argument of `forward`, and
    None for a float. My version has 80 characters.
    """

    @staticmethod
    def forward(ctx, x, strength):
        raise NotImplementedError("17.5 GradReverse.forward")

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("17.5 GradReverse.backward")


def dann_step(
    features: nn.Module,
    classifier: nn.Module,
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    source: Tensor,
    label: Tensor,
    target: Tensor,
    strength: float,
) -> tuple[float, float]:
    """One step of domain-adversarial training, for all three networks at once.

    classifier: features → scores of the classes. discriminator: features → N × 1, the log-odds that a row is from the
    target. source: N × …, label: N int64, target: M × …. The loss is the cross-entropy of the classes of the source,
    plus the mean binary cross-entropy of the domains of all N + M rows. The features get the gradient of the second
    reversed, times strength. Returns both losses as floats, before the step.

    Hint: `GradReverse.apply`, `F.binary_cross_entropy_with_logits`. One call of `features` for source and target
    together, one `backward`, one `step`. My version has 443 characters.
    """
    raise NotImplementedError("17.6 dann_step")


def label_shift(confusion: Tensor, answers: Tensor) -> Tensor:
    """The class frequencies of the target (Lipton, Wang and Smola, 2018).

    confusion: C × C; confusion[i, j] is the share of source samples with the true class j and the answer i, so all sum
    to 1, and column sums are the class frequencies of the source. answers: C, the share of each answer on the target.
    Returns C frequencies of the dtype of confusion: not negative, with the sum 1.

    Hint: with weights w = target frequencies / source frequencies, answers = confusion w. `torch.linalg.solve`, then
    negative weights become 0. My version has 133 characters.
    """
    raise NotImplementedError("17.7 label_shift")
