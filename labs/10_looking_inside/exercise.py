# Made by tools/labs.py from labs/10_looking_inside/author/lab.py; write your functions here.
"""Lab 10: Looking inside.

What to do is in sheet.md. Check your work with: python check.py
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def saliency(model: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    """The derivative of each image's score for the class in `classes` with respect to its pixels.

    x: N × …, classes: N int64. Returns the shape of x.

    Hint: a copy of x that requires a gradient; `gather`, `sum`, and `torch.autograd.grad`, which touches no `.grad`. My
    version has 130 characters.
    """
    raise NotImplementedError("10.1 saliency")


def grad_times_input(model: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    """The derivative times the pixel: for a linear model the part that each pixel has in the score.

    Hint: `saliency`. My version has 40 characters.
    """
    raise NotImplementedError("10.2 grad_times_input")


def smooth_grad(model: nn.Module, x: Tensor, classes: Tensor, sigma: float, n: int) -> Tensor:
    """The mean of n saliency maps, each of x with new normal noise of standard deviation sigma (Smilkov et al., 2017).

    Hint: `torch.randn_like`. My version has 130 characters.
    """
    raise NotImplementedError("10.3 smooth_grad")


def integrated_gradients(model: nn.Module, x: Tensor, classes: Tensor, steps: int) -> Tensor:
    """x times the mean of the saliency on the way from a black image to x (Sundararajan et al., 2017).

    The mean is over the `steps` images t·x with t = ½/steps, 1½/steps, …, 1 − ½/steps. Its sum over the pixels is the
    score of x minus that of the black image, but for the error of this mean.

    Hint: a loop over steps. My version has 140 characters.
    """
    raise NotImplementedError("10.4 integrated_gradients")


def guided_saliency(model: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    """The saliency with guided ReLUs: what an `nn.ReLU` of the model hands back is set to 0 where it is negative.

    The hooks are removed at the end, even if the model raises.

    Hint: `model.modules()`, `register_full_backward_hook` (it may return new derivatives, as a tuple), `clamp`, `try`
    and `finally`. My version has 280 characters.
    """
    raise NotImplementedError("10.5 guided_saliency")


def activation_maximisation(
    model: nn.Module, x: Tensor, classes: Tensor, steps: int, lr: float, decay: float
) -> Tensor:
    """Images for which the scores of `classes` are large, by gradient ascent from x.

    Each step adds lr · (derivative of the score − decay · x), with x before the step. Returns the last images.

    Hint: `saliency`. My version has 90 characters.
    """
    raise NotImplementedError("10.6 activation_maximisation")


def fgsm(model: nn.Module, x: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """x plus epsilon times the sign of the derivative of the cross-entropy, cut to pixels from 0 to 1.

    Hint: `F.cross_entropy`, `torch.autograd.grad`, `sign`, `clamp`. My version has 180 characters.
    """
    raise NotImplementedError("10.7 fgsm")


def pgd(model: nn.Module, x: Tensor, labels: Tensor, epsilon: float, step: float, steps: int) -> Tensor:
    """Projected gradient descent: `steps` times `fgsm` of size `step`, from x on.

    After each step every pixel is brought back to at most epsilon from that of the *first* x, and to 0 … 1.

    Hint: `fgsm`, `clamp` with tensors (or `torch.maximum`, `torch.minimum`). My version has 160 characters.
    """
    raise NotImplementedError("10.8 pgd")
