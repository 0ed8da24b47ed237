"""What NVIDIA's own tools tell about the driver and the GPU. Nothing is set, only read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

QUERY = ("driver_version", "pstate", "power.draw", "power.limit", "temperature.gpu", "memory.used")
MODULE = Path("/proc/driver/nvidia/version")


def query(gpu: str) -> dict[str, str]:
    """The values of QUERY for one GPU (index or UUID), without units; empty where nvidia-smi is missing or fails.

    Values that a GPU does not have ("[N/A]", "[Not Supported]") are left out.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, f"--id={gpu}", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = done.stdout.strip().split(", ")
    if len(values) != len(QUERY):
        return {}
    return {name: value for name, value in zip(QUERY, values, strict=True) if not value.startswith("[")}


def driver_version() -> str:
    """Such as 580.65.06; empty when nothing tells."""
    return query("0").get("driver_version") or module_version(MODULE)


def module_version(file: Path) -> str:
    """The version out of the file in which NVIDIA's kernel module describes itself; empty without it."""
    try:
        words = file.read_text(encoding="utf-8").splitlines()[0].split()
    except (OSError, IndexError):
        return ""
    # NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build …
    return next((word for word in words if word[0].isdigit() and "." in word), "")
