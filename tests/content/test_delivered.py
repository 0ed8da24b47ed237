"""The OVA holds the sealed tree, the whole tree and nothing else; so what is true of the tree is true of the file."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from equipment.ova import extract_disk, open_ova

from coursebox.core.digests import sha256_file

pytestmark = pytest.mark.parametrize("place", ["vm"], indirect=True)

ROOT_OFFSET = 66 << 20  # BIOS boot and EFI system partitions before it
LOST_AND_FOUND = "lost+found"  # mke2fs makes it


@pytest.fixture(scope="module")
def disk(place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw: Path = tmp_path_factory.mktemp("disk") / "disk.raw"
    extract_disk(open_ova(place.file), raw)
    return raw


def in_tools(image: str, disk: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--volume", f"{disk.parent}:/disk", image, *command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_digest_stands_in_sha256sums(place):
    sums = dict(reversed(line.split("  ")) for line in (place.file.parent / "SHA256SUMS").read_text().splitlines())
    assert sums[place.file.name] == sha256_file(place.file) == place.report["file"]["sha256"]
    for name, digest in sums.items():
        if name.endswith((".packages.txt", ".python.txt", ".licences.txt")):
            assert sha256_file(place.file.parent / name) == digest


def test_file_system_is_clean(disk: Path, tools_image: str):
    done = in_tools(tools_image, disk, "e2fsck", "-fn", f"/disk/disk.raw?offset={ROOT_OFFSET}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_partition_table_is_whole(disk: Path, tools_image: str):
    done = in_tools(tools_image, disk, "sfdisk", "--verify", "/disk/disk.raw")
    assert done.returncode == 0 and "No errors detected" in done.stdout, done.stdout + done.stderr


def test_file_system_holds_the_sealed_tree(place, disk: Path, tools_image: str):
    done = in_tools(
        tools_image, disk, "sh", "-c",
        f"mkdir /disk/tree && debugfs -R 'rdump / /disk/tree' '/disk/disk.raw?offset={ROOT_OFFSET}' && cd /disk/tree"
        " && tar --create --format=pax --sort=name --numeric-owner --file=/disk/dumped.tar . && rm -r /disk/tree",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    dumped = described(disk.parent / "dumped.tar")
    dumped.pop(LOST_AND_FOUND)
    assert dumped == described(place.result("course-vm", "tree.tar"))


def test_file_system_holds_special_bits_and_capabilities(members, disk: Path, tools_image: str):
    """rdump loses setuid, setgid and sticky bits and extended attributes; debugfs shows them inode by inode."""
    special = {name: member for name, member in members.items()
               if not member.islnk() and (member.mode & 0o7000 or has_capability(member))}  # fmt: skip
    assert len(special) > 10
    (disk.parent / "requests").write_text("".join(f'stat "/{name}"\nea_list "/{name}"\n' for name in special))
    done = in_tools(tools_image, disk, "debugfs", "-f", "/disk/requests", f"/disk/disk.raw?offset={ROOT_OFFSET}")
    assert done.returncode == 0, done.stderr
    shown = done.stdout.split('debugfs: stat "/')[1:]
    assert len(shown) == len(special)
    for answer in shown:
        name, text = answer.split('"\n', 1)
        mode = re.search(r"Mode: +(\d+)", text)
        assert mode is not None and int(mode[1], 8) & 0o7777 == members[name].mode & 0o7777, name
        assert ("security.capability" in text) == has_capability(members[name]), name


def has_capability(member: tarfile.TarInfo) -> bool:
    return "SCHILY.xattr.security.capability" in member.pax_headers


def described(tar: Path) -> dict[str, tuple[object, ...]]:
    """Path → kind, permissions, owner and content of each entry; hard links as the files that they are."""
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(tar, "r:") as source:
        for member in source:
            name = member.name.removeprefix("./")
            if name == ".":
                continue
            content: object = member.linkname if member.issym() else None
            if member.isreg() or member.islnk():
                file = source.extractfile(member)
                assert file is not None
                content = hashlib.sha256(file.read()).hexdigest()
            kind = "file" if member.islnk() or member.isreg() else member.type
            mode = 0o777 if member.issym() else member.mode & 0o777
            found[name] = (kind, mode, member.uid, member.gid, content)
    return found
