"""What the answer of an HTTP server says: where it goes on, whether it is what was asked for, why there is none."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx

AGAIN = (408, 425, 429, 500, 502, 503, 504)
PAGE = "sends a web page instead: perhaps the network asks for a login first"
START = 512  # bytes of a content that tell a page from a file
BEGINNINGS = {".deb": b"!<arch>\n", ".whl": b"PK", ".zip": b"PK", ".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b"}
MARKUP = re.compile(rb"<(!doctype html|html|head|body|script|meta|title|form|\?xml|!--)", re.IGNORECASE)
BLANKS = b"\xef\xbb\xbf \t\r\n\f"


def is_page(response: httpx.Response, name: str) -> bool:
    """Whether the answer is a web page, as the login page of a network that answers for every server.

    name: of the file that was asked for.
    """
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") and not name.endswith((".html", ".htm"))


def first_bytes(response: httpx.Response) -> bytes:
    """The beginning of a body of which no more is wanted; b"" when none comes."""
    try:
        return next(response.iter_raw(), b"")
    except httpx.HTTPError:
        return b""


def begins_as_page(start: bytes, name: str) -> bool:
    """Whether a wrong content is a web page or a message, whatever the server calls it, and no damaged file.

    start: its first bytes, up to START. name: of the file that was asked for; where its kind begins with bytes that
    are known, any other text is a message: a proxy may write JSON, or a plain line.
    """
    text = start.lstrip(BLANKS)
    if MARKUP.match(text):
        return True
    beginning = next((known for end, known in BEGINNINGS.items() if name.endswith(end)), b"")
    return bool(beginning and text) and not start.startswith(beginning) and _is_text(start)


def _is_text(start: bytes) -> bool:
    """Whether the bytes are text in ASCII, Latin-1 or UTF-8: no control characters, and mostly ASCII."""
    plain = sum(32 <= byte < 127 or byte in b"\t\r\n\f" for byte in start)
    return plain >= 0.8 * len(start) and all(byte >= 32 or byte in b"\t\r\n\f" for byte in start)


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
