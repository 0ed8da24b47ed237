"""The default command: JupyterLab, or jupyterhub-singleuser when a hub starts the container.

start-notebook [OPTION OF THE SERVER …]
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, MutableMapping, Sequence

from coursebox_container import credentials, gpu, mounts, tls
from coursebox_container.image import read_image
from coursebox_container.messages import Problem, fail, say
from coursebox_container.restart import run_constantly
from coursebox_container.runtime import VARIABLE, runtime_folder, write_private
from coursebox_container.settings import clean, is_yes, number, umask, words

ADDRESS = "server"  # in the runtime folder; `healthcheck` asks the address in it


def main() -> int:
    """Does not return when the server starts, except with RESTARTABLE."""
    try:
        environment = os.environ
        clean(environment)  # again: a hook or an exec may have set more
        mask = umask(environment)
        if mask is not None:
            os.umask(mask)
        folder = environment[VARIABLE] = environment.get(VARIABLE) or runtime_folder(os.getuid())
        command = command_of(environment, sys.argv[1:])
        prepare(environment, folder)
        if is_yes(environment, "RESTARTABLE"):
            return run_constantly(command)
        os.execvp(command[0], command)
    except Problem as problem:
        fail(problem)
        return 1


def by_hub(environment: Mapping[str, str]) -> bool:
    """Whether a JupyterHub has started this container."""
    return bool(environment.get("JUPYTERHUB_API_TOKEN"))


def command_of(environment: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """The server's command line, with NOTEBOOK_ARGS before the arguments."""
    options = [*words(environment, "NOTEBOOK_ARGS"), *arguments]
    if by_hub(environment):
        return ["jupyterhub-singleuser", *options]
    number(environment, "JUPYTER_PORT", 8888, lowest=1, highest=65535)  # read by Jupyter itself
    chosen = environment.get("DOCKER_STACKS_JUPYTER_CMD") or "lab"
    if shutil.which(f"jupyter-{chosen}") is None:
        raise Problem(
            f"DOCKER_STACKS_JUPYTER_CMD={chosen}: there is no jupyter {chosen} here",
            hint='"lab" and "server" are here; a derived image can add others',
        )
    return [f"jupyter-{chosen}", *options]


def prepare(environment: MutableMapping[str, str], folder: str) -> None:
    """Say what the GPUs are, and set the variables that the settings of JupyterLab read."""
    diagnosis = gpu.diagnose_image(read_image().device)
    for finding in diagnosis.findings:
        finding.report()
    if diagnosis.visible is not None:
        environment.setdefault("CUDA_VISIBLE_DEVICES", diagnosis.visible)
    # Connection files of kernels want a file system with modes, which the home need not have.
    environment.setdefault("JUPYTER_RUNTIME_DIR", f"{folder}/jupyter")
    if not by_hub(environment):
        tls.settle(environment)
        credentials.settle(environment, folder)
        home = environment.get("HOME") or os.path.expanduser("~")
        if not home.startswith(f"{folder}/") and mounts.vanishes(home):  # a recovery home has its own warning
            say(f"What you save in {home} goes with the container: docker run -v course:{home} keeps it.")
    write_private(f"{folder}/{ADDRESS}", "")  # from now on the container is healthy only when the server answers
