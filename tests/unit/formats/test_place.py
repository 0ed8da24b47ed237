"""How a product gets to its place: digested on its way, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.core.stages import Result, Stages
from coursebox.formats.place import copied


def packed(cache: Cache) -> Result:
    def make(work: Path) -> None:
        (work / "course.ova").write_bytes(b"whole" * 1000)

    return Stages(cache).run("ova", {}, make)


def test_bytes_that_changed_after_the_check_are_not_delivered(tmp_path: Path) -> None:
    result, target = packed(Cache(tmp_path / "cache")), tmp_path / "dist" / "course.ova"
    result.path("course.ova").write_bytes(bytes(5000))
    with pytest.raises(CourseboxError, match="has changed on the disk") as error:
        copied(result, "course.ova")(target)
    assert error.value.hint is not None and "build again" in error.value.hint
    assert os.listdir(target.parent) == []
    again = packed(Cache(tmp_path / "cache"))
    assert not again.reused
    file = copied(again, "course.ova")(target)
    assert (file.sha256, file.size) == (again.files["course.ova"], 5000)


def test_a_delivered_file_that_somebody_changed_is_written_again(tmp_path: Path) -> None:
    result, target = packed(Cache(tmp_path / "cache")), tmp_path / "dist" / "course.ova"
    copied(result, "course.ova")(target)
    inode = target.stat().st_ino
    copied(result, "course.ova")(target)
    assert target.stat().st_ino == inode
    target.write_bytes(b"other")
    copied(result, "course.ova")(target)
    assert target.read_bytes() == b"whole" * 1000
