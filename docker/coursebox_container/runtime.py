"""The folder for what is needed only while the container runs: server address, secrets, sockets, a replacement home.

It lies outside the home, which may be full, read-only, shared between machines, or on a file system without modes.
Its name holds the user and the container's process namespace, so that containers that share one /tmp do not meet;
`healthcheck` finds it by that name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from coursebox_container.messages import Problem, warn

PLACES = ("/tmp", "/dev/shm")
VARIABLE = "COURSEBOX_RUNTIME"


def runtime_folder(uid: int, places: Sequence[str] = PLACES) -> str:
    """The folder of this container and of user `uid`, mode 0700; made when it is not there.

    Run it as that user. Raises Problem where no place can be written.
    """
    name = f"coursebox-{uid}-{os.stat('/proc/self/ns/pid').st_ino}"
    for place in places:
        folder = f"{place}/{name}"
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            found = os.lstat(folder)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
                continue  # not ours: somebody else of a shared /tmp has put it there
        except OSError:
            continue
        if place != places[0]:
            warn(
                f"{places[0]} cannot be written, so temporary files go to {place}, which is small:"
                f" add --tmpfs {places[0]} to docker run"
            )
            os.environ["TMPDIR"] = folder
        return folder
    raise Problem(
        f"neither {' nor '.join(places)} can be written, and a start needs one of them",
        hint="add --tmpfs /tmp to docker run",
    )


def write_private(path: str, content: str) -> None:
    """Write a file that only its owner reads, complete or not at all."""
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    os.rename(beside, path)
