"""Only the container images: files that are whole, with the layers that they should have."""

from __future__ import annotations

import json
import subprocess

import pytest
from equipment.oci import open_archive, verify_layers

pytestmark = pytest.mark.parametrize("place", ["cpu", "cuda"], indirect=True)

LAYERS = {"cpu": ("system", "torch", "python", "data", "course"),
          "cuda": ("system", "cuda", "torch", "python", "data", "course")}  # fmt: skip


def test_the_file_is_whole_and_the_one_in_the_report(place):
    """Every digest in it, of the documents and of the layers, packed and unpacked, holds."""
    image = open_archive(place.file)
    verify_layers(image)
    assert [layer.name for layer in image.layers] == list(LAYERS[place.kind])
    tags = {"cpu": (f"{place.course.version}-cpu", "cpu"), "cuda": (place.course.version, "latest")}
    assert image.names == tuple(f"{place.course.name}:{tag}" for tag in tags[place.kind])
    assert (image.manifest_digest, image.config_digest) == tuple(
        place.report["file"]["image"][key] for key in ("manifest", "config")
    )


def test_the_engine_has_the_image_of_the_file(place):
    """What the other tests start is what the file holds."""
    shown = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", place.image],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    config = open_archive(place.file).config
    assert json.loads(shown.stdout) == config["rootfs"]["diff_ids"]
