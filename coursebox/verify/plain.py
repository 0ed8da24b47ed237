"""`make doctor` without the Python packages of the verbs: what the standard library alone can see.

python3 -m coursebox.verify.plain
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coursebox.architecture import PYTHONS
from coursebox.verify.builder import disk, memory, processors, system
from coursebox.verify.finding import Finding

SIGNS = {"ok": "✓", "note": "!", "blocks": "✗"}
UNSEEN = "settings, course, locks, packages, GPU, KVM, archives, ports, downloads in the cache"


@dataclass(frozen=True)
class Place:
    """The cache folder."""

    root: Path

    @property
    def stages(self) -> Path:
        return self.root / "stages"


def main() -> int:
    """Print one line for each finding; 1, since without the Python packages nothing can be built."""
    for finding in examine():
        print(f"{SIGNS[finding.state]}  {finding.topic:<14}{finding.text}")
        if finding.advice:
            print(f"{'':17}→ {finding.advice}")
    print(f"\nThe Python packages of the verbs are missing; not looked at: {UNSEEN}.")
    return 1


def examine() -> list[Finding]:
    """All that can be seen without them."""
    meminfo = Path("/proc/meminfo")
    return [
        Finding("Python tools", "blocks", "not prepared", "the message above says why, and what to do"),
        _safely("system", system),
        _safely("Python", python),
        _safely("processors", processors),
        _safely("memory", lambda: memory(meminfo.read_text(encoding="ascii"))),
        _safely("disk", lambda: disk(Place(cache_folder()))),
        program("Docker", "docker", "`make ova` installs docker.io when needed"),
        program("apt", "apt-get", "build on Debian 12 or 13, or install by hand what README.md names"),
    ]


def python(version: tuple[int, ...] = sys.version_info[:2], library: str | None = None) -> Finding:
    """Whether the wheels of the verbs are locked for this Python; library: which C library it runs on."""
    name = ".".join(map(str, version))
    library = platform.libc_ver()[0] if library is None else library
    known = " and ".join(PYTHONS)
    if name not in PYTHONS:
        return Finding("Python", "blocks", f"{name}, and the packages are locked for {known}",
                       f"use Debian 12 or 13, or set PYTHON to a Python {' or '.join(PYTHONS)}")  # fmt: skip
    if library != "glibc":
        return Finding("Python", "blocks", f"{name} without the GNU C library", "use Debian 12 or 13")
    return Finding("Python", "ok", name)


def program(topic: str, name: str, advice: str) -> Finding:
    """Whether a program is on the path."""
    place = shutil.which(name)
    return Finding(topic, "ok", place) if place else Finding(topic, "note", f"{name} is not there", advice)


def cache_folder() -> Path:
    """As coursebox.core.paths has it, whose settings need packages."""
    folder = os.environ.get("COURSEBOX_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "coursebox"
    )
    return Path(folder).expanduser().resolve()


def _safely(topic: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # another system may lack whatever is asked for
        return Finding(topic, "note", f"could not be looked at ({type(error).__name__}: {error})")


if __name__ == "__main__":
    sys.exit(main())
