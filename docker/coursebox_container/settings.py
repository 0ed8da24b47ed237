"""Variables of the environment → values; a wrong one becomes a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping

from coursebox_container.messages import Problem

YES = frozenset(("1", "yes", "true", "on"))
LARGEST_ID = 2**32 - 2  # (uid_t) -1 means "leave as it is" to chown(2)
# Ports that programs here read: Jupyter, our ssh server, torch.distributed.
PORTS = ("JUPYTER_PORT", "SSH_PORT", "MASTER_PORT")
# What Kubernetes, and Docker with --link, set for a service of the name JUPYTER, SSH or MASTER: its address.
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE = re.compile(r"(?:tcp|udp|sctp)://\S+")


def clean(environment: MutableMapping[str, str]) -> None:
    """Take out what no person has meant: Windows line ends behind values, and addresses of services as ports.

    An env-file with CRLF, or `$(cat FILE)` of such a file, leaves a carriage return behind each value.
    """
    for name, value in list(environment.items()):
        if value.endswith("\r"):
            environment[name] = value = value.rstrip("\r")
        if name in PORTS and SERVICE.fullmatch(value):
            del environment[name]


def is_yes(environment: Mapping[str, str], name: str) -> bool:
    """Whether a switch is on; jupyter/docker-stacks documents "yes" and "1"."""
    return environment.get(name, "").strip().lower() in YES


def number(environment: Mapping[str, str], name: str, default: int, *, lowest: int = 0, highest: int) -> int:
    """A whole number from `lowest` to `highest`; `default` where the variable is missing or empty."""
    text = environment.get(name, "").strip()
    if not text:
        return default
    # isascii: int() would take the digits of other scripts, too.
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
        raise Problem(f"{name}={text} is not possible", hint=f"give a whole number from {lowest} to {highest}")
    return int(text)


def umask(environment: Mapping[str, str]) -> int | None:
    """NB_UMASK, in octal digits as the shell writes it; None when it is not set."""
    text = environment.get("NB_UMASK", "").strip()
    if not text:
        return None
    if set(text) - set("01234567") or int(text, 8) > 0o777:
        raise Problem(f"NB_UMASK={text} is not possible", hint="give octal digits, as in NB_UMASK=002")
    return int(text, 8)


def words(environment: Mapping[str, str], name: str) -> list[str]:
    """The words of a variable, quoted as in a shell."""
    if not environment.get(name, "").strip():
        return []
    import shlex  # here: most starts have no such variable, and every import delays them

    try:
        return shlex.split(environment[name])
    except ValueError as error:
        raise Problem(
            f"{name} has an open quotation mark", hint="close it, or leave the quotation marks out"
        ) from error


def names(environment: Mapping[str, str], name: str) -> list[str]:
    """The entries of a list that commas separate."""
    return [entry for part in environment.get(name, "").split(",") if (entry := part.strip())]
