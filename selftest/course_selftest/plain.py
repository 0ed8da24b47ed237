"""The training of lecture 1a, as the lecture does it: nothing is made faster here."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn, optim

from course_selftest.net import Net, make_net

BATCH = 100
LEARNING_RATE = 0.1


def train(
    images: Tensor, labels: Tensor, seed: int, epochs: int, progress: Callable[[float], None] = lambda share: None
) -> tuple[Net, float]:
    """Plain stochastic gradient descent over batches of 100 images in their order, with the cross-entropy.

    images: N × 1 × 28 × 28, float32, normalised; labels: N, int64; both on the device that trains. Returns the net and
    the seconds that the epochs took; one step on a net that is thrown away comes before, so that loading the kernels
    of the GPU is not counted.
    """
    criterion = nn.CrossEntropyLoss()

    def epoch(net: Net, images: Tensor, labels: Tensor) -> None:
        optimizer = optim.SGD(net.parameters(), lr=LEARNING_RATE)
        for inputs, targets in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            loss = criterion(net(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    epoch(make_net(seed).to(images.device), images[:BATCH], labels[:BATCH])
    net = make_net(seed).to(images.device)
    _wait(images.device)
    start = time.perf_counter()
    for number in range(epochs):
        progress(number / epochs)
        epoch(net, images, labels)
    _wait(images.device)
    return net, time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
