# Made by tools/labs.py from labs/02_neighbours/author/lab.py; write your functions here.
"""Lab 02: Neighbours, PCA, k-means.

What to do is in sheet.md. Check your work with: python check.py
"""

import torch
from torch import Tensor


def nearest_classification(train_input: Tensor, train_target: Tensor, x: Tensor) -> Tensor:
    """The class of the training sample that is nearest to x, in Euclidean distance.

    `train_input`: N × D float32, `train_target`: N int64, `x`: D float32. Returns one int64 number (shape `()`).

    Not allowed: loops, comprehensions. Compare with all rows in one expression.

    Hint: broadcasting subtracts x from every row at once; `argmin` gives a position. My version has 85 characters.
    """
    raise NotImplementedError("02.1 nearest_classification")


def compute_nb_errors(
    train_input: Tensor,
    train_target: Tensor,
    test_input: Tensor,
    test_target: Tensor,
    mean: Tensor | None = None,
    proj: Tensor | None = None,
) -> int:
    """How many test samples the nearest neighbour gets wrong, as an `int`.

    Both inputs are N × D float32, both targets N int64. If `mean` (D) is given, subtract it from both inputs; if `proj`
    (C × D, one axis per row) is given, replace both inputs by their coordinates along these axes, after subtracting the
    mean. You may loop over the test samples.

    Hint: call `nearest_classification`; `x -= mean` would destroy the caller's data. My version has 369 characters.
    """
    raise NotImplementedError("02.2 compute_nb_errors")


def PCA(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The principal components of the rows of x.

    `x`: N × D float32. Returns the mean (D), the basis (D × D, orthonormal, **one axis per row**) and the variance of x
    along each axis (D; the sum of squares divided by N − 1), all float32. The variances decrease.

    Not allowed: loops, comprehensions, `pca_lowrank`. The eigenvectors give all axes at once.

    Hint: `torch.linalg.eigh` of the covariance matrix; look up in which order its eigenvalues come, and whether its
    eigenvectors are rows or columns. My version has 157 characters.
    """
    raise NotImplementedError("02.3 PCA")


def kmeans(x: Tensor, k: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lloyd's algorithm: k centres, each the mean of the samples that are nearest to it.

    `x`: N × D float32. Start with k different rows of x, drawn at random so that the same `seed` gives the same rows.
    In each step assign every sample to its nearest centre, then move every centre to the mean of its samples; a centre
    without samples stays where it is. Stop when no assignment changes. Returns the centres (k × D float32), the
    assignment (N int64), and the sum of squared distances to the assigned centres, measured in each step right after
    the assignment (1-d float32, never increasing).

    Hint: `torch.randperm(n, generator=torch.Generator().manual_seed(seed))` draws without repetition; `torch.cdist`
    gives all distances. My version has 576 characters.
    """
    raise NotImplementedError("02.4 kmeans")


def knn_classification(train_input: Tensor, train_target: Tensor, x: Tensor, k: int) -> Tensor:
    """The vote of the k nearest training samples, for many samples at once.

    `train_input`: N × D float32, `train_target`: N int64, `x`: M × D float32. Returns M int64. Where classes have the
    same number of votes, the smallest class number wins.

    Not allowed: loops, comprehensions. All test samples at once.

    Hint: `torch.cdist`, `topk(…, largest=False)`, and `mode`, which breaks ties as wanted. 119 characters.
    """
    raise NotImplementedError("02.5 knn_classification")


def best_k(x: Tensor, target: Tensor, ks: list[int], folds: int) -> tuple[int, Tensor]:
    """The number of neighbours with the fewest errors in cross-validation, and the error rate of each candidate.

    `x`: N × D float32, `target`: N int64, `ks`: the candidates. Sample i belongs to fold i mod `folds`. Each fold is
    classified once by all others. Returns the best k (`int`; the first one in `ks` if several are equal) and the error
    rates (float32, as long as `ks`, errors divided by N).

    Hint: a mask `torch.arange(n) % folds == f` splits the set; call `knn_classification`. 326 characters.
    """
    raise NotImplementedError("02.6 best_k")
