"""The parts of the delivered files: each digest changes when exactly its own part does."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.stages import Result, Stages
from coursebox.course import load_course
from coursebox.formats.ova.ovf import make_ovf
from coursebox.formats.ova.vmdk import VmdkInfo
from coursebox.verify.contents import BEFORE_ROOT, BEHIND_ROOT, SHAPE, image_parts, machine_parts, part_of, tar_parts

MIB = 1 << 20
LABS, HOME = "usr/share/coursebox/labs", "home/dave/labs"


@dataclass(frozen=True)
class Entry:
    """One entry of a tree."""

    text: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    time: int = 1_000_000
    attributes: Mapping[str, str] | None = None


Tree = dict[str, Entry]
FOLDER = Entry(kind=tarfile.DIRTYPE, mode=0o755)
TREE: Tree = {
    "etc": FOLDER,
    "etc/passwd": Entry("root"),
    "usr/bin/ping": Entry("ping", mode=0o755, attributes={"SCHILY.xattr.security.capability": "raw"}),
    "usr/bin/python": Entry(kind=tarfile.SYMTYPE, link="python3", mode=0o777),
    "usr/share/coursebox": FOLDER,
    "usr/share/coursebox/data/mnist": Entry("digits"),
    LABS: FOLDER,
    f"{LABS}/welcome.md": Entry("hello"),
    f"{LABS}/checking/lab.py": Entry("checks"),
    f"{LABS}/07_optimisers": FOLDER,
    f"{LABS}/07_optimisers/check.py": Entry("check"),
    f"{LABS}/08_größe/check.py": Entry("check"),
    f"{HOME}/07_optimisers/exercise.py": Entry("exercise", uid=1000, gid=1000),
    "usr/lib/coursebox/selftest/course_selftest/suite.py": Entry("suite"),
    "usr/lib/coursebox/grading/course_grade/pool.py": Entry("pool"),
    "usr/lib/coursebox/container/start.py": Entry("start"),
    "usr/local/bin/start-notebook": Entry("start", mode=0o755),
}


def write_tar(file: Any, tree: Tree, mode: str = "w:") -> None:
    with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:  # type: ignore[call-overload]
        for name, entry in tree.items():
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.gid, member.mtime = entry.mode, entry.uid, entry.gid, entry.time
            member.type, member.linkname, member.pax_headers = entry.kind, entry.link, dict(entry.attributes or {})
            content = entry.text.encode()
            member.size = len(content) if entry.kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(content))


def parts(*trees: Tree) -> dict[str, str]:
    """The parts of archives with these trees."""
    with ExitStack() as stack:
        archives = []
        for tree in trees:
            file = io.BytesIO()
            write_tar(file, tree)
            file.seek(0)
            archives.append(stack.enter_context(tarfile.open(fileobj=file, mode="r:")))
        return tar_parts(archives)


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}


def with_entry(name: str, **changes: Any) -> Callable[[Tree], Tree]:
    return lambda tree: {**tree, name: replace(tree[name], **changes)}


def renamed(name: str, other: str) -> Callable[[Tree], Tree]:
    return lambda tree: {other if place == name else place: entry for place, entry in tree.items()}


def without(name: str) -> Callable[[Tree], Tree]:
    return lambda tree: {place: entry for place, entry in tree.items() if place != name}


LAB, CHECK = "lab:07_optimisers", f"{LABS}/07_optimisers/check.py"
EDITS: Mapping[str, tuple[Callable[[Tree], Tree], set[str]]] = {
    "content of a lab": (with_entry(CHECK, text="chock"), {LAB}),
    "length of a lab": (with_entry(CHECK, text="check more"), {LAB}),
    "time of a lab": (with_entry(CHECK, time=5), {LAB}),
    "mode of a lab": (with_entry(CHECK, mode=0o755), {LAB, SHAPE}),
    "owner of a lab": (with_entry(CHECK, uid=1), {LAB, SHAPE}),
    "group of a lab": (with_entry(CHECK, gid=1), {LAB, SHAPE}),
    "a lab's file is a link": (with_entry(CHECK, kind=tarfile.SYMTYPE, link="x"), {LAB, SHAPE}),
    "a new name in a lab": (renamed(CHECK, f"{LABS}/07_optimisers/chock.py"), {LAB, SHAPE}),
    "a file more in a lab": (lambda tree: {**tree, f"{LABS}/07_optimisers/new": Entry()}, {LAB, SHAPE}),
    "a file less in a lab": (without(CHECK), {LAB, SHAPE}),
    "folder of a lab": (with_entry(f"{LABS}/07_optimisers", mode=0o700), {LAB, SHAPE}),
    "content of a lab in the home": (with_entry(f"{HOME}/07_optimisers/exercise.py", text="x"), {LAB}),
    "a lab more": (lambda tree: {**tree, f"{LABS}/09_new/check.py": Entry()}, {"lab:09_new", SHAPE}),
    "another lab": (with_entry(f"{LABS}/08_größe/check.py", text="x"), {"lab:08_größe"}),
    "what labs share": (with_entry(f"{LABS}/checking/lab.py", text="x"), {"labs"}),
    "mode of what labs share": (with_entry(f"{LABS}/checking/lab.py", mode=0o600), {"labs", SHAPE}),
    "folder of the labs": (with_entry(LABS, mode=0o700), {"labs", SHAPE}),
    "folder above the labs": (with_entry("usr/share/coursebox", mode=0o700), {"system"}),
    "data": (with_entry("usr/share/coursebox/data/mnist", text="x"), {"system"}),
    "self-test": (with_entry("usr/lib/coursebox/selftest/course_selftest/suite.py", text="x"), {"selftest"}),
    "grader": (with_entry("usr/lib/coursebox/grading/course_grade/pool.py", text="x"), {"grading"}),
    "entry point": (with_entry("usr/lib/coursebox/container/start.py", text="x"), {"entry"}),
    "command of the entry point": (with_entry("usr/local/bin/start-notebook", mode=0o700), {"entry"}),
    "a file of the system": (with_entry("etc/passwd", text="toor"), {"system"}),
    "a mode of the system": (with_entry("etc/passwd", mode=0o600), {"system"}),
    "an owner of the system": (with_entry("etc/passwd", uid=7), {"system"}),
    "a link of the system": (with_entry("usr/bin/python", link="python2"), {"system"}),
    "an attribute": (with_entry("usr/bin/ping", attributes={"SCHILY.xattr.security.capability": "admin"}), {"system"}),
    "an attribute less": (with_entry("usr/bin/ping", attributes=None), {"system"}),
    "a kind": (with_entry("etc", kind=tarfile.FIFOTYPE), {"system"}),
    "a path of no rule": (lambda tree: {**tree, "srv/new": Entry()}, {"system"}),
    "a name that is not UTF-8": (lambda tree: {**tree, "srv/\udcff": Entry()}, {"system"}),
    "from the system into a lab": (renamed("etc/passwd", f"{LABS}/07_optimisers/passwd"), {"system", LAB, SHAPE}),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_its_parts_and_no_other(edit: str) -> None:
    change, expected = EDITS[edit]
    assert differences(parts(TREE), parts(change(TREE))) == expected


def test_the_parts_of_a_tree() -> None:
    expected = {"system", "labs", LAB, "lab:08_größe", "selftest", "grading", "entry", SHAPE}
    assert set(parts(TREE)) == expected
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in parts(TREE).values())


def test_neither_the_order_nor_the_number_of_archives_counts() -> None:
    assert parts(dict(reversed(TREE.items()))) == parts(TREE)
    names = list(TREE)
    assert parts({name: TREE[name] for name in names[::2]}, {name: TREE[name] for name in names[1::2]}) == parts(TREE)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("usr/share/coursebox/labs/01_tensors/sheet.md", "lab:01_tensors"),
        ("usr/share/coursebox/labs/01_tensors/", "lab:01_tensors"),
        ("home/eva/labs/20_factors/deep/x", "lab:20_factors"),
        ("home/eva/labs/01_tensors", "labs"),  # a file, and no lab
        ("home/eva/labs/1_tensors/x", "labs"),
        ("home/eva/labs/examples/01_x/y", "labs"),
        ("home/eva/labs/", "labs"),
        ("home/eva/other/labs/01_tensors/x", "system"),
        ("home/eva/.bashrc", "system"),
        ("root/labs/01_tensors/x", "system"),
        ("opt/usr/share/coursebox/labs/01_tensors/x", "system"),
        ("usr/share/coursebox/labs.txt", "system"),
        ("usr/lib/coursebox/selftest/a", "selftest"),
        ("usr/local/bin/course-selftest", "selftest"),
        ("usr/local/bin/course-selftest2", "system"),
        ("usr/lib/coursebox/grading/a", "grading"),
        ("usr/local/bin/course-grade", "grading"),
        ("usr/local/bin/course-grades", "system"),
        ("usr/lib/coursebox/container/ssh.py", "entry"),
        ("usr/local/bin/start", "entry"),
        ("usr/local/bin/start-notebook.d/10-x.sh", "system"),
        ("usr/local/bin/healthcheck", "entry"),
        ("usr/local/bin/gpu-check", "entry"),
        ("opt/jupyter/etc/jupyter/jupyter_server_config.py", "entry"),
        ("opt/jupyter/bin/python", "system"),
        ("usr/lib/coursebox/keyboards", "system"),
        ("", "system"),
    ],
)
def test_the_first_rule_that_fits_decides(path: str, part: str) -> None:
    assert part_of(path) == part


# ------------------------------------------------------------------------------------------------- the OVA

DISK = VmdkInfo(capacity=20 << 30, size=700_000_000, sha256="a" * 64, populated=2_000_000_000, grains=9, cid="1")
SIZE = BEFORE_ROOT + 4 * MIB + BEHIND_ROOT


class Machine:
    """The results of a finished build of a small OVA, as its stages leave them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stages = folder, Stages(Cache(folder / "cache"))
        self.number = 0
        self.course = load_course(CHECKOUT / "course.toml")

    def parts(
        self, tree: Tree | None = None, *, disk: VmdkInfo = DISK, flipped: int | None = None, size: int = MIB,
        memory: int = 2048, file: str = "course", digests: Mapping[str, str] | None = None,
    ) -> dict[str, str]:  # fmt: skip
        """flipped: place of a byte of the raw disk that is not zero. digests: of result files, by their names."""
        self.number += 1
        place = self.folder / str(self.number)
        place.mkdir()
        with (place / "tree.tar").open("wb") as made:
            write_tar(made, TREE if tree is None else tree)
        with (place / "disk.raw").open("wb") as raw:
            raw.truncate(size)
            if flipped is not None:
                raw.seek(flipped)
                raw.write(b"!")
        course = self.course.model_copy(update={"machine": self.course.machine.model_copy(update={"memory": memory})})
        members = {f"{file}.ovf": make_ovf(course, disk, f"{file}-disk1.vmdk"), f"{file}-disk1.vmdk": b"disk"}
        with tarfile.open(place / f"{file}.ova", "w", format=tarfile.USTAR_FORMAT) as ova:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                ova.addfile(member, io.BytesIO(content))

        def result(stage: str, name: str) -> Result:
            digest = (digests or {}).get(name, f"{self.number}")
            return Result(stage, "key", place, {name: digest}, {"sha256": digest}, 1.0, reused=True)

        results = (("course-vm", "tree.tar"), ("disk", "disk.raw"), ("ova", f"{file}.ova"))
        return machine_parts(self.stages, *(result(*words) for words in results))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_parts_of_an_ova_are_those_of_its_tree_and_two_more(machine: Machine) -> None:
    found = machine.parts()
    assert found == {**parts(TREE), "disk": found["disk"], "ovf": found["ovf"]}


def test_an_edited_lab_changes_the_disk_and_only_the_part_of_that_lab(machine: Machine) -> None:
    """Another disk has another size and digest, from which the OVF derives UUIDs; a boot notices none of them."""
    edited = replace(DISK, size=DISK.size + 1000, sha256="b" * 64, populated=DISK.populated + 65536, grains=10, cid="2")
    tree = EDITS["content of a lab"][0](TREE)
    before, after = machine.parts(size=SIZE), machine.parts(tree, disk=edited, size=SIZE, flipped=BEFORE_ROOT + MIB)
    assert differences(before, after) == {LAB}


def test_other_attributes_of_the_ovf_count(machine: Machine) -> None:
    before = machine.parts()
    assert differences(before, machine.parts(memory=4096)) == {"ovf"}
    assert differences(before, machine.parts(disk=replace(DISK, capacity=DISK.capacity * 2))) == {"ovf"}
    assert differences(before, machine.parts(file="other")) == {"ovf"}


def test_bytes_around_the_root_partition_count_and_those_in_it_do_not(machine: Machine) -> None:
    before = machine.parts(size=SIZE)
    for place in (0, 512, 2 * MIB, BEFORE_ROOT - 1, SIZE - BEHIND_ROOT, SIZE - 1):
        assert differences(before, machine.parts(size=SIZE, flipped=place)) == {"disk"}, place
    for place in (BEFORE_ROOT, BEFORE_ROOT + 2 * MIB + 7, SIZE - BEHIND_ROOT - 1):
        assert differences(before, machine.parts(size=SIZE, flipped=place)) == set(), place
    assert differences(before, machine.parts(size=SIZE + MIB)) == {"disk"}


def test_the_root_partition_is_where_the_disk_has_it() -> None:
    script = (CHECKOUT / "coursebox" / "disk" / "make-disk.sh").read_text(encoding="utf-8")
    found = re.search(r"^esp_mib=(\d+)$", script, re.MULTILINE)
    assert found is not None and "root_start=$((2 + esp_mib))" in script
    assert (2 + int(found[1])) * MIB == BEFORE_ROOT
    assert "root_size=$((DISK_BYTES / mib - root_start - 1))" in script and BEHIND_ROOT == MIB


def test_the_digests_of_a_build_are_made_once(machine: Machine) -> None:
    def again(**digests: str) -> dict[str, str]:
        """A build in the same place, with an empty tree and these digests of its files."""
        (machine.folder / "1").rename(machine.folder / f"{len(machine.stages.results)}-gone")
        machine.number = 0
        return machine.parts(tree={}, digests={name.replace("_", "."): digest for name, digest in digests.items()})

    machine.parts()
    assert again()["system"] == parts(TREE)["system"]
    for other in ({"tree_tar": "x"}, {"disk_raw": "x"}, {"course_ova": "x"}):
        assert "system" not in again(**other)
    assert [result.reused for result in machine.stages.results] == [False, True, False, False, False]


# ----------------------------------------------------------------------------------------------- the image

CONFIG = {
    "created": "2026-11-28T00:00:00Z",
    "config": {"User": "1000", "Env": ["A=b"], "Cmd": ["start-notebook"]},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:1", "sha256:2"]},
}


class Image:
    """The results of a finished build of a small image."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stages = folder, Stages(Cache(folder / "cache"))
        self.number = 0

    def parts(
        self, tree: Tree | None = None, *, config: Mapping[str, Any] = CONFIG, below: tuple[str, ...] = ("11", "22"),
        digests: Mapping[str, str] | None = None,
    ) -> dict[str, str]:  # fmt: skip
        """below: digests of the layers of the system. digests: of result files, by the names of their stages."""
        self.number += 1
        place = self.folder / str(self.number)
        place.mkdir()
        entries = list((TREE if tree is None else tree).items())
        for name, part in (("data", entries[:3]), ("course", entries[3:])):
            with (place / f"{name}.tar.gz").open("wb") as file:
                write_tar(file, dict(part), "w:gz")
        (place / "config.json").write_text(json.dumps(config))
        facts = {"layers": [{"name": "system", "blob": {"diff_id": digest, "sha256": "packed"}} for digest in below]}

        def result(stage: str, *names: str) -> Result:
            digest = (digests or {}).get(stage, f"{self.number}")
            return Result(stage, "key", place, dict.fromkeys(names, digest), facts, 1.0, reused=True)

        layers = result("system-cuda", "a.gz", "b.gz"), result("layers-course", "course.tar.gz", "data.tar.gz")
        return image_parts(self.stages, "cuda", layers, result("image", "config.json"))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


def test_the_parts_of_an_image_are_those_of_the_courses_layers_and_its_config(image: Image) -> None:
    found = image.parts()
    assert differences(found, parts(TREE)) == {"system", "config"}
    assert set(found) == {*parts(TREE), "config"}


@pytest.mark.parametrize("edit", ["content of a lab", "mode of what labs share", "entry point", "a mode of the system"])
def test_an_edit_in_the_layers_of_the_course(image: Image, edit: str) -> None:
    change, expected = EDITS[edit]
    assert differences(image.parts(), image.parts(change(TREE))) == expected


def test_the_layers_of_the_system_are_the_system(image: Image) -> None:
    assert differences(image.parts(), image.parts(below=("11", "23"))) == {"system"}
    assert differences(image.parts(), image.parts(below=("22", "11"))) == {"system"}
    without_system = {name: entry for name, entry in TREE.items() if part_of(name) != "system" and name != LABS}
    assert "system" in image.parts(without_system)


def test_what_an_engine_starts_counts_and_the_list_of_layers_does_not(image: Image) -> None:
    before = image.parts()
    other = {**CONFIG, "config": {**CONFIG["config"], "User": "0"}}  # type: ignore[dict-item]
    assert differences(before, image.parts(config=other)) == {"config"}
    layers = {**CONFIG, "rootfs": {"type": "layers", "diff_ids": ["sha256:1", "sha256:3"]}}
    assert differences(before, image.parts(config=layers)) == set()
    assert differences(before, image.parts(config=dict(reversed(CONFIG.items())))) == set()


def test_the_digests_of_an_image_are_made_once(image: Image) -> None:
    image.parts()
    for digests in ({}, {"system-cuda": "x"}, {"layers-course": "x"}, {"image": "x"}):
        (image.folder / "1").rename(image.folder / f"{len(image.stages.results)}-gone")
        image.number = 0
        image.parts(digests=digests)
    assert [result.reused for result in image.stages.results] == [False, True, False, False, False]
