"""The data sets and the labs of a course, put into a provisioned tree without a container.

They are what changes most often, and no role needs them: an edited lab costs the copy of a tar, and no provisioning.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from coursebox.trees.labs import look, say_litter
from coursebox.trees.seal import order

SHARE = "usr/share/coursebox"
_COPY = 16 << 20


@dataclass(frozen=True)
class Home:
    """Whose home gets labs to work in: its path relative to the root, and the owner's numbers."""

    path: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Addition:
    """One entry of a tar: its header, and the file that holds its bytes; None for a folder."""

    header: tarfile.TarInfo
    source: Path | None


def content(data: Path, labs: Path, *, epoch: int, home: Home | None = None) -> list[Addition]:
    """What a course puts into a tree: the data sets, the pristine labs, which nobody can change, and labs to work in.

    data: a folder that is put in as it is. labs: a folder of which students get what `look` finds. epoch: the time of
    all entries, seconds since 1970. home: None where the labs are put into the home at each start.
    """
    sets = [(path.relative_to(data), path, False) for path in sorted(data.rglob("*")) if path.is_file()]
    found = look(labs)
    say_litter(found)
    pristine = [(item.path, labs / item.path, item.executable or item.path.suffix == ".sh") for item in found.items]
    items = [_folder(SHARE, 0o755, epoch)]
    items += _placed(f"{SHARE}/data", sets, 0o555, epoch)
    items += _placed(f"{SHARE}/labs", pristine, 0o555, epoch)
    if home is not None:
        items += _placed(f"{home.path}/labs", pristine, 0o755, epoch, home.uid, home.gid)
    return items


def _placed(
    place: str, found: Sequence[tuple[Path, Path, bool]], mode: int, epoch: int, uid: int = 0, gid: int = 0
) -> Iterator[Addition]:
    """Files, and folders with nothing in them, with the folders above them, below the folder `place`.

    found: the path below `place`, where it lies, and whether it is executable. mode: of folders and executable files.
    """
    yield _folder(place, mode, epoch, uid, gid)
    made = {Path()}
    for relative, source, executable in found:
        for folder in [*reversed(relative.parents), *([relative] if source.is_dir() else [])]:
            if folder not in made:
                made.add(folder)
                yield _folder(f"{place}/{folder.as_posix()}", mode, epoch, uid, gid)
        if not source.is_dir():
            header = _header(f"{place}/{relative.as_posix()}", mode if executable else mode & 0o666, epoch, uid, gid)
            header.size = source.stat().st_size
            yield Addition(header, source)


def _folder(name: str, mode: int, epoch: int, uid: int = 0, gid: int = 0) -> Addition:
    header = _header(name, mode, epoch, uid, gid)
    header.type = tarfile.DIRTYPE
    return Addition(header, None)


def _header(name: str, mode: int, epoch: int, uid: int, gid: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.mode, header.mtime, header.uid, header.gid = mode, epoch, uid, gid
    return header


def put_in(tar: Path, target: Path, items: Sequence[Addition], *, start: int = 0) -> int:
    """Write the tar `target`: `tar` with `items` among its entries, sorted as in a sealed tar; how many were added.

    An entry that `tar` has already stays. start: bytes of `tar` that are copied as they are, and whose entries come
    before all others.
    """
    with tar.open("rb") as source, target.open("wb") as sink:
        while start > sink.tell() and (block := source.read(min(_COPY, start - sink.tell()))):
            sink.write(block)
        with tarfile.open(fileobj=source, mode="r:") as old, tarfile.open(
            fileobj=sink, mode="w:", format=tarfile.PAX_FORMAT
        ) as new:  # fmt: skip
            present = {member.name: member for member in old}
            added = {item.header.name: item for item in items if item.header.name not in present}
            for name in sorted({*present, *added}, key=order):
                if name in added:
                    _add(new, added[name])
                else:
                    member = present[name]
                    new.addfile(member, old.extractfile(member) if member.isreg() else None)
    return len(added)


def _add(tar: tarfile.TarFile, item: Addition) -> None:
    if item.source is None:
        tar.addfile(item.header)
        return
    with item.source.open("rb") as file:
        tar.addfile(item.header, file)
