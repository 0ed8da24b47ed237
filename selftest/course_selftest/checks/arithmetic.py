"""Does the device compute what it should? Random numbers, against float64 on the CPU; tolerance.py has the bounds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from course_selftest.context import Context
from course_selftest.outcome import Measured
from course_selftest.precision import is_ampere_or_later, tf32
from course_selftest.timing import median_seconds
from course_selftest.tolerance import TF32_FACTOR, TRANSFORMS, UNIT, bound, relative_error
from course_selftest.verdict import Verdict

INNER = 1024  # terms of each sum of the matrix products; the other two sizes are odd, so that edges of tiles count
OUTER = (509, 771)


def matmul(context: Context) -> Measured:
    """float32; on a GPU float64, too, and float32 once more with TF32 allowed; speeds."""
    left, right = _random(OUTER[0], INNER), _random(INNER, OUTER[1])
    verdict = Verdict()

    def product(dtype: torch.dtype) -> float:
        on_device = left.to(context.device, dtype) @ right.to(context.device, dtype)
        return relative_error(on_device, left.to(dtype).double() @ right.to(dtype).double())

    with tf32(False):
        verdict.add("float32", product(torch.float32), bound(INNER, torch.float32))
        speed = _speed(context, torch.float32)
    verdict.note(f"float32 {_tflops(speed)}", float32_tflops=speed)
    if context.on_gpu:
        verdict.add("float64", product(torch.float64), bound(INNER, torch.float64))
    if is_ampere_or_later(context.device):
        with tf32(True):
            verdict.add("tf32", product(torch.float32), bound(INNER, torch.float32, factors=TF32_FACTOR))
            speed = _speed(context, torch.float32)
        verdict.note(f"TF32 {_tflops(speed)}", tf32_tflops=speed)
    return verdict.measured()


def convolution(context: Context) -> Measured:
    """The second convolution of lecture 1a: the result and the gradients of images and filters."""
    images, filters = _random(32, 32, 8, 8), _random(64, 32, 5, 5)
    towards = _random(32, 64, 4, 4)
    # Terms of each sum: channels × window, filters × window, images × places.
    terms = {"result": 32 * 25, "image gradient": 64 * 25, "filter gradient": 32 * 16}
    exact = {
        dtype: _convolve(images.to(dtype).double(), filters.to(dtype).double(), towards.to(dtype).double())
        for dtype in (torch.float32, torch.float64)
    }
    verdict = Verdict()

    def compare(label: str, dtype: torch.dtype, factors: float = 0.0) -> None:
        found = _convolve(*(tensor.to(context.device, dtype) for tensor in (images, filters, towards)))
        verdict.add_group(label, {
            part: (relative_error(got, wanted), bound(count, dtype, factors=factors, slack=TRANSFORMS))
            for (part, count), got, wanted in zip(terms.items(), found, exact[dtype], strict=True)
        })  # fmt: skip

    with tf32(False):
        compare("float32", torch.float32)
        if context.on_gpu:
            compare("float64", torch.float64)
    if is_ampere_or_later(context.device):
        with tf32(True):
            compare("tf32", torch.float32, TF32_FACTOR)
    return verdict.measured()


def half(context: Context) -> Measured:
    """Matrix product and convolution in bf16 and fp16. The factors are exact in the type, sums are kept in float32."""
    verdict = Verdict()
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        if dtype is torch.bfloat16 and context.on_gpu and not is_ampere_or_later(context.device):
            verdict.note("no bf16 in this GPU")
            continue
        # Rounded once at the end, and once more where a long sum was split into two.
        rounding = 2 * UNIT[dtype]
        left, right = (_random(*size).to(dtype) for size in ((OUTER[0], INNER), (INNER, OUTER[1])))
        result = left.to(context.device) @ right.to(context.device)
        limit = bound(INNER, torch.float32, result=rounding)
        verdict.add(name, relative_error(result, left.double() @ right.double()), limit)
        images, filters = _random(16, 32, 8, 8).to(dtype), _random(64, 32, 5, 5).to(dtype)
        result = F.conv2d(images.to(context.device), filters.to(context.device))
        limit = bound(32 * 25, torch.float32, result=rounding, slack=TRANSFORMS)
        verdict.add(f"{name} convolution", relative_error(result, F.conv2d(images.double(), filters.double())), limit)
        if context.on_gpu:
            speed = _speed(context, dtype)
            verdict.note(f"{name} {_tflops(speed)}", **{f"{name}_tflops": speed})
    return verdict.measured()


def svd(context: Context) -> Measured:
    """On a GPU by cuSOLVER, which no other check loads. A = U·S·Vᵀ, U orthogonal, S as on the CPU in float64."""
    matrix = _random(300, 200)
    left, values, right = torch.linalg.svd(matrix.to(context.device, torch.float32), full_matrices=False)
    exact = torch.linalg.svdvals(matrix.float().double())
    # A backward stable algorithm is off by a small multiple of the unit times the size of the matrix (LAPACK Users'
    # Guide, section 4.9); 300·u is 1.8e-5, algorithms in use stay a factor of ten below.
    limit = 300 * UNIT[torch.float32]
    verdict = Verdict()
    verdict.add("values", relative_error(values, exact), limit)
    verdict.add("product", relative_error((left.double() * values.double()) @ right.double(), matrix.float()), limit)
    gram = left.double().T @ left.double()
    verdict.add("orthogonality", relative_error(gram, torch.eye(200)), limit)
    return verdict.measured()


def _random(*size: int) -> Tensor:
    return torch.randn(*size, dtype=torch.float64)


def _convolve(images: Tensor, filters: Tensor, towards: Tensor) -> tuple[Tensor, ...]:
    """The convolution, and the gradients of its scalar product with `towards` for images and filters."""
    images, filters = images.detach().requires_grad_(), filters.detach().requires_grad_()
    result = F.conv2d(images, filters)
    return (result, *torch.autograd.grad(result, (images, filters), towards))


def _speed(context: Context, dtype: torch.dtype) -> float:
    """TFLOP/s of a square matrix product, large enough to fill the device."""
    size = 4096 if context.on_gpu else 1024
    left, right = (torch.randn(size, size, device=context.device).to(dtype) for _ in range(2))
    seconds = median_seconds(lambda: left @ right, context.device, 20 if context.on_gpu else 3)
    return 2 * size**3 / seconds / 1e12


def _tflops(speed: float) -> str:
    return f"{speed:.0f} TFLOP/s" if speed >= 10 else f"{speed * 1000:.0f} GFLOP/s"
