"""Where things come from: the building machine's own apt and pip settings, and the mirrors that the user adds.

No address is written here. Debian's mirror is the one of the machine's apt, the Python index the one of its pip,
and later choices come from the environment:

COURSEBOX_DEBIAN_MIRROR, COURSEBOX_DEBIAN_SECURITY_MIRROR   bases of the archive, instead of apt's
COURSEBOX_DEBIAN_SNAPSHOT   base of a Debian snapshot service (what stands before /archive/debian/…)
COURSEBOX_TORCH_INDEX       a simple index with PyTorch's own builds
MIRROR                      folders or URLs, separated by white space
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT

KEYRING = "debian-archive"
SUITES = re.compile(
    r"(?:stable|testing|unstable|oldstable|sid|bookworm|trixie|forky|duke)(?P<pocket>-updates|-security|/updates)?"
)
SNAPSHOT_COMMENT = re.compile(r"#\s*(https?://\S+?)/archive/debian(?:-security)?/\d{8}T\d{6}Z\b")


@dataclass(frozen=True)
class AptMirrors:
    """Bases of the Debian archive, without a slash at the end; the first that has a file wins.

    main, security: as apt's settings have them (http, https or file URLs)
    snapshot: base of the snapshot service, or None
    """

    main: tuple[str, ...]
    security: tuple[str, ...]
    snapshot: str | None = None

    def bases(self, archive: str) -> tuple[str, ...]:
        """The current bases of "main" or "security"."""
        return self.security if archive == "security" else self.main

    def snapshots(self, archive: str, moments: Iterable[str]) -> tuple[str, ...]:
        """The bases of "main" or "security" at these moments (YYYYMMDDTHHMMSSZ), where there is a snapshot service."""
        folder = "debian-security" if archive == "security" else "debian"
        return tuple(f"{self.snapshot}/archive/{folder}/{moment}" for moment in moments if self.snapshot)


@dataclass(frozen=True)
class PipSettings:
    """What pip would use: simple indexes (PEP 503), flat sources (find-links), and how to reach them."""

    indexes: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    cert: str | None = None
    proxy: str | None = None


@dataclass(frozen=True)
class _Entry:
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str


def read_apt(folder: Path = Path("/etc/apt"), environment: Mapping[str, str] = os.environ) -> AptMirrors:
    """The archive's bases from apt's settings (sources.list(5)) and the environment.

    Raises `CourseboxError` when there is no Debian archive among them (on Ubuntu, for one).
    """
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in _source_files(folder)]
    main: list[str] = []
    security: list[str] = []
    for path, text in zip(_source_files(folder), texts, strict=True):
        entries = _deb822(text) if path.suffix == ".sources" else _one_line(text)
        for entry in entries:
            for suite in entry.suites:
                place = _is_debian(entry, suite)
                if place is not None:
                    (security if place == "security" else main).extend(
                        base for uri in entry.uris for base in _expand(uri)
                    )
    if chosen := environment.get("COURSEBOX_DEBIAN_MIRROR"):
        main = [chosen]
        security = []
    if chosen := environment.get("COURSEBOX_DEBIAN_SECURITY_MIRROR"):
        security = [chosen]
    if not main:
        raise CourseboxError(
            f"apt's settings in {folder} name no mirror of the Debian archive",
            hint="set COURSEBOX_DEBIAN_MIRROR and COURSEBOX_DEBIAN_SECURITY_MIRROR to the bases of one",
        )
    snapshot = environment.get("COURSEBOX_DEBIAN_SNAPSHOT")
    if snapshot is None:
        found = [match[1] for text in texts for match in SNAPSHOT_COMMENT.finditer(text)]
        snapshot = found[0] if found else None
    return AptMirrors(_unique(main), _unique(security), snapshot.rstrip("/") if snapshot else None)


@cache
def apt_proxy(scheme: str) -> str | None:
    """The proxy that apt uses for "http" or "https", or None."""
    if shutil.which("apt-config") is None:
        return None
    command = ["apt-config", "dump", "--format", "%v%n", f"Acquire::{scheme}::Proxy"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return None if found in ("", "DIRECT", "false") else found


# Asks pip's own option parser, which merges its defaults, its configuration files and PIP_* variables; the default
# index is known to pip alone. `create_command` is internal to pip, but has kept its form since pip 19.2.
ASK_PIP = """
import json
from pip._internal.commands import create_command
options, _ = create_command("download").parse_args([])
print(json.dumps({
    "indexes": [] if options.no_index else [options.index_url, *options.extra_index_urls],
    "find_links": options.find_links,
    "cert": options.cert,
    "proxy": options.proxy,
}))
"""


@cache
def pip_command() -> tuple[str, ...]:
    """A Python that has pip: this one, else the first on the path; raises `CourseboxError` when there is none."""
    for python in (sys.executable, "python3"):
        found = shutil.which(python)
        if found and subprocess.run([found, "-c", "import pip"], capture_output=True, check=False).returncode == 0:
            return (found,)
    raise CourseboxError("pip is not installed", hint="install the Debian packages python3-pip and python3-venv")


def read_pip(environment: Mapping[str, str] = os.environ) -> PipSettings:
    """What pip's configuration and environment say on this machine, with $COURSEBOX_TORCH_INDEX as a further index."""
    done = subprocess.run(
        [*pip_command(), "-c", ASK_PIP], capture_output=True, text=True, check=False, env=dict(environment)
    )
    try:
        told = json.loads(done.stdout)
    except ValueError as error:
        raise CourseboxError(
            f"pip does not tell its settings: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}",
            hint="look at `python3 -m pip config list`",
        ) from error
    indexes = list(told["indexes"])
    if torch := environment.get("COURSEBOX_TORCH_INDEX"):
        indexes.append(torch)
    return PipSettings(
        tuple(dict.fromkeys(index.rstrip("/") for index in indexes)),
        tuple(dict.fromkeys(told["find_links"])),
        told["cert"],
        told["proxy"] or None,
    )


def data_mirrors(
    environment: Mapping[str, str] = os.environ, beside: Path = CHECKOUT.parent / "shared" / "datasets"
) -> tuple[str, ...]:
    """Mirrors in the order to ask: those of $MIRROR, then the folder beside the checkout when it exists.

    Each is a URL or an absolute path. A folder in $MIRROR that does not exist is an error, since it was asked for.
    """
    mirrors = [_mirror(word) for word in _words(environment.get("MIRROR", ""))]
    if beside.is_dir():
        mirrors.append(str(beside.resolve()))
    return tuple(dict.fromkeys(mirrors))


def join(mirror: str, path: str) -> str:
    """The address of `path` below a mirror, be it a URL or a folder."""
    return f"{mirror.rstrip('/')}/{path}"


def local_path(address: str) -> Path | None:
    """The local file that a `file:` or `copy:` URL or a plain path means; None for anything remote."""
    if address.startswith("/"):
        return Path(address)
    if not address.startswith(("file:", "copy:")):
        return None
    return Path(unquote(urlsplit(address).path))


def _words(text: str) -> list[str]:
    if Path(text).is_dir() and text.strip():
        return [text]  # one folder whose name has spaces
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _mirror(word: str) -> str:
    if re.match(r"(?:https?|file)://", word):
        return word.rstrip("/")
    folder = Path(word).expanduser().resolve()
    if not folder.is_dir():
        raise CourseboxError(f"MIRROR names the folder {word}, which does not exist", hint="give a folder or a URL")
    return str(folder)


def _unique(bases: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(base.rstrip("/") for base in bases))


def _source_files(folder: Path) -> list[Path]:
    single = folder / "sources.list"
    parts = folder / "sources.list.d"
    found = sorted(path for path in parts.glob("*") if path.suffix in (".list", ".sources")) if parts.is_dir() else []
    return ([single] if single.is_file() else []) + found


def _deb822(text: str) -> Iterator[_Entry]:
    from debian.deb822 import Deb822

    for paragraph in Deb822.iter_paragraphs(text.splitlines(keepends=True)):
        if paragraph.get("Enabled", "yes").strip().lower() in ("no", "false", "0", "off"):
            continue
        if "deb" in paragraph.get("Types", "").split():
            yield _Entry(
                tuple(paragraph.get("URIs", "").split()),
                tuple(paragraph.get("Suites", "").split()),
                tuple(paragraph.get("Components", "").split()),
                paragraph.get("Signed-By", ""),
            )


def _one_line(text: str) -> Iterator[_Entry]:
    line = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)")
    for raw in text.splitlines():
        if found := line.fullmatch(raw.split("#", 1)[0].strip()):
            signed = re.search(r"signed-by=(\S+)", found["options"] or "")
            yield _Entry(
                (found["uri"],), (found["suite"],), tuple(found["components"].split()), signed[1] if signed else ""
            )


def _is_debian(entry: _Entry, suite: str) -> str | None:
    """ "main" or "security" when an entry serves Debian's own archive, else None.

    Third parties use Debian's code names too; they have their own key, or another component than main.
    """
    found = SUITES.fullmatch(suite)
    if not found or "main" not in entry.components:
        return None
    if entry.signed_by and KEYRING not in entry.signed_by:
        return None
    return "security" if found["pocket"] in ("-security", "/updates") else "main"


def _expand(uri: str) -> Iterator[str]:
    """Base addresses behind one URI; Debian's cloud images keep theirs in a list (apt-transport-mirror(1))."""
    if uri.startswith("mirror+file:"):
        listed = Path(unquote(urlsplit(uri.removeprefix("mirror+")).path))
        if listed.is_file():
            for line in listed.read_text(encoding="utf-8").splitlines():
                if words := line.split("#", 1)[0].split():
                    yield words[0]
    elif re.match(r"https?://|file:|copy:", uri):
        yield uri
