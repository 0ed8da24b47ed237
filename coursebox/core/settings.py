"""The settings of the verbs: every environment variable that coursebox reads, with what it means.

Variables of the container, of the labs and of the tests are not among them. `settings()` reads them anew at each call.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from coursebox.core.errors import CourseboxError

_UNITS = {"": 10**9, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _switch(value: object) -> object:
    """A switch of the Makefile is on unless it is empty or 0."""
    return value not in ("", "0") if isinstance(value, str) else value


def _words(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


def _students(value: object) -> object:
    return tuple(filter(None, map(str.strip, value.split(";")))) if isinstance(value, str) else value


def _bytes(value: object) -> object:
    """A size such as "20 GB", "500M" or "20", which is in GB."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", value.strip().upper())
    if match is None:
        raise ValueError("no size")
    return int(float(match[1]) * _UNITS[match[2]])


_HINTS = {
    "ACCEL": "use ACCEL=kvm or ACCEL=tcg",
    "COURSEBOX_CACHE_LIMIT": 'write a size as in "20 GB", 0 is no limit',
}

Switch = Annotated[bool, BeforeValidator(_switch)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Size = Annotated[int, BeforeValidator(_bytes)]


class Settings(BaseSettings):
    """What the environment says. An empty variable counts as one that is not set, unless its text says otherwise."""

    model_config = SettingsConfigDict(case_sensitive=True, frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in values.items() if value != "" or name == "COURSEBOX_DEBIAN_SNAPSHOT"}

    course: Path = Field(
        default=Path("course.toml"), validation_alias="COURSE", description="the course file, course.toml unless named"
    )
    targets: Words = Field(
        default=(), validation_alias="TARGETS", description="names of targets for build; `make targets` lists them"
    )
    name: str = Field(
        default="",
        validation_alias="NAME",
        description="number and topic of a new lab, as in 21_topic",
    )
    mirror: str = Field(
        default="",
        validation_alias="MIRROR",
        description="folders or URLs to look for data sets first; several are separated by spaces",
    )
    strict: Switch = Field(
        default=False, validation_alias="STRICT", description="1: stop where something locked has no source any more"
    )
    accel: Literal["kvm", "tcg"] | None = Field(
        default=None,
        validation_alias="ACCEL",
        description="kvm or tcg for try, test and bench, instead of what works here",
    )
    keep: Switch = Field(
        default=False,
        validation_alias="KEEP",
        description="1: make try keeps what the machine writes, for the next KEEP=1",
    )
    folder: Path | None = Field(
        default=None, validation_alias="FOLDER", description="for grade: the folder with the submissions of one lab"
    )
    lab: str = Field(default="", validation_alias="LAB", description="for grade: the number or the name of the lab")
    out: Path | None = Field(
        default=None,
        validation_alias="OUT",
        description="for grade: where the results go; FOLDER-grades beside FOLDER unless named",
    )
    student: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_students)] = Field(
        default=(),
        validation_alias="STUDENT",
        description="for grade: the students that alone are graded, again; several are separated by ;",
    )
    format: str = Field(
        default="", validation_alias="FORMAT", description="for grade: moodle or canvas, a file that this one imports"
    )
    rules: Path | None = Field(
        default=None,
        validation_alias="RULES",
        description="for grade: the file with weights, a late rule and points by hand",
    )
    roster: Path | None = Field(
        default=None, validation_alias="ROSTER", description="for grade: the class list, a CSV file"
    )
    times: Path | None = Field(
        default=None, validation_alias="TIMES", description="for grade: a CSV file with names and times of handing in"
    )
    again: Switch = Field(
        default=False, validation_alias="AGAIN", description="1: grade all anew, whatever was graded before"
    )
    fresh: Switch = Field(
        default=False,
        validation_alias="FRESH",
        description="1: test and repro prove anew what is proved already; fetch looks again for what was substituted",
    )
    clean_cache: Switch = Field(
        default=False,
        validation_alias="CACHE",
        description="1: make clean removes the finished stages in the cache, too",
    )
    verbose: Switch = Field(default=False, validation_alias="V", description="1: show the output of apt-get")
    cache: Path | None = Field(
        default=None,
        validation_alias="COURSEBOX_CACHE",
        description="the cache folder; by default coursebox in the user's cache folder",
    )
    user_cache: Path = Field(
        default=Path("~/.cache"), validation_alias="XDG_CACHE_HOME", description="the user's cache folder (XDG)"
    )
    cache_limit: Size = Field(
        default=40 * 10**9,
        validation_alias="COURSEBOX_CACHE_LIMIT",
        description="the cache's size, 40 GB unless set, 0 for no limit; what was unused longest goes first",
    )
    debian_mirror: str | None = Field(
        default=None, validation_alias="COURSEBOX_DEBIAN_MIRROR", description="a Debian mirror instead of apt's"
    )
    debian_security: str | None = Field(
        default=None,
        validation_alias="COURSEBOX_DEBIAN_SECURITY_MIRROR",
        description="a mirror of Debian's security archive instead of apt's",
    )
    debian_snapshot: str | None = Field(
        default=None,
        validation_alias="COURSEBOX_DEBIAN_SNAPSHOT",
        description="a snapshot service, for packages that the mirrors have dropped; empty: none, apt's neither",
    )
    torch_index: str | None = Field(
        default=None, validation_alias="COURSEBOX_TORCH_INDEX", description="a Python index to ask beside pip's"
    )
    processors: str = Field(
        default="",
        validation_alias="COURSEBOX_CPUS",
        description="processors that the containers of a build may use, as 0 or 0-3; all unless set",
    )


def settings() -> Settings:
    """The settings as the environment has them now. CourseboxError names each wrong variable and what it takes."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = {str(problem["loc"][0]): problem["input"] for problem in error.errors(include_url=False)}
    texts = "; ".join(f"{name}={value} is not possible" for name, value in wrong.items())
    hints = "; ".join(_HINTS.get(name, f"correct {name}") for name in wrong)
    raise CourseboxError(texts, hint=f"{hints}, or leave it out")


def described() -> list[tuple[str, str]]:
    """Each variable with its meaning, in the order of the class."""
    return [(str(field.validation_alias), field.description or "") for field in Settings.model_fields.values()]
