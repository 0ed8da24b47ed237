"""The checks of the labs: run a student's functions in a process of their own, and say what is right and what is not.

lab.py        what a check.py declares          loading.py     check.py and experiments.py of a folder
runner.py     run it                            results.py     what came out
report.py     what the student reads            cli.py         the command line of check.py
session.py    the trusted side                  worker.py      the student's side
protocol.py   plain data between them           processes.py   the student's processes
forkserver.py a process that makes processes    preload.py     what they all import, once
compare.py    type, shape, numbers, values      mistakes.py    what a wrong result looks like
rng.py        random inputs from one seed       metrics.py     measured results and pictures
rules.py      how a part must be written        submission.py  scripts and notebooks as text
cells.py      the cells of a notebook, as Python travel.py     what travels with the functions of a notebook
steps.py      what a statement binds and uses   reach.py       what a part of a submission reaches
notebook.py   `check()` in a notebook           kernel.py      the cells that a running kernel has run
kit.py        helpers for both sides            datasets.py    MNIST and CIFAR-10
outcome.py    what a check can find             timeup.py      where a function was when its time was used up

Trust. Checks and references run on one side, the student's code on the other, in another process; between them go
plain data only. So a submission can change what its own functions return, and nothing else: not the references, not
the inputs of other checks, not the verdict. Where a check needs live objects beside the student's code (a training
loop, a module), a @student_side function runs there and returns data, and these are compared on the trusted side. What
the student's side reports about itself is a courtesy to honest students, not a proof: that arguments came back
unchanged.
"""

from pathlib import Path

from .cli import run_checks
from .compare import expect
from .datasets import DataSets
from .lab import Lab, progress, student_side
from .notebook import notebook
from .outcome import case, require

data = DataSets(Path(__file__).resolve().parents[1])  # a @student_side function gets one of its own by this name

__all__ = ["Lab", "case", "data", "expect", "notebook", "progress", "require", "run_checks", "student_side"]
