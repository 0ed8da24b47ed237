"""The licences of what is inside a product, as one text: Debian packages, Python packages, data sets, labs.

Nothing is judged here. Each part says of itself under which licences it is, and the list repeats its words. The text is
the same whenever the parts are the same.

The copyright files of Debian packages are read from the bootstrapped tree, not from the .deb files. In a .deb they lie
at the end of a compressed stream: 489 packages took more than two minutes, the tar of a tree takes two seconds. And
packages of the same source link to each other's documentation folders; in the tree these links can be followed.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from debian.deb822 import Deb822

from coursebox.archives.datasets import read_data_sets
from coursebox.core.errors import CourseboxError
from coursebox.lock.lockfile import Deb, Wheel

DOC = "usr/share/doc"
COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9][A-Za-z0-9.+-]*)")
# What the names of licence files begin with, in labs and in the dist-info folder of a wheel, licenses/AUTHORS included.
LICENCE_FILE = re.compile(r"licen[cs]e|copying|notice|eula", re.IGNORECASE)
LINKS = 8  # of links to links, more are a circle
FILES_SHOWN = 3

OWN = "Apache-2.0; the coursebox authors"


@dataclass(frozen=True, order=True)
class Part:
    """One thing that is inside.

    licences: as the part names them, empty when it names none. note: where to read on, or why there is none.
    free: False for what says itself that it is proprietary, and for packages outside of Debian's main component.
    """

    name: str
    version: str
    licences: str
    note: str = ""
    free: bool = True

    def __str__(self) -> str:
        said = self.licences + (f" ({self.note})" if self.note else "") if self.licences else self.note
        return f"{self.name} {self.version}".strip() + f": {said or 'nothing is stated'}"


def licence_list(
    product: str,
    debs: Sequence[tuple[Deb, Path]],
    wheels: Sequence[tuple[Wheel, Path]],
    *,
    tree: Path,
    data: Mapping[str, Mapping[str, str]],
    labs: str,
) -> str:
    """The licences of one product as text, one line a part, sorted by name; no network is used.

    product: the file's name, for the title
    debs, wheels: what is inside, each with its verified file, as `Fetched` has them for one tree
    tree: tar of the tree in which all of `debs` are installed, with their copyright files
    data: data set → {"kind": …}, as `DataTree.sources` has it
    labs: the licence of the labs, as `labs_licence` finds it; empty when they state none
    Raises CourseboxError for a wheel without readable metadata, and for an unreadable tree.
    """
    texts = read_copyrights(tree)
    groups = {
        "Debian packages": sorted(debian_part(deb, texts.get(deb.package)) for deb, _ in debs),
        "Python packages": sorted(wheel_part(wheel, path) for wheel, path in wheels),
        "Data sets": sorted(data_part(name, source["kind"]) for name, source in data.items()),
        "Course": [Part("coursebox", "", OWN), Part("labs", "", labs, "" if labs else "ask the course's authors")],
    }
    parts = [part for group in groups.values() for part in group]
    lines = [
        f"Licences of what is inside {product}",
        "",
        "Each part says its licences itself, and this list repeats its words. Debian packages have Debian's names of",
        "licences, Python packages mostly those of SPDX. The full texts are inside: of Debian packages in",
        f"/{DOC}/PACKAGE/copyright and /usr/share/common-licenses, of Python packages in PACKAGE-VERSION.dist-info.",
    ]
    lines += _section("Not free: read their terms before you publish", [part for part in parts if not part.free])
    lines += _section(
        "Without the name of a licence: read the text, or ask", [part for part in parts if not part.licences]
    )
    for title, group in groups.items():
        lines += _section(title, group)
    return "\n".join(lines) + "\n"


def _section(title: str, parts: Sequence[Part]) -> list[str]:
    return ["", f"{title}: {len(parts)}", *(f"  {part}" for part in parts)]


def read_copyrights(tree: Path) -> dict[str, str]:
    """Package → text of its copyright file, from the tar of a tree; links to other packages' files are followed."""
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(tree, "r:") as archive:
            for member in archive:
                path = posixpath.normpath(member.name).lstrip("/")
                if not path.startswith(f"{DOC}/"):
                    continue
                if member.issym():
                    links[path] = _target(path, member.linkname)
                elif path.endswith("/copyright") and (stream := archive.extractfile(member)):
                    files[path] = stream.read().decode("utf-8", errors="replace")
    except (OSError, tarfile.TarError) as error:
        raise CourseboxError(
            f"the copyright files in {tree} cannot be read: {error}",
            hint="remove that folder from the cache, and build again",
        ) from error
    packages = {path.split("/")[3] for path in (*files, *links)}
    found = {package: _follow(f"{DOC}/{package}/copyright", files, links) for package in packages}
    return {package: text for package, text in found.items() if text is not None}


def _target(path: str, link: str) -> str:
    """Where a link leads, as a path below the tree's root; a link that leaves the tree ends at its root."""
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(path), link)).lstrip("/")


def _follow(path: str, files: Mapping[str, str], links: Mapping[str, str]) -> str | None:
    for _ in range(LINKS):
        if path in files:
            return files[path]
        folder, name = posixpath.split(path)
        if path in links:
            path = links[path]
        elif folder in links:
            path = f"{links[folder]}/{name}"
        else:
            break
    return None


def debian_part(deb: Deb, text: str | None) -> Part:
    """What the copyright file `text` of a package says; None: it has no such file."""
    # pool/main/p/pytorch/FILE; of security updates pool/updates/main/p/pytorch/FILE
    free = "main" in PurePosixPath(deb.filename).parts[:-3]
    if text is None:
        return Part(deb.package, deb.version, "", "no copyright file", free)
    if licences := dep5_licences(text):
        return Part(deb.package, deb.version, ", ".join(licences), "", free)
    named = sorted({name.rstrip(".+-") for name in COMMON.findall(text)})
    note = f"free text, see /{DOC}/{deb.package}/copyright"
    return Part(deb.package, deb.version, ", ".join(named), note, free)


def dep5_licences(text: str) -> tuple[str, ...]:
    """The short names of the licences in a machine-readable copyright file (DEP 5), sorted; () for any other text."""
    paragraphs = [dict(paragraph) for paragraph in Deb822.iter_paragraphs(text.splitlines(), use_apt_pkg=False)]
    header = {key.lower(): value for key, value in paragraphs[0].items()} if paragraphs else {}
    address = header.get("format", "")
    if "copyright-format" not in address and "dep5" not in address:
        return ()
    names = set()
    for number, paragraph in enumerate(paragraphs):
        fields = {key.lower(): value for key, value in paragraph.items()}
        if (number == 0 or "files" in fields) and (lines := fields.get("license", "").splitlines()):
            names.add(" ".join(lines[0].split()))
    return tuple(sorted(names - {""}))


def wheel_part(wheel: Wheel, path: Path) -> Part:
    """What a wheel's metadata say; of the archive only the directory and one small file are read.

    The field License-Expression goes first, then one line of License, then the classifiers.
    """
    metadata, files = _read_wheel(wheel, path)
    classifiers = [
        line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if line.startswith("License ::")
    ]
    licences = (metadata.get("License-Expression") or "").strip() or _one_line(metadata.get("License") or "")
    licences = licences or ", ".join(sorted(set(classifiers)))
    free = not any("proprietary" in said.lower() for said in (licences, *classifiers))
    if not free and "proprietary" not in licences.lower():
        licences += ", " + ", ".join(sorted(set(classifiers)))
    return Part(wheel.name, wheel.version, licences, _names(files), free)


def _read_wheel(wheel: Wheel, path: Path) -> tuple[Message, list[str]]:
    """The metadata of a wheel, and the names of the licence files in its dist-info folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            [place] = [name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            metadata = HeaderParser().parsestr(archive.read(place).decode("utf-8", errors="replace"))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CourseboxError(
            f"{wheel.filename} has no readable metadata", hint="run `make lock`, or choose another version of it"
        ) from error
    folder = place.removesuffix("METADATA")
    inside = [name.removeprefix(folder) for name in names if name.startswith(folder) and not name.endswith("/")]
    return metadata, sorted(name.removeprefix("licenses/") for name in inside if LICENCE_FILE.match(name))


def _one_line(said: str) -> str:
    """The first line of the field License, when it is a name; many packages put the whole text there."""
    line = said.strip().split("\n", 1)[0].strip()
    if len(line) > 60 or line.upper() == "UNKNOWN" or line.lower().startswith("copyright"):
        return ""
    return line


def _names(files: Sequence[str]) -> str:
    more = len(files) - FILES_SHOWN
    return ", ".join(files[:FILES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def data_part(name: str, kind: str) -> Part:
    """One data set; `kind` is "complete", "sample" or "stand-in", and a stand-in was drawn by coursebox."""
    if kind == "stand-in":
        return Part(name, kind, OWN)
    known = read_data_sets().get(name)
    return Part(name, kind, known.licence if known else "")


def labs_licence(folder: Path, own: Iterable[Path]) -> str:
    """The licence of the labs in `folder`: ours when it is one of the folders `own`, else the file that states it."""
    if folder.resolve() in {path.resolve() for path in own}:
        return OWN
    stated = sorted(path.name for path in folder.iterdir() if path.is_file() and LICENCE_FILE.match(path.name))
    return f"see {', '.join(stated)} in their folder" if stated else ""
