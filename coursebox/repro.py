"""`make repro`: build the OVA twice in different surroundings and compare, stage by stage.

Each build gets a copy of the checkout in a folder of its own and an empty cache that shares the verified downloads
only. What differs: folder, umask, time zone, locale, host name, user, processors, and the clock that the builder's
own programs see (libfaketime; a container's clock is the kernel's, which differs by the minutes between the builds).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coursebox.console import say, step, warn
from coursebox.course import Course
from coursebox.errors import CourseboxError
from coursebox.paths import CHECKOUT, Cache
from coursebox.run import capture
from coursebox.tree.repository import link_or_copy


@dataclass(frozen=True)
class Surroundings:
    """Where a build takes place; `user` is a numeric id, `clock` what faketime understands."""

    folder: str
    umask: str
    timezone: str
    language: str
    host: str
    user: int
    processors: str
    clock: str


HERE = os.getuid()
FIRST = Surroundings("first", "022", "UTC", "C.UTF-8", "builder", HERE, "", "+0")
SECOND = Surroundings(
    "second build, elsewhere/coursé", "077", "Pacific/Chatham", "tr_TR.UTF-8", "elsewhere", 4242, "0", "+400d"
)


def run(course: Course) -> int:
    """Build twice and compare; the last line is `identical <sha256>`, or says what differs. Returns the exit status."""
    cache = Cache.from_environment()
    room = cache.root / "repro"
    shutil.rmtree(room, ignore_errors=True)
    try:
        for where in (FIRST, SECOND):  # both now, so that nobody edits the checkout between the builds
            copy_checkout(course, room / where.folder / "checkout")
        one = build(FIRST, room, course, cache)
        two = build(SECOND, room, course, cache)
        return judge(one, two)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def build(where: Surroundings, room: Path, course: Course, cache: Cache) -> Path:
    """One build in its surroundings; returns its dist folder. Only what a comparison needs stays on the disk."""
    place = room / where.folder
    checkout, own = place / "checkout", Cache(place / "cache")
    share_downloads(cache, own)
    with step(
        f"build in {where.folder!r}: umask {where.umask}, {where.timezone}, host {where.host}, user {where.user}"
    ):
        if where.user != HERE:
            # Only root, or a user with a range of sub-ids, can run mmdebstrap: the tools come before the change.
            start(where, checkout, own, HERE, ["-c", MAKE_TOOLS, os.fspath(course_file(course, checkout))])
            subprocess.run(["chown", "--recursive", "--no-dereference", str(where.user), place], check=True)
            room.chmod(0o755)
        arguments = ["-m", "coursebox.cli", "build-ova", "--course", os.fspath(course_file(course, checkout))]
        start(where, checkout, own, where.user, arguments)
    for stage in ("system", "disk", "vmdk", "ova"):
        shutil.rmtree(own.stages / stage)
    return checkout / "dist"


MAKE_TOOLS = """
import sys
from pathlib import Path
from coursebox.build import make_tools
from coursebox.course import load_course
make_tools(load_course(Path(sys.argv[1])))
"""


def start(where: Surroundings, checkout: Path, own: Cache, user: int, arguments: list[str]) -> None:
    """Run this Python with `arguments` in the surroundings; its output is the user's."""
    inner = [sys.executable, *arguments]
    if where.processors:
        inner = ["taskset", "--cpu-list", where.processors, *inner]
    if where.clock != "+0":
        inner = ["faketime", "-f", where.clock, *inner]
    if user != HERE:
        group = os.stat("/var/run/docker.sock").st_gid
        # The Python environment may lie in a home that only its owner can enter: reading is allowed, nothing else.
        inner = ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={group}",
                 "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *inner]  # fmt: skip
    script = f'hostname "{where.host}"; umask {where.umask}; exec "$@"'
    command = ["unshare", "--uts", "sh", "-c", script, "sh", *inner]
    home = own.root.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "COURSEBOX_CACHE": os.fspath(own.root),
        "COURSEBOX_CACHE_LIMIT": "0",
        "COURSEBOX_CPUS": where.processors,
        "HOME": os.fspath(home),
        "USER": f"user{user}",
        "LOGNAME": f"user{user}",
        "NO_FAKE_STAT": "1",  # the clock differs, the times of files do not: a machine with another clock has true ones
        "TZ": where.timezone,
        "LANG": where.language,
        "LC_ALL": where.language,
        "MIRROR": mirrors(),
    }
    done = subprocess.run(command, cwd=checkout, env=environment, check=False)
    if done.returncode != 0:
        raise CourseboxError(
            f"the build in {checkout} failed with exit status {done.returncode}; its message is above."
        )


def mirrors() -> str:
    """$MIRROR and the data sets beside this checkout: copies of it have other neighbours."""
    beside = CHECKOUT.parent / "shared" / "datasets"
    return " ".join([*os.environ.get("MIRROR", "").split(), *([os.fspath(beside)] if beside.is_dir() else [])])


def copy_checkout(course: Course, target: Path) -> None:
    """The files that git knows or would take, and the course, into a new folder."""
    listed = capture(["git", "-C", CHECKOUT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]).stdout
    for name in filter(None, listed.split("\0")):
        source = CHECKOUT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)
    if not course_file(course, target).is_file():
        raise CourseboxError(
            f"{course.source} is outside of the checkout.", hint="Put it into the checkout to compare builds of it."
        )


def course_file(course: Course, checkout: Path) -> Path:
    """The course's file in a copy of the checkout."""
    try:
        return checkout / course.source.resolve().relative_to(CHECKOUT)
    except ValueError:
        return checkout / course.source.name


def share_downloads(cache: Cache, own: Cache) -> None:
    """Give a new cache the verified downloads of this one, by hard links; nothing that was built."""
    for path in (cache.root / "objects").glob("*/*"):
        target = own.object(path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(path, target)


def judge(one: Path, two: Path) -> int:
    """Compare two dist folders: the file, then stage by stage where it began; prints the last line."""
    first, second = report(one), report(two)
    if first["file"]["sha256"] == second["file"]["sha256"]:
        print(f"identical {first['file']['sha256']}", flush=True)
        return 0
    for mine, theirs in zip(first["stages"], second["stages"], strict=True):
        # The system's export still carries the times of its making; the course's tree is sealed.
        if mine["name"] != "system" and mine["files"] != theirs["files"]:
            warn(f"the builds differ in stage {mine['name']}")
            explain(one.parent.parent, two.parent.parent, mine, theirs)
    print(f"different {first['file']['sha256']} {second['file']['sha256']}", flush=True)
    return 1


def report(dist: Path) -> dict[str, Any]:
    """The build report in a dist folder."""
    (found,) = dist.glob("*.report.json")
    data: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return data


def explain(one: Path, two: Path, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Let diffoscope say what differs in the files of a stage, if they are still there."""
    for name in mine["files"]:
        paths = [
            place / "cache" / "stages" / side["name"] / side["key"] / name
            for place, side in ((one, mine), (two, theirs))
        ]
        if mine["files"][name] != theirs["files"].get(name) and all(path.exists() for path in paths):
            said = capture(["diffoscope", "--max-report-size", "20000", "--text", "-", *paths]).stdout
            say("\n".join(said.splitlines()[:60]))
