"""Can this PyTorch use a GPU here, and if not, why? Nothing in this module needs a GPU to be tested."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# The oldest Linux driver for each major version of CUDA; within one, minor versions are compatible.
# https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/ "CUDA Toolkit Driver Versions"
OLDEST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}

NO_DEVICE = 100
UNKNOWN = 999
# A library for a newer CUDA than the driver's (cuda-compat) lies before the driver's own, and does not fit the GPU.
COMPAT_ERRORS = {803, 804}

CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


@dataclass(frozen=True)
class Driver:
    """What the driver's library says of itself. cuda: the CUDA version it brings, 13000 for 13.0; None without one.

    error: what cuInit returned; 0 when all is well.
    """

    cuda: int | None
    error: int = 0


@dataclass(frozen=True)
class Facts:
    """What decides whether there is a usable GPU.

    built_for: CUDA version of PyTorch ("13.0"), None without CUDA. architectures: as torch.cuda.get_arch_list gives
    them. capability: (major, minor) of the GPU, None when PyTorch cannot tell. refused: what PyTorch said when it was
    to start CUDA; empty when it started.
    """

    built_for: str | None
    driver: Driver
    in_container: bool
    architectures: Sequence[str] = ()
    capability: tuple[int, int] | None = None
    refused: str = ""
    visible: str | None = None


def why_no_gpu(facts: Facts) -> str:
    """A clause with the remedy, to be read after "no GPU: "; empty when the GPU can be used."""
    if facts.built_for is None:
        return "this PyTorch was built without CUDA"
    if facts.driver.cuda is None:
        if facts.in_container:
            return "none was given to this container; start it with --gpus all"
        return "this machine has no NVIDIA driver"
    if not driver_is_new_enough(facts.built_for, facts.driver.cuda):
        return f"the driver is for CUDA {dotted(facts.driver.cuda)} and too old; {needed_driver(facts.built_for)}"
    if facts.visible is not None and facts.visible.strip() in ("", "-1") and facts.driver.error in (0, NO_DEVICE):
        return "CUDA_VISIBLE_DEVICES hides all of them"
    if facts.driver.error == NO_DEVICE:
        if facts.in_container:
            return "the driver finds none; start the container with --gpus all, or anew if it had one before"
        return "the driver finds none"
    if facts.driver.error in COMPAT_ERRORS:
        return (
            f"the driver refuses (cuInit error {facts.driver.error}): a cuda-compat library hides its own; "
            "take that off LD_LIBRARY_PATH"
        )
    if facts.driver.error:
        again = "; start the container anew, it may have lost its GPU" if facts.in_container else ""
        return f"the driver refuses (cuInit error {facts.driver.error}){again}"
    if facts.refused:
        return f"CUDA cannot be started: {facts.refused}"
    if facts.capability is not None and not has_code_for(facts.architectures, facts.capability):
        return f"this PyTorch has no code for its capability, {capability_text(facts.capability)}"
    return ""


def driver_is_new_enough(built_for: str, driver_cuda: int) -> bool:
    """built_for: "13.0". driver_cuda: 13000. Minor versions of CUDA run on any driver of the same major version."""
    return driver_cuda // 1000 >= int(built_for.split(".")[0])


def needed_driver(built_for: str) -> str:
    oldest = OLDEST_DRIVER.get(int(built_for.split(".")[0]))
    return f"CUDA {built_for} needs driver {oldest} or later" if oldest else f"CUDA {built_for} needs a newer one"


def has_code_for(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether machine code (sm_) of the same generation, or an intermediate form (compute_) of an older one, is there.

    Machine code runs on every later minor version of its generation, intermediate code (PTX) on everything later;
    code for an `a` target runs on that capability alone (CUDA C++ Programming Guide, "Application Compatibility").
    """
    if not architectures:
        return True  # a build that does not tell
    for name in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
        if not found:
            continue
        major, minor, exact = int(found[2]), int(found[3]), found[4] == "a"
        if exact:
            fits = (major, minor) == capability
        elif found[1] == "sm":
            fits = major == capability[0] and minor <= capability[1]
        else:
            fits = (major, minor) <= capability
        if fits:
            return True
    return False


def ask_driver() -> Driver:
    """Load the driver's library and start it; there is none on a machine without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Driver(None)
    version = ctypes.c_int(0)
    if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return Driver(0, UNKNOWN)
    return Driver(version.value, library.cuInit(0))


def in_container() -> bool:
    return any(Path(mark).exists() for mark in CONTAINER_MARKS) or "container" in os.environ


def dotted(version: int) -> str:
    """13000 → 13.0"""
    return f"{version // 1000}.{version % 1000 // 10}"


def capability_text(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def gather() -> Facts:
    """The facts of this machine; imports PyTorch and starts CUDA where it can be started."""
    import torch

    if torch.version.cuda is None:
        return Facts(None, Driver(None), in_container())
    driver, capability, refused = ask_driver(), None, ""
    architectures = built_architectures()
    if driver.cuda and driver.error == 0 and driver_is_new_enough(torch.version.cuda, driver.cuda):
        try:
            torch.cuda.init()
            capability = torch.cuda.get_device_capability(0)
        except Exception as error:  # RuntimeError, AssertionError, or what later versions raise
            refused = str(error).strip().splitlines()[0]
    return Facts(torch.version.cuda, driver, in_container(), architectures, capability, refused,
                 os.environ.get("CUDA_VISIBLE_DEVICES"))  # fmt: skip


def built_architectures() -> list[str]:
    """sm_75, sm_80, …: what PyTorch was compiled for. torch.cuda.get_arch_list says nothing without a GPU."""
    import torch

    flags = torch._C._cuda_getArchFlags() if hasattr(torch._C, "_cuda_getArchFlags") else None
    return flags.split() if flags else []
