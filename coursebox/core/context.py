"""The context of a build: what every step of it needs, passed as one value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coursebox.core.stages import Result, Stages

if TYPE_CHECKING:  # the types of other rooms, for the reader and the type checker only
    from coursebox.architecture import Architecture
    from coursebox.course import Course
    from coursebox.fetch.course import Fetched
    from coursebox.lock.lockfile import Locks


@dataclass(frozen=True)
class Context:
    """One build of one target.

    tree: the group of packages, "vm", "cpu" or "cuda". architecture: what it is built for. stages: runs the steps and
    remembers them in their order. fetched: the verified files that the locks name. tools: the tools tree.
    packer: the binary. log: where the tools' output goes.
    """

    tree: str
    architecture: Architecture
    stages: Stages
    course: Course
    locks: Locks
    fetched: Fetched
    tools: Result
    packer: Path
    log: Path

    @property
    def epoch(self) -> int:
        """Seconds since 1970, the latest time of any file; from the locks."""
        return self.locks.epoch

    @property
    def scratch(self) -> Path:
        """The folder for what a stage writes on the way; it is cleared when a build starts."""
        return self.stages.cache.tmp
