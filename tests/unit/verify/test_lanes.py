"""What each claim reads: an edit opens the claims whose tests could notice it, and no other."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest

from coursebox.core.paths import CHECKOUT
from coursebox.course import Course, load_course
from coursebox.verify import lanes, sources, testing
from coursebox.verify.contents import SHAPE
from coursebox.verify.inside import Inside
from coursebox.verify.lanes import Delivered, Lane, lab_lanes, room_lanes, rows
from coursebox.verify.outcomes import Outcome
from coursebox.verify.proofs import Claim

LABS = sorted(path.parents[1].name for path in (CHECKOUT / "labs").glob("*/author/lab.py"))
TREE = ("system", "entry", "selftest", "grading", "labs", SHAPE, *(f"lab:{name}" for name in LABS))
PRODUCTS = {
    "vm": Delivered("vm-file", {part: f"vm {part}" for part in (*TREE, "disk", "ovf")}, Inside("sealed", "dave"),
                    lanes.MUTANTS_SEEN, "3.13.5-1"),
    "cpu": Delivered("cpu-file", {part: f"cpu {part}" for part in (*TREE, "config")}, Inside("image-cpu", "student"),
                     lanes.MUTANTS_SEEN, "3.13.5-1"),
    "cuda": Delivered("cuda-file", {part: f"cuda {part}" for part in (*TREE, "config")}, Inside("image", "student"),
                      "2.13.0", "3.13.5-1"),
}  # fmt: skip
sha256 = functools.cache(sources.sha256_file)


class Checkout:
    """This checkout as the lanes see it: with files that were edited, and on a machine with other tools.

    read: name of each claim → the files that it reads and the digests of the parts of deliveries. made: the lanes by
    their names; before: name → key of each claim; both before anything was edited.
    """

    def __init__(self, course: Course) -> None:
        self.course = course
        self.edited: set[Path] = set()
        self.tools: Mapping[str, str] = {}
        self.read: Mapping[str, set[str]] = {}
        self.made: Mapping[str, Lane] = {}
        self.before: Mapping[str, str] = {}

    def digest(self, path: Path) -> str:
        return sha256(path) + ("'" if path in self.edited else "")

    def capture(self, command: Sequence[Any]) -> subprocess.CompletedProcess[str]:
        """Stands for dpkg-query and nvidia-smi."""
        shown = [f"{word} {self.tools.get(word, '1')} installed" for word in command[3:]]
        text = "\n".join(shown) if command[0] == "dpkg-query" else self.tools.get(command[0], "")
        return subprocess.CompletedProcess(command, 0, text, "")

    def lanes(self, delivered: Mapping[str, Delivered] = PRODUCTS) -> list[Lane]:
        forget()
        return [lane for row in rows(self.course, delivered) for lane in row]

    def claims(self, delivered: Mapping[str, Delivered] = PRODUCTS) -> dict[str, Claim]:
        claims = [claim for lane in self.lanes(delivered) for claim in lane.claims]
        assert len({claim.name for claim in claims}) == len(claims)
        return {claim.name: claim for claim in claims}

    def keys(self, delivered: Mapping[str, Delivered] = PRODUCTS) -> dict[str, str]:
        return {name: claim.key for name, claim in self.claims(delivered).items()}

    def opened(self, *places: str, delivered: Mapping[str, Delivered] = PRODUCTS) -> set[str]:
        """The claims that read one of these files, or what is another one in these deliveries."""
        assert all((CHECKOUT / place).is_file() for place in places)
        others = {*places}
        for kind, product in delivered.items():
            others |= {product.sha256, *product.parts.values()} - set(digests(PRODUCTS[kind]))
            others |= set(digests(PRODUCTS[kind])) - {product.sha256, *product.parts.values()}
        return {name for name, read in self.read.items() if read & others}

    def opened_by_key(
        self, *places: str, delivered: Mapping[str, Delivered] = PRODUCTS, tools: Mapping[str, str] | None = None
    ) -> set[str]:
        """The claims that have another key when these files are edited, for other deliveries, with other tools."""
        self.edited, self.tools = {CHECKOUT / place for place in places}, tools or {}
        after = self.keys(delivered)
        self.edited, self.tools = set(), {}
        assert after.keys() == self.before.keys()
        return {name for name, key in after.items() if key != self.before[name]}


def digests(product: Delivered) -> list[str]:
    return [product.sha256, *product.parts.values()]


def leaves(value: object) -> Iterator[str]:
    """The texts in what a claim reads."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from leaves(each)
    elif isinstance(value, str):
        yield value


def names(paths: Iterable[Path]) -> list[str]:
    """Stands for the digest of files."""
    return sorted({path.relative_to(CHECKOUT).as_posix() for path in paths})


def forget() -> None:
    for cached in (lanes._settings, lanes._surroundings, lanes._surroundings_inside):
        cached.cache_clear()


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    made = Checkout(load_course(CHECKOUT / "course.toml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "capture", made.capture)
        with pytest.MonkeyPatch.context() as instead:
            instead.setattr(lanes, "files_digest", names)
            instead.setattr(lanes, "sha256_file", lambda path: names([path]))
            made.read = {name: set(leaves(claim.reads)) for name, claim in made.claims().items()}
        patch.setattr(sources, "sha256_file", made.digest)
        patch.setattr(lanes, "sha256_file", made.digest)
        made.made = {lane.name: lane for lane in made.lanes()}
        made.before = {claim.name: claim.key for lane in made.made.values() for claim in lane.claims}
        yield made
    forget()


def delivered(
    *parts: str, vm: Sequence[str] = (), cpu: Sequence[str] = (), cuda: Sequence[str] = (),
    torch: str = lanes.MUTANTS_SEEN,
) -> dict[str, Delivered]:  # fmt: skip
    """The products, with other parts in all of them or in one; then the digest of the file is another, too."""
    made = {}
    for kind, more in (("vm", vm), ("cpu", cpu), ("cuda", cuda)):
        product = PRODUCTS[kind]
        others = {*parts, *more}
        assert others <= {*product.parts, "file"}
        changed = {part: f"{digest}'" if part in others else digest for part, digest in product.parts.items()}
        made[kind] = replace(product, sha256=product.sha256 + ("'" if others else ""), parts=changed)
    made["vm"] = replace(made["vm"], torch=torch)
    return made


def both(*names: str) -> set[str]:
    """Claims of tests/inside: in the trees of the machine and for CUDA, or in one of them where that is enough; some in
    that for the CPU.
    """
    some = {name for name in names if name in lanes.IN_CPU or name not in lanes.OF_LABS}
    made = {f"labs-{kind}/{name}" for kind in ("vm", "cuda") for name in names} | {f"labs-cpu/{name}" for name in some}
    return made - {f"labs-vm/{name}" for name in lanes.OF_PYTHON}


def files(folder: str) -> set[str]:
    return {f"{folder}/{path.name}" for path in (CHECKOUT / "tests" / folder).glob("test_*.py")}


UNIT = {"unit"}
OF_CUDA = files("container")
OF_CPU = {f"container-cpu/{name.partition('/')[2]}" for name in OF_CUDA} - {"container-cpu/test_gpu.py"}
CONTAINER = {*OF_CUDA, *OF_CPU}
EVERY_BYTE = {f"content/test_{name}.py" for name in ("delivered", "hygiene", "image", "labs")}
ACCEPTANCE = files("acceptance")
EDITED_LAB = {"content/test_edited_lab.py"}
BUILDS = {"build", "content/test_other_course.py", *EDITED_LAB}
OF_VM = {"vm", *(f"content/test_{name}.py" for name in ("course", "machine", "packages"))}
CUDA = {"content/test_cuda.py"}
OF_BOTH = {f"content/test_{name}.py" for name in ("course", "packages")}
OF_IMAGE = {*CONTAINER, *EDITED_LAB, *(f"content/test_{name}.py" for name in ("course", "packages"))}
EACH_LAB, OF_LABS = both(*LABS), both(*lanes.OF_LABS)
GRADING = ("test_grading.py", "test_grading_attacks.py", "test_grading_handed_in.py", "test_grading_modes.py")
SELFTEST = both(*(name for name in lanes.OF_LABS if name.startswith("test_selftest")))
INSIDE = {lane: {name for name in EACH_LAB | OF_LABS if name.startswith(lane)}
          for lane in ("labs-vm", "labs-cpu", "labs-cuda")}  # fmt: skip
ALL = {*UNIT, *CONTAINER, *CUDA, *EVERY_BYTE, *ACCEPTANCE, *BUILDS, *OF_VM, "gpu", *EACH_LAB, *OF_LABS}
ON_THIS_MACHINE = ALL - EACH_LAB - OF_LABS


def test_the_claims(checkout: Checkout) -> None:
    assert set(checkout.before) == ALL
    assert len(LABS) >= 20 and len(CONTAINER) >= 12
    assert checkout.opened() == checkout.opened_by_key() == set()


# ------------------------------------------------------------------------------------------------ edits of labs


def test_each_lane_is_in_one_row_and_the_labs_begin_after_another_one(checkout: Checkout) -> None:
    made = [[lane.name for lane in row] for row in rows(checkout.course, PRODUCTS)]
    rooms = [lane.name for lane in room_lanes(checkout.course, PRODUCTS)]
    labs = [lane.name for lane in lab_lanes(PRODUCTS)]
    assert sorted(name for row in made for name in row) == sorted(["unit", *rooms, *labs])
    assert made.index(labs) >= testing.SIDE_BY_SIDE  # they wait for a place
    assert made.index(["vm"]) < testing.SIDE_BY_SIDE
    (builds,) = [row for row in made if "build" in row]
    assert "content" in builds  # both build, and a test asks whether builds have left something


@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("07_optimisers", set()),
        ("20_factors", set()),
        ("02_neighbours", both(*GRADING)),
        ("13_recurrent", both("test_grading.py")),
    ],
)
def test_an_edit_of_one_lab_opens_that_lab_and_what_reads_it(checkout: Checkout, name: str, readers: set[str]) -> None:
    expected = {*UNIT, *both(name), *readers, *EVERY_BYTE}
    assert expected.isdisjoint({"vm", "build", *CONTAINER})
    edited = (f"labs/{name}/exercise.py", f"labs/{name}/exercise.ipynb", f"labs/{name}/check.py")
    assert checkout.opened(*edited, delivered=delivered(f"lab:{name}")) == expected
    assert checkout.opened_by_key(*edited, delivered=delivered(f"lab:{name}")) == expected
    assert checkout.opened(f"labs/{name}/author/mutants.py") == expected
    assert checkout.opened(f"labs/{name}/author/lab.py") == expected


def test_the_delivered_lab_counts_in_its_tree(checkout: Checkout) -> None:
    found = checkout.opened(delivered=delivered(cuda=["lab:07_optimisers"]))
    assert found == {"labs-cuda/07_optimisers", *EVERY_BYTE}


def test_files_that_come_and_go_in_the_labs_open_what_lists_them(checkout: Checkout) -> None:
    found = checkout.opened(delivered=delivered(SHAPE))
    assert found == {*OF_VM, *OF_IMAGE, *EVERY_BYTE, *both("test_examples.py", *GRADING)}


def test_what_the_labs_share_opens_all_labs(checkout: Checkout) -> None:
    found = checkout.opened("labs/checking/lab.py", delivered=delivered("labs"))
    assert found == ALL - (BUILDS - EDITED_LAB) - ACCEPTANCE - CUDA - {"gpu"}


@pytest.mark.parametrize("place", ["tools/new_lab.py", "tools/lab_template/check.py", "tools/lab_template/mutants.py"])
def test_what_a_new_lab_is_made_from_opens_its_test(checkout: Checkout, place: str) -> None:
    assert checkout.opened(place) == {*UNIT, *EVERY_BYTE, *both("test_new_lab.py")}


@pytest.mark.parametrize("place", ["tools/labs.py", "tools/labkit.py"])
def test_what_labs_are_made_with_opens_all_labs(checkout: Checkout, place: str) -> None:
    assert checkout.opened(place) == {*UNIT, *EACH_LAB, *OF_LABS, *EVERY_BYTE}


def test_another_python_in_the_second_tree_brings_back_what_follows_from_python(checkout: Checkout) -> None:
    other = {**PRODUCTS, "vm": replace(PRODUCTS["vm"], python="3.14.0-1")}
    brought = {f"labs-vm/{name}" for name in lanes.OF_PYTHON}
    assert set(lanes.OF_PYTHON) < set(lanes.OF_LABS)
    after = checkout.keys(other)
    assert set(after) - set(checkout.before) == brought
    assert {name: key for name, key in after.items() if name not in brought} == checkout.before
    newer = {**other, "cuda": replace(PRODUCTS["cuda"], python="3.14.0-1")}
    assert checkout.keys(newer) == checkout.before


def test_another_torch_in_the_second_tree_brings_its_mutants_back(checkout: Checkout) -> None:
    other = delivered(torch="2.7.0")
    assert checkout.opened_by_key(delivered=other) == {name for name in EACH_LAB if name.startswith("labs-vm/")}
    text = (CHECKOUT / "tests" / "inside" / "test_each_lab.py").read_text(encoding="utf-8")
    assert all(f"def {name}(" in text for name in lanes.MUTANTS)
    other["cuda"] = replace(other["cuda"], torch="3.0.0")  # there they always run
    assert checkout.opened_by_key(delivered=other) == {name for name in EACH_LAB if name.startswith("labs-vm/")}


# ---------------------------------------------------------------------------------------- edits of anything else


def test_an_edit_of_the_containers_start_opens_what_starts_containers(checkout: Checkout) -> None:
    expected = {*UNIT, *OF_IMAGE, *BUILDS, *EVERY_BYTE}
    assert expected.isdisjoint({"vm", *EACH_LAB, *OF_LABS})
    assert checkout.opened("docker/coursebox_container/start.py", delivered=delivered(cuda=["entry"])) == expected
    assert checkout.opened_by_key("docker/start", delivered=delivered(cuda=["entry"])) == expected
    assert checkout.opened("docker/compose.yaml") == {*UNIT, *CONTAINER, *BUILDS, *EVERY_BYTE}


BROWSER = {"container/test_browser.py", "container-cpu/test_browser.py"}
ENGINES = {"container/test_engines.py", "container-cpu/test_engines.py"}
EDITS: Sequence[tuple[str, dict[str, Delivered], set[str]]] = [
    ("docs/student.md", PRODUCTS, UNIT),
    ("README.md", PRODUCTS, UNIT),
    ("course.toml", PRODUCTS, ON_THIS_MACHINE),
    ("packages.toml", PRODUCTS, {*UNIT, *BUILDS, *EVERY_BYTE, "content/test_packages.py"}),
    ("ansible/README.md", PRODUCTS, {*UNIT, *BUILDS, *EVERY_BYTE}),
    ("coursebox/trees/mmdebstrap.sh", PRODUCTS, {*UNIT, *BUILDS, *EVERY_BYTE}),
    ("coursebox/disk/make-disk.sh", PRODUCTS, {*UNIT, *BUILDS, *EVERY_BYTE, "vm"}),
    ("coursebox/verify/machine/qemu.py", PRODUCTS, {*UNIT, "vm", *BROWSER}),
    ("coursebox/formats/oci/stage.py", PRODUCTS, {*UNIT, *BUILDS, *EVERY_BYTE, *CONTAINER, *files("content")}),
    ("coursebox/formats/ova/ovf.py", PRODUCTS, {*UNIT, *BUILDS, *EVERY_BYTE, *ACCEPTANCE, *files("content")}),
    ("tests/equipment/oci.py", PRODUCTS, {*UNIT, *ENGINES, *files("content")}),
    ("coursebox/delivery/report.py", PRODUCTS, {*UNIT, *BUILDS, *EVERY_BYTE, *files("content")}),
    ("coursebox/course.py", PRODUCTS, ON_THIS_MACHINE - {"gpu"}),
    ("coursebox/verify/inside.py", PRODUCTS, {*UNIT, *EACH_LAB, *OF_LABS}),
    ("coursebox/verify/hosted.py", PRODUCTS, ON_THIS_MACHINE),
    ("selftest/course_selftest/suite.py", delivered("selftest"),
     {*UNIT, *BUILDS, *EVERY_BYTE, *OF_VM, *OF_IMAGE, *SELFTEST, "gpu"}),
    ("grading/course_grade/pool.py", delivered("grading"),
     {*UNIT, *BUILDS, *EVERY_BYTE, *OF_VM, *OF_IMAGE, *both(*GRADING)}),
    ("tests/inside/lab_cases.py", PRODUCTS, {*UNIT, *EACH_LAB, *OF_LABS}),
    ("tests/container/containers.py", PRODUCTS, {*UNIT, *CONTAINER}),
    ("tests/container/fakes/cuda.c", PRODUCTS, {*UNIT, *CONTAINER}),
    ("tests/content/conftest.py", PRODUCTS, {*UNIT, *files("content")}),
    ("tests/acceptance/conftest.py", PRODUCTS, {*UNIT, *files("acceptance")}),
    ("tests/vm/delivered.py", PRODUCTS, {*UNIT, "vm", *BROWSER}),
    ("tests/vm/browser.py", PRODUCTS, {*UNIT, "vm", *BROWSER}),
    ("tests/vm/power_cut_writer.py", PRODUCTS, {*UNIT, "vm"}),
    ("tests/gpu/spoiling_worker.py", PRODUCTS, {*UNIT, "gpu"}),
    ("tests/unit/test_cli.py", PRODUCTS, UNIT),
]  # fmt: skip


@pytest.mark.parametrize(("place", "products", "expected"), EDITS, ids=[place for place, *_ in EDITS])
def test_an_edit_opens(checkout: Checkout, place: str, products: dict[str, Delivered], expected: set[str]) -> None:
    assert checkout.opened(place, delivered=products) == expected


PARTS: list[tuple[str, str, set[str]]] = [
    ("vm", "system", {*OF_VM, *ACCEPTANCE, *EVERY_BYTE, *INSIDE["labs-vm"]}),
    ("vm", "entry", {*OF_VM, *EVERY_BYTE}),
    ("vm", "selftest", {*OF_VM, *EVERY_BYTE, *(SELFTEST & INSIDE["labs-vm"])}),
    ("vm", "grading", {*OF_VM, *EVERY_BYTE, *(both(*GRADING) & INSIDE["labs-vm"])}),
    ("vm", "labs", {*OF_VM, *EVERY_BYTE, *INSIDE["labs-vm"]}),
    ("vm", "disk", {"vm", *ACCEPTANCE, *EVERY_BYTE}),
    ("vm", "ovf", {"vm", *ACCEPTANCE, *EVERY_BYTE}),
    ("vm", "file", EVERY_BYTE),
    ("cpu", "file", EVERY_BYTE),
    ("cuda", "file", EVERY_BYTE),
]
for kind, own in (("cpu", {*OF_CPU, *OF_BOTH}), ("cuda", {*OF_CUDA, *OF_BOTH, *EDITED_LAB})):
    labs = INSIDE[f"labs-{kind}"]
    PARTS += [
        (kind, "system", {*own, *EVERY_BYTE, *labs, *(CUDA if kind == "cuda" else ())}),
        (kind, "entry", {*own, *EVERY_BYTE}),
        (kind, "selftest", {*own, *EVERY_BYTE, *(SELFTEST & labs)}),
        (kind, "grading", {*own, *EVERY_BYTE, *(labs & both(*GRADING))}),
        (kind, "labs", {*own, *EVERY_BYTE, *labs}),
        (kind, "config", {*own, *EVERY_BYTE, *labs}),
    ]


@pytest.mark.parametrize(("kind", "part", "expected"), PARTS)
def test_another_part_of_a_delivered_file_opens(checkout: Checkout, kind: str, part: str, expected: set[str]) -> None:
    products = delivered(**{kind: [part]})  # type: ignore[arg-type]
    assert checkout.opened(delivered=products) == expected


@pytest.mark.parametrize("folder", ["content", "container", "acceptance", "vm", "build", "gpu", "inside"])
def test_an_edit_of_a_file_of_tests_opens_it_alone(checkout: Checkout, folder: str) -> None:
    assert files(folder)
    for place in sorted(files(folder)):
        name = place.removeprefix("inside/")
        expected = {folder} if folder in ("vm", "build", "gpu") else both(name) if folder == "inside" else {place}
        expected |= {place.replace("container/", "container-cpu/")} & OF_CPU
        found = checkout.opened(f"tests/{place}")
        if name in lanes.EACH_LAB:  # a new lab passes the tests of each lab, and a test shows it
            expected = {*EACH_LAB, *both("test_new_lab.py")}
        assert found == {*UNIT, *expected}, place


@pytest.mark.parametrize(
    ("tool", "version", "expected"),
    [
        ("qemu-system-x86", "2", ON_THIS_MACHINE),
        ("chromium", "2", ON_THIS_MACHINE),
        ("docker.io", "2", ALL),
        ("docker-ce", "2", ALL),
        ("nvidia-smi", "NVIDIA H200, 580.95.05", {"gpu"}),
    ],
)
def test_another_tool_of_this_machine_opens(checkout: Checkout, tool: str, version: str, expected: set[str]) -> None:
    assert checkout.opened_by_key(tools={tool: version}) == expected


def test_other_python_packages_open_what_runs_on_this_machine(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted((CHECKOUT / "locks" / "host").iterdir()):
        assert checkout.opened(path.relative_to(CHECKOUT).as_posix()) == ON_THIS_MACHINE
    monkeypatch.setattr(lanes.importlib.metadata, "version", lambda name: f"{name} 9")
    assert checkout.opened_by_key() == {"gpu"}


def test_other_settings_of_pytest_open_everything(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkout.opened("pyproject.toml") == UNIT  # anything else in it
    monkeypatch.setattr(lanes.tomllib, "loads", lambda text: {"tool": {"pytest": {"addopts": "--other"}}})
    assert checkout.opened_by_key() == ALL


# ------------------------------------------------------------------------------------------------ claims and runs


def test_a_claim_without_an_entry_reads_everything(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file of tests that nobody has put into the tables is proved anew whenever anything has changed."""
    monkeypatch.setattr(lanes, "NARROW", {})
    monkeypatch.setattr(lanes, "files_digest", names)
    # What judges a build is not in the build: coursebox/verify, but for what the tests import of it.
    others = ("docs/", "tests/", ".ci/", ".github/", "LICENSES/", "coursebox/verify/", "coursebox/__")
    rooms = {path for path in names(sources.tracked()) if not path.startswith(others) and "/" in path}
    for name, claim in checkout.claims().items():
        if name != "unit" and not name.startswith("labs-"):
            assert rooms <= set(claim.reads["files"]), f"{name} does not read the whole builder"
            assert claim.reads["vm"] == {"file": "vm-file"} and claim.reads["cuda"] == {"file": "cuda-file"}


def test_a_part_that_a_product_has_not_may_come(checkout: Checkout) -> None:
    parts = {name: digest for name, digest in PRODUCTS["vm"].parts.items() if name != "ovf"}
    assert checkout.opened_by_key(delivered={**PRODUCTS, "vm": replace(PRODUCTS["vm"], parts=parts)}) == {
        "vm",
        *ACCEPTANCE,
    }


def test_a_new_file_in_the_tests_of_the_labs_must_be_named(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten, *others = lanes.OF_LABS
    monkeypatch.setattr(lanes, "OF_LABS", tuple(others))
    with pytest.raises(AssertionError, match=forgotten):
        checkout.lanes()


def test_a_claim_reads_anew_what_was_edited_meanwhile(checkout: Checkout) -> None:
    made = checkout.made
    assert all(lane.claims_now is not None and [*lane.claims_now()] == [*lane.claims] for lane in made.values())
    author = CHECKOUT / "labs" / LABS[6] / "author"
    checkout.edited = {CHECKOUT / "tests" / "container" / "test_ssh.py", author / "lab.py"}
    try:
        for name, expected in (
            ("unit", {"unit"}), ("container", {"container/test_ssh.py"}), ("vm", set()),
            ("labs-vm", {f"labs-vm/{LABS[6]}"}), ("labs-cuda", {f"labs-cuda/{LABS[6]}"}),
        ):  # fmt: skip
            now = made[name].claims_now
            assert now is not None
            assert {claim.name for claim in now() if claim not in made[name].claims} == expected
    finally:
        checkout.edited = set()


def outcome(file: str, name: str) -> Outcome:
    return Outcome(file, name, 1.0, "passed")


@pytest.mark.parametrize(
    ("lane", "file", "name", "claim"),
    [
        ("unit", "tests/unit/test_cli.py", "test_a", "unit"),
        ("content", "tests/content/test_course.py", "test_data_sets[vm]", "content/test_course.py"),
        ("container", "tests/container/test_ssh.py", "test_a[07_optimisers]", "container/test_ssh.py"),
        ("vm", "tests/vm/test_2_second_start.py", "test_a", "vm"),
        ("gpu", "tests/gpu/test_gpu.py", "test_check[matmul]", "gpu"),
        ("labs-vm", "tests/inside/test_each_lab.py", "test_the_solution_passes[07_optimisers-2]", "07_optimisers"),
        ("labs-vm", "tests/inside/test_each_lab.py", "test_the_solution_passes[2-07_optimisers]", "07_optimisers"),
        ("labs-vm", "tests/inside/test_each_lab.py", "test_one_part[02_neighbours-PCA]", "02_neighbours"),
        ("labs-vm", "tests/inside/test_each_lab.py", "test_a_mutant[08_training_deep-a-b [c]]", "08_training_deep"),
        (
            "labs-cuda",
            "tests/inside/test_targets.py",
            "test_the_solved_notebook[10_looking_inside]",
            "10_looking_inside",
        ),
        ("labs-cuda", "tests/inside/test_each_lab.py", "test_without_a_lab", "test_each_lab.py"),
        ("labs-cuda", "tests/inside/test_grading.py", "test_a[02_neighbours]@test_grading", "test_grading.py"),
        ("labs-cuda", "tests/inside/test_examples.py", "test_notebook_runs[horse]", "test_examples.py"),
    ],
)
def test_a_test_belongs_to_a_claim(checkout: Checkout, lane: str, file: str, name: str, claim: str) -> None:
    expected = f"{lane}/{claim}" if lane.startswith("labs-") else claim
    assert checkout.made[lane].claim_of(outcome(file, name)) == expected
    assert expected in checkout.before or name == "test_without_a_lab"  # which is judged as a failure of the lane


def test_each_lab_is_recognised_by_the_names_of_its_tests(checkout: Checkout) -> None:
    lane = checkout.made["labs-cuda"]
    for name in LABS:
        for test in (f"test_a[{name}]", f"test_a[{name}-x]", f"test_a[1-{name}]"):
            assert lane.claim_of(outcome("tests/inside/test_each_lab.py", test)) == f"labs-cuda/{name}"


class Started:
    """Stands for pytest: what each run was started with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arguments: list[str] = []
        self.only = ""
        self.how: dict[str, object] = {}
        monkeypatch.setattr(lanes.hosted, "run", self.here)
        monkeypatch.setattr(lanes, "run_inside", self.inside)

    def here(self, arguments: Sequence[str], report: Path, output: IO[bytes] | None, **how: object) -> int:
        self.arguments, self.how = [*arguments], {**how, "report": report, "output": output}
        return 5

    def inside(
        self, inside: Inside, arguments: Sequence[str], report: Path, output: IO[bytes], *, only: str = ""
    ) -> int:
        self.arguments, self.only = [*arguments], only
        self.how = {"inside": inside, "report": report, "output": output}
        return 5

    @property
    def files(self) -> list[str]:
        return [word for word in self.arguments if word.startswith("tests/")]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return Started(monkeypatch)


def chosen(lane: Lane, *names: str) -> list[Claim]:
    found = [claim for claim in lane.claims if claim.name in names]
    assert len(found) == len(names)
    return found


def test_only_what_has_no_proof_runs(checkout: Checkout, started: Started, tmp_path: Path) -> None:
    made = checkout.made
    todo = chosen(made["container"], "container/test_ssh.py", "container/test_hub.py")
    assert made["container"].run(todo, tmp_path / "report.xml", None) == 5
    assert started.arguments == ["tests/container/test_hub.py", "tests/container/test_ssh.py"]
    expected = {"report": tmp_path / "report.xml", "output": None, "course": CHECKOUT / "course.toml"}
    assert started.how == {**expected, "target": "image-cuda"}
    made["container-cpu"].run(chosen(made["container-cpu"], "container-cpu/test_ssh.py"), tmp_path / "report.xml", None)
    assert started.arguments == ["tests/container/test_ssh.py"]
    assert started.how == {**expected, "target": "image"}
    made["vm"].run(made["vm"].claims, tmp_path, None)
    assert started.arguments == sorted(f"tests/{place}" for place in files("vm"))
    made["unit"].run(made["unit"].claims, tmp_path, None)
    assert started.arguments == ["tests/unit"] and started.how["parallel"] is True


def test_only_the_labs_without_a_proof_run_inside_their_tree(
    checkout: Checkout, started: Started, tmp_path: Path
) -> None:
    made = checkout.made
    with (tmp_path / "log").open("wb") as output:
        todo = ("labs-vm/07_optimisers", "labs-vm/20_factors", "labs-vm/test_grading.py")
        assert made["labs-vm"].run(chosen(made["labs-vm"], *todo), tmp_path / "report.xml", output) == 5
        assert started.files == [f"tests/inside/test_{name}.py" for name in ("targets", "each_lab", "grading")]
        assert started.only == "07 20"
        assert started.how == {"inside": PRODUCTS["vm"].inside, "report": tmp_path / "report.xml", "output": output}
        made["labs-vm"].run(chosen(made["labs-vm"], "labs-vm/test_grading.py"), tmp_path, output)
        assert (started.files, started.only) == (["tests/inside/test_grading.py"], "")


def test_mutants_run_in_one_tree_and_in_the_other_with_another_torch(
    checkout: Checkout, started: Started, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("wb") as output:
        for torch, left_out in (
            (lanes.MUTANTS_SEEN, {"labs-cuda": False, "labs-vm": True}),
            ("2.7.0", {"labs-cuda": False, "labs-vm": False}),
        ):
            for lane in checkout.lanes(delivered(torch=torch)):
                if lane.name in left_out:
                    lane.run(lane.claims, tmp_path, output)
                    words = ["-k", " and ".join(f"not {name}" for name in lanes.MUTANTS)] if left_out[lane.name] else []
                    assert [word for word in started.arguments if word == "-k" or word.startswith("not ")] == words


def test_no_file_of_tests_is_forgotten(checkout: Checkout, started: Started, tmp_path: Path) -> None:
    ran: list[str] = []
    with (tmp_path / "log").open("wb") as output:
        for lane in checkout.made.values():
            lane.run(lane.claims, tmp_path, output)
            ran += started.files
    wanted = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "tests").glob("*/test_*.py")}
    once = {path for path in wanted if not path.startswith(("tests/unit/", "tests/inside/"))}
    inside = {path for path in wanted if path.startswith("tests/inside/")}
    twice = inside - {f"tests/inside/{name}" for name in lanes.OF_PYTHON}
    again = {f"tests/inside/{name}" for name in lanes.IN_CPU} | {f"tests/{name}" for name in OF_CUDA}
    again -= {"tests/container/test_gpu.py"}
    assert sorted(ran) == sorted([*once, *inside, *twice, *again, "tests/unit"])


def test_the_image_for_the_cpu_solves_each_lab_once(checkout: Checkout, started: Started, tmp_path: Path) -> None:
    lane = checkout.made["labs-cpu"]
    with (tmp_path / "log").open("wb") as output:
        lane.run(lane.claims, tmp_path, output)
    assert started.arguments[started.arguments.index("-k") + 1] == "test_the_solution_passes or not test_each_lab"
    assert started.files[0] == "tests/inside/test_each_lab.py" and len(started.files) == len(lanes.IN_CPU)
    text = (CHECKOUT / "tests" / "inside" / "test_each_lab.py").read_text(encoding="utf-8")
    assert f"def {lanes.IN_CPU_OF_EACH_LAB}(" in text


def test_only_the_tests_of_a_gpu_may_be_skipped(checkout: Checkout) -> None:
    assert [lane.name for lane in checkout.made.values() if lane.may_skip] == ["gpu"]
