"""The NVIDIA GPUs of this machine, and whether its Docker engine can hand them to a container."""

from __future__ import annotations

from dataclasses import dataclass

from coursebox.core.run import capture

# CUDA 13 needs this branch of the driver; the wheels hold code for Turing (compute capability 7.5) and later.
# https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/
DRIVER = 580
CAPABILITY = (7, 5)


@dataclass(frozen=True)
class Gpu:
    """One GPU as nvidia-smi describes it; driver: its major version; capability: (major, minor)."""

    name: str
    driver: int
    capability: tuple[int, int]


def find_gpus() -> list[Gpu]:
    """The GPUs that the driver shows; none without a driver."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    done = capture(query)
    return read_query(done.stdout) if done.returncode == 0 else []


def read_query(text: str) -> list[Gpu]:
    """What `nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader` printed."""
    gpus = []
    for line in text.splitlines():
        name, driver, capability = (field.strip() for field in line.rsplit(",", 2))
        major, minor = capability.split(".")
        gpus.append(Gpu(name, int(driver.split(".")[0]), (int(major), int(minor))))
    return gpus


def trouble(gpus: list[Gpu], runtimes: str) -> tuple[str, str] | None:
    """What keeps containers of the image from these GPUs, and the remedy; None when nothing does.

    runtimes: what `docker info` prints, its runtimes and CDI devices among it.
    """
    for gpu in gpus:
        if gpu.driver < DRIVER:
            return f"{gpu.name}: driver {gpu.driver}", f"CUDA 13 needs driver {DRIVER} or later: update it"
        if gpu.capability < CAPABILITY:
            return (
                f"{gpu.name}: older than Turing",
                "PyTorch has no code for it any more: the image runs on the CPU there",
            )
    if gpus and "nvidia" not in runtimes:
        return (
            f"{gpus[0].name}: the Docker engine cannot hand it to a container",
            "install nvidia-container-toolkit, then run: sudo nvidia-ctk runtime configure --runtime=docker",
        )
    return None


def engine_runtimes() -> str:
    """All that the Docker engine says of itself, as JSON text; empty when none answers."""
    return capture(["docker", "info", "--format", "{{json .}}"]).stdout
