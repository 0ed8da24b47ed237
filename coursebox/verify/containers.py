"""Findings about containers: whether an engine answers, and whether it can hand out a GPU."""

from __future__ import annotations

import os
import shutil

from coursebox.host.dockerd import ask_engine, engine_security
from coursebox.host.gpu import engine_runtimes, find_gpus, trouble
from coursebox.verify.finding import Finding

KINDS = {"name=rootless": "rootless: what it writes belongs to you", "name=userns": "it maps users to others"}


def docker() -> Finding:
    """Whether an engine answers, and what a build would do when none does."""
    trouble = ask_engine()
    if trouble is None:
        security = engine_security()
        kinds = [text for name, text in KINDS.items() if name in security]
        return Finding("Docker", "ok", ", ".join(["an engine answers", *kinds]))
    if "permission denied" in trouble.lower():
        advice = "run: sudo usermod --append --groups docker $USER, and log in again"
        return Finding("Docker", "blocks", "an engine runs, but this user may not talk to it", advice)
    if host := os.environ.get("DOCKER_HOST"):
        return Finding("Docker", "blocks", f"no engine answers at {host}", "start it, or unset DOCKER_HOST")
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        return Finding("Docker", "blocks", "no engine answers", "as root, install docker.io and start it")
    return Finding("Docker", "note", "no engine answers", "`make ova` installs docker.io when needed, and starts it")


def gpu() -> Finding:
    """Whether containers of the image can use a GPU here; they work on the CPU, too."""
    gpus = find_gpus()
    if not gpus:
        return Finding("gpu", "ok", "none: the image runs on the CPU here")
    if wrong := trouble(gpus, engine_runtimes()):
        return Finding("gpu", "note", *wrong)
    return Finding("gpu", "ok", ", ".join(f"{gpu.name}, driver {gpu.driver}" for gpu in gpus))
