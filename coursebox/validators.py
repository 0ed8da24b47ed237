"""One check for each kind of entry in course.toml: the value comes back, or a sentence and a remedy are raised."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from coursebox.archives.datasets import read_data_sets, wanted

HARDENED_LENGTH = 12
# crypt(5) accepts 511 bytes; a quarter of that in characters stays below it whatever the script.
PASSWORD_LENGTH = 127

# Accounts and groups of Debian and of the packages in the tree: useradd makes a group of the user's name, too.
_SYSTEM = """
root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody nogroup adm tty disk
dialout fax voice cdrom floppy tape sudo audio dip operator src shadow utmp video sasl plugdev staff users input sgx
clock kvm render crontab ssh sshd netdev bluetooth messagebus polkitd avahi rtkit tss uuidd dnsmasq vboxsf docker
vboxadd adduser dhcpcd jupyterlab coursebox
"""
SYSTEM_NAMES = frozenset(_SYSTEM.split())


def wrong(sentence: str, hint: str) -> PydanticCustomError:
    """The error of a check, to be raised by it."""
    # Braces in a user's text must not be read as template fields, so both texts travel in the context.
    return PydanticCustomError("coursebox", "{sentence}", {"sentence": sentence, "hint": hint})


def quoted(value: str) -> str:
    """The text as one would write it in TOML, with what cannot be printed made visible."""
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in value) + '"'


def nearest(key: str, known: Iterable[str]) -> str | None:
    """The known word that `key` is probably meant to be, or None."""
    found = difflib.get_close_matches(key.lower(), list(known), n=1)
    return found[0] if found else None


def nearest_hint(key: str, known: tuple[str, ...], otherwise: str) -> str:
    """A remedy for a word that is not known: the nearest one, else all of them after `otherwise`."""
    meant = nearest(key, known)
    return f"did you mean {quoted(meant)}?" if meant else f"{otherwise} {', '.join(known)}"


def _unprintable(text: str) -> str | None:
    """The name of the first character that is no letter, mark, digit, sign or plain space; None when there is none."""
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            return f"U+{ord(character):04X}"
    return None


def _file_word(text: str, what: str, allowed: str, pattern: str) -> str:
    """A text that becomes a part of file names, host names and image tags."""
    hint = f"use {allowed}"
    if not text:
        raise wrong("must not be empty", hint)
    if "/" in text:
        raise wrong(f'{quoted(text)} contains "/", and the {what} becomes a part of file names', hint)
    if ".." in text:
        raise wrong(f'{quoted(text)} contains "..", and the {what} becomes a part of file names', hint)
    if len(text) > 63:
        raise wrong(f"has {len(text)} characters, at most 63 are possible", "choose a shorter one")
    if not re.fullmatch(pattern, text):
        raise wrong(f"{quoted(text)} is not a possible {what}", hint)
    return text


def course_name(text: str) -> str:
    """course.name: a part of file names, the host name, the image name."""
    allowed = 'small letters a-z, digits, "." and "-", with a letter or digit at both ends, as in "deep-learning"'
    return _file_word(text, "name", allowed, r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def course_version(text: str) -> str:
    """course.version: a part of file names, the image tag."""
    allowed = 'letters, digits, ".", "_" and "-", with a letter or digit at both ends, as in "2026.11"'
    return _file_word(text, "version", allowed, r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def title(text: str) -> str:
    """course.title: one line that can be printed."""
    if not text.strip():
        raise wrong("must not be empty", 'write what students shall read, as in "Deep Learning"')
    if bad := _unprintable(text):
        raise wrong(f"contains the character {bad}, which cannot be printed", "write the title on one line")
    if len(text) > 80:
        raise wrong(f"has {len(text)} characters, at most 80 fit on the console", "choose a shorter one")
    return text


def user_name(text: str) -> str:
    """user.name: as useradd accepts it, and free."""
    # useradd(8) of Debian, without the trailing "$" that is meant for Samba machine accounts.
    hint = 'use small letters a-z, digits, "_" and "-", with a letter first, as in "dave"'
    if not text:
        raise wrong("must not be empty", hint)
    if len(text) > 32:
        raise wrong(f"has {len(text)} characters, at most 32 are possible", "choose a shorter one")
    if text in SYSTEM_NAMES or text.startswith("systemd-"):
        raise wrong(f"{quoted(text)} is a user or group of the system itself", 'choose another one, as in "dave"')
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", text):
        raise wrong(f"{quoted(text)} is not a possible user name", hint)
    return text


def password(text: str) -> str:
    """user.password: anything that can be typed, NFC-normalised."""
    if not text:
        raise wrong("must not be empty", "students type it for ssh and on the console: choose a word")
    if bad := _unprintable(text):
        raise wrong(
            f"contains the character {bad}, which cannot be typed", "use letters, digits, signs and spaces on one line"
        )
    # An editor may write ü as u and a dot mark; a keyboard sends the one letter.
    text = unicodedata.normalize("NFC", text)
    if len(text) > PASSWORD_LENGTH:
        raise wrong(f"has {len(text)} characters, at most {PASSWORD_LENGTH} are possible", "choose a shorter one")
    return text


def debian_package(text: str) -> str:
    """A name in packages.debian."""
    # Debian Policy 5.6.1
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", text):
        raise wrong(
            f"{quoted(text)} is not the name of a Debian package",
            'write the name alone, without version or architecture, as in "graphviz"',
        )
    return text


def python_requirement(text: str) -> str:
    """An entry of packages.python."""
    hint = 'write a name and perhaps versions, as in "seaborn" or "seaborn>=0.13,<1"'
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise wrong(f"{quoted(text)} is not a Python requirement", hint) from None
    if requirement.url is not None:
        raise wrong(f"{quoted(text)} names an address, and only packages of the index can be locked", hint)
    return text


def data_set(text: str) -> str:
    """An entry of data.sets: a data set, or one of its editions, as "cifar10/sample"."""
    editions = [f"{name}/{kind}" for name, each in read_data_sets().items() for kind, _ in each.editions()]
    if text not in (*data_sets(), *editions):
        raise wrong(f"{quoted(text)} is not a known data set", nearest_hint(text, data_sets(), "the data sets are"))
    return text


def data_sets() -> tuple[str, ...]:
    """The names of all data sets, those of datasets.toml."""
    return tuple(read_data_sets())


def each_set_once(entries: tuple[str, ...]) -> tuple[str, ...]:
    """A list of data sets in which none has two entries, as an entry may name an edition."""
    names = [wanted(entry)[0] for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise wrong(f"{quoted(name)} is there twice", "remove one of them")
    return entries


def nothing_twice(entries: tuple[str, ...]) -> tuple[str, ...]:
    """A list without repetitions."""
    for entry in entries:
        if entries.count(entry) > 1:
            raise wrong(f"{quoted(entry)} is there twice", "remove one of them")
    return entries


def folder(text: object, info: ValidationInfo) -> Any:
    """An absolute path, from one relative to the course file's folder (`context["folder"]`)."""
    if not isinstance(text, str):
        return text
    if not text:
        raise wrong("must not be empty", "name a folder, relative to the course file")
    if "\0" in text:
        raise wrong(f"{quoted(text)} is not the name of a folder", "name a folder, relative to the course file")
    # normpath and not resolve: an instructor's symbolic link to a folder elsewhere stays a link.
    return Path(os.path.normpath((info.context or {})["folder"] / text))


def existing(path: Path) -> Path:
    """A folder that must be there."""
    if not path.exists():
        raise wrong(f"there is no folder {path}", "make it, or correct the entry")
    return no_file(path)


def no_file(path: Path) -> Path:
    """A folder that may be there."""
    if path.exists() and not path.is_dir():
        raise wrong(f"{path} is not a folder", "name a folder, relative to the course file")
    return path
