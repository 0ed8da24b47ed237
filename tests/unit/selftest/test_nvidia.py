"""What nvidia-smi and the kernel module say, and what is made of it when they say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from course_selftest import nvidia


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Make this shell script the only nvidia-smi."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_values_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/asked; echo "580.65.06, P0, 75.31, [N/A], 34, 4"')
    assert nvidia.query("GPU-1") == {
        "driver_version": "580.65.06", "pstate": "P0", "power.draw": "75.31", "temperature.gpu": "34",
        "memory.used": "4",
    }  # fmt: skip
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["--id=GPU-1", f"--query-gpu={','.join(nvidia.QUERY)}", "--format=csv,noheader,nounits"]
    assert nvidia.driver_version() == "580.65.06"


@pytest.mark.parametrize(
    "script", ["exit 9", "echo No devices were found", "echo 'Failed to initialize NVML' >&2; exit 255"]
)
def test_a_silent_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    install(tmp_path, monkeypatch, script)
    assert nvidia.query("0") == {}


def test_without_the_tool_the_module_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "version"
    monkeypatch.setattr(nvidia, "MODULE", file)
    assert nvidia.driver_version() == ""
    file.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n")
    assert nvidia.driver_version() == "580.65.06"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\nGCC: 12\n")
    assert nvidia.driver_version() == "535.183.01"
    file.write_text("")
    assert nvidia.driver_version() == ""
