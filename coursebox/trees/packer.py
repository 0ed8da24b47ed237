"""The Packer binary: Debian 13 has none, so the static one of a locked .deb is unpacked, on every host the same."""

from __future__ import annotations

import shutil
from pathlib import Path

from debian.debfile import DebFile

from coursebox.core.stages import Stages
from coursebox.lock.lockfile import Deb

MEMBER = "./usr/bin/packer"


def unpack_packer(stages: Stages, deb: Deb, path: Path) -> Path:
    """The binary out of the .deb at `path`."""

    def make(work: Path) -> None:
        with DebFile(str(path)).data.get_file(MEMBER) as source, (work / "packer").open("wb") as target:
            shutil.copyfileobj(source, target)
        (work / "packer").chmod(0o755)

    return stages.run("packer", {"deb": deb.sha256}, make, code=[Path(__file__)]).path("packer")
