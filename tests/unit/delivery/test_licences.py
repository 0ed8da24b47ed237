"""The list of licences: what a Debian package, a wheel, a data set and a folder of labs say of themselves."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from coursebox.archives.datasets import read_data_sets
from coursebox.core.errors import CourseboxError
from coursebox.delivery import licences
from coursebox.lock.lockfile import Deb, Wheel

DEP5 = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
License: ISC

Files: *
Copyright: someone
License: GPL-2+ or  Artistic
 The text of it.

Files: debian/*
Copyright: someone else
License: Expat

License: Unused
 A licence that no file has.
"""
FREE_TEXT = (
    "On Debian systems the text is in /usr/share/common-licenses/GPL-2. And /usr/share/common-licenses/LGPL-2.1."
)


def deb(package: str, pool: str = "pool/main") -> tuple[Deb, Path]:
    item = Deb(package, "1.0", "all", package, "main", f"{pool}/p/{package}/{package}_1.0_all.deb", 1, "0" * 64)
    return item, Path("/nowhere", package)


def tree(folder: Path, files: Mapping[str, str], links: Mapping[str, str] | None = None, hard: str = "") -> Path:
    """A tar with files (path → text), symbolic links (path → target), and one hard link "PATH PATH"."""
    with tarfile.open(folder / "tree.tar", "w") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"./{path}")
            member.size = len(text.encode("latin-1"))
            archive.addfile(member, io.BytesIO(text.encode("latin-1")))
        pairs = [(path, target, tarfile.SYMTYPE) for path, target in (links or {}).items()]
        pairs += [(*hard.split(" "), tarfile.LNKTYPE)] if hard else []  # type: ignore[list-item]
        for path, target, kind in pairs:
            member = tarfile.TarInfo(f"./{path}")
            member.type, member.linkname = kind, target
            archive.addfile(member)
    return folder / "tree.tar"


def wheel(folder: Path, name: str, metadata: str, files: tuple[str, ...] = ()) -> tuple[Wheel, Path]:
    path = folder / f"{name}-2.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{name}/vendored/other-1.dist-info/LICENSE", "of something inside")
        archive.writestr(
            f"{name}-2.0.dist-info/METADATA", f"Metadata-Version: 2.4\nName: {name}\n{metadata}\n\nLicense: no"
        )
        for file in files:
            archive.writestr(f"{name}-2.0.dist-info/{file}", "text")
    return Wheel(name, "2.0", path.name, 1, "0" * 64), path


def said(folder: Path, metadata: str, files: tuple[str, ...] = ()) -> licences.Part:
    return licences.wheel_part(*wheel(folder, "pack", metadata, files))


def test_a_machine_readable_copyright_file_gives_the_names_of_its_files_and_its_header() -> None:
    assert licences.dep5_licences(DEP5) == ("Expat", "GPL-2+ or Artistic", "ISC")
    part = licences.debian_part(deb("adduser")[0], DEP5)
    assert str(part) == "adduser 1.0: Expat, GPL-2+ or Artistic, ISC"


@pytest.mark.parametrize("address", ["http://dep.debian.net/deps/dep5/", "copyright-format/1.0"])
def test_older_addresses_of_the_format_are_known(address: str) -> None:
    text = f"format: {address}\n\nfiles: *\nlicense: MIT\n"
    assert licences.dep5_licences(text) == ("MIT",)


@pytest.mark.parametrize("text", ["", "\n\n", "Files: *\nLicense: MIT\n", "This is free software.", "a: b\n\x00c\n: d"])
def test_other_texts_are_not_taken_for_machine_readable(text: str) -> None:
    assert licences.dep5_licences(text) == ()


def test_free_text_gives_the_common_licences_that_it_names() -> None:
    part = licences.debian_part(deb("old")[0], FREE_TEXT)
    assert str(part) == "old 1.0: GPL-2, LGPL-2.1 (free text, see /usr/share/doc/old/copyright)"
    part = licences.debian_part(deb("own")[0], "You may do what you want.")
    assert str(part) == "own 1.0: free text, see /usr/share/doc/own/copyright"
    assert part.licences == ""


@pytest.mark.parametrize(
    ("pool", "free"),
    [
        ("pool/main", True),
        ("pool/updates/main", True),
        ("pool/non-free-firmware", False),
        ("pool/updates/non-free", False),
        ("pool/contrib", False),
    ],
)
def test_only_the_main_component_of_debian_is_free(pool: str, free: bool) -> None:
    assert licences.debian_part(deb("main", pool)[0], DEP5).free is free


def test_copyright_files_are_found_behind_links(tmp_path: Path) -> None:
    doc = "usr/share/doc"
    archive = tree(
        tmp_path,
        {f"{doc}/gcc-14-base/copyright": "gcc", f"{doc}/latin/copyright": "André", "etc/copyright": "no"},
        {
            f"{doc}/gcc": "cpp",
            f"{doc}/cpp": "gcc-14-base",
            f"{doc}/g++/copyright": "../gcc/copyright",
            f"{doc}/absolute": f"/{doc}/gcc-14-base",
            f"{doc}/dangling": "gone",
            f"{doc}/circle": "circle",
            f"{doc}/outside/copyright": "../../../../../../etc/copyright",
        },
        hard=f"{doc}/hard/copyright {doc}/gcc-14-base/copyright",
    )
    found = licences.read_copyrights(archive)
    assert {name for name, text in found.items() if text == "gcc"} == {
        "gcc-14-base", "gcc", "cpp", "g++", "absolute", "hard",
    }  # fmt: skip
    assert found["latin"] == "Andr\N{REPLACEMENT CHARACTER}"
    assert not {"dangling", "circle", "outside"} & set(found)


@pytest.mark.parametrize("content", [None, b"no tar"])
def test_an_unreadable_tree_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "tree.tar").write_bytes(content)
    with pytest.raises(CourseboxError, match=r"the copyright files in .*tree\.tar cannot be read"):
        licences.read_copyrights(tmp_path / "tree.tar")


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: BSD", "MIT OR Apache-2.0"),
        ("License: BSD-3-Clause\nClassifier: License :: OSI Approved :: BSD License", "BSD-3-Clause"),
        ("License: BSD 3-Clause License\n        \n        Copyright (c) 2022, people", "BSD 3-Clause License"),
        ("License: Copyright (c) people\nClassifier: License :: OSI Approved :: BSD License", "BSD License"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: ISC License (ISCL)", "ISC License (ISCL)"),
        ("License: " + "long " * 20 + "\nClassifier: License :: OSI Approved :: MIT License", "MIT License"),
        ("Classifier: License :: A :: Z\nClassifier: License :: B\nClassifier: Topic :: C", "B, Z"),
        ("Summary: says nothing", ""),
    ],
)
def test_a_wheel_names_its_licence_in_one_of_three_places(tmp_path: Path, metadata: str, expected: str) -> None:
    part = said(tmp_path, metadata)
    assert (part.licences, part.free) == (expected, True)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: LicenseRef-NVIDIA-Proprietary", "LicenseRef-NVIDIA-Proprietary"),
        (
            "License: Apache 2.0\nClassifier: License :: Other/Proprietary License",
            "Apache 2.0, Other/Proprietary License",
        ),
    ],
)
def test_a_proprietary_wheel_is_not_free(tmp_path: Path, metadata: str, expected: str) -> None:
    part = said(tmp_path, metadata)
    assert (part.licences, part.free) == (expected, False)


def test_the_licence_files_of_a_wheel_are_named(tmp_path: Path) -> None:
    files = (
        "licenses/LICENSE",
        "licenses/",
        "licenses/third/COPYING",
        "NOTICE.txt",
        "RECORD",
        "top_level.txt",
        "licenses/a",
        "licenses/b",
    )
    assert said(tmp_path, "License: MIT", files).note == "LICENSE, NOTICE.txt, a and 2 more"
    assert said(tmp_path, "License: MIT").note == ""


def test_a_wheel_without_metadata_is_named(tmp_path: Path) -> None:
    item, path = wheel(tmp_path, "pack", "License: MIT")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pack/METADATA", "License: MIT")
    with pytest.raises(CourseboxError, match=r"pack-2\.0-py3-none-any\.whl has no readable metadata"):
        licences.wheel_part(item, path)
    path.write_bytes(b"no zip")
    with pytest.raises(CourseboxError, match=r"pack-2\.0-py3-none-any\.whl has no readable metadata"):
        licences.wheel_part(item, path)


def test_of_every_data_set_something_is_said() -> None:
    for name in read_data_sets():
        part = licences.data_part(name, "complete")
        assert part.licences or part.note, name
    assert licences.data_part("mnist", "stand-in").licences == licences.OWN
    assert str(licences.data_part("mine", "complete")) == "mine complete: nothing is stated"


def test_the_licence_of_labs(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "labs", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    assert licences.labs_licence(tmp_path / "x" / ".." / "labs", [ours]) == licences.OWN
    assert licences.labs_licence(theirs, [ours]) == ""
    (theirs / "LICENCE.md").touch()
    (theirs / "license").mkdir()
    (theirs / "sheet.md").touch()
    assert licences.labs_licence(theirs, [ours]) == "see LICENCE.md in their folder"


def test_the_whole_list(tmp_path: Path) -> None:
    files = {f"usr/share/doc/{name}/copyright": DEP5 for name in ("b", "a", "firmware")}
    debs = [deb("b"), deb("a"), deb("none"), deb("firmware", "pool/non-free-firmware")]
    wheels = [wheel(tmp_path, "z", "License: MIT", ("LICENSE",)), wheel(tmp_path, "c", "License-Expression: ISC")]
    data = {"mnist": {"kind": "complete"}, "cifar10": {"kind": "stand-in"}}
    archive = tree(tmp_path, files)
    text = licences.licence_list("x.ova", debs, wheels, tree=archive, data=data, labs="")
    dep5 = "Expat, GPL-2+ or Artistic, ISC"
    assert text.startswith("Licences of what is inside x.ova\n\n")
    assert text.split("\n\n", 2)[2] == (
        "Not free: read their terms before you publish: 1\n"
        f"  firmware 1.0: {dep5}\n"
        "\n"
        "Without the name of a licence: read the text, or ask: 2\n"
        "  none 1.0: no copyright file\n"
        "  labs: ask the course's authors\n"
        "\n"
        "Debian packages: 4\n"
        f"  a 1.0: {dep5}\n"
        f"  b 1.0: {dep5}\n"
        f"  firmware 1.0: {dep5}\n"
        "  none 1.0: no copyright file\n"
        "\n"
        "Python packages: 2\n"
        "  c 2.0: ISC\n"
        "  z 2.0: MIT (LICENSE)\n"
        "\n"
        "Data sets: 2\n"
        "  cifar10 stand-in: Apache-2.0; the coursebox authors\n"
        "  mnist complete: CC BY-SA 3.0, Yann LeCun and Corinna Cortes\n"
        "\n"
        "Course: 2\n"
        "  coursebox: Apache-2.0; the coursebox authors\n"
        "  labs: ask the course's authors\n"
    )
    data = dict(reversed(data.items()))
    assert text == licences.licence_list("x.ova", debs[::-1], wheels[::-1], tree=archive, data=data, labs="")
