"""What can be built: a format says how a file is made, a target is a format for one architecture.

The table of formats is `coursebox.formats.table`. Everything that names products goes through it: the verbs, the list
of targets, the report, `make repro`, the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coursebox.architecture import AMD64, ARCHITECTURES, Architecture

if TYPE_CHECKING:
    from coursebox.core.context import Context
    from coursebox.course import Course


@dataclass(frozen=True)
class File:
    """A delivered file: where it lies, its SHA-256 (64 hex digits), its size in bytes."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class Product:
    """What a format has made of a course, before anything lies in dist/.

    write: puts the file under this path, unless it is there already; whole or not at all. facts: what else the report
    says of the file, JSON-like. images: names of images in the container engine that the next build goes on from.
    load: what a build does with the written file on this machine, besides; None for nothing.
    """

    write: Callable[[Path], File]
    facts: Mapping[str, Any] = field(default_factory=dict)
    images: Sequence[str] = ()
    load: Callable[[File], None] | None = None


@dataclass(frozen=True)
class Format:
    """One format.

    name: what `make build TARGETS=…` takes. what, audience: the file, and who takes it, for the list of targets.
    tree: the packages that go in, a group of packages.toml and of the locks: "vm", "cpu" or "cuda". variant,
    extension: parts of the file's name. make: the stages, from the context of a build to the product. next_steps:
    (course, file) → what the user can do with the file now. beside: how the lists and the report beside the file begin
    behind <name>-<version>; by default as the file is called.
    """

    name: str
    what: str
    audience: str
    tree: str
    extension: str
    make: Callable[[Context], Product]
    variant: str = ""
    next_steps: Callable[[Course, File], str] = lambda course, file: ""
    beside: str | None = None
    architectures: Collection[str] = tuple(ARCHITECTURES)


@dataclass(frozen=True)
class Target:
    """A format for one architecture."""

    format: Format
    architecture: Architecture = AMD64

    @property
    def name(self) -> str:
        """What `make build TARGETS=…` takes: the format, and the architecture unless it is amd64."""
        return f"{self.format.name}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return "" if self.architecture is AMD64 else f"-{self.architecture.name}"

    def filename(self, course: Course) -> str:
        """The name of the file in dist/."""
        return f"{course.name}-{course.version}{self.format.variant}{self._suffix}{self.format.extension}"

    def beside(self, course: Course, what: str) -> str:
        """The name of what lies beside the file, "report.json" for example."""
        if self.format.beside is None:
            return f"{self.filename(course)}.{what}"
        return f"{course.name}-{course.version}{self.format.beside}{self._suffix}.{what}"
