"""The tests that `make test` runs, and what each of them reads.

A lane is one run of pytest. It proves several claims, most of them a file of tests; of the labs each lab is a claim of
its own. What a claim reads is its key (proofs.py): the tests with all that they import, the parts of the delivered
files that they use (contents.py), the tools of this machine. A claim that is not in the tables below reads everything.
To name less is safe only where a test could not notice the difference, so each entry says why.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from coursebox.core.digests import sha256_file, sha256_value
from coursebox.core.paths import CHECKOUT
from coursebox.core.run import capture
from coursebox.course import Course
from coursebox.host.packages import PACKAGES
from coursebox.verify import hosted
from coursebox.verify.contents import SHAPE
from coursebox.verify.inside import Inside, pytest_versions, run_inside
from coursebox.verify.outcomes import Outcome
from coursebox.verify.proofs import Claim
from coursebox.verify.sources import below, files_digest, tracked, with_imports

# Of a claim without an entry. "file": the digest of the delivered file, so every byte of it.
EVERYTHING = ("file",)
TREE = ("system", "entry", "selftest", "grading", "labs", SHAPE, "config")  # all of a tree but the twenty labs
MACHINE = (*TREE, "disk", "ovf")

ENGINES = ("docker.io", "docker-ce")  # one of them is the container engine, if it is a Debian package

# Everything that decides the bytes of a delivered file, but the labs.
_ROOMS = ("archives", "core", "delivery", "disk", "fetch", "formats", "host", "lock", "trees")
_MODULES = ("architecture", "build", "cli", "course", "grade", "identity", "prepare", "prune", "target", "validators")
BUILDER = (
    *(f"coursebox/{name}" for name in _ROOMS),
    *(f"coursebox/{name}.py" for name in _MODULES),
    *("packages.toml", "datasets.toml", "ansible", "packer", "docker", "selftest", "grading", "locks", "course.toml"),
)


@dataclass(frozen=True)
class Reads:
    """What the tests of one claim read beside their own sources.

    vm, cpu, cuda: parts of the OVA and of the two images. files: places in the checkout.
    """

    vm: Sequence[str] = ()
    cpu: Sequence[str] = ()
    cuda: Sequence[str] = ()
    files: Sequence[str] = ()


ALL = Reads(vm=EVERYTHING, cpu=EVERYTHING, cuda=EVERYTHING, files=(*BUILDER, "labs", "tools"))

NARROW: Mapping[str, Reads] = {
    # Boots, logs in, trains, cuts the power: no file of the twenty labs is opened. content/test_delivered.py compares
    # the file system in the OVA with the tree, byte by byte; make-disk.sh decides its form.
    "vm": Reads(vm=MACHINE, files=("coursebox/disk", "coursebox/architecture.py", "locks")),
    # Builds courses with labs of their own.
    "content/test_other_course.py": Reads(files=BUILDER),
    # Kills builds and asks whether the next one ends with the same digest: of whatever labs.
    "build": Reads(files=BUILDER),
    # Services, users, kernel, packages: outside of the labs. The report tells these tests where the tree is.
    "content/test_machine.py": Reads(vm=TREE, files=("coursebox/delivery", "locks")),
    "content/test_packages.py": Reads(
        vm=TREE, cpu=TREE, cuda=TREE, files=("coursebox/delivery", "packages.toml", "locks")
    ),
    "content/test_course.py": Reads(vm=TREE, cpu=TREE, cuda=TREE, files=("coursebox/delivery",)),
    "content/test_cuda.py": Reads(cuda=("system",), files=("coursebox/delivery",)),
    # Containers as people start them. The labs are copied into homes, whatever is in them; that the archive in dist/
    # holds these very bytes is shown by content/test_image.py.
    "container": Reads(cuda=TREE, files=("docker", "coursebox/formats/oci")),
    "container-cpu": Reads(cpu=TREE, files=("docker", "coursebox/formats/oci")),
    # VirtualBox and qemu-img read the descriptor and the disk; what is in the labs only fills grains.
    "acceptance": Reads(vm=("system", "disk", "ovf"), files=("coursebox/formats/ova", "coursebox/architecture.py")),
    # Builds an image with a lab of its own edit, and counts the layers that change.
    "content/test_edited_lab.py": Reads(cuda=TREE, files=BUILDER),
    # The self-test on this machine's own PyTorch and GPU.
    "gpu": Reads(files=("selftest",)),
}  # fmt: skip

# Which labs the tests in tests/inside open, beside the tests of each lab; these tests list the folder of the labs, too.
LABS_READ: Mapping[str, Sequence[str]] = {
    "test_grading.py": ("02_neighbours", "13_recurrent"),
    "test_grading_attacks.py": ("02_neighbours",),
    "test_grading_handed_in.py": ("01_tensors", "02_neighbours", "03_linear"),
    "test_grading_modes.py": ("02_neighbours",),
    "test_examples.py": (),
}
GRADING_READ = re.compile(r"test_grading\w*\.py")
SELFTEST_READ = re.compile(r"test_selftest_\w+\.py")
EACH_LAB = ("test_each_lab.py", "test_targets.py")
# The other ones, the long ones first: two processes share them in this order.
OF_LABS = (
    "test_grading_handed_in.py", "test_grading_attacks.py", "test_grading.py", "test_selftest_cpu.py",
    "test_checking_runs.py", "test_selftest_gpu_rows.py", "test_grading_modes.py", "test_checking_notebook.py",
    "test_prologue.py", "test_examples.py", "test_new_lab.py", "test_selftest_fast.py", "test_prologue_data.py",
    "test_checking_messages.py", "test_checking_kit.py", "test_pictures.py", "test_rules.py", "test_same_verdict.py",
)  # fmt: skip
# tests/inside/sharing.py says what goes into one of the two processes.
SHARED = ("--numprocesses=2", "--dist=loadscope", "--no-loadscope-reorder")
NEW_LAB = ("tools/new_lab.py", "tools/lab_template")  # test_new_lab.py tests what they write as any lab is tested
# What a wrong or half-done exercise is told follows from the checks and from torch, not from the tree. So it is tried
# in one tree, and in the other one only with another torch than that with which all of it was seen to be right there.
MUTANTS = (
    "test_a_mutant_is_rejected_and_its_mistake_named", "test_one_part_passes_exactly_its_checks",
    "test_every_check_rejects_a_mutant", "test_a_wrong_part_makes_no_other_fail",
)  # fmt: skip
MUTANTS_IN = "cuda"
MUTANTS_SEEN = "2.6.0"
# The image for the CPU has the machine's torch, and both have the same labs, checks and grader. What could differ is
# whether all that these need is there. So each lab is solved once, and one test of each other kind runs.
IN_CPU = ("test_each_lab.py", "test_selftest_fast.py", "test_examples.py", "test_prologue.py", "test_grading_modes.py")
IN_CPU_OF_EACH_LAB = "test_the_solution_passes"
# What is done with archives, names, links, tables and interruptions follows from the grader and from Python; that marks
# are right with this tree's torch, and that its sandbox holds, the other tests of grading show in both trees. What
# `make lab` writes follows from tools/. So these files run in the tree of the mutants, and in the other one only when
# its Python is another.
OF_PYTHON = ("test_grading_handed_in.py", "test_new_lab.py")


@dataclass(frozen=True)
class Lane:
    """One run of pytest.

    run: (claims to prove, place of the JUnit report, where the output goes or None for the terminal) → exit status.
    claim_of: the name of the claim that a test belongs to. may_skip: what is skipped does not fail the whole.
    claims_now: the claims with what they read by now, for somebody may edit a file while the tests run.
    """

    name: str
    claims: Sequence[Claim]
    run: Callable[[Sequence[Claim], Path, IO[bytes] | None], int]
    claim_of: Callable[[Outcome], str]
    may_skip: bool = False
    claims_now: Callable[[], Sequence[Claim]] | None = None


@dataclass(frozen=True)
class Delivered:
    """A delivered file under test: its digest, its parts with their digests, how to start its tree.

    torch, python: the versions in the tree.
    """

    sha256: str
    parts: Mapping[str, str]
    inside: Inside
    torch: str
    python: str


def rows(course: Course, delivered: Mapping[str, Delivered]) -> list[list[Lane]]:
    """All lanes, in rows; a row that is further down starts when one above it has ended (see testing.SIDE_BY_SIDE).

    The emulated machine computes on one processor for half an hour, so it is among the first. The containers wait now
    and then, and leave room beside it. What builds is in one row, for a test looks whether builds have left something
    behind. The labs use both processors: they begin when the containers have ended, so nothing is idle until the end.
    """
    rooms = {lane.name: lane for lane in room_lanes(course, delivered)}
    machine, cuda, cpu, content = (rooms.pop(name) for name in ("vm", "container", "container-cpu", "content"))
    return [[content, unit_lane(), *rooms.values()], [machine], [cuda, cpu], lab_lanes(delivered)]


def unit_lane() -> Lane:
    """Unit tests and linters: they read the whole checkout."""

    def claims() -> list[Claim]:
        return [Claim("unit", {**_surroundings(), "checkout": files_digest(tracked())})]

    def run(todo: Sequence[Claim], report: Path, output: IO[bytes] | None) -> int:
        return hosted.run(["tests/unit"], report, output, parallel=True)

    return Lane("unit", claims(), run, lambda outcome: "unit", claims_now=claims)


def room_lanes(course: Course, delivered: Mapping[str, Delivered]) -> list[Lane]:
    """The tests that use the delivered files from this machine, a folder of tests after the other."""
    return [
        _folder(course, delivered, "content"),
        _folder(course, delivered, "container", target="image-cuda"),
        _folder(course, delivered, "container", name="container-cpu", target="image", without=["test_gpu.py"]),
        _folder(course, delivered, "acceptance"),
        _folder(course, delivered, "vm", whole=True),
        _folder(course, delivered, "build", whole=True),
        _folder(course, delivered, "gpu", whole=True, may_skip=True),
    ]


def lab_lanes(delivered: Mapping[str, Delivered]) -> list[Lane]:
    """tests/inside inside each of the delivered trees."""
    return [_labs(kind, delivered) for kind in sorted(delivered)]


def _folder(
    course: Course, delivered: Mapping[str, Delivered], folder: str, *, name: str = "", target: str = "",
    without: Collection[str] = (), whole: bool = False, may_skip: bool = False,
) -> Lane:  # fmt: skip
    """The lane of tests/<folder>. name: of the lane, by default the folder's. target: the one that the tests look at,
    where there are several of a kind. without: files that make no sense for it. whole: the files share what they start,
    and are one claim.
    """
    lane = name or folder
    here = below(f"tests/{folder}")
    found = sorted(path for path in here if re.fullmatch(r"test_.*\.py", path.name))
    helpers = [path for path in here if path not in found]
    tests = [path for path in found if path.name not in without]
    groups = {lane: tests} if whole else {f"{lane}/{path.name}": [path] for path in tests}

    def claims() -> Iterator[Claim]:
        for name, paths in groups.items():
            reads = NARROW.get(name) or NARROW.get(lane) or ALL
            yield Claim(name, {
                **_surroundings(),
                **(_gpu() if folder == "gpu" else {}),
                **_parts(delivered, reads),
                "course": sha256_file(course.source),
                "tests": files_digest(with_imports([*paths, *helpers])),
                "files": files_digest(below(*reads.files)),
            })  # fmt: skip

    def run(todo: Sequence[Claim], report: Path, output: IO[bytes] | None) -> int:
        paths = [path.relative_to(CHECKOUT).as_posix() for claim in todo for path in groups[claim.name]]
        return hosted.run(paths, report, output, course=course.source, target=target)

    def claim_of(outcome: Outcome) -> str:
        return lane if whole else f"{lane}/{Path(outcome.file).name}"

    return Lane(lane, [*claims()], run, claim_of, may_skip, lambda: [*claims()])


def _labs(kind: str, delivered: Mapping[str, Delivered]) -> Lane:
    """tests/inside in one tree: a claim for each lab, and one for each of the other files."""
    product = delivered[kind]
    tests = CHECKOUT / "tests" / "inside"
    found = {path.name for path in below("tests/inside") if re.fullmatch(r"test_.*\.py", path.name)}
    if found != {*EACH_LAB, *OF_LABS}:
        raise AssertionError(f"tests/inside and lanes.py name other files: {sorted(found ^ {*EACH_LAB, *OF_LABS})}")
    names = sorted(path.parents[1].name for path in below("labs") if path.match("author/lab.py"))
    helpers = [path for path in below("tests/inside") if path.name not in found]
    mutants = kind == MUTANTS_IN or product.torch != MUTANTS_SEEN
    same_python = kind != MUTANTS_IN and product.python == delivered[MUTANTS_IN].python
    left_out = {*OF_LABS} - {*IN_CPU} if kind == "cpu" else {*OF_PYTHON} if same_python else set()
    others = [file for file in OF_LABS if file not in left_out]
    base = {**_surroundings_inside(), "parts": _of(product, ("system", "labs", "config"))}

    def sources(*files: str) -> str:
        own = with_imports([*(tests / file for file in files), *helpers])
        return files_digest([*own, *below("tools/labs.py", "tools/labkit.py", "tools/labrules.py")])

    def claims() -> Iterator[Claim]:
        for name in names:
            reads = {**base, "tests": sources(*EACH_LAB), "lab": _of(product, (f"lab:{name}",)), "mutants": mutants}
            yield Claim(f"labs-{kind}/{name}", {**reads, "author": files_digest(below(f"labs/{name}/author"))})
        for file in others:
            labs = LABS_READ.get(file, ())
            parts = [*(f"lab:{name}" for name in labs), *([SHAPE] if file in LABS_READ else [])]
            parts += ["selftest"] if SELFTEST_READ.match(file) else []
            parts += ["grading"] if GRADING_READ.fullmatch(file) else []
            new = file == "test_new_lab.py"
            tests_read = sources(file, *EACH_LAB) if new else sources(file)
            reads = {**base, "tests": tests_read, "more": _of(product, parts)}
            reads["template"] = files_digest(below(*NEW_LAB)) if new else ""
            reads["authors"] = files_digest(below(*(f"labs/{name}/author" for name in labs)))
            yield Claim(f"labs-{kind}/{file}", reads)

    def run(todo: Sequence[Claim], report: Path, output: IO[bytes] | None) -> int:
        assert output is not None
        chosen = {claim.name.removeprefix(f"labs-{kind}/") for claim in todo}
        labs = [name for name in names if name in chosen]
        each = [file for file in reversed(EACH_LAB) if kind != "cpu" or file in IN_CPU]
        files = [*(each if labs else ()), *(file for file in others if file in chosen)]
        arguments = ["--durations=15", *SHARED]
        if kind == "cpu":
            arguments += ["-k", f"{IN_CPU_OF_EACH_LAB} or not test_each_lab"]
        elif not mutants:
            arguments += ["-k", " and ".join(f"not {name}" for name in MUTANTS)]
        only = " ".join(name[:2] for name in labs)
        return run_inside(product.inside, [*arguments, *(f"tests/inside/{file}" for file in files)], report, output,
                          only=only)  # fmt: skip

    def claim_of(outcome: Outcome) -> str:
        file = Path(outcome.file).name
        lab = re.search(r"\[(?:\d-)?(\d\d_[a-z_]+?)(?:-|\])", outcome.name) if file in EACH_LAB else None
        return f"labs-{kind}/{lab[1] if lab else file}"

    return Lane(f"labs-{kind}", [*claims()], run, claim_of, claims_now=lambda: [*claims()])


def _parts(delivered: Mapping[str, Delivered], reads: Reads) -> dict[str, Any]:
    trees = {"vm": reads.vm, "cpu": reads.cpu, "cuda": reads.cuda}
    return {kind: _of(delivered[kind], parts) for kind, parts in trees.items() if parts}


def _of(product: Delivered, parts: Collection[str]) -> dict[str, str]:
    """Digests of parts; "" for one that this product has not."""
    return {part: product.sha256 if part == "file" else product.parts.get(part, "") for part in sorted(parts)}


@functools.cache
def _settings() -> str:
    """The settings of pytest."""
    return sha256_value(tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"])


@functools.cache
def _surroundings() -> dict[str, str]:
    """What a test on this machine uses: Python packages, Debian packages, pytest's settings, how it is started."""
    return {
        "python": files_digest(below("locks/host")),
        "pytest": _settings(),
        "tools": _versions(*PACKAGES["test"], *ENGINES),
        "start": files_digest(below("coursebox/verify/hosted.py")),
    }


@functools.cache
def _surroundings_inside() -> dict[str, Any]:
    """The same of a test in a tree. Only the engine is this machine's; it decides what the grader's sandbox can do."""
    return {
        "python": pytest_versions(),
        "pytest": _settings(),
        "engine": _versions(*ENGINES),
        "start": files_digest(below("coursebox/verify/inside.py")),
    }


def _gpu() -> dict[str, str]:
    """The GPUs of this machine with their driver, and the PyTorch that the tests find here; "" for none."""
    shown = capture(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = ""
    return {"gpus": shown.stdout, "torch": torch}


def _versions(*packages: str) -> str:
    """One digest of the versions of Debian packages, and of those that are not installed."""
    wanted = sorted(set(packages))
    shown = capture(["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\\n", *wanted])
    return sha256_value(sorted(shown.stdout.splitlines()))
