"""Keys hold all that is read: after an edit of any file, exactly the stages that read it, and what follows, change."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coursebox.core import code
from coursebox.core.code import HOST_LOCK, closure
from coursebox.core.paths import CHECKOUT
from coursebox.verify.sources import tracked

IMAGES = ("cpu", "cuda")  # the trees of the images, which have the same stages


def of(stage: str) -> tuple[str, ...]:
    """A stage of both images."""
    return tuple(f"{stage}-{tree}" for tree in IMAGES)


BOOTSTRAP = ("tools", "bootstrap-vm", *of("bootstrap"))
SYSTEM, COURSE = ("system-vm", *of("system")), ("course-vm", *of("course"))
PROVISIONED = ("provisioned-vm", *of("provisioned"))
LICENCES = ("licences-vm", *of("licences"))
LAYERS = (*of("system"), *of("layers-course"), *of("image"))
# Stage → the stages that take what it makes.
NEXT = {
    "tools": ("bootstrap-vm", *of("bootstrap"), "disk"),
    "packer": (),
    "data": COURSE,
    "bootstrap-vm": ("system-vm", "licences-vm"),
    "system-vm": ("provisioned-vm",),
    "provisioned-vm": ("course-vm",),
    "course-vm": ("disk",),
    "disk": ("vmdk",),
    "vmdk": ("ova",),
    "ova": (),
    "licences-vm": (),
}
for tree in IMAGES:
    NEXT |= {
        f"bootstrap-{tree}": (f"system-{tree}", f"licences-{tree}"),
        f"system-{tree}": (f"provisioned-{tree}", f"image-{tree}"),
        f"provisioned-{tree}": (f"course-{tree}",),
        f"course-{tree}": (f"layers-course-{tree}",),
        f"layers-course-{tree}": (f"image-{tree}",),
        f"image-{tree}": (),
        f"licences-{tree}": (),
    }
ALL = tuple(NEXT)
# File or folder of the checkout → the stages that read it; the longest path counts. All others are read by none.
READ_BY = {
    "locks/host/requirements-build.txt": ALL,
    "coursebox/architecture.py": (*BOOTSTRAP, "ova"),
    "coursebox/core/digests.py": (
        *BOOTSTRAP,
        *SYSTEM,
        *PROVISIONED,
        *COURSE,
        "disk",
        "vmdk",
        "ova",
        "data",
        *of("image"),
    ),
    "coursebox/host/engine.py": (*BOOTSTRAP, *SYSTEM, *PROVISIONED, "disk"),
    "coursebox/identity.py": ("provisioned-vm",),
    "coursebox/trees/bootstrap.py": BOOTSTRAP,
    "coursebox/trees/mmdebstrap.sh": BOOTSTRAP,
    "coursebox/trees/repository.py": (*BOOTSTRAP, *SYSTEM),
    "coursebox/trees/packer.py": ("packer",),
    "coursebox/trees/stage.py": (*SYSTEM, *PROVISIONED, *COURSE),
    "coursebox/trees/provision.py": (*SYSTEM, *PROVISIONED),
    "coursebox/trees/content.py": COURSE,
    "coursebox/trees/labs.py": COURSE,
    "coursebox/trees/machine.py": ("provisioned-vm",),
    "coursebox/trees/container.py": of("provisioned"),
    "coursebox/trees/seal.py": (*PROVISIONED, *COURSE, *LAYERS),
    "coursebox/trees/diff.py": (*of("provisioned"), *of("system"), *of("layers-course")),
    "coursebox/disk": ("disk",),
    "coursebox/fetch/stage.py": ("data",),
    "coursebox/fetch/synthetic.py": ("data",),
    "coursebox/fetch/unpack.py": ("data",),
    "coursebox/formats/tarball.py": ("ova", *of("image")),
    "coursebox/formats/ova/stage.py": ("vmdk", "ova"),
    "coursebox/formats/ova/vmdk.py": ("vmdk", "ova"),
    "coursebox/formats/ova/vmdk_layout.py": ("vmdk", "ova"),
    "coursebox/formats/ova/vmdk_read.py": ("vmdk", "ova"),
    "coursebox/formats/ova/ovf.py": ("ova",),
    "coursebox/formats/ova/ova.py": ("ova",),
    "coursebox/formats/oci/stage.py": of("image"),
    "coursebox/formats/oci/about.py": (),
    "coursebox/formats/oci/config.py": of("image"),
    "coursebox/formats/oci/oci.py": of("image"),
    "coursebox/formats/oci/compression.py": LAYERS,
    "coursebox/formats/oci/layers.py": LAYERS,
    "coursebox/formats/oci/rules.py": LAYERS,
    "coursebox/formats/oci/packing.py": (*of("system"), *of("layers-course")),
    "coursebox/delivery/stage.py": LICENCES,
    "coursebox/delivery/licences.py": LICENCES,
    "packer": (*SYSTEM, *PROVISIONED),
    "ansible/ansible.cfg": (*SYSTEM, *PROVISIONED),
    "ansible/vm-system.yml": ("system-vm",),
    "ansible/vm-course.yml": ("provisioned-vm",),
    "ansible/container-system.yml": of("system"),
    "ansible/container-course.yml": of("provisioned"),
    "ansible/roles/apt": SYSTEM,
    "ansible/roles/jupyter": SYSTEM,
    "ansible/roles/bytecode": (*SYSTEM, *PROVISIONED),  # its program compiles what roles of the course install, too
    "ansible/roles/base": ("system-vm",),
    "ansible/roles/boot": ("system-vm",),
    "ansible/roles/student": PROVISIONED,
    "ansible/roles/selftest": PROVISIONED,
    "ansible/roles/grading": PROVISIONED,
    "ansible/roles/console": ("provisioned-vm",),
    "ansible/roles/service": ("provisioned-vm",),
    "ansible/roles/container": of("provisioned"),
    "ansible/roles/sysprep": (*of("system"), *PROVISIONED),
    "docker": of("provisioned"),
    "selftest": PROVISIONED,
    "grading": PROVISIONED,
    "labs": COURSE,
}
UNREAD = ("labs/01_x/author", "labs/AUTHORS.md", "docker/README.md", "packer/README.md")
COPIED = ("coursebox", "ansible", "packer", "docker", "selftest", "grading", "locks", "course.toml", "packages.toml",
          "datasets.toml")  # fmt: skip

# Runs in a copy of the checkout: every stage says its key and makes nothing. Another key stands for another result.
SCRIPT = """
import json, sys
from pathlib import Path
from coursebox.architecture import AMD64
from coursebox.core.context import Context
from coursebox.core.digests import sha256_value
from coursebox.core.paths import Cache
from coursebox.core.stages import Result, Stages, stage_key
from coursebox.course import load_course
from coursebox.delivery.stage import build_licences
from coursebox.fetch.course import Fetched
from coursebox.fetch.stage import lay_out_data
from coursebox.formats.oci.stage import image_stages
from coursebox.formats.ova import stage as ova
from coursebox.lock.lockfile import read_locks
from coursebox.trees.bootstrap import build_tools
from coursebox.trees.packer import unpack_packer

CHANGES = {f"{stage}-{tree}": ["changes.tar", "removed.json"] for stage in ("course", "provisioned")
           for tree in ("cpu", "cuda")}
FILES = {"disk": ["disk.raw"], "vmdk": ["disk.vmdk"], **CHANGES}

def facts(name, key):
    digest = sha256_value(key)
    if name in ("system-cpu", "system-cuda", "layers-course"):
        blob = {"digest": digest, "size": 1, "diff_id": digest, "unpacked": 1}
        layer = {"name": "course", "file": "x", "blob": blob, "media_type": "x", "entries": 1}
        return {"layers": [layer]}
    if name == "provisioned-vm":
        return {"entries": 1, "system_bytes": 0}
    if name == "vmdk":
        return {"capacity": 1 << 30, "size": 1, "sha256": digest, "populated": 1, "grains": 1, "cid": digest[:8]}
    return {}

class Keys(Stages):
    def run(self, name, inputs, make, *, code=()):
        key = stage_key(name, inputs, code)
        files = {file: sha256_value([key, file]) for file in FILES.get(name, ["tree.tar"])}
        result = Result(name, key, Path("/nowhere"), files, facts(name, key), 0.0, False)
        self.results.append(result)
        return result

course = load_course(Path("course.toml"))
locks = read_locks(course.locks.folder)

def keys():
    found = {}
    for tree in ("vm", "cpu", "cuda"):
        stages = Keys(Cache(Path("/nowhere")))
        debs = {name: tuple((deb, Path("/x")) for deb in held) for name, held in locks.debs.items()}
        wheels = {name: tuple((wheel, Path("/x")) for wheel in held) for name, held in locks.wheels.items()}
        data = lay_out_data(stages, {}, locks.epoch)
        fetched = Fetched(debs, wheels, {deb.package: (deb, Path("/x")) for deb in locks.tools}, data)
        tools = build_tools(stages, debs["tools"], epoch=locks.epoch, log=Path("/x"))
        packer = unpack_packer(stages, *fetched.tools["packer"])
        context = Context(tree, AMD64, stages, course, locks, fetched, tools, packer, Path("/x"))
        ova.make(context) if tree == "vm" else image_stages(context)
        build_licences(context, "product")
        # Stages of the layers and of the image have one name for all trees.
        found |= {result.name + (f"-{tree}" if result.name in ("layers-course", "image") else ""): result.key
                  for result in stages.results}
    return found

before = keys()
changed = {}
for name in json.load(sys.stdin):
    path = Path(name)
    content = path.read_bytes()
    path.write_bytes(content + b"\\n# edited\\n")
    now = keys()
    changed[name] = sorted(stage for stage in before if now[stage] != before[stage])
    path.write_bytes(content)
assert keys() == before
print(json.dumps({"stages": sorted(before), "changed": changed}))
"""


def follow(stages: tuple[str, ...]) -> list[str]:
    """Stages with all that follow."""
    found: set[str] = set()
    open_ends = list(stages)
    while open_ends:
        stage = open_ends.pop()
        found.add(stage)
        open_ends += NEXT[stage]
    return sorted(found)


def read_by(name: str) -> tuple[str, ...]:
    """The stages that read a file, by the table."""
    if name.endswith("/__init__.py") and name.startswith("coursebox/"):
        return ()  # a docstring
    if any(name == unread or name.startswith(f"{unread}/") for unread in UNREAD):
        return ()
    places = [place for place in READ_BY if name == place or name.startswith(f"{place}/")]
    return READ_BY[max(places, key=len)] if places else ()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build may read, with three files in the place of the labs."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in tracked():
        name = path.relative_to(CHECKOUT)
        if name.parts[0] in COPIED:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
    for name in ("01_x/check.py", "01_x/author/lab.py", "AUTHORS.md"):
        (folder / "labs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "labs" / name).write_text("")
    return folder


def test_each_file_changes_the_stages_that_read_it_and_what_follows(checkout: Path) -> None:
    names = [path.relative_to(checkout).as_posix() for path in sorted(checkout.rglob("*")) if path.is_file()]
    # The locks and the course are read as values; tests of their own have them.
    names = [name for name in names if name.count("/") and (not name.startswith("locks/") or "/host/" in name)]
    assert len(names) > 200
    done = subprocess.run([sys.executable, "-B", "-c", SCRIPT], cwd=checkout,
                          input=json.dumps(names), capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["stages"] == sorted(NEXT)
    expected = {name: follow(read_by(name)) for name in names}
    wrong = {
        name: (found["changed"][name], expected[name]) for name in names if found["changed"][name] != expected[name]
    }
    assert wrong == {}
    assert [
        place for place in READ_BY if not any(name == place or name.startswith(f"{place}/") for name in names)
    ] == []


def running_imports(path: Path) -> set[Path]:
    """The modules of ours that Python imports when it runs a file, its functions included; by its own parser."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {CHECKOUT.joinpath(*name.split(".")).with_suffix(".py") for name in names}
    return {path for path in found if path.is_file() and path.is_relative_to(CHECKOUT / "coursebox")}


def test_the_quick_look_at_imports_sees_what_pythons_parser_sees() -> None:
    """In every module that decides bytes: also that none of them imports inside of a function."""
    roots = [CHECKOUT / name for name in READ_BY if name.endswith(".py") and name.startswith("coursebox/")]
    seen = 0
    for path in closure(roots):
        if path.suffix == ".py":
            assert set(code.imported(path)) == running_imports(path), path
            seen += len(running_imports(path))
    assert seen > 50


def test_what_stands_aside_exists_and_decides_nothing_by_name() -> None:
    for name in code.ASIDE:
        assert (CHECKOUT / "coursebox" / name).exists(), name
    assert HOST_LOCK.is_file()
    assert not [
        name
        for name in READ_BY
        if name.startswith("coursebox/") and name.endswith(".py") and code.is_aside(CHECKOUT / name)
    ]
