"""Engines take the delivered archive: Docker, podman and skopeo see the same image, with the tree of its layers.

That every digest in it holds, tests/content/test_image.py shows.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from equipment.oci import Image, merged, open_archive, opened_layer

from coursebox.core.digests import sha256_bytes
from coursebox.formats.oci.layers import ENGINE_FILES

# What an engine puts into every container of its own accord.
ENGINES = {".dockerenv", "etc/mtab", *ENGINE_FILES}
ENGINES_FOLDERS = ("dev", "proc", "sys")
XATTR = "SCHILY.xattr."


def run(*command: str | os.PathLike[str]) -> str:
    """What a command prints; fails with its own words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def image(archive: Path) -> Image:
    return open_archive(archive)


@pytest.fixture(scope="module")
def loaded(archive: Path, image: Image) -> Image:
    """The image, loaded into the Docker engine from the archive."""
    printed = run("docker", "load", "--input", archive)
    assert [line.removeprefix("Loaded image: ") for line in printed.splitlines() if "Loaded" in line] == [*image.names]
    return image


def test_docker_has_it_under_both_names(loaded: Image) -> None:
    """The id is the config's digest in the classic store, the manifest's in containerd's."""
    found = json.loads(run("docker", "image", "inspect", *loaded.names))
    assert len(found) == 2 and found[0]["Id"] == found[1]["Id"]
    assert found[0]["Id"] in (f"sha256:{loaded.config_digest}", f"sha256:{loaded.manifest_digest}")
    assert found[0]["RootFS"]["Layers"] == loaded.config["rootfs"]["diff_ids"]


def test_docker_reads_the_whole_config(loaded: Image) -> None:
    found = json.loads(run("docker", "image", "inspect", loaded.names[0]))[0]
    for key, value in loaded.config["config"].items():
        assert found["Config"][key] == value, key
    assert (found["Architecture"], found["Os"]) == (loaded.config["architecture"], loaded.config["os"])


def test_docker_runs_it(loaded: Image) -> None:
    """As the student, at home, with the variables of the config."""
    config = loaded.config["config"]
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", loaded.names[-1], "-c"]
    uid, home, *_ = printed = run(*command, "id -u; pwd; env").splitlines()
    assert (uid, home) == (config["User"], config["WorkingDir"])
    assert set(config["Env"]) <= set(printed)


def test_docker_exports_what_the_layers_hold(archive: Path, loaded: Image) -> None:
    """Kind, mode, owner, size, time, link and extended attributes of every file, layer on layer."""
    container = run("docker", "create", "--network", "none", loaded.names[0], "/bin/true").strip()
    try:
        command = ["docker", "export", container]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|", errors="surrogateescape") as tar,
        ):
            exported = described(tar)
    finally:
        run("docker", "rm", "--volumes", container)
    expected = described(merged(archive).values())
    assert exported.keys() - expected.keys() == set()
    assert expected.keys() - exported.keys() == set()
    differ = {name: (expected[name], exported[name]) for name in expected if expected[name] != exported[name]}
    assert dict(list(differ.items())[:5]) == {}
    assert len(expected) > 100


def described(members: Iterable[tarfile.TarInfo]) -> dict[str, tuple[Any, ...]]:
    """Path → what a file is, without what depends on the order of an archive: a hard link is described as its file."""
    found: dict[str, tuple[Any, ...]] = {}
    links: dict[str, str] = {}
    for one in members:
        if one.name in ENGINES or f"{one.name}/".startswith(tuple(f"{folder}/" for folder in ENGINES_FOLDERS)):
            continue
        if one.islnk():
            links[one.name] = one.linkname
            continue
        xattrs = {key: value for key, value in one.pax_headers.items() if key.startswith(XATTR)}
        # The engine makes entries of its own in /etc.
        time = None if one.name == "etc" else int(one.mtime)
        mode = None if one.issym() else stat.S_IMODE(one.mode)
        found[one.name] = (one.type, mode, one.uid, one.gid, one.size, one.linkname, time, xattrs)
    groups: dict[str, set[str]] = {}
    for name, first in links.items():
        groups.setdefault(first, {first}).add(name)
    for first, names in groups.items():
        for name in names:
            found[name] = (*found[first], frozenset(names))
    return found


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str | os.PathLike[str]]]:
    """podman with a store of its own, which is removed at the end."""
    place = tmp_path_factory.mktemp("podman")
    command: list[str | os.PathLike[str]] = ["podman", "--root", place / "root", "--runroot", place / "run",
               "--cgroup-manager", "cgroupfs", "--events-backend", "none"]  # fmt: skip
    yield command
    run(*command, "rmi", "--all", "--force")
    shutil.rmtree(place)


def test_podman_loads_it(archive: Path, image: Image, podman: list[str]) -> None:
    """Both names, the config byte by byte (its digest is the id), and files with their modes."""
    run(*podman, "load", "--quiet", "--input", archive)
    found = json.loads(run(*podman, "image", "inspect", *(f"localhost/{name}" for name in image.names)))
    assert [one["Id"] for one in found] == [image.config_digest] * 2
    assert found[0]["RootFS"]["Layers"] == image.config["rootfs"]["diff_ids"]
    mounted = Path(run(*podman, "image", "mount", f"localhost/{image.names[0]}").strip())
    try:
        compare(mounted, image)
    finally:
        run(*podman, "image", "unmount", f"localhost/{image.names[0]}")


def compare(mounted: Path, image: Image) -> None:
    """Everything that the top layer holds is in a mounted tree, with its mode, owner, size and contents."""
    files = 0
    with opened_layer(image, image.layers[-1]) as tar:
        for member in tar:
            folder, _, base = member.name.rpartition("/")
            if base.startswith(".wh."):
                gone = base.removeprefix(".wh.")
                assert gone.startswith(".wh.") or not os.path.lexists(mounted / folder / gone)
                continue
            status = (mounted / member.name).lstat()
            assert (status.st_uid, status.st_gid) == (member.uid, member.gid), member.name
            assert member.issym() or stat.S_IMODE(status.st_mode) == member.mode, member.name
            if member.isreg():
                file = tar.extractfile(member)
                assert file is not None and (mounted / member.name).read_bytes() == file.read(), member.name
                files += 1
    assert files > 0


def test_skopeo_finds_it_by_its_tag(archive: Path, image: Image) -> None:
    """An archive with two names must be asked for one of them; the manifest comes out byte by byte."""
    raw = run("skopeo", "inspect", "--raw", f"oci-archive:{archive}:{image.names[-1].partition(':')[2]}")
    assert sha256_bytes(raw.encode()) == image.manifest_digest


def test_skopeo_copies_it(archive: Path, image: Image, tmp_path: Path) -> None:
    """Into a layout, where every blob is digested again, with the manifest as it is."""
    version = image.names[0].partition(":")[2]
    try:
        run("skopeo", "copy", "--quiet", f"oci-archive:{archive}:{version}", f"oci:{tmp_path / 'layout'}:{version}")
        index = json.loads((tmp_path / "layout" / "index.json").read_text(encoding="utf-8"))
        assert [one["digest"] for one in index["manifests"]] == [f"sha256:{image.manifest_digest}"]
        blobs = {image.manifest_digest, image.config_digest, *(layer.digest for layer in image.layers)}
        assert {path.name for path in (tmp_path / "layout" / "blobs" / "sha256").iterdir()} == blobs
    finally:
        shutil.rmtree(tmp_path / "layout", ignore_errors=True)


def test_skopeo_reads_dockers_part_too(archive: Path, image: Image) -> None:
    found = json.loads(run("skopeo", "inspect", "--config", f"docker-archive:{archive}:{image.names[1]}"))
    assert found["rootfs"]["diff_ids"] == image.config["rootfs"]["diff_ids"]
