"""The canonical tar: whatever order, owner names and times the export has, the same tree gives the same bytes."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursebox.core.digests import sha256_file
from coursebox.core.errors import CourseboxError
from coursebox.trees.seal import seal

EPOCH = 1_700_000_000
FILES = {"etc/hostname": b"course\n"}
LINKS = {"etc/resolv.conf": "../run/stub.conf"}


def entry(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, len(data)
    for key, value in fields.items():
        setattr(member, key, value)
    return member, data


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.DIRTYPE, mode=0o755)


def exported(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as tar:
        for member, data in entries:
            tar.addfile(member, io.BytesIO(data))
    return path


TREE = [
    folder("etc"),
    entry("etc/hostname", b"0123456789ab\n"),
    entry("etc/resolv.conf", b"nameserver of the engine"),
    folder("home"),
    entry("home/lab.py", b"print(1)", uid=1000, gid=1000),
    folder("usr"),
    entry("usr/ping", b"ping", mode=0o755, pax_headers={"SCHILY.xattr.security.capability": "\x01cap", "comment": "x"}),
    folder("tmp"),
    entry("tmp/left", b"left"),
    folder("run"),
    folder("run/lock"),
    entry(".dockerenv"),
    folder("coursebox"),
    folder("packer-files"),
    folder("packer-files-of-another-kind"),
    folder("root"),
    folder("root/.ansible"),
    folder("root/.ansible/tmp"),
    folder("var"),
]


def sealed(
    tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], name: str = "tree.tar"
) -> dict[str, tarfile.TarInfo]:
    seal(exported(tmp_path / "exported.tar", entries), tmp_path / name, epoch=EPOCH, files=FILES, links=LINKS)
    with tarfile.open(tmp_path / name) as tar:
        members = list(tar)
    assert len({member.name for member in members}) == len(members)
    return {member.name: member for member in members}


def test_the_engines_things_are_gone_and_the_machines_are_there(tmp_path: Path) -> None:
    found = sealed(tmp_path, TREE)
    system = "etc etc/hostname etc/resolv.conf packer-files-of-another-kind root run tmp usr usr/ping var"
    assert list(found) == [*system.split(), "home", "home/lab.py"]
    assert found["etc/resolv.conf"].linkname == "../run/stub.conf"
    with tarfile.open(tmp_path / "tree.tar") as tar:
        hostname = tar.extractfile("etc/hostname")
        assert hostname is not None and hostname.read() == b"course\n"


def test_capabilities_stay_and_other_records_do_not(tmp_path: Path) -> None:
    assert sealed(tmp_path, TREE)["usr/ping"].pax_headers == {"SCHILY.xattr.security.capability": "\x01cap"}


def test_times_are_clamped(tmp_path: Path) -> None:
    found = sealed(tmp_path, [entry("old", mtime=5), entry("new", mtime=EPOCH + 9), entry("part", mtime=7.9)])
    assert [found[name].mtime for name in ("old", "new", "part")] == [5, EPOCH, 7]


def test_a_hard_link_comes_after_its_file_whatever_the_export_said(tmp_path: Path) -> None:
    link = entry("a-first", kind=tarfile.LNKTYPE, linkname="z-last")
    found = sealed(tmp_path, [entry("z-last", b"data", mode=0o755), link])
    assert found["a-first"].isreg() and found["a-first"].size == 4
    assert found["z-last"].islnk() and found["z-last"].linkname == "a-first"


def test_the_file_of_a_hard_link_is_the_first_in_the_tars_order(tmp_path: Path) -> None:
    """Not the first of the alphabet: the course's files come last, and a folder's before those with a longer name."""
    links = [entry(name, kind=tarfile.LNKTYPE, linkname="usr/z") for name in ("home/a", "usr/share.d", "usr/share/b")]
    found = sealed(tmp_path, [folder("home"), folder("usr"), folder("usr/share"), entry("usr/z", b"data"), *links])
    assert [name for name, member in found.items() if member.isreg()] == ["etc/hostname", "usr/share/b"]
    assert {member.linkname for member in found.values() if member.islnk()} == {"usr/share/b"}


def test_a_hard_link_to_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CourseboxError, match=r"hard link a to b, which is not in it"):
        sealed(tmp_path, [entry("a", kind=tarfile.LNKTYPE, linkname="b")])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), shift=st.integers(0, 10**6), owner=st.text("abc", max_size=5))
def test_bytes_do_not_depend_on_the_export(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shift: int, owner: str
) -> None:
    tmp_path = tmp_path_factory.mktemp("seal")
    sealed(tmp_path, [(member, data) for member, data in TREE], "one.tar")
    other = [entry(m.name, d, m.type, mode=m.mode, uid=m.uid, gid=m.gid, uname=owner, mtime=EPOCH + shift,
                   pax_headers=dict(m.pax_headers)) for m, d in TREE]  # fmt: skip
    for member, _ in TREE:
        member.mtime = EPOCH + 1
    sealed(tmp_path, TREE, "one.tar")
    random.Random(seed).shuffle(other)
    sealed(tmp_path, other, "two.tar")
    assert sha256_file(tmp_path / "one.tar") == sha256_file(tmp_path / "two.tar")
