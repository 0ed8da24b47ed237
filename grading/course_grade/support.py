"""What an exercise consists of: the file that counts, and the modules, packages and data that lie beside it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from . import candidates, names
from .candidates import LARGEST, Candidate

_SUPPORT, _SUPPORT_FILES = 10_000_000, 200  # bytes and files that an exercise may bring along


@dataclass
class Found:
    """A file of a submission: its path within it, and where it lies."""

    name: str
    path: Path
    mtime: float
    size: int


def content_of(file: Found) -> bytes:
    """The bytes of a regular file. Raises OSError, and ValueError with a sentence where it is too large."""
    descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file any more")
        content = source.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{file.name} is larger than {LARGEST // 1_000_000} MB.")
    return content


def bring(best: Candidate, found: Sequence[Found], room: Path, file: str, notes: list[str]) -> None:
    """Copy what lies beside the exercise, and below: modules, packages, data. Other exercises and notebooks stay."""
    base = PurePosixPath(best.name).parent
    left, count, too_many = _SUPPORT, 0, 0
    for one in sorted(found, key=lambda one: (names.suffix(one.name) != ".py", one.size, one.name)):
        path = PurePosixPath(one.name)
        if one.name == best.name or not path.is_relative_to(base) or candidates.of_course(str(path.relative_to(base))):
            continue
        inner = path.relative_to(base)
        if path.suffix == ".ipynb" or str(inner) == file or inner.parts[0] in ("results", "labs"):
            continue
        if one.size > left or count >= _SUPPORT_FILES:
            too_many += 1
            continue
        target = room / inner
        try:
            content = content_of(one)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with target.open("xb") as out:
                out.write(content)
        except (OSError, ValueError) as error:
            notes.append(f"{one.name} was left out: {getattr(error, 'strerror', None) or error}.")
            continue
        left, count = left - len(content), count + 1
    if too_many:
        notes.append(f"{too_many} files beside it were left out: more than {_SUPPORT // 1_000_000} MB or "
                     f"{_SUPPORT_FILES} files.")  # fmt: skip


def digest_of(folder: Path) -> str:
    """A digest of the names and contents of all files in a folder of our own."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, content = os.fsencode(path.relative_to(folder)), path.read_bytes()
        digest.update(len(name).to_bytes(8, "big") + name + len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def lay_out(folder: Path | None, scratch: Path) -> None:
    """Copy what a submission consists of into a folder in which it is graded; whoever gets the folder can read it."""
    if folder is None:
        return
    with contextlib.suppress(OSError, shutil.Error):  # what cannot be copied is missing for this submission alone
        shutil.copytree(folder, scratch, copy_function=shutil.copyfile, dirs_exist_ok=True)
    for path in scratch.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    scratch.chmod(0o700)
