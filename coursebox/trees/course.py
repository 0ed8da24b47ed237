"""The trees of a course: a system that all courses share, then the course on top of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from coursebox.core.paths import CHECKOUT
from coursebox.core.stages import Result, Stages, is_litter, tree_digest
from coursebox.course import Course
from coursebox.fetch.course import Fetched
from coursebox.lock.lockfile import Locks
from coursebox.trees import diff as changes
from coursebox.trees import provision
from coursebox.trees.bootstrap import build_tree
from coursebox.trees.repository import link_or_copy
from coursebox.trees.seal import seal

ANSIBLE = CHECKOUT / "ansible"
# What roles install from outside of their own folders.
SOURCES = {"container": CHECKOUT / "docker", "selftest": CHECKOUT / "selftest"}
SEAL_CODE = Path(__file__).with_name("seal.py")
CHANGES_CODE = Path(changes.__file__)
Pack = Callable[[Path, Path], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Build:
    """What every step of one build needs.

    fetched: the verified files; tools: the tools tree; packer: the binary; log: where the tools' output goes.
    """

    stages: Stages
    course: Course
    locks: Locks
    fetched: Fetched
    tools: Result
    packer: Path
    log: Path

    @property
    def epoch(self) -> int:
        """Seconds since 1970, the latest time of any file; from the locks."""
        return self.locks.epoch


def build_bootstrap(build: Build, kind: str) -> Result:
    """The tree of the Debian packages of `kind`, "vm" or "cuda"; one file, tree.tar."""
    return build_tree(build.stages, kind, build.fetched.debs[kind], tools=build.tools, epoch=build.epoch, log=build.log)


def keep_whole(exported: Path, work: Path) -> None:
    """The exported tree as it is, tree.tar."""
    exported.rename(work / "tree.tar")


def build_system(build: Build, kind: str, bootstrap: Result, variables: Mapping[str, Any], *, pack: Pack = keep_whole,
                 packing: Mapping[str, Any] | None = None, code: Sequence[Path] = ()) -> Result:  # fmt: skip
    """The tree with everything that does not depend on the course's user, labs and data.

    kind: "vm" or "cuda"; names the wheels in the locks and the playbook. variables: what its roles read, beside epoch.
    pack: turns the exported tar into result files and facts; by default it is the one file tree.tar. packing, code: the
    values and the source files that decide what `pack` writes.
    """
    playbook = f"{kind}-system"
    stages = build.stages
    variables = {"epoch": build.epoch, **variables}
    wheels = sorted(build.fetched.wheels[kind], key=lambda item: item[0].filename)

    def make(work: Path) -> Mapping[str, Any] | None:
        folder = stages.cache.tmp / "wheels"
        folder.mkdir()
        for wheel, path in wheels:
            link_or_copy(path, folder / wheel.filename)
        exported = stages.cache.tmp / "exported.tar"
        image = provision.image_of(bootstrap, log=build.log)
        provision.provision(image, playbook=playbook, variables=variables, mounts={folder: "/coursebox/wheels"},
                            packer=build.packer, log=build.log, work=stages.cache.tmp / "system",
                            export=exported)  # fmt: skip
        facts = pack(exported, work)
        exported.unlink(missing_ok=True)
        return facts

    inputs = {
        "tree": bootstrap.files["tree.tar"],
        "variables": variables,
        "wheels": [wheel.sha256 for wheel, _ in wheels],
        "roles": role_digests(playbook),
        "packing": dict(packing or {}),
    }
    return stages.run(f"system-{kind}", inputs, make, code=[*provision.CODE, *code])


def build_course(build: Build, system: Result) -> Result:
    """The sealed tree of the course machine; one file, tree.tar."""
    assert build.fetched.data is not None
    stages, course = build.stages, build.course
    variables = machine_variables(course, build.epoch)
    host = course.name

    def make(work: Path) -> Mapping[str, Any]:
        exported = stages.cache.tmp / "exported.tar"
        image = provision.image_of(system, log=build.log)
        provision.provision(image, playbook="vm-course", variables=variables, mounts=course_mounts(build),
                            packer=build.packer, log=build.log, work=stages.cache.tmp / "course",
                            export=exported)  # fmt: skip
        entries = seal(
            exported,
            work / "tree.tar",
            epoch=build.epoch,
            files={
                "etc/hostname": f"{host}\n".encode(),
                "etc/hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{host}\n::1\tlocalhost ip6-localhost\n".encode(),
            },
            links={"etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"},
        )
        exported.unlink()
        return {"entries": entries}

    secret = hashlib.sha256(course.user.password.encode()).hexdigest()
    inputs = {
        "tree": system.files["tree.tar"],
        **course_inputs(build, {**variables, "course_password": secret}, "vm-course"),
        "host": host,
    }
    return stages.run("course-vm", inputs, make, code=[*provision.CODE, Path(__file__), SEAL_CODE])


def build_changes(build: Build, image: str, load: Callable[[], None]) -> Result:
    """What the course adds to the system of its container image: changes.tar, and removed.json, a list of paths.

    image: the system's image in the engine, named by its content; load: brings it there, when it is needed.
    """
    stages, course = build.stages, build.course
    variables = {
        "epoch": build.epoch,
        "course_name": course.name,
        "course_version": course.version,
        "course_title": course.title,
        "course_user": course.container.user,
        "course_password": "",
        "course_hardened": True,  # no password for root, who needs none here
        "course_group": "users",  # as in jupyter/docker-stacks, for `--group-add users`
        "course_gid": 100,
    }

    def make(work: Path) -> Mapping[str, Any]:
        load()
        provision.provision(image, playbook="cuda-course", variables=variables, mounts=course_mounts(build),
                            packer=build.packer, log=build.log, work=stages.cache.tmp / "course",
                            changes=work)  # fmt: skip
        return {"removed": len(json.loads((work / changes.REMOVED).read_text(encoding="utf-8")))}

    inputs = {"image": image, **course_inputs(build, variables, "cuda-course")}
    return stages.run("course-cuda", inputs, make, code=[*provision.CODE, Path(__file__), CHANGES_CODE])


def course_mounts(build: Build) -> dict[Path, str]:
    """Data sets, a clean copy of the labs, and the self-test, by the path at which the roles look for them."""
    assert build.fetched.data is not None
    labs = build.stages.cache.tmp / "labs"
    copy_labs(build.course.labs.folder, labs)
    return {
        build.fetched.data.path: "/coursebox/data",
        labs: "/coursebox/labs",
        SOURCES["selftest"]: "/coursebox/selftest",
    }


def course_inputs(build: Build, variables: Mapping[str, Any], playbook: str) -> dict[str, Any]:
    """What decides the course's part of a tree."""
    assert build.fetched.data is not None
    return {
        "variables": dict(variables),
        "data": build.fetched.data.digest,
        "labs": tree_digest(build.course.labs.folder),
        "roles": role_digests(playbook),
    }


def machine_variables(course: Course, epoch: int) -> dict[str, Any]:
    """What the roles of the course machine read; ansible/README.md explains each."""
    salt = hashlib.sha256(f"{course.name}/{course.user.name}".encode()).hexdigest()[:16]
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


def role_digests(playbook: str) -> dict[str, str]:
    """Role → digest of its files and of what it installs from elsewhere, for the roles of a playbook; and its own."""
    text = (ANSIBLE / f"{playbook}.yml").read_text(encoding="utf-8")
    digests = {"playbook": hashlib.sha256(text.encode()).hexdigest()}
    for role in yaml.safe_load(text)[0]["roles"]:
        digests[role] = tree_digest(ANSIBLE / "roles" / role)
        if role in SOURCES:
            digests[f"{role}: sources"] = tree_digest(SOURCES[role])
    return digests
