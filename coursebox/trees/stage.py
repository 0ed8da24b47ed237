"""The stages of the trees that all products share: a system without a course, and what puts the course on top of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from coursebox.core.context import Context
from coursebox.core.paths import CHECKOUT
from coursebox.core.stages import Result, tree_digest
from coursebox.trees import provision
from coursebox.trees.bootstrap import build_bootstrap
from coursebox.trees.content import Home, content, put_in
from coursebox.trees.labs import labs_digest
from coursebox.trees.repository import link_or_copy

ANSIBLE = CHECKOUT / "ansible"
# What roles install from outside of their own folders.
SOURCES = {"container": CHECKOUT / "docker", "selftest": CHECKOUT / "selftest", "grading": CHECKOUT / "grading"}
SYSTEM_CODE = [*provision.CODE, Path(__file__), Path(__file__).with_name("repository.py")]
PROVISIONED_CODE = [*provision.CODE, Path(__file__)]
CONTENT_CODE = [Path(__file__), Path(__file__).with_name("content.py")]
Pack = Callable[[Path, Path], Mapping[str, Any] | None]


def keep_whole(exported: Path, work: Path) -> None:
    """The exported tree as it is, tree.tar."""
    exported.rename(work / "tree.tar")


def build_system(context: Context, kind: str, variables: Mapping[str, Any], *, pack: Pack = keep_whole,
                 packing: Mapping[str, Any] | None = None, code: Sequence[Path] = ()) -> Result:  # fmt: skip
    """The tree with everything that does not depend on the course's user, labs and data.

    kind: of the tree, "vm" or "container", for which there is a playbook <kind>-system. variables: what its roles
    read, beside epoch. pack: turns the exported tar into result files and facts; by default it is the one file
    tree.tar. packing, code: the values and the source files that decide what `pack` writes.
    """
    bootstrap = build_bootstrap(context)
    playbook = f"{kind}-system"
    variables = {"epoch": context.epoch, **variables}
    wheels = sorted(context.fetched.wheels[context.tree], key=lambda item: item[0].filename)

    def make(work: Path) -> Mapping[str, Any] | None:
        folder = context.scratch / "wheels"
        folder.mkdir()
        for wheel, path in wheels:
            link_or_copy(path, folder / wheel.filename)
        exported = context.scratch / "exported.tar"
        image = provision.image_of(bootstrap, log=context.log)
        provision.provision(context, image, playbook=playbook, variables=variables,
                            mounts={folder: "/coursebox/wheels"}, export=exported)  # fmt: skip
        facts = pack(exported, work)
        exported.unlink(missing_ok=True)
        return facts

    inputs = {
        "tree": bootstrap.files["tree.tar"],
        "variables": variables,
        "wheels": [wheel.sha256 for wheel, _ in wheels],
        "roles": role_digests(playbook),
        "packing": dict(packing or {}),
        "packer": context.fetched.tools["packer"][0].sha256,
    }
    return context.stages.run(f"system-{context.tree}", inputs, make, code=[*SYSTEM_CODE, *code])


def course_mounts() -> dict[Path, str]:
    """The self-test and the grader: by the path at which their roles look for them."""
    return {SOURCES[name]: f"/coursebox/{name}" for name in ("selftest", "grading")}


def provisioning(context: Context, kind: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the course's part of a tree of this kind, but its data sets and labs."""
    return {
        "variables": dict(variables),
        "roles": role_digests(f"{kind}-course"),
        "packer": context.fetched.tools["packer"][0].sha256,
    }


def put_course_in(context: Context, provisioned: Result, name: str, *, user: str = "", start: int = 0,
                  also: Sequence[str] = ()) -> Result:  # fmt: skip
    """The stage course-<tree>: the tar `name` of a provisioned tree, with the data sets and the labs of the course.

    user: whose home gets labs to work in, "" for none. start: as in trees/content.py. also: further files of the result
    that stay as they are.
    """
    assert context.fetched.data is not None
    home = Home(f"home/{user}", 1000, 1000) if user else None
    data, labs = context.fetched.data, context.course.labs.folder

    def make(work: Path) -> Mapping[str, Any]:
        items = content(data.path, labs, epoch=context.epoch, home=home)
        for other in also:
            link_or_copy(provisioned.path(other), work / other)
        return {"added": put_in(provisioned.path(name), work / name, items, start=start)}

    inputs = {
        "provisioned": {file: provisioned.files[file] for file in (name, *also)},
        "epoch": context.epoch,
        "data": data.digest,
        "labs": labs_digest(labs),
        "home": [home.path, home.uid, home.gid] if home else None,
    }
    return context.stages.run(f"course-{context.tree}", inputs, make, code=CONTENT_CODE)


def role_digests(playbook: str) -> dict[str, str]:
    """Role → digest of its files and of what it installs from elsewhere, for the roles of a playbook and those they use
    files of; and the playbook's own.
    """
    text = (ANSIBLE / f"{playbook}.yml").read_text(encoding="utf-8")
    digests = {"playbook": hashlib.sha256(text.encode()).hexdigest()}
    roles = list(yaml.safe_load(text)[0]["roles"])
    for role in roles:
        digests[role] = tree_digest(ANSIBLE / "roles" / role)
        if role in SOURCES:
            digests[f"{role}: sources"] = tree_digest(SOURCES[role])
        roles += used_roles(role) - {*roles}
    return digests


def used_roles(role: str) -> set[str]:
    """The other roles whose files the tasks of a role name, as `roles/bytecode/files/compile.py`."""
    named = [
        name
        for tasks in sorted((ANSIBLE / "roles" / role).rglob("*.yml"))
        for name in re.findall(r"/([a-z_]+)/(?:files|templates|tasks)/", tasks.read_text(encoding="utf-8"))
    ]
    return {name for name in named if (ANSIBLE / "roles" / name).is_dir()} - {role}
