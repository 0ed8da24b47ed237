"""GRUB's BIOS boot code, put into a disk by offset: what grub-bios-setup does, without a block device or root."""

from __future__ import annotations

import struct
from pathlib import Path

from coursebox.core.errors import CourseboxError

SECTOR = 512
CORE_START = 2048  # first sector of the BIOS boot partition
CORE_SECTORS = 2048

# Offsets in boot.img and in the first sector of core.img (GRUB 2.12: include/grub/i386/pc/boot.h,
# grub-core/boot/i386/pc/diskboot.S).
DRIVE_CHECK = 0x66  # a jump that is taken for floppies; two NOPs make the BIOS's drive number trusted
KERNEL_SECTOR = 0x5C  # where boot.img looks for core.img, 64 bits
PARTITION_TABLE = 0x1B8  # disk signature and protective MBR: the partitioning tool's
BLOCK_LIST = SECTOR - 12  # start (64 bits), length (16 bits), segment (16 bits) of the rest of core.img
CORE_SEGMENT = 0x820


def install(disk: Path, boot: bytes, core: bytes) -> None:
    """Write boot.img into the disk's first sector and core.img into the BIOS boot partition.

    Raises CourseboxError when the core image does not fit the partition or the images are not GRUB's.
    """
    if len(boot) != SECTOR or boot[-2:] != b"\x55\xaa":
        raise CourseboxError(
            "boot.img of the tools tree is not a boot sector.", hint="Run `make lock` for a complete set of tools."
        )
    sectors = -(-len(core) // SECTOR)
    if sectors > CORE_SECTORS:
        raise CourseboxError(f"GRUB's core image has {sectors} sectors; its partition holds {CORE_SECTORS}.")
    with disk.open("r+b") as file:
        first = bytearray(file.read(SECTOR))
        first[:PARTITION_TABLE] = boot[:PARTITION_TABLE]
        first[DRIVE_CHECK : DRIVE_CHECK + 2] = b"\x90\x90"
        struct.pack_into("<Q", first, KERNEL_SECTOR, CORE_START)
        file.seek(0)
        file.write(first)
        image = bytearray(core)
        struct.pack_into("<QHH", image, BLOCK_LIST, CORE_START + 1, sectors - 1, CORE_SEGMENT)
        file.seek(CORE_START * SECTOR)
        file.write(image)
