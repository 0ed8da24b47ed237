"""The checks of lab 20. Reading them is allowed and useful."""

import heapq
import math
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks
from checking.kit import float64

PARTS = ["log_likelihood", "ppca_em", "fa_em", "nmf", "classical_mds", "geodesic_distances", "lle"]
lab = Lab(__file__, parts=PARTS)
lab.forbid("log_likelihood", names=["distributions"], why="the formula is the exercise")
lab.forbid("ppca_em", names=["eigh", "svd", "eig", "pca_lowrank"], why="the sheet asks for EM")


# ---- factor models


@lab.reference
def log_likelihood(x, mean, w, psi):
    covariance = w.double() @ w.double().mT + torch.diag_embed(psi.double())
    model = torch.distributions.MultivariateNormal(mean.double(), covariance)
    return float(model.log_prob(x.double()).mean())


@lab.check("log_likelihood")
def density_of_a_gaussian(student, rng):
    """against the density of a Gaussian with the full covariance"""
    for n, d, k in (7, 5, 2), (1, 3, 1), (4, 2, 3), (13, 6, 4):
        x, mean, w = 2 * rng.normal(n, d, dtype=float64), rng.normal(d, dtype=float64), rng.normal(d, k, dtype=float64)
        psi = rng.uniform(d, low=0.3, high=3, dtype=float64)
        want = log_likelihood(x, mean, w, psi)
        flat = (w @ w.T + psi.diag()).logdet().item()
        small = torch.eye(k, dtype=float64) + w.T @ (w / psi[:, None])
        projected = (x - mean) @ (w / psi[:, None])
        through = (projected * torch.linalg.solve(small, projected.T).T).sum(1).mean().item()

        def without_identity(x=x, mean=mean, w=w, psi=psi, m=small, p=projected, k=k):
            m = m - torch.eye(k, dtype=float64)
            square = ((x - mean) ** 2 / psi).sum(1) - (p * torch.linalg.solve(m, p.T).T).sum(1)
            log_det = m.logdet() + psi.log().sum()
            return float(-(len(psi) * math.log(2 * math.pi) + log_det + square.mean()) / 2)

        with case(f"{n} samples of dimension {d}, {k} factors"):
            expect(
                student.log_likelihood(x, mean, w, psi),
                want,
                mistakes={
                    "the sum over the rows, not their mean": n * want,
                    "the constant D/2 · log 2π is missing": want + d / 2 * math.log(2 * math.pi),
                    "log 2π once instead of D times": want + (d - 1) / 2 * math.log(2 * math.pi),
                    "the determinant is missing": want + flat / 2,
                    "the sign of the log-determinant is wrong": want + flat,
                    "Σ log ψ is missing in the log-determinant": want + psi.log().sum().item() / 2,
                    "log det M is missing in the log-determinant": want + small.logdet().item() / 2,
                    "the factor ½ is missing": 2 * want,
                    "the minus of −½ is missing": -want,
                    "½ is missing at the log-determinant": want - flat / 2,
                    "the second term of (W Wᵀ + Ψ)⁻¹ is added: it is subtracted": want - through,
                    "the second term of (W Wᵀ + Ψ)⁻¹ is missing": want - through / 2,
                    "M lacks I": without_identity,
                    "in bits: the natural logarithm gives nats": want / math.log(2),
                    "divided by D, too: the mean over the rows alone": want / d,
                    "psi is taken for standard deviations; these are variances": lambda x=x, m=mean, w=w, psi=psi: (
                        log_likelihood(x, m, w, psi**2)
                    ),
                    "the mean is not subtracted": lambda x=x, m=mean, w=w, psi=psi: log_likelihood(x, 0 * m, w, psi),
                    "only the noise counts: the covariance has no W Wᵀ": lambda x=x, m=mean, w=w, psi=psi: (
                        log_likelihood(x, m, 0 * w, psi)
                    ),
                },
            )


@lab.check("log_likelihood")
def density_in_many_dimensions(student, rng):
    """20 000 dimensions, where a D × D matrix would take 3 GB"""
    d, k = 20_000, 3
    x, mean, w = rng.normal(2, d, dtype=float64), rng.normal(d, dtype=float64), rng.normal(d, k, dtype=float64)
    psi = rng.uniform(d, low=0.5, high=2, dtype=float64)
    exact = torch.distributions.LowRankMultivariateNormal(mean, w, psi).log_prob(x).mean().item()
    with case(f"D = {d}", look="work with k × k matrices: the hint has both identities"):
        expect(student.log_likelihood(x, mean, w, psi), exact)


@lab.reference
def ppca_em(x, w, sigma2, steps):
    d = x.shape[1]
    rows = list(x - x.mean(0, keepdim=True))
    for _step in range(steps):
        m = w.T @ w + sigma2 * torch.eye(w.shape[1], dtype=x.dtype)
        z = [torch.linalg.solve(m, w.T @ row) for row in rows]
        zz = [sigma2 * torch.linalg.inv(m) + torch.outer(one, one) for one in z]
        w = sum(torch.outer(row, one) for row, one in zip(rows, z, strict=True)) @ torch.linalg.inv(sum(zz))
        left = 0.0
        for row, one, both in zip(rows, z, zz, strict=True):
            left += float(row @ row - 2 * one @ (w.T @ row) + (both @ w.T @ w).trace())
        sigma2 = left / (len(rows) * d)
    return w, float(sigma2)


def counted_wrongly(method, start: tuple, steps: int) -> dict[str, object]:
    """What a method gives after a wrong number of steps."""
    return {
        "one step too many": lambda: method(*start, steps + 1),
        "one step too few": lambda: method(*start, steps - 1) if steps else None,
        "only one step, whatever `steps` says": lambda: method(*start, 1) if steps > 2 else None,
    }


def ppca_otherwise(x: Tensor, w: Tensor, sigma2: float, what: str) -> tuple[Tensor, float]:
    """One step with a mistake."""
    n, d = x.shape
    centred = x if what == "mean" else x - x.mean(0)
    s = centred.T @ centred / (n - 1 if what == "unbiased" else n)
    if what == "undivided":
        s = s * n
    noise = sigma2**2 if what == "variance" else sigma2
    eye = torch.eye(w.shape[1], dtype=x.dtype)
    m = torch.linalg.inv(w.T @ w + noise * eye)
    new = s @ w @ torch.linalg.inv((0 if what == "posterior" else noise) * eye + m @ w.T @ s @ w)
    later = torch.linalg.inv(new.T @ new + noise * eye)
    rest = s - (s @ new @ later @ new.T if what == "new" else s @ w @ m @ (w if what == "old" else new).T)
    found = (rest.trace() / {"sum": 1, "free": d - w.shape[1]}.get(what, d)).item()
    if what in ("kept", "loadings"):
        return (new, sigma2) if what == "kept" else (w, found)
    return new, math.sqrt(abs(found)) if what == "deviation" else found


PPCA_MISTAKES = {
    "mean": "the mean of x is not subtracted",
    "unbiased": "the covariance is divided by N − 1, not N",
    "variance": "σ² is squared once more: sigma2 is the variance",
    "old": "the noise variance uses the old loadings twice; the second factor is W'",
    "new": "the noise variance uses the new loadings everywhere; S W M⁻¹ has the old ones",
    "sum": "the noise variance is the sum of the diagonal, not its mean",
    "free": "the trace is divided by D − k: one step of EM divides by D",
    "undivided": "S is not divided by N",
    "posterior": "σ² I is missing under the inverse of the new loadings",
    "kept": "the noise variance stays what it was at the start",
    "loadings": "the loadings stay what they were at the start",
    "deviation": "the standard deviation of the noise: its variance is asked for",
}


@lab.check("ppca_em")
def ppca_step_by_step(student, rng):
    """0, 1 and 3 steps, against E and M steps sample by sample"""
    for n, d, k, steps in (9, 5, 2, 1), (12, 6, 3, 3), (7, 4, 1, 0), (5, 2, 1, 1):
        x, w = 1 + 2 * rng.normal(n, d, dtype=float64), rng.normal(d, k, dtype=float64)
        sigma2 = rng.number(0.3, 0.8)
        mistakes = {
            text: lambda x=x, w=w, s=sigma2, what=what: ppca_otherwise(x, w, s, what)
            for what, text in PPCA_MISTAKES.items()
            if steps == 1
        } | counted_wrongly(ppca_em, (x, w, sigma2), steps)
        with case(f"{n} samples of dimension {d}, {k} factors, {steps} steps"):
            got = student.ppca_em(x, w, sigma2, steps)
            expect(
                got, ppca_em(x, w, sigma2, steps), names=("loadings", "noise variance"), mistakes=mistakes, rtol=1e-6
            )


@lab.check("ppca_em")
def ppca_ends_at_the_closed_form(student, rng):
    """the likelihood never decreases, and ends where eigenvectors say"""
    x = rng.normal(40, 6, dtype=float64) * torch.tensor([1.8, 1.5, 0.5, 0.6, 0.4, 0.5], dtype=float64)
    x = x @ torch.linalg.qr(rng.normal(6, 6, dtype=float64))[0] + 3
    w, sigma2 = rng.normal(6, 2, dtype=float64), 1.0
    mean, before = x.mean(0), -math.inf
    for step in range(8):
        w, sigma2 = student.ppca_em(x, w, sigma2, 1)
        now = log_likelihood(x, mean, w, torch.full((6,), sigma2, dtype=float64))
        require(
            now >= before - 1e-9,
            f"step {step + 1} lowers the log-likelihood from {before:.6f} to {now:.6f}",
            look="the E step and the M step must use the same parameters",
        )
        before = now
    w, sigma2 = student.ppca_em(x, w, sigma2, 300)
    variance, axis = torch.linalg.eigh(torch.cov(x.T, correction=0))
    noise = variance[:4].mean()
    best = axis[:, 4:] @ (variance[4:] - noise).diag() @ axis[:, 4:].T
    with case("after 308 steps, against the solution by eigenvectors"):
        expect((w @ w.T, sigma2), (best, noise.item()), names=("W Wᵀ", "noise variance"), rtol=1e-5, atol=1e-6)


@lab.reference
def fa_em(x, w, psi, steps):
    rows = list(x - x.mean(0, keepdim=True))
    for _step in range(steps):
        posterior = torch.linalg.inv(torch.eye(w.shape[1], dtype=x.dtype) + (w.T / psi) @ w)
        z = [posterior @ (w.T / psi) @ row for row in rows]
        moment = sum(posterior + torch.outer(one, one) for one in z)
        w = sum(torch.outer(row, one) for row, one in zip(rows, z, strict=True)) @ torch.linalg.inv(moment)
        left = sum(row * row - (w @ one) * row for row, one in zip(rows, z, strict=True))
        psi = (left / len(rows)).clamp(min=1e-6)
    return w, psi


def fa_otherwise(x: Tensor, w: Tensor, psi: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """One step with a mistake."""
    centred = x if what == "mean" else x - x.mean(0)
    s = centred.T @ centred / (len(x) - 1 if what == "unbiased" else len(x))
    if what == "undivided":
        s = s * len(x)
    beta = w.T @ torch.linalg.inv(w @ w.T + (psi**2 if what == "variance" else psi).diag())
    own = torch.eye(w.shape[1], dtype=x.dtype) - beta @ w
    moment = beta @ s @ beta.T + (0 if what == "moment" else own)
    new = s @ beta.T @ torch.linalg.inv(moment)
    if what == "loadings":
        new = w
    rest = (s - (w if what == "old" else new) @ beta @ s).diagonal()
    if what == "square":
        rest = (s - new @ new.T).diagonal()
    if what == "residual":
        rest = (s - 2 * new @ beta @ s + new @ beta @ s @ beta.T @ new.T).diagonal()
    if what == "kept":
        rest = psi
    if what == "deviation":
        rest = rest.sqrt()
    return new, (rest.mean() * torch.ones_like(psi) if what == "shared" else rest).clamp(min=1e-6)


FA_MISTAKES = {
    "mean": "the mean of x is not subtracted",
    "unbiased": "the covariance is divided by N − 1, not N",
    "moment": "E[z zᵀ] lacks the covariance of the posterior, I − β W",
    "undivided": "S is not divided by N",
    "variance": "psi is squared once more: it holds variances",
    "square": "the diagonal of S − W' W'ᵀ: what the factors explain of S is W' β S",
    "residual": "the noise variances are those of x − W' z alone: the factors are not known exactly",
    "kept": "the noise variances stay what they were at the start",
    "loadings": "the loadings stay what they were at the start",
    "deviation": "standard deviations of the noise: its variances are asked for",
    "old": "the noise variances use the old loadings instead of W'",
    "shared": "all features share one noise variance: that is probabilistic PCA",
}


@lab.check("fa_em")
def fa_step_by_step(student, rng):
    """0, 1 and 3 steps, against E and M steps sample by sample"""
    for n, d, k, steps in (9, 5, 2, 1), (7, 4, 1, 0), (12, 6, 3, 3), (8, 3, 1, 1):
        x, w = 1 + 2 * rng.normal(n, d, dtype=float64), rng.normal(d, k, dtype=float64)
        psi = rng.uniform(d, low=0.5, high=2, dtype=float64)
        mistakes = {
            text: lambda x=x, w=w, p=psi, what=what: fa_otherwise(x, w, p, what)
            for what, text in FA_MISTAKES.items()
            if steps == 1
        } | counted_wrongly(fa_em, (x, w, psi), steps)
        with case(f"{n} samples of dimension {d}, {k} factors, {steps} steps"):
            got = student.fa_em(x, w, psi, steps)
            expect(got, fa_em(x, w, psi, steps), names=("loadings", "noise variances"), mistakes=mistakes, rtol=1e-6)


@lab.check("fa_em")
def fa_improves_and_stays_positive(student, rng):
    """the likelihood never decreases; a feature that is always 5 keeps a variance of 1e-6"""
    x = rng.normal(60, 2, dtype=float64) @ rng.normal(2, 5, dtype=float64)
    x = x + rng.normal(60, 5, dtype=float64) * torch.tensor([0.3, 1, 2, 0.5, 1], dtype=float64)
    w, psi = rng.normal(5, 2, dtype=float64), torch.ones(5, dtype=float64)
    mean, before = x.mean(0), -math.inf
    for step in range(8):
        w, psi = student.fa_em(x, w, psi, 1)
        now = log_likelihood(x, mean, w, psi)
        require(now >= before - 1e-9, f"step {step + 1} lowers the log-likelihood from {before:.6f} to {now:.6f}")
        before = now
    x[:, 1] = 5
    with case("feature 1 is always 5", look="a variance that becomes 0 makes the next step divide by it: clamp"):
        _, psi = student.fa_em(x, rng.normal(5, 2, dtype=float64), torch.ones(5, dtype=float64), 30)
        expect(psi[1], torch.tensor(1e-6, dtype=float64), rtol=1e-6)
        require(bool(psi.isfinite().all()) and bool((psi > 0).all()), f"noise variances are {psi.tolist()}")


# ---- parts


@lab.reference
def nmf(v, w, h, steps):
    for _step in range(steps):
        up, down = torch.einsum("dk,dn->kn", w, v), torch.einsum("dk,dl,ln->kn", w, w, h)
        h = torch.where(down > 1e-12, h * up / down, h * up / 1e-12)
        up, down = torch.einsum("dn,kn->dk", v, h), torch.einsum("dl,ln,kn->dk", w, h, h)
        w = torch.where(down > 1e-12, w * up / down, w * up / 1e-12)
    return w, h


def rooted(v: Tensor, w: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    h = h * ((w.T @ v) / (w.T @ w @ h)).sqrt()
    return w * ((v @ h.T) / (w @ h @ h.T)).sqrt(), h


def fractions(v: Tensor, w: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    h = (w.T @ v) / (w.T @ w @ h)
    return (v @ h.T) / (w @ h @ h.T), h


def for_divergence(v: Tensor, w: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    h = h * (w.T @ (v / (w @ h))) / w.sum(0)[:, None]
    return w * ((v / (w @ h)) @ h.T) / h.sum(1), h


@lab.check("nmf")
def nmf_step_by_step(student, rng):
    """0, 1 and 4 steps, entry by entry"""
    for d, n, k, steps in (5, 7, 2, 1), (4, 6, 3, 0), (6, 9, 2, 4), (3, 1, 1, 1):
        v, w, h = rng.uniform(d, n, dtype=float64), rng.uniform(d, k, dtype=float64), rng.uniform(k, n, dtype=float64)
        new_h = nmf(v, w, h, 1)[1]

        def at_once(v=v, w=w, h=h, new_h=new_h):
            return w * (v @ h.T) / (w @ h @ h.T), new_h

        def other_order(v=v, w=w, h=h):
            first = w * (v @ h.T) / (w @ h @ h.T)
            return first, h * (first.T @ v) / (first.T @ first @ h)

        def upside_down(v=v, w=w, h=h):
            first = h * (w.T @ w @ h) / (w.T @ v)
            return w * (w @ first @ first.T) / (v @ first.T), first

        with case(f"v {d} × {n}, {k} factors, {steps} steps"):
            expect(
                student.nmf(v, w, h, steps),
                nmf(v, w, h, steps),
                names=("w", "h"),
                rtol=1e-7,
                mistakes={
                    "w is updated with the old h": at_once,
                    "w is updated before h": other_order,
                    "the fraction is upside down": upside_down,
                    "only h is updated": (w, new_h),
                    "only w is updated": lambda v=v, w=w, h=h: (w * (v @ h.T) / (w @ h @ h.T), h),
                    "the root of each fraction": lambda v=v, w=w, h=h: rooted(v, w, h),
                    "the rule for the divergence, not for squares": lambda v=v, w=w, h=h: for_divergence(v, w, h),
                    "columns of w are divided by their sums": lambda v=v, w=w, h=h: (
                        lambda one: (one[0] / one[0].sum(0), one[1])
                    )(nmf(v, w, h, 1)),
                    "h comes first, then w: the other way round": lambda v=v, w=w, h=h: nmf(v, w, h, 1)[::-1],
                    "the fractions alone: h and w are multiplied by them": lambda v=v, w=w, h=h: fractions(v, w, h),
                }
                | counted_wrongly(nmf, (v, w, h), steps)
                if steps == 1
                else counted_wrongly(nmf, (v, w, h), steps),
            )


@lab.check("nmf")
def nmf_improves_and_stays_positive(student, rng):
    """the error never grows, nothing becomes negative, empty rows of v do no harm"""
    v = rng.uniform(9, 14, dtype=float64)
    v[4], v[:, 2] = 0, 0
    w, h = rng.uniform(9, 3, dtype=float64), rng.uniform(3, 14, dtype=float64)
    before = math.inf
    for step in range(12):
        w, h = student.nmf(v, w, h, 1)
        require(
            bool(w.isfinite().all() and h.isfinite().all()),
            f"w or h is not finite after step {step + 1}",
            look="0 / 0 where v has a row or a column of zeros: clamp the divisor",
        )
        require(bool((w >= 0).all() and (h >= 0).all()), f"w or h has negative numbers after step {step + 1}")
        now = (v - w @ h).norm().item()
        require(now <= before + 1e-9, f"step {step + 1} raises ‖v − w h‖ from {before:.6f} to {now:.6f}")
        before = now
    bound = torch.linalg.svdvals(v)[3:].norm().item()
    require(before >= bound - 1e-9, f"‖v − w h‖ = {before:.4f} is below the best of rank 3, {bound:.4f}")


# ---- maps


def signed(y: object) -> object:
    """The columns with the sign that makes their largest entry positive, since a method leaves it open."""
    if not isinstance(y, Tensor) or y.dim() != 2 or not y.is_floating_point() or not len(y):
        return y
    largest = y.gather(0, y.abs().nan_to_num().argmax(0, keepdim=True))
    return y * torch.where(largest < 0, -1.0, 1.0).to(y.dtype)


@lab.reference
def classical_mds(distance, k):
    n = len(distance)
    centre = torch.eye(n, dtype=distance.dtype) - 1 / n
    values, vectors = torch.linalg.eigh(centre @ distance.square() @ centre / -2)
    order = values.argsort(descending=True)[:k]
    return torch.stack([vectors[:, j] * math.sqrt(max(0.0, float(values[j]))) for j in order], 1)


def mds_otherwise(distance: Tensor, k: int, what: str) -> Tensor:
    """Places with a mistake."""
    squared = distance if what == "square" else distance**2
    b = squared - squared.mean(0) - squared.mean(1, keepdim=True) + squared.mean()
    if what == "centre":
        b = squared
    if what == "columns":
        b = squared - squared.mean(0)
    if what == "all":
        b = b - squared.mean()
    if what == "divided":
        b = b / len(b)
    values, vectors = torch.linalg.eigh(b * {"half": -1, "sign": 0.5}.get(what, -0.5))
    if what == "smallest":
        return (vectors * values.clamp(min=0).sqrt())[:, :k]
    if what == "unit":
        return vectors.flip(1)[:, :k]
    if what == "rows":
        return (vectors.T * values.clamp(min=0).sqrt()).flip(1)[:, :k]
    if what == "order":
        return (vectors * values.clamp(min=0).sqrt())[:, -k:]
    if what == "absolute":
        places = vectors * values.abs().sqrt()
        return places[:, values.abs().argsort(descending=True)[:k]]
    if what == "absolute, in order":
        return (vectors * values.abs().sqrt()).flip(1)[:, :k]
    return (vectors * (values.clamp(min=0) if what == "root" else values.clamp(min=0).sqrt())).flip(1)[:, :k]


MDS_MISTAKES = {
    "square": "the distances are not squared",
    "centre": "the squared distances are not centred",
    "half": "the factor ½ is missing",
    "sign": "the sign of −½ is missing",
    "smallest": "the first eigenvalues of eigh are the smallest",
    "unit": "the eigenvectors are not scaled with the roots of their eigenvalues",
    "root": "scaled with the eigenvalues instead of their roots",
    "columns": "only the means of the columns are subtracted, those of the rows are, too",
    "all": "the mean of all entries is missing: rows and columns both have taken it away",
    "divided": "B is divided by N",
    "rows": "rows of the matrix of eigenvectors: each column is one",
    "order": "the smallest of the k eigenvalues comes first",
}


@lab.check("classical_mds")
def places_from_distances(student, rng):
    """the principal components of places, from their distances alone"""
    for n, d, k in (9, 4, 2), (7, 2, 2), (5, 3, 1), (6, 1, 3):
        x = rng.normal(n, d, dtype=float64) * torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=float64)[:d] + 5
        distance = (x[:, None] - x[None]).norm(dim=2)
        mistakes = {
            text: lambda distance=distance, k=k, what=what: signed(mds_otherwise(distance, k, what))
            for what, text in MDS_MISTAKES.items()
        }
        places = x - x.mean(0)
        u, s, _ = torch.linalg.svd(places, full_matrices=False)
        want = torch.cat([u * s, torch.zeros(n, 5, dtype=float64)], 1)[:, :k]
        with case(f"{n} places in {d} dimensions, {k} columns"):
            got = student.classical_mds(distance, k)
            expect(signed(got), signed(want), mistakes=mistakes, atol=1e-6)


@lab.check("classical_mds")
def places_that_cannot_be(student, rng):
    """distances of no real places: a way round a lake; negative eigenvalues give zeros"""
    ring = torch.arange(8)
    around = (ring[:, None] - ring[None]).abs()
    distance = torch.minimum(around, 8 - around).to(float64) + 0.01 * rng.uniform(8, 8, dtype=float64).triu(1)
    distance = distance.triu(1) + distance.triu(1).T
    with case("8 columns", look="a root of a negative eigenvalue: clamp it to 0 first"):
        mistakes = {
            "absolute values of the eigenvalues: negative ones give zeros": signed(
                mds_otherwise(distance, 8, "absolute")
            ),
            "the absolute value of a negative eigenvalue: it gives zeros": signed(
                mds_otherwise(distance, 8, "absolute, in order")
            ),
        }
        got = student.classical_mds(distance, 8)
        expect(signed(got), signed(classical_mds(distance, 8)), atol=1e-6, mistakes=mistakes)


@lab.reference
def geodesic_distances(x, neighbours):
    n = len(x)
    straight = [[math.dist(a, b) for b in x.tolist()] for a in x.tolist()]
    edges = [set() for _ in range(n)]
    for i in range(n):
        for j in sorted((j for j in range(n) if j != i), key=straight[i].__getitem__)[:neighbours]:
            edges[i].add(j)
            edges[j].add(i)
    rows = []
    for start in range(n):
        best, waiting = [math.inf] * n, [(0.0, start)]
        while waiting:
            length, i = heapq.heappop(waiting)
            if length < best[i]:
                best[i] = length
                for j in edges[i]:
                    heapq.heappush(waiting, (length + straight[i][j], j))
        rows.append(best)
    return torch.tensor(rows, dtype=x.dtype)


def joined(x: Tensor, neighbours: int, what: str) -> Tensor:
    """Shortest ways in a graph that is built with a mistake."""
    straight = (x[:, None] - x[None]).norm(dim=2)
    own = straight.clone() if what == "itself" else straight.clone().fill_diagonal_(math.inf)
    near = torch.zeros(len(x), len(x), dtype=torch.bool)
    count = min(neighbours + (what == "more"), len(x) - 1)
    if what == "farthest":
        own = straight.neg().fill_diagonal_(math.inf)
    near[torch.arange(len(x))[:, None], own.topk(count, largest=False).indices] = True
    near = {"one way": near, "both": near & near.T}.get(what, near | near.T)
    length = {"steps": torch.ones_like(straight), "squared": straight**2}.get(what, straight)
    way = torch.where(near, length, math.inf).fill_diagonal_(0)
    if what == "edges":
        return way
    if what == "order":
        for i in range(len(x)):
            for k in range(len(x)):
                way[i, k] = torch.minimum(way[i, k], (way[i] + way[:, k]).amin())
        return way
    for middle in range(1 if what == "once" else len(x)):
        if what == "once":
            way = torch.minimum(way, (way[:, :, None] + way[None]).amin(1))
        else:
            way = torch.minimum(way, way[:, [middle]] + way[[middle]])
    return way


GRAPH_MISTAKES = {
    "itself": "each row is among its own nearest neighbours: leave the diagonal out",
    "one way": "an edge works in one direction only: one of the two suffices to join both",
    "both": "joined only if each is among the nearest of the other: one of the two suffices",
    "steps": "the steps are counted: edges are as long as the distance",
    "once": "ways over one other row only: shortest ways have many steps",
    "edges": "edges alone: ways of several steps are missing",
    "squared": "edges are as long as the squared distance: a root is missing",
    "more": "one neighbour too many",
    "farthest": "the farthest rows are joined, not the nearest",
    "order": "the row in the middle belongs to the outer loop: ways over ways that are not yet found",
}


@lab.check("geodesic_distances")
def shortest_ways(student, rng):
    """against the algorithm of Dijkstra"""
    for n, d, neighbours in (17, 2, 3), (9, 1, 2), (12, 3, 4), (5, 2, 4):
        x = rng.normal(n, d, dtype=float64)
        mistakes = {
            text: lambda x=x, neighbours=neighbours, what=what: joined(x, neighbours, what)
            for what, text in GRAPH_MISTAKES.items()
        }
        mistakes["the straight distances"] = (x[:, None] - x[None]).norm(dim=2)
        with case(f"{n} rows of dimension {d}, {neighbours} neighbours"):
            got = student.geodesic_distances(x, neighbours)
            expect(got, geodesic_distances(x, neighbours), mistakes=mistakes, atol=1e-6)


@lab.check("geodesic_distances")
def ways_across_a_gap(student, rng):
    """two islands: infinite from one to the other; a chain: every step counts"""
    x = torch.cat([rng.normal(6, 2, dtype=float64), 1000 + rng.normal(5, 2, dtype=float64)])
    with case("two islands", look="where there is no edge, the table must begin with infinity"):
        expect(student.geodesic_distances(x, 3), geodesic_distances(x, 3), atol=1e-6)
    angle = torch.arange(15, dtype=float64) / 2.5
    chain = torch.stack([angle.cos(), angle.sin()], 1)
    order = rng.permutation(15)
    with case(
        "15 places along most of a circle, in random order", look="one round over j from 0 to N − 1, with all i, k"
    ):
        expect(student.geodesic_distances(chain[order], 2), geodesic_distances(chain[order], 2), atol=1e-6)


@lab.reference
def lle(x, neighbours, k):
    n = len(x)
    rest = torch.eye(n, dtype=x.dtype)
    for i in range(n):
        near = (x - x[i]).norm(dim=1).argsort()[1 : neighbours + 1]
        g = (x[near] - x[i]) @ (x[near] - x[i]).T
        g = g + torch.eye(neighbours, dtype=x.dtype) * g.trace() / 1000
        ones = torch.linalg.inv(g).sum(1)
        rest[i, near] -= ones / ones.sum()
    return torch.linalg.svd(rest).Vh.flip(0)[1 : k + 1].T


def lle_otherwise(x: Tensor, neighbours: int, k: int, what: str) -> Tensor:
    """An embedding with a mistake."""
    n, eye = len(x), torch.eye(len(x), dtype=x.dtype)
    rest = eye.clone()
    for i in range(n):
        order = (x - x[i]).norm(dim=1).argsort()
        near = order[:neighbours] if what == "itself" else order[1 : neighbours + 1]
        g = (x[near] - (0 if what == "origin" else x[i])) @ (x[near] - (0 if what == "origin" else x[i])).T
        trace = float(g.trace())
        extra = {"fixed": 1e-3, "none": 0.0, "mean": 1e-3 * trace / neighbours, "all": trace}.get(what, 1e-3 * trace)
        weight = torch.linalg.solve(g + extra * torch.eye(neighbours, dtype=x.dtype), torch.ones_like(x[near, 0]))
        rest[i, near] -= weight if what == "sum" else weight / weight.sum()
    vectors = torch.linalg.eigh(rest @ rest.T if what == "transposed" else rest.T @ rest).eigenvectors
    if what == "rows":
        vectors = vectors.T
    if what in ("constant", "largest"):
        return (vectors if what == "constant" else vectors.flip(1))[:, :k]
    places = vectors[:, 1 : k + 1]
    return {"order": places.flip(1), "variance": places * math.sqrt(n), "late": vectors[:, 2 : k + 2]}.get(what, places)


LLE_MISTAKES = {
    "itself": "each row is among its own nearest neighbours",
    "origin": "G has the scalar products of the neighbours themselves: subtract x[i] first",
    "fixed": "1/1000 is added to the diagonal, without the trace",
    "none": "nothing is added to the diagonal of G",
    "sum": "the weights do not sum to 1",
    "transposed": "(I − W)(I − W)ᵀ: the transpose belongs to the first factor",
    "constant": "the constant eigenvector is kept: leave out the first one",
    "largest": "the eigenvectors of the largest eigenvalues",
    "mean": "the trace is divided by the number of neighbours, too",
    "all": "the trace itself is added: a thousandth of it is",
    "rows": "rows of the matrix of eigenvectors: each column is one",
    "order": "the largest of the k eigenvalues comes first",
    "variance": "multiplied by √N: the columns have unit norm",
    "late": "two eigenvectors are left out: only the first, the constant one, is",
}


@lab.check("lle")
def embedding_of_random_places(student, rng):
    """against one row at a time and a singular value decomposition"""
    for n, d, neighbours, k in (13, 5, 3, 3), (17, 3, 5, 2), (11, 2, 4, 1):
        x = rng.normal(n, d, dtype=float64)
        mistakes = {
            text: lambda x=x, m=neighbours, k=k, what=what: signed(lle_otherwise(x, m, k, what))
            for what, text in LLE_MISTAKES.items()
        }
        with case(f"{n} rows of dimension {d}, {neighbours} neighbours, {k} columns"):
            got = student.lle(x, neighbours, k)
            expect(signed(got), signed(lle(x, neighbours, k)), mistakes=mistakes, rtol=1e-4, atol=1e-5)


@lab.check("lle")
def embedding_does_not_see_rotations(student, rng):
    """turned, moved and enlarged data give the same places"""
    x = rng.normal(14, 3, dtype=float64)
    turn = torch.linalg.qr(rng.normal(3, 3, dtype=float64))[0]
    first, second = student.lle(x, 5, 2), student.lle(40 * x @ turn + 7, 5, 2)
    expect(signed(first), signed(lle(x, 5, 2)), rtol=1e-4, atol=1e-5)
    with case("40 × the data, turned, plus 7", look="the number added to the diagonal must grow with the trace of G"):
        expect(signed(second), signed(first), rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    sys.exit(run_checks(lab))
