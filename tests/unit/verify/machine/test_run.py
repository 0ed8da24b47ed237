"""`make try`: everything that can be wrong is said before a machine starts, and Ctrl-C ends it cleanly."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.course import Course, load_course
from coursebox.verify.machine import accel, guest
from coursebox.verify.machine import run as trial
from coursebox.verify.machine.qemu import Spec, free_port


@pytest.fixture
def course(tmp_path: Path) -> Course:
    (tmp_path / "labs").mkdir()
    file = tmp_path / "course.toml"
    file.write_text(
        '[course]\nname = "small"\nversion = "1"\ntitle = "Small"\n'
        '[user]\nname = "dave"\npassword = "dummy"\n'
        f"[ports]\njupyter = {free_port()}\nssh = {free_port()}\n"
    )
    return load_course(file)


@pytest.fixture
def ova(tmp_path: Path) -> Path:
    path = tmp_path / "small-1.ova"
    path.write_bytes(b"appliance")
    return path


class Machine:
    """Stands for `Qemu`: JupyterLab answers at once, then Ctrl-C comes."""

    made: list[Machine]
    obeys = True

    def __init__(self, spec: Spec, *, folder: Path | None = None) -> None:
        self.spec = spec
        self.acts: list[str] = []
        self.made.append(self)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.acts.append("gone")

    @property
    def process(self) -> Machine:
        return self

    def wait(self) -> None:
        raise KeyboardInterrupt

    def running(self) -> bool:
        return True

    def power_button(self) -> None:
        self.acts.append("power button")

    def wait_until_off(self, timeout: float) -> None:
        if not self.obeys:
            raise CourseboxError("still on")
        self.acts.append("off")


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Machine]]:
    Machine.made = []
    monkeypatch.setattr(trial, "Qemu", Machine)
    monkeypatch.setattr(trial, "require", lambda program: program)
    monkeypatch.setattr(accel, "kvm_verdict", lambda **_: accel.Verdict(False, "not here"))
    monkeypatch.setattr(guest, "wait_for_http", lambda url, timeout, alive: 12.0)
    monkeypatch.setenv("COURSEBOX_CACHE", str(tmp_path / "cache"))
    before = signal.getsignal(signal.SIGTERM)
    yield Machine.made
    signal.signal(signal.SIGTERM, before)


def test_a_port_in_use_is_one_clear_error_before_anything_starts(
    course: Course, ova: Path, machines: list[Machine]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", course.ports.ssh))
        taken.listen()
        with pytest.raises(CourseboxError) as caught:
            trial.try_course(course, ova)
    assert caught.value.message == f"port {course.ports.ssh} (ssh) of 127.0.0.1 is in use"
    assert machines == []


def test_a_missing_ova_is_named_with_its_remedy(course: Course, tmp_path: Path, machines: list[Machine]) -> None:
    with pytest.raises(CourseboxError) as caught:
        trial.try_course(course, tmp_path / "none.ova")
    assert caught.value.message == f"{tmp_path / 'none.ova'}: there is no such file"
    assert caught.value.hint == "run `make ova` first"
    assert machines == []


def test_what_is_said_and_how_it_ends(
    course: Course, ova: Path, machines: list[Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    trial.try_course(course, ova)
    assert machines[0].acts == ["power button", "off", "gone"]
    said = capsys.readouterr().err
    assert "emulation (TCG)" in said
    assert "after about 100 s" in said
    assert f"http://localhost:{course.ports.jupyter}" in said
    assert f"ssh -p {course.ports.ssh} dave@localhost" in said
    assert "dummy" in said
    assert "its changes are gone" in said


def test_a_machine_that_does_not_obey_loses_its_power(
    course: Course,
    ova: Path,
    machines: list[Machine],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Machine, "obeys", False)
    trial.try_course(course, ova)
    assert machines[0].acts == ["power button", "gone"]
    assert "its power is cut" in capsys.readouterr().err


def test_both_forwards_and_the_size_of_the_course(
    course: Course, ova: Path, machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCEL", "kvm")
    trial.try_course(course, ova)
    spec = machines[0].spec
    assert [(forward.host, forward.guest) for forward in spec.forwards] == [
        (course.ports.jupyter, 8888),
        (course.ports.ssh, 22),
    ]
    assert (spec.memory, spec.processors) == (course.machine.memory, course.machine.processors)
    assert (spec.accelerator, spec.overlay, spec.disk) == ("kvm", None, ova)


def test_kept_changes_belong_to_the_bytes_of_one_ova(
    course: Course, ova: Path, machines: list[Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    first = trial.kept_overlay(cache, course, ova)
    monkeypatch.setenv("KEEP", "1")
    trial.try_course(course, ova)
    assert machines[0].spec.overlay == first
    assert first.parent == cache.root / "machines"
    ova.write_bytes(b"another")
    assert trial.kept_overlay(cache, course, ova) != first
    monkeypatch.setenv("KEEP", "0")
    trial.try_course(course, ova)
    assert machines[1].spec.overlay is None


def test_a_window_needs_a_screen_and_a_qemu_that_can_draw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "qemu-system-x86_64"
    program.write_text("#!/bin/sh\necho 'Available display backend types:'; echo none; echo gtk\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert trial.has_window({"DISPLAY": ":0"})
    assert not trial.has_window({})
    program.write_text("#!/bin/sh\necho none\n")
    assert not trial.has_window({"DISPLAY": ":0"})
