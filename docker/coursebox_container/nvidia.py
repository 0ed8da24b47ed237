"""What the NVIDIA driver says, by ctypes: torch would need seconds for the same questions.

Names, numbers and structures are those of NVML (nvml.h) and of the CUDA driver API (cuda.h). Both libraries come into
a container with `--gpus`, from the host's driver; the image has neither.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

OK = 0
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*

Loader = Callable[[str], Any]


class Gpu(NamedTuple):
    """One GPU: its name, its compute capability, and its UUID where NVML was asked."""

    name: str
    capability: tuple[int, int]
    uuid: str = ""


class Answer(NamedTuple):
    """What a library answered: the status of its first call, the same in words, and what it sees."""

    status: int
    message: str = ""
    driver: str = ""
    gpus: tuple[Gpu, ...] = ()


class Facts(NamedTuple):
    """All that can be known of this container's GPUs."""

    host_driver: str | None  # version of the kernel module; seen in every container of the host
    nodes: tuple[str, ...]  # device files
    nvml: Answer | None  # None: the library is not here
    cuda: Answer | None
    shm: int | None  # bytes of /dev/shm


def collect(root: str = "", load: Loader = ctypes.CDLL) -> Facts:
    """Ask the kernel, NVML and libcuda. root: stands before the paths of /proc and /dev."""
    return Facts(host_driver(root), nodes(root), nvml(load), cuda(load), shm(root))


def collect_without_libraries(root: str = "") -> Facts:
    """The same where nothing uses the libraries; they are not loaded, so a broken driver does no harm."""
    return Facts(host_driver(root), nodes(root), None, None, shm(root))


def host_driver(root: str = "") -> str | None:
    """Version of the NVIDIA kernel module of this computer, None when it has none."""
    try:
        with open(f"{root}/proc/driver/nvidia/version", encoding="utf-8", errors="replace") as file:
            found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", file.read())
    except OSError:
        return None
    return found[1] if found else "of unknown version"


def nodes(root: str = "") -> tuple[str, ...]:
    """Device files of GPUs: /dev/nvidia0 …, or /dev/dxg under Windows (WSL 2)."""
    try:
        names = sorted(os.listdir(f"{root}/dev"))
    except OSError:
        return ()
    return tuple(f"/dev/{name}" for name in names if re.fullmatch(r"nvidia\d+|dxg", name))


def shm(root: str = "") -> int | None:
    """Size of /dev/shm in bytes."""
    try:
        status = os.statvfs(f"{root}/dev/shm")
    except OSError:
        return None
    return status.f_frsize * status.f_blocks


def nvml(load: Loader = ctypes.CDLL) -> Answer | None:
    """The driver's version and its GPUs, by libnvidia-ml.so.1."""
    try:
        library = load("libnvidia-ml.so.1")
    except OSError:
        return None
    library.nvmlErrorString.restype = ctypes.c_char_p
    status = library.nvmlInit_v2()
    if status != OK:
        return Answer(status, _text(library.nvmlErrorString(status)))
    driver, count = ctypes.create_string_buffer(96), ctypes.c_uint()
    library.nvmlSystemGetDriverVersion(driver, 96)
    status = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    gpus = []
    for index in range(count.value):
        handle, name, uuid = ctypes.c_void_p(), ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
        major, minor = ctypes.c_int(), ctypes.c_int()
        status = library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        if status != OK:
            break
        library.nvmlDeviceGetName(handle, name, 96)
        library.nvmlDeviceGetUUID(handle, uuid, 96)
        library.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
        gpus.append(Gpu(_text(name.value), (major.value, minor.value), _text(uuid.value)))
    message = "" if status == OK else _text(library.nvmlErrorString(status))
    return Answer(status, message, _text(driver.value), tuple(gpus))


def cuda(load: Loader = ctypes.CDLL) -> Answer | None:
    """What programs like torch see, by libcuda.so.1; CUDA_VISIBLE_DEVICES applies."""
    try:
        library = load("libcuda.so.1")
    except OSError:
        return None
    status = library.cuInit(0)
    if status != OK:
        text = ctypes.c_char_p()
        library.cuGetErrorString(status, ctypes.byref(text))
        return Answer(status, _text(text.value or b""))
    count = ctypes.c_int()
    library.cuDeviceGetCount(ctypes.byref(count))
    gpus = []
    for index in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(96)
        major, minor = ctypes.c_int(), ctypes.c_int()
        library.cuDeviceGet(ctypes.byref(device), index)
        library.cuDeviceGetName(name, 96, device)
        library.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, device)
        library.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, device)
        gpus.append(Gpu(_text(name.value), (major.value, minor.value)))
    return Answer(OK, gpus=tuple(gpus))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
