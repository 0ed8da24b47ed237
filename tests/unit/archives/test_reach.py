"""The client for apt's mirrors and pip's indexes goes the way that apt and pip go."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from coursebox.archives import reach
from coursebox.archives.apt import AptMirrors
from coursebox.archives.pip import PipSettings
from coursebox.archives.reach import archive_client
from tests.equipment.http_server import Server, reply

APT = AptMirrors(("http://mirror.example/debian",), ("http://security.example",))
PIP = PipSettings(("http://index.example/simple",), ("http://flat.example/wheels",))


def test_apts_proxy_serves_apts_mirrors_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "apt_proxy", lambda scheme: server.base if scheme == "http" else None)
    for address in ("http://mirror.example/debian/x", "http://security.example/x"):
        server.behave(address, reply(200, b"by proxy"))
    with archive_client(APT, PIP) as client:
        assert client.get("http://mirror.example/debian/x").content == b"by proxy"
        assert client.get("http://security.example/x").content == b"by proxy"
        assert client.get(server.put("/direct", b"direct")).content == b"direct"


def test_pips_proxy_serves_pips_indexes_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "apt_proxy", lambda scheme: None)
    for address in ("http://index.example/simple/six/", "http://flat.example/wheels/"):
        server.behave(address, reply(200, b"by proxy"))
    with archive_client(APT, PipSettings(PIP.indexes, PIP.find_links, proxy=server.base)) as client:
        assert client.get("http://index.example/simple/six/").content == b"by proxy"
        assert client.get("http://flat.example/wheels/").content == b"by proxy"
        assert client.get(server.put("/direct", b"direct")).content == b"direct"


def test_pips_certificates_count(tmp_path: Path) -> None:
    """A file without certificates is an error of the TLS library: so it was read."""
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        archive_client(pip=PipSettings((), cert=str(tmp_path / "ca.pem")))
