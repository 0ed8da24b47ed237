"""Hooks, the runtime folder, and what the image knows of itself."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from coursebox_container import hooks, image, runtime
from coursebox_container.messages import Problem


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """Hooks change this process's environment: each test gets it back as it was."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_the_folder_is_private_and_found_again(tmp_path: Path) -> None:
    folder = runtime.runtime_folder(os.getuid(), [str(tmp_path)])
    namespace = os.stat("/proc/self/ns/pid").st_ino
    assert folder == f"{tmp_path}/coursebox-{os.getuid()}-{namespace}"
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert runtime.runtime_folder(os.getuid(), [str(tmp_path)]) == folder


def test_another_place_when_the_first_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = runtime.runtime_folder(os.getuid(), [str(tmp_path / "missing"), str(tmp_path)])
    assert folder.startswith(f"{tmp_path}/coursebox-") and os.environ["TMPDIR"] == folder
    assert "add --tmpfs" in capfd.readouterr().err


def test_somebody_elses_folder_is_not_trusted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """On a shared /tmp anyone can guess the name."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    planted = Path(runtime.runtime_folder(os.getuid(), [str(first)]))
    planted.chmod(0o777)
    assert runtime.runtime_folder(os.getuid(), [str(first), str(second)]).startswith(str(second))
    planted.rmdir()
    second.chmod(0o700)
    planted.symlink_to(second)
    assert runtime.runtime_folder(os.getuid(), [str(first), str(second)]).startswith(str(second))


def test_no_place_at_all(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="can be written") as problem:
        runtime.runtime_folder(os.getuid(), [str(tmp_path / "a"), str(tmp_path / "b")])
    assert problem.value.hint == "add --tmpfs /tmp to docker run"


def test_write_private(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old and longer")
    runtime.write_private(str(path), "new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' folder counts as root's alone, though it lies in /tmp."""
    monkeypatch.setattr(hooks, "doubt", lambda _: "")


def hook(folder: Path, name: str, text: str, mode: int = 0o644) -> None:
    (folder / name).write_bytes(text.encode())
    (folder / name).chmod(mode)


@pytest.mark.usefixtures("trusted")
def test_sourced_hooks_set_and_unset(tmp_path: Path) -> None:
    os.environ["TO_GO"], os.environ["SHLVL"] = "1", "5"
    hook(tmp_path, "10.sh", "export A='two\nlines' B=ü\nunset TO_GO\nnot_exported=1\ncd /\n")
    hook(tmp_path, "20.sh", 'export C="$A!"\nexit 0\n')
    hooks.run_hooks(str(tmp_path))
    assert (os.environ["A"], os.environ["B"], os.environ["C"]) == ("two\nlines", "ü", "two\nlines!")
    assert "TO_GO" not in os.environ and "not_exported" not in os.environ
    assert os.environ["SHLVL"] == "5"


@pytest.mark.usefixtures("trusted")
def test_failing_hooks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hook(tmp_path, "10.sh", "export A=1\nexit 3\n")
    hook(tmp_path, "20", "#!/bin/sh\nexit 4\n", 0o755)
    hook(tmp_path, "30.txt", "")
    (tmp_path / "40").mkdir()
    hooks.run_hooks(str(tmp_path))
    said = capfd.readouterr().err.splitlines()
    assert os.environ["A"] == "1"
    assert [line.split(":")[0] for line in said] == ["warning"] * 3
    assert "10.sh ended with status 3" in said[0] and "20 ended with status 4" in said[1] and "30.txt" in said[2]


@pytest.mark.usefixtures("trusted")
def test_sourced_hooks_with_windows_line_ends_work(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hook(tmp_path, "10.sh", "export A='deep learning'\r\nif true; then\r\n  export B=2\r\nfi\r\nexit 3\r\n")
    hook(tmp_path, "20.sh", "export C=$A\r")
    hooks.run_hooks(str(tmp_path))
    assert (os.environ["A"], os.environ["B"], os.environ["C"]) == ("deep learning", "2", "deep learning")
    [line] = capfd.readouterr().err.splitlines()
    assert line == f"warning: the hook {tmp_path}/10.sh ended with status 3; the start goes on"


@pytest.mark.usefixtures("trusted")
def test_a_program_with_windows_line_ends_gets_one_line_with_the_remedy(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hook(tmp_path, "10", "#!/bin/sh\r\necho ran\r\n", 0o755)
    hooks.run_hooks(str(tmp_path))
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"warning: the hook {tmp_path}/10 is left out, for its first line ends as in Windows (CRLF)")
    assert line.endswith(r"sed -i 's/\r$//' 10")


def test_a_missing_folder_has_no_hooks(tmp_path: Path) -> None:
    hooks.run_hooks(str(tmp_path / "missing"))


def test_image_file(tmp_path: Path) -> None:
    file = tmp_path / "image.conf"
    file.write_text("user=student\nuid=1000\ngid=100\ndevice=cpu\n")
    assert image.read_image(file) == image.Image("student", 1000, 100, "cpu")
    assert image.read_image(file).home == "/home/student"
