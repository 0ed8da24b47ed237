"""A second build of a target under other circumstances, for `make repro` to compare with the first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coursebox.core.console import step
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.records import RECORD
from coursebox.core.run import capture
from coursebox.core.settings import settings
from coursebox.course import Course
from coursebox.fetch.decided import SUBSTITUTES
from coursebox.host.packages import ask_for_root
from coursebox.trees.repository import link_or_copy
from coursebox.verify.room import own_room


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
ELSEWHERE = Surroundings(
    "second build, elsewhere/coursé", "077", "Pacific/Chatham", "tr_TR.UTF-8", "elsewhere", 4242, "0", "+400d"
)


@dataclass(frozen=True)
class Second:
    """The second build of one target, in a place of its own with a copy of the checkout and a cache.

    cache: that of the first build. shared: the stages of the first build, as its report names them, that are not made
    again. root: what stands before a command that needs root.
    """

    where: Surroundings
    place: Path
    course: Course
    target: str
    cache: Cache
    shared: Sequence[Mapping[str, Any]]
    root: Sequence[str] = ()

    @property
    def own(self) -> Cache:
        return Cache(self.place / "cache")

    @property
    def checkout(self) -> Path:
        return self.place / "checkout"

    def prepare(self, checkout: Path) -> None:
        """What only root, or a user with a range of sub-ids, can make: the tools. Then the place changes its owner.

        Files with several names keep theirs: they are those of the first build's cache.
        """
        shutil.copytree(checkout, self.checkout)
        share_downloads(self.cache, self.own)
        share_stages(self.shared, self.cache, self.own)
        tools: list[str | Path] = ["-c", MAKE_TOOLS, course_file(self.course, self.checkout)]
        start(self.where, self.checkout, self.own, HERE, tools, self.root)
        self._give(self.where.user, ["-not", "(", "-type", "f", "-links", "+1", ")"])
        self.place.parents[1].chmod(0o755)
        self.place.parent.chmod(0o755)

    def give_back(self) -> None:
        """Make the place ours again, so that what differs can be read, and the place be removed; root can anyway."""
        if self.root and self.place.exists():
            self._give(HERE, ["-user", str(self.where.user)])

    def _give(self, user: int, which: Sequence[str]) -> None:
        command = ["find", os.fspath(self.place), *which, "-exec", "chown", "-h", str(user), "{}", "+"]
        subprocess.run([*self.root, *command], check=True)

    def build(self) -> dict[str, Any]:
        """The build in its surroundings; returns its report."""
        where, target = self.where, self.target
        title = f"build {target} again: umask {where.umask}, {where.timezone}, host {where.host}, user {where.user}"
        with step(title):
            command = ["-m", "coursebox", "build", target, "--no-load", "--course"]
            command.append(os.fspath(course_file(self.course, self.checkout)))
            start(where, self.checkout, self.own, where.user, command, self.root)
        (found,) = (self.checkout / "dist").glob("*.report.json")
        data: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
        return data


def share_stages(stages: Sequence[Mapping[str, Any]], cache: Cache, own: Cache) -> None:
    """Give a new cache these finished stages (name, key, files) of the other one, by hard links; but what was pruned
    meanwhile. A report names a stage twice where the target's file and its licences need it.
    """
    for (name, key), names in {(stage["name"], stage["key"]): stage["files"] for stage in stages}.items():
        place = own.stages / name / key
        files = [cache.stages / name / key / file for file in (*names, RECORD)]
        if all(file.is_file() for file in files):
            for file in files:
                target = place / file.relative_to(files[-1].parent)
                target.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(file, target)


MAKE_TOOLS = """
import sys
from pathlib import Path
from coursebox.prepare import make_tools
from coursebox.course import load_course
make_tools(load_course(Path(sys.argv[1])))
"""


@contextmanager
def own_surroundings(cache: Cache) -> Iterator[tuple[Path, list[str]]]:
    """A folder for second builds, and what stands before a command that needs root.

    All that can be refused is asked for here, before anything is built. Raises CourseboxError.
    """
    with ask_for_root("building as another user", "make repro") as root, own_room(cache, "repro") as room:
        check_surroundings(root)
        yield room, root


def check_surroundings(root: Sequence[str]) -> None:
    """Raise CourseboxError unless root can give a program a host name of its own."""
    if subprocess.run([*root, "unshare", "--uts", "true"], check=False).returncode != 0:
        raise CourseboxError(
            "a second build needs a host name of its own, and `unshare --uts` is refused here",
            hint="run it on a machine, or in a container with the capability SYS_ADMIN",
        )


def start(
    where: Surroundings, checkout: Path, own: Cache, user: int, arguments: Sequence[str | Path], root: Sequence[str]
) -> None:
    """Run this Python with `arguments` in the surroundings; its output is the user's.

    root: what stands before a command that needs root.
    """
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
    elif root:
        inner = ["setpriv", f"--reuid={HERE}", f"--regid={os.getgid()}", "--init-groups", *inner]
    script = f'hostname "{where.host}"; umask {where.umask}; exec "$@"'
    home = own.root.parent / "home"
    home.mkdir(exist_ok=True)
    changed = {
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
    kept = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
    named = ["env", *(f"{name}={value}" for name, value in (kept | changed).items())] if root else []  # sudo clears it
    command = [*root, *named, "unshare", "--uts", "sh", "-c", script, "sh", *inner]
    done = subprocess.run(command, cwd=checkout, env={**os.environ, **changed}, check=False)
    if done.returncode != 0:
        raise CourseboxError(
            f"the build in {checkout} failed with exit status {done.returncode}; its message is above."
        )


def mirrors() -> str:
    """$MIRROR and the data sets beside this checkout: copies of it have other neighbours."""
    beside = CHECKOUT.parent / "shared" / "datasets"
    return " ".join([*settings().mirror.split(), *([os.fspath(beside)] if beside.is_dir() else [])])


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
    """Give a new cache the verified downloads of this one, by hard links, and what was decided about substitutes;
    nothing that was built.

    The user of the second build reads the links, and is not their owner. Where a user may link own files only
    (proc_sys_fs(5), protected_hardlinks), that build copies what it lays out: 0.5 GB for the OVA, 2.9 GB for the image,
    as long as it lasts.
    """
    if (cache.root / SUBSTITUTES).is_dir():
        shutil.copytree(cache.root / SUBSTITUTES, own.root / SUBSTITUTES)
    for path in (cache.root / "objects").glob("*/*"):
        target = own.object(path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(path, target)
