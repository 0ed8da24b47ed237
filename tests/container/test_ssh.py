"""SSH=1: keys only, the user's own server, and it ends with the container."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import paramiko
import pytest
from containers import Container, run_once, wait_for, write

SLEEP = ("sleep", "300")


@pytest.fixture(scope="module")
def key() -> paramiko.PKey:
    return paramiko.ECDSAKey.generate()


def public(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()} somebody@somewhere"


def connect(container: Container, *, port: int = 2222, user: str = "student", **how: object) -> paramiko.SSHClient:
    container.wait_for_line(rf"^‣ ssh -p {port} ")
    container.allowed += ["^Read error from remote host"]  # paramiko hangs up without a goodbye
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    options = {
        "allow_agent": False,
        "look_for_keys": False,
        "timeout": 30,
        "auth_timeout": 60,
        "banner_timeout": 60,
    } | how
    client.connect(container.address, port=port, username=user, **options)  # type: ignore[arg-type]
    return client


def say(client: paramiko.SSHClient, command: str, **how: bool) -> str:
    _, out, err = client.exec_command(command, timeout=120, **how)  # type: ignore[arg-type]
    return out.read().decode() + err.read().decode()


def test_work_over_ssh_beside_jupyterlab(start, key: paramiko.PKey, image: str) -> None:
    """One container: both servers, environment, terminal, file transfer, no password, the end."""
    options = ["--env", "SSH=1", "--env", f"SSH_PUBLIC_KEY={public(key)}", "--env", "COURSE=deep learning"]
    container: Container = start(options=[*options, "--env", "JUPYTER_TOKEN=verysecret"])
    container.wait_for_server()
    with connect(container, pkey=key) as client:
        wanted = (
            "id -un; pwd; command -v python; echo $COURSE; echo $PYTORCH_DATA_DIR;"
            "python -c 'import torch; print(6 * 7)'"
        )
        assert say(client, wanted).split("\n")[:-1] == [
            "student", "/home/student", "/opt/jupyter/bin/python", "deep learning", "/usr/share/coursebox/data", "42",
        ]  # fmt: skip
        assert "verysecret" not in say(client, "env")
        shell = say(client, "tty; bash -lc 'command -v python'", get_pty=True)
        assert "/dev/pts/" in shell and "/opt/jupyter/bin/python" in shell
        files = client.open_sftp()
        files.putfo(io.BytesIO(b"print('sent')"), "sent.py")
        assert say(client, "python sent.py") == "sent\n"
    with pytest.raises(paramiko.BadAuthenticationType) as refused:
        connect(container, password="student")
    assert refused.value.allowed_types == ["publickey"]
    with pytest.raises(paramiko.AuthenticationException):
        connect(container, pkey=paramiko.ECDSAKey.generate())
    with pytest.raises(paramiko.AuthenticationException):
        connect(container, pkey=key, user="root")
    assert container.stop() < 3


def test_keys_in_a_file_and_a_stranger_in_a_read_only_container(
    start, key: paramiko.PKey, tmp_path: Path, volume: str
) -> None:
    tmp_path.chmod(0o755)
    home = ["--volume", f"{volume}:/home/student"]
    keys = write(tmp_path / "keys", f"# two keys\n{public(paramiko.ECDSAKey.generate())}\n{public(key)}\n")
    options = ["--env", "SSH=yes", "--volume", f"{keys}:/run/keys:ro", "--env", "SSH_PUBLIC_KEY_FILE=/run/keys"]
    container: Container = start(
        *SLEEP, options=[*options, "--user", "12345:0", "--read-only", "--tmpfs", "/tmp", *home]
    )
    with connect(container, pkey=key) as client:
        assert say(client, "id -un; id -u; echo x > written; cat written").split() == ["student", "12345", "x"]
        assert "/dev/pts/" in say(client, "tty", get_pty=True)


def test_root_start_another_name_and_port(start, key: paramiko.PKey) -> None:
    options = [
        "--user",
        "root",
        "--env",
        "NB_USER=alice",
        "--env",
        "NB_UID=5000",
        "--env",
        "SSH=1",
        "--env",
        "SSH_PORT=2022",
    ]
    container: Container = start(*SLEEP, options=[*options, "--env", f"SSH_PUBLIC_KEY={public(key)}"])
    with connect(container, pkey=key, port=2022, user="alice") as client:
        assert say(client, "id -un; id -u").split() == ["alice", "5000"]
    owners = {
        line.split()[0] for line in container.execute("ps", "-e", "-o", "uid=,comm=").splitlines() if "sshd" in line
    }
    assert owners == {"5000"}


def test_mounted_authorized_keys_and_a_host_key_that_stays(start, key: paramiko.PKey, volume: str) -> None:
    """The key of the volume's own ~/.ssh; a second container with it is no stranger to ssh."""
    script = f"mkdir -p ~/.ssh && echo '{public(key)}' > ~/.ssh/authorized_keys"
    mount = ["--volume", f"{volume}:/home/student"]
    first: Container = start("sh", "-c", script, options=mount)
    wait_for(lambda: not first.running, "the key is written")
    options = [*mount, "--env", "SSH=1"]
    shown = []
    for _ in range(2):
        container: Container = start(*SLEEP, options=options)
        with connect(container, pkey=key) as client:
            transport = client.get_transport()
            assert transport is not None
            shown.append(transport.get_remote_server_key().get_base64())
        line = container.wait_for_line(r"the host's key is (SHA256:\S+)")
        assert line[1] == "SHA256:" + fingerprint(shown[-1])
        container.stop("KILL")
    assert shown[0] == shown[1]


def fingerprint(base64: str) -> str:
    done = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"], input=f"ssh-ed25519 {base64}\n", text=True, capture_output=True
    )
    return done.stdout.split()[1].removeprefix("SHA256:")


def test_two_containers_have_two_host_keys(start, key: paramiko.PKey) -> None:
    options = ["--env", "SSH=1", "--env", f"SSH_PUBLIC_KEY={public(key)}"]
    lines = [start(*SLEEP, options=options).wait_for_line(r"the host's key is (\S+)")[1] for _ in range(2)]
    assert lines[0] != lines[1]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (["SSH=1"], "SSH=1 needs a key to let in, for there are no passwords"),
        (["SSH=1", "SSH_PUBLIC_KEY=# none"], "SSH=1 needs a key to let in, for there are no passwords"),
        (
            ["SSH=1", "SSH_PUBLIC_KEY=-----BEGIN OPENSSH PRIVATE KEY-----"],
            "that is a private key, which never leaves its owner",
        ),
        (
            ["SSH=1", "SSH_PUBLIC_KEY_FILE=/missing"],
            "SSH_PUBLIC_KEY_FILE=/missing cannot be read (No such file or directory)",
        ),
    ],
)
def test_without_a_key_there_is_a_sentence_and_no_container(image: str, variables: list[str], sentence: str) -> None:
    done = run_once(image, "true", options=[word for variable in variables for word in ("--env", variable)])
    assert done.status == 1 and done.err.startswith(f"error: {sentence}\n  hint: ")


def test_without_ssh_no_server_listens(start) -> None:
    container: Container = start(*SLEEP)
    wait_for(lambda: any("sleep 300" in line for line in container.processes()[1:]), "the command runs")
    assert not any("sshd" in line for line in container.processes())
