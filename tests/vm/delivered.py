"""The delivered OVA, unpacked as VirtualBox would, and the starts of it that the tests of this folder share."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from equipment.guest import TestedGuest, answers_http
from root_shell import RootShell

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.course import Course, load_course
from coursebox.verify.machine import qemu
from coursebox.verify.machine.guest import wait_for_http
from coursebox.verify.machine.qemu import LOCALHOST, Forward, Qemu, Spec, free_port

BUILD = CHECKOUT / "build"
ARTIFACTS = BUILD / "vm-artifacts"
SCREENSHOTS = BUILD / "screenshots"
MEASUREMENTS = BUILD / "measurements.json"

# Limits in seconds, several times what two slow cores need without KVM: they end a test that hangs, they judge nothing.
START, LOGIN, COMMAND, TORCH, POWER_OFF = 600, 300, 180, 900, 300

# How the menu and the console page behind it are recognised on the first console.
MENU = r"Which keyboard do you have"
CONSOLE_PAGE = r"login: *$"

ROOT_PARTITION = 3
WRITER = Path(__file__).with_name("power_cut_writer.py")
WRITER_PLACE = "/var/lib/coursebox-power-cut/writer"


def record(**figures: float) -> None:
    """Add measured figures to build/measurements.json, for `make bench`."""
    known = json.loads(MEASUREMENTS.read_text()) if MEASUREMENTS.exists() else {}
    MEASUREMENTS.parent.mkdir(parents=True, exist_ok=True)
    MEASUREMENTS.write_text(json.dumps(known | figures, indent=2, sort_keys=True) + "\n")


def partition_start(raw: Path, number: int) -> int:
    """First byte of a partition, counted from 1, of a GPT disk (UEFI Specification 2.10, section 5.3)."""
    with raw.open("rb") as file:
        file.seek(512)
        header = file.read(92)
        assert header[:8] == b"EFI PART", f"{raw} has no GPT"
        table, _, size = struct.unpack_from("<QII", header, 72)
        file.seek(table * 512 + (number - 1) * size)
        first: int = struct.unpack_from("<Q", file.read(size), 32)[0]
    return first * 512


@dataclass(frozen=True)
class DirectStart:
    """The guest's own kernel and initial RAM disk, and the device of its root file system."""

    kernel: Path
    initrd: Path
    root: str


@dataclass
class Session:
    """One start of the machine, and the ways into it."""

    machine: Qemu
    course: Course
    jupyter: int
    ssh: int
    neighbour_jupyter: int = 0
    neighbour_ssh: int = 0
    _guest: TestedGuest | None = field(default=None, repr=False)
    _root: RootShell | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.jupyter}"

    @property
    def guest(self) -> TestedGuest:
        """An ssh login that stays open; made when first asked for."""
        if self._guest is None:
            self._guest = self.login(self.ssh)
        return self._guest

    def login(self, port: int) -> TestedGuest:
        user = self.course.user
        return TestedGuest.wait_for(port, user.name, user.password, LOGIN, alive=self.machine.running)

    def root(self, command: str, timeout: float = COMMAND) -> str:
        """What a command prints that root runs and that must succeed; in a shell that stays open."""
        if self._root is None or not self._root.open:
            self._root = RootShell(self.guest.client, self.course.user.password)
        done = self._root.run(command, timeout)
        assert done.rc == 0, f"`{command}` ended with status {done.rc}: {done.err or done.out}"
        return done.out.rstrip("\n")

    def screen(self) -> str:
        """The text on the first console, line by line."""
        # Bytes of the console's character set; the frames of the menu are no text.
        shown = self.root("tr '\\200-\\377' '?' < /dev/vcs1 | tr '\\0' ' '")
        width = int(self.root("stty size < /dev/tty1").split()[1])
        return "\n".join(shown[start : start + width].rstrip() for start in range(0, len(shown), width))

    def wait_for_screen(self, pattern: str, timeout: float = COMMAND) -> str:
        """The console's text as soon as it matches."""
        end = time.monotonic() + timeout
        while not re.search(pattern, text := self.screen(), re.MULTILINE):
            assert time.monotonic() < end, f"no {pattern!r} on the console after {timeout} s, but:\n{text}"
            time.sleep(2)
        return text

    def wait_until_started(self) -> str:
        """Wait for the end of the start; systemd's word for the state: running, degraded, …"""
        return self.guest.run("systemctl is-system-running --wait", timeout=START).out.strip()

    def jupyter_answers(self, port: int, seconds: float = 30) -> bool:
        return answers_http(f"http://{LOCALHOST}:{port}/api", seconds)

    def condition(self) -> str:
        """What can be seen of a machine from outside, for one that does not answer: processors, screen, consoles."""
        seen = []
        for command in ("info status", "info registers -a", "info network"):
            with suppress(CourseboxError, OSError):
                said = str(self.machine.qmp.execute("human-monitor-command", command_line=command))
                lines = [line for line in said.splitlines() if command != "info registers -a" or "IP=" in line]
                seen.append(f"{command}:\n" + "\n".join(lines))
        with suppress(CourseboxError, OSError):
            seen.append(f"screen:\n{self.machine.text_screen().rstrip()}")
        seen.append(f"serial console:\n{self.machine.serial()[-2000:]}")
        return "\n\n".join(seen)

    def photograph(self, name: str) -> Path:
        return self.machine.screenshot(SCREENSHOTS / f"{name}.png")

    def save_evidence(self, name: str) -> None:
        """After a failure: what the screen shows and what the journal says, as far as the machine still tells."""
        with suppress(CourseboxError, OSError):
            self.machine.screenshot(ARTIFACTS / f"{name}.png")
        if self._guest is not None and self.machine.running():
            with suppress(CourseboxError, OSError):
                told = self._guest.as_root("systemctl --failed --no-pager; journalctl -b --no-pager", timeout=60)
                (ARTIFACTS / f"{name}.journal.txt").write_text(told.out + told.err)


class Delivered:
    """dist/<name>-<version>.ova, and the one disk on which all starts of these tests leave their traces."""

    def __init__(self) -> None:
        self.course = load_course(Path(os.environ.get("COURSE") or CHECKOUT / "course.toml"))
        self.ova = CHECKOUT / "dist" / f"{self.course.name}-{self.course.version}.ova"
        assert self.ova.is_file(), f"{self.ova} is missing: these tests need the delivered file, `make ova` builds it"
        self.work = BUILD / "vm"
        self.overlay = self.work / "disk.qcow2"
        self.session: Session | None = None
        self.keyboard_chosen = False
        self.direct: DirectStart | None = None
        self.facts: dict[str, str] = {}  # what a later start compares with
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        self.vmdk = self._unpack()

    def _unpack(self) -> Path:
        with tarfile.open(self.ova) as archive:
            (member,) = [member for member in archive if member.name.endswith(".vmdk")]
            content = archive.extractfile(member)
            assert content is not None
            with content, (self.work / "disk.vmdk").open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
        return self.work / "disk.vmdk"

    def spec(self, **changes: object) -> Spec:
        machine = self.course.machine
        given: dict[str, object] = {"memory": machine.memory, "processors": machine.processors}
        return Spec(self.vmdk, overlay=self.overlay, **(given | changes))  # type: ignore[arg-type]

    @contextmanager
    def start(self, name: str, *, neighbour: bool = False, **changes: object) -> Iterator[Session]:
        """Switch the machine on; its serial console is kept in build/vm-artifacts/<name>.serial.log."""
        jupyter, ssh = free_port(), free_port()
        changes["forwards"] = (Forward(jupyter, 8888), Forward(ssh, 22))
        session_ports = (0, 0)
        if neighbour:
            session_ports = free_port(), free_port()
            changes["neighbour"] = (Forward(session_ports[0], 8888), Forward(session_ports[1], 22))
        with Qemu(self.spec(**changes), folder=self.work, serial_log=ARTIFACTS / f"{name}.serial.log") as machine:
            self.session = Session(machine, self.course, jupyter, ssh, *session_ports)
            try:
                yield self.session
            finally:
                if self.session._guest is not None:
                    self.session._guest.close()
                self.session = None

    def wait_for_jupyter(self, session: Session) -> float:
        """Seconds from the power switch until JupyterLab's page is there."""
        alive = session.machine.running
        try:
            wait_for_http(f"{session.url}/api", START, alive=alive)
        except CourseboxError as error:
            raise AssertionError(f"{error}\n\n{session.condition()}") from None
        took = session.machine.uptime()
        page = httpx.get(f"{session.url}/lab", timeout=COMMAND, trust_env=False)
        assert page.status_code == httpx.codes.OK, f"/lab answers {page.status_code}"
        return took

    def choose_keyboard(self, session: Session) -> str:
        """Answer the menu by keystrokes with German; the choice as the machine stored it."""
        session.wait_for_screen(MENU)
        # The list jumps to the next entry that begins with the typed letter; German (Switzerland) is another one.
        for _ in range(8):
            if re.search(r"German {2,}", self.highlighted(session)):
                break
            session.machine.qmp.press("g")
            time.sleep(1)
        else:
            raise AssertionError(f"German cannot be chosen by typing g:\n{session.screen()}")
        session.photograph("keyboard-menu")
        session.machine.qmp.press("ret")
        end = time.monotonic() + COMMAND
        while (stored := session.guest.run("cat /etc/coursebox/keyboard").out.strip()) == "":
            assert time.monotonic() < end, f"no choice was stored; the console shows:\n{session.screen()}"
            time.sleep(2)
        self.keyboard_chosen = True
        return stored

    def highlighted(self, session: Session) -> str:
        """The text of the menu's chosen line: /dev/vcsa1 holds the cursor's place, then character and colour pairs."""
        dump = bytes.fromhex(session.root("od -An -v -tx1 /dev/vcsa1").replace("\n", ""))
        rows, columns, _, row = dump[:4]
        assert row < rows
        line = dump[4 + 2 * columns * row :][: 2 * columns]
        return line[::2].decode("latin-1")

    def remember_identity(self, session: Session) -> None:
        """Keep what makes this machine itself, for a later start to compare with."""
        self.facts = self.identity(session)

    def identity(self, session: Session) -> dict[str, str]:
        return {
            "host keys": session.guest.output("cat /etc/ssh/ssh_host_*_key.pub"),
            "machine-id": session.guest.output("cat /etc/machine-id"),
        }

    def prepare_power_cuts(self, session: Session) -> None:
        """Put the writer of the power cuts into the guest, and get its kernel out."""
        session.guest.write("writer", WRITER.read_text())
        home = session.guest.output("pwd")
        session.root(f"install -D -m 0755 {home}/writer {WRITER_PLACE}")
        self.direct = DirectStart(
            session.guest.fetch("/vmlinuz", self.work / "vmlinuz"),
            session.guest.fetch("/initrd.img", self.work / "initrd.img"),
            session.guest.output("findmnt -no SOURCE /"),
        )

    def check_file_system(self) -> subprocess.CompletedProcess[str]:
        """e2fsck, without repairing anything, on the root file system of the machine that is off."""
        raw = self.work / "disk.raw"
        source = "json:" + json.dumps(qemu.overlay_node(self.overlay, self.vmdk))
        subprocess.run(["qemu-img", "convert", "-O", "raw", source, raw], check=True)
        try:
            e2fsck = shutil.which("e2fsck", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
            assert e2fsck is not None, "e2fsck is not installed: run apt-get install e2fsprogs"
            place = f"{raw}?offset={partition_start(raw, ROOT_PARTITION)}"
            return subprocess.run([e2fsck, "-f", "-n", place], check=False, capture_output=True, text=True)
        finally:
            raw.unlink()

    def ensure_first_start(self) -> None:
        """For a test that runs without those of the first start: choose the keyboard, then switch off."""
        if not self.keyboard_chosen:
            with self.start("first-start-only") as session:
                self.choose_keyboard(session)
                self.remember_identity(session)
                session.root("sync; systemctl poweroff")
                session.machine.wait_until_off(POWER_OFF)


__all__ = [
    "ARTIFACTS", "COMMAND", "CONSOLE_PAGE", "LOGIN", "MENU", "POWER_OFF", "SCREENSHOTS", "START", "TORCH",
    "WRITER_PLACE", "Delivered", "DirectStart", "Session", "qemu", "record",
]  # fmt: skip
