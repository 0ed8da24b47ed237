"""The command line: sentences instead of tracebacks, before PyTorch is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from course_grade import cli

from coursebox.core.paths import CHECKOUT


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The program itself, in a process that has no PyTorch."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT / "grading")}
    command = [sys.executable, "-m", "course_grade", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nowhere", "--lab", "02"], 1, "There is no folder nowhere."),
        (
            ["class", "--lab", "02", "--labs", "class"],
            2,
            "There are no labs in {room}/class: name the folder that holds",
        ),
        (["class", "--lab", "77"], 1, "There is no lab 77. There are: 01_"),
        (["empty", "--lab", "02"], 1, "There are no submissions in empty: "),
        (["class"], 2, "usage: course-grade "),
        (["class", "--lab", "02", "--jobs", "0"], 2, "usage: course-grade "),
    ],
)
def test_what_is_wrong_is_a_sentence(tmp_path: Path, words: list[str], status: int, said: str) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "eva.py").touch()
    (tmp_path / "empty").mkdir()
    done = run(*words, *([] if "--labs" in words else ["--labs", str(CHECKOUT / "labs")]), cwd=tmp_path)
    assert done.returncode == status and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.startswith(said.format(room=tmp_path))


def test_help_needs_no_torch(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0 and "--seed-file" in done.stdout


def test_the_labs_of_a_course_machine_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cli, "INSTALLED_LABS", tmp_path / "labs")
    assert cli._default_labs() == CHECKOUT / "labs"
    (tmp_path / "labs").mkdir()
    assert cli._default_labs() == tmp_path / "labs"


def test_the_command_starts_the_installed_package() -> None:
    """The role puts the package where the command looks for it, and the sandbox hides it there."""
    command = (CHECKOUT / "grading" / "course-grade").read_text(encoding="utf-8")
    role = CHECKOUT / "ansible" / "roles" / "grading" / "tasks" / "main.yml"
    sandbox = CHECKOUT / "grading" / "course_grade" / "sandbox.py"
    assert '"/usr/lib/coursebox/grading"' in command and command.startswith("#!/opt/jupyter/bin/python\n")
    assert "/usr/lib/coursebox/grading" in role.read_text(encoding="utf-8")
    assert 'Path("/usr/lib/coursebox/grading")' in sandbox.read_text(encoding="utf-8")
