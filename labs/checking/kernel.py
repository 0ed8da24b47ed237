"""The cells that a notebook's kernel has run, and the submission that they make.

Grading reads the cells of the file that is handed in. Both go through travel.py, so what passes here passes there, as
long as the file holds the cells that have run. Where it does not, check() says so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from .cells import code_cells, parsed
from .outcome import CheckFailed
from .submission import Submission, modules_beside, of_cells
from .travel import Script

_NAME_OF_A_FILE = re.compile(r"[\w-][\w .-]{0,80}\.\w{1,8}")


class History:
    """What the cells of a notebook held when they ran last.

    IPython's own list `In` holds each run of each cell; this one knows which runs are of one cell, and how far each
    came. shell: IPython's shell, None where there is none; then `In` is all that is known.
    """

    def __init__(self, names: dict[str, Any], shell: Any = None) -> None:
        self._names = names
        self._ran: dict[str, str] = {}
        self._now: tuple[str, str] | None = None
        self.knows_cells = False
        if shell is not None:
            typed = _typed(names)
            self._ran = {f"before {number}": text for number, text in enumerate(typed[:-1])}
            self._now = ("this", typed[-1] if typed else "")
            shell.events.register("pre_run_cell", self._begins)
            shell.events.register("post_run_cell", self._ends)

    def _begins(self, info: Any) -> None:
        self._now = (self._identity(info), str(info.raw_cell))

    def _ends(self, result: Any) -> None:
        name = self._now[0] if self._now and self._now[0] == "this" else self._identity(result.info)
        text = str(result.info.raw_cell)
        if result.success or name not in self._ran:
            self._ran[name] = text
        elif done := _before_the_error(text, result):
            self._ran[name] = f"{self._ran[name]}\n{done}"
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


def _before_the_error(text: str, result: Any) -> str:
    """The statements of a cell that ran before the one that failed; "" where none did."""
    trace = getattr(getattr(result, "error_in_exec", None), "__traceback__", None)
    while trace is not None and trace.tb_frame.f_code.co_name not in ("<module>", "<cell line: 1>"):
        trace = trace.tb_next
    failed = trace.tb_lineno if trace is not None else 0
    return "\n".join(one.text for one in parsed([text]).statements if (one.node.end_lineno or 0) < failed)


def _typed(names: dict[str, Any]) -> list[str]:
    return [cell for cell in names.get("In", []) if isinstance(cell, str) and cell]


def kernel_submission(
    names: dict[str, Any], file: Path, parts: Collection[str] = (), history: History | None = None
) -> Submission:
    """The submission of these parts that the cells of a kernel make. Raises CheckFailed ("unusable") with a sentence.

    names: of the kernel. file: the notebook, where it was saved.
    """
    history = history or History(names)
    submission, script = of_cells(parsed(history.cells()), file, parts)
    submission = replace(submission, beside=modules_beside(file, submission.tree))
    remarks = [
        f"{part} uses `{name}`, which this kernel has, but no cell defines it: grading will not find it"
        for part, missing in submission.missing
        for name in missing
        if name in names
    ]
    remarks += _files(submission)
    if history.knows_cells:
        remarks += _differences(script, file, parts)
    return replace(submission, remarks=(*submission.remarks, *remarks))


def _files(submission: Submission) -> list[str]:
    """A sentence for each file beside the notebook that its functions use."""
    folder = submission.file.parent
    texts = {node.value for node in ast.walk(submission.tree) if isinstance(node, ast.Constant)}
    names = {text for text in texts if isinstance(text, str) and _NAME_OF_A_FILE.fullmatch(text)}
    found = sorted(name for name in names if (folder / name).is_file())
    found += [f"{name}.py" if (folder / f"{name}.py").is_file() else f"{name}/" for name in submission.beside]
    return [f"the functions use {name}, which lies beside the notebook: hand it in, too" for name in found[:3]]


def _differences(script: Script, file: Path, parts: Collection[str]) -> list[str]:
    """A sentence for each part that stands in the saved notebook as it does here, but with other things around it."""
    try:
        saved = of_cells(parsed(code_cells(file.read_text(encoding="utf-8-sig"), file)), file, parts)[1]
    except (OSError, UnicodeDecodeError, CheckFailed):
        return []  # not saved here, or just being saved
    found = []
    for part in parts:
        if part not in script.pieces or script.pieces[part] != saved.pieces.get(part):
            continue  # the part itself is not saved yet
        other = [name for name in script.needs(part) if script.pieces.get(name) != saved.pieces.get(name)]
        if other:
            what = "defines in another way" if other[0] in saved.pieces else "does not define"
            found.append(
                f"{part} uses `{other[0]}`, which the saved notebook {what}, and that is what will be graded: "
                "Run ▸ Restart Kernel and Run All Cells, then save"
            )
    return found
