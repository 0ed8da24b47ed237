"""The stages: what did not change is not packed again, and the archive is written once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from equipment.oci import open_archive, verify_layers
from small_trees import CHANGES, EPOCH, REMOVED, SYSTEM, about, entry, write_tar

from coursebox.core.digests import sha256_file
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.core.stages import Result, Stages
from coursebox.formats.oci import delivery
from coursebox.formats.oci import packing as module
from coursebox.formats.oci.compression import GZIP
from coursebox.formats.oci.delivery import deliver_image, write_base
from coursebox.formats.oci.oci import Archive
from coursebox.formats.oci.packing import Packing, build_course_layers
from coursebox.formats.oci.stage import build_image
from coursebox.target import File


@dataclass(frozen=True)
class Built:
    stages: Stages
    layers: tuple[Result, Result]
    image: Result

    def deliver(self, target: Path) -> File:
        return deliver_image(self.image, self.layers, target)


def build(cache: Cache, *, lab: bytes = b"lab", version: str = "2026.11") -> Built:
    """All stages of an image, from what the trees' stages hand over."""
    stages = Stages(cache)
    packing = Packing(EPOCH)

    def system(work: Path) -> Mapping[str, Any]:
        cache.tmp.mkdir(parents=True, exist_ok=True)
        return packing(write_tar(cache.tmp / "exported.tar", SYSTEM), work)

    def changes(work: Path) -> None:
        write_tar(work / "changes.tar", [*CHANGES[:-1], entry("etc/passwd", lab)])
        (work / "removed.json").write_text(json.dumps(REMOVED))

    lower = stages.run("system", {"packing": packing.key}, system, code=packing.code)
    changed = stages.run("changes", {"lab": lab.decode()}, changes)
    upper = build_course_layers(stages, changed, epoch=EPOCH)
    return Built(stages, (lower, upper), build_image(stages, [lower, upper], about(version=version)))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_from_the_trees_to_the_archive(cache: Cache, tmp_path: Path) -> None:
    built = build(cache)
    image, made = built.image, built.deliver(tmp_path / "dist" / "image.oci.tar")
    assert (made.size, made.sha256) == (made.path.stat().st_size, sha256_file(made.path))
    read = open_archive(made.path)
    verify_layers(read)
    assert list(read.names) == image.facts["names"] == ["deep-learning:2026.11", "deep-learning:latest"]
    assert (read.manifest_digest, read.config_digest) == (image.facts["manifest"], image.facts["config"])
    assert read.config_size == image.facts["config_size"]
    assert [(layer.name, layer.digest, layer.size) for layer in read.layers] == [
        (layer["name"], layer["digest"], layer["size"]) for layer in image.facts["layers"]
    ]
    assert image.facts["size"] == sum(layer.size for layer in read.layers)
    assert image.facts["unpacked"] == sum(layer.unpacked for layer in read.layers)
    assert {layer.media_type for layer in read.layers} == {GZIP.media_type}


def test_the_image_holds_no_gigabytes(cache: Cache) -> None:
    image = build(cache).image
    assert set(image.files) == {"config.json", "image-manifest.json", "index.json", "manifest.json"}


def test_nothing_is_done_twice(cache: Cache) -> None:
    build(cache)
    assert all(result.reused for result in build(cache).stages.results)


def test_an_edited_lab_packs_only_the_course(cache: Cache) -> None:
    before, after = build(cache), build(cache, lab=b"edited")
    assert [result.name for result in after.stages.results if not result.reused] == [
        "changes",
        "layers-course",
        "image",
    ]
    old, new = (built.image.facts["layers"] for built in (before, after))
    assert [layer["name"] for layer, other in zip(old, new, strict=True) if layer != other] == ["course"]


def test_another_version_packs_no_layer(cache: Cache) -> None:
    build(cache)
    assert [result.name for result in build(cache, version="2027.1").stages.results if not result.reused] == ["image"]


def test_the_cache_may_move(cache: Cache, tmp_path: Path) -> None:
    build(cache)
    cache.root.rename(tmp_path / "elsewhere")
    built = build(Cache(tmp_path / "elsewhere"))
    assert built.image.reused
    built.deliver(tmp_path / "image.tar")


class Writes:
    """Counts how often an archive is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = delivery.write_archive

        def counting(*arguments: object, **named: object) -> Archive:
            self.count += 1
            return real(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(delivery, "write_archive", counting)


def test_the_archive_is_written_once(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes, target = Writes(monkeypatch), tmp_path / "dist" / "image.oci.tar"
    first = build(cache).deliver(target)
    assert build(cache).deliver(target) == first and writes.count == 1
    assert sorted(os.listdir(target.parent)) == [".image.oci.tar.stamp", "image.oci.tar"]


@pytest.mark.parametrize("change", ["gone", "touched", "longer", "replaced", "another image", "no note", "bad note"])
def test_whatever_happened_to_the_archive_it_is_written_again(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    target = tmp_path / "image.oci.tar"
    stamp = tmp_path / ".image.oci.tar.stamp"
    built = build(cache)
    first = built.deliver(target)
    writes = Writes(monkeypatch)
    match change:
        case "gone":
            target.unlink()
        case "touched":
            os.utime(target)
        case "longer":
            times = target.stat()
            with target.open("ab") as file:
                file.write(b"x")
            os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
        case "replaced":
            times = target.stat()
            (tmp_path / "copy").write_bytes(target.read_bytes())
            os.replace(tmp_path / "copy", target)
            os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
        case "another image":
            build(cache, lab=b"edited").deliver(target)
        case "no note":
            stamp.unlink()
        case "bad note":
            stamp.write_text("[")
    writes.count = 0
    assert built.deliver(target) == first
    assert writes.count == 1 and sha256_file(target) == first.sha256


def test_an_archive_elsewhere_is_another_one(cache: Cache, tmp_path: Path) -> None:
    built = build(cache)
    one, two = (built.deliver(tmp_path / place / "image.oci.tar") for place in ("one", "two"))
    assert one.sha256 == two.sha256 == sha256_file(tmp_path / "two" / "image.oci.tar")


def test_a_layer_that_was_pruned_is_a_sentence(cache: Cache, tmp_path: Path) -> None:
    built = build(cache)
    shutil.rmtree(cache.stages / "system")
    with pytest.raises(CourseboxError, match=r"/system/.*/system\.tar\.gz is not in the cache") as error:
        built.deliver(tmp_path / "image.tar")
    assert error.value.hint == "build the image again" and not (tmp_path / "image.tar").exists()


def test_layers_that_were_packed_anew_are_found(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other code, the same bytes: the image is the same, and what it is made of lies elsewhere."""
    image = build(cache).image
    (tmp_path / "more.py").write_text("# another line of code")
    monkeypatch.setattr(module, "LAYER_CODE", [*module.LAYER_CODE, tmp_path / "more.py"])
    monkeypatch.setattr(Packing, "code", module.LAYER_CODE)
    built = build(cache)
    assert built.image.reused and built.image.folder == image.folder
    assert not any(result.reused for result in built.layers)
    for result in built.layers:
        for folder in (cache.stages / result.name).iterdir():
            if folder != result.folder:
                shutil.rmtree(folder)
    built.deliver(tmp_path / "image.tar")


def test_the_base_is_an_image_of_the_system_alone(cache: Cache, tmp_path: Path) -> None:
    """The build goes on from it: it runs as root, and without volumes, which would swallow what is written to them."""
    built = build(cache)
    write_base(tmp_path / "base.oci.tar", built.layers[0], "coursebox-tree:1", epoch=EPOCH, architecture="amd64")
    base = open_archive(tmp_path / "base.oci.tar")
    verify_layers(base)
    assert base.names == ("coursebox-tree:1",)
    assert [layer.name for layer in base.layers] == ["system", "cuda", "torch", "python"]
    assert not {"User", "Volumes", "Entrypoint"} & set(base.config["config"])
    assert base.config["config"]["Env"][0].startswith("PATH=/opt/jupyter/bin:")
