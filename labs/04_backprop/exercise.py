# Made by tools/labs.py from labs/04_backprop/author/lab.py; write your functions here.
"""Lab 04: Back-propagation by hand.

What to do is in sheet.md. Check your work with: python check.py
"""

import torch
from torch import Tensor


def sigma(x: Tensor) -> Tensor:
    """The activation function, element by element."""
    return x.tanh()


def loss(v: Tensor, t: Tensor) -> Tensor:
    """‖v − t‖², one number, for predictions v and targets t of one shape."""
    return (v - t).pow(2).sum()


def prepare_data(
    train_input: Tensor, train_target: Tensor, test_input: Tensor, classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised inputs, and targets of ±0.9.

    train_input: N × D, test_input: M × D, floating point; train_target: N classes, int64. Returns both inputs after
    the mean of *all* training values was subtracted and after division by their standard deviation (`std`), and
    between them the targets: N × classes in the type of the inputs, 0.9 in the column of the class and −0.9
    elsewhere. In the order train_input, targets, test_input.

    Hint: one mean and one `std` for everything. `new_full`, `scatter_`. My version has 240 characters.
    """
    raise NotImplementedError("04.1 prepare_data")


def dsigma(x: Tensor) -> Tensor:
    """The derivative of sigma at x, element by element, in the shape of x.

    Not allowed: `autograd`, `requires_grad_`, `func.grad`. The derivatives are the exercise.

    Hint: it can be said with tanh(x) alone. My version has 24 characters.
    """
    raise NotImplementedError("04.2 dsigma")


def dloss(v: Tensor, t: Tensor) -> Tensor:
    """The derivative of the loss with respect to v, in the shape of v.

    Not allowed: `autograd`, `requires_grad_`, `func.grad`. The derivatives are the exercise.

    Hint: which way does the loss grow when v does? My version has 18 characters.
    """
    raise NotImplementedError("04.3 dloss")


def forward_pass(
    w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, x: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The two layers on a batch, with everything on the way.

    w1: H × D, b1: H, w2: K × H, b2: K, x: N × D. Returns x0 (which is x), s1 and x1 (N × H), s2 and x2 (N × K).

    Hint: `@`, and broadcasting for the bias. My version has 85 characters.
    """
    raise NotImplementedError("04.4 forward_pass")


def backward_pass(
    w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, t: Tensor,
    x: Tensor, s1: Tensor, x1: Tensor, s2: Tensor, x2: Tensor,
    dl_dw1: Tensor, dl_db1: Tensor, dl_dw2: Tensor, dl_db2: Tensor,
) -> None:  # fmt: skip
    """Add the gradient of the loss of a batch to what dl_dw1, dl_db1, dl_dw2, dl_db2 hold already.

    t: N × K, the targets; x, s1, x1, s2, x2: as `forward_pass` returned them. The four last arguments have the
    shapes of w1, b1, w2, b2 and change in place; nothing else changes.

    Not allowed: `autograd`, `requires_grad_`, `func.grad`. The derivatives are the exercise.

    Hint: from the loss to the input, `dloss` and `dsigma` in turn. `add_` or `+=`. My version has 150 characters.
    """
    raise NotImplementedError("04.5 backward_pass")


class Module:
    """A block without parameters."""

    def param(self) -> list[tuple[Tensor, Tensor]]:
        return []


class Tanh(Module):
    """sigma, element by element."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return sigma(x)

    def backward(self, d_out: Tensor) -> Tensor:
        return d_out * dsigma(self.x)


class LossMSE:
    """The sum of squares: where the way back begins."""

    def forward(self, v: Tensor, t: Tensor) -> Tensor:
        return loss(v, t)

    def backward(self, v: Tensor, t: Tensor) -> Tensor:
        return dloss(v, t)


class Linear(Module):
    """x wᵀ + b, with w uniform in ±1/√inputs and b zero at first.

    forward(x): N × inputs → N × outputs. backward(d_out): N × outputs → N × inputs, and the gradients of the last
    batch are added to `d_weight` and `d_bias`. param(): the pairs (weight, d_weight), (bias, d_bias), the tensors
    themselves.

    Not allowed: `autograd`, `requires_grad_`, `func.grad`. The derivatives are the exercise.

    Hint: two of the four formulas are for the parameters, one is for the input. My version has 200 characters.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.weight = torch.empty(outputs, inputs).uniform_(-(inputs**-0.5), inputs**-0.5)
        self.bias = torch.zeros(outputs)
        self.d_weight, self.d_bias = torch.zeros_like(self.weight), torch.zeros_like(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("04.6 Linear.forward")

    def backward(self, d_out: Tensor) -> Tensor:
        raise NotImplementedError("04.6 Linear.backward")

    def param(self) -> list[tuple[Tensor, Tensor]]:
        raise NotImplementedError("04.6 Linear.param")


class ReLU(Module):
    """max(0, x), element by element; the derivative at 0 is 0.

    Not allowed: `autograd`, `requires_grad_`, `func.grad`. The derivatives are the exercise.

    Hint: `clamp`, a comparison. My version has 60 characters.
    """

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("04.7 ReLU.forward")

    def backward(self, d_out: Tensor) -> Tensor:
        raise NotImplementedError("04.7 ReLU.backward")


class Sequential(Module):
    """Blocks one after the other; `Sequential(Linear(2, 3), Tanh(), Linear(3, 1))`.

    forward(x), backward(d_out): through all blocks. param(): the pairs of all blocks, in their order.

    Not allowed: `autograd`, `requires_grad_`, `func.grad`. The derivatives are the exercise.

    Hint: which block's `backward` comes first? `reversed`. My version has 210 characters.
    """

    def __init__(self, *modules: Module) -> None:
        self.modules = modules

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("04.8 Sequential.forward")

    def backward(self, d_out: Tensor) -> Tensor:
        raise NotImplementedError("04.8 Sequential.backward")

    def param(self) -> list[tuple[Tensor, Tensor]]:
        raise NotImplementedError("04.8 Sequential.param")
