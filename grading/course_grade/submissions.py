"""What students handed in, in whatever form: each thing gets a line, with a file to grade or with the reason.

The file that counts and what it brings along are copied into a folder of our own (the room). From there they are
graded; so a student's name, a link, or an archive decides nothing about what is read later.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from . import archives, candidates, lms, names
from .candidates import Candidate, Exercise
from .support import Found, bring, content_of, digest_of

WORK = (".py", ".ipynb")
# What file managers, tools and the grading itself leave behind.
_IGNORED = {".ds_store", "__macosx", "thumbs.db", "desktop.ini", "__pycache__", ".ipynb_checkpoints", ".git", ".idea",
            ".vscode", ".venv", "venv", "node_modules", ".mypy_cache", ".pytest_cache"}  # fmt: skip
RULES = "grading.toml"
_FILES, _DEPTH = 4000, 16  # of what is looked through for one student
_ARCHIVES, _NESTED = 5, 2  # archives in one submission, and archives in archives
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a link; links are not followed"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True)
class Submitted:
    """One attempt of one student.

    name: of the student, as people read it. file: a copy of the one that is graded; None where there is none, and then
    `remark` says why. folder: holds that file and what it brings along, and nothing else. time: when it was handed in,
    seconds since 1970. digest: of the content of the folder. blank: whether no part is written in the file.
    """

    name: str
    file: Path | None
    folder: Path | None = None
    remark: str = ""
    id: str = ""
    attempt: int = 1
    late: bool = False
    time: float = 0.0
    digest: str = ""
    blank: bool = False


@dataclass
class _Attempt:
    """Entries of the class folder that make up one attempt of a student."""

    name: str
    id: str
    number: int
    late: bool
    entries: list[tuple[Path, str]] = field(default_factory=list)  # the path, and the name that the student gave it
    time: float = 0.0


@dataclass
class _Room:
    """Where the archives of a submission are opened; left: bytes that they may still fill."""

    path: Path
    opened: int = 0
    left: int = archives.Limits.size


def ignored(name: str) -> bool:
    """Whether a file or folder is nobody's work, but what a program left behind."""
    return name.casefold() in _IGNORED or name.startswith("._")


def find(folder: Path, exercise: Exercise, room: Path, best: bool = False) -> list[Submitted]:
    """The submissions in a folder, sorted by name; each student is there once.

    room: an empty folder, for copies. best: all attempts of a student, one after the other, instead of the last one.
    """
    people: dict[tuple[str, str], list[_Attempt]] = {}
    for entry in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        if ignored(entry.name) or entry.name == RULES:
            continue
        _add(people, entry)
    _same_person(people)
    found: list[list[Submitted]] = []
    for count, attempts in enumerate(people.values()):
        opened = [_open(one, exercise, room / f"{count}-{number}") for number, one in enumerate(attempts)]
        found.append(opened if best and len(opened) > 1 else [_last(opened, attempts)])
    found.sort(key=lambda ones: ones[0].name.casefold())
    unique = names.distinct(ones[0].name for ones in found)
    return [replace(one, name=name) for name, ones in zip(unique, found, strict=True) for one in ones]


def _add(people: dict[tuple[str, str], list[_Attempt]], entry: Path) -> None:
    """Put an entry of the class folder to the student and the attempt that it belongs to."""
    name = names.shown(entry.name)
    handed = lms.of_moodle(name) or lms.of_canvas(name)
    ours = _mode(entry)
    if handed is None:
        raw = entry.name  # two names that look alike, since no one can show their bytes, are two persons
        plain = name if stat.S_ISDIR(ours) else names.stem(name)
        key = names.key(raw if stat.S_ISDIR(ours) else names.stem(raw))
        attempts = people.setdefault((key, ""), [])
        attempts.append(_Attempt(plain, "", 1, False, [(entry, "" if stat.S_ISDIR(ours) else name)], _time(entry)))
        return
    attempts = people.setdefault((names.key(handed.name), handed.id), [])
    one = next((one for one in attempts if one.number == handed.attempt), None)
    if one is None:
        attempts.append(one := _Attempt(handed.name, handed.id, handed.attempt, False))
    one.entries.append((entry, handed.file))
    one.late |= handed.late
    one.time = max(one.time, _time(entry))


def _same_person(people: dict[tuple[str, str], list[_Attempt]]) -> None:
    """A name without a number is that of the student with a number, where only one has this name. Sorts attempts."""
    for name, number in [known for known in people if not known[1]]:
        same = [known for known in people if known[0] == name and known[1]]
        if len(same) == 1:
            for extra in people.pop((name, number)):
                extra.id = same[0][1]
                people[same[0]].append(extra)
    for attempts in people.values():
        attempts.sort(key=lambda one: (one.number, one.time))


def _last(opened: Sequence[Submitted], attempts: Sequence[_Attempt]) -> Submitted:
    """The attempt that counts: the last one that holds work. The remark names the others."""
    if len(opened) == 1:
        return opened[0]
    best = next((one for one in reversed(opened) if one.file is not None and not one.blank), None)
    best = best or next((one for one in reversed(opened) if one.file is not None), opened[-1])
    numbered = len({one.number for one in attempts}) > 1
    said = [
        f"attempt {one.attempt}" if numbered else entry
        for one, entry in zip(opened, map(_entry, attempts), strict=True)
    ]
    mine = said[list(opened).index(best)]
    others = names.listed(text for text in said if text != mine)
    why = "the latest" if best is opened[-1] else "the latest that was worked on"
    sentence = f"Handed in {len(opened)} times: {mine} counts, {why}" + (f"; not {others}." if others else ".")
    return replace(best, remark=" ".join((sentence, best.remark)).strip())


def _entry(attempt: _Attempt) -> str:
    return names.shown(attempt.entries[0][0].name)


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _time(path: Path) -> float:
    """When something was handed in: the time of the file, or of the newest file in the folder."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return path.lstat().st_mtime
        inside = [child.stat(follow_symlinks=False) for child in os.scandir(path)]
        return max((child.st_mtime for child in inside if stat.S_ISREG(child.st_mode)), default=path.lstat().st_mtime)
    except OSError:
        return 0.0


def _open(attempt: _Attempt, exercise: Exercise, room: Path) -> Submitted:
    """Look through what was handed in, choose the file that counts, copy it and what it brings along."""
    room.mkdir(mode=0o700)
    one = Submitted(attempt.name, None, id=attempt.id, attempt=attempt.number, late=attempt.late, time=attempt.time)
    notes: list[str] = []
    found: list[Found] = []
    try:
        for entry, name in attempt.entries:
            found += _files(entry, name or "", notes)
        found = _with_archives(found, _Room(room), notes)
        return _choose(one, attempt, found, exercise, room / "work", notes)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        why = "There was no room left to open it" if full else f"It cannot be read: {error.strerror}"
        return replace(one, remark=" ".join([f"{why}.", *notes]))
    finally:
        for opened in room.glob("archive-*"):  # what counts was copied from there
            shutil.rmtree(opened, ignore_errors=True)


def _files(entry: Path, name: str, notes: list[str]) -> list[Found]:
    """The regular files of an entry, which may be a file or a folder. What else there is goes into the notes."""
    mode = _mode(entry)
    if stat.S_ISDIR(mode):
        return list(_walk(entry, name, notes))
    shown = name or names.shown(entry.name)
    if not stat.S_ISREG(mode):
        kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no file that can be read")
        notes.append(f"{shown} is {kind}.")
        return []
    status = entry.lstat()
    return [Found(shown, entry, status.st_mtime, status.st_size)]


def _walk(folder: Path, above: str, notes: list[str]) -> Iterator[Found]:
    count, waiting, links, strange = 0, [(folder, above, 0)], [], []
    while waiting:
        here, prefix, depth = waiting.pop()
        try:
            children = sorted(os.scandir(here), key=lambda child: os.fsencode(child.name))
        except OSError as error:
            notes.append(f"{prefix or 'The folder'} cannot be read: {error.strerror}.")
            continue
        for child in children:
            name = f"{prefix}/{names.shown(child.name)}".lstrip("/")
            count += 1
            if count > _FILES:
                notes.append(f"Only the first {_FILES} files were looked at.")
                return
            if ignored(child.name):
                continue
            if child.is_symlink():
                links.append(name)
            elif child.is_dir(follow_symlinks=False):
                if depth < _DEPTH:
                    waiting.append((Path(child.path), name, depth + 1))
            elif child.is_file(follow_symlinks=False):
                status = child.stat(follow_symlinks=False)
                yield Found(name, Path(child.path), status.st_mtime, status.st_size)
            else:
                strange.append(name)
    if links:
        notes.append(f"Links are not followed: {names.listed(links)}.")
    if strange:
        notes.append(f"No files that can be read: {names.listed(strange)}.")


def _with_archives(found: list[Found], room: _Room, notes: list[str], depth: int = 0) -> list[Found]:
    """The files, and those in archives among them; an archive in an archive is opened, too, but none within that."""
    plain = [one for one in found if not archives.is_archive(one.name)]
    packed = [one for one in found if archives.is_archive(one.name)]
    for one in packed:
        if depth == _NESTED:
            notes.append(f"{one.name} was not opened: it is an archive in an archive in an archive.")
            continue
        if room.opened == _ARCHIVES:
            notes.append(f"{one.name} was not opened: there are more than {_ARCHIVES} archives.")
            continue
        into = room.path / f"archive-{room.opened}"
        room.opened += 1
        try:
            opened = archives.unpack(one.path, into, archives.Limits(size=room.left))
        except archives.ArchiveError as why:
            notes.append(f"{one.name} cannot be opened: {why}.")
            continue
        except OSError as error:
            notes.append(f"{one.name} cannot be opened: {error.strerror}.")
            continue
        notes += [f"{one.name}: {note}." for note in opened.notes]
        prefix = names.stem(one.name)
        inner = list(_walk(into, prefix if plain or len(packed) > 1 else "", notes))
        room.left -= sum(file.size for file in inner)
        plain += _with_archives(inner, room, notes, depth + 1)
    return plain


def _choose(
    one: Submitted, attempt: _Attempt, found: list[Found], exercise: Exercise, room: Path, notes: list[str]
) -> Submitted:
    work = [file for file in found if names.suffix(file.name) in WORK and not candidates.of_course(file.name)]
    elsewhere = {candidates.other_lab(file.name, exercise) for file in work}
    mine = [file for file in work if not candidates.other_lab(file.name, exercise)]
    if work and not mine:
        return replace(
            one, remark=" ".join([f"It holds lab {names.listed(sorted(elsewhere))} and not this lab.", *notes])
        )
    in_lab = [file for file in mine if {exercise.lab, exercise.lab[:2]} & set(PurePosixPath(file.name).parts[:-1])]
    taken = []
    for file in in_lab or mine:
        try:
            content = content_of(file)
        except OSError as error:
            notes.append(f"{file.name} cannot be read: {error.strerror}.")
            continue
        except ValueError as error:
            notes.append(str(error))
            continue
        code = candidates.code_of(content, names.suffix(file.name) == ".ipynb")
        taken.append(Candidate(file.name, candidates.work_of(code, exercise), file.mtime, content))
    if not taken:
        return replace(one, remark=_nothing(attempt, found, notes))
    best, sentence = candidates.chosen(taken, exercise)
    room.mkdir(mode=0o700)
    path = PurePosixPath(best.name)
    target = room / f"{_plain_stem(path.stem)}{names.suffix(best.name)}"
    target.write_bytes(best.content)
    others = {candidate.name for candidate in taken if candidate.work.present and candidate is not best}
    bring(best, [one for one in found if one.name not in others], room, target.name, notes)
    return replace(
        one, file=target, folder=room, digest=digest_of(room), remark=" ".join([sentence, *notes]).strip(),
        blank=not best.work.written,
    )  # fmt: skip


def _plain_stem(stem: str) -> str:
    """A file's own name where it is an ordinary one; messages name the file."""
    return stem if re.fullmatch(r"[\w][\w .()-]{0,80}", stem) and names.REPLACED not in stem else "exercise"


def _nothing(attempt: _Attempt, found: Sequence[Found], notes: Sequence[str]) -> str:
    """Why there is no file to grade, in a sentence."""
    if found:
        kinds = names.listed(PurePosixPath(file.name).name for file in found)
        text = f"There is no .py or .ipynb file of its own, but {kinds}."
    elif notes:
        text = ""
    elif attempt.entries and stat.S_ISDIR(_mode(attempt.entries[0][0])):
        text = "There is no .py or .ipynb file: the folder is empty."
    else:
        text = "There is no .py or .ipynb file of its own."
    return " ".join([text, *notes]).strip()
