# %% [markdown]
# # 12 · Generative adversarial networks
#
# Two networks play a game. The *generator* turns noise z into samples; its opponent gives every sample a score, high
# for real ones and low for made ones. Each learns from the other. You write the game, see it go wrong, repair it with
# a distance between distributions, and end with digits made to order.
#
# A loss is a tensor without dimensions, and autograd must be able to pass. Scores are N or N × 1, any real numbers.

# %%
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# %% [markdown]
# ## The game
#
# The opponent is first a *discriminator*: D(x) = σ(score) is how likely it holds x to be real. It is a classifier and
# learns by cross-entropy (Goodfellow et al., 2014). The generator wants D to be wrong. Minimising log(1 − D) does
# that on paper, but where D is sure, the derivative of this is zero: just where the generator has most to learn. It
# maximises log D instead, the *non-saturating* loss.


# %%
def d_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss: −mean log D(real) − mean log(1 − D(fake)).

    real, fake: the scores of real and of made samples, not necessarily equally many. Must hold for scores of ±1000.

    Hint: 1 − σ(s) = σ(−s). `F.logsigmoid` and `F.softplus` do not overflow. My version has 60 characters.
    """
    # BEGIN SOLUTION
    return F.softplus(-real).mean() + F.softplus(fake).mean()
    # END SOLUTION


def g_loss(fake: Tensor) -> Tensor:
    """The generator's non-saturating loss: −mean log D(fake).

    fake: the scores of made samples, ±1000 among them.

    Hint: one half of the line above, with another sign. My version has 35 characters.
    """
    # BEGIN SOLUTION
    return F.softplus(-fake).mean()
    # END SOLUTION


# %% [markdown]
# Both play with the same two moves. Neither move touches the other player: not its weights, not their `.grad`.


# %%
def critic_step(
    critic: nn.Module, generator: nn.Module, optimizer: torch.optim.Optimizer, real: Tensor, z: Tensor, loss: Callable
) -> float:
    """One update of the critic (or discriminator), by the optimizer of its weights.

    real: a batch of real samples; z: noise for as many made ones; `loss(critic, real, fake)` is what to minimise.
    Returns the loss before the update.

    Hint: the samples must not hang on the generator: `detach`. And `.grad` may hold something already. My version has
    140 characters.
    """
    # BEGIN SOLUTION
    fake = generator(z).detach()
    value = loss(critic, real, fake)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.item()
    # END SOLUTION


def generator_step(
    critic: nn.Module, generator: nn.Module, optimizer: torch.optim.Optimizer, z: Tensor, loss: Callable
) -> float:
    """One update of the generator, by the optimizer of its weights.

    `loss(scores)`, with the critic's scores of the samples made from z, is what to minimise. Returns the loss before
    the update.

    Hint: the derivative goes through the critic, but must not stay there: `backward` has an argument `inputs`. My
    version has 150 characters.
    """
    # BEGIN SOLUTION
    value = loss(critic(generator(z)))
    optimizer.zero_grad()
    value.backward(inputs=list(generator.parameters()))
    optimizer.step()
    return value.item()
    # END SOLUTION


# %% [markdown]
# ## A distance that does not give up
#
# If real and made samples do not overlap, a perfect discriminator exists, and its loss says 0 however far they are
# apart. The Wasserstein distance does say how far: it is the largest difference of the mean scores,
# mean f(real) − mean f(fake), over all functions f with a slope of at most 1 (Arjovsky et al., 2017). A *critic* is
# such an f. To keep its slope, Gulrajani et al. (2017) punish any other length of its derivative than 1, at points
# between real and made samples.


# %%
def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The mean of (‖∇f(x)‖ − 1)² over N points x, each on the line from a real sample to a made one.

    real, fake: N × …; x_n = t_n real_n + (1 − t_n) fake_n, t_n uniform in 0 … 1, one number for each sample. The norm
    is over all dimensions of a sample. The critic is asked once, for all points together; its `.grad` stay as they are.

    Hint: `torch.autograd.grad` of the sum of the scores, with `create_graph`, because the penalty itself will be
    differentiated. My version has 250 characters.
    """
    # BEGIN SOLUTION
    t = real.new_empty(len(real), *[1] * (real.dim() - 1)).uniform_()
    x = (t * real + (1 - t) * fake).requires_grad_()
    (slopes,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (slopes.flatten(1).norm(dim=1) - 1).square().mean()
    # END SOLUTION


def critic_loss(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    """What a critic minimises: minus the difference of its mean scores, plus weight times the gradient penalty.

    Hint: the critic wants real samples to score high. My version has 120 characters.
    """
    # BEGIN SOLUTION
    distance = critic(real).mean() - critic(fake).mean()
    return weight * gradient_penalty(critic, real, fake) - distance
    # END SOLUTION


# %% [markdown]
# ## Made to order
#
# Tell both players the class of each sample, and the generator learns to make what is asked for (Mirza and Osindero,
# 2014): a made 7 that looks like a good 3 gives itself away.


# %%
def condition(x: Tensor, classes: Tensor, k: int) -> Tensor:
    """x with the class of each sample behind its features, as a one-hot code.

    x: N × D gives N × (D + k); images N × C × H × W give N × (C + k) × H × W, with k planes of ones or zeros.
    classes: N int64, 0 … k − 1. Keeps the type of x.

    Hint: `F.one_hot`, `expand`, `torch.cat`. My version has 150 characters.
    """
    # BEGIN SOLUTION
    code = F.one_hot(classes, k).to(x.dtype).view(len(x), k, *[1] * (x.dim() - 2))
    return torch.cat((x, code.expand(-1, -1, *x.shape[2:])), dim=1)
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# `python check.py --targets` plays three games, 30 s (2 cores, AMD EPYC 2.6 GHz, one used).
#
# * *Two lines.* Real samples lie on one vertical line, made ones on another, θ to the right. For every θ > 0 the
#   discriminator reports log 2, the critic about θ.
# * *Ring.* Eight little heaps in a ring. The plain game finds six of them, or two, or none, as the seed likes. With
#   `critic_loss` the generator finds all 8, and 75 to 80 % of its samples lie on one.
# * *Digits to order*, 14 × 14 pixels: about 90 % are read as the digit that was ordered, by a classifier that knows
#   real ones only.
#
# With a GPU, `python check.py --gpu` plays the plain game on whole images, with convolutions (Radford et al., 2015).
#
# In the first picture the critic says a little *more* than θ. Let f have slope s: what does it minimise, and which s
# is best? And why would the same experiment on a line, without the second coordinate, sometimes end at −θ?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` plays three games and shows their pictures (30 s). `check(gpu=True)` plays the game on whole
# images, with convolutions, where there is a GPU.
#
# Next is lab 13, recurrent networks: from images to sequences, and why gradients get lost on their way through time.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
