# Made by tools/labs.py from labs/18_compression/author/lab.py; write your functions here.
"""Lab 18: Compression and fast inference.

What to do is in sheet.md. Check your work with: python check.py
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def magnitude_prune(model: nn.Module, sparsity: float) -> dict[str, Tensor]:
    """Set the smallest weights of the model to zero, in place.

    Weights are the parameters with two dimensions or more; biases and batch normalisations stay. Of their total number
    n, exactly round(sparsity · n) become zero: those with the smallest absolute values in the whole model, any of
    several equal ones. Returns the masks: name → bool of the weight's shape, True where it stays.

    Not allowed: `prune`. It is what you are writing.

    Hint: `torch.cat` of all absolute values, `argsort`, `split`, `view_as`. My version has 500 characters.
    """
    raise NotImplementedError("18.1 magnitude_prune")


def fine_tune_masked(
    model: nn.Module, masks: dict[str, Tensor], optimizer: torch.optim.Optimizer, batches: list[tuple[Tensor, Tensor]]
) -> None:
    """Train with cross-entropy, one step for each batch (inputs, targets); what is pruned stays exactly zero.

    The optimiser may remember the time before the pruning: momentum moves a weight whose derivative is zero.

    Hint: the usual four lines, then the masks. My version has 260 characters.
    """
    raise NotImplementedError("18.2 fine_tune_masked")


def quantise_per_channel(w: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Integers q and scales so that scale · q is close to w, channel by channel.

    w: D × … float32; bits: 2 to 8. Returns q, int8 of w's shape, and scale, D float32: the largest absolute value of a
    channel is m · scale, every other weight the nearest multiple of scale. A channel of zeros has scale 1.

    Hint: `flatten(1)`, `abs`, `amax`, `torch.where`, `round`. My version has 210 characters.
    """
    raise NotImplementedError("18.3 quantise_per_channel")


def int8_linear(x: Tensor, q: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """A linear layer whose products are products of integers.

    x: N × C float32, q: D × C int8 with scale, D, as above; bias: D. x is quantised, too: 8 bits, *one* scale for the
    whole batch. Integers are multiplied and added up as int32, scales and bias come last. Returns N × D float32.

    Hint: `quantise_per_channel` of x as one channel; `.int()`: int8 overflows at 128. My version has 120 characters.
    """
    raise NotImplementedError("18.4 int8_linear")


def fold_batchnorm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that computes bn(conv(x)), with bn as it is outside of training.

    conv may have no bias; stride, padding, dilation and groups are those of conv. Both stay as they are.

    Not allowed: `fuse_conv_bn_eval`, `fuse_conv_bn_weights`, `fuse_modules`. It is what you are writing.

    Hint: `copy.deepcopy`, `bn.running_mean`, `bn.running_var`, `bn.eps`, `nn.Parameter`. My version has 340 characters.
    """
    raise NotImplementedError("18.5 fold_batchnorm")


def count_flops(model: nn.Module, x: Tensor) -> int:
    """How many multiplications and additions the convolutions and linear layers need for model(x).

    A multiplication and the addition of its product count as 2, biases and all other layers as 0. Only `nn.Conv2d` (of
    any groups, stride, …) and `nn.Linear` occur. No hook stays.

    Hint: `register_forward_hook`; `y.numel()` numbers, each a sum over `module.weight[0]`. My version has 310
    characters.
    """
    raise NotImplementedError("18.6 count_flops")


def distillation_loss(
    scores: Tensor, teacher_scores: Tensor, labels: Tensor, temperature: float, alpha: float
) -> Tensor:
    """alpha · CE(labels, scores) + (1 − alpha) · T² · KL(p ‖ q), the mean over the batch; one number.

    scores, teacher_scores: N × K, labels: N int64. p is the softmax of teacher_scores / T, q that of scores / T; CE has
    no temperature. Scores of ±1000 are no problem. No derivative reaches teacher_scores.

    Hint: `F.log_softmax`, `F.kl_div` with `log_target` (which reduction is a mean over the batch?). My version has 280
    characters.
    """
    raise NotImplementedError("18.7 distillation_loss")
