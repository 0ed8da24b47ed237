"""Names of data sets → the files that a build takes for them, as datasets.toml describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coursebox.archives.datasets import DataSet, read_data_sets, wanted
from coursebox.core.errors import CourseboxError
from coursebox.lock.lockfile import DataFile


def resolve_data(sets: Sequence[str], described: Mapping[str, DataSet] | None = None) -> tuple[DataFile, ...]:
    """The files of all editions of the data sets, sorted. Raises CourseboxError for an unknown name."""
    known = read_data_sets() if described is None else described
    names = {wanted(entry)[0] for entry in sets}
    if unknown := sorted(names - set(known)):
        raise CourseboxError(
            f"there is no data set {', '.join(map(repr, unknown))}", hint=f"there are {', '.join(sorted(known))}"
        )
    return tuple(
        sorted(
            DataFile(name, kind, edition.folder, one.file, one.path, one.packing, one.size, one.sha256)
            for name in names
            for kind, edition in known[name].editions()
            for one in edition.files
        )
    )
