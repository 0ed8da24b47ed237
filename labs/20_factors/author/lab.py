# %% [markdown]
# # 20 · Factor models and manifolds
#
# High-dimensional data often have few causes. A *factor model* says how causes become data: x = W z + mean + noise,
# with k factors z ~ N(0, I) and loadings W (D × k). Then x is Gaussian with covariance W Wᵀ + Ψ, where Ψ is diagonal:
# what features have in common goes through the factors. In probabilistic PCA the noise is the same everywhere, Ψ = σ²
# I; in factor analysis each feature has its own. A *manifold* method makes no model; it looks for k coordinates that
# keep distances.
#
# Nothing here is trained by gradients.

# %%
import torch
from torch import Tensor

# %% [markdown]
# ## Factor models
#
# EM repeats two steps. E: with the parameters as they are, the factors of a sample have the posterior N(β (x − mean), I
# − β W), where β = Wᵀ (W Wᵀ + Ψ)⁻¹. M: regress x on the expected factors. The likelihood never decreases. See Bishop,
# *Pattern Recognition and Machine Learning*, chapter 12.


# %%
def log_likelihood(x: Tensor, mean: Tensor, w: Tensor, psi: Tensor) -> float:
    """The log-density of a factor model, the mean over the rows of x, in nats.

    x: N × D. mean: D. w: D × k loadings. psi: D noise variances, all > 0. D may be 20 000: build nothing of size D × D.

    Hint: with the k × k matrix M = I + Wᵀ Ψ⁻¹ W, log det(W Wᵀ + Ψ) = log det M + Σ log ψ, and (W Wᵀ + Ψ)⁻¹ = Ψ⁻¹ − Ψ⁻¹
    W M⁻¹ Wᵀ Ψ⁻¹. My version has 366 characters.
    """
    # BEGIN SOLUTION
    centred = x - mean
    scaled = w / psi[:, None]
    m = torch.eye(w.size(1), dtype=w.dtype) + w.T @ scaled
    projected = centred @ scaled
    square = (centred**2 / psi).sum(1) - (projected * torch.linalg.solve(m, projected.T).T).sum(1)
    log_det = torch.logdet(m) + psi.log().sum()
    return -0.5 * (x.size(1) * torch.log(torch.tensor(2 * torch.pi)) + log_det + square.mean()).item()
    # END SOLUTION


# %%
def ppca_em(x: Tensor, w: Tensor, sigma2: float, steps: int) -> tuple[Tensor, float]:
    """Probabilistic PCA by EM (Tipping and Bishop, 1999).

    x: N × D; its mean is subtracted here. w: D × k and sigma2: where to start. Returns the loadings (D × k, of the
    dtype of x) and the noise variance after `steps` ≥ 0 steps.

    Hint: all that is needed of x is S = (x − mean)ᵀ (x − mean) / N. With M = Wᵀ W + σ² I, one step is W' = S W (σ² I +
    M⁻¹ Wᵀ S W)⁻¹, and σ²' is the mean of the diagonal of S − S W M⁻¹ W'ᵀ. My version has 363 characters.
    """
    # BEGIN SOLUTION
    centred = x - x.mean(0)
    s = centred.T @ centred / len(x)
    eye = torch.eye(w.size(1), dtype=x.dtype)
    for _ in range(steps):
        inverse = torch.linalg.inv(w.T @ w + sigma2 * eye)
        s_w = s @ w
        new = s_w @ torch.linalg.inv(sigma2 * eye + inverse @ w.T @ s_w)
        sigma2 = ((s.trace() - (s_w @ inverse * new).sum()) / len(s)).item()
        w = new
    return w, sigma2
    # END SOLUTION


# %%
def fa_em(x: Tensor, w: Tensor, psi: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Factor analysis by EM (Rubin and Thayer, 1982).

    x: N × D; its mean is subtracted here. w: D × k and psi: D, where to start. Returns the loadings (D × k) and the
    noise variances (D) after `steps` ≥ 0 steps, of the dtype of x. No variance gets below 1e-6.

    Hint: with S as in ppca_em and β as above, the mean over the samples of E[z zᵀ] is I − β W + β S βᵀ. Then W' is S βᵀ
    times the inverse of that, and Ψ' the diagonal of S − W' β S. My version has 337 characters.
    """
    # BEGIN SOLUTION
    centred = x - x.mean(0)
    s = centred.T @ centred / len(x)
    eye = torch.eye(w.size(1), dtype=x.dtype)
    for _ in range(steps):
        beta = torch.linalg.solve(w @ w.T + psi.diag(), w).T
        cross = s @ beta.T
        w = cross @ torch.linalg.inv(eye - beta @ w + beta @ cross)
        psi = (s.diag() - (w * cross).sum(1)).clamp(min=1e-6)
    return w, psi
    # END SOLUTION


# %% [markdown]
# ## Parts instead of axes
#
# Axes of PCA add and cancel. If nothing may be negative, nothing cancels, and the factors become parts of the whole.


# %%
def nmf(v: Tensor, w: Tensor, h: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Non-negative factors v ≈ w h by the multiplicative rule of Lee and Seung (2001).

    v: D × N, w: D × k, h: k × N, nothing negative; w and h are where to start. Returns w and h after `steps` ≥ 0 steps.
    A step multiplies h by (wᵀ v) / (wᵀ w h), then w by (v hᵀ) / (w h hᵀ) with the new h. Divisors are at least 1e-12.

    Hint: choose the order of each triple product so that nothing of size D × N is built for it. My version has 146
    characters.
    """
    # BEGIN SOLUTION
    for _ in range(steps):
        h = h * (w.T @ v) / (w.T @ w @ h).clamp(min=1e-12)
        w = w * (v @ h.T) / (w @ (h @ h.T)).clamp(min=1e-12)
    return w, h
    # END SOLUTION


# %% [markdown]
# ## Maps from distances


# %%
def classical_mds(distance: Tensor, k: int) -> Tensor:
    """Places in k dimensions whose distances are as given, as far as possible (Torgerson, 1952).

    distance: N × N, symmetric, zeros on the diagonal. Returns N × k with mean 0, the column of largest variance first;
    the sign of each column is free. Directions with a negative eigenvalue get zeros.

    Hint: B = −½ C D² C has the scalar products of the centred places; D² are the squared entries and C subtracts the
    mean. `torch.linalg.eigh`. My version has 209 characters.
    """
    # BEGIN SOLUTION
    squared = distance**2
    b = -0.5 * (squared - squared.mean(0) - squared.mean(1, keepdim=True) + squared.mean())
    values, vectors = torch.linalg.eigh(b)
    return (vectors * values.clamp(min=0).sqrt()).flip(1)[:, :k]
    # END SOLUTION


# %%
def geodesic_distances(x: Tensor, neighbours: int) -> Tensor:
    """Lengths of the shortest ways over a graph of neighbours.

    x: N × D. Two rows are joined by an edge, as long as their Euclidean distance, if one of them is among the
    `neighbours` nearest others of the other. Returns N × N of the dtype of x, infinite where there is no way.

    Hint: Floyd and Warshall: for each row j, ways over j may be shorter: distance[i, j] + distance[j, k], for all i and
    k at once. `Tensor.topk`, `Tensor.scatter_`, `torch.minimum`. My version has 368 characters.
    """
    # BEGIN SOLUTION
    straight = torch.cdist(x, x)
    nearest = straight.clone().fill_diagonal_(torch.inf).topk(neighbours, largest=False).indices
    joined = torch.zeros_like(straight, dtype=torch.bool).scatter_(1, nearest, True)
    way = torch.where(joined | joined.T, straight, torch.inf).fill_diagonal_(0)
    for j in range(len(x)):
        way = torch.minimum(way, way[:, j, None] + way[j])
    return way
    # END SOLUTION


# %%
def isomap(x: Tensor, neighbours: int, k: int) -> Tensor:
    """Places in k dimensions that keep geodesic distances (Tenenbaum, de Silva and Langford, 2000)."""
    return classical_mds(geodesic_distances(x, neighbours), k)


# %%
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
    # BEGIN SOLUTION
    n = len(x)
    nearest = torch.cdist(x, x).fill_diagonal_(torch.inf).topk(neighbours, largest=False).indices
    difference = x[nearest] - x[:, None]
    gram = difference @ difference.mT
    gram = gram + 1e-3 * gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * torch.eye(neighbours, dtype=x.dtype)
    weight = torch.linalg.solve(gram, torch.ones(n, neighbours, 1, dtype=x.dtype))[:, :, 0]
    weight = weight / weight.sum(1, keepdim=True)
    rest = torch.eye(n, dtype=x.dtype).scatter_add_(1, nearest, -weight)
    return torch.linalg.eigh(rest.T @ rest).eigenvectors[:, 1 : k + 1]
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# `python check.py --targets` makes `sensors.png`: factor analysis finds the noise of twenty sensors within 30 %, and
# the space of three causes within 6°; probabilistic PCA is 20° off. `parts.png`: 25 parts of digits beside 25 axes
# (relative error 0.49 and 0.42). `roll.png`: a rolled-up sheet; the first coordinate of Isomap has a correlation of
# 0.9999 with the place along the sheet, that of PCA 0.3. `ones.png`: the first coordinate of 500 handwritten ones is
# how far they lean (0.99). On 2 cores, AMD EPYC 2.6 GHz, with one thread: checks 1 s, everything 5 s.
#
# Why does Isomap fail with 20 neighbours? How could probabilistic PCA be saved if the noise were known? Why is the map
# of LLE a thin curve, and what would a square sheet give?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` finds the noise of twenty sensors, the parts of digits, and the sheet in a roll; the pictures are
# in `results/` (5 s).
#
# This is the last lab. What to do with it all: take data of your own, and ask how few numbers describe them.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
