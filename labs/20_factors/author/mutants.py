"""Known-wrong versions of lab 20, each with the words that its message must hold, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant
from torch import Tensor

edit("log_likelihood", "centred = x - mean", "centred = x", says="the mean is not subtracted")
edit("log_likelihood", "square.mean()", "square.sum()", check="density_of_a_gaussian", says="expected")
edit("log_likelihood", "+ psi.log().sum()", "", says="Σ log ψ is missing")
edit("log_likelihood", "+ log_det +", "+", says="the determinant is missing")
edit("log_likelihood", "x.size(1) * torch.log", "torch.log", says="once instead of D times")


@mutant("log_likelihood", says="work with k × k matrices")
def density_with_the_whole_covariance(x: Tensor, mean: Tensor, w: Tensor, psi: Tensor) -> float:
    covariance = w @ w.T + psi.diag()
    centred = x - mean
    square = (centred * torch.linalg.solve(covariance, centred.T).T).sum(1)
    return -0.5 * (x.size(1) * torch.log(torch.tensor(2 * torch.pi)) + covariance.logdet() + square.mean()).item()


edit("ppca_em", "x - x.mean(0)", "x", says="the mean of x is not subtracted")
edit("ppca_em", "centred.T @ centred / len(x)", "torch.cov(x.T)", says="N − 1, not N")
edit("ppca_em", "(s_w @ inverse * new)", "(s_w @ inverse * w)", says="old loadings twice")
edit("ppca_em", " / len(s)).item()", ").item()", says="the sum of the diagonal")
edit("ppca_em", "w.T @ w + sigma2 * eye", "w.T @ w + sigma2**2 * eye", says="lowers the log-likelihood")

edit("fa_em", "x - x.mean(0)", "x", says="the mean of x is not subtracted")
edit("fa_em", "eye - beta @ w + beta @ cross", "beta @ cross", says="lacks the covariance of the posterior")
edit("fa_em", ".clamp(min=1e-6)", "", says="clamp")


@mutant("fa_em", says="that is probabilistic PCA")
def fa_with_one_variance(x: Tensor, w: Tensor, psi: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    s = torch.cov(x.T, correction=0)
    for _ in range(steps):
        beta = w.T @ torch.linalg.inv(w @ w.T + torch.diag(psi))
        moment = torch.eye(w.size(1), dtype=x.dtype) - beta @ w + beta @ s @ beta.T
        w = s @ beta.T @ torch.linalg.inv(moment)
        psi = torch.full_like(psi, float((s - w @ beta @ s).diagonal().mean())).clamp(min=1e-6)
    return w, psi


@mutant("fa_em", says="old loadings instead of W'")
def fa_with_the_old_loadings(x: Tensor, w: Tensor, psi: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    s = torch.cov(x.T, correction=0)
    for _ in range(steps):
        beta = w.T @ torch.linalg.inv(w @ w.T + torch.diag(psi))
        psi = (s - w @ beta @ s).diagonal().clamp(min=1e-6)
        w = s @ beta.T @ torch.linalg.inv(torch.eye(w.size(1), dtype=x.dtype) - beta @ w + beta @ s @ beta.T)
    return w, psi


@mutant("nmf", says="w is updated with the old h")
def nmf_at_once(v: Tensor, w: Tensor, h: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    for _ in range(steps):
        h, w = (h * (w.T @ v) / (w.T @ w @ h).clamp(min=1e-12), w * (v @ h.T) / (w @ h @ h.T).clamp(min=1e-12))
    return w, h


@mutant("nmf", says="has changed")
def nmf_in_place(v: Tensor, w: Tensor, h: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    for _ in range(steps):
        h *= (w.T @ v) / (w.T @ w @ h).clamp(min=1e-12)
        w *= (v @ h.T) / (w @ h @ h.T).clamp(min=1e-12)
    return w, h


@mutant("nmf", says="0 / 0")
def nmf_without_clamping(v: Tensor, w: Tensor, h: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    for _ in range(steps):
        h = h * (w.T @ v) / (w.T @ w @ h)
        w = w * (v @ h.T) / (w @ h @ h.T)
    return w, h


edit(
    "nmf",
    "h * (w.T @ v) / (w.T @ w @ h).clamp(min=1e-12)",
    "h * (w.T @ w @ h) / (w.T @ v)",
    says="is not finite after step",
)

edit("classical_mds", "distance**2", "distance", says="the distances are not squared")
edit("classical_mds", "-0.5 * (squared -", "-1.0 * (squared -", says="the factor ½ is missing")
edit("classical_mds", ".flip(1)", "", says="the first eigenvalues of eigh are the smallest")
edit("classical_mds", "values.clamp(min=0).sqrt()", "values.clamp(min=0)", says="instead of their roots")
edit("classical_mds", "values.clamp(min=0).sqrt()", "values.sqrt()", says="a root of a negative eigenvalue")

edit("geodesic_distances", ".fill_diagonal_(torch.inf)", "", says="among its own nearest neighbours")
edit("geodesic_distances", "joined | joined.T", "joined", says="one direction only")
edit("geodesic_distances", "joined | joined.T", "joined & joined.T", says="only if each is among")
edit("geodesic_distances", "straight, torch.inf)", "straight, 1e6)", says="begin with infinity")
edit("geodesic_distances", "way[:, j, None] + way[j]", "way[:, j, None] * 0 + way[j]", says="expected")

edit("lle", "- x[:, None]", "", says="subtract x[i] first")
edit("lle", "gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]", "1", says="without the trace")
edit("lle", "weight = weight / weight.sum(1, keepdim=True)", "pass", says="do not sum to 1")
edit("lle", "rest.T @ rest", "rest @ rest.T", says="belongs to the first factor")
edit("lle", "1 : k + 1", ":k", says="the constant eigenvector is kept")
edit("lle", ".fill_diagonal_(torch.inf)", "", says="among its own nearest neighbours")


@alternative("log_likelihood")
def density_by_a_library(x: Tensor, mean: Tensor, w: Tensor, psi: Tensor) -> float:
    values, vectors = torch.linalg.eigh(w.T @ (w / psi[:, None]))
    white = (x - mean) / psi.sqrt()
    inside = white @ (w / psi.sqrt()[:, None]) @ vectors
    square = white.square().sum(1) - (inside.square() / (1 + values)).sum(1)
    constant = x.shape[1] * 1.8378770664093453 + values.log1p().sum() + psi.log().sum()
    return float(-(constant + square).mean() / 2)


@alternative("ppca_em")
def ppca_sample_by_sample(x: Tensor, w: Tensor, sigma2: float, steps: int) -> tuple[Tensor, float]:
    x = x - x.mean(0, keepdim=True)
    for _ in range(steps):
        m = torch.linalg.inv(w.T @ w + sigma2 * torch.eye(w.shape[1], dtype=x.dtype))
        z = x @ w @ m
        moment = len(x) * sigma2 * m + z.T @ z
        w = torch.linalg.solve(moment, z.T @ x).T
        left = (x**2).sum() - 2 * (z * (x @ w)).sum() + (moment * (w.T @ w)).sum()
        sigma2 = float(left) / x.numel()
    return w, sigma2


@alternative("fa_em")
def fa_sample_by_sample(x: Tensor, w: Tensor, psi: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    x = x - x.mean(0, keepdim=True)
    for _ in range(steps):
        g = torch.linalg.inv(torch.eye(w.shape[1], dtype=x.dtype) + w.T @ (w / psi[:, None]))
        z = (x / psi) @ w @ g
        w = torch.linalg.solve(len(x) * g + z.T @ z, z.T @ x).T
        psi = torch.clamp((x * x - x * (z @ w.T)).mean(0), min=1e-6)
    return w, psi


@alternative("classical_mds")
def mds_by_singular_values(distance: Tensor, k: int) -> Tensor:
    c = torch.eye(len(distance), dtype=distance.dtype) - 1 / len(distance)
    b = -(c @ distance.square() @ c) / 2
    values, vectors = torch.linalg.eigh((b + b.T) / 2)
    values, order = values.sort(descending=True)
    return -vectors[:, order[:k]] @ values[:k].relu().sqrt().diag()


@alternative("geodesic_distances")
def ways_by_min_plus_squares(x: Tensor, neighbours: int) -> Tensor:
    straight = torch.linalg.vector_norm(x[:, None] - x[None], dim=2)
    order = straight.argsort(1)
    near = torch.zeros_like(straight)
    for i, row in enumerate(order.tolist()):
        near[i, [j for j in row if j != i][:neighbours]] = 1
    way = straight.masked_fill((near + near.T) == 0, float("inf"))
    way[range(len(x)), range(len(x))] = 0
    for _ in range(len(x).bit_length()):
        way = (way[:, :, None] + way[None]).min(1).values
    return way


@alternative("lle")
def lle_row_by_row(x: Tensor, neighbours: int, k: int) -> Tensor:
    n = len(x)
    w = torch.zeros(n, n, dtype=x.dtype)
    for i in range(n):
        near = (x - x[i]).square().sum(1).argsort()[1 : neighbours + 1]
        z = x[near] - x[i]
        g = z @ z.T
        g += torch.eye(neighbours, dtype=x.dtype) * 0.001 * torch.trace(g)
        w[i, near] = torch.linalg.solve(g, torch.ones(neighbours, dtype=x.dtype))
    w /= w.sum(1, keepdim=True)
    m = torch.eye(n, dtype=x.dtype) - w - w.T + w.T @ w
    return -torch.linalg.eigh(m)[1][:, 1 : 1 + k]
