"""A Docker engine that answers: the one that runs, else one that is started here, else one that is installed first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from coursebox.core.console import say, step
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.core.run import capture
from coursebox.host.packages import install, root_prefix

PATIENCE = 60.0  # seconds that a starting engine gets; a few are usual
TAIL = 8  # lines of its log that are shown when it does not answer
SYSTEMD = Path("/run/systemd/system")
SBIN = "/usr/sbin:/usr/local/sbin"
# Runs a program with its output in $1, and leaves its exit status in $0.
OUTLIVE = 'ended=$0 log=$1; shift; "$@" >"$log" 2>&1; echo $? >"$ended"'


def ensure_engine() -> None:
    """Return when a Docker engine answers; installs docker.io and starts an engine when none does.

    Raises CourseboxError when the user may not talk to it, or when it cannot be installed or started.
    """
    if _answers():
        return
    if host := os.environ.get("DOCKER_HOST"):
        raise CourseboxError(
            f"no Docker engine answers at {host}, where DOCKER_HOST points",
            hint="start it, or unset DOCKER_HOST to use an engine of this machine",
        )
    if shutil.which("docker") is None or _dockerd() is None:
        install(["docker.io"], "the build")
        if _answers():  # the package starts its engine itself where systemd runs
            return
    _start()
    if not _answers():
        raise CourseboxError("Docker is not running: the engine started, and ended again", hint="run `make doctor`")


def _answers() -> bool:
    trouble = ask_engine()
    if trouble is not None and _denied(trouble):
        raise CourseboxError(
            "the Docker engine runs, but this user may not talk to it",
            hint="run: sudo usermod --append --groups docker $USER, and log in again",
        )
    return trouble is None


def ask_engine() -> str | None:
    """None when an engine answers, else what the docker command said (or that there is none)."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    asked = subprocess.run(
        ["docker", "version", "--format={{.Server.Version}}"], capture_output=True, text=True, check=False
    )
    if asked.returncode == 0 and asked.stdout.strip():
        return None
    return asked.stderr.strip() or "docker said nothing"


def engine_security() -> tuple[str, ...]:
    """What the engine says of itself, "name=rootless" or "name=userns" for one; nothing where none answers."""
    asked = capture(["docker", "info", "--format", "{{json .SecurityOptions}}"])
    try:
        found = json.loads(asked.stdout) if asked.returncode == 0 else []
        return tuple(str(option).split(",")[0] for option in found or [])
    except ValueError:
        return ()


def stop_engine_we_started() -> bool:
    """Stop the engine that `ensure_engine` started without systemd; True when there was one.

    An engine that this project did not start is never touched.
    """
    pid = _our_engine()
    if pid is None:
        return False
    _stop(root_prefix("stopping the Docker engine", f"kill {pid}"))
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return True


def _our_engine() -> int | None:
    """The process of the engine that was started here, if it still runs."""
    pidfile = _folder() / "dockerd.pid"
    try:
        pid = int(pidfile.read_text(encoding="ascii"))
        # The number may belong to another program by now.
        ours = f"--pidfile={pidfile}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if ours else None


def _stop(prefix: list[str]) -> None:
    if (pid := _our_engine()) is not None:
        # The shell's own kill: the program of that name is not on every machine.
        subprocess.run([*prefix, "sh", "-c", f"kill {pid}"], check=False)


def _denied(trouble: str) -> bool:
    return "permission denied" in trouble.lower()


def _dockerd() -> str | None:
    # Debian has it in /usr/sbin, which is not on every user's path.
    return shutil.which("dockerd") or shutil.which("dockerd", path=SBIN)


def _folder() -> Path:
    return Cache.from_environment().root / "docker"


def _start() -> None:
    by_hand = "systemctl start docker" if SYSTEMD.is_dir() else "dockerd"
    try:
        prefix = root_prefix("starting it", by_hand)
    except CourseboxError as error:
        raise CourseboxError(f"Docker is not running, and {error.message}", hint=error.hint) from None
    with step("starting the Docker engine, since none answers"):
        if SYSTEMD.is_dir():
            _start_service(prefix)
        else:
            _start_daemon(prefix, by_hand)


def _start_service(prefix: list[str]) -> None:
    done = subprocess.run(
        [*prefix, "systemctl", "start", "docker"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode == 0 and _wait(None):
        return
    raise _failed(done.stderr, "see: journalctl --unit=docker")


def _start_daemon(prefix: list[str], by_hand: str) -> None:
    """dockerd as a process of its own, which outlives the build."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "dockerd.log"
    ended = folder / "dockerd.ended"
    ended.unlink(missing_ok=True)
    daemon = [_dockerd() or "dockerd", f"--pidfile={folder / 'dockerd.pid'}"]
    # sudo asks for a password on this terminal, which a new session does not have: so the session begins behind it.
    command: list[str | Path] = [*prefix, "setsid", "--fork", "sh", "-c", OUTLIVE, ended, log, *daemon]
    log.write_bytes(b"")
    started = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    if started.returncode != 0:
        raise CourseboxError(
            f"Docker is not running, and root could not start it (exit status {started.returncode})",
            hint=f"as root, run: {by_hand}",
        )
    if not _wait(ended):
        _stop(prefix)
        raise _failed(log.read_text(encoding="utf-8", errors="replace"), f"its whole log is {log}")
    say(f"  it stays for the next build; its log is {log}")


def _wait(ended: Path | None) -> bool:
    """Whether an engine answers before its time is over; ended: a file that appears when its process ends before."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        trouble = ask_engine()
        # The service may be up while its socket belongs to a group that this user is not in.
        if trouble is None or _denied(trouble):
            return True
        if ended is not None and ended.exists():
            return False
        time.sleep(0.2)
    return False


def _failed(text: str, where: str) -> CourseboxError:
    lines = "\n".join(f"    {line}" for line in text.strip().splitlines()[-TAIL:])
    return CourseboxError(f"Docker is not running, and the engine did not start:\n{lines}", hint=where)
