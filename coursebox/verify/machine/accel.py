"""KVM or emulation: a /dev/kvm proves nothing, only a kernel that ran under it does.

Some machines, virtual ones above all, have the device and cannot run a stock kernel with it: QEMU aborts when it sets
the processor up, or the guest hangs after its boot loader. So KVM is tried with a real kernel and a time limit.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from coursebox.architecture import AMD64
from coursebox.core.console import say
from coursebox.core.errors import CourseboxError
from coursebox.core.files import write_text
from coursebox.core.paths import Cache
from coursebox.core.settings import settings
from coursebox.verify.machine.qemu import QEMU, Accelerator, Qemu, Spec, require

DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROCESSOR_LIMIT = 1.0  # seconds in which QEMU has made its processor, or has given up
LIMIT = 10.0  # seconds for a kernel alone, which takes one or two where KVM works
DISK_LIMIT = 30.0  # seconds for a whole disk: firmware and boot menu come before the kernel
# A kernel without a disk comes to its own end here, after all of its start.
KERNEL_WORKS = r"Unable to mount root fs|No working init found|Run /\S+ as init process"
# User space, or the kernel's last words before it.
DISK_WORKS = r"Run /init as init process|Freeing unused kernel|systemd\[1\]:| login:"


class Verdict(NamedTuple):
    """Whether KVM works here, and how that is known (a sentence without a full stop)."""

    works: bool
    why: str


def choose_accelerator(
    *, disk: Path | None = None, kernel: Path | None = None, cache: Cache | None = None
) -> Accelerator:
    """Answer "kvm" when it was tried with a real kernel and worked, else "tcg"; the setting ACCEL overrides.

    disk: an image (OVA, VMDK, …) to try KVM with, kernel: a Linux kernel file, tried first as it is quicker.
    """
    chosen = settings().accel
    if chosen is not None:
        return chosen
    return "kvm" if kvm_verdict(disk=disk, kernel=kernel, cache=cache).works else "tcg"


def kvm_verdict(*, disk: Path | None = None, kernel: Path | None = None, cache: Cache | None = None) -> Verdict:
    """Try KVM with the first of: `kernel`, the host's own kernel in /boot, `disk`; never raises.

    A clear answer is kept in the cache for as long as this machine is not restarted and QEMU stays the same.
    Without QEMU, or without anything to start, the verdict is "no", and `why` says that it was not tried.
    """
    if not DEVICE.exists():
        return Verdict(False, f"there is no {DEVICE}")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Verdict(False, f"{DEVICE} may not be used by this user; add the user to the group kvm")
    try:
        version = qemu_version()
    except CourseboxError as error:
        return Verdict(False, f"not tried: {error.message}")
    memory = (cache or Cache.from_environment()).root / "kvm.json"
    place = {"boot": BOOT_ID.read_text().strip(), "qemu": version}
    if known := _recall(memory, place):
        return known
    # The cheapest trial can only say no: QEMU that cannot even make the processor ends at once.
    verdict = _try_processor() or _try_something(kernel or host_kernel(), disk)
    if verdict is None:
        return Verdict(False, f"not tried: {DEVICE} is there, but no kernel to try it with before the first `make ova`")
    _remember(memory, place, verdict)
    return verdict


def qemu_version() -> str:
    """Version line of the installed QEMU; CourseboxError when there is none."""
    printed = subprocess.run([require(QEMU), "--version"], capture_output=True, text=True)
    return printed.stdout.partition("\n")[0]


def host_kernel(folder: Path = Path("/boot")) -> Path | None:
    """A kernel of this machine that this user may read."""
    found = [path for path in sorted(folder.glob("vmlinuz*")) if path.is_file() and os.access(path, os.R_OK)]
    return found[-1] if found else None


def _recall(memory: Path, place: Mapping[str, str]) -> Verdict | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(memory.read_text())
        if kept["place"] == place:
            return Verdict(bool(kept["works"]), str(kept["why"]))
    return None


def _remember(memory: Path, place: Mapping[str, str], verdict: Verdict) -> None:
    """Keep the answer; a cache that cannot be written only costs the next trial."""
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_text(memory, json.dumps({"place": place, "works": verdict.works, "why": verdict.why}) + "\n")


def _try_something(kernel: Path | None, disk: Path | None) -> Verdict | None:
    if kernel is not None:
        return try_kernel(kernel)
    if disk is not None:
        return try_disk(disk)
    return None


def _bare(*more: str) -> list[str]:
    return [
        QEMU, "-nodefaults", "-no-user-config", "-machine", AMD64.qemu.machine, "-accel", "kvm", "-cpu", "host",
        "-m", "256", "-display", "none", "-no-reboot", *more,
    ]  # fmt: skip


def _try_processor() -> Verdict | None:
    """A "no" when QEMU gives up at once, else None: a paused machine that stays proves nothing."""
    line = _bare("-S")
    try:
        ended = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROCESSOR_LIMIT)
    except subprocess.TimeoutExpired:
        return None
    said = ended.stderr.strip().partition("\n")[0].removeprefix(f"{QEMU}: ")
    return Verdict(False, f"QEMU ends at once with it: {said or 'no reason given'}")


def try_kernel(kernel: Path) -> Verdict:
    """Start a kernel alone, without a disk; it works when it comes to the point where it misses one."""
    say(f"‣ trying KVM with {kernel} for at most {LIMIT:.0f} s …")
    line = _bare("-serial", "stdio", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1")
    start = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            while True:
                ended = process.poll() is not None
                log.seek(0)
                shown = log.read().decode(errors="replace")
                took = time.monotonic() - start
                if re.search(KERNEL_WORKS, shown):
                    return Verdict(True, f"the kernel {kernel.name} ran with it in {took:.1f} s")
                if failure := re.search(r"KVM internal error.*", shown):
                    return Verdict(False, f"the kernel {kernel.name} stops with it: {failure[0].strip()}")
                if ended:
                    return Verdict(False, f"QEMU ends with it before the kernel {kernel.name} has started")
                if took > LIMIT:
                    return Verdict(False, f"the kernel {kernel.name} hangs with it (tried for {LIMIT:.0f} s)")
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()


def try_disk(disk: Path) -> Verdict:
    """Start a built disk; it works when its kernel comes to user space. Nothing is written to it."""
    say(f"‣ trying KVM with {disk.name} for at most {DISK_LIMIT:.0f} s …")
    try:
        with Qemu(Spec(disk, accelerator="kvm", memory=1024)) as machine:
            machine.wait_for_serial(DISK_WORKS, DISK_LIMIT)
            return Verdict(True, f"the kernel of {disk.name} ran with it after {machine.uptime():.0f} s")
    except CourseboxError as error:
        return Verdict(False, f"the kernel of {disk.name} does not run with it: {error.message}")
