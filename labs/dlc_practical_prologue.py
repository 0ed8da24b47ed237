"""Prologue of the practical sessions: the command line, and MNIST or CIFAR-10 as tensors.

    import dlc_practical_prologue as prologue

    train_input, train_target, test_input, test_target = prologue.load_data()

A program that imports this module understands --full, --tiny, --force_cpu, --seed, --cifar and --data_dir
(`python program.py --help` says what they do). In a notebook there is no command line: set the same options before
you load, for instance `prologue.args.full = True`.

What comes back: images are float32 with values 0 to 255, labels are int64, and both are on the GPU when torch sees one
and --force_cpu is not given. The default is the first 1000 training and 1000 test samples, --tiny takes 500 and 100,
--full takes all. The data must be there already: nothing is downloaded. A program that was written for the CPU may fail
on a GPU; the first line of the error then names --force_cpu.

Two conventions for one-hot labels are around, and they do not train alike. `one_hot_labels=True` gives -1 and +1, as
the course page says. Copies of this file from 2019 and later gave 0 and 1; programs written for those ask for it in so
many words: `one_hot_labels='01'`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pickle
import re
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

# ------------------------------------------------------------------------------------------------ the command line


def _page_layout(prog: str) -> argparse.HelpFormatter:
    """The course page shows the help 66 columns wide; it looks the same in a terminal of any width."""
    return argparse.HelpFormatter(prog, width=66)


parser = argparse.ArgumentParser(
    description="DLC prologue file for practical sessions.", formatter_class=_page_layout, add_help=False
)
parser.color = False  # type: ignore[attr-defined, unused-ignore]  # Python 3.14 would paint the page's text

# A group of our own, because since Python 3.10 argparse heads its own group "options".
_options = parser.add_argument_group("optional arguments")
_options.add_argument("-h", "--help", action="help", help="show this help message and exit")
_options.add_argument("--full", action="store_true", help="Use the full set, can take ages (default False)")
_options.add_argument("--tiny", action="store_true", help="Use a very small set for quick checks (default False)")
_options.add_argument(
    "--force_cpu", action="store_true", help="Keep tensors on the CPU, even if cuda is available (default False)"
)
_options.add_argument("--seed", type=int, default=0, help="Random seed (default 0, < 0 is no seeding)")
_options.add_argument("--cifar", action="store_true", help="Use the CIFAR data-set and not MNIST (default False)")
_options.add_argument("--data_dir", help="Where are the PyTorch data located (default $PYTORCH_DATA_DIR or './data')")
# Jupyter starts its kernels with `-f connection.json` (some front ends with `--f=…`); accepted, and not shown.
_options.add_argument("-f", "--file", "--f", dest="file", help=argparse.SUPPRESS)


def _in_notebook() -> bool:
    """Whether the running program is a notebook kernel, whose other arguments are none of ours."""
    program = Path(sys.argv[0]) if sys.argv else Path()
    return program.name.endswith("kernel_launcher.py") or program.parent.name == "ipykernel"


args: argparse.Namespace = parser.parse_known_args()[0] if _in_notebook() else parser.parse_args()

_BOTH_SIZES = "Cannot have both --full and --tiny"
if args.full and args.tiny:
    parser.error(_BOTH_SIZES)

if args.seed >= 0:
    torch.manual_seed(args.seed)

# ------------------------------------------------------------------------------------------------ the GPU

_device = torch.device("cuda" if torch.cuda.is_available() and not args.force_cpu else "cpu")


def _make_gpu_the_default() -> None:
    """New tensors and modules are made on the GPU, `torch.Tensor(2, 3)` included."""
    if not hasattr(torch, "set_default_tensor_type"):
        torch.set_default_device("cuda")
        return
    # The successor, set_default_device, leaves torch.Tensor(…) on the CPU, and students' programs use that one.
    # Change over when it no longer does: https://github.com/pytorch/pytorch/issues/132483
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_default_tensor_type("torch.cuda.FloatTensor")


# What torch says of tensors on the GPU in a program that knows the CPU only: NumPy and pictures, shuffled loaders,
# tensors of both.
_MADE_FOR_THE_CPU = re.compile(
    r"can't convert \S+ device type tensor to numpy"
    r"|Expected a '\w+' device type for generator"
    r"|Expected all tensors to be on the same device"
    r"|Tensor on device \S+ is not on the expected device"
)
_ON_THE_CPU = "This program does not work with tensors on the GPU. On the CPU it does: {how}"


def _explain_the_gpu() -> None:
    """Let the first line of an error that comes from the GPU say how the program runs on the CPU."""
    how = "prologue.args.force_cpu = True, before load_data()" if _in_notebook() else f"{sys.argv[0]} --force_cpu"

    def remark(error: BaseException) -> None:
        if _MADE_FOR_THE_CPU.search(str(error)):
            print(_ON_THE_CPU.format(how=how), file=sys.stderr, flush=True)

    if _in_notebook():
        from IPython import get_ipython

        def show(
            shell: Any, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: Any = None
        ) -> None:
            remark(error)
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

        if (shell := get_ipython()) is not None:
            shell.set_custom_exc((RuntimeError, TypeError, ValueError), show)
        return
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        remark(error)
        before(kind, error, trace)

    sys.excepthook = hook


if _device.type == "cuda":
    _make_gpu_the_default()
    _explain_the_gpu()


def _keep_to_the_cpu() -> None:
    """--force_cpu that was set after the import, as notebooks do."""
    global _device
    if args.force_cpu and _device.type != "cpu":
        _device = torch.device("cpu")
        if hasattr(torch, "set_default_tensor_type"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.set_default_tensor_type("torch.FloatTensor")
        torch.set_default_device("cpu")


# ------------------------------------------------------------------------------------------------ errors


class DataError(SystemExit):
    """The data are missing or damaged: the program ends with this sentence and status 1."""


class NotebookDataError(RuntimeError):
    """The same in a notebook, where the kernel lives on: the cell shows the sentence and no traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks an exception how it wants to be shown
        return [str(self)]


def _stop(sentence: str) -> NoReturn:
    raise (NotebookDataError if _in_notebook() else DataError)(sentence) from None


def _damaged(name: str, file: Path, what: str) -> NoReturn:
    _stop(f"{name} is damaged: {file} {what}. Install the data again.")


# ------------------------------------------------------------------------------------------------ files

_Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_MNIST_FOLDERS = ("mnist/MNIST/raw", "mnist")
_CIFAR_FOLDER = "cifar10/cifar-10-batches-py"
_CIFAR_TRAIN = [f"data_batch_{number}" for number in range(1, 6)]
_CIFAR_TEST = ["test_batch"]


def _find(name: str, candidates: list[Path]) -> Path:
    """The first of these files that is there."""
    for file in candidates:
        if file.is_file():
            return file
    _stop(
        f"{name} is missing: there is no {candidates[0]}. "
        "Say where the data are with --data_dir or PYTORCH_DATA_DIR; nothing is downloaded."
    )


def _read_idx(file: Path, shape: tuple[int, ...], limit: int | None) -> _Bytes:
    """The first `limit` items (None: all) of an IDX file of bytes, as an array of N x shape.

    IDX: two zero bytes, the type (8 for bytes), the number of dimensions, each dimension as a big-endian 32-bit
    number, then the values (the format is described on the MNIST page of Yann LeCun).
    """
    if file.suffix == ".gz":
        try:
            content: _Bytes = np.frombuffer(bytearray(gzip.decompress(file.read_bytes())), np.uint8)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            _damaged("MNIST", file, "cannot be decompressed")
    else:  # mapped, so that a reduced set does not read the 47 MB of the whole one
        content = np.memmap(file, np.uint8, "c") if file.stat().st_size > 0 else np.empty(0, np.uint8)

    begin, size = 4 * (2 + len(shape)), int(np.prod(shape))
    header = [int.from_bytes(content[k : k + 4].tobytes(), "big") for k in range(0, begin, 4)]
    if len(content) < begin or header[0] != 0x801 + len(shape) or tuple(header[2:]) != shape:
        _damaged("MNIST", file, f"does not begin like a file of {'images' if shape else 'labels'}")
    count = header[1]
    if len(content) != begin + count * size:
        _damaged("MNIST", file, f"holds {len(content)} bytes, not {begin + count * size}")
    count = count if limit is None else min(limit, count)
    return content[begin : begin + count * size].reshape(count, *shape)


def _mnist(root: Path, part: str, limit: int | None) -> tuple[_Bytes, _Bytes]:
    """Images (N x 1 x 28 x 28) and labels (N) of MNIST; part is "train" or "t10k"."""

    def file(stem: str) -> Path:
        names = [stem, stem + ".gz"]  # uncompressed is faster, so it goes first
        return _find("MNIST", [root / folder / name for folder in _MNIST_FOLDERS for name in names])

    image_file, label_file = file(f"{part}-images-idx3-ubyte"), file(f"{part}-labels-idx1-ubyte")
    images, labels = _read_idx(image_file, (28, 28), limit), _read_idx(label_file, (), limit)
    if len(images) != len(labels):
        _damaged("MNIST", label_file, f"holds {len(labels)} labels for {len(images)} images")
    if len(labels) == 0 or labels.max() > 9:
        _damaged("MNIST", label_file, "holds labels other than 0 to 9" if len(labels) else "is empty")
    return images.reshape(-1, 1, 28, 28), labels


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries, lists and NumPy arrays; a pickle could otherwise run any program."""

    ALLOWED = {  # noqa: RUF012
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy._core.numeric", "_frombuffer"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a data set")
        return super().find_class(module, name)


def _read_batch(file: Path) -> tuple[_Bytes, _Bytes]:
    """Images (N x 3 x 32 x 32) and labels (N) of one CIFAR-10 batch ("python version", pickled by Python 2)."""
    try:
        with file.open("rb") as stream:
            batch = _ArraysOnly(stream, encoding="latin1").load()
        images, labels = np.asarray(batch["data"]), np.asarray(batch["labels"])
        right = images.dtype == np.uint8 and images.shape == (len(labels), 3072)
        right = right and len(labels) > 0 and labels.min() >= 0 and labels.max() <= 9
    except OSError:
        raise
    except Exception:  # a damaged pickle can raise anything
        right = False
    if not right:
        _damaged("CIFAR-10", file, "is not a batch of CIFAR-10 images")
    return images.reshape(-1, 3, 32, 32), labels.astype(np.uint8)


def _cifar(root: Path, names: list[str], limit: int | None) -> tuple[_Bytes, _Bytes]:
    """Images (N x 3 x 32 x 32) and labels (N) of the batches of these names, as many as `limit` needs."""
    files = [_find("CIFAR-10", [root / _CIFAR_FOLDER / name]) for name in names]
    images: list[_Bytes] = []
    labels: list[_Bytes] = []
    for file in files:
        if limit is None or sum(map(len, labels)) < limit:
            some_images, some_labels = _read_batch(file)
            images.append(some_images)
            labels.append(some_labels)
    return np.concatenate(images)[:limit], np.concatenate(labels)[:limit]


def _remark(root: Path, name: str) -> str | None:
    """The line that says that these data are not the real set, or not all of it; None when they are.

    SOURCES.json lies beside the data sets of a course machine:
    {"mnist": {"kind": "complete" | "sample" | "stand-in", "note": "..."}, "cifar10": {...}}
    """
    try:
        source = json.loads((root / "SOURCES.json").read_text(encoding="utf-8"))[name.replace("-", "").lower()]
        kind, note = str(source["kind"]), " ".join(str(source.get("note") or "").split())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # data that somebody brought along
    return None if kind == "complete" else f"** {name} here is a {kind}" + (f": {note}" if note else "")


# ------------------------------------------------------------------------------------------------ tensors


def _tensor(array: _Bytes, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(array).to(_device, dtype)


def _load(cifar: bool, nb_train: int | None, nb_test: int | None) -> tuple[torch.Tensor, ...]:
    """Images (float32, N x C x H x W, 0 to 255) and labels (int64, N), for training and for test (None: all)."""
    name, root = "CIFAR-10" if cifar else "MNIST", Path(_data_dir()).expanduser()
    try:
        if cifar:
            arrays = _cifar(root, _CIFAR_TRAIN, nb_train) + _cifar(root, _CIFAR_TEST, nb_test)
        else:
            arrays = _mnist(root, "train", nb_train) + _mnist(root, "t10k", nb_test)
    except OSError as error:
        _stop(f"{name} cannot be read: {error.filename or root}: {error.strerror or error}.")
    return tuple(_tensor(a, t) for a, t in zip(arrays, (torch.float32, torch.int64) * 2, strict=True))


def _data_dir() -> str:
    return args.data_dir or os.environ.get("PYTORCH_DATA_DIR") or "./data"


def convert_to_one_hot_labels(input: torch.Tensor, target: torch.Tensor, low: float = -1.0) -> torch.Tensor:
    """One row for each label: 1 in the column of its class and `low` elsewhere.

    input: gives the type and the device of the result, its values do not matter.
    target: N labels, integers from 0. Returns N x (largest label + 1).
    """
    one_hot = input.new_full((target.size(0), int(target.max()) + 1), low)
    return one_hot.scatter_(1, target.view(-1, 1), 1)


def load_data(
    cifar: bool | None = None, one_hot_labels: bool | str = False, normalize: bool = False, flatten: bool = True
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns train_data, train_target, test_data, test_target.

    cifar: True for CIFAR-10, False for MNIST, None for what the command line says.
    one_hot_labels: True for targets N x classes with -1 and +1, '01' for the same with 0 and 1; else N labels, int64.
    normalize: subtract one mean and divide by one standard deviation, both of all the training values taken together.
    flatten: images as vectors, N x D, else N x C x H x W; float32.

    Ends the program with one sentence when the data are missing or damaged (in a notebook, the cell shows it).
    """
    if one_hot_labels not in (True, False, "01"):
        raise ValueError(f"one_hot_labels is True (-1 and +1), '01' (0 and 1) or False, not {one_hot_labels!r}")
    if args.full and args.tiny:
        raise ValueError(_BOTH_SIZES)
    cifar = args.cifar if cifar is None else cifar

    _keep_to_the_cpu()
    print("data_dir", _data_dir())
    print("* Using CIFAR" if cifar else "* Using MNIST")
    if remark := _remark(Path(_data_dir()).expanduser(), "CIFAR-10" if cifar else "MNIST"):
        print(remark)

    nb_train, nb_test = (None, None) if args.full else (500, 100) if args.tiny else (1000, 1000)
    train_data, train_target, test_data, test_target = _load(bool(cifar), nb_train, nb_test)
    if flatten:
        train_data, test_data = train_data.flatten(1), test_data.flatten(1)

    if args.tiny:
        print("** Reduce the data-set to the tiny setup")
    elif not args.full:
        print("** Reduce the data-set (use --full for the full thing)")
    print(f"** Use {train_data.size(0)} train and {test_data.size(0)} test samples")

    if one_hot_labels:
        low = 0.0 if one_hot_labels == "01" else -1.0
        train_target = convert_to_one_hot_labels(train_data, train_target, low)
        test_target = convert_to_one_hot_labels(test_data, test_target, low)
    if normalize:
        mean, std = train_data.mean(), train_data.std()
        train_data.sub_(mean).div_(std)
        test_data.sub_(mean).div_(std)
    return train_data, train_target, test_data, test_target


def mnist_to_pairs(nb: int, input: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """nb pairs of different images out of `input` (N x 1 x 28 x 28), no image in two pairs.

    Returns the pairs (nb x 2 x 14 x 14, 2 x 2 pixels averaged), whether the first digit is less than or equal to the
    second (nb, int64), and both digits (nb x 2, int64).
    """
    if 2 * nb > input.size(0):
        raise ValueError(f"{nb} pairs need {2 * nb} images, there are {input.size(0)}")
    # Drawn on the CPU, so that one seed gives the same pairs on every machine.
    chosen = torch.randperm(input.size(0), device="cpu")[: 2 * nb].view(nb, 2).to(input.device)
    pairs = torch.nn.functional.avg_pool2d(input[chosen].flatten(0, 1), kernel_size=2).view(nb, 2, 14, 14)
    classes = target[chosen]
    return pairs, (classes[:, 0] <= classes[:, 1]).long(), classes


def generate_pair_sets(nb: int) -> tuple[torch.Tensor, ...]:
    """Pairs of MNIST digits to compare, nb for training and nb for test (at most 5000).

    Returns train_input (nb x 2 x 14 x 14, float32, 0 to 255), train_target (nb, int64, 1 when the first digit is less
    than or equal to the second), train_classes (nb x 2, int64), then the same three for the test. They come from the
    full sets, whatever the command line says about sizes.
    """
    if remark := _remark(Path(_data_dir()).expanduser(), "MNIST"):
        print(remark)
    train_data, train_target, test_data, test_target = _load(False, None, None)
    return mnist_to_pairs(nb, train_data, train_target) + mnist_to_pairs(nb, test_data, test_target)
