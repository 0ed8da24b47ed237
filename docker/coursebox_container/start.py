"""The entry point: hooks, user, home, ssh; then the command takes this process over.

    start [COMMAND [ARGUMENT …]]

It follows jupyter/docker-stacks in the names of variables and in the order of things: the hooks of start-notebook.d,
the user, the hooks of before-notebook.d, the command. An option in place of a command goes to start-notebook.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from coursebox_container import accounts, home, hooks, mounts, privileges, runtime
from coursebox_container.accounts import Account
from coursebox_container.image import Image, read_image
from coursebox_container.messages import Problem, fail, say, warn
from coursebox_container.settings import LARGEST_ID, clean, is_yes, names, number

USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,31}")
# Colon and newline part the fields and lines of /etc/group, a comma its members.
GROUP_NAME = re.compile(r"[^:,\x00-\x1f\x7f/]{1,32}")
SYSTEM = 1000  # ids below belong to accounts of the system
DEFAULT_COMMAND = "start-notebook"
# What only root can do: each has an effect only together with --user root.
ROOT_ONLY = ("GRANT_SUDO", "CHOWN_HOME", "CHOWN_EXTRA")


def main() -> int:
    """Never returns when the command could be started."""
    try:
        clean(os.environ)
        if runtime.VARIABLE not in os.environ:  # else: `start` by hand, inside of a container that runs already
            prepare(os.environ)
        return execute(command_of(sys.argv[1:]))
    except Problem as problem:
        fail(problem)
        return 1


def command_of(arguments: Sequence[str]) -> list[str]:
    """The command to run: what follows the image's name on the command line of `docker run`."""
    if not arguments or arguments[0].startswith("-"):
        return [DEFAULT_COMMAND, *arguments]
    return list(arguments)


def prepare(environment: MutableMapping[str, str]) -> None:
    """Everything before the command, in `environment` and in the container."""
    image = read_image()
    hooks.run_hooks(hooks.BEFORE_USER)
    as_root = os.getuid() == 0
    account = account_as_root(environment, image) if as_root else account_as_is(environment, image)
    as_user: Callable[[], AbstractContextManager[None]] = nullcontext
    if as_root:
        as_user = partial(privileges.acting_as, account)
        account = account._replace(home=privileges.settle_home(account, image.home))
        privileges.give_mounts(account)
        privileges.give_files(account, environment)
    else:
        for sentence in without_effect(environment, image, account):
            warn(sentence)
    with as_user():
        folder = runtime.runtime_folder(account.uid)
        account = account._replace(home=usable_home(account, folder, by_root=as_root))
    if not accounts.is_named(account) and not (as_root and accounts.write_names(account, image.user)):
        with as_user():
            environment.update(accounts.wrap_names(account, image.user, folder))
    if as_root and is_yes(environment, "GRANT_SUDO"):
        privileges.allow_sudo(account)
    environment.update(HOME=account.home, USER=account.name, LOGNAME=account.name)
    environment[runtime.VARIABLE] = folder
    environment.setdefault("SHELL", "/bin/bash")
    prefer_image(environment)
    if sentence := home.settle_caches(environment, account.home):
        warn(sentence)
    hooks.run_hooks(hooks.BEFORE_COMMAND)
    for name in [*names(environment, "JUPYTER_ENV_VARS_TO_UNSET"), "JUPYTER_ENV_VARS_TO_UNSET"]:
        environment.pop(name, None)
    if as_root:
        privileges.drop(account)
    enter(account.home, image.home)
    if is_yes(environment, "SSH"):
        from coursebox_container import ssh  # here: what it imports would delay every other start

        ssh.serve(environment, folder)


def account_as_root(environment: Mapping[str, str], image: Image) -> Account:
    """The account that root becomes: NB_USER, NB_UID, NB_GID, NB_GROUP, or the image's where they are not set."""
    name = environment.get("NB_USER") or image.user
    if not USER_NAME.fullmatch(name):
        raise Problem(f"NB_USER={name} is no user name", hint='use letters, digits and "_.@+-", at most 32')
    uid = number(environment, "NB_UID", image.uid, highest=LARGEST_ID)
    gid = number(environment, "NB_GID", image.gid, highest=LARGEST_ID)
    refuse_system_name(name, uid)
    group = group_name(environment) or (name if gid != image.gid else "users")
    return Account(name, uid, gid, group, chosen_home(environment, name, 0, image) or f"/home/{name}")


def account_as_is(environment: Mapping[str, str], image: Image) -> Account:
    """Who runs already, by `docker run --user`: any uid and gid, with a name or without."""
    uid, gid = os.getuid(), os.getgid()
    wanted = environment.get("NB_USER") or image.user
    name = accounts.name_of(accounts.read_text("/etc/passwd"), uid)
    if name is None or (wanted != image.user and USER_NAME.fullmatch(wanted)):
        refuse_system_name(wanted, uid)
        name = wanted
    place = chosen_home(environment, name, uid, image) or entered_home(environment, uid, image)
    if place is None:
        place = f"/home/{name}" if os.path.isdir(f"/home/{name}") else image.home
    return Account(name, uid, gid, group_name(environment) or name, place)


def refuse_system_name(name: str, uid: int) -> None:
    """Raise Problem where the name is that of another account of the system: its uid would be without a name."""
    other = accounts.uid_of(accounts.read_text("/etc/passwd"), name)
    if other is not None and other < SYSTEM and other != uid:
        raise Problem(f"NB_USER={name} is an account of the system, with uid {other}", hint="choose another name")


def group_name(environment: Mapping[str, str]) -> str:
    """NB_GROUP, empty where it is not set."""
    name = environment.get("NB_GROUP", "")
    if name and not GROUP_NAME.fullmatch(name):
        raise Problem(
            f"NB_GROUP={name} is no group name", hint="leave out colons, commas, slashes and line ends; at most 32"
        )
    return name


def chosen_home(environment: Mapping[str, str], name: str, uid: int, image: Image) -> str | None:
    """HOME, if a person has set it. The engine itself sets the home in /etc/passwd, or "/"."""
    by_engine = {None, "", "/", image.home, accounts.home_of(accounts.read_text("/etc/passwd"), uid)}
    given = environment.get("HOME")
    return None if given in by_engine else given


def entered_home(environment: Mapping[str, str], uid: int, image: Image) -> str | None:
    """The home that HOME and /etc/passwd name alike, if it can be written: Apptainer enters its user there."""
    given = environment.get("HOME", "")
    entered = accounts.home_of(accounts.read_text("/etc/passwd"), uid)
    if given == entered and given not in ("/", image.home) and os.access(given, os.W_OK | os.X_OK):
        return given
    return None


def prefer_image(environment: MutableMapping[str, str]) -> None:
    """Under Apptainer and Singularity, keep packages and kernels of the computer's own Python from coming first.

    The home is the one of the computer there, and its ~/.local was made for another Python.
    """
    if "APPTAINER_CONTAINER" in environment or "SINGULARITY_CONTAINER" in environment:
        environment.setdefault("PYTHONUSERBASE", f"{environment['HOME']}/.local/share/coursebox/python")
        environment.setdefault("JUPYTER_PREFER_ENV_PATH", "1")


def without_effect(environment: Mapping[str, str], image: Image, account: Account) -> list[str]:
    """One sentence, if any, about variables that ask for what a user cannot do."""
    asked = [name for name in ROOT_ONLY if environment.get(name, "").strip().lower() not in ("", "no", "0", "false")]
    for name, default, actual in (("NB_UID", image.uid, account.uid), ("NB_GID", image.gid, account.gid)):
        if number(environment, name, default, highest=LARGEST_ID) not in (default, actual):
            asked.append(name)
    if not asked:
        return []
    return [f"{', '.join(asked)}: without effect for user {account.uid}; add --user root to docker run"]


def usable_home(account: Account, folder: str, *, by_root: bool) -> str:
    """The account's home, with the labs in it; a recovery home where that cannot be written."""
    error = home.fault(account.home)
    if error is None:
        try:
            added = home.fill(account.home)
        except OSError as failed:
            if failed.errno in (errno.ENOSPC, errno.EDQUOT):
                error = failed
            else:
                warn(f"the labs in {account.home} are not complete ({failed}); they are in /usr/share/coursebox/labs")
        else:
            if added:
                say(f"New in your home: {', '.join(added[:5])}{' …' if len(added) > 5 else ''}")

    def facts(path: str) -> mounts.Facts:
        return mounts.facts_of(path, (account.uid, account.gid), account.home, by_root=by_root)

    if error is not None:
        recovery = home.recover(folder, account.home)
        warn(
            f"{home.explain(error, facts(account.home))} Until then your home is {recovery}, which vanishes with"
            f" the container; {home.LINK} in it leads to your files."
        )
        return recovery
    for path in home.unwritable_mounts(account.home):
        warn(home.denied(path, facts(path)))
    return account.home


def enter(place: str, image_home: str) -> None:
    """Go to the home, unless a person has chosen another working folder (`docker run --workdir`)."""
    try:
        chosen = os.getcwd() != image_home
    except OSError:
        chosen = False
    if not chosen:
        os.chdir(place)


def execute(command: list[str]) -> int:
    """Become the command. Where that fails, returns the exit status of a shell: 127 for missing, 126 for unusable."""
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        fail(Problem(f"{command[0]}: there is no such command", hint="what follows the image's name is the command"))
        return 127
    except OSError as error:
        fail(Problem(f"{command[0]} cannot be run ({error.strerror})", hint="check its mode and its first line"))
        return 126
