"""The stage `data`: the files of the data sets, laid out as the folder that goes into every tree."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coursebox.archives.datasets import DataSet, read_data_sets
from coursebox.core.digests import sha256_value
from coursebox.core.paths import Cache
from coursebox.core.stages import Stages
from coursebox.fetch import synthetic, unpack
from coursebox.fetch.datasets import Chosen

CODE = [Path(__file__), Path(synthetic.__file__), Path(unpack.__file__)]


@dataclass(frozen=True)
class DataTree:
    """The finished folder.

    path: what belongs into /usr/share/coursebox/data, SOURCES.json included; not to be written to
    digest: of all paths and contents in it
    sources: data set → {"kind": "complete" | "sample" | "stand-in", "note": …}, as in SOURCES.json
    """

    path: Path
    digest: str
    sources: Mapping[str, Mapping[str, str]]


def lay_out_data(
    stages: Stages, chosen: Mapping[str, Chosen], epoch: int, described: Mapping[str, DataSet] | None = None
) -> DataTree:
    """Lay out the data sets, unless that was done before and the folder is still whole.

    epoch: seconds since 1970, the time of every file
    """
    known = read_data_sets() if described is None else described
    sources = {name: {"kind": one.kind, "note": one.note} for name, one in chosen.items()}

    def make(work: Path) -> None:
        tree = work / "tree"
        tree.mkdir()
        for name, one in chosen.items():
            if one.files:
                _lay_out_files(tree, one, stages.cache)
            else:
                _generate(tree / (known[name].generated or name), name)
        text = json.dumps(sources, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (tree / "SOURCES.json").write_text(text, encoding="utf-8")
        _settle(tree, epoch)

    inputs = {
        "epoch": epoch,
        "sources": sources,
        "files": {name: [[item.path, item.sha256] for item in one.files] for name, one in chosen.items()},
        "generated": {name: known[name].generated for name, one in chosen.items() if not one.files},
    }
    result = stages.run("data", inputs, make, code=CODE)
    return DataTree(result.folder / "tree", sha256_value(dict(result.files)), sources)


def _lay_out_files(tree: Path, chosen: Chosen, cache: Cache) -> None:
    for item in chosen.files:
        if item.packing == "tar":
            unpack.untar(cache.object(item.sha256), tree / item.path)
        else:
            (tree / item.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cache.object(item.sha256), tree / item.path)


def _generate(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    for file, content in synthetic.GENERATORS[name]():
        (folder / file).write_bytes(content)


def _settle(tree: Path, epoch: int) -> None:
    """Modes and times that do not depend on who laid the files out, when, and under which umask."""
    for path in [*sorted(tree.rglob("*"), reverse=True), tree]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (epoch, epoch))
