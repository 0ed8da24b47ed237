"""The image for CUDA: one clear line for each thing that goes wrong with GPUs, by libraries that play NVIDIA's driver.

They lie where nvidia-container-toolkit puts the real ones; what is tested is the real code on its real path.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from containers import Container, run_once

FAKES = Path(__file__).with_name("fakes")
PLACE = "/usr/lib/x86_64-linux-gnu"
CPU = "Everything runs on the CPU."
H200 = "FAKE_GPUS=NVIDIA H200:9.0"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Options of docker run that bring in each library."""
    folder = tmp_path_factory.mktemp("driver")
    options = {}
    for name, library in (("nvml", "libnvidia-ml.so.1"), ("cuda", "libcuda.so.1")):
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", folder / library, FAKES / f"{name}.c"],
            check=True,
        )
        options[name] = ["--volume", f"{folder / library}:{PLACE}/{library}:ro"]
    options["device"] = ["--device", "/dev/null:/dev/nvidia0"]
    return options


def variables(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--env", setting)]


def check(image: str, options: list[str]) -> tuple[list[str], int]:
    """Lines and status of gpu-check, the same that start-notebook prints; /dev/shm is large enough."""
    done = run_once(image, "gpu-check", options=["--shm-size", "1g", *options])
    return done.err.splitlines(), done.status


@pytest.mark.parametrize(
    ("brought", "settings", "status", "parts"),
    [
        pytest.param("nvml cuda device", [H200], 0,
                     ["‣ GPU: NVIDIA H200 (compute capability 9.0), driver 580.95.05"], id="all-is-well"),
        pytest.param("cuda device", [H200], 0, ["‣ GPU: NVIDIA H200 (compute capability 9.0)"], id="well-without-nvml"),
        pytest.param("", [], 1, ["‣ GPU: none.", CPU, "docker run --gpus all"], id="forgotten"),
        pytest.param("device", [], 1, ["warning: /dev/nvidia0 is here, but libcuda.so.1 is not", "--gpus all",
                                       "nvidia-container-toolkit", CPU], id="device-without-driver"),
        pytest.param("nvml cuda device", [H200, "FAKE_DRIVER=535.183.01"], 1,
                     ["warning: the NVIDIA driver 535.183.01 of this computer is older than 580", "update it", CPU],
                     id="old-driver"),
        pytest.param("nvml cuda device", ["FAKE_GPUS=NVIDIA GeForce GTX 1080:6.1"], 1,
                     ["warning: NVIDIA GeForce GTX 1080 (compute capability 6.1): older than Turing (7.5)", CPU],
                     id="old-gpu"),
        pytest.param("nvml cuda device", ["FAKE_GPUS=NVIDIA GeForce GTX 1650:7.5"], 0,
                     ["‣ GPU: NVIDIA GeForce GTX 1650 (compute capability 7.5), driver"], id="turing-is-new-enough"),
        pytest.param("nvml cuda device", [H200, "FAKE_NVML=999"], 1,
                     ["warning: GPU lost: the driver says “Unknown Error”", "reload of systemd", "restart",
                      "--device nvidia.com/gpu=all", CPU], id="lost-after-a-daemon-reload"),
        pytest.param("nvml cuda device", [H200, "FAKE_DEVICE=15"], 1,
                     ["warning: GPU lost: the driver says “GPU is lost”", "restart the computer", CPU],
                     id="off-the-bus"),
        pytest.param("nvml cuda device", [H200, "FAKE_NVML=18"], 1,
                     ["warning: the driver says “Driver/library version mismatch”", "restart the computer", CPU],
                     id="driver-updated-meanwhile"),
        pytest.param("nvml cuda device", [H200, "FAKE_CUDA=802"], 1,
                     ["warning: CUDA says “system not yet initialized”", "nvidia-fabricmanager", CPU],
                     id="no-fabric-manager"),
        pytest.param("nvml cuda device", [H200, "CUDA_VISIBLE_DEVICES="], 1,
                     ["‣ GPU: hidden by NVIDIA_VISIBLE_DEVICES or CUDA_VISIBLE_DEVICES", CPU], id="hidden"),
        pytest.param("cuda device", [], 1, ["warning: GPU lost: libcuda finds no device", CPU], id="lost-without-nvml"),
        pytest.param("nvml cuda device", [H200, "FAKE_NVML=crash"], 1,
                     ["warning: the NVIDIA driver crashes when it is asked", "nvidia-smi", CPU], id="crash"),
    ],
)  # fmt: skip
def test_one_line(image: str, driver, brought: str, settings: list[str], status: int, parts: list[str]) -> None:
    options = [option for name in brought.split() for option in driver[name]]
    lines, found = check(image, [*options, *variables(*settings)])
    assert len(lines) == 1, lines
    assert lines[0].startswith(parts[0])
    for part in parts:
        assert part in lines[0]
    assert found == status


def test_an_old_gpu_beside_a_new_one_is_hidden_from_the_notebooks(start, driver) -> None:
    """torch would try the old one, and fail."""
    options = [*driver["nvml"], *driver["cuda"], *driver["device"],
               *variables("FAKE_GPUS=NVIDIA GeForce GTX 1080:6.1;NVIDIA H200:9.0")]  # fmt: skip
    container: Container = start(
        options=options, allowed=["^warning: NVIDIA GeForce GTX 1080 .* The other ones are used.$"]
    )
    container.wait_for_server()
    environment = container.execute("cat", f"/proc/{container.server_process}/environ").split("\0")
    assert "CUDA_VISIBLE_DEVICES=GPU-1" in environment


def test_a_driver_that_hangs_holds_nothing_up(start, driver) -> None:
    """The start goes on after a while, with a line."""
    container: Container = start(
        options=[*driver["nvml"], *driver["device"], *variables("FAKE_NVML=hang")],
        allowed=["^warning: the NVIDIA driver has not answered within 20 s"],
    )
    container.wait_for_line("^warning: the NVIDIA driver has not answered within 20 s")
    container.wait_for_server()
    assert not any(line.startswith("Z") for line in container.processes())


def test_a_driver_that_takes_half_a_minute_is_not_waited_for(start, driver) -> None:
    """The line says that it may be slow, and how it gets fast; the start takes the limit and no more."""
    begun = time.monotonic()
    container: Container = start(
        options=[*driver["nvml"], *driver["device"], *variables("FAKE_NVML=slow")],
        allowed=["^warning: the NVIDIA driver has not answered within 20 s"],
    )
    container.wait_for_line("^warning: .* Is it slow\\? nvidia-smi -pm 1 on the computer keeps it awake")
    assert time.monotonic() - begun < 25


def test_jupyterlab_starts_with_each_trouble_and_computes_on_the_cpu(start, driver) -> None:
    """The lost GPU, as the worst of them: the line is there, the server too, and torch works."""
    options = [*driver["nvml"], *driver["cuda"], *driver["device"], *variables(H200, "FAKE_NVML=999", "FAKE_CUDA=999")]
    container: Container = start(options=options, allowed=["^warning: GPU lost"])
    container.wait_for_server()
    assert len([line for line in container.log.splitlines() if "GPU lost" in line]) == 1
    assert container.execute("python", "-c", "import torch; print(torch.ones(3).sum().item())").endswith("3.0")
