"""`check()` in a notebook: it checks the functions that the notebook's kernel has at this moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .cli import chosen, gpu_missing, show
from .forkserver import ForkServer
from .kernel import History, kernel_submission
from .lab import Kind, Lab
from .loading import load_lab
from .outcome import CheckFailed
from .processes import Remote, launch
from .report import Page
from .runner import Plan
from .submission import Submission

_servers: list[ForkServer] = []  # one for each kernel


def _launch(lab: Lab) -> None:
    for gone in _servers:
        gone.close()
    _servers[:] = [launch(lab.labs, lab.files())]


def _server(lab: Lab) -> ForkServer:
    """The server of workers for this kernel: a Python of its own, since a kernel computes, on a GPU perhaps."""
    if not _servers[0].lives():
        _launch(lab)
    return _servers[0]


@contextmanager
def _plain_torch() -> Iterator[None]:
    """The settings of torch that checks rely on, whatever a notebook has set; afterwards those of the notebook."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    try:
        on_cpu = nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")
        with on_cpu, torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)


def notebook(name: str, names: dict[str, Any] | None = None) -> Callable[..., None]:
    """The function `check` for the notebook of lab `name`.

    check()                  everything
    check("PCA", "kmeans")   these parts
    check(targets=True)      the measured results and their pictures, too; likewise gpu=True
    check(seed=1)            other random inputs
    """
    lab = load_lab(Path(__file__).resolve().parents[1] / name)
    if not _servers:
        _launch(lab)  # now, so that it is ready when it is needed
    found = sys.modules["__main__"].__dict__ if names is None else names
    history = History(found, found["get_ipython"]() if names is None and "get_ipython" in found else None)

    def check(*parts: str, targets: bool = False, gpu: bool = False, seed: int = 0, patience: float = 1.0) -> None:
        try:
            only = chosen(lab, parts)
        except ValueError as error:
            print(error)
            return
        wanted: dict[Kind, bool] = {"experiment": targets, "gpu": gpu}
        kinds = tuple(kind for kind, asked in wanted.items() if asked) or ("check",)
        page, begin = Page(sys.stdout, colour=True, alive=True), time.monotonic()
        plan = Plan(lab, seed, only, kinds, patience, lab.folder / "results", gpu_missing=gpu_missing() if gpu else "")
        submission: Submission | CheckFailed
        try:
            submission = kernel_submission(found, lab.folder / "exercise.ipynb", lab.asked, history)
        except CheckFailed as failed:
            submission = failed
        options = [f"{name}=True" for name, asked in (("targets", targets), ("gpu", gpu)) if asked]
        options += [f"seed={seed}"] if seed else []

        def again(part: str) -> str:
            return f"check({', '.join([repr(part).replace(chr(39), chr(34)), *options])})"

        try:
            with _plain_torch():
                results = show(page, plan, submission, again, partial(Remote, _server(lab)))
        except KeyboardInterrupt:
            page.line("\n  interrupted")
            return
        page.end(results, time.monotonic() - begin, "")
        pictures = [picture for result in results for picture in result.pictures]
        if pictures:
            from IPython.display import Image, display

            for picture in pictures:
                display(Image(filename=str(picture)))  # type: ignore[no-untyped-call]

    return check
