"""Folders and URLs that the user adds as mirrors, and addresses below them.

MIRROR   folders or URLs, separated by white space
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.core.settings import settings


def data_mirrors(beside: Path = CHECKOUT.parent / "shared" / "datasets") -> tuple[str, ...]:
    """Mirrors in the order to ask: those of $MIRROR, then the folder beside the checkout when it exists.

    Each is a URL or an absolute path. A folder in $MIRROR that does not exist is an error, since it was asked for.
    """
    mirrors = [_mirror(word) for word in _words(settings().mirror)]
    if beside.is_dir():
        mirrors.append(str(beside.resolve()))
    return tuple(dict.fromkeys(mirrors))


def join(mirror: str, path: str) -> str:
    """The address of `path` below a mirror, be it a URL or a folder."""
    return f"{mirror.rstrip('/')}/{path}"


def local_path(address: str) -> Path | None:
    """The local file that a `file:` or `copy:` URL or a plain path means; None for anything remote."""
    if address.startswith("/"):
        return Path(address)
    if not address.startswith(("file:", "copy:")):
        return None
    return Path(unquote(urlsplit(address).path))


def _words(text: str) -> list[str]:
    if Path(text).is_dir() and text.strip():
        return [text]  # one folder whose name has spaces
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _mirror(word: str) -> str:
    if re.match(r"(?:https?|file)://", word):
        return word.rstrip("/")
    folder = Path(word).expanduser().resolve()
    if not folder.is_dir():
        raise CourseboxError(f"MIRROR names the folder {word}, which does not exist", hint="give a folder or a URL")
    return str(folder)
