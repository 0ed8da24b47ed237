"""Which submissions are alike: a hint for a person, never a verdict.

The code of each part becomes a sequence of tokens in which names, layout, comments and texts do not matter.
Two submissions share the runs of tokens that both have (k-grams, as in Schleimer, Wilkerson, Aiken: "Winnowing: local
algorithms for document fingerprinting", SIGMOD 2003). What the course ships does not count, nor what many have.
The code is not parsed: it is whatever was handed in.
"""

from __future__ import annotations

import keyword
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from .candidates import Exercise, definition

_RUN = 8  # tokens
_MANY = 10  # students; what more of them have is how one does it
_LEAST = 25  # runs that a submission must have to be compared
_ALIKE = 0.7  # share of runs
_PAIRS = 60  # on the page
_TOKENS = 20_000  # of one part that are looked at
_TOKEN = re.compile(
    r"(?P<comment>#[^\n]*)|(?P<text>[rbfuRBFU]{0,2}(?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'))"
    r"|(?P<name>[^\W\d]\w*)|(?P<number>\d[\w.]*)|(?P<sign>\*\*|//|->|:=|[=!<>+\-*/%&|^@]=|<<|>>|\S)"
)


@dataclass(frozen=True)
class Pair:
    """Two submissions; share: of the smaller one's own code that the other one has, 0 to 1; parts: where."""

    first: str
    second: str
    share: float
    parts: tuple[str, ...]


def tokens(code: str) -> list[str]:
    """The code as tokens: names of one's own are numbered in their order; comments and texts are left out."""
    found: list[str] = []
    own: dict[str, str] = {}
    for match in _TOKEN.finditer(code):
        if len(found) >= _TOKENS:
            break
        kind, text = match.lastgroup, match.group()
        if kind in ("comment", "text"):
            continue
        if kind == "name" and not keyword.iskeyword(text) and (not found or found[-1] != "."):
            text = own.setdefault(text, f"v{len(own)}")
        found.append(text)
    return found


def _runs(code: str) -> frozenset[int]:
    """The runs of tokens of a piece of code, as numbers that mean the same within one process."""
    found = tokens(code)
    return frozenset(hash(tuple(found[n : n + _RUN])) for n in range(len(found) - _RUN + 1))


def fingerprint(code: str, exercise: Exercise) -> dict[str, frozenset[int]]:
    """The runs of each part that is there, without those of the shipped stub."""
    found = {}
    for part in exercise.parts:
        if text := definition(code, part):
            found[part] = _runs(text) - _runs(definition(exercise.stubs, part))
    return found


def alike(prints: Mapping[str, Mapping[str, frozenset[int]]]) -> list[Pair]:
    """The pairs that share most of their code, the most alike first; `prints`: the fingerprint of each student."""
    owners: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for name, parts in prints.items():
        for part, runs in parts.items():
            for run in runs:
                owners[part, run].append(name)
    own: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    shared: defaultdict[tuple[str, str], defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (part, _), names in owners.items():
        if len(names) > _MANY:
            continue
        for number, name in enumerate(names):
            own[name][part] += 1
            for other in names[:number]:
                shared[other, name][part] += 1
    pairs = []
    for (first, second), common in shared.items():
        smaller = min(sum(own[first].values()), sum(own[second].values()))
        share = sum(common.values()) / max(1, smaller)
        if smaller >= _LEAST and share >= _ALIKE:
            where = [p for p, count in common.items() if count >= _ALIKE * min(own[first][p], own[second][p])]
            pairs.append(Pair(first, second, min(1.0, share), tuple(sorted(where, key=list(prints[first]).index))))
    pairs.sort(key=lambda pair: (-pair.share, pair.first, pair.second))
    return pairs[:_PAIRS]
