"""`make repro`: build every target again, elsewhere, and compare with what is delivered.

First this checkout builds as ever, from its cache if it can. Then a copy of the checkout, in a folder of its own with
an empty cache that shares the verified downloads only, builds everything anew. What differs there: folder, umask, time
zone, locale, host name, user, processors, and the clock that the builder's own programs see (libfaketime; a
container's clock is the kernel's, which differs by the time between the builds).

A stage that was built twice with the same outcome is a proof like any other (proofs.py): the second build takes it from
here and makes only what follows. FRESH=1 makes everything twice.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from coursebox.build import build_all
from coursebox.core.console import say, warn
from coursebox.core.paths import Cache
from coursebox.core.run import capture
from coursebox.core.settings import settings
from coursebox.course import Course
from coursebox.delivery.report import report
from coursebox.formats.table import chosen, targets
from coursebox.host.engine import remove_images
from coursebox.verify.proofs import Claim, Proofs
from coursebox.verify.second import ELSEWHERE, Second, copy_checkout, own_surroundings

# What these stages keep still carries the times of its making; it is sealed by the next one.
UNSEALED = ("system-vm", "provisioned-cpu", "course-cpu", "provisioned-cuda", "course-cuda")
# What a second build holds on the disk at most, with its images in the engine, in bytes.
NEEDS = {"vm": 16 * 10**9, "cpu": 9 * 10**9, "cuda": 18 * 10**9}
MOST = max(NEEDS.values())


def run(course: Course, *, fresh: bool = False) -> int:
    """Build, build again elsewhere, and compare; the last lines are `identical <sha256> <file>` for each delivered
    file, or say what differs. fresh: also what was compared before. Returns the exit status.

    The second builds of different trees run side by side, each on one processor, as far as the disk has room.
    """
    with own_surroundings(Cache.from_environment()) as (room, root):
        return compare(course, fresh, room, root)


def compare(course: Course, fresh: bool, room: Path, root: Sequence[str]) -> int:
    """The same in an empty folder; root: what stands before a command that needs root."""
    cache = Cache.from_environment()
    proofs = Proofs(cache, fresh)
    processors = sorted(os.sched_getaffinity(0))
    copy_checkout(course, room / "checkout")  # now, so that nobody edits the checkout between the builds
    built = build_all(course, chosen(settings().targets or list(targets())), load=False)
    reports = [(each.target.format.tree, report(each)) for each in built]
    todo = [(tree, first) for tree, first in reports if not proved_before(first, proofs)]
    status, compared = 0, set[str]()
    while todo:
        together = side_by_side([tree for tree, _ in todo], len(processors), shutil.disk_usage(room).free)
        seconds = []
        for number, processor in zip(together, itertools.cycle(processors)):
            first = todo[number][1]
            claims = {claim_of(first, stage).key: stage for stage in first["stages"]}
            same = [stage for key, stage in claims.items() if key in compared or proofs.find(claim_of(first, stage))]
            where = replace(ELSEWHERE, processors=str(processor))
            place = room / first["target"] / where.folder
            seconds.append(Second(where, place, course, first["target"], cache, same, root))
        try:
            for number, second, again in zip(together, seconds, build_again(seconds, room / "checkout"), strict=True):
                first = todo[number][1]
                different = judge(first, again, cache, second.own)
                if not different:
                    compared |= keep(first, again, proofs)
                status |= different
        finally:
            for second in seconds:
                second.give_back()
                remove_images(second.own)
                shutil.rmtree(room / second.target, ignore_errors=True)  # gigabytes that the next ones have room for
        todo = [each for number, each in enumerate(todo) if number not in together]
    return status


def build_again(seconds: Sequence[Second], checkout: Path) -> list[Mapping[str, Any]]:
    """The second builds side by side, from copies of a checkout; what their reports say."""
    for second in seconds:
        second.prepare(checkout)
    with ThreadPoolExecutor(len(seconds)) as pool:
        reports = list(pool.map(lambda second: second.build(), seconds))
    for second in seconds:
        second.give_back()
    return reports


def side_by_side(trees: Sequence[str], processors: int, free: int) -> list[int]:
    """Which of the waiting builds take place now: places in `trees`, the tree of each; the first one always.

    One of each tree, for the later ones take from it what has come out the same; no more than there are processors, and
    than the disk has room for. free: bytes.
    """
    now: list[int] = []
    for number, tree in enumerate(trees):
        held = sum(NEEDS.get(trees[other], MOST) for other in now)
        fits = len(now) < processors and held + NEEDS.get(tree, MOST) <= free
        if not now or (fits and tree not in [trees[other] for other in now]):
            now.append(number)
    return now


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


def keep(first: Mapping[str, Any], again: Mapping[str, Any], proofs: Proofs) -> set[str]:
    """Record that a file was built twice with the same outcome, and so were its stages, but those that differ; returns
    the keys of what is recorded.
    """
    others = {stage["name"]: stage["files"] for stage in again["stages"]}
    kept = []
    for stage in first["stages"]:
        if stage["name"] in UNSEALED or others.get(stage["name"]) == stage["files"]:
            kept.append(proofs.keep(claim_of(first, stage), {name: stage["seconds"] for name in stage["files"]}))
    name = first["file"]["name"]
    kept.append(proofs.keep(claim_of(first), {name: sum(stage["seconds"] for stage in first["stages"])}))
    return {proof.key for proof in kept}


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
