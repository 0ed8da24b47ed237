"""Ten hard power cuts while files are written, and a machine that starts again afterwards."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator

import pytest
from delivered import ARTIFACTS, MENU, POWER_OFF, START, WRITER_PLACE, Delivered, DirectStart, Session, record

from coursebox.verify.machine.qemu import Qemu

CUTS = 10


@pytest.fixture(scope="module")
def kernel(delivered: Delivered) -> DirectStart:
    """Everything to start the guest without its boot loader; the second start has left it, or a start of its own."""
    if delivered.direct is None:
        delivered.ensure_first_start()
        with delivered.start("power-cuts-preparation") as session:
            delivered.prepare_power_cuts(session)
            session.root("sync; systemctl poweroff")
            session.machine.wait_until_off(POWER_OFF)
    assert delivered.direct is not None
    return delivered.direct


def last_synced(machine: Qemu, known: int) -> int:
    return max((int(number) for number in re.findall(r"^synced (\d+)$", machine.serial(), re.MULTILINE)), default=known)


def start(delivered: Delivered, kernel: DirectStart, name: str, act: str, known: int) -> Qemu:
    # fsck.mode=skip: the kernel itself shall replay the journal, as it does where no fsck runs before the mount.
    words = (
        f"root={kernel.root} rw console=ttyS0 loglevel=7 fsck.mode=skip panic=-1 init={WRITER_PLACE}"
        f" coursebox.act={act} coursebox.known={known}"
    )
    spec = delivered.spec(kernel=kernel.kernel, initrd=kernel.initrd, append=words)
    return Qemu(spec, folder=delivered.work, serial_log=ARTIFACTS / f"{name}.serial.log")


def lost(machine: Qemu) -> list[str]:
    return re.findall(r"^lost (\d+)$", machine.serial(), re.MULTILINE)


def test_ten_power_cuts_lose_nothing_that_was_synced(delivered: Delivered, kernel: DirectStart) -> None:
    # Fixed, so that a failure can be repeated; what the guest does at these moments differs from run to run anyway.
    moments = random.Random(20261121)
    known = 0
    for cut in range(1, CUTS + 1):
        with start(delivered, kernel, f"power-cut-{cut}", "write", known) as machine:
            machine.wait_for_serial(rf"^verified {known}$", START)
            assert lost(machine) == [], f"records that were synced before cut {cut - 1} are gone"
            if cut > 1:
                assert "recovery complete" in machine.serial(), f"no journal was replayed after cut {cut - 1}"
            machine.wait_for_serial(rf"^synced {known + moments.randint(1, 25)}$", START)
            time.sleep(moments.uniform(0.0, 1.0))
            machine.cut_power()
            known = last_synced(machine, known)
    with start(delivered, kernel, "power-cut-check", "check", known) as machine:
        machine.wait_for_serial(rf"^verified {known}$", START)
        assert lost(machine) == [], f"records that were synced before cut {CUTS} are gone"
        assert "recovery complete" in machine.serial(), f"no journal was replayed after cut {CUTS}"
        machine.wait_until_off(POWER_OFF)
    checked = delivered.check_file_system()
    assert checked.returncode == 0, checked.stdout + checked.stderr
    record(power_cuts=CUTS, records_synced_in_power_cuts=known)


@pytest.fixture(scope="module")
def afterwards(delivered: Delivered, kernel: DirectStart) -> Iterator[Session]:
    """The start after the last cut, through the boot menu: "choose the keyboard again" is picked by keystrokes."""
    with delivered.start("boot-menu", firmware="bios") as session:
        machine = session.machine
        end = time.monotonic() + START
        while "choose the keyboard again" not in machine.text_screen():
            assert time.monotonic() < end, f"no boot menu on the screen:\n{machine.text_screen()}"
            time.sleep(0.1)
        machine.qmp.press("down")
        time.sleep(1)  # the count-down has ended with the first key
        session.photograph("boot-menu")
        machine.qmp.press("ret")
        yield session


def test_machine_starts_again_after_the_last_cut(afterwards: Session, delivered: Delivered) -> None:
    delivered.wait_for_jupyter(afterwards)
    assert afterwards.wait_until_started() == "running"
    assert afterwards.guest.output("findmnt -no OPTIONS /").split(",")[0] == "rw"


def test_entry_of_the_boot_menu_asks_for_the_keyboard_again(afterwards: Session) -> None:
    assert "forcekbd" in afterwards.guest.output("cat /proc/cmdline").split()
    text = afterwards.wait_for_screen(MENU)
    afterwards.photograph("keyboard-menu-again")
    assert "German" in text
