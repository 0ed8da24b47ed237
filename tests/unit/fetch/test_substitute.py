"""What goes in when locked packages are gone: whole sources, what they need, and nothing else."""

from __future__ import annotations

import hashlib

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.fetch.substitute import substitute
from coursebox.lock.lockfile import Deb
from coursebox.lock.resolve_debs import Candidate


def deb(text: str) -> Deb:
    """ "package version source" → Deb; the source is the package's own name by default."""
    package, version, *source = text.split()
    digest = hashlib.sha256(f"{package} {version}".encode()).hexdigest()
    return Deb(package, version, "amd64", (source or [package])[0], "main", f"pool/{package}_{version}.deb", 1, digest)


def fresh(*texts: str) -> list[Candidate]:
    """ "package version source: depends"."""
    split = [text.partition(": ") for text in texts]
    return [Candidate(deb(head), depends) for head, _, depends in split]


def run(locked: list[str], missing: list[str], current: list[Candidate]) -> tuple[dict[str, str], list[str]]:
    debs, changes = substitute("vm", [deb(one) for one in locked], [deb(one) for one in missing], current)
    assert list(debs) == sorted(debs)
    return {one.package: one.version for one in debs}, [str(change) for change in changes]


def test_whole_source_moves_and_the_rest_stays() -> None:
    got, changes = run(
        ["libssl3 1 openssl", "openssl 1 openssl", "bash 1", "dash 1"],
        ["libssl3 1 openssl"],
        fresh("libssl3 2 openssl", "openssl 2 openssl: libssl3 (>= 2)", "bash 2: libssl3", "dash 1"),
    )
    assert got == {"libssl3": "2", "openssl": "2", "bash": "1", "dash": "1"}
    assert changes == ["libssl3: 2 instead of 1 (vm)", "openssl: 2 instead of 1 (vm)"]


@pytest.mark.parametrize("current", ["1.9", "2~rc1", "1:1"])
def test_nothing_is_replaced_by_an_older_version(current: str) -> None:
    locked = "2" if ":" not in current else "1:2"
    with pytest.raises(CourseboxError, match=f"kernel {locked} is gone, and the archive has only the older {current}"):
        run([f"kernel {locked}"], [f"kernel {locked}"], fresh(f"kernel {current}"))


def test_a_binary_of_a_source_that_moves_is_not_replaced_by_an_older_one_either() -> None:
    with pytest.raises(CourseboxError, match="openssl 3 is gone, and the archive has only the older 2"):
        run(["libssl 3 openssl", "openssl 3 openssl"], ["libssl 3 openssl"], fresh("libssl 4 openssl", "openssl 2"))


def test_new_need_comes_in_and_nothing_else_does() -> None:
    got, changes = run(
        ["tool 1"], ["tool 1"], fresh("tool 2: libnew (>= 1), libc", "libnew 3: libdeep", "libdeep 1", "other 1")
    )
    assert got == {"tool": "2", "libnew": "3", "libdeep": "1"}
    assert changes == ["libdeep 1 comes in (vm)", "libnew 3 comes in (vm)", "tool: 2 instead of 1 (vm)"]


def test_gone_without_successor_is_left_out() -> None:
    got, changes = run(["tool 1", "old 1"], ["old 1"], fresh("tool 1"))
    assert got == {"tool": "1"}
    assert changes == ["old 1 is left out (vm)"]


def test_what_is_no_longer_needed_but_there_stays() -> None:
    got, _ = run(["tool 1", "lib 1", "old 1"], ["lib 1"], fresh("tool 1", "lib 2"))
    assert got == {"tool": "1", "lib": "2", "old": "1"}


def test_kernel_whose_package_has_the_version_in_its_name() -> None:
    got, changes = run(
        ["linux-image-amd64 6.1 signed", "linux-image-6.1-amd64 6.1 signed", "bash 1"],
        ["linux-image-6.1-amd64 6.1 signed"],
        fresh(
            "linux-image-amd64 6.2 signed: linux-image-6.2-amd64 (= 6.2)", "linux-image-6.2-amd64 6.2 signed", "bash 1"
        ),
    )
    assert got == {"linux-image-amd64": "6.2", "linux-image-6.2-amd64": "6.2", "bash": "1"}
    assert changes[0] == "linux-image-6.1-amd64 6.1 is left out (vm)"


def test_kernel_of_another_source_pulls_its_meta_package() -> None:
    got, _ = run(
        ["meta 6.1", "image-6.1 6.1 linux"],
        ["image-6.1 6.1 linux"],
        fresh("meta 6.2: image-6.2", "image-6.2 6.2 linux"),
    )
    assert got == {"meta": "6.2", "image-6.2": "6.2"}


def test_newer_version_of_something_that_stayed_moves_too() -> None:
    got, _ = run(
        ["app 1", "lib 1 libsource", "lib-data 1 libsource", "user 1"],
        ["app 1"],
        fresh("app 2: lib (>= 2)", "lib 2 libsource: lib-data (= 2)", "lib-data 2 libsource", "user 2: lib"),
    )
    assert got == {"app": "2", "lib": "2", "lib-data": "2", "user": "1"}


def test_exact_need_of_the_old_version_moves_too() -> None:
    got, _ = run(
        ["lib 1", "plugin 1", "user 1"], ["lib 1"], fresh("lib 2", "plugin 2: lib (= 2)", "user 2: lib (>= 1)")
    )
    assert got == {"lib": "2", "plugin": "2", "user": "1"}


def test_source_that_was_renamed() -> None:
    got, _ = run(["tool 1 old-source"], ["tool 1 old-source"], fresh("tool 2 new-source"))
    assert got == {"tool": "2"}


@pytest.mark.parametrize(
    ("clause", "comes"),
    [
        ("virtual-package", False),
        ("lib | other", False),
        ("other | lib", False),
        ("other (>= 2)", False),
        ("other (>= 1)", True),
        ("virtual-package | other", True),
        ("lib (>= 2) | other", True),
        ("lib:any (<< 2)", False),
        ("other (= 1) | virtual", True),
        ("other (>> 1)", False),
        ("other (<= 1)", True),
        ("other (> 1)", True),
        ("other (< 0.5)", False),
        ("", False),
    ],
)
def test_clauses(clause: str, comes: bool) -> None:
    got, _ = run(["app 1", "lib 1"], ["app 1"], fresh(f"app 2: {clause}", "lib 1", "other 1"))
    assert ("other" in got) == comes
    assert got["lib"] == "1"


def test_versions_compare_as_debian_does() -> None:
    got, _ = run(["app 1", "lib 1:9"], ["app 1"], fresh("app 2: lib (>= 2:1~rc1)", "lib 2:1~rc1"))
    assert got["lib"] == "2:1~rc1"
    got, _ = run(["app 1", "lib 10"], ["app 1"], fresh("app 2: lib (>= 9)", "lib 11"))
    assert got["lib"] == "10"


def test_packages_without_dependencies_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    run(["app 1", "lib 1"], ["app 1"], fresh("app 2", "lib 1"))
    assert not caplog.records
