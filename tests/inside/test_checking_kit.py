"""The kit of the labs: what each helper promises, and that both sides of a check can import it."""

from __future__ import annotations

import math

import lab_cases as cases
import pytest
import torch
from checking import kit
from checking.lab import Lab
from checking.loading import load_lab
from checking.runner import Plan, run
from checking.submission import parse
from torch import nn

assert cases.LABS.is_dir()

CHECK = f"""
import sys
import torch
sys.path.insert(0, {str(cases.LABS)!r})
from checking import Lab, expect, student_side
from checking.kit import Broken, differentiable, float64

lab = Lab(__file__, parts=["twice"])

@student_side
def slope(student, x):
    (leaf,) = differentiable(x.to(float64))
    (found,) = torch.autograd.grad(student.twice(leaf).sum(), leaf)
    return found, Broken.__name__

@lab.check("twice")
def slopes(student, rng):
    "the slope is 2"
    x = rng.normal(3)
    expect(student.run(slope, x), (2 * torch.ones(3, dtype=float64), "Broken"))
"""


@pytest.fixture
def lab(tmp_path) -> Lab:
    folder = tmp_path / "77_tiny"
    folder.mkdir()
    (folder / "check.py").write_text(CHECK)
    return load_lab(folder)


@pytest.mark.parametrize(("text", "status"), [("return 2 * x", "passed"), ("return 3 * x", "failed")])
def test_both_sides_import_it(lab: Lab, text: str, status: str) -> None:
    submission = parse(f"def twice(x):\n    {text}\n", lab.folder / "exercise.py")
    (result,) = run(Plan(lab), submission, cases.START)
    assert result.status == status, result.failed


def test_differentiable_makes_leaves_and_leaves_the_originals_alone() -> None:
    x, y = torch.ones(2), torch.zeros(3, dtype=kit.float64)
    a, b = kit.differentiable(x, y)
    assert a.requires_grad and a.is_leaf and b.dtype == torch.float64 and not x.requires_grad
    with torch.no_grad():
        a += 1
    assert x.tolist() == [1, 1]


def test_numeric_gradient() -> None:
    x = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    found = kit.numeric_gradient(lambda t: (t**3).sum(), x)
    assert found.shape == x.shape and torch.allclose(found, 3 * x**2, rtol=1e-8)


def test_filled_takes_the_first_numbers() -> None:
    model = nn.Linear(2, 1)
    weights = torch.arange(5.0)
    assert kit.filled(model, weights) is model
    assert model.weight.tolist() == [[0, 1]] and model.bias.tolist() == [2]
    with torch.no_grad():
        model.weight += 1
    assert weights.tolist() == [0, 1, 2, 3, 4]


def test_loaded_is_in_evaluation_mode() -> None:
    source = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    model = kit.loaded(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), source.state_dict())
    assert not model.training and torch.equal(model[0].weight, source[0].weight)


def test_shapes_as_text() -> None:
    assert kit.shape_texts({"w": torch.zeros(3, 5), "b": torch.zeros(5), "s": torch.zeros(())}) == {
        "w": "3×5", "b": "5", "s": "",
    }  # fmt: skip


def test_hooks_are_counted_in_all_parts() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert kit.count_hooks(model) == 0
    handles = [
        model.register_forward_hook(lambda *_: None),
        model[0].register_forward_pre_hook(lambda *_: None),
        model[1].register_full_backward_hook(lambda *_: None),
        model[1].register_full_backward_pre_hook(lambda *_: None),
    ]
    assert kit.count_hooks(model) == 4
    for handle in handles:
        handle.remove()
    assert kit.count_hooks(model) == 0


def test_a_broken_layer_is_broken() -> None:
    with pytest.raises(ZeroDivisionError, match="the model itself has failed"):
        kit.Broken()(torch.zeros(1))


@pytest.mark.parametrize(
    ("block", "outputs", "kinds"),
    [
        ("pool relu", 10, [nn.MaxPool2d, nn.ReLU]),
        ("pool norm relu", 5, [nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU]),
        ("norm relu pool", 10, [nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]),
    ],
)
def test_the_network_for_digits(block: str, outputs: int, kinds: list[type]) -> None:
    model = kit.digit_model(block, outputs)
    head = [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in model] == [nn.Conv2d, *kinds, nn.Conv2d, *kinds, *head]
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, outputs)


def test_half_circles() -> None:
    angle = torch.tensor([0.0, math.pi / 2, 0.0, math.pi / 2], dtype=torch.float64)
    points = kit.half_circles(angle, torch.tensor([False, False, True, True]))
    assert torch.allclose(points, torch.tensor([[1.0, 0], [0, 1], [0, 0.5], [1, -0.5]], dtype=torch.float64))


def test_a_mosaic_has_its_tiles_in_rows() -> None:
    tiles = torch.arange(4.0)[:, None, None].expand(4, 2, 3)
    made = kit.mosaic(tiles, 2)
    assert made.shape == (5, 7)
    assert made[:2, :3].unique().tolist() == [0] and made[:2, 4:].unique().tolist() == [1]
    assert made[3:, :3].unique().tolist() == [2] and made[3:, 4:].unique().tolist() == [3]
    assert made[2].isnan().all() and made[:, 3].isnan().all()


def test_least_seconds_calls_a_few_times() -> None:
    calls = []
    assert 0 <= kit.least_seconds(lambda: calls.append(1), limit=0.0) < 1 and len(calls) == 3
    calls.clear()
    kit.least_seconds(lambda: calls.append(1), limit=60.0)
    assert len(calls) == 50
