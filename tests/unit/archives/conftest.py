"""A server in the place of mirrors and indexes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.equipment.http_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()
