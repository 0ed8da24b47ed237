"""A real VirtualBox that imports and shows appliances: no kernel module, no installation, no root.

Its management programs run in user space. They come from Debian sid, unpacked into a folder of the cache, and are
started in name spaces of their own with that folder as root. Starting a machine would need the kernel module.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from debian.deb822 import Deb822, PkgRelation

from coursebox.archives.apt import read_apt
from coursebox.core.console import say, step
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache

# Change it when what is unpacked changes.
RECIPE = "sid-amd64-1"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What only VirtualBox's windows and running machines need: 50 MB to fetch, 200 MB unpacked.
NOT_NEEDED = {"libgl1", "libsdl2-2.0-0"}
MANAGE = "/usr/lib/virtualbox/VBoxManage"
VERSIONS = "coursebox-versions"  # the names of the .deb files, in the tree
_SCRATCH, _SHARED = "/mnt", "/media"

# $1 tree, $2 scratch, $3 shared folder, then the command. The mounts vanish with the name space.
_ENTER = """
tree=$1 scratch=$2 shared=$3; shift 3
mount --rbind /dev "$tree/dev" && mount -t proc proc "$tree/proc" && mount -t tmpfs tmpfs "$tree/tmp" &&
mount --bind "$scratch" "$tree/mnt" && mount --bind "$shared" "$tree/media" && exec chroot "$tree" "$@"
"""


@dataclass(frozen=True)
class VirtualBox:
    """VBoxManage with a home of its own.

    tree: where it was unpacked. scratch: an empty folder for its settings and machines. shared: a folder with files to
    read, an OVA for one.
    """

    tree: Path
    scratch: Path
    shared: Path

    def inside(self, path: Path) -> str:
        """A file of the scratch or the shared folder, as VirtualBox must be told its name."""
        for folder, place in ((self.scratch, _SCRATCH), (self.shared, _SHARED)):
            if path.is_relative_to(folder):
                return os.path.join(place, path.relative_to(folder))
        raise ValueError(f"{path} is neither in {self.scratch} nor in {self.shared}")

    def outside(self, path: str) -> Path:
        """A file that VirtualBox names, as the host finds it."""
        return self.scratch / Path(path).relative_to(_SCRATCH)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run VBoxManage with these arguments to its end, without judging its exit status; it cannot ask questions.

        Its server ends with it. Standard error is in `stdout`, too, in the order in which it was written.
        """
        command = [
            "unshare", "--mount", "--pid", "--fork", "--kill-child",
            *(["--user", "--map-root-user"] if os.geteuid() else []),
            "sh", "-c", _ENTER, "enter", str(self.tree), str(self.scratch), str(self.shared),
            MANAGE, *args,
        ]  # fmt: skip
        environment = {"HOME": _SCRATCH, "VBOX_USER_HOME": f"{_SCRATCH}/settings", "PATH": os.environ["PATH"]}
        return subprocess.run(
            command,
            env=environment | {"LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def machines(self) -> list[str]:
        """The names of the registered machines."""
        return re.findall(r'^"(.*)" \{[0-9a-f-]{36}\}$', self.run("list", "vms").stdout, re.MULTILINE)

    def show(self, machine: str) -> dict[str, str]:
        """Everything `showvminfo` tells about a machine: key → value, without quotes."""
        return parse_info(self.run("showvminfo", machine, "--machinereadable").stdout)

    def remove(self, machine: str) -> None:
        """Delete a machine and its disks."""
        self.run("unregistervm", machine, "--delete")


def parse_info(text: str) -> dict[str, str]:
    """The output of `showvminfo --machinereadable` as a dictionary; values may have several lines and quotes."""
    found = re.finditer(r'^("?)([^"=\n]+)\1=(?:"((?:[^"\\]|\\.)*)"|([^"\n]*))$', text, re.MULTILINE | re.DOTALL)
    return {
        match[2]: match[4] if match[3] is None else re.sub(r"\\(.)", r"\1", match[3], flags=re.DOTALL)
        for match in found
    }


def open_virtualbox(scratch: Path, shared: Path, cache: Cache | None = None) -> VirtualBox:
    """VirtualBox with its settings and machines in `scratch`; unpacked into the cache when it is not there yet.

    Raises CourseboxError when it cannot be had or does not run on this machine.
    """
    tree = unpacked(cache or Cache.from_environment())
    box = VirtualBox(tree, scratch.resolve(), shared.resolve())
    done = box.run("setproperty", "machinefolder", f"{_SCRATCH}/machines")
    if done.returncode:
        raise CourseboxError(
            f"VirtualBox in {tree} does not run: {done.stdout.strip()}",
            hint="run the tests as root, or allow name spaces: sysctl kernel.unprivileged_userns_clone=1",
        )
    say(f"  {tree_version(tree)}")
    return box


def tree_version(tree: Path) -> str:
    """Which VirtualBox this is, in words; its files are those of the day when they were fetched.

    They are not locked: sid keeps one version only, so a lock would be without files within days, and a test of the
    import is worth more with today's VirtualBox than none. What fails says which one it was.
    """
    try:
        names = (tree / VERSIONS).read_text(encoding="utf-8").splitlines()
        name = next(name for name in names if name.startswith("virtualbox_"))
        day = time.strftime("%Y-%m-%d", time.gmtime((tree / VERSIONS).stat().st_mtime))
    except (OSError, StopIteration):
        return "VirtualBox from Debian sid, fetched before its version was noted"
    return f"VirtualBox {unquote(name.split('_')[1])} from Debian sid, fetched on {day}"


def unpacked(cache: Cache) -> Path:
    """The folder with VirtualBox and its libraries, 215 MB; made from 53 MB of Debian sid when it is missing.

    Raises CourseboxError when apt's mirror does not have it.
    """
    place = cache.root / "virtualbox" / RECIPE
    if place.is_dir():
        return place
    say(f"The import tests need VirtualBox: fetching it from Debian sid (about 55 MB) and unpacking it into {place}")
    place.parent.mkdir(parents=True, exist_ok=True)
    with step("VirtualBox"), tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as work:
        folder = Path(work)
        debs = _fetch(folder)
        tree = folder / "tree"
        tree.mkdir()
        for deb in debs:
            _run(["dpkg-deb", "--extract", str(deb), str(tree)])
        for mount_point in ("dev", "proc", "tmp", "mnt", "media"):
            (tree / mount_point).mkdir(exist_ok=True)
        (tree / VERSIONS).write_text("".join(f"{deb.name}\n" for deb in debs), encoding="utf-8")
        # Whoever made it at the same time made the same.
        with contextlib.suppress(OSError):
            tree.rename(place)
    if not place.is_dir():
        raise CourseboxError(f"VirtualBox could not be moved to {place}", hint="check the rights on that folder")
    return place


def _fetch(folder: Path) -> list[Path]:
    """Download virtualbox and its libraries with apt, which verifies them; the machine's own packages play no role."""
    for part in ("lists/partial", "archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    lines = [f"deb [signed-by={KEYRING}] {mirror} sid main contrib\n" for mirror in read_apt().main[:1]]
    (folder / "sources.list").write_text("".join(lines), encoding="utf-8")
    settings = {
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
        # A mirror that stands still is good enough for a test tool.
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Dir::Cache": str(folder),
        "Dir::Cache::archives": str(folder / "archives"),
        "Dir::Etc::sourcelist": str(folder / "sources.list"),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::lists": str(folder / "lists"),
        "Dir::State::status": str(folder / "status"),
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    _run(["apt-get", *options, "-o", "APT::Update::Error-Mode=any", "update"])
    stanza = Deb822(_run(["apt-cache", *options, "--no-all-versions", "show", "virtualbox"]))
    # The kernel module, Python bindings and tools that it depends on, too, are never used.
    install = ["--yes", "--no-install-recommends", "--download-only", "install", "base-files"]
    _run(["apt-get", *options, *install, *_libraries(stanza["Depends"])])
    archives = folder / "archives"
    _run(["apt-get", *options, "download", "virtualbox"], cwd=archives)
    # base-files first: it has the links from /lib to /usr/lib that the others are unpacked through.
    return sorted(archives.glob("*.deb"), key=lambda deb: (not deb.name.startswith("base-files_"), deb.name))


def _libraries(depends: str) -> list[str]:
    """The libraries among the dependencies of a package."""
    names = {alternatives[0]["name"] for alternatives in PkgRelation.parse_relations(depends)}
    return sorted(name for name in names - NOT_NEEDED if name.startswith("lib") or name == "zlib1g")


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    if shutil.which(command[0]) is None:
        raise CourseboxError(
            f"{command[0]} is not there", hint="unpacking VirtualBox works on Debian and its relatives"
        )
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise CourseboxError(
            f"VirtualBox could not be fetched: {command[0]} says: {reason[0]}",
            hint="check the network and apt's settings (apt-get update)",
        )
    return done.stdout
