"""The command line of a start, the disk files it takes, and what is said when something is missing."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.verify.machine import qemu
from coursebox.verify.machine.qemu import Forward, Qemu, Spec, check_ports, command, disk_node, disk_size

GIB = 1 << 30


@pytest.fixture
def vmdk(tmp_path: Path) -> Path:
    """The first bytes of a streamOptimized VMDK of 20 GiB."""
    header = struct.pack("<4sIIQ", b"KDMV", 3, 0x30001, 20 * GIB // 512)
    path = tmp_path / "disk.vmdk"
    path.write_bytes(header.ljust(512, b"\0"))
    return path


@pytest.fixture
def ova(tmp_path: Path, vmdk: Path) -> Path:
    path = tmp_path / "course.ova"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        text = tarfile.TarInfo("course.ovf")
        text.size = 700
        archive.addfile(text, io.BytesIO(b"x" * 700))
        archive.add(vmdk, "course-disk1.vmdk")
    return path


def line(spec: Spec) -> list[str]:
    return command(spec, overlay=Path("/o.qcow2"), variables=Path("/v.fd"), serial=Path("/s,1.log"), control=Path("/q"))


def after(words: list[str], option: str) -> list[str]:
    """The values of an option that may be given several times."""
    return [words[place + 1] for place, word in enumerate(words) if word == option]


def block(words: list[str], node: str) -> dict[str, Any]:
    nodes = [json.loads(value) for value in after(words, "-blockdev")]
    return next(found for found in nodes if found["node-name"] == node)


def test_the_delivered_disk_is_below_the_overlay_and_only_read(vmdk: Path) -> None:
    disk = block(line(Spec(vmdk)), "disk")
    assert disk["driver"] == "qcow2"
    assert disk["file"] == {"driver": "file", "filename": "/o.qcow2"}
    assert disk["backing"]["driver"] == "vmdk"
    assert disk["backing"]["read-only"] is True
    assert disk["backing"]["file"] == {"driver": "file", "filename": str(vmdk), "read-only": True}


def test_the_disk_of_an_ova_is_read_in_place(ova: Path, vmdk: Path) -> None:
    node = disk_node(ova)
    assert node["driver"] == "vmdk"
    assert node["file"]["file"]["filename"] == str(ova)
    start, size = node["file"]["offset"], node["file"]["size"]
    assert ova.read_bytes()[start : start + size] == vmdk.read_bytes()
    assert disk_size(ova) == disk_size(vmdk) == 20 * GIB


def test_sizes_of_other_disk_files(tmp_path: Path) -> None:
    raw, qcow2 = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(bytes(1024))
    qcow2.write_bytes(struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 3 * GIB))
    assert (disk_node(raw)["driver"], disk_size(raw)) == ("raw", 1024)
    assert (disk_node(qcow2)["driver"], disk_size(qcow2)) == ("qcow2", 3 * GIB)


def test_forwards_are_bound_to_this_machine_only(vmdk: Path) -> None:
    spec = Spec(vmdk, forwards=(Forward(8888, 8888), Forward(2022, 22)))
    assert after(line(spec), "-netdev") == [
        "user,id=nat,ipv6=off,hostfwd=tcp:127.0.0.1:8888-:8888,hostfwd=tcp:127.0.0.1:2022-:22"
    ]


def test_a_neighbour_comes_through_a_card_of_its_own(vmdk: Path) -> None:
    words = line(Spec(vmdk, neighbour=(Forward(9000, 8888),)))
    nat, lan = after(words, "-netdev")
    assert nat == "user,id=nat,ipv6=off"
    assert lan.startswith("user,id=lan,")
    assert "host=192.168.77.2" in lan
    assert lan.endswith("hostfwd=tcp:127.0.0.1:9000-192.168.77.15:8888")
    assert [value for value in after(words, "-device") if value.startswith("e1000")] == [
        "e1000,netdev=nat,romfile=",
        "e1000,netdev=lan,romfile=",
    ]


def test_emulation_and_kvm(vmdk: Path) -> None:
    emulated, native = line(Spec(vmdk)), line(Spec(vmdk, accelerator="kvm"))
    assert (after(emulated, "-accel"), after(emulated, "-cpu")) == (["tcg,thread=single"], ["max"])
    assert (after(native, "-accel"), after(native, "-cpu")) == (["kvm"], ["host"])
    assert after(line(Spec(vmdk, cpu=qemu.WITHOUT_AVX)), "-cpu") == [qemu.WITHOUT_AVX]


def test_uefi_gets_its_firmware_and_a_private_store(vmdk: Path) -> None:
    words = line(Spec(vmdk, firmware="uefi"))
    assert after(words, "-machine") == ["pc,pflash0=code,pflash1=store"]
    assert block(words, "code")["read-only"] is True
    assert block(words, "store") == {"node-name": "store", "driver": "file", "filename": "/v.fd"}
    assert after(line(Spec(vmdk)), "-machine") == ["pc"]


def test_a_kernel_can_be_started_directly(vmdk: Path) -> None:
    words = line(Spec(vmdk, kernel=Path("/k"), initrd=Path("/i"), append="root=/dev/sda3 ro"))
    assert (after(words, "-kernel"), after(words, "-initrd")) == (["/k"], ["/i"])
    assert after(words, "-append") == ["root=/dev/sda3 ro"]
    assert "-no-reboot" in words
    assert not {"-kernel", "-no-reboot"} & set(line(Spec(vmdk)))


def test_memory_processors_and_serial_console(vmdk: Path) -> None:
    words = line(Spec(vmdk, memory=1234, processors=3))
    assert (after(words, "-m"), after(words, "-smp")) == (["1234"], ["3"])
    assert after(words, "-chardev") == ["file,id=serial,path=/s,,1.log"]


def test_a_port_in_use_is_named_with_a_remedy() -> None:
    with socket.socket() as taken, socket.socket() as other:
        for holder in (taken, other):
            holder.bind(("127.0.0.1", 0))
            holder.listen()
        first, second = taken.getsockname()[1], other.getsockname()[1]
        with pytest.raises(CourseboxError) as caught:
            check_ports((Forward(first, 8888, "JupyterLab"), Forward(second, 22)))
    assert caught.value.message == (
        f"port {first} (JupyterLab) of 127.0.0.1 is in use; port {second} of 127.0.0.1 is in use"
    )
    assert caught.value.hint is not None
    assert "[ports]" in caught.value.hint
    check_ports((Forward(first, 8888), Forward(second, 22)))  # free again


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.ova"
    with pytest.raises(CourseboxError, match=r"none\.ova: there is no such disk image") as caught, Qemu(Spec(missing)):
        pass
    assert caught.value.hint == "`make ova` builds it"


def test_an_ova_that_is_none(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ova"
    broken.write_bytes(b"no tar at all" * 100)
    with pytest.raises(CourseboxError, match=r"broken\.ova: not an OVA"):
        disk_node(broken)
    with tarfile.open(broken, "w"):
        pass
    with pytest.raises(CourseboxError, match=r"broken\.ova: holds no \.vmdk file"):
        disk_node(broken)


def test_a_missing_program_is_named_with_its_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CourseboxError, match="qemu-system-x86_64 is not installed") as caught:
        qemu.require(qemu.QEMU)
    assert caught.value.hint == "run: apt-get install qemu-system-x86 qemu-utils ovmf"


def stand_in(folder: Path, name: str, script: str) -> None:
    """A program found first in PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_what_qemu_complains_about_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vmdk: Path) -> None:
    stand_in(tmp_path, "qemu-system-x86_64", "echo 'qemu: no such accelerator' >&2; exit 1")
    stand_in(tmp_path, "qemu-img", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    scratch = tmp_path / "scratch"
    with (
        pytest.raises(CourseboxError, match="QEMU did not start: qemu: no such accelerator"),
        Qemu(Spec(vmdk), folder=scratch),
    ):
        pass
    assert list(scratch.iterdir()) == []  # nothing stays behind


def test_an_overlay_that_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vmdk: Path) -> None:
    stand_in(tmp_path, "qemu-img", "echo 'No space left on device' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(CourseboxError, match=r"o\.qcow2: cannot be made: No space left on device"):
        qemu.make_overlay(vmdk, tmp_path / "o.qcow2")
