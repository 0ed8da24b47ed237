"""Which substitutes were decided for these locks: once, and kept in the cache.

So the OVA and the image agree, and a later build needs no network. Other locks have a record of their own. A damaged
record is an absent one: then it is decided anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coursebox.core.digests import sha256_value
from coursebox.core.files import write_text
from coursebox.core.paths import Cache
from coursebox.core.stages import storage_error
from coursebox.lock.lockfile import Deb, Locks

Trees = Mapping[str, tuple[Deb, ...]]
KEPT = 8  # records; the oldest goes first
FORMAT = 1
SUBSTITUTES = "substitutes"  # the folder of the records in the cache


@dataclass(frozen=True)
class Decision:
    """debs: tree → all its .deb files, for each tree that differs from the locks. when: ISO 8601, UTC; "" for none."""

    debs: Trees
    when: str = ""


def locks_key(locks: Locks) -> str:
    """The digest (32 hex digits) of what decides about substitutes: the locked files, and what was asked for."""
    return sha256_value(
        {
            "format": FORMAT,
            "suite": locks.suite,
            "architecture": locks.architecture,
            "requests": {tree: [*request.debian] for tree, request in locks.requests.items()},
            "debs": {tree: [deb.sha256 for deb in debs] for tree, debs in locks.debs.items()},
            "tools": [deb.sha256 for deb in locks.tools],
        }
    )[:32]


def read(cache: Cache, locks: Locks) -> Decision:
    """What was decided for these locks; nothing where there is no record, or a damaged one."""
    try:
        record = json.loads(_place(cache, locks).read_text(encoding="utf-8"))
        if record.pop("digest") != sha256_value(record):
            return Decision({})
        return Decision({tree: tuple(map(_deb, debs)) for tree, debs in record["debs"].items()}, str(record["when"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Decision({})


def keep(cache: Cache, locks: Locks, debs: Trees) -> Decision:
    """Record what was decided now. The record is whole or absent; CourseboxError when the cache cannot be written."""
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record: dict[str, Any] = {
        "when": when,
        "debs": {tree: [asdict(deb) for deb in held] for tree, held in debs.items()},
    }
    place = _place(cache, locks)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, json.dumps({**record, "digest": sha256_value(record)}, ensure_ascii=False))
    except OSError as error:
        raise storage_error(error, cache) from error
    records = sorted(place.parent.glob("[!.]*.json"), key=lambda path: path.stat().st_mtime)
    for old in records[:-KEPT]:
        old.unlink(missing_ok=True)
    return Decision(debs, when)


def forget(cache: Cache, locks: Locks) -> None:
    """Let the next `read` find nothing: the locked files are looked for again."""
    with suppress(FileNotFoundError):
        _place(cache, locks).unlink()


def _place(cache: Cache, locks: Locks) -> Path:
    return cache.root / SUBSTITUTES / f"{locks_key(locks)}.json"


def _deb(value: Mapping[str, Any]) -> Deb:
    deb = Deb(**value)
    if any(not isinstance(getattr(deb, field.name), int if field.name == "size" else str) for field in fields(Deb)):
        raise TypeError("no .deb")
    return deb
