"""What tests read of the checkout: the closure of their imports, and digests that see what counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from coursebox.core.paths import CHECKOUT
from coursebox.verify.sources import below, files_digest, tracked, with_imports

PACKAGE = {"pkg/__init__.py", "pkg/sub/__init__.py"}
FILES = {
    "pkg/__init__.py": "",
    "pkg/a.py": "import json\n",
    "pkg/z.py": "",
    "pkg/sub/__init__.py": "",
    "pkg/sub/b.py": "",
    "pkg/sub/c.py": "",
    "plain/deep/module.py": "",
    "plain.txt": "",
    "docker/inner/__init__.py": "",
    "docker/inner/start.py": "",
    "selftest/suite.py": "",
    "grading/pool.py": "",
    "labs/checking/__init__.py": "",
    "labs/checking/runner.py": "",
    "tests/vm/browser.py": "",
    "tests/kind/helper.py": "",
    "tests/other/stranger.py": "",
}
TEST = "tests/kind/test_x.py"


def lay_out(checkout: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text, encoding="utf-8")
    return checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout without git."""
    return lay_out(tmp_path / "checkout", FILES)


def edit(path: Path, text: str) -> None:
    """Write a file again, at least a second later than it was written before."""
    later = path.stat().st_mtime + 1 if path.exists() else 1.0
    path.write_text(text, encoding="utf-8")
    os.utime(path, (later, later))


def names(paths: Iterable[Path], checkout: Path) -> set[str]:
    return {path.relative_to(checkout).as_posix() for path in paths}


def read_by(checkout: Path, text: str, place: str = TEST) -> set[str]:
    """What a file with this text imports, directly or through others, without the file itself."""
    lay_out(checkout, {place: text})
    return names(with_imports([checkout / place], checkout), checkout) - {place}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import pkg.sub.b", {*PACKAGE, "pkg/sub/b.py"}),
        ("import json, pkg.a as other", {"pkg/__init__.py", "pkg/a.py"}),
        ("from pkg import a", {"pkg/__init__.py", "pkg/a.py"}),
        ("from pkg import sub", PACKAGE),
        ("from pkg.sub import b as other, c", {*PACKAGE, "pkg/sub/b.py", "pkg/sub/c.py"}),
        ("from pkg.sub.b import function", {*PACKAGE, "pkg/sub/b.py"}),
        ("from pkg.sub import *", PACKAGE),
        ("from plain.deep import module", {"plain/deep/module.py"}),
        ("import plain.deep.module", {"plain/deep/module.py"}),
        ("import helper", {"tests/kind/helper.py"}),
        ("import stranger", set()),
        ("import inner.start", {"docker/inner/__init__.py", "docker/inner/start.py"}),
        ("from suite import x", {"selftest/suite.py"}),
        ("from pool import x", {"grading/pool.py"}),
        ("from checking import runner", {"labs/checking/__init__.py", "labs/checking/runner.py"}),
        ("from browser import Browser", {"tests/vm/browser.py"}),
        ("import json\nfrom nowhere import nothing", set()),
        ("def test():\n    from pkg import a", {"pkg/__init__.py", "pkg/a.py"}),
        ("class A:\n    def f(self):\n        import pkg.z", {"pkg/__init__.py", "pkg/z.py"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pkg.a", {"pkg/__init__.py", "pkg/a.py"}),
        ("try:\n    import pkg.a\nexcept ImportError:\n    import helper",
         {"pkg/__init__.py", "pkg/a.py", "tests/kind/helper.py"}),
        ("'import pkg.a'  # import pkg.z", set()),
        ("from . import helper", {"tests/kind/helper.py"}),
        ("from .helper import x", {"tests/kind/helper.py"}),
        ("from ..other import stranger", {"tests/other/stranger.py"}),
        ("import pkg.a\n  this is no Python", set()),
        ("\0", set()),
    ],
)  # fmt: skip
def test_imports_are_followed(checkout: Path, text: str, expected: set[str]) -> None:
    assert read_by(checkout, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from . import c", {"pkg/sub/__init__.py", "pkg/sub/c.py"}),
        ("from .c import x", {"pkg/sub/c.py"}),
        ("from .. import a", {"pkg/__init__.py", "pkg/a.py"}),
        ("from ..a import x", {"pkg/a.py"}),
        ("from ...plain.deep import module", {"plain/deep/module.py"}),
        ("def f():\n    from . import c", {"pkg/sub/__init__.py", "pkg/sub/c.py"}),
    ],
)
def test_relative_imports_in_a_package(checkout: Path, text: str, expected: set[str]) -> None:
    edit(checkout / "pkg" / "sub" / "b.py", text)
    assert read_by(checkout, "from pkg.sub import b") == {*PACKAGE, "pkg/sub/b.py", *expected}


def test_a_packages_own_imports_count(checkout: Path) -> None:
    edit(checkout / "pkg" / "__init__.py", "from pkg.sub.b import x")
    edit(checkout / "pkg" / "sub" / "__init__.py", "from . import c")
    assert read_by(checkout, "import pkg.z") == {*PACKAGE, "pkg/z.py", "pkg/sub/b.py", "pkg/sub/c.py"}


def test_modules_that_import_each_other_come_to_an_end(checkout: Path) -> None:
    edit(checkout / "pkg" / "a.py", "import pkg.z")
    edit(checkout / "pkg" / "z.py", "import pkg.a")
    assert read_by(checkout, "import pkg.a") == {"pkg/__init__.py", "pkg/a.py", "pkg/z.py"}


def test_what_is_no_python_is_read_as_it_is(checkout: Path) -> None:
    lay_out(checkout, {"tests/kind/table.txt": "import pkg.a"})
    table = checkout / "tests" / "kind" / "table.txt"
    assert with_imports([table, table], checkout) == [table]


def test_an_edit_anywhere_in_the_closure_changes_the_digest_and_one_outside_does_not(checkout: Path) -> None:
    edit(checkout / "tests" / "kind" / "helper.py", "from pkg import a")
    edit(checkout / "pkg" / "a.py", "def f():\n    import pkg.sub.b")
    lay_out(checkout, {TEST: "import helper"})

    def digest() -> str:
        return files_digest(with_imports([checkout / TEST], checkout), checkout)

    inside = {TEST, "tests/kind/helper.py", "pkg/__init__.py", "pkg/a.py", "pkg/sub/__init__.py", "pkg/sub/b.py"}
    before = digest()
    for name in (*FILES, TEST):
        text = (checkout / name).read_text(encoding="utf-8")
        edit(checkout / name, f"{text}\n# edited")
        assert (digest() != before) is (name in inside), name
        edit(checkout / name, text)
        assert digest() == before, name


def test_a_new_import_is_seen(checkout: Path) -> None:
    assert read_by(checkout, "import helper") == {"tests/kind/helper.py"}
    edit(checkout / "tests" / "kind" / "helper.py", "import pkg.z")
    assert read_by(checkout, "import helper") == {"tests/kind/helper.py", "pkg/__init__.py", "pkg/z.py"}


def test_digest_sees_places_contents_and_whether_a_file_is_executable(checkout: Path, tmp_path: Path) -> None:
    def digest(*names: str, top: Path = checkout) -> str:
        return files_digest([top / name for name in names], top)

    file = checkout / "pkg" / "a.py"
    before = digest("pkg/a.py", "pkg/z.py")
    assert digest("pkg/z.py", "pkg/a.py", "pkg/z.py") == before
    assert digest("pkg/a.py", "pkg/z.py", top=lay_out(tmp_path / "elsewhere", FILES)) == before
    file.chmod(0o600)
    assert digest("pkg/a.py", "pkg/z.py") == before
    file.chmod(0o755)
    assert digest("pkg/a.py", "pkg/z.py") != before
    assert len({digest("pkg/z.py"), digest("pkg/sub/b.py"), digest("pkg/z.py", "pkg/sub/b.py"), digest()}) == 4


def test_below_finds_files_and_folders_and_nothing_that_is_only_named_alike(checkout: Path) -> None:
    lay_out(checkout, {"pkg2/x.py": "", "pkg/a.pyx": ""})
    assert names(below("pkg", checkout=checkout), checkout) == {name for name in FILES if name.startswith("pkg/")} | {
        "pkg/a.pyx"
    }
    assert names(below("pkg/a.py", "pkg/sub", checkout=checkout), checkout) == {
        "pkg/a.py", "pkg/sub/__init__.py", "pkg/sub/b.py", "pkg/sub/c.py",
    }  # fmt: skip


@pytest.mark.parametrize("place", ["gone", "pkg/gone.py", "empty", "dist"])
def test_a_place_without_files_is_an_error(checkout: Path, place: str) -> None:
    """A table that names a place which has moved must not go unnoticed."""
    (checkout / "empty").mkdir()
    lay_out(checkout, {"dist/course.ova": ""})
    with pytest.raises(FileNotFoundError, match=place):
        below("pkg", place, checkout=checkout)


def test_without_git_litter_and_what_was_built_are_left_out(checkout: Path) -> None:
    litter = ("build/tests/unit.xml", "dist/a.ova", "pkg/__pycache__/a.pyc", ".venv/lib/x.py", "pkg/a.py~")
    lay_out(checkout, dict.fromkeys([*litter, "pkg/build/x.py"], ""))
    assert names(tracked(checkout), checkout) == {*FILES, "pkg/build/x.py"}


def test_with_git_new_files_count_and_ignored_and_deleted_ones_do_not(checkout: Path) -> None:
    lay_out(checkout, {".gitignore": "/made/\n", "made/x": "", "pkg/old.py": "", "pkg/name with ü.py": ""})
    for words in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", "-C", checkout, *words], check=True, capture_output=True)
    (checkout / "pkg" / "old.py").unlink()
    lay_out(checkout, {"pkg/new.py": ""})
    expected = {*FILES, ".gitignore", "pkg/new.py", "pkg/name with ü.py"}
    assert names(tracked(checkout), checkout) == expected


def test_closures_of_this_checkout() -> None:
    machine = names(with_imports(below("tests/vm")), CHECKOUT)
    assert {"tests/vm/delivered.py", "coursebox/verify/machine/qemu.py", "coursebox/verify/__init__.py"} <= machine
    assert not any(name.startswith(("tests/container", "tests/unit", "coursebox/trees")) for name in machine)
    browser = names(with_imports([CHECKOUT / "tests" / "container" / "test_browser.py"]), CHECKOUT)
    assert {"tests/container/containers.py", "tests/vm/browser.py", "tests/vm/delivered.py"} <= browser


# Collect the tests, and print each import that a file of the checkout makes of another one.
RECORD = """
import builtins, contextlib, io, json, os, sys
import pytest

checkout, original, found = sys.argv[1] + os.sep, builtins.__import__, set()

def record(name, globals=None, locals=None, fromlist=(), level=0):
    module = original(name, globals, locals, fromlist, level)
    importer = (globals or {}).get("__file__") or ""
    if importer.startswith(checkout):
        reached = [module, *(getattr(module, word, None) for word in fromlist or ())]
        reached += [sys.modules.get(name)] if not level else []
        for one in reached:
            file = getattr(one, "__file__", None) or ""
            if type(one) is type(sys) and file.startswith(checkout):
                found.add((importer, file))
    return module

builtins.__import__ = record
with contextlib.redirect_stdout(io.StringIO()):
    status = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[2:]])
print(json.dumps([status, sorted(found)]))
"""


def test_no_import_of_this_checkout_is_missed() -> None:
    """Python itself says what the tests import when they are collected."""
    folders = [f"tests/{name}" for name in ("container", "content", "acceptance", "build", "vm")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plug-ins take most of the time
    command = [sys.executable, "-B", "-c", RECORD, str(CHECKOUT), *folders]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    status, pairs = json.loads(done.stdout)
    assert status == 0
    made = {(Path(importer), Path(file)) for importer, file in pairs if importer != file}
    assert len(made) > 100
    assert any(importer.name == "test_browser.py" and file.name == "browser.py" for importer, file in made)
    closures = {importer: with_imports([importer]) for importer, _ in made}
    assert {(importer, file) for importer, file in made if file not in closures[importer]} == set()
