"""TLS: a given certificate (JUPYTER_CERTFILE and JUPYTER_KEYFILE), or one made here (GEN_CERT=yes)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import MutableMapping

from coursebox_container.messages import Problem
from coursebox_container.settings import is_yes

FOLDER = ".local/share/coursebox/tls"  # in the home: a browser that has accepted the certificate need not ask again
DAYS = 365
SPARE = 30 * 86400  # seconds that an old certificate must still be valid to be used again


def settle(environment: MutableMapping[str, str]) -> None:
    """Check the files that were named, or make a certificate and name it; without either the server speaks http."""
    names = [name for name in ("JUPYTER_CERTFILE", "JUPYTER_KEYFILE") if environment.get(name)]
    for name in names:
        if not os.access(environment[name], os.R_OK):
            raise Problem(
                f"{name}={environment[name]} cannot be read by user {os.getuid()}", hint="check the mount and its mode"
            )
    if names == ["JUPYTER_KEYFILE"]:
        raise Problem("JUPYTER_KEYFILE without JUPYTER_CERTFILE", hint="name both; one file may hold both")
    if not names and is_yes(environment, "GEN_CERT"):
        path = certificate(environment["HOME"], environment.get("HOSTNAME", "localhost"))
        environment["JUPYTER_CERTFILE"] = environment["JUPYTER_KEYFILE"] = path


def certificate(home: str, host: str) -> str:
    """A self-signed certificate with its key, in one file; made again a month before it expires."""
    path = f"{home}/{FOLDER}/jupyter.pem"
    check = ["openssl", "x509", "-in", path, "-noout", "-checkend", str(SPARE)]
    if os.path.exists(path) and subprocess.run(check, capture_output=True, check=False).returncode == 0:
        return path
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = f"{path}.new"
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", str(DAYS), "-subj", "/CN=JupyterLab",
         "-addext", f"subjectAltName=DNS:localhost,DNS:{host},IP:127.0.0.1",
         "-keyout", beside, "-out", f"{beside}.crt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        raise Problem("GEN_CERT: openssl made no certificate", hint=made.stderr.strip().splitlines()[-1])
    with open(beside, "ab") as both, open(f"{beside}.crt", "rb") as public:
        both.write(public.read())
    os.unlink(f"{beside}.crt")
    os.rename(beside, path)
    return path
