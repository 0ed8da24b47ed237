"""pip's settings, from wherever they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coursebox.archives import pip as pip_module
from coursebox.archives.pip import PipSettings, read_pip
from coursebox.core.errors import CourseboxError


def bare(**settings: str) -> PipSettings:
    """What is read in an environment in which pip finds no configuration but this."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            patch.delenv(name)
        for name, value in {"PIP_CONFIG_FILE": os.devnull, **settings}.items():
            patch.setenv(name, value)
        return read_pip()


def test_pip_settings_from_variables() -> None:
    found = bare(
        PIP_INDEX_URL="https://user:secret@index.example/simple/",
        PIP_EXTRA_INDEX_URL="https://more.example/simple file:///srv/simple",
        PIP_FIND_LINKS="/srv/wheels",
        PIP_CERT="/srv/ca.pem",
        COURSEBOX_TORCH_INDEX="https://torch.example/cpu",
    )
    assert found == PipSettings(
        (
            "https://user:secret@index.example/simple",
            "https://more.example/simple",
            "file:///srv/simple",
            "https://torch.example/cpu",
        ),
        ("/srv/wheels",),
        "/srv/ca.pem",
        None,
    )


def test_pip_settings_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://conf.example/simple\nproxy = http://proxy.example:3128\n"
    )
    found = bare(PIP_CONFIG_FILE=str(tmp_path / "pip.conf"))
    assert found.indexes == ("https://conf.example/simple",)
    assert found.proxy == "http://proxy.example:3128"


def test_pip_tells_its_own_default_and_that_there_is_none() -> None:
    (default,) = bare().indexes
    assert default.startswith("https://")
    assert default.endswith("/simple")
    assert bare(PIP_NO_INDEX="1").indexes == ()


def test_pip_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_module, "ASK_PIP", "raise SystemExit('no such option')")
    with pytest.raises(CourseboxError, match="pip does not tell its settings: no such option"):
        read_pip()
