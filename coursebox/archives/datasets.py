"""The data sets that a course can have, as datasets.toml at the top of the checkout describes them."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT

DESCRIPTION = CHECKOUT / "datasets.toml"

# A path below a folder: no empty part, no ".", no "..".
Below = Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]
Address = Annotated[str, Field(pattern=r"^https?://[^\s/]+/(?:\S*/)?$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataSetFile(_Table):
    """One file; datasets.toml explains the fields."""

    file: Below
    packing: Literal["gzip", "tar"]
    path: Below
    size: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Edition(_Table):
    """The complete data set, or a sample of it."""

    note: str
    folder: Below
    files: Annotated[tuple[DataSetFile, ...], Field(min_length=1, strict=False)]
    addresses: Annotated[tuple[Address, ...], Field(strict=False)] = ()


class DataSet(_Table):
    """One data set."""

    title: str
    licence: str
    synthetic: str | None = None
    generated: Below | None = None
    complete: Edition
    sample: Edition | None = None

    def editions(self) -> Iterator[tuple[str, Edition]]:
        """("complete" or "sample", edition), the best one first."""
        yield "complete", self.complete
        if self.sample is not None:
            yield "sample", self.sample


def wanted(entry: str) -> tuple[str, str | None]:
    """The data set and the edition that an entry of a course asks for, as "cifar10/sample"; None for the best one."""
    name, _, edition = entry.partition("/")
    return name, edition or None


@functools.cache
def read_data_sets(description: Path = DESCRIPTION) -> Mapping[str, DataSet]:
    """All data sets by name, in the order of the file.

    Raises CourseboxError for whatever is wrong with it.
    """
    try:
        tables = tomllib.loads(description.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, DataSet]).validate_python(tables)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CourseboxError(
            f"{description.name}: {place}: {first['msg']}", hint="the comments at the top of the file explain it"
        ) from error
    except (OSError, ValueError) as error:
        raise CourseboxError(f"{description}: {error}", hint="restore it with `git checkout`") from error
