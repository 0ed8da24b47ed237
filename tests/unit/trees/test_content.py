"""The data sets and the labs in a provisioned tree: modes, owners, order, and what stays as it was."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from coursebox.trees.content import Home, content, put_in
from coursebox.trees.seal import order, seal

EPOCH = 1_700_000_000
HOME = Home("home/dave", 1000, 1001)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "mnist" / "raw").mkdir(parents=True)
    (folder / "mnist" / "raw" / "images").write_bytes(b"digits")
    return folder


@pytest.fixture
def labs(tmp_path: Path) -> Path:
    folder = tmp_path / "labs"
    (folder / "01 Löwe" / "author").mkdir(parents=True)
    (folder / "01 Löwe" / "exercise.py").write_bytes(b"pass")
    (folder / "01 Löwe" / "exercise.py").chmod(0o600)
    (folder / "01 Löwe" / "author" / "lab.py").write_bytes(b"the solution")
    (folder / "run.sh").write_bytes(b"echo")
    (folder / "tool").write_bytes(b"#!/bin/sh")
    (folder / "tool").chmod(0o700)
    (folder / "02" / "empty").mkdir(parents=True)
    return folder


def provisioned(tmp_path: Path) -> tuple[Path, int]:
    """A sealed tree with a home and with something of the course in it already; and the bytes of its system."""
    exported, sealed = tmp_path / "exported.tar", tmp_path / "provisioned.tar"
    with tarfile.open(exported, "w:") as tar:
        for name, text in (("etc/a", b"etc"), ("home/dave/.bashrc", b"rc"), ("usr/share/coursebox/pins", b"pins"),
                           ("var/z", b"var")):  # fmt: skip
            for depth in range(1, name.count("/") + 1):
                folder = tarfile.TarInfo("/".join(name.split("/")[:depth]))
                folder.type, folder.mode = tarfile.DIRTYPE, 0o700
                tar.addfile(folder)
            file = tarfile.TarInfo(name)
            file.size = len(text)
            tar.addfile(file, io.BytesIO(text))
    return sealed, seal(exported, sealed, epoch=EPOCH, files={}, links={}).system_bytes


def read(tar: Path) -> dict[str, tuple[str, int, int, int, bytes]]:
    """Name → kind, mode, uid, gid and bytes, in the order of the tar."""
    with tarfile.open(tar, "r:") as opened:
        return {
            member.name: (
                "folder" if member.isdir() else "file", member.mode, member.uid, member.gid,
                (opened.extractfile(member) or io.BytesIO()).read() if member.isreg() else b"",
            )
            for member in opened
        }  # fmt: skip


def test_modes_owners_and_bytes(tmp_path: Path, data: Path, labs: Path) -> None:
    tree, system = provisioned(tmp_path)
    put_in(tree, tmp_path / "tree.tar", content(data, labs, epoch=EPOCH, home=HOME), start=system)
    found = read(tmp_path / "tree.tar")
    pristine, own = "usr/share/coursebox/labs", "home/dave/labs"
    assert found["usr/share/coursebox/data/mnist/raw/images"] == ("file", 0o444, 0, 0, b"digits")
    assert found["usr/share/coursebox/data/mnist/raw"][:4] == ("folder", 0o555, 0, 0)
    assert found[f"{pristine}/01 Löwe/exercise.py"] == ("file", 0o444, 0, 0, b"pass")
    assert found[f"{pristine}/run.sh"] == ("file", 0o555, 0, 0, b"echo")
    assert found[f"{own}/01 Löwe/exercise.py"] == ("file", 0o644, 1000, 1001, b"pass")
    assert found[f"{own}/tool"] == ("file", 0o755, 1000, 1001, b"#!/bin/sh")
    assert found[f"{own}/02/empty"][:4] == found[f"{own}/02"][:4] == ("folder", 0o755, 1000, 1001)
    assert found[own][:4] == ("folder", 0o755, 1000, 1001)
    assert not [name for name in found if "author" in name]
    with tarfile.open(tmp_path / "tree.tar") as tar:
        assert {member.mtime for member in tar if "labs" in member.name} == {EPOCH}


def test_what_was_there_stays_and_the_order_is_that_of_a_sealed_tree(tmp_path: Path, data: Path, labs: Path) -> None:
    tree, system = provisioned(tmp_path)
    before = read(tree)
    put_in(tree, tmp_path / "tree.tar", content(data, labs, epoch=EPOCH, home=HOME), start=system)
    after = read(tmp_path / "tree.tar")
    assert before.items() <= after.items()
    assert [*after] == sorted(after, key=order)
    assert after["usr/share/coursebox"][1] == 0o700  # made by a role, so it is that one's


def test_it_makes_no_difference_how_much_is_copied_as_it_is(tmp_path: Path, data: Path, labs: Path) -> None:
    tree, system = provisioned(tmp_path)
    assert system > 0
    items = content(data, labs, epoch=EPOCH, home=HOME)
    put_in(tree, tmp_path / "quick.tar", items, start=system)
    put_in(tree, tmp_path / "slow.tar", items)
    assert read(tmp_path / "quick.tar") == read(tmp_path / "slow.tar")
    assert (tmp_path / "quick.tar").read_bytes() == (tmp_path / "slow.tar").read_bytes()


def test_without_a_home_nothing_is_put_there(tmp_path: Path, data: Path, labs: Path) -> None:
    tree, system = provisioned(tmp_path)
    put_in(tree, tmp_path / "tree.tar", content(data, labs, epoch=EPOCH), start=system)
    assert [name for name in read(tmp_path / "tree.tar") if name.startswith("home/")] == [
        "home/dave", "home/dave/.bashrc"
    ]  # fmt: skip
