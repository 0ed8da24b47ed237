"""What the prologue does with data in other layouts, with data that are not the real ones, and with bad data."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import labs_support as small_data
import numpy as np
import pytest
import torch
from labs_support import Load, Run

KERNEL = "/opt/jupyter/lib/python3.13/site-packages/ipykernel_launcher.py"
RAW = "mnist/MNIST/raw"
CIFAR = "cifar10/cifar-10-batches-py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Small data sets in the layout of the course machine."""
    return small_data.write(tmp_path / "data")


# --- layouts and sizes


def pack(folder: Path) -> None:
    for file in list(folder.iterdir()):
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()


def flat(root: Path) -> None:
    for file in list((root / RAW).iterdir()):
        file.rename(root / "mnist" / file.name)
    shutil.rmtree(root / "mnist" / "MNIST")


LAYOUTS: dict[str, Callable[[Path], object]] = {
    "packed": lambda root: pack(root / RAW),
    "flat": flat,
    "flat, packed": lambda root: (flat(root), pack(root / "mnist")),
    "one packed": lambda root: (
        (root / RAW / "train-images-idx3-ubyte.gz").write_bytes(
            gzip.compress((root / RAW / "train-images-idx3-ubyte").read_bytes())
        ),
        (root / RAW / "train-images-idx3-ubyte").unlink(),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_give_the_same(load: Load, root: Path, layout: str) -> None:
    expected = load(data=root).load_data()
    LAYOUTS[layout](root)
    assert all(torch.equal(a, b) for a, b in zip(load(data=root).load_data(), expected, strict=True))


@pytest.mark.parametrize("option", ["--tiny", "--seed=0", "--full"])
@pytest.mark.parametrize(
    ("cifar", "train", "test"),
    [(False, small_data.TRAIN, small_data.TEST), (True, 5 * small_data.BATCH, small_data.BATCH)],
)
def test_sets_smaller_than_the_reduced_sizes(
    load: Load, root: Path, capsys: pytest.CaptureFixture[str], option: str, cifar: bool, train: int, test: int
) -> None:
    tensors = load("dummy.py", option, data=root).load_data(cifar)
    assert [len(tensor) for tensor in tensors] == [train, train, test, test]
    assert capsys.readouterr().out.splitlines()[-1] == f"** Use {train} train and {test} test samples"


def test_reduced_mnist_is_the_beginning_of_the_full_one(load: Load, data_dir: Path) -> None:
    tiny = load("dummy.py", "--tiny", data=data_dir).load_data()
    full = load("dummy.py", "--full", data=data_dir).load_data()
    assert all(torch.equal(a, b[: len(a)]) for a, b in zip(tiny, full, strict=True))


def test_cifar_batches_come_in_order(load: Load, root: Path) -> None:
    images, labels, _, _ = load(data=root).load_data(cifar=True)
    batches = [pickle.loads((root / CIFAR / name).read_bytes()) for name in small_data.BATCHES if name != "test_batch"]
    assert np.array_equal(images.numpy(), np.concatenate([batch["data"] for batch in batches]))
    assert labels.tolist() == [label for batch in batches for label in batch["labels"]]


def test_tilde_in_data_dir(load: Load, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(load("dummy.py", "--data_dir=~/data").load_data()[0]) == small_data.TRAIN


# --- data that are not the real ones


@pytest.mark.parametrize(
    ("sources", "mnist", "cifar"),
    [
        ({"mnist": {"kind": "complete", "note": "x"}, "cifar10": {"kind": "complete", "note": ""}}, None, None),
        (
            {"mnist": {"kind": "complete"}, "cifar10": {"kind": "sample", "note": "932 images of\n each batch"}},
            None,
            "** CIFAR-10 here is a sample: 932 images of each batch",
        ),
        (
            {"mnist": {"kind": "stand-in", "note": "drawn digits"}, "cifar10": {"kind": "stand-in", "note": None}},
            "** MNIST here is a stand-in: drawn digits",
            "** CIFAR-10 here is a stand-in",
        ),
        ({"cifar10": {"note": "no kind"}}, None, None),
        ({"mnist": "complete", "cifar10": None}, None, None),
        (["mnist"], None, None),
        (None, None, None),
        ("{ broken", None, None),
    ],
)
def test_says_when_data_are_not_the_real_ones(
    load: Load, root: Path, capsys: pytest.CaptureFixture[str], sources: object, mnist: str | None, cifar: str | None
) -> None:
    if sources is not None:
        text = sources if isinstance(sources, str) else json.dumps(sources)
        (root / "SOURCES.json").write_text(text)
    prologue = load(data=root)
    for choice, used, remark in ((False, "MNIST", mnist), (True, "CIFAR", cifar)):
        lines = [
            f"* Using {used}",
            *([remark] if remark else []),
            "** Reduce the data-set (use --full for the full thing)",
        ]
        prologue.load_data(choice)
        assert capsys.readouterr().out.splitlines()[1:-1] == lines
    prologue.generate_pair_sets(2)
    assert capsys.readouterr().out.splitlines() == ([mnist] if mnist else [])


# --- missing and damaged data


def change(path: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda root: (root / path).write_bytes(edit((root / path).read_bytes()))


def remove(path: str) -> Callable[[Path], object]:
    return lambda root: (root / path).unlink()


def replace(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / path).write_bytes(content)


def packed(path: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def apply(root: Path) -> None:
        file = root / path
        file.with_name(file.name + ".gz").write_bytes(edit(gzip.compress(file.read_bytes(), mtime=0)))
        file.unlink()

    return apply


class Intruder:
    """A pickle that runs a command when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("intruder",)


IMAGES, LABELS = f"{RAW}/train-images-idx3-ubyte", f"{RAW}/train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = f"{RAW}/t10k-images-idx3-ubyte", f"{RAW}/t10k-labels-idx1-ubyte"
FIRST, LAST = f"{CIFAR}/data_batch_1", f"{CIFAR}/test_batch"
WHERE = "Say where the data are with --data_dir or PYTORCH_DATA_DIR; nothing is downloaded."
AGAIN = "Install the data again."
NO_BATCH = "is not a batch of CIFAR-10 images"
ones = np.ones((4, 3072), np.uint8)

BAD: list[tuple[str, bool, Callable[[Path], object], str]] = [
    ("no data", False, lambda root: shutil.rmtree(root), f"MNIST is missing: there is no @/{IMAGES}. {WHERE}"),
    ("no data, CIFAR", True, lambda root: shutil.rmtree(root), f"CIFAR-10 is missing: there is no @/{FIRST}. {WHERE}"),
    ("a file where the folder was", False, lambda root: (shutil.rmtree(root), root.write_text("")),
     f"MNIST is missing: there is no @/{IMAGES}. {WHERE}"),
    ("no test labels", False, remove(TEST_LABELS), f"MNIST is missing: there is no @/{TEST_LABELS}. {WHERE}"),
    ("no fifth batch", True, remove(f"{CIFAR}/data_batch_5"),
     f"CIFAR-10 is missing: there is no @/{CIFAR}/data_batch_5. {WHERE}"),
    ("no test batch", True, remove(LAST), f"CIFAR-10 is missing: there is no @/{LAST}. {WHERE}"),
    ("empty file", False, replace(IMAGES, b""),
     f"MNIST is damaged: @/{IMAGES} does not begin like a file of images. {AGAIN}"),
    ("cut in the header", False, change(TEST_LABELS, lambda old: old[:6]),
     f"MNIST is damaged: @/{TEST_LABELS} does not begin like a file of labels. {AGAIN}"),
    ("labels for images", False, lambda root: shutil.copy(root / LABELS, root / IMAGES),
     f"MNIST is damaged: @/{IMAGES} does not begin like a file of images. {AGAIN}"),
    ("a web page", False, replace(TEST_IMAGES, b"<!doctype html><title>404 Not Found</title>"),
     f"MNIST is damaged: @/{TEST_IMAGES} does not begin like a file of images. {AGAIN}"),
    ("other image size", False, replace(IMAGES, small_data.idx(np.zeros((30, 14, 56)))),
     f"MNIST is damaged: @/{IMAGES} does not begin like a file of images. {AGAIN}"),
    ("cut", False, change(IMAGES, lambda old: old[:-1]),
     f"MNIST is damaged: @/{IMAGES} holds 23535 bytes, not 23536. {AGAIN}"),
    ("too long", False, change(LABELS, lambda old: old + b"\0\0"),
     f"MNIST is damaged: @/{LABELS} holds 40 bytes, not 38. {AGAIN}"),
    ("fewer labels than images", False, replace(LABELS, small_data.idx(np.zeros(29))),
     f"MNIST is damaged: @/{LABELS} holds 29 labels for 30 images. {AGAIN}"),
    ("label 10", False, change(LABELS, lambda old: old[:-1] + b"\x0a"),
     f"MNIST is damaged: @/{LABELS} holds labels other than 0 to 9. {AGAIN}"),
    ("no images", False, lambda root: (replace(IMAGES, small_data.idx(np.zeros((0, 28, 28))))(root),
                                       replace(LABELS, small_data.idx(np.zeros(0)))(root)),
     f"MNIST is damaged: @/{LABELS} is empty. {AGAIN}"),
    ("packed, cut", False, packed(IMAGES, lambda old: old[:-9]),
     f"MNIST is damaged: @/{IMAGES}.gz cannot be decompressed. {AGAIN}"),
    ("packed, a bit flipped", False, packed(IMAGES, lambda old: old[:500] + bytes([old[500] ^ 1]) + old[501:]),
     f"MNIST is damaged: @/{IMAGES}.gz cannot be decompressed. {AGAIN}"),
    ("packed, garbled", False, packed(IMAGES, lambda old: old[:10] + b"\xff" * 8 + old[18:]),
     f"MNIST is damaged: @/{IMAGES}.gz cannot be decompressed. {AGAIN}"),
    ("packed, not gzip", False, packed(LABELS, lambda old: b"hello"),
     f"MNIST is damaged: @/{LABELS}.gz cannot be decompressed. {AGAIN}"),
    ("batch: empty", True, replace(FIRST, b""), f"CIFAR-10 is damaged: @/{FIRST} {NO_BATCH}. {AGAIN}"),
    ("batch: cut", True, change(LAST, lambda old: old[:-20]), f"CIFAR-10 is damaged: @/{LAST} {NO_BATCH}. {AGAIN}"),
    ("batch: a web page", True, replace(FIRST, b"<!doctype html>"),
     f"CIFAR-10 is damaged: @/{FIRST} {NO_BATCH}. {AGAIN}"),
    ("batch: no dictionary", True, replace(FIRST, pickle.dumps([1, 2])),
     f"CIFAR-10 is damaged: @/{FIRST} {NO_BATCH}. {AGAIN}"),
    ("batch: floats", True, replace(FIRST, small_data.batch(ones.astype(np.float32), [0, 1, 2, 3])),
     f"CIFAR-10 is damaged: @/{FIRST} {NO_BATCH}. {AGAIN}"),
    ("batch: a label missing", True, replace(LAST, small_data.batch(ones, [0, 1, 2])),
     f"CIFAR-10 is damaged: @/{LAST} {NO_BATCH}. {AGAIN}"),
    ("batch: label -1", True, replace(LAST, small_data.batch(ones, [0, 1, 2, -1])),
     f"CIFAR-10 is damaged: @/{LAST} {NO_BATCH}. {AGAIN}"),
    ("batch: label 10", True, replace(LAST, small_data.batch(ones, [0, 1, 2, 10])),
     f"CIFAR-10 is damaged: @/{LAST} {NO_BATCH}. {AGAIN}"),
    ("batch: no images", True, replace(LAST, small_data.batch(ones[:0], [])),
     f"CIFAR-10 is damaged: @/{LAST} {NO_BATCH}. {AGAIN}"),
    ("batch: a program", True, replace(FIRST, pickle.dumps({"data": ones, "labels": [0] * 4, "x": Intruder()})),
     f"CIFAR-10 is damaged: @/{FIRST} {NO_BATCH}. {AGAIN}"),
]  # fmt: skip


@pytest.mark.parametrize(("cifar", "spoil", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_data_end_the_program_with_one_sentence(
    load: Load, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cifar: bool,
    spoil: Callable[[Path], object], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    spoil(root)
    expected = message.replace("@", str(root))
    with pytest.raises(SystemExit) as stopped:
        load(data=root).load_data(cifar)
    assert stopped.value.code == expected  # Python prints it and ends with status 1
    assert not Path("intruder").exists()

    with pytest.raises(RuntimeError) as shown:  # a notebook's kernel must live on
        load(KERNEL, "-f", "connection.json", data=root).load_data(cifar)
    assert shown.value._render_traceback_() == [expected]  # type: ignore[attr-defined]


def test_a_folder_instead_of_a_batch(load: Load, root: Path) -> None:
    (root / FIRST).unlink()
    (root / FIRST).mkdir()
    with pytest.raises(SystemExit) as stopped:
        load(data=root).load_data(True)
    assert stopped.value.code == f"CIFAR-10 is missing: there is no {root / FIRST}. {WHERE}"


@pytest.mark.parametrize("cifar", [False, True])
def test_a_read_error(load: Load, root: Path, monkeypatch: pytest.MonkeyPatch, cifar: bool) -> None:
    file = root / (FIRST if cifar else IMAGES)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    prologue = load(data=root)
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(np, "memmap", refuse)
    with pytest.raises(SystemExit) as stopped:
        prologue.load_data(cifar)
    assert stopped.value.code == f"{'CIFAR-10' if cifar else 'MNIST'} cannot be read: {file}: Permission denied."


def test_pairs_without_data(load: Load, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        load(data=tmp_path / "none").generate_pair_sets(3)
    assert stopped.value.code == f"MNIST is missing: there is no {tmp_path / 'none' / IMAGES}. {WHERE}"


def test_a_program_without_data_prints_one_sentence_and_no_traceback(run: Run, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import dlc_practical_prologue as p\np.load_data()\nprint('went on')\n")
    done = run(program, "--data_dir", "nowhere")
    sentence = f"MNIST is missing: there is no nowhere/{IMAGES}. {WHERE}\n"
    assert (done.stdout, done.stderr, done.returncode) == ("data_dir nowhere\n* Using MNIST\n", sentence, 1)
