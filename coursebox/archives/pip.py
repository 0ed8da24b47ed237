"""Which Python indexes pip on this machine uses, and how it reaches them. No index is named here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

from coursebox.core.errors import CourseboxError
from coursebox.core.settings import settings


@dataclass(frozen=True)
class PipSettings:
    """What pip would use: simple indexes (PEP 503), flat sources (find-links), and how to reach them."""

    indexes: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    cert: str | None = None
    proxy: str | None = None


# Asks pip's own option parser, which merges its defaults, its configuration files and PIP_* variables; the default
# index is known to pip alone. `create_command` is internal to pip, but has kept its form since pip 19.2.
ASK_PIP = """
import json
from pip._internal.commands import create_command
options, _ = create_command("download").parse_args([])
print(json.dumps({
    "indexes": [] if options.no_index else [options.index_url, *options.extra_index_urls],
    "find_links": options.find_links,
    "cert": options.cert,
    "proxy": options.proxy,
}))
"""


@cache
def pip_command() -> tuple[str, ...]:
    """A Python that has pip: this one, else the first on the path; raises `CourseboxError` when there is none."""
    for python in (sys.executable, "python3"):
        found = shutil.which(python)
        if found and subprocess.run([found, "-c", "import pip"], capture_output=True, check=False).returncode == 0:
            return (found,)
    raise CourseboxError("pip is not installed", hint="install the Debian packages python3-pip and python3-venv")


def read_pip() -> PipSettings:
    """What pip's configuration and environment say on this machine, with the setting for PyTorch as a further index."""
    done = subprocess.run([*pip_command(), "-c", ASK_PIP], capture_output=True, text=True, check=False)
    try:
        told = json.loads(done.stdout)
    except ValueError as error:
        raise CourseboxError(
            f"pip does not tell its settings: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}",
            hint="look at `python3 -m pip config list`",
        ) from error
    indexes = list(told["indexes"])
    if torch := settings().torch_index:
        indexes.append(torch)
    return PipSettings(
        tuple(dict.fromkeys(index.rstrip("/") for index in indexes)),
        tuple(dict.fromkeys(told["find_links"])),
        told["cert"],
        told["proxy"] or None,
    )
