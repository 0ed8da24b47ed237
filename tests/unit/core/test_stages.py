"""The stage engine: a result is whole or absent, and the same inputs are not worked on twice."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coursebox.core import records
from coursebox.core.digests import sha256_value
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.core.records import file_digest
from coursebox.core.stages import Stages, exclusive, stage_key, tree_digest


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def write(text: str):
    def make(work: Path) -> dict[str, str]:
        (work / "result").write_text(text)
        return {"said": text}

    return make


def never(work: Path) -> None:
    pytest.fail("the stage was made again")


def test_a_result_is_kept_and_found_again(cache: Cache) -> None:
    made = Stages(cache).run("paint", {"colour": "red"}, write("red"))
    found = Stages(cache).run("paint", {"colour": "red"}, never)
    assert (made.reused, found.reused) == (False, True)
    assert found.path("result").read_text() == "red"
    assert found.files == made.files and found.facts == {"said": "red"}


def test_other_inputs_are_another_stage(cache: Cache) -> None:
    stages = Stages(cache)
    one, two = (
        stages.run("paint", {"colour": "red"}, write("red")),
        stages.run("paint", {"colour": "blue"}, write("blue")),
    )
    assert one.key != two.key
    assert [result.path("result").read_text() for result in stages.results] == ["red", "blue"]


def test_the_code_counts_and_its_folder_does_not(tmp_path: Path) -> None:
    for folder, text in (("a", "x = 1"), ("b", "x = 1"), ("c", "x = 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "code.py").write_text(text)
    keys = [stage_key("s", {}, [tmp_path / folder / "code.py"]) for folder in "abc"]
    assert keys[0] == keys[1] != keys[2]


def test_a_failed_stage_leaves_nothing(cache: Cache) -> None:
    def make(work: Path) -> None:
        (work / "half").write_text("half")
        raise CourseboxError("paint ran out")

    with pytest.raises(CourseboxError, match="paint ran out"):
        Stages(cache).run("paint", {}, make)
    assert list(cache.tmp.iterdir()) == [] and not (cache.stages / "paint").exists()


def test_a_full_disk_is_a_sentence(cache: Cache) -> None:
    def make(work: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work / "result"))

    with pytest.raises(CourseboxError) as error:
        Stages(cache).run("paint", {}, make)
    assert error.value.message.endswith("/result: No space left on device")
    assert error.value.hint is not None and "make clean CACHE=1" in error.value.hint
    assert list(cache.tmp.iterdir()) == []


def test_a_folder_without_its_record_is_no_result(cache: Cache) -> None:
    made = Stages(cache).run("paint", {}, write("red"))
    (made.folder / "stage.json").unlink()
    again = Stages(cache).run("paint", {}, write("red"))
    assert not again.reused and again.path("result").read_text() == "red"


def swap(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def flip(path: Path, number: int) -> None:
    """Turn one bit of a file over, and give it its old time back."""
    content, status = bytearray(path.read_bytes()), path.stat()
    at = number % (8 * len(content))
    content[at // 8] ^= 1 << at % 8
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(["result", "deep/result", "stage.json"]), number=st.integers(0, 10_000),
       damage=st.sampled_from(["flip", "cut", "delete", "empty", "swap", "add", "link", "folder"]))  # fmt: skip
def test_a_damaged_result_is_made_again(
    tmp_path_factory: pytest.TempPathFactory, name: str, number: int, damage: str
) -> None:
    """Whatever happens to a file of the cache: the next build has the right bytes and the right digests."""
    cache, made = Cache(tmp_path_factory.mktemp("cache")), []

    def make(work: Path) -> dict[str, str]:
        made.append(work)
        (work / "deep").mkdir()
        (work / "result").write_text("red" * 100)
        (work / "deep" / "result").write_text("blue" * 100)
        return {"said": "red"}

    first = Stages(cache).run("paint", {}, make)
    path = first.folder / name
    if damage == "flip":
        flip(path, number)
    elif damage == "cut":
        os.truncate(path, number % path.stat().st_size)
    elif damage == "delete":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "swap":
        swap(path, first.folder / ("deep/result" if name == "result" else "result"))
    elif damage == "add":
        (first.folder / "deep" / "more").touch()
    elif damage == "link":
        path.unlink()
        path.symlink_to("/dev/null")
    else:
        path.unlink()
        path.mkdir()
    again = Stages(cache).run("paint", {}, make)
    assert (again.files, again.facts) == (first.files, first.facts)
    assert again.path("result").read_text() == "red" * 100
    assert again.path("deep/result").read_text() == "blue" * 100
    assert len(made) == 2 or (name, damage) == ("stage.json", "flip")  # 1e5 and 1E5 are the same number


@pytest.mark.parametrize(
    "text",
    ["[]", "1", "null", '"\\ud800"', "{}", "[" * 100_000, json.dumps({"digest": sha256_value({"x": 1}), "x": 1})],
)
def test_a_record_that_is_none_is_no_result(cache: Cache, text: str) -> None:
    made = Stages(cache).run("paint", {}, write("red"))
    (made.folder / "stage.json").write_text(text)
    assert not Stages(cache).run("paint", {}, write("red")).reused
    (made.folder / "stage.json").write_text(text)
    assert Stages(cache).latest("paint", {}, code=[]) is None


@pytest.mark.parametrize("there", ["file", "dangling link", "link to a folder"])
def test_what_lies_in_a_results_place_and_is_none_gives_way(cache: Cache, tmp_path: Path, there: str) -> None:
    made = Stages(cache).run("paint", {}, write("red"))
    shutil.rmtree(made.folder)
    if there == "file":
        made.folder.touch()
    else:
        made.folder.symlink_to(tmp_path if there == "link to a folder" else tmp_path / "none")
    assert Stages(cache).latest("paint", {}, code=[]) is None
    again = Stages(cache).run("paint", {}, write("red"))
    assert not again.reused and again.path("result").read_text() == "red" and tmp_path.is_dir()


def test_the_digest_of_a_file_does_not_depend_on_how_it_is_stored(tmp_path: Path) -> None:
    """A file system may store zeros as holes, or count blocks late."""
    with (tmp_path / "course.ova").open("wb") as file:
        file.truncate(1 << 20)
    assert file_digest(tmp_path / "course.ova") == hashlib.sha256(bytes(1 << 20)).hexdigest()


def test_a_result_that_was_only_touched_is_read_once_and_kept(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Stages(cache).run("paint", {}, write("red"))
    os.utime(made.path("result"), (5, 5))
    assert Stages(cache).run("paint", {}, never).reused
    monkeypatch.setattr(records, "sha256_file", lambda path: pytest.fail("it is read again"))
    assert Stages(cache).run("paint", {}, never).reused


def test_the_latest_result_is_one_of_the_same_code_and_inputs(cache: Cache, tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("x = 1")
    stages = Stages(cache)
    assert stages.latest("paint", {}, code=[code]) is None
    red = stages.run("paint", {"colour": "red", "brush": 1}, write("red"), code=[code])
    blue = stages.run("paint", {"colour": "blue", "brush": 1}, write("blue"), code=[code])
    os.utime(red.folder, (1, 1))
    assert stages.latest("paint", {"brush": 1}, code=[code]) == blue.folder
    assert stages.latest("paint", {"colour": "red"}, code=[code]) == red.folder
    assert stages.latest("paint", {"brush": 2}, code=[code]) is None
    blue.path("result").write_text("other")
    assert stages.latest("paint", {"brush": 1}, code=[code]) == red.folder
    code.write_text("x = 2")
    assert stages.latest("paint", {"brush": 1}, code=[code]) is None


def test_a_killed_stage_is_cleared_away_and_made_again(cache: Cache) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from coursebox.core.paths import Cache;"
        "from coursebox.core.stages import Stages, exclusive\n"
        "def make(work):\n (work / 'result').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "with exclusive(cache): Stages(cache).run('paint', {}, make)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(cache.root)], check=False)
    assert done.returncode == -9 and len(list(cache.tmp.iterdir())) == 1
    with exclusive(cache):
        assert list(cache.tmp.iterdir()) == []
        assert not Stages(cache).run("paint", {}, write("red")).reused


def test_two_builds_do_not_share_a_cache(cache: Cache) -> None:
    with (
        exclusive(cache),
        pytest.raises(CourseboxError, match="another build is using the cache"),
        exclusive(cache),
    ):
        pytest.fail("both hold it")


def test_inputs_stand_in_the_record(cache: Cache) -> None:
    made = Stages(cache).run("paint", {"colour": "red"}, write("red"))
    record = json.loads((made.folder / "stage.json").read_text())
    assert record["inputs"] == {"colour": "red"} and set(record["files"]) == {"result"}


def test_tree_digest_sees_names_contents_and_modes_only(tmp_path: Path) -> None:
    def tree(name: str, files: dict[str, str], mode: int = 0o644) -> str:
        for path, text in files.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(mode)
        return tree_digest(tmp_path / name)

    files = {"a b/ü.py": "1", "x": "2"}
    same = tree("one", files)
    assert (
        tree("two", {**files, "__pycache__/x.pyc": "3", "x~": "4", ".x.swp": "5", ".mypy_cache/x": "6"}, 0o600) == same
    )
    assert tree("three", {**files, "x": "3"}) != same
    assert tree("four", {"a b/ü.py": "1", "y": "2"}) != same
    assert tree("five", files, 0o755) != same


def test_holes_do_not_count_in_the_digest_of_a_disk(tmp_path: Path) -> None:
    def disk(name: str, *, dense: bool, text: bytes = b"text", place: int = 20 << 20) -> str:
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(64 << 20)
            if dense:
                file.write(bytes(8 << 20))
            file.seek(place)
            file.write(text)
        return file_digest(path)

    assert disk("sparse", dense=False) == disk("dense", dense=True) != disk("other", dense=False, text=b"test")
    assert disk("sparse", dense=False) != disk("elsewhere", dense=False, place=40 << 20)
