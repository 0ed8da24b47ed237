"""What the tests of the labs share: names, and data sets of a few images, written by hand."""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

CHECKOUT = Path(__file__).resolve().parents[2]

# The fixtures `load` and `run` of conftest.py.
Load = Callable[..., ModuleType]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

TRAIN, TEST, BATCH = 30, 20, 4  # images in MNIST's two parts, and in each CIFAR-10 batch
BATCHES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]


def idx(values: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    header = [0x800 + values.ndim, *values.shape]
    return b"".join(number.to_bytes(4, "big") for number in header) + values.astype(np.uint8).tobytes()


def batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A CIFAR-10 batch, pickled as Python 2 did (protocol 2)."""
    return pickle.dumps({"batch_label": "small", "labels": labels, "data": images}, protocol=2)


def write(root: Path) -> Path:
    """Write both sets under `root`, in the layout of the course machine; returns root."""
    random = np.random.default_rng(0)
    raw = root / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(random.integers(0, 256, (count, 28, 28))))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    cifar = root / "cifar10" / "cifar-10-batches-py"
    cifar.mkdir(parents=True)
    for number, name in enumerate(BATCHES):
        images = random.integers(0, 256, (BATCH, 3072), dtype=np.uint8)
        (cifar / name).write_bytes(batch(images, [(number + k) % 10 for k in range(BATCH)]))
    return root
