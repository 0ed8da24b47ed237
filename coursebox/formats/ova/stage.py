"""The appliance: a sealed tree → a raw disk → VMDK → OVA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import deflate

from coursebox.core.console import progress
from coursebox.core.context import Context
from coursebox.core.stages import Result, Stages
from coursebox.course import Course
from coursebox.disk.stage import build_disk
from coursebox.formats.ova.ova import vmdk_name, write_ova
from coursebox.formats.ova.ovf import make_ovf
from coursebox.formats.ova.vmdk import VmdkInfo, write_vmdk
from coursebox.formats.place import copied
from coursebox.host.engine import image_name
from coursebox.target import File, Format, Product
from coursebox.trees.machine import build_machine, machine_system

HERE = Path(__file__)
VMDK_CODE = [HERE.with_name(name) for name in ("stage.py", "vmdk.py")]
OVA_CODE = [HERE.with_name(name) for name in ("stage.py", "ovf.py", "ova.py")]


def make(context: Context) -> Product:
    """The OVA of a course, from the locked packages on."""
    tree = build_machine(context)
    appliance = build_ova(context, build_vmdk(context.stages, build_disk(context, tree)))
    (name,) = appliance.files
    return Product(copied(appliance, name), images=[image_name("tree", machine_system(context).files["tree.tar"])])


def build_vmdk(stages: Stages, disk: Result) -> Result:
    """The streamOptimized VMDK of disk.raw. Grains that an earlier VMDK holds already are copied from it."""

    def make(work: Path) -> Mapping[str, Any]:
        raw = disk.path("disk.raw")
        # Other code, or another libdeflate, may have compressed the same grain to other bytes.
        earlier = stages.latest("vmdk", {"deflate": deflate.__version__}, code=VMDK_CODE)
        memo = earlier / "disk.vmdk" if earlier else None
        with progress("compressing the disk", raw.stat().st_size) as advance:
            info = write_vmdk(raw, work / "disk.vmdk", memo=memo, on_progress=advance)
        return asdict(info)

    inputs = {"disk": disk.files["disk.raw"], "deflate": deflate.__version__}
    return stages.run("vmdk", inputs, make, code=VMDK_CODE)


def build_ova(context: Context, vmdk: Result) -> Result:
    """The appliance; one file, `<course>-<version>.ova`, whatever it is called in dist/."""
    info = VmdkInfo(**vmdk.facts)
    name = f"{context.course.name}-{context.course.version}"
    ovf = make_ovf(context.course, info, vmdk_name(name), context.architecture)

    def make(work: Path) -> Mapping[str, Any]:
        with progress("packing the appliance", info.size) as advance:
            made = write_ova(work / f"{name}.ova", ovf, vmdk.path("disk.vmdk"), info, name=name, epoch=context.epoch,
                             on_progress=advance)  # fmt: skip
        return {"size": made.size, "sha256": made.sha256}

    inputs = {"ovf": ovf.decode(), "vmdk": vmdk.files["disk.vmdk"], "name": name, "epoch": context.epoch}
    return context.stages.run("ova", inputs, make, code=OVA_CODE)


def next_steps(course: Course, file: File) -> str:
    """What an instructor does with the OVA."""
    return (
        f"`make try` boots it here and serves JupyterLab at http://localhost:{course.ports.jupyter};\n"
        "        `make test` proves it; hand out the OVA with SHA256SUMS and docs/student.md."
    )


FORMAT = Format(
    name="ova",
    what="virtual machine, an OVA",
    audience="a PC with VirtualBox or VMware",
    tree="vm",
    extension=".ova",
    make=make,
    next_steps=next_steps,
    beside="",
)
