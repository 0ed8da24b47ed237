"""The engine's containers: what a killed build left is removed, and nothing that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coursebox.core.paths import Cache
from coursebox.host.bases import REMEMBERED, keep_images
from coursebox.host.engine import image_name, label, remove_images, remove_leftovers, run_container


def test_only_containers_of_ended_processes_of_this_cache_are_removed(host: Any) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    mark = label().split("=")[1].split("-")[0]
    other = "0" * len(mark)
    lines = {
        "dead": f"{mark}-{ended.pid}", "mine": f"{mark}-{os.getpid()}", "first": f"{mark}-1",
        "foreign": f"{other}-{ended.pid}", "old": mark,
    }  # fmt: skip
    listing = "\n".join(f"{name} {value}" for name, value in lines.items())
    host.program("docker", f"case $1 in ps) echo '{listing}';; esac")
    remove_leftovers()
    assert [call for call in host.calls if " rm " in call] == ["docker rm --force --volumes dead"]


def test_without_an_engine_nothing_is_removed(host: Any) -> None:
    host.program("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    remove_leftovers()
    assert len(host.calls) == 1


class Engine:
    """A docker command that lists these images, and forgets those that it is told to remove."""

    def __init__(self, host: Any) -> None:
        self.place = host.folder / "images"
        self.place.touch()
        host.program(
            "docker",
            f"case $1 in images) cat {self.place};; rmi) shift; for image; do "
            f'sed -i "\\|^$image\\$|d" {self.place}; done;; esac',
        )
        host.program("sed", f'exec {shutil.which("sed", path=os.defpath)} "$@"')

    @property
    def images(self) -> list[str]:
        return self.place.read_text().split()

    def build(self, cache: Cache, name: str, *contents: str) -> None:
        """A build in this cache that leaves these images and goes on from them."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COURSEBOX_CACHE", str(cache.root))
            names = [image_name("tree", content * 32) for content in contents]
        self.place.write_text("\n".join(dict.fromkeys([*self.images, *names])) + "\n")
        keep_images(cache, name, names)

    def left(self) -> list[str]:
        """The contents of the images that are there."""
        return [name[-1] for name in self.images]


@pytest.fixture
def engine(host: Any) -> Engine:
    return Engine(host)


@pytest.fixture
def caches(tmp_path: Path) -> list[Cache]:
    made = [Cache(tmp_path / name) for name in ("one", "two")]
    for cache in made:
        cache.root.mkdir()
    return made


def test_two_targets_keep_each_others_bases(engine: Engine, caches: list[Cache]) -> None:
    cache = caches[0]
    engine.build(cache, "course-1: ova", "a")
    engine.build(cache, "course-1: image-cuda", "b")
    assert engine.left() == ["a", "b"]
    engine.build(cache, "course-1: ova", "c")
    assert engine.left() == ["b", "c"]


def test_a_build_leaves_the_images_of_other_caches_alone(engine: Engine, caches: list[Cache]) -> None:
    one, two = caches
    engine.build(one, "course-1: ova", "a")
    engine.build(two, "course-1: ova", "b")
    engine.build(one, "course-1: ova", "c")
    assert engine.left() == ["b", "c"]
    remove_images(one)
    assert engine.left() == ["b"]


def test_equal_images_of_two_caches_have_two_names(engine: Engine, caches: list[Cache]) -> None:
    """So that one cache can give its own up."""
    for cache in caches:
        engine.build(cache, "course-1: ova", "a")
    assert engine.left() == ["a", "a"]
    remove_images(caches[1])
    assert engine.left() == ["a"]


def test_images_that_are_not_of_a_cache_stay(engine: Engine, caches: list[Cache]) -> None:
    engine.place.write_text("coursebox-tree:latest\ncoursebox-tools:0123456789abcdef\n")
    remove_images(caches[0])
    assert len(engine.images) == 2


def test_the_oldest_of_many_builds_gives_its_images_up(engine: Engine, caches: list[Cache]) -> None:
    for number in range(REMEMBERED + 2):
        engine.build(caches[0], f"course-{number}: ova", "abcdefgh"[number])
    assert engine.left() == ["c", "d", "e", "f"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', "[" * 100_000])
def test_a_damaged_note_of_bases_counts_as_none(engine: Engine, caches: list[Cache], text: str) -> None:
    engine.build(caches[0], "course-1: ova", "a")
    (caches[0].root / "engine.json").write_text(text)
    engine.build(caches[0], "course-1: image-cuda", "b")
    assert engine.left() == ["b"]


@pytest.mark.parametrize(
    ("security", "words"),
    [
        ("[]", ["--user", f"{os.getuid()}:{os.getgid()}"]),
        ("null", ["--user", f"{os.getuid()}:{os.getgid()}"]),
        ("{", ["--user", f"{os.getuid()}:{os.getgid()}"]),
        ('["name=seccomp,profile=builtin","name=rootless","name=cgroupns"]', ["--user", "0:0"]),
        ('["name=userns"]', ["--userns", "host", "--user", f"{os.getuid()}:{os.getgid()}"]),
    ],
)
def test_what_a_container_writes_belongs_to_the_caller_in_every_engine(
    host: Any, security: str, words: list[str], tmp_path: Path
) -> None:
    host.program("docker", f"case $1 in info) echo '{security}';; esac")
    run_container("image", ["true"], what="a try", log=tmp_path / "log", as_me=True)
    (call,) = [call for call in host.calls if call.startswith("docker run")]
    assert f" {' '.join(words)} " in call and call.count("--user") == (2 if "--userns" in words else 1)
