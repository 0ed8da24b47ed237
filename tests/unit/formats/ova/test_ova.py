"""The OVA writer and reader: golden bytes, tar's opinion, and damage in every member."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from equipment.ova import extract_disk, extract_member, open_ova

from coursebox.core.digests import sha256_bytes, sha256_file
from coursebox.core.errors import CourseboxError
from coursebox.formats.ova import ova as module
from coursebox.formats.ova.ova import OvaInfo, vmdk_name, write_ova
from coursebox.formats.ova.vmdk import VmdkInfo, write_vmdk

OVF = b"<Envelope/>\n"
EPOCH = 1_700_000_000


def make_vmdk(folder: Path) -> tuple[Path, VmdkInfo]:
    """A VMDK of a small disk, 70 KiB."""
    (folder / "disk.raw").write_bytes(b"boot".ljust(1 << 20, b"\0"))
    return folder / "disk.vmdk", write_vmdk(folder / "disk.raw", folder / "disk.vmdk")


def make_ova(folder: Path, ovf: bytes = OVF) -> OvaInfo:
    vmdk, info = make_vmdk(folder)
    return write_ova(folder / "a.ova", ovf, vmdk, info, name="a", epoch=EPOCH)


def header(name: str, size: int) -> bytes:
    """A USTAR header for a plain file, written out field by field (POSIX.1-1988, section 10.1.1)."""
    numbers = ["0000644", "0000000", "0000000", f"{size:011o}", f"{EPOCH:011o}"]  # mode, owner, group, size, time
    fields = [
        name.encode().ljust(100, b"\0"),
        *(number.encode() + b"\0" for number in numbers),
        b" " * 8,  # the checksum counts as spaces in its own sum
        b"0".ljust(101, b"\0"),  # plain file, no link
        b"ustar".ljust(6, b"\0") + b"00",
        # No names of owner and group, no device, no folder.
    ]
    raw = b"".join(fields).ljust(512, b"\0")
    return raw.replace(b" " * 8, f"{sum(raw):06o}\0 ".encode(), 1)


def test_golden_bytes(tmp_path: Path) -> None:
    """The whole archive: descriptor, manifest, disk, two zero blocks, padding to 20 blocks."""
    info = make_ova(tmp_path)
    vmdk = (tmp_path / "disk.vmdk").read_bytes()
    manifest = f"SHA256(a.ovf)= {sha256_bytes(OVF)}\nSHA256(a-disk1.vmdk)= {sha256_bytes(vmdk)}\n".encode()
    expected = b""
    for name, data in (("a.ovf", OVF), ("a.mf", manifest), ("a-disk1.vmdk", vmdk)):
        expected += header(name, len(data)) + data + bytes(-len(data) % 512)
    expected += bytes(1024)
    expected += bytes(-len(expected) % 10240)
    assert info.path.read_bytes() == expected
    assert info == OvaInfo(tmp_path / "a.ova", len(expected), hashlib.sha256(expected).hexdigest())


def test_tar_reads_it(tmp_path: Path) -> None:
    """GNU tar lists the three members, plain and owned by nobody in particular."""
    make_ova(tmp_path)
    command = ["tar", "--list", "--verbose", "--numeric-owner", "--utc", "--file", str(tmp_path / "a.ova")]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[-1] for line in listing] == ["a.ovf", "a.mf", "a-disk1.vmdk"]
    assert all(line.startswith("-rw-r--r-- 0/0 ") and "2023-11-14 22:13" in line for line in listing)


def test_above_8_gib_the_header_is_gnu() -> None:
    """Twelve octal digits end at 8 GiB; VirtualBox reads GNU's notation, and never PAX."""
    small, large = module._header("a-disk1.vmdk", (8 << 30) - 1, EPOCH), module._header("a-disk1.vmdk", 8 << 30, EPOCH)
    assert small[124:136] == b"77777777777\0"
    assert small[257:265] == b"ustar\x0000"
    assert large[124:136] == bytes([0x80]) + (8 << 30).to_bytes(11, "big")
    assert large[257:265] == b"ustar  \0"
    assert len(small) == len(large) == 512


def test_the_longest_name(tmp_path: Path) -> None:
    """Name and version of a course have up to 63 characters each; a tar header has room for 100."""
    name = "n" * 63 + "-" + "v" * 63
    vmdk, disk = make_vmdk(tmp_path)
    write_ova(tmp_path / "a.ova", OVF, vmdk, disk, name=name, epoch=EPOCH)
    ova = open_ova(tmp_path / "a.ova")
    assert ova.disk.name == vmdk_name(name) == name[:80] + "-disk1.vmdk"
    assert ova.members[0].name == name[:80] + ".ovf"


def test_round_trip(tmp_path: Path) -> None:
    info = make_ova(tmp_path)
    seen: list[int] = []
    ova = open_ova(tmp_path / "a.ova", on_progress=seen.append)
    assert (ova.size, ova.sha256) == (info.size, info.sha256)
    assert sum(seen) == info.size
    assert ova.ovf == OVF
    assert [member.name for member in ova.members] == ["a.ovf", "a.mf", "a-disk1.vmdk"]
    assert ova.disk == ova.members[2]
    assert ova.disk.sha256 == sha256_file(tmp_path / "disk.vmdk")
    extract_member(ova, ova.disk, tmp_path / "again.vmdk")
    assert (tmp_path / "again.vmdk").read_bytes() == (tmp_path / "disk.vmdk").read_bytes()
    assert extract_disk(ova, tmp_path / "again.raw") == 1 << 20
    assert (tmp_path / "again.raw").read_bytes() == (tmp_path / "disk.raw").read_bytes()


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 9000])
def test_descriptor_of_any_length(tmp_path: Path, size: int) -> None:
    make_ova(tmp_path, b"x" * size)
    assert open_ova(tmp_path / "a.ova").ovf == b"x" * size


def test_the_same_twice(tmp_path: Path) -> None:
    """Owner, mode and times of the files that go in don't show."""
    first = make_ova(tmp_path)
    os.chmod(tmp_path / "disk.vmdk", 0o600)
    os.utime(tmp_path / "disk.vmdk", (0, 0))
    vmdk, disk = tmp_path / "disk.vmdk", make_vmdk(tmp_path)[1]
    second = write_ova(tmp_path / "b.ova", OVF, vmdk, disk, name="a", epoch=EPOCH)
    assert second.sha256 == first.sha256


def test_a_disk_that_changed(tmp_path: Path) -> None:
    """A VMDK that is no longer the one that was written must not become an OVA."""
    vmdk, disk = make_vmdk(tmp_path)
    data = bytearray(vmdk.read_bytes())
    data[-2000] ^= 1
    vmdk.write_bytes(data)
    with pytest.raises(CourseboxError) as caught:
        write_ova(tmp_path / "a.ova", OVF, vmdk, disk, name="a", epoch=EPOCH)
    assert caught.value.message == f"{vmdk} has changed since it was written"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["disk.raw", "disk.vmdk"]


def refused(path: Path) -> str:
    with pytest.raises(CourseboxError) as caught:
        open_ova(path)
    assert caught.value.hint
    return caught.value.message.removeprefix(f"{path} ")


def test_a_flipped_byte_in_each_member(tmp_path: Path) -> None:
    info = make_ova(tmp_path)
    whole = info.path.read_bytes()
    members = {member.name: member for member in open_ova(info.path).members}
    for name, sentence in {
        "a.ovf": "is damaged: a.ovf does not have the digest that the manifest names",
        "a-disk1.vmdk": "is damaged: a-disk1.vmdk does not have the digest that the manifest names",
        "a.mf": "is damaged: its manifest has a line that is none",
    }.items():
        for place in (members[name].start, members[name].start + members[name].size - 1):
            data = bytearray(whole)
            data[place] ^= 1
            info.path.write_bytes(data)
            assert refused(info.path) == sentence
    data = bytearray(whole)
    data[members["a.mf"].start + 20] = ord("f") if data[members["a.mf"].start + 20] != ord("f") else ord("e")
    info.path.write_bytes(data)
    assert refused(info.path) == "is damaged: a.ovf does not have the digest that the manifest names"


def test_a_download_that_stopped(tmp_path: Path) -> None:
    """Cut anywhere, within a header or within a member."""
    info = make_ova(tmp_path)
    whole = info.path.read_bytes()
    disk = open_ova(info.path).disk
    for size in (0, 100, 512, 600, 2000, disk.start - 1, disk.start, disk.start + 100, disk.start + disk.size - 1):
        info.path.write_bytes(whole[:size])
        assert refused(info.path).startswith("is damaged: "), size


def test_what_is_no_ova(tmp_path: Path) -> None:
    path = tmp_path / "a.ova"
    assert refused(path) == "does not exist"
    path.write_bytes(b"<html>404</html>" * 100)
    assert refused(path).startswith("is damaged: it is no whole tar archive")


def rewrite(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            (path.parent / "part").write_bytes(data)
            tar.add(path.parent / "part", name)


def test_manifests_and_members(tmp_path: Path) -> None:
    """Archives that are whole, but not what an importer may rely on."""
    path = tmp_path / "a.ova"
    ovf, vmdk = ("a.ovf", b"o"), ("a-disk1.vmdk", b"d")
    line = f"SHA256(a.ovf)= {sha256_bytes(b'o')}\n".encode()
    both = line + f"SHA256(a-disk1.vmdk)= {sha256_bytes(b'd')}\n".encode()
    what = "not a descriptor, a manifest and a disk"
    for members, sentence in [
        ([ovf, ("a.mf", line), vmdk], "is damaged: its manifest does not name a-disk1.vmdk"),
        ([ovf, ("a.mf", b""), vmdk], "is damaged: its manifest does not name a.ovf"),
        ([ovf, ("a.mf", b"\xff\xff"), vmdk], "is damaged: its manifest has a line that is none"),
        ([ovf, vmdk], f"is damaged: it holds a.ovf, a-disk1.vmdk, {what}"),
        ([vmdk, ("a.mf", both), ovf], f"is damaged: it holds a-disk1.vmdk, a.mf, a.ovf, {what}"),
        ([("../a.ovf", b"o"), ("a.mf", both), vmdk], "is damaged: ../a.ovf is no plain file"),
        ([], f"is damaged: it holds nothing, {what}"),
    ]:
        rewrite(path, members)
        assert refused(path) == sentence
    rewrite(path, [ovf, ("a.mf", both), vmdk])
    assert open_ova(path).disk.size == 1


def test_the_name_in_the_descriptor_is_the_name_in_the_archive(tmp_path: Path) -> None:
    make_ova(tmp_path)
    assert open_ova(tmp_path / "a.ova").disk.name == vmdk_name("a")
