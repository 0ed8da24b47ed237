# Made by tools/labs.py from labs/12_gans/author/lab.py; write your functions here.
"""Lab 12: Generative adversarial networks.

What to do is in sheet.md. Check your work with: python check.py
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def d_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss: −mean log D(real) − mean log(1 − D(fake)).

    real, fake: the scores of real and of made samples, not necessarily equally many. Must hold for scores of ±1000.

    Hint: 1 − σ(s) = σ(−s). `F.logsigmoid` and `F.softplus` do not overflow. My version has 60 characters.
    """
    raise NotImplementedError("12.1 d_loss")


def g_loss(fake: Tensor) -> Tensor:
    """The generator's non-saturating loss: −mean log D(fake).

    fake: the scores of made samples, ±1000 among them.

    Hint: one half of the line above, with another sign. My version has 35 characters.
    """
    raise NotImplementedError("12.2 g_loss")


def critic_step(
    critic: nn.Module, generator: nn.Module, optimizer: torch.optim.Optimizer, real: Tensor, z: Tensor, loss: Callable
) -> float:
    """One update of the critic (or discriminator), by the optimizer of its weights.

    real: a batch of real samples; z: noise for as many made ones; `loss(critic, real, fake)` is what to minimise.
    Returns the loss before the update.

    Hint: the samples must not hang on the generator: `detach`. And `.grad` may hold something already. My version has
    140 characters.
    """
    raise NotImplementedError("12.3 critic_step")


def generator_step(
    critic: nn.Module, generator: nn.Module, optimizer: torch.optim.Optimizer, z: Tensor, loss: Callable
) -> float:
    """One update of the generator, by the optimizer of its weights.

    `loss(scores)`, with the critic's scores of the samples made from z, is what to minimise. Returns the loss before
    the update.

    Hint: the derivative goes through the critic, but must not stay there: `backward` has an argument `inputs`. My
    version has 150 characters.
    """
    raise NotImplementedError("12.4 generator_step")


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The mean of (‖∇f(x)‖ − 1)² over N points x, each on the line from a real sample to a made one.

    real, fake: N × …; x_n = t_n real_n + (1 − t_n) fake_n, t_n uniform in 0 … 1, one number for each sample. The norm
    is over all dimensions of a sample. The critic is asked once, for all points together; its `.grad` stay as they are.

    Hint: `torch.autograd.grad` of the sum of the scores, with `create_graph`, because the penalty itself will be
    differentiated. My version has 250 characters.
    """
    raise NotImplementedError("12.5 gradient_penalty")


def critic_loss(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    """What a critic minimises: minus the difference of its mean scores, plus weight times the gradient penalty.

    Hint: the critic wants real samples to score high. My version has 120 characters.
    """
    raise NotImplementedError("12.6 critic_loss")


def condition(x: Tensor, classes: Tensor, k: int) -> Tensor:
    """x with the class of each sample behind its features, as a one-hot code.

    x: N × D gives N × (D + k); images N × C × H × W give N × (C + k) × H × W, with k planes of ones or zeros.
    classes: N int64, 0 … k − 1. Keeps the type of x.

    Hint: `F.one_hot`, `expand`, `torch.cat`. My version has 150 characters.
    """
    raise NotImplementedError("12.7 condition")
