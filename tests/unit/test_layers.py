"""The layers of the house: imports go down only, and no module grows into a drawer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from coursebox.core.paths import CHECKOUT

HOUSE = CHECKOUT / "coursebox"
# From the ground up: a module imports from its own room and from lower floors.
FLOORS = (
    {"core"},
    {"archives", "architecture"},
    {"validators"},
    {"course"},
    {"identity", "target"},
    {"lock", "host"},
    {"fetch"},
    {"trees"},
    {"disk"},
    {"formats"},
    {"delivery"},
    {"prune", "prepare"},
    {"build", "grade"},
    {"verify"},
    {"cli"},
    {"__main__"},
)
# What starts from anywhere may know which version it is.
EVERYWHERE = "__init__"
LONGEST = 400  # lines
WIDEST = 12  # modules of ours that one module imports at its top


def modules() -> list[Path]:
    return [path for path in sorted(HOUSE.rglob("*.py")) if "__pycache__" not in path.parts]


def room(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py") if parts else EVERYWHERE


def imports(path: Path, *, nested: bool) -> Iterator[tuple[str, ...]]:
    """The modules of ours that a module imports, as parts of their names below coursebox.

    What stands under `if TYPE_CHECKING` is for the type checker only. nested: imports inside of functions, too.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ignored = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = ast.walk(tree) if nested else iter(tree.body)
    for node in found:
        if id(node) in ignored or not isinstance(node, ast.ImportFrom | ast.Import):
            continue
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.Import):
            candidates = [tuple(name.split(".")) for name in names]
        else:
            assert node.level == 0, f"{path}: a relative import"
            top = tuple((node.module or "").split("."))
            candidates = [(*top, name) if HOUSE.joinpath(*top[1:], f"{name}.py").is_file() else top for name in names]
        yield from {parts[1:] for parts in candidates if parts[0] == "coursebox"}


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def test_every_room_has_a_floor() -> None:
    rooms = {room(path.relative_to(HOUSE).parts) for path in modules()} - {EVERYWHERE}
    assert rooms == set().union(*FLOORS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_imports_go_down_only(path: Path) -> None:
    own = room(path.relative_to(HOUSE).parts)
    for parts in imports(path, nested=True):
        other = room(parts)
        if own == EVERYWHERE or other in (own, EVERYWHERE):
            continue
        assert floor(other) < floor(own), f"{path.relative_to(CHECKOUT)} imports {'.'.join(parts)}, which is above it"


def test_the_ground_imports_no_other_room() -> None:
    for path in sorted((HOUSE / "core").glob("*.py")):
        assert {room(parts) for parts in imports(path, nested=True)} <= {"core"}


def test_no_module_imports_too_many_others() -> None:
    wide = {path.relative_to(HOUSE).as_posix(): len(set(imports(path, nested=False))) for path in modules()}
    assert max(wide.values()) > 5
    assert {path: count for path, count in wide.items() if count > WIDEST} == {}


def test_no_module_has_grown_into_two() -> None:
    others = [path for folder in ("docker", "selftest", "grading") for path in (CHECKOUT / folder).rglob("*.py")]
    places = [*modules(), *others]
    lines = {
        path.relative_to(CHECKOUT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in places
    }
    assert {path: count for path, count in lines.items() if count > LONGEST} == {}


def test_a_circle_inside_a_room_is_found_by_importing_each_module_alone() -> None:
    """Each module can be the first one that is imported: no circle needs a certain order."""
    paths = {".".join(path.relative_to(CHECKOUT).with_suffix("").parts): path for path in modules()}
    graph = {
        name: {".".join(("coursebox", *parts)) for parts in imports(path, nested=False)} & paths.keys()
        for name, path in paths.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join([*way, name])
        if name in done:
            return
        for other in sorted(graph[name]):
            visit(other, (*way, name))
        done.add(name)

    for name in sorted(paths):
        visit(name, ())
    assert done == paths.keys()
