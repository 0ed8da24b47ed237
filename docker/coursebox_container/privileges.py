"""What root does at a start: give files to the user, allow sudo, then become the user."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from coursebox_container import mounts, trust
from coursebox_container.accounts import Account
from coursebox_container.messages import Problem, warn
from coursebox_container.settings import is_yes, names, words
from coursebox_container.trust import Untrusted

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
    try:
        if not os.path.lexists(home):
            place, _, name = home.rstrip("/").rpartition("/")
            with _opened(place or "/") as parent:
                os.symlink(image_home, name, dir_fd=parent)
    except OSError:
        home = image_home
    except Untrusted as error:
        warn(f"{home} is not made, for {error}: name another HOME, or remove the link")
        return image_home
    try:
        with _opened(home) as folder:
            if _is_free(folder) and os.fstat(folder).st_uid != account.uid:
                os.chown(trust.reopened(folder), account.uid, account.gid)
    except OSError:
        pass  # read-only or broken: the check of the home, which follows, says so
    except Untrusted as error:
        warn(f"{home} is not given to {account.name}, for {error}: set HOME to what it leads to, or remove the link")
    return home


def give_mounts(account: Account) -> None:
    """Give the user the empty folders of root's that Docker has just made for mounts below the home.

    The folders on the way to them are given, too. Call it after `settle_home`.
    """
    try:
        with _opened(account.home) as folder:
            home = trust.path_of(folder)
    except (OSError, Untrusted):
        return
    for mount in mounts.below(home):
        place, inner = mount.point, ""
        while place != home:
            _give_empty(place, inner, account)
            place, _, inner = place.rpartition("/")


def _give_empty(place: str, inner: str, account: Account) -> None:
    """Give a folder of root's in which there is nothing, or only `inner`."""
    try:
        with _opened(place) as folder:
            found = os.fstat(folder)
            if stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and {*os.listdir(trust.reopened(folder))} <= {inner}:
                os.chown(trust.reopened(folder), account.uid, account.gid)
    except (OSError, Untrusted):
        pass  # the check of the mounts, which follows, says what cannot be written


def _is_free(folder: int) -> bool:
    """Whether giving a folder away takes nothing from anybody.

    It is a home in the container's own layer, or empty, as one that Docker has just made for a mount.
    """
    found = os.fstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return False
    own = found.st_dev == os.stat("/").st_dev and trust.path_of(folder).startswith("/home/")
    return own or not os.listdir(trust.reopened(folder))


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A descriptor of a path that root may touch; raises OSError and Untrusted."""
    descriptor = trust.open_path(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def give_files(account: Account, environment: Mapping[str, str]) -> None:
    """CHOWN_HOME and CHOWN_EXTRA, by chown(1) with the options that the variables name; no link is followed."""
    wanted = [(account.home, "CHOWN_HOME_OPTS")] if is_yes(environment, "CHOWN_HOME") else []
    wanted += [(path, "CHOWN_EXTRA_OPTS") for path in names(environment, "CHOWN_EXTRA")]
    for path, options in wanted:
        try:
            with _opened(os.path.abspath(path)) as found:
                given = _give(found, account, words(environment, options))
        except OSError:
            given = False
        except Untrusted as error:
            warn(f"{path} is not given to {account.name}, for {error}: name what it leads to, or remove the link")
            continue
        if not given:
            warn(f"not all of {path} could be given to {account.name}: mount it writable, or leave it out of CHOWN_*")


def _give(found: int, account: Account, options: list[str]) -> bool:
    """Run chown(1) on an open file or folder; whether all went well."""
    if not stat.S_ISDIR(os.fstat(found).st_mode):
        os.chown(trust.reopened(found), account.uid, account.gid)
        return True
    if any(option == "--recursive" or (option[:1] == "-" != option[1:2] and "R" in option) for option in options):
        _refuse_hard_links(found)
    os.set_inheritable(found, True)
    # Our options come last, so that they hold: links are changed themselves, and none is followed.
    ours = ["--no-dereference", "-P", f"{account.uid}:{account.gid}", f"{trust.reopened(found)}/."]
    return os.spawnv(os.P_WAIT, "/usr/bin/chown", ["chown", *options, *ours]) == 0


def _refuse_hard_links(folder: int) -> None:
    """Raise Untrusted where a file of root's has a second name in the container's own layer.

    A user may have made it there for a file of the system's, where the kernel's protected_hardlinks is off. A mount of
    its own holds no such names.
    """
    layer = os.stat("/").st_dev
    if os.fstat(folder).st_dev != layer:
        return
    for _, _, files, place in os.fwalk(f"{trust.reopened(folder)}/."):
        for name in files:
            found = os.stat(name, dir_fd=place, follow_symlinks=False)
            if found.st_uid == 0 and found.st_nlink > 1 and found.st_dev == layer:
                raise Untrusted(f"{trust.path_of(place)}/{name} is a second name of a file of root's")


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
