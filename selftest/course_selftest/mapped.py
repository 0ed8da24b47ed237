"""Which libraries this process has loaded, and from where."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path


def mapped_libraries(maps: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Library name without `lib` → the files that it was loaded from. maps: the text of /proc/self/maps (proc(5)).

    Wheels may put a digest into the name: libcudart-9335f6a2.so.12 is a libcudart, too.
    """
    pattern = re.compile(rf"/lib({'|'.join(map(re.escape, names))})(?:-[0-9a-f]+)?\.so[.0-9]*$")
    found: dict[str, set[str]] = defaultdict(set)
    for line in maps.splitlines():
        start = line.find("/")
        if start >= 0 and (match := pattern.search(line, start)):
            found[match[1]].add(os.path.realpath(line[start:]))
    return {name: sorted(found[name]) for name in sorted(found)}


def own_maps() -> str:
    """/proc/self/maps, empty where there is none."""
    try:
        return Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
