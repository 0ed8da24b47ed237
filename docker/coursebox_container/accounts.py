"""Names for user and group ids, in /etc/passwd and /etc/group or in copies of them.

ssh, bash, getpass and torch.compile fail for a user id without a name. Root writes the name into the files of
/etc; everybody else, and root in a read-only container, gets copies that libnss_wrapper shows to programs
(https://cwrap.org/nss_wrapper.html). A world-writable /etc/passwd would work, too, but then anyone could
become root with `su`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

WRAPPER = "libnss_wrapper.so"


class Account(NamedTuple):
    """Who the command runs as."""

    name: str
    uid: int
    gid: int
    group: str  # a name for gid, where it has none
    home: str


def with_user(passwd: str, account: Account, replaced: str) -> str:
    """The text of passwd(5) with `account` in it and without the user `replaced`.

    The account comes before others with its uid: the first entry gives a uid its name. Its password is "*": with "x"
    sudo would look for a line in /etc/shadow.
    """
    home = account.home.replace(":", "_")
    line = f"{account.name}:*:{account.uid}:{account.gid}::{home}:/bin/bash"
    others = [entry for entry in passwd.splitlines() if entry.split(":")[0] not in (account.name, replaced)]
    same = [place for place, entry in enumerate(others) if _field(entry, 2) == str(account.uid)]
    others.insert(same[0] if same else len(others), line)
    return "".join(f"{entry}\n" for entry in others)


def with_group(group: str, account: Account) -> str:
    """The text of group(5) with a name for the account's gid: the one that it has, else `account.group`."""
    entries = group.splitlines()
    if any(_field(entry, 2) == str(account.gid) for entry in entries):
        return group
    taken = {_field(entry, 0) for entry in entries}
    name = account.group if account.group not in taken else f"{account.group}-{account.gid}"
    return "".join(f"{entry}\n" for entry in [*entries, f"{name}:x:{account.gid}:"])


def name_of(passwd: str, uid: int) -> str | None:
    """The name of `uid`, if it has one."""
    return next((_field(entry, 0) for entry in passwd.splitlines() if _field(entry, 2) == str(uid)), None)


def uid_of(passwd: str, name: str) -> int | None:
    """The uid of the user `name`, if there is one."""
    found = next((_field(entry, 2) for entry in passwd.splitlines() if _field(entry, 0) == name), "")
    return int(found) if found.isdecimal() else None


def home_of(passwd: str, uid: int) -> str | None:
    """The home of `uid`, if it has an entry."""
    return next((_field(entry, 5) for entry in passwd.splitlines() if _field(entry, 2) == str(uid)), None)


def is_named(account: Account, etc: str = "/etc") -> bool:
    """Whether the files of `etc` tell all about the account already."""
    passwd = read_text(f"{etc}/passwd")
    groups = {_field(entry, 2) for entry in read_text(f"{etc}/group").splitlines()}
    found = name_of(passwd, account.uid), home_of(passwd, account.uid)
    return found == (account.name, account.home) and str(account.gid) in groups


def write_names(account: Account, replaced: str, etc: str = "/etc") -> bool:
    """Write the names into the files of `etc`; False where that is not possible."""
    try:
        for name, text in _changed(account, replaced, etc):
            beside = f"{etc}/{name}.coursebox"
            with open(beside, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
            os.chmod(beside, 0o644)
            os.rename(beside, f"{etc}/{name}")
    except OSError:
        return False
    return True


def wrap_names(account: Account, replaced: str, folder: str, etc: str = "/etc") -> dict[str, str]:
    """Write both files into `folder`; returns the variables that make programs read them."""
    for name, text in _texts(account, replaced, etc):
        with open(f"{folder}/{name}", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    before = os.environ.get("LD_PRELOAD", "").split()
    return {
        "LD_PRELOAD": " ".join([*(word for word in before if word != WRAPPER), WRAPPER]),
        "NSS_WRAPPER_PASSWD": f"{folder}/passwd",
        "NSS_WRAPPER_GROUP": f"{folder}/group",
    }


def read_text(path: str) -> str:
    """A file of /etc, empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _texts(account: Account, replaced: str, etc: str) -> Iterable[tuple[str, str]]:
    yield "passwd", with_user(read_text(f"{etc}/passwd"), account, replaced)
    yield "group", with_group(read_text(f"{etc}/group"), account)


def _changed(account: Account, replaced: str, etc: str) -> list[tuple[str, str]]:
    return [(name, text) for name, text in _texts(account, replaced, etc) if text != read_text(f"{etc}/{name}")]


def _field(entry: str, number: int) -> str:
    fields = entry.split(":")
    return fields[number] if len(fields) > number else ""
