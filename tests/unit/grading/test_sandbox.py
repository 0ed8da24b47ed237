"""What a submission may do and read; what remains of it."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from course_grade import sandbox, scratch, seccomp

from coursebox.core.paths import CHECKOUT


def test_what_is_hidden_is_left_out_and_all_else_is_there(tmp_path: Path) -> None:
    for name in ("lib/python", "lib/coursebox/grading/deep", "lib/coursebox/selftest", "share/labs", "bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lib" / "file.so").touch()
    (tmp_path / "lib" / "link").symlink_to(tmp_path / "share" / "labs")
    hidden = (tmp_path / "lib" / "coursebox" / "grading", tmp_path / "share" / "labs")
    found = {path.relative_to(tmp_path).as_posix() for path in sandbox._without(tmp_path, hidden)}
    assert found == {"lib/python", "lib/file.so", "lib/coursebox/selftest", "bin"}
    assert list(sandbox._without(hidden[0] / "deep", hidden)) == []


def test_neither_labs_nor_grader_can_be_read() -> None:
    labs = CHECKOUT / "labs"
    found = sandbox.readable(labs, Path("/data"))
    assert {labs / "dlc_practical_prologue.py", Path("/data"), Path("/dev/null")} <= set(found)
    for place in (labs, CHECKOUT / "grading", Path("/usr/share/coursebox/labs"), Path("/usr/lib/coursebox/grading")):
        assert [path for path in found if path == place or path in place.parents] == []


def test_the_class_the_results_and_the_checkout_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they lie: here in the prefix of Python."""
    for name in ("lib/python", "share/class/eva", "share/class-grades"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(sandbox.sys, "prefix", str(tmp_path))
    hidden = [tmp_path / "share" / "class", tmp_path / "share" / "class-grades" / "seed.txt"]
    found = sandbox.readable(CHECKOUT / "labs", None, hidden)
    assert tmp_path / "lib" in found
    for place in (*hidden, hidden[0] / "eva", CHECKOUT, CHECKOUT / "dist" / "solutions"):
        allowed = [path for path in found if path == place or path in place.parents]
        assert allowed == [], place


def test_the_maps_of_a_namespace_are_written_while_its_files_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that is private, the files in /proc/self are root's."""
    asked: list[tuple[str, bool]] = []
    private = [True]

    def call(function: object, *arguments: int) -> None:
        if function == "prctl":
            private[0] = arguments[1] == 0

    class Recorder(type(Path())):  # type: ignore[misc]
        def write_text(self, *_: object) -> int:
            asked.append((self.name, private[0]))
            return 0

    monkeypatch.setattr(sandbox, "_call", call)
    monkeypatch.setattr(sandbox, "_libc", SimpleNamespace(prctl="prctl", unshare="unshare"))
    monkeypatch.setattr(sandbox, "Path", Recorder)
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 1000)
    sandbox.separate()
    assert asked == [("setgroups", False), ("uid_map", False), ("gid_map", False)] and private == [True]


def test_each_promise_that_does_not_hold_is_said() -> None:
    assert len(sandbox.Protection(False, False, False).notes()) == 6
    everything = sandbox.Protection(True, True, True, True, True)
    assert everything.limits_processes is False or everything.notes() == []


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("processes", [True, False])
def test_a_filter_is_a_program_whose_jumps_stay_inside(machine: str, processes: bool) -> None:
    steps = list(struct.iter_unpack("=HBBI", seccomp.program(machine, processes=processes, signals_for=7)))
    assert 100 < len(steps) < 4096 and steps[-1] == (0x06, 0, 0, 0x7FFF0000)
    for place, (code, yes, no, _) in enumerate(steps):
        assert code & 0x07 != 0x05 or place + 1 + max(yes, no) < len(steps)


def test_a_machine_without_a_table_is_an_error() -> None:
    with pytest.raises(OSError, match="no table of system calls for vax"):
        seccomp.program("vax", processes=True, signals_for=None)


def test_what_was_left_is_removed_and_no_link_is_followed(tmp_path: Path) -> None:
    thesis, left = tmp_path / "thesis", tmp_path / "left"
    (thesis / "folder").mkdir(parents=True)
    (thesis / "folder" / "file").write_text("years of work")
    left.mkdir()
    here = os.open(left, os.O_PATH)
    for _ in range(300):  # deeper than a path may be long
        os.mkdir("a-long-name-for-a-folder", dir_fd=here)
        inside = os.open("a-long-name-for-a-folder", os.O_PATH, dir_fd=here)
        os.close(here)
        here = inside
    os.close(here)
    (left / "link").symlink_to(thesis)
    (left / "locked").mkdir(0)
    scratch.remove(left)
    scratch.remove(tmp_path / "nothing")
    assert not left.exists() and (thesis / "folder" / "file").read_text() == "years of work"


def test_a_folder_that_gets_too_full_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "FILES", 3)
    (tmp_path / "helper.py").touch()
    meter = scratch.Meter(tmp_path, ["helper.py"])
    assert meter.overfull() == ""
    for number in range(4):
        (tmp_path / str(number)).touch()
    assert "more than" in meter.overfull()
    assert [path.name for path in tmp_path.iterdir()] == ["helper.py"]
