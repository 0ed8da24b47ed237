"""Do the libraries that came together fit together? All of this can be seen without a GPU."""

from __future__ import annotations

import ctypes
import importlib
from importlib import metadata
from types import ModuleType

import torch

from course_selftest import probe
from course_selftest.context import Context
from course_selftest.mapped import mapped_libraries, own_maps
from course_selftest.outcome import Failed, Figure, Measured, Skipped

# The libraries of which a second copy in one process is the usual cause of crashes and of wrong versions.
SINGLE = ("cudart", "cublas", "cublasLt", "cudnn", "nccl")


def versions(context: Context) -> Measured:
    """PyTorch, its CUDA run-time library and torchvision are made for the same CUDA, and torchvision computes."""
    built = torch.version.cuda
    figures: dict[str, Figure] = {"torch": torch.__version__, "torch_cuda": built or ""}
    parts = [f"torch {torch.__version__}, built for CUDA {built}" if built else f"torch {torch.__version__}"]
    if built and (runtime := _runtime_version()):
        figures["cuda_runtime"] = runtime
        parts.append(f"libcudart {runtime}")
        if runtime != built:
            raise Failed(f"PyTorch was built for CUDA {built}, the libcudart in use is {runtime}.", figures)
    vision = _torchvision()
    if vision is None:
        return Measured(", ".join([*parts, "torchvision is not installed"]), figures)
    figures["torchvision"] = vision.__version__
    parts.append(f"torchvision {vision.__version__}")
    if (made_for := _torchvision_cuda()) is not None:
        figures["torchvision_cuda"] = made_for
        if made_for != (built or ""):
            raise Failed(
                f"torchvision {vision.__version__} is for {f'CUDA {made_for}' if made_for else 'the CPU'}, "
                f"PyTorch for {f'CUDA {built}' if built else 'the CPU'}.", figures,
            )  # fmt: skip
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.1, 0.0, 2.0, 2.0], [5.0, 5.0, 7.0, 7.0]], device=context.device)
    scores = torch.tensor([0.5, 0.9, 0.7], device=context.device)
    kept = vision.ops.nms(boxes, scores, 0.5).tolist()
    if kept != [1, 2]:
        raise Failed(f"torchvision.ops.nms keeps the boxes {kept} instead of [1, 2].", figures)
    return Measured(f"{', '.join(parts)}, whose operators work on the {'GPU' if context.on_gpu else 'CPU'}", figures)


def cudnn(context: Context) -> Measured:
    """PyTorch refuses a cuDNN that is older than the one it was compiled with; the package and the library agree."""
    context.require_cuda_build()
    number = torch.backends.cudnn.version()  # raises RuntimeError when the library does not fit
    if number is None:
        raise Skipped("this PyTorch was built without cuDNN")
    # 92400 is 9.24.0; up to version 8 it was 8902 for 8.9.2.
    major, rest = divmod(number, 10000) if number >= 90000 else divmod(number, 1000)
    runtime = f"{major}.{rest // 100}.{rest % 100}"
    compiled = ".".join(map(str, torch._C._cudnn.getCompileVersion()))
    return _against_package("cuDNN", runtime, "nvidia-cudnn-cu", compiled)


def nccl(context: Context) -> Measured:
    context.require_cuda_build()
    if not hasattr(torch._C, "_nccl_version"):
        raise Skipped("this PyTorch was built without NCCL")
    return _against_package("NCCL", ".".join(map(str, torch.cuda.nccl.version()[:3])), "nvidia-nccl-cu", "")


def libraries(context: Context) -> Measured:
    """Looks at what this process has mapped, after it was made to use cuBLAS and cuDNN."""
    context.require_cuda_build()
    if context.on_gpu:
        image = torch.ones(1, 8, 8, 8, device=context.device)
        torch.nn.functional.conv2d(image, torch.ones(8, 8, 3, 3, device=context.device))
        image.view(8, 64) @ image.view(64, 8)
    copies = mapped_libraries(own_maps(), SINGLE)
    figures: dict[str, Figure] = dict(copies)
    if twice := {name: paths for name, paths in copies.items() if len(paths) > 1}:
        listed = "; ".join(f"lib{name}: {' and '.join(paths)}" for name, paths in twice.items())
        raise Failed(f"More than one copy is loaded: {listed}. Remove one, or take it off LD_LIBRARY_PATH.", figures)
    if not copies:
        raise Skipped("this process does not show which libraries it has loaded")
    return Measured(f"one each of {', '.join(f'lib{name}' for name in copies)}", figures)


def _runtime_version() -> str:
    """What the loaded libcudart calls itself ("13.0"); empty when there is none by itself."""
    paths = mapped_libraries(own_maps(), ["cudart"]).get("cudart")
    if not paths:
        return ""
    library = ctypes.CDLL(paths[0])
    number = ctypes.c_int(0)
    return probe.dotted(number.value) if library.cudaRuntimeGetVersion(ctypes.byref(number)) == 0 else ""


def _torchvision() -> ModuleType | None:
    """None when it is not installed; raises Failed when it is, and cannot be imported."""
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name == "torchvision":
            return None
        raise Failed(f"torchvision cannot be imported: {error}.") from error
    except Exception as error:  # RuntimeError: operator torchvision::nms does not exist
        raise Failed(f"torchvision does not fit PyTorch {torch.__version__}: {error}") from error


def _torchvision_cuda() -> str | None:
    """The CUDA that torchvision was compiled with: "13.0", "" without, None when it does not tell."""
    try:
        number = int(torch.ops.torchvision._cuda_version())
    except (AttributeError, RuntimeError):  # not every version of torchvision has this operator
        return None
    return probe.dotted(number) if number > 0 else ""


def _against_package(name: str, runtime: str, package: str, compiled: str) -> Measured:
    """Compare a library's version with that of the Python package that brought it. package: the name's beginning."""
    figures: dict[str, Figure] = {"runtime": runtime}
    text = f"{name} {runtime}"
    if compiled:
        figures["compiled"] = compiled
        text += f", PyTorch was compiled with {compiled}"
    installed = {
        found.metadata["Name"]: found.version
        for found in metadata.distributions()
        if (found.metadata["Name"] or "").lower().startswith(package)
    }
    for distribution, version in installed.items():
        figures["package"] = f"{distribution} {version}"
        if version.split(".")[:3] != runtime.split("."):
            raise Failed(
                f"{name} {runtime} is in use, but the package {distribution} is {version}: another copy is found "
                "first; look at LD_LIBRARY_PATH.", figures,
            )  # fmt: skip
        text += f", package {distribution} {version}"
    return Measured(text, figures)
