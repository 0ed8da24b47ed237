"""What provisioning changed in a running container: a tar of it, and the list of what is gone.

Only this much is read and written, not the gigabytes of the image below. Run by Packer after Ansible, on the host:

    python -m coursebox.trees.diff CONTAINER FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from coursebox.trees.seal import belongs

CHANGES = "changes.tar"
REMOVED = "removed.json"
TAR = ["tar", "--create", "--format=posix", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--directory=/",
       "--no-recursion", "--null", "--verbatim-files-from", "--files-from=-"]  # fmt: skip


def read_diff(text: str) -> tuple[list[str], list[str]]:
    """The paths that `docker diff` calls added or changed, and those it calls deleted; relative, sorted.

    What no image keeps (the engine's own files, temporary folders) is left out.
    """
    kept: list[str] = []
    removed: list[str] = []
    for line in text.splitlines():
        mark, path = line[0], line[2:].lstrip("/")
        if belongs(path):
            (removed if mark == "D" else kept).append(path)
    return sorted(kept), sorted(removed)


def collect(container: str, folder: Path) -> None:
    """Write changes.tar and removed.json for the running `container` into `folder`.

    Raises subprocess.CalledProcessError when the engine or the container's tar fails.
    """
    diff = subprocess.run(["docker", "diff", container], check=True, capture_output=True, text=True).stdout
    kept, removed = read_diff(diff)
    names = "\0".join(kept).encode()
    with (folder / CHANGES).open("wb") as tar:
        subprocess.run(["docker", "exec", "--interactive", container, *TAR], check=True, input=names, stdout=tar)
    (folder / REMOVED).write_text(json.dumps(removed, indent=1), encoding="utf-8")


if __name__ == "__main__":
    collect(sys.argv[1], Path(sys.argv[2]))
