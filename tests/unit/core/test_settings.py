"""The settings: each variable with its type, and a sentence for each wrong value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.settings import Settings, described, settings


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _ in described():
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20", 20e9),
        ("20 GB", 20e9),
        ("20gb", 20e9),
        ("1.5T", 1.5e12),
        ("500 MB", 5e8),
        ("7k", 7e3),
        ("0", 0),
        ("", 40e9),
    ],
)
def test_limit(text: str, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEBOX_CACHE_LIMIT", text)
    assert settings().cache_limit == int(size)


@pytest.mark.parametrize("text", ["much", "-1", "20 GiB", "1,5 GB", "GB"])
def test_bad_limit(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEBOX_CACHE_LIMIT", text)
    with pytest.raises(CourseboxError) as caught:
        settings()
    assert str(caught.value) == (
        f"COURSEBOX_CACHE_LIMIT={text} is not possible\n"
        '  hint: write a size as in "20 GB", 0 is no limit, or leave it out'
    )


@pytest.mark.parametrize(("text", "on"), [("1", True), ("yes", True), ("0", False), ("", False)])
@pytest.mark.parametrize("name", ["STRICT", "FRESH", "KEEP", "CACHE", "V"])
def test_switches(name: str, text: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, text)
    found = settings()
    by_name = {"STRICT": found.strict, "FRESH": found.fresh, "KEEP": found.keep, "CACHE": found.clean_cache}
    assert (by_name | {"V": found.verbose})[name] is on
    assert sum([*by_name.values(), found.verbose]) == int(on)


def test_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRROR", "  /a/b  http://c/ü ")
    monkeypatch.setenv("TARGETS", "ova")
    assert (settings().mirror, settings().targets) == ("  /a/b  http://c/ü ", ("ova",))
    monkeypatch.setenv("TARGETS", " ova  image-cuda ")
    assert settings().targets == ("ova", "image-cuda")


def test_all_mistakes_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCEL", "KVM!")
    monkeypatch.setenv("COURSEBOX_CACHE_LIMIT", "much")
    with pytest.raises(CourseboxError) as caught:
        settings()
    assert caught.value.message == "ACCEL=KVM! is not possible; COURSEBOX_CACHE_LIMIT=much is not possible"


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache.from_environment().root == tmp_path / ".cache" / "coursebox"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert Cache.from_environment().root == tmp_path / "x" / "coursebox"
    monkeypatch.setenv("COURSEBOX_CACHE", str(tmp_path / "y"))
    assert Cache.from_environment().root == tmp_path / "y"


def test_each_variable_has_a_meaning_and_the_makefile_hands_on_its_own() -> None:
    texts = dict(described())
    assert all(text and not text.endswith(".") for text in texts.values())
    assert len(texts) == len(Settings.model_fields)
    handed = re.search(r"^export (.+)$", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert handed is not None and set(handed[1].split()) == {
        name for name in texts if not re.match("COURSEBOX_|XDG_", name)
    }


def test_an_empty_variable_is_not_set_but_an_empty_snapshot_service_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _ in described():
        monkeypatch.setenv(name, "")
    found = settings()
    assert (
        found.debian_snapshot == "" and found.model_copy(update={"debian_snapshot": None}) == Settings.model_construct()
    )


def test_the_readme_has_each_variable_in_its_table() -> None:
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("| setting | |") : text.index("Without `STRICT=1`")]
    named = set(re.findall(r"`([A-Z][A-Z_]*)(?:=1)?`", table))
    assert named == {name for name, _ in described()}
