"""Facts about GPUs → one line each. The real libraries' path is in tests/container/test_gpu.py."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

import pytest
from coursebox_container import gpu, nvidia
from coursebox_container.nvidia import Answer, Facts, Gpu

H200, PASCAL = Gpu("NVIDIA H200", (9, 0), "GPU-1"), Gpu("GTX 1080", (6, 1), "GPU-0")
BIG = 2 << 30
WORKING = Facts("580.95.05", ("/dev/nvidia0",), Answer(0, "", "580.95.05", (H200,)), Answer(0, gpus=(H200,)), BIG)
NONE = Facts(None, (), None, None, BIG)


def lines(facts: Facts) -> list[str]:
    return [("warning: " if finding.trouble else "") + finding.text for finding in gpu.diagnose(facts).findings]


def test_all_is_well() -> None:
    assert lines(WORKING) == ["GPU: NVIDIA H200 (compute capability 9.0), driver 580.95.05"]
    assert gpu.diagnose(WORKING).usable and gpu.diagnose(WORKING).visible is None


def test_no_gpu_at_all_is_no_trouble() -> None:
    [line] = lines(NONE)
    assert line.startswith("GPU: none. Everything runs on the CPU.") and "docker run --gpus all" in line
    assert not gpu.diagnose(NONE).usable


def test_gpus_all_forgotten_on_a_computer_with_a_driver() -> None:
    [line] = lines(NONE._replace(host_driver="580.65.06"))
    assert line.startswith("GPU: this computer has the NVIDIA driver 580.65.06, but the container has no GPU")
    assert "docker run --gpus all" in line


@pytest.mark.parametrize(
    ("version", "old"), [("579.99", True), ("535.183.01", True), ("580.65.06", False), ("595.1", False)]
)
def test_driver(version: str, old: bool) -> None:
    facts = WORKING._replace(nvml=Answer(0, "", version, (H200,)))
    assert ("is older than 580" in lines(facts)[0]) is old


def test_an_old_driver_is_known_from_the_kernel_where_nvml_is_missing() -> None:
    facts = WORKING._replace(nvml=None, host_driver="570.1", cuda=Answer(999, "unknown error"))
    assert lines(facts)[0].startswith("warning: the NVIDIA driver 570.1 of this computer is older than 580")


@pytest.mark.parametrize(
    ("capability", "old"), [((7, 0), True), ((6, 1), True), ((7, 5), False), ((12, 0), False), ((10, 3), False)]
)
def test_age(capability: tuple[int, int], old: bool) -> None:
    card = Gpu("card", capability, "GPU-7")
    found = gpu.diagnose(WORKING._replace(nvml=Answer(0, "", "580.1", (card,)), cuda=Answer(0, gpus=(card,))))
    assert found.usable is not old
    assert found.visible == ("" if old else None)


def test_only_old_gpus_are_hidden() -> None:
    both = (PASCAL, H200)
    found = gpu.diagnose(WORKING._replace(nvml=Answer(0, "", "580.1", both), cuda=Answer(0, gpus=both)))
    assert found.usable and found.visible == "GPU-1"
    assert [finding.trouble for finding in found.findings] == [False, True]
    assert found.findings[1].text.endswith("The other ones are used.")


def test_without_nvml_nothing_can_be_told_apart() -> None:
    both = (PASCAL._replace(uuid=""), H200._replace(uuid=""))
    assert gpu.diagnose(WORKING._replace(nvml=None, cuda=Answer(0, gpus=both))).visible is None


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        (
            WORKING._replace(nvml=Answer(999, "Unknown Error")),
            "says “Unknown Error”. A reload of systemd",
        ),
        (WORKING._replace(nvml=Answer(15, "GPU is lost")), "restart the computer"),
        (WORKING._replace(nvml=Answer(18, "Driver/library version mismatch")), "updated while in use"),
        (WORKING._replace(nvml=Answer(4, "")), "the driver says “4”: check nvidia-smi"),
        (WORKING._replace(cuda=Answer(802, "not yet initialized")), "nvidia-fabricmanager"),
        (WORKING._replace(cuda=Answer(803, "mismatch")), "CUDA says “mismatch”: check nvidia-smi"),
        (WORKING._replace(nvml=None, cuda=Answer(100)), "GPU lost: libcuda finds no device"),
        (NONE._replace(nodes=("/dev/nvidia0",)), "/dev/nvidia0 is here, but libcuda.so.1 is not"),
    ],
)
def test_troubles_have_one_line_with_a_remedy(facts: Facts, part: str) -> None:
    [line] = lines(facts)
    assert line.startswith("warning: ") and part in line and "\n" not in line
    assert "Everything runs on the CPU." in line
    assert not gpu.diagnose(facts).usable


def test_hidden_gpus_are_no_trouble() -> None:
    [line] = lines(WORKING._replace(cuda=Answer(100)))
    assert line.startswith("GPU: hidden by NVIDIA_VISIBLE_DEVICES or CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(
    ("size", "said"), [(64 << 20, True), (255 << 20, True), (256 << 20, False), (BIG, False), (None, False)]
)
def test_shared_memory(size: int | None, said: bool) -> None:
    found = [line for line in lines(NONE._replace(shm=size)) if "/dev/shm" in line]
    assert bool(found) is said
    assert not said or ("--shm-size=2g" in found[0] and "--ipc=host" in found[0])


def test_diagnose_in_time_gives_the_same() -> None:
    assert gpu.diagnose_in_time(lambda: WORKING) == gpu.diagnose(WORKING)
    old = WORKING._replace(nvml=Answer(0, "", "580.1", (PASCAL,)), cuda=Answer(0, gpus=(PASCAL,)), shm=1 << 20)
    assert gpu.diagnose_in_time(lambda: old) == gpu.diagnose(old)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (NONE, f"GPU: not used, PyTorch is made for the CPU in this image. {gpu.CPU}"),
        (
            NONE._replace(host_driver="580.95.05"),
            f"GPU: not used, PyTorch is made for the CPU in this image. {gpu.CPU} "
            "For a GPU there is the image of the file …-cuda.oci.tar.",
        ),
        (
            WORKING,
            "warning: /dev/nvidia0 is here, but PyTorch is made for the CPU in this image: "
            f"for the GPU take the image of the file …-cuda.oci.tar. {gpu.CPU}",
        ),
    ],
)
def test_an_image_for_the_cpu_says_what_it_does_not_use(facts: Facts, said: str) -> None:
    found = gpu.diagnose_unused(facts._replace(shm=1 << 20))
    about = found.findings[0]
    assert ("warning: " if about.trouble else "") + about.text == said
    assert "/dev/shm" in found.findings[1].text and len(found.findings) == 2
    assert not found.usable and found.visible is None


def test_an_image_for_the_cpu_asks_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("a library of the driver was loaded")

    monkeypatch.setattr(nvidia.ctypes, "CDLL", broken)
    monkeypatch.setattr(nvidia, "nvml", broken)
    monkeypatch.setattr(nvidia, "cuda", broken)
    found = gpu.diagnose_image("cpu")  # a process of its own would hide that it failed
    assert (
        found == gpu.diagnose_unused(nvidia.collect_without_libraries())
        and "made for the CPU" in found.findings[0].text
    )


def hang() -> Facts:
    time.sleep(60)
    return NONE


def crash() -> Facts:
    os.kill(os.getpid(), signal.SIGKILL)
    return NONE


@pytest.mark.parametrize(
    ("collect", "part"), [(hang, "has not answered within 0.2 s"), (crash, "crashes when it is asked")]
)
def test_a_broken_driver_does_not_stop_the_start(collect, part: str) -> None:
    begun = time.monotonic()
    found = gpu.diagnose_in_time(collect, 0.2)
    assert time.monotonic() - begun < 3
    assert found.findings[0].trouble and part in found.findings[0].text and not found.usable


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "proc" / "driver" / "nvidia").mkdir(parents=True)
    (tmp_path / "dev" / "shm").mkdir(parents=True)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC\nGCC:\n", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (host)\n", "580.95.05"),
        ("something else\n", "of unknown version"),
    ],
)  # fmt: skip
def test_version_of_the_kernel_module(root: str, text: str, version: str) -> None:
    assert nvidia.host_driver(root) is None
    Path(root, "proc/driver/nvidia/version").write_text(text)
    assert nvidia.host_driver(root) == version


def test_device_files(root: str) -> None:
    for name in ("nvidia0", "nvidia11", "nvidiactl", "nvidia-uvm", "dxg", "null"):
        Path(root, "dev", name).touch()
    assert nvidia.nodes(root) == ("/dev/dxg", "/dev/nvidia0", "/dev/nvidia11")
    assert nvidia.nodes(f"{root}/missing") == ()


def test_collect_where_nothing_is(root: str) -> None:
    def load(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    facts = nvidia.collect(root, load)
    assert facts._replace(shm=None) == Facts(None, (), None, None, None)
    assert facts.shm is not None and facts.shm > 0


def test_a_process_that_has_answered_and_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel closes the driver's files at the end of a process, and that may hang, too."""
    leave = os._exit

    def hang_at_the_end(status: int) -> None:
        if os.getppid() != before:
            time.sleep(5)
        leave(status)

    before = os.getpid()
    monkeypatch.setattr(os, "_exit", hang_at_the_end)
    begun = time.monotonic()
    assert gpu.diagnose_in_time(lambda: WORKING, 20) == gpu.diagnose(WORKING)
    assert time.monotonic() - begun < 3


def test_no_process_is_left_to_the_server() -> None:
    """start-notebook becomes the server, which knows nothing of children that it must reap."""
    for collect in (lambda: WORKING, hang, crash):
        gpu.diagnose_in_time(collect, 0.2)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
