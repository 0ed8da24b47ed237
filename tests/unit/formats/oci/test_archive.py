"""The archive: golden layout, the same bytes again, and every kind of damage by name."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from equipment.oci import members, merged, open_archive, opened_layer, verify_layers
from small_trees import CHANGES, EPOCH, Made, about, above, course_layers, entry, folder, make_archive, system_layers

from coursebox.core.digests import sha256_bytes, sha256_file
from coursebox.core.errors import CourseboxError
from coursebox.formats.oci.compression import GZIP
from coursebox.formats.oci.oci import BLOBS, BlobFile, documents, encode, write_archive


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def repack(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_the_archive_is_laid_out_as_engines_read_it(made: Made) -> None:
    image = made.documents
    blobs = [f"{BLOBS}{image.config_digest}", f"{BLOBS}{image.manifest_digest}"]
    blobs += [f"{BLOBS}{layer.blob.digest}" for layer in made.layers]
    found = contents(made.archive.path)
    assert list(found) == ["oci-layout", "index.json", "manifest.json", *blobs]
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    for name in blobs:
        assert sha256_bytes(found[name]) == name.removeprefix(BLOBS)
    with tarfile.open(made.archive.path) as tar:
        assert {(member.mode, member.uid, member.uname, member.mtime) for member in tar} == {(0o644, 0, "", EPOCH)}


def test_index_manifest_and_docker_speak_of_one_image(made: Made) -> None:
    found = contents(made.archive.path)
    index = json.loads(found["index.json"])
    assert (index["schemaVersion"], index["mediaType"]) == (2, "application/vnd.oci.image.index.v1+json")
    assert [entry["annotations"] for entry in index["manifests"]] == [
        {
            "io.containerd.image.name": f"docker.io/library/deep-learning:{tag}",
            "org.opencontainers.image.ref.name": tag,
        }
        for tag in ("2026.11", "latest")
    ]
    for one in index["manifests"]:
        assert one["digest"] == f"sha256:{made.documents.manifest_digest}"
        assert one["platform"] == {"architecture": "amd64", "os": "linux"}
    manifest = json.loads(found[f"{BLOBS}{made.documents.manifest_digest}"])
    assert manifest["config"]["digest"] == f"sha256:{made.documents.config_digest}"
    assert [(one["mediaType"], one["size"]) for one in manifest["layers"]] == [
        ("application/vnd.oci.image.layer.v1.tar+gzip", layer.blob.size) for layer in made.layers
    ]
    config = json.loads(found[f"{BLOBS}{made.documents.config_digest}"])
    assert manifest["annotations"] == config["config"]["Labels"]
    assert json.loads(found["manifest.json"]) == [
        {
            "Config": f"{BLOBS}{made.documents.config_digest}",
            "RepoTags": ["deep-learning:2026.11", "deep-learning:latest"],
            "Layers": [f"{BLOBS}{layer.blob.digest}" for layer in made.layers],
        }
    ]


def test_the_same_image_is_the_same_archive(made: Made, tmp_path: Path) -> None:
    again = make_archive(tmp_path / "again")
    assert (
        again.archive.sha256 == made.archive.sha256 == sha256_file(made.archive.path) == sha256_file(again.archive.path)
    )
    assert made.archive.size == made.archive.path.stat().st_size


def test_an_edited_lab_changes_one_layer_and_the_config(made: Made, tmp_path: Path) -> None:
    edited = make_archive(tmp_path / "edited", [*CHANGES[:-1], entry("etc/passwd", b"edited")])
    before, after = open_archive(made.archive.path), open_archive(edited.archive.path)
    changed = [old.name for old, new in zip(before.layers, after.layers, strict=True) if old != new]
    assert [name for name in changed if name != "course"] == [] and before.layers[-1].digest != after.layers[-1].digest
    assert before.config_digest != after.config_digest and before.manifest_digest != after.manifest_digest


def test_equal_layers_are_stored_once(tmp_path: Path) -> None:
    layers = system_layers(tmp_path)[:1] * 2
    blobs = [BlobFile(tmp_path / layer.file, layer.blob.digest, layer.blob.size) for layer in layers]
    made = write_archive(tmp_path / "image.tar", documents(about(), layers), blobs, epoch=EPOCH)
    assert len(contents(made.path)) == 6 and len(open_archive(made.path).layers) == 2


@pytest.mark.parametrize(("change", "size"), [(b"x", 0), (b"", 1)], ids=["other bytes", "another length"])
def test_a_layer_that_changed_is_not_packed(made: Made, change: bytes, size: int) -> None:
    layer = made.layers[0]
    path = made.folder / layer.file
    data = path.read_bytes()
    path.write_bytes(change + data[len(change) :] + bytes(size))
    blobs = [BlobFile(path, layer.blob.digest, layer.blob.size)]
    with pytest.raises(CourseboxError, match=r"system\.tar\.gz has changed since it was written"):
        write_archive(made.folder / "again.tar", made.documents, blobs, epoch=EPOCH)
    assert not list(made.folder.glob("*again*"))


def test_progress_counts_the_layers(made: Made) -> None:
    blobs = [BlobFile(made.folder / layer.file, layer.blob.digest, layer.blob.size) for layer in made.layers]
    seen: list[int] = []
    write_archive(made.folder / "again.tar", made.documents, blobs, epoch=EPOCH, on_progress=seen.append)
    assert sum(seen) == sum(layer.blob.size for layer in made.layers)
    seen.clear()
    verify_layers(open_archive(made.archive.path), on_progress=seen.append)
    assert sum(seen) == sum(layer.blob.size for layer in made.layers)


def test_json_has_one_form() -> None:
    assert encode({"b": [1, "ü"], "a": {}}) == '{"a":{},"b":[1,"ü"]}'.encode()


def test_what_was_written_reads_back(tmp_path: Path) -> None:
    made = make_archive(tmp_path)
    image = open_archive(made.archive.path)
    verify_layers(image)
    assert image.names == ("deep-learning:2026.11", "deep-learning:latest")
    assert image.manifest_digest == made.documents.manifest_digest
    assert (image.config_digest, image.config_size) == (made.documents.config_digest, len(made.documents.config))
    assert image.config == json.loads(made.documents.config)
    for layer, read in zip(made.layers, image.layers, strict=True):
        assert (read.name, read.media_type) == (layer.name, GZIP.media_type)
        assert (read.digest, read.diff_id) == (layer.blob.digest, layer.blob.diff_id)
        assert (read.size, read.unpacked) == (layer.blob.size, layer.blob.unpacked)
        assert len(list(members(image, read))) == layer.entries
    with opened_layer(image, image.layers[-1]) as tar:
        found = {one.name: tar.extractfile(one).read() for one in tar if one.isreg()}  # type: ignore[union-attr]
    assert found["etc/passwd"] == b"student"


def test_layers_lie_on_top_of_each_other(tmp_path: Path) -> None:
    changes = [*CHANGES, *above("usr/lib/python3/dist-packages/numpy"),
               folder("usr/lib/python3/dist-packages/numpy"), entry("usr/lib/python3/dist-packages/numpy/new.py"),
               entry("usr/share/Übung"), folder("var"), folder("var/mail", 0o700)]  # fmt: skip
    system = system_layers(tmp_path)
    course = course_layers(tmp_path, changes, ["usr/bin/old", "usr/lib/python3/dist-packages/numpy", "root"])
    layers = [*system, *course]
    blobs = [BlobFile(tmp_path / layer.file, layer.blob.digest, layer.blob.size) for layer in layers]
    write_archive(tmp_path / "image.tar", documents(about(), layers), blobs, epoch=EPOCH)
    tree = merged(tmp_path / "image.tar")
    assert not {"usr/bin/old", "root", "usr/lib/python3/dist-packages/numpy/__init__.py"} & set(tree)
    assert {"usr/bin/sudo", "usr/lib/python3/dist-packages/numpy/new.py", "home/student/lab.ipynb"} <= set(tree)
    assert tree["usr/share/Übung"].isreg() and not any(name.startswith("usr/share/Übung/") for name in tree)
    assert tree["var/mail"].mode == 0o700
    assert not any(".wh." in name for name in tree)


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CourseboxError, match="does not exist") as error:
        open_archive(tmp_path / "image.oci.tar")
    assert error.value.hint == "build it with: make docker"


# Each of these turns the contents of a good archive into a bad one.


def drop(name: str) -> Callable[[Made, dict[str, bytes]], None]:
    def change(made: Made, files: dict[str, bytes]) -> None:
        del files[name]

    return change


def put(name: str, data: bytes) -> Callable[[Made, dict[str, bytes]], None]:
    def change(made: Made, files: dict[str, bytes]) -> None:
        files[name] = data

    return change


def edit(name: str, how: Callable[[Any], object]) -> Callable[[Made, dict[str, bytes]], None]:
    """Change a document; for "manifest" and "config" what refers to it follows."""

    def change(made: Made, files: dict[str, bytes]) -> None:
        manifest_name = f"{BLOBS}{made.documents.manifest_digest}"
        config_name = f"{BLOBS}{made.documents.config_digest}"
        if name == "index":
            index = json.loads(files["index.json"])
            how(index)
            files["index.json"] = encode(index)
            return
        manifest, config = json.loads(files.pop(manifest_name)), json.loads(files.pop(config_name))
        how({"manifest": manifest, "config": config}[name])
        data = encode(config)
        files[f"{BLOBS}{sha256_bytes(data)}"] = data
        manifest["config"] |= {"digest": f"sha256:{sha256_bytes(data)}", "size": len(data)}
        text = encode(manifest)
        files[f"{BLOBS}{sha256_bytes(text)}"] = text
        index, docker = json.loads(files["index.json"]), json.loads(files["manifest.json"])
        for one in index["manifests"]:
            one |= {"digest": f"sha256:{sha256_bytes(text)}", "size": len(text)}
        docker[0]["Config"] = f"{BLOBS}{sha256_bytes(data)}"
        files |= {"index.json": encode(index), "manifest.json": encode(docker)}

    return change


def lose(made: Made, files: dict[str, bytes]) -> None:
    del files[f"{BLOBS}{made.layers[1].blob.digest}"]


def shorten(made: Made, files: dict[str, bytes]) -> None:
    files[f"{BLOBS}{made.layers[1].blob.digest}"] += b"x"


def other_manifest(made: Made, files: dict[str, bytes]) -> None:
    files[f"{BLOBS}{made.documents.manifest_digest}"] += b" "


def two_images(made: Made, files: dict[str, bytes]) -> None:
    text = files[f"{BLOBS}{made.documents.manifest_digest}"] + b" "
    files[f"{BLOBS}{sha256_bytes(text)}"] = text
    index = json.loads(files["index.json"])
    index["manifests"][1] |= {"digest": f"sha256:{sha256_bytes(text)}", "size": len(text)}
    files["index.json"] = encode(index)


def unchanged(made: Made, files: dict[str, bytes]) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (drop("oci-layout"), "there is no oci-layout in it"),
        (put("oci-layout", b'{"imageLayoutVersion":"2.0.0"}'), "it has another version of the OCI layout"),
        (put("oci-layout", b"{"), "oci-layout is not JSON"),
        (drop("index.json"), r"there is no index\.json in it"),
        (put("index.json", b"[]"), "an entry of its documents is missing or of the wrong kind"),
        (put("index.json", b'{"manifests": []}'), "its index names 0 images"),
        (put("index.json", bytes(17 << 20)), r"index\.json has 17825792 bytes"),
        (two_images, "its index names 2 images"),
        (other_manifest, "its manifest does not fit size and digest"),
        (
            edit("index", lambda index: index["manifests"][0].update(size=3)),
            "its manifest does not fit size and digest",
        ),
        (edit("index", lambda index: index["manifests"][0].update(mediaType="x")), "its manifest is called x"),
        (edit("index", lambda index: index["manifests"][0].update(digest="md5:1")), r"no SHA-256 \(md5:1\)"),
        (edit("index", lambda index: index["manifests"][1].update(platform={})), "name different platforms"),
        (edit("index", lambda index: index["manifests"][1].pop("annotations")), "missing or of the wrong kind"),
        (edit("index", lambda index: index["manifests"].pop()), r"manifest\.json speaks of another image than index"),
        (edit("config", lambda config: config["rootfs"]["diff_ids"].pop()), "names 5 layers, its manifest 6"),
        (edit("config", lambda config: config.pop("rootfs")), "missing or of the wrong kind"),
        (edit("manifest", lambda one: one["layers"][1].update(mediaType="x")), "its layer cuda is called x"),
        (edit("manifest", lambda one: one["layers"].reverse()), r"manifest\.json speaks of another image than index"),
        (lose, "its layer cuda is missing"),
        (shorten, r"its layer cuda has \d+ bytes instead of \d+"),
        (put("manifest.json", b"[]"), r"manifest\.json speaks of another image than index\.json"),
        (put(f"{BLOBS}{'0' * 64}", b""), "nothing refers to blobs/sha256/0000"),
        (put("repositories", b"{}"), "nothing refers to repositories in it"),
    ],
)
def test_damage_has_a_name(made: Made, damage: Callable[[Made, dict[str, bytes]], None], reason: str) -> None:
    files = contents(made.archive.path)
    repack(made.archive.path, files)
    open_archive(made.archive.path)  # packed again it is as good as before
    damage(made, files)
    repack(made.archive.path, files)
    with pytest.raises(CourseboxError, match=rf"image\.oci\.tar is damaged: .*{reason}") as error:
        open_archive(made.archive.path)
    assert error.value.hint == "compare its SHA-256 with SHA256SUMS, and build or download it again"


def replaced(position: int, how: Callable[[bytes], bytes], *, digest: bool) -> Callable[[Made, dict[str, bytes]], None]:
    """Other bytes in a layer; digest: the manifest calls them right, so only the config can tell."""

    def change(made: Made, files: dict[str, bytes]) -> None:
        layer = made.layers[position]
        data = how(files.pop(f"{BLOBS}{layer.blob.digest}"))
        if not digest:
            files[f"{BLOBS}{layer.blob.digest}"] = data
            return
        files[f"{BLOBS}{sha256_bytes(data)}"] = data
        descriptor = {"digest": f"sha256:{sha256_bytes(data)}", "size": len(data)}
        edit("manifest", lambda manifest: manifest["layers"][position].update(descriptor))(made, files)
        docker = json.loads(files["manifest.json"])
        docker[0]["Layers"][position] = f"{BLOBS}{sha256_bytes(data)}"
        files["manifest.json"] = encode(docker)

    return change


def flip(data: bytes) -> bytes:
    return data[:60] + bytes([data[60] ^ 1]) + data[61:]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (replaced(5, flip, digest=False), "its layer course does not fit its digest"),
        (replaced(5, flip, digest=True), "its layer course (cannot be unpacked|is not the one that its config names)"),
        (replaced(0, lambda data: data[:-9], digest=True), r"system cannot be unpacked \(it ends too early\)"),
        (replaced(0, lambda data: GZIP.pack(memoryview(b"other"), 6), digest=True), "system is not the one"),
        (replaced(0, lambda data: data + GZIP.pack(memoryview(b"more"), 6), digest=True), "system is not the one"),
        (edit("manifest", lambda one: one["layers"][2]["annotations"].update({"org.coursebox.unpacked": "5"})),
         "torch is not the one that its config names"),
    ],
)  # fmt: skip
def test_damage_in_a_layer_has_a_name(
    made: Made, damage: Callable[[Made, dict[str, bytes]], None], reason: str
) -> None:
    files = contents(made.archive.path)
    damage(made, files)
    repack(made.archive.path, files)
    image = open_archive(made.archive.path)
    with pytest.raises(CourseboxError, match=reason):
        verify_layers(image)


@pytest.mark.parametrize("cut", [0, 600, 5000])
def test_a_file_that_is_cut_off(made: Made, cut: int) -> None:
    made.archive.path.write_bytes(made.archive.path.read_bytes()[:cut])
    with pytest.raises(CourseboxError, match=r"image\.oci\.tar is damaged"):
        open_archive(made.archive.path)


def test_a_name_that_is_there_twice(made: Made) -> None:
    with tarfile.open(made.archive.path, "a:") as tar:
        tar.addfile(tarfile.TarInfo("index.json"))
    with pytest.raises(CourseboxError, match="a name is twice in it"):
        open_archive(made.archive.path)


def test_a_link_in_the_archive(made: Made) -> None:
    with tarfile.open(made.archive.path, "a:") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(CourseboxError, match="link is no plain file"):
        open_archive(made.archive.path)


def test_a_layer_that_is_no_tar(tmp_path: Path) -> None:
    layers = system_layers(tmp_path)[:1]
    data = GZIP.pack(memoryview(b"no tar" * 1000), 6)
    (tmp_path / "layer").write_bytes(data)
    blob = replace(layers[0].blob, digest=hashlib.sha256(data).hexdigest(), size=len(data))
    made = documents(about(), [replace(layers[0], blob=blob)])
    write_archive(tmp_path / "image.tar", made, [BlobFile(tmp_path / "layer", blob.digest, blob.size)], epoch=EPOCH)
    image = open_archive(tmp_path / "image.tar")
    with pytest.raises(CourseboxError, match="its layer system is no whole tar archive"):
        list(members(image, image.layers[0]))
