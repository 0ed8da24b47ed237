"""The cells that a notebook's kernel has run, and the submission that they make.

Grading reads the cells of the file that is handed in. Both go through travel.py, so what passes here passes there, as
long as the file holds the cells that have run. Where it does not, check() says so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from .cells import code_cells, parsed
from .outcome import CheckFailed
from .submission import Submission, of_cells


class History:
    """What the cells of a notebook held when they ran last.

    IPython's own list `In` holds each run of each cell; this one knows which runs are of one cell, and which failed.
    shell: IPython's shell, None where there is none; then `In` is all that is known.
    """

    def __init__(self, names: dict[str, Any], shell: Any = None) -> None:
        self._names = names
        self._ran: dict[str, str] = {}
        self._now: tuple[str, str] | None = None
        self.knows_cells = False
        if shell is not None:
            for number, text in enumerate(_typed(names)[:-1]):
                self._ran[f"before {number}"] = text
            self._begun = len(_typed(names)) - 1
            self._now = ("this", _typed(names)[-1] if _typed(names) else "")
            shell.events.register("pre_run_cell", self._begins)
            shell.events.register("post_run_cell", self._ends)

    def _begins(self, info: Any) -> None:
        self._now = (self._identity(info), str(info.raw_cell))

    def _ends(self, result: Any) -> None:
        name = self._now[0] if self._now and self._now[0] == "this" else self._identity(result.info)
        if result.success or name not in self._ran:
            self._ran[name] = str(result.info.raw_cell)
        self._now = None

    def _identity(self, info: Any) -> str:
        if name := getattr(info, "cell_id", None):
            self.knows_cells = True
            return f"cell {name}"
        return f"run {len(self._ran)}"

    def cells(self) -> list[str]:
        """The text of each cell, in the order in which they ran first, with the one that runs now."""
        if not self._ran and self._now is None:
            return _typed(self._names)
        return list((self._ran | ({self._now[0]: self._now[1]} if self._now else {})).values())


def _typed(names: dict[str, Any]) -> list[str]:
    return [cell for cell in names.get("In", []) if isinstance(cell, str) and cell]


def kernel_submission(
    names: dict[str, Any], file: Path, parts: Collection[str] = (), history: History | None = None
) -> Submission:
    """The submission of these parts that the cells of a kernel make. Raises CheckFailed ("unusable") with a sentence.

    names: of the kernel. file: the notebook, where it was saved.
    """
    history = history or History(names)
    submission, _ = of_cells(parsed(history.cells()), file, parts)
    remarks = [
        f"{part} uses `{name}`, which this kernel has, but no cell defines it: grading will not find it"
        for part, missing in submission.missing
        for name in missing
        if name in names
    ]
    if history.knows_cells:
        remarks += _differences(history, file, parts)
    return replace(submission, remarks=(*submission.remarks, *remarks))


def _differences(history: History, file: Path, parts: Collection[str]) -> list[str]:
    """A sentence for each part that stands in the saved notebook as it does here, but with other things around it."""
    try:
        saved = parsed(code_cells(file.read_text(encoding="utf-8"), file))
        here = parsed(history.cells())
        found = []
        for part in parts:
            one, other = of_cells(here, file, [part])[0], of_cells(saved, file, [part])[0]
            if one.source(part) and one.source(part) == other.source(part) and one.text != other.text:
                found.append(
                    f"what {part} uses is not the same in the saved notebook, which is what will be graded: "
                    "Run ▸ Restart Kernel and Run All Cells, then save"
                )
    except (OSError, UnicodeDecodeError, CheckFailed):
        return []  # not saved here, or just being saved
    return found
