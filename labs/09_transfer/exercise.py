# Made by tools/labs.py from labs/09_transfer/author/lab.py; write your functions here.
"""Lab 09: Transfer and checkpoints.

What to do is in sheet.md. Check your work with: python check.py
"""

import copy
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


def replace_head(model: nn.Module, nb_classes: int) -> nn.Module:
    """A copy of the model with a new last linear layer, for nb_classes classes.

    The last `nn.Linear` of `model.named_modules()`, at any depth, is replaced by a new one with as many inputs, and
    with a bias if the old one had one. All else is copied; the model itself stays as it is.

    Hint: `copy.deepcopy`, `get_submodule`, `setattr`, and a name's `rpartition(".")`. My version has 300 characters.
    """
    raise NotImplementedError("09.1 replace_head")


def freeze(model: nn.Module, trainable: list[str]) -> int:
    """Let only the modules named in `trainable`, with all that is inside of them, learn.

    Parameters of these modules require a gradient, all others do not. "fc1" does not mean "fc10". Returns how many
    numbers are trained.

    Hint: `requires_grad_`, `startswith`, `numel`. My version has 190 characters.
    """
    raise NotImplementedError("09.2 freeze")


def train_mode(model: nn.Module) -> None:
    """Training mode, but not for batch normalisations whose parameters are frozen.

    Hint: `model.train()`, then `eval()` where it is needed; `nn.BatchNorm1d` and `2d` share a base class,
    `nn.modules.batchnorm._BatchNorm`. My version has 200 characters.
    """
    raise NotImplementedError("09.3 train_mode")


def extract_features(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """What the module named `layer` answers while the model works on x.

    The model is used as it is, in its mode, and nothing is recorded for autograd. The hook is removed at the end, even
    if the model raises.

    Hint: `get_submodule`, `register_forward_hook`, `torch.no_grad()`, `try` and `finally`. The next layer may work in
    place: `clone`. My version has 200 characters.
    """
    raise NotImplementedError("09.4 extract_features")


def make_loader(x: Tensor, t: Tensor, batch_size: int, seed: int, epoch: int) -> DataLoader:
    """Batches (inputs, targets) of all samples in random order, for one epoch.

    The order follows from seed and epoch, is another one for every pair of them, and neither uses nor moves the global
    random numbers. The last batch may be short.

    Hint: `TensorDataset`, `DataLoader` with `shuffle` and `generator`; `torch.Generator().manual_seed`. Is seed + epoch
    good enough? My version has 150 characters.
    """
    raise NotImplementedError("09.5 make_loader")


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """Store a run in one file, a dictionary for `torch.load`.

    Its keys: "model" and "optimizer" (their `state_dict`), "epoch", "rng" (the state of the CPU's random numbers). If
    anything fails on the way, an older file of this name is still there, whole: write to another name in the same
    folder, then rename.

    Hint: `torch.save`, `torch.get_rng_state`, `path.with_name`, `os.replace`. My version has 220 characters.
    """
    raise NotImplementedError("09.6 save_checkpoint")


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Bring model, optimiser and random numbers to where `save_checkpoint` left them; returns the epoch.

    A checkpoint may come from anybody: it is read without running code from it.

    Hint: `torch.load` with `weights_only=True`, `load_state_dict`, `torch.set_rng_state`. My version has 180
    characters.
    """
    raise NotImplementedError("09.7 load_checkpoint")
