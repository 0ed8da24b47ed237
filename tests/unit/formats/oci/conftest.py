"""Small trees, and what is made of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for small_trees, whatever pytest's import mode is

from small_trees import Made, make_archive


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A whole image of a small tree, gzip."""
    return make_archive(tmp_path)
