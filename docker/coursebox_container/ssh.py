"""SSH=1: an ssh server that the user runs, for work on lab machines. Keys only; no password is ever accepted."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping

from coursebox_container.messages import Problem, say
from coursebox_container.runtime import write_private
from coursebox_container.settings import number

SERVER = "/usr/sbin/sshd"
PORT = 2222
HOST_KEY = ".local/share/coursebox/ssh_host_ed25519_key"  # in the home: a new container is no stranger to its clients
PATIENCE = 10  # seconds for the server to listen
# What a session gets anew from sshd, and what is of no use or nobody's business in one.
LEFT_OUT = ("HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "SHLVL", "TERM", "HOSTNAME", "_")
SECRET = ("JUPYTER_TOKEN", "JUPYTER_PASSWORD", "JUPYTERHUB_", "SSH")


def serve(environment: Mapping[str, str], runtime: str) -> None:
    """Start the server behind the command, and wait until it listens. It ends with the container.

    Raises Problem without a key to let in, and when the server does not start.
    """
    port = number(environment, "SSH_PORT", PORT, lowest=1, highest=65535)
    home = environment["HOME"]
    write_private(f"{runtime}/authorized_keys", authorized_keys(environment, home))
    fingerprint(f"{runtime}/authorized_keys", "none of the ssh keys to let in is a public key")
    shown = fingerprint(host_key(home, runtime), f"{home}/{HOST_KEY} is no ssh key")
    write_private(f"{runtime}/sshd_config", configuration(environment, runtime, port))
    pid_file = f"{runtime}/sshd.pid"
    if os.path.exists(pid_file):
        os.unlink(pid_file)
    # --fork: a child of process 1, which reaps it; the command that comes next knows of no children.
    subprocess.run(["setsid", "--fork", SERVER, "-D", "-e", "-f", f"{runtime}/sshd_config"], check=True)
    end = time.monotonic() + PATIENCE
    while not os.path.exists(pid_file):
        if time.monotonic() > end:
            raise Problem(
                f"the ssh server does not listen on port {port}", hint="see its line above; -e SSH_PORT chooses another"
            )
        time.sleep(0.01)
    say(
        f"ssh -p {port} {environment['USER']}@127.0.0.1, if docker run has -p 127.0.0.1:{port}:{port};"
        f" the host's key is {shown}"
    )


def authorized_keys(environment: Mapping[str, str], home: str) -> str:
    """The public keys of SSH_PUBLIC_KEY, of the file SSH_PUBLIC_KEY_FILE, and of ~/.ssh/authorized_keys."""
    texts = [environment.get("SSH_PUBLIC_KEY", "")]
    chosen = environment.get("SSH_PUBLIC_KEY_FILE", "")
    for path in [chosen] if chosen else [f"{home}/.ssh/authorized_keys"]:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                texts.append(file.read())
        except OSError as error:
            if chosen:
                raise Problem(
                    f"SSH_PUBLIC_KEY_FILE={path} cannot be read ({error.strerror})",
                    hint="mount the file there, mode 0644",
                ) from error
    lines = [line for text in texts for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise Problem(
            "SSH=1 needs a key to let in, for there are no passwords",
            hint='add -e "SSH_PUBLIC_KEY=$(cat ~/.ssh/id_ed25519.pub)", or mount ~/.ssh/authorized_keys',
        )
    if any("PRIVATE KEY-----" in line for line in lines):
        raise Problem("that is a private key, which never leaves its owner", hint="give the file that ends in .pub")
    return "".join(f"{line}\n" for line in lines)


def host_key(home: str, runtime: str) -> str:
    """The server's key, made at the first start; a private copy, for a home may be on a file system without modes."""
    path = f"{home}/{HOST_KEY}"
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    with open(path, encoding="utf-8") as file:
        write_private(f"{runtime}/host_key", file.read())
    return f"{runtime}/host_key"


def configuration(environment: Mapping[str, str], runtime: str, port: int) -> str:
    """The text of sshd_config(5)."""
    lines = [
        f"Port {port}",
        f"HostKey {runtime}/host_key",
        f"PidFile {runtime}/sshd.pid",
        f"AuthorizedKeysFile {runtime}/authorized_keys",
        # "@" would begin a host here; "?" stands for any one character.
        f"AllowUsers {environment['USER'].replace('@', '?')}",
        "AuthenticationMethods publickey",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",  # root's business, and nobody is root here
        # The runtime folder is private; StrictModes would judge the folders above it, and /tmp is everybody's.
        "StrictModes no",
        "PrintMotd no",
        "PrintLastLog no",
        "LogLevel INFO",
        "Subsystem sftp internal-sftp",
    ]
    variables = " ".join(_quoted(f"{name}={value}") for name, value in sorted(session(environment).items()))
    return "\n".join([*lines, f"SetEnv {variables}", ""])


def session(environment: Mapping[str, str]) -> dict[str, str]:
    """The container's variables as an ssh session gets them: without secrets, and without what sshd cannot quote."""
    return {
        name: value
        for name, value in environment.items()
        if name.isidentifier()
        and name not in LEFT_OUT
        and not name.startswith(SECRET)
        and not any(character in value for character in '\n\r"\\')
    }


def fingerprint(path: str, otherwise: str) -> str:
    """SHA256:… of the first key in a file; raises Problem with the sentence `otherwise` where there is none."""
    shown = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        raise Problem(otherwise, hint="a public key is one line, as in the file that ends in .pub: ssh-ed25519 …")
    return shown.stdout.split()[1]


def _quoted(text: str) -> str:
    return f'"{text}"'
