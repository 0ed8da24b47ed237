"""The command line: sentences and exit codes instead of tracebacks."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coursebox import __version__, cli
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A place for the verb `doctor` to be replaced, with a cache of its own."""
    monkeypatch.setenv("COURSEBOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    return monkeypatch


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def raise_it(options: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_doctor", raise_it)


def test_success_and_a_verbs_own_exit_code(verb: pytest.MonkeyPatch) -> None:
    verb.setattr(cli, "_doctor", lambda options: None)
    assert cli.main(["doctor"]) == 0
    verb.setattr(cli, "_doctor", lambda options: 3)
    assert cli.main(["doctor"]) == 3


def test_a_users_mistake_is_a_sentence_and_a_hint(verb: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(verb, CourseboxError("port 8888 is in use", hint="stop the other program"))
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == "error: port 8888 is in use\n  hint: stop the other program\n"


def test_a_bug_is_a_sentence_and_a_file(
    verb: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fail_with(verb, ZeroDivisionError("division by zero"))
    assert cli.main(["doctor"]) == 70
    file = tmp_path / "cache" / "traceback.txt"
    assert capsys.readouterr().err == (
        f"error: a bug in coursebox (ZeroDivisionError: division by zero)\n  hint: report it with the file {file}\n"
    )
    assert file.read_text(encoding="utf-8").startswith("Traceback")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device\n  hint: make room on that disk"),
        (errno.EACCES, "Permission denied\n  hint: give this user the right to do that, or name another place"),
        (errno.EROFS, "Read-only file system\n  hint: name another place: that file system is read-only"),
    ],
)
def test_what_the_system_refuses_is_a_sentence(
    verb: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, said: str
) -> None:
    fail_with(verb, OSError(number, "", "/dist/course.ova"))
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == f"error: /dist/course.ova: {said}\n"
    for names in ((b"/part", None, "/dist/\udcfc.ova"), (5,), ()):
        fail_with(verb, OSError(number, "", *names))
        assert cli.main(["doctor"]) == 1


def test_an_error_of_the_system_that_nobody_can_mend_is_a_bug(verb: pytest.MonkeyPatch) -> None:
    fail_with(verb, OSError(errno.EBADF, "", "x"))
    assert cli.main(["doctor"]) == 70


def test_an_interruption(verb: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(verb, KeyboardInterrupt())
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "interrupted; what was finished stays in the cache\n"


def test_the_course_comes_from_the_environment_or_the_option(verb: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    verb.setattr(cli, "_doctor", lambda options: seen.append(options.course))
    verb.delenv("COURSE", raising=False)
    cli.main(["doctor"])
    verb.setenv("COURSE", "other course.toml")
    cli.main(["doctor"])
    cli.main(["doctor", "--course", "third.toml"])
    assert seen == [Path("course.toml"), Path("other course.toml"), Path("third.toml")]


def test_tools_of_the_environment_are_on_the_path(verb: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    verb.setattr(cli, "_doctor", lambda options: seen.append(os.environ["PATH"]))
    verb.setattr(cli.sys, "executable", "/environment/bin/python")
    cli.main(["doctor"])
    assert seen[0].split(os.pathsep)[0] == "/environment/bin"


@pytest.mark.parametrize("arguments", [[], ["build-ova"], ["doctor", "--fast"]])
def test_wrong_usage(verb: pytest.MonkeyPatch, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: coursebox" in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "coursebox", "--version"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == f"coursebox {__version__}\n"


def test_make_and_the_command_line_have_the_same_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    """Each target of the Makefile, but `help`, hands over its own name; the doctor looks before Python is prepared."""
    text = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    handed_over = dict(re.findall(r"^([a-z-]+):.*\n\t\$\(call verb,(?:build|test),([a-z-]+)\)$", text, re.MULTILINE))
    handed_over |= {name: name for name in re.findall(r"^(doctor):.*\n\t@exec tools/doctor$", text, re.MULTILINE)}
    targets = set(re.findall(r"^\.PHONY: (\S+)$", text, re.MULTILINE)) - {"help"}
    assert handed_over == {name: name for name in targets}
    with pytest.raises(SystemExit):
        cli.main(["no-such-verb"])
    known = re.search(r"choose from (.*)\)", capsys.readouterr().err)
    assert known is not None and set(re.findall(r"[a-z-]+", known[1])) == targets


def test_a_wrong_setting_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ACCEL", "warp")
    assert cli.main(["targets"]) == 1
    assert capsys.readouterr().err == (
        "error: ACCEL=warp is not possible\n  hint: use ACCEL=kvm or ACCEL=tcg, or leave it out\n"
    )


@pytest.mark.parametrize(("named", "said"), [([], "no target is named"), (["floppy"], "there is no target floppy")])
def test_a_build_of_no_target(
    named: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TARGETS", raising=False)
    assert cli.main(["build", *named]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {said}\n  hint: ") and "ova, image, image-cuda" in printed


@pytest.mark.parametrize(
    ("error", "damaged"),
    [
        (ModuleNotFoundError("No module named 'rich.table'", name="rich.table"), True),
        (ImportError("cannot import name 'x' from 'rich'", name="rich"), True),
        (SyntaxError("source code string cannot contain null bytes", (f"{sys.prefix}/lib/x.py", 1, 1, "")), True),
        (SyntaxError("invalid syntax", (f"{CHECKOUT}/coursebox/x.py", 1, 1, "")), False),
        (ModuleNotFoundError("No module named 'coursebox.x'", name="coursebox.x"), False),
        (KeyError("rich"), False),
    ],
)
def test_a_damaged_package_is_a_sentence_and_not_our_bug(
    error: Exception, damaged: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def verb(*_: object) -> None:
        raise error

    monkeypatch.setenv("COURSEBOX_CACHE", str(tmp_path))
    monkeypatch.setattr(cli, "_clean", verb)
    assert cli.main(["clean"]) == (1 if damaged else 70)
    said = capsys.readouterr().err
    assert ("error: the Python packages of the verbs are damaged" in said) is damaged


def test_a_package_that_is_damaged_at_the_start_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_bytes(b"\0")
    done = subprocess.run(
        [sys.executable, "-m", "coursebox", "--version"], cwd=CHECKOUT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: the Python packages of the verbs are damaged (")
