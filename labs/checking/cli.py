"""The command line of every check.py."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from . import runner
from .lab import Kind, Lab
from .loading import load_experiments
from .outcome import CheckFailed
from .preload import preload
from .processes import Start, workers
from .report import Page, shown_path, write_json
from .results import Result, idle
from .runner import Plan, run
from .submission import Submission, read


def gpu_missing() -> str:
    """Why parts for the GPU cannot run here; "" where they can. Leaves CUDA alone: it does not survive a fork."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    return "" if torch.cuda.is_available() else runner.NO_GPU


def _parser(lab: Lab) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check.py", description=f"Check your work on lab {lab.name}.", allow_abbrev=False
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=lab.folder / "exercise.py",
        help="the exercise, .py or .ipynb (default: exercise.py beside check.py)",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="check these parts: numbers or names")
    parser.add_argument("--seed", type=int, default=0, help="other random inputs (default 0)")
    parser.add_argument("--targets", action="store_true", help="the measured results and their pictures, too")
    parser.add_argument("--gpu", action="store_true", help="the parts for a GPU, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results for Gradescope or otter")
    parser.add_argument(
        "--patience", type=float, default=1.0, metavar="X", help="multiply all time limits (slow machines)"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        default=lab.folder / "results",
        help="where pictures go (default: results/ beside check.py)",
    )
    return parser


def chosen(lab: Lab, names: Sequence[str]) -> tuple[str, ...]:
    """Parts by number ("3", "02.3") or name. Raises ValueError with a sentence."""
    found = []
    for name in names:
        number = name.removeprefix(f"{lab.number}.")
        if number.isdigit() and 1 <= int(number) <= len(lab.parts):
            found.append(lab.parts[int(number) - 1])
        elif name in lab.parts:
            found.append(name)
        else:
            known = ", ".join(f"{n} {part}" for n, part in enumerate(lab.parts, start=1))
            raise ValueError(f"there is no part {name} in lab {lab.number}; there are {known}")
    return tuple(found)


Again = Callable[[str], str]


def show(page: Page, plan: Plan, submission: Submission | CheckFailed, again: Again, start: Start) -> list[Result]:
    """Run the plan and write it down; `again` makes the command or call that repeats the checks of a part."""
    lab = plan.lab
    page.line(f"Lab {lab.number} · seed {plan.seed}")
    if isinstance(submission, CheckFailed):
        page.line()
        page.line(f"  {page.paint('✗', 'red')} {submission.text}")
        if submission.where:
            page.line(f"    {submission.where}")
        return list(run(plan, submission, start))
    for remark in submission.remarks:
        page.line(f"  note: {remark}")
    hints = runner.hints(submission, lab.parts)
    results: list[Result] = []
    heading = ("", "")
    told: set[tuple[str, str]] = set()
    stubs = plan.checks()
    fatal = False
    for result in run(plan, submission, start, page.tick):
        results.append(result)
        if result.failed is not None and result.failed.fatal:
            if not fatal:
                page.line()
                page.failure(result, "")
            fatal = True
            continue
        part, kind = result.check.parts[0], result.check.kind
        if (part, kind) != heading and kind == "check":
            page.part(lab.tag(part))
        elif heading[1] != kind:
            page.part("Targets" if kind == "experiment" else "GPU")
        heading = (part, kind)
        if result.status == "not yet" and kind == "check":
            if heading not in told:
                told.add(heading)
                page.not_yet(sum(c.parts[0] == part and c.kind == "check" for c in stubs), hints.get(part, ""))
            continue
        if result.status == "not yet" and result.failed is not None:
            tag = " ".join(result.failed.text.split()[:2])
            page.line(f"    {page.paint('○', 'yellow')} {result.check.title}: waits for {tag}")
            continue
        page.result(result, again(part), idle(results)[-1])
    return results


def run_checks(lab: Lab, arguments: Sequence[str] | None = None) -> int:
    """The command line of check.py: check and report. 0 when all that ran passed, 1 when not, 2 for wrong usage."""
    parser = _parser(lab)
    options = parser.parse_args(arguments)
    try:
        only = chosen(lab, options.only)
    except ValueError as error:
        parser.error(str(error))
    for name in ("__main__", "check"):  # run as a program, or imported; load_lab() has loaded both
        if getattr(sys.modules.get(name), "lab", None) is lab:
            load_experiments(lab, sys.modules[name])
    kinds: tuple[Kind, ...] = ("check",)
    kinds += ("experiment",) if options.targets else ()
    kinds += ("gpu",) if options.gpu else ()
    submission: Submission | CheckFailed
    try:
        submission = read(options.file.resolve(), lab.asked)
        preload(submission.text, lab.program(experiments=len(kinds) > 1))
    except CheckFailed as failed:
        submission = failed
    plan = Plan(
        lab,
        options.seed,
        only,
        kinds,
        options.patience,
        options.pictures,
        gpu_missing=gpu_missing() if options.gpu else "",
    )
    command = f"python {shown_path(lab.file)}"
    if options.file.resolve() != lab.folder / "exercise.py":
        command += f" {options.file}"
    command += "".join(f" --{kind}" for kind in ("targets", "gpu") if getattr(options, kind))
    page, begin = Page.standard(), time.monotonic()

    def again(part: str) -> str:
        return f"{command} --only {lab.parts.index(part) + 1}" + (f" --seed {plan.seed}" if plan.seed else "")

    torch.set_num_threads(1)
    try:
        with workers() as start:  # before anything is computed here: see forkserver.py
            results = show(page, plan, submission, again, start)
    except KeyboardInterrupt:
        page.line("\n  interrupted")
        return 130
    seconds = time.monotonic() - begin
    good = all(result.status in ("passed", "skipped") for result in results)
    page.end(results, seconds, _then(lab, good, only, kinds, command))
    if options.json:
        write_json(lab, results, seconds, options.json)
    return 0 if good else 1


def _then(lab: Lab, good: bool, only: Sequence[str], kinds: Sequence[Kind], command: str) -> str:
    """What to do next."""
    targets = lab.of_kind("experiment")
    if not good or only or "experiment" in kinds or not targets:
        return ""
    return f"Next: {command} --targets   (the measured results, about {sum(t.seconds for t in targets):.0f} s)"
