"""A format from outside: a package adds it, and the verbs, the report, `make repro` and the list of targets take it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coursebox import build as module
from coursebox.architecture import AMD64, ARCHITECTURES
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.stages import Stages
from coursebox.course import Course, load_course
from coursebox.delivery import report
from coursebox.delivery.listing import last_build
from coursebox.formats import table
from coursebox.target import Format, Target
from coursebox.verify import repro, second
from coursebox.verify.proofs import Proofs

# All of a format: a tar of the course's title, with a checksum in its name table.
OUTSIDE = """
import hashlib, tarfile
from coursebox.formats.place import copied
from coursebox.target import Format, Product

def make(context):
    def pack(work):
        text = context.course.title.encode()
        (work / "title").write_bytes(text)
        (work / "sha256").write_text(hashlib.sha256(text).hexdigest())
        with tarfile.open(work / "course.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for name in ("title", "sha256"):
                member = tar.gettarinfo(work / name, name)
                member.mtime = context.epoch
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                member.mode = 0o644
                with (work / name).open("rb") as file:
                    tar.addfile(member, file)
    return Product(copied(context.stages.run("outside", {"title": context.course.title}, pack), "course.tar"))

FORMAT = Format("tar", "a tar with a checksum", "whoever likes tars", tree="vm", extension=".tar", make=make)
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an installed package that adds the format."""
    folder = tmp_path / "site"
    info = folder / "outside-1.dist-info"
    info.mkdir(parents=True)
    (folder / "outside_format.py").write_text(OUTSIDE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[coursebox.formats]\ntar = outside_format:FORMAT\n")
    monkeypatch.syspath_prepend(folder)
    table.formats.cache_clear()
    yield folder
    table.formats.cache_clear()
    sys.modules.pop("outside_format", None)


@pytest.fixture
def course() -> Course:
    return load_course(CHECKOUT / "course.toml")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, course: Course) -> Cache:
    """Builds have a context without packages, so that nothing is fetched and no engine is asked."""
    cache = Cache(tmp_path / "cache")
    monkeypatch.setenv("COURSEBOX_CACHE", str(cache.root))

    @contextmanager
    def prepared(chosen: Course, tree: str, architecture: object) -> Iterator[tuple[Any, float]]:
        assert (tree, architecture) == ("vm", AMD64)
        fetched = SimpleNamespace(debs={"vm": ()}, wheels={"vm": ()}, data=None, substitutes=(), reproducible=True,
                                  tools={"packer": (None, tmp_path / "packer")})  # fmt: skip
        yield SimpleNamespace(course=chosen, stages=Stages(cache), epoch=5, fetched=fetched, tree=tree), 0.5

    monkeypatch.setattr(module, "prepared", prepared)
    monkeypatch.setattr(module, "tidy", lambda *_: None)
    return cache


def test_the_verb_builds_it_with_a_report_and_a_sum(
    outside: Path, context: Cache, course: Course, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (built,) = module.build_all(course, table.chosen(["tar"]), dist=tmp_path / "dist")
    name = f"{course.name}-{course.version}.tar"
    file = tmp_path / "dist" / name
    assert built.file.path == file and built.file.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    with tarfile.open(file) as tar:
        assert tar.getnames() == ["title", "sha256"]
    written = json.loads((tmp_path / "dist" / f"{name}.report.json").read_text())
    assert (written["target"], written["file"]["sha256"]) == ("tar", built.file.sha256)
    assert [stage["name"] for stage in written["stages"]] == ["outside"]
    sums = (tmp_path / "dist" / "SHA256SUMS").read_text().splitlines()
    assert f"{built.file.sha256}  {name}" in sums and len(sums) == 3
    assert name in capsys.readouterr().err
    assert last_build(built.target, course, tmp_path / "dist").startswith("0.0 MB, ")


def test_the_command_lists_it(outside: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(outside), str(CHECKOUT), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "coursebox", "targets"], env=environment, capture_output=True, text=True, check=True
    )
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {"ova", "image-cuda", "tar"} <= set(lines)
    assert "a tar with a checksum" in lines["tar"] and "whoever likes tars" in lines["tar"]


def test_repro_takes_it(
    outside: Path, context: Cache, course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """`make repro` builds it a second time by its name, and prints its line; the third time it is proved already."""
    monkeypatch.setenv("TARGETS", "tar")
    again: list[str] = []

    class Second(SimpleNamespace):
        own = context

        def __init__(self, where: object, place: Path, course: Course, target: str, *_: object) -> None:
            super().__init__(course=course, target=target)

        own = context

        def prepare(self, checkout: Path) -> None:
            pass

        def give_back(self) -> None:
            pass

        def build(self) -> dict[str, Any]:
            again.append(self.target)
            (built,) = module.build_all(self.course, table.chosen([self.target]), dist=tmp_path / "second", load=False)
            return report.report(built)

    monkeypatch.setattr(repro, "Second", Second)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(second, "check_surroundings", lambda root: None)
    for name in ("copy_checkout", "remove_images"):
        monkeypatch.setattr(repro, name, lambda *_: None)
    monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    assert repro.run(course) == 0
    assert repro.run(course) == 0
    assert again == ["tar"]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and len(set(printed)) == 1
    assert printed[0].startswith("identical ") and printed[0].endswith(f" {course.name}-{course.version}.tar")
    assert Proofs(context).cache == context


def test_an_unknown_target_is_a_sentence(outside: Path) -> None:
    with pytest.raises(CourseboxError) as caught:
        table.chosen(["ova", "floppy", "punched-cards"])
    assert caught.value.message == "there is no target floppy, punched-cards"
    assert caught.value.hint == "targets are: ova, image, image-cuda, tar"


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(CourseboxError) as caught:
        table.chosen(["image_cuda", "OVA", "floppy"])
    assert caught.value.hint == "did you mean image-cuda ova? Targets are: ova, image, image-cuda"


def test_a_target_named_twice_is_built_once() -> None:
    assert [target.name for target in table.chosen(["ova", "image-cuda", "ova"])] == ["ova", "image-cuda"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ZeroDivisionError('oh')", "cannot be loaded: oh"),
        ("FORMAT = 7", "it is no coursebox.target.Format"),
        ("from coursebox.formats.ova.stage import FORMAT", "its name is taken"),
    ],
)
def test_a_package_that_adds_nonsense_is_named(outside: Path, text: str, said: str) -> None:
    (outside / "outside_format.py").write_text(text)
    with pytest.raises(CourseboxError, match=r"the format tar \(outside_format:FORMAT\)") as caught:
        table.formats()
    assert said in caught.value.message and caught.value.hint is not None


def test_names_of_files_and_of_what_lies_beside_them(course: Course) -> None:
    arm = AMD64.__class__(**{**vars(AMD64), "name": "arm64"})
    stem = f"{course.name}-{course.version}"
    named = {
        name: (target.filename(course), target.beside(course, "report.json"))
        for name, target in table.targets().items()
    }
    assert named["ova"] == (f"{stem}.ova", f"{stem}.report.json")
    assert named["image"] == (f"{stem}-cpu.oci.tar", f"{stem}-cpu.report.json")
    assert named["image-cuda"] == (f"{stem}-cuda.oci.tar", f"{stem}-cuda.report.json")
    other = Target(Format("qcow2", "", "", tree="vm", extension=".qcow2", make=lambda context: None), arm)  # type: ignore[arg-type, return-value]
    assert other.name == "qcow2-arm64"
    assert other.filename(course) == f"{stem}-arm64.qcow2"
    assert other.beside(course, "report.json") == f"{stem}-arm64.qcow2.report.json"


def test_no_two_targets_share_a_file(course: Course) -> None:
    made = [
        name
        for target in table.targets().values()
        for name in (target.filename(course), target.beside(course, "report.json"))
    ]
    assert len(made) == len(set(made)) == 2 * len(table.targets()) and set(ARCHITECTURES) == {"amd64"}
