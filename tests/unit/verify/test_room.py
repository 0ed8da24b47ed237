"""The room of a run: its own, removed at the end, and swept only when its owner has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.verify.room import own_room

HOLD = """
import sys, time
from pathlib import Path
from coursebox.core.paths import Cache
from coursebox.verify.room import own_room
with own_room(Cache(Path(sys.argv[1])), "repro") as room:
    (room / "half built").mkdir()
    print(room, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def rooms(cache: Cache) -> list[Path]:
    return [path for path in sorted((cache.root / "repro").iterdir()) if path.name != ".lock"]


def test_a_room_is_empty_and_gone_at_the_end(cache: Cache) -> None:
    with own_room(cache, "repro") as room:
        assert [path.name for path in room.iterdir()] == [".lock"]
        assert room.name.startswith(f"{os.getpid()}-")
        (room / "deep").mkdir()
    assert rooms(cache) == []


def test_two_runs_at_once_leave_each_other_alone(cache: Cache) -> None:
    with own_room(cache, "repro") as one:
        (one / "built").touch()
        with own_room(cache, "repro") as two:
            assert one != two and (one / "built").exists()
        assert (one / "built").exists()


def test_a_room_is_swept_when_its_owner_has_ended_and_not_before(cache: Cache) -> None:
    command = [sys.executable, "-c", HOLD, str(cache.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        room = Path(other.stdout.readline().strip())
        with own_room(cache, "repro"):
            assert (room / "half built").is_dir()
        other.send_signal(signal.SIGKILL)
    with own_room(cache, "repro"):
        assert not room.exists()


def test_what_an_earlier_edition_left_is_swept(cache: Cache) -> None:
    (cache.root / "repro" / "ova" / "second build").mkdir(parents=True)
    (cache.root / "repro" / "file").touch()
    with own_room(cache, "repro") as room:
        assert rooms(cache) == [room]


def test_a_cache_that_cannot_be_written_is_a_sentence(cache: Cache) -> None:
    cache.root.parent.mkdir(exist_ok=True)
    cache.root.touch()
    with pytest.raises(CourseboxError, match="Not a directory"), own_room(cache, "repro"):
        pytest.fail("there is no room")
