"""The engine's containers: what a killed build left is removed, and nothing that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from coursebox.host.engine import label, remove_leftovers


def test_only_containers_of_ended_processes_of_this_cache_are_removed(host: Any) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    mark = label().split("=")[1].split("-")[0]
    other = "0" * len(mark)
    lines = {
        "dead": f"{mark}-{ended.pid}", "mine": f"{mark}-{os.getpid()}", "first": f"{mark}-1",
        "foreign": f"{other}-{ended.pid}", "old": mark,
    }  # fmt: skip
    listing = "\n".join(f"{name} {value}" for name, value in lines.items())
    host.program("docker", f"case $1 in ps) echo '{listing}';; esac")
    remove_leftovers()
    assert [call for call in host.calls if " rm " in call] == ["docker rm --force --volumes dead"]


def test_without_an_engine_nothing_is_removed(host: Any) -> None:
    host.program("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    remove_leftovers()
    assert len(host.calls) == 1
