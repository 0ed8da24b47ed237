"""A build killed in each of its stages leaves nothing half-made: the next one finishes, with the same digest."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coursebox.core.paths import CHECKOUT, Cache
from coursebox.course import load_course
from coursebox.host.engine import remove_images
from coursebox.trees.repository import link_or_copy
from coursebox.verify.room import own_room

STAGES = ("tools", "bootstrap-vm", "system-vm", "provisioned-vm", "course-vm", "disk", "vmdk", "ova")
INTO = 0.4  # the share of a stage's usual time, or of 30 s, after which it is killed
PATIENCE = 1800.0


@pytest.fixture
def room() -> Iterator[Path]:
    """A cache that shares the downloads of the real one and holds no finished stage."""
    cache = Cache.from_environment()
    with own_room(cache, "interrupted") as place:
        own = Cache(place / "cache")
        for path in (cache.root / "objects").glob("*/*"):
            target = own.object(path.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, target)
        yield place
        remove_images(own)


def test_killed_in_each_stage(room: Path) -> None:
    course = load_course(Path(os.environ.get("COURSE") or CHECKOUT / "course.toml"))
    name = f"{course.name}-{course.version}"
    delivered = json.loads((CHECKOUT / "dist" / f"{name}.report.json").read_text(encoding="utf-8"))
    usual = {stage["name"]: stage["seconds"] for stage in delivered["stages"]}
    command = [
        sys.executable,
        "-m",
        "coursebox",
        "ova",
        "--course",
        str(course.source),
        "--dist",
        f"{room}/dist",
    ]
    environment = {**os.environ, "COURSEBOX_CACHE": f"{room}/cache", "COURSEBOX_CACHE_LIMIT": "0"}
    for number, stage in enumerate(STAGES):
        into = INTO * min(usual[stage], 30.0)
        # A stage that took long when it was built may be done sooner now: then once more, and killed earlier.
        while not killed_in(stage, into, command, environment, room / f"{number}-{stage}.log"):
            for made in STAGES[number:]:
                shutil.rmtree(room / "cache" / "stages" / made, ignore_errors=True)
            shutil.rmtree(room / "dist", ignore_errors=True)
            into /= 2
            assert into > 0.05, f"{stage} cannot be interrupted"
        assert not (room / "dist" / f"{name}.ova").exists()
        assert "mmdebstrap" not in Path("/proc/self/mounts").read_text(encoding="utf-8")
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list((room / "cache" / "tmp").iterdir())
    report = json.loads((room / "dist" / f"{name}.report.json").read_text(encoding="utf-8"))
    assert report["file"]["sha256"] == delivered["file"]["sha256"]
    left = ["docker", "ps", "--all", "--quiet", "--filter", "label=org.coursebox.build"]
    assert subprocess.run(left, capture_output=True, text=True, check=True).stdout == ""


def killed_in(stage: str, into: float, command: list[str], environment: dict[str, str], log: Path) -> bool:
    """Start a build and kill it `into` seconds after `stage` has begun; whether it was killed in that stage."""
    with log.open("wb") as output:
        build = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    wait_for(log, f"‣ {stage} …", build)
    time.sleep(into)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(build.pid, signal.SIGKILL)  # with Packer, Ansible and the docker client
    build.wait()
    finished = {path.parent.parent.name for path in Path(environment["COURSEBOX_CACHE"]).glob("stages/*/*/stage.json")}
    return stage not in finished


def wait_for(log: Path, line: str, build: subprocess.Popen[bytes]) -> None:
    """Wait until the build says `line`; fail when it ends or takes too long before."""
    end = time.monotonic() + PATIENCE
    while line not in log.read_text(encoding="utf-8", errors="replace"):
        assert build.poll() is None, f"the build ended before it said {line!r}:\n{log.read_text()}"
        assert time.monotonic() < end, f"the build did not say {line!r} in {PATIENCE:.0f} s"
        time.sleep(0.1)
