"""Layers: every path in its layer, with all that it had; the same bytes from any export; whiteouts hide no more."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_trees import (
    CAPABILITY,
    CAPABILITY_VALUE,
    CHANGES,
    DATA,
    EPOCH,
    LONG,
    SITE,
    SYSTEM,
    Item,
    above,
    course_layers,
    entry,
    folder,
    hard,
    link,
    system_layers,
    unpacked,
    write_tar,
)

from coursebox.core.errors import CourseboxError
from coursebox.formats.oci.compression import GZIP
from coursebox.formats.oci.layers import TIMELESS, Layer, Writing, split_tree


def digests(layers: list[Layer]) -> dict[str, str]:
    return {layer.name: layer.blob.digest for layer in layers}


def test_layers_from_the_bottom_to_the_top(tmp_path: Path) -> None:
    layers = system_layers(tmp_path) + course_layers(tmp_path)
    assert [layer.name for layer in layers] == ["system", "cuda", "torch", "python", "data", "course"]
    assert [layer.file for layer in layers][:2] == ["system.tar.gz", "cuda.tar.gz"]


def test_each_layer_holds_its_part_and_the_folders_above(tmp_path: Path) -> None:
    names = {layer.name: list(unpacked(tmp_path / layer.file)) for layer in system_layers(tmp_path)}
    site = ["opt", "opt/jupyter", "opt/jupyter/lib", "opt/jupyter/lib/python3.13", SITE]
    nvidia = [f"{SITE}/nvidia", f"{SITE}/nvidia/cu13", f"{SITE}/nvidia/cu13/lib"]
    assert names["cuda"] == [*site, *nvidia, f"{nvidia[-1]}/libcublas.so.13"]
    assert names["torch"] == [*site, f"{SITE}/torch", f"{SITE}/torch/__init__.py", "usr", "usr/bin", "usr/bin/torchrun"]
    numpy = [f"usr/lib/python3/dist-packages{rest}" for rest in ("", "/numpy", "/numpy/__init__.py")]
    assert names["python"] == [*site, f"{SITE}/six.py", "usr", "usr/lib", "usr/lib/python3", *numpy]
    rest = {name for name in names["system"] if not name.startswith("usr/share")}
    assert rest == set(
        "bin dev etc etc/hostname etc/hosts etc/resolv.conf etc/shadow home opt root tmp usr usr/bin usr/bin/old "
        "usr/bin/ping usr/bin/sudo usr/lib usr/lib/python3 var var/mail".split()
    )


def test_nothing_is_lost(tmp_path: Path) -> None:
    """Kind, mode, owner, link, attributes and contents of every entry, in the layer where it is."""
    found = {}
    for layer in system_layers(tmp_path):
        with tarfile.open(tmp_path / layer.file, "r:gz", errors="surrogateescape") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                found[member.name] = (member, file.read() if file else b"")
        assert layer.entries == len(unpacked(tmp_path / layer.file))
    gone = {".dockerenv", "dev/null", "tmp/left", "etc/hostname", "etc/resolv.conf", "usr/bin/torchrun"}
    for member, data in SYSTEM:
        if member.name not in gone:
            kept, contents = found[member.name]
            assert (kept.type, kept.mode, kept.uid, kept.gid, kept.linkname, contents) == (
                member.type, member.mode, member.uid, member.gid, member.linkname, data,
            )  # fmt: skip
    assert found["usr/bin/ping"][0].pax_headers[CAPABILITY] == CAPABILITY_VALUE
    assert found["etc/hostname"][1] == found["etc/resolv.conf"][1] == b""
    assert found["etc/hosts"][1].startswith(b"127.0.0.1\tlocalhost\n")


def test_pax_records_only_where_they_are_needed(tmp_path: Path) -> None:
    records = {}
    for layer in system_layers(tmp_path):
        records |= {name: set(member.pax_headers) for name, member in unpacked(tmp_path / layer.file).items()}
    needed = {name: keys for name, keys in records.items() if keys}
    assert needed == {
        LONG: {"path"},
        "usr/bin/ping": {"hdrcharset", CAPABILITY},
        "usr/share/Übung": {"path"},
        "usr/share/Übung/ñ.txt": {"path"},
        "usr/share/Übung/\udcff": {"hdrcharset", "path"},
        f"{SITE}/six.py": {"gid"},
    }


def test_a_hard_link_lies_beside_its_file(tmp_path: Path) -> None:
    """Its first name is in opt, so the layer with torch has both, and no link reaches into another layer."""
    layers = {layer.name: unpacked(tmp_path / layer.file) for layer in system_layers(tmp_path)}
    assert layers["torch"]["usr/bin/torchrun"].linkname == f"{SITE}/torch/__init__.py"
    assert "usr/bin/torchrun" not in layers["system"]


def test_folders_keep_their_modes_in_every_layer(tmp_path: Path) -> None:
    items = [item for item in SYSTEM if item[0].name not in ("opt", SITE)]
    layers = system_layers(tmp_path, [*items, folder("opt", 0o750, gid=7), folder(SITE, 0o711)])
    for layer in layers:
        found = unpacked(tmp_path / layer.file)
        assert (found["opt"].mode, found["opt"].gid) == (0o750, 7)
        assert layer.name == "system" or found[SITE].mode == 0o711


def test_below_the_course_nothing_carries_the_date_of_the_build(tmp_path: Path) -> None:
    """Another lock with the same packages leaves these layers as they are."""
    for layer in system_layers(tmp_path)[:1]:
        times = {name: member.mtime for name, member in unpacked(tmp_path / layer.file).items()}
        assert (times["usr/bin/sudo"], times["usr/bin/old"]) == (TIMELESS, EPOCH - 5)
    later = {"epoch": EPOCH + 500}
    assert digests(system_layers(tmp_path / "later", **later)) == digests(system_layers(tmp_path))
    before, after = digests(course_layers(tmp_path)), digests(course_layers(tmp_path / "later", **later))
    assert before["data"] == after["data"] and before["course"] != after["course"]
    assert unpacked(tmp_path / "course.tar.gz")["etc/passwd"].mtime == EPOCH


def test_digests_are_those_of_the_files(tmp_path: Path) -> None:
    for layer in system_layers(tmp_path):
        packed = (tmp_path / layer.file).read_bytes()
        tar = gzip.decompress(packed)
        assert (layer.blob.digest, layer.blob.size) == (hashlib.sha256(packed).hexdigest(), len(packed))
        assert (layer.blob.diff_id, layer.blob.unpacked) == (hashlib.sha256(tar).hexdigest(), len(tar))
        assert tar.endswith(bytes(1024)) and len(tar) % 512 == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), workers=st.sampled_from([1, 4]), late=st.integers(0, 10**6), owner=st.text("ab"))
def test_bytes_do_not_depend_on_the_export(
    tmp_path_factory: pytest.TempPathFactory, seed: int, workers: int, late: int, owner: str
) -> None:
    tmp_path = tmp_path_factory.mktemp("layers")
    other: list[Item] = []
    for member, data in SYSTEM:
        fields = {name: getattr(member, name) for name in ("mode", "uid", "gid", "linkname", "pax_headers")}
        mtime = member.mtime if member.mtime < EPOCH else EPOCH + late
        other.append(entry(member.name, data, member.type, mtime=mtime, uname=owner, **fields))
    random.Random(seed).shuffle(other)
    assert digests(system_layers(tmp_path, other, workers=workers)) == digests(system_layers(tmp_path, workers=1))


def test_an_edited_lab_changes_one_layer(tmp_path: Path) -> None:
    edited = [entry(member.name, b"lab, edited") if member.name.endswith("lab.ipynb") else (member, data)
              for member, data in CHANGES]  # fmt: skip
    before, after = digests(course_layers(tmp_path)), digests(course_layers(tmp_path / "edited", edited))
    assert [name for name in before if before[name] != after[name]] == ["course"]


def test_a_removed_path_is_a_whiteout(tmp_path: Path) -> None:
    course_layers(tmp_path, removed=["usr/bin/old", "opt/gone", "opt/gone/deeper", "tmp/left", "etc/hosts", "top"])
    found = unpacked(tmp_path / "course.tar.gz")
    marks = [name for name in found if "/.wh." in f"/{name}"]
    assert marks == [".wh.top", "opt/.wh.gone", "usr/bin/.wh.old"]
    assert all(found[name].isreg() and found[name].size == 0 for name in marks)
    assert not any(".wh." in name for name in unpacked(tmp_path / "data.tar.gz"))


def test_a_folder_made_anew_is_opaque_and_a_file_made_anew_is_just_there(tmp_path: Path) -> None:
    course_layers(tmp_path, removed=["home/student", "etc/passwd"])
    found = unpacked(tmp_path / "course.tar.gz")
    assert [name for name in found if ".wh." in name] == ["home/student/.wh..wh..opq"]
    assert {"home/student/lab.ipynb", "etc/passwd"} <= set(found)


@pytest.mark.parametrize("path", [f"{DATA}/old", DATA, "usr/share/coursebox", "usr/share"])
def test_a_whiteout_at_or_above_the_data_lies_under_them(tmp_path: Path, path: str) -> None:
    data, course = course_layers(tmp_path, removed=[path])
    assert sum(".wh." in name for name in unpacked(tmp_path / data.file)) == 1
    assert not any(".wh." in name for name in unpacked(tmp_path / course.file))


def test_without_data_there_is_no_layer_for_them(tmp_path: Path) -> None:
    assert [
        layer.name for layer in course_layers(tmp_path, [item for item in CHANGES if DATA not in item[0].name])
    ] == ["course"]


def test_files_that_the_engine_mounts_do_not_change_the_course(tmp_path: Path) -> None:
    mounted = [entry(f"etc/{name}", b"of the engine") for name in ("hostname", "hosts", "resolv.conf")]
    assert digests(course_layers(tmp_path / "with", [*CHANGES, *mounted])) == digests(course_layers(tmp_path))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([entry("pipe", kind=tarfile.FIFOTYPE)], "holds pipe, a device, a pipe or a socket"),
        ([folder("srv"), entry("srv/disk", kind=tarfile.BLKTYPE)], "holds srv/disk, a device"),
        ([entry("a", kind=tarfile.REGTYPE, pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": "0"})], "sparse"),
        ([entry(".wh.x", b"")], r"engines take names with \.wh\. in front for deleted files"),
        ([folder(".wh.x"), entry(".wh.x/file")], r"engines take names with \.wh\."),
        ([entry("srv/file", b"x")], "holds srv/file without its folder srv"),
        ([link("srv", "usr"), entry("srv/file", b"x")], "holds srv/file without its folder srv"),
        ([hard("a", "b")], "hard link a to b, which is not in it"),
    ],
)
def test_what_a_layer_cannot_hold_is_a_sentence(tmp_path: Path, items: list[Item], message: str) -> None:
    with pytest.raises(CourseboxError, match=message):
        system_layers(tmp_path, [folder("etc"), *items])
    assert list(tmp_path.glob("*.gz")) == []


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 1024, 20_000, 51_200])
def test_a_broken_tar_is_a_sentence_and_leaves_nothing(tmp_path: Path, cut: int) -> None:
    tar = write_tar(tmp_path / "tree.tar", [*above("etc/x"), entry("etc/x", b"x" * 50_000)])
    whole = tar.read_bytes()
    tar.write_bytes(whole[:cut])
    with pytest.raises(CourseboxError, match=r"tree\.tar is no whole tar archive"):
        split_tree(tar, Writing(tmp_path, GZIP), epoch=EPOCH)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree.tar"]


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "tree.tar", [folder("etc"), entry("etc/x"), entry("etc/y")])
    whole = bytearray(tar.read_bytes())
    whole[512] ^= 1
    tar.write_bytes(whole)
    with pytest.raises(CourseboxError, match="damaged after 512 bytes"):
        split_tree(tar, Writing(tmp_path, GZIP), epoch=EPOCH)


def test_a_tar_that_is_cut_while_it_is_read_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = write_tar(tmp_path / "tree.tar", [folder("etc"), entry("x", bytes(50_000))])
    real = tarfile.TarFile.__iter__

    def truncating(self: tarfile.TarFile):
        yield from list(real(self))
        tar.write_bytes(tar.read_bytes()[:2000])

    monkeypatch.setattr(tarfile.TarFile, "__iter__", truncating)
    with pytest.raises(CourseboxError, match="it ends too early"):
        split_tree(tar, Writing(tmp_path, GZIP), epoch=EPOCH)
    assert not (tmp_path / "system.tar.gz").exists()


def test_progress_counts_the_contents(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "tree.tar", SYSTEM)
    seen: list[int] = []
    split_tree(tar, Writing(tmp_path, GZIP, on_progress=seen.append), epoch=EPOCH)
    gone = (b"0123456789ab\n", b"nameserver of the engine", b"left")
    contents = sum(len(data) for _, data in SYSTEM if data not in gone)
    assert sum(seen) == contents + len(b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n")


def test_a_record_reads_back(tmp_path: Path) -> None:
    for layer in system_layers(tmp_path):
        assert Layer.from_record(layer.record()) == layer


def test_gnu_tar_reads_it(tmp_path: Path) -> None:
    """Names, also those that are no UTF-8, in the order of the archive."""
    system_layers(tmp_path)
    listed = subprocess.run(["tar", "--list", "--quoting-style=literal", "--file", tmp_path / "system.tar.gz"],
                            capture_output=True, check=True)  # fmt: skip
    names = [name.rstrip(b"/").decode("utf-8", "surrogateescape") for name in listed.stdout.splitlines()]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress((tmp_path / "system.tar.gz").read_bytes()))) as tar:
        assert names == tar.getnames()
