# %% [markdown]
# # 08 · Training deep networks
#
# A network of seven layers is more powerful than one of two layers, and often learns nothing. Here you see it fail, and
# write what makes it work: weights of the right size, batch normalisation, residual connections. And dropout, which
# makes training harder on purpose.

# %%
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# %% [markdown]
# ## A problem with a picture
#
# Points in a square belong to class 1 inside a disc of half the square's area. A network for this can be drawn: colour
# each place of the square by the network's answer.


# %%
def generate_disc_set(nb: int) -> tuple[Tensor, Tensor]:
    """Random points, and whether they lie in the disc.

    Returns the points, nb × 2 float32, uniform in [−1, 1]², and their classes, nb int64: 1 where the distance from the
    origin is less than √(2/π), 0 elsewhere.

    Hint: `uniform_` or `torch.rand`, `square`, `sum`, `long`. My version has 100 characters.
    """
    # BEGIN SOLUTION
    points = torch.empty(nb, 2).uniform_(-1, 1)
    return points, (points.square().sum(1) < 2 / math.pi).long()
    # END SOLUTION


# %% [markdown]
# ## The size of the weights
#
# A layer multiplies the variance of its input by fan_in · Var(w), and that of the derivatives by fan_out · Var(w). With
# seven layers a factor of 1/10 becomes 1/10 000 000. Glorot and Bengio (2010) take the variance 2 / (fan_in + fan_out)
# between the two; a ReLU halves the mean square, so He et al. (2015) take 2 / fan_in.
#
# fan_in is the number of inputs that *one* output adds up: columns of a matrix, C·kh·kw of a convolution.


# %%
def xavier_(w: Tensor) -> Tensor:
    """Fill a weight with normal random numbers, mean 0 and variance 2 / (fan_in + fan_out).

    w: D × C of a linear layer or D × C × kh × kw of a convolution, from C to D channels; it may be a parameter that
    records. It is changed in place and returned.

    Hint: `w[0].numel()` is one of the two; `normal_`, `torch.no_grad()`. My version has 130 characters.
    """
    # BEGIN SOLUTION
    fan_in, fan_out = w[0].numel(), w[:, 0].numel()
    with torch.no_grad():
        return w.normal_(0, math.sqrt(2 / (fan_in + fan_out)))
    # END SOLUTION


def kaiming_(w: Tensor) -> Tensor:
    """The same with variance 2 / fan_in, for a layer before a ReLU.

    Hint: one line shorter than `xavier_`. My version has 70 characters.
    """
    # BEGIN SOLUTION
    with torch.no_grad():
        return w.normal_(0, math.sqrt(2 / w[0].numel()))
    # END SOLUTION


# %% [markdown]
# ## Two layers that behave differently in training
#
# Both are written without autograd: `forward` keeps what `backward` needs. `training` is True or False, as in a module.


# %%
class Dropout:
    """Dropout with probability p (Srivastava et al., 2014), scaled in training so that the mean stays.

    Hint: `torch.rand_like`, a comparison, and a mask that both methods multiply with. My methods have 140 and 20
    characters.
    """

    def __init__(self, p: float) -> None:
        self.p, self.training = p, True

    def forward(self, x: Tensor) -> Tensor:
        """In training each value of x becomes 0 with probability p, else x / (1 − p); otherwise x."""
        # BEGIN SOLUTION
        kept = torch.rand_like(x) >= self.p
        self.mask = kept.to(x.dtype) / (1 - self.p) if self.training else torch.ones_like(x)
        return x * self.mask
        # END SOLUTION

    def backward(self, dl_dy: Tensor) -> Tensor:
        """dl_dx of the last forward pass."""
        # BEGIN SOLUTION
        return dl_dy * self.mask
        # END SOLUTION


# %%
class BatchNorm:
    """Batch normalisation of N × D samples (Ioffe and Szegedy, 2015), as `nn.BatchNorm1d` computes it.

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
        # BEGIN SOLUTION
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance = x.mean(0), x.var(0, correction=0)
            self.running_mean = torch.lerp(self.running_mean, mean, self.momentum)
            self.running_var = torch.lerp(self.running_var, x.var(0, correction=1), self.momentum)
        self.factor = 1 / (variance + self.eps).sqrt()
        self.z = (x - mean) * self.factor
        return self.weight * self.z + self.bias
        # END SOLUTION

    def backward(self, dl_dy: Tensor) -> Tensor:
        """dl_dx of the last forward pass, made in training. Sets dl_dweight and dl_dbias."""
        # BEGIN SOLUTION
        self.dl_dweight, self.dl_dbias = (dl_dy * self.z).sum(0), dl_dy.sum(0)
        g = self.weight * dl_dy
        return self.factor * (g - g.mean(0) - self.z * (g * self.z).mean(0))
        # END SOLUTION


# %% [markdown]
# ## Residual networks
#
# A block computes x + f(x): with f = 0 it passes everything on, and so does its derivative (He et al., 2015).


# %%
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
        # BEGIN SOLUTION
        super().__init__()
        self.skip_connections = skip_connections
        self.batch_normalization = batch_normalization
        self.conv1 = nn.Conv2d(nb_channels, nb_channels, kernel_size, padding=kernel_size // 2)
        self.conv2 = nn.Conv2d(nb_channels, nb_channels, kernel_size, padding=kernel_size // 2)
        if batch_normalization:
            self.bn1 = nn.BatchNorm2d(nb_channels)
            self.bn2 = nn.BatchNorm2d(nb_channels)
        # END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """x: N × C × H × W; so is the result."""
        # BEGIN SOLUTION
        y = self.conv1(x)
        if self.batch_normalization:
            y = self.bn1(y)
        y = self.conv2(F.relu(y))
        if self.batch_normalization:
            y = self.bn2(y)
        if self.skip_connections:
            y = y + x
        return F.relu(y)
        # END SOLUTION


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


# %%
def get_stats(
    skip_connections: bool, batch_normalization: bool, images: Tensor, labels: Tensor, nb_blocks: int = 30
) -> Tensor:
    """How large the derivatives are in each block of a new ResNet, for each image alone.

    images: N × 3 × H × W, labels: N int64. Returns nb_blocks × N: the Euclidean norm of the derivative of one image's
    cross-entropy with respect to conv1.weight of each block. The network has nb_blocks blocks, the two flags, and
    otherwise its defaults; it stays in training mode and is not trained.

    Hint: `F.cross_entropy`, `zero_grad`, `backward`, `model.blocks`. My version has 370 characters.
    """
    # BEGIN SOLUTION
    model = ResNet(nb_blocks, skip_connections=skip_connections, batch_normalization=batch_normalization)
    stats = torch.empty(nb_blocks, len(images))
    for n in range(len(images)):
        model.zero_grad()
        F.cross_entropy(model(images[n : n + 1]), labels[n : n + 1]).backward()
        stats[:, n] = torch.stack([block.conv1.weight.grad.norm() for block in model.blocks])
    return stats
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# `python check.py --targets` takes 18 s (2 cores, AMD EPYC 2.6 GHz, one used). First it trains three networks (2-128-2;
# 2-4-8-16-32-64-128-2; the same with batch normalisation) from six initialisations, on 1000 points, and draws them.
#
# | test error | N(0, 0.001²) | torch's default | `kaiming_` |
# | --- | --- | --- | --- |
# | two layers | 6–9 % | 1 % | 1–2 % |
# | seven layers | about 50 % | 4–9 % | 2–8 % |
# | seven, batch normalisation | 3 % | 3–5 % | 3 % |
#
# Then it draws the derivatives in a network of 30 blocks on images of CIFAR-10, from the first block to the last: with
# neither remedy they vanish completely, with batch normalisation alone they explode, with both they hardly change.
#
# * 50 % is what guessing gives. What does the deep network with small weights answer, and why does it stay there?
# * With batch normalisation the scale of the weights hardly matters. How do you see that in the formula of `forward`?
# * How does the second picture change with 10 blocks, and with 100?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` trains shallow and deep networks from six initialisations and draws what they answer, then the
# derivatives in 30 residual blocks (18 s). This lab has no part for a GPU.
#
# Next is lab 09, transfer and checkpoints: what others have trained need not be trained again.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
