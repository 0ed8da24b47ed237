"""List the packages of an environment as pip constraints, and make its pip obey them.

constraints.py ENVIRONMENT FILE

Without it `pip install` of some package would exchange torch, and bring gigabytes of CUDA with it.
"""

import sys
from importlib.metadata import distributions
from pathlib import Path

DEBIAN = "/usr/lib/python3/dist-packages"
OF_DEBIAN = {"torch", "torchvision"}  # where Debian's packages bring them; the environment sees those

environment, target = (Path(argument) for argument in sys.argv[1:])
[packages] = environment.glob("lib/python3.*/site-packages")
versions = {found.metadata["Name"].lower(): found.version for found in distributions(path=[DEBIAN])}
versions = {name: version for name, version in versions.items() if name in OF_DEBIAN}
versions |= {found.metadata["Name"].lower(): found.version for found in distributions(path=[str(packages)])}
pins = sorted(f"{name}=={version}" for name, version in versions.items())
for path, text in (
    (target, "".join(f"{pin}\n" for pin in pins)),
    (environment / "pip.conf", f"[install]\nconstraint = {target}\n"),
):
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o444)
