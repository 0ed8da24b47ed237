"""What the tests of this room share: a server, a cache, and retries that cost no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coursebox.core.paths import Cache
from coursebox.fetch import synthetic
from coursebox.fetch.retry import RetryPolicy
from tests.equipment.http_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def retry() -> RetryPolicy:
    return RetryPolicy(connections=4, connect=2.0, stall=0.3, slowest=1024, attempts=3, pause=0.001)


@pytest.fixture(autouse=True)
def small_synthetic_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real ones have tests of their own, and take seconds."""

    def files() -> Iterator[tuple[str, bytes]]:
        yield "drawn", b"drawn"

    monkeypatch.setattr(synthetic, "GENERATORS", {"mnist": files, "cifar10": files})
