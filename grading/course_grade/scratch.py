"""The scratch folder of a submission: what it brings along, how full it may get, and how it is removed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

BYTES = 64 << 20  # that a submission may keep in files
FILES = 2000
_NO_SUID, _NO_DEVICES, _PRIVATE, _RECURSIVE = 2, 4, 1 << 18, 1 << 14

_libc = ctypes.CDLL(None, use_errno=True)


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder: path relative to it → content. No links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def lay(folder: Path, files: Mapping[str, bytes], uid: int | None = None) -> None:
    """Write files below a folder; give all to a user, the folder included. Raises OSError."""
    made = {folder}
    for name, content in files.items():
        path = folder / name
        made |= {path, *(parent for parent in path.parents if folder in parent.parents)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for path in made if uid is not None else ():
        os.chown(path, uid or 0, uid or 0)


def _mount(kind: str, place: str, flags: int, options: str = "") -> None:
    arguments = (kind.encode(), place.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    if _libc.mount(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), place)


def cover(folder: Path, size: int = BYTES) -> None:
    """Lay a file system of its own over a folder, that gets full at `size` bytes. Raises OSError.

    This process must be alone in its mount namespace, so that nobody else sees it.
    """
    _mount("none", "/", _PRIVATE | _RECURSIVE)
    _mount("tmpfs", str(folder), _NO_SUID | _NO_DEVICES, f"size={size},nr_inodes={FILES},mode=700")


class Meter:
    """Looks how full a folder is that no file system bounds. kept: the names in it that a submission came with."""

    def __init__(self, folder: Path, kept: Collection[str]) -> None:
        self._folder, self._kept = folder, {name.partition("/")[0] for name in kept}

    def overfull(self) -> str:
        """What is too much, as a sentence's end; "" when nothing is. Then all but what it came with is removed."""
        with contextlib.suppress(OSError, RecursionError):  # folders in folders, deeper than can be walked
            if self._fits():
                return ""
        for name in set(os.listdir(self._folder)) - self._kept:
            remove(self._folder / name)
        return f"its files have more than {BYTES >> 20} MiB, or are more than {FILES}"

    def _fits(self) -> bool:
        size = count = 0
        for _, folders, files, where in os.fwalk(self._folder, follow_symlinks=False):
            count += len(folders) + len(files)
            for name in files:
                with contextlib.suppress(OSError):
                    size += 512 * os.stat(name, dir_fd=where, follow_symlinks=False).st_blocks
            if size > BYTES or count > FILES:
                return False
        return True


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, whatever a submission did there; follows no link.

    No process may be left that could put a link in the place of a folder meanwhile. What cannot be removed stays.
    """
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            _remove(parent, path.name)
        finally:
            os.close(parent)


def _open(name: str, parent: int) -> int:
    os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def _remove(parent: int, name: str) -> None:
    """Remove a folder. Folders in it are moved up into the first one, so that no depth is too much."""
    top, number = _open(name, parent), 0
    waiting: list[str] = ["."]
    try:
        while waiting:
            inside = waiting.pop()
            here = os.dup(top) if inside == "." else _open(inside, top)
            try:
                for entry in os.listdir(here):
                    if inside == "." and entry in waiting:
                        continue
                    with contextlib.suppress(OSError):
                        if stat.S_ISDIR(os.lstat(entry, dir_fd=here).st_mode):
                            number += 1
                            os.chmod(entry, 0o700, dir_fd=here)
                            os.rename(entry, f".removed-{os.getpid()}-{number}", src_dir_fd=here, dst_dir_fd=top)
                            waiting.append(f".removed-{os.getpid()}-{number}")
                        else:
                            os.unlink(entry, dir_fd=here)
            finally:
                os.close(here)
            if inside != ".":
                with contextlib.suppress(OSError):
                    os.rmdir(inside, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)
