"""What the image says of the computer that it runs on, and that its PyTorch computes there."""

from __future__ import annotations

import pytest
from containers import Container, run_once

CPU = "Everything runs on the CPU."
COMPUTE = "import torch; print(torch.version.cuda or 'cpu', torch.ones(3).sum().item())"
LARGE = ["--shm-size", "1g"]


def test_pytorch_is_the_one_of_the_image_and_computes_without_a_gpu(image: str, device: str) -> None:
    made_for, result = run_once(image, "python", "-c", COMPUTE).out.split()
    assert (made_for == "cpu") == (device == "cpu") and result == "3.0"


def test_pip_finds_all_that_pytorch_asks_for(image: str) -> None:
    """What is missing pip would bring with each package that needs torch; without a network it refuses the package."""
    said = run_once(image, "pip", "check")
    assert said.out and not [line for line in said.out.splitlines() if line.startswith("torch")], said.out


def test_one_line_about_the_gpu_without_one(image: str, device: str) -> None:
    done = run_once(image, "gpu-check", options=LARGE)
    said = {"cpu": "‣ GPU: not used, PyTorch is made for the CPU in this image.", "cuda": "‣ GPU: none."}
    assert done.err.startswith(f"{said[device]} {CPU}") and done.err.count("\n") == 1
    assert done.status == 1


def test_a_gpu_is_worth_a_warning_where_pytorch_cannot_use_it(start, device: str) -> None:
    """Who passes a GPU in wants to use it: in the image for the CPU the line names the other one."""
    remedy = "take the image of the file …-cuda.oci.tar" if device == "cpu" else "nvidia-container-toolkit"
    container: Container = start(
        options=[*LARGE, "--device", "/dev/null:/dev/nvidia0"], allowed=["^warning: /dev/nvidia0 is here, but "]
    )
    container.wait_for_server()
    (line,) = [line for line in container.log.splitlines() if "/dev/nvidia0" in line]
    assert line.startswith("warning: /dev/nvidia0 is here, but ") and remedy in line and CPU in line


@pytest.mark.parametrize(("size", "lines"), [("64m", 1), ("255m", 1), ("256m", 0), ("2g", 0)])
def test_shared_memory(image: str, size: str, lines: int) -> None:
    done = run_once(image, "gpu-check", options=["--shm-size", size])
    about = [line for line in done.err.splitlines() if "/dev/shm" in line]
    assert len(about) == lines
    for line in about:
        assert line.startswith(f"‣ /dev/shm has {size[:-1]} MB, too little for DataLoader workers")
        assert "--shm-size=2g" in line and "--ipc=host" in line


def test_other_commands_say_nothing_about_gpus(image: str) -> None:
    assert run_once(image, "true").err == ""


def test_the_check_does_not_import_torch(image: str) -> None:
    done = run_once(image, "sh", "-c", "python3 -X importtime -IS /usr/local/bin/gpu-check 2>&1 | grep -c torch")
    assert done.out.strip() == "0"
