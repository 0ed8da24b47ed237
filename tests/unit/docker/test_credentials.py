"""Tokens, passwords and ssh keys: what is taken and what is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from coursebox_container import credentials, ssh
from coursebox_container.messages import Problem

ARGON2 = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdA$aGFzaA"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@home"


def settled(tmp_path: Path, **environment: str) -> tuple[dict[str, str], str]:
    credentials.settle(environment, str(tmp_path))
    return environment, (tmp_path / "token").read_text()


def test_a_random_token_in_a_private_file(tmp_path: Path) -> None:
    environment, token = settled(tmp_path)
    assert environment == {"JUPYTER_TOKEN_FILE": f"{tmp_path}/token"}
    assert len(token) == 48 and set(token) <= set("0123456789abcdef")
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert settled(tmp_path)[1] != token


def test_a_given_token_leaves_the_environment(tmp_path: Path) -> None:
    environment, token = settled(tmp_path, JUPYTER_TOKEN=" abc ")
    assert token == "abc" and "JUPYTER_TOKEN" not in environment


def test_a_token_beside_a_password(tmp_path: Path) -> None:
    assert len(settled(tmp_path, JUPYTER_PASSWORD_HASH=ARGON2)[1]) == 48


@pytest.mark.parametrize("given", [ARGON2, "sha256:0123456789abcdef:" + "0" * 64, "sha1:74ba40f8a388:" + "c9" * 20])
def test_hashes(given: str) -> None:
    credentials.check_password({"JUPYTER_PASSWORD_HASH": given})


@pytest.mark.parametrize("given", ["", " ", "secret", "argon2:", "sha256::", "sha256:salt:xyz", "a:b:c"])
def test_what_is_no_hash(given: str) -> None:
    with pytest.raises(Problem, match=r"JUPYTER_PASSWORD_HASH is (empty|no hash)"):
        credentials.check_password({"JUPYTER_PASSWORD_HASH": given})


@pytest.mark.parametrize("name", ["JUPYTER_TOKEN_FILE", "JUPYTER_PASSWORD_FILE"])
@pytest.mark.parametrize(
    ("content", "part"), [(b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe", "it is not UTF-8")]
)
def test_files_with_nothing_in_them(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(Problem) as problem:
        settled(tmp_path, **{name: str(file)})
    assert part in problem.value.sentence


def test_keys_from_all_places(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "authorized_keys").write_text(f"# mine\n\n{KEY} a\n")
    assert ssh.authorized_keys({}, str(tmp_path)) == f"{KEY} a\n"
    assert ssh.authorized_keys({"SSH_PUBLIC_KEY": KEY}, str(tmp_path)) == f"{KEY}\n{KEY} a\n"
    chosen = tmp_path / "chosen"
    chosen.write_text(f"{KEY} b\n{KEY} c")
    assert ssh.authorized_keys({"SSH_PUBLIC_KEY_FILE": str(chosen)}, str(tmp_path)) == f"{KEY} b\n{KEY} c\n"


def test_no_key_and_a_private_one(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="needs a key to let in"):
        ssh.authorized_keys({}, str(tmp_path))
    with pytest.raises(Problem, match="private key"):
        ssh.authorized_keys({"SSH_PUBLIC_KEY": "-----BEGIN RSA PRIVATE KEY-----\nabc"}, str(tmp_path))


def test_the_ssh_server_takes_no_password_and_nobody_else(tmp_path: Path) -> None:
    lines = ssh.configuration({"USER": "student", "A": "b c"}, str(tmp_path), 2222).splitlines()
    assert {"PasswordAuthentication no", "KbdInteractiveAuthentication no", "AuthenticationMethods publickey",
            "AllowUsers student", "Port 2222"} <= set(lines)  # fmt: skip
    assert lines[-1] == 'SetEnv "A=b c"'


def test_what_an_ssh_session_sees() -> None:
    environment = {
        "PATH": "/opt/jupyter/bin:/usr/bin", "COURSE": "deep learning", "HOME": "/home/student", "SSH_PUBLIC_KEY": KEY,
        "JUPYTER_TOKEN": "x", "JUPYTER_PASSWORD_HASH": "x", "JUPYTERHUB_API_TOKEN": "x", "QUOTE": 'a"b',
        "LINES2": "a\nb", "BASH_FUNC_x%%": "() { :; }", "JUPYTER_PORT": "8888",
    }  # fmt: skip
    assert set(ssh.session(environment)) == {"PATH", "COURSE", "JUPYTER_PORT"}


def test_the_token_of_a_file_is_remembered_as_such(tmp_path: Path) -> None:
    """So that the line about the server names the file instead of the token; the server's own copy is no such file."""
    given = tmp_path / "given"
    given.write_text("from a file\n")
    environment, token = settled(tmp_path, JUPYTER_TOKEN_FILE=str(given))
    assert token == "from a file" and environment[credentials.GIVEN] == str(given)
    assert settled(tmp_path, **environment)[0][credentials.GIVEN] == str(given)
    assert credentials.GIVEN not in settled(tmp_path)[0]
    assert credentials.GIVEN not in settled(tmp_path, JUPYTER_TOKEN_FILE=f"{tmp_path}/token")[0]
    assert credentials.GIVEN not in settled(tmp_path, JUPYTER_TOKEN="t", **{credentials.GIVEN: "/old"})[0]


def test_a_name_with_an_at_is_no_host_for_sshd(tmp_path: Path) -> None:
    assert "AllowUsers a.b?uni.example\n" in ssh.configuration({"USER": "a.b@uni.example"}, str(tmp_path), 2222)
