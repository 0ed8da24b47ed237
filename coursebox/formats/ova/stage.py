"""The appliance stages: a raw disk → VMDK → OVA."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import deflate

from coursebox.core.console import progress
from coursebox.core.stages import Result, Stages
from coursebox.course import Course
from coursebox.formats.ova.ova import vmdk_name, write_ova
from coursebox.formats.ova.ovf import make_ovf
from coursebox.formats.ova.vmdk import VmdkInfo, write_vmdk

HERE = Path(__file__)
VMDK_CODE = [HERE.with_name(name) for name in ("vmdk.py", "vmdk_layout.py")]
OVA_CODE = [HERE.with_name(name) for name in ("ovf.py", "ova.py")]


def build_vmdk(stages: Stages, disk: Result) -> Result:
    """The streamOptimized VMDK of disk.raw. Grains that an earlier VMDK holds already are copied from it."""

    def make(work: Path) -> Mapping[str, Any]:
        raw = disk.path("disk.raw")
        with progress("compressing the disk", raw.stat().st_size) as bar:
            info = write_vmdk(raw, work / "disk.vmdk", memo=latest(stages, "vmdk", "disk.vmdk"),
                              on_progress=lambda count: bar.advance(0, count))  # type: ignore[arg-type]  # fmt: skip
        return asdict(info)

    return stages.run("vmdk", {"disk": disk.files["disk.raw"], "deflate": deflate.__version__}, make, code=VMDK_CODE)


def build_ova(stages: Stages, vmdk: Result, course: Course, *, name: str, epoch: int) -> Result:
    """The appliance; one file, `<name>.ova`."""
    info = VmdkInfo(**vmdk.facts)
    ovf = make_ovf(course, info, vmdk_name(name))

    def make(work: Path) -> Mapping[str, Any]:
        with progress("packing the appliance", info.size) as bar:
            made = write_ova(work / f"{name}.ova", ovf, vmdk.path("disk.vmdk"), info, name=name, epoch=epoch,
                             on_progress=lambda count: bar.advance(0, count))  # type: ignore[arg-type]  # fmt: skip
        return {"size": made.size, "sha256": made.sha256}

    inputs = {"ovf": ovf.decode(), "vmdk": vmdk.files["disk.vmdk"], "name": name, "epoch": epoch}
    return stages.run("ova", inputs, make, code=OVA_CODE)


def latest(stages: Stages, stage: str, name: str) -> Path | None:
    """The most recently used result file `name` of a stage, or None when there is none."""
    found = [path for path in (stages.cache.stages / stage).glob(f"*/{name}") if path.is_file()]
    return max(found, key=lambda path: os.stat(path.parent).st_mtime, default=None)
