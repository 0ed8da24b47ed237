"""Mistakes that show in the numbers themselves, whatever the function: transposed, scaled, reversed, …"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Same = Callable[[Tensor, Tensor], bool]


def _constant_factor(got: Tensor, want: Tensor) -> float | None:
    """The c for which got = c · want would hold in least squares."""
    square = float((want * want).sum())
    return float((got * want).sum()) / square if square > 0 else None


def _factor_text(factor: float, count: int) -> str:
    known = {"2": 2.0, "1/2": 0.5, "the number of elements": float(count), "1/(number of elements)": 1 / count}
    for name, value in known.items():
        if abs(factor - value) <= 1e-3 * abs(value):
            return name
    return f"{factor:.4g}"


def general(got: Tensor, want: Tensor, same: Same) -> list[str]:
    """Sentences for what would turn the expected tensor into the one that came; both have one shape."""
    if got.dtype == torch.bool or want.dtype == torch.bool:
        return ["true and false are exchanged"] if same(~got.bool(), want.bool()) else []
    g, w = got.double() if not got.is_complex() else got, want.double() if not want.is_complex() else want
    if not bool(w.isnan().any()) and bool(g.isnan().any()):
        return ["not a number (nan): look for 0/0, the logarithm of a negative number, inf − inf"]
    if not bool(w.isinf().any()) and bool(g.isinf().any()):
        return ["infinite: an exponential or a division overflows"]
    if g.numel() > 1 and bool((g == 0).all()):
        return ["everything is zero: is the result ever written?"]
    if same(-g, w):
        return ["the sign is wrong"]
    if g.numel() > 1:
        if g.dim() == 2 and g.shape[0] == g.shape[1] and same(g.T, w):
            return ["looks transposed"]
        for dim in range(g.dim()):
            if g.shape[dim] > 1 and same(g.flip(dim), w):
                return [f"looks reversed along dimension {dim}"]
        if not g.is_complex() and bool(g.isfinite().all()) and bool(w.isfinite().all()):
            factor = _constant_factor(g, w)
            if factor and bool(w.count_nonzero() > 1) and same(g / factor, w):
                return [f"off by a constant factor of {_factor_text(factor, g.numel())}"]
            shift = float((g - w).mean())
            if same(g - shift, w) and not bool((w == w.flatten()[0]).all()):
                return [f"off by a constant, {shift:.4g}"]
            distinct = len(set(w.flatten().tolist())) == w.numel()  # among few values, any order looks right
            if distinct and same(g.flatten().sort().values, w.flatten().sort().values):
                return ["the right values, in another order"]
            if g.numel() > 2 and bool((g == g.flatten()[0]).all()) and not bool((w == w.flatten()[0]).all()):
                return ["all values are the same"]
    elif not g.is_complex() and float(w.abs().max() if w.numel() else 0) > 0:
        ratio = float(g.flatten()[0] / w.flatten()[0])
        for name, value in (("twice the right value", 2.0), ("half the right value", 0.5)):
            if abs(ratio - value) < 1e-4:
                return [name]
    return []


def of_shape(got: Tensor, want: Tensor) -> list[str]:
    """Sentences for a wrong shape."""
    if got.dim() == 2 and want.dim() == 2 and got.shape == want.T.shape:
        return ["looks transposed"]
    if got.numel() == want.numel():
        squeezed = [n for n in got.shape if n != 1] == [n for n in want.shape if n != 1]
        return ["a dimension of size 1 is too many or missing: squeeze, unsqueeze, keepdim"] if squeezed else []
    if want.dim() and got.dim() == 0:
        return ["everything was reduced to one number: which dimension should stay?"]
    if got.dim() == want.dim() + 1 or got.dim() == want.dim() - 1:
        return ["one dimension too many or too few: over which one should the result be reduced?"]
    return []


def of_dtype(got: torch.dtype, want: torch.dtype) -> list[str]:
    """Sentences for a wrong type of numbers."""
    if got.is_complex and not want.is_complex:
        return ["the numbers are complex: is .real missing?"]
    if want.is_floating_point and got.is_floating_point:
        return ["digits are lost on the way: keep the type of the argument"]
    if want.is_floating_point:
        return ["a result of floating-point numbers was made in an integer tensor"]
    if want == torch.int64 and got.is_floating_point:
        return ["class numbers and counts are integers: int64"]
    return []
