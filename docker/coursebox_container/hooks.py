"""Start-up hooks, as in jupyter/docker-stacks: *.sh is sourced and may change the environment, executables are run."""

from __future__ import annotations

import os

from coursebox_container import trust
from coursebox_container.messages import warn

BEFORE_USER = "/usr/local/bin/start-notebook.d"
BEFORE_COMMAND = "/usr/local/bin/before-notebook.d"
# The environment goes to a file, not into a pipe: a daemon that a hook starts would keep a pipe open. By a trap: a
# hook may end with `exit`.
SOURCE = 'hook=$1 fd=$2; shift 2; trap \'/usr/bin/env -0 >&"$fd"\' EXIT; . "$hook"'
SHELLS_OWN = frozenset(("_", "SHLVL", "PWD", "OLDPWD", "hook", "fd"))


def run_hooks(folder: str) -> None:
    """Run the hooks of `folder` in the order of their names; a failing one is reported, and the start goes on."""
    try:
        hooks = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    for name in hooks:
        path = f"{folder}/{name}"
        if not os.path.isfile(path):
            continue
        status = 0
        if os.getuid() == 0 and (reason := doubt(path)):
            warn(f"the hook {path} is left out, for root would run it and {reason}: own it by root, or mount it :ro")
        elif name.endswith(".sh"):
            status = _source(path)
        elif not os.access(path, os.X_OK):
            warn(f"the hook {path} is left out: name it *.sh to have it sourced, or make it executable")
        elif _has_crlf(path):
            warn(
                f"the hook {path} is left out, for its first line ends as in Windows (CRLF), which names no program:"
                f" sed -i 's/\\r$//' {name}"
            )
        else:
            status = _run(path)
        if status != 0:
            warn(f"the hook {path} ended with status {status}; the start goes on")


def doubt(path: str) -> str:
    """Why root must not run the file, in half a sentence; empty where only root can change it."""
    try:
        os.close(trust.open_path(path, strict=True))
    except trust.Untrusted as error:
        return str(error)
    except OSError as error:
        return f"it cannot be opened ({error.strerror})"
    return ""


def merged(before: dict[bytes, bytes], printed: bytes) -> dict[bytes, bytes]:
    """The environment after a sourced hook: what `env -0` printed, without the variables that every shell sets."""
    after = dict(entry.split(b"=", 1) for entry in printed.split(b"\0") if b"=" in entry)
    own = {name.encode() for name in SHELLS_OWN}
    return {name: value for name, value in after.items() if name not in own} | {
        name: value for name, value in before.items() if name in own
    }


def _has_crlf(path: str) -> bool:
    """Whether a script's first line ends in CRLF: the kernel would look for a program with a carriage return."""
    try:
        with open(path, "rb") as file:
            first = file.readline(4096)
    except OSError:
        return False
    return first.startswith(b"#!") and first.endswith(b"\r\n")


def _source(path: str) -> int:
    descriptor = os.memfd_create("environment", 0)  # without close-on-exec: bash writes it
    unix = _without_crlf(path)
    sourced = path if unix is None else f"/dev/fd/{unix}"
    try:
        command = ["bash", "-c", SOURCE, "coursebox", sourced, str(descriptor)]
        process = os.posix_spawn("/bin/bash", command, os.environb)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        size = os.fstat(descriptor).st_size
        if size:  # else bash was killed
            after = merged(dict(os.environb), os.pread(descriptor, size, 0))
            os.environb.clear()
            os.environb.update(after)
        return status
    finally:
        os.close(descriptor)
        if unix is not None:
            os.close(unix)


def _without_crlf(path: str) -> int | None:
    """A descriptor of a copy with the line ends of Unix; None where the file has these already."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return None  # bash says why
    if b"\r\n" not in content and not content.endswith(b"\r"):
        return None
    copy = os.memfd_create("hook", 0)
    os.write(copy, content.replace(b"\r\n", b"\n").removesuffix(b"\r"))
    return copy


def _run(path: str) -> int:
    try:
        process = os.posix_spawn(path, [path], os.environb)
    except OSError as error:
        warn(f"the hook {path} cannot be run ({error.strerror}): check its first line")
        return 126
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
