"""Helpers that the checks of several labs share. Both sides of a check can import them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

float64 = torch.float64

_M = TypeVar("_M", bound=nn.Module)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def differentiable(*tensors: Tensor) -> list[Tensor]:
    """Copies of the tensors, with respect to which autograd can differentiate."""
    return [tensor.clone().requires_grad_() for tensor in tensors]


def numeric_gradient(f: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-5) -> Tensor:
    """The gradient of the number f(x), in the shape of x, by central differences.

    The error is of order step²; x should be float64.
    """
    slope = torch.zeros_like(x)
    flat = slope.view(-1)
    for n in range(x.numel()):
        shift = torch.zeros(x.numel(), dtype=x.dtype)
        shift[n] = step
        flat[n] = (f(x + shift.view_as(x)) - f(x - shift.view_as(x))) / (2 * step)
    return slope


def filled(model: _M, weights: Tensor) -> _M:
    """The model, with the first numbers of a vector as its parameters."""
    count = parameters_to_vector(model.parameters()).numel()
    vector_to_parameters(weights[:count].clone(), model.parameters())
    return model


def loaded(model: _M, state: Mapping[str, Tensor]) -> _M:
    """The model with this state, in evaluation mode."""
    model.load_state_dict(dict(state))
    return model.eval()


def shape_texts(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Name → shape as text, "3×5"."""
    return {name: "×".join(map(str, tensor.shape)) for name, tensor in tensors.items()}


def count_hooks(model: nn.Module) -> int:
    """How many hooks are registered in a model and in all its parts."""
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in _HOOKS)


class Broken(nn.Module):
    """A layer that cannot do what it should: it raises ZeroDivisionError."""

    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError("the model itself has failed")


def digit_model(block: str, outputs: int = 10) -> nn.Sequential:
    """A network for digits, N × 1 × 28 × 28: two convolutions of 5 × 5, a hidden layer of 64.

    block: what follows each convolution, in its order: words among "norm", "pool" and "relu".
    """

    def following(channels: int) -> list[nn.Module]:
        made = {"norm": lambda: nn.BatchNorm2d(channels), "pool": lambda: nn.MaxPool2d(2), "relu": nn.ReLU}
        return [made[word]() for word in block.split()]

    head = [nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, outputs)]
    return nn.Sequential(nn.Conv2d(1, 16, 5), *following(16), nn.Conv2d(16, 32, 5), *following(32), *head)


def half_circles(angle: Tensor, lower: Tensor) -> Tensor:
    """Points on two half circles that reach into each other, N × 2.

    angle: N numbers from 0 to π. lower: N booleans, whether a point lies on the lower half circle.
    """
    x = torch.where(lower, 1 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    return torch.stack((x, y), 1)


def mosaic(tiles: Tensor, columns: int) -> Tensor:
    """N × h × w tiles as one picture with `columns` of them side by side, and a line of nan between them.

    N is a multiple of `columns`.
    """
    padded = F.pad(tiles, (0, 1, 0, 1), value=float("nan"))
    n, h, w = padded.shape
    return padded.reshape(n // columns, columns, h, w).transpose(1, 2).reshape(n // columns * h, columns * w)[:-1, :-1]


def least_seconds(function: Callable[[], object], limit: float = 0.5) -> float:
    """Seconds of computing of one call, the fewest of several: other work on the machine makes single ones slower.

    Calls at least 3 times, at most 50 times, and begins no call after `limit` seconds of computing.
    """
    found: list[float] = []
    until = time.thread_time() + limit
    while len(found) < 3 or (len(found) < 50 and time.thread_time() < until):
        start = time.thread_time()
        function()
        found.append(time.thread_time() - start)
    return min(found)
