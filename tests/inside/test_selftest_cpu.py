"""course-selftest on a CPU: the whole of it once, and each check on something that it must not let pass.

COURSEBOX_TEST_SELFTEST   folder of the package as it was delivered, whose command then is the installed one; without
                          it, those of this checkout
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import labs_support as small_data
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, os.environ.get("COURSEBOX_TEST_SELFTEST") or str(small_data.CHECKOUT / "selftest"))

from course_selftest import mnist, precision, tolerance
from course_selftest.catalog import CHECKS
from course_selftest.checks import features, fit, runtime
from course_selftest.options import Options
from selftest_support import CPU, row

DELIVERED = "COURSEBOX_TEST_SELFTEST" in os.environ
COMMAND = ["/usr/local/bin/course-selftest"] if DELIVERED else [sys.executable, "-m", "course_selftest"]
CUDA_BUILD = torch.version.cuda is not None
RAW = Path("mnist/MNIST/raw")


def command(*words: str, data: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTORCH_DATA_DIR"}
    variables |= {
        "PYTHONPATH": "" if DELIVERED else str(small_data.CHECKOUT / "selftest"),
        "PYTHONDONTWRITEBYTECODE": "1",
        **environment,
    }
    variables |= {"PYTORCH_DATA_DIR": str(data)} if data else {}
    return subprocess.run([*COMMAND, *words], env=variables, capture_output=True, text=True, timeout=1200)


# --- the whole


@pytest.fixture(scope="module")
def report(data_dir: Path) -> dict[str, Any]:
    done = command("--cpu", "--json", "-", data=data_dir)
    assert done.stderr == ""
    read: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == read["exit_code"]
    return read


def test_all_that_a_cpu_can_do_is_done(report: dict[str, Any]) -> None:
    rows = {check["name"]: check for check in report["checks"]}
    assert list(rows) == [check.name for check in CHECKS if not check.optional]
    compilers = any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++"))))
    done = {"versions", "matmul", "convolution", "half", "svd", "attention", "autocast", "dataloader", "checkpoint",
            "lecture"}  # fmt: skip
    done |= {"compile"} if compilers else set()
    done |= {"cudnn", "nccl", "libraries"} if CUDA_BUILD else set()
    assert {name: row["text"] for name, row in rows.items() if row["result"] == "FAILED"} == {}
    assert {name for name, row in rows.items() if row["result"] == "ok"} == done
    for name in ("gpu", "memory", "fault"):
        assert rows[name]["text"] == "no GPU: --cpu was given"
    if not compilers:
        assert rows["compile"]["text"] == "no compiler: there is none of g++, clang++, c++"
    assert report["exit_code"] == 0 and report["machine"]["torch"] == torch.__version__.split("+")[0]


def test_the_training_of_the_lecture(report: dict[str, Any]) -> None:
    lecture = next(check for check in report["checks"] if check["name"] == "lecture")
    assert lecture["figures"]["epochs"] == 1 and 0.5 < lecture["figures"]["test_error_percent"] < 6
    assert "1 of 10 epochs in " in lecture["text"] and "about 7 s on a GTX1080, about 1 %" in lecture["text"]


def test_a_gpu_is_used_or_its_absence_explained() -> None:
    done = command("--only", "gpu", "--json", "-")
    (gpu,) = json.loads(done.stdout)["checks"]
    assert done.returncode == 0
    assert gpu["result"] == "ok" or (gpu["result"] == "skipped" and len(gpu["text"]) > len("no GPU: "))


def test_it_runs_in_a_folder_of_misleading_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("random", "torch", "json", "course_selftest"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    if not DELIVERED:  # what the installed command does
        monkeypatch.setitem(globals(), "COMMAND", [sys.executable, "-P", "-m", "course_selftest"])
    done = command("--cpu", "--only", "checkpoint")
    assert done.returncode == 0, done.stdout + done.stderr


# --- tolerances


def test_bounds_tell_the_types_apart() -> None:
    """Rounding the factors to fewer bits is found by the bound of the wider type, and allowed by their own."""
    left, right = torch.randn(200, 1024, dtype=torch.float64), torch.randn(1024, 200, dtype=torch.float64)
    exact = left @ right

    def error(bits: int, cut: bool) -> float:
        def fewer(tensor: Tensor) -> Tensor:
            fraction, exponent = torch.frexp(tensor)
            scaled = fraction * 2.0**bits
            return torch.ldexp(torch.trunc(scaled) if cut else torch.round(scaled), exponent - bits)

        return tolerance.relative_error(fewer(left) @ fewer(right), exact)

    tf32 = tolerance.bound(1024, torch.float32, factors=tolerance.TF32_FACTOR)
    float32 = tolerance.bound(1024, torch.float32)
    assert float32 < error(11, cut=False) < error(11, cut=True) < tf32 < error(9, cut=True)
    assert tolerance.bound(1024, torch.float64) < error(24, cut=False) < float32


def test_what_is_no_number_is_wrong() -> None:
    reference = torch.ones(3)
    for bad in (float("nan"), float("inf")):
        assert tolerance.relative_error(torch.tensor([1.0, bad, 1.0]), reference) == float("inf")
    with pytest.raises(ValueError, match="shapes differ"):
        tolerance.relative_error(torch.ones(3, 1), reference)


def test_tf32_is_as_before_afterwards() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    for allowed, name in ((True, "high"), (False, "highest")):
        with precision.tf32(allowed):
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (name, allowed)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before == ("highest", True)


# --- checks that must fail


def wrong_product(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = Tensor.__matmul__

    def slightly_off(left: Tensor, right: Tensor) -> Tensor:
        result = multiply(left, right)
        return result if left.dtype is torch.float64 else result * 1.05

    monkeypatch.setattr(Tensor, "__matmul__", slightly_off)


def wrong_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    convolve = F.conv2d
    off = {torch.float64: 1.0}
    monkeypatch.setattr(F, "conv2d", lambda *tensors: convolve(*tensors) * off.get(tensors[0].dtype, 1.0001))


def wrong_half_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    convolve = F.conv2d
    off = {torch.bfloat16: 1.03}
    monkeypatch.setattr(F, "conv2d", lambda *tensors: convolve(*tensors) * off.get(tensors[0].dtype, 1.0))


def wrong_svd(monkeypatch: pytest.MonkeyPatch) -> None:
    decompose = torch.linalg.svd

    def unsorted(*matrix: Any, **how: Any) -> tuple[Tensor, ...]:
        left, values, right = decompose(*matrix, **how)
        return left, values.flip(0), right

    monkeypatch.setattr(torch.linalg, "svd", unsorted)


def wrong_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    attend = F.scaled_dot_product_attention

    def not_causal(*tensors: Tensor, is_causal: bool) -> Tensor:
        return attend(*tensors, is_causal=is_causal and tensors[0].dtype is torch.float64)

    monkeypatch.setattr(F, "scaled_dot_product_attention", not_causal)


def no_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*tensors: Tensor, is_causal: bool) -> Tensor:
        raise RuntimeError("No available kernel. Aborting execution.")

    monkeypatch.setattr(F, "scaled_dot_product_attention", refuse)


def broken_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*tensors: Tensor, is_causal: bool) -> Tensor:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(F, "scaled_dot_product_attention", refuse)


def blind_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(scaler: Any, optimizer: torch.optim.Optimizer) -> None:
        scaler.unscale_(optimizer)
        optimizer.step()

    monkeypatch.setattr(torch.amp.GradScaler, "step", step)


def stiff_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.amp.GradScaler, "get_scale", lambda scaler: 8.0)


def idle_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.SGD, "step", lambda optimizer, *rest: None)


def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype: torch.enable_grad())


def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_require_compiler", lambda context: None)
    monkeypatch.setattr(torch, "compile", lambda function, **how: function)


def wrong_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_require_compiler", lambda context: None)
    counters = importlib.import_module("torch._dynamo.utils").counters

    def compiled(function: Callable[..., Tensor], **how: Any) -> Callable[..., Tensor]:
        def run(*tensors: Tensor) -> Tensor:
            counters["stats"]["unique_graphs"] = 1
            return function(*tensors) * 1.01

        return run

    monkeypatch.setattr(torch, "compile", compiled)


def changed_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.Pictures, "__getitem__", lambda self, number: (torch.full((3, 32, 32), 1.0), number))


def images_in_disorder(monkeypatch: pytest.MonkeyPatch) -> None:
    get = runtime.Pictures.__getitem__
    monkeypatch.setattr(runtime.Pictures, "__getitem__", lambda self, number: get(self, number ^ 1))


def little_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    room = SimpleNamespace(f_blocks=16384, f_bavail=2560, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: room)


def changed_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    load = torch.load

    def other_bit(*file: Any, **how: Any) -> Any:
        loaded = load(*file, **how)
        loaded["optimizer"]["state"][0]["exp_avg"].view(-1)[0] = 1.0
        return loaded

    monkeypatch.setattr(torch, "load", other_bit)


def wrong_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    vision = SimpleNamespace(__version__="0.0", ops=SimpleNamespace(nms=lambda *boxes: torch.tensor([0, 1, 2])))
    monkeypatch.setattr(fit, "_torchvision", lambda: vision)
    monkeypatch.setattr(fit, "_torchvision_cuda", lambda: None)


def torchvision_for_another_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_torchvision(monkeypatch)
    monkeypatch.setattr(fit, "_torchvision_cuda", lambda: "11.8")


def unfit_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(fit, "importlib", SimpleNamespace(import_module=refuse))


WRONG: list[tuple[str, Callable[[pytest.MonkeyPatch], None], str]] = [
    ("matmul", wrong_product, "float32: relative error 5.0e-02, at most 5.4e-06 is right."),
    ("convolution", wrong_convolution, "float32 result: relative error 1.0e-04, at most 7.6e-05 is right;"),
    ("half", wrong_product, "bf16: relative error 5.0e-02, at most 7.8e-03 is right; fp16: relative error 5.0e-02"),
    ("half", wrong_half_convolution, "bf16 convolution: relative error"),
    ("svd", wrong_svd, "values: relative error"),
    ("attention", wrong_attention, "flash causal: relative error"),
    ("attention", no_attention, "None of the fused kernels (flash, efficient, cudnn) works on this CPU."),
    ("attention", broken_attention, "RuntimeError: CUDA error: no kernel image is available"),
    ("autocast", blind_scaler, "GradScaler let a step with an infinite gradient through."),
    ("autocast", stiff_scaler, "After an infinite gradient GradScaler went from 8.0 to 8.0, not to half."),
    ("autocast", idle_optimizer, "The loss went from 2."),
    ("autocast", no_autocast, "Under autocast the scores are torch.float32"),
    ("compile", no_compiler, "torch.compile returned the function as it was: no graph was compiled."),
    ("compile", wrong_compiler, "gradients: relative error 1.0e-02"),
    ("dataloader", changed_image, "A batch arrived with other values than it was sent with."),
    ("dataloader", images_in_disorder, "3000 of 3000 images arrived, or not in their order."),
    ("dataloader", little_shared_memory,
     "/dev/shm has 10 MiB free, and this takes 14 MiB: give the container more with --shm-size=1g or --ipc=host."),
    ("checkpoint", changed_checkpoint, "1 of 40 tensors came back changed."),
    ("versions", wrong_torchvision, "torchvision.ops.nms keeps the boxes [0, 1, 2] instead of [1, 2]."),
    ("versions", torchvision_for_another_cuda, "torchvision 0.0 is for CUDA 11.8, PyTorch for"),
    ("versions", unfit_torchvision, "torchvision does not fit PyTorch"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil", "text"), WRONG, ids=[f"{name}-{spoil.__name__}" for name, spoil, _ in WRONG])
def test_what_is_wrong_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, spoil: Callable[[pytest.MonkeyPatch], None], text: str
) -> None:
    spoil(monkeypatch)
    found = row(name, CPU)
    assert found.result == "FAILED" and found.text.startswith(text), found
    assert "Traceback" in found.detail


# --- checks that cannot be made


def test_no_compiler_and_no_place_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert row("compile", CPU).text == "no compiler: there is none of g++, clang++, c++"
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_flag=os.ST_NOEXEC))
    refused = row("compile", CPU)
    assert refused.result == "skipped" and "(mounted noexec)" in refused.text


def test_little_shared_memory_is_enough_for_the_course(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_blocks=16384, f_bavail=16000, f_frsize=4096))
    found = row("dataloader", CPU)
    assert found.result == "ok"
    assert "/dev/shm has 64 MiB (little for larger images: give the container more with --shm-size=1g" in found.text


# --- data


def altered(root: Path, change: Callable[[bytes], bytes]) -> None:
    file = root / RAW / "t10k-labels-idx1-ubyte"
    file.write_bytes(change(file.read_bytes()))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda root: shutil.rmtree(root / "mnist"), "MNIST is missing: there is no @/train-images-idx3-ubyte."),
        (lambda root: altered(root, lambda old: old[:-1]),
         "@/t10k-labels-idx1-ubyte is not a complete file of labels; install the data again."),
        (lambda root: altered(root, lambda old: old[:-1] + b"\x0a"),
         "@/t10k-labels-idx1-ubyte does not hold one digit for each of 20 images; install the data again."),
        (lambda root: altered(root, lambda old: b""),
         "@/t10k-labels-idx1-ubyte is not a complete file of labels; install the data again."),
        (lambda root: altered(root, lambda old: b"<!doctype html>"),
         "@/t10k-labels-idx1-ubyte is not a complete file of labels; install the data again."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["lecture", "fast"])
def test_data_that_are_not_as_they_should_be(
    tmp_path: Path, name: str, spoil: Callable[[Path], object], text: str
) -> None:
    spoil(small_data.write(tmp_path / "data"))
    found = row(name, replace(CPU, options=Options(data=str(tmp_path / "data"))))
    assert (found.result, found.text) == ("FAILED", text.replace("@", str(tmp_path / "data" / RAW)))


def test_data_that_nobody_promised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PYTORCH_DATA_DIR", raising=False)
    monkeypatch.setattr(mnist, "COURSE_DATA", tmp_path / "none")
    found = row("lecture", CPU)
    assert found.result == "skipped"
    assert found.text == "MNIST is not here: set PYTORCH_DATA_DIR to a folder that holds mnist/MNIST/raw"
    monkeypatch.setattr(mnist, "COURSE_DATA", tmp_path)
    assert row("lecture", CPU).result == "skipped"


@pytest.mark.parametrize(("kind", "result"), [("complete", "FAILED"), ("stand-in", "ok")])
def test_an_error_means_something_on_the_real_data_only(tmp_path: Path, kind: str, result: str) -> None:
    """Noise cannot be learned."""
    root = small_data.write(tmp_path / "data")
    (root / "SOURCES.json").write_text(json.dumps({"mnist": {"kind": kind, "note": ""}}))
    found = row("lecture", replace(CPU, options=Options(data=str(root), repeat=3)))
    assert found.result == result, found.text
    assert len(found.figures["each_test_error_percent"]) == 3
    if kind == "stand-in":
        assert found.text.endswith("; MNIST here is a stand-in, so the error says nothing")
    else:
        assert found.text.startswith("The test error should be at most 6.0 %: 1 of 10 epochs in ")
