"""The architectures that a course can be built for. What differs between two of them stands here, and only here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from coursebox.core.errors import CourseboxError

Firmware = Literal["bios", "uefi"]


@dataclass(frozen=True)
class Grub:
    """A boot loader of a disk.

    platform: GRUB's name for it (`grub-mkimage --format`). modules: those that it needs beside the common ones.
    """

    platform: str
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Qemu:
    """How QEMU runs a machine of this architecture.

    program, package: the emulator and its Debian package. machine: `-machine`. network: the network card.
    firmwares: what the disk boots with, the first one unless another is asked for. uefi_code, uefi_variables: files of
    the UEFI firmware, code and empty variable store, and uefi_package, the Debian package that has them.
    """

    program: str
    package: str
    machine: str
    network: str
    firmwares: tuple[Firmware, ...]
    uefi_package: str
    uefi_code: str
    uefi_variables: str


@dataclass(frozen=True)
class VirtualBox:
    """How VirtualBox and VMware are told what machine this is.

    os_type: VirtualBox's name of the system. settings: version of `vbox:Machine`. firmware: of `vbox:Firmware`.
    vmware: VMware's name of the system, and its oldest hardware version that knows all that the machine has.
    """

    os_type: str
    settings: str
    firmware: str
    vmware: tuple[str, str]


@dataclass(frozen=True)
class Architecture:
    """One processor architecture, under the names that others have for it.

    name: Debian's, and ours. uname: the kernel's, and the one in Python's platform tags. oci: Go's, in images.
    manylinux: the oldest minor version of the C library 2.x for which there are Python wheels. efi: the boot loader for
    UEFI, with the file where a firmware looks for it on a disk without entries (UEFI Specification 2.10, 3.5.1.1).
    bios: the boot loader for a BIOS; None where there is no BIOS. root_type: the partition type of a root file system
    (https://uapi-group.org/specifications/specs/discoverable_partitions_specification/).
    """

    name: str
    uname: str
    oci: str
    manylinux: int
    efi: Grub
    efi_file: str
    bios: Grub | None
    root_type: str
    qemu: Qemu
    virtualbox: VirtualBox

    @classmethod
    def named(cls, name: str) -> Architecture:
        """The architecture with this name. CourseboxError lists the known ones."""
        if name in ARCHITECTURES:
            return ARCHITECTURES[name]
        known = ", ".join(ARCHITECTURES)
        raise CourseboxError(f"{name} is no architecture of a course", hint=f"known are: {known}")

    @classmethod
    def of_machine(cls, uname: str) -> Architecture | None:
        """The architecture of a machine by what its kernel says (`uname --machine`); None for one that is unknown."""
        return next((found for found in ARCHITECTURES.values() if found.uname == uname), None)


AMD64 = Architecture(
    name="amd64",
    uname="x86_64",
    oci="amd64",
    manylinux=5,
    efi=Grub("x86_64-efi", ("all_video", "efi_gop", "boot")),
    efi_file="BOOTX64.EFI",
    bios=Grub("i386-pc", ("biosdisk", "boot")),
    root_type="4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    qemu=Qemu(
        program="qemu-system-x86_64",
        package="qemu-system-x86",
        machine="pc",
        network="e1000",
        firmwares=("bios", "uefi"),
        uefi_package="ovmf",
        uefi_code="/usr/share/OVMF/OVMF_CODE_4M.fd",
        uefi_variables="/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    virtualbox=VirtualBox(
        os_type="Debian_64",
        # VirtualBox 5.1 and later; from 1.20 on, processors and clock stand elsewhere and are ignored here.
        settings="1.16-linux",
        firmware="BIOS",
        # ESXi 6.7 and Workstation 14: the first that know AHCI, UTC clocks and a current Debian.
        vmware=("debian10_64Guest", "vmx-14"),
    ),
)

ARCHITECTURES: Mapping[str, Architecture] = {found.name: found for found in (AMD64,)}
# Of Debian 12 and 13: the verbs' wheels are locked for these. tools/bootstrap has the same list.
PYTHONS = ("3.11", "3.13")
BUILDER = AMD64  # of the machine that the verbs run on, and of the tools that a build uses
