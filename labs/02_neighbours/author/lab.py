# %% [markdown]
# # 02 · Neighbours, PCA, k-means
#
# The simplest classifier learns nothing: it keeps the training set and copies the answer of the nearest sample. It is
# the baseline that everything else in this course has to beat, and it shows why one may want to *reduce* the dimension
# of the data first. Images are rows: MNIST gives matrices of N × 784.

# %%
import torch
from torch import Tensor

# %% [markdown]
# ## The nearest neighbour


# %%
def nearest_classification(train_input: Tensor, train_target: Tensor, x: Tensor) -> Tensor:
    """The class of the training sample that is nearest to x, in Euclidean distance.

    `train_input`: N × D float32, `train_target`: N int64, `x`: D float32. Returns one int64 number (shape `()`).

    Hint: broadcasting subtracts x from every row at once; `argmin` gives a position. My version has 85 characters.
    """
    # BEGIN SOLUTION
    distances = (train_input - x).square().sum(1)
    return train_target[distances.argmin()]
    # END SOLUTION


# %%
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
    # BEGIN SOLUTION
    if mean is not None:
        train_input, test_input = train_input - mean, test_input - mean
    if proj is not None:
        train_input, test_input = train_input @ proj.T, test_input @ proj.T
    answers = [nearest_classification(train_input, train_target, sample) for sample in test_input]
    return sum(int(answer != truth) for answer, truth in zip(answers, test_target, strict=True))
    # END SOLUTION


# %% [markdown]
# ## Principal components
#
# PCA looks for the axes along which the data vary most. Project on the first few, and distances hardly change while
# the vectors get short.


# %%
def PCA(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The principal components of the rows of x.

    `x`: N × D float32. Returns the mean (D), the basis (D × D, orthonormal, **one axis per row**) and the variance of x
    along each axis (D; the sum of squares divided by N − 1), all float32. The variances decrease.

    Hint: `torch.linalg.eigh` of the covariance matrix; look up in which order its eigenvalues come, and whether its
    eigenvectors are rows or columns. My version has 157 characters.
    """
    # BEGIN SOLUTION
    mean = x.mean(0)
    centred = x - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / (x.size(0) - 1))
    return mean, vectors.flip(1).T, values.flip(0)
    # END SOLUTION


# %% [markdown]
# ## Groups without labels


# %%
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
    # BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    centres = x[torch.randperm(x.size(0), generator=generator)[:k]]
    objective: list[Tensor] = []
    assignment = None
    while True:
        squared = torch.cdist(x, centres).square()
        nearest = squared.argmin(1)
        objective.append(squared.gather(1, nearest[:, None]).sum())
        if assignment is not None and torch.equal(nearest, assignment):
            return centres, assignment, torch.stack(objective)
        assignment = nearest
        centres = torch.stack([x[nearest == j].mean(0) if (nearest == j).any() else centres[j] for j in range(k)])
    # END SOLUTION


# %% [markdown]
# ## How many neighbours?
#
# One neighbour may be an outlier; k of them vote. The best k is found on the training set alone, by cross-validation.


# %%
def knn_classification(train_input: Tensor, train_target: Tensor, x: Tensor, k: int) -> Tensor:
    """The vote of the k nearest training samples, for many samples at once.

    `train_input`: N × D float32, `train_target`: N int64, `x`: M × D float32. Returns M int64. Where classes have the
    same number of votes, the smallest class number wins.

    Hint: `torch.cdist`, `topk(…, largest=False)`, and `mode`, which breaks ties as wanted. 119 characters.
    """
    # BEGIN SOLUTION
    nearest = torch.cdist(x, train_input).topk(k, dim=1, largest=False).indices
    return train_target[nearest].mode(1).values
    # END SOLUTION


# %%
def best_k(x: Tensor, target: Tensor, ks: list[int], folds: int) -> tuple[int, Tensor]:
    """The number of neighbours with the fewest errors in cross-validation, and the error rate of each candidate.

    `x`: N × D float32, `target`: N int64, `ks`: the candidates. Sample i belongs to fold i mod `folds`. Each fold is
    classified once by all others. Returns the best k (`int`; the first one in `ks` if several are equal) and the error
    rates (float32, as long as `ks`, errors divided by N).

    Hint: a mask `torch.arange(n) % folds == f` splits the set; call `knn_classification`. 326 characters.
    """
    # BEGIN SOLUTION
    fold = torch.arange(x.size(0)) % folds
    errors = torch.zeros(len(ks))
    for n, k in enumerate(ks):
        for f in range(folds):
            held = fold == f
            answers = knn_classification(x[~held], target[~held], x[held], k)
            errors[n] += (answers != target[held]).sum()
    return ks[int(errors.argmin())], errors / x.size(0)
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# On the small MNIST set (1000 and 1000 images) the nearest neighbour makes 172 errors. On PCA coordinates it makes
#
# | dimensions | 784 | 100 | 50 | 10 | 3 |
# | --- | --- | --- | --- | --- | --- |
# | errors | 172 | 164 | 155 | 214 | 597 |
#
# and about 210 on 100 random directions. k-means with ten centres, which never sees a label, gives groups in which
# 54 to 59 % of the digits are of one kind. All targets take 4 s (2 cores, AMD EPYC 2.6 GHz, one thread).
#
# Does all this make sense? Fifty numbers are *better* than all 784: what have the other 734 directions added to the
# distances? And why does PCA with 100 dimensions beat 100 random ones?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` classifies 1000 digits with 784, 100, 50, 10 and 3 numbers each, draws the axes and the centres,
# and looks for the best k (4 s). `check(gpu=True)` classifies all of MNIST, where there is a GPU.
#
# Next is lab 03, linear models: there, a classifier keeps a few weights instead of the whole training set.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
