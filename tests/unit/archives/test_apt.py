"""apt's own settings, in all forms that apt reads, before and after the first `apt-get update`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from coursebox.archives import apt as apt_module
from coursebox.archives.apt import AptMirrors, read_apt
from coursebox.core.errors import CourseboxError

DEB822 = """\
Types: deb deb-src
# http://snapshot.example/archive/debian/20261101T000000Z
URIs: http://one.example/debian/ https://two.example/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://one.example/debian-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb
URIs: https://packages.example/tool
Suites: trixie
Components: main
Signed-By: /etc/apt/keyrings/tool.gpg

Types: deb
URIs: https://docker.example/linux/debian
Suites: bookworm
Components: stable
"""
MAIN = ("http://one.example/debian", "https://two.example/debian")


def apt_folder(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / "apt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "apt"


# What the first `apt-get update` brings: for each base and suite the origin and label of its Release file.
RELEASES = {
    ("one.example_debian", "trixie"): ("Debian", "Debian"),
    ("one.example_debian", "trixie-updates"): ("Debian", "Debian"),
    ("two.example_debian", "trixie"): ("Debian", "Debian"),
    ("one.example_debian", "bookworm"): ("Debian", "Debian"),
    ("a.example_debian", "trixie"): ("Debian", "Debian"),
    ("one.example_debian-security", "trixie-security"): ("Debian", "Debian-Security"),
    ("sec.example", "bookworm-security"): ("Debian", "Debian-Security"),
    ("packages.example_tool", "trixie"): ("Tool", "Tool"),
    ("other.example_apt", "bookworm"): ("Other", "Other"),
    ("back.example_debian", "trixie-backports"): ("Debian Backports", "Debian Backports"),
    ("new.example_debian", "zurg"): ("Debian", "Debian"),
}


@pytest.fixture
def updated(tmp_path: Path) -> Path:
    """apt's lists after an update."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for (base, suite), (origin, label) in RELEASES.items():
        text = f"Origin: {origin}\nLabel: {label}\nSuite: {suite}\nCodename: {suite}\nComponents: main contrib\n"
        text += f"Architectures: amd64\nSHA256:\n {hashlib.sha256().hexdigest()} 0 main/binary-amd64/Packages\n"
        (folder / f"{base}_dists_{suite}_Release").write_text(text)
        (folder / f"{base}_dists_{suite}_main_binary-amd64_Packages").touch()
    return folder


def with_settings(environment: Mapping[str, str], options: Sequence[str] = ()) -> AptMirrors:
    """What is read with these variables and no others of ours."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COURSEBOX_DEBIAN_MIRROR", "COURSEBOX_DEBIAN_SECURITY_MIRROR", "COURSEBOX_DEBIAN_SNAPSHOT"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        return read_apt(options)


def read(folder: Path, environment: Mapping[str, str] | None = None, lists: Path | None = None) -> AptMirrors:
    """What apt with the settings in `folder` says; without `lists` it never ran an update."""
    lists = lists or folder.parent / "empty"
    lists.mkdir(exist_ok=True)
    options = [f"--option=Dir::Etc={folder}", f"--option=Dir::State::lists={lists}", "--option=APT::Architecture=amd64"]
    return with_settings(environment or {}, options)


@pytest.mark.parametrize(
    ("files", "main", "security"),
    [
        ({"sources.list.d/debian.sources": DEB822}, MAIN, ("http://one.example/debian-security",)),
        (
            {
                "sources.list": "deb http://one.example/debian bookworm main # the mirror\n"
                "deb-src http://src.example/debian bookworm main\n"
                "#deb http://off.example/debian bookworm main\n"
                "deb [arch=amd64 signed-by=/k/debian-archive-keyring.gpg] http://sec.example/ bookworm-security main\n"
                "deb [signed-by=/k/other.gpg] http://other.example/apt bookworm main\n"
                "deb cdrom:[Debian]/ bookworm main\n"
                "deb http://pg.example/pub bookworm-pgdg main\n"
            },
            ("http://one.example/debian",),
            ("http://sec.example",),
        ),
        (
            {"sources.list": "deb http://old.example/debian stable/updates main\ndeb file:/srv/debian sid main\n"},
            ("file:/srv/debian",),
            ("http://old.example/debian",),
        ),
        (
            {
                "sources.list.d/a.list": "deb http://a.example/debian trixie main\n",
                "sources.list.d/b.sources": "Enabled: no\n" + DEB822,
                "sources.list.d/c.sources.disabled": DEB822,
                "sources.list.d/d.list": "deb http://a.example/debian trixie-updates main\n",
            },
            ("http://a.example/debian",),
            ("http://one.example/debian-security",),
        ),
    ],
)
def test_apt_settings(
    tmp_path: Path, updated: Path, files: dict[str, str], main: tuple[str, ...], security: tuple[str, ...]
) -> None:
    found = read(apt_folder(tmp_path, files), lists=updated)
    assert (found.main, found.security) == (main, security)


def test_before_the_first_update_the_suites_tell(tmp_path: Path) -> None:
    found = read(apt_folder(tmp_path, {"sources.list.d/debian.sources": DEB822}))
    assert (found.main[:2], found.security) == (MAIN, ("http://one.example/debian-security",))
    # What another archive calls trixie and main cannot be told from Debian's yet; it comes last and has no such file.
    assert found.main[2:] == ("https://packages.example/tool",)


def test_origin_decides_and_not_the_suite(tmp_path: Path, updated: Path) -> None:
    text = "deb http://new.example/debian zurg main\ndeb http://back.example/debian trixie-backports main\n"
    assert read(apt_folder(tmp_path, {"sources.list": text}), lists=updated).main == ("http://new.example/debian",)


def test_machine_without_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt_module.shutil, "which", lambda name: None)
    with pytest.raises(CourseboxError, match="name no mirror of the Debian archive"):
        with_settings({})
    assert with_settings({"COURSEBOX_DEBIAN_MIRROR": "http://my.example/debian"}).main == ("http://my.example/debian",)


def test_apt_is_not_asked_when_everything_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt_module.subprocess, "run", lambda *a, **k: pytest.fail("apt was asked"))
    variables = {
        "COURSEBOX_DEBIAN_MIRROR": "http://a.example/d",
        "COURSEBOX_DEBIAN_SECURITY_MIRROR": "http://a.example/s",
    }
    found = with_settings({**variables, "COURSEBOX_DEBIAN_SNAPSHOT": ""})
    assert found == AptMirrors(("http://a.example/d",), ("http://a.example/s",), None)


def test_mirror_list_of_cloud_images(tmp_path: Path) -> None:
    (tmp_path / "debian.list").write_text(
        "http://one.example/debian\tpriority:1\n# none\n\nhttps://two.example/debian\n"
    )
    folder = apt_folder(
        tmp_path,
        {"sources.list": f"deb mirror+file://{tmp_path}/debian.list trixie main\ndeb mirror+file:/none trixie main\n"},
    )
    assert read(folder).main == MAIN


def test_snapshot_service_from_the_comment_or_the_environment(tmp_path: Path) -> None:
    folder = apt_folder(tmp_path, {"sources.list.d/debian.sources": DEB822})
    assert read(folder).snapshot == "http://snapshot.example"
    assert read(folder, {"COURSEBOX_DEBIAN_SNAPSHOT": "http://mine.example/"}).snapshot == "http://mine.example"
    assert read(folder, {"COURSEBOX_DEBIAN_SNAPSHOT": ""}).snapshot is None


def test_mirror_from_the_environment(tmp_path: Path, updated: Path) -> None:
    folder = apt_folder(tmp_path, {"sources.list.d/debian.sources": DEB822})
    found = read(folder, {"COURSEBOX_DEBIAN_MIRROR": "http://my.example/debian/"})
    assert (found.main, found.security) == (("http://my.example/debian",), ())
    found = read(folder, {"COURSEBOX_DEBIAN_SECURITY_MIRROR": "http://my.example/sec"}, updated)
    assert (found.main, found.security) == (MAIN, ("http://my.example/sec",))


@pytest.mark.parametrize("text", ["deb\n", "garbage ][ here\n"])
def test_settings_that_apt_cannot_read(tmp_path: Path, text: str) -> None:
    folder = apt_folder(tmp_path, {"sources.list": text})
    with pytest.raises(CourseboxError) as caught:
        read(folder)
    assert caught.value.message.startswith("apt cannot read its settings: ")
    assert f"{folder}/sources.list" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "deb http://ubuntu.example/ubuntu noble main\n"])
def test_machine_without_debian(tmp_path: Path, text: str) -> None:
    folder = apt_folder(tmp_path, {"sources.list": text})
    with pytest.raises(CourseboxError) as caught:
        read(folder)
    assert caught.value.message == "apt's settings name no mirror of the Debian archive"
    assert caught.value.hint is not None
    assert "COURSEBOX_DEBIAN_MIRROR" in caught.value.hint


def test_bases_of_the_two_archives() -> None:
    mirrors = AptMirrors(("http://a.example/debian",), ("http://a.example/sec",), "http://snap.example")
    moments = ("20261101T000000Z", "20261102T000000Z")
    assert mirrors.bases("main") == ("http://a.example/debian",)
    assert mirrors.bases("security") == ("http://a.example/sec",)
    assert mirrors.snapshots("main", moments) == (
        "http://snap.example/archive/debian/20261101T000000Z",
        "http://snap.example/archive/debian/20261102T000000Z",
    )
    assert mirrors.snapshots("security", moments[:1]) == (
        "http://snap.example/archive/debian-security/20261101T000000Z",
    )
    assert AptMirrors(("http://a.example",), ()).snapshots("main", moments) == ()
