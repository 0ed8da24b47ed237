# Made by tools/labs.py from labs/06_convolutions/author/lab.py; write your functions here.
"""Lab 06: Convolutional networks.

What to do is in sheet.md. Check your work with: python check.py
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """How many positions a window has along a side of `size` pixels."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def conv2d_naive(x: Tensor, w: Tensor, b: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    """The convolution by its definition.

    x: N × C × H × W, w: D × C × kh × kw, b: D, all float32 or all float64. Returns N × D × h × v of that type. Loops
    are welcome.

    Not allowed: `conv2d`, `nn.Conv2d`, `functional.unfold`, `nn.Unfold`. It is what you are writing.

    Hint: `F.pad`, then loop over the output's rows and columns; a slice with a step cuts the window out of all images
    at once. My version has 550 characters.
    """
    raise NotImplementedError("06.1 conv2d_naive")


def im2col(x: Tensor, kernel_size: tuple[int, int], stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    """Every window of every image as a column.

    x: N × C × H × W. Returns N × (C·kh·kw) × L of x's type: L = h·v windows, from left to right, then downwards; in a
    column the first channel's pixels, row after row, then the second's, and so on.

    Not allowed: `conv2d`, `nn.Conv2d`, `functional.unfold`, `nn.Unfold`. It is what you are writing.

    Hint: one pixel of the window, in all windows, is a slice of the padded images with step `stride`; loop over the
    window's pixels. `torch.stack`, `reshape`. My version has 460 characters.
    """
    raise NotImplementedError("06.2 im2col")


def conv2d_im2col(x: Tensor, w: Tensor, b: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    """The convolution as one matrix product. Arguments and result as for `conv2d_naive`.

    Not allowed: loops, comprehensions, `conv2d`, `nn.Conv2d`, `functional.unfold`, `nn.Unfold`. Im2col and one matrix
    product do all of it.

    Hint: `im2col`, `flatten`, `@`, `reshape`. My version has 220 characters.
    """
    raise NotImplementedError("06.3 conv2d_im2col")


def conv2d_backward(
    x: Tensor, w: Tensor, dl_dy: Tensor, stride: int = 1, padding: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """The derivatives of a loss with respect to the arguments of y = conv2d(x, w, b, stride, padding).

    dl_dy: N × D × h × v, the derivatives with respect to y. Returns (dl_dx, dl_dw, dl_db), of the shapes of x, w, b;
    dl_dw and dl_db add up the samples.

    Not allowed: `conv2d`, `nn.Conv2d`, `functional.unfold`, `nn.Unfold`, `autograd`. The derivatives are to be written
    by hand.

    Hint: `im2col`, `flatten`, `torch.einsum` (or `@` and `mT`), `F.fold`. My version has 340 characters.
    """
    raise NotImplementedError("06.4 conv2d_backward")


def max_pool2d_with_grad(x: Tensor, k: int, dl_dy: Tensor) -> tuple[Tensor, Tensor]:
    """Max-pooling over blocks of k × k pixels, and its derivative.

    x: N × C × H × W, dl_dy: N × C × (H // k) × (W // k). Returns (y, dl_dx), of the shapes of dl_dy and x. Of several
    largest pixels in a block, one gets all of dl_dy.

    Not allowed: loops, comprehensions, `max_pool2d`, `nn.MaxPool2d`, `autograd`. It is what you are writing.

    Hint: bring the k·k pixels of a block into the last dimension (`reshape`, `transpose`); `max` gives values and
    indices, `scatter_` puts dl_dy there. Then the same way back. My version has 430 characters.
    """
    raise NotImplementedError("06.5 max_pool2d_with_grad")


class Net(nn.Module):
    """The network of the table.

    Hint: `super().__init__()` comes first. `nn.Conv2d`, `nn.Linear`, with the names of the table; `F.max_pool2d`,
    `F.relu`, `flatten`. My methods have 180 and 140 characters.
    """

    def __init__(self, nb_hidden: int = 200) -> None:
        """Make the four layers conv1, conv2, fc1, fc2."""
        raise NotImplementedError("06.6 Net.__init__")

    def forward(self, x: Tensor) -> Tensor:
        """The scores, N × 10, of the images x, N × 1 × 28 × 28; no softmax."""
        raise NotImplementedError("06.6 Net.forward")


def train_model(
    model: nn.Module,
    criterion: nn.Module,
    train_input: Tensor,
    train_target: Tensor,
    mini_batch_size: int,
    nb_epochs: int,
    lr: float = 0.1,
) -> None:
    """Stochastic gradient descent, with the steps made by hand.

    criterion: a loss, called with the model's output and the targets. An epoch takes the samples in their order,
    mini_batch_size at a time; the last batch may be shorter. After each batch every parameter moves by −lr times its
    derivative.

    Not allowed: `optim`. The sheet asks for steps made by hand.

    Hint: `split`, `model.zero_grad()`, `backward()`, `torch.no_grad()`. My version has 330 characters.
    """
    raise NotImplementedError("06.7 train_model")


def compute_nb_errors(model: nn.Module, data_input: Tensor, data_target: Tensor, mini_batch_size: int) -> int:
    """How many samples get a wrong class; the class is the index of the largest score.

    data_target: N, int64. At most mini_batch_size samples go through the model at a time, not recorded for autograd.

    Hint: `argmax`, `torch.no_grad()`, `.item()`. My version has 220 characters.
    """
    raise NotImplementedError("06.8 compute_nb_errors")
