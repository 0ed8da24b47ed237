"""Package files → a root file system with everything installed and nothing configured for a course yet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from coursebox.architecture import BUILDER, Architecture
from coursebox.core.context import Context
from coursebox.core.paths import Cache
from coursebox.core.run import run
from coursebox.core.stages import Result, Stages
from coursebox.host.engine import image_name, import_image, run_container
from coursebox.lock.lockfile import Deb
from coursebox.trees import repository

HERE = Path(__file__)
CODE = [HERE, HERE.with_name("mmdebstrap.sh")]
Debs = Sequence[tuple[Deb, Path]]

# Documentation, translations, and drivers of hardware that no virtual machine shows to its guest.
LEFT_OUT = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-include=/usr/share/doc/apt/examples/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/lib/python3/dist-packages/torch/bin/test_*",
]
LEFT_OUT += [
    f"path-exclude=/usr/lib/modules/*/kernel/{place}/*"
    for place in (
        "drivers/accel drivers/bluetooth drivers/comedi drivers/hwmon drivers/iio drivers/infiniband drivers/isdn "
        "drivers/gpu/drm/amd drivers/gpu/drm/i915 drivers/gpu/drm/nouveau drivers/gpu/drm/radeon drivers/gpu/drm/xe "
        "drivers/media drivers/mtd drivers/platform drivers/staging drivers/net/wireless "
        "drivers/net/ethernet/broadcom drivers/net/ethernet/chelsio drivers/net/ethernet/mellanox "
        "drivers/net/ethernet/netronome drivers/net/ethernet/qlogic drivers/net/ethernet/sfc "
        "fs/bcachefs fs/ocfs2 fs/gfs2 net/bluetooth net/mac80211 net/wireless sound"
    ).split()
]


def build_tools(stages: Stages, debs: Debs, *, epoch: int, log: Path) -> Result:
    """The tools tree, made by the machine's own mmdebstrap; one file, tree.tar."""

    def make(work: Path) -> None:
        with Repository(stages.cache, debs, epoch, BUILDER) as folder:
            run([*own_mounts(), "mmdebstrap", "--variant=essential", "--format=tar", f"--include={names(debs)}",
                 "--aptopt=APT::Install-Recommends \"false\"", "--dpkgopt=force-unsafe-io",
                 # It would name the repository's folder on this machine.
                 '--customize-hook=rm "$1/etc/apt/sources.list"',
                 *(f"--dpkgopt={option}" for option in LEFT_OUT),
                 repository.SUITE, work / "tree.tar", f"deb [trusted=yes] copy://{quote(os.fspath(folder))} ./"],
                what="installing the tools tree", log=log, env={"SOURCE_DATE_EPOCH": str(epoch)})  # fmt: skip

    return stages.run("tools", inputs(debs, epoch), make, code=CODE)


def own_mounts() -> list[str]:
    """What gives root's mmdebstrap mounts of its own: killed, it would leave /proc and /sys mounted in the system's
    temporary folder. Without root it makes itself a namespace of its own.
    """
    return ["unshare", "--mount", "--propagation", "private"] if os.geteuid() == 0 else []


def tools_image(context: Context) -> str:
    """The tools tree as an image in the container engine, loaded when it is not there; returns its name."""
    image = image_name("tools", context.tools.files["tree.tar"])
    import_image(context.tools.path("tree.tar"), image, log=context.log)
    return image


def build_bootstrap(context: Context) -> Result:
    """The tree of the Debian packages of the context's tree, made by the mmdebstrap of the tools tree; one file,
    tree.tar.
    """
    debs, epoch = context.fetched.debs[context.tree], context.epoch

    def make(work: Path) -> None:
        with (
            Repository(context.stages.cache, debs, epoch, context.architecture) as folder,
            (work / "tree.tar").open("wb") as tar,
        ):
            run_container(
                tools_image(context),
                ["eatmydata", "sh", "/mmdebstrap.sh", names(debs), repository.SUITE, *LEFT_OUT],
                what=f"installing {len(debs)} packages",
                log=context.log,
                mounts={folder: "/repository:ro", HERE.with_name("mmdebstrap.sh"): "/mmdebstrap.sh:ro"},
                env={"SOURCE_DATE_EPOCH": str(epoch), "TMPDIR": "/scratch"},
                stdout=tar,
                scratch="/scratch",
            )

    reads = {**inputs(debs, epoch), "tools": context.tools.files["tree.tar"]}
    return context.stages.run(f"bootstrap-{context.tree}", reads, make, code=CODE)


class Repository:
    """A repository folder in the cache's tmp, for as long as the block lasts."""

    def __init__(self, cache: Cache, debs: Debs, epoch: int, architecture: Architecture) -> None:
        self.folder = cache.tmp / "repository"
        self.debs = debs
        self.epoch = epoch
        self.architecture = architecture

    def __enter__(self) -> Path:
        shutil.rmtree(self.folder, ignore_errors=True)
        name = self.architecture.name
        repository.write_repository(self.folder, self.debs, architecture=name, epoch=self.epoch)
        return self.folder

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def names(debs: Debs) -> str:
    """The package names in the form of mmdebstrap's --include."""
    return ",".join(sorted(deb.package for deb, _ in debs))


def inputs(debs: Debs, epoch: int) -> dict[str, object]:
    return {"epoch": epoch, "debs": sorted(deb.sha256 for deb, _ in debs)}
