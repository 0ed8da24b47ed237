"""`make repro`: a stage that came out the same twice is a proof, and only such a one is shared."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coursebox.core.paths import Cache
from coursebox.core.stages import RECORD, Stages
from coursebox.course import Course
from coursebox.verify import repro
from coursebox.verify.proofs import Proofs
from coursebox.verify.repro import UNSEALED, claim_of, give_back, keep, prepare, proved_before, share_stages

Report = dict[str, Any]
STAGES = {
    "vm": ("tools", "packer", "bootstrap-vm", "system-vm", "course-vm", "ova"),
    "cuda": ("tools", "packer", "system-cuda", "course-cuda", "image"),
}


def report(kind: str = "vm", **digests: str) -> Report:
    """What the report of a build says; digests: of the files of a stage, where they are not the usual ones."""
    stages = [
        {"name": name, "key": f"{name}-key", "seconds": 2.0, "reused": False,
         "files": {f"{name}.tar": digests.get(name.replace("-", "_"), f"{name} digest")}}
        for name in STAGES[kind]
    ]  # fmt: skip
    name = {"vm": "course-1.ova", "cuda": "course-1-cuda.oci.tar"}[kind]
    return {"file": {"name": name, "size": 7, "sha256": digests.get("file", f"{kind} digest")}, "stages": stages}


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
    assert proof is not None and proof.claim == "repro/course-1.ova" and proof.seconds == 12.0


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
        for name in (*stage["files"], RECORD):
            (place / name).write_text(json.dumps({"files": stage["files"], "facts": {}, "seconds": 2.0}))


@pytest.fixture
def own(tmp_path: Path) -> Cache:
    """The cache of the second build."""
    made = Cache(tmp_path / "elsewhere" / "cache")
    made.root.mkdir(parents=True)
    return made


def shared(own: Cache) -> set[str]:
    return {path.parent.parent.name for path in own.stages.glob(f"*/*/{RECORD}")}


def test_the_second_build_gets_only_stages_with_a_proof(cache: Cache, own: Cache, proofs: Proofs) -> None:
    first = report()
    make_stages(cache, first)
    names = [stage["name"] for stage in first["stages"]]
    share_stages(first, names, cache, own, proofs)
    assert not own.stages.exists()
    keep(first, report(bootstrap_vm="other"), proofs)
    share_stages(first, ["tools", "packer"], cache, own, proofs)
    assert shared(own) == {"tools", "packer"}
    share_stages(first, names, cache, own, proofs)
    assert shared(own) == {*names} - {"bootstrap-vm"}
    assert not (own.stages / "bootstrap-vm").exists()


def test_a_shared_stage_is_a_finished_one_and_takes_no_room(cache: Cache, own: Cache, proofs: Proofs) -> None:
    first = report()
    make_stages(cache, first)
    keep(first, first, proofs)
    share_stages(first, ["tools"], cache, own, proofs)
    for name in ("tools.tar", RECORD):
        mine, theirs = cache.stages / "tools" / "tools-key" / name, own.stages / "tools" / "tools-key" / name
        assert mine.samefile(theirs)
    assert Stages(own)._finished("tools", "tools-key", own.stages / "tools" / "tools-key") is not None


def test_fresh_shares_nothing(cache: Cache, own: Cache, proofs: Proofs) -> None:
    first = report()
    make_stages(cache, first)
    keep(first, first, proofs)
    share_stages(first, [*STAGES["vm"]], cache, own, Proofs(cache, fresh=True))
    assert shared(own) == set()


@pytest.mark.parametrize("gone", ["tools.tar", RECORD, ""])
def test_a_stage_that_was_pruned_is_not_shared(cache: Cache, own: Cache, proofs: Proofs, gone: str) -> None:
    first = report()
    make_stages(cache, first)
    keep(first, first, proofs)
    place = cache.stages / "tools" / "tools-key"
    place.rename(place.with_name("elsewhere")) if not gone else (place / gone).unlink()
    share_stages(first, [*STAGES["vm"]], cache, own, proofs)
    assert shared(own) == {*STAGES["vm"]} - {"tools"}
    assert not (own.stages / "tools").exists()


def test_a_stage_that_is_there_already_stays(cache: Cache, own: Cache, proofs: Proofs) -> None:
    first = report()
    make_stages(cache, first)
    keep(first, first, proofs)
    place = own.stages / "tools" / "tools-key"
    place.mkdir(parents=True)
    (place / "tools.tar").write_text("made here")
    share_stages(first, ["tools"], cache, own, proofs)
    assert [path.name for path in place.iterdir()] == ["tools.tar"]
    assert (place / "tools.tar").read_text() == "made here"


def test_folders_of_shared_stages_belong_to_the_owner_of_the_cache(
    cache: Cache, own: Cache, proofs: Proofs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second build's user marks a stage as used and puts others beside it."""
    owners: dict[Path, int] = {}
    monkeypatch.setattr(os, "chown", lambda path, user, group: owners.update({Path(path): user}))
    real = os.stat

    def status(path: Any, *words: Any, **more: Any) -> Any:
        return SimpleNamespace(st_uid=4242) if path == own.root else real(path, *words, **more)

    first = report()
    make_stages(cache, first)
    keep(first, first, proofs)
    monkeypatch.setattr(repro, "os", SimpleNamespace(chown=os.chown, stat=status, fspath=os.fspath))
    share_stages(first, ["tools"], cache, own, proofs)
    assert owners == dict.fromkeys([own.stages, own.stages / "tools", own.stages / "tools" / "tools-key"], 4242)


def test_prepare_gives_everything_away_but_shared_stages(
    cache: Cache, proofs: Proofs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hard link is the file itself: with another owner it would be another one's in the cache, too."""
    place = tmp_path / "room" / "second build, elsewhere" / "coursé"
    own = Cache(place / "cache")
    (place / "checkout").mkdir(parents=True)
    (place / "checkout" / "one.py").write_text("")
    (place / "checkout" / "link").symlink_to("one.py")
    os.link(place / "checkout" / "one.py", place / "checkout" / "two.py")  # two names, and no stage
    first = report()
    make_stages(cache, first)
    keep(first, first, proofs)
    own.root.mkdir()
    share_stages(first, ["packer"], cache, own, proofs)

    def start(where: repro.Surroundings, checkout: Path, cache: Cache, user: int, arguments: Sequence[str]) -> None:
        made = cache.stages / "tools" / "tools-key"
        made.mkdir(parents=True)
        (made / "tools.tar").write_text("made here")

    chown = tmp_path / "bin" / "chown"
    chown.parent.mkdir()
    chown.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{tmp_path}/chowned"\n')
    chown.chmod(0o755)
    monkeypatch.setattr(repro, "start", start)
    monkeypatch.setattr(repro, "course_file", lambda course, checkout: checkout / "course.toml")
    monkeypatch.setenv("PATH", f"{chown.parent}:{os.environ['PATH']}")
    prepare(repro.ELSEWHERE, place, SimpleNamespace())  # type: ignore[arg-type]

    options, *names = (tmp_path / "chowned").read_text().splitlines()
    assert options == "-h" and names.pop(0) == "4242"
    given = {Path(name) for name in names}
    packer = own.stages / "packer" / "packer-key"
    every = {place, *place.rglob("*")}
    assert given == every - {packer / "packer.tar", packer / RECORD}
    assert {packer, own.stages / "tools" / "tools-key" / "tools.tar", place / "checkout" / "two.py"} <= given
    assert stat.S_IMODE(place.parents[1].stat().st_mode) == 0o755  # the other user finds the way


def test_downloads_are_given_back(own: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: dict[Path, int] = {}
    monkeypatch.setattr(os, "chown", lambda path, user, group: owners.update({Path(path): user}))
    give_back(own)
    download = own.object("ab" * 32)
    download.parent.mkdir(parents=True)
    download.write_text("")
    give_back(own)
    assert owners == {download: os.getuid()}


# ------------------------------------------------------------------------------------------------ the whole


class Builds:
    """Stands for the two builds: `second` is what the report of the second one says; `built`: what was built again."""

    def __init__(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = cache
        self.second = {kind: report(kind) for kind in STAGES}
        self.built: list[str] = []
        self.shared: dict[str, set[str]] = {}
        self.prepared: list[set[str]] = []
        self.given_back = 0
        for kind in STAGES:
            for stage in report(kind)["stages"]:
                if not (cache.stages / stage["name"]).exists():
                    make_stages(cache, {"stages": [stage]})
        monkeypatch.setenv("COURSEBOX_CACHE", str(cache.root))
        for name, function in {
            "build_ova": lambda course: "vm", "build_docker": lambda course, load: "cuda", "build": self.build,
            "copy_checkout": lambda course, target: target.mkdir(parents=True), "prepare": self.prepare,
            "make_room": lambda place: None, "give_back": self.give_back,
        }.items():  # fmt: skip
            monkeypatch.setattr(repro, name, function)
        monkeypatch.setattr(repro.report, "report", report)
        download = cache.object("ab" * 32)
        download.parent.mkdir(parents=True)
        download.write_text("")

    def prepare(self, where: repro.Surroundings, place: Path, course: Course) -> None:
        self.prepared.append(shared(Cache(place / "cache")))

    def build(self, where: repro.Surroundings, place: Path, course: Course, kind: str) -> Mapping[str, Any]:
        self.built.append(kind)
        self.shared[kind] = shared(Cache(place / "cache"))
        return self.second[kind]

    def give_back(self, own: Cache) -> None:
        assert own.object("ab" * 32).exists() == bool(self.prepared)
        self.given_back += 1

    def run(self, *, fresh: bool = False) -> int:
        self.built, self.shared, self.prepared = [], {}, []
        status = repro.run(SimpleNamespace(), fresh=fresh)  # type: ignore[arg-type]
        assert not (self.cache.root / "repro").exists()
        return status


@pytest.fixture
def builds(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Builds:
    return Builds(cache, monkeypatch)


IDENTICAL = "identical vm digest course-1.ova\nidentical cuda digest course-1-cuda.oci.tar\n"


def test_what_is_proved_is_not_built_again(builds: Builds, capsys: pytest.CaptureFixture[str]) -> None:
    assert builds.run() == 0
    assert builds.built == ["vm", "cuda"] and builds.prepared == [set()]
    assert builds.shared["vm"] == set()
    assert capsys.readouterr().out == IDENTICAL
    assert builds.run() == 0
    assert (builds.built, builds.prepared) == ([], [])
    assert capsys.readouterr().out == IDENTICAL
    assert builds.run(fresh=True) == 0
    assert builds.built == ["vm", "cuda"] and builds.shared == {"vm": set(), "cuda": set()}
    assert capsys.readouterr().out == IDENTICAL
    assert builds.given_back == 3


def test_stages_of_the_first_file_are_shared_with_the_second(builds: Builds) -> None:
    builds.run()
    assert builds.shared["cuda"] == {"tools", "packer"}


def test_after_an_edit_only_what_follows_is_built_again(
    builds: Builds, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    builds.run()
    edited = report("vm", file="edited", course_vm="edited", ova="edited")
    edited["stages"][-2]["key"] = edited["stages"][-1]["key"] = "edited-key"
    builds.second["vm"] = edited
    monkeypatch.setattr(repro.report, "report", lambda kind: edited if kind == "vm" else report(kind))
    capsys.readouterr()
    assert builds.run() == 0
    assert builds.built == ["vm"]
    assert builds.prepared == [{"tools", "packer"}]
    assert builds.shared["vm"] == {"tools", "packer", "bootstrap-vm", "system-vm"}
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


def test_an_error_of_the_second_build_leaves_no_proof_and_nothing_behind(
    builds: Builds, proofs: Proofs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(repro, "build", fail)
    with pytest.raises(KeyboardInterrupt):
        builds.run()
    assert not (builds.cache.root / "repro").exists() and builds.given_back == 1
    assert stages_of(report("vm"), proofs) == [] and proofs.find(claim_of(report("vm"))) is None
