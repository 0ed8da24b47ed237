"""The prologue against the course page that describes it, word for word, and against known facts about MNIST."""

from __future__ import annotations

import inspect
import pickle
import sys
from pathlib import Path

import pytest
import torch
from labs_support import Load, Run

HELP = """\
usage: dummy.py [-h] [--full] [--tiny] [--force_cpu] [--seed SEED]
                [--cifar] [--data_dir DATA_DIR]

DLC prologue file for practical sessions.

optional arguments:
  -h, --help           show this help message and exit
  --full               Use the full set, can take ages (default
                       False)
  --tiny               Use a very small set for quick checks
                       (default False)
  --force_cpu          Keep tensors on the CPU, even if cuda is
                       available (default False)
  --seed SEED          Random seed (default 0, < 0 is no seeding)
  --cifar              Use the CIFAR data-set and not MNIST
                       (default False)
  --data_dir DATA_DIR  Where are the PyTorch data located (default
                       $PYTORCH_DATA_DIR or './data')
"""

EXAMPLE = """\
import dlc_practical_prologue as prologue

train_input, train_target, test_input, test_target = prologue.load_data()

print('train_input', train_input.size(), 'train_target', train_target.size())
print('test_input', test_input.size(), 'test_target', test_target.size())
"""

EXAMPLE_PRINTS = """\
data_dir ./data
* Using MNIST
** Reduce the data-set (use --full for the full thing)
** Use 1000 train and 1000 test samples
train_input torch.Size([1000, 784]) train_target torch.Size([1000])
test_input torch.Size([1000, 784]) test_target torch.Size([1000])
"""

KERNEL = "/opt/jupyter/lib/python3.13/site-packages/ipykernel_launcher.py"


@pytest.fixture
def dummy(tmp_path: Path) -> Path:
    """The page's minimal example, as a program."""
    program = tmp_path / "dummy.py"
    program.write_text(EXAMPLE)
    return program


# --- the page


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_help_is_the_pages_in_a_terminal_of_any_width(run: Run, dummy: Path, columns: str) -> None:
    done = run(dummy, "--help", env={"COLUMNS": columns})
    assert (done.stdout, done.stderr, done.returncode) == (HELP, "", 0)


def test_usage_names_the_program_that_imports(load: Load) -> None:
    assert load("practical_4.py").parser.format_usage().startswith("usage: practical_4.py [-h] [--full]")


def test_minimal_example_prints_what_the_page_shows(run: Run, dummy: Path, tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "data").symlink_to(data_dir)
    done = run(dummy, python=["-W", "error"])
    assert (done.stdout, done.stderr, done.returncode) == (EXAMPLE_PRINTS, "", 0)


def test_load_data_has_the_pages_arguments(load: Load) -> None:
    parameters = inspect.signature(load().load_data).parameters.values()
    defaults = [(p.name, p.default) for p in parameters]
    assert defaults == [("cifar", None), ("one_hot_labels", False), ("normalize", False), ("flatten", True)]


# --- the command line


def test_defaults(load: Load) -> None:
    args = load().args
    assert (args.full, args.tiny, args.force_cpu, args.seed, args.cifar, args.data_dir) == (
        False, False, False, 0, False, None,
    )  # fmt: skip


def test_unknown_option_is_refused(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        load("dummy.py", "--epochs", "3")
    assert stopped.value.code == 2
    assert "dummy.py: error: unrecognized arguments: --epochs 3" in capsys.readouterr().err


def test_full_and_tiny_together_are_refused(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        load("dummy.py", "--full", "--tiny")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith("dummy.py: error: Cannot have both --full and --tiny\n")
    prologue = load()
    prologue.args.full = prologue.args.tiny = True
    with pytest.raises(ValueError, match=r"^Cannot have both --full and --tiny$"):
        prologue.load_data()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-f", "/run/user/1000/jupyter/kernel-1.json"],
        ["-f", "/tmp/k.json", "--HistoryManager.hist_file=:memory:"],
        ["--f=/tmp/k.json"],
        ["--ip=127.0.0.1", "--stdin=9003", "--hb=9000", '--Session.key="b"', "--transport=tcp", "--f=/tmp/k.json"],
    ],
)
def test_in_a_notebook_the_kernels_arguments_do_no_harm(load: Load, data_dir: Path, arguments: list[str]) -> None:
    prologue = load(KERNEL, *arguments, data=data_dir)
    assert (prologue.args.full, prologue.args.seed, prologue.args.cifar) == (False, 0, False)
    prologue.args.tiny = True  # the way to choose options there
    assert [len(tensor) for tensor in prologue.load_data()] == [500, 500, 100, 100]


def test_other_kernels_need_only_the_f_option(load: Load) -> None:
    assert load("some_launcher.py", "-f", "connection.json").args.file == "connection.json"


@pytest.mark.parametrize(("arguments", "seed"), [([], 0), (["--seed", "7"], 7)])
def test_seed(load: Load, arguments: list[str], seed: int) -> None:
    load("dummy.py", *arguments)
    drawn = torch.rand(5)
    torch.manual_seed(seed)
    assert torch.equal(drawn, torch.rand(5))


def test_negative_seed_leaves_the_generator_alone(load: Load) -> None:
    torch.manual_seed(123)
    load("dummy.py", "--seed", "-1")
    drawn = torch.rand(5)
    torch.manual_seed(123)
    assert torch.equal(drawn, torch.rand(5))


def test_option_goes_before_environment(load: Load, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("dummy.py", "--tiny", data=data_dir).load_data()
    assert capsys.readouterr().out.splitlines()[0] == f"data_dir {data_dir}"
    load("dummy.py", "--tiny", "--data_dir", str(data_dir), data=Path("/nowhere")).load_data()
    assert capsys.readouterr().out.splitlines()[0] == f"data_dir {data_dir}"


# --- what comes back


@pytest.mark.parametrize(
    ("option", "train", "test", "line"),
    [
        ("--tiny", 500, 100, ["** Reduce the data-set to the tiny setup"]),
        (None, 1000, 1000, ["** Reduce the data-set (use --full for the full thing)"]),
        ("--full", 60000, 10000, []),
    ],
)
def test_sizes_and_lines(
    load: Load, data_dir: Path, capsys: pytest.CaptureFixture[str], option: str | None, train: int, test: int,
    line: list[str],
) -> None:  # fmt: skip
    tensors = load("dummy.py", *filter(None, [option]), data=data_dir).load_data()
    sizes = f"** Use {train} train and {test} test samples"
    assert capsys.readouterr().out.splitlines() == [f"data_dir {data_dir}", "* Using MNIST", *line, sizes]
    assert [tuple(tensor.shape) for tensor in tensors] == [(train, 784), (train,), (test, 784), (test,)]
    assert [tensor.dtype for tensor in tensors] == [torch.float32, torch.int64] * 2
    assert (tensors[0].min(), tensors[0].max(), tensors[2].min(), tensors[2].max()) == (0, 255, 0, 255)


def test_cifar_sizes(load: Load, data_dir: Path) -> None:
    counts = []
    for names in ([f"data_batch_{k}" for k in range(1, 6)], ["test_batch"]):
        files = [data_dir / "cifar10" / "cifar-10-batches-py" / name for name in names]
        counts.append(sum(len(pickle.loads(file.read_bytes(), encoding="latin1")["labels"]) for file in files))
    train, test = counts
    for option, shapes in {
        "--tiny": [(500, 3072), (500,), (100, 3072), (100,)],
        "--seed=0": [(1000, 3072), (1000,), (min(test, 1000), 3072), (min(test, 1000),)],
        "--full": [(train, 3072), (train,), (test, 3072), (test,)],
    }.items():
        tensors = load("dummy.py", option, data=data_dir).load_data(cifar=True)
        assert [tuple(tensor.shape) for tensor in tensors] == shapes, option
        assert [tensor.dtype for tensor in tensors] == [torch.float32, torch.int64] * 2


@pytest.mark.parametrize(
    ("option", "argument", "used"),
    [
        (False, None, "MNIST"), (True, None, "CIFAR"), (False, False, "MNIST"), (True, False, "MNIST"),
        (False, True, "CIFAR"), (True, True, "CIFAR"),
    ],
)  # fmt: skip
def test_which_set(
    load: Load, data_dir: Path, capsys: pytest.CaptureFixture[str], option: bool, argument: bool | None, used: str
) -> None:
    prologue = load("dummy.py", *["--cifar"] * option, data=data_dir)
    width = prologue.load_data(cifar=argument)[0].size(1)
    assert capsys.readouterr().out.splitlines()[1] == f"* Using {used}"
    assert width == {"MNIST": 784, "CIFAR": 3072}[used]


@pytest.mark.parametrize(("cifar", "shape"), [(False, (1, 28, 28)), (True, (3, 32, 32))])
def test_flatten_only_changes_the_shape(load: Load, data_dir: Path, cifar: bool, shape: tuple[int, ...]) -> None:
    prologue = load("dummy.py", "--tiny", data=data_dir)
    flat, images = prologue.load_data(cifar=cifar), prologue.load_data(cifar=cifar, flatten=False)
    assert images[0].shape == (500, *shape)
    assert images[2].shape == (100, *shape)
    assert torch.equal(images[0].reshape(500, -1), flat[0])
    assert torch.equal(images[2].reshape(100, -1), flat[2])


def test_one_hot_labels_are_minus_one_and_one(load: Load, data_dir: Path) -> None:
    prologue = load(data=data_dir)
    labels, one_hot = prologue.load_data(), prologue.load_data(one_hot_labels=True)
    for part in (1, 3):
        assert one_hot[part].shape == (1000, 10)
        assert one_hot[part].dtype == torch.float32
        assert torch.equal(one_hot[part].sum(1), torch.full((1000,), -8.0))
        assert torch.equal(one_hot[part][torch.arange(1000), labels[part]], torch.ones(1000))
        assert set(one_hot[part].unique().tolist()) == {-1.0, 1.0}


def test_zero_one_labels_only_when_asked_for(load: Load, data_dir: Path) -> None:
    prologue = load("dummy.py", "--tiny", data=data_dir)
    labels, one_hot = prologue.load_data(), prologue.load_data(one_hot_labels="01")
    for part in (1, 3):
        assert torch.equal(one_hot[part], torch.nn.functional.one_hot(labels[part], 10).float())
    with pytest.raises(
        ValueError, match=r"^one_hot_labels is True \(-1 and \+1\), '01' \(0 and 1\) or False, not '0/1'$"
    ):
        prologue.load_data(one_hot_labels="0/1")


def test_one_hot_helper_takes_its_type_from_the_first_argument(load: Load) -> None:
    prologue, target = load(), torch.tensor([2, 0])
    assert prologue.convert_to_one_hot_labels(torch.zeros(10), target).tolist() == [
        [-1.0, -1.0, 1.0],
        [1.0, -1.0, -1.0],
    ]
    assert prologue.convert_to_one_hot_labels(target, target).dtype == torch.int64
    assert prologue.convert_to_one_hot_labels(torch.zeros(1), target, 0.0).tolist() == [
        [0.0, 0.0, 1.0],
        [1.0, 0.0, 0.0],
    ]


@pytest.mark.parametrize("cifar", [False, True])
def test_normalize_uses_one_mean_and_std_of_the_reduced_training_set(load: Load, data_dir: Path, cifar: bool) -> None:
    prologue = load(data=data_dir)
    raw, done = prologue.load_data(cifar), prologue.load_data(cifar, normalize=True)
    mean, std = raw[0].mean(), raw[0].std()
    torch.testing.assert_close(done[0], (raw[0] - mean) / std)
    torch.testing.assert_close(done[2], (raw[2] - mean) / std)
    assert torch.equal(done[1], raw[1])
    again = prologue.load_data(cifar)  # what was loaded before, and the files, are not touched
    assert torch.equal(again[0], raw[0])


# --- facts about the real data


def test_facts_of_the_default_set(load: Load, data_dir: Path) -> None:
    prologue = load(data=data_dir)
    train_input, train_target, test_input, test_target = prologue.load_data()
    assert train_target.bincount().tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]
    assert train_input.mean().item() == pytest.approx(32.7009, abs=5e-5)
    assert train_input.std().item() == pytest.approx(77.8105, abs=5e-5)
    nearest = torch.cdist(test_input, train_input).argmin(1)
    assert (train_target[nearest] != test_target).sum() == 172
    normalized = prologue.load_data(normalize=True)[2]
    assert normalized.mean().item() == pytest.approx(-0.0196, abs=5e-5)
    assert normalized.std().item() == pytest.approx(0.9779, abs=5e-5)


def test_facts_of_the_full_set(load: Load, data_dir: Path) -> None:
    train_input = load("dummy.py", "--full", data=data_dir).load_data()[0].double()
    assert train_input.mean().item() == pytest.approx(33.3184, abs=5e-5)
    assert train_input.std().item() == pytest.approx(78.5675, abs=5e-5)


def test_facts_of_the_tiny_set(load: Load, data_dir: Path) -> None:
    train_input, train_target, test_input, test_target = load("dummy.py", "--tiny", data=data_dir).load_data()
    assert len(train_target.unique()) == len(test_target.unique()) == 10
    assert (test_target == 8).sum() == 2
    nearest = torch.cdist(test_input, train_input).argmin(1)
    assert (train_target[nearest] != test_target).sum() == 15


# --- pairs


def test_pairs(load: Load, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = load("dummy.py", "--tiny", "--cifar", data=data_dir).generate_pair_sets(1000)
    assert capsys.readouterr().out == ""
    assert [tuple(tensor.shape) for tensor in sets] == [(1000, 2, 14, 14), (1000,), (1000, 2)] * 2
    assert [tensor.dtype for tensor in sets] == [torch.float32, torch.int64, torch.int64] * 2
    for images, target, classes in (sets[:3], sets[3:]):
        assert images.min() >= 0 and 200 < images.max() <= 255
        assert torch.equal(target, (classes[:, 0] <= classes[:, 1]).long())
        assert 0.45 < target.double().mean() < 0.65  # 0.55 on average: equal digits count as 1


def test_pairs_are_the_averaged_images_each_used_once(load: Load, data_dir: Path) -> None:
    prologue = load("dummy.py", "--full", data=data_dir)
    pairs, _, classes = prologue.generate_pair_sets(5000)[3:]
    _, _, images, labels = prologue.load_data(flatten=False)
    averaged = images.view(-1, 14, 2, 14, 2).mean((2, 4)).flatten(1)

    def rows(images: torch.Tensor, labels: torch.Tensor) -> list[tuple[bytes, int]]:
        return sorted(zip((row.tobytes() for row in images.numpy()), labels.tolist(), strict=True))

    assert len(averaged) == 10000  # 5000 pairs use every test image once
    assert rows(pairs.reshape(-1, 196), classes.reshape(-1)) == rows(averaged, labels)


def test_pairs_depend_on_the_seed_alone(load: Load, data_dir: Path) -> None:
    first = load("dummy.py", data=data_dir).generate_pair_sets(10)
    again = load("dummy.py", "--full", "--cifar", data=data_dir).generate_pair_sets(10)
    other = load("dummy.py", "--seed", "1", data=data_dir).generate_pair_sets(10)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_too_many_pairs(load: Load, data_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"^5001 pairs need 10002 images, there are 10000$"):
        load(data=data_dir).generate_pair_sets(5001)


# --- GPU; what the tensors do there is tested where there is one


@pytest.mark.parametrize(("cuda", "arguments", "expected"), [
    (True, [], ["torch.cuda.FloatTensor"]), (True, ["--force_cpu"], []), (False, [], []),
])  # fmt: skip
def test_default_tensor(
    load: Load, monkeypatch: pytest.MonkeyPatch, cuda: bool, arguments: list[str], expected: list[str]
) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch, "set_default_tensor_type", chosen.append)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the prologue puts its own in its place
    load("dummy.py", *arguments)
    assert chosen == expected


# A stand-in for a GPU: torch's device "meta" keeps no values, so it refuses NumPy and tensors of the CPU as a GPU does.
# A shuffled loader gets the very error of a GPU.
STAND_IN = """
import torch
torch.cuda.is_available = lambda: True
torch.set_default_tensor_type = lambda kind: torch.set_default_device("meta" if "cuda" in kind else "cpu")
draw = torch.randperm
def randperm(n, *, generator=None, **more):
    if torch.get_default_device().type == "meta":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    return draw(n, generator=generator, **more)
torch.randperm = randperm
import dlc_practical_prologue as prologue
if prologue._device.type == "cuda":
    prologue._device = torch.device("meta")
images, labels, _, _ = prologue.load_data()
print("loaded", images.device)
"""
OF_2019 = {
    "numpy": "print(images.numpy().shape)",
    "picture": "import matplotlib; matplotlib.use('agg')\n"
    "from matplotlib import pyplot; pyplot.imshow(images[0].view(28, 28))",
    # What a loader with shuffle=True asks for; it takes a seed from a tensor first, which "meta" cannot give.
    "shuffled": "from torch.utils.data import RandomSampler as R; next(iter(R(images, generator=torch.Generator())))",
    "both": "images + torch.zeros(images.shape, device='cpu')",
}


@pytest.mark.parametrize("program", OF_2019)
def test_a_program_for_the_cpu_is_told_of_force_cpu_in_the_first_line(
    run: Run, tmp_path: Path, data_dir: Path, program: str
) -> None:
    path = tmp_path / "old.py"
    path.write_text(f"{STAND_IN}{OF_2019[program]}\n")
    failed = run(path, data=data_dir)
    first, second = failed.stderr.splitlines()[:2]
    assert failed.returncode == 1 and "loaded meta" in failed.stdout, failed.stderr
    assert "On the CPU it does: " in first and first.endswith("old.py --force_cpu")
    assert second.startswith("Traceback")
    done = run(path, "--force_cpu", data=data_dir)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_error_is_shown_as_ever(run: Run, tmp_path: Path, data_dir: Path) -> None:
    path = tmp_path / "old.py"
    path.write_text(f"{STAND_IN}raise RuntimeError('of the student')\n")
    assert run(path, data=data_dir).stderr.startswith("Traceback")


def test_a_notebook_can_still_choose_the_cpu(run: Run, tmp_path: Path, data_dir: Path) -> None:
    path = tmp_path / "cells.py"
    path.write_text(
        STAND_IN.replace("images, labels", "prologue.args.force_cpu = True\nimages, labels", 1) + OF_2019["numpy"]
    )
    done = run(path, data=data_dir)
    assert done.returncode == 0 and "loaded cpu" in done.stdout, done.stderr


CELLS = """
import sys
sys.argv = ["/x/ipykernel_launcher.py", "-f", "kernel.json"]
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in sys.stdin.read().split("# next"):
    shell.run_cell(cell)
"""


def test_a_notebook_is_told_as_well_and_goes_on(run: Run, tmp_path: Path, data_dir: Path) -> None:
    path = tmp_path / "notebook.py"
    again = "prologue.args.force_cpu = True; images = prologue.load_data()[0]"
    cells = "# next\n".join([STAND_IN, OF_2019["numpy"], again, OF_2019["numpy"]])
    path.write_text(CELLS.replace("sys.stdin.read()", repr(cells)))
    done = run(path, data=data_dir)
    assert "On the CPU it does: prologue.args.force_cpu = True" in done.stderr.splitlines()[0], done.stderr
    assert done.stdout.rstrip().endswith("(1000, 784)")
