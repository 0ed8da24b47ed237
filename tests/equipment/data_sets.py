"""Small data sets in the place of MNIST and CIFAR-10, on mirrors of all kinds."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coursebox.archives.datasets import DataSet, read_data_sets
from coursebox.core.paths import Cache
from coursebox.core.stages import Stages
from coursebox.fetch.datasets import RETRY, choose_data
from coursebox.fetch.retry import RetryPolicy
from coursebox.fetch.stage import DataTree, lay_out_data
from coursebox.lock.lockfile import DataFile, Locks

EPOCH = 1_700_000_000
CONTENTS = {name: name.encode() * 5000 for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")}


def tar_gz(members: dict[str, bytes | None]) -> bytes:
    """A tar archive; None makes a symbolic link to /etc/passwd."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


COMPLETE = tar_gz({"cifar-10-batches-py/data_batch_1": b"all of it", "cifar-10-batches-py/readme.html": b"<p>"})
SAMPLE = tar_gz({"cifar-10-batches-py/data_batch_1": b"some"})


def archive(kind: str, folder: str, content: bytes) -> DataFile:
    digest = hashlib.sha256(content).hexdigest()
    return DataFile("cifar10", kind, folder, f"{kind}.tar.gz", "cifar10", "tar", len(content), digest)


MNIST = [
    DataFile("mnist", "complete", "mnist", f"{name}.gz", f"mnist/MNIST/raw/{name}", "gzip", len(content), digest)
    for name, content in CONTENTS.items()
    for digest in [hashlib.sha256(content).hexdigest()]
]
ITEMS = (*MNIST, archive("complete", "cifar10", COMPLETE), archive("sample", "cifar10-sample", SAMPLE))
LOCKS = Locks(EPOCH, "20261101T000000Z", "trixie", "amd64", {}, {}, {}, data=ITEMS)


def described(*bases: str) -> dict[str, DataSet]:
    """The data sets of this file with these public places, as datasets.toml would describe them."""

    def edition(name: str, kind: str) -> dict[str, Any]:
        found = [item for item in ITEMS if (item.set, item.kind) == (name, kind)]
        public = [f"{base}/{found[0].folder}/" for base in bases] if kind == "complete" else []
        return {
            "note": dict(read_data_sets()[name].editions())[kind].note,
            "folder": found[0].folder,
            "addresses": public,
            "files": [
                {field: getattr(item, field) for field in ("file", "packing", "path", "size", "sha256")}
                for item in found
            ],
        }

    return {
        name: DataSet.model_validate(
            {
                "title": real.title,
                "licence": real.licence,
                "synthetic": real.synthetic,
                "generated": real.generated,
                "complete": edition(name, "complete"),
                "sample": edition(name, "sample") if real.sample else None,
            }
        )
        for name, real in read_data_sets().items()
    }


def fetch(
    cache: Cache,
    *mirrors: str | Path,
    sets: Sequence[str] = ("mnist", "cifar10"),
    strict: bool = False,
    retry: RetryPolicy = RETRY,
    public: Sequence[str] = (),
) -> DataTree:
    known = described(*public)
    chosen = choose_data(
        LOCKS,
        sets,
        cache,
        strict=strict,
        mirrors=lambda: [str(mirror) for mirror in mirrors],
        described=known,
        retry=retry,
    )
    return lay_out_data(Stages(cache), chosen, EPOCH, known)


def mirror(folder: Path, *names: str) -> Path:
    """A folder with some of: mnist, cifar10, cifar10-sample."""
    for name in names:
        (folder / name).mkdir(parents=True)
    if "mnist" in names:
        for name, content in CONTENTS.items():
            (folder / "mnist" / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    if "cifar10" in names:
        (folder / "cifar10" / "complete.tar.gz").write_bytes(COMPLETE)
    if "cifar10-sample" in names:
        (folder / "cifar10-sample" / "sample.tar.gz").write_bytes(SAMPLE)
    return folder


def kinds(tree: DataTree) -> dict[str, str]:
    return {name: source["kind"] for name, source in tree.sources.items()}


def left(cache: Cache) -> list[Path]:
    """What is half made."""
    return [path for folder in (cache.tmp, cache.root / "partial") for path in folder.glob("*")]


def listing(tree: DataTree) -> dict[str, bytes]:
    return {
        path.relative_to(tree.path).as_posix(): path.read_bytes() for path in tree.path.rglob("*") if path.is_file()
    }
