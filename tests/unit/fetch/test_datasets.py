"""Data sets: complete, else a sample, else a synthetic one, and always said which."""

from __future__ import annotations

import errno
import gzip
import json
import os
from pathlib import Path

import pytest

from coursebox.core import records
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.fetch import stage as stage_module
from coursebox.fetch import store as store_module
from coursebox.fetch.retry import RetryPolicy
from tests.equipment.data_sets import CONTENTS, EPOCH, ITEMS, SAMPLE, fetch, kinds, left, listing, mirror
from tests.equipment.http_server import Server, cut, reply


def test_complete_sets_from_a_folder(tmp_path: Path, cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    tree = fetch(cache, mirror(tmp_path / "m", "mnist", "cifar10", "cifar10-sample"), strict=True)
    files = listing(tree)
    assert json.loads(files.pop("SOURCES.json")) == {
        "mnist": {"kind": "complete", "note": "MNIST, complete: 60000 training and 10000 test images"},
        "cifar10": {"kind": "complete", "note": "CIFAR-10, complete: 50000 training and 10000 test images"},
    }
    assert files == {
        **{f"mnist/MNIST/raw/{name}": content for name, content in CONTENTS.items()},
        "cifar10/cifar-10-batches-py/data_batch_1": b"all of it",
        "cifar10/cifar-10-batches-py/readme.html": b"<p>",
    }
    assert "warning" not in capsys.readouterr().err


def test_sample_where_there_is_no_complete_set(
    tmp_path: Path, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = fetch(cache, mirror(tmp_path / "m", "mnist", "cifar10-sample"))
    assert kinds(tree) == {"mnist": "complete", "cifar10": "sample"}
    assert listing(tree)["cifar10/cifar-10-batches-py/data_batch_1"] == b"some"
    assert "warning: data: a sample of CIFAR-10" in capsys.readouterr().err


def test_stand_ins_where_there_is_nothing(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    tree = fetch(cache)
    assert kinds(tree) == {"mnist": "stand-in", "cifar10": "stand-in"}
    files = listing(tree)
    assert sorted(files) == ["SOURCES.json", "cifar10/cifar-10-batches-py/drawn", "mnist/MNIST/raw/drawn"]
    said = capsys.readouterr().err
    assert "warning: data: not MNIST but a stand-in of drawn digits" in said
    assert "warning: data: not CIFAR-10 but a stand-in of coloured shapes" in said


def test_the_sample_can_be_asked_for(tmp_path: Path, cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    """The same bytes on whatever machine, whether it reaches the complete set or not; also with STRICT=1."""
    everything = mirror(tmp_path / "m", "mnist", "cifar10", "cifar10-sample")
    tree = fetch(cache, everything, strict=True, sets=["mnist", "cifar10/sample"])
    assert kinds(tree) == {"mnist": "complete", "cifar10": "sample"}
    assert "warning" not in capsys.readouterr().err
    fallback = fetch(Cache(tmp_path / "other"), mirror(tmp_path / "n", "mnist", "cifar10-sample"))
    assert fallback.digest == tree.digest


def test_an_edition_that_is_asked_for_and_not_there(tmp_path: Path, cache: Cache) -> None:
    everything = mirror(tmp_path / "m", "mnist", "cifar10")
    with pytest.raises(CourseboxError) as caught:
        fetch(cache, everything, strict=True, sets=["mnist", "cifar10/sample"])
    assert caught.value.message == "no source has the sample of the data set cifar10, and STRICT=1 takes no stand-in"
    assert kinds(fetch(cache, everything, sets=["cifar10/sample"])) == {"cifar10": "stand-in"}
    only_sample = mirror(tmp_path / "n", "mnist", "cifar10-sample")
    with pytest.raises(CourseboxError, match="complete data set cifar10, and STRICT=1 takes no stand-in"):
        fetch(Cache(tmp_path / "other"), only_sample, strict=True, sets=["mnist", "cifar10/complete"])


def test_half_a_set_is_none(tmp_path: Path, cache: Cache) -> None:
    folder = mirror(tmp_path / "m", "mnist")
    (folder / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    assert kinds(fetch(cache, folder, sets=["mnist"])) == {"mnist": "stand-in"}


@pytest.mark.parametrize(("names", "kind"), [(["mnist", "cifar10-sample"], "sample"), (["mnist"], "stand-in")])
def test_strict_takes_only_complete_sets(tmp_path: Path, cache: Cache, names: list[str], kind: str) -> None:
    with pytest.raises(CourseboxError) as caught:
        fetch(cache, mirror(tmp_path / "m", *names), strict=True)
    assert caught.value.message == f"no source has the complete data set cifar10, and STRICT=1 takes no {kind}"
    sample = ' ask for "cifar10/sample" in the course file,' if kind == "sample" else ""
    assert caught.value.hint == (
        f"set MIRROR to a folder or a URL that has cifar10/complete.tar.gz,{sample} or leave STRICT out"
    )


def test_a_better_set_is_taken_as_soon_as_there_is_one(tmp_path: Path, cache: Cache) -> None:
    assert kinds(fetch(cache, sets=["cifar10"])) == {"cifar10": "stand-in"}
    one = fetch(cache, mirror(tmp_path / "one", "cifar10-sample"), sets=["cifar10"])
    two = fetch(cache, mirror(tmp_path / "two", "cifar10"), sets=["cifar10"])
    assert (kinds(one), kinds(two)) == ({"cifar10": "sample"}, {"cifar10": "complete"})
    assert one.digest != two.digest


def test_what_is_in_the_cache_needs_no_mirror(tmp_path: Path, cache: Cache) -> None:
    first = fetch(cache, mirror(tmp_path / "m", "mnist", "cifar10"))
    assert fetch(cache, strict=True) == first


def test_any_compression_of_the_right_content_will_do(tmp_path: Path, cache: Cache) -> None:
    folder = mirror(tmp_path / "m", "mnist")
    images, labels = CONTENTS.values()
    halves = gzip.compress(images[:1000], 9) + gzip.compress(images[1000:], 0)
    (folder / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(halves)
    (folder / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    (folder / "mnist" / "train-labels-idx1-ubyte").write_bytes(labels)
    assert kinds(fetch(cache, folder, sets=["mnist"])) == {"mnist": "complete"}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"no gzip file",
        gzip.compress(b"another content"),
        gzip.compress(CONTENTS["train-images-idx3-ubyte"])[:-20],
        gzip.compress(bytes(50 << 20)),
        gzip.compress(CONTENTS["train-images-idx3-ubyte"]) + b"trailing garbage",
    ],
    ids=["empty", "text", "other", "cut", "bomb", "garbage"],
)
def test_bad_file_is_passed_over(tmp_path: Path, cache: Cache, bad: bytes) -> None:
    one, two = mirror(tmp_path / "one", "mnist"), mirror(tmp_path / "two", "mnist")
    (one / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(bad)
    assert kinds(fetch(cache, one, sets=["mnist"])) == {"mnist": "stand-in"}
    assert kinds(fetch(cache, one, two, sets=["mnist"])) == {"mnist": "complete"}


def test_mirror_by_url(server: Server, tmp_path: Path, cache: Cache, retry: RetryPolicy) -> None:
    for name, content in CONTENTS.items():
        server.put(f"/sets/mnist/{name}.gz", gzip.compress(content))
    server.put("/sets/cifar10-sample/sample.tar.gz", SAMPLE)
    good = gzip.compress(CONTENTS["train-images-idx3-ubyte"])
    server.behave("/sets/mnist/train-images-idx3-ubyte.gz", reply(503), cut(good, 20), server.serve)
    tree = fetch(cache, server.url("/sets"), retry=retry)
    assert kinds(tree) == {"mnist": "complete", "cifar10": "sample"}


def test_endless_file_by_url_ends(server: Server, cache: Cache, retry: RetryPolicy, tmp_path: Path) -> None:
    url = "/sets/mnist/train-images-idx3-ubyte.gz"
    server.put(url, gzip.compress(os.urandom(4 << 20)))
    tree = fetch(cache, server.url("/sets"), mirror(tmp_path / "m", "mnist"), sets=["mnist"], retry=retry)
    assert kinds(tree) == {"mnist": "complete"}


def test_silent_mirror_is_an_error_and_no_reason_for_a_stand_in(
    server: Server, cache: Cache, retry: RetryPolicy
) -> None:
    server.behave("/sets/mnist/train-images-idx3-ubyte.gz", lambda handler: server.closing.wait(20) and None)
    with pytest.raises(CourseboxError, match=r"could not be fetched: train-images-idx3-ubyte\.gz \(127.*: stalls"):
        fetch(cache, server.url("/sets"), sets=["mnist"], retry=retry)
    server.behave("/sets/cifar10/complete.tar.gz", reply(500))
    with pytest.raises(CourseboxError, match=r"complete\.tar\.gz \(.*: HTTP 500\)"):
        fetch(cache, server.url("/sets"), sets=["cifar10"], retry=retry)


def test_folder_is_the_same_whoever_lays_it_out(tmp_path: Path) -> None:
    folder = mirror(tmp_path / "m", "mnist", "cifar10-sample")
    one = fetch(Cache(tmp_path / "one"), folder)
    before = os.umask(0o077)
    try:
        two = fetch(Cache(tmp_path / "two"), folder)
    finally:
        os.umask(before)
    assert one.digest == two.digest
    for path in [one.path, *one.path.rglob("*")]:
        status, other = path.stat(), (two.path / path.relative_to(one.path)).stat()
        assert status.st_mode == other.st_mode
        assert status.st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)
        assert status.st_mtime == other.st_mtime == EPOCH


def test_nothing_is_read_again_when_nothing_changed(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mirror(tmp_path / "m", "mnist", "cifar10-sample")
    first = fetch(cache, folder)
    monkeypatch.setattr(records, "sha256_file", lambda path: pytest.fail(f"{path} was read again"))
    monkeypatch.setattr(store_module, "sha256_file", lambda path: pytest.fail(f"{path} was read again"))
    assert fetch(cache, folder) == first


@pytest.mark.parametrize("damage", ["flip", "remove", "add", "record", "all"])
def test_damaged_folder_is_laid_out_anew(tmp_path: Path, cache: Cache, damage: str) -> None:
    folder = mirror(tmp_path / "m", "mnist", "cifar10-sample")
    first = fetch(cache, folder)
    before = listing(first)
    batch = first.path / "cifar10/cifar-10-batches-py/data_batch_1"
    if damage == "flip":
        batch.write_bytes(b"sone")
        os.utime(batch, (EPOCH, EPOCH))
    elif damage == "remove":
        batch.unlink()
    elif damage == "add":
        (first.path / "extra").touch()
    elif damage == "record":
        (first.path.parent / "stage.json").write_text("{")
    else:
        (first.path.parent / "stage.json").unlink()
        batch.unlink()
    assert fetch(cache, folder) == first
    assert listing(first) == before
    assert not left(cache)


def test_flipped_bit_in_an_object_is_mended_from_the_mirror(tmp_path: Path, cache: Cache) -> None:
    folder = mirror(tmp_path / "m", "mnist")
    first = fetch(cache, folder, sets=["mnist"])
    stored = cache.object(ITEMS[0].sha256)
    stored.chmod(0o644)
    with stored.open("r+b") as file:
        file.write(b"X")
    assert fetch(cache, folder, sets=["mnist"]) == first
    assert stored.read_bytes() == CONTENTS["train-images-idx3-ubyte"]


def test_full_disk_leaves_nothing(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(stage_module.shutil, "copyfile", full)
    with pytest.raises(CourseboxError, match=r"full\n  hint: .* GB are free below"):
        fetch(cache, mirror(tmp_path / "m", "mnist"), sets=["mnist"])
    assert not left(cache)
    assert not (cache.stages / "data").exists()


def test_full_disk_while_unpacking_leaves_nothing(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(store_module.Part, "write", full)
    with pytest.raises(CourseboxError, match=r"no space left on the device: [a-z0-9-]+-ubyte\.gz could not be"):
        fetch(cache, mirror(tmp_path / "m", "mnist"), sets=["mnist"])
    assert not left(cache)
