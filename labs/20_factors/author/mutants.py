"""Known-wrong versions of lab 20, each with the words that its message must hold, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant
from torch import Tensor

edit("log_likelihood", "centred = x - mean", "centred = x", says="the mean is not subtracted")
edit("log_likelihood", "square.mean()", "square.sum()", check="density_of_a_gaussian", says="expected")
edit("log_likelihood", "+ psi.log().sum()", "", says="Σ log ψ is missing")
edit("log_likelihood", "+ log_det +", "+", says="the determinant is missing")
edit("log_likelihood", "x.size(1) * torch.log", "torch.log", says="once instead of D times")
edit("log_likelihood", "torch.logdet(m) + psi", "psi", says="log det M is missing")
edit("log_likelihood", "-0.5 *", "0.5 *", says="the minus of −½")
edit("log_likelihood", "-0.5 *", "-1.0 *", says="the factor ½ is missing")
edit("log_likelihood", "sum(1) - (projected", "sum(1) + (projected", says="is added: it is subtracted")
edit("log_likelihood", "(centred**2 / psi).sum(1) - (projected * torch.linalg.solve(m, projected.T).T).sum(1)",
     "(centred**2 / psi).sum(1)", says="⁻¹ is missing")  # fmt: skip
edit("log_likelihood", "torch.eye(w.size(1), dtype=w.dtype) + w.T @ scaled", "w.T @ scaled", says="M lacks I")
edit(
    "log_likelihood",
    "scaled = w / psi[:, None]",
    "psi = psi**2\n    scaled = w / psi[:, None]",
    says="for standard deviations",
)
edit("log_likelihood", "+ log_det +", "- log_det +", says="the sign of the log-determinant", also=["½ is missing"])
edit("log_likelihood", "+ log_det +", "+ 2 * log_det +", says="at the log-determinant")
edit("log_likelihood", "square.mean()).item()", "square.mean()).item() / x.size(1)", says="divided by D, too")
edit("log_likelihood", "square.mean()).item()", "square.mean())", says=".item()")


@mutant("log_likelihood", says="distributions is not allowed")
def density_of_a_library(x: Tensor, mean: Tensor, w: Tensor, psi: Tensor) -> float:
    return torch.distributions.LowRankMultivariateNormal(mean, w, psi).log_prob(x).mean().item()


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
edit("ppca_em", "range(steps)", "range(steps + 1)", says="one step too many")
edit("ppca_em", "range(steps)", "range(steps - 1)", says="one step too few")
edit("ppca_em", "range(steps)", "range(1)", says="only one step", also=["one step too"])
edit("ppca_em", " / len(s)).item()", " / (len(s) - w.size(1))).item()", says="divided by D − k")
edit("ppca_em", "centred.T @ centred / len(x)", "centred.T @ centred", says="S is not divided by N")
edit("ppca_em", "sigma2 * eye + inverse @", "inverse @", says="σ² I is missing")
edit("ppca_em", "        w = new\n", "", says="the loadings stay", also=["old loadings"])
edit("ppca_em", "        sigma2 = ((", "        _ = ((", says="stays what it was")
edit("ppca_em", " / len(s)).item()", " / len(s)).sqrt().item()", says="the standard deviation of the noise")
edit("ppca_em", " / len(s)).item()", " / len(s))", says=".item()", check="ppca_step_by_step")
edit("ppca_em", "return w, sigma2", "return w.float(), sigma2", says="digits are lost")


@mutant("ppca_em", says="eigh is not allowed")
def ppca_by_eigenvectors(x: Tensor, w: Tensor, sigma2: float, steps: int) -> tuple[Tensor, float]:
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    k = w.size(1)
    sigma2 = values[:-k].mean().item()
    return vectors[:, -k:] * (values[-k:] - sigma2).sqrt(), sigma2


edit("fa_em", "centred.T @ centred / len(x)", "torch.cov(x.T)", says="N − 1, not N")
edit("fa_em", "centred.T @ centred / len(x)", "centred.T @ centred", says="S is not divided by N")
edit("fa_em", "psi.diag()", "(psi**2).diag()", says="psi is squared once more")
edit("fa_em", "(w * cross)", "(w * w)", says="what the factors explain of S")
edit("fa_em", "range(steps)", "range(steps + 1)", says="one step too many")
edit("fa_em", "range(steps)", "range(max(1, steps - 1))", says="one step too many", also=["one step too few"])
edit("fa_em", "        psi = (s.diag()", "        _ = (s.diag()", says="stay what they were")
edit("fa_em", ".clamp(min=1e-6)", ".clamp(min=1e-6).sqrt()", says="standard deviations of the noise")
edit("fa_em", "return w, psi", "return w, psi.diag()", says="expected shape")
edit("fa_em", "return w, psi", "return w.float(), psi.float()", says="digits are lost")


@mutant("fa_em", says="are not known exactly")
def fa_of_residuals(x: Tensor, w: Tensor, psi: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    x = x - x.mean(0)
    for _ in range(steps):
        g = torch.linalg.inv(torch.eye(w.shape[1], dtype=x.dtype) + w.T @ (w / psi[:, None]))
        z = (x / psi) @ w @ g
        w = torch.linalg.solve(len(x) * g + z.T @ z, z.T @ x).T
        psi = (x - z @ w.T).square().mean(0).clamp(min=1e-6)
    return w, psi


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
edit("nmf", "range(steps)", "range(steps + 1)", says="one step too many")
edit("nmf", "range(steps)", "range(min(1, steps))", says="only one step")
edit("nmf", "        w = w * (v @ h.T) / (w @ (h @ h.T)).clamp(min=1e-12)\n", "", says="only h is updated")
edit("nmf", "        h = h * (w.T @ v) / (w.T @ w @ h).clamp(min=1e-12)\n", "", says="only w is updated")
edit("nmf", "return w, h", "return h, w", says="the other way round")
edit("nmf", "return w, h", "return w / w.sum(0), h", says="divided by their sums", check="nmf_step_by_step")


@mutant("nmf", says="w is updated before h")
def nmf_in_the_other_order(v: Tensor, w: Tensor, h: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    for _ in range(steps):
        w = w * (v @ h.T) / (w @ h @ h.T).clamp(min=1e-12)
        h = h * (w.T @ v) / (w.T @ w @ h).clamp(min=1e-12)
    return w, h


@mutant("nmf", says="the root of each fraction")
def nmf_by_roots(v: Tensor, w: Tensor, h: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    for _ in range(steps):
        h = h * ((w.T @ v) / (w.T @ w @ h).clamp(min=1e-12)).sqrt()
        w = w * ((v @ h.T) / (w @ h @ h.T).clamp(min=1e-12)).sqrt()
    return w, h


@mutant("nmf", says="the rule for the divergence")
def nmf_of_divergence(v: Tensor, w: Tensor, h: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    for _ in range(steps):
        h = h * (w.T @ (v / (w @ h).clamp(min=1e-12))) / w.sum(0)[:, None].clamp(min=1e-12)
        w = w * ((v / (w @ h).clamp(min=1e-12)) @ h.T) / h.sum(1).clamp(min=1e-12)
    return w, h


edit("classical_mds", "- squared.mean(1, keepdim=True) + squared.mean()", "", says="only the means of the columns")
edit("classical_mds", " + squared.mean())", " + 0 * squared)", says="rows and columns both have taken it away")
edit("classical_mds", "torch.linalg.eigh(b)", "torch.linalg.eigh(b / len(b))", says="B is divided by N")
edit("classical_mds", "(vectors * values", "(vectors.T * values", says="each column is one")
edit("classical_mds", ".flip(1)[:, :k]", "[:, -k:]", says="the smallest of the k eigenvalues")
edit(
    "classical_mds",
    "values.clamp(min=0).sqrt()",
    "values.abs().sqrt()",
    says="the absolute value of a negative eigenvalue",
)
edit("classical_mds", "-0.5 * (squared", "0.5 * (squared", says="the sign of −½")
edit("classical_mds", "(vectors * values.clamp(min=0).sqrt())", "vectors", says="are not scaled")

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
edit("geodesic_distances", "    return way", "    return straight", says="the straight distances")
edit("geodesic_distances", "    for j in range(len(x)):\n        way = torch.minimum(way, way[:, j, None] + way[j])\n", "",
     says="ways of several steps")  # fmt: skip
edit("geodesic_distances", "    for j in range(len(x)):\n        way = torch.minimum(way, way[:, j, None] + way[j])",
     "    way = torch.minimum(way, (way[:, :, None] + way[None]).amin(1))", says="over one other row only")  # fmt: skip
edit("geodesic_distances", "torch.where(joined | joined.T, straight,", "torch.where(joined | joined.T, straight**2,",
     says="a root is missing")  # fmt: skip
edit("geodesic_distances", "torch.where(joined | joined.T, straight,", "torch.where(joined | joined.T, straight**0,",
     says="the steps are counted")  # fmt: skip
edit("geodesic_distances", "topk(neighbours,", "topk(min(neighbours + 1, len(x) - 1),", says="one neighbour too many")
edit("geodesic_distances", "straight.clone().fill_diagonal_(torch.inf)", "straight.neg().fill_diagonal_(torch.inf)",
     says="the farthest rows")  # fmt: skip


@mutant("geodesic_distances", says="belongs to the outer loop")
def ways_in_the_wrong_order(x: Tensor, neighbours: int) -> Tensor:
    straight = torch.cdist(x, x)
    near = straight.clone().fill_diagonal_(torch.inf).topk(neighbours, largest=False).indices
    joined = torch.zeros_like(straight, dtype=torch.bool).scatter_(1, near, True)
    way = torch.where(joined | joined.T, straight, torch.inf).fill_diagonal_(0)
    for i in range(len(x)):
        for k in range(len(x)):
            way[i, k] = (way[i] + way[:, k]).min()
    return way


edit("lle", "- x[:, None]", "", says="subtract x[i] first")
edit("lle", "gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]", "1", says="without the trace")
edit("lle", "weight = weight / weight.sum(1, keepdim=True)", "pass", says="do not sum to 1")
edit("lle", "rest.T @ rest", "rest @ rest.T", says="belongs to the first factor")
edit("lle", "1 : k + 1", ":k", says="the constant eigenvector is kept")
edit("lle", "1 : k + 1", "2 : k + 2", says="two eigenvectors are left out")
edit("lle", "[:, 1 : k + 1]", ".flip(1)[:, :k]", says="of the largest eigenvalues")
edit("lle", "[:, 1 : k + 1]", ".T[:, 1 : k + 1]", says="each column is one")
edit("lle", "[:, 1 : k + 1]", "[:, 1 : k + 1] * n**0.5", says="multiplied by √N")
edit("lle", "[:, 1 : k + 1]", "[:, 1 : k + 1].flip(1)", says="of the k eigenvalues comes first")
edit("lle", "1e-3 * gram", "0 * gram", says="nothing is added")
edit("lle", "1e-3 * gram", "gram", says="the trace itself is added")
edit("lle", "1e-3 * gram", "1e-3 / neighbours * gram", says="divided by the number of neighbours")
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


@alternative("log_likelihood")
def density_row_by_row(x: Tensor, mean: Tensor, w: Tensor, psi: Tensor) -> float:
    m = torch.eye(w.shape[1], dtype=w.dtype) + (w.T / psi) @ w
    factor = torch.linalg.cholesky(m)
    log_det = 2 * factor.diagonal().log().sum() + psi.log().sum()
    total = 0.0
    for row in x - mean:
        inside = torch.linalg.solve_triangular(factor, (w.T @ (row / psi))[:, None], upper=False)
        total += float(row @ (row / psi) - inside.square().sum() + log_det)
    return -total / (2 * len(x)) - x.shape[1] / 2 * float(torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64)))


@alternative("ppca_em")
def ppca_by_solving(x: Tensor, w: Tensor, sigma2: float, steps: int) -> tuple[Tensor, float]:
    s = torch.cov(x.T, correction=0).reshape(x.shape[1], -1).double()
    w, step = w.double(), 0
    while step < steps:
        m = w.T @ w + sigma2 * torch.eye(w.shape[1], dtype=torch.float64)
        inner = sigma2 * torch.eye(w.shape[1], dtype=torch.float64) + torch.linalg.solve(m, w.T @ s @ w)
        new = torch.linalg.solve(inner.T, (s @ w).T).T
        sigma2 = torch.trace(s - s @ w @ torch.linalg.solve(m, new.T)).item() / x.shape[1]
        w, step = new, step + 1
    return w.to(x.dtype), sigma2


@alternative("fa_em")
def fa_by_numpy(x: Tensor, w: Tensor, psi: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    import numpy as np

    data, loadings, noise = (part.numpy().astype(float) for part in (x, w, psi))
    s = np.cov(data.T, bias=True)
    for _ in range(steps):
        beta = loadings.T @ np.linalg.inv(loadings @ loadings.T + np.diag(noise))
        moment = np.eye(loadings.shape[1]) - beta @ loadings + beta @ s @ beta.T
        loadings = s @ beta.T @ np.linalg.inv(moment)
        noise = np.maximum(np.diag(s - loadings @ beta @ s), 1e-6)
    return torch.from_numpy(loadings.copy()), torch.from_numpy(noise.copy())


@alternative("nmf")
def nmf_on_copies(v: Tensor, w: Tensor, h: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    w, h = w.clone(), h.clone()
    least = torch.tensor(1e-12, dtype=v.dtype)
    for _ in range(steps):
        divisor = torch.maximum(w.mT @ w @ h, least)
        h.mul_(w.mT @ v).div_(divisor)
        w.mul_(torch.matmul(v, h.mT) / torch.maximum(w @ h @ h.mT, least))
    return w, h


@alternative("nmf")
def nmf_by_recursion(v: Tensor, w: Tensor, h: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    if steps == 0:
        return w, h
    up, down = torch.einsum("dk,dn->kn", w, v), torch.einsum("dk,dn->kn", w, w @ h)
    h = h * (up / down.clamp_min(1e-12))
    up, down = torch.einsum("dn,kn->dk", v, h), torch.einsum("dn,kn->dk", w @ h, h)
    return nmf(v, w * (up / down.clamp_min(1e-12)), h, steps - 1)


@alternative("classical_mds")
def mds_by_numpy(distance: Tensor, k: int) -> Tensor:
    import numpy as np

    b = distance.numpy().astype(float) ** 2
    b = b - b.mean(axis=0)
    b = -(b - b.mean(axis=1, keepdims=True)) / 2
    values, vectors = np.linalg.eigh((b + b.T) / 2)
    order = np.argsort(-values)[:k]
    return torch.from_numpy(vectors[:, order] * np.sqrt(np.maximum(values[order], 0)))


@alternative("geodesic_distances")
def ways_by_dijkstra(x: Tensor, neighbours: int) -> Tensor:
    straight = [[sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) ** 0.5 for q in x.tolist()] for p in x.tolist()]
    edges = {i: set() for i in range(len(x))}
    for i, row in enumerate(straight):
        for j in sorted(set(edges) - {i}, key=row.__getitem__)[:neighbours]:
            edges[i].add(j)
            edges[j].add(i)
    rows = []
    for start in edges:
        length, left = {start: 0.0}, set(edges)
        while left & set(length):
            i = min(left & set(length), key=length.get)
            left.remove(i)
            for j in edges[i]:
                length[j] = min(length.get(j, float("inf")), length[i] + straight[i][j])
        rows.append([length.get(j, float("inf")) for j in edges])
    return torch.tensor(rows, dtype=x.dtype)


@alternative("lle")
def lle_by_singular_vectors(x: Tensor, neighbours: int, k: int) -> Tensor:
    squares = (x[:, None] - x[None]).square().sum(-1)
    rest = torch.eye(len(x), dtype=x.dtype)
    for i in range(len(x)):
        near = [j for j in squares[i].argsort().tolist() if j != i][:neighbours]
        z = (x[near] - x[i]).T
        g = z.T @ z
        w = torch.linalg.inv(g + torch.diag(torch.full((neighbours,), float(g.trace()) / 1000, dtype=x.dtype))).sum(0)
        for j, share in zip(near, w / w.sum(), strict=True):
            rest[i, j] -= share
    return torch.linalg.svd(rest)[2][-k - 1 : -1].flip(0).T
