"""The disk stage: partitions, boot loader and root file system in one sparse raw image."""

from __future__ import annotations

import uuid
from pathlib import Path

from coursebox.core.stages import Result, Stages
from coursebox.disk import grub
from coursebox.host.engine import run_container
from coursebox.trees.bootstrap import tools_image

HERE = Path(__file__)
SCRIPT = HERE.with_name("make-disk.sh")
CODE = [HERE, HERE.with_name("grub.py"), SCRIPT]
NAMESPACE = uuid.UUID("5c1b8f4e-6f0e-5d53-9d39-0d4d6d6b1f6a")  # of this project; the disk's names derive from it


def identity(course: str, version: str, part: str) -> uuid.UUID:
    """The fixed UUID of one part of a course's disk."""
    return uuid.uuid5(NAMESPACE, f"{course}/{version}/{part}")


def build_disk(
    stages: Stages, tree: Result, *, course: str, version: str, gib: int, epoch: int, tools: Result, log: Path
) -> Result:
    """A raw disk of `gib` GiB from the sealed tree; one sparse file, disk.raw."""

    def name(part: str) -> str:
        return str(identity(course, version, part))

    settings = {
        "DISK_BYTES": str(gib << 30),
        "ROOT_UUID": name("root"),
        "DISK_UUID": name("disk"),
        "BIOS_UUID": name("bios"),
        "ESP_UUID": name("esp"),
        "ROOT_PART_UUID": name("root-partition"),
        "ESP_VOLUME_ID": name("esp-volume")[:8],
        "HASH_SEED": name("hash-seed"),
        "SOURCE_DATE_EPOCH": str(epoch),
    }

    def make(work: Path) -> None:
        mounts = {work: "/out", tree.path("tree.tar"): "/tree.tar:ro", SCRIPT: "/make-disk.sh:ro"}
        run_container(tools_image(tools, log=log), ["sh", "/make-disk.sh"], what="making the disk", log=log,
                      mounts=mounts, env=settings, as_me=True)  # fmt: skip
        boot, core = work / "boot.img", work / "core.img"
        grub.install(work / "disk.raw", boot.read_bytes(), core.read_bytes())
        boot.unlink()
        core.unlink()

    inputs = {"tree": tree.files["tree.tar"], "tools": tools.files["tree.tar"], "settings": settings}
    return stages.run("disk", inputs, make, code=CODE)
