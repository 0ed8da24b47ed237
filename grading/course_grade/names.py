"""Names of students and files, whatever bytes they are made of: shown safely, compared, turned into file names."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

REPLACED = "\ufffd"
# Categories of Unicode that a terminal or a table obeys instead of showing: controls, surrogates, line separators.
_OBEYED = ("Cc", "Cs", "Zl", "Zp")
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they turn the text behind them around
_LONGEST = 120  # characters of a name that are shown
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # no names of files on Windows


def clean(text: str, keep: str = "\n\t") -> str:
    """The text without what a terminal would obey; each such character becomes a replacement character.

    keep: control characters that stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        REPLACED if c in _DIRECTIONS or (unicodedata.category(c) in _OBEYED and c not in keep) else c for c in text
    )


def shown(name: str) -> str:
    """A name from the file system as people read it, on one line: bytes that are no UTF-8 become replacements."""
    text = os.fsencode(name).decode("utf-8", "replace") if not name.isascii() else name
    text = clean(unicodedata.normalize("NFC", text), keep="").strip()
    return f"{text[: _LONGEST - 1]}…" if len(text) > _LONGEST else text or REPLACED


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first names of several, in one line."""
    all_names = list(names)
    text = ", ".join(all_names[:most])
    return f"{text} and {len(all_names) - most} more" if len(all_names) > most else text


def key(name: str) -> str:
    """What is equal for two ways to write one person's name: case, underscores, forms of Unicode."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())


def distinct(names: Iterable[str]) -> list[str]:
    """The names, with a number behind those that were there before; compared as a careless file system does."""
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        number, new = 2, name
        while key(new) in taken:
            new = f"{name} ({number})"
            number += 1
        taken.add(key(new))
        found.append(new)
    return found


def file_stem(name: str) -> str:
    """A name as a file can have on every system."""
    text = re.sub(r"[^\w\s.,()@+-]", "_", name).strip(" .")[:80] or "_"
    return f"_{text}" if text.startswith("-") or _RESERVED.fullmatch(text) else text


def suffix(name: str) -> str:
    """The suffix of a file in lower case: ".py", ".tar.gz"; "" where there is none."""
    path = Path(name.lower())
    if len(path.suffixes) > 1 and path.suffixes[-2] == ".tar":
        return "".join(path.suffixes[-2:])
    return path.suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", path.suffix) else ""


def stem(name: str) -> str:
    """The name of a file without its suffix; all of it where nothing would be left."""
    return name[: len(name) - len(suffix(name))] or name
