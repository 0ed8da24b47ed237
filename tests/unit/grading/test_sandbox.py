"""What a submission may read: programs and libraries, but neither the checks nor the grader."""

from __future__ import annotations

from pathlib import Path

from course_grade import sandbox

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
