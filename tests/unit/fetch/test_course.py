"""make fetch as a whole, with a local server in the part of the archive, the Python index and the mirrors."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace as Some
from typing import Any

import pytest

from coursebox.archives import mirrors as mirrors_module
from coursebox.core.digests import sha256_value
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.fetch import course as fetch_module
from coursebox.fetch import datasets as datasets_module
from coursebox.fetch import decided
from coursebox.fetch import stage as stage_module
from coursebox.fetch.course import Fetched, fetch, fetch_course
from coursebox.fetch.download import download
from coursebox.fetch.locations import snapshot_moments
from coursebox.fetch.retry import RetryPolicy
from coursebox.lock.lockfile import DataFile, Deb, Locks, Request, Wheel, write_locks
from coursebox.lock.resolve_debs import Candidate
from tests.equipment.data_sets import described
from tests.equipment.http_server import Server, reply


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_deb(package: str, version: str, source: str = "", archive: str = "main") -> Deb:
    """A .deb whose content is its name and version."""
    pool = "pool/updates/main" if archive == "security" else "pool/main"
    content = f"{package} {version}".encode()
    filename = f"{pool}/{package[0]}/{source or package}/{package}_{version}_amd64.deb"
    return Deb(package, version, "amd64", source or package, archive, filename, len(content), sha256(content))


BASH, LIBSSL, OPENSSL, APP = (
    make_deb("bash", "5"),
    make_deb("libssl", "3", "openssl", "security"),
    make_deb("openssl", "3", "openssl", "security"),
    make_deb("app", "1"),
)
PACKER = make_deb("packer", "1.6")
WHEEL = Wheel("six", "1", "six-1-py3-none-any.whl", 3, sha256(b"six"))
IMAGES = b"images" * 1000
MNIST = DataFile(
    "mnist", "complete", "mnist", "images.gz", "mnist/MNIST/raw/images", "gzip", len(IMAGES), sha256(IMAGES)
)
REQUESTS = {
    "tools": Request(("bash",)),
    "vm": Request(("app", "openssl"), ("six",)),
    "host": Request(("packer/bookworm",)),
}
LOCKS = Locks(
    1_700_000_000,
    "20261101T000000Z",
    "trixie",
    "amd64",
    {"tools": (BASH,), "vm": (APP, BASH, LIBSSL, OPENSSL)},
    {"vm": (WHEEL,)},
    REQUESTS,
    (MNIST,),
    (PACKER,),
)


@dataclass
class World:
    """A course, and a server that has everything it needs."""

    server: Server
    cache: Cache
    course: Any
    asked: list[str] = field(default_factory=list)
    current: list[Candidate] = field(default_factory=list)

    def put(self, deb: Deb) -> str:
        base = "/security" if deb.archive == "security" else "/debian"
        return self.server.put(f"{base}/{deb.filename}", f"{deb.package} {deb.version}".encode())

    def drop(self, *debs: Deb) -> None:
        for deb in debs:
            base = "/security" if deb.archive == "security" else "/debian"
            del self.server.files[f"{base}/{deb.filename}"]

    def resolve(self, tree: str, request: Request) -> Sequence[Candidate]:
        self.asked.append(f"{tree}: {' '.join(request.debian)}")
        return self.current

    def fetch(self, locks: Locks = LOCKS, **options: Any) -> Fetched:
        return fetch(
            self.course,
            locks,
            self.cache,
            **{"strict": False, "trees": ("tools", "vm"), "resolve": self.resolve, **options},
        )


@pytest.fixture
def world(server: Server, cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, retry: RetryPolicy) -> World:
    for name in [name for name in os.environ if name.startswith(("PIP_", "COURSEBOX_"))]:
        monkeypatch.delenv(name)
    settings = {
        "COURSEBOX_DEBIAN_MIRROR": server.url("/debian"),
        "COURSEBOX_DEBIAN_SECURITY_MIRROR": server.url("/security"),
        "COURSEBOX_DEBIAN_SNAPSHOT": "",
        "COURSEBOX_CACHE": str(cache.root),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": server.url("/simple"),
        "MIRROR": server.url("/sets"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(mirrors_module, "CHECKOUT", tmp_path)
    for module in (datasets_module, stage_module):  # without the public places: no test needs the network
        monkeypatch.setattr(module, "read_data_sets", described)
    monkeypatch.setattr(fetch_module, "read_requests", lambda course: REQUESTS)
    monkeypatch.setattr(fetch_module, "download", partial(download, retry=retry))
    course = Some(
        packages=Some(debian=(), python=()),
        data=Some(sets=("mnist",)),
        locks=Some(folder=tmp_path / "locks"),
        source=tmp_path / "course.toml",
    )
    made = World(server, cache, course)
    for deb in (BASH, LIBSSL, OPENSSL, APP, PACKER):
        made.put(deb)
    server.put("/simple/six/", f'<a href="/w/{WHEEL.filename}#sha256={WHEEL.sha256}">six</a>'.encode(), "text/html")
    server.put(f"/w/{WHEEL.filename}", b"six")
    server.put("/sets/mnist/images.gz", gzip.compress(IMAGES))
    return made


def test_everything_comes_from_the_machines_own_sources(world: World) -> None:
    got = world.fetch()
    assert [deb.package for deb, _ in got.debs["vm"]] == ["app", "bash", "libssl", "openssl"]
    assert [path.read_bytes() for _, path in got.debs["tools"]] == [b"bash 5"]
    assert [(wheel, path.read_bytes()) for wheel, path in got.wheels["vm"]] == [(WHEEL, b"six")]
    assert got.wheels["tools"] == ()
    assert got.tools["packer"] == (PACKER, world.cache.object(PACKER.sha256))
    assert got.data is not None
    assert (got.data.path / "mnist/MNIST/raw/images").read_bytes() == IMAGES
    assert (got.substitutes, got.synthetic, got.reproducible) == ((), (), True)
    assert not world.asked


def test_second_time_nothing_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.fetch()
    asked = len(world.server.requests)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("a program was started"))
    assert world.fetch() == first
    assert len(world.server.requests) == asked


def test_only_the_trees_that_are_wanted(world: World) -> None:
    got = world.fetch(trees=["tools"], data=False)
    assert list(got.debs) == ["tools"]
    assert got.data is None
    assert got.reproducible
    assert not [path for path, _ in world.server.requests if path.startswith(("/simple", "/sets"))]


def test_folder_mirror_and_snapshot_service_have_what_the_archive_has_not(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.drop(APP, LIBSSL, BASH)
    monkeypatch.setenv("COURSEBOX_DEBIAN_SNAPSHOT", world.server.url("/snap"))
    world.server.put(f"/snap/archive/debian/20261101T000000Z/{APP.filename}", b"app 1")
    world.server.put(f"/snap/archive/debian-security/20261102T000000Z/{LIBSSL.filename}", b"libssl 3")
    folder = tmp_path / "mirror"
    (folder / BASH.filename).parent.mkdir(parents=True)
    (folder / BASH.filename).write_bytes(b"bash 5")
    del world.server.files[f"/w/{WHEEL.filename}"]
    (folder / "wheels").mkdir()
    (folder / "wheels" / WHEEL.filename).write_bytes(b"six")
    monkeypatch.setenv("MIRROR", f"{folder} {world.server.url('/sets')}")
    assert world.fetch().reproducible


def test_a_security_update_that_moved_to_the_main_archive_is_found_there(world: World) -> None:
    """As a point release does it: the same bytes are no substitute."""
    world.drop(LIBSSL)
    world.server.put(f"/debian/pool/main/l/openssl/{LIBSSL.filename.rsplit('/', 1)[1]}", b"libssl 3")
    got = world.fetch()
    assert got.reproducible and not world.asked
    assert [path.read_bytes() for deb, path in got.debs["vm"] if deb == LIBSSL] == [b"libssl 3"]


def test_missing_package_is_substituted_with_its_whole_source(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.drop(LIBSSL)
    world.server.behave(f"/sets/{LIBSSL.filename}", reply(503))  # a mirror for data sets; its answer is no news
    current = [make_deb("libssl", "4", "openssl"), make_deb("openssl", "4", "openssl"), make_deb("libnew", "1")]
    for deb in current:
        world.put(deb)
    world.current = [
        Candidate(deb, "libnew" if deb.package == "libssl" else "") for deb in [*current, make_deb("app", "2"), BASH]
    ]
    got = world.fetch()
    assert {deb.package: deb.version for deb, _ in got.debs["vm"]} == {
        "app": "1",
        "bash": "5",
        "libnew": "1",
        "libssl": "4",
        "openssl": "4",
    }
    assert {path.read_bytes() for _, path in got.debs["vm"]} >= {b"libssl 4", b"openssl 4", b"libnew 1", b"app 1"}
    assert not got.reproducible
    assert [str(change) for change in got.substitutes] == [
        "libnew 1 comes in (vm)",
        "libssl: 4 instead of 3 (vm)",
        "openssl: 4 instead of 3 (vm)",
    ]
    assert world.asked == ["vm: app openssl"]
    said = capsys.readouterr().err
    assert "warning: no source has 1 of the locked packages any more: libssl_3_amd64.deb" in said
    assert "warning: not as locked: libssl: 4 instead of 3 (vm)" in said
    assert "warning: what is built now is not reproducible from its locks" in said


def offer(world: World, *debs: Deb) -> None:
    """Let the archive have these packages, and resolve every tree to them and what has not changed."""
    for deb in debs:
        world.put(deb)
    world.current = [Candidate(deb, "") for deb in (*debs, make_deb("app", "1"), BASH)]


NEW_SSL = make_deb("libssl", "4", "openssl"), make_deb("openssl", "4", "openssl")


def test_substitutes_are_decided_once_and_need_no_network_later(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.drop(LIBSSL)
    offer(world, *NEW_SSL)
    first = world.fetch()
    assert not first.reproducible
    asked, resolved = len(world.server.requests), list(world.asked)
    offer(world, make_deb("libssl", "5", "openssl"), make_deb("openssl", "5", "openssl"))
    world.server.close()
    capsys.readouterr()
    assert world.fetch() == first
    assert (len(world.server.requests), world.asked) == (asked, resolved)
    said = capsys.readouterr().err
    assert "warning: not as locked: libssl: 4 instead of 3 (vm)" in said
    assert "`make fetch FRESH=1` looks for the locked packages again" in said


def test_all_trees_get_the_same_substitutes(world: World) -> None:
    """The image that is built later has the packages of the OVA, whatever the archive has by then."""
    locks = replace(
        LOCKS,
        debs={**LOCKS.debs, "cuda": (BASH, LIBSSL, OPENSSL)},
        requests=REQUESTS | {"cuda": Request(("openssl",))},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch_module, "read_requests", lambda course: locks.requests)
        world.drop(LIBSSL)
        offer(world, *NEW_SSL)
        ova = world.fetch(locks)
        offer(world, make_deb("libssl", "5", "openssl"), make_deb("openssl", "5", "openssl"))
        image = world.fetch(locks, trees=("tools", "cuda"))
    versions = [
        {deb.package: deb.version for deb, _ in got.debs[tree] if deb.source == "openssl"}
        for got, tree in ((ova, "vm"), (image, "cuda"))
    ]
    assert versions[0] == versions[1] == {"libssl": "4", "openssl": "4"}
    assert {str(change) for change in image.substitutes} == {
        "libssl: 4 instead of 3 (cuda)",
        "openssl: 4 instead of 3 (cuda)",
    }


def test_another_package_that_goes_later_leaves_the_first_decision(world: World) -> None:
    world.drop(LIBSSL)
    offer(world, *NEW_SSL)
    world.fetch()
    world.cache.object(APP.sha256).unlink()
    world.drop(APP)
    offer(world, make_deb("libssl", "5", "openssl"), make_deb("openssl", "5", "openssl"), make_deb("app", "2"))
    world.current = [one for one in world.current if one.deb != APP]
    got = world.fetch()
    assert {deb.package: deb.version for deb, _ in got.debs["vm"]} == {
        "app": "2", "bash": "5", "libssl": "4", "openssl": "4",
    }  # fmt: skip
    assert len(got.substitutes) == 3


def test_other_locks_strict_and_fresh_look_for_the_locked_packages(world: World) -> None:
    write_locks(world.course.locks.folder, LOCKS)
    world.drop(LIBSSL)
    offer(world, *NEW_SSL)
    world.fetch()
    with pytest.raises(CourseboxError, match="STRICT=1"):
        world.fetch(strict=True)
    world.put(LIBSSL)
    assert not world.fetch().reproducible
    assert world.fetch(strict=True).reproducible
    other = replace(LOCKS, debs={**LOCKS.debs, "tools": (BASH, APP)})
    assert world.fetch(other).reproducible
    assert fetch_course(world.course, strict=False, fresh=True).reproducible
    assert world.fetch().reproducible


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"4"', '"9"'),
        lambda text: "[]",
        lambda text: "[" * 100_000,
        lambda text: (
            '{"digest": "' + sha256_value({"debs": {"vm": [{}]}, "when": ""}) + '", "debs": {"vm": [{}]}, "when": ""}'
        ),
    ],
)
def test_a_damaged_decision_counts_as_none(world: World, damage: Callable[[str], str]) -> None:
    world.drop(LIBSSL)
    offer(world, *NEW_SSL)
    first = world.fetch()
    (record,) = (world.cache.root / "substitutes").iterdir()
    record.write_text(damage(record.read_text()))
    resolved = len(world.asked)
    assert world.fetch() == first
    assert len(world.asked) == resolved + 1


def test_only_some_decisions_are_kept(world: World) -> None:
    for epoch in range(decided.KEPT + 3):
        locks = replace(LOCKS, suite=f"suite{epoch}")
        decided.keep(world.cache, locks, {"vm": (BASH,)})
        os.utime(world.cache.root / "substitutes" / f"{decided.locks_key(locks)}.json", (epoch, epoch))
    assert len(list((world.cache.root / "substitutes").iterdir())) == decided.KEPT
    assert decided.read(world.cache, replace(LOCKS, suite=f"suite{decided.KEPT + 2}")).debs == {"vm": (BASH,)}
    assert decided.read(world.cache, replace(LOCKS, suite="suite0")).debs == {}


def test_missing_host_tool_is_substituted(world: World) -> None:
    world.drop(PACKER)
    newer = make_deb("packer", "1.7")
    world.put(newer)
    world.current = [Candidate(newer, "libc6")]
    got = world.fetch()
    assert got.tools["packer"][0] == newer
    assert world.asked == ["host: packer/bookworm"]
    assert not got.reproducible


def test_strict_stops_instead(world: World) -> None:
    world.drop(LIBSSL)
    with pytest.raises(CourseboxError) as caught:
        world.fetch(strict=True)
    assert caught.value.message == (
        "no source has 1 of the locked packages any more, and STRICT=1 takes no others: libssl_3_amd64.deb"
    )
    assert caught.value.hint is not None
    assert "COURSEBOX_DEBIAN_SNAPSHOT" in caught.value.hint
    assert not world.asked


def test_archive_that_lists_what_it_has_not(world: World) -> None:
    world.drop(APP)
    world.current = [Candidate(make_deb("app", "2"), "")]
    with pytest.raises(CourseboxError, match=r"the archive lists app_2_amd64\.deb and does not have it"):
        world.fetch()


def test_unreachable_archive_is_no_reason_for_substitutes(world: World) -> None:
    world.server.behave(f"/debian/{APP.filename}", reply(503))
    with pytest.raises(CourseboxError, match=r"1 of \d files could not be fetched: app_1_amd64\.deb"):
        world.fetch()
    assert not world.asked


def test_missing_wheel(world: World) -> None:
    world.server.put("/simple/six/", f'<a href="/w/{WHEEL.filename}#sha256={"0" * 64}">six</a>'.encode(), "text/html")
    with pytest.raises(CourseboxError) as caught:
        world.fetch()
    assert caught.value.message.startswith(
        "no Python index has six-1-py3-none-any.whl with the locked digest any more ("
    )


def test_missing_data_set(world: World) -> None:
    del world.server.files["/sets/mnist/images.gz"]
    with pytest.raises(
        CourseboxError, match="no source has the complete data set mnist, and STRICT=1 takes no stand-in"
    ):
        world.fetch(strict=True)
    got = world.fetch()
    assert got.synthetic == ("mnist",)
    assert not got.reproducible


def test_locks_of_another_course(world: World) -> None:
    other = replace(LOCKS, requests={**REQUESTS, "vm": Request(("app",), ("six",))})
    with pytest.raises(CourseboxError) as caught:
        world.fetch(other)
    assert caught.value.message == (
        "the locks do not fit course.toml: Debian package 'openssl' (vm) is asked for and not locked"
    )
    assert not world.server.requests


@pytest.mark.parametrize("strict", [True, False])
def test_the_course_of_the_user(world: World, strict: bool) -> None:
    write_locks(world.course.locks.folder, LOCKS)
    del world.server.files["/sets/mnist/images.gz"]
    if strict:
        with pytest.raises(CourseboxError, match="STRICT=1"):
            fetch_course(world.course, strict=True)
    else:
        assert fetch_course(world.course, strict=False).synthetic == ("mnist",)


def test_snapshot_moments() -> None:
    assert snapshot_moments("20261130T235959Z") == ("20261130T235959Z", "20261201T235959Z")
