"""The client for apt's mirrors and pip's indexes goes the way that apt and pip go."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from coursebox.archives import reach
from coursebox.archives.apt import AptMirrors
from coursebox.archives.pip import PipSettings
from coursebox.archives.reach import archive_client
from coursebox.core.errors import CourseboxError
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


def test_pips_proxy_serves_all_that_pip_asks_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "apt_proxy", lambda scheme: None)
    places = ("http://index.example/simple/six/", "http://flat.example/wheels/", "http://files.example/six.whl")
    for address in places:  # an index names files on any host
        server.behave(address, reply(200, b"by proxy"))
    with archive_client(APT, PipSettings(PIP.indexes, PIP.find_links, proxy=server.base)) as client:
        assert [client.get(address).content for address in places] == [b"by proxy"] * 3


def test_a_proxy_without_a_scheme_is_one_for_http(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "apt_proxy", lambda scheme: None)
    server.behave("http://index.example/simple/six/", reply(200, b"by proxy"))
    with archive_client(pip=PipSettings(PIP.indexes, proxy=server.base.removeprefix("http://"))) as client:
        assert client.get("http://index.example/simple/six/").content == b"by proxy"


@pytest.mark.parametrize("proxy", ["ftp://me:secret@proxy.example:1", "socks5h://me:secret@proxy.example:1"])
def test_a_proxy_that_cannot_be_used_is_a_sentence(proxy: str) -> None:
    with pytest.raises(CourseboxError, match="cannot be used") as error:
        archive_client(pip=PipSettings((), proxy=proxy))
    assert "secret" not in str(error.value) and "http://" in str(error.value.hint)


def test_pips_certificates_count(tmp_path: Path) -> None:
    """A file without certificates is an error of the TLS library: so it was read."""
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        archive_client(pip=PipSettings((), cert=str(tmp_path / "ca.pem")))
