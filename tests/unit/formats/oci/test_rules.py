"""Where a path goes."""

from __future__ import annotations

import pytest

from coursebox.formats.oci.rules import CHANGES, SYSTEM, layer_of_whiteout

SITE = "opt/jupyter/lib/python3.13/site-packages"


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("usr", "system"),
        ("usr/lib/python3.13/os.py", "system"),
        ("usr/lib/python3/dist-packages", "python"),
        ("usr/lib/python3/dist-packages/numpy/__init__.py", "python"),
        ("usr/lib/python3/dist-packages-else/x", "system"),
        ("opt", "system"),
        ("opt/jupyter", "python"),
        ("opt/jupyter/bin/jupyter-lab", "python"),
        ("opt/jupyter-else", "system"),
        (f"{SITE}/six.py", "python"),
        (f"{SITE}/nvidia", "cuda"),
        (f"{SITE}/nvidia/cu13/lib/libcublas.so.13", "cuda"),
        (f"{SITE}/nvidia_cublas-13.1.1.3.dist-info/RECORD", "cuda"),
        (f"{SITE}/cuda/bindings/driver.so", "cuda"),
        (f"{SITE}/cuda_bindings-13.0.3.dist-info/METADATA", "cuda"),
        (f"{SITE}/cudagraph/x.py", "python"),
        ("usr/lib/python3/dist-packages/torch/nn/__init__.py", "torch"),
        ("usr/lib/python3/dist-packages/torch-2.6.0+debian.egg-info/PKG-INFO", "torch"),
        ("usr/lib/python3/dist-packages/torchvision-0.21.0.egg-info", "torch"),
        ("usr/lib/python3/dist-packages/torchmetrics/x.py", "python"),
        ("usr/lib/x86_64-linux-gnu/libtorch_cpu.so.2.6.0", "torch"),
        ("usr/lib/aarch64-linux-gnu/libdnnl.so.3.7", "torch"),
        ("usr/lib/x86_64-linux-gnu/libtorture.a", "system"),
        ("usr/lib/x86_64-linux-gnu/libc.so.6", "system"),
        (f"{SITE}/torch/lib/libtorch_cuda.so", "torch"),
        (f"{SITE}/torch-2.13.0.dist-info/RECORD", "torch"),
        (f"{SITE}/torchvision.libs/libpng.so", "torch"),
        (f"{SITE}/torchgen/model.py", "torch"),
        (f"{SITE}/triton/_C/libtriton.so", "torch"),
        (f"{SITE}/torchmetrics/x.py", "python"),
        ("opt/jupyter/lib/python3.14/site-packages/torch/x", "torch"),
        ("home/opt/jupyter/x", "system"),
    ],
)
def test_of_the_system(path: str, layer: str) -> None:
    assert SYSTEM.layer_of(path) == layer


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("usr/share/coursebox", "course"),
        ("usr/share/coursebox/labs/lab.ipynb", "course"),
        ("usr/share/coursebox/data", "data"),
        ("usr/share/coursebox/data/mnist/MNIST/raw/x", "data"),
        ("usr/share/coursebox/database", "course"),
        (f"{SITE}/torch/x", "course"),
        ("home/student/x", "course"),
    ],
)
def test_of_the_changes(path: str, layer: str) -> None:
    assert CHANGES.layer_of(path) == layer


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("usr/bin/old", "course"),
        ("usr/share/coursebox/data/old", "data"),
        ("usr/share/coursebox/data", "data"),
        ("usr/share/coursebox", "data"),
        ("usr/share", "data"),
        ("usr/share/course", "course"),
    ],
)
def test_a_whiteout_never_hides_the_data(path: str, layer: str) -> None:
    assert layer_of_whiteout(path) == layer
