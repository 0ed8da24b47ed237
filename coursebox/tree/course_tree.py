"""The trees of a course: a shared system, then the course on top of it, sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from coursebox.course import Course
from coursebox.paths import CHECKOUT
from coursebox.sources.fetch import Fetched
from coursebox.stage import Result, Stages, is_litter, tree_digest
from coursebox.tree import provision
from coursebox.tree.repository import link_or_copy
from coursebox.tree.seal import seal

ROLES = CHECKOUT / "ansible" / "roles"
SYSTEM_ROLES = ("base", "boot", "jupyter", "bytecode")
COURSE_ROLES = ("student", "console", "course", "sysprep")
SEAL_CODE = Path(__file__).with_name("seal.py")


def build_system(stages: Stages, bootstrap: Result, fetched: Fetched, course: Course, *, root_uuid: str, epoch: int,
                 packer: Path, log: Path) -> Result:  # fmt: skip
    """The tree with everything that does not depend on the course's user, labs and data; one file, tree.tar."""
    variables = {"epoch": epoch, "root_uuid": root_uuid, "course_title": course.title}
    wheels = sorted(fetched.wheels["vm"], key=lambda item: item[0].filename)

    def make(work: Path) -> None:
        folder = stages.cache.tmp / "wheels"
        folder.mkdir()
        for wheel, path in wheels:
            link_or_copy(path, folder / wheel.filename)
        provision.provision(bootstrap, work / "tree.tar", playbook="system",
                            variables=variables, mounts={folder: "/coursebox/wheels"}, packer=packer, log=log,
                            work=stages.cache.tmp / "system")  # fmt: skip

    inputs = {
        "tree": bootstrap.files["tree.tar"],
        "variables": variables,
        "wheels": [wheel.sha256 for wheel, _ in wheels],
        "roles": role_digests(SYSTEM_ROLES, "system"),
    }
    return stages.run("system", inputs, make, code=provision.CODE)


def build_course(stages: Stages, system: Result, fetched: Fetched, course: Course, *, epoch: int, packer: Path,
                 log: Path) -> Result:  # fmt: skip
    """The sealed tree of the course machine; one file, tree.tar."""
    assert fetched.data is not None
    data = fetched.data
    variables = course_variables(course, epoch)
    host = course.name

    def make(work: Path) -> Mapping[str, Any]:
        exported = stages.cache.tmp / "exported.tar"
        labs = stages.cache.tmp / "labs"
        copy_labs(course.labs.folder, labs)
        provision.provision(system, exported, playbook="course", variables=variables,
                            mounts={data.path: "/coursebox/data", labs: "/coursebox/labs"}, packer=packer,
                            log=log, work=stages.cache.tmp / "course")  # fmt: skip
        entries = seal(
            exported,
            work / "tree.tar",
            epoch=epoch,
            files={
                "etc/hostname": f"{host}\n".encode(),
                "etc/hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{host}\n::1\tlocalhost ip6-localhost\n".encode(),
            },
            links={"etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"},
        )
        exported.unlink()
        return {"entries": entries}

    inputs = {
        "tree": system.files["tree.tar"],
        "variables": {**variables, "course_password": hashlib.sha256(course.user.password.encode()).hexdigest()},
        "host": host,
        "data": data.digest,
        "labs": tree_digest(course.labs.folder),
        "roles": role_digests(COURSE_ROLES, "course"),
    }
    return stages.run("course", inputs, make, code=[*provision.CODE, Path(__file__), SEAL_CODE])


def course_variables(course: Course, epoch: int) -> dict[str, Any]:
    """What the roles of the course read; ansible/README.md explains each."""
    salt = hashlib.sha256(f"{course.name}/{course.user.name}".encode()).hexdigest()[:16]
    hardened = course.security.profile == "hardened"
    return {
        "epoch": epoch,
        "course_name": course.name,
        "course_version": course.version,
        "course_title": course.title,
        "course_user": course.user.name,
        "course_password": course.user.password,
        "course_hardened": hardened,
        "course_jupyter_port": course.ports.jupyter,
        "course_ssh_port": course.ports.ssh,
        "password_salt": salt,
        "jupyter_password_hash": jupyter_hash(course.user.password, salt) if hardened else "",
    }


def jupyter_hash(password: str, salt: str) -> str:
    """The form `algorithm:salt:digest` that jupyter_server.auth.security.passwd_check reads."""
    digest = hashlib.sha256(password.encode() + salt.encode()).hexdigest()
    return f"sha256:{salt}:{digest}"


def copy_labs(source: Path, target: Path) -> None:
    """The labs as they go into the image: regular files, readable by all, without litter of tools."""
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_file() and not is_litter(relative):
            copy = target / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)


def role_digests(roles: Iterable[str], playbook: str) -> dict[str, str]:
    """Role → digest of its files, and the playbook's own."""
    digests = {role: tree_digest(ROLES / role) for role in roles}
    digests["playbook"] = hashlib.sha256((ROLES.parent / f"{playbook}.yml").read_bytes()).hexdigest()
    return digests
