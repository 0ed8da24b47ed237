# %% [markdown]
# # 11 · Auto-encoders, VAE, flows
#
# A network learns what digits look like by squeezing them through a few numbers, by repairing damage, and as a
# probability, from which you draw digits that nobody wrote.
#
# Rows are samples and do not influence each other. Autograd must be able to pass through every function.

# %%
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# %% [markdown]
# ## A convolution on its way back
#
# A strided convolution makes signals shorter; a decoder has to make them longer. A convolution is a linear map, y = A
# x. The *transposed* convolution is Aᵀ: every input number pours a scaled copy of the filter into the output, `stride`
# places after its neighbour's, and copies that overlap add up.


# %%
def transposed_conv1d(x: Tensor, w: Tensor, stride: int) -> Tensor:
    """The transpose of the convolution that has the filters w, this stride, and no padding.

    x: N × C × L; w: C × K × S, the weight of an `F.conv1d` from K channels to C. Returns N × K × ((L − 1) · stride +
    S).

    Hint: a loop over the S places of the filter, a slice with a step, `torch.einsum` over the channels. My version has
    241 characters.
    """
    # BEGIN SOLUTION
    length = x.size(2)
    result = x.new_zeros(len(x), w.size(1), (length - 1) * stride + w.size(2))
    for s in range(w.size(2)):
        result[:, :, s : s + (length - 1) * stride + 1 : stride] += torch.einsum("ncl,ck->nkl", x, w[:, :, s])
    return result
    # END SOLUTION


# %% [markdown]
# ## Squeeze, and repair
#
# An auto-encoder learns x ≈ decode(encode(x)) through a code too small for all the numbers; with linear maps this is
# PCA (lab 02). With a code that is large enough it could learn to copy. A *denoising* auto-encoder cannot: it sees
# holes and has to return the whole image (Vincent et al., 2008).


# %%
def denoising_loss(encode: Callable, decode: Callable, x: Tensor, share: float) -> Tensor:
    """The mean squared error between x and what encoder and decoder make of a damaged x.

    x: N × D. Each number of x is set to 0 with probability `share`, independently of all others; share 0 gives the
    plain auto-encoder. Calls encode and decode once. Returns one number, the mean over all of x.

    Hint: `torch.rand_like`, `F.mse_loss`. My version has 81 characters.
    """
    # BEGIN SOLUTION
    kept = torch.rand_like(x) >= share
    return F.mse_loss(decode(encode(kept * x)), x)
    # END SOLUTION


# %% [markdown]
# ## A code with a distribution
#
# In a
# *variational* auto-encoder (Kingma and Welling, 2014) codes are drawn: z ~ N(0, I) first, then x from p(x | z). The
# encoder says which z may have made x, q(z | x) = N(µ, diag σ²), and returns µ and log σ². Both networks learn by
# making a lower bound of log p(x) large,
#
#     ELBO = E[log p(x | z)] − KL(q(z | x) ‖ N(0, I)),   z ~ q(z | x).
#
# Here one z for each row stands for the expectation.


# %%
def reparameterise(mu: Tensor, log_var: Tensor) -> Tensor:
    """A draw from N(mu, exp(log_var)) for each number, as a function of mu and log_var that autograd can follow.

    mu, log_var: N × D. Returns N × D.

    Hint: `torch.randn_like`; log_var is the logarithm of the variance. My version has 56 characters.
    """
    # BEGIN SOLUTION
    return mu + (0.5 * log_var).exp() * torch.randn_like(mu)
    # END SOLUTION


def kl_gaussian(mu: Tensor, log_var: Tensor) -> Tensor:
    """The Kullback–Leibler divergence of N(mu, diag(exp(log_var))) from N(0, I), in closed form.

    mu, log_var: N × D. Returns N numbers, each a sum over D terms. Finite for mu of ±1000 and log_var of −1000, too.

    Hint: for D = 1 it is ½ (µ² + σ² − 1 − log σ²). My version has 79 characters.
    """
    # BEGIN SOLUTION
    terms = mu.square() + log_var.exp() - 1 - log_var
    return 0.5 * terms.sum(dim=1)
    # END SOLUTION


def bernoulli_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x) for independent pixels that are 1 with probability σ(logits), natural logarithm.

    logits, x: N × D, x from 0 to 1 (for grey the formula stays). Returns N numbers, each a sum over D pixels, finite
    for logits of ±1000, too.

    Hint: `F.binary_cross_entropy_with_logits`, or `F.logsigmoid`. My version has 94 characters.
    """
    # BEGIN SOLUTION
    cost = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return -cost.sum(dim=1)
    # END SOLUTION


def elbo(encode: Callable, log_likelihood: Callable, x: Tensor) -> Tensor:
    """The evidence lower bound of log p(x) for each row, with one drawn code for each.

    x: N × D. `encode(x)` returns mu and log_var; `log_likelihood(x, z)` returns log p(x | z), N numbers. Call each
    once. The divergence is the one in closed form. Returns N numbers.

    Hint: the two functions above. My version has 110 characters.
    """
    # BEGIN SOLUTION
    mu, log_var = encode(x)
    z = reparameterise(mu, log_var)
    return log_likelihood(x, z) - kl_gaussian(mu, log_var)
    # END SOLUTION


# %% [markdown]
# ## No bound, but the probability
#
# A flow (Dinh et al., 2017) is an invertible f from data to noise: then log p(x) = log N(f(x); 0, I) + log |det J|,
# with J the Jacobian of f, and f⁻¹ turns noise into data. Its layers are *couplings*: a fixed mask keeps some numbers,
# and these alone decide, through any network, how the others are scaled and shifted. J is triangular, and no inverse of
# the network is needed.


# %%
def coupling_forward(x: Tensor, mask: Tensor, net: Callable) -> tuple[Tensor, Tensor]:
    """One coupling layer: kept numbers stay, each other becomes x · exp(a) + b.

    x: N × D; mask: D, bool, True for kept. `net` gets x with the others set to 0, N × D, and returns N × 2D: D numbers
    a, then D numbers b, of which only those of the others are used. Returns the new rows (N × D) and log |det J| (N).

    Hint: `torch.where`, `chunk`, `masked_fill`. My version has 142 characters.
    """
    # BEGIN SOLUTION
    a, b = net(torch.where(mask, x, 0)).chunk(2, dim=1)
    a, b = a.masked_fill(mask, 0), b.masked_fill(mask, 0)
    return x * a.exp() + b, a.sum(dim=1)
    # END SOLUTION


def coupling_inverse(y: Tensor, mask: Tensor, net: Callable) -> Tensor:
    """The rows for which `coupling_forward` gives y, N × D. Call net once.

    Hint: what did net see on the way forward, and is it still there? My version has 101 characters.
    """
    # BEGIN SOLUTION
    a, b = net(torch.where(mask, y, 0)).chunk(2, dim=1)
    return torch.where(mask, y, (y - b) * (-a).exp())
    # END SOLUTION


def flow_nll(x: Tensor, masks: Sequence[Tensor], nets: Sequence[Callable]) -> Tensor:
    """−log p(x) for each row, under couplings one after the other (the first mask and net first).

    x: N × D. What comes out of the last layer is standard normal. Returns N numbers.

    Hint: `coupling_forward`; the logarithms of the determinants add up; mind the 2π. My version has 246 characters.
    """
    # BEGIN SOLUTION
    total = x.new_zeros(len(x))
    for mask, net in zip(masks, nets, strict=True):
        x, log_det = coupling_forward(x, mask, net)
        total = total + log_det
    log_normal = -0.5 * (x.square() + math.log(2 * math.pi)).sum(dim=1)
    return -log_normal - total
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# `python check.py --targets` trains two auto-encoders, two VAEs and a flow, 30 s (2 cores, AMD EPYC 2.6 GHz, one thread
# used). Four pictures.
#
# | | measured | compare |
# | --- | --- | --- |
# | squared error of a pixel, 8 numbers for an image | 0.025 | PCA: 0.038 |
# | the same after 70 % of the pixels were deleted | 0.027 | as they are: 0.072 |
# | −ELBO of test digits, codes of 10 numbers (of 2) | 123 (157) nats | |
# | −log p of the two moons, flow of eight couplings | 1.1 nats | the best Gaussian: 1.9 |
#
# * A transposed convolution of stride 4 draws a comb with six equal weights, and none with four. Why?
# * Which digits are neighbours on the map of the VAE, and what lies between them?
# * The moons are two pieces, the noise is one, and a flow is continuous. Look for what gives it away in the picture.

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` trains the auto-encoders, the VAEs and the flow, and shows four pictures (30 s).
#
# Next is lab 12, adversarial networks: there, nobody writes down a likelihood; a second network judges what was made.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
