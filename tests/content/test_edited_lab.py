"""An edited lab changes one small layer of the image."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coursebox.core.paths import CHECKOUT
from coursebox.course import load_course
from coursebox.formats.oci.stage import image_stages
from coursebox.prepare import prepared

pytestmark = pytest.mark.parametrize("place", ["cuda"], indirect=True)


def test_an_edited_lab_changes_one_layer(place, tmp_path: Path):
    """Built again with one sentence more in a lab: the course's layer and the config are new, and small."""
    shutil.copytree(CHECKOUT / "locks", tmp_path / "locks")
    shutil.copytree(place.course.labs.folder, tmp_path / "labs")
    shutil.copy(place.course.source, tmp_path / "course.toml")
    with (tmp_path / "labs" / "README.md").open("a", encoding="utf-8") as lab:
        lab.write("\nOne sentence more.\n")
    with prepared(load_course(tmp_path / "course.toml"), "cuda") as (context, _):
        image, _, _ = image_stages(context)
        edited = image.facts["layers"]
        for result in context.stages.results:
            if not result.reused:
                shutil.rmtree(result.folder)
    before = place.report["file"]["image"]["layers"]
    changed = [new for old, new in zip(before, edited, strict=True) if old["digest"] != new["digest"]]
    assert [layer["name"] for layer in changed] == ["course"]
    assert changed[0]["size"] < 1_000_000
