"""Write the results as the owner of the folder that they go to.

course-grade may run as root, for example in a container, while the folder belongs to the instructor. Then root takes on
the owner's user and group for as long as it writes. So the files belong to the owner, and a link in the folder cannot
lead root to a file that the owner may not write.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """As root, act as the owner of `folder`; any other user stays who they are.

    folder: absolute. While it does not exist, the nearest folder above it that does counts. Raises OSError where root
    may not change its user.
    """
    owner = next(place for place in (folder, *folder.parents) if place.exists()).stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        os.setgroups([])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(0)  # first, since only root may do the rest
        os.setegid(group)
        os.setgroups(groups)


def make_folder(folder: Path) -> None:
    """Make `folder` (absolute) and the folders above it, where they are missing. Raises OSError."""
    with as_owner_of(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write(file: Path, text: str) -> None:
    """Write `text` in UTF-8 to `file` (absolute), whole or not at all. Raises OSError.

    A link in the place of the file is replaced, not followed. What UTF-8 cannot hold (surrogates) is written as an
    escape: no text of a submission may stop the results.
    """
    with as_owner_of(file.parent):
        part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("x", encoding="utf-8", errors="backslashreplace", newline="") as out:  # never through a link
                out.write(text)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)


def kept_seed(file: Path) -> int:
    """The seed in `file` (absolute). Where there is no such file, a new seed is drawn and kept there.

    Its owner alone can read a new file. Raises ValueError where the file holds no number, OSError where it cannot be
    read or written.
    """
    make_folder(file.parent)
    with as_owner_of(file.parent):
        if file.exists():
            return int(file.read_text("ascii"))
        seed = secrets.randbelow(2**31)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            out.write(f"{seed}\n")
        return seed
