"""A thousand damages of a whole cache: never a traceback, never a wrong file in dist/."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.core.stages import Stages, exclusive
from coursebox.fetch import decided
from coursebox.fetch.download import Download, download
from coursebox.fetch.store import last_used
from coursebox.formats.place import copied
from coursebox.host import bases
from coursebox.lock.lockfile import Deb, Locks
from coursebox.prune import entries, prune
from coursebox.verify.proofs import Claim, Proofs

TIMES = 1000
CONTENTS = {name: name.encode() * 500 + bytes(range(256)) for name in ("bash.deb", "torch.whl", "mnist.gz")}
LOCKS = Locks(0, "20261101T000000Z", "trixie", "amd64", {}, {}, {})
DEB = Deb("bash", "5", "amd64", "bash", "main", "pool/main/b/bash/bash_5_amd64.deb", 1, "0" * 64)
CLAIM = Claim("container/test_ssh.py", {"tree": "1"})


class Build:
    """A small build with the builder's own code: downloads, stages, a sparse disk, a proof, records, dist/."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.dist, self.mirror = Cache(folder / "cache"), folder / "dist", folder / "mirror"
        self.mirror.mkdir()
        for name, content in CONTENTS.items():
            (self.mirror / name).write_bytes(content)
        self.made: list[str] = []
        environment = self.cache.root / "python" / "build-1"
        environment.mkdir(parents=True)
        (environment / "complete").write_text("1000\n", encoding="ascii")

    def run(self) -> str:
        """Build; the digest of what is delivered, by the report."""
        wanted = [self._download(name, content) for name, content in CONTENTS.items()]
        with exclusive(self.cache):
            got = download(wanted, self.cache, title="packages", quiet=True)
            stages = Stages(self.cache)
            objects = [got.paths[each.sha256] for each in wanted]

            def tree(work: Path) -> dict[str, int]:
                (work / "deep").mkdir()
                (work / "deep" / "tree.tar").write_bytes(b"".join(path.read_bytes() for path in objects))
                (work / "list").write_text("three")
                return {"entries": 3}

            def disk(work: Path) -> None:
                with (work / "disk.raw").open("wb") as file:
                    file.truncate(1 << 20)
                    file.seek(5 << 16)
                    file.write(system.path("deep/tree.tar").read_bytes())

            def pack(work: Path) -> dict[str, int]:
                (work / "course.ova").write_bytes(raw.path("disk.raw").read_bytes().strip(b"\0"))
                return {"entries": system.facts["entries"]}

            system = stages.run("tree", {"files": [each.sha256 for each in wanted]}, self._noting(tree))
            raw = stages.run("disk", {"tree": dict(system.files)}, self._noting(disk))
            stages.latest("pack", {}, code=[])
            packed = stages.run("pack", {"disk": dict(raw.files)}, self._noting(pack))
            if not decided.read(self.cache, LOCKS).debs:
                decided.keep(self.cache, LOCKS, {"vm": (DEB,)})
            assert decided.read(self.cache, LOCKS).debs == {"vm": (DEB,)}
            if "course: ova" not in bases.remembered(self.cache):
                bases.keep_images(self.cache, "course: ova", ["coursebox-tree:1"])
            proofs = Proofs(self.cache)
            proofs.last(CLAIM)
            if proofs.find(CLAIM) is None:
                proofs.keep(CLAIM, {"test_one": 1.0})
            assert {entry.kind for entry in entries(self.cache)} >= {"stages", "objects"}
            last_used(self.cache)
            prune(self.cache, keep=[result.folder for result in stages.results], limit=10**12)
        return copied(packed, "course.ova")(self.dist / "course.ova").sha256

    def _download(self, name: str, content: bytes) -> Download:
        addresses = [str(self.mirror / name)]
        return Download(name, hashlib.sha256(content).hexdigest(), len(content), lambda: addresses)

    def _noting(self, make: Callable[[Path], dict[str, int] | None]) -> Callable[[Path], dict[str, int] | None]:
        def noting(work: Path) -> dict[str, int] | None:
            self.made.append(make.__name__)
            return make(work)

        return noting

    def files(self) -> list[Path]:
        """All that can be damaged; not the mirror, which is another machine's."""
        return [path for top in (self.cache.root, self.dist) for path in sorted(top.rglob("*")) if path.is_file()]


def damage(path: Path, other: Path, kind: str, dice: random.Random) -> None:
    """Do one thing to a file that nobody should do; the time of the last change may look as before."""
    status = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    if kind == "flip" and content:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)
    elif kind == "cut" and content:
        os.truncate(path, dice.randrange(len(content)))
    elif kind == "empty":
        os.truncate(path, 0)
    elif kind == "zeros":
        path.write_bytes(bytes(len(content)))
    elif kind == "delete":
        path.unlink()
    elif kind == "swap":
        path.rename(path.with_name("aside"))
        if other.exists():
            other.rename(path)
        path.with_name("aside").rename(other)
    if path.exists() and dice.random() < 0.5:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


KINDS = ("flip", "cut", "empty", "zeros", "delete", "swap")


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # no power is cut here, and a thousand builds are made
    monkeypatch.setattr(bases, "remove_images", lambda cache, keep: None)
    return Build(tmp_path)


def test_whatever_is_damaged_the_next_build_has_the_right_file(build: Build) -> None:
    dice = random.Random(20261128)
    right = build.run()
    content = (build.dist / "course.ova").read_bytes()
    assert hashlib.sha256(content).hexdigest() == right
    hit: set[str] = set()
    for number in range(TIMES):
        path, other = dice.choice(build.files()), dice.choice(build.files())
        kind = dice.choice(KINDS)
        hit.add(path.relative_to(build.dist.parent).parts[1].split("-")[0])
        what = f"damage {number}: {kind} of {path}" + (f" and {other}" if kind == "swap" else "")
        damage(path, other, kind, dice)
        try:
            delivered = build.run()
        except CourseboxError:
            delivered = build.run()  # one sentence is allowed, once
        except Exception as error:
            raise AssertionError(what) from error
        assert delivered == right, what
        assert (build.dist / "course.ova").read_bytes() == content, what
    assert len(build.made) > TIMES / 10  # they did hurt
    places = {"objects", "stages", "proofs", "substitutes", "python", "engine.json", "verified.json", "used.json"}
    assert places <= hit, places - hit


def test_without_damage_nothing_is_made_again(build: Build) -> None:
    build.run()
    build.made.clear()
    build.run()
    assert build.made == []
