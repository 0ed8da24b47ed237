"""`make doctor`: what this machine has, what it lacks, and what to do about each finding."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.course import Course, load_course
from coursebox.host.packages import PACKAGES, missing_packages
from coursebox.lock.lockfile import Locks, read_locks
from coursebox.prune import cache_limit, sizes
from coursebox.verify.builder import disk, memory, processors, system
from coursebox.verify.containers import docker, gpu
from coursebox.verify.finding import Finding
from coursebox.verify.machine.accel import kvm_verdict
from coursebox.verify.machine.qemu import Forward, check_ports
from coursebox.verify.network import chosen_settings, data_sets, debian_mirror, python_index

SIGNS = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "blocks": "[bold red]✗[/]"}


def run(course_file: Path) -> int:
    """Examine the machine, print the table to standard output; 0 when nothing blocks `make ova`, else 1."""
    findings = list(examine(course_file))
    # In a log there is no width to fit into; rich would assume 80 characters.
    show(findings, Console(highlight=False, width=None if sys.stdout.isatty() else 120))
    return int(any(finding.state == "blocks" for finding in findings))


def show(findings: list[Finding], console: Console) -> None:
    """Print the table and its sum."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for finding in findings:
        advice = f"\n→ {finding.advice}" if finding.advice else ""
        table.add_row(SIGNS[finding.state], finding.topic, _plain(finding.text + advice))
    console.print(table)
    blocking = sum(finding.state == "blocks" for finding in findings)
    if blocking:
        console.print(
            f"\n{blocking} of these findings {'block' if blocking > 1 else 'blocks'} `make ova`.", markup=False
        )
    else:
        console.print("\nNothing blocks `make ova`.", markup=False)


def examine(course_file: Path) -> Iterator[Finding]:
    """All findings in the order of the table; a check that fails is itself a finding."""
    try:
        cache = Cache.from_environment()
    except CourseboxError as error:
        yield Finding("settings", "blocks", error.message, error.hint or "")
        return
    yield chosen_settings()
    course, locks = None, None
    try:
        course = load_course(course_file)
        yield Finding("course", "ok", f"{course.name} {course.version}, from {course.source}")
    except CourseboxError as error:
        yield Finding("course", "blocks", str(error))
    if course is not None:
        try:
            locks = read_locks(course.locks.folder)
            yield Finding("locks", "ok", f"{course.locks.folder}, archive as of {locks.snapshot}")
        except CourseboxError as error:
            yield Finding("locks", "blocks", error.message, error.hint or "")
    yield system()
    yield processors()
    yield memory(Path("/proc/meminfo").read_text(encoding="ascii"))
    yield disk(cache)
    yield from packages()
    yield docker()
    yield gpu()
    yield kvm(cache, course)
    to_fetch = missing_downloads(cache, locks) if locks else 1
    yield _safely("Debian mirror", lambda: debian_mirror(locks.suite if locks else "stable", needed=to_fetch > 0))
    yield _safely("Python index", lambda: python_index(needed=to_fetch > 0))
    yield _safely("data mirrors", data_sets)
    if course is not None:
        yield ports(course)
    yield _safely("cache", lambda: cache_size(cache, to_fetch if locks else None))


def _safely(topic: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except CourseboxError as error:
        return Finding(topic, "blocks", error.message, error.hint or "")


def packages() -> Iterator[Finding]:
    """What apt would have to install, for the build and for the other verbs."""
    can_install = shutil.which("apt-get") is not None and (os.geteuid() == 0 or shutil.which("sudo") is not None)
    missing = missing_packages(PACKAGES["build"])
    names = " ".join(missing)
    if not missing:
        yield Finding("packages", "ok", "all that the build needs is installed")
    elif can_install:
        yield Finding("packages", "note", f"not installed: {names}", "`make ova` installs them")
    else:
        yield Finding("packages", "blocks", f"not installed: {names}", f"as root, run: apt-get install {names}")
    others = missing_packages(sorted({name for list_ in PACKAGES.values() for name in list_} - set(PACKAGES["build"])))
    if others:
        advice = "`make try` and `make test` install what they need" if can_install else "install them for these verbs"
        yield Finding("packages", "note", f"not installed, for trying and testing: {' '.join(others)}", advice)


def kvm(cache: Cache, course: Course | None) -> Finding:
    """Whether a kernel really runs under KVM; the build does without it."""
    ova = CHECKOUT / "dist" / f"{course.name}-{course.version}.ova" if course else None
    verdict = kvm_verdict(disk=ova if ova and ova.exists() else None, cache=cache)
    if verdict.works:
        return Finding("KVM", "ok", f"works: {verdict.why}")
    advice = "`make ova` does without; `make try` and `make test` use emulation, several times slower"
    return Finding("KVM", "note", f"does not work: {verdict.why}", advice)


def ports(course: Course) -> Finding:
    """Whether `make try` could make its forwards now."""
    forwards = (Forward(course.ports.jupyter, 8888, "JupyterLab"), Forward(course.ports.ssh, 22, "ssh"))
    try:
        check_ports(forwards)
    except CourseboxError as error:
        return Finding("ports", "note", error.message, f"for `make try`: {error.hint}" if error.hint else "")
    return Finding("ports", "ok", f"{course.ports.jupyter} and {course.ports.ssh} are free")


def missing_downloads(cache: Cache, locks: Locks) -> int:
    """How many of the locked packages are not in the cache; data sets are kept unpacked and not counted."""
    debs = [deb.sha256 for group in (locks.tools, *locks.debs.values()) for deb in group]
    wheels = [wheel.sha256 for group in locks.wheels.values() for wheel in group]
    return sum(not cache.object(sha256).exists() for sha256 in {*debs, *wheels})


def cache_size(cache: Cache, to_fetch: int | None) -> Finding:
    """What the cache holds, and how much it may hold."""
    limit = cache_limit()
    found = sizes(cache)
    parts = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in found.items() if size >= 5e7)
    bound = f"at most {limit / 1e9:.0f} GB" if limit else "without a limit"
    text = f"{cache.root}: {sum(found.values()) / 1e9:.1f} GB, {bound}" + (f" ({parts})" if parts else "")
    if to_fetch is None:
        return Finding("cache", "ok", text)
    state = f"; {to_fetch} locked packages are to be downloaded" if to_fetch else "; all locked packages are there"
    return Finding("cache", "ok", text + state)


def _plain(text: str) -> str:
    """Text that rich prints as it stands."""
    return text.replace("[", r"\[")
