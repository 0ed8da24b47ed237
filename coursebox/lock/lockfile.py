"""The lock folder: exactly what goes in, one JSON file for each kind and tree, one item on a line.

Every file carries the digest of its own items, and `lock.json` carries the digests of all files. So damage, an edit by
hand and a mixture of two lock runs are noticed. No file holds a URL or a host name: the building machine knows where
things come from (see archives/mirrors.py).
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from coursebox.core.digests import sha256_value
from coursebox.core.errors import CourseboxError

FORMAT = 1
INDEX = "lock.json"
ABOUT = "written by `make lock`, never by hand"


@dataclass(frozen=True, order=True)
class Deb:
    """One .deb file of the Debian archive.

    filename: path below the archive's base, such as pool/main/p/pytorch/python3-torch_2.6.0+dfsg-7_amd64.deb
    archive: which base that is, "main" or "security"
    size: bytes
    """

    package: str
    version: str
    architecture: str
    source: str
    archive: str
    filename: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's own name, without folders."""
        return self.filename.rsplit("/", 1)[-1]


@dataclass(frozen=True, order=True)
class Wheel:
    """One wheel of the Python index; `name` is normalised (PEP 503), `size` is in bytes."""

    name: str
    version: str
    filename: str
    size: int
    sha256: str


@dataclass(frozen=True, order=True)
class DataFile:
    """One file of a data set, as a mirror offers it: `<folder>/<file>`.

    set: the data set's name in course.toml
    kind: "complete" or "sample"
    path: where the content belongs in the data tree (a file for "gzip", a folder for "tar")
    packing: "gzip", one compressed file of which only the content counts, or "tar", an archive
    size, sha256: of the content for "gzip" (any compression of it will do), of the archive itself for "tar"
    """

    set: str
    kind: str
    folder: str
    file: str
    path: str
    packing: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Request:
    """What was asked for in one tree before anything was resolved: package names and requirement specifiers.

    provided: Python distributions that Debian packages stand for, {"numpy": "python3-numpy"}
    """

    debian: tuple[str, ...] = ()
    python: tuple[str, ...] = ()
    provided: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "debian", tuple(sorted(set(self.debian))))
        object.__setattr__(self, "python", tuple(sorted(set(self.python))))


@dataclass(frozen=True)
class Locks:
    """Everything that a build of a course takes in.

    epoch: seconds since 1970; the newest time stamp of anything that is built
    snapshot: time of the archive's indexes, as the snapshot service writes it: YYYYMMDDTHHMMSSZ
    requests: for each tree what was asked for; "host" has the packages of `tools`
    tools: single .deb files that are unpacked on the host, not installed
    """

    epoch: int
    snapshot: str
    suite: str
    architecture: str
    debs: Mapping[str, tuple[Deb, ...]]
    wheels: Mapping[str, tuple[Wheel, ...]]
    requests: Mapping[str, Request]
    data: tuple[DataFile, ...] = ()
    tools: tuple[Deb, ...] = ()


Item = TypeVar("Item", Deb, Wheel, DataFile)

TREE = re.compile(r"(debs|wheels)-([a-z][a-z0-9]*)\.json")


def write_locks(folder: Path, locks: Locks) -> None:
    """Write `locks` into `folder`, replacing what is there; all files are complete before the first is renamed."""
    texts = {f"debs-{tree}.json": _render("debs", tree, debs) for tree, debs in locks.debs.items()}
    texts |= {f"wheels-{tree}.json": _render("wheels", tree, wheels) for tree, wheels in locks.wheels.items()}
    texts["data.json"] = _render("data", None, locks.data)
    texts["tools.json"] = _render("tools", None, locks.tools)
    index = {
        "format": FORMAT,
        "about": ABOUT,
        "epoch": locks.epoch,
        "snapshot": locks.snapshot,
        "suite": locks.suite,
        "architecture": locks.architecture,
        "requests": {tree: asdict(request) for tree, request in sorted(locks.requests.items())},
        "files": {name: digest for name, (digest, _) in sorted(texts.items())},
    }
    index["digest"] = sha256_value(index)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".lock-", dir=folder) as beside:
        for name, (_, text) in texts.items():
            (Path(beside) / name).write_text(text, encoding="utf-8")
        (Path(beside) / INDEX).write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for name in [*texts, INDEX]:
            (Path(beside) / name).replace(folder / name)
    for old in folder.glob("*.json"):
        if TREE.fullmatch(old.name) and old.name not in texts:
            old.unlink()


def read_locks(folder: Path) -> Locks:
    """Read and check the lock folder; raises `CourseboxError` when there are none or when they are damaged."""
    if not (folder / INDEX).is_file():
        raise CourseboxError(f"there are no locks in {folder}", hint="run `make lock`")
    index = _load(folder / INDEX)
    if index.get("format") != FORMAT:
        raise CourseboxError(
            f"{folder / INDEX} has the format {index.get('format')!r}, and this version reads {FORMAT}",
            hint="run `make lock`, or use the coursebox that wrote it",
        )
    if sha256_value({key: value for key, value in index.items() if key != "digest"}) != index.get("digest"):
        raise _damaged(folder / INDEX, "its content does not match its digest")
    debs: dict[str, tuple[Deb, ...]] = {}
    wheels: dict[str, tuple[Wheel, ...]] = {}
    data: tuple[DataFile, ...] = ()
    tools: tuple[Deb, ...] = ()
    for name, digest in index["files"].items():
        path = folder / name
        if not path.is_file():
            raise _damaged(path, "it is missing")
        content = _load(path)
        if content.get("digest") != digest:
            raise _damaged(path, f"it does not belong to this {INDEX}")
        if sha256_value(content.get("items")) != digest:
            raise _damaged(path, "its content does not match its digest")
        items = content["items"]
        if tree := TREE.fullmatch(name):
            if tree[1] == "debs":
                debs[tree[2]] = _items(Deb, items, path)
            else:
                wheels[tree[2]] = _items(Wheel, items, path)
        elif name == "data.json":
            data = _items(DataFile, items, path)
        elif name == "tools.json":
            tools = _items(Deb, items, path)
    return Locks(
        epoch=index["epoch"],
        snapshot=index["snapshot"],
        suite=index["suite"],
        architecture=index["architecture"],
        debs=debs,
        wheels=wheels,
        requests={
            tree: Request(tuple(asked["debian"]), tuple(asked["python"]), asked["provided"])
            for tree, asked in index["requests"].items()
        },
        data=data,
        tools=tools,
    )


def check_requests(locks: Locks, requests: Mapping[str, Request], sets: Sequence[str], *, place: str) -> None:
    """Raise `CourseboxError` unless the locks were made for exactly these requests and hold all data sets.

    place: what the message calls the file that asks, such as "course.toml"
    """
    wrong = []
    for tree, request in requests.items():
        locked = locks.requests.get(tree, Request())
        for kind, asked, held in (
            ("Debian package", request.debian, locked.debian),
            ("Python requirement", request.python, locked.python),
        ):
            wrong += [f"{kind} {name!r} ({tree}) is asked for and not locked" for name in asked if name not in held]
            wrong += [f"{kind} {name!r} ({tree}) is locked and not asked for" for name in held if name not in asked]
        if dict(request.provided) != dict(locked.provided):
            wrong.append(f"the Python packages that Debian provides ({tree}) have changed")
    held_sets = {item.set for item in locks.data}
    asked_sets = [entry.partition("/")[0] for entry in sets]  # an entry may name an edition; all of them are locked
    wrong += [f"data set {name!r} is asked for and not locked" for name in asked_sets if name not in held_sets]
    if wrong:
        raise CourseboxError(f"the locks do not fit {place}: {'; '.join(wrong)}", hint="run `make lock`")


def _damaged(path: Path, how: str) -> CourseboxError:
    return CourseboxError(
        f"the lock file {path} is damaged: {how}",
        hint="restore the folder with `git checkout`, or write it anew with `make lock`",
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise _damaged(path, "it is not readable JSON") from error
    if not isinstance(content, dict):
        raise _damaged(path, "it is not readable JSON")
    return content


def _items(kind: type[Item], items: list[dict[str, Any]], path: Path) -> tuple[Item, ...]:
    names = {item.name for item in fields(kind)}
    if any(set(item) != names for item in items):
        raise _damaged(path, "an item has not the expected fields")
    return tuple(kind(**item) for item in items)


def _render(kind: str, tree: str | None, items: Sequence[Deb | Wheel | DataFile]) -> tuple[str, str]:
    """(digest, text) of one lock file: sorted, one item on a line, so that version control shows small differences."""
    values = [asdict(item) for item in sorted(items)]
    digest = sha256_value(values)
    head = {"about": ABOUT, "kind": kind} | ({"tree": tree} if tree else {}) | {"digest": digest}
    lines = ",\n".join("  " + json.dumps(value, ensure_ascii=False) for value in values)
    opening = json.dumps(head, ensure_ascii=False, indent=1).rstrip("\n}")
    return digest, f'{opening},\n "items": [\n{lines}\n ]\n}}\n'
