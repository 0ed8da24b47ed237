"""How far a result may be from the float64 one, and how far it is.

The bounds are for sums of products of independent random numbers with mean zero. Let R be the exact sum of `terms`
products, s the standard deviation of a product. Then

* R has the standard deviation s·√terms;
* if each product is off by at most δ relative to itself, the errors add up like R does: at most δ·s·√terms;
* the rounding of the k-th partial sum is off by at most u times the sum, so by u·s·√k; all of them together by
  u·s·√(1 + 2 + … + terms) ≈ u·s·terms/√2.

Divided by the size of R: δ + u·√(terms/2). Worst cases (Higham, Accuracy and Stability of Numerical Algorithms, 2nd
ed., section 3.1) grow with `terms` instead and would let errors pass that are easily seen this way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Half the distance from 1 to the next number: 2 to the minus (bits of the significand).
UNIT = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.float16: 2.0**-11,
    torch.bfloat16: 2.0**-8,
}
# TF32 keeps 11 bits of each factor; the unit may cut off the others instead of rounding, which doubles the error.
TF32_FACTOR = 2.0**-10
# Sums in blocks or in several accumulators differ from the plain one by a constant; convolutions by a transform
# (Winograd with large tiles, FFT) by a larger one, which still is a third of what TF32 would make of it.
ORDER_OF_SUMMATION = 4.0
TRANSFORMS = 64.0


def relative_error(result: Tensor, reference: Tensor) -> float:
    """‖result − reference‖ / ‖reference‖, computed in float64 on the CPU; infinite when the result is not finite."""
    got, wanted = result.detach().double().cpu(), reference.detach().double().cpu()
    if got.shape != wanted.shape:
        raise ValueError(f"shapes differ: {tuple(got.shape)} and {tuple(wanted.shape)}")
    error = float((got - wanted).norm() / wanted.norm())
    return error if math.isfinite(error) else math.inf


def bound(
    terms: int, arithmetic: torch.dtype, *, factors: float = 0.0, result: float = 0.0, slack: float = ORDER_OF_SUMMATION
) -> float:
    """The largest relative error of sums of `terms` random products.

    arithmetic: the type that sums are kept in. factors: relative rounding error of each factor. result: that of the
    final value. slack: multiplies the part that depends on the order of summation.
    """
    return 2 * factors + result + slack * UNIT[arithmetic] * math.sqrt(terms / 2)
