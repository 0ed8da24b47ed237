"""The data sets that a course can have, and the files that `make lock` writes down for them."""

from __future__ import annotations

from collections.abc import Sequence

from coursebox.core.errors import CourseboxError
from coursebox.lock.lockfile import DataFile

RAW = "mnist/MNIST/raw"


def _idx(name: str, size: int, sha256: str) -> DataFile:
    return DataFile("mnist", "complete", "mnist", f"{name}.gz", f"{RAW}/{name}", "gzip", size, sha256)


# The digests are those of the official files; of MNIST, of their content, since it is offered in several compressions.
KNOWN = (
    _idx("train-images-idx3-ubyte", 47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    _idx("train-labels-idx1-ubyte", 60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    _idx("t10k-images-idx3-ubyte", 7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    _idx("t10k-labels-idx1-ubyte", 10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    DataFile(
        *("cifar10", "complete", "cifar10", "cifar-10-python.tar.gz", "cifar10", "tar", 170498071),
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    DataFile(
        *("cifar10", "sample", "cifar10-sample", "cifar-10-sample.tar.gz", "cifar10", "tar", 15855154),
        "9d3aa28a6bb7eba44472f62a115412c53fdc80830159fc3e8b0aae37983fb676",
    ),
)


def lock_data(sets: Sequence[str]) -> tuple[DataFile, ...]:
    """All files that `make lock` writes down for the data sets: the complete ones and, where there is one, a sample."""
    known = {item.set for item in KNOWN}
    if unknown := sorted(set(sets) - known):
        raise CourseboxError(
            f"there is no data set {', '.join(map(repr, unknown))}", hint=f"there are {', '.join(sorted(known))}"
        )
    return tuple(sorted(item for item in KNOWN if item.set in sets))
