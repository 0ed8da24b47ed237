"""Debian packages that the verbs need on this machine: one table, and the installation of what is missing.

Docker is not in the table, since another engine may be there already: see `coursebox.host.dockerd`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from coursebox.architecture import BUILDER
from coursebox.core.console import console, say, step, warn
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.core.settings import settings

BUILD = (
    "ca-certificates",
    "debian-archive-keyring",
    "mmdebstrap",
    "python3-venv",
    "uidmap",  # mmdebstrap without root
)
TRY = (BUILDER.qemu.uefi_package, BUILDER.qemu.package, "qemu-utils")
PROXIES = [name for each in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy") for name in (each, each.upper())]
REFRESH = 60.0  # seconds; sudo asks again after five minutes or more (sudoers(5), timestamp_timeout)
LINTERS = ("git", "shellcheck")
ENGINES = ("podman", "skopeo")  # a second and a third opinion of the image
TEST = ("chromium", *LINTERS, *ENGINES)

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "build": BUILD,
    "try": TRY,
    "bench": (*BUILD, *TRY),
    "repro": (*BUILD, "diffoscope-minimal", "faketime", "git"),
    "test": (*BUILD, *TRY, *TEST),
    "test-quick": (*LINTERS, "qemu-utils"),
}


def ensure_packages(verb: str) -> None:
    """Install what `verb` (a key of `PACKAGES`) lacks, and say so before.

    Raises CourseboxError when this is no Debian, there is neither root nor sudo, or apt-get fails.
    """
    install(missing_packages(PACKAGES[verb]), f"make {verb}")


def missing_packages(packages: Iterable[str]) -> list[str]:
    """Those of `packages` that dpkg does not call installed, in their order; all of them where there is no dpkg."""
    wanted = list(packages)
    if shutil.which("dpkg-query") is None:
        return wanted
    command = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *wanted]
    # dpkg-query fails when it knows nothing of one of them; it still lists the others.
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    installed = {words[0] for line in printed.splitlines() if (words := line.split())[1:] == ["installed"]}
    return [package for package in wanted if package not in installed]


def install(packages: Sequence[str], reason: str) -> None:
    """Install Debian packages without their recommended ones; nothing happens when the list is empty.

    reason: who needs them, for the announcement. Raises CourseboxError as `ensure_packages` does.
    """
    if not packages:
        return
    names = " ".join(packages)
    if shutil.which("apt-get") is None or shutil.which("dpkg-query") is None:
        raise CourseboxError(
            f"{reason} needs the Debian packages {names}, and this machine has no apt-get",
            hint="use a machine with Debian 12 or 13",
        )
    prefix = root_prefix(f"installing {names}", f"apt-get install {names}")
    say(f"‣ {reason} needs Debian packages that are not installed: {names}")
    log = Cache.from_environment().root / "logs" / "apt.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # Each option is apt's own name for: wait for another apt, no pseudo terminal; needrestart must not ask either.
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "apt-get"]
    apt += ["--option=DPkg::Lock::Timeout=300", "--option=Dpkg::Use-Pty=false", "--quiet", "--yes"]
    with step("updating the package lists"):
        if _logged([*apt, "update"], log) != 0:
            # One broken source among several is frequent, and the packages may well come from the others.
            warn(f"apt-get update had errors; its messages are in {log}")
    with step(f"installing {len(packages)} packages"):
        if _logged([*apt, "--no-install-recommends", "install", *packages], log) != 0:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            errors = [line for line in lines if line.startswith("E: ")] or lines
            raise CourseboxError(
                f"apt-get could not install {names}: {errors[-1] if errors else 'no message'}",
                hint=f"its messages are in {log}; check the machine's apt settings",
            )


def root_prefix(action: str, by_hand: str) -> list[str]:
    """What to put before a command that needs root: nothing, or sudo.

    action, by_hand: for the CourseboxError when there is neither: what is to be done, and the command that does it.
    sudo clears the environment; the proxies of the caller stay in it.
    """
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        raise CourseboxError(f"{action} needs root, and there is no sudo", hint=f"as root, run: {by_hand}")
    proxies = [name for name in PROXIES if os.environ.get(name)]
    return [sudo, *([f"--preserve-env={','.join(proxies)}"] if proxies else []), "--"]


@contextmanager
def ask_for_root(action: str, by_hand: str) -> Iterator[list[str]]:
    """The same, and sudo asks for the password now, and not again as long as the block lasts."""
    prefix = root_prefix(action, by_hand)
    if not prefix:
        yield prefix
        return
    say(f"‣ {action} needs root: sudo may ask for your password")
    if subprocess.run([*prefix, "true"], check=False).returncode != 0:
        raise CourseboxError(f"{action} needs root, and sudo refuses it", hint=f"as root, run: {by_hand}")
    done = threading.Event()

    def refresh() -> None:
        while not done.wait(REFRESH):
            subprocess.run([prefix[0], "--non-interactive", "--validate"], stderr=subprocess.DEVNULL, check=False)

    threading.Thread(target=refresh, daemon=True).start()
    try:
        yield prefix
    finally:
        done.set()


def _logged(command: Sequence[str], log: Path) -> int:
    """Run a command with its output in `log`, or on the terminal with V=1; its exit code."""
    if settings().verbose:
        console.print(f"$ {' '.join(command)}", markup=False, soft_wrap=True)
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    with log.open("w", encoding="utf-8") as file:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
