"""Packages: Debian's and Python's, exactly the locked ones, on the course machine and in the container image."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from coursebox.core.paths import CHECKOUT
from coursebox.lock.lockfile import read_locks

if TYPE_CHECKING:
    from testinfra.host import Host

WANTED = tomllib.loads((CHECKOUT / "packages.toml").read_text(encoding="utf-8"))
SHOWN = "${Package} ${Version} ${db:Status-Abbrev}\\n"


def test_wanted_packages_are_installed(host: Host, place):
    own = WANTED[place.kind]
    tables = [WANTED["common"], own, *(WANTED[name] for name in own.get("takes", ()))]
    wanted = {name for table in tables for name in table.get("debian", ())} | {*place.course.packages.debian}
    assert len(wanted) > 25
    shown = host.check_output(f"dpkg-query --show --showformat='{SHOWN}'").splitlines()
    assert wanted - {line.split()[0] for line in shown} == set()


def test_installed_packages_are_the_locked_ones_and_configured(host: Host, place):
    locked = {(deb.package, deb.version, "ii") for deb in read_locks(place.course.locks.folder).debs[place.kind]}
    shown = host.check_output(f"dpkg-query --show --showformat='{SHOWN}'")
    assert {tuple(line.split()) for line in shown.splitlines()} == locked


def test_wheels_are_the_locked_ones(host: Host, place):
    locked = {(wheel.name, wheel.version) for wheel in read_locks(place.course.locks.folder).wheels[place.kind]}
    code = (
        "import importlib.metadata as m, re;"
        "print(*(re.sub('[-_.]+', '-', d.name).lower() + ' ' + d.version for d in m.distributions("
        "path=['/opt/jupyter/lib/python3.13/site-packages'])), sep='\\n')"
    )
    shown = host.check_output("/opt/jupyter/bin/python -c %s", code)
    assert {tuple(line.split()) for line in shown.splitlines()} == locked


SCIENCE = ("torch", "torchvision", "numpy", "scipy", "matplotlib", "pandas", "pillow", "scikit-learn", "sympy")


def test_the_libraries_of_the_course_are_there_once(host: Host):
    """A student who reads a version must know which one runs: none of them comes from Debian and from a wheel, too."""
    code = (
        "import importlib.metadata as m, re, collections;"
        "c = collections.Counter(re.sub('[-_.]+', '-', d.name).lower() for d in m.distributions());"
        f"print({SCIENCE!r}, [c[n] for n in {SCIENCE!r}])"
    )
    assert host.check_output("/opt/jupyter/bin/python -c %s", code) == f"{SCIENCE!r} {[1] * len(SCIENCE)!r}"


def test_package_sources_are_debians(host: Host):
    sources = host.file("/etc/apt/sources.list.d/debian.sources").content_string
    assert "Suites: trixie trixie-updates" in sources and "Suites: trixie-security" in sources


def test_the_list_of_licences_names_what_is_inside(place):
    """Every locked package and wheel, the data sets and the labs stand in the list beside the file."""
    text = Path(str(place.file).replace(".oci.tar", ".licences.txt").replace(".ova", ".licences.txt")).read_text()
    locks = read_locks(place.course.locks.folder)
    lines = {line.strip().split(":")[0] for line in text.splitlines() if line.startswith("  ")}
    wanted = {f"{deb.package} {deb.version.split(':')[0]}" for deb in locks.debs[place.kind]}
    wanted |= {f"{wheel.name} {wheel.version}" for wheel in locks.wheels[place.kind]}
    assert wanted - lines == set()
    assert "Not free: read their terms" in text or place.kind == "vm"
    assert "CIFAR-10" in text or "cifar10" in text
