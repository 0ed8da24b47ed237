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
from typing import Any

from rich.table import Table

from coursebox.build import build_all
from coursebox.core.console import console, step
from coursebox.core.files import write_text
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.course import Course
from coursebox.formats.ova.measure import compare_with_qemu_img
from coursebox.formats.table import chosen
from coursebox.host.engine import remove_images
from coursebox.host.packages import ensure_packages
from coursebox.verify.machine.measure import measure_container, measure_labs, measure_start
from coursebox.verify.room import own_room
from coursebox.verify.second import mirrors


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, the most it may be, and what it was."""

    name: str
    target: str
    measured: str


def run(course: Course) -> None:
    """Measure everything, print the table, and keep it in build/bench.json."""
    ensure_packages("bench")
    with own_room(Cache.from_environment(), "bench") as room:
        copy = Copy(course, room)
        figures = [*measure_ova(copy), *measure_vmdk(room), *measure_machine(course, room)]
        figures += [*measure_image(copy), *measure_container_start(course), *measure_practicals(course, room)]
        remove_images(copy.cache)
    title = machine()
    table = Table("figure", "at most", "measured", title=title, title_justify="left")
    for figure in figures:
        table.add_row(figure.name, figure.target, figure.measured)
    console.print(table)
    (CHECKOUT / "build").mkdir(exist_ok=True)
    rows = [{"figure": figure.name, "target": figure.target, "measured": figure.measured} for figure in figures]
    write_text(CHECKOUT / "build" / "bench.json", json.dumps({"machine": title, "figures": rows}, indent=1) + "\n")


def machine() -> str:
    """This machine in a line: processor, cores, memory, system, and whether anything else keeps it busy."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {system}, load {os.getloadavg()[0]:.1f}"


class Copy:
    """A copy of the checkout with a cache of its own, to build in."""

    def __init__(self, course: Course, room: Path) -> None:
        self.checkout, self.cache, self.log = room / "checkout", Cache(room / "cache"), room / "builds.log"
        shutil.copytree(CHECKOUT, self.checkout, ignore=shutil.ignore_patterns("dist", "build", ".git", "__pycache__"))
        self.source = self.checkout / course.source.resolve().relative_to(CHECKOUT)
        self.lab = self.checkout / course.labs.folder.resolve().relative_to(CHECKOUT) / "README.md"

    def build(self, verb: str) -> float:
        """Build once; the seconds it took."""
        environment = {**os.environ, "COURSEBOX_CACHE": os.fspath(self.cache.root), "COURSEBOX_CACHE_LIMIT": "0",
                       "MIRROR": mirrors()}  # fmt: skip
        command = [
            sys.executable,
            "-m",
            "coursebox",
            verb,
            *(["--no-load"] if verb == "docker" else []),
            "--course",
            os.fspath(self.source),
        ]
        start = time.monotonic()
        with self.log.open("ab") as output:
            subprocess.run(command, cwd=self.checkout, env=environment, check=True, stdout=output, stderr=output)
        return time.monotonic() - start

    def image(self) -> Any:
        """What the report says of the image that was built last."""
        (report,) = (self.checkout / "dist").glob("*-cuda.report.json")
        return json.loads(report.read_text(encoding="utf-8"))["file"]["image"]

    def edit_a_lab(self) -> None:
        self.lab.write_text(self.lab.read_text(encoding="utf-8") + "\nA sentence more.\n", encoding="utf-8")

    def forget_stages(self) -> None:
        """Only downloads stay, in the cache and in the engine."""
        shutil.rmtree(self.cache.stages)
        remove_images(self.cache)


def measure_ova(copy: Copy) -> Iterator[Figure]:
    """Cold, all stages again, one lab edited, nothing changed."""
    remove_images(Cache.from_environment())  # the engine must not hold what an earlier build loaded into it
    with step("build the OVA from an empty cache"):
        yield Figure("make ova from an empty cache", "10 min", duration(copy.build("ova")))
    copy.forget_stages()
    with step("build the OVA again, all stages, downloads in the cache"):
        yield Figure("make ova, all stages again, downloads in the cache", "5 min", duration(copy.build("ova")))
    copy.edit_a_lab()
    with step("build the OVA after editing one lab"):
        yield Figure("make ova after editing one lab", "60 s", duration(copy.build("ova")))
    copy.build("ova")
    with step("build the OVA with nothing to do"):
        yield Figure("make ova with no change", "2 s", duration(copy.build("ova")))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    (ova,) = (copy.checkout / "dist").glob("*.ova")
    yield Figure("OVA, with the data sets of the course", "850 MB", f"{ova.stat().st_size / 1e6:.0f} MB")
    yield Figure("memory of the builder (largest process outside of the containers)", "2 GB", f"{memory / 1e9:.2f} GB")


def measure_image(copy: Copy) -> Iterator[Figure]:
    """The image's builds, its size, what an edited lab changes, and how long a container takes to answer."""
    copy.build("fetch")
    copy.forget_stages()
    with step("build the image, all stages, downloads in the cache"):
        yield Figure("make docker, all stages again, downloads in the cache", "10 min",
                     duration(copy.build("docker")))  # fmt: skip
    before = copy.image()
    copy.edit_a_lab()
    with step("build the image after editing one lab"):
        yield Figure("make docker after editing one lab", "90 s", duration(copy.build("docker")))
    after = copy.image()
    known = {layer["digest"] for layer in before["layers"]}
    changed = sum(layer["size"] for layer in after["layers"] if layer["digest"] not in known)
    yield Figure("bytes of layers that change after editing one lab", "1 MB", f"{changed / 1e6:.2f} MB")
    yield Figure("image, compressed", "3.4 GB", f"{after['size'] / 1e9:.2f} GB")
    yield Figure("image, unpacked", "6.8 GB", f"{after['unpacked'] / 1e9:.2f} GB")


def measure_container_start(course: Course) -> Iterator[Figure]:
    """A container of the delivered image."""
    build_all(course, chosen(["image-cuda"]))
    with step("start containers"):
        first, best = measure_container(f"{course.name}:{course.version}")
    yield Figure(
        "container start to an answering JupyterLab, 2 cores", "4 s", f"{best:.1f} s (the first: {first:.1f} s)"
    )


def measure_practicals(course: Course, room: Path) -> Iterator[Figure]:
    """The labs with their solutions, and a class of a hundred, in a container of the delivered image."""
    targets = {
        "all function checks, one thread": "2 min",
        "slowest lab's check": "15 s",
        "slowest lab with its training": "60 s",
        "all labs with training, 2 processes": "5 min",
        "grading 100 submissions of lab 02": "5 min",
    }
    with step("check the labs and train them"):
        measured = measure_labs(f"{course.name}:{course.version}", room / "labs")
    for name, target in targets.items():
        yield Figure(f"labs: {name}", target, duration(measured[name]))


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
