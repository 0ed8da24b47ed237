"""The submissions in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Submitted:
    """One submission.

    name: of the student. file: the one that is graded, None where there is none. folder: the one that belongs to this
    submission alone, if there is one.
    """

    name: str
    file: Path | None
    folder: Path | None = None


def find(folder: Path) -> list[Submitted]:
    """The submissions in a folder: each .py or .ipynb file, and each subfolder with one; sorted by name.

    A link is no submission, and within one, a link that leads out of it does not count. In a subfolder, exercise.py
    goes before exercise.ipynb, and these before any other script or notebook.
    """
    found = []
    for entry in sorted(folder.iterdir(), key=lambda path: path.name.casefold()):
        if entry.name.startswith((".", "__")):
            continue
        if entry.is_symlink():  # it may lead to somebody else's work, or to any file of the one who grades
            found.append(Submitted(entry.stem if entry.suffix in (".py", ".ipynb") else entry.name, None))
        elif entry.is_file() and entry.suffix in (".py", ".ipynb"):
            found.append(Submitted(entry.stem, entry))
        elif entry.is_dir():
            inside = [
                path
                for path in sorted(entry.rglob("*"))
                if path.is_file()
                and path.resolve().is_relative_to(entry.resolve())
                and path.suffix in (".py", ".ipynb")
                and not any(part.startswith((".", "__")) for part in path.relative_to(entry).parts)
            ]
            wanted = ("exercise.py", "exercise.ipynb")
            inside = [path for path in inside if path.name != "check.py"]
            inside.sort(key=lambda path: (wanted.index(path.name) if path.name in wanted else 2, len(path.parts)))
            found.append(Submitted(entry.name, inside[0] if inside else None, inside[0].parent if inside else entry))
    return found
