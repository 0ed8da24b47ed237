#!/usr/bin/env python3
"""Measure the labs: how long their checks take, their training, and the grading of a class.

    python tools/labs_bench.py [--labs FOLDER] [--json FILE] [NAME …]

Runs with any Python that has torch; PYTORCH_DATA_DIR says where the data are. One thread for each process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import labs as generator

CLASS = 100  # submissions in the measured class
GRADED = "02"
GRADING = Path(__file__).resolve().parents[1] / "grading"

# Runs in a process of its own: the checks of one lab with its solution, then with --targets its training.
PROGRAM = """
import json, sys, time
from pathlib import Path
labs, name, script, targets = sys.argv[1:]
sys.path.insert(0, labs)
import torch
torch.set_num_threads(1)
from checking import runner
from checking.loading import load_lab
from checking.processes import workers
from checking.submission import read
from checking.preload import preload
lab, submission, spent = load_lab(Path(labs) / name), read(Path(script)), {}
preload(submission.text, lab.file.read_text())
with workers() as start:
    for kind in ("check", "experiment") if targets == "targets" else ("check",):
        begin = time.monotonic()
        plan = runner.Plan(lab, kinds=(kind,), pictures=Path(script).parent)
        results = list(runner.run(plan, submission, start))
        spent[kind] = time.monotonic() - begin
        for result in results:
            if result.status not in ("passed", "skipped"):
                sys.exit(f"{name}: {result.check.title}: {result.failed and result.failed.text}")
print(json.dumps(spent))
"""


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run_lab(labs: Path, script: Path, targets: bool) -> dict[str, float]:
    """Seconds of the checks and, if wanted, of the targets of one lab."""
    arguments = [str(labs), script.parent.name, str(script), "targets" if targets else "checks"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr.strip().splitlines()[-1])
    spent: dict[str, float] = json.loads(done.stdout)
    return spent


def grade_class(labs: Path, script: Path, room: Path) -> float:
    """Seconds to grade a class in which everybody handed in the solution of one lab."""
    folder = room / "class"
    folder.mkdir()
    for number in range(CLASS):
        (folder / f"student_{number:03d}.py").write_bytes(script.read_bytes())
    begin = time.monotonic()
    command = [sys.executable, "-m", "course_grade", str(folder), "--labs", str(labs), "--lab", GRADED, "--jobs", "2",
               "--unprotected"]  # fmt: skip
    done = subprocess.run(
        command, env=_environment() | {"PYTHONPATH": str(GRADING)}, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - begin
    points = [line.split(",")[3] for line in (room / "class-grades" / "grades.csv").read_text("utf-8").splitlines()[1:]]
    if done.returncode or points != ["100.0"] * CLASS:
        sys.exit(f"the class was not graded as it should be: {done.stderr.strip()} {sorted(set(points))}")
    return seconds


def measure(labs: Path, names: list[str]) -> dict[str, Any]:
    """All figures, in seconds."""
    with tempfile.TemporaryDirectory() as made:
        room, scripts = Path(made), {}
        for source in generator.sources(names):
            name = source.parent.name
            (room / name).mkdir()
            scripts[name] = room / name / "exercise.py"
            scripts[name].write_text(generator.Lab(source).script_of(solved=True), encoding="utf-8")
        each = {}
        for name, script in scripts.items():
            each[name] = run_lab(labs, script, targets=True)
            checks, training = each[name]["check"], each[name]["experiment"]
            print(f"  {name:<20} checks {checks:5.1f} s   with training {checks + training:5.1f} s", flush=True)
        begin = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda script: run_lab(labs, script, targets=True), scripts.values()))
        both = time.monotonic() - begin
        chosen = [script for name, script in scripts.items() if name.startswith(GRADED)]
        return {
            "all function checks, one thread": sum(spent["check"] for spent in each.values()),
            "slowest lab's check": max(spent["check"] for spent in each.values()),
            "slowest lab with its training": max(spent["check"] + spent["experiment"] for spent in each.values()),
            "all labs with training, 2 processes": both,
            **({f"grading {CLASS} submissions of lab {GRADED}": grade_class(labs, chosen[0], room)} if chosen else {}),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the labs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only labs whose name begins so")
    parser.add_argument(
        "--labs", type=Path, default=generator.LABS, help="the labs to measure (default: this checkout's)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, too")
    options = parser.parse_args()
    figures = measure(options.labs.resolve(), options.names)
    for label, seconds in figures.items():
        print(f"  {label:<45} {seconds:6.1f} s")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
