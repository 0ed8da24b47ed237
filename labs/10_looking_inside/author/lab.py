# %% [markdown]
# # 10 · Looking inside
#
# A network answers "this is a 7". Why? The derivative of its answer with respect to the *image* says which pixels
# matter. The same derivative, followed uphill, shows what a network would like to see; followed against the right
# answer, it fools the network with a change that you hardly notice.
#
# *x* is a batch of images, pixels from 0 to 1; `model(x)` gives scores, N × K. Every function leaves the model as it
# is: parameters, their `.grad`, mode, hooks. The images of a batch do not influence each other.

# %%
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# %% [markdown]
# ## Which pixels matter
#
# The derivative of one score is the simplest map of a decision (Simonyan et al., 2013). It is noisy; four remedies
# follow.


# %%
def saliency(model: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    """The derivative of each image's score for the class in `classes` with respect to its pixels.

    x: N × …, classes: N int64. Returns the shape of x.

    Hint: a copy of x that requires a gradient; `gather`, `sum`, and `torch.autograd.grad`, which touches no `.grad`. My
    version has 130 characters.
    """
    # BEGIN SOLUTION
    x = x.detach().clone().requires_grad_()
    scores = model(x).gather(1, classes[:, None])
    return torch.autograd.grad(scores.sum(), x)[0]
    # END SOLUTION


def grad_times_input(model: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    """The derivative times the pixel: for a linear model the part that each pixel has in the score.

    Hint: `saliency`. My version has 40 characters.
    """
    # BEGIN SOLUTION
    return x * saliency(model, x, classes)
    # END SOLUTION


# %%
def smooth_grad(model: nn.Module, x: Tensor, classes: Tensor, sigma: float, n: int) -> Tensor:
    """The mean of n saliency maps, each of x with new normal noise of standard deviation sigma (Smilkov et al., 2017).

    Hint: `torch.randn_like`. My version has 130 characters.
    """
    # BEGIN SOLUTION
    total = torch.zeros_like(x)
    for _ in range(n):
        total += saliency(model, x + sigma * torch.randn_like(x), classes)
    return total / n
    # END SOLUTION


def integrated_gradients(model: nn.Module, x: Tensor, classes: Tensor, steps: int) -> Tensor:
    """x times the mean of the saliency on the way from a black image to x (Sundararajan et al., 2017).

    The mean is over the `steps` images t·x with t = ½/steps, 1½/steps, …, 1 − ½/steps. Its sum over the pixels is the
    score of x minus that of the black image, but for the error of this mean.

    Hint: a loop over steps. My version has 140 characters.
    """
    # BEGIN SOLUTION
    total = torch.zeros_like(x)
    for k in range(steps):
        total += saliency(model, (k + 0.5) / steps * x, classes)
    return x * total / steps
    # END SOLUTION


# %% [markdown]
# A ReLU passes a derivative where its input is positive. A *guided* one also wants the derivative positive, so that
# only what speaks for the class remains (Springenberg et al., 2014). The network need not change: a hook does it.


# %%
def guided_saliency(model: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    """The saliency with guided ReLUs: what an `nn.ReLU` of the model hands back is set to 0 where it is negative.

    The hooks are removed at the end, even if the model raises.

    Hint: `model.modules()`, `register_full_backward_hook` (it may return new derivatives, as a tuple), `clamp`, `try`
    and `finally`. My version has 280 characters.
    """
    # BEGIN SOLUTION
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    hooks = [
        relu.register_full_backward_hook(lambda _module, dl_dx, _dl_dy: (dl_dx[0].clamp(min=0),)) for relu in relus
    ]
    try:
        return saliency(model, x, classes)
    finally:
        for hook in hooks:
            hook.remove()
    # END SOLUTION


# %% [markdown]
# ## What it wants to see


# %%
def activation_maximisation(
    model: nn.Module, x: Tensor, classes: Tensor, steps: int, lr: float, decay: float
) -> Tensor:
    """Images for which the scores of `classes` are large, by gradient ascent from x.

    Each step adds lr · (derivative of the score − decay · x), with x before the step. Returns the last images.

    Hint: `saliency`. My version has 90 characters.
    """
    # BEGIN SOLUTION
    for _ in range(steps):
        x = x + lr * (saliency(model, x, classes) - decay * x)
    return x
    # END SOLUTION


# %% [markdown]
# ## How to fool it
#
# The loss grows fastest, with a change of at most ε in each pixel, along the *sign* of its derivative (Goodfellow et
# al., 2014). Several smaller steps do more (Madry et al., 2017).


# %%
def fgsm(model: nn.Module, x: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """x plus epsilon times the sign of the derivative of the cross-entropy, cut to pixels from 0 to 1.

    Hint: `F.cross_entropy`, `torch.autograd.grad`, `sign`, `clamp`. My version has 180 characters.
    """
    # BEGIN SOLUTION
    leaf = x.detach().clone().requires_grad_()
    loss = F.cross_entropy(model(leaf), labels, reduction="sum")
    return (x + epsilon * torch.autograd.grad(loss, leaf)[0].sign()).clamp(0, 1)
    # END SOLUTION


def pgd(model: nn.Module, x: Tensor, labels: Tensor, epsilon: float, step: float, steps: int) -> Tensor:
    """Projected gradient descent: `steps` times `fgsm` of size `step`, from x on.

    After each step every pixel is brought back to at most epsilon from that of the *first* x, and to 0 … 1.

    Hint: `fgsm`, `clamp` with tensors (or `torch.maximum`, `torch.minimum`). My version has 160 characters.
    """
    # BEGIN SOLUTION
    attacked = x
    for _ in range(steps):
        attacked = fgsm(model, attacked, labels, step)
        attacked = attacked.clamp(x - epsilon, x + epsilon)
    return attacked
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# `python check.py --targets` trains a network on 6000 digits and looks into it, 20 s (2 cores, AMD EPYC 2.6 GHz, one
# used). Three pictures: maps, dreams, attacks.
#
# | of 300 digits, the answer changes when you delete | |
# | --- | --- |
# | 60 random pixels | 2 % |
# | 60 random pixels with ink | 15 % |
# | the 60 that `saliency`, `grad_times_input`, `integrated_gradients` rank first | more than 90 % |
#
# | test error | ε = 0 | ε = 0.1 | ε = 0.2 |
# | --- | --- | --- | --- |
# | random signs | 6 % | 6 % | 8 % |
# | `fgsm` | 6 % | 33 % | 80 % |
# | `pgd`, 6 steps | 6 % | 38 % | 93 % |
#
# 100 steps of ascent from a black image make "digits" that the network takes for real with more than 99 %. With a GPU,
# `python check.py --gpu` trains on attacked images: that network resists, and its dreams look different.
#
# * A change of ±0.1 at random does nothing, the same change along the derivative a lot. Think of a linear model with
#   784 pixels: how much does its score change in either case?
# * Why do the maps rank pixels outside of the ink? Which of the five cannot?
# * Attack one network with the images made for another (another seed). Are they fooled together?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` trains a network on 6000 digits and draws maps, dreams and attacks (20 s). `check(gpu=True)`
# trains one on attacked images, where there is a GPU.
#
# Next is lab 11, auto-encoders and flows: networks that do not judge images, but make them.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
