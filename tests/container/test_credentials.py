"""Who is let in: tokens, passwords, TLS; and that nobody gets an open server by mistake."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from containers import Container, docker, run_once, write

PASSWORD = "korrekt Pferd Batterie"
MAKE_HASH = "from jupyter_server.auth import passwd; print(passwd('korrekt Pferd Batterie'))"


def log_in(container: Container, password: str) -> int:
    """Status of a page that needs a login, after the password form was sent."""
    with httpx.Client(base_url=f"http://{container.address}:8888", trust_env=False, timeout=60) as client:
        client.get("/login")
        client.post("/login", data={"password": password, "_xsrf": client.cookies.get("_xsrf", "")})
        return client.get("/api/contents").status_code


def test_two_containers_have_two_tokens(start) -> None:
    first, second = start(), start()
    assert first.token != second.token


def test_jupyter_token(start) -> None:
    container: Container = start(options=["--env", "JUPYTER_TOKEN=our own token"])
    assert container.wait_for_server().endswith("?token=our%20own%20token")
    answer = container.http("/api/contents", headers={"Authorization": "token our own token"})
    assert answer.status_code == 200
    process = container.server_process
    assert "our own token" not in container.execute("sh", "-c", f"cat /proc/{process}/environ /proc/{process}/cmdline")


def test_token_from_a_file(start, tmp_path: Path) -> None:
    secret = write(tmp_path / "token", "0a1b2c3d4e5f\n")
    container: Container = start(
        options=["--volume", f"{secret}:/run/secrets/token:ro", "--env", "JUPYTER_TOKEN_FILE=/run/secrets/token"]
    )
    container.wait_for_line("JupyterLab: http://\\S+/welcome.md and give the token of /run/secrets/token ")
    assert "0a1b2c3d4e5f" not in container.log
    assert container.http("/api/contents", headers={"Authorization": "token 0a1b2c3d4e5f"}).status_code == 200


@pytest.mark.parametrize("token", ["a+b&c#d%e f", "tökén/?=;", "100%25"])
def test_the_printed_link_works_for_any_token(start, token: str) -> None:
    container: Container = start(options=["--env", f"JUPYTER_TOKEN={token}"])
    link = container.wait_for_server()
    assert container.http(link.partition("8888")[2], follow_redirects=True).status_code == 200


def test_password_in_a_file(start, tmp_path: Path) -> None:
    secret = write(tmp_path / "password", f"{PASSWORD}\n")
    container: Container = start(
        options=[
            "--volume",
            f"{secret}:/run/secrets/password:ro",
            "--env",
            "JUPYTER_PASSWORD_FILE=/run/secrets/password",
        ],
        allowed=["401 POST /login", "wrote error: 'Forbidden'", "403 GET /api/contents"],
    )
    line = container.wait_for_line(r"JupyterLab: (\S+) and give the password")
    assert line[1] == "http://127.0.0.1:8888/lab/tree/labs/welcome.md"
    assert log_in(container, PASSWORD) == 200
    assert log_in(container, "wrong") == 403
    assert log_in(container, "") == 403
    environment = container.execute("cat", f"/proc/{container.server_process}/environ")
    assert PASSWORD not in environment + container.log


def test_password_as_a_hash(start, image: str) -> None:
    hashed = run_once(image, "python", "-c", MAKE_HASH).out.strip()
    assert hashed.startswith("argon2:")
    container: Container = start(options=["--env", f"JUPYTER_PASSWORD_HASH={hashed}"])
    container.wait_for_line("and give the password")
    assert log_in(container, PASSWORD) == 200


@pytest.mark.parametrize(
    ("options", "arguments", "sentence"),
    [
        (["JUPYTER_TOKEN="], [], "JUPYTER_TOKEN is empty, and a server without a token is open to everyone"),
        (["JUPYTER_TOKEN=  "], [], "JUPYTER_TOKEN is empty, and a server without a token is open to everyone"),
        (["JUPYTER_TOKEN_FILE=/dev/null"], [], "JUPYTER_TOKEN_FILE=/dev/null is empty"),
        (["JUPYTER_TOKEN_FILE=/missing"], [], "JUPYTER_TOKEN_FILE=/missing cannot be read (No such file or directory)"),
        (["JUPYTER_PASSWORD_HASH="], [], "JUPYTER_PASSWORD_HASH is empty"),
        (["JUPYTER_PASSWORD_HASH=secret"], [], "JUPYTER_PASSWORD_HASH is no hash of a password"),
        (
            ["JUPYTER_PASSWORD_FILE=/dev/null"],
            [],
            "JUPYTER_PASSWORD_FILE=/dev/null is empty, and an empty password is none",
        ),
        ([], ["start-notebook", "--IdentityProvider.token="], "the options or settings ask for a server without"),
        ([], ["--ServerApp.token="], "the options or settings ask for a server without token and password"),
        (
            [],
            [
                "--ServerApp.identity_provider_class=jupyter_server.auth.identity.PasswordIdentityProvider",
                "--IdentityProvider.token=",
            ],
            "the options or settings ask for a server without token and password",
        ),
        (["JUPYTER_CERTFILE=/missing.pem"], [], "JUPYTER_CERTFILE=/missing.pem cannot be read by user 1000"),
        (["JUPYTER_PORT=70000"], [], "JUPYTER_PORT=70000 is not possible"),
        (["NB_UMASK=9"], [], "NB_UMASK=9 is not possible"),
        (["DOCKER_STACKS_JUPYTER_CMD=retro"], [], "DOCKER_STACKS_JUPYTER_CMD=retro: there is no jupyter retro here"),
        (["NOTEBOOK_ARGS='--x"], [], "NOTEBOOK_ARGS has an open quotation mark"),
        (["SSH=1"], [], "SSH=1 needs a key to let in, for there are no passwords"),
        (["SSH=1", "SSH_PUBLIC_KEY=my key"], [], "none of the ssh keys to let in is a public key"),
    ],
)  # fmt: skip
def test_what_is_refused(image: str, options: list[str], arguments: list[str], sentence: str) -> None:
    """One sentence, one remedy, no server, no traceback."""
    variables = [word for option in options for word in ("--env", option)]
    done = run_once(image, *arguments, options=variables)
    assert done.status == 1
    assert f"error: {sentence}" in done.err
    assert done.err.splitlines()[-1].startswith("  hint: ")
    assert "Traceback" not in done.err and "JupyterLab:" not in done.err


def test_a_settings_file_in_the_home_opens_no_server(image: str, tmp_path: Path) -> None:
    settings = write(tmp_path / "jupyter_server_config.py", "c.IdentityProvider.token = ''\n")
    done = run_once(image, options=["--volume", f"{settings}:/etc/jupyter/jupyter_server_config.py:ro", "--env",
                                    "JUPYTER_CONFIG_PATH=/etc/jupyter"])  # fmt: skip
    assert done.status == 1 and "open to everyone" in done.err


def served_certificate(container: Container) -> str:
    return ssl.get_server_certificate((container.address, 8888))


def test_tls_with_a_generated_certificate(start, volume: str) -> None:
    """GEN_CERT=yes; with a volume the second start shows the same certificate, so no browser asks twice."""
    options = ["--env", "GEN_CERT=yes", "--volume", f"{volume}:/home/student"]
    first: Container = start(options=options)
    assert first.wait_for_server().startswith("https://127.0.0.1:8888/lab")
    assert first.http("/api", scheme="https").status_code == 200
    first.execute("healthcheck")
    certificate = served_certificate(first)
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=certificate, text=True, capture_output=True
    ).stdout
    assert "DNS:localhost" in shown and "IP Address:127.0.0.1" in shown
    mode = first.execute("stat", "--format=%a", "/home/student/.local/share/coursebox/tls/jupyter.pem")
    assert mode == "600"
    first.stop()
    second: Container = start(options=options)
    second.wait_for_server()
    assert served_certificate(second) == certificate


def test_tls_with_a_certificate_of_ones_own(start, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lab.example",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "key.pem").chmod(0o644)
    tmp_path.chmod(0o755)
    container: Container = start(
        options=["--volume", f"{tmp_path}:/certificates:ro", "--env", "JUPYTER_CERTFILE=/certificates/cert.pem",
                 "--env", "JUPYTER_KEYFILE=/certificates/key.pem"]
    )  # fmt: skip
    container.wait_for_server()
    assert served_certificate(container).split() == (tmp_path / "cert.pem").read_text().split()
    container.execute("healthcheck")


def test_published_image_holds_no_secret(image: str) -> None:
    """No token, hash or host key is in the image itself."""
    variables = docker("image", "inspect", "--format", "{{json .Config.Env}}", image)
    assert not re.search(r"TOKEN|PASSWORD|HASH", variables)
    found = run_once(image, "find", "/etc/ssh", "-name", "ssh_host_*", options=["--entrypoint", ""])
    assert found.out == ""
