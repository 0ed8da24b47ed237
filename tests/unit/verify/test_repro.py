"""`make repro`: a stage that came out the same twice is a proof, and only such a one is shared."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.core.records import RECORD, file_digest, write_record
from coursebox.core.stages import Stages
from coursebox.fetch import decided
from coursebox.lock.lockfile import Locks
from coursebox.verify import repro, second
from coursebox.verify.proofs import Proofs
from coursebox.verify.repro import UNSEALED, claim_of, keep, proved_before
from coursebox.verify.second import Second, share_stages

Report = dict[str, Any]
STAGES = {
    "vm": ("tools", "packer", "bootstrap-vm", "system-vm", "provisioned-vm", "course-vm", "ova"),
    "cuda": ("tools", "packer", "system-cuda", "provisioned-cuda", "course-cuda", "image"),
}


def report(kind: str = "vm", **digests: str) -> Report:
    """What the report of a build says; digests: of the files of a stage, where they are not the usual ones."""
    stages = [
        {"name": name, "key": f"{name}-key", "seconds": 2.0, "reused": False,
         "files": {f"{name}.tar": digests.get(name.replace("-", "_"), f"{name} digest")}}
        for name in STAGES[kind]
    ]  # fmt: skip
    name = {"vm": "course-1.ova", "cuda": "course-1-cuda.oci.tar"}[kind]
    file = {"name": name, "size": 7, "sha256": digests.get("file", f"{kind} digest")}
    return {"target": kind, "file": file, "stages": stages}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def proofs(cache: Cache) -> Proofs:
    return Proofs(cache)


def stages_of(first: Report, proofs: Proofs) -> list[str]:
    """The stages of a build that have a proof."""
    return [stage["name"] for stage in first["stages"] if proofs.find(claim_of(first, stage)) is not None]


# ------------------------------------------------------------------------------------------------------ claims


def test_an_identical_build_proves_its_file_and_all_its_stages(proofs: Proofs) -> None:
    keep(report(), report(), proofs)
    assert stages_of(report(), proofs) == [*STAGES["vm"]]
    proof = proofs.find(claim_of(report()))
    assert proof is not None and proof.claim == "repro/course-1.ova" and proof.seconds == 14.0


def test_a_stage_that_differs_is_not_proved_by_the_same_file(proofs: Proofs) -> None:
    """But what a stage that is not sealed holds carries its times."""
    keep(report(), report(bootstrap_vm="other", system_vm="other times"), proofs)
    assert "system-vm" in UNSEALED
    assert stages_of(report(), proofs) == [name for name in STAGES["vm"] if name != "bootstrap-vm"]
    assert proofs.find(claim_of(report())) is not None


def test_a_stage_that_was_made_otherwise_is_another_claim(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    first = report()
    keep(first, first, proofs)
    for change in ("key", "files"):
        other = deepcopy(first)
        other["stages"][2][change] = {"bootstrap-vm.tar": "other"} if change == "files" else "other"
        assert "bootstrap-vm" not in stages_of(other, proofs)
    keys = deepcopy(first)
    keys["stages"][0]["key"] = "other"
    assert proofs.find(claim_of(keys)) is None
    for field in ("name", "sha256"):
        assert proofs.find(claim_of({**first, "file": {**first["file"], field: "other"}})) is None
    assert proofs.find(claim_of({**first, "file": {**first["file"], "size": 8}})) is not None
    monkeypatch.setattr(repro, "ELSEWHERE", replace(repro.ELSEWHERE, umask="000"))
    assert stages_of(first, proofs) == [] and proofs.find(claim_of(first)) is None


def test_what_was_compared_before_is_said_with_its_digest(proofs: Proofs, capsys: pytest.CaptureFixture[str]) -> None:
    assert not proved_before(report(), proofs)
    assert capsys.readouterr().out == ""
    keep(report(), report(), proofs)
    assert proved_before(report(), proofs)
    printed = capsys.readouterr()
    assert printed.out == "identical vm digest course-1.ova\n"
    proof = proofs.find(claim_of(report()))
    assert proof is not None and f"was built twice on {proof.when}" in printed.err
    assert not proved_before(report(), Proofs(proofs.cache, fresh=True))
    assert not proved_before(report(file="other"), proofs)


# ----------------------------------------------------------------------------------------------- shared stages


def make_stages(cache: Cache, first: Report) -> None:
    """The stages of a build as they lie in its cache."""
    for stage in first["stages"]:
        place = cache.stages / stage["name"] / stage["key"]
        place.mkdir(parents=True)
        for name in stage["files"]:
            (place / name).write_text(name)
        files = {name: file_digest(place / name) for name in stage["files"]}
        write_record(place, {"files": files, "facts": {}, "seconds": 2.0})


@pytest.fixture
def own(tmp_path: Path) -> Cache:
    """The cache of the second build."""
    made = Cache(tmp_path / "elsewhere" / "cache")
    made.root.mkdir(parents=True)
    return made


def shared(own: Cache) -> set[str]:
    return {path.parent.parent.name for path in own.stages.glob(f"*/*/{RECORD}")}


def test_a_shared_stage_is_a_finished_one_and_takes_no_room(cache: Cache, own: Cache) -> None:
    first = report()
    make_stages(cache, first)
    share_stages(first["stages"][:1], cache, own)
    for name in ("tools.tar", RECORD):
        mine, theirs = cache.stages / "tools" / "tools-key" / name, own.stages / "tools" / "tools-key" / name
        assert mine.samefile(theirs)
    assert shared(own) == {"tools"}
    assert Stages(own)._finished("tools", "tools-key", own.stages / "tools" / "tools-key") is not None


def test_a_stage_that_a_report_names_twice_is_shared_once(cache: Cache, own: Cache) -> None:
    """The licences of a target come from the stages of its file: a report lists those again."""
    first = report()
    make_stages(cache, first)
    share_stages([*first["stages"][:1], *first["stages"][:1]], cache, own)
    assert shared(own) == {"tools"}


@pytest.mark.parametrize("gone", ["tools.tar", RECORD, ""])
def test_a_stage_that_was_pruned_is_not_shared(cache: Cache, own: Cache, gone: str) -> None:
    first = report()
    make_stages(cache, first)
    place = cache.stages / "tools" / "tools-key"
    place.rename(place.with_name("elsewhere")) if not gone else (place / gone).unlink()
    share_stages(first["stages"], cache, own)
    assert shared(own) == {*STAGES["vm"]} - {"tools"}
    assert not (own.stages / "tools").exists()


def test_preparing_gives_everything_away_but_shared_stages(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hard link is the file itself: with another owner it would be another one's in the cache, too."""
    download = cache.object("ab" * 32)
    download.parent.mkdir(parents=True)
    download.write_text("")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "one.py").write_text("")
    first = report()
    make_stages(cache, first)
    packer = next(stage for stage in first["stages"] if stage["name"] == "packer")
    place = tmp_path / "room" / "ova" / "second build, elsewhere" / "coursé"
    made = Second(repro.ELSEWHERE, place, SimpleNamespace(), "ova", cache, [packer])  # type: ignore[arg-type]

    def start(
        where: second.Surroundings,
        checkout: Path,
        own: Cache,
        user: int,
        arguments: Sequence[str | Path],
        root: Sequence[str],
    ) -> None:
        (own.stages / "tools" / "tools-key").mkdir(parents=True)
        (own.stages / "tools" / "tools-key" / "tools.tar").write_text("made here")

    chown = tmp_path / "bin" / "chown"
    chown.parent.mkdir()
    chown.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{tmp_path}/chowned"\n')
    chown.chmod(0o755)
    monkeypatch.setattr(second, "start", start)
    monkeypatch.setattr(second, "course_file", lambda course, checkout: checkout / "course.toml")
    monkeypatch.setenv("PATH", f"{chown.parent}:{os.environ['PATH']}")
    made.prepare(checkout)

    options, *names = (tmp_path / "chowned").read_text().splitlines()
    assert options == "-h" and names.pop(0) == "4242"
    given = {Path(name) for name in names}
    kept = made.own.stages / "packer" / "packer-key"
    shared_download = made.own.object(download.name)
    assert shared_download.samefile(download)
    assert given == {place, *place.rglob("*")} - {kept / "packer.tar", kept / RECORD, shared_download}
    assert {kept, made.own.stages / "tools" / "tools-key" / "tools.tar", made.checkout / "one.py"} <= given
    for folder in place.parents[:2]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755  # the other user finds the way


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_whole_second_build_leaves_the_owners_in_the_cache_alone(cache: Cache, tmp_path: Path) -> None:
    first = report()
    make_stages(cache, first)
    download = cache.object("ab" * 32)
    download.parent.mkdir(parents=True)
    download.write_text("")
    decided.keep(cache, LOCKS, {})
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    before = {path: (path.lstat().st_uid, path.lstat().st_mode) for path in cache.root.rglob("*")}
    course = SimpleNamespace(source=second.CHECKOUT / "course.toml")
    place = tmp_path / "room" / "ova" / "second" / "build"
    made = Second(repro.ELSEWHERE, place, course, "ova", cache, first["stages"])  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second, "start", lambda *_: None)
        made.prepare(checkout)
    given = [path for path in made.own.root.rglob("*") if path.lstat().st_uid == 4242]
    assert made.own.object(download.name).parent in given
    assert decided.read(made.own, LOCKS).when  # both builds take the same substitutes
    made.give_back()
    assert {path: (path.lstat().st_uid, path.lstat().st_mode) for path in cache.root.rglob("*")} == before


CHECK = second.check_surroundings
LOCKS = Locks(0, "20261101T000000Z", "trixie", "amd64", {}, {}, {})


@pytest.fixture
def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plain user with a sudo that notes what it runs, and runs nothing; the file of its notes."""
    notes = tmp_path / "sudo-calls"
    script = tmp_path / "sudo-bin" / "sudo"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>"{notes}"\nexit 0\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return notes


def test_with_sudo_the_place_is_ours_again_at_the_end(own: Cache, sudo: Path) -> None:
    made = Second(repro.ELSEWHERE, own.root.parent, SimpleNamespace(), "ova", own, [], ["sudo", "--"])  # type: ignore[arg-type]
    made.give_back()
    assert sudo.read_text() == f"-- find {own.root.parent} -user 4242 -exec chown -h {os.getuid()} {{}} +\n"


def test_with_sudo_a_build_elsewhere_gets_what_sudo_clears(own: Cache, sudo: Path, tmp_path: Path) -> None:
    second.start(repro.ELSEWHERE, tmp_path, own, second.HERE, ["-c", "pass"], ["sudo", "--"])
    (line,) = sudo.read_text().splitlines()
    words = line.split()
    assert words[:2] == ["--", "env"] and f"COURSEBOX_CACHE={own.root}" in words
    assert line.index("unshare --uts") < line.index(f"setpriv --reuid={second.HERE} ") < line.index("-c pass")


# ------------------------------------------------------------------------------------------------ the whole


class Builds:
    """Stands for the builds. first, second: what their reports say; built: what was built again; shared: its stages
    that were taken from the first build; processors: on which each second build ran.
    """

    def __init__(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = cache
        self.first = {kind: report(kind) for kind in STAGES}
        self.second = {kind: report(kind) for kind in STAGES}
        self.kinds: Sequence[str] = [*STAGES]
        self.built: list[str] = []
        self.shared: dict[str, set[str]] = {}
        self.processors: dict[str, str] = {}
        self.given_back: list[str] = []
        self.cleared: list[Cache] = []
        self.refused: CourseboxError | None = None
        self.error: BaseException | None = None
        monkeypatch.setenv("COURSEBOX_CACHE", str(cache.root))
        monkeypatch.setattr(repro.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(second, "check_surroundings", self.check)
        for name, function in {
            "build_all": lambda course, targets, load: [self.built_first(kind) for kind in self.kinds],
            "report": lambda built: self.first[built.target.name],
            "copy_checkout": lambda course, target: target.mkdir(parents=True),
            "remove_images": lambda cache: self.cleared.append(cache),
            "chosen": lambda names: names, "targets": lambda: dict.fromkeys(STAGES), "Second": self.one,
        }.items():  # fmt: skip
            monkeypatch.setattr(repro, name, function)

    def built_first(self, kind: str) -> SimpleNamespace:
        tree = "vm" if kind == "disk" else kind
        return SimpleNamespace(target=SimpleNamespace(name=kind, format=SimpleNamespace(tree=tree)))

    def one(
        self, where: second.Surroundings, place: Path, course: object, target: str, cache: Cache,
        shared: Sequence[dict[str, Any]], root: Sequence[str],
    ) -> SimpleNamespace:  # fmt: skip
        self.shared[target] = {stage["name"] for stage in shared}
        self.processors[target] = where.processors
        return SimpleNamespace(
            target=target, own=Cache(place / "cache"), prepare=lambda checkout: place.mkdir(parents=True),
            build=lambda: self.build(target), give_back=lambda: self.given_back.append(target),
        )  # fmt: skip

    def places(self) -> list[str]:
        """The targets that have a place on the disk now."""
        (room,) = [path for path in (self.cache.root / "repro").iterdir() if path.is_dir()]
        return sorted(path.name for path in room.iterdir() if path.is_dir() and path.name != "checkout")

    def check(self, root: Sequence[str]) -> None:
        if self.refused:
            raise self.refused

    def build(self, target: str) -> Report:
        if self.error:
            raise self.error
        self.built.append(target)
        return self.second[target]

    def run(self, *, fresh: bool = False, kinds: Sequence[str] = (*STAGES,)) -> int:
        self.built, self.shared, self.given_back, self.kinds = [], {}, [], kinds
        try:
            return repro.run(SimpleNamespace(), fresh=fresh)  # type: ignore[arg-type]
        finally:
            assert [path.name for path in (self.cache.root / "repro").iterdir()] == [".lock"]


@pytest.fixture
def builds(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Builds:
    return Builds(cache, monkeypatch)


IDENTICAL = ["identical cuda digest course-1-cuda.oci.tar", "identical vm digest course-1.ova"]


def test_what_is_proved_is_not_built_again(builds: Builds, capsys: pytest.CaptureFixture[str]) -> None:
    assert builds.run() == 0
    assert sorted(builds.built) == ["cuda", "vm"] and builds.shared == {"vm": set(), "cuda": set()}
    assert sorted(capsys.readouterr().out.splitlines()) == IDENTICAL
    assert builds.run() == 0
    assert (builds.built, builds.shared) == ([], {})
    assert sorted(capsys.readouterr().out.splitlines()) == IDENTICAL
    assert builds.run(fresh=True) == 0
    assert sorted(builds.built) == ["cuda", "vm"] and builds.shared == {"vm": set(), "cuda": set()}
    assert sorted(capsys.readouterr().out.splitlines()) == IDENTICAL
    assert set(builds.given_back) == {"cuda", "vm"}
    assert len(builds.cleared) == 4 and builds.cache not in builds.cleared


@pytest.mark.parametrize(
    ("trees", "processors", "free", "now"),
    [
        (["vm", "cpu", "cuda"], 2, 100, [0, 1]),
        (["vm", "cpu", "cuda"], 3, 100, [0, 1, 2]),
        (["vm", "cpu", "cuda"], 2, 25, [0, 1]),
        (["vm", "cuda", "cpu"], 2, 25, [0, 2]),  # what does not fit waits, and lets the others pass
        (["cuda"], 2, 1, [0]),  # one always: how much it needs is no promise
        (["vm", "vm", "vm"], 2, 100, [0]),
        (["vm", "vm", "cpu"], 4, 100, [0, 2]),
        (["of-a-package", "cuda"], 2, 36, [0, 1]),
        (["of-a-package", "cuda"], 2, 35, [0]),
    ],
)
def test_builds_stand_side_by_side_as_far_as_the_disk_has_room(
    trees: list[str], processors: int, free: int, now: list[int]
) -> None:
    assert repro.side_by_side(trees, processors, free * 10**9) == now


def test_what_a_build_held_is_gone_before_the_next_one(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images and a machine side by side have filled a disk with 30 GB of room."""
    monkeypatch.setattr(repro.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    left: list[list[str]] = []
    build = builds.build
    builds.build = lambda target: (left.append(builds.places()), build(target))[1]  # type: ignore[method-assign]
    assert builds.run() == 0
    assert left == [["vm"], ["cuda"]]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_second_file_of_a_tree_takes_from_the_first_what_is_the_same(builds: Builds, fresh: bool) -> None:
    """However many formats there are, each tree is made twice, and not once for each format."""
    disk = {**report("vm"), "target": "disk", "file": {"name": "course-1.disk", "size": 7, "sha256": "disk digest"}}
    disk["stages"] = [*disk["stages"][:-1], {**disk["stages"][-1], "name": "disk", "key": "disk-key"}]
    builds.first["disk"] = builds.second["disk"] = disk
    assert builds.run(fresh=fresh, kinds=["vm", "disk", "cuda"]) == 0
    assert sorted(builds.built[:2]) == ["cuda", "vm"] and builds.built[2:] == ["disk"]
    assert builds.shared == {"vm": set(), "cuda": set(), "disk": {*STAGES["vm"]} - {"ova"}}


def test_a_second_file_makes_anew_what_the_first_one_did_not_prove(
    builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repro, "explain", lambda *_: None)
    disk = {**report("vm"), "target": "disk", "file": {"name": "course-1.disk", "size": 7, "sha256": "disk digest"}}
    builds.first["disk"] = builds.second["disk"] = disk
    builds.second["vm"] = report("vm", file="other", ova="other")
    assert builds.run(kinds=["vm", "disk"]) == 1
    assert builds.shared["disk"] == set()


def test_what_is_refused_is_said_before_anything_is_built(builds: Builds) -> None:
    builds.refused = CourseboxError("unshare is refused")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CourseboxError, match="unshare is refused"):
        patch.setattr(repro, "build_all", lambda *_, **__: pytest.fail("it was built"))
        builds.run()


@pytest.mark.parametrize("program", ["sudo", "unshare"])
def test_root_is_asked_for_before_anything_is_built(
    builds: Builds, sudo: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a password, or without the right to a host name, an hour of building would be in vain."""
    script = sudo.with_name("sudo-bin") / "sudo"
    script.write_text(
        script.read_text().replace("exit 0", f'case "$*" in *{program.replace("sudo", "true")}*) exit 1; esac')
    )
    monkeypatch.setattr(second, "check_surroundings", CHECK)
    monkeypatch.setattr(repro, "build_all", lambda *_, **__: pytest.fail("it was built"))
    with pytest.raises(CourseboxError, match="sudo refuses it" if program == "sudo" else "`unshare --uts` is refused"):
        repro.run(SimpleNamespace())  # type: ignore[arg-type]


def test_each_second_build_has_a_processor(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repro.os, "sched_getaffinity", lambda pid: {5, 7})
    builds.run()
    assert builds.processors == {"vm": "5", "cuda": "7"}
    monkeypatch.setattr(repro.os, "sched_getaffinity", lambda pid: {3})
    builds.run(fresh=True)
    assert builds.processors == {"vm": "3", "cuda": "3"}


def test_after_an_edit_only_what_follows_is_built_again(builds: Builds, capsys: pytest.CaptureFixture[str]) -> None:
    builds.run()
    edited = report("vm", file="edited", course_vm="edited", ova="edited")
    edited["stages"][-2]["key"] = edited["stages"][-1]["key"] = "edited-key"
    builds.first["vm"] = builds.second["vm"] = edited
    capsys.readouterr()
    assert builds.run() == 0
    assert builds.built == ["vm"]
    assert builds.shared == {"vm": {"tools", "packer", "bootstrap-vm", "system-vm", "provisioned-vm"}}
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == ["identical cuda digest course-1-cuda.oci.tar", "identical edited course-1.ova"]


def test_a_build_that_differs_is_not_kept(
    builds: Builds, proofs: Proofs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(repro, "explain", lambda *_: None)
    builds.second["vm"] = report("vm", file="other", ova="other")
    assert builds.run() == 1
    printed = capsys.readouterr().out
    assert "different vm digest other course-1.ova\n" in printed
    assert "identical cuda digest course-1-cuda.oci.tar\n" in printed
    assert proofs.find(claim_of(report("vm"))) is None
    assert stages_of(report("vm"), proofs) == ["tools", "packer"]  # those of the image, which was the same
    assert stages_of(report("cuda"), proofs) == [*STAGES["cuda"]]
    assert builds.run() == 1
    assert builds.built == ["vm"]


def test_an_error_of_the_second_build_leaves_no_proof_and_nothing_behind(builds: Builds, proofs: Proofs) -> None:
    builds.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        builds.run()
    assert set(builds.given_back) == {"cuda", "vm"}
    assert stages_of(report("vm"), proofs) == [] and proofs.find(claim_of(report("vm"))) is None
