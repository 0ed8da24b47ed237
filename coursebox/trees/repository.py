"""A flat apt repository of exactly the locked .deb files, so that mmdebstrap can install nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from debian.debfile import DebFile

from coursebox.core.digests import sha256_bytes
from coursebox.lock.lockfile import Deb

SUITE = "trixie"


def write_repository(folder: Path, debs: Sequence[tuple[Deb, Path]], *, architecture: str, epoch: int) -> None:
    """Fill `folder` with the .deb files (hard links where possible), `Packages` and `Release`.

    architecture: in Debian's words. The format is that of https://wiki.debian.org/DebianRepository/Format (flat
    repository). `Release` names the suite, because mmdebstrap looks for the essential packages of that suite only.
    """
    folder.mkdir(parents=True)
    stanzas = []
    for deb, path in sorted(debs, key=lambda item: item[0].package):
        name = f"{deb.sha256}.deb"
        link_or_copy(path, folder / name)
        control = DebFile(str(path)).debcontrol()
        control["Filename"] = f"./{name}"
        control["Size"] = str(deb.size)
        control["SHA256"] = deb.sha256
        stanzas.append(control.dump())
    packages = "\n".join(stanzas).encode()
    (folder / "Packages").write_bytes(packages)
    date = datetime.fromtimestamp(epoch, UTC).strftime("%a, %d %b %Y %H:%M:%S UTC")
    release = (
        f"Suite: {SUITE}\nCodename: {SUITE}\nArchitectures: {architecture} all\nDate: {date}\n"
        f"SHA256:\n {sha256_bytes(packages)} {len(packages)} Packages\n"
    )
    (folder / "Release").write_text(release, encoding="utf-8")


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link `source` as `target`; copy where the file system has no hard links or refuses one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
