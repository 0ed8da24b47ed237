# Made by tools/labs.py from labs/11_generative/author/lab.py; write your functions here.
"""Lab 11: Auto-encoders, VAE, flows.

What to do is in sheet.md. Check your work with: python check.py
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def transposed_conv1d(x: Tensor, w: Tensor, stride: int) -> Tensor:
    """The transpose of the convolution that has the filters w, this stride, and no padding.

    x: N × C × L; w: C × K × S, the weight of an `F.conv1d` from K channels to C. Returns N × K × ((L − 1) · stride +
    S).

    Not allowed: `conv_transpose1d`, `ConvTranspose1d`, `conv_transpose2d`, `fold`, `autograd`. It is the answer.

    Hint: a loop over the S places of the filter, a slice with a step, `torch.einsum` over the channels. My version has
    241 characters.
    """
    raise NotImplementedError("11.1 transposed_conv1d")


def denoising_loss(encode: Callable, decode: Callable, x: Tensor, share: float) -> Tensor:
    """The mean squared error between x and what encoder and decoder make of a damaged x.

    x: N × D. Each number of x is set to 0 with probability `share`, independently of all others; share 0 gives the
    plain auto-encoder. Calls encode and decode once. Returns one number, the mean over all of x.

    Hint: `torch.rand_like`, `F.mse_loss`. My version has 81 characters.
    """
    raise NotImplementedError("11.2 denoising_loss")


def reparameterise(mu: Tensor, log_var: Tensor) -> Tensor:
    """A draw from N(mu, exp(log_var)) for each number, as a function of mu and log_var that autograd can follow.

    mu, log_var: N × D. Returns N × D.

    Hint: `torch.randn_like`; log_var is the logarithm of the variance. My version has 56 characters.
    """
    raise NotImplementedError("11.3 reparameterise")


def kl_gaussian(mu: Tensor, log_var: Tensor) -> Tensor:
    """The Kullback–Leibler divergence of N(mu, diag(exp(log_var))) from N(0, I), in closed form.

    mu, log_var: N × D. Returns N numbers, each a sum over D terms. Finite for mu of ±1000 and log_var of −1000, too.

    Not allowed: `distributions`, `kl_divergence`. In this part the formula is the exercise.

    Hint: for D = 1 it is ½ (µ² + σ² − 1 − log σ²). My version has 79 characters.
    """
    raise NotImplementedError("11.4 kl_gaussian")


def bernoulli_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x) for independent pixels that are 1 with probability σ(logits), natural logarithm.

    logits, x: N × D, x from 0 to 1 (for grey the formula stays). Returns N numbers, each a sum over D pixels, finite
    for logits of ±1000, too.

    Hint: `F.binary_cross_entropy_with_logits`, or `F.logsigmoid`. My version has 94 characters.
    """
    raise NotImplementedError("11.5 bernoulli_log_likelihood")


def elbo(encode: Callable, log_likelihood: Callable, x: Tensor) -> Tensor:
    """The evidence lower bound of log p(x) for each row, with one drawn code for each.

    x: N × D. `encode(x)` returns mu and log_var; `log_likelihood(x, z)` returns log p(x | z), N numbers. Call each
    once. The divergence is the one in closed form. Returns N numbers.

    Hint: the two functions above. My version has 110 characters.
    """
    raise NotImplementedError("11.6 elbo")


def coupling_forward(x: Tensor, mask: Tensor, net: Callable) -> tuple[Tensor, Tensor]:
    """One coupling layer: kept numbers stay, each other becomes x · exp(a) + b.

    x: N × D; mask: D, bool, True for kept. `net` gets x with the others set to 0, N × D, and returns N × 2D: D numbers
    a, then D numbers b, of which only those of the others are used. Returns the new rows (N × D) and log |det J| (N).

    Hint: `torch.where`, `chunk`, `masked_fill`. My version has 142 characters.
    """
    raise NotImplementedError("11.7 coupling_forward")


def coupling_inverse(y: Tensor, mask: Tensor, net: Callable) -> Tensor:
    """The rows for which `coupling_forward` gives y, N × D. Call net once.

    Hint: what did net see on the way forward, and is it still there? My version has 101 characters.
    """
    raise NotImplementedError("11.8 coupling_inverse")


def flow_nll(x: Tensor, masks: Sequence[Tensor], nets: Sequence[Callable]) -> Tensor:
    """−log p(x) for each row, under couplings one after the other (the first mask and net first).

    x: N × D. What comes out of the last layer is standard normal. Returns N numbers.

    Hint: `coupling_forward`; the logarithms of the determinants add up; mind the 2π. My version has 246 characters.
    """
    raise NotImplementedError("11.9 flow_nll")
