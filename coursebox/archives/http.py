"""One HTTP client for everything: the machine's own certificates and proxies, no decompression, few redirects."""

from __future__ import annotations

import functools
import os
import re
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from coursebox import __version__
from coursebox.core.errors import CourseboxError

BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")


def ssl_context(extra: str | None = None, environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """The system's certificates, those of the usual variables ($SSL_CERT_FILE, …), and `extra` (pip's `cert`)."""
    return _context(tuple(dict.fromkeys(bundle for bundle in [*map(environment.get, BUNDLES), extra] if bundle)))


@functools.cache
def _context(bundles: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for bundle in bundles:
        if Path(bundle).is_dir():
            context.load_verify_locations(capath=bundle)
        elif Path(bundle).is_file():
            context.load_verify_locations(cafile=bundle)
    return context


def make_client(
    connections: int = 8,
    *,
    connect: float = 10.0,
    stall: float = 30.0,
    cert: str | None = None,
    proxies: Iterable[tuple[str, str]] = (),
    proxy_of_all: str | None = None,
) -> httpx.Client:
    """A client that several threads may share.

    connect, stall: seconds until a connection stands, and that a server may stay silent
    proxies: (address, proxy) for hosts that have a proxy of their own, next to $http_proxy and its kin
    proxy_of_all: for all other hosts, where the environment names none. Raises CourseboxError for a proxy that cannot
    be used.
    """
    # The resolver's default is to wait 5 s for each lost answer (resolv.conf(5)), which hundreds of files add up.
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:5")
    context = ssl_context(cert)
    mounts: dict[str, httpx.BaseTransport | None] = {}
    for address, proxy in proxies:
        parts = urlsplit(address)
        if parts.hostname:
            mounts[f"{parts.scheme}://{parts.hostname}"] = _by(proxy, context)
    if proxy_of_all:
        mounts["all://"] = _by(proxy_of_all, context)
    return httpx.Client(
        verify=context,
        mounts=mounts,
        follow_redirects=True,
        max_redirects=5,
        timeout=httpx.Timeout(stall, connect=connect, pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=connections),
        headers={"User-Agent": f"coursebox/{__version__}", "Accept-Encoding": "identity"},
    )


def _by(proxy: str, context: ssl.SSLContext) -> httpx.HTTPTransport:
    """The way through a proxy; without a scheme it is one for HTTP, as apt and pip take it."""
    try:
        return httpx.HTTPTransport(proxy=proxy if "://" in proxy else f"http://{proxy}", verify=context)
    except (ValueError, ImportError) as error:  # a scheme that the library does not know, or would need a package for
        shown = re.sub(r"//[^/@]*@", "//…@", proxy)
        raise CourseboxError(
            f"the proxy {shown} cannot be used: {error}",
            hint="name a proxy that begins with http:// or https:// in the settings of apt or pip",
        ) from None
