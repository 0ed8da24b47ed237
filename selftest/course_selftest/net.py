"""The convolutional network of lecture 1a, and how well it reads the test set."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Net(nn.Module):
    """Two convolutions of 5 × 5 and two linear layers: N × 1 × 28 × 28 in, one score for each of ten digits out.

    The layers and their order are those of lecture 1a of EE-559, "Introduction"; 105 506 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=5)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=5)
        self.fc1 = nn.Linear(256, 200)
        self.fc2 = nn.Linear(200, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(F.max_pool2d(self.conv1(images), kernel_size=3))
        hidden = F.relu(F.max_pool2d(self.conv2(hidden), kernel_size=2))
        hidden = F.relu(self.fc1(hidden.flatten(1)))
        scores: Tensor = self.fc2(hidden)
        return scores


def make_net(seed: int) -> Net:
    """A fresh network on the CPU, initialised as PyTorch does; the same seed gives the same weights everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net()


@torch.no_grad()
def test_error(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of wrong answers in percent. images: N × 1 × 28 × 28, labels: N integers, on the device of `net`."""
    wrong = torch.zeros((), dtype=torch.int64, device=labels.device)
    for some_images, some_labels in zip(images.split(1000), labels.split(1000), strict=True):
        wrong += (net(some_images).argmax(1) != some_labels).sum()
    return 100 * wrong.item() / len(labels)
