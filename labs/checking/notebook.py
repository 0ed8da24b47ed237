"""`check()` in a notebook: it checks the functions that the notebook's kernel has at this moment."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import linecache
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from .findings import Failed
from .lab import Kind, Lab
from .main import chosen, gpu_missing, show
from .report import Page
from .runner import Plan
from .session import Threaded
from .submission import Submission, parse


def load_lab(folder: Path) -> Lab:
    """The lab that check.py in `folder` declares."""
    spec = importlib.util.spec_from_file_location(f"check_{folder.name}", folder / "check.py")
    if spec is None or spec.loader is None or not (folder / "check.py").is_file():
        raise FileNotFoundError(f"there is no check.py in {folder}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lab: Lab = module.lab
    return lab


def _cell(value: Any) -> str:
    """The text of the cell that defined a function or class; "" where it came from elsewhere."""
    members = [value] if inspect.isfunction(value) else [getattr(f, "__func__", f) for f in vars(value).values()]
    functions = [member for member in members if inspect.isfunction(member)]
    return "".join(linecache.getlines(functions[0].__code__.co_filename)) if functions else ""


def _live(lab: Lab, names: dict[str, Any]) -> Submission:
    """The notebook's own functions; their text is what the rules look at."""
    texts = []
    for name, value in list(names.items()):
        if not (inspect.isfunction(value) or inspect.isclass(value)) or value.__module__ != "__main__":
            continue
        try:
            cell = _cell(value)
            definitions = {node.name: node for node in ast.parse(cell).body if hasattr(node, "name")}
            texts.append(ast.get_source_segment(cell, definitions[name]) or "")
        except (SyntaxError, KeyError):  # a cell with magic commands; the function can still be called
            continue
    return parse("\n\n".join(texts), lab.folder / "exercise.ipynb", names)


def notebook(name: str, names: dict[str, Any] | None = None) -> Callable[..., None]:
    """The function `check` for the notebook of lab `name`.

    check()                  everything
    check("PCA", "kmeans")   these parts
    check(targets=True)      the measured results and their pictures, too; likewise gpu=True
    check(seed=1)            other random inputs
    """
    lab = load_lab(Path(__file__).resolve().parents[1] / name)
    found = sys.modules["__main__"].__dict__ if names is None else names

    def check(*parts: str, targets: bool = False, gpu: bool = False, seed: int = 0, patience: float = 1.0) -> None:
        try:
            only = chosen(lab, parts)
        except ValueError as error:
            print(error)
            return
        wanted: dict[Kind, bool] = {"target": targets, "gpu": gpu}
        kinds = tuple(kind for kind, asked in wanted.items() if asked) or ("check",)
        page, begin = Page(sys.stdout, colour=True, alive=True), time.monotonic()
        plan = Plan(lab, seed, only, kinds, patience, lab.folder / "results",
                    gpu_missing=gpu_missing() if gpu else "")  # fmt: skip
        submission: Submission | Failed
        try:
            submission = _live(lab, found)
        except Failed as failed:
            submission = failed
        options = [f"{name}=True" for name, asked in (("targets", targets), ("gpu", gpu)) if asked]
        options += [f"seed={seed}"] if seed else []

        def again(part: str) -> str:
            return f"check({', '.join([repr(part).replace(chr(39), chr(34)), *options])})"

        start = partial(Threaded, names=found) if gpu else None
        results = show(page, plan, submission, again, start)
        page.end(results, time.monotonic() - begin, "")
        pictures = [picture for result in results for picture in result.pictures]
        if pictures:
            from IPython.display import Image, display

            for picture in pictures:
                display(Image(filename=str(picture)))  # type: ignore[no-untyped-call]

    return check
