"""The tree of the course machine: sealed, one tar of the whole root file system."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from coursebox.core.context import Context
from coursebox.core.stages import Result
from coursebox.course import Course
from coursebox.identity import identity
from coursebox.trees import provision, stage
from coursebox.trees.seal import seal

CODE = [*stage.PROVISIONED_CODE, Path(__file__)]


def machine_system(context: Context) -> Result:
    """The system of the course machine, not sealed; one file, tree.tar."""
    course = context.course
    root = str(identity(course, "root"))
    return stage.build_system(context, "vm", {"root_uuid": root, "course_title": course.title})


def build_machine(context: Context) -> Result:
    """The sealed tree of the course machine; one file, tree.tar."""
    provisioned = provision_machine(context)
    start = provisioned.facts["system_bytes"]
    return stage.put_course_in(context, provisioned, "tree.tar", user=context.course.user.name, start=start)


def provision_machine(context: Context) -> Result:
    """The sealed tree without data sets and labs; one file, tree.tar."""
    system = machine_system(context)
    course = context.course
    variables = machine_variables(course, context.epoch)
    host = course.name

    def make(work: Path) -> Mapping[str, Any]:
        exported = context.scratch / "exported.tar"
        image = provision.image_of(system, log=context.log)
        provision.provision(context, image, playbook="vm-course", variables=variables, mounts=stage.course_mounts(),
                            export=exported)  # fmt: skip
        sealed = seal(
            exported,
            work / "tree.tar",
            epoch=context.epoch,
            files={
                "etc/hostname": f"{host}\n".encode(),
                "etc/hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{host}\n::1\tlocalhost ip6-localhost\n".encode(),
            },
            links={"etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"},
        )
        exported.unlink()
        return asdict(sealed)

    secret = hashlib.sha256(course.user.password.encode()).hexdigest()
    inputs = {
        "tree": system.files["tree.tar"],
        **stage.provisioning(context, "vm", {**variables, "course_password": secret}),
        "host": host,
    }
    return context.stages.run("provisioned-vm", inputs, make, code=CODE)


def machine_variables(course: Course, epoch: int) -> dict[str, Any]:
    """What the roles of the course machine read; ansible/README.md explains each."""
    # Another one in each edition; a random one would give other bytes on each machine.
    salt = hashlib.sha256(f"{course.name}/{course.version}/{course.user.name}/{epoch}".encode()).hexdigest()[:16]
    hardened = course.security.profile == "hardened"
    return {
        "epoch": epoch,
        "course_name": course.name,
        "course_version": course.version,
        "course_title": course.title,
        "course_user": course.user.name,
        "course_password": course.user.password,
        "course_group": course.user.name,
        "course_gid": 1000,
        "course_hardened": hardened,
        "course_jupyter_port": course.ports.jupyter,
        "course_ssh_port": course.ports.ssh,
        "password_salt": salt,
    }
