"""Run what was built in QEMU, on devices like those VirtualBox gives it; the delivered file is never written.

The disk is an AHCI one, the network card an Intel 82540EM behind user-mode NAT: inside, a forwarded connection comes
from 10.0.2.2, as it does in VirtualBox.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from coursebox.architecture import BUILDER, Architecture, Firmware
from coursebox.core.errors import CourseboxError
from coursebox.verify.machine.qmp import Qmp

Accelerator = Literal["kvm", "tcg"]

LOCALHOST = "127.0.0.1"
QEMU = BUILDER.qemu.program
INSTALL = f"run: apt-get install {BUILDER.qemu.package} qemu-utils {BUILDER.qemu.uefi_package}"
# A processor of today whose AVX is hidden, as VirtualBox does it under Hyper-V, with the XSAVE that it depends on
# (https://github.com/VirtualBox/virtualbox/issues/36). Not QEMU's own qemu64: that claims to be an AMD K8 and lacks the
# 3DNow! that every K8 has, so OpenBLAS takes its Opteron kernels and stops at an illegal instruction.
WITHOUT_AVX = "Skylake-Client,-xsave,-avx,-avx2,-fma,-f16c"
# One thread for all emulated processors. With one for each, QEMU 7.2 lets a processor run the breakpoint by which
# another has the kernel's code changed for a moment (https://docs.kernel.org/staging/static-keys.html): "Oops: int3" in
# the first seconds of a start, once in some fifty of them. To be tried again with the QEMU of Debian 13.
EMULATION = "tcg,thread=single"
# The second network: its gateway, from which forwarded connections come, is not the NAT gateway that the guest trusts.
NEIGHBOUR_NET, NEIGHBOUR_HOST, NEIGHBOUR_GUEST = "192.168.77.0/24", "192.168.77.2", "192.168.77.15"


@dataclass(frozen=True)
class Forward:
    """TCP: port `host` on 127.0.0.1 of this machine → port `guest` of the virtual one."""

    host: int
    guest: int
    name: str = ""


@dataclass(frozen=True)
class Spec:
    """One start of a machine.

    disk: an OVA, VMDK, qcow2 or raw file; only read.
    overlay: qcow2 file that takes the writes and outlives the run; None discards them.
    memory in MiB; cpu is a QEMU model name, None means the best that the accelerator offers.
    neighbour: forwards through a second network card, arriving in the guest from NEIGHBOUR_HOST.
    kernel, initrd, append: start this kernel directly instead of the disk's own boot loader.
    window: show the screen, where this machine has one.
    architecture: decides the emulator, the board, the network card and the firmware for UEFI.
    """

    disk: Path
    overlay: Path | None = None
    accelerator: Accelerator = "tcg"
    firmware: Firmware = "bios"
    cpu: str | None = None
    memory: int = 2048
    processors: int = 2
    forwards: tuple[Forward, ...] = ()
    neighbour: tuple[Forward, ...] = ()
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = ""
    window: bool = False
    architecture: Architecture = BUILDER


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        port: int = probe.getsockname()[1]
        return port


def check_ports(forwards: tuple[Forward, ...]) -> None:
    """CourseboxError that names every port of `forwards` which another program holds."""
    taken = []
    for forward in forwards:
        with socket.socket() as probe:
            # As QEMU does: a port whose last connection has just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOCALHOST, forward.host))
            except OSError as error:
                reason = "is not allowed to this user" if isinstance(error, PermissionError) else "is in use"
                label = f" ({forward.name})" if forward.name else ""
                taken.append(f"port {forward.host}{label} of {LOCALHOST} {reason}")
    if taken:
        raise CourseboxError(
            "; ".join(taken),
            hint="stop the program that holds it (`ss -ltnp` shows which), or choose another port under [ports]"
            " in the course file",
        )


def require(program: str) -> str:
    """Path of an installed program; CourseboxError names the packages to install."""
    if found := shutil.which(program):
        return found
    raise CourseboxError(f"{program} is not installed", hint=INSTALL)


def disk_node(disk: Path) -> dict[str, Any]:
    """QEMU's description of a disk file (qapi/block-core.json, BlockdevOptions), read-only.

    The VMDK of an OVA is read where it lies: members of a tar file are stored in one piece.
    """
    try:
        with disk.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise CourseboxError(f"{disk}: {error.strerror}", hint="`make ova` builds it") from None
    node: dict[str, Any] = {"driver": "file", "filename": str(disk.resolve()), "read-only": True}
    if disk.suffix == ".ova":
        try:
            with tarfile.open(disk) as ova:
                member = next((member for member in ova if member.name.endswith(".vmdk")), None)
        except tarfile.TarError as error:
            raise CourseboxError(f"{disk}: not an OVA ({error})", hint="build or download it again") from None
        if member is None:
            raise CourseboxError(f"{disk}: holds no .vmdk file", hint="build or download it again")
        window = {"driver": "raw", "offset": member.offset_data, "size": member.size, "read-only": True}
        return {"driver": "vmdk", "file": window | {"file": node}, "read-only": True}
    driver = {b"KDMV": "vmdk", b"QFI\xfb": "qcow2"}.get(magic, "raw")
    return {"driver": driver, "file": node, "read-only": True}


def overlay_node(overlay: Path, disk: Path) -> dict[str, Any]:
    """QEMU's description of `disk` with the changes in `overlay` on top of it."""
    file = {"driver": "file", "filename": str(overlay.resolve())}
    return {"driver": "qcow2", "file": file, "backing": disk_node(disk)}


def disk_size(disk: Path) -> int:
    """Size in bytes of the disk that the guest sees."""
    node = disk_node(disk)
    with disk.open("rb") as file:
        file.seek(node["file"].get("offset", 0))
        header = file.read(32)
    if node["driver"] == "vmdk":
        # Virtual Disk Format 5.0, "Hosted Sparse Extent Header": capacity, in sectors of 512 bytes.
        capacity: int = struct.unpack_from("<Q", header, 12)[0]
        return capacity * 512
    if node["driver"] == "qcow2":
        size: int = struct.unpack_from(">Q", header, 24)[0]
        return size
    return disk.stat().st_size


def command(spec: Spec, *, overlay: Path, variables: Path, serial: Path, control: Path) -> list[str]:
    """The command line of one start; `variables` is the private UEFI variable store, `control` the QMP socket."""
    disk = overlay_node(overlay, spec.disk) | {"node-name": "disk"}
    board = spec.architecture.qemu
    line = [
        board.program,
        "-nodefaults",
        "-no-user-config",
        "-accel", EMULATION if spec.accelerator == "tcg" else "kvm",
        "-cpu", spec.cpu or ("max" if spec.accelerator == "tcg" else "host"),
        "-m", str(spec.memory),
        "-smp", str(spec.processors),
        "-vga", "std",
        "-display", "gtk" if spec.window else "none",
        "-rtc", "base=utc",
        "-blockdev", json.dumps(disk),
        "-device", "ich9-ahci,id=ahci",
        # Not 0, which a kernel given directly takes.
        "-device", "ide-hd,drive=disk,bus=ahci.0,bootindex=1",
        "-chardev", f"file,id=serial,path={_escaped(serial)}",
        "-serial", "chardev:serial",
        "-qmp", f"unix:{_escaped(control)},server=on,wait=off",
    ]  # fmt: skip
    if spec.firmware == "uefi":
        code = {"node-name": "code", "driver": "file", "filename": board.uefi_code, "read-only": True}
        store = {"node-name": "store", "driver": "file", "filename": str(variables)}
        line += ["-blockdev", json.dumps(code), "-blockdev", json.dumps(store)]
        line += ["-machine", f"{board.machine},pflash0=code,pflash1=store"]
    else:
        line += ["-machine", board.machine]
    # No boot ROM on the cards: starting from the network is nothing that a student's machine should try.
    line += ["-netdev", _netdev("nat", "ipv6=off", spec.forwards, "")]
    line += ["-device", f"{board.network},netdev=nat,romfile="]
    if spec.neighbour:
        lan = f"ipv6=off,net={NEIGHBOUR_NET},host={NEIGHBOUR_HOST},dhcpstart={NEIGHBOUR_GUEST}"
        line += ["-netdev", _netdev("lan", lan, spec.neighbour, NEIGHBOUR_GUEST)]
        line += ["-device", f"{board.network},netdev=lan,romfile="]
    if spec.kernel is not None:
        # A kernel that panics shall end the run, not start over.
        line += ["-kernel", str(spec.kernel), "-append", spec.append, "-no-reboot"]
        line += ["-initrd", str(spec.initrd)] if spec.initrd is not None else []
    return line


def _netdev(name: str, options: str, forwards: tuple[Forward, ...], guest: str) -> str:
    rules = [f"hostfwd=tcp:{LOCALHOST}:{forward.host}-{guest}:{forward.guest}" for forward in forwards]
    return ",".join([f"user,id={name}", options, *rules])


def _escaped(path: Path) -> str:
    """A path inside a comma-separated QEMU option."""
    return str(path).replace(",", ",,")


class Qemu:
    """A running machine; leaving the context cuts its power when it still runs, and removes what it wrote.

    folder: where log files and the discarded overlay lie while it runs; a temporary one by default.
    serial_log: the serial console's bytes, kept after the run when given.
    """

    def __init__(self, spec: Spec, *, folder: Path | None = None, serial_log: Path | None = None) -> None:
        self.spec = spec
        self._parent = folder
        self._serial = serial_log
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None
        self.started = 0.0  # time.monotonic() of the power switch

    def __enter__(self) -> Qemu:
        self._check()
        if self._parent is not None:
            self._parent.mkdir(parents=True, exist_ok=True)
        # The socket's name has at most 107 bytes: it cannot lie below a folder of any depth.
        self._control = tempfile.TemporaryDirectory(prefix="coursebox-")
        self._folder = tempfile.TemporaryDirectory(prefix="machine-", dir=self._parent)
        try:
            self._start(Path(self._folder.name), Path(self._control.name) / "qmp")
        except BaseException:
            self._clean()
            raise
        return self

    def _check(self) -> None:
        if not self.spec.disk.is_file():
            raise CourseboxError(f"{self.spec.disk}: there is no such disk image", hint="`make ova` builds it")
        board = self.spec.architecture.qemu
        require(board.program)
        if self.spec.firmware == "uefi" and not Path(board.uefi_code).is_file():
            raise CourseboxError(f"{board.uefi_code}: the UEFI firmware is missing", hint=INSTALL)
        check_ports(self.spec.forwards + self.spec.neighbour)

    def _start(self, folder: Path, control: Path) -> None:
        variables, log = folder / "variables.fd", folder / "qemu.log"
        self._serial = self._serial or folder / "serial.log"
        self._serial.parent.mkdir(parents=True, exist_ok=True)
        overlay = self.spec.overlay or folder / "overlay.qcow2"
        if not overlay.exists():
            make_overlay(self.spec.disk, overlay)
        if self.spec.firmware == "uefi":
            shutil.copyfile(self.spec.architecture.qemu.uefi_variables, variables)
        line = command(self.spec, overlay=overlay.resolve(), variables=variables, serial=self._serial, control=control)
        if leash := shutil.which("setpriv"):
            # However this program ends, a kill -9 included, no machine stays behind that holds the ports.
            line = [leash, "--pdeathsig", "KILL", *line]
        self._log = log
        self.started = time.monotonic()
        with log.open("wb") as file:
            # A session of its own: Ctrl-C in the terminal is for us, who then shut the machine down.
            self._process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        try:
            self._qmp = Qmp(control, alive=self.running)
        except CourseboxError as error:
            raise CourseboxError(f"QEMU did not start: {self.complaint() or error.message}") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean()

    def _clean(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._qmp is not None:
            self._qmp.close()
        self._folder.cleanup()
        self._control.cleanup()

    @property
    def qmp(self) -> Qmp:
        """The machine protocol: `press`, `type`, `execute`."""
        if self._qmp is None:
            raise CourseboxError("the machine was not started")
        return self._qmp

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise CourseboxError("the machine was not started")
        return self._process

    def running(self) -> bool:
        return self.process.poll() is None

    def complaint(self) -> str:
        """The last line that QEMU itself printed."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def uptime(self) -> float:
        """Seconds since the power switch."""
        return time.monotonic() - self.started

    def serial(self) -> str:
        """What the serial console has shown since the start, without escape sequences and carriage returns."""
        assert self._serial is not None
        text = self._serial.read_text(errors="replace") if self._serial.exists() else ""
        return re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1bc|\r", "", text)

    def wait_for_serial(self, pattern: str, timeout: float) -> re.Match[str]:
        """Wait until a line of the serial console matches (multi-line search); CourseboxError after `timeout` s."""
        end = time.monotonic() + timeout
        while True:
            running = self.running()  # asked first: what it wrote just before it ended must be seen
            if found := re.search(pattern, self.serial(), re.MULTILINE):
                return found
            if not running:
                raise CourseboxError(f"the machine ended before its console showed {pattern!r}: {self.complaint()}")
            if time.monotonic() > end:
                last = self.serial().strip().rpartition("\n")[2] or "nothing"
                raise CourseboxError(f"no {pattern!r} on the serial console after {timeout:.0f} s; last line: {last}")
            time.sleep(0.05)

    def screenshot(self, path: Path) -> Path:
        """Write what the screen shows to `path` as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.qmp.execute("screendump", filename=str(path.resolve()), format="png")
        return path

    def text_screen(self) -> str:
        """What the screen shows in the 80-column text mode of a BIOS start: the boot loader, the first kernel lines."""
        copy = Path(self._folder.name) / "text-screen"
        # The text buffer of the VGA: character, colour, character, colour, …
        self.qmp.execute("pmemsave", val=0xB8000, size=80 * 25 * 2, filename=str(copy))
        characters = copy.read_bytes()[::2].decode("cp437").replace("\0", " ")
        return "\n".join(characters[start : start + 80].rstrip() for start in range(0, len(characters), 80))

    def power_button(self) -> None:
        """Press the ACPI power button, as "ACPI shutdown" in VirtualBox does."""
        self.qmp.execute("system_powerdown")

    def cut_power(self) -> None:
        """End QEMU by SIGKILL: what the guest has not flushed and QEMU still holds is lost."""
        self.process.kill()
        self.process.wait()

    def wait_until_off(self, timeout: float) -> float:
        """Wait for the machine to switch itself off; seconds it took, CourseboxError when it still runs."""
        start = time.monotonic()
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CourseboxError(f"the machine has not switched itself off within {timeout:.0f} s") from None
        if code != 0:
            raise CourseboxError(f"QEMU ended with status {code}: {self.complaint()}")
        return time.monotonic() - start


def make_overlay(disk: Path, overlay: Path) -> None:
    """Write an empty qcow2 file as large as `disk`; which file is below it is said at each start."""
    overlay.parent.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        [require("qemu-img"), "create", "-q", "-f", "qcow2", str(overlay), str(disk_size(disk))],
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        raise CourseboxError(f"{overlay}: cannot be made: {made.stderr.strip()}")
