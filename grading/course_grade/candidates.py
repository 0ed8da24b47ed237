"""Which of several files a student worked on: that one is graded.

Files are compared with the stubs of the lab by their text alone. They are not parsed: this happens on the trusted side,
for whatever is handed in, before anything limits time and memory.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

LARGEST = 64_000_000  # bytes of a file that is looked at: a notebook with many pictures
_CODE = 2_000_000  # characters of code that are looked at
# Files of the course: whoever hands in a whole folder hands them in, too.
OF_COURSE = ("check.py", "experiments.py", "dlc_practical_prologue.py")
OF_COURSE_FOLDERS = ("checking", "author", "examples")


@dataclass(frozen=True)
class Exercise:
    """What candidates are compared with.

    lab: the folder's name, as "02_neighbours". labs: those of all labs. stubs: the shipped script. checks: the names of
    the checks and of the measured results.
    """

    lab: str
    parts: tuple[str, ...]
    labs: tuple[str, ...] = ()
    stubs: str = ""
    checks: tuple[str, ...] = ()

    def tag(self, part: str) -> str:
        """The part with its number: "02.3 PCA"."""
        return f"{self.lab[:2]}.{self.parts.index(part) + 1} {part}"


def read_exercise(lab: Path) -> Exercise:
    """The lab in this folder, from the text of its own files: no check is loaded, so PyTorch is not needed."""
    file = lab / "exercise.py"
    stubs = file.read_text(encoding="utf-8") if file.is_file() else ""
    tags = dict(re.findall(r"NotImplementedError\(\s*\"\d\d\.(\d+) (\w+)\"", stubs))
    parts = [tags[number] for number in sorted(tags, key=int)]
    checks = []
    for source in (lab / "check.py", lab / "experiments.py"):
        tree = ast.parse(source.read_text(encoding="utf-8")) if source.is_file() else ast.Module([], [])
        for node in tree.body:
            marks = [ast.unparse(mark).split("(")[0] for mark in getattr(node, "decorator_list", [])]
            if isinstance(node, ast.FunctionDef) and {"lab.check", "lab.experiment", "lab.gpu"} & set(marks):
                checks.append(node.name)
    checks += [f"form_of_{part}" for part in parts]
    labs = sorted(path.name for path in lab.parent.glob("[0-9][0-9]_*") if path.is_dir())
    return Exercise(lab.name, tuple(parts), tuple(labs), stubs, tuple(checks))


@dataclass(frozen=True)
class Work:
    """What a file has of the parts: those that are there, and those that are written."""

    present: tuple[str, ...]
    written: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A file that may be the one that counts; `name` is its path within what was handed in."""

    name: str
    work: Work
    mtime: float
    content: bytes


def code_of(content: bytes, notebook: bool) -> str:
    """The code in a script or a notebook as text, without a verdict on whether it is Python."""
    text = content.decode("utf-8-sig", "replace")
    if not notebook:
        return text[:_CODE]
    try:
        found = json.loads(text)
        cells = found.get("cells") or [cell for sheet in found.get("worksheets", []) for cell in sheet["cells"]]
        code = [cell for cell in cells if cell.get("cell_type") == "code"]
        sources = [cell.get("source", cell.get("input", "")) for cell in code]
        return "\n\n".join("".join(source) for source in sources)[:_CODE]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""


def definition(code: str, part: str) -> str:
    """The text of a function or class, its last definition; "" where there is none."""
    found = ""
    lines = code.splitlines()
    head = re.compile(rf"(\s*)(?:async\s+def|def|class)\s+{re.escape(part)}\b|{re.escape(part)}\s*(?::[^=]+)?=[^=]")
    for number, line in enumerate(lines):
        if not (match := head.match(line)):
            continue
        indent, last = len(match[1] or ""), number + 1
        while last < len(lines) and (
            not lines[last].strip()
            or len(lines[last]) - len(lines[last].lstrip()) > indent
            or lines[last].lstrip().startswith((")", "]", "}"))
        ):
            last += 1
        found = "\n".join(lines[number:last]).rstrip()
    return found


def work_of(code: str, exercise: Exercise) -> Work:
    """Which parts are there, and which of them are written: no longer the stub."""
    present, written = [], []
    for number, part in enumerate(exercise.parts, start=1):
        if not (text := definition(code, part)):
            continue
        present.append(part)
        tag = re.compile(rf"NotImplementedError\(\s*[\"']{exercise.lab[:2]}\.{number} ")
        shipped = definition(exercise.stubs, part)
        if not tag.search(text) and "".join(text.split()) != "".join(shipped.split()):
            written.append(part)
    return Work(tuple(present), tuple(written))


def other_lab(name: str, exercise: Exercise) -> str:
    """The other lab in whose folder a file lies; "" where it lies in that of this lab, or in none."""
    for folder in reversed(PurePosixPath(name).parts[:-1]):
        if folder == exercise.lab or folder == exercise.lab[:2]:
            return ""
        if folder in exercise.labs:
            return folder
    return ""


def of_course(name: str) -> bool:
    """Whether a file is one that the course ships beside the exercise."""
    path = PurePosixPath(name)
    return path.name.lower() in OF_COURSE or any(folder in OF_COURSE_FOLDERS for folder in path.parts[:-1])


def _named(candidate: Candidate) -> bool:
    return PurePosixPath(candidate.name).stem.lower().startswith("exercise")


def chosen(candidates: Sequence[Candidate], exercise: Exercise) -> tuple[Candidate, str]:
    """The one that counts of one or more, and a sentence on which and why; "" where there was no choice.

    The one with the most written parts counts; among equals the newest, and among files of one age exercise.py.
    """
    serious = [c for c in candidates if c.work.present] or [c for c in candidates if _named(c)] or list(candidates)

    def order(one: Candidate) -> tuple[object, ...]:
        scripts_first = one.name.lower().endswith(".py")
        return (-len(one.work.written), -len(one.work.present), -one.mtime, not _named(one), not scripts_first,
                len(PurePosixPath(one.name).parts), one.name)  # fmt: skip

    serious.sort(key=order)
    best = serious[0]
    if len(serious) == 1:
        return best, ""
    next_one, parts = serious[1], len(exercise.parts)
    others = f"{next_one.name}" if len(serious) == 2 else f"each of the {len(serious) - 1} others"
    written = len(best.work.written)
    if written > len(next_one.work.written):
        less = len(next_one.work.written)
        why = f"{written} of {parts} parts are written in it, {'at most ' if len(serious) > 2 and less else ''}"
        why += f"{less or 'none'} in {others}"
    elif all(one.content == best.content for one in serious):
        why = "all have the same content"
    elif best.mtime > next_one.mtime:
        why = "it is the newest of those with most parts written"
    else:
        why = "as much is written in others, and their times are equal"
    return best, f"Of {len(serious)} files {best.name} counts: {why}."
