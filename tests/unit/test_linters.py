"""The linters, run as tests over what git has or would take in. A linter that is missing fails its test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.stages import Stages
from coursebox.course import load_course
from coursebox.fetch.course import fetch
from coursebox.lock.lockfile import read_locks
from coursebox.trees import provision
from coursebox.trees.packer import unpack_packer

TOOLS = Path(sys.executable).parent
# Written so that these lines do not find themselves.
REGISTRY = re.compile(
    r"deb\.debia[n]\.org|snapshot\.debia[n]\.org|pyp[i]\.org|pythonhoste[d]\.org|npmj[s]\.org|download\.pytorc[h]\.org"
)
MACHINE = re.compile(r"/wor[k]/(?:main|shared|steering|\.)|/tm[p]/w/|/far[m]/|/home/(?!dave\b|student\b|\{)[a-z]+/")
VERBS = (
    "ova docker build targets try test test-quick lab solutions grade bench repro lock fetch doctor clean help"
).split()


def run(*command: str | os.PathLike[str]) -> None:
    """Fail with the linter's own words."""
    environment = os.environ | {
        "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        "CHECKPOINT_DISABLE": "1",  # Packer asks its makers for news, else
    }
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def files() -> list[Path]:
    """Every file that git tracks, or would with `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    return [path for name in sorted(set(listed.split("\0"))) if name and (path := CHECKOUT / name).is_file()]


def texts() -> dict[Path, str]:
    """The files that are text, with what is in them."""
    found = {}
    for path in files():
        content = path.read_bytes()
        if b"\0" not in content:
            found[path.relative_to(CHECKOUT)] = content.decode("utf-8")
    return found


def is_shell(path: Path, text: str) -> bool:
    return path.suffix == ".sh" or re.match(r"#! ?/(?:usr/)?bin/(?:env )?(?:sh|bash|dash)\b", text) is not None


def test_ruff() -> None:
    run(TOOLS / "ruff", "check", ".")


def test_ruff_format() -> None:
    run(TOOLS / "ruff", "format", "--check", ".")


def test_mypy() -> None:
    run(sys.executable, "-m", "mypy")


def test_ansible_lint() -> None:
    run(TOOLS / "ansible-lint", "--offline", "--nocolor", "ansible")


@pytest.fixture(scope="module")
def packer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The locked Packer: from the cache, else fetched as a build would fetch it."""
    course = load_course(CHECKOUT / "course.toml")
    locks = read_locks(course.locks.folder)
    fetched = fetch(course, locks, Cache.from_environment(), strict=False, trees=(), data=False)
    return unpack_packer(Stages(Cache(tmp_path_factory.mktemp("packer"))), *fetched.tools["packer"])


def test_packer_validate(packer: Path, tmp_path: Path) -> None:
    settings = {name: str(tmp_path / name) for name in ("playbook", "variables", "export")} | {"image": "tree:0"}
    for name in ("playbook", "variables"):
        (tmp_path / name).touch()
    (tmp_path / "settings.pkrvars.json").write_text(json.dumps(settings), encoding="utf-8")
    run(packer, "validate", f"-var-file={tmp_path / 'settings.pkrvars.json'}", provision.template(packer))


def test_packer_fmt(packer: Path) -> None:
    run(packer, "fmt", "-check", "-diff", "packer")


def test_shellcheck() -> None:
    scripts = [path for path, text in texts().items() if is_shell(path, text)]
    assert Path("tools/bootstrap") in scripts
    run("shellcheck", "--external-sources", *scripts)


def test_no_registry_host_and_no_path_of_one_machine() -> None:
    found = [
        f"{path}:{number}: {match[0]}"
        for path, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        for pattern in (REGISTRY, MACHINE)
        if (match := pattern.search(line))
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "deb http://deb.debia" + "n.org/debian trixie",
        "--index https://pyp" + "i.org/simple",
        "/wor" + "k/main/x",
        "/tm" + "p/w/x",
    ],
)
def test_the_patterns_find_what_they_are_for(line: str) -> None:
    assert REGISTRY.search(line) or MACHINE.search(line)


def test_help_lists_every_verb() -> None:
    printed = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^  ([a-z-]+)  +\S", printed, re.MULTILINE)
    assert sorted(listed) == sorted(VERBS)
    phony = re.findall(r"^\.PHONY: (\S+)$", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(phony) == sorted(VERBS)
    for setting in ("COURSE", "MIRROR", "STRICT", "ACCEL", "V", "FOLDER", "LAB", "OUT", "STUDENT", "FORMAT", "RULES"):
        assert f"  {setting}=" in printed


def test_make_alone_is_make_help() -> None:
    printed = [
        subprocess.run(["make", *verb], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
        for verb in ([], ["help"])
    ]
    assert printed[0] == printed[1]
