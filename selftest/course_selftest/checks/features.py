"""PyTorch's own machinery: attention kernels, mixed precision, the compiler."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from course_selftest.context import Context
from course_selftest.net import make_net
from course_selftest.outcome import Failed, Figure, Measured, Skipped
from course_selftest.precision import is_ampere_or_later, tf32
from course_selftest.timing import median_seconds
from course_selftest.tolerance import TRANSFORMS, UNIT, bound, relative_error
from course_selftest.verdict import Verdict

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
# What PyTorch and cuDNN say when a backend does not serve this device.
UNAVAILABLE = (
    "No available kernel",
    "No viable backend",
    "No execution plans support",
    "No valid execution plans",
)


def attention(context: Context) -> Measured:
    """Each backend, causal and not, result and gradients, against the mathematical definition in float64.

    The weights and the result are rounded to the type, each by at most its unit; the gradients pass through twice as
    many roundings. Twice that is allowed.
    """
    wide = not context.on_gpu or is_ampere_or_later(context.device)
    dtype = torch.bfloat16 if wide else torch.float16
    verdict, absent = Verdict(), []
    # The CPU has one fused kernel, which goes by the name of the first of the GPU's.
    for name, backend in BACKENDS.items() if context.on_gpu else [("flash", SDPBackend.FLASH_ATTENTION)]:
        try:
            (result, gradients), (causal_result, causal_gradients) = (
                _attend(context, dtype, backend, causal) for causal in (False, True)
            )
        except RuntimeError as error:
            if not any(said in str(error) for said in UNAVAILABLE):
                raise
            absent.append(name)
            continue
        limit = 4 * UNIT[dtype]
        verdict.add_group(name, {"": (result, limit), "causal": (causal_result, limit)})
        limit *= 2
        verdict.add_group(f"{name} gradients", {"": (gradients, limit), "causal": (causal_gradients, limit)})
    measured = verdict.measured()
    if not measured.figures:
        raise Failed(f"None of the fused kernels ({', '.join(BACKENDS)}) works on this {_kind(context)}.")
    text = f"{'bf16' if wide else 'fp16'}: {measured.text}"
    if absent:
        text += f"; not for this {_kind(context)}: {', '.join(absent)}"
    return Measured(text, {**measured.figures, "absent": absent})


def _kind(context: Context) -> str:
    return "GPU" if context.on_gpu else "CPU"


def _attend(context: Context, dtype: torch.dtype, backend: SDPBackend, causal: bool) -> tuple[float, float]:
    """The errors of the result and of the three gradients together."""
    generator = torch.Generator().manual_seed(1)
    size = (2, 4, 256, 64)  # batch, heads, places, width: sizes that every kernel takes
    tensors = [torch.randn(size, generator=generator).to(dtype) for _ in range(4)]
    with sdpa_kernel(backend):
        got = _attention_and_gradients(*(tensor.to(context.device) for tensor in tensors), causal=causal)
    with sdpa_kernel(SDPBackend.MATH):
        wanted = _attention_and_gradients(*(tensor.double() for tensor in tensors), causal=causal)
    return relative_error(got[0], wanted[0]), relative_error(got[1], wanted[1])


def _attention_and_gradients(*tensors: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """tensors: query, key, value, and what the gradients are taken towards."""
    *inputs, towards = (tensor.detach().requires_grad_() for tensor in tensors)
    result = F.scaled_dot_product_attention(inputs[0], inputs[1], inputs[2], is_causal=causal)
    return result, torch.stack(torch.autograd.grad(result, inputs, towards))


def autocast(context: Context) -> Measured:
    """Trains the lecture's net in mixed precision to tell ten patterns apart, then shows GradScaler an infinity."""
    dtype = torch.float16 if context.on_gpu else torch.bfloat16
    labels = torch.arange(100) % 10
    images = (torch.randn(10, 1, 28, 28)[labels] + 0.3 * torch.randn(100, 1, 28, 28)).to(context.device)
    labels = labels.to(context.device)
    net = make_net(0).to(context.device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler(context.device.type, init_scale=2.0**10)

    def step(spoil: bool = False) -> float:
        with torch.autocast(context.device.type, dtype):
            scores = net(images)
            loss = F.cross_entropy(scores, labels)
        if scores.dtype is not dtype or loss.dtype is not torch.float32:
            raise Failed(f"Under autocast the scores are {scores.dtype} and the loss is {loss.dtype}, "
                         f"not {dtype} and torch.float32.")  # fmt: skip
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if spoil and net.fc2.bias.grad is not None:
            net.fc2.bias.grad.fill_(float("inf"))
        scaler.step(optimizer)
        scaler.update()
        return loss.item()

    losses = [step() for _ in range(30)]
    if not losses[-1] < 0.9 * losses[0]:
        raise Failed(f"The loss went from {losses[0]:.2f} to {losses[-1]:.2f} in 30 steps; it should fall.")
    weights, scale = [parameter.detach().clone() for parameter in net.parameters()], scaler.get_scale()
    step(spoil=True)
    if not all(torch.equal(old, new) for old, new in zip(weights, net.parameters(), strict=True)):
        raise Failed("GradScaler let a step with an infinite gradient through.")
    if scaler.get_scale() != scale / 2:
        raise Failed(f"After an infinite gradient GradScaler went from {scale} to {scaler.get_scale()}, not to half.")
    figures: dict[str, Figure] = {"first_loss": losses[0], "last_loss": losses[-1]}
    name = str(dtype).removeprefix("torch.")
    return Measured(
        f"{name}: loss {losses[0]:.2f} → {losses[-1]:.2f} in 30 steps; a step with an infinite gradient was left out",
        figures,
    )


def compiled(context: Context) -> Measured:
    """Compiles the lecture's net in one piece; its loss and gradients are those of eager execution."""
    _require_compiler(context)
    import torch._dynamo

    images = torch.randn(100, 1, 28, 28, device=context.device)
    labels = torch.randint(0, 10, (100,), device=context.device)
    net = make_net(0).to(context.device)

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(net(images), labels)

    def gradients(function: object) -> Tensor:
        loss = function(images, labels)  # type: ignore[operator]
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(net.parameters()))])

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    fast = torch.compile(loss_of, fullgraph=True)  # raises where the function cannot be one graph
    try:
        with tf32(False):
            found, wanted = gradients(fast), gradients(loss_of)
            graphs = int(torch._dynamo.utils.counters["stats"]["unique_graphs"])
            if graphs < 1:
                raise Failed("torch.compile returned the function as it was: no graph was compiled.")
            verdict = Verdict()
            # As for the second convolution, whose images' gradients have 64 × 25 terms. Both sides round.
            limit = 2 * bound(64 * 25, torch.float32, slack=TRANSFORMS)
            verdict.add("gradients", relative_error(found, wanted), limit)
            eager = median_seconds(lambda: gradients(loss_of), context.device, 10)
            speed = eager / median_seconds(lambda: gradients(fast), context.device, 10)
    finally:
        torch._dynamo.reset()
    verdict.note(f"{graphs} graph, {speed:.1f} times as fast as eager", graphs=graphs, speedup=speed)
    return verdict.measured()


def _require_compiler(context: Context) -> None:
    """torch.compile writes C++ for a CPU and Triton for a GPU, whose launcher is compiled as C."""
    if context.on_gpu:
        if importlib.util.find_spec("triton") is None:
            raise Skipped("Triton is not installed")
        variable, names = "CC", ("gcc", "clang", "cc")
    else:
        variable, names = "CXX", ("g++", "clang++", "c++")
    if not any(map(shutil.which, filter(None, (os.environ.get(variable), *names)))):
        raise Skipped(f"no compiler: there is none of {', '.join(names)}")
    folder = tempfile.gettempdir()
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise Skipped(f"programs cannot be loaded from {os.path.dirname(folder)} (mounted noexec)")
