"""The checks of lab 11. Reading them is allowed and useful."""

import math
import sys
from pathlib import Path

import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import differentiable, float64

VAE = ["reparameterise", "kl_gaussian", "bernoulli_log_likelihood", "elbo"]
FLOW = ["coupling_forward", "coupling_inverse", "flow_nll"]
lab = Lab(__file__, parts=["transposed_conv1d", "denoising_loss", *VAE, *FLOW])
lab.forbid(
    "transposed_conv1d",
    names=["conv_transpose1d", "ConvTranspose1d", "conv_transpose2d", "fold", "autograd"],
    why="it is the answer",
)
lab.forbid("kl_gaussian", names=["distributions", "kl_divergence"], why="in this part the formula is the exercise")

SIZES = [(5, 3), (1, 7), (4, 1)]  # N, D


# ---- transposed convolution


def poured(x, w, stride, *, add=True, order=1):
    """Every number of x pours a copy of the filters into the output, one place after the other."""
    length = x.shape[2]
    out = torch.zeros(len(x), w.shape[1], (length - 1) * stride + w.shape[2], dtype=x.dtype)
    for place in range(length)[::order]:
        copy = sum(x[:, c, place, None, None] * w[c] for c in range(len(w)))
        window = out[:, :, place * stride : place * stride + w.shape[2]]
        window.copy_(window + copy if add else copy)
    return out


@lab.check("transposed_conv1d")
def copies_of_the_filter_add_up(student, rng):
    """the filter poured in place by place, and torch's own"""
    sizes = (2, 4, 4, 3, 5, 2), (3, 2, 5, 7, 4, 2), (1, 3, 1, 5, 3, 1), (2, 1, 3, 4, 2, 3), (1, 2, 1, 1, 3, 2)
    for n, c, k, length, size, stride in sizes:
        x, w = rng.normal(length, c, n, dtype=float64).permute(2, 1, 0), rng.normal(c, k, size, dtype=float64)
        with case(f"x {n}×{c}×{length}, w {c}×{k}×{size}, stride {stride}"):
            want = poured(x, w, stride)
            expect(
                student.transposed_conv1d(x, w, stride),
                want,
                mistakes={
                    "the filter is reversed; a copy of it as it is begins at each place": poured(x, w.flip(2), stride),
                    "where copies overlap, they should add up: the last one has replaced the others": poured(
                        x, w, stride, add=False
                    ),
                    "where copies overlap, they should add up: only one of them is left": poured(
                        x, w, stride, add=False, order=-1
                    ),
                    "the stride is not used": poured(x, w, 1),
                    "the input channels are averaged; the copies of all of them add up": want / c,
                    "the copies are laid side by side, without an overlap": poured(x, w, size)
                    if stride != size
                    else want[:0],
                    "only the first input channel is used": poured(x[:, :1], w[:1], stride),
                    "the places of x are in reversed order": poured(x.flip(2), w, stride),
                    "the kernel's two channel axes are exchanged: w is C × K × S": poured(x, w.transpose(0, 1), stride)
                    if c == k
                    else want[:0],
                    "zeros are missing at the end: each of the L copies is stride behind the one before": want[
                        :, :, : length * stride
                    ],
                    "the output is too long: behind the last copy nothing comes": F.pad(want, (0, stride - 1)),
                },
            )


@lab.check("transposed_conv1d")
def transpose_of_the_convolution(student, rng):
    """⟨conv(x), y⟩ = ⟨x, transposed(y)⟩, which makes it the transpose"""
    for length, size, stride in (11, 3, 2), (13, 5, 4), (6, 6, 1):
        with case(f"a convolution of signals of length {length}, filters of {size}, stride {stride}"):
            x, w = rng.normal(2, 3, length, dtype=float64), rng.normal(4, 3, size, dtype=float64)
            there = F.conv1d(x, w, stride=stride)
            y = rng.normal(*there.shape, dtype=float64)
            back = student.transposed_conv1d(y, w, stride)
            expect(back, F.conv_transpose1d(y, w, stride=stride))
            expect((x * back).sum(), (there * y).sum())


# ---- auto-encoders


@student_side
def watched_loss(student, x, share, w, v):
    """The loss, what the encoder and the decoder saw, what came out, and the gradient of both."""
    seen, codes, made = [], [], []
    w, v = w.clone().requires_grad_(), v.clone().requires_grad_()

    def encode(images):
        seen.append(images)
        codes.append(torch.tanh(images @ w))
        return codes[-1]

    def decode(code):
        made.append(code @ v)
        return made[-1]

    loss = student.denoising_loss(encode, decode, x, share)
    calls = len(seen), len(made)
    if calls != (1, 1) or not isinstance(loss, torch.Tensor) or not loss.requires_grad:
        return loss, calls, None, None, None, isinstance(loss, torch.Tensor) and loss.requires_grad
    gradients = torch.autograd.grad(loss, [w, v], allow_unused=True) if loss.numel() == 1 else None
    return loss, calls, seen[0], made[0], gradients, True


def denoising_problem(rng, n, d):
    """Images without zeros, and the weights of encoder and decoder."""
    return rng.uniform(n, d, low=0.2), 0.3 * rng.normal(d, 5), 0.3 * rng.normal(5, d)


def watch_denoising(student, x, share, w, v):
    loss, calls, seen, made, gradients, recorded = student.run(watched_loss, x, share, w, v)
    require(calls == (1, 1), f"encode was called {calls[0]} times and decode {calls[1]} times, instead of once each")
    require(recorded, "the loss does not know where it came from: a detach, no_grad, or .item() on the way")
    expect(seen.shape, x.shape)
    return loss, seen, made, gradients


@lab.check("denoising_loss")
def distance_from_the_whole_image(student, rng):
    """the mean squared error of what was repaired, against the whole image"""
    for n, d, share in (7, 11, 0.4), (1, 13, 0.0), (5, 1, 0.0):
        x, w, v = denoising_problem(rng, n, d)
        with case(f"{n} rows of {d} numbers, share {share}"):
            loss, seen, made, gradients = watch_denoising(student, x, share, w, v)
            if share == 0:
                expect(seen, x, look="with share 0 nothing is deleted")
            error = (made - x) ** 2
            expect(
                loss,
                error.mean(),
                mistakes={
                    "the result is compared with the damaged image, not with the whole one": (
                        (made - seen) ** 2
                    ).mean(),
                    "only the deleted numbers are compared": error[seen == 0].mean(),
                    "the sum, not the mean": error.sum(),
                    "a sum over the numbers of a row, not a mean": error.sum(1).mean(),
                    "the mean for each row, not over all": error.mean(1),
                    "the absolute error; the square is asked for": error.sqrt().mean(),
                    "half the squared error": error.mean() / 2,
                    "the square of the mean error, not the mean of the squares": (made - x).mean() ** 2,
                    "the binary cross-entropy; the squared error is asked for": F.binary_cross_entropy_with_logits(
                        made, x
                    ),
                    "the root of the error; the square is asked for": error.mean().sqrt(),
                },
            )
            leaves = [w.clone().requires_grad_(), v.clone().requires_grad_()]
            again = F.mse_loss(torch.tanh(seen @ leaves[0]) @ leaves[1], x)
            expect(gradients, torch.autograd.grad(again, leaves), names=("gradient of the encoder", "of the decoder"))


def _damage(seen, x, deleted):
    """What was done to the numbers in the place of a deletion; "" where it cannot be told."""
    values, ratio = seen[deleted], seen / x
    if (values == values[0]).all():
        return f"damaged numbers became {values[0]:.4g}; a damaged number is 0"
    if (ratio - ratio[0, 0]).abs().max() < 1e-4:
        return f"all numbers are multiplied by {ratio[0, 0]:.4g}; a damaged number is 0"
    kept = seen[~deleted]
    if (seen - x)[deleted].std() > 0.05 and not (values == 0).any() and (len(kept) == 0 or kept.ne(0).all()):
        return "noise was added; a damaged number is 0"
    return ""


@lab.check("denoising_loss")
def deleted_at_random(student, rng):
    """what is deleted: the right share, every number by itself, the others as they were"""
    for share in (0.2, 0.75):
        x, w, v = denoising_problem(rng, 200, 50)
        with case(f"share {share}"):
            _, seen, _, _ = watch_denoising(student, x, share, w, v)
            deleted = seen != x
            require(not torch.equal(seen, x), "the encoder sees the whole image")
            if not (seen[deleted] == 0).all():
                scaled = torch.isclose(seen, x / (1 - share)) | (seen == 0)
                require(
                    False,
                    "what is not deleted has changed, or what is deleted is not 0",
                    likely="the kept numbers are scaled by 1/(1 − share), as dropout does"
                    if scaled.all()
                    else _damage(seen, x, deleted),
                )
            part = deleted.double().mean().item()
            require(
                not (deleted == deleted[:1]).all(),
                "the same numbers are deleted in all rows",
                likely="one random number for each number of x, not for each column",
            )
            require(
                not (deleted == deleted[:, :1]).all(),
                "whole rows are deleted",
                likely="one random number for each number of x, not for each row",
            )
            require(
                abs(part - share) < 0.03,
                f"{100 * part:.0f} % of the numbers are deleted, not {100 * share:.0f} %",
                likely="the comparison is the wrong way round: that share is kept"
                if abs(1 - part - share) < 0.03
                else "",
            )


# ---- VAE


@lab.reference
def reparameterise(mu, log_var):
    return mu + torch.exp(log_var).sqrt() * torch.randn_like(mu)


@student_side
def drawn(student, mu, log_var):
    """A draw, and its gradient with respect to both arguments."""
    mu, log_var = mu.clone().requires_grad_(), log_var.clone().requires_grad_()
    z = student.reparameterise(mu, log_var)
    if not isinstance(z, torch.Tensor) or not z.requires_grad:
        return z, None
    return z, torch.autograd.grad(z.sum(), [mu, log_var], allow_unused=True)


@lab.check("reparameterise")
def draws_with_mean_and_variance(student, rng):
    """the mean and the standard deviation of many draws"""
    mu, log_var = torch.tensor([0.0, 3.0, -1000.0, 1.0]), torch.tensor([0.5, -3.0, 4.0, -60.0])
    n = 20_000
    z = student.reparameterise(mu.expand(n, 4).contiguous(), log_var.expand(n, 4).contiguous())
    expect(z.shape, (n, 4))
    error = (z.double() - mu)[:, :3]
    std = error.std(0)
    want = (log_var / 2).exp().double()[:3]
    require(error.ne(0).any(), "z is mu: there is no noise")
    expect(error.isfinite().all().item(), True, look="the standard deviation is exp(log_var / 2)")
    require(not (error[0] == error).all(), "all rows get the same noise; each number of mu has its own")
    related = (error[:, :2] / want[:2]).T.corrcoef()[0, 1].abs()
    require(related < 0.1, "the numbers of a row get the same noise; each has its own")
    expect(
        std,
        want,
        rtol=0.05,
        mistakes={
            "the standard deviation is exp(log_var): that is the variance": want**2,
            "the standard deviation is log_var": log_var[:3].double().abs(),
            "the noise has the standard deviation 1/√12: rand is uniform, not normal": want / math.sqrt(12),
            "the standard deviation is that of exp(−log_var)": 1 / want,
            "the ½ belongs into the exponent: exp(log_var / 2)": want**2 / 2,
            "log_var is taken for a logarithm to the base 10": 10 ** (log_var[:3].double() / 2),
            "the noise is not scaled: it has the standard deviation 1 everywhere": torch.ones(3, dtype=float64),
        },
    )
    expect(
        error.mean(0),
        torch.zeros(3, dtype=float64),
        atol=0.05 * want.max().item(),
        mistakes={
            "mu is missing: the draws have the mean 0": -mu[:3].double(),
            "mu is subtracted": -2 * mu[:3].double(),
        },
    )
    expect(z[:, 3], torch.ones(n), look="a variance of exp(−60) is next to none: z is mu")
    far = (error / want).abs() > 2
    share = far.double().mean().item()
    require(0.03 < share < 0.06, f"{100 * share:.1f} % of the noise is beyond 2 standard deviations, expected 4.6 %")


@lab.check("reparameterise")
def autograd_passes_the_draw(student, rng):
    """the gradient reaches mu and log_var"""
    for n, d in SIZES:
        mu, log_var = rng.normal(n, d, dtype=float64), rng.normal(n, d, dtype=float64)
        with case(f"{n} × {d} numbers"):
            z, gradients = student.run(drawn, mu, log_var)
            expect(z, z if isinstance(z, torch.Tensor) and z.shape == mu.shape else mu)
            require(
                gradients is not None and None not in gradients,
                "autograd does not find mu and log_var behind z (torch.normal and .sample() cut the way)",
            )
            expect(gradients, (torch.ones(n, d, dtype=float64), (z - mu) / 2), names=("dz/dmu", "dz/dlog_var"))


@lab.reference
def kl_gaussian(mu, log_var):
    own = Normal(mu, torch.exp(log_var / 2))
    return kl_divergence(own, Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(1)


@lab.check("kl_gaussian")
def divergence_of_torch(student, rng):
    """the divergence that torch.distributions finds"""
    for n, d in SIZES:
        mu, s = rng.normal(n, d, dtype=float64), rng.normal(n, d, dtype=float64)
        with case(f"{n} × {d} numbers"):
            want = kl_gaussian(mu, s)
            reverse = kl_divergence(Normal(0 * mu, 1 + 0 * s), Normal(mu, (s / 2).exp())).sum(1)
            expect(
                student.kl_gaussian(mu, s),
                want,
                mistakes={
                    "the factor ½ is missing": 2 * want,
                    "that is the mean over the D numbers, not the sum": want / d,
                    "one number for all rows; each row has its own": want.mean(),
                    "the sum goes over the rows, not over the D numbers": kl_gaussian(mu.T, s.T),
                    "one number for each term: the sum over the D numbers is missing": kl_gaussian(
                        mu.reshape(-1, 1), s.reshape(-1, 1)
                    ).reshape(n, d),
                    "log_var is taken for log σ: it is log σ²": kl_gaussian(mu, 2 * s),
                    "log_var is taken for σ²: it is its logarithm": (mu**2 + s - 1 - s.log()).sum(1) / 2,
                    "the term −1 is missing": want + d / 2,
                    "the sign of log σ² is wrong": want + s.sum(1),
                    "µ is not squared": want + (mu - mu**2).sum(1) / 2,
                    "that is −KL": -want,
                    "the term µ² is missing": want - (mu**2).sum(1) / 2,
                    "the term σ² is missing": want - s.exp().sum(1) / 2,
                    "the term log σ² is missing": want + s.sum(1) / 2,
                    "the term −1 has the wrong sign": want + d,
                    "σ in the place of σ²": want + ((s / 2).exp() - s.exp()).sum(1) / 2,
                    "the ½ is at µ² alone": want + (s.exp() - 1 - s).sum(1) / 2,
                    "the term −1 is counted once for a row, not for each number": want + (d - 1) / 2
                    if d > 1
                    else want[:0],
                    "that is the divergence of N(0, I) from q, the other way round": reverse,
                },
            )


@lab.check("kl_gaussian")
def zero_only_for_the_standard_normal(student, rng):
    """0 for µ = 0, σ = 1, larger for all others; finite for ±1000"""
    still = torch.zeros(3, 5)
    expect(student.kl_gaussian(still, still), torch.zeros(3))
    got = student.kl_gaussian(0.3 * rng.normal(50, 2), 0.3 * rng.normal(50, 2))
    require((got > 0).all(), "a divergence is not positive")
    with case("mu ±1000, log_var −1000"):
        mu = torch.tensor([[1000.0, -1000.0, 0.0]])
        expect(
            student.kl_gaussian(mu, torch.tensor([[-1000.0, 0.0, -1000.0]])),
            torch.tensor([1_000_999.0]),
            look="exp(−1000) is 0 and harmless; its logarithm is not: use log_var itself",
        )


@lab.check("bernoulli_log_likelihood")
def sum_over_the_pixels(student, rng):
    """the sum over the pixels, from the probabilities themselves"""
    for n, d in SIZES:
        logits, x = 2 * rng.normal(n, d, dtype=float64), rng.uniform(n, d, dtype=float64)
        x[0] = x[0].round()
        p = 1 / (1 + torch.exp(-logits))
        terms = x * p.log() + (1 - x) * (1 - p).log()
        with case(f"{n} × {d} numbers"):
            expect(
                student.bernoulli_log_likelihood(logits, x),
                terms.sum(1),
                mistakes={
                    "that is the cost: the log-likelihood has the other sign": -terms.sum(1),
                    "that is the mean over the pixels: a log-likelihood is a sum": terms.mean(1),
                    "one number for all rows; each row has its own": terms.mean(),
                    "the sum goes over the rows, not over the pixels": terms.sum(0),
                    "the sum over the pixels is missing": terms,
                    "only the pixels that are 1 count: (1 − x) log(1 − p) is missing": (x * p.log()).sum(1),
                    "x and 1 − x are exchanged": (x * (1 - p).log() + (1 - x) * p.log()).sum(1),
                    "the second term has the wrong sign": (x * p.log() - (1 - x) * (1 - p).log()).sum(1),
                    "only the pixels that are 0 count: x log p is missing": ((1 - x) * (1 - p).log()).sum(1),
                    "the logarithm is to the base 2, not the natural one": terms.sum(1) / math.log(2),
                    "the probabilities themselves: their logarithm is missing": (x * p + (1 - x) * (1 - p)).sum(1),
                    "that is the likelihood: its logarithm is asked for": terms.sum(1).exp(),
                    "σ is applied twice": -F.binary_cross_entropy_with_logits(p, x, reduction="none").sum(1),
                    "that is the squared error": -((p - x) ** 2).sum(1),
                },
            )


@lab.check("bernoulli_log_likelihood")
def large_logits(student, rng):
    """logits of ±1000, float32"""
    logits = torch.tensor([[1000.0, -1000.0, 0.0], [1000.0, -1000.0, 1000.0]])
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.5]])
    want = torch.tensor([-math.log(2), -2500.0])
    expect(
        student.bernoulli_log_likelihood(logits, x),
        want,
        look="σ(1000) is 1 in float32, and log(1 − 1) is −∞ or cut off: use the logits themselves",
    )


@student_side
def slopes(student, name, changing, fixed):
    """The gradient of the sum of what the function returns, or None where autograd finds no way."""
    leaves = differentiable(*changing)
    result = getattr(student, name)(*leaves, *fixed)
    if not isinstance(result, torch.Tensor) or not result.requires_grad:
        return None
    return torch.autograd.grad(result.sum(), leaves, allow_unused=True)


@lab.check("kl_gaussian")
def slope_of_the_divergence(student, rng):
    """its gradient: µ and ½ (σ² − 1)"""
    mu, s = rng.normal(3, 2, dtype=float64), rng.normal(3, 2, dtype=float64)
    got = student.run(slopes, "kl_gaussian", [mu, s], [])
    require(
        got is not None,
        "autograd finds no way back to mu and log_var: a detach, no_grad, .item() or numpy cuts the way",
    )
    expect(got, (mu, (s.exp() - 1) / 2), names=("gradient of mu", "of log_var"))


@lab.check("bernoulli_log_likelihood")
def slope_of_the_likelihood(student, rng):
    """its gradient with respect to the logits: x − σ(logits)"""
    logits, x = rng.normal(3, 2, dtype=float64), rng.uniform(3, 2, dtype=float64)
    got = student.run(slopes, "bernoulli_log_likelihood", [logits], [x])
    require(
        got is not None, "autograd finds no way back to the logits: a detach, no_grad, .item() or numpy cuts the way"
    )
    expect(got, (x - logits.sigmoid(),), names=("gradient of the logits",))


@student_side
def bound(student, x, w, spread, v):
    """elbo with a linear encoder and p(x | z) = N(v z, I); what was called, what was drawn, and three gradients."""
    w, v = w.clone().requires_grad_(), v.clone().requires_grad_()
    spread = spread.clone().requires_grad_()
    codes, asked = [], []

    def encode(rows):
        asked.append("encode")
        return rows @ w.T, spread.expand(len(rows), -1)

    def log_likelihood(rows, z):
        asked.append("log_likelihood")
        codes.append(z)
        return -0.5 * ((rows - z @ v.T) ** 2 + math.log(2 * math.pi)).sum(1)

    got = student.elbo(encode, log_likelihood, x)
    if not isinstance(got, torch.Tensor) or not got.requires_grad or not codes:
        return got, asked, codes, None
    return got, asked, codes, torch.autograd.grad(got.sum(), [w, spread, v], allow_unused=True)


def called(student, *arguments):
    got, asked, codes, gradients = student.run(bound, *arguments)
    require(
        sorted(asked) == ["encode", "log_likelihood"],
        f"what was called: {', '.join(asked) or 'nothing'}; expected once encode and once log_likelihood, for all rows",
    )
    require(
        gradients is not None,
        "the bound does not know where it came from: a detach, no_grad, .item() or numpy cuts the way",
    )
    return got, codes[0], gradients


def bound_slopes(setting, leaves, own=(True, True), divergence=True):
    """The gradients of the bound with respect to w, log_var and v; `own` and `divergence`: which ways are open."""
    x, mu, spread, noise = setting
    where, width = x @ leaves[0].T, leaves[1].expand(len(x), -1)
    code = (where if own[0] else mu) + ((width if own[1] else spread.expand(len(x), -1)) / 2).exp() * noise
    value = Independent(Normal(code @ leaves[2].T, 1.0), 1).log_prob(x).sum()
    value = value - (kl_gaussian(where, width).sum() if divergence else 0)
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return tuple(torch.zeros_like(w) if g is None else g for w, g in zip(leaves, found, strict=True))


@lab.check("elbo")
def likelihood_minus_divergence(student, rng):
    """the log-likelihood of the code that was drawn, minus the divergence"""
    for n, d, latent in (6, 5, 3), (1, 3, 4), (3, 4, 2):
        x, v = rng.normal(n, d, dtype=float64), rng.normal(d, latent, dtype=float64)
        w, spread = rng.normal(latent, d, dtype=float64), rng.normal(latent, dtype=float64)
        with case(f"{n} rows of {d} numbers, codes of {latent}"):
            got, z, gradients = called(student, x, w, spread, v)
            mu = x @ w.T
            fit = Independent(Normal(z @ v.T, 1.0), 1).log_prob(x)
            kl = kl_gaussian(mu, spread.expand(n, -1))
            expect(z, z if z.shape == mu.shape else mu)
            require((z != mu).all(), "the code is mu itself; it should be drawn")
            expect(
                got,
                fit - kl,
                mistakes={
                    "the divergence is added; it is subtracted": fit + kl,
                    "the sign is wrong: that is the loss": kl - fit,
                    "the divergence is missing": fit,
                    "one number for all rows; each row has its own": (fit - kl).mean(),
                    "the mean divergence of all rows in place of the row's own": fit - kl.mean(),
                    "the divergence is divided by the size of the code": fit - kl / latent,
                    "the divergence is counted twice": fit - 2 * kl,
                    "half of the divergence": fit - kl / 2,
                    "the sum of the divergences of all rows in place of the row's own": fit - kl.sum(),
                    "the likelihood is the mean of all rows": fit.mean() - kl,
                    "that is the divergence alone": -kl,
                    "the divergence is that of the drawn code alone; it has a closed form": fit
                    - (Normal(mu, (spread / 2).exp()).log_prob(z) - Normal(torch.zeros_like(z), 1.0).log_prob(z)).sum(
                        1
                    ),
                    "the divergence is taken at z, not at mu": fit - kl_gaussian(z, spread.expand(n, -1)),
                    "the divergence is the other way round": fit
                    - kl_divergence(Normal(0 * mu, 1.0), Normal(mu, (spread / 2).exp().expand(n, -1))).sum(1),
                },
                look="log_likelihood(x, z), then the divergence for mu and log_var",
            )
            leaves = differentiable(w, spread, v)
            setting = x, mu, spread, (z - mu) / (spread / 2).exp()
            expect(
                tuple(torch.zeros_like(w) if g is None else g for w, g in zip(leaves, gradients, strict=True)),
                bound_slopes(setting, leaves),
                names=("dw", "dlog_var", "dv"),
                mistakes={
                    "z is cut off from log_var by a detach on the way": lambda s=setting, w=leaves: bound_slopes(
                        s, w, (True, False)
                    ),
                    "z is cut off from the encoder by a detach on the way": lambda s=setting, w=leaves: bound_slopes(
                        s, w, (False, False)
                    ),
                    "the divergence is cut off by a detach on the way": lambda s=setting, w=leaves: bound_slopes(
                        s, w, divergence=False
                    ),
                },
            )


@lab.check("elbo")
def bound_of_a_probability_that_is_known(student, rng):
    """x = V z + noise: below the exact log p(x), and equal to it where q is the true posterior"""
    d, latent, n = 5, 2, 20_000
    v = torch.linalg.qr(rng.normal(d, latent, dtype=float64)).Q * torch.tensor([1.5, 0.7], dtype=float64)
    x = rng.normal(d, dtype=float64) * 1.5
    exact = torch.distributions.MultivariateNormal(torch.zeros(d, dtype=float64), v @ v.T + torch.eye(d)).log_prob(x)
    variance = 1 / (1 + v.square().sum(0))  # the columns of v are orthogonal, so the posterior has no covariance
    rows = x.expand(n, d).contiguous()
    right = variance[:, None] * v.T
    got, z, _ = called(student, rows, right, variance.log(), v)
    expect(
        z.std(0),
        variance.sqrt(),
        rtol=0.05,
        mistakes={
            "the code has the standard deviation exp(log_var): that is the variance": variance,
            "the code has the standard deviation 1, whatever log_var says": torch.ones(latent, dtype=float64),
            "all rows have the same code: each should have a draw of its own": torch.zeros(latent, dtype=float64),
        },
    )
    error = 5 * got.std().item() / math.sqrt(n) + 1e-6
    gap = (got.mean() - exact).item()
    require(abs(gap) < error, f"at the true posterior the mean of {n} bounds is {gap:+.3f} from the exact log p(x)")
    aside = right + x / x.square().sum()  # every mean is 1 too large
    for text, mean, spread in (
        ("a mean that is off", aside, variance.log()),
        ("a variance that is too large", right, variance.log() + 1.5),
    ):
        with case(text):
            got, _, _ = called(student, rows, mean, spread, v)
            require(got.mean() < exact - 0.02, "the bound is not below the exact log p(x)")


# ---- flows


@student_side
def wild(weights):
    """A small network from N × D to N × 2D, in the type of its weights, an (h × 3D) matrix."""
    d = weights.shape[1] // 3
    return lambda x: torch.tanh(x @ weights[:, :d].T + 0.3) @ weights[:, d:] * 0.7


@student_side
def forward_watched(student, x, mask, weights):
    """The layer, what its network saw, and the Jacobian of the first row."""
    seen, net = [], wild(weights)

    def watched(rows):
        seen.append(rows)
        return net(rows)

    result = student.coupling_forward(x, mask, watched)
    jacobian = torch.autograd.functional.jacobian(
        lambda row: student.coupling_forward(row[None], mask, net)[0][0], x[0]
    )
    return result, seen, jacobian


def layer(x, mask, net):
    """Row by row, number by number."""
    d = len(mask)
    rows, log_dets = [], []
    for row in x:
        decided = net(torch.stack([value if keep else 0 * value for value, keep in zip(row, mask, strict=True)])[None])[
            0
        ]
        others = [k for k in range(d) if not mask[k]]
        moved = {k: row[k] * math.exp(decided[k]) + decided[d + k] for k in others}
        rows.append(torch.stack([moved.get(k, row[k]) for k in range(d)]))
        log_dets.append(sum((decided[k] for k in others), torch.zeros((), dtype=x.dtype)))
    return torch.stack(rows), torch.stack(log_dets)


@lab.reference
def coupling_forward(x, mask, net):
    scale, shift = net(x * mask).tensor_split(2, 1)
    scale = scale * ~mask
    return (x + shift * torch.exp(-scale) * ~mask) * torch.exp(scale), torch.einsum("nd->n", scale)


def layers(rng, dtype=float64):
    for n, mask in (5, [1, 0, 1, 0, 0]), (1, [0, 1]), (4, [0, 0, 1]), (3, [1, 1]):
        mask = torch.tensor(mask, dtype=torch.bool)
        d = len(mask)
        with case(f"{n} rows, mask {mask.int().tolist()}"):
            yield rng.normal(n, d, dtype=dtype), mask, rng.normal(6, 3 * d, dtype=dtype)


@lab.check("coupling_forward")
def scaled_and_shifted(student, rng):
    """each number by itself; what the network sees; the determinant of the Jacobian"""
    for x, mask, weights in layers(rng):
        net = wild(weights)
        want, log_det = layer(x, mask, net)
        (got, got_det), seen, jacobian = student.run(forward_watched, x, mask, weights)
        require(len(seen) > 0, "the network was not called")
        expect(
            seen[0],
            x * mask,
            mistakes={
                "the network sees all of x; only kept numbers are its business": x,
                "the network sees the wrong numbers: mask is True for those that are kept": x * ~mask,
                "the network sees only the kept columns; the others are 0 and stay in their place": x[:, mask],
            },
        )
        both = net(x * mask)
        a, b = both.chunk(2, 1)
        whole = x * a.exp() + b
        expect(
            got,
            want,
            names=None,
            mistakes={
                "a and b are exchanged: a comes first": torch.where(mask, x, x * b.exp() + a),
                "the kept numbers are moved, too": whole,
                "the kept numbers are moved, and the others kept": torch.where(mask, whole, x),
                "the factor is a, it should be exp(a)": torch.where(mask, x, x * a + b),
                "the shift is scaled, too: x · exp(a) + b": torch.where(mask, x, (x + b) * a.exp()),
                "that is the inverse": torch.where(mask, x, (x - b) * (-a).exp()),
                "the factor is exp(−a), it should be exp(a)": torch.where(mask, x, x * (-a).exp() + b),
                "b is subtracted": torch.where(mask, x, x * a.exp() - b),
                "b is not used": torch.where(mask, x, x * a.exp()),
                "a is not used": torch.where(mask, x, x + b),
                "the others are lost: x · exp(a) + b with the x that net saw": torch.where(mask, x, b),
                "the kept numbers are 0 in the result": whole * ~mask,
                "a and b take turns among the columns; a is the first half, b the second": torch.where(
                    mask, x, x * both[:, ::2].exp() + both[:, 1::2]
                ),
                "the factor is a sigmoid of a, it should be exp(a)": torch.where(mask, x, x * a.sigmoid() + b),
            },
        )
        expect(
            got_det,
            log_det,
            mistakes={
                "the sum of all a: those of the kept numbers count nothing": a.sum(1),
                "the log-determinant has the wrong sign": -log_det,
                "the sum of |a|: log |det J| is a sum of a, with their signs": (a.abs() * ~mask).sum(1),
                "the mean of the others' a, not the sum": log_det / (~mask).sum().clamp(min=1),
                "those of the kept numbers are summed: the others count": (a * mask).sum(1),
                "the sum of b; the factors are exp(a)": (b * ~mask).sum(1),
                "half of the log-determinant": log_det / 2,
                "the sum over the rows; each row has its own": (a * ~mask).sum(0),
                "one number for each place: the sum over the D numbers is missing": a * ~mask,
                "the determinant itself: its logarithm is asked for": log_det.exp(),
                "the sum of exp(a): the logarithm of a product is a sum of logarithms": (a.exp() * ~mask).sum(1),
                "the mean of a, not the sum": log_det / len(mask),
                "one number for all rows": log_det.sum(),
            },
        )
        expect(
            got_det[0],
            torch.linalg.slogdet(jacobian).logabsdet,
            look="the Jacobian that autograd finds has another determinant",
        )


@student_side
def backward_watched(student, y, mask, weights):
    seen, net = [], wild(weights)

    def watched(rows):
        seen.append(rows)
        return net(rows)

    return student.coupling_inverse(y, mask, watched), seen


@lab.reference
def coupling_inverse(y, mask, net):
    scale, shift = net(y * mask).tensor_split(2, 1)
    return y * mask + (y - shift) / torch.exp(scale) * ~mask


@lab.check("coupling_inverse")
def back_to_where_it_came_from(student, rng):
    """the way there, by the slow layer, and back; rows of ±1000, too"""
    for size in (1, 1000):
        for x, mask, weights in layers(rng):
            x = size * x
            net = wild(weights)
            y, _ = layer(x, mask, net)
            got, seen = student.run(backward_watched, y, mask, weights)
            require(len(seen) == 1, f"the network was called {len(seen)} times, instead of once")
            a, b = net(x * mask).chunk(2, 1)

            def undone(what, y=y, mask=mask, net=net):
                scale, shift = net(what).chunk(2, 1)
                return torch.where(mask, y, (y - shift) * (-scale).exp())

            hidden = "the network should see what it saw on the way there: the kept numbers, the others 0; it saw "
            expect(
                got,
                x,
                mistakes={
                    hidden + "all of y": lambda f=undone, y=y: f(y),
                    hidden + "the others": lambda f=undone, y=y, mask=mask: f(y * ~mask),
                    "a and b are exchanged: a comes first": torch.where(mask, y, (y - a) * (-b).exp()),
                    "b is added again; the inverse subtracts": torch.where(mask, y, (y + b) * (-a).exp()),
                    "b is not undone": torch.where(mask, y, y * (-a).exp()),
                    "the factor is not undone": torch.where(mask, y, y - b),
                    "it is divided by a, it should be by exp(a)": torch.where(mask, y, (y - b) / a),
                    "the kept numbers are 0 in the result": (y - b) * (-a).exp() * ~mask,
                    "nothing is undone: that is y": y,
                    "the kept numbers are moved, and the others kept": torch.where(mask, (y - b) * (-a).exp(), y),
                    "shift and scale are undone in the wrong order: the shift came last, so it goes first": torch.where(
                        mask, y, y * (-a).exp() - b
                    ),
                    "it is scaled by exp(a) again; the inverse divides": torch.where(mask, y, (y - b) * a.exp()),
                    "that is the way there, once more": torch.where(mask, y, y * a.exp() + b),
                    "the kept numbers are moved, too": (y - b) * (-a).exp(),
                },
            )


@student_side
def densities(student, x, masks, weights):
    return student.flow_nll(x, masks, [wild(each) for each in weights])


@student_side
def density(student, x, masks, weights):
    nets = [wild(each) for each in weights]
    total = student.flow_nll(x, masks, nets)
    leaf = x.clone().requires_grad_()
    wanted = differentiable(*weights)
    again = student.flow_nll(leaf, masks, [wild(each) for each in wanted])
    passes = isinstance(again, torch.Tensor) and again.requires_grad
    return total, torch.autograd.grad(again.sum(), wanted, allow_unused=True) if passes else None


def through(x, masks, nets, order=1):
    """What comes out at the end, and the log-determinants, one row of the list for each layer."""
    log_dets = []
    for mask, net in list(zip(masks, nets, strict=True))[::order]:
        x, one = coupling_forward(x, mask, net)
        log_dets.append(one)
    return x, torch.stack(log_dets)


def volume(row, masks, nets):
    """The logarithm of the determinant of the whole flow's Jacobian, for one row."""
    jacobian = torch.autograd.functional.jacobian(lambda one: through(one[None], masks, nets)[0][0], row)
    return torch.linalg.slogdet(jacobian).logabsdet


@lab.check("flow_nll")
def change_of_variables(student, rng):
    """the density of the noise that comes out, times the determinant of the whole flow"""
    for n, d, depth in (5, 3, 4), (1, 2, 1), (4, 5, 3):
        masks = [(torch.arange(d) + k) % 2 == 0 for k in range(depth)]
        weights = [rng.normal(5, 3 * d, dtype=float64) for _ in range(depth)]
        nets = [wild(each) for each in weights]
        x = rng.normal(n, d, dtype=float64)
        with case(f"{n} rows of {d} numbers, {depth} layers"):
            z, log_dets = through(x, masks, nets)
            log_det = torch.stack([volume(row, masks, nets) for row in x])
            log_p = Independent(Normal(torch.zeros(d, dtype=float64), 1.0), 1).log_prob(z)
            got, gradients = student.run(density, x, masks, weights)
            constant = 0.5 * d * math.log(2 * math.pi)
            reverse, reverse_dets = through(x, masks, nets, -1)
            want = -log_p - log_det
            expect(
                got,
                want,
                mistakes={
                    "that is log p(x); −log p(x) is asked for": -want,
                    "the log-determinants have the wrong sign": -log_p + log_det,
                    "the log-determinants are missing": -log_p,
                    "the log-determinants have the wrong sign, and it is log p(x)": log_p - log_det,
                    "only the first layer's log-determinant counts; they add up": -log_p - log_dets[0],
                    "the log-determinants are averaged; they add up": -log_p - log_det / depth,
                    "the sum of the log-determinants of all rows in place of the row's own": -log_p - log_det.sum(),
                    "the constant is log 2π for each number; it is ½ log 2π": want + constant,
                    "the constant has the wrong sign": want - 2 * constant,
                    "a square is missing: the density has ½ z²": 0.5 * z.sum(1) + constant - log_det,
                    "only the last layer's log-determinant counts; they add up": -log_p - log_dets[-1],
                    "the constant of the normal density, ½ log 2π for each number, is missing": want - constant,
                    "the constant is counted once; every number of a row has one": want - constant + constant / d,
                    "the factor ½ of the square is missing": want + 0.5 * z.square().sum(1),
                    "the layers come in the wrong order: the first mask and net first": 0.5 * reverse.square().sum(1)
                    + constant
                    - reverse_dets.sum(0),
                    "the density is that of x, not of what comes out": -Independent(
                        Normal(torch.zeros(d, dtype=float64), 1.0), 1
                    ).log_prob(x)
                    - log_det,
                    "one number for all rows; each row has its own": want.mean(),
                    "a mean over the numbers of a row, not a sum": (0.5 * (z.square() + math.log(2 * math.pi))).mean(1)
                    - log_det,
                },
            )
            require(
                gradients is not None,
                "autograd finds no way to the networks: a detach, no_grad, .item() or numpy cuts the way",
            )
            leaves = differentiable(*weights)
            again, dets = through(x, masks, [wild(each) for each in leaves])
            expect(
                gradients,
                torch.autograd.grad((0.5 * again.square().sum(1) - dets.sum(0)).sum(), leaves, retain_graph=True),
                mistakes={
                    "the log-determinants are cut off by a detach on the way": lambda again=again, leaves=leaves: (
                        torch.autograd.grad(0.5 * again.square().sum(), leaves, retain_graph=True)
                    ),
                },
                look="a detach on the way: the gradient passes through all layers",
            )


@lab.check("flow_nll")
def a_density_sums_to_one(student, rng):
    """exp(−nll) over the whole plane: a probability"""
    masks = [torch.tensor([True, False]), torch.tensor([False, True])]
    weights = [0.5 * rng.normal(5, 6, dtype=float64) for _ in masks]
    line = torch.linspace(-30, 30, 301, dtype=float64)
    points = torch.cartesian_prod(line, line)
    got = student.run(densities, points, masks, weights)
    total = ((-got).exp().sum() * (line[1] - line[0]) ** 2).item()
    require(abs(total - 1) < 0.02, f"the density sums to {total:.4f} over the plane, not to 1")


if __name__ == "__main__":
    sys.exit(run_checks(lab))
