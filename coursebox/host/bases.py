"""Which images in the container engine the builds in a cache go on from; its others are removed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from coursebox.core.files import write_text
from coursebox.core.paths import Cache
from coursebox.host.engine import remove_images

REMEMBERED = 4  # builds of different targets or courses; each holds gigabytes in the engine


def keep_images(cache: Cache, build: str, images: Sequence[str]) -> None:
    """Note that `build` (course and target) goes on from `images`, and remove what no remembered build goes on from.

    So a build of one target leaves the images of another one alone. To be called while the build holds the cache.
    """
    place = cache.root / "engine.json"
    known = {name: kept for name, kept in remembered(cache).items() if name != build}
    known[build] = list(images)
    known = dict(list(known.items())[-REMEMBERED:])
    write_text(place, json.dumps(known, indent=1))
    remove_others(cache)


def remove_others(cache: Cache) -> None:
    """Remove the images that no remembered build in this cache goes on from."""
    remove_images(cache, keep={image for kept in remembered(cache).values() for image in kept})


def remembered(cache: Cache) -> dict[str, list[str]]:
    """Build → its images, the newest last; a damaged note counts as none."""
    try:
        known = json.loads((cache.root / "engine.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {str(name): [str(image) for image in kept] for name, kept in known.items() if isinstance(kept, list)}
