"""`make try`: the built OVA in QEMU, with the two forwards that VirtualBox would make."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

from coursebox.core.console import say, step, warn
from coursebox.core.digests import sha256_file
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.run import capture
from coursebox.core.settings import settings
from coursebox.course import Course
from coursebox.verify.machine import accel, guest
from coursebox.verify.machine.qemu import LOCALHOST, QEMU, Accelerator, Forward, Qemu, Spec, check_ports, require

# Seconds from the power switch to an answering JupyterLab, on two processors: what to tell, and when to give up.
EXPECTED: dict[Accelerator, int] = {"kvm": 20, "tcg": 100}
PATIENCE: dict[Accelerator, int] = {"kvm": 120, "tcg": 600}
POWER_DOWN = 90.0  # seconds that a machine gets to shut itself down


def try_course(course: Course, ova: Path | None = None) -> None:
    """Run the delivered OVA until the machine is shut down, from inside or by Ctrl-C.

    ova: by default dist/<name>-<version>.ova of the checkout. The settings choose kvm or tcg (ACCEL), and whether what
    the machine writes is kept for the next time with the same OVA (KEEP). CourseboxError before anything starts when
    a program, the file or a port is missing.
    """
    ova = ova or CHECKOUT / "dist" / f"{course.name}-{course.version}.ova"
    forwards = (Forward(course.ports.jupyter, 8888, "JupyterLab"), Forward(course.ports.ssh, 22, "ssh"))
    for program in (QEMU, "qemu-img"):
        require(program)
    if not ova.is_file():
        raise CourseboxError(f"{ova}: there is no such file", hint="run `make ova` first")
    check_ports(forwards)
    cache = Cache.from_environment()
    accelerator = accel.choose_accelerator(disk=ova, cache=cache)
    overlay = kept_overlay(cache, course, ova) if settings().keep else None
    spec = Spec(
        ova,
        overlay=overlay,
        accelerator=accelerator,
        memory=course.machine.memory,
        processors=course.machine.processors,
        forwards=forwards,
        window=has_window(os.environ),
    )
    # A plain `kill` must not leave QEMU behind either.
    signal.signal(signal.SIGTERM, _as_interrupt)
    say(
        f"‣ starting {ova.name} in QEMU with {'KVM' if accelerator == 'kvm' else 'emulation (TCG)'};"
        f" JupyterLab is expected after about {EXPECTED[accelerator]} s"
    )
    with Qemu(spec, folder=cache.tmp) as machine:
        try:
            _serve(machine, course)
        except KeyboardInterrupt:
            _shut_down(machine)
    say("the machine is off; " + ("its changes are kept" if overlay else "its changes are gone (KEEP=1 keeps them)"))


def kept_overlay(cache: Cache, course: Course, ova: Path) -> Path:
    """Where the changes to this very OVA are kept: an overlay on any other bytes would be a broken disk."""
    with step("looking for the changes kept for this OVA"):
        digest = sha256_file(ova)
    return cache.root / "machines" / f"{course.name}-{course.version}-{digest[:16]}.qcow2"


def has_window(env: Mapping[str, str]) -> bool:
    """Whether QEMU can show the machine's screen here."""
    if not (env.get("DISPLAY") or env.get("WAYLAND_DISPLAY")):
        return False
    return "gtk" in capture([QEMU, "-display", "help"]).stdout.split()


def _serve(machine: Qemu, course: Course) -> None:
    url = f"http://localhost:{course.ports.jupyter}"
    accelerator = machine.spec.accelerator
    try:
        took = guest.wait_for_http(
            f"http://{LOCALHOST}:{course.ports.jupyter}/api", PATIENCE[accelerator], alive=machine.running
        )
    except CourseboxError as error:
        if not machine.running():
            raise CourseboxError(f"the machine has ended before JupyterLab answered: {machine.complaint()}") from None
        picture = CHECKOUT / "build" / "try.png"
        with suppress(CourseboxError, OSError):
            machine.screenshot(picture)
        raise CourseboxError(error.message, hint=f"the screen at that moment is in {picture}") from None
    say(f"  JupyterLab answered after {took:.0f} s")
    say("")
    say(f"  JupyterLab   {url}")
    say(f"  ssh          ssh -p {course.ports.ssh} {course.user.name}@localhost")
    say(f"  password     {course.user.password}")
    say("  shut down    `bye` in a terminal, `!bye` in a notebook, or Ctrl-C here")
    say("")
    machine.process.wait()


def _shut_down(machine: Qemu) -> None:
    """Ask the guest to shut down, wait, then end QEMU; a second Ctrl-C ends it at once."""
    sys.stderr.write("\n")
    try:
        with step(f"shutting the machine down (at most {POWER_DOWN:.0f} s; Ctrl-C cuts its power)"):
            machine.power_button()
            machine.wait_until_off(POWER_DOWN)
    except (CourseboxError, KeyboardInterrupt):
        warn("the machine did not shut itself down; its power is cut")


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
