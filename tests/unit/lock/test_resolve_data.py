"""Which data sets there are, and what `make lock` writes down for them."""

from __future__ import annotations

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.lock.resolve_data import resolve_data


def test_known_sets_are_locked_with_the_official_digests() -> None:
    items = resolve_data(["cifar10", "mnist"])
    assert [(item.set, item.kind) for item in items].count(("mnist", "complete")) == 4
    digests = {item.file: item.sha256 for item in items}
    assert digests["train-images-idx3-ubyte.gz"].startswith("ba891046e6505d7a")
    assert digests["cifar-10-python.tar.gz"].startswith("6d958be074577803")
    assert {item.set for item in resolve_data(["mnist"])} == {"mnist"}


def test_unknown_set() -> None:
    with pytest.raises(CourseboxError, match=r"there is no data set 'imagenet'"):
        resolve_data(["mnist", "imagenet"])
