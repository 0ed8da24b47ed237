"""The disk stage: partitions, boot loaders and root file system in one sparse raw image."""

from __future__ import annotations

from pathlib import Path

from coursebox.core.context import Context
from coursebox.core.stages import Result
from coursebox.disk import grub
from coursebox.host import engine
from coursebox.host.engine import run_container
from coursebox.identity import identity
from coursebox.trees.bootstrap import tools_image

HERE = Path(__file__)
SCRIPT = HERE.with_name("make-disk.sh")
CODE = [HERE, HERE.with_name("grub.py"), Path(engine.__file__), SCRIPT]


def build_disk(context: Context, tree: Result) -> Result:
    """A raw disk from the sealed tree, as large as the course wants it; one sparse file, disk.raw."""
    architecture, bios = context.architecture, context.architecture.bios

    def name(part: str) -> str:
        return str(identity(context.course, part))

    settings = {
        "DISK_BYTES": str(context.course.machine.disk << 30),
        "ROOT_UUID": name("root"),
        "DISK_UUID": name("disk"),
        "BIOS_UUID": name("bios"),
        "ESP_UUID": name("esp"),
        "ROOT_PART_UUID": name("root-partition"),
        "ESP_VOLUME_ID": name("esp-volume")[:8],
        "HASH_SEED": name("hash-seed"),
        "SOURCE_DATE_EPOCH": str(context.epoch),
        "ROOT_TYPE": architecture.root_type,
        "EFI_FILE": architecture.efi_file,
        "EFI_PLATFORM": architecture.efi.platform,
        "EFI_MODULES": " ".join(architecture.efi.modules),
        "BIOS_PLATFORM": bios.platform if bios else "",
        "BIOS_MODULES": " ".join(bios.modules) if bios else "",
    }

    def make(work: Path) -> None:
        mounts = {work: "/out", tree.path("tree.tar"): "/tree.tar:ro", SCRIPT: "/make-disk.sh:ro"}
        run_container(tools_image(context), ["sh", "/make-disk.sh"], what="making the disk", log=context.log,
                      mounts=mounts, env=settings, as_me=True)  # fmt: skip
        if bios:
            boot, core = work / "boot.img", work / "core.img"
            grub.install(work / "disk.raw", boot.read_bytes(), core.read_bytes())
            boot.unlink()
            core.unlink()

    inputs = {"tree": tree.files["tree.tar"], "tools": context.tools.files["tree.tar"], "settings": settings}
    return context.stages.run("disk", inputs, make, code=CODE)
