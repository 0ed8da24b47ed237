"""`make repro`: build the OVA and the container image again, elsewhere, and compare with what is delivered.

First this checkout builds as ever, from its cache if it can. Then a copy of the checkout, in a folder of its own with
an empty cache that shares the verified downloads only, builds everything anew. What differs there: folder, umask, time
zone, locale, host name, user, processors, and the clock that the builder's own programs see (libfaketime; a
container's clock is the kernel's, which differs by the time between the builds).

A stage that was built twice with the same outcome is a proof like any other (proofs.py): the second build takes it from
here and makes only what follows. FRESH=1 makes everything twice.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coursebox.build import build_docker, build_ova
from coursebox.core.console import say, step, warn
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.run import capture
from coursebox.core.stages import RECORD
from coursebox.course import Course
from coursebox.delivery import report
from coursebox.trees.repository import link_or_copy
from coursebox.verify.proofs import Claim, Proofs


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
# What these stages keep still carries the times of its making; it is sealed by the next one.
UNSEALED = ("system-vm", "course-cuda")
VERBS = {"vm": ["build-ova"], "cuda": ["build-docker", "--no-load"]}


def run(course: Course, *, fresh: bool = False) -> int:
    """Build, build again elsewhere, and compare; the last lines are `identical <sha256> <file>` for each delivered
    file, or say what differs. fresh: also what was compared before. Returns the exit status.
    """
    cache = Cache.from_environment()
    proofs = Proofs(cache, fresh)
    room = cache.root / "repro"
    shutil.rmtree(room, ignore_errors=True)
    place = room / ELSEWHERE.folder
    own = Cache(place / "cache")
    try:
        copy_checkout(course, place / "checkout")  # now, so that nobody edits the checkout between the builds
        built = {"vm": build_ova(course), "cuda": build_docker(course, load=False)}
        delivered = {kind: report.report(first) for kind, first in built.items()}
        status = 0
        todo = [kind for kind, first in delivered.items() if not proved_before(first, proofs)]
        if todo:
            share_downloads(cache, own)
            share_stages(delivered["vm"], ("tools", "packer"), cache, own, proofs)
            prepare(ELSEWHERE, place, course)
        for kind in todo:
            first = delivered[kind]
            share_stages(first, [stage["name"] for stage in first["stages"]], cache, own, proofs)
            again = build(ELSEWHERE, place, course, kind)
            different = judge(first, again, cache, own)
            if not different:
                keep(first, again, proofs)
            status |= different
            make_room(place)
    finally:
        give_back(own)
        shutil.rmtree(room, ignore_errors=True)
    return status


def claim_of(first: Mapping[str, Any], stage: Mapping[str, Any] | None = None) -> Claim:
    """That a stage of a build, or its file when no stage is named, comes out the same elsewhere."""
    made = asdict(ELSEWHERE)
    if stage is not None:
        return Claim(f"repro/{stage['name']}", {"stage": stage["key"], "files": stage["files"], "elsewhere": made})
    keys = {each["name"]: each["key"] for each in first["stages"]}
    file = {name: first["file"][name] for name in ("name", "sha256")}
    return Claim(f"repro/{first['file']['name']}", {"file": file, "stages": keys, "elsewhere": made})


def proved_before(first: Mapping[str, Any], proofs: Proofs) -> bool:
    """Whether this very file came out the same before, of the same stages; then the line that says so is printed."""
    proof = proofs.find(claim_of(first))
    if proof is None:
        return False
    say(f"  {first['file']['name']} was built twice on {proof.when}, commit {proof.commit}, on {proof.where}")
    print(f"identical {first['file']['sha256']} {first['file']['name']}", flush=True)
    return True


def keep(first: Mapping[str, Any], again: Mapping[str, Any], proofs: Proofs) -> None:
    """Record that a file was built twice with the same outcome, and so were its stages, but those that differ."""
    others = {stage["name"]: stage["files"] for stage in again["stages"]}
    for stage in first["stages"]:
        if stage["name"] in UNSEALED or others.get(stage["name"]) == stage["files"]:
            proofs.keep(claim_of(first, stage), {name: stage["seconds"] for name in stage["files"]})
    name = first["file"]["name"]
    proofs.keep(claim_of(first), {name: sum(stage["seconds"] for stage in first["stages"])})


def share_stages(first: Mapping[str, Any], names: Sequence[str], cache: Cache, own: Cache, proofs: Proofs) -> None:
    """Give a new cache those of the named stages that came out the same elsewhere before, by hard links.

    What a stage that is not sealed holds carries its times; it counts as the same when what was made of it was. A stage
    that was pruned meanwhile is made again.
    """
    for stage in first["stages"]:
        place = own.stages / stage["name"] / stage["key"]
        if stage["name"] not in names or place.exists() or proofs.find(claim_of(first, stage)) is None:
            continue
        files = [cache.stages / stage["name"] / stage["key"] / file for file in (*stage["files"], RECORD)]
        if not all(file.is_file() for file in files):
            continue
        place.mkdir(parents=True)
        for file in files:
            link_or_copy(file, place / file.name)
        for folder in (own.stages, place.parent, place):
            os.chown(folder, os.stat(own.root).st_uid, -1)


def prepare(where: Surroundings, place: Path, course: Course) -> None:
    """What only root, or a user with a range of sub-ids, can make: the tools. Then the place changes its owner.

    Stages that are hard links to those of the cache keep theirs.
    """
    checkout = place / "checkout"
    start(where, checkout, Cache(place / "cache"), HERE, ["-c", MAKE_TOOLS, os.fspath(course_file(course, checkout))])
    shared = ["(", "-path", "*/cache/stages/*", "-type", "f", "-links", "+1", ")"]
    subprocess.run(["find", place, "-not", *shared, "-exec", "chown", "-h", str(where.user), "{}", "+"], check=True)
    place.parents[1].chmod(0o755)


def give_back(own: Cache) -> None:
    """Make the downloads ours again: they are hard links to those of the cache, and went with the place."""
    for path in (own.root / "objects").glob("*/*"):
        os.chown(path, HERE, -1)


def build(where: Surroundings, place: Path, course: Course, kind: str) -> dict[str, Any]:
    """One build in its surroundings; returns its report."""
    checkout = place / "checkout"
    file = course_file(course, checkout)
    with step(f"build {kind} again: umask {where.umask}, {where.timezone}, host {where.host}, user {where.user}"):
        arguments = ["-m", "coursebox.cli", *VERBS[kind], "--course", os.fspath(file)]
        start(where, checkout, Cache(place / "cache"), where.user, arguments)
    (found,) = (checkout / "dist").glob("*.report.json")
    data: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return data


def make_room(place: Path) -> None:
    """Remove what a build left, but the stages that only `prepare` can make."""
    shutil.rmtree(place / "checkout" / "dist")
    for stage in Cache(place / "cache").stages.iterdir():
        if stage.name not in ("tools", "packer"):
            shutil.rmtree(stage)


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


def judge(first: Mapping[str, Any], second: Mapping[str, Any], cache: Cache, own: Cache) -> int:
    """Compare two builds by their reports: the file, then stage by stage where it began; prints the last line."""
    name, one, two = first["file"]["name"], first["file"]["sha256"], second["file"]["sha256"]
    if one == two:
        print(f"identical {one} {name}", flush=True)
        return 0
    for mine, theirs in zip(first["stages"], second["stages"], strict=True):
        if mine["name"] not in UNSEALED and mine["files"] != theirs["files"]:
            warn(f"the builds differ in stage {mine['name']}")
            explain(cache, own, mine, theirs)
    print(f"different {one} {two} {name}", flush=True)
    return 1


def explain(cache: Cache, own: Cache, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Let diffoscope say what differs in the files of a stage, if they are still there."""
    for name in mine["files"]:
        paths = [where.stages / side["name"] / side["key"] / name for where, side in ((cache, mine), (own, theirs))]
        if mine["files"][name] != theirs["files"].get(name) and all(path.exists() for path in paths):
            said = capture(["diffoscope", "--max-report-size", "20000", "--text", "-", *paths]).stdout
            say("\n".join(said.splitlines()[:60]))
