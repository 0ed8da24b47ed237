"""tools/bootstrap: environments by the digest of their lock, made once; its Python is a script that plays along."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coursebox.architecture import BUILDER, PYTHONS
from coursebox.core.paths import CHECKOUT

# Knows `-c` (its version), `-m venv FOLDER`, and `-m pip install …`, which fails for a lock that says "wrong".
PYTHON = """#!/bin/sh
here=$(dirname "$(dirname "$0")")
case "$1 $2" in
"-c import platform"*) echo "${VERSION:-3.11 True glibc}" ;;
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

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "COURSEBOX_CACHE": str(self.folder / "cache"),
            "PYTHON": str(self.folder / "python"),
            "CALLS": str(self.folder / "calls"),
            **settings,
        }
        script = self.folder / "clone" / "tools" / "bootstrap"
        pipe = subprocess.PIPE
        return subprocess.Popen([script, *arguments], env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **settings)
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


@pytest.mark.parametrize("damage", ["empty mark", "no mark", "no python", "python that cannot run"])
def test_a_damaged_one_is_made_anew(clone: Clone, damage: str) -> None:
    environment = Path(clone.run("build").stdout.strip()).parent.parent
    match damage:
        case "empty mark":
            (environment / "complete").write_text("")
        case "no mark":
            (environment / "complete").unlink()
        case "no python":
            (environment / "bin" / "python").unlink()
        case "python that cannot run":
            (environment / "bin" / "python").chmod(0o644)
    (environment / "half").touch()
    again = clone.run("build")
    assert again.returncode == 0 and Path(again.stdout.strip()).parent.parent == environment
    assert not (environment / "half").exists() and os.access(environment / "bin" / "python", os.X_OK)


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


# A machine that cannot build is told so before pip could say that somebody has tampered with the wheels.

TOOLS = "awk cut date du flock grep mkdir mv readlink rm sha256sum tail tar touch".split()


def path_of(clone: Clone, *lacking: str, kernel: str = "Linux", machine: str = "x86_64") -> str:
    """A path with the tools of a machine: another kernel's `uname`, and without those that are lacking."""
    folder = clone.folder / "bin"
    folder.mkdir()
    for tool in {*TOOLS, "sh", "dirname", "env", "cat", "id", "basename", "mktemp", "ln"} - {*lacking}:
        (folder / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool}"))
    (folder / "uname").write_text(f"#!/bin/sh\ncase $1 in -s) echo {kernel};; -m) echo {machine};; esac\n")
    (folder / "uname").chmod(0o755)
    return str(folder)


def refused(done: subprocess.CompletedProcess[str], clone: Clone) -> list[str]:
    """What a refused machine is told; nothing was made or asked for."""
    assert (done.returncode, done.stdout) == (1, "")
    assert not (clone.folder / "calls").exists()
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("kernel", "machine", "message"),
    [
        ("Darwin", "arm64", "error: coursebox builds on Linux, and this is Darwin"),
        ("FreeBSD", "x86_64", "error: coursebox builds on Linux, and this is FreeBSD"),
        ("Linux", "aarch64", "error: coursebox builds on x86_64, and this machine has aarch64"),
        ("Linux", "i686", "error: coursebox builds on x86_64, and this machine has i686"),
    ],
)
def test_another_kernel_or_processor_is_said_first(clone: Clone, kernel: str, machine: str, message: str) -> None:
    said = refused(clone.run("build", PATH=path_of(clone, kernel=kernel, machine=machine)), clone)
    assert said[0] == message and said[1].startswith("  hint: use a machine") and "Debian 12 or 13" in said[1]
    assert len(said) == 2


def test_a_mac_without_any_of_the_tools_is_told_that_it_is_a_mac(clone: Clone) -> None:
    path = path_of(clone, "flock", "sha256sum", kernel="Darwin", machine="arm64")
    assert refused(clone.run("build", PATH=path), clone)[0] == "error: coursebox builds on Linux, and this is Darwin"


def test_all_missing_programs_are_named_at_once(clone: Clone) -> None:
    said = refused(clone.run("build", PATH=path_of(clone, "flock", "tar")), clone)
    assert said == [
        "error: programs are missing: flock tar",
        "  hint: install them; Debian has them in coreutils, grep, mawk, tar and util-linux",
    ]


@pytest.mark.parametrize("version", ["3.9", "3.12", "3.14", "3.1"])
def test_another_python_is_said_before_pip_runs(clone: Clone, version: str) -> None:
    said = refused(clone.run("build", VERSION=f"{version} True glibc"), clone)
    assert said == [
        f"error: {clone.folder}/python is Python {version}, "
        "and the packages of coursebox are locked for Python 3.11 and 3.13",
        "  hint: use Debian 12 or 13, or set PYTHON to one of these: make ova PYTHON=/path/to/python3.13",
    ]


@pytest.mark.parametrize("found", ["3.11 False glibc", "3.13 True ", "3.13 True musl"])
def test_a_python_of_another_kind_is_said_too(clone: Clone, found: str) -> None:
    said = refused(clone.run("build", VERSION=found), clone)
    assert said[0] == f"error: {clone.folder}/python is not a 64-bit Python on the GNU C library"


def test_a_python_that_does_not_run(clone: Clone) -> None:
    (clone.folder / "python").write_text("#!/bin/sh\necho broken >&2; exit 127\n")
    done = clone.run("build")
    assert done.returncode == 1
    assert f"error: {clone.folder}/python does not run" in done.stderr


def test_sudo_keeps_the_proxies(clone: Clone) -> None:
    """What the script hands to sudo; its own functions, run alone."""
    script = (CHECKOUT / "tools" / "bootstrap").read_text(encoding="utf-8")
    function = script[script.index("as_root() {") : script.index("# Debian splits off")]
    shell = f'id() {{ echo 1000; }}\nsudo() {{ printf "%s\\n" "$*"; }}\n{function}\nas_root apt-get update'
    for environment, said in (
        ({"https_proxy": "http://proxy", "NO_PROXY": "x"}, "--preserve-env=https_proxy,NO_PROXY -- apt-get update"),
        ({}, "-- apt-get update"),
    ):
        command = ["sh", "-euc", f"command() {{ :; }}\n{shell}"]
        assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip() == said


def test_a_machine_with_just_these_tools_can_build(clone: Clone) -> None:
    done = clone.run("build", PATH=path_of(clone) + ":/nowhere")
    assert done.returncode == 0 or "cp: not found" in done.stderr, done.stderr  # the Python of this test copies itself


def test_the_script_knows_the_pythons_of_the_locks() -> None:
    script = (CHECKOUT / "tools" / "bootstrap").read_text(encoding="utf-8")
    assert f'pythons="{" ".join(PYTHONS)}"' in script and f"processor={BUILDER.uname}\n" in script


# The doctor needs none of it.


def doctor(clone: Clone, **settings: str) -> subprocess.CompletedProcess[str]:
    """`make doctor` in the clone, which has the real modules."""
    for name in ("doctor", "bootstrap"):
        shutil.copy(CHECKOUT / "tools" / name, clone.folder / "clone" / "tools" / name)
    if not (clone.folder / "clone" / "coursebox").exists():
        (clone.folder / "clone" / "coursebox").symlink_to(CHECKOUT / "coursebox")
    environment = {
        "HOME": str(clone.folder),
        "COURSEBOX_CACHE": str(clone.folder / "cache"),
        "CALLS": str(clone.folder / "calls"),
        "PATH": os.environ["PATH"],
        "PYTHONNOUSERSITE": "1",
        **settings,
    }
    script = clone.folder / "clone" / "tools" / "doctor"
    return subprocess.run([script], env=environment, capture_output=True, text=True, check=False)


# Debian's own Python in the place of the environment's: it has none of the packages of the verbs.
BARE = """#!/bin/sh
case $* in
*"import platform, sys"*) echo "3.12 True glibc" ;;
*) exec {python} -S "$@" ;;
esac
"""


def test_the_doctor_runs_without_any_package(clone: Clone) -> None:
    (clone.folder / "python").write_text(BARE.format(python=getattr(sys, "_base_executable", sys.executable)))
    done = doctor(clone, PYTHON=str(clone.folder / "python"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"error: {clone.folder}/python is Python 3.12" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["✗", "Python", "tools", "not", "prepared"]
    topics = [line[3:17].strip() for line in lines if line[:1] in "✓!✗" and line]
    assert topics == ["Python tools", "system", "Python", "processors", "memory", "disk", "Docker", "apt"]
    assert lines[-1].startswith("The Python packages of the verbs are missing; not looked at: settings, course, ")


def test_the_doctor_of_a_machine_without_python(clone: Clone) -> None:
    done = doctor(clone, PATH=path_of(clone, kernel="Darwin", machine="arm64"), PYTHON="/no/python")
    assert done.returncode == 1
    assert "error: coursebox builds on Linux, and this is Darwin" in done.stderr
    # /usr/bin/python3 of the machine that runs this test may be there, and then it is used.
    assert "Python" in done.stdout and "Traceback" not in done.stdout + done.stderr


def test_the_doctor_is_the_whole_one_where_the_packages_are_there(clone: Clone) -> None:
    (clone.folder / "python").write_text(PYTHON.replace("esac\n", '"-m coursebox") echo "whole: $*" ;;\nesac\n', 1))
    done = doctor(clone, PYTHON=str(clone.folder / "python"))
    assert (done.returncode, done.stdout) == (0, "whole: -m coursebox doctor\n"), done.stderr
