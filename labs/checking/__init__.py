"""The checks of the labs: run a student's functions in a process of their own, and say what is right and what is not.

lab.py       what a check.py declares          runner.py    run it                 report.py  what the student reads
session.py   the trusted side                  worker.py    the student's side     wire.py    plain data between them
compare.py   type, shape, numbers, values      mistakes.py  what a wrong result looks like
inputs.py    random inputs from one seed       goals.py     measured results and pictures
rules.py     how a part must be written        submission.py  scripts and notebooks as text
main.py      the command line of check.py      notebook.py  `check()` in a notebook
processes.py  the student's processes          forking.py   a process that makes processes
live.py      a notebook's functions as text

Trust. Checks and references run on one side, the student's code on the other, in another process; between them go
plain data only. So a submission can change what its own functions return, and nothing else: not the references, not
the inputs of other checks, not the verdict. Where a check needs live objects beside the student's code (a training
loop, a module), a @beside function runs there and returns data, and these are compared on the trusted side. What the
student's side reports about itself is a courtesy to honest students, not a proof: that arguments came back unchanged.
"""

from .compare import expect
from .findings import case, require
from .lab import Lab, beside, progress
from .notebook import notebook

__all__ = ["Lab", "beside", "case", "expect", "notebook", "progress", "require"]
