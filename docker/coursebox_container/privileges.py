"""What root does at a start: give files to the user, allow sudo, then become the user."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from coursebox_container.accounts import Account
from coursebox_container.messages import Problem, warn
from coursebox_container.settings import is_yes, names, words

SUDOERS = "/etc/sudoers.d/coursebox"
SUDO_PATH = "/opt/jupyter/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USERS = 100  # Debian's group "users": what images of jupyter/docker-stacks share files by


def groups_of(account: Account) -> list[int]:
    """The user's groups: its own, "users", and those that `docker run --group-add` gave to root."""
    return sorted({account.gid, USERS, *os.getgroups()} - {0} | {account.gid})


@contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Work on files as the user does, and be root again afterwards."""
    before = os.getgroups()
    _set_groups(groups_of(account))
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def drop(account: Account) -> None:
    """Become the user; this cannot be undone."""
    _set_groups(groups_of(account))
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def _set_groups(groups: list[int]) -> None:
    try:
        os.setgroups(groups)
    except PermissionError as error:
        raise Problem(
            "this container runs as root and may not become another user",
            hint="leave out --user root, or allow it: --cap-add SETUID --cap-add SETGID",
        ) from error


def settle_home(account: Account, image_home: str) -> str:
    """Make the user's home where it is missing, and the folder itself the user's where that takes nothing from anybody.

    A home under another name than the image's is a link to the image's, so that a volume mounted there serves both.
    Returns the home, which is the image's where /home cannot be written.
    """
    home = account.home
    if not os.path.lexists(home):
        try:
            os.symlink(image_home, home)
        except OSError:
            home = image_home
    try:
        found = os.stat(home)
        # The container's own folder, or one that Docker has just made for a mount: nobody else's files are in there.
        own = found.st_dev == os.stat(os.path.dirname(os.path.realpath(home))).st_dev or not os.listdir(home)
        if own and found.st_uid != account.uid:
            os.chown(home, account.uid, account.gid)
    except OSError:
        pass  # read-only or broken: the check of the home, which follows, says so
    return home


def give_files(account: Account, environment: Mapping[str, str]) -> None:
    """CHOWN_HOME and CHOWN_EXTRA, by chown(1) with the options that the variables name."""
    wanted = [(os.path.realpath(account.home), "CHOWN_HOME_OPTS")] if is_yes(environment, "CHOWN_HOME") else []
    wanted += [(path, "CHOWN_EXTRA_OPTS") for path in names(environment, "CHOWN_EXTRA")]
    for path, options in wanted:
        command = ["chown", *words(environment, options), f"{account.uid}:{account.gid}", path]
        if os.spawnvp(os.P_WAIT, "chown", command) != 0:
            warn(f"not all of {path} could be given to {account.name}: mount it writable, or leave it out of CHOWN_*")


def allow_sudo(account: Account) -> None:
    """GRANT_SUDO: sudo without a password, with the course's Python first on its path."""
    # By number: "@" and "+" in a name have a meaning in sudoers(5).
    rules = f'Defaults:#{account.uid} secure_path="{SUDO_PATH}"\n#{account.uid} ALL=(ALL) NOPASSWD:ALL\n'
    try:
        with open(os.open(SUDOERS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o440), "w", encoding="utf-8") as file:
            file.write(rules)
    except OSError as error:
        raise Problem(
            f"GRANT_SUDO needs to write {SUDOERS} ({error.strerror})", hint="leave out --read-only, or GRANT_SUDO"
        ) from error
