"""What the user adds: $MIRROR, and the folder beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from coursebox.archives.mirrors import data_mirrors, join, local_path
from coursebox.core.errors import CourseboxError


def mirrors(setting: str, beside: Path) -> tuple[str, ...]:
    """The mirrors with this value of MIRROR."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIRROR", setting)
        return data_mirrors(beside)


def test_data_mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, spaced, beside = tmp_path / "one", tmp_path / "zwei Sätze", tmp_path / "beside"
    for folder in (one, spaced, beside):
        folder.mkdir()
    monkeypatch.chdir(tmp_path)
    assert mirrors("", tmp_path / "none") == ()
    assert mirrors("", beside) == (str(beside),)
    assert mirrors("one https://data.example/sets/ one", beside) == (
        str(one),
        "https://data.example/sets",
        str(beside),
    )
    assert mirrors("zwei Sätze", tmp_path / "none") == (str(spaced),)
    assert mirrors("'zwei Sätze' one", tmp_path / "none") == (str(spaced), str(one))
    assert mirrors("beside", beside) == (str(beside),)


def test_mirror_folder_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseboxError, match="MIRROR names the folder datsets, which does not exist"):
        mirrors("datsets", tmp_path / "none")


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/srv/a b", "/srv/a b"),
        ("file:///srv/a%20b", "/srv/a b"),
        ("file:/srv/x", "/srv/x"),
        ("copy:/srv/x", "/srv/x"),
        ("https://a.example/x", None),
    ],
)
def test_local_path(address: str, path: str | None) -> None:
    assert local_path(address) == (Path(path) if path else None)


def test_join() -> None:
    assert join("https://a.example/x/", "y/z") == "https://a.example/x/y/z"
    assert join("/srv/x", "y") == "/srv/x/y"
