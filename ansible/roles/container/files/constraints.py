"""List the packages of an environment as pip constraints, and make its pip obey them.

constraints.py ENVIRONMENT FILE

Without it `pip install` of some package would exchange torch and gigabytes of CUDA with it.
"""

import sys
from importlib.metadata import distributions
from pathlib import Path

environment, target = (Path(argument) for argument in sys.argv[1:])
[packages] = environment.glob("lib/python3.*/site-packages")
pins = sorted({f"{found.metadata['Name'].lower()}=={found.version}" for found in distributions(path=[str(packages)])})
for path, text in (
    (target, "".join(f"{pin}\n" for pin in pins)),
    (environment / "pip.conf", f"[install]\nconstraint = {target}\n"),
):
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o444)
