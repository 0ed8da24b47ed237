"""The fast training of course-selftest: the same function, the same update, and a step that a CUDA graph can replay.

No GPU is needed. What a CUDA graph does to a program is imitated: each operation is kept with its tensors, and
replaying means to run the same operations on the same tensors again, without the program around them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from labs_support import CHECKOUT
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

sys.path.insert(0, os.environ.get("COURSEBOX_TEST_SELFTEST") or str(CHECKOUT / "selftest"))

from course_selftest import fast, graphs, mnist
from course_selftest.fast import Plan, Recipe, Training
from course_selftest.net import make_net
from course_selftest.net import test_error as error_of

FIRST, LAST, BF16 = Plan(torch.float32, False), Plan(torch.float32, True), Plan(torch.bfloat16, True)
SMALL = Recipe(epochs=2, batch=20, peak=0.02)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """Ten patterns with noise, N × 784, and which one each is."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(90) % 10
    noise = 0.5 * torch.randn(90, 784, generator=generator)
    return torch.randn(10, 784, generator=generator)[labels] + noise, labels


def same(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True))


def distance(left: torch.nn.Module, right: torch.nn.Module) -> float:
    """‖left − right‖ over all parameters."""
    with torch.no_grad():
        pairs = zip(left.parameters(), right.parameters(), strict=True)
        return torch.cat([(a - b).view(-1) for a, b in pairs]).norm().item()


# --- the function and the update


def test_the_function_and_its_gradients_are_those_of_the_net() -> None:
    net = make_net(0).double()
    images, labels = torch.randn(50, 1, 28, 28, dtype=torch.float64), torch.arange(50) % 10
    weights = list(net.parameters())
    found, wanted = fast.forward(images, weights), net(images)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    found = torch.autograd.grad(F.cross_entropy(found, labels), weights)
    wanted = torch.autograd.grad(F.cross_entropy(wanted, labels), weights)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_learning_rates_rise_to_the_peak_and_fall() -> None:
    rates = Recipe(peak=0.05, rise=0.2).learning_rates(1000).tolist()
    assert len(rates) == 1000
    assert rates[199] == pytest.approx(0.05) and max(rates) == rates[199]
    assert rates[:200] == sorted(rates[:200]) and rates[199:] == sorted(rates[199:], reverse=True)
    assert 0 < rates[0] < 0.001 and 0 < rates[-1] < 0.001
    assert Recipe(peak=0.05).learning_rates(1).tolist() == [pytest.approx(0.05)]


@pytest.mark.parametrize(("plan", "allowed"), [(FIRST, 1e-4), (LAST, 1e-4), (BF16, 0.3)], ids=str)
def test_the_update_is_that_of_sgd(digits: tuple[Tensor, Tensor], plan: Plan, allowed: float) -> None:
    images, labels = digits
    training = Training(images, labels, SMALL, plan)
    training.train(5)

    net = make_net(5)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0, momentum=SMALL.momentum, nesterov=True)
    for chosen, rate in zip(training._order, SMALL.learning_rates(training.steps).tolist(), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        F.cross_entropy(net(images[chosen].view(-1, 1, 28, 28)), labels[chosen]).backward()
        optimizer.step()

    assert training.steps == 8
    way = distance(net, make_net(5))
    assert way > 0.1
    assert distance(training.net(), net) < allowed * way


def test_every_epoch_takes_each_image_once_in_a_new_order(digits: tuple[Tensor, Tensor]) -> None:
    training = Training(*digits, Recipe(epochs=3, batch=30), FIRST)
    training.reset(0)
    epochs = training._order.view(3, 90)
    assert all(sorted(epoch.tolist()) == list(range(90)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])
    first = training._order.clone()
    training.reset(1)
    assert not torch.equal(training._order, first)
    training.reset(0)
    assert torch.equal(training._order, first)


def test_a_seed_gives_the_same_net_however_often(digits: tuple[Tensor, Tensor]) -> None:
    training = Training(*digits, SMALL, LAST)
    training.train(1)
    first = training.net()
    training.train(2)
    assert not same(training.net(), first)
    training.train(1)
    assert same(training.net(), first)


def test_the_net_learns(digits: tuple[Tensor, Tensor]) -> None:
    training = Training(*digits, Recipe(epochs=20, batch=30, peak=0.05), BF16)
    training.train(0)
    assert error_of(training.net(), digits[0].view(-1, 1, 28, 28), digits[1]) == 0
    assert error_of(make_net(0), digits[0].view(-1, 1, 28, 28), digits[1]) > 50


def test_one_epoch_of_mnist(data_dir: Path) -> None:
    data = mnist.load(data_dir)
    mean, deviation = data.statistics()
    assert (mean, deviation) == (pytest.approx(33.3184, abs=1e-3), pytest.approx(78.5675, abs=1e-3))
    images, test_images = ((part.float() - mean) / deviation for part in (data.train_images, data.test_images))
    training = Training(images, data.train_labels, Recipe(epochs=1), LAST)
    training.train(0)
    assert error_of(training.net(), test_images.view(-1, 1, 28, 28), data.test_labels) < 6


def test_the_fastest_plan_is_kept(digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {FIRST: 3.0, BF16: 1.0, LAST: 2.0}
    monkeypatch.setattr(Training, "seconds_per_step", lambda training: seconds[training.plan])
    training, tried = fast.prepare(*digits, SMALL, list(seconds))
    assert training.plan == BF16 and tried == {str(plan): value for plan, value in seconds.items()}
    assert str(BF16) == "bf16, channels last" and str(FIRST) == "float32, channels first"


def test_a_measured_training_begins_anew(digits: tuple[Tensor, Tensor]) -> None:
    training = Training(*digits, SMALL, LAST)
    training.train(0)
    first = training.net()
    assert training.seconds_per_step() > 0
    training.train(0)
    assert same(training.net(), first)


# --- the graph


class Recording(TorchDispatchMode):
    """Runs operations as usual and keeps them. Refuses what a CUDA graph cannot hold: a value read by the program."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise RuntimeError("operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        """The same operations on the same tensors; results go to where they went when they were recorded."""
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class FakeCuda:
    """The part of torch.cuda that graphs.record uses; notes the order of what is done."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.current = self.Stream("main")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "Stream", lambda: self.Stream("side"))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: self.current)
        monkeypatch.setattr(torch.cuda, "stream", self.on)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Recording)
        monkeypatch.setattr(torch.cuda, "graph", self.capture)
        self.Stream.events = self.events

    class Stream:
        events: list[str]

        def __init__(self, name: str) -> None:
            self.name = name

        def wait_stream(self, other: FakeCuda.Stream) -> None:
            self.events.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def on(self, stream: FakeCuda.Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextmanager
    def capture(self, graph: Recording) -> Iterator[None]:
        self.events.append("capture begins")
        with graph:
            yield
        self.events.append("capture ends")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    fake.install(monkeypatch)
    return fake


def test_a_recording_is_made_in_the_order_that_pytorch_asks_for(cuda: FakeCuda) -> None:
    counter = torch.zeros(1)

    def step() -> None:
        cuda.events.append(f"step on {cuda.current.name}")
        counter.add_(1)

    replay = graphs.record(step)
    assert cuda.events == [
        "side waits for main", "step on side", "step on side", "step on side", "main waits for side",
        "capture begins", "step on main", "capture ends",
    ]  # fmt: skip
    replay()
    replay()
    assert counter.item() == 6


@pytest.mark.parametrize("plan", [FIRST, LAST, BF16], ids=str)
def test_a_replayed_training_is_the_same_to_the_last_bit(
    digits: tuple[Tensor, Tensor], cuda: FakeCuda, plan: Plan
) -> None:
    stepped, replayed = (Training(*digits, SMALL, plan) for _ in range(2))
    replayed.record(graphs.record)
    steps: list[int] = []
    replayed.step = lambda: steps.append(1)  # type: ignore[method-assign]
    for seed in (7, 8):
        stepped.train(seed)
        replayed.train(seed)
        assert same(stepped.net(), replayed.net())
    assert replayed.seconds_per_step() > 0
    assert steps == [] and replayed.recorded and not stepped.recorded


def rate_from_python(training: Training) -> None:
    """A step that a graph would freeze: its learning rate comes from a counter of the program."""
    training.number = getattr(training, "number", -1) + 1  # type: ignore[attr-defined]
    training._rates.fill_(0.01 * (1 + training.number % 5))  # type: ignore[attr-defined]
    Training.step(training)


def test_the_imitation_finds_what_a_graph_would_freeze(digits: tuple[Tensor, Tensor], cuda: FakeCuda) -> None:
    nets = []
    for recorded in (False, True):
        training = Training(*digits, SMALL, FIRST)
        training._advance = training.step = lambda training=training: rate_from_python(training)  # type: ignore[assignment, misc]
        if recorded:
            training.record(graphs.record)
        training.train(0)
        nets.append(training.net())
    assert not same(*nets)


def test_the_imitation_finds_a_value_that_is_read(cuda: FakeCuda) -> None:
    total = torch.ones(3)
    step: Callable[[], None] = lambda: total.mul_(total.sum().item())  # type: ignore[assignment]  # noqa: E731
    with pytest.raises(RuntimeError, match="capturing"):
        graphs.record(step)


def test_without_a_gpu_nothing_is_recorded(digits: tuple[Tensor, Tensor]) -> None:
    training, _ = fast.prepare(*digits, SMALL, [LAST])
    assert not training.recorded
