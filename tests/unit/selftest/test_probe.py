"""Why there is no GPU: one clause with the remedy, for each thing that goes wrong."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import pytest
from course_selftest import probe
from course_selftest.probe import Driver, Facts

WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
FINE = Facts("13.0", Driver(13000), True, WHEEL, (9, 0))


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (FINE, ""),
        (replace(FINE, visible="0"), ""),
        (replace(FINE, driver=Driver(13020)), ""),
        (replace(FINE, built_for="12.8", driver=Driver(12020)), ""),
        (replace(FINE, architectures=()), ""),
        (replace(FINE, built_for=None), "this PyTorch was built without CUDA"),
        (replace(FINE, driver=Driver(None)), "none was given to this container; start it with --gpus all"),
        (replace(FINE, driver=Driver(None), in_container=False), "this machine has no NVIDIA driver"),
        (replace(FINE, driver=Driver(12020)),
         "the driver is for CUDA 12.2 and too old; CUDA 13.0 needs driver 580.65.06 or later"),
        (replace(FINE, built_for="14.1"), "the driver is for CUDA 13.0 and too old; CUDA 14.1 needs a newer one"),
        (replace(FINE, driver=Driver(13000, 100)),
         "the driver finds none; start the container with --gpus all, or anew if it had one before"),
        (replace(FINE, driver=Driver(13000, 100), in_container=False), "the driver finds none"),
        (replace(FINE, driver=Driver(13000, 100), visible=""), "CUDA_VISIBLE_DEVICES hides all of them"),
        (replace(FINE, driver=Driver(13000, 0), visible="-1"), "CUDA_VISIBLE_DEVICES hides all of them"),
        (replace(FINE, driver=Driver(13000, 999)),
         "the driver refuses (cuInit error 999); start the container anew, it may have lost its GPU"),
        (replace(FINE, driver=Driver(13000, 999), in_container=False), "the driver refuses (cuInit error 999)"),
        (replace(FINE, driver=Driver(13000, 804)),
         "the driver refuses (cuInit error 804): a cuda-compat library hides its own; take that off LD_LIBRARY_PATH"),
        (replace(FINE, refused="No CUDA GPUs are available", capability=None),
         "CUDA cannot be started: No CUDA GPUs are available"),
        (replace(FINE, capability=(6, 1)), "this PyTorch has no code for its capability, 6.1"),
    ],
)  # fmt: skip
def test_reasons(facts: Facts, reason: str) -> None:
    assert probe.why_no_gpu(facts) == reason


@pytest.mark.parametrize(
    ("architectures", "capability", "fits"),
    [
        (WHEEL, (7, 5), True),
        (WHEEL, (8, 9), True),  # Ada runs the code for 8.6
        (WHEEL, (10, 3), True),
        (WHEEL, (12, 1), True),
        (WHEEL, (7, 0), False),  # Volta does not run the code for 7.5
        (WHEEL, (6, 1), False),
        (WHEEL, (11, 0), False),
        (("sm_86",), (8, 0), False),
        (("sm_75", "compute_75"), (9, 0), True),
        (("compute_90",), (8, 0), False),
        (("sm_90a",), (9, 0), True),
        (("sm_100a",), (10, 3), False),
        (("sm_100f",), (10, 3), True),
        (("gfx90a",), (9, 0), False),
        ((), (6, 1), True),
    ],
)
def test_code_for(architectures: tuple[str, ...], capability: tuple[int, int], fits: bool) -> None:
    assert probe.has_code_for(architectures, capability) is fits


class Library:
    """A libcuda.so.1 that answers as it was told."""

    def __init__(self, version: int, init: int, asked: int = 0) -> None:
        self.version, self.init, self.asked = version, init, asked

    def cuDriverGetVersion(self, pointer: Any) -> int:
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = self.version
        return self.asked

    def cuInit(self, flags: int) -> int:
        assert flags == 0
        return self.init


@pytest.mark.parametrize(
    ("library", "driver"),
    [
        (Library(13000, 0), Driver(13000, 0)),
        (Library(12020, 999), Driver(12020, 999)),
        (Library(0, 0, 3), Driver(0, 999)),
    ],
)
def test_the_driver_is_asked(monkeypatch: pytest.MonkeyPatch, library: Library, driver: Driver) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library if name == "libcuda.so.1" else None)
    assert probe.ask_driver() == driver


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert probe.ask_driver() == Driver(None)
