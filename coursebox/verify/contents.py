"""What a delivered file holds: one digest for each part of it.

A proof names the parts that its tests used. So an edit of one lab leaves the proof of the boot alone, and the boot is
proved again as soon as anything else in the tree differs.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from coursebox.core.digests import BLOCK, sha256_bytes, sha256_value
from coursebox.core.stages import Result, Stages

HERE = Path(__file__)

_LABS = r"(?:usr/share/coursebox|home/[^/]+)/labs/"
# The first rule that fits the path decides; \1 is the name of a lab.
RULES = (
    ("lab:{}", re.compile(rf"{_LABS}(\d\d_[^/]+)/")),
    ("labs", re.compile(_LABS)),
    ("selftest", re.compile(r"usr/lib/coursebox/selftest/|usr/local/bin/course-selftest$")),
    ("grading", re.compile(r"usr/lib/coursebox/grading/|usr/local/bin/course-grade$")),
    (
        "entry",  # what runs when a container starts
        re.compile(
            r"usr/lib/coursebox/container/|usr/local/bin/(?:start[^/]*|healthcheck|gpu-check)$"
            r"|opt/jupyter/etc/jupyter/jupyter_server_config\.py$"
        ),
    ),
)
REST = "system"
# The names, kinds, modes and owners of all that lies below the labs' folders, without what is in the files.
SHAPE = "shape of the labs"

MIB = 1 << 20
BEFORE_ROOT, BEHIND_ROOT = 66 * MIB, MIB  # of a course's disk: boot loaders and partition table; its copy
# What an OVF says of the disk's bytes: its sizes, and the UUIDs that are derived from its digest.
_OF_THE_BYTES = re.compile(rb' ovf:(?:size|populatedSize)="\d+"| (?:vbox:)?uuid="\{?[0-9a-f-]{36}\}?"')


def part_of(path: str) -> str:
    """The part that a path of a tree belongs to; `path` is relative to the root."""
    for name, rule in RULES:
        if found := rule.match(path):
            return name.format(*found.groups())
    return REST


def tar_parts(tars: Iterable[tarfile.TarFile]) -> dict[str, str]:
    """Part → digest of the entries of these archives: path, kind, mode, owner, time, attributes, link and content."""
    entries: dict[str, list[object]] = {}
    for tar in tars:
        for member in tar:
            owner = (member.mode, member.uid, member.gid)
            kind = (member.name, member.type.decode(), *owner, member.linkname)
            more = sorted((name, value) for name, value in member.pax_headers.items() if name not in ("path", "size"))
            entry = (*kind, int(member.mtime), more, _content(tar, member))
            entries.setdefault(part_of(member.name + ("/" if member.isdir() else "")), []).append(entry)
            if re.match(_LABS, f"{member.name}/"):
                entries.setdefault(SHAPE, []).append(kind)
    return {name: sha256_value(sorted(map(_text, part))) for name, part in sorted(entries.items())}


def machine_parts(stages: Stages, tree: Result, disk: Result, ova: Result) -> dict[str, str]:
    """The parts of the OVA: those of the sealed tree; `disk`, what lies around the root file system; `ovf`, the
    description of the machine without what follows from the bytes of its disk.
    """

    def make(work: Path) -> Mapping[str, Any]:
        with tarfile.open(tree.path("tree.tar"), "r:") as tar:
            parts = tar_parts([tar])
        with disk.path("disk.raw").open("rb") as raw:
            parts["disk"] = _around_root(raw)
        (name,) = [name for name in ova.files if name.endswith(".ova")]
        with tarfile.open(ova.path(name), "r:") as appliance:
            parts["ovf"] = sha256_bytes(_OF_THE_BYTES.sub(b"", _first(appliance)))
        return {"parts": parts}

    inputs = {"tree": tree.files["tree.tar"], "disk": disk.files["disk.raw"], "ova": ova.facts["sha256"]}
    return dict(stages.run("contents-vm", inputs, make, code=[HERE]).facts["parts"])


def image_parts(stages: Stages, tree: str, layers: tuple[Result, Result], image: Result) -> dict[str, str]:
    """The parts of the container image of a tree: the layers of its system as they are, those of the course by path;
    and `config`, what an engine is told to start, without the list of layers.
    """
    system, course = layers

    def make(work: Path) -> Mapping[str, Any]:
        with ExitStack() as stack:
            paths = [course.path(name) for name in sorted(course.files)]
            parts = tar_parts(stack.enter_context(tarfile.open(path, "r:*")) for path in paths)
        below = [layer["blob"]["diff_id"] for layer in system.facts["layers"]]
        parts[REST] = sha256_value([below, parts.get(REST, "")])
        parts["config"] = sha256_value(json.loads(image.path("config.json").read_text(encoding="utf-8"))["config"])
        return {"parts": parts}

    inputs = {"system": dict(system.files), "course": dict(course.files), "image": dict(image.files)}
    return dict(stages.run(f"contents-{tree}", inputs, make, code=[HERE]).facts["parts"])


def _text(entry: object) -> str:
    return json.dumps(entry)  # in ASCII: a name need not be UTF-8


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member) if member.isreg() else None
    if file is None:
        return ""
    with file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed asks for readinto


def _first(archive: tarfile.TarFile) -> bytes:
    """The content of the first file of an archive."""
    member = archive.next()
    file = archive.extractfile(member) if member else None
    return file.read() if file else b""


def _around_root(raw: IO[bytes]) -> str:
    size = raw.seek(0, 2)
    digest = hashlib.sha256(b"%d" % size)
    for start, end in ((0, BEFORE_ROOT), (size - BEHIND_ROOT, size)):
        for block in _blocks(raw, start, end):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    file.seek(start)
    while start < end and (block := file.read(min(BLOCK, end - start))):
        start += len(block)
        yield block
