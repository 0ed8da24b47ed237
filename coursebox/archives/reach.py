"""The HTTP client for apt's mirrors and pip's indexes, with the proxies and certificates in their settings."""

from __future__ import annotations

import httpx

from coursebox.archives.apt import AptMirrors, apt_proxy
from coursebox.archives.http import make_client
from coursebox.archives.pip import PipSettings


def archive_client(
    apt: AptMirrors | None = None, pip: PipSettings | None = None, *, connect: float = 10.0, stall: float = 30.0
) -> httpx.Client:
    """A client that several threads may share; it reaches what apt and pip reach on this machine.

    connect, stall: seconds until a connection stands, and that a server may stay silent.
    """
    proxies: list[tuple[str, str]] = []
    for base in (*apt.main, *apt.security) if apt else ():
        if proxy := apt_proxy(base.split(":", 1)[0]):
            proxies.append((base, proxy))
    # An index may name files on any host; pip asks its proxy for all of them.
    return make_client(
        connect=connect,
        stall=stall,
        cert=pip.cert if pip else None,
        proxies=proxies,
        proxy_of_all=pip.proxy if pip else None,
    )
