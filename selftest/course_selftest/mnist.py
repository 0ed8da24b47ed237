"""MNIST as tensors, read from the folder that PYTORCH_DATA_DIR names; nothing is downloaded."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

COURSE_DATA = Path("/usr/share/coursebox/data")
FOLDERS = ("mnist/MNIST/raw", "MNIST/raw", "mnist")


class MissingData(Exception):
    """MNIST is not there: one sentence that says what was looked for, and what to do."""


class DamagedData(Exception):
    """A file of MNIST is there and is not what it should be: one sentence."""


@dataclass(frozen=True)
class Mnist:
    """Images are uint8, N × 784, row after row; labels are int64, N.

    remark: empty for the real set, else what SOURCES.json says that these data are.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    remark: str

    def statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of all training values, as the lecture normalises with them."""
        # Counted, not summed up in float32: the set has 47 million values.
        counts = torch.bincount(self.train_images.view(-1).int(), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64)
        mean = (counts * values).sum() / counts.sum()
        variance = (counts * (values - mean) ** 2).sum() / (counts.sum() - 1)
        return mean.item(), variance.sqrt().item()


def data_folder(named: str | None) -> tuple[Path | None, bool]:
    """Where the data should be, and whether somebody said so (`named`, else PYTORCH_DATA_DIR)."""
    if said := named or os.environ.get("PYTORCH_DATA_DIR"):
        return Path(said).expanduser(), True
    return (COURSE_DATA, False) if COURSE_DATA.is_dir() else (None, False)


def load(root: Path) -> Mnist:
    """Read the four files below `root`. Raises MissingData or DamagedData."""
    train, test = _part(root, "train"), _part(root, "t10k")
    return Mnist(*train, *test, _remark(root))


def _part(root: Path, part: str) -> tuple[Tensor, Tensor]:
    images = _read(_find(root, f"{part}-images-idx3-ubyte"), (28, 28))
    file = _find(root, f"{part}-labels-idx1-ubyte")
    labels = _read(file, ()).long()
    if len(labels) != len(images) or len(labels) == 0 or int(labels.max()) > 9:
        raise DamagedData(f"{file} does not hold one digit for each of {len(images)} images; install the data again")
    return images.view(-1, 784), labels


def _find(root: Path, name: str) -> Path:
    for folder in FOLDERS:
        for file in (root / folder / name, root / folder / f"{name}.gz"):
            if file.is_file():
                return file
    raise MissingData(f"MNIST is missing: there is no {root / FOLDERS[0] / name}")


def _read(file: Path, shape: tuple[int, ...]) -> Tensor:
    """An IDX file of bytes: two zero bytes, the type (8), the number of dimensions, each as a big-endian 32-bit
    number, then the values (described on the MNIST page of Yann LeCun). Returns uint8, N x shape."""
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedData(f"{file} cannot be read: {error}") from None
    begin = 4 * (2 + len(shape))
    header = [int.from_bytes(content[k : k + 4], "big") for k in range(0, begin, 4)]
    size = 1
    for length in header[1:]:
        size *= length
    if header[0] != 0x801 + len(shape) or tuple(header[2:]) != shape or len(content) != begin + size or size == 0:
        raise DamagedData(f"{file} is not a complete file of {'images' if shape else 'labels'}; install the data again")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=begin).view(header[1], *shape)


def _remark(root: Path) -> str:
    """What SOURCES.json, which lies beside the data of a course machine, says when MNIST is not the real one."""
    try:
        source = json.loads((root / "SOURCES.json").read_text(encoding="utf-8"))["mnist"]
        return "" if source["kind"] == "complete" else str(source["kind"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
