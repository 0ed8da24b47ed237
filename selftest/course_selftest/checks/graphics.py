"""The GPU itself: driver, capability, memory, state. Nothing is set, only read."""

from __future__ import annotations

import torch

from course_selftest import nvidia, probe
from course_selftest.context import Context
from course_selftest.outcome import Failed, Figure, Measured


def driver(context: Context) -> Measured:
    """Fails when there is a driver and it is too old, although then the GPU is not used."""
    built_for = context.require_cuda_build()
    context.require_leave_to_look()
    asked = probe.ask_driver()
    if asked.cuda is None:
        context.require_gpu()
    version, driver_cuda = nvidia.driver_version(), probe.dotted(asked.cuda or 0)
    figures: dict[str, Figure] = {"driver": version, "driver_cuda": driver_cuda, "torch_cuda": built_for}
    text = f"driver {version or 'of unknown version'}, for CUDA {driver_cuda}"
    if not probe.driver_is_new_enough(built_for, asked.cuda or 0):
        raise Failed(f"The {text}, is too old: {probe.needed_driver(built_for)}.", figures)
    context.require_gpu()
    return Measured(f"{text}; {probe.needed_driver(built_for)}", figures)


def gpu(context: Context) -> Measured:
    properties = torch.cuda.get_device_properties(context.device)
    free, total = torch.cuda.mem_get_info(context.device)
    capability = torch.cuda.get_device_capability(context.device)
    figures: dict[str, Figure] = {
        "name": properties.name,
        "capability": probe.capability_text(capability),
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": total,
        "free_bytes": free,
        "gpus": torch.cuda.device_count(),
    }
    parts = [
        f"{properties.name}, capability {figures['capability']}, {properties.multi_processor_count} multiprocessors",
        f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of it free",
    ]
    state = nvidia.query(f"GPU-{str(properties.uuid).removeprefix('GPU-')}")
    figures |= {name.replace(".", "_"): value for name, value in state.items()}
    if "pstate" in state:
        parts.append(f"power state {state['pstate']}")
    if "power.draw" in state:
        parts.append(f"{state['power.draw']} of {state.get('power.limit', '?')} W")
    if "temperature.gpu" in state:
        parts.append(f"{state['temperature.gpu']} °C")
    if torch.cuda.device_count() > 1:
        parts.append(f"the first of {torch.cuda.device_count()}")
    return Measured(", ".join(parts), figures)


def architectures(context: Context) -> Measured:
    """Fails when there is a GPU that PyTorch has no code for, although then the GPU is not used."""
    context.require_cuda_build()
    context.require_leave_to_look()
    built = probe.built_architectures()
    figures: dict[str, Figure] = {"architectures": built}
    capability = _capability()
    if capability is None:
        context.require_gpu()
        capability = torch.cuda.get_device_capability(context.device)
    figures["capability"] = probe.capability_text(capability)
    if not probe.has_code_for(built, capability):
        raise Failed(
            f"The GPU has capability {figures['capability']}, PyTorch has code for {' '.join(built)} only: "
            "the course runs on the CPU here.", figures,
        )  # fmt: skip
    return Measured(f"{' '.join(built)}, and the GPU has {figures['capability']}", figures)


def _capability() -> tuple[int, int] | None:
    """Of the first GPU, also when it is not used; None when there is none or CUDA does not start."""
    try:
        return torch.cuda.get_device_capability(0)
    except (RuntimeError, AssertionError):
        return None
