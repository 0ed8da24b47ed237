"""tools/bootstrap: environments by the digest of their lock, made once; its Python is a script that plays along."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from coursebox.core.paths import CHECKOUT

# Knows `-c` (its version), `-m venv FOLDER`, and `-m pip install …`, which fails for a lock that says "wrong".
PYTHON = """#!/bin/sh
here=$(dirname "$(dirname "$0")")
case "$1 $2" in
"-c import"*) echo "fake 3.11" ;;
"-m venv") mkdir -p "$3/bin" "$3/lib/python3.11/site-packages"; cp "$0" "$3/bin/python" ;;
"-m pip")
    echo "$*" >>"$CALLS"
    while [ -e "$CALLS.wait" ]; do sleep 0.05; done
    for word; do case $word in --requirement=*) file=${word#*=};; esac; done
    if grep -q wrong "$file"; then echo "noise"; echo "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"; exit 1; fi
    touch "$here/bin/tool-of-$(basename "$file" .txt)"; chmod 755 "$here/bin/"tool-* ;;
esac
"""


class Clone:
    """A checkout with the script and two locks, and a cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.locks = folder / "clone" / "locks" / "host"
        self.locks.mkdir(parents=True)
        (folder / "clone" / "tools").mkdir()
        shutil.copy(CHECKOUT / "tools" / "bootstrap", folder / "clone" / "tools" / "bootstrap")
        for name in ("build", "test"):
            (self.locks / f"requirements-{name}.txt").write_text(f"{name}-a==1\n{name}-b==2\n", encoding="utf-8")
        (folder / "python").write_text(PYTHON, encoding="utf-8")
        (folder / "python").chmod(0o755)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "COURSEBOX_CACHE": str(self.folder / "cache"),
            "PYTHON": str(self.folder / "python"),
            "CALLS": str(self.folder / "calls"),
        }
        script = self.folder / "clone" / "tools" / "bootstrap"
        pipe = subprocess.PIPE
        return subprocess.Popen([script, *arguments], env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_it_prepares_once_and_prints_the_interpreter(clone: Clone) -> None:
    first = clone.run("build")
    assert first.returncode == 0, first.stderr
    interpreter = Path(first.stdout.strip())
    assert interpreter.is_file()
    assert interpreter.is_relative_to(clone.folder / "cache" / "python")
    assert "‣ preparing 2 locked Python packages in " in first.stderr
    assert "  prepared in " in first.stderr
    second = clone.run("build")
    assert (second.stdout, second.stderr) == (first.stdout, "")
    assert len(clone.calls()) == 1
    for option in ("--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"):
        assert option in clone.calls()[0]


def test_the_tests_see_what_the_build_has(clone: Clone) -> None:
    build, test = clone.run("build").stdout.strip(), clone.run("test").stdout.strip()
    assert build != test
    environment = Path(test).parent.parent
    (path,) = environment.glob("lib/python3.11/site-packages/*.pth")
    assert Path(path.read_text(encoding="utf-8").strip()) == Path(build).parent.parent / "lib/python3.11/site-packages"
    assert (environment / "bin" / "tool-of-requirements-build").resolve().parent == Path(build).parent
    assert not (environment / "bin" / "tool-of-requirements-test").is_symlink()
    assert not (environment / "bin" / "python").is_symlink()


def test_a_changed_lock_is_another_environment_and_the_old_one_stays(clone: Clone) -> None:
    first, tests = clone.run("build").stdout, clone.run("test").stdout
    (clone.locks / "requirements-test.txt").write_text("other==1\n", encoding="utf-8")
    assert clone.run("build").stdout == first
    assert clone.run("test").stdout != tests
    (clone.locks / "requirements-build.txt").write_text("other==1\n", encoding="utf-8")
    second = clone.run("build").stdout
    assert second != first
    assert Path(first.strip()).exists()


def test_one_that_was_interrupted_is_made_anew(clone: Clone) -> None:
    environment = Path(clone.run("build").stdout.strip()).parent.parent
    (environment / "complete").unlink()
    (environment / "half").touch()
    assert clone.run("build").returncode == 0
    assert not (environment / "half").exists()
    assert (environment / "complete").exists()


def test_two_at_once_prepare_it_once(clone: Clone) -> None:
    hold = clone.folder / "calls.wait"
    hold.touch()
    first, second = clone.start("build"), clone.start("build")
    said: list[str] = []
    try:
        for process in (first, second):
            assert process.stderr is not None
            said.append(process.stderr.readline())
    finally:
        hold.unlink()
    outputs = {process.communicate()[0] for process in (first, second)}
    assert len(outputs) == 1
    assert len(clone.calls()) == 1
    assert "‣ waiting for another coursebox that prepares the Python tools …\n" in said


def test_a_wrong_digest_is_told_and_leaves_nothing_complete(clone: Clone) -> None:
    lock = clone.locks / "requirements-build.txt"
    lock.write_text("wrong==1\n", encoding="utf-8")
    done = clone.run("build")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[1:] == [
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES",
        f"error: the Python packages of {lock} could not be installed",
        "  hint: check the index: pip config list",
    ]
    assert not list(clone.folder.glob("cache/python/*/complete"))


def test_missing_locks_and_wrong_usage(clone: Clone) -> None:
    assert clone.run("all").stderr == "error: usage: tools/bootstrap build|test\n"
    (clone.locks / "requirements-test.txt").unlink()
    done = clone.run("build")
    assert (done.returncode, done.stderr) == (
        1,
        f"error: {clone.locks}/requirements-test.txt is missing\n"
        '  hint: restore it from git; "make lock" writes it anew\n',
    )
