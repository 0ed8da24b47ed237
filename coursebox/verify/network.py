"""Findings about the settings, and whether the archives answer from which a build takes its parts."""

from __future__ import annotations

import os
import re

import httpx

from coursebox.archives.apt import AptMirrors, read_apt
from coursebox.archives.mirrors import data_mirrors, join, local_path
from coursebox.archives.pip import PipSettings, read_pip
from coursebox.archives.reach import archive_client
from coursebox.core.settings import described
from coursebox.verify.finding import Finding


def chosen_settings() -> Finding:
    """Which settings the environment changes, without the passwords in addresses."""
    changed = [f"{name}={os.environ[name]}" for name, _ in described() if os.environ.get(name)]
    text = re.sub(r"//[^/@\s]+@", "//…@", ", ".join(changed))
    return Finding("settings", "ok", text or "none is set; README.md lists them")


def debian_mirror(suite: str, *, needed: bool) -> Finding:
    """Whether one of apt's mirrors has the suite that goes into the machine."""
    settings = read_apt()
    mirrors = settings.main
    for mirror in mirrors:
        if _reachable(join(mirror, f"dists/{suite}/Release"), apt=settings):
            return Finding("Debian mirror", "ok", f"{_public(mirror)} has {suite}")
    places = " ".join(map(_public, mirrors))
    return _unreachable("Debian mirror", f"{suite} not found at {places}", "apt's settings", needed=needed)


def python_index(*, needed: bool) -> Finding:
    """Whether one of pip's indexes answers."""
    settings = read_pip()
    for index in settings.indexes:
        if _reachable(join(index, "pip/"), pip=settings):
            return Finding("Python index", "ok", f"{_public(index)} answers")
    places = " ".join(map(_public, settings.indexes))
    return _unreachable("Python index", f"no answer from {places}", "pip's settings", needed=needed)


def _unreachable(topic: str, text: str, settings: str, *, needed: bool) -> Finding:
    if needed:
        return Finding(topic, "blocks", text, f"check the network and {settings}")
    return Finding(topic, "note", text, "not needed: all that is locked lies in the cache")


def data_sets() -> Finding:
    """Where MNIST and CIFAR-10 come from."""
    mirrors = data_mirrors()
    if mirrors:
        return Finding("data mirrors", "ok", " ".join(mirrors))
    return Finding("data mirrors", "ok", "none is set: data sets come from the public places in datasets.toml")


def _reachable(address: str, *, apt: AptMirrors | None = None, pip: PipSettings | None = None) -> bool:
    if (path := local_path(address)) is not None:
        return path.exists()
    try:
        with archive_client(apt, pip, connect=5.0, stall=10.0) as client:
            return client.head(address).status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _public(address: str) -> str:
    """An address without the login that it may hold."""
    return re.sub(r"//[^/@]*@", "//", address)
