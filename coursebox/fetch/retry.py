"""How long to wait for a server, how often to ask again, and how slow it may be."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """When to ask a server again, and when to give up.

    connections: at the same time
    connect, stall: seconds until a connection stands, and that a server may stay silent
    slowest: bytes per second, on average over `stall` seconds
    attempts: requests that may fail one after the other
    pause: seconds before the second attempt; it doubles each time
    """

    connections: int = 8
    connect: float = 10.0
    stall: float = 30.0
    slowest: int = 1024
    attempts: int = 4
    pause: float = 0.5


class TooSlow(Exception):
    """A server sends too slowly."""


class RateLimit:
    """Checks that a server sends at least `slowest` bytes per second, over each `stall` seconds of a RetryPolicy."""

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self._since = time.monotonic()
        self._got = 0

    def count(self, size: int) -> None:
        """Note `size` bytes that have come; raises TooSlow."""
        self._got += size
        now = time.monotonic()
        if now - self._since > self._retry.stall:
            if self._got < self._retry.slowest * self._retry.stall:
                raise TooSlow("is too slow")
            self._since, self._got = now, 0
