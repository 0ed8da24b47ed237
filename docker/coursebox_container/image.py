"""Facts about the image; the role `container` writes them when the image is built."""

from __future__ import annotations

import os
from typing import NamedTuple

FILE = "/usr/lib/coursebox/container/image.conf"
LABS = "/usr/share/coursebox/labs"
SKELETON = "/etc/skel"


class Image(NamedTuple):
    """The account that the image was built with, and what its PyTorch was made for: "cpu" or "cuda"."""

    user: str
    uid: int
    gid: int
    device: str

    @property
    def home(self) -> str:
        return f"/home/{self.user}"


def read_image(path: str | os.PathLike[str] = FILE) -> Image:
    """Read the lines `name=value` of image.conf."""
    with open(path, encoding="utf-8") as file:
        values = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    return Image(values["user"], int(values["uid"]), int(values["gid"]), values["device"])
