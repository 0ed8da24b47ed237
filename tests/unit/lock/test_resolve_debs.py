"""Resolving with apt: what is asked of it, and what is made of its answers. apt itself is played by a function."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from coursebox.archives.apt import AptMirrors
from coursebox.core.errors import CourseboxError
from coursebox.lock import resolve_debs as module
from coursebox.lock.lockfile import Deb
from coursebox.lock.resolve_debs import Archive, expired, open_archive

STANZAS = {
    "bash": "Package: bash\nVersion: 5.2-1\nArchitecture: amd64\nPre-Depends: libc6 (>= 2.38)\nDepends: base-files\n"
    "Filename: pool/main/b/bash/bash_5.2-1_amd64.deb\nSize: 10\nSHA256: " + "a" * 64 + "\n",
    "libssl3t64": "Package: libssl3t64\nSource: openssl (3.5.1-1)\nVersion: 3.5.1-1+b1\nArchitecture: amd64\n"
    "Filename: pool/updates/main/o/openssl/libssl3t64_3.5.1-1+b1_amd64.deb\nSize: 20\nSHA256: " + "b" * 64 + "\n",
    "tzdata": "Package: tzdata\nVersion: 2026a-0\nArchitecture: all\n"
    "Filename: ./pool/main/t/tzdata/tzdata_2026a-0_all.deb\nSize: 30\nSHA256: " + "c" * 64 + "\n",
}
SIMULATION = """\
NOTE: This is only a simulation!
Inst libssl3t64 (3.5.1-1+b1 Debian:13.7/stable, Debian-Security:13/stable-security [amd64]) []
Inst tzdata (2026a-0 Debian:13.7/stable [all])
Inst bash (5.2-1 Debian:13.7/stable [amd64]) [libssl3t64:amd64 ]
Conf bash (5.2-1 Debian:13.7/stable [amd64])
"""


class Apt:
    """Answers like apt-get and apt-cache, and remembers what it was asked."""

    def __init__(self, simulation: str = SIMULATION, code: int = 0, errors: str = "") -> None:
        self.simulation, self.code, self.errors = simulation, code, errors
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, folder: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.commands.append(tuple(command))
        if command[:2] == ("apt-cache", "show"):
            names = [word.split("=")[0].split(":")[0] for word in command[2:] if not word.startswith("--")]
            text = "\n".join(STANZAS[name] for name in names if name in STANZAS)
            return subprocess.CompletedProcess(command, 0, text, "")
        return subprocess.CompletedProcess(command, self.code, self.simulation, self.errors)


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> Apt:
    made = Apt()
    monkeypatch.setattr(module, "_run", made)
    return made


ARCHIVE = Archive(Path("/nowhere"), "trixie", "amd64", {})


def test_answer_becomes_debs(apt: Apt) -> None:
    candidates = ARCHIVE.resolve(["bash"])
    assert [candidate.deb for candidate in candidates] == [
        Deb("bash", "5.2-1", "amd64", "bash", "main", "pool/main/b/bash/bash_5.2-1_amd64.deb", 10, "a" * 64),
        Deb(
            *("libssl3t64", "3.5.1-1+b1", "amd64", "openssl", "security"),
            *("pool/updates/main/o/openssl/libssl3t64_3.5.1-1+b1_amd64.deb", 20, "b" * 64),
        ),
        Deb("tzdata", "2026a-0", "all", "tzdata", "main", "pool/main/t/tzdata/tzdata_2026a-0_all.deb", 30, "c" * 64),
    ]
    assert candidates[0].depends == "libc6 (>= 2.38), base-files"
    assert candidates[1].depends == ""


@pytest.mark.parametrize(
    ("options", "there", "absent"),
    [
        ({}, ["?narrow(?essential,?architecture(amd64))", "apt", "APT::Install-Recommends=false"], []),
        ({"recommends": True}, ["APT::Install-Recommends=true"], []),
        ({"essential": False}, [], ["?narrow(?essential,?architecture(amd64))", "apt"]),
    ],
)
def test_question(apt: Apt, options: dict[str, bool], there: list[str], absent: list[str]) -> None:
    ARCHIVE.resolve(["bash"], **options)
    (asked,) = [command for command in apt.commands if command[:2] == ("apt-get", "install")]
    assert "--simulate" in asked
    assert asked[-1] == "bash"
    assert set(there) <= set(asked)
    assert not set(absent) & set(asked)


def test_same_version_in_both_archives_is_taken_from_the_main_one(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    main = STANZAS["libssl3t64"].replace("pool/updates/main", "pool/main")
    for both in (f"{main}\n{STANZAS['libssl3t64']}", f"{STANZAS['libssl3t64']}\n{main}"):
        monkeypatch.setitem(STANZAS, "libssl3t64", both)
        assert ARCHIVE.single("libssl3t64").deb.archive == "main"


def test_single_package(apt: Apt) -> None:
    assert ARCHIVE.single("tzdata").deb.filename == "pool/main/t/tzdata/tzdata_2026a-0_all.deb"
    assert not [command for command in apt.commands if command[0] == "apt-get"]


def test_all_unknown_names_are_told_at_once(apt: Apt) -> None:
    with pytest.raises(CourseboxError) as caught:
        ARCHIVE.resolve(["nosuch", "bash", "neither", "tzdata:all", "bash:i386"])
    assert caught.value.message == "Debian trixie has no package bash:i386, neither, nosuch"


@pytest.mark.parametrize("name", ["Bash", "-o", "--help", "a b", "x", "", "bash;ls", "?essential", "ünicode"])
def test_what_is_no_package_name_never_reaches_apt(apt: Apt, name: str) -> None:
    with pytest.raises(CourseboxError) as caught:
        ARCHIVE.resolve([name])
    assert caught.value.message == f"{name!r} is not the name of a Debian package"
    assert not apt.commands


@pytest.mark.parametrize("name", ["libstdc++6", "0ad", "bash=5.2-1", "tzdata:all", "python3.13"])
def test_what_is_a_package_name_does(apt: Apt, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        STANZAS, name.split("=")[0].split(":")[0], STANZAS["tzdata"].replace("tzdata", name.split("=")[0].split(":")[0])
    )
    ARCHIVE.resolve([name])
    assert apt.commands[-2][-1] == name


def test_conflict_is_told_in_apts_words(monkeypatch: pytest.MonkeyPatch) -> None:
    unmet = "The following packages have unmet dependencies:\n bash : Conflicts: dash but 1 is to be installed\n"
    monkeypatch.setattr(module, "_run", Apt(unmet, 100, "E: Unable to correct problems\n"))
    with pytest.raises(CourseboxError) as caught:
        ARCHIVE.resolve(["bash", "tzdata"])
    assert caught.value.message == (
        "apt cannot install bash, tzdata together in trixie: bash : Conflicts: dash but 1 is to be installed"
    )


def test_other_failure_is_told_in_apts_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_run", Apt("", 100, "W: odd\nE: Broken\nN: note\n"))
    with pytest.raises(CourseboxError, match="together in trixie: odd; Broken"):
        ARCHIVE.resolve(["bash"])


def test_entry_that_the_index_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = SIMULATION + "Inst lost (1 Debian:13.7/stable [amd64])\n"
    monkeypatch.setattr(module, "_run", Apt(simulation))
    with pytest.raises(CourseboxError, match="the index of trixie has no entry for lost"):
        ARCHIVE.resolve(["bash"])


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """apt is there, and so are the keys."""
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(module, "_prepare", lambda folder, architecture: _lay_out(folder))
    (tmp_path / "keys.gpg").touch()
    return tmp_path / "keys.gpg"


def _lay_out(folder: Path) -> None:
    (folder / "etc/sources.list.d").mkdir(parents=True)
    (folder / "state/lists").mkdir(parents=True)


def test_archive_has_the_suite_its_updates_and_its_security(monkeypatch: pytest.MonkeyPatch, tools: Path) -> None:
    seen = []

    def update(folder: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        seen.append((folder / "etc/sources.list.d/archive.sources").read_text())
        if "down.example" in seen[-1]:
            return subprocess.CompletedProcess(command, 100, "", "E: cannot reach down.example\n")
        for suite, date in (
            ("trixie", "Sat, 12 Sep 2026 07:55:41 UTC"),
            ("trixie-updates", "Thu, 19 Nov 2026 02:12:54 +0000"),
        ):
            release = folder / f"state/lists/up.example_debian_dists_{suite}_InRelease"
            release.write_text(f"-----BEGIN PGP\nCodename: {suite}\nDate: {date}\nValid-Until: x\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(module, "_run", update)
    mirrors = AptMirrors(("http://down.example/debian", "http://up.example/debian"), ("http://sec.example",))
    with open_archive(mirrors=mirrors, keyring=tools) as archive:
        folder = archive.folder
        assert archive.dates == {"trixie": 1789199741, "trixie-updates": 1795054374}
    assert not folder.exists()
    assert len(seen) == 2
    assert seen[1] == (
        f"Types: deb\nURIs: http://up.example/debian\nSuites: trixie trixie-updates\nComponents: main\n"
        f"Signed-By: {tools}\n"
        f"\nTypes: deb\nURIs: http://sec.example\nSuites: trixie-security\nComponents: main\nSigned-By: {tools}\n"
    )


def test_no_mirror_answers(monkeypatch: pytest.MonkeyPatch, tools: Path) -> None:
    monkeypatch.setattr(module, "_run", Apt("", 100, "E: cannot reach down.example\n"))
    with (
        pytest.raises(CourseboxError, match="no mirror gives the signed indexes of Debian trixie: cannot reach down"),
        open_archive(mirrors=AptMirrors(("http://down.example",), ("http://sec.example",)), keyring=tools),
    ):
        pytest.fail("opened")


def test_without_the_security_archive_nothing_is_resolved(tools: Path) -> None:
    """Locks without security updates, or older substitutes for them, would come of it without a word."""
    with (
        pytest.raises(CourseboxError, match="no mirror of Debian's security archive is known") as error,
        open_archive(mirrors=AptMirrors(("http://up.example",), ()), keyring=tools),
    ):
        pytest.fail("opened")
    assert error.value.hint is not None and "COURSEBOX_DEBIAN_SECURITY_MIRROR" in error.value.hint


def test_machine_without_apt_or_keys(monkeypatch: pytest.MonkeyPatch, tools: Path) -> None:
    mirrors = AptMirrors(("http://up.example",), ())
    absent = tools.with_name("none.gpg")
    with (
        pytest.raises(CourseboxError, match=f"the keys of the Debian archive are missing: {absent}"),
        open_archive(mirrors=mirrors, keyring=absent),
    ):
        pytest.fail("opened")
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with (
        pytest.raises(CourseboxError, match="apt-get is not installed"),
        open_archive(mirrors=mirrors, keyring=tools),
    ):
        pytest.fail("opened")


@pytest.mark.parametrize(
    ("until", "told"),
    [
        ("Valid-Until: Sat, 28 Nov 2026 00:00:00 UTC", True),
        ("Valid-Until: Sun, 29 Nov 2026 00:00:00 UTC", False),
        ("Valid-Until: tomorrow", False),
        ("Valid-Until-Not: Sat, 28 Nov 2026 00:00:00 UTC", False),
    ],
)
def test_an_index_that_is_no_longer_valid_is_told(tmp_path: Path, until: str, told: bool) -> None:
    """A mirror that lags behind has not the newest security updates."""
    (tmp_path / "mirror_dists_trixie-security_InRelease").write_text(f"Codename: trixie-security\n{until}\n")
    (tmp_path / "mirror_dists_trixie_Release").write_text("Codename: trixie\n")  # Debian's stable is valid for ever
    sentences = expired(tmp_path, 1795867200.0)  # 28 Nov 2026, noon
    assert len(sentences) == told
    assert not told or sentences[0].startswith("the index of trixie-security was valid until Sat, 28 Nov 2026")
