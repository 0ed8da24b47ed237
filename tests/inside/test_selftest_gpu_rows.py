"""What course-selftest says about GPUs, judged here on what a GPU, a driver or a library would say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from labs_support import CHECKOUT

sys.path.insert(0, os.environ.get("COURSEBOX_TEST_SELFTEST") or str(CHECKOUT / "selftest"))

from course_selftest import precision, worker
from course_selftest.catalog import CHECKS
from course_selftest.checks import arithmetic, features, fit, graphics, lecture, runtime
from course_selftest.context import Context
from course_selftest.options import Options
from course_selftest.outcome import Failed, Measured
from selftest_support import CPU, GPU, outcome, row


@pytest.fixture
def cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def test_gpu_rows_without_one_give_the_reason() -> None:
    for name in ("gpu", "memory", "fault"):
        found = row(name, CPU)
        assert (found.result, found.text) == ("skipped", "no GPU: the test says so")


@pytest.mark.parametrize(
    ("after", "result"),
    [((1000, 2000), "ok"), ((1000, 1500), "ok"), ((1001, 2000), "FAILED"), ((1000, 2001), "FAILED")],
)
def test_memory_that_is_not_given_back(monkeypatch: pytest.MonkeyPatch, after: tuple[int, int], result: str) -> None:
    monkeypatch.setattr(runtime, "_training_step", lambda context: None)
    allocated, reserved = iter([1000, after[0]]), iter([2000, after[1]])
    for name, function in {
        "synchronize": lambda device: None, "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda device: None, "max_memory_allocated": lambda device: 2**30,
        "memory_allocated": lambda device: next(allocated), "memory_reserved": lambda device: next(reserved),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, function)
    if result == "ok":
        assert runtime.memory(CPU).text == "1024 MiB taken and all of it given back"
    else:
        with pytest.raises(Failed, match="when all tensors have gone"):
            runtime.memory(CPU)


REPORTED = "reported: CUDA error: device-side assert triggered\n"


@pytest.mark.parametrize(
    ("printed", "code", "text"),
    [
        (REPORTED, 0, ""),
        ("nothing was reported\n", 0, "was not reported as a device-side assert: nothing was reported."),
        ("", -11, "was not reported as a device-side assert: it ended with exit code -11."),
        ("reported: out of memory\n", 0, "was not reported as a device-side assert: reported: out of memory."),
    ],
)
def test_faults(monkeypatch: pytest.MonkeyPatch, printed: str, code: int, text: str) -> None:
    compile(runtime.FAULT, "FAULT", "exec")
    done = subprocess.CompletedProcess([], code, printed, "")
    monkeypatch.setattr(subprocess, "run", lambda command, **how: done)
    if text:
        with pytest.raises(Failed) as failed:
            runtime.fault(CPU)
        assert str(failed.value) == f"An index out of range on the GPU {text}"
    else:
        measured = runtime.fault(CPU)
        assert measured.text == "CUDA error: device-side assert triggered; other programs compute on"


def test_the_program_with_the_fault_reports_one() -> None:
    """On the CPU the same mistake is an IndexError, which the program would not take for an error of the GPU."""
    program = runtime.FAULT.replace('"cuda"', '"cpu"').replace("torch.cuda.synchronize()", "")
    program = program.replace("RuntimeError", "IndexError")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("reported: index 9 is out of bounds")


NEEDED = "CUDA 13.0 needs driver 580.65.06 or later"


@pytest.mark.parametrize(
    ("cuda", "no_gpu", "text"),
    [
        (13000, "", f"ok: driver 580.1, for CUDA 13.0; {NEEDED}"),
        (12020, "too old", f"FAILED: The driver 580.1, for CUDA 12.2, is too old: {NEEDED}."),
        (None, "none was given", "skipped: no GPU: none was given"),
        (13000, "it refuses", "skipped: no GPU: it refuses"),
    ],
)
def test_driver(monkeypatch: pytest.MonkeyPatch, cuda_build: None, cuda: int | None, no_gpu: str, text: str) -> None:
    monkeypatch.setattr(graphics.probe, "ask_driver", lambda: graphics.probe.Driver(cuda))
    monkeypatch.setattr(graphics.nvidia, "driver_version", lambda: "580.1")
    assert outcome(graphics.driver, replace(CPU, no_gpu=no_gpu)) == text


@pytest.mark.parametrize(
    ("capability", "text"),
    [
        ((9, 0), "ok: sm_75 sm_90, and the GPU has 9.0"),
        ((6, 1),
         "FAILED: The GPU has capability 6.1, PyTorch has code for sm_75 sm_90 only: the course runs on the CPU here."),
        (None, "skipped: no GPU: the test says so"),
    ],
)  # fmt: skip
def test_architectures(
    monkeypatch: pytest.MonkeyPatch, cuda_build: None, capability: tuple[int, int] | None, text: str
) -> None:
    def ask(device: object) -> tuple[int, int]:
        if capability is None:
            raise RuntimeError("Found no NVIDIA driver on your system.")
        return capability

    monkeypatch.setattr(graphics.probe, "built_architectures", lambda: ["sm_75", "sm_90"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", ask)
    assert outcome(graphics.architectures, CPU) == text


def test_a_gpu_that_is_to_be_left_alone_is_not_looked_at(monkeypatch: pytest.MonkeyPatch, cuda_build: None) -> None:
    def look(*anything: object) -> None:
        raise AssertionError("looked at")

    monkeypatch.setattr(graphics.probe, "ask_driver", look)
    monkeypatch.setattr(torch.cuda, "get_device_capability", look)
    alone = replace(CPU, options=Options(no_gpu="--cpu was given"), no_gpu="--cpu was given")
    for check in (graphics.driver, graphics.architectures):
        assert outcome(check, alone) == "skipped: no GPU: --cpu was given"
    assert worker.make_context(alone.options, print).no_gpu == "--cpu was given"


def test_the_state_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="NVIDIA H200", multi_processor_count=132, uuid="1-2")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100 * 2**30, 140 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    state = {"pstate": "P0", "power.draw": "75.31", "power.limit": "700.00", "temperature.gpu": "34"}
    monkeypatch.setattr(graphics.nvidia, "query", lambda gpu: state if gpu == "GPU-1-2" else {})
    measured = graphics.gpu(GPU)
    assert measured.text == (
        "NVIDIA H200, capability 9.0, 132 multiprocessors, 140.0 GiB, 100.0 GiB of it free, power state P0, "
        "75.31 of 700.00 W, 34 °C, the first of 2"
    )
    monkeypatch.setattr(graphics.nvidia, "query", lambda gpu: {})
    assert graphics.gpu(GPU).text.endswith("GiB of it free, the first of 2")


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (["/a/libcudart.so.13", "/a/libcudnn.so.9"], "ok: one each of libcudart, libcudnn"),
        (["/a/libcudart.so.13", "/b/libcudart-12ab.so.12"],
         "FAILED: More than one copy is loaded: libcudart: /a/libcudart.so.13 and /b/libcudart-12ab.so.12. "
         "Remove one, or take it off LD_LIBRARY_PATH."),
        ([], "skipped: this process does not show which libraries it has loaded"),
    ],
)  # fmt: skip
def test_copies_of_libraries(monkeypatch: pytest.MonkeyPatch, cuda_build: None, paths: list[str], text: str) -> None:
    maps = "".join(f"7f00-7f01 r-xp 00000000 08:01 1   {path}\n" for path in paths)
    monkeypatch.setattr(fit, "own_maps", lambda: maps)
    assert outcome(fit.libraries, CPU) == text


@pytest.mark.parametrize(
    ("number", "package", "text"),
    [
        (92400, "9.24.0.43", "ok: cuDNN 9.24.0, PyTorch was compiled with 9.24.0, package nvidia-cudnn-cu13 9.24.0.43"),
        (92100, "9.24.0.43",
         "FAILED: cuDNN 9.21.0 is in use, but the package nvidia-cudnn-cu13 is 9.24.0.43: another copy is found first; "
         "look at LD_LIBRARY_PATH."),
        (8902, None, "ok: cuDNN 8.9.2, PyTorch was compiled with 9.24.0"),
        (None, None, "skipped: this PyTorch was built without cuDNN"),
    ],
)  # fmt: skip
def test_cudnn(
    monkeypatch: pytest.MonkeyPatch, cuda_build: None, number: int | None, package: str | None,
    text: str,
) -> None:  # fmt: skip
    installed = [SimpleNamespace(metadata={"Name": "numpy"}, version="2.4")]
    installed += [SimpleNamespace(metadata={"Name": "nvidia-cudnn-cu13"}, version=package)] if package else []
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: number)
    monkeypatch.setattr(torch._C, "_cudnn", SimpleNamespace(getCompileVersion=lambda: (9, 24, 0)), raising=False)
    monkeypatch.setattr(fit.metadata, "distributions", lambda: installed)
    assert outcome(fit.cudnn, CPU) == text


def test_nccl(monkeypatch: pytest.MonkeyPatch, cuda_build: None) -> None:
    monkeypatch.setattr(torch._C, "_nccl_version", lambda: 0, raising=False)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 30, 7))
    installed = [SimpleNamespace(metadata={"Name": "nvidia-nccl-cu13"}, version="2.30.7")]
    monkeypatch.setattr(fit.metadata, "distributions", lambda: installed)
    assert outcome(fit.nccl, CPU) == "ok: NCCL 2.30.7, package nvidia-nccl-cu13 2.30.7"
    installed[0].version = "2.28.3"
    assert outcome(fit.nccl, CPU).startswith("FAILED: NCCL 2.30.7 is in use")


def test_the_runtime_library_must_be_of_the_same_cuda(monkeypatch: pytest.MonkeyPatch, cuda_build: None) -> None:
    monkeypatch.setattr(fit, "_torchvision", lambda: None)
    monkeypatch.setattr(fit, "_runtime_version", lambda: "13.0")
    assert outcome(fit.versions, CPU).endswith("built for CUDA 13.0, libcudart 13.0, torchvision is not installed")
    monkeypatch.setattr(fit, "_runtime_version", lambda: "12.8")
    assert outcome(fit.versions, CPU) == "FAILED: PyTorch was built for CUDA 13.0, the libcudart in use is 12.8."


def test_an_error_of_the_gpu_spoils_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the GPU has not done yet when a check returns counts as the check's; afterwards nothing works any more."""

    def broken(*anything: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be …")

    monkeypatch.setattr(worker, "function", lambda check: lambda context: Measured("all well"))
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    monkeypatch.setattr(torch.cuda, "empty_cache", broken)
    found, healthy = worker.run_check(CHECKS[0], GPU)
    assert found.result == "FAILED"
    assert found.text == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert not healthy


def test_memory_that_others_use_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*anything: object) -> Measured:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 MiB.")

    monkeypatch.setattr(worker, "function", lambda check: exhausted)
    found, healthy = worker.run_check(CHECKS[0], CPU)
    assert found.text == "Not enough memory on the GPU; see in nvidia-smi what else uses it." and healthy


@pytest.mark.parametrize(("capability", "plans"), [((7, 5), "float32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_plans_of_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], plans: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert [str(plan) for plan in lecture.plans(GPU)] == [f"{plans}, channels last", f"{plans}, channels first"]
    assert precision.is_ampere_or_later(GPU.device) == (capability >= (8, 0))


class Pretended(Context):
    """The CPU, called a GPU: the code for a GPU runs, as far as a CPU can run it."""

    on_gpu = True  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (arithmetic.matmul, ["float32 ", "float32 500 GFLOP/s", "float64 ", "tf32 ", "TF32 500 GFLOP/s"]),
        (arithmetic.convolution, ["float32 ", "float64 ", "tf32 "]),
        (
            arithmetic.half,
            ["bf16 ", "bf16 convolution ", "bf16 500 GFLOP/s", "fp16 ", "fp16 convolution ", "fp16 5"],
        ),
        (features.attention, ["bf16: flash ", "flash gradients ", "; not for this GPU: efficient, cudnn"]),
        (features.autocast, ["float16: loss 2."]),
        (runtime.checkpoint, ["net and Adam, "]),
    ],
)
def test_the_code_for_a_gpu(
    monkeypatch: pytest.MonkeyPatch, check: Callable[[Context], Measured], told: list[str]
) -> None:
    for module in (arithmetic, features):
        monkeypatch.setattr(module, "is_ampere_or_later", lambda device: True)
    monkeypatch.setattr(arithmetic, "_speed", lambda context, dtype: 0.5)
    torch.manual_seed(0)
    text = check(Pretended(Options(), torch.device("cpu"), "")).text
    places = [text.find(part) for part in told]
    assert min(places) >= 0 and places == sorted(places), text
    assert torch.get_float32_matmul_precision() == "highest" and torch.backends.cudnn.allow_tf32
