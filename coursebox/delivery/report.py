"""What stands in dist/ beside a delivered file: digests, package lists, the build report; and the console's summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coursebox.core.console import warn
from coursebox.core.context import Context
from coursebox.core.digests import sha256_file
from coursebox.core.files import write_text
from coursebox.core.stages import Result
from coursebox.target import File, Target

SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Built:
    """A finished build.

    target: what was built; file: what was delivered; context: all that went in, and the stages in order;
    fetching: seconds; facts: what else the report says of the file, JSON-like; licences: the list of licences of what
    is inside, where there is one.
    """

    target: Target
    file: File
    context: Context
    fetching: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    licences: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the file lies, and what belongs to it beside it."""
        return self.file.path.parent

    def beside(self, what: str) -> Path:
        """What lies beside the file, "report.json" for example."""
        return self.folder / self.target.beside(self.context.course, what)

    def stage(self, name: str) -> Result:
        """The result of a stage of this build. StopIteration when it had none of this name."""
        return next(result for result in self.context.stages.results if result.name == name)


def write(built: Built) -> None:
    """Write the lists of packages, the report and SHA256SUMS into the folder of the delivered file."""
    fetched, tree = built.context.fetched, built.target.format.tree
    debs = "".join(f"{deb.package} {deb.version} {deb.architecture} {deb.sha256}\n" for deb, _ in fetched.debs[tree])
    wheels = "".join(f"{wheel.name} {wheel.version} {wheel.sha256}\n" for wheel, _ in fetched.wheels[tree])
    lists = {built.beside("packages.txt"): debs, built.beside("python.txt"): wheels}
    if built.licences is not None:
        lists[built.beside("licences.txt")] = built.licences.read_text(encoding="utf-8")
    for path, text in lists.items():
        write_text(path, text)
    write_text(built.beside("report.json"), json.dumps(report(built), indent=2, ensure_ascii=False) + "\n")
    sums = {**sums_in(built.folder), **{path.name: sha256_file(path) for path in lists}}
    sums[built.file.path.name] = built.file.sha256
    write_text(built.folder / SUMS, "".join(f"{digest}  {file}\n" for file, digest in sorted(sums.items())))


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
    course, fetched = built.context.course, built.context.fetched
    return {
        "course": {
            "name": course.name,
            "version": course.version,
            "title": course.title,
            "profile": course.security.profile,
        },
        "target": built.target.name,
        "file": {"name": built.file.path.name, "size": built.file.size, "sha256": built.file.sha256, **built.facts},
        "reproducible": fetched.reproducible,
        "epoch": built.context.epoch,
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
            for stage in built.context.stages.results
        ],
    }


def summary(built: Built, seconds: float) -> str:
    """The last lines of a build: the file, its size and digest, the time of each stage, and what to do next."""
    times = [f"fetch {built.fetching:.1f} s"]
    for stage in built.context.stages.results:
        times.append(f"{stage.name} {'cached' if stage.reused else f'{stage.seconds:.1f} s'}")
    if not built.context.fetched.reproducible:
        warn("this file is NOT REPRODUCIBLE: locked packages or data had to be replaced; the report names them.")
    path = built.file.path
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    lines = [
        "",
        f"  {shown}   {built.file.size / 1e6:.1f} MB",
        f"  sha256 {built.file.sha256}",
        f"  {seconds:.1f} s: {', '.join(times)}",
    ]
    if steps := built.target.format.next_steps(built.context.course, built.file):
        lines += ["", f"  Next: {steps}"]
    return "\n".join(lines)
