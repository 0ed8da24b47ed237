"""How a product gets to its place in dist/: whole or not at all, and only when that very file is not there already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from coursebox.core.digests import copy_digesting, sha256_value
from coursebox.core.errors import CourseboxError
from coursebox.core.files import atomic, stamp, write_text
from coursebox.core.records import RECORD
from coursebox.core.stages import Result
from coursebox.target import File


def write_once(target: Path, content: str, write: Callable[[Path], tuple[str, int]]) -> File:
    """The file `target` with this content; `write` is called only when it is not there.

    content: a digest of all that decides the bytes. write: (path) → SHA-256 and size in bytes of the file that it has
    put there. What was written is noted in a stamp beside the file, with what changes when somebody replaces the file;
    a damaged stamp counts as none.
    """
    note_file = target.with_name(f".{target.name}.stamp")
    try:
        known = json.loads(note_file.read_text(encoding="utf-8"))
        whole = known.pop("digest") == sha256_value(known)
        if whole and known["content"] == content and known["file"] == stamp(target):
            return File(target, known["sha256"], known["size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    target.parent.mkdir(parents=True, exist_ok=True)
    note_file.unlink(missing_ok=True)
    sha256, size = write(target)
    note = {"content": content, "sha256": sha256, "size": size, "file": stamp(target)}
    write_text(note_file, json.dumps({**note, "digest": sha256_value(note)}))
    return File(target, sha256, size)


def copied(result: Result, name: str) -> Callable[[Path], File]:
    """The `write` of a product that is the result file `name` of a stage; not a sparse one, whose digest is another.

    The bytes are digested while they are copied. Raises CourseboxError, and writes nothing, when the disk gives others
    than it was given.
    """

    def copy(target: Path) -> tuple[str, int]:
        with atomic(target) as part:
            if copy_digesting(result.path(name), part) != result.files[name]:
                (result.folder / RECORD).unlink(missing_ok=True)
                raise CourseboxError(
                    f"{result.path(name)} has changed on the disk since it was made",
                    hint="build again: the file is made anew. If this happens again, check the disk and the memory.",
                )
        return result.files[name], target.stat().st_size

    return lambda target: write_once(target, result.files[name], copy)
