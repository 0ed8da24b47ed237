"""What root may believe, and how it opens a path that others can change.

In a home and in a mounted folder a user can put a link in the place of anything. So root goes along a path name by
name, and opens each one below the last without following links. Only root's own links in root's own folders lead on.
"""

from __future__ import annotations

import errno
import os
import stat

LINKS = 40  # as many as the kernel follows
OTHERS = stat.S_IWGRP | stat.S_IWOTH  # an ACL that lets others write shows in the group's bits, acl(5)


class Untrusted(Exception):
    """Somebody else than root can change what a path leads to. The message names the place."""


def open_path(path: str, *, strict: bool = False) -> int:
    """A descriptor of what the absolute `path` leads to, as open(2) makes it with O_PATH.

    Raises Untrusted at a link that others than root can make or change; with `strict` at everything on the way that
    others than root can write. Raises OSError as open(2) does.
    """
    opened = [root := os.open("/", os.O_PATH | os.O_DIRECTORY)]
    here, links, rest = root, 0, path.split("/")[::-1]
    try:
        while rest:
            name = rest.pop()
            if name in ("", "."):
                continue
            opened.append(found := os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=here))
            if not stat.S_ISLNK(os.fstat(found).st_mode):
                if strict and not only_root_writes(found):
                    raise Untrusted(f"others than root can write {path_of(found)}")
                here = found
                continue
            if os.fstat(found).st_uid != 0 or not only_root_writes(here):
                raise Untrusted(f"{path_of(found)} is a link that others than root can change")
            links += 1
            if links > LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink("", dir_fd=found)
            rest += target.split("/")[::-1]
            here = root if target.startswith("/") else here
        opened.remove(here)
        return here
    finally:
        for descriptor in opened:
            os.close(descriptor)


def only_root_writes(descriptor: int) -> bool:
    """Whether only root can change it: by owner and mode, or because the mount is read-only in this container."""
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        return True
    found = os.fstat(descriptor)
    return found.st_uid == 0 and not found.st_mode & OTHERS


def path_of(descriptor: int) -> str:
    """The path of an open file, as the kernel knows it."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


def reopened(descriptor: int) -> str:
    """A path that leads to an open file, whatever happens to its names meanwhile."""
    return f"/proc/self/fd/{descriptor}"
