"""Which mirrors of the Debian archive apt on this machine uses. No mirror is named here.

COURSEBOX_DEBIAN_MIRROR, COURSEBOX_DEBIAN_SECURITY_MIRROR   bases of the archive, instead of apt's
COURSEBOX_DEBIAN_SNAPSHOT   base of a Debian snapshot service (what stands before /archive/debian/…)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from coursebox.core.errors import CourseboxError
from coursebox.core.settings import settings

SUITES = re.compile(
    r"(?:stable|testing|unstable|oldstable|sid|bookworm|trixie|forky|duke)(?P<pocket>-updates|-security|/updates)?"
)
SNAPSHOT_COMMENT = re.compile(r"#\s*(https?://\S+?)/archive/debian(?:-security)?/\d{8}T\d{6}Z\b")
# apt replaces what it knows, and prints the name of what it does not know.
FIELDS = ("REPO_URI", "RELEASE", "COMPONENT", "SOURCESENTRY", "ORIGIN", "LABEL")


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
class _Target:
    """A package index that apt would download. origin and label are those of its Release file, "" before an update."""

    uri: str
    release: str
    component: str
    entry: str
    origin: str
    label: str


def read_apt(options: Sequence[str] = ()) -> AptMirrors:
    """The archive's bases from apt's settings (sources.list(5)) and from ours.

    options: further options for apt
    Raises `CourseboxError` when there is no Debian archive among them (on Ubuntu, for one), and when apt cannot read
    its settings.
    """
    own = settings()
    main, security, snapshot = own.debian_mirror, own.debian_security, own.debian_snapshot
    targets = [] if main and security and snapshot is not None else _targets(options)
    found: dict[str, list[str]] = {"main": [], "security": []}
    for target in targets:
        if archive := _archive(target):
            found[archive] += _bases(target.uri)
    if main:
        found = {"main": [main], "security": []}
    if security:
        found["security"] = [security]
    if not found["main"]:
        raise CourseboxError(
            "apt's settings name no mirror of the Debian archive",
            hint="set COURSEBOX_DEBIAN_MIRROR and COURSEBOX_DEBIAN_SECURITY_MIRROR to the bases of one",
        )
    if snapshot is None:
        snapshot = next(_snapshots(targets), None)
    return AptMirrors(_unique(found["main"]), _unique(found["security"]), snapshot.rstrip("/") if snapshot else None)


@cache
def apt_proxy(scheme: str) -> str | None:
    """The proxy that apt uses for "http" or "https", or None."""
    if shutil.which("apt-config") is None:
        return None
    command = ["apt-config", "dump", "--format", "%v%n", f"Acquire::{scheme}::Proxy"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return None if found in ("", "DIRECT", "false") else found


def _targets(options: Sequence[str]) -> list[_Target]:
    """All package indexes of apt's settings; none where there is no apt.

    apt tells origin and label only where it has the Release file, and leaves out the rest unless it is asked for all
    without this information. So it is asked both ways. Without its lists the second answer takes no time.
    """
    if shutil.which("apt-get") is None:
        return []
    known = _ask(options)
    covered = {(target.uri, target.release, target.component) for target in known}
    with tempfile.TemporaryDirectory(prefix="apt-") as empty:
        every = _ask([*options, "--no-release-info", "--option", f"Dir::State::lists={empty}"])
    return [*known, *(one for one in every if (one.uri, one.release, one.component) not in covered)]


def _ask(options: Sequence[str]) -> list[_Target]:
    layout = "\t".join(f"$({field})" for field in FIELDS)
    command = ["apt-get", "indextargets", *options, "--format", layout, "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    if done.returncode:
        errors = [line[3:] for line in done.stderr.splitlines() if line.startswith("E: ")]
        raise CourseboxError(
            f"apt cannot read its settings: {'; '.join(errors) or 'it does not say why'}",
            hint="correct the file, or set COURSEBOX_DEBIAN_MIRROR, COURSEBOX_DEBIAN_SECURITY_MIRROR and "
            "COURSEBOX_DEBIAN_SNAPSHOT",
        )
    lines = (line.split("\t") for line in done.stdout.splitlines())
    return [_Target(*("" if word.startswith("$(") else word for word in line)) for line in lines if len(line) == 6]


def _archive(target: _Target) -> str | None:
    """ "main" or "security" when a target is of Debian's own archive, else None.

    Before the first `apt-get update` only the suite's name tells. Third parties use Debian's names, too; such a base
    does no harm, since it only costs a look: what is fetched has to have the locked digest or Debian's signature.
    """
    if target.component != "main":
        return None
    if target.origin or target.label:
        archives = {("Debian", "Debian"): "main", ("Debian", "Debian-Security"): "security"}
        return archives.get((target.origin, target.label))
    found = SUITES.fullmatch(target.release)
    if not found:
        return None
    return "security" if found["pocket"] in ("-security", "/updates") else "main"


def _snapshots(targets: Iterable[_Target]) -> Iterator[str]:
    """Bases of snapshot services in the comments of apt's settings; Debian's own container images have them."""
    for file in dict.fromkeys(target.entry.rpartition(":")[0] for target in targets):
        if Path(file).is_file():
            text = Path(file).read_text(encoding="utf-8", errors="replace")
            yield from (match[1] for match in SNAPSHOT_COMMENT.finditer(text))


def _bases(uri: str) -> Iterator[str]:
    """Base addresses behind one URI; Debian's cloud images keep theirs in a list (apt-transport-mirror(1))."""
    if uri.startswith("mirror+file:"):
        listed = Path(unquote(urlsplit(uri.removeprefix("mirror+")).path))
        if listed.is_file():
            for line in listed.read_text(encoding="utf-8").splitlines():
                if words := line.split("#", 1)[0].split():
                    yield words[0]
    elif re.match(r"https?://|file:|copy:", uri):
        yield uri


def _unique(bases: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(base.rstrip("/") for base in bases))
