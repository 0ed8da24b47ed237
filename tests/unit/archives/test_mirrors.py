"""The machine's own settings: apt's in both forms, pip's from wherever they are, and $MIRROR."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coursebox.archives import mirrors as mirrors_module
from coursebox.archives.mirrors import AptMirrors, PipSettings, data_mirrors, join, local_path, read_apt, read_pip
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
def test_apt_settings(tmp_path: Path, files: dict[str, str], main: tuple[str, ...], security: tuple[str, ...]) -> None:
    found = read_apt(apt_folder(tmp_path, files), {})
    assert (found.main, found.security) == (main, security)


def test_mirror_list_of_cloud_images(tmp_path: Path) -> None:
    (tmp_path / "debian.list").write_text(
        "http://one.example/debian\tpriority:1\n# none\n\nhttps://two.example/debian\n"
    )
    folder = apt_folder(
        tmp_path,
        {"sources.list": f"deb mirror+file://{tmp_path}/debian.list trixie main\ndeb mirror+file:/none trixie main\n"},
    )
    assert read_apt(folder, {}).main == MAIN


def test_snapshot_service_from_the_comment_or_the_environment(tmp_path: Path) -> None:
    folder = apt_folder(tmp_path, {"sources.list.d/debian.sources": DEB822})
    assert read_apt(folder, {}).snapshot == "http://snapshot.example"
    assert read_apt(folder, {"COURSEBOX_DEBIAN_SNAPSHOT": "http://mine.example/"}).snapshot == "http://mine.example"
    assert read_apt(folder, {"COURSEBOX_DEBIAN_SNAPSHOT": ""}).snapshot is None


def test_mirror_from_the_environment(tmp_path: Path) -> None:
    folder = apt_folder(tmp_path, {"sources.list.d/debian.sources": DEB822})
    found = read_apt(folder, {"COURSEBOX_DEBIAN_MIRROR": "http://my.example/debian/"})
    assert (found.main, found.security) == (("http://my.example/debian",), ())
    found = read_apt(folder, {"COURSEBOX_DEBIAN_SECURITY_MIRROR": "http://my.example/sec"})
    assert (found.main, found.security) == (MAIN, ("http://my.example/sec",))


@pytest.mark.parametrize("text", ["", "deb http://ubuntu.example/ubuntu noble main\n", "deb\n", "garbage ][ here\n"])
def test_machine_without_debian(tmp_path: Path, text: str) -> None:
    folder = apt_folder(tmp_path, {"sources.list": text})
    with pytest.raises(CourseboxError) as caught:
        read_apt(folder, {})
    assert caught.value.message == f"apt's settings in {folder} name no mirror of the Debian archive"
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


def bare(**settings: str) -> dict[str, str]:
    """An environment in which pip finds no configuration but this."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return kept | {"PIP_CONFIG_FILE": os.devnull} | settings


def test_pip_settings_from_variables() -> None:
    found = read_pip(
        bare(
            PIP_INDEX_URL="https://user:secret@index.example/simple/",
            PIP_EXTRA_INDEX_URL="https://more.example/simple file:///srv/simple",
            PIP_FIND_LINKS="/srv/wheels",
            PIP_CERT="/srv/ca.pem",
            COURSEBOX_TORCH_INDEX="https://torch.example/cpu",
        )
    )
    assert found == PipSettings(
        (
            "https://user:secret@index.example/simple",
            "https://more.example/simple",
            "file:///srv/simple",
            "https://torch.example/cpu",
        ),
        ("/srv/wheels",),
        "/srv/ca.pem",
        None,
    )


def test_pip_settings_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://conf.example/simple\nproxy = http://proxy.example:3128\n"
    )
    found = read_pip(bare(PIP_CONFIG_FILE=str(tmp_path / "pip.conf")))
    assert found.indexes == ("https://conf.example/simple",)
    assert found.proxy == "http://proxy.example:3128"


def test_pip_tells_its_own_default_and_that_there_is_none() -> None:
    (default,) = read_pip(bare()).indexes
    assert default.startswith("https://")
    assert default.endswith("/simple")
    assert read_pip(bare(PIP_NO_INDEX="1")).indexes == ()


def test_pip_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors_module, "ASK_PIP", "raise SystemExit('no such option')")
    with pytest.raises(CourseboxError, match="pip does not tell its settings: no such option"):
        read_pip()


def test_data_mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, spaced, beside = tmp_path / "one", tmp_path / "zwei Sätze", tmp_path / "beside"
    for folder in (one, spaced, beside):
        folder.mkdir()
    monkeypatch.chdir(tmp_path)
    assert data_mirrors({}, tmp_path / "none") == ()
    assert data_mirrors({}, beside) == (str(beside),)
    assert data_mirrors({"MIRROR": "one https://data.example/sets/ one"}, beside) == (
        str(one),
        "https://data.example/sets",
        str(beside),
    )
    assert data_mirrors({"MIRROR": "zwei Sätze"}, tmp_path / "none") == (str(spaced),)
    assert data_mirrors({"MIRROR": "'zwei Sätze' one"}, tmp_path / "none") == (str(spaced), str(one))
    assert data_mirrors({"MIRROR": "beside"}, beside) == (str(beside),)


def test_mirror_folder_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseboxError, match="MIRROR names the folder datsets, which does not exist"):
        data_mirrors({"MIRROR": "datsets"})


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/srv/a b", "/srv/a b"),
        ("file:///srv/a%20b", "/srv/a b"),
        ("file:/srv/x", "/srv/x"),
        ("copy:/srv/x", "/srv/x"),
        ("https://a.example/x", None),
    ],
)
def test_local_path(address: str, path: str | None) -> None:
    assert local_path(address) == (Path(path) if path else None)


def test_join() -> None:
    assert join("https://a.example/x/", "y/z") == "https://a.example/x/y/z"
    assert join("/srv/x", "y") == "/srv/x/y"
