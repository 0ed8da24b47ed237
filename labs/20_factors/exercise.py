# Made by tools/labs.py from labs/20_factors/author/lab.py; write your functions here.
"""Lab 20: Factor models and manifolds.

What to do is in sheet.md. Check your work with: python check.py
"""

import torch
from torch import Tensor


def log_likelihood(x: Tensor, mean: Tensor, w: Tensor, psi: Tensor) -> float:
    """The log-density of a factor model, the mean over the rows of x, in nats.

    x: N × D. mean: D. w: D × k loadings. psi: D noise variances, all > 0. D may be 20 000: build nothing of size D × D.

    Not allowed: `distributions`. The formula is the exercise.

    Hint: with the k × k matrix M = I + Wᵀ Ψ⁻¹ W, log det(W Wᵀ + Ψ) = log det M + Σ log ψ, and (W Wᵀ + Ψ)⁻¹ = Ψ⁻¹ − Ψ⁻¹
    W M⁻¹ Wᵀ Ψ⁻¹. My version has 366 characters.
    """
    raise NotImplementedError("20.1 log_likelihood")


def ppca_em(x: Tensor, w: Tensor, sigma2: float, steps: int) -> tuple[Tensor, float]:
    """Probabilistic PCA by EM (Tipping and Bishop, 1999).

    x: N × D; its mean is subtracted here. w: D × k and sigma2: where to start. Returns the loadings (D × k, of the
    dtype of x) and the noise variance after `steps` ≥ 0 steps.

    Not allowed: `eigh`, `svd`, `eig`, `pca_lowrank`. The sheet asks for EM.

    Hint: all that is needed of x is S = (x − mean)ᵀ (x − mean) / N. With M = Wᵀ W + σ² I, one step is W' = S W (σ² I +
    M⁻¹ Wᵀ S W)⁻¹, and σ²' is the mean of the diagonal of S − S W M⁻¹ W'ᵀ. My version has 363 characters.
    """
    raise NotImplementedError("20.2 ppca_em")


def fa_em(x: Tensor, w: Tensor, psi: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Factor analysis by EM (Rubin and Thayer, 1982).

    x: N × D; its mean is subtracted here. w: D × k and psi: D, where to start. Returns the loadings (D × k) and the
    noise variances (D) after `steps` ≥ 0 steps, of the dtype of x. No variance gets below 1e-6.

    Hint: with S as in ppca_em and β as above, the mean over the samples of E[z zᵀ] is I − β W + β S βᵀ. Then W' is S βᵀ
    times the inverse of that, and Ψ' the diagonal of S − W' β S. My version has 337 characters.
    """
    raise NotImplementedError("20.3 fa_em")


def nmf(v: Tensor, w: Tensor, h: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Non-negative factors v ≈ w h by the multiplicative rule of Lee and Seung (2001).

    v: D × N, w: D × k, h: k × N, nothing negative; w and h are where to start. Returns w and h after `steps` ≥ 0 steps.
    A step multiplies h by (wᵀ v) / (wᵀ w h), then w by (v hᵀ) / (w h hᵀ) with the new h. Divisors are at least 1e-12.

    Hint: choose the order of each triple product so that nothing of size D × N is built for it. My version has 146
    characters.
    """
    raise NotImplementedError("20.4 nmf")


def classical_mds(distance: Tensor, k: int) -> Tensor:
    """Places in k dimensions whose distances are as given, as far as possible (Torgerson, 1952).

    distance: N × N, symmetric, zeros on the diagonal. Returns N × k with mean 0, the column of largest variance first;
    the sign of each column is free. Directions with a negative eigenvalue get zeros.

    Hint: B = −½ C D² C has the scalar products of the centred places; D² are the squared entries and C subtracts the
    mean. `torch.linalg.eigh`. My version has 209 characters.
    """
    raise NotImplementedError("20.5 classical_mds")


def geodesic_distances(x: Tensor, neighbours: int) -> Tensor:
    """Lengths of the shortest ways over a graph of neighbours.

    x: N × D. Two rows are joined by an edge, as long as their Euclidean distance, if one of them is among the
    `neighbours` nearest others of the other. Returns N × N of the dtype of x, infinite where there is no way.

    Hint: Floyd and Warshall: for each row j, ways over j may be shorter: distance[i, j] + distance[j, k], for all i and
    k at once. `Tensor.topk`, `Tensor.scatter_`, `torch.minimum`. My version has 368 characters.
    """
    raise NotImplementedError("20.6 geodesic_distances")


def isomap(x: Tensor, neighbours: int, k: int) -> Tensor:
    """Places in k dimensions that keep geodesic distances (Tenenbaum, de Silva and Langford, 2000)."""
    return classical_mds(geodesic_distances(x, neighbours), k)


def lle(x: Tensor, neighbours: int, k: int) -> Tensor:
    """Locally linear embedding (Roweis and Saul, 2000).

    x: N × D float64. Each row is written as a combination of its nearest others, with weights that sum to 1; the places
    keep these weights. Returns N × k float64 with mean 0, the columns of unit norm in the order of their eigenvalue,
    smallest first; their signs are free.

    For row i let G be the scalar products of (its neighbours − x[i]). Add trace(G) / 1000 to the diagonal, solve G w =
    1, divide w by its sum. The places are the eigenvectors of (I − W)ᵀ (I − W) behind the constant one, whose
    eigenvalue is 0.

    Hint: `torch.linalg.solve` takes a batch of matrices, so no loop is needed. My version has 557 characters.
    """
    raise NotImplementedError("20.7 lle")
