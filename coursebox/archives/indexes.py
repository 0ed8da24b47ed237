"""Where a locked wheel lies now: the simple indexes (PEP 503 and 691) and the flat folders of pip's settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import httpx
from httpx_retries import Retry
from packaging.utils import parse_wheel_filename

from coursebox.archives.mirrors import join, local_path
from coursebox.archives.pip import PipSettings
from coursebox.archives.refusals import GONE, REFUSALS, refusal

PAGE_LIMIT = 64 << 20
# Seconds: the pause doubles from 0.5 on; a server may ask for up to 30 (Retry-After, RFC 9110, 10.2.3).
RETRY = Retry(total=2, status_forcelist=[429, *range(500, 600)], backoff_factor=0.25, max_backoff_wait=30)
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


@dataclass(frozen=True)
class Link:
    """A file that an index offers; `sha256` is None where the index does not tell."""

    filename: str
    address: str
    sha256: str | None


def find_wheel(filename: str, sha256: str, settings: PipSettings, client: httpx.Client) -> Iterator[str]:
    """Addresses where a wheel of this name and digest is said to lie, in pip's order. Each index is read on demand.

    Raises ConnectionError when the file was found nowhere and an index could not be read.
    """
    sources = [*settings.find_links]
    sources += [join(index, parse_wheel_filename(filename)[0]) + "/" for index in settings.indexes]
    seen: set[str] = set()
    silent: list[str] = []
    for source in sources:
        try:
            links = read_links(source, client)
        except ConnectionError as error:
            silent.append(str(error))
            continue
        for link in links:
            if link.filename == filename and link.sha256 in (None, sha256) and link.address not in seen:
                seen.add(link.address)
                yield link.address
    if silent and not seen:
        raise ConnectionError("; ".join(silent))


def read_links(source: str, client: httpx.Client) -> list[Link]:
    """All files that a page or a folder offers; none when there is no such page (HTTP 404) or it is no index.

    Raises ConnectionError when a server does not answer, or answers with an error of its own.
    """
    folder = local_path(source)
    if folder is None and not re.match(r"https?://", source):
        folder = Path(source).expanduser().resolve()
    if folder is not None:
        if (folder / "index.html").is_file():
            folder = folder / "index.html"
        if folder.is_dir():
            return [Link(path.name, str(path), None) for path in sorted(folder.glob("*.whl"))]
        if folder.suffix in (".html", ".htm") and folder.is_file():
            return list(_from_html(folder.read_text(encoding="utf-8", errors="replace"), folder.as_uri()))
        return [Link(folder.name, str(folder), None)] if folder.is_file() else []
    page = _page(source, client)
    if page is None:
        return []
    text, kind, base = page
    if "json" not in kind and _asks_for_login(text):
        raise ConnectionError(f"{urlsplit(source).hostname}: sends a web page with a form: {REFUSALS[511]}")
    try:
        links = _from_json(text, base) if "json" in kind else _from_html(text, base)
        return [Link(link.filename, _with_login(link.address, source), link.sha256) for link in links]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _page(source: str, client: httpx.Client) -> tuple[str, str, str] | None:
    """(text, content type, address after redirects) of a page of an index; None when there is none.

    Raises ConnectionError when the server does not answer, or answers with an error of its own, each time.
    """
    # The library's transport would not see a body that breaks off, and a client with a transport of its own ignores
    # the proxies of the environment. So its policy is applied to the whole of a request here.
    retry = RETRY
    while True:
        answer: httpx.Response | httpx.HTTPError
        try:
            with client.stream("GET", source, headers={"Accept": ACCEPT}) as answer:
                if answer.status_code in GONE:
                    return None
                if answer.status_code == 200:
                    return _read(answer, source)
                why = refusal(answer.status_code)
                if not retry.is_retryable_status_code(answer.status_code):
                    raise ConnectionError(f"{urlsplit(source).hostname}: {why}")
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            return None
        except httpx.TooManyRedirects:
            raise ConnectionError(f"{urlsplit(source).hostname}: redirects without end") from None
        except httpx.HTTPError as error:
            answer, why = error, str(error) or type(error).__name__
        if retry.is_exhausted():
            raise ConnectionError(f"{urlsplit(source).hostname}: {why}")
        retry = retry.increment()
        retry.sleep(answer)


def _read(response: httpx.Response, source: str) -> tuple[str, str, str] | None:
    body = bytearray()
    for block in response.iter_bytes():
        body += block
        if len(body) > PAGE_LIMIT:
            return None
    kind = response.headers.get("Content-Type", "")
    return body.decode("utf-8", "replace"), kind, _with_login(str(response.url), source)


def _from_json(text: str, base: str) -> Iterator[Link]:
    for file in json.loads(text)["files"]:
        yield Link(file["filename"], urljoin(base, file["url"]), file.get("hashes", {}).get("sha256"))


def _from_html(text: str, base: str) -> Iterator[Link]:
    parser = _Anchors()
    parser.feed(text)
    for href in parser.found:
        address, _, fragment = urljoin(base, href).partition("#")
        digest = re.search(r"sha256=([0-9a-f]{64})", fragment)
        yield Link(unquote(urlsplit(address).path).rsplit("/", 1)[-1], address, digest[1] if digest else None)


def _with_login(address: str, source: str) -> str:
    """`address` with the user and password of `source` when both are on the same host, as pip does it."""
    there, here = urlsplit(address), urlsplit(source)
    if "@" not in here.netloc or "@" in there.netloc or there.hostname != here.hostname:
        return address
    login = here.netloc.rsplit("@", 1)[0]
    return urlunsplit(there._replace(netloc=f"{login}@{there.netloc}"))


def _asks_for_login(text: str) -> bool:
    """Whether a page is no index, but the login page of a network, say: the pages of PEP 503 have no forms."""
    return re.search(r"<form\b", text, re.IGNORECASE) is not None and re.search(r"\.(whl|tar\.gz|zip)\b", text) is None


class _Anchors(HTMLParser):
    """Collects the targets of all links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.found.append(href)
