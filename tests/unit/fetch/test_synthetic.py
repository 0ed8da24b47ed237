"""Synthetic data sets have the formats of the real data, to the byte where the format says so."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
from collections import Counter
from typing import Any

import pytest

from coursebox.archives.datasets import read_data_sets
from coursebox.fetch.synthetic import CLASSES, GENERATORS, cifar10_files, mnist_files

# Whoever changes the drawing changes these; a machine on which they differ does not build reproducibly.
DIGESTS = {
    "train-images-idx3-ubyte": "ec4873706d792e5b",
    "train-labels-idx1-ubyte": "9cad08a968da9d92",
    "t10k-images-idx3-ubyte": "c4ce7028ed052f86",
    "t10k-labels-idx1-ubyte": "2b493055b30ac4dc",
    "data_batch_1": "72904370c410ab59",
    "data_batch_2": "431f5520021282fa",
    "data_batch_3": "1c4dd0e21c3335c5",
    "data_batch_4": "478f16c7f1ef4a2e",
    "data_batch_5": "821baff35f470034",
    "test_batch": "3da838ba3acfe840",
    "batches.meta": "1a84f09e9696b8f9",
}


@pytest.fixture(scope="module")
def mnist() -> dict[str, bytes]:
    return dict(mnist_files())


@pytest.fixture(scope="module")
def cifar10() -> dict[str, bytes]:
    return dict(cifar10_files())


def test_same_bytes_everywhere(mnist: dict[str, bytes], cifar10: dict[str, bytes]) -> None:
    found = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in {**mnist, **cifar10}.items()}
    assert found == DIGESTS


@pytest.mark.parametrize(("part", "count"), [("train", 60_000), ("t10k", 10_000)])
def test_idx_files(mnist: dict[str, bytes], part: str, count: int) -> None:
    images, labels = mnist[f"{part}-images-idx3-ubyte"], mnist[f"{part}-labels-idx1-ubyte"]
    assert struct.unpack(">4I", images[:16]) == (2051, count, 28, 28)
    assert len(images) == 16 + count * 28 * 28
    assert struct.unpack(">2I", labels[:8]) == (2049, count)
    assert len(labels) == 8 + count
    shares = Counter(labels[8:])
    assert sorted(shares) == list(range(10))
    assert min(shares.values()) > count * 0.08


def test_digits_are_drawn_white_on_black_and_inside(mnist: dict[str, bytes]) -> None:
    images = mnist["t10k-images-idx3-ubyte"]
    for number in range(500):
        image = images[16 + number * 784 : 16 + (number + 1) * 784]
        ink = sum(image) / 255 / 784
        assert 0.05 < ink < 0.45
        assert max(image) == 255


def test_test_images_are_not_the_training_images(mnist: dict[str, bytes]) -> None:
    def images(name: str) -> set[bytes]:
        content = mnist[name]
        return {content[place : place + 784] for place in range(16, len(content), 784)}

    training, test = images("train-images-idx3-ubyte"), images("t10k-images-idx3-ubyte")
    assert len(training) > 5000
    assert len(training & test) < len(test) * 0.01


class Array:
    """What numpy's _reconstruct would make."""

    def __init__(self, *args: Any) -> None:
        self.made_of = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Reader(pickle.Unpickler):
    """Reads the batches without numpy; anything that they do not need is refused."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *args: Array(*args),
            ("numpy", "ndarray"): "ndarray",
            ("numpy", "dtype"): lambda *args: Array(*args),
        }
        return known[module, name]


def read(content: bytes) -> dict[str, Any]:
    """As Python 3 reads a pickle of Python 2."""
    found = Reader(io.BytesIO(content), encoding="latin1").load()
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("number", range(6))
def test_cifar10_batches(cifar10: dict[str, bytes], number: int) -> None:
    name = f"data_batch_{number}" if number else "test_batch"
    batch = read(cifar10[name])
    assert list(batch) == ["batch_label", "labels", "data"]
    assert batch["batch_label"] == (f"training batch {number} of 5" if number else "testing batch 1 of 1")
    assert len(batch["labels"]) == 1000
    assert set(batch["labels"]) == set(range(10))
    data = batch["data"]
    assert data.made_of == ("ndarray", (0,), "b")
    version, shape, dtype, fortran, content = data.state
    assert (version, shape, fortran) == (1, (1000, 3072), False)
    assert dtype.made_of == ("u1", 0, 1)
    assert dtype.state == (3, "|", None, None, None, -1, -1, 0)
    assert len(content) == 1000 * 3072


def test_cifar10_meta(cifar10: dict[str, bytes]) -> None:
    meta = read(cifar10["batches.meta"])
    assert meta == {"num_cases_per_batch": 1000, "label_names": list(CLASSES), "num_vis": 3072}
    assert CLASSES[7] == "horse"


def test_each_image_has_a_front_and_a_background(cifar10: dict[str, bytes]) -> None:
    content = read(cifar10["data_batch_1"])["data"].state[4].encode("latin1")
    for number in range(200):
        red = content[number * 3072 : number * 3072 + 1024]
        assert 2 <= len(set(red)) <= 5
        assert Counter(red).most_common()[1][1] / 1024 > 0.02


def test_pickles_use_the_opcodes_of_the_originals(cifar10: dict[str, bytes]) -> None:
    """Protocol 2 with Python 2 strings: what reads the originals with encoding="bytes" gets bytes here, too."""
    content = cifar10["data_batch_1"]
    assert content[:2] == b"\x80\x02"
    found = Reader(io.BytesIO(content), encoding="bytes").load()
    assert list(found) == [b"batch_label", b"labels", b"data"]
    assert isinstance(found[b"data"].state[4], bytes)


def test_every_set_that_promises_a_synthetic_one_has_it() -> None:
    assert {name for name, one in read_data_sets().items() if one.synthetic and one.generated} == set(GENERATORS)
