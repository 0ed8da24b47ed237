"""Packer and Ansible turn a root file system into the next one, in a container without network."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coursebox.core.context import Context
from coursebox.core.paths import CHECKOUT
from coursebox.core.run import capture, run
from coursebox.core.stages import Result
from coursebox.host.engine import image_name, import_image, label, processors

PACKER = CHECKOUT / "packer"
ANSIBLE = CHECKOUT / "ansible"
CODE = [Path(__file__), *sorted(PACKER.glob("*.hcl")), ANSIBLE / "ansible.cfg"]


def image_of(tree: Result, *, log: Path) -> str:
    """The tree.tar of a stage as an image in the engine, loaded when it is not there; returns its name."""
    image = image_name("tree", tree.files["tree.tar"])
    import_image(tree.path("tree.tar"), image, log=log)
    return image


def provision(
    context: Context,
    image: str,
    *,
    playbook: str,
    variables: Mapping[str, Any],
    mounts: Mapping[Path, str],
    export: Path | None = None,
    changes: Path | None = None,
) -> None:
    """Run `ansible/<playbook>.yml` in a container of `image`, and keep the outcome.

    variables: what the roles read, handed over in a file of mode 0600, because a password may be among them.
    mounts: host path → path inside, read-only. Either export: the tar of the whole file system to write, or changes:
    the folder for what coursebox.trees.diff writes of the difference to the image.
    """
    packer, work = context.packer, context.scratch / playbook
    work.mkdir(parents=True, exist_ok=True)
    handed_over = work / "variables.json"
    handed_over.touch(mode=0o600)
    handed_over.write_text(json.dumps(variables, ensure_ascii=False), encoding="utf-8")
    settings = {
        "image": image,
        "playbook": os.fspath(ANSIBLE / f"{playbook}.yml"),
        "ansible_playbook": os.fspath(Path(sys.executable).with_name("ansible-playbook")),
        "variables": os.fspath(handed_over),
        "volumes": {os.fspath(path): f"{inside}:ro" for path, inside in mounts.items()},
        "label": label(),
        "processors": processors(),
        "export": os.fspath(export) if export else "",
        "changes": os.fspath(changes) if changes else "",
        "python": sys.executable,
    }
    (work / "settings.pkrvars.json").write_text(json.dumps(settings), encoding="utf-8")
    try:
        run([packer, "build", "-color=false", f"-var-file={work / 'settings.pkrvars.json'}", template(packer)],
            what=f"provisioning by ansible/{playbook}.yml", log=context.log, cwd=work,
            env=environment(work) | {"PYTHONPATH": os.fspath(CHECKOUT)})  # fmt: skip
    finally:
        handed_over.unlink(missing_ok=True)


def environment(work: Path) -> dict[str, str]:
    """What Packer and Ansible see: no telemetry, no colours, their caches in `work`, the engine's default socket."""
    return {
        "CHECKPOINT_DISABLE": "1",
        "PACKER_CACHE_DIR": os.fspath(work / "packer"),
        "PACKER_CONFIG_DIR": os.fspath(work),
        "ANSIBLE_CONFIG": os.fspath(ANSIBLE / "ansible.cfg"),
        "ANSIBLE_HOME": os.fspath(work / "ansible"),
        "ANSIBLE_LOCAL_TEMP": os.fspath(work / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",  # the log says how long each task took
        "LC_ALL": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def template(packer: Path) -> Path:
    """What to hand to this Packer: since 1.7 builders are plugins, declared in a second file that 1.6 cannot read."""
    version = capture([packer, "version"]).stdout.split("v", 1)[-1].split()[0]
    major, minor = (int(part) for part in version.split(".")[:2])
    return PACKER if (major, minor) >= (1, 7) else PACKER / "tree.pkr.hcl"
