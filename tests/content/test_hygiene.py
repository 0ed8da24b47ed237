"""The hygiene contract: what no delivered tree holds. ansible/roles/sysprep and coursebox/trees/seal.py keep it."""

from __future__ import annotations

import re
import tarfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

Members = dict[str, tarfile.TarInfo]

LEFTOVERS = [
    r"\.dockerenv",
    r"etc/ssh/ssh_host_.*",
    r"etc/(passwd|group|shadow|gshadow|subuid|subgid)-",
    r"etc/apt/sources\.list",
    r"etc/apt/sources\.list\.d/(?!debian\.sources$).*",
    r"var/cache/apt/.+",
    r"var/lib/apt/lists/.+",
    r"var/cache/debconf/.*-old",
    r"var/cache/ldconfig/.+",
    r"var/lib/dpkg/.*-old",
    r"var/lib/systemd/(random-seed|credential\.secret)",
    r"var/lib/dbus/machine-id",
    r"var/log/journal/.+",
    r"var/log/(?!(wtmp|btmp|lastlog)$)[^/]+\.log",
    r"(dev|proc|run|sys|tmp|var/tmp)/.+",
    r"(root|home/[^/]+)/\.(ansible|cache|bash_history|python_history|viminfo|wget-hsts|ipython|jupyter)(/.*)?",
    r"(coursebox|packer-files)(/.*)?",
    r".*\.(dpkg-new|dpkg-tmp|dpkg-old|pyc\.\d+)",
    r".*/\.ipynb_checkpoints(/.*)?",
    r"usr/sbin/update-initramfs\.real",
    r"usr/bin/py3compile\.real",
]


@pytest.mark.parametrize("pattern", LEFTOVERS)
def test_no_leftovers(members: Members, pattern: str):
    assert [name for name in members if re.fullmatch(pattern, name)] == []


def test_machine_id_is_empty(members: Members):
    assert members["etc/machine-id"].size == 0


def test_logs_are_empty(members: Members):
    assert {name: member.size for name, member in members.items() if name.startswith("var/log/") and member.size} == {}


def test_nothing_is_world_writable(members: Members, place):
    """But the home in the image: whoever `docker run --user` names fills it, in a volume of the container."""
    open_to_all = {
        name: oct(m.mode) for name, m in members.items() if m.mode & 0o002 and not m.issym() and not m.islnk()
    }
    sticky = {name: mode for name, mode in open_to_all.items() if members[name].isdir() and members[name].mode & 0o1000}
    assert set(sticky) == {"tmp", "var/tmp"}
    assert set(open_to_all) - set(sticky) == ({f"home/{place.user}"} if place.kind != "vm" else set())


SETUID = {"usr/bin/chfn", "usr/bin/chsh", "usr/bin/gpasswd", "usr/bin/mount", "usr/bin/passwd",
          "usr/bin/su", "usr/bin/umount", "usr/lib/openssh/ssh-keysign"}  # fmt: skip
SETUID_OF = {"vm": {"usr/lib/dbus-1.0/dbus-daemon-launch-helper"}, "cpu": {"usr/bin/sudo"}, "cuda": {"usr/bin/sudo"}}


def test_setuid_files_are_the_known_ones(members: Members, place):
    assert {name for name, member in members.items() if member.mode & 0o4000} == SETUID | SETUID_OF[place.kind]


def test_only_the_known_users_can_log_in(host: Host, place):
    shells = {line.split(":")[0] for line in host.file("/etc/passwd").content_string.splitlines()
              if not line.endswith(("nologin", "/bin/false", "/bin/sync"))}  # fmt: skip
    assert shells == {"root", place.user}
    with_password = {line.split(":")[0] for line in host.file("/etc/shadow").content_string.splitlines()
                     if line.split(":")[1].startswith("$")}  # fmt: skip
    assert with_password == ({"root", place.user} if place.kind == "vm" else set())


def test_all_files_have_known_owners(members: Members, host: Host):
    users = {int(line.split(":")[2]) for line in host.file("/etc/passwd").content_string.splitlines()}
    groups = {int(line.split(":")[2]) for line in host.file("/etc/group").content_string.splitlines()}
    assert {member.uid for member in members.values()} <= users
    assert {member.gid for member in members.values()} <= groups


def test_passwords_are_dated_by_the_locks(host: Host, place):
    days = {line.split(":")[2] for line in host.file("/etc/shadow").content_string.splitlines()}
    assert days == {str(place.report["epoch"] // 86400)}


def test_nothing_is_younger_than_the_epoch(members: Members, place):
    assert max(member.mtime for member in members.values()) <= place.report["epoch"]


VERIFY = """
import importlib.util, marshal, pathlib, sys
wrong, count = [], 0
for top in sys.argv[1:]:
    for path in sorted(pathlib.Path(top).rglob("*.pyc")):
        count += 1
        data, source = path.read_bytes(), pathlib.Path(importlib.util.source_from_cache(str(path)))
        flags = int.from_bytes(data[4:8], "little")
        if data[:4] != importlib.util.MAGIC_NUMBER or flags != 1 or not source.exists():
            wrong.append(str(path))
        elif data[8:16] != importlib.util.source_hash(source.read_bytes()):
            wrong.append(str(path))
        elif not hasattr(marshal.loads(data[16:]), "co_code"):
            wrong.append(str(path))
print(count, *wrong[:20])
"""


def test_bytecode_is_valid_and_never_checked(host: Host, members: Members):
    """Each .pyc is marked "unchecked hash" (PEP 552) and made of its source, says the tree's own Python."""
    compiled = sum(name.endswith(".pyc") for name in members)
    assert compiled > 5000
    done = host.run("python3 -c %s /usr /opt", VERIFY)
    assert done.rc == 0, done.stderr
    assert done.stdout.split() == [str(compiled)]


@pytest.mark.parametrize("place", ["vm"], indirect=True)
def test_sealed_tree_is_canonical(place):
    """Every entry twice the same: sorted with the course last, no names of owners, no times below the second."""
    with tarfile.open(place.result("course-vm", "tree.tar"), "r:") as tar:
        entries = list(tar)
    assert all(entry.uname == entry.gname == "" for entry in entries)
    assert all(float(entry.mtime).is_integer() for entry in entries)
    late = [entry.name.startswith(("home", "usr/share/coursebox")) for entry in entries]
    assert late == sorted(late)
    assert len({entry.name for entry in entries}) == len(entries)
