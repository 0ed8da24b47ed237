"""The tree of a container image: a system, and what the course adds to it. As a whole it is never exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coursebox.core.context import Context
from coursebox.core.stages import Result
from coursebox.trees import diff, provision, stage

CODE = [*stage.PROVISIONED_CODE, Path(__file__)]


def build_changes(context: Context, system: str, image: str, load: Callable[[], None]) -> Result:
    """What the course adds to the system of its container image: changes.tar, and removed.json, a list of paths.

    system: the digest of its content. image: its name in the engine; load: brings it there, when it is needed.
    """
    course = context.course
    variables = {
        "epoch": context.epoch,
        "course_name": course.name,
        "course_version": course.version,
        "course_title": course.title,
        "course_user": course.container.user,
        "course_password": "",
        "course_hardened": True,  # no password for root, who needs none here
        "course_group": "users",  # as in jupyter/docker-stacks, for `--group-add users`
        "course_gid": 100,
        "course_device": context.tree,
    }

    def make(work: Path) -> Mapping[str, Any]:
        load()
        provision.provision(context, image, playbook="container-course", variables=variables,
                            mounts=stage.course_mounts(), changes=work)  # fmt: skip
        return {"removed": len(json.loads((work / diff.REMOVED).read_text(encoding="utf-8")))}

    inputs = {"system": system, **stage.provisioning(context, "container", variables)}
    provisioned = context.stages.run(f"provisioned-{context.tree}", inputs, make, code=CODE)
    # `start` puts the labs into the home, whoever the user is.
    return stage.put_course_in(context, provisioned, diff.CHANGES, also=[diff.REMOVED])
