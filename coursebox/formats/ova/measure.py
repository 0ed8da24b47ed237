"""How this project's VMDK writer does against qemu-img's, on the same disk in the same run. For `make bench`."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from coursebox.core.errors import CourseboxError
from coursebox.formats.ova.vmdk import write_vmdk


def compare_with_qemu_img(raw: Path, *, folder: Path | None = None, runs: int = 3) -> dict[str, float]:
    """Write `raw` as a stream-optimized VMDK with both programs, alternating, `runs` times each.

    folder: where the files are written, by default the system's temporary folder; they are deleted again.
    Returns medians of wall time in seconds, bytes, and ours divided by theirs: "ours_seconds", "theirs_seconds",
    "time_ratio", "ours_bytes", "theirs_bytes", "size_ratio"; also "memo_seconds", for a second build of the same disk.
    Raises CourseboxError when qemu-img is missing or fails.
    """
    tool = shutil.which("qemu-img")
    if tool is None:
        raise CourseboxError("qemu-img is not installed", hint="install the Debian package qemu-utils")
    with tempfile.TemporaryDirectory(dir=folder, prefix="vmdk-") as name:
        ours, theirs = Path(name, "ours.vmdk"), Path(name, "theirs.vmdk")

        def convert() -> None:
            options = ["-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
            done = subprocess.run(
                [tool, "convert", *options, str(raw), str(theirs)], stderr=subprocess.PIPE, check=False
            )
            if done.returncode:
                reason = done.stderr.decode(errors="replace").strip()
                raise CourseboxError(f"qemu-img could not convert {raw}: {reason}")

        seconds: dict[str, list[float]] = {"ours": [], "theirs": [], "memo": []}
        for _ in range(runs):
            seconds["ours"].append(_timed(lambda: write_vmdk(raw, ours)))
            seconds["theirs"].append(_timed(convert))
            seconds["memo"].append(_timed(lambda: write_vmdk(raw, ours, memo=ours)))
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        sizes = {"ours": ours.stat().st_size, "theirs": theirs.stat().st_size}
    return {
        "ours_seconds": medians["ours"],
        "theirs_seconds": medians["theirs"],
        "time_ratio": medians["ours"] / medians["theirs"],
        "ours_bytes": sizes["ours"],
        "theirs_bytes": sizes["theirs"],
        "size_ratio": sizes["ours"] / sizes["theirs"],
        "memo_seconds": medians["memo"],
    }


def _timed(action: Callable[[], object]) -> float:
    """Seconds of wall time."""
    start = time.monotonic()
    action()
    return time.monotonic() - start
