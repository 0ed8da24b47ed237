# Made by tools/labs.py from labs/08_training_deep/author/lab.py; write your functions here.
"""Lab 08: Training deep networks.

What to do is in sheet.md. Check your work with: python check.py
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def generate_disc_set(nb: int) -> tuple[Tensor, Tensor]:
    """Random points, and whether they lie in the disc.

    Returns the points, nb × 2 float32, uniform in [−1, 1]², and their classes, nb int64: 1 where the distance from the
    origin is less than √(2/π), 0 elsewhere.

    Hint: `uniform_` or `torch.rand`, `square`, `sum`, `long`. My version has 100 characters.
    """
    raise NotImplementedError("08.1 generate_disc_set")


def xavier_(w: Tensor) -> Tensor:
    """Fill a weight with normal random numbers, mean 0 and variance 2 / (fan_in + fan_out).

    w: D × C of a linear layer or D × C × kh × kw of a convolution, from C to D channels; it may be a parameter that
    records. It is changed in place and returned.

    Not allowed: `init`. It is what you are writing.

    Hint: `w[0].numel()` is one of the two; `normal_`, `torch.no_grad()`. My version has 130 characters.
    """
    raise NotImplementedError("08.2 xavier_")


def kaiming_(w: Tensor) -> Tensor:
    """The same with variance 2 / fan_in, for a layer before a ReLU.

    Not allowed: `init`. It is what you are writing.

    Hint: one line shorter than `xavier_`. My version has 70 characters.
    """
    raise NotImplementedError("08.3 kaiming_")


class Dropout:
    """Dropout with probability p (Srivastava et al., 2014), scaled in training so that the mean stays.

    Not allowed: `dropout`, `nn.Dropout`, `autograd`. It is what you are writing.

    Hint: `torch.rand_like`, a comparison, and a mask that both methods multiply with. My methods have 140 and 20
    characters.
    """

    def __init__(self, p: float) -> None:
        self.p, self.training = p, True

    def forward(self, x: Tensor) -> Tensor:
        """In training each value of x becomes 0 with probability p, else x / (1 − p); otherwise x."""
        raise NotImplementedError("08.4 Dropout.forward")

    def backward(self, dl_dy: Tensor) -> Tensor:
        """dl_dx of the last forward pass."""
        raise NotImplementedError("08.4 Dropout.backward")


class BatchNorm:
    """Batch normalisation of N × D samples (Ioffe and Szegedy, 2015), as `nn.BatchNorm1d` computes it.

    Not allowed: `batch_norm`, `BatchNorm1d`, `autograd`. It is what you are writing.

    Hint: `var(0, correction=0)` for the normalisation, `correction=1` for running_var. In `backward` the mean and the
    variance depend on x, too: with g = weight · dl_dy and z the normalised x, remove from g its mean and its component
    along z. My methods have 410 and 160 characters.
    """

    def __init__(self, nb_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        self.eps, self.momentum, self.training = eps, momentum, True
        self.weight, self.bias = torch.ones(nb_features), torch.zeros(nb_features)
        self.running_mean, self.running_var = torch.zeros(nb_features), torch.ones(nb_features)
        self.dl_dweight = self.dl_dbias = torch.zeros(nb_features)

    def forward(self, x: Tensor) -> Tensor:
        """weight · (x − mean) / √(variance + eps) + bias, for each column.

        In training, mean and variance are those of the batch (divided by N), and the running ones move towards them by
        momentum, running_var with a division by N − 1. Otherwise the running ones are used, and stay.
        """
        raise NotImplementedError("08.5 BatchNorm.forward")

    def backward(self, dl_dy: Tensor) -> Tensor:
        """dl_dx of the last forward pass, made in training. Sets dl_dweight and dl_dbias."""
        raise NotImplementedError("08.5 BatchNorm.backward")


class ResNetBlock(nn.Module):
    """conv1, bn1, ReLU, conv2, bn2, add the block's input, ReLU.

    Hint: `super().__init__()` comes first. `nn.Conv2d` with a padding that keeps the size, `nn.BatchNorm2d`. My methods
    have 390 and 200 characters.
    """

    def __init__(
        self, nb_channels: int, kernel_size: int, skip_connections: bool = True, batch_normalization: bool = True
    ) -> None:
        """Two convolutions that keep size and number of channels; kernel_size is odd.

        Without batch_normalization there is no bn1 and bn2; without skip_connections the input is not added.
        """
        raise NotImplementedError("08.6 ResNetBlock.__init__")

    def forward(self, x: Tensor) -> Tensor:
        """x: N × C × H × W; so is the result."""
        raise NotImplementedError("08.6 ResNetBlock.forward")


class ResNet(nn.Module):
    """A first convolution, nb_blocks residual blocks, the mean over all pixels, a linear layer. This one is given."""

    def __init__(
        self, nb_blocks: int, nb_channels: int = 10, kernel_size: int = 3, nb_classes: int = 10,
        skip_connections: bool = True, batch_normalization: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv0 = nn.Conv2d(3, nb_channels, kernel_size=1)
        self.blocks = nn.Sequential(
            *(ResNetBlock(nb_channels, kernel_size, skip_connections, batch_normalization) for _ in range(nb_blocks))
        )
        self.fc = nn.Linear(nb_channels, nb_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(F.relu(self.conv0(x))).mean((2, 3)))


def get_stats(
    skip_connections: bool, batch_normalization: bool, images: Tensor, labels: Tensor, nb_blocks: int = 30
) -> Tensor:
    """How large the derivatives are in each block of a new ResNet, for each image alone.

    images: N × 3 × H × W, labels: N int64. Returns nb_blocks × N: the Euclidean norm of the derivative of one image's
    cross-entropy with respect to conv1.weight of each block. The network has nb_blocks blocks, the two flags, and
    otherwise its defaults; it stays in training mode and is not trained.

    Hint: `F.cross_entropy`, `zero_grad`, `backward`, `model.blocks`. My version has 370 characters.
    """
    raise NotImplementedError("08.7 get_stats")
