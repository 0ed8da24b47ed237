"""The stages of the trees that all products share: a system without a course, and what puts the course on top of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from coursebox.core.context import Context
from coursebox.core.paths import CHECKOUT
from coursebox.core.stages import Result, tree_digest
from coursebox.trees import provision
from coursebox.trees.bootstrap import build_bootstrap
from coursebox.trees.labs import copy_labs, labs_digest
from coursebox.trees.repository import link_or_copy

ANSIBLE = CHECKOUT / "ansible"
# What roles install from outside of their own folders.
SOURCES = {"container": CHECKOUT / "docker", "selftest": CHECKOUT / "selftest", "grading": CHECKOUT / "grading"}
Pack = Callable[[Path, Path], Mapping[str, Any] | None]


def keep_whole(exported: Path, work: Path) -> None:
    """The exported tree as it is, tree.tar."""
    exported.rename(work / "tree.tar")


def build_system(context: Context, variables: Mapping[str, Any], *, pack: Pack = keep_whole,
                 packing: Mapping[str, Any] | None = None, code: Sequence[Path] = ()) -> Result:  # fmt: skip
    """The tree with everything that does not depend on the course's user, labs and data.

    variables: what its roles read, beside epoch. pack: turns the exported tar into result files and facts; by default
    it is the one file tree.tar. packing, code: the values and the source files that decide what `pack` writes.
    """
    bootstrap = build_bootstrap(context)
    playbook = f"{context.tree}-system"
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
    }
    return context.stages.run(f"system-{context.tree}", inputs, make, code=[*provision.CODE, *code])


def course_mounts(context: Context) -> dict[Path, str]:
    """Data sets, a clean copy of the labs, the self-test, the grader: by the path at which the roles look for them."""
    assert context.fetched.data is not None
    labs = context.scratch / "labs"
    copy_labs(context.course.labs.folder, labs)
    return {
        context.fetched.data.path: "/coursebox/data",
        labs: "/coursebox/labs",
        SOURCES["selftest"]: "/coursebox/selftest",
        SOURCES["grading"]: "/coursebox/grading",
    }


def course_inputs(context: Context, variables: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the course's part of a tree."""
    assert context.fetched.data is not None
    return {
        "variables": dict(variables),
        "data": context.fetched.data.digest,
        "labs": labs_digest(context.course.labs.folder),
        "roles": role_digests(f"{context.tree}-course"),
    }


def role_digests(playbook: str) -> dict[str, str]:
    """Role → digest of its files and of what it installs from elsewhere, for the roles of a playbook; and its own."""
    text = (ANSIBLE / f"{playbook}.yml").read_text(encoding="utf-8")
    digests = {"playbook": hashlib.sha256(text.encode()).hexdigest()}
    for role in yaml.safe_load(text)[0]["roles"]:
        digests[role] = tree_digest(ANSIBLE / "roles" / role)
        if role in SOURCES:
            digests[f"{role}: sources"] = tree_digest(SOURCES[role])
    return digests
