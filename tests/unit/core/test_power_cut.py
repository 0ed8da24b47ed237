"""The power is cut while a stage ends: what an ext4 file system holds then, at each moment at which it matters.

A stage runs on a file system in a file. It stops before and after each step that makes its result durable. Then the
file is copied: what was not flushed is not in it, as after a power cut. Each copy is mounted; that replays its journal.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coursebox.core import stages as stages_module
from coursebox.core.paths import Cache
from coursebox.core.stages import Stages

MEGABYTE = 1 << 20
SIZE = 64 * MEGABYTE
INPUTS = {"course": "1"}


def mountable(folder: Path) -> bool:
    """Whether this user can mount a file here."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        return False
    try:
        with mounted(new_image(folder / "probe"), folder / "there"):
            return True
    except subprocess.CalledProcessError:
        return False


def new_image(file: Path) -> Path:
    with file.open("wb") as out:
        out.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", file], check=True, capture_output=True)
    return file


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def make(folder: Path) -> dict[str, str]:
    for number in range(4):
        (folder / f"layer{number}.tar").write_bytes(bytes([number + 1]) * MEGABYTE)
    return {"made": "yes"}


def stop_at_each_step() -> None:
    """Let this process stop before and after each call that makes something durable, and after each new name."""

    def stopping(function):  # type: ignore[no-untyped-def]
        def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            os.kill(os.getpid(), signal.SIGSTOP)
            result = function(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGSTOP)
            return result

        return call

    os.fsync, os.rename = stopping(os.fsync), stopping(os.rename)
    stages_module.write_record = stopping(stages_module.write_record)


def crash_images(folder: Path) -> list[Path]:
    """Copies of the file system at each step of a stage; the last one after it has ended."""
    image, images = new_image(folder / "disk"), []
    with mounted(image, folder / "running") as place:
        child = os.fork()
        if child == 0:
            stop_at_each_step()
            Stages(Cache(place / "cache")).run("image", INPUTS, make)
            os._exit(0)
        while True:
            _, status = os.waitpid(child, os.WUNTRACED)
            copy = folder / f"cut{len(images):02d}"
            shutil.copyfile(image, copy)
            images.append(copy)
            if not os.WIFSTOPPED(status):
                assert status == 0
                return images
            os.kill(child, signal.SIGCONT)


def test_a_power_cut_leaves_a_whole_result_or_none(tmp_path: Path) -> None:
    if not mountable(tmp_path):
        pytest.skip("only root can mount a file system, with mkfs.ext4")
    images = crash_images(tmp_path)
    assert len(images) >= 10
    reused = []
    for image in images:
        with mounted(image, tmp_path / "after") as place:
            result = Stages(Cache(place / "cache")).run("image", INPUTS, make)
            assert [result.path(f"layer{n}.tar").read_bytes() for n in range(4)] == [
                bytes([n + 1]) * MEGABYTE for n in range(4)
            ]
            assert result.facts == {"made": "yes"}
            reused.append(result.reused)
        image.unlink()
    assert reused[-1], "a stage that has ended is there after a power cut"
    assert not reused[0]
