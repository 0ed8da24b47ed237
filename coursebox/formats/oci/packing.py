"""The stages' work of packing layers: the system's when its tree is exported, the course's from its changes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from coursebox.core.console import progress
from coursebox.core.stages import Result, Stages
from coursebox.formats.oci.compression import GZIP
from coursebox.formats.oci.layers import Layer, Writing, split_changes, split_tree
from coursebox.trees.diff import CHANGES, REMOVED

HERE = Path(__file__)
LAYER_CODE = [HERE]


@dataclass(frozen=True)
class Packing:
    """How the stage that exports the system's tree packs it: as layers, so that the tree itself is never kept.

    Called with the exported tar and the stage's folder. The result has one file for each layer, and their record among
    its facts. key, code: the values and the source files that decide the bytes.
    """

    epoch: int
    code: ClassVar[Sequence[Path]] = LAYER_CODE

    @property
    def key(self) -> dict[str, Any]:
        return GZIP.key

    def __call__(self, exported: Path, work: Path) -> Mapping[str, Any]:
        with _writing("system", exported, work) as writing:
            return _record(split_tree(exported, writing, epoch=self.epoch))


def build_course_layers(stages: Stages, changes: Result, *, epoch: int) -> Result:
    """The layers above the system's, from changes.tar and removed.json: one file each, and their record."""
    tar = changes.path(CHANGES)

    def make(work: Path) -> Mapping[str, Any]:
        removed = json.loads(changes.path(REMOVED).read_text(encoding="utf-8"))
        with _writing("course", tar, work) as writing:
            return _record(split_changes(tar, removed, writing, epoch=epoch))

    inputs = {
        **{name: changes.files[name] for name in (CHANGES, REMOVED)},
        "epoch": epoch,
        "compression": GZIP.key,
    }
    return stages.run("layers-course", inputs, make, code=LAYER_CODE)


@contextmanager
def _writing(kind: str, tar: Path, work: Path) -> Iterator[Writing]:
    with progress(f"packing the layers of the {kind}", tar.stat().st_size) as advance:
        yield Writing(work, GZIP, on_progress=advance)


def _record(layers: Sequence[Layer]) -> dict[str, Any]:
    return {"layers": [layer.record() for layer in layers]}
