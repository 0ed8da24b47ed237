"""The command line: what it prints where, and with which exit code it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from course_selftest import cli
from course_selftest.catalog import NAMES
from course_selftest.options import Options
from course_selftest.outcome import Row

from .conftest import MACHINE

PACKAGES = Path(cli.__file__).parents[1]


def test_the_table(starter: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    start = starter({"svd": Row("svd", "skipped", "because")})
    assert cli.main(["--only", "svd", "--only", "matmul"], start) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1:] == [
        "", "matmul  ok       matmul was measured", "svd     skipped  because", "", "1 ok, 0 FAILED, 1 skipped in 0 s",
    ]  # fmt: skip
    assert shown.out.startswith("AMD EPYC, 2 threads; PyTorch 2.6.0")
    assert shown.err == ""


def test_a_failure_is_an_exit_code(starter: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    start = starter({"svd": Row("svd", "FAILED", "wrong.", detail="Traceback: here")})
    assert cli.main(["--only", "svd"], start) == 1
    assert "Traceback" not in capsys.readouterr().out
    assert cli.main(["--only", "svd", "--verbose"], start) == 1
    assert capsys.readouterr().out.endswith("\n--- svd\nTraceback: here\n")


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], Options()),
        (["--full", "--repeat", "3", "--data-dir", "/d"], Options(True, 3, "/d")),
        (["--cpu"], Options(no_gpu="--cpu was given")),
    ],
)
def test_options_reach_the_worker(starter: Callable[..., Any], words: list[str], options: Options) -> None:
    start = starter()
    assert cli.main([*words, "--only", "svd"], start) == 0
    assert start.started[0][0] == options


def test_fast_is_only_done_when_asked_for(starter: Callable[..., Any]) -> None:
    for words, ran in (([], [name for name in NAMES if name != "fast"]), (["--fast"], list(NAMES))):
        start = starter()
        assert cli.main(words, start) == 0
        assert start.started[0][1].ran == ran


def test_json_on_standard_output_stands_alone(starter: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    start = starter({"svd": Row("svd", "FAILED", "wrong.", detail="Traceback: here")})
    assert cli.main(["--only", "svd", "--json", "-", "--verbose"], start) == 1
    shown = capsys.readouterr()
    read = json.loads(shown.out)
    assert read["command"] == "course-selftest --only svd --json - --verbose"
    assert read["machine"] == MACHINE and read["checks"][0]["result"] == "FAILED"
    assert "Traceback: here" in shown.err


def test_json_in_a_file(starter: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result.json"
    assert cli.main(["--only", "svd", f"--json={file}"], starter()) == 0
    assert json.loads(file.read_text())["summary"] == {"ok": 1, "FAILED": 0, "skipped": 0}
    assert "svd  ok" in capsys.readouterr().out


def test_markdown(starter: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--only", "svd", "--markdown"], starter()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("### AMD EPYC") and lines[-1] == "| svd | ok | svd was measured |"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["--repeat", "0"], "'0' is not a number from 1 on"),
        (["--repeat", "many"], "'many' is not a number from 1 on"),
        (["--json", "/no/such/folder/result.json"], "there is no folder /no/such/folder"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_wrong_usage_ends_before_anything_is_started(
    starter: Callable[..., Any], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    start = starter()
    with pytest.raises(SystemExit) as ended:
        cli.main(words, start)
    assert ended.value.code == 2 and start.started == []
    assert said in capsys.readouterr().err


def test_an_interruption_closes_the_worker(starter: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    start = starter()

    class Interrupted:
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    def make(options: Options) -> Any:
        worker = start(options)
        worker._answers = Interrupted()
        return worker

    assert cli.main(["--only", "svd"], make) == 130
    assert start.started[0][1].closed
    assert capsys.readouterr().err == "interrupted\n"


def run(*words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """The program itself, in a process that has no PyTorch."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGES)}
    command = [sys.executable, "-m", "course_selftest", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, **settings)


def test_list_and_help_need_no_torch() -> None:
    listed = run("--list")
    assert listed.returncode == 0 and [line.split()[0] for line in listed.stdout.splitlines()] == list(NAMES)
    assert run("--help").returncode == 0


def test_a_report_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "result.json"
    folder.mkdir()
    done = run("--only", "svd", "--json", str(folder))
    assert done.returncode == 1
    assert "Is a directory" in done.stderr and "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONPATH": str(PACKAGES)}
    command = [sys.executable, "-m", "course_selftest", "--list"]
    done = subprocess.run(command, env=environment, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_command_starts_the_installed_package() -> None:
    """The role puts the package where the command looks for it."""
    command = (PACKAGES / "course-selftest").read_text(encoding="utf-8")
    role = PACKAGES.parent / "ansible" / "roles" / "selftest" / "tasks" / "main.yml"
    assert '"/usr/lib/coursebox/selftest"' in command and command.startswith("#!/opt/jupyter/bin/python\n")
    assert "/usr/lib/coursebox/selftest" in role.read_text(encoding="utf-8")
