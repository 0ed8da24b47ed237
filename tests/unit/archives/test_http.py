"""The HTTP client takes the machine's certificates and proxies."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from coursebox.archives.http import make_client, ssl_context
from tests.equipment.http_server import Server, reply

BUNDLES = [
    path
    for path in (ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt")
    if path and Path(path).is_file()
]


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", None])
def test_certificates_of_the_usual_variables_count(tmp_path: Path, name: str | None) -> None:
    """A file without certificates is an error of the TLS library: so it was read."""
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        ssl_context(None if name else str(broken), {name: str(broken)} if name else {})


def test_absent_bundles_and_folders_are_no_error(tmp_path: Path) -> None:
    context = ssl_context(str(tmp_path), {"SSL_CERT_FILE": str(tmp_path / "none.pem")})
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_host_with_a_proxy_of_its_own(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.behave("http://mirror.example/debian/x", reply(200, b"by proxy"))
    with make_client(proxies=[("http://mirror.example/debian", server.base)]) as client:
        assert client.get("http://mirror.example/debian/x").content == b"by proxy"
        assert client.get(server.put("/direct", b"direct")).content == b"direct"


def test_lost_answers_of_the_resolver_cost_a_second_not_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RES_OPTIONS", raising=False)
    make_client().close()
    assert os.environ["RES_OPTIONS"] == "timeout:1 attempts:5"
    monkeypatch.setenv("RES_OPTIONS", "timeout:3")
    make_client().close()
    assert os.environ["RES_OPTIONS"] == "timeout:3"
