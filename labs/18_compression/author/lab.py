# %% [markdown]
# # 18 · Compression and fast inference
#
# A trained network is larger than it needs to be. Nine tenths of its weights can go, four bits are enough for each of
# the rest, and a small network learns from a large one. You write the tools, and measure what each costs in accuracy.

# %%
import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# %% [markdown]
# ## Fewer weights
#
# Small weights matter little (Han et al., 2015). Which are small is decided over *all* layers together: some layers
# then lose nearly everything, others keep most.


# %%
def magnitude_prune(model: nn.Module, sparsity: float) -> dict[str, Tensor]:
    """Set the smallest weights of the model to zero, in place.

    Weights are the parameters with two dimensions or more; biases and batch normalisations stay. Of their total number
    n, exactly round(sparsity · n) become zero: those with the smallest absolute values in the whole model, any of
    several equal ones. Returns the masks: name → bool of the weight's shape, True where it stays.

    Hint: `torch.cat` of all absolute values, `argsort`, `split`, `view_as`. My version has 500 characters.
    """
    # BEGIN SOLUTION
    weights = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    sizes = torch.cat([w.detach().abs().flatten() for w in weights.values()])
    keep = torch.ones(len(sizes), dtype=torch.bool)
    keep[sizes.argsort()[: round(sparsity * len(sizes))]] = False
    pieces = keep.split([w.numel() for w in weights.values()])
    masks = {name: piece.view_as(w) for (name, w), piece in zip(weights.items(), pieces, strict=True)}
    with torch.no_grad():
        for name, w in weights.items():
            w *= masks[name]
    return masks
    # END SOLUTION


def fine_tune_masked(
    model: nn.Module, masks: dict[str, Tensor], optimizer: torch.optim.Optimizer, batches: list[tuple[Tensor, Tensor]]
) -> None:
    """Train with cross-entropy, one step for each batch (inputs, targets); what is pruned stays exactly zero.

    The optimiser may remember the time before the pruning: momentum moves a weight whose derivative is zero.

    Hint: the usual four lines, then the masks. My version has 260 characters.
    """
    # BEGIN SOLUTION
    parameters = dict(model.named_parameters())
    for x, t in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), t).backward()
        optimizer.step()
        with torch.no_grad():
            for name, mask in masks.items():
                parameters[name] *= mask
    # END SOLUTION


# %% [markdown]
# ## Fewer bits
#
# b bits, symmetric: the integers from −m to m with m = 2^(b−1) − 1. One scale for each output channel, so that a
# channel with small weights does not lose them to a neighbour with large ones.


# %%
def quantise_per_channel(w: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Integers q and scales so that scale · q is close to w, channel by channel.

    w: D × … float32; bits: 2 to 8. Returns q, int8 of w's shape, and scale, D float32: the largest absolute value of a
    channel is m · scale, every other weight the nearest multiple of scale. A channel of zeros has scale 1.

    Hint: `flatten(1)`, `abs`, `amax`, `torch.where`, `round`. My version has 210 characters.
    """
    # BEGIN SOLUTION
    m = 2 ** (bits - 1) - 1
    largest = w.flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest / m, 1.0)
    q = (w / scale.reshape(-1, *[1] * (w.dim() - 1))).round()
    return q.clamp(-m, m).to(torch.int8), scale
    # END SOLUTION


def int8_linear(x: Tensor, q: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """A linear layer whose products are products of integers.

    x: N × C float32, q: D × C int8 with scale, D, as above; bias: D. x is quantised, too: 8 bits, *one* scale for the
    whole batch. Integers are multiplied and added up as int32, scales and bias come last. Returns N × D float32.

    Hint: `quantise_per_channel` of x as one channel; `.int()`: int8 overflows at 128. My version has 120 characters.
    """
    # BEGIN SOLUTION
    xq, x_scale = quantise_per_channel(x[None], 8)
    products = xq[0].int() @ q.int().T
    return products * (x_scale * scale) + bias
    # END SOLUTION


# %% [markdown]
# ## Fewer operations
#
# After training a batch normalisation is a fixed multiplication and addition for each channel: the convolution before
# it can do that.


# %%
def fold_batchnorm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that computes bn(conv(x)), with bn as it is outside of training.

    conv may have no bias; stride, padding, dilation and groups are those of conv. Both stay as they are.

    Hint: `copy.deepcopy`, `bn.running_mean`, `bn.running_var`, `bn.eps`, `nn.Parameter`. My version has 340 characters.
    """
    # BEGIN SOLUTION
    folded = copy.deepcopy(conv)
    with torch.no_grad():
        factor = bn.weight / (bn.running_var + bn.eps).sqrt()
        bias = -bn.running_mean if conv.bias is None else conv.bias - bn.running_mean
        folded.weight = nn.Parameter(conv.weight * factor[:, None, None, None])
        folded.bias = nn.Parameter(bn.bias + factor * bias)
    return folded
    # END SOLUTION


def count_flops(model: nn.Module, x: Tensor) -> int:
    """How many multiplications and additions the convolutions and linear layers need for model(x).

    A multiplication and the addition of its product count as 2, biases and all other layers as 0. Only `nn.Conv2d` (of
    any groups, stride, …) and `nn.Linear` occur. No hook stays.

    Hint: `register_forward_hook`; `y.numel()` numbers, each a sum over `module.weight[0]`. My version has 310
    characters.
    """
    # BEGIN SOLUTION
    counts = []
    hooks = [
        module.register_forward_hook(lambda layer, _, y: counts.append(2 * y.numel() * layer.weight[0].numel()))
        for module in model.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return sum(counts)
    # END SOLUTION


# %% [markdown]
# ## A small network that learns from a large one
#
# The teacher's scores say more than a label: this 7 is a bit like a 1. A temperature T makes that visible (Hinton et
# al., 2015).


# %%
def distillation_loss(
    scores: Tensor, teacher_scores: Tensor, labels: Tensor, temperature: float, alpha: float
) -> Tensor:
    """alpha · CE(labels, scores) + (1 − alpha) · T² · KL(p ‖ q), the mean over the batch; one number.

    scores, teacher_scores: N × K, labels: N int64. p is the softmax of teacher_scores / T, q that of scores / T; CE has
    no temperature. Scores of ±1000 are no problem. No derivative reaches teacher_scores.

    Hint: `F.log_softmax`, `F.kl_div` with `log_target` (which reduction is a mean over the batch?). My version has 280
    characters.
    """
    # BEGIN SOLUTION
    log_p = F.log_softmax(teacher_scores.detach() / temperature, 1)
    log_q = F.log_softmax(scores / temperature, 1)
    divergence = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    return alpha * F.cross_entropy(scores, labels) + (1 - alpha) * temperature**2 * divergence
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# A convolutional network learns 6000 digits (2.2 % test error) and is compressed.
#
# | weights that stay | 100 % | 20 % | 10 % | 5 % | 2 % |
# | --- | --- | --- | --- | --- | --- |
# | test error, pruned | 2 % | 3 % | 11 % | 35 % | 63 % |
# | and fine-tuned for one epoch | 2 % | 2 % | 2.5 % | 4 % | 9 % |
#
# | bits for a weight | 32 | 8 | 4 | 3 | 2 |
# | --- | --- | --- | --- | --- | --- |
# | test error | 2.2 % | 2.2 % | 2.3 % | 2.5 % | 15–40 % |
#
# An image alone takes 0.3 to 0.4 ms, one of 64 less than 0.1 ms. A network with 30 hidden units makes 9 % errors when
# it learns from labels, and 6 to 8 % when it learns from the large network's answers at T = 3, without a single label.
# A GPU (`--gpu`) shows what 16 bits, `torch.compile` and CUDA graphs save. All targets take 30 s
# (2 cores, AMD EPYC 2.6 GHz, one thread).
#
# * At T = 1 the teacher's answers are hardly better than labels. What do they contain at T = 3 that they hide at T = 1?
# * The network has 1.1 million multiplications. Which layer has most of them, and which has most of the weights?
# * With one scale for the whole weight instead of one for each channel: at how many bits does the error rise?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` prunes, quantises, folds and distils a network for digits, and measures what each costs (30 s).
# `check(gpu=True)` shows what 16 bits, `torch.compile` and CUDA graphs save, where there is a GPU.
#
# Next is lab 19, custom kernels: how the operations themselves are written, so that memory is read once.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
