"""`make bench`: the figures of the product, measured here and now, as one table with the machine's description.

Nothing passes or fails here. Where there is a peer (qemu-img), both run in turn in the same minutes, and the
ratio counts.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from coursebox.appliance.measure import compare_with_qemu_img
from coursebox.console import console, step
from coursebox.course import Course
from coursebox.host.packages import ensure_packages
from coursebox.machine.docker import remove_images
from coursebox.machine.measure import measure_start
from coursebox.paths import CHECKOUT, Cache
from coursebox.report import replace_text
from coursebox.repro import mirrors


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, the most it may be, and what it was."""

    name: str
    target: str
    measured: str


def run(course: Course) -> None:
    """Measure everything, print the table, and keep it in build/bench.json."""
    ensure_packages("bench")
    room = Cache.from_environment().root / "bench"
    shutil.rmtree(room, ignore_errors=True)
    try:
        figures = [*measure_builds(course, room), *measure_vmdk(room), *measure_machine(course, room)]
    finally:
        shutil.rmtree(room, ignore_errors=True)
    title = machine()
    table = Table("figure", "at most", "measured", title=title, title_justify="left")
    for figure in figures:
        table.add_row(figure.name, figure.target, figure.measured)
    console.print(table)
    (CHECKOUT / "build").mkdir(exist_ok=True)
    rows = [{"figure": figure.name, "target": figure.target, "measured": figure.measured} for figure in figures]
    replace_text(CHECKOUT / "build" / "bench.json", json.dumps({"machine": title, "figures": rows}, indent=1) + "\n")


def machine() -> str:
    """This machine in a line: processor, cores, memory, system, and whether anything else keeps it busy."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {system}, load {os.getloadavg()[0]:.1f}"


def measure_builds(course: Course, room: Path) -> Iterator[Figure]:
    """Cold, all stages again, one lab edited, nothing changed: in a copy of the checkout with a cache of its own."""
    checkout, own = room / "checkout", Cache(room / "cache")
    shutil.copytree(CHECKOUT, checkout, ignore=shutil.ignore_patterns("dist", "build", ".git", "__pycache__"))
    source = checkout / course.source.resolve().relative_to(CHECKOUT)
    lab = checkout / course.labs.folder.resolve().relative_to(CHECKOUT) / "README.md"
    log = room / "builds.log"

    def build() -> float:
        environment = {**os.environ, "COURSEBOX_CACHE": os.fspath(own.root), "MIRROR": mirrors()}
        command = [sys.executable, "-m", "coursebox.cli", "build-ova", "--course", os.fspath(source)]
        start = time.monotonic()
        with log.open("ab") as output:
            subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=output, stderr=output)
        return time.monotonic() - start

    remove_images(keep=())  # the engine must not hold what an earlier build loaded into it
    with step("build from an empty cache"):
        yield Figure("cold build from an empty cache", "10 min", duration(build()))
    shutil.rmtree(own.stages)
    remove_images(keep=())
    with step("build again, all stages, downloads in the cache"):
        yield Figure("all stages again, cache warm", "5 min", duration(build()))
    lab.write_text(lab.read_text(encoding="utf-8") + "\nA sentence more.\n", encoding="utf-8")
    with step("build after editing one lab"):
        yield Figure("again after editing one lab", "60 s", duration(build()))
    build()
    with step("build with nothing to do"):
        yield Figure("again with no change", "2 s", duration(build()))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    (ova,) = (checkout / "dist").glob("*.ova")
    yield Figure("OVA, with the data sets of the course", "850 MB", f"{ova.stat().st_size / 1e6:.0f} MB")
    yield Figure("memory of the builder (largest process outside of the containers)", "2 GB", f"{memory / 1e9:.2f} GB")


def measure_vmdk(room: Path) -> Iterator[Figure]:
    """The VMDK writer against qemu-img on the disk that was just built."""
    raw = max((room / "cache" / "stages" / "disk").glob("*/disk.raw"), key=os.path.getmtime)
    with step("write the VMDK, in turn with qemu-img"):
        result = compare_with_qemu_img(raw, folder=room)
    yield Figure("VMDK writer, time against qemu-img convert", "0.50", f"{result['time_ratio']:.2f}")
    yield Figure("VMDK writer, size against qemu-img convert", "1.02", f"{result['size_ratio']:.3f}")


def measure_machine(course: Course, room: Path) -> Iterator[Figure]:
    """From power-on to JupyterLab's answer, and the memory of the idle machine, in QEMU."""
    (ova,) = (room / "checkout" / "dist").glob("*.ova")
    with step("start the machine"):
        start = measure_start(course, ova, room)
    how = f"{start.accelerator.upper()}, {course.machine.processors} processors"
    yield Figure(f"start to an answering JupyterLab, {how}", "100 s", f"{start.seconds:.0f} s")
    yield Figure("memory used by the idle VM", "350 MB", f"{start.memory / 1e6:.0f} MB")


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{int(seconds) // 60} min {seconds % 60:.0f} s"
