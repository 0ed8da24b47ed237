"""The one exception that reaches the user: a sentence, and what to do about it."""

from __future__ import annotations

import errno
import os

# What the system says of a place that somebody can mend; any other number is a bug of ours.
HINTS = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room: the quota of this user is used up",
    errno.EACCES: "give this user the right to do that, or name another place",
    errno.EPERM: "give this user the right to do that, or name another place",
    errno.EROFS: "name another place: that file system is read-only",
    errno.ENAMETOOLONG: "use a shorter name or a folder with a shorter path",
    errno.ENOTDIR: "something else lies where a folder should be: move it away",
    errno.EISDIR: "a folder lies where a file should be: move it away",
    errno.EEXIST: "something else lies there: move it away",
    errno.EIO: "check the disk: it did not read or write what it should",
}


class CourseboxError(Exception):
    """Something the user can understand and act on; the command line prints it without a traceback.

    message: one sentence that names the place (file, key, package, port).
    hint: one sentence that names the remedy, or None when the message says it all.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"


def of_system(error: OSError) -> CourseboxError | None:
    """An error of the operating system in words, with the place; None where it is not one that a user can mend."""
    if error.errno not in HINTS:
        return None
    named = next(
        (name for name in (error.filename2, error.filename) if isinstance(name, str | bytes | os.PathLike)), ""
    )
    place = os.fsencode(named or "a file").decode("utf-8", "replace")
    return CourseboxError(f"{place}: {os.strerror(error.errno)}", hint=HINTS[error.errno])


def of_packages(error: BaseException) -> CourseboxError:
    """A Python package of the verbs' environment that cannot be imported: it was whole when it was installed."""
    return CourseboxError(
        f"the Python packages of the verbs are damaged ({error})",
        hint="delete the folder `python` in the cache folder; the next verb makes it anew",
    )
