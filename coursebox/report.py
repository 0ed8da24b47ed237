"""What stands in dist/ beside the OVA: digests, package lists, the build report; and the summary on the console."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coursebox.console import warn
from coursebox.course import Course
from coursebox.digests import sha256_file
from coursebox.sources.fetch import Fetched
from coursebox.sources.locks import Locks
from coursebox.stage import Result, Stages


@dataclass(frozen=True)
class Built:
    """A finished build: the delivered file, all stages in order, and what they were made of."""

    ova: Path
    sha256: str
    stages: Stages
    fetched: Fetched


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


def write(folder: Path, name: str, course: Course, locks: Locks, built: Built, fetching: float) -> None:
    """Write `<name>.packages.txt`, `<name>.python.txt`, `<name>.report.json` and SHA256SUMS into `folder`."""
    debs = "".join(
        f"{deb.package} {deb.version} {deb.architecture} {deb.sha256}\n" for deb, _ in built.fetched.debs["vm"]
    )
    wheels = "".join(f"{wheel.name} {wheel.version} {wheel.sha256}\n" for wheel, _ in built.fetched.wheels["vm"])
    texts = {
        f"{name}.packages.txt": debs,
        f"{name}.python.txt": wheels,
        f"{name}.report.json": json.dumps(report(course, locks, built, fetching), indent=2, ensure_ascii=False) + "\n",
    }
    for file, text in texts.items():
        replace_text(folder / file, text)
    sums = {file: sha256_file(folder / file) for file in texts if not file.endswith(".report.json")}
    sums[built.ova.name] = built.sha256
    replace_text(folder / "SHA256SUMS", "".join(f"{digest}  {file}\n" for file, digest in sorted(sums.items())))


def report(course: Course, locks: Locks, built: Built, fetching: float) -> dict[str, Any]:
    """What was built, from what, how long each stage took (seconds), and whether anyone else gets the same bytes."""
    data = built.fetched.data
    return {
        "course": {
            "name": course.name,
            "version": course.version,
            "title": course.title,
            "profile": course.security.profile,
        },
        "file": {"name": built.ova.name, "size": built.ova.stat().st_size, "sha256": built.sha256},
        "reproducible": built.fetched.reproducible,
        "epoch": locks.epoch,
        "data": {name: dict(source) for name, source in (data.sources if data else {}).items()},
        "substitutes": [str(item) for item in built.fetched.substitutes],
        "fetch_seconds": round(fetching, 1),
        "stages": [
            {
                "name": stage.name,
                "key": stage.key,
                "seconds": stage.seconds,
                "reused": stage.reused,
                "files": dict(stage.files),
            }
            for stage in built.stages.results
        ],
    }


def replace_text(path: Path, text: str) -> None:
    """Write `text` beside `path` and rename it into place."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def summary(course: Course, built: Built, fetching: float, seconds: float) -> str:
    """The last lines of a build: the file, its size and digest, the time of each stage, and what to do next."""
    times = [f"fetch {fetching:.1f} s"]
    times += [
        f"{stage.name} {'cached' if stage.reused else f'{stage.seconds:.1f} s'}" for stage in built.stages.results
    ]
    if not built.fetched.reproducible:
        warn("this file is NOT REPRODUCIBLE: locked packages or data had to be replaced; the report names them.")
    try:
        shown = built.ova.relative_to(Path.cwd())
    except ValueError:
        shown = built.ova
    return "\n".join(
        [
            "",
            f"  {shown}   {built.ova.stat().st_size / 1e6:.1f} MB",
            f"  sha256 {built.sha256}",
            f"  {seconds:.1f} s: {', '.join(times)}",
            "",
            f"  Next: `make try` boots it here and serves JupyterLab at http://localhost:{course.ports.jupyter};",
            "        `make test` proves it; hand out the OVA with SHA256SUMS and docs/student.md.",
        ]
    )
