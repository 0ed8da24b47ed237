"""What nvidia-smi says, and what keeps a container from a GPU."""

from __future__ import annotations

import pytest

from coursebox.host.gpu import Gpu, read_query, trouble

NVIDIA = '{"Runtimes": {"nvidia": {}}}'


def test_the_query_of_two_gpus() -> None:
    text = "NVIDIA H200, 580.95.05, 9.0\nNVIDIA GeForce RTX 2080, Ti, 570.1, 7.5\n"
    assert read_query(text) == [Gpu("NVIDIA H200", 580, (9, 0)), Gpu("NVIDIA GeForce RTX 2080, Ti", 570, (7, 5))]


@pytest.mark.parametrize(
    ("gpu", "runtimes", "text"),
    [
        (Gpu("H200", 580, (9, 0)), NVIDIA, None),
        (Gpu("H200", 580, (9, 0)), '{"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": ["nvidia.com/gpu=0"]}', None),
        (Gpu("H200", 579, (9, 0)), NVIDIA, "H200: driver 579"),
        (Gpu("GTX 1080", 580, (6, 1)), NVIDIA, "GTX 1080: older than Turing"),
        (Gpu("T4", 580, (7, 5)), "{}", "T4: the Docker engine cannot hand it to a container"),
    ],
)
def test_trouble(gpu: Gpu, runtimes: str, text: str | None) -> None:
    found = trouble([gpu], runtimes)
    assert (found[0] if found else None) == text


def test_without_a_gpu_nothing_is_wrong() -> None:
    assert trouble([], "") is None
