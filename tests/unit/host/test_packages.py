"""Debian packages: what is missing is announced and installed, once, and every way to fail has its sentence."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.host import packages
from coursebox.host.packages import (
    PACKAGES,
    PROXIES,
    ask_for_root,
    ensure_packages,
    install,
    missing_packages,
    root_prefix,
)

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


def test_sudo_keeps_the_proxies(debian: Any, as_user: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """sudo clears the environment, and apt-get would find no way out."""
    as_user(sudo=True)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    assert root_prefix("a", "b")[1:] == ["--"]
    monkeypatch.setenv("https_proxy", "http://user:word@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "localhost")
    prefix = root_prefix("a", "b")
    assert prefix[1:] == ["--preserve-env=https_proxy,NO_PROXY", "--"]
    assert "word" not in " ".join(prefix)  # every user sees the command lines of all


@pytest.mark.parametrize("sudo", [True, False])
def test_the_password_is_asked_for_once(
    debian: Any, as_user: Callable[..., None], monkeypatch: pytest.MonkeyPatch, sudo: bool
) -> None:
    if sudo:
        as_user(sudo=True)
        debian.program("true")
        monkeypatch.setattr(packages, "REFRESH", 0.05)
    with ask_for_root("a second build", "make repro") as prefix:
        assert bool(prefix) is sudo
        time.sleep(0.3)
    asked = [call for call in debian.calls if call.startswith("sudo")]
    assert (asked[:1], set(asked[1:])) == (
        (["sudo -- true"], {"sudo --non-interactive --validate"}) if sudo else ([], set())
    )


def test_a_password_that_is_not_given_is_a_sentence(debian: Any, as_user: Callable[..., None]) -> None:
    as_user(sudo=True)
    debian.program("sudo", "exit 1")
    with pytest.raises(CourseboxError, match="a second build needs root"), ask_for_root("a second build", "x"):
        pytest.fail("it goes on")


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
