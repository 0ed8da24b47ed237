"""What the answer of an HTTP server says: where it goes on, whether it is what was asked for, why there is none."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx

AGAIN = (408, 425, 429, 500, 502, 503, 504)


def is_page(response: httpx.Response, name: str) -> bool:
    """Whether the answer is a web page, as the login page of a network that answers for every server.

    name: of the file that was asked for.
    """
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") and not name.endswith((".html", ".htm"))


def host(address: str) -> str:
    """Host and port of a URL, without user and password; "" for what has none."""
    try:
        return urlsplit(address).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def continues(response: httpx.Response, offset: int, size: int | None) -> bool:
    """Whether a 206 answer goes on at `offset` of a file of `size` bytes."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == offset and (size is None or found[2] in ("*", str(size)))


def strong_validator(response: httpx.Response) -> str | None:
    """A strong validator for If-Range, or None."""
    tag = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return str(tag)
    modified = response.headers.get("Last-Modified")
    return str(modified) if modified else None


def sentence(error: Exception) -> str:
    """What went wrong with a connection, in a few words."""
    if isinstance(error, httpx.TimeoutException):
        return "stalls"
    if isinstance(error, httpx.RemoteProtocolError):
        return "breaks off"
    return str(error) or type(error).__name__
