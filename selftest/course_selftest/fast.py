"""The training of lecture 1a made fast: the same net, loss, data and number of epochs.

What differs is how the net is led there: larger batches in a new random order each epoch, momentum, and a learning rate
that rises and falls (Smith and Topin, Super-Convergence, arXiv:1708.07120). A GPU of today needs far less time to
compute such a step than Python needs to ask for it. Therefore

* all images lie on the device, in the type that it computes in, and a batch is gathered there;
* everything that changes from step to step (which images, which learning rate) is looked up on the device by a counter
  that lies there, too, so that each step is the same list of kernels on the same memory;
* on a GPU this list is recorded once, as a CUDA graph, and then replayed;
* all parameters are one vector, so that the update is a handful of kernels whatever the number of layers; it is kept in
  float32, also where the net computes in bf16;
* the biases of the convolutions are added behind the pooling, to a ninth and a quarter of the values. The largest of
  some numbers, plus the bias, is the largest of their sums with it: the function is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from course_selftest import graphs
from course_selftest.net import Net, make_net
from course_selftest.timing import median_seconds


@dataclass(frozen=True)
class Recipe:
    """peak: the largest learning rate. rise: the share of the steps in which it is reached, from 0; then it falls to 0.

    The values were found by training; docs/benchmarks.md has what others end with. Half the batch is a little better,
    and takes twice the steps; twice the batch is a little worse.
    """

    epochs: int = 10
    batch: int = 500
    peak: float = 0.05
    rise: float = 0.2
    momentum: float = 0.9

    def learning_rates(self, steps: int) -> Tensor:
        """One for each of `steps` steps, float32 on the CPU: up in a straight line, down in another."""
        summit = max(1.0, self.rise * steps)
        step = torch.arange(1, steps + 1, dtype=torch.float64)
        rates = torch.minimum(step / summit, (steps + 1 - step) / (steps + 1 - summit))
        return (self.peak * rates).float()


@dataclass(frozen=True)
class Plan:
    """How the device computes. dtype: of images, activations and gradients. channels_last: the layout of images."""

    dtype: torch.dtype
    channels_last: bool

    def __str__(self) -> str:
        name = {torch.bfloat16: "bf16"}.get(self.dtype, str(self.dtype).removeprefix("torch."))
        return f"{name}, channels {'last' if self.channels_last else 'first'}"


def forward(images: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Net.forward with the weights as an argument, and with the biases behind the pooling. Returns N × 10."""
    conv1, bias1, conv2, bias2, fc1, fc1_bias, fc2, fc2_bias = weights
    hidden = F.relu(F.max_pool2d(F.conv2d(images, conv1), kernel_size=3) + bias1.view(1, -1, 1, 1))
    hidden = F.relu(F.max_pool2d(F.conv2d(hidden, conv2), kernel_size=2) + bias2.view(1, -1, 1, 1))
    hidden = F.relu(F.linear(hidden.flatten(1), fc1, fc1_bias))
    return F.linear(hidden, fc2, fc2_bias)


class Training:
    """One training, whose tensors stay where they are, so that a graph of its step can be replayed.

    images: N × 784, normalised, any floating type; labels: N, int64; both on the device that trains.
    """

    def __init__(self, images: Tensor, labels: Tensor, recipe: Recipe, plan: Plan) -> None:
        self.recipe, self.plan = recipe, plan
        self._device = images.device
        self._images, self._labels = images.to(plan.dtype), labels
        steps_per_epoch = len(images) // recipe.batch  # images that do not fill a batch wait for the next epoch
        self.steps = recipe.epochs * steps_per_epoch
        self._used = steps_per_epoch * recipe.batch
        self._shapes = [parameter.shape for parameter in make_net(0).parameters()]
        size = sum(shape.numel() for shape in self._shapes)
        self._rates = recipe.learning_rates(self.steps).to(self._device)
        self._order = torch.zeros(self.steps, recipe.batch, dtype=torch.int64, device=self._device)
        self._step = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._master = torch.zeros(size, device=self._device)
        self._velocity = torch.zeros_like(self._master)
        # In float32 this is the same tensor.
        self._compute = self._master.to(plan.dtype)
        self._weights = [view.detach().requires_grad_() for view in self._views(self._compute)]
        self._advance: Callable[[], None] = self.step
        self.recorded = False

    def reset(self, seed: int) -> None:
        """Begin anew: weights as PyTorch initialises them, and another order of the images."""
        parameters = [parameter.detach().to(self._device) for parameter in make_net(seed).parameters()]
        self._master.copy_(self._flat(parameters))
        self._compute.copy_(self._master)
        self._velocity.zero_()
        self._step.zero_()
        generator = torch.Generator(self._device).manual_seed(seed)
        epochs = [
            torch.randperm(len(self._images), generator=generator, device=self._device)[: self._used]
            for _ in range(self.recipe.epochs)
        ]
        self._order.copy_(torch.cat(epochs).view_as(self._order))

    def step(self) -> None:
        """Loss and gradients of the batch that the counter points at, one update, and the counter goes on.

        Nesterov momentum in the form of torch.optim.SGD. Nothing here waits for the device or asks it anything.
        """
        chosen = self._order.index_select(0, self._step).view(-1)
        images, labels = self._images.index_select(0, chosen), self._labels.index_select(0, chosen)
        # With one channel both layouts have the same bytes, and only the strides tell the convolution which one to use.
        if self.plan.channels_last:
            images = images.view(-1, 28, 28, 1).permute(0, 3, 1, 2)
        else:
            images = images.view(-1, 1, 28, 28)
        loss = F.cross_entropy(forward(images, self._weights).float(), labels)
        gradient = self._flat(torch.autograd.grad(loss, self._weights))
        with torch.no_grad():
            torch.add(gradient, self._velocity, alpha=self.recipe.momentum, out=self._velocity)
            direction = torch.add(gradient, self._velocity, alpha=self.recipe.momentum)
            self._master.addcmul_(direction, self._rates.index_select(0, self._step), value=-1)
            if self._compute is not self._master:
                self._compute.copy_(self._master)
            self._step.add_(1)

    def record(self, recorder: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        """From now on replay what `recorder` makes of one step; see graphs.record. Call reset() afterwards."""
        self.reset(0)
        self._advance = recorder(self.step)
        self.recorded = True

    def train(self, seed: int, progress: Callable[[float], None] = lambda share: None) -> float:
        """Train all epochs; returns the seconds, shuffling included."""
        self._wait()
        start = time.perf_counter()
        self.reset(seed)
        for number in range(self.steps):
            self._advance()
            if not self.recorded and number % 10 == 0:  # replayed, it is over before anybody looks
                progress(number / self.steps)
        self._wait()
        return time.perf_counter() - start

    def seconds_per_step(self) -> float:
        """Measured over some steps; call reset() afterwards."""
        self.reset(0)
        repeat = min(50 if self.recorded else 3, self.steps - 2)
        return median_seconds(self._advance, self._device, repeat)

    def net(self) -> Net:
        """The trained net, in float32, on the device."""
        net = make_net(0).to(self._device)
        with torch.no_grad():
            for parameter, view in zip(net.parameters(), self._views(self._master), strict=True):
                parameter.copy_(view)
        return net

    def _flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """One vector out of tensors of the parameters' shapes, each in the order that its memory has in the plan."""
        return torch.cat([
            (tensor.permute(0, 2, 3, 1) if self.plan.channels_last and tensor.dim() == 4 else tensor).reshape(-1)
            for tensor in tensors
        ])  # fmt: skip

    def _views(self, vector: Tensor) -> list[Tensor]:
        """The inverse of _flat, without a copy."""
        views = []
        for part, shape in zip(vector.split([shape.numel() for shape in self._shapes]), self._shapes, strict=True):
            if self.plan.channels_last and len(shape) == 4:
                filters, channels, height, width = shape
                views.append(part.view(filters, height, width, channels).permute(0, 3, 1, 2))
            else:
                views.append(part.view(shape))
        return views

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def prepare(images: Tensor, labels: Tensor, recipe: Recipe, plans: Sequence[Plan]) -> tuple[Training, dict[str, float]]:
    """Try each plan for some steps and keep the fastest, ready to train. Returns it, and plan → seconds of a step."""
    seconds: dict[Plan, float] = {}
    best: Training | None = None
    for plan in plans:
        training = Training(images, labels, recipe, plan)
        if images.is_cuda:
            training.record(graphs.record)
        seconds[plan] = training.seconds_per_step()
        if best is None or seconds[plan] < seconds[best.plan]:
            best = training
    if best is None:
        raise ValueError("no plan to choose from")
    return best, {str(plan): value for plan, value in seconds.items()}
