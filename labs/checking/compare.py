"""Compare what a function returned with what it should: type, shape, type of the numbers, values."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from . import mistakes as known
from .outcome import CheckFailed
from .protocol import Opaque

_ALTERNATIVES = 3  # mistakes that are named where these inputs do not tell them apart
TOLERANCES = {  # (relative, absolute), by what the expected numbers are
    torch.float64: (1e-8, 1e-10),
    torch.complex128: (1e-8, 1e-10),
    torch.float32: (1e-4, 1e-5),
    torch.complex64: (1e-4, 1e-5),
    torch.float16: (1e-2, 1e-3),
    torch.bfloat16: (2e-2, 1e-2),
}


def shape_text(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) if len(shape) else "one number"


def dtype_text(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def describe(value: object) -> str:
    """A value in a few words: "7×5 float32", "tuple of 3", "0.25"."""
    if isinstance(value, torch.Tensor):
        return f"{shape_text(value.shape)} {dtype_text(value.dtype)}" + (" sparse" if value.is_sparse else "")
    if isinstance(value, np.ndarray):
        return f"numpy {shape_text(value.shape)} {value.dtype}"
    if isinstance(value, (tuple, list, set)):
        if len(value) <= 4 and all(isinstance(item, (int, float, str, type(None))) for item in value):
            return repr(value)[:60]
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, dict):
        return f"dict of {len(value)}"
    if isinstance(value, (float, complex)):
        return _number(value)
    return str(value)[:60] if isinstance(value, (Opaque, torch.dtype)) else repr(value)[:60]


def kind_text(value: object) -> str:
    """The type of a value, as a message names it."""
    if isinstance(value, Opaque):
        return value.kind
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        return "a tensor"
    name = type(value).__name__
    return f"a numpy {name}" if isinstance(value, (np.ndarray, np.generic)) else f"{_article(name)} {name}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeio" else "a"


def _real_number(value: float, digits: int) -> str:
    if math.isnan(value):
        return "not a number (nan)"
    if math.isinf(value):
        return "infinity" if value > 0 else "minus infinity"
    return f"{value:.{digits}g}"


def _number(value: Any, digits: int = 7) -> str:
    """A number in words: so many digits, and what is not finite by its name."""
    if isinstance(value, complex):
        if not (math.isfinite(value.real) and math.isfinite(value.imag)):
            return f"real part {_real_number(value.real, digits)}, imaginary part {_real_number(value.imag, digits)}"
        return f"{value:.{digits}g}"
    return _real_number(value, digits) if isinstance(value, float) else str(value)


def _differing(want: Any, got: Any) -> tuple[str, str]:
    """Two different numbers with as many digits as show that they differ."""
    for digits in range(7, 18):
        if (texts := (_number(want, digits), _number(got, digits)))[0] != texts[1]:
            break
    return texts


def _wrong(where: str, text: str, *seen: str, likely: Sequence[str] = ()) -> CheckFailed:
    """`seen`: what the values themselves show; `likely`: the lab's own names of the mistake."""
    return CheckFailed("wrong", f"{where}: {text}" if where else text, tuple(likely), seen=seen)


def _close(got: torch.Tensor, want: torch.Tensor, rtol: float, atol: float) -> torch.Tensor:
    """Where two tensors of one shape agree; both NaN, or the same infinity, counts as agreement."""
    if not (got.is_floating_point() or got.is_complex() or want.is_floating_point() or want.is_complex()):
        return got == want
    wide = torch.complex128 if got.is_complex() or want.is_complex() else torch.float64
    return torch.isclose(got.to(wide), want.to(wide), rtol=rtol, atol=atol, equal_nan=True)


def tolerance(want: torch.Tensor, rtol: float | None, atol: float | None) -> tuple[float, float]:
    usual = TOLERANCES.get(want.dtype, (0.0, 0.0))
    return (usual[0] if rtol is None else rtol, usual[1] if atol is None else atol)


def _same(one: torch.Tensor, other: torch.Tensor, rtol: float, atol: float) -> bool:
    return one.shape == other.shape and bool(_close(one, other, rtol, atol).all())


def _matches(got: torch.Tensor, value: object, rtol: float, atol: float) -> bool:
    """Whether a typical mistake gives just what the student's function gave."""
    other = torch.as_tensor(value)
    return _same(got.cpu(), other.cpu(), rtol, atol)


def _made(value: Any) -> Any:
    """The value of a mistake, or of one member of it; a function in its place is called."""
    while callable(value):
        value = value()
    return value


def _explaining(mistakes: Mapping[str, object], fits: Callable[[object], bool]) -> list[str]:
    """The mistake whose value fits; where several fit, one sentence that says so, for no more can be told.

    A mistake that is impossible with these inputs explains nothing.
    """
    found = []
    for sentence, value in mistakes.items():
        with contextlib.suppress(Exception):
            if fits(_made(value)):
                found.append(sentence)
    return ["; or: ".join(found[:_ALTERNATIVES])] if found else []


def _no_return(got: object) -> list[str]:
    return ["is the return missing?"] if got is None else []


def _dtype_fits(got: torch.dtype, want: torch.dtype) -> bool:
    """The same type, or the same kind with more digits."""
    if got == want:
        return True
    both_real = got.is_floating_point and want.is_floating_point
    both_complex = got.is_complex and want.is_complex
    return (both_real or both_complex) and torch.finfo(got).eps < torch.finfo(want).eps


def _tensor(
    got: Any, want: torch.Tensor, where: str, mistakes: Mapping[str, object], rtol: float | None, atol: float | None
) -> None:
    if not isinstance(got, torch.Tensor):
        seen = _no_return(got)
        if isinstance(got, np.ndarray):
            seen = ["torch.from_numpy makes a tensor of a numpy array"]
        raise _wrong(where, f"expected a tensor ({describe(want)}), got {kind_text(got)}", *seen)
    if want.is_sparse or got.is_sparse:
        got, want = got.to_dense(), want.to_dense()
    r, a = tolerance(want, rtol, atol)
    if got.shape != want.shape:
        likely = _explaining(mistakes, lambda value: torch.as_tensor(value).shape == got.shape)
        text = f"expected shape {shape_text(want.shape)}, got {shape_text(got.shape)}"
        raise _wrong(where, text, *([] if likely else known.of_shape(got, want)), likely=likely)
    if not _dtype_fits(got.dtype, want.dtype):
        raise _wrong(
            where,
            f"expected {dtype_text(want.dtype)} numbers, got {dtype_text(got.dtype)}",
            *known.of_dtype(got.dtype, want.dtype),
        )
    close = _close(got, want, r, a)
    if close.all():
        return
    first = tuple(int(n) for n in (~close).nonzero()[0])
    expected, came = _differing(want[first].item(), got[first].item())
    text = f"expected {expected}, got {came}"
    if want.dim():
        text = f"first wrong at [{', '.join(map(str, first))}]: {text}"
    if want.numel() > 1:
        text += f"; {int((~close).sum())} of {want.numel()} are wrong"
    if want.is_floating_point() or want.is_complex():
        text += _gap(got, want, close, r, a)
    likely = _explaining(mistakes, lambda value: _matches(got, value, r, a))
    seen = [] if likely else known.general(got, want, lambda one, other: _same(one, other, r, a))
    raise _wrong(where, text, *seen, likely=likely)


def _gap(got: torch.Tensor, want: torch.Tensor, close: torch.Tensor, r: float, a: float) -> str:
    """How large the largest difference is, and how large one may be; "" where no difference is finite."""
    wide = torch.complex128 if got.is_complex() or want.is_complex() else torch.float64
    gap = (got.to(wide) - want.to(wide)).abs()[~close]
    finite, sizes = gap[gap.isfinite()], want.to(wide).abs()
    if not len(finite):
        return ""
    largest = sizes[sizes.isfinite()].max() if sizes.isfinite().any() else 0.0
    return f"; largest difference {finite.max():.2g}, a right answer is within {a + r * float(largest):.1g}"


def _of_type(got: object, want: object) -> list[str]:
    """What makes the right value out of one that has another type."""
    if isinstance(got, bool) or isinstance(want, bool) or not isinstance(got, (int, float)):
        return []
    if isinstance(want, int) and got == want:
        return [
            "the value is right, but it is a floating-point number: int(…) makes a whole number, // divides into one"
        ]
    if isinstance(want, int) and isinstance(got, float):
        return ["a whole number is expected: a count, a position or a class"]
    return []


def _plain(
    got: object, want: Any, where: str, mistakes: Mapping[str, object], rtol: float | None, atol: float | None
) -> None:
    """int, float, bool, str, None and the like."""
    if isinstance(got, (torch.Tensor, np.ndarray, np.generic)) and isinstance(want, (bool, int, float)):
        if not (isinstance(got, np.generic) and np.ndim(got) == 0):
            one = got.numel() == 1 if isinstance(got, torch.Tensor) else np.size(got) == 1
            seen = ["call .item() on a tensor with one element"] if one else []
            expected = f"{_article(type(want).__name__)} {type(want).__name__}"
            raise _wrong(where, f"expected {expected}, got {kind_text(got)} ({describe(got)})", *seen)
        got = got.item()
    numbers = isinstance(want, float) and isinstance(got, (int, float)) and not isinstance(got, bool)
    if not numbers and type(got) is not type(want):
        expected = "None" if want is None else f"{_article(type(want).__name__)} {type(want).__name__}"
        seen = _no_return(got) or _of_type(got, want)
        raise _wrong(where, f"expected {expected}, got {kind_text(got)}", *seen)
    if isinstance(want, float) and isinstance(got, (int, float)):
        _tensor(
            torch.tensor(float(got), dtype=torch.float64),
            torch.tensor(want, dtype=torch.float64),
            where,
            mistakes,
            1e-5 if rtol is None else rtol,
            1e-7 if atol is None else atol,
        )
    elif got != want:
        likely = _explaining(mistakes, lambda value: bool(value == got))
        raise _wrong(where, f"expected {describe(want)}, got {describe(got)}", likely=likely)


def expect(
    got: object,
    want: object,
    *,
    names: Sequence[str] | None = None,
    mistakes: Mapping[str, object | Callable[[], object]] | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    look: str | None = None,
) -> None:
    """Fail unless `got` is `want`.

    want: a tensor, a number, a text, None, or a tuple, list or dict of such; `names` names the members of a tuple.
    mistakes: sentence → the value that the mistake would give (for a tuple: the whole tuple, or one member by
    `{"sentence": {1: value}}`), or a function that returns it; a member may be such a function, too. For a tuple, one
    that fits as a whole goes first.
    Tolerances follow the expected dtype unless given.
    look: what to look at where no mistake explains the difference. It is no claim, so it is shown as what it is.
    """
    try:
        _any(got, want, "", names, mistakes or {}, rtol, atol)
    except CheckFailed as failed:
        failed.look = look or ""
        raise


def _first_whole(
    got: Any, want: Any, mistakes: Mapping[str, object], rtol: float | None, atol: float | None
) -> Mapping[str, object]:
    """The mistakes that explain every member of a result; all of them where none does so, for one may be in a part.

    Two mistakes can give the same wrong member, and differ in another one.
    """
    whole: dict[str, object] = {}
    for sentence, value in mistakes.items():
        with contextlib.suppress(Exception):
            made = _made(value)
            if isinstance(made, (tuple, list)) and _fits(got, want, made, rtol, atol):
                whole[sentence] = made
    return whole or mistakes


def _fits(got: Any, want: Any, value: Any, rtol: float | None, atol: float | None) -> bool:
    """Whether what came is this value, as near as what came would have to be to what is wanted."""
    value = _made(value)
    if isinstance(value, (tuple, list)):
        return all(_fits(g, w, v, rtol, atol) for g, w, v in zip(got, want, value, strict=True))
    if isinstance(value, torch.Tensor) or isinstance(want, torch.Tensor):
        if not isinstance(got, torch.Tensor):
            return False
        return _matches(got, value, *tolerance(torch.as_tensor(want), rtol, atol))
    if isinstance(value, (int, float)) and isinstance(got, (int, float)):
        return math.isclose(got, value, rel_tol=1e-5 if rtol is None else rtol, abs_tol=1e-7 if atol is None else atol)
    return bool(got == value)


def _member(mistakes: Mapping[str, object], key: object) -> dict[str, object]:
    """The mistakes as they concern one member of a result."""

    def choose(value: object) -> Callable[[], object]:
        def chosen() -> object:
            return _made(value)[key]

        return chosen

    return {sentence: choose(value) for sentence, value in mistakes.items()}


def _any(
    got: Any,
    want: Any,
    where: str,
    names: Sequence[str] | None,
    mistakes: Mapping[str, object],
    rtol: float | None,
    atol: float | None,
) -> None:
    if isinstance(want, torch.Tensor):
        _tensor(got, want, where, mistakes, rtol, atol)
    elif isinstance(want, np.ndarray):
        if not isinstance(got, np.ndarray):
            raise _wrong(where, f"expected a numpy array, got {kind_text(got)}")
        _tensor(torch.from_numpy(got), torch.from_numpy(want), where, mistakes, rtol, atol)
    elif isinstance(want, (tuple, list)):
        if not isinstance(got, (tuple, list)):
            expected = f"a {type(want).__name__} of {len(want)}"
            raise _wrong(where, f"expected {expected}, got {kind_text(got)}", *_no_return(got))
        if len(got) != len(want):
            raise _wrong(where, f"expected {len(want)} results, got {len(got)}")
        mistakes = _first_whole(got, want, mistakes, rtol, atol)
        for n, (one, other) in enumerate(zip(got, want, strict=True)):
            label = names[n] if names else f"{where or 'result'}[{n}]"
            _any(one, other, label, None, _member(mistakes, n), rtol, atol)
    elif isinstance(want, dict):
        if not isinstance(got, dict):
            raise _wrong(where, f"expected a dict, got {kind_text(got)}")
        if set(got) != set(want):
            missing, extra = sorted(map(str, set(want) - set(got))), sorted(map(str, set(got) - set(want)))
            raise _wrong(
                where,
                f"expected the keys {sorted(map(str, want))}"
                + (f"; missing: {', '.join(missing)}" if missing else "")
                + (f"; too many: {', '.join(extra)}" if extra else ""),
            )
        for key, other in want.items():
            _any(got[key], other, f"{where or 'result'}[{key!r}]", None, _member(mistakes, key), rtol, atol)
    else:
        _plain(got, want, where, mistakes, rtol, atol)
