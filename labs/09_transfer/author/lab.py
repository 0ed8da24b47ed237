# %% [markdown]
# # 09 · Transfer and checkpoints
#
# A network that has seen thousands of digits 0 to 4 has learned strokes and loops; 5 to 9 are made of the same. Here
# you operate on it: give it a new head, freeze what it knows, read out its features. Then you store a training run so
# completely that it goes on, bit for bit, as if nothing had happened.

# %%
import copy
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

# %% [markdown]
# ## Surgery
#
# `model.named_modules()` and `model.named_parameters()` know everything by name: `"features.4.weight"`.


# %%
def replace_head(model: nn.Module, nb_classes: int) -> nn.Module:
    """A copy of the model with a new last linear layer, for nb_classes classes.

    The last `nn.Linear` of `model.named_modules()`, at any depth, is replaced by a new one with as many inputs, and
    with a bias if the old one had one. All else is copied; the model itself stays as it is.

    Hint: `copy.deepcopy`, `get_submodule`, `setattr`, and a name's `rpartition(".")`. My version has 300 characters.
    """
    # BEGIN SOLUTION
    model = copy.deepcopy(model)
    name, old = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Linear(old.in_features, nb_classes, bias=old.bias is not None))
    return model
    # END SOLUTION


# %% [markdown]
# What must not learn is frozen. A frozen batch normalisation still moves: in training mode its running mean and
# variance follow the new data, and no `requires_grad` stops them.


# %%
def freeze(model: nn.Module, trainable: list[str]) -> int:
    """Let only the modules named in `trainable`, with all that is inside of them, learn.

    Parameters of these modules require a gradient, all others do not. "fc1" does not mean "fc10". Returns how many
    numbers are trained.

    Hint: `requires_grad_`, `startswith`, `numel`. My version has 190 characters.
    """
    # BEGIN SOLUTION
    count = 0
    for name, p in model.named_parameters():
        p.requires_grad_(any(name.startswith(f"{module}.") for module in trainable))
        count += p.numel() if p.requires_grad else 0
    return count
    # END SOLUTION


def train_mode(model: nn.Module) -> None:
    """Training mode, but not for batch normalisations whose parameters are frozen.

    Hint: `model.train()`, then `eval()` where it is needed; `nn.BatchNorm1d` and `2d` share a base class,
    `nn.modules.batchnorm._BatchNorm`. My version has 200 characters.
    """
    # BEGIN SOLUTION
    model.train()
    for module in model.modules():
        frozen = not any(p.requires_grad for p in module.parameters())
        if frozen and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    # END SOLUTION


# %%
def extract_features(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """What the module named `layer` answers while the model works on x.

    The model is used as it is, in its mode, and nothing is recorded for autograd. The hook is removed at the end, even
    if the model raises.

    Hint: `get_submodule`, `register_forward_hook`, `torch.no_grad()`, `try` and `finally`. The next layer may work in
    place: `clone`. My version has 200 characters.
    """
    # BEGIN SOLUTION
    found = []
    hook = model.get_submodule(layer).register_forward_hook(lambda _layer, _x, y: found.append(y.clone()))
    try:
        with torch.no_grad():
            model(x)
    finally:
        hook.remove()
    return found[0]
    # END SOLUTION


# %% [markdown]
# ## A run that can be repeated
#
# The order of the samples is part of a run. If it comes from the global random numbers, every call of `torch.rand`
# anywhere changes it; if it comes from `seed` and `epoch` alone, epoch 7 has the same order in every run.


# %%
def make_loader(x: Tensor, t: Tensor, batch_size: int, seed: int, epoch: int) -> DataLoader:
    """Batches (inputs, targets) of all samples in random order, for one epoch.

    The order follows from seed and epoch, is another one for every pair of them, and neither uses nor moves the global
    random numbers. The last batch may be short.

    Hint: `TensorDataset`, `DataLoader` with `shuffle` and `generator`; `torch.Generator().manual_seed`. Is seed + epoch
    good enough? My version has 150 characters.
    """
    # BEGIN SOLUTION
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    return DataLoader(TensorDataset(x, t), batch_size, shuffle=True, generator=generator)
    # END SOLUTION


# %% [markdown]
# ## A run that can be resumed
#
# What determines the next step: parameters and buffers of the model, what the optimiser remembers, the state of the
# random numbers (dropout draws from them), and where we are. A checkpoint holds all four, or it is worth little.


# %%
def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """Store a run in one file, a dictionary for `torch.load`.

    Its keys: "model" and "optimizer" (their `state_dict`), "epoch", "rng" (the state of the CPU's random numbers). If
    anything fails on the way, an older file of this name is still there, whole: write to another name in the same
    folder, then rename.

    Hint: `torch.save`, `torch.get_rng_state`, `path.with_name`, `os.replace`. My version has 220 characters.
    """
    # BEGIN SOLUTION
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
    beside = path.with_name(f"{path.name}.part")
    torch.save(state | {"rng": torch.get_rng_state()}, beside)
    os.replace(beside, path)
    # END SOLUTION


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Bring model, optimiser and random numbers to where `save_checkpoint` left them; returns the epoch.

    A checkpoint may come from anybody: it is read without running code from it.

    Hint: `torch.load` with `weights_only=True`, `load_state_dict`, `torch.set_rng_state`. My version has 180
    characters.
    """
    # BEGIN SOLUTION
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    return state["epoch"]
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# `python check.py --targets` learns the digits 0 to 4 from 30 000 images, then 5 to 9 from 10, 20 or 50. It takes 25 s
# (2 cores, AMD EPYC 2.6 GHz, one used). Means of three choices of the images:
#
# | learning 5 to 9 from 20 images | test error |
# | --- | --- |
# | from scratch | 21 % |
# | random convolutions, frozen | 28 % |
# | pretrained convolutions, frozen | 13 % |
# | pretrained, all learns | 13 % |
#
# In the features of a network that never saw a 5, the image nearest to a 5 is more often a 5 than in the pixels: 4 % are
# another digit, instead of 9 %.
#
# * Random convolutions that never learn are not useless. What do they do for the two layers behind them?
# * When does "all learns" win over "frozen"? Look at 50 images, then try 500.
# * Leave out one of the four things in a checkpoint. How far is the resumed run from the other after 100 steps?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` trains a network on the digits 0 to 4, lets it learn 5 to 9 from a few images in four ways, and
# compares its features with the pixels (25 s). This lab has no part for a GPU.
#
# Next is lab 10, looking inside: what is in the features that you have just read out?
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
