"""datasets.toml: what it says is well formed, agrees with the locks and the labs, and wrong entries are told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from coursebox.archives.datasets import DESCRIPTION, read_data_sets
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT

ONE = """\
[digits]
title = "Digits"
licence = "public domain"
[digits.complete]
note = "all digits"
folder = "digits"
addresses = ["https://one.example/digits/"]
[[digits.complete.files]]
file = "digits.tar.gz"
packing = "tar"
path = "digits"
size = 10
sha256 = "%s"
""" % ("a" * 64)


def test_order_is_that_of_the_file() -> None:
    assert list(read_data_sets()) == ["mnist", "cifar10"]


def test_complete_sets_have_several_public_places_each_on_a_host_of_its_own() -> None:
    for name, one in read_data_sets().items():
        hosts = [urlsplit(address).hostname for address in one.complete.addresses]
        assert len(hosts) >= 3, name
        assert len(set(hosts)) == len(hosts), name
        for address in one.complete.addresses:
            assert re.fullmatch(r"https://[a-z0-9.-]+(?::\d+)?/(?:[A-Za-z0-9._~-]+/)*", address)


def test_readme_names_the_public_places() -> None:
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for one in read_data_sets().values():
        for address in one.complete.addresses:
            assert str(urlsplit(address).hostname) in text


def test_every_set_has_a_licence_and_says_what_it_is() -> None:
    for one in read_data_sets().values():
        assert one.licence
        assert one.title in one.complete.note
        for kind, edition in one.editions():
            assert (kind == "complete") == ("complete" in edition.note)


def test_locks_hold_what_is_described() -> None:
    items = json.loads((CHECKOUT / "locks" / "data.json").read_text(encoding="utf-8"))["items"]
    locked = {(item["set"], item["kind"], item["folder"], item["file"], item["path"], item["packing"], item["size"],
               item["sha256"]) for item in items}  # fmt: skip
    assert locked == {
        (name, kind, edition.folder, one.file, one.path, one.packing, one.size, one.sha256)
        for name, described in read_data_sets().items()
        for kind, edition in described.editions()
        for one in edition.files
    }


def test_a_set_needs_no_sample_and_no_synthetic_one(tmp_path: Path) -> None:
    (tmp_path / "datasets.toml").write_text(ONE)
    digits = read_data_sets(tmp_path / "datasets.toml")["digits"]
    assert [kind for kind, _ in digits.editions()] == ["complete"]
    assert (digits.synthetic, digits.complete.files[0].size) == (None, 10)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Digits"\n', "", "datasets.toml: digits.title: Field required"),
        ("size = 10", 'size = "10"', "datasets.toml: digits.complete.files.0.size: Input should be a valid integer"),
        ("size = 10", "size = 0", "datasets.toml: digits.complete.files.0.size: Input should be greater than 0"),
        ('"tar"', '"zip"', "datasets.toml: digits.complete.files.0.packing: Input should be 'gzip' or 'tar'"),
        ('path = "digits"', 'path = "../digits"', "datasets.toml: digits.complete.files.0.path: String should match"),
        ('path = "digits"', 'path = "/etc"', "datasets.toml: digits.complete.files.0.path: String should match"),
        ("digits/", "digits", "datasets.toml: digits.complete.addresses.0: String should match pattern"),
        ("https:", "ftp:", "datasets.toml: digits.complete.addresses.0: String should match pattern"),
        ("folder", "ordner", "datasets.toml: digits.complete.folder: Field required"),
        ("a" * 64, "A" * 64, "datasets.toml: digits.complete.files.0.sha256: String should match pattern"),
        ("[digits]", "[digits", "datasets.toml: Expected ']'"),
    ],
)
def test_wrong_entries_are_told_with_their_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in ONE
    (tmp_path / "datasets.toml").write_text(ONE.replace(old, new))
    with pytest.raises(CourseboxError) as caught:
        read_data_sets(tmp_path / "datasets.toml")
    assert message in caught.value.message
    assert caught.value.hint


def test_description_is_at_the_top_of_the_checkout() -> None:
    assert DESCRIPTION == CHECKOUT / "datasets.toml"
