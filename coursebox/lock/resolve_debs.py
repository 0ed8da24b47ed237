"""Package names → the exact .deb files that a fresh Debian system with these packages consists of.

apt itself resolves, in a private root without any installed package. So the answer does not depend on the machine's
release and its packages. Everything is signed by Debian's archive keyring.
"""

from __future__ import annotations

import email.utils
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from coursebox.architecture import AMD64
from coursebox.archives.apt import AptMirrors, read_apt
from coursebox.core.console import warn
from coursebox.core.errors import CourseboxError
from coursebox.lock.lockfile import Deb

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+:~-]+)?")
INSTALL = re.compile(r"Inst (?P<package>\S+) \((?P<version>\S+) .*\[(?P<architecture>[a-z0-9-]+)\]\)")


@dataclass(frozen=True)
class Candidate:
    """A resolved package with what it depends on (Pre-Depends and Depends as the archive's index has them)."""

    deb: Deb
    depends: str


@dataclass(frozen=True)
class Archive:
    """apt's view of one suite in a private folder; see `open_archive`.

    dates: seconds since 1970 of each Release file that was read, by suite
    """

    folder: Path
    suite: str
    architecture: str
    dates: Mapping[str, int]

    def resolve(self, packages: Sequence[str], *, recommends: bool = False, essential: bool = True) -> list[Candidate]:
        """All packages that apt would install into an empty system, sorted."""
        for package in packages:
            if not PACKAGE.fullmatch(package):
                raise CourseboxError(
                    f"{package!r} is not the name of a Debian package",
                    hint="names have lower-case letters, digits, +, - and .; `name=version` asks for a version",
                )
        self._check_known(packages)
        wanted = [f"?narrow(?essential,?architecture({self.architecture}))", "apt"] if essential else []
        done = self._apt(
            "apt-get",
            "install",
            "--simulate",
            "--yes",
            "-o",
            f"APT::Install-Recommends={'true' if recommends else 'false'}",
            *wanted,
            *packages,
        )
        if done.returncode:
            raise CourseboxError(
                f"apt cannot install {', '.join(packages)} together in {self.suite}: {_complaint(done)}",
                hint="take out the package that conflicts, or ask for another one",
            )
        found = [match for line in done.stdout.splitlines() if (match := INSTALL.match(line))]
        return self._stanzas([f"{m['package'].split(':')[0]}:{m['architecture']}={m['version']}" for m in found])

    def single(self, package: str) -> Candidate:
        """The current version of one package, without what it depends on."""
        self._check_known([package])
        done = self._apt("apt-cache", "show", "--no-all-versions", package)
        versions = [stanza["Version"] for stanza in Deb822.iter_paragraphs(done.stdout.splitlines(keepends=True))]
        return self._stanzas([f"{package}={versions[0]}"])[0]

    def _check_known(self, packages: Sequence[str]) -> None:
        """Name every unknown package at once; apt stops at the first."""
        names = {package: package.split("=")[0] for package in packages}
        if not names:
            return
        done = self._apt("apt-cache", "show", "--no-all-versions", *names.values())
        known: set[str] = set()
        for stanza in Deb822.iter_paragraphs(done.stdout.splitlines(keepends=True), fields=["Package", "Architecture"]):
            known |= {stanza["Package"], f"{stanza['Package']}:{stanza['Architecture']}"}
        unknown = sorted(package for package, name in names.items() if name not in known)
        if unknown:
            raise CourseboxError(
                f"Debian {self.suite} has no package {', '.join(unknown)}",
                hint="look the name up at the package search of Debian, or with `apt-cache search`",
            )

    def _stanzas(self, versions: Sequence[str]) -> list[Candidate]:
        done = self._apt("apt-cache", "show", *versions)
        candidates: dict[tuple[str, str], Candidate] = {}
        for stanza in Deb822.iter_paragraphs(done.stdout.splitlines(keepends=True)):
            candidate = _candidate(stanza)
            key = (candidate.deb.package, candidate.deb.architecture)
            # The same version may be in the security archive and, since the last point release, in the main one.
            if key not in candidates or candidate.deb.archive == "main":
                candidates[key] = candidate
        wanted = {version.split("=")[0].split(":")[0] for version in versions}
        if missing := wanted - {package for package, _ in candidates}:
            raise CourseboxError(f"the index of {self.suite} has no entry for {', '.join(sorted(missing))}")
        return sorted(candidates.values(), key=lambda candidate: candidate.deb)

    def _apt(self, *command: str) -> subprocess.CompletedProcess[str]:
        return _run(self.folder, command)


@contextmanager
def open_archive(
    suite: str = "trixie",
    architecture: str = AMD64.name,
    *,
    mirrors: AptMirrors | None = None,
    keyring: Path = KEYRING,
) -> Iterator[Archive]:
    """Fetch the current indexes of `suite`, its updates and its security updates, and offer them as an `Archive`.

    mirrors: the machine's own when None; each is tried in turn.
    Raises `CourseboxError` when apt is missing, or when no mirror gives signed indexes.
    """
    for tool, package in (("apt-get", "apt"), ("apt-cache", "apt")):
        if shutil.which(tool) is None:
            raise CourseboxError(f"{tool} is not installed", hint=f"install the Debian package {package}")
    if not keyring.is_file():
        raise CourseboxError(
            f"the keys of the Debian archive are missing: {keyring}",
            hint="install the Debian package debian-archive-keyring",
        )
    mirrors = mirrors or read_apt()
    if not mirrors.security:
        raise CourseboxError(
            "no mirror of Debian's security archive is known, so security updates would be missing",
            hint="set COURSEBOX_DEBIAN_SECURITY_MIRROR to the base of one, beside COURSEBOX_DEBIAN_MIRROR",
        )
    complaint = ""
    for main in mirrors.main:
        with tempfile.TemporaryDirectory(prefix="apt-") as name:
            folder = Path(name)
            _prepare(folder, architecture)
            _sources(folder, suite, main, mirrors.security, keyring)
            done = _run(folder, ("apt-get", "update", "-o", "APT::Update::Error-Mode=any"))
            if done.returncode:
                complaint = _complaint(done)
                continue
            for sentence in expired(folder / "state/lists", time.time()):
                warn(sentence)
            yield Archive(folder, suite, architecture, _dates(folder))
            return
    raise CourseboxError(
        f"no mirror gives the signed indexes of Debian {suite}: {complaint}",
        hint="look at the machine's /etc/apt, and try `apt-get update`",
    )


def _candidate(stanza: Mapping[str, str]) -> Candidate:
    package = stanza["Package"]
    filename = stanza["Filename"].removeprefix("./")
    depends = ", ".join(stanza[field] for field in ("Pre-Depends", "Depends") if stanza.get(field))
    deb = Deb(
        package=package,
        version=stanza["Version"],
        architecture=stanza["Architecture"],
        source=stanza.get("Source", package).split(" ")[0],
        # The security archive has its pool in pool/updates, which the main archive never has.
        archive="security" if filename.startswith("pool/updates/") else "main",
        filename=filename,
        size=int(stanza["Size"]),
        sha256=stanza["SHA256"],
    )
    return Candidate(deb, depends)


def _prepare(folder: Path, architecture: str) -> None:
    """Lay out a private apt root; of the machine's settings only those for reaching the mirrors are taken over."""
    for part in ("etc/preferences.d", "etc/sources.list.d", "state/lists/partial", "cache/archives/partial", "dpkg"):
        (folder / part).mkdir(parents=True)
    (folder / "dpkg/status").touch()
    settings = {
        "Dir::Etc": folder / "etc",
        "Dir::Etc::netrc": "/etc/apt/auth.conf",
        "Dir::Etc::netrcparts": "/etc/apt/auth.conf.d",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "dpkg/status",
        "Dir::Cache": folder / "cache",
        "Dir::Bin::dpkg": "/bin/false",
        "Dir::Log": folder,
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "APT::Install-Suggests": "false",
        # The classic solver, since the lock should not depend on the release of the machine that writes it.
        "APT::Solver": "internal",
        # A mirror may be behind, or the machine's clock ahead; what is locked carries its own digest.
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "false",
        "Acquire::Retries": "3",
    }
    lines = [f'{key} "{value}";' for key, value in settings.items()]
    reach = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False).stdout
    lines += [line for line in reach.splitlines() if re.match(r"Acquire::https?(?:::|\s)", line)]
    (folder / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _sources(folder: Path, suite: str, main: str, security: Sequence[str], keyring: Path) -> None:
    paragraphs = [(main, f"{suite} {suite}-updates")] + [(base, f"{suite}-security") for base in security[:1]]
    text = "\n".join(
        f"Types: deb\nURIs: {base}\nSuites: {suites}\nComponents: main\nSigned-By: {keyring}\n"
        for base, suites in paragraphs
    )
    (folder / "etc/sources.list.d/archive.sources").write_text(text, encoding="utf-8")


def _dates(folder: Path) -> dict[str, int]:
    """Suite → its Release file's Date in seconds since 1970."""
    dates = {}
    for release in sorted((folder / "state/lists").glob("*Release")):
        head = release.read_text(encoding="utf-8", errors="replace")
        codename = re.search(r"^Codename: (\S+)$", head, re.MULTILINE)
        date = re.search(r"^Date: (.+)$", head, re.MULTILINE)
        if codename and date:
            dates[codename[1]] = int(email.utils.parsedate_to_datetime(date[1]).timestamp())
    return dates


def expired(lists: Path, now: float) -> list[str]:
    """One sentence for each Release file that is no longer valid; now: seconds since 1970.

    apt would refuse it. Here it is told: the machine's clock may be ahead, and what is locked carries its own digest.
    """
    found = []
    for release in sorted(lists.glob("*Release")):
        head = release.read_text(encoding="utf-8", errors="replace")
        suite = re.search(r"^Codename: (\S+)$", head, re.MULTILINE)
        until = re.search(r"^Valid-Until: (.+)$", head, re.MULTILINE)
        with suppress(ValueError, TypeError):
            if until and email.utils.parsedate_to_datetime(until[1]).timestamp() < now:
                found.append(
                    f"the index of {suite[1] if suite else release.name} was valid until {until[1]}: "
                    "the mirror lags behind, and newer updates may be missing, or this machine's clock is ahead"
                )
    return found


def _run(folder: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What apt says is wrong, in one line."""
    unmet = re.findall(r"^ +(\S+ : .+)$", done.stdout, re.MULTILINE)
    errors = [line[3:] for line in done.stderr.splitlines() if line.startswith(("E: ", "W: "))]
    return "; ".join(unmet or errors[:3]) or "apt does not say why"
