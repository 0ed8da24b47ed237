"""What the tests of the twenty labs share: the labs under test, their sources, and a way to run checks."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from labs_support import CHECKOUT

LABS = Path(os.environ.get("COURSEBOX_TEST_LABS") or CHECKOUT / "labs")
AUTHORS = Path(os.environ.get("COURSEBOX_TEST_AUTHORS") or CHECKOUT / "labs")  # labs with their folders author/
_ONLY = os.environ.get("COURSEBOX_TEST_ONLY", "").split()  # numbers, for the author of a lab; all without it
NAMES = sorted(
    source.parents[1].name
    for source in AUTHORS.glob("[0-9][0-9]_*/author/lab.py")
    if not _ONLY or source.parents[1].name[:2] in _ONLY
)

sys.path.insert(0, str(LABS))

import torch  # noqa: E402
from checking import runner  # noqa: E402
from checking.cells import code_cells, parsed  # noqa: E402
from checking.lab import Kind, Lab  # noqa: E402
from checking.loading import load_lab  # noqa: E402
from checking.preload import preload  # noqa: E402
from checking.processes import workers  # noqa: E402
from checking.report import plain  # noqa: E402
from checking.submission import of_cells, parse  # noqa: E402

torch.set_num_threads(1)
preload("optim, matplotlib, torchvision")  # once for all workers
_WORKERS = workers()
START = _WORKERS.__enter__()  # before these tests compute anything: see checking/forkserver.py
atexit.register(_WORKERS.__exit__, None, None, None)


def module(file: Path) -> ModuleType:
    """A Python file outside of any package."""
    spec = importlib.util.spec_from_file_location(f"loaded_{file.stem}", file)
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


generator = module(CHECKOUT / "tools" / "labs.py")
labkit = module(CHECKOUT / "tools" / "labkit.py")


@functools.cache
def lab(name: str) -> Lab:
    """The delivered checks of a lab."""
    return load_lab(LABS / name)


@functools.cache
def source(name: str) -> Any:
    """The source of a lab, as the generator reads it."""
    return generator.Lab(AUTHORS / name / "author" / "lab.py")


@functools.cache
def solved(name: str) -> str:
    return str(source(name).script_of(solved=True))


@functools.cache
def stubs(name: str) -> str:
    return str(source(name).script_of())


def filled_in(name: str, part: str) -> str:
    """The exercise with one part solved."""
    first, last = labkit.definitions(solved(name))[part]
    text = "\n".join(solved(name).split("\n")[first - 1 : last])
    return str(labkit.replaced(stubs(name), part, text))


@functools.cache
def variants(name: str) -> list[Any]:
    file = AUTHORS / name / "author" / "mutants.py"
    return labkit.variants(file) if file.is_file() else []


def variant_text(name: str, variant: Any) -> str:
    return str(labkit.applied(variant, solved(name), AUTHORS / name / "author" / "mutants.py"))


def checked(
    name: str, text: str, seed: int = 0, only: Sequence[str] = (), kinds: tuple[Kind, ...] = ("check",),
    pictures: Path | None = None, patience: float = 3.0,
) -> list[runner.Result]:  # fmt: skip
    """Run the delivered checks of a lab on a script. A slower machine must not fail a test: three times the limits."""
    plan = runner.Plan(lab(name), seed, tuple(only), kinds, patience, pictures)
    return list(runner.run(plan, parse(text, LABS / name / "exercise.py"), START))


@functools.cache
def tried(name: str, variant: Any) -> tuple[runner.Result, ...]:
    """The checks of the part that a variant replaces, on the solution with it.

    Some mutants never end, so no more than the limits; these count computing time, whatever else the machine does.
    """
    return tuple(checked(name, variant_text(name, variant), only=[variant.part], patience=1.0))


def script_of_notebook(text: str, file: Path) -> str:
    """All functions and classes in a notebook's cells of code, with what they need, as a script."""
    return of_cells(parsed(code_cells(text, file)), file)[0].text


def told(results: Sequence[runner.Result]) -> str:
    """What is wrong, for the message of a test."""
    return "\n\n".join(f"{r.check.name}: {r.status}\n{plain(r)}" for r in results if r.status != "passed")
