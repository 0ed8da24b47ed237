"""Read a lab from its folder: check.py, and experiments.py beside it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from .lab import Lab


def load_lab(folder: Path) -> Lab:
    """The lab that check.py in `folder` declares, with its experiments. Raises FileNotFoundError without check.py."""
    check = _run(folder / "check.py", f"check_{folder.name}")
    lab: Lab = check.lab
    load_experiments(lab, check)
    return lab


def load_experiments(lab: Lab, check: ModuleType) -> None:
    """Run experiments.py, where the lab has one; it takes from the module `check` what it shares with the checks."""
    if lab.experiments_loaded or not lab.experiments.is_file():
        return
    lab.experiments_loaded = True
    other = sys.modules.get("check")
    sys.modules["check"] = check
    try:
        _run(lab.experiments, f"experiments_{lab.name}")
    finally:
        del sys.modules["check"]
        if other is not None:
            sys.modules["check"] = other


def _run(file: Path, name: str) -> ModuleType:
    """A Python file outside of any package, as a module that only the caller knows."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise FileNotFoundError(f"there is no {file.name} in {file.parent}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
