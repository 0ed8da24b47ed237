"""The machine that builds: its system, processors, memory and disk, as findings of the doctor.

Nothing here needs more than Python's standard library: `plain.py` runs it where nothing else is installed.
"""

from __future__ import annotations

import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from coursebox.architecture import ARCHITECTURES, Architecture
from coursebox.verify.finding import Finding

# Free bytes that `make ova` from an empty cache takes at its peak, what it takes when the cache is warm, and what both
# products take from an empty cache, the Docker engine's share included.
DISK_COLD, DISK_WARM, DISK_IMAGE = 20e9, 9e9, 40e9
MEMORY = 2e9  # bytes that the builder may use
SYSTEMS = ("12", "13")


class Folders(Protocol):
    """The cache, as coursebox.core.paths has it."""

    @property
    def root(self) -> Path: ...
    @property
    def stages(self) -> Path: ...


def system(release: Path = Path("/etc/os-release"), machine: str | None = None, kernel: str | None = None) -> Finding:
    """The operating system and the processor's architecture (os-release(5)); kernel: what `uname` says."""
    machine, kernel = machine or platform.machine(), kernel or platform.system()
    if kernel != "Linux":
        advice = "build on a machine, or in a virtual machine, with Debian 12 or 13"
        return Finding("system", "blocks", f"{kernel}, {machine}", advice)
    values = {}
    with suppress(OSError):
        for line in release.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            values[key] = value.strip("\"'")
    name = f"{values.get('PRETTY_NAME', 'an unknown system')}, {machine}"
    if Architecture.of_machine(machine) is None:
        known = " or ".join(architecture.uname for architecture in ARCHITECTURES.values())
        return Finding("system", "blocks", name, f"build on a machine with one of these processors: {known}")
    if values.get("ID") != "debian" or values.get("VERSION_ID") not in SYSTEMS:
        return Finding("system", "note", name, f"untried here; Debian {' and '.join(SYSTEMS)} are tested")
    return Finding("system", "ok", name)


def processors() -> Finding:
    """Cores that this process may use."""
    count = len(os.sched_getaffinity(0))
    if count < 2:
        return Finding("processors", "note", "1 core", "a build takes about twice as long as with two")
    return Finding("processors", "ok", f"{count} cores")


def memory(meminfo: str) -> Finding:
    """Memory that is free or can be freed; `meminfo`: the text of /proc/meminfo (proc(5))."""
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in meminfo.splitlines() if line.endswith(" kB")}
    free, total = values["MemAvailable"], values["MemTotal"]
    text = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB available"
    if free < MEMORY:
        return Finding("memory", "blocks", text, f"the build needs {MEMORY / 1e9:.0f} GB: close other programs")
    return Finding("memory", "ok", text)


def disk(cache: Folders, free: int | None = None) -> Finding:
    """Space for the cache; one that holds a build already needs less."""
    place = cache.root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free if free is None else free
    warm = cache.stages.is_dir() and any(cache.stages.iterdir())
    needed = DISK_WARM if warm else DISK_COLD
    text = f"{free / 1e9:.1f} GB free at {place}"
    if free < needed:
        advice = f"a build needs {needed / 1e9:.0f} GB there: make room, or set COURSEBOX_CACHE to a larger disk"
        return Finding("disk", "blocks", text, advice)
    if free < DISK_IMAGE and not warm:
        advice = f"enough for `make ova`; `make docker` and `make test` need {DISK_IMAGE / 1e9:.0f} GB"
        return Finding("disk", "note", text, advice)
    return Finding("disk", "ok", text)
