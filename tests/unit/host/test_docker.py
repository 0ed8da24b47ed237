"""The engine: used when it answers, started when it does not, never touched when it is another's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.host import dockerd as docker
from coursebox.host.dockerd import ensure_engine, stop_engine_we_started

CLIENT = """
if [ -e "$host/denied" ]; then
    echo "Got permission denied while trying to connect to the Docker daemon socket" >&2; exit 1
elif [ -e "$host/up" ]; then
    echo 28.0.0
else
    echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." >&2; exit 1
fi"""
DAEMON = """
for word; do case $word in --pidfile=*) echo $$ >"${word#*=}";; esac; done
touch "$host/up"
while :; do sleep 0.05; done"""


@pytest.fixture
def machine(host: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A host with Docker installed and stopped, and without systemd."""
    host.program("docker", CLIENT)
    host.program("dockerd", DAEMON)
    monkeypatch.setattr(docker, "SYSTEMD", host.folder / "no-systemd")
    monkeypatch.setattr(docker, "SBIN", str(host.bin))
    yield host
    stop_engine_we_started()


def programs(machine: Any) -> list[str]:
    return [call.split()[0] for call in machine.calls]


def test_an_engine_that_answers_is_used(machine: Any) -> None:
    (machine.folder / "up").touch()
    ensure_engine()
    assert set(programs(machine)) == {"docker"}
    assert not stop_engine_we_started()


def test_an_engine_is_started_announced_and_stopped(machine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ensure_engine()
    pidfile = machine.cache / "docker" / "dockerd.pid"
    assert f"dockerd --pidfile={pidfile}" in machine.calls
    pid = int(pidfile.read_text())
    assert Path(f"/proc/{pid}").exists()
    assert "starting the Docker engine, since none answers" in capsys.readouterr().err
    assert stop_engine_we_started()
    assert not Path(f"/proc/{pid}").exists()
    assert not stop_engine_we_started()


def test_another_program_with_our_old_number_is_left_alone(machine: Any) -> None:
    pidfile = machine.cache / "docker" / "dockerd.pid"
    pidfile.parent.mkdir(parents=True)
    pidfile.write_text("1")
    assert not stop_engine_we_started()


def test_an_engine_that_ends_at_once_shows_its_last_words(machine: Any) -> None:
    machine.program("dockerd", 'for n in 1 2 3 4 5 6 7 8; do echo "line $n"; done; echo "failed: no iptables"; exit 1')
    with pytest.raises(CourseboxError) as caught:
        ensure_engine()
    assert str(caught.value) == (
        "Docker is not running, and the engine did not start:\n"
        + "".join(f"    line {number}\n" for number in range(2, 9))
        + "    failed: no iptables\n"
        + f"  hint: its whole log is {machine.cache}/docker/dockerd.log"
    )
    assert len(programs(machine)) < 50  # it was not asked again for all of a minute


def test_an_engine_that_never_answers_is_given_up(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.program("dockerd", "echo waiting for containerd; sleep 60")
    monkeypatch.setattr(docker, "PATIENCE", 0.5)
    with pytest.raises(CourseboxError, match="did not start:\n    waiting for containerd"):
        ensure_engine()


def test_systemd_starts_the_service(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "SYSTEMD", machine.folder)
    machine.program("systemctl", 'touch "$host/up"')
    ensure_engine()
    assert "systemctl start docker" in machine.calls
    assert "dockerd" not in programs(machine)


def test_systemd_that_fails(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "SYSTEMD", machine.folder)
    machine.program("systemctl", "echo 'Unit docker.service is masked.' >&2; exit 1")
    with pytest.raises(CourseboxError) as caught:
        ensure_engine()
    assert str(caught.value) == (
        "Docker is not running, and the engine did not start:\n"
        "    Unit docker.service is masked.\n"
        "  hint: see: journalctl --unit=docker"
    )


def test_docker_is_installed_first_where_there_is_none(machine: Any) -> None:
    (machine.bin / "dockerd").unlink()
    machine.program("dpkg-query")
    daemon = DAEMON.replace("$", "\\$").replace('"', '\\"')
    machine.program(
        "apt-get",
        f'case "$*" in *"install docker.io") printf "#!/bin/sh\\nhost=$host\\n{daemon}" >{machine.bin}/dockerd\n'
        f"chmod 755 {machine.bin}/dockerd;; esac",
    )
    machine.program("chmod", 'exec /bin/chmod "$@"')
    ensure_engine()
    calls = machine.calls
    assert any(call.endswith("--no-install-recommends install docker.io") for call in calls)
    assert stop_engine_we_started()


def test_permission_denied(machine: Any) -> None:
    (machine.folder / "denied").touch()
    with pytest.raises(CourseboxError) as caught:
        ensure_engine()
    assert str(caught.value) == (
        "the Docker engine runs, but this user may not talk to it\n"
        "  hint: run: sudo usermod --append --groups docker $USER, and log in again"
    )


def test_not_running_and_no_root(machine: Any, as_user: Callable[..., None]) -> None:
    as_user(sudo=False)
    with pytest.raises(CourseboxError) as caught:
        ensure_engine()
    assert str(caught.value) == (
        "Docker is not running, and starting it needs root, and there is no sudo\n  hint: as root, run: dockerd"
    )


def test_sudo_can_ask_for_a_password_when_it_starts_the_engine(machine: Any, as_user: Callable[..., None]) -> None:
    """In a session of its own it would have no terminal. The engine has one, so that it outlives this terminal."""
    as_user(sudo=True)
    machine.program("sudo", 'echo "$(cut -d" " -f6 /proc/$$/stat)" >"$host/session-of-sudo"\nshift\nexec "$@"')
    machine.program("dockerd", f'cut -d" " -f6 /proc/$$/stat >"$host/session-of-engine"\n{DAEMON}')
    (machine.bin / "cut").symlink_to("/usr/bin/cut")
    ensure_engine()
    sessions = [int((machine.folder / f"session-of-{who}").read_text()) for who in ("sudo", "engine")]
    assert sessions[0] == os.getsid(0) != sessions[1]


def test_sudo_that_refuses_is_said_at_once(machine: Any, as_user: Callable[..., None]) -> None:
    as_user(sudo=True)
    machine.program("sudo", "exit 1")
    with pytest.raises(CourseboxError) as caught:
        ensure_engine()
    assert str(caught.value) == (
        "Docker is not running, and root could not start it (exit status 1)\n  hint: as root, run: dockerd"
    )


def test_an_engine_elsewhere_is_not_ours_to_start(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example:2375")
    with pytest.raises(CourseboxError) as caught:
        ensure_engine()
    assert str(caught.value) == (
        "no Docker engine answers at tcp://engine.example:2375, where DOCKER_HOST points\n"
        "  hint: start it, or unset DOCKER_HOST to use an engine of this machine"
    )
    assert "dockerd" not in programs(machine)
