"""What stands in dist/ beside a delivered file: digests, package lists, the build report; and the console's summary."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coursebox.core.console import warn
from coursebox.core.digests import sha256_file
from coursebox.core.stages import Result
from coursebox.trees.course import Build

SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Built:
    """A finished build.

    kind: "vm" or "cuda"; file: what was delivered, with its sha256; build: all that went in, and the stages in order;
    fetching: seconds; facts: what else the report says of the file, JSON-like.
    """

    kind: str
    file: Path
    sha256: str
    build: Build
    fetching: float
    facts: Mapping[str, Any] = field(default_factory=dict)


def deliver(result: Result, name: str, folder: Path) -> Path:
    """Copy the result file `name` into `folder`, unless the very file is there already; appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    stamp = folder / f".{name}.stamp"
    if target.exists() and stamp.exists() and stamp.read_text() == f"{result.files[name]} {_identity(target)}":
        return target
    part = folder / f".{name}.part"
    shutil.copyfile(result.path(name), part)
    os.replace(part, target)
    stamp.write_text(f"{result.files[name]} {_identity(target)}")
    return target


def _identity(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


def write(folder: Path, name: str, built: Built) -> None:
    """Write `<name>.packages.txt`, `<name>.python.txt`, `<name>.report.json` and SHA256SUMS into `folder`."""
    fetched = built.build.fetched
    debs = "".join(
        f"{deb.package} {deb.version} {deb.architecture} {deb.sha256}\n" for deb, _ in fetched.debs[built.kind]
    )
    wheels = "".join(f"{wheel.name} {wheel.version} {wheel.sha256}\n" for wheel, _ in fetched.wheels[built.kind])
    texts = {
        f"{name}.packages.txt": debs,
        f"{name}.python.txt": wheels,
        f"{name}.report.json": json.dumps(report(built), indent=2, ensure_ascii=False) + "\n",
    }
    for file, text in texts.items():
        replace_text(folder / file, text)
    mine = {file: sha256_file(folder / file) for file in texts if not file.endswith(".report.json")}
    mine[built.file.name] = built.sha256
    sums = {**sums_in(folder), **mine}
    replace_text(folder / SUMS, "".join(f"{digest}  {file}\n" for file, digest in sorted(sums.items())))


def sums_in(folder: Path) -> dict[str, str]:
    """File → sha256 from the SHA256SUMS of earlier builds, as far as the files are still there."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {file: digest for digest, file in pairs if (folder / file).is_file()}


def report(built: Built) -> dict[str, Any]:
    """What was built, from what, how long each stage took (seconds), and whether anyone else gets the same bytes."""
    course, fetched = built.build.course, built.build.fetched
    return {
        "course": {
            "name": course.name,
            "version": course.version,
            "title": course.title,
            "profile": course.security.profile,
        },
        "file": {"name": built.file.name, "size": built.file.stat().st_size, "sha256": built.sha256, **built.facts},
        "reproducible": fetched.reproducible,
        "epoch": built.build.epoch,
        "data": {name: dict(source) for name, source in (fetched.data.sources if fetched.data else {}).items()},
        "substitutes": [str(item) for item in fetched.substitutes],
        "fetch_seconds": round(built.fetching, 1),
        "stages": [
            {
                "name": stage.name,
                "key": stage.key,
                "seconds": stage.seconds,
                "reused": stage.reused,
                "files": dict(stage.files),
            }
            for stage in built.build.stages.results
        ],
    }


def replace_text(path: Path, text: str) -> None:
    """Write `text` beside `path` and rename it into place."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def summary(built: Built, seconds: float, next_steps: str) -> str:
    """The last lines of a build: the file, its size and digest, the time of each stage, and what to do next."""
    times = [f"fetch {built.fetching:.1f} s"]
    times += [
        f"{stage.name} {'cached' if stage.reused else f'{stage.seconds:.1f} s'}" for stage in built.build.stages.results
    ]
    if not built.build.fetched.reproducible:
        warn("this file is NOT REPRODUCIBLE: locked packages or data had to be replaced; the report names them.")
    try:
        shown = built.file.relative_to(Path.cwd())
    except ValueError:
        shown = built.file
    return "\n".join(
        [
            "",
            f"  {shown}   {built.file.stat().st_size / 1e6:.1f} MB",
            f"  sha256 {built.sha256}",
            f"  {seconds:.1f} s: {', '.join(times)}",
            "",
            f"  Next: {next_steps}",
        ]
    )
