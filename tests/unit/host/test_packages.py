"""Debian packages: what is missing is announced and installed, once, and every way to fail has its sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.host.packages import PACKAGES, ensure_packages, install, missing_packages

APT = "apt-get --option=DPkg::Lock::Timeout=300 --option=Dpkg::Use-Pty=false --quiet --yes "


@pytest.fixture
def debian(host: Any) -> Any:
    """A Debian host that has what the linters need, and on which mmdebstrap was removed."""
    host.program(
        "dpkg-query",
        'for name in git qemu-utils shellcheck; do echo "$name installed"; done; echo "mmdebstrap config-files"\n'
        'echo "dpkg-query: no packages found" >&2; exit 1',
    )
    host.program("apt-get")
    return host


def test_installed_and_removed_and_unknown(debian: Any) -> None:
    assert missing_packages(["shellcheck", "mmdebstrap", "ovmf"]) == ["mmdebstrap", "ovmf"]


def test_nothing_is_done_when_nothing_is_missing(debian: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ensure_packages("test-quick")
    assert [call.split()[0] for call in debian.calls] == ["dpkg-query"]
    assert capsys.readouterr().err == ""


def test_missing_packages_are_announced_and_installed(debian: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ensure_packages("try")
    assert debian.calls[1:] == [
        f"{APT}update",
        f"{APT}--no-install-recommends install ovmf qemu-system-x86",
    ]
    said = capsys.readouterr().err
    assert "make try needs Debian packages that are not installed: ovmf qemu-system-x86" in said
    assert said.index("make try needs") < said.index("updating the package lists") < said.index("installing 2 packages")


def test_a_user_uses_sudo(debian: Any, as_user: Callable[..., None]) -> None:
    as_user(sudo=True)
    install(["ovmf"], "make try")
    frontend = "env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1"
    assert [call for call in debian.calls if call.startswith("sudo")] == [
        f"sudo -- {frontend} {APT}update",
        f"sudo -- {frontend} {APT}--no-install-recommends install ovmf",
    ]
    assert f"{APT}update" in debian.calls


def test_neither_root_nor_sudo(debian: Any, as_user: Callable[..., None]) -> None:
    as_user(sudo=False)
    with pytest.raises(CourseboxError) as caught:
        install(["ovmf", "qemu-utils"], "make try")
    assert str(caught.value) == (
        "installing ovmf qemu-utils needs root, and there is no sudo\n"
        "  hint: as root, run: apt-get install ovmf qemu-utils"
    )


def test_no_debian(host: Any) -> None:
    with pytest.raises(CourseboxError) as caught:
        ensure_packages("test-quick")
    assert str(caught.value) == (
        "make test-quick needs the Debian packages git shellcheck qemu-utils, and this machine has no apt-get\n"
        "  hint: use a machine with Debian 12 or 13"
    )


def test_apt_that_fails(debian: Any) -> None:
    debian.program(
        "apt-get",
        'case "$*" in *install*) echo Reading; echo "E: Unable to locate package ovmf"; echo bye; exit 100;; esac',
    )
    with pytest.raises(CourseboxError) as caught:
        install(["ovmf"], "make try")
    log = debian.cache / "logs" / "apt.log"
    assert str(caught.value) == (
        "apt-get could not install ovmf: E: Unable to locate package ovmf\n"
        f"  hint: its messages are in {log}; check the machine's apt settings"
    )
    assert log.read_text().splitlines()[0] == "Reading"


def test_a_broken_source_does_not_stop_the_others(debian: Any, capsys: pytest.CaptureFixture[str]) -> None:
    debian.program("apt-get", 'case "$*" in *update*) exit 100;; esac')
    install(["ovmf"], "make try")
    assert debian.calls[-1].endswith("install ovmf")
    assert "warning: apt-get update had errors" in capsys.readouterr().err


def test_every_verb_that_builds_has_the_packages_of_the_build() -> None:
    for verb in ("bench", "repro", "test"):
        assert set(PACKAGES["build"]) <= set(PACKAGES[verb])
