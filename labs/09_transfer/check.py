"""The checks of lab 09. Reading them is allowed and useful."""

import os
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import Broken, count_hooks, filled, shape_texts

lab = Lab(
    __file__,
    parts=[
        "replace_head",
        "freeze",
        "train_mode",
        "extract_features",
        "make_loader",
        "save_checkpoint",
        "load_checkpoint",
    ],
)


@student_side
class Nested(nn.Module):
    """A model with modules in modules, names that begin alike, and a layer that works in place."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 5)
        self.fc10 = nn.Sequential(nn.Linear(5, 5), nn.ReLU(inplace=True))
        self.norm = nn.BatchNorm1d(5)
        self.tail = nn.Sequential(nn.Dropout(0.0), nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh()))
        self.out = nn.ModuleDict({"head": nn.Linear(4, 3, bias=False)})

    def forward(self, x):
        return self.out["head"](self.tail(self.norm(self.fc10(self.fc1(x)))))


@student_side
def build(kind, weights=None):
    """A model; its parameters are taken from `weights`, one after the other."""
    flat = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    model = Nested() if kind == "nested" else flat
    if weights is not None:
        filled(model, weights)
    return model


def problem(rng, n=9):
    return 0.5 * rng.normal(200), rng.normal(n, 6)


# ---- 1 replace_head


@student_side
def operated(student, kind, weights, nb_classes):
    model = build(kind, weights).eval()
    for p in model.parameters():
        p.requires_grad_(False)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    new = student.replace_head(model, nb_classes)
    shared = {t.data_ptr() for t in model.parameters()} & {t.data_ptr() for t in new.parameters()}
    recording = ", ".join(sorted(name for name, p in new.named_parameters() if p.requires_grad))
    return before, dict(model.state_dict()), dict(new.state_dict()), len(shared), recording


@lab.check("replace_head")
def a_new_last_layer(student, rng):
    """the copy has another head, and the rest of the model"""
    for kind, head, bias in ("flat", "3", True), ("nested", "out.head", False):
        for nb_classes in 7, 1:
            with case(f"a {kind} model, {nb_classes} classes" if nb_classes > 1 else f"a {kind} model, one class"):
                weights, _ = problem(rng)
                before, _, new, _, recording = student.run(operated, kind, weights, nb_classes)
                width = before[f"{head}.weight"].shape[1]
                names = [f"{head}.weight", f"{head}.bias"] if bias else [f"{head}.weight"]
                want = {name: t for name, t in before.items() if name not in names}
                sizes, old = shape_texts(new), shape_texts(before)
                first = ("0" if kind == "flat" else "fc1") + "."
                bias_name = f"{head}.bias"
                require(
                    bias or bias_name not in sizes,
                    "the new head has a bias",
                    likely="the old one had none, so has this",
                )
                require(
                    not bias or bias_name in sizes,
                    "the new head has no bias",
                    likely="the old one had one, so has this",
                )
                expect(
                    {k: size for k, size in sizes.items() if not k.startswith(head)},
                    {k: size for k, size in old.items() if not k.startswith(head)},
                    mistakes={
                        "the first linear layer was replaced, it should be the last one": old
                        | {f"{first}weight": f"{nb_classes}×6", f"{first}bias": f"{nb_classes}"}
                    },
                    look=f"the last linear layer, {head}, is to be replaced and no other one",
                )
                head_sizes = {names[0]: f"{nb_classes}×{width}"} | ({names[1]: f"{nb_classes}"} if bias else {})
                expect(
                    {k: size for k, size in sizes.items() if k.startswith(head)},
                    head_sizes,
                    mistakes={
                        "the head has as many classes as before": old,
                        "inputs and outputs are exchanged: nn.Linear(inputs, outputs)": {
                            names[0]: f"{width}×{nb_classes}",
                            f"{head}.bias": f"{width}",
                        },
                    },
                )
                expect({name: new[name] for name in want}, want, look="only the head is new, all else is a copy")
                require(
                    nb_classes * width < 3 or not (new[names[0]] == new[names[0]].flatten()[0]).all(),
                    "the new weights are all the same",
                    likely="nn.Linear draws its weights",
                )
                expect(
                    recording,
                    ", ".join(sorted(names)),
                    mistakes={
                        "a new layer requires gradients, even in a frozen model": "",
                        "what was frozen stays frozen in the copy": ", ".join(
                            sorted(k for k in new if "running" not in k and "num_batches" not in k)
                        ),
                    },
                )


@lab.check("replace_head")
def the_model_stays(student, rng):
    """the model itself is untouched, and shares nothing with the copy"""
    for kind in "flat", "nested":
        with case(f"a {kind} model"):
            weights, _ = problem(rng)
            before, after, new, shared, _ = student.run(operated, kind, weights, 3)
            require(
                shape_texts(after) == shape_texts(before)
                and all(torch.equal(t, before[name]) for name, t in after.items()),
                "the model itself was changed",
                likely="copy.deepcopy comes first",
            )
            require(
                shared == 0,
                f"model and copy share {shared} parameters",
                likely="copy.copy copies only the outermost module; copy.deepcopy copies all",
            )
            head = "3.weight" if kind == "flat" else "out.head.weight"
            require(not torch.equal(new[head], before[head]), "the head still has the old weights")


# ---- 2 freeze


@student_side
def frozen(student, kind, trainable, start):
    model = build(kind)
    for p in model.parameters():
        p.requires_grad_(start)
    count = student.freeze(model, trainable)
    return count, ", ".join(name for name, p in model.named_parameters() if p.requires_grad)


@lab.check("freeze")
def who_learns(student, rng):
    """which parameters require a gradient, and how many numbers that are"""
    for start in True, False:
        for trainable in ["fc1"], ["tail", "out.head"], ["fc10.0", "norm"], []:
            with case(f"trainable = {trainable}, before that {'all' if start else 'no'} parameters require a gradient"):
                sizes = {name: p.numel() for name, p in build("nested").named_parameters()}
                want = [name for name in sizes if any(name.startswith(f"{module}.") for module in trainable)]
                careless = [name for name in sizes if any(name.startswith(module) for module in trainable)]
                others = [name for name in sizes if name not in want]
                count, learning = student.run(frozen, "nested", trainable, start)
                expect(
                    learning,
                    ", ".join(want),
                    mistakes={
                        "“fc1” is taken for “fc10”, too: compare with “fc1.”": ", ".join(careless),
                        "that is the other way round": ", ".join(others),
                        "what is named must learn, whatever was before": "" if want and not start else "-",
                        "what is not named must stop, whatever was before": ", ".join(sizes) if start else "-",
                        "only the last name in trainable counts": ", ".join(
                            name for name in sizes if name.startswith(f"{(trainable or ['-'])[-1]}.")
                        ),
                        "only the first name in trainable counts": ", ".join(
                            name for name in sizes if name.startswith(f"{(trainable or ['-'])[0]}.")
                        ),
                        "what is deeper inside of a named module must learn, too": ", ".join(
                            name for name in sizes if name.rpartition(".")[0] in trainable
                        ),
                        "only the weights learn, the biases should, too": ", ".join(
                            name for name in want if name.endswith("weight")
                        ),
                    },
                )
                expect(
                    count,
                    sum(sizes[name] for name in want),
                    mistakes={
                        "that is the number of tensors, not of numbers": len(want),
                        "that is the number of all parameters": sum(sizes.values()),
                        "that is how many are frozen": sum(sizes[name] for name in others),
                    },
                )


# ---- 3 train_mode


@student_side
def modes(student, kind, learning, start):
    """The names of the modules that are not in training mode."""
    model = picture_model() if kind == "pictures" else build(kind)
    model.train(start)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(name.startswith(f"{module}.") for module in learning))
    student.train_mode(model)
    return ", ".join(name or "the model" for name, module in model.named_modules() if not module.training)


@student_side
def picture_model():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Flatten()
    )


@lab.check("train_mode")
def mode_of_each_module(student, rng):
    """every module in training mode, but for frozen batch normalisations"""
    everything = ["fc1", "fc10", "norm", "tail", "out"]
    for kind, learning, asleep in (
        ("nested", everything, []),
        ("nested", ["tail", "out"], ["norm"]),
        ("nested", ["fc1", "norm"], ["tail.1.1"]),
        ("nested", [], ["norm", "tail.1.1"]),
        ("pictures", ["3", "4"], ["1"]),
    ):
        for start in True, False:
            with case(
                f"{', '.join(learning) or 'nothing'} learns, the model was {'' if start else 'not '}in training mode"
            ):
                model = picture_model() if kind == "pictures" else build(kind)
                modules = {name or "the model": module for name, module in model.named_modules()}
                for name, parameter in model.named_parameters():
                    parameter.requires_grad_(any(name.startswith(f"{module}.") for module in learning))
                still = {name for name, m in modules.items() if not any(p.requires_grad for p in m.parameters())}
                empty = {name for name, m in modules.items() if not list(m.parameters())}
                norms = [name for name, m in modules.items() if isinstance(m, nn.modules.batchnorm._BatchNorm)]

                def names_of(chosen, names=tuple(modules)):
                    chosen = set(chosen)
                    return (", ".join(name for name in names if name in chosen),)

                expect(
                    (student.run(modes, kind, learning, start),),
                    names_of(asleep),
                    names=("modules that are not in training mode",),
                    mistakes={
                        "batch normalisations of images (2d) are forgotten": names_of([])
                        if kind == "pictures"
                        else ("-",),
                        "a frozen batch normalisation is in training mode: its statistics will move": names_of([])
                        if kind != "pictures"
                        else ("-",),
                        "all batch normalisations sleep, also those that learn": names_of(norms),
                        "the batch normalisations that learn sleep, it should be the frozen ones": names_of(
                            set(norms) - set(asleep)
                        ),
                        "dropout and all other modules train; only frozen batch normalisations do not": names_of(still),
                        "frozen modules of other kinds sleep, too; only batch normalisations should": names_of(
                            name
                            for name in modules
                            if any(top == "the model" or f"{name}.".startswith(f"{top}.") for top in still - empty)
                        ),
                        "the model is not in training mode at all": names_of(modules),
                    },
                )


@student_side
def after_training(student, weights, x, t, learning):
    model = build("nested", weights)
    student.freeze(model, learning)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(5):
        student.train_mode(model)
        optimizer.zero_grad()
        F.cross_entropy(model(x), t).backward()
        optimizer.step()
    return before, dict(model.state_dict())


@lab.check("freeze", "train_mode")
def frozen_to_the_bit(student, rng):
    """after some steps of training all that is frozen is the same to the bit, buffers too"""
    weights, x = problem(rng)
    learning = ["tail", "out"]
    before, after = student.run(after_training, weights, x, rng.integers(0, 3, len(x)), learning)
    for name, tensor in after.items():
        trained = any(name.startswith(module) for module in learning)
        same = torch.equal(tensor, before[name])
        if not trained:
            require(same, f"{name} has changed", likely="a buffer moves in training mode, a parameter by its gradient")
        elif name.endswith(("weight", "running_mean")):
            require(not same, f"{name} has not changed, it should learn")


# ---- 4 extract_features


@student_side
def features(student, weights, x, layer, training):
    model = build("nested", weights).train(training)
    model.norm.running_mean += 1.0
    found = student.extract_features(model, x, layer)
    recorded = found.requires_grad
    return found, recorded, [module.training for module in model.modules()], count_hooks(model)


def parameters_of(weights, normalise):
    """The features of Nested by the names of the layers."""
    model = build("nested", weights).train(normalise)
    model.norm.running_mean += 1.0

    def known(x):
        fc1 = F.linear(x, model.fc1.weight, model.fc1.bias)
        inner = F.linear(fc1, model.fc10[0].weight, model.fc10[0].bias)
        norm = model.norm(inner.relu())
        tail = model.tail(norm)
        layers = {"fc1": fc1, "fc10.0": inner, "norm": norm, "tail": tail, "out.head": model.out["head"](tail)}
        layers["fc10"] = inner.relu()
        return {name: t.detach() for name, t in layers.items()}

    return known


@lab.check("extract_features")
def output_of_a_layer(student, rng):
    """what a layer answers, whatever comes behind it"""
    for layer in "fc1", "norm", "tail", "out.head", "fc10.0":
        for training in False, True:
            with case(f"layer {layer}, the model is {'' if training else 'not '}in training mode"):
                weights, x = problem(rng)
                want = parameters_of(weights, training)(x)
                got, recorded, in_training, hooks = student.run(features, weights, x, layer, training)
                others = {f"that is the answer of {name}": t for name, t in want.items() if name != layer}
                if layer == "fc10.0":
                    others["the next layer works in place: keep a clone"] = others.pop("that is the answer of fc10")
                other = parameters_of(weights, not training)(x)[layer]
                if not torch.equal(other, want[layer]):
                    others["the mode of the model was changed"] = other
                expect(got, want[layer], mistakes=others | {"that is the input of the model": x})
                require(not recorded, "the features are recorded for autograd", likely="torch.no_grad() is missing")
                require(set(in_training) == {training}, "the mode of the model has changed")
                require(hooks == 0, f"{hooks} hooks are still there", likely="hook.remove() is missing")


@student_side
def hooks_after_failure(student, x):
    model = nn.Sequential(nn.Linear(6, 5), Broken())
    try:
        student.extract_features(model, x, "0")
    except ZeroDivisionError:
        return count_hooks(model), True
    return count_hooks(model), False


@lab.check("extract_features")
def removes_its_hook(student, rng):
    """no hook is left when the model raises"""
    hooks, raised = student.run(hooks_after_failure, rng.normal(2, 6))
    require(raised, "the model's own error is swallowed", likely="finally, not except")
    require(hooks == 0, f"{hooks} hooks are still there", likely="try: … finally: … removes them in any case")


# ---- 5 make_loader


@student_side
def batches(student, n, batch_size, seed, epoch, elsewhere):
    torch.manual_seed(elsewhere)
    before = torch.get_rng_state()
    x, t = torch.arange(2.0 * n).reshape(n, 2), 10 * torch.arange(n)
    found = [(inputs, targets) for inputs, targets in student.make_loader(x, t, batch_size, seed, epoch)]
    return found, before, torch.get_rng_state()


def order(student, n, seed, epoch, elsewhere=0):
    found, _, _ = student.run(batches, n, 4, seed, epoch, elsewhere)
    return torch.cat([targets for _, targets in found]).tolist()


@lab.check("make_loader")
def every_sample_once(student, rng):
    """batches of all samples, inputs with their targets, in random order"""
    for n, batch_size in (23, 5), (12, 4), (3, 10), (1, 1):
        with case(f"{n} samples in batches of {batch_size}"):
            found, _, _ = student.run(batches, n, batch_size, 3, 1, 0)
            sizes = [batch_size] * (n // batch_size) + ([n % batch_size] if n % batch_size else [])
            expect(
                (", ".join(str(len(targets)) for _, targets in found),),
                (", ".join(map(str, sizes)),),
                names=("samples in each batch",),
                mistakes={
                    "the last batch may be short, not left out": (", ".join([str(batch_size)] * (n // batch_size)),),
                    "batch_size is ignored: each sample comes alone": (", ".join(["1"] * n),),
                    "batch_size is ignored: all samples come at once": (str(n),),
                },
            )
            x, t = torch.cat([a for a, _ in found]), torch.cat([b for _, b in found])
            require(
                len(set(t.tolist())) == n,
                "a sample comes twice, and another one not at all",
                likely="they are drawn with replacement" if set(t.tolist()) < set(range(0, 10 * n, 10)) else None,
            )
            expect(t.sort().values, 10 * torch.arange(n), look="the targets are those that were given")
            require(
                x.shape == (n, 2) and torch.equal(x[:, 0], 2.0 * (t // 10)),
                "inputs and targets do not belong together",
                likely="they are shuffled apart"
                if x.shape == (n, 2) and x[:, 0].sort().values.tolist() == [2.0 * k for k in range(n)]
                else None,
            )
            require(
                n < 10 or t.tolist() != t.sort().values.tolist(),
                "the order is not random",
                likely="the samples come in their own order: shuffle=True is missing",
            )


@lab.check("make_loader")
def order_from_seed_and_epoch(student, rng):
    """the same order for the same seed and epoch, another for any other"""
    reference = order(student, 40, 1, 2)
    require(
        order(student, 40, 1, 2) == reference,
        "seed 1, epoch 2 has two orders",
        likely="the order depends on chance that no seed determines",
    )
    require(
        order(student, 40, 1, 2, elsewhere=7) == reference,
        "seed 1, epoch 2 has another order after torch.manual_seed(7)",
        likely="the order depends on the global random numbers: give the loader a generator",
    )
    for seed, epoch, why in (
        (1, 3, "every epoch has the same order: the epoch is not used"),
        (2, 2, "every seed has the same order: the seed is not used"),
        (2, 1, "seed + epoch is the same for seed 1, epoch 2 and for seed 2, epoch 1"),
        (3, 0, "seed + epoch is the same for seed 1, epoch 2 and for seed 3, epoch 0"),
    ):
        require(
            order(student, 40, seed, epoch) != reference,
            f"seed {seed}, epoch {epoch} has the order of seed 1, epoch 2",
            likely=why,
        )


@lab.check("make_loader")
def leaves_the_global_numbers(student, rng):
    """the global random numbers are where they were"""
    _, before, after = student.run(batches, 9, 2, 5, 0, 11)
    require(
        torch.equal(before, after),
        "the global random numbers have moved",
        likely="something draws from them or sets them: a DataLoader draws, too, unless it has a `generator`",
    )


# ---- 6 and 7 checkpoints


@student_side
def started_run(weights, x, t):
    """A model and an optimiser that have made two steps."""
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.4), nn.Linear(5, 3))
    filled(model, weights)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    go_on(model, optimizer, x, t, 2)
    return model, optimizer


@student_side
def go_on(model, optimizer, x, t, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), t).backward()
        optimizer.step()


@student_side
def everything(model, optimizer, epoch):
    state = {"model": dict(model.state_dict()), "optimizer": optimizer.state_dict(), "epoch": epoch}
    return state | {"rng": torch.get_rng_state()}


@student_side
def stored(student, weights, x, t, epoch):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        model, optimizer = started_run(weights, x, t)
        truth = everything(model, optimizer, epoch)
        student.save_checkpoint(path, model, optimizer, epoch)
        found = torch.load(path, weights_only=True) if path.is_file() else None
        if isinstance(found, dict) and isinstance(found.get("model"), dict):
            found["model"] = dict(found["model"])
        return found, truth, sorted(os.listdir(folder)), torch.get_rng_state()


def run_problem(rng):
    weights, x = problem(rng)
    return weights, x, rng.integers(0, 3, len(x))


@lab.check("save_checkpoint")
def all_that_matters(student, rng):
    """the file holds model, optimiser, epoch and random numbers, as plain data"""
    likely = "the file must load with weights_only=True: a state_dict, not the model itself"
    with case("two steps of Adam, epoch 12", likely):
        found, truth, files, rng_after = student.run(stored, *run_problem(rng), 12)
    require(found is not None, f"there is no file run.pt, only {files}")
    expect(
        found,
        truth,
        mistakes={
            "the epoch is one too large": {"epoch": 13},
        },
    )
    require(files == ["run.pt"], f"there are other files: {[name for name in files if name != 'run.pt']}")
    expect(rng_after, truth["rng"], look="saving has moved the random numbers")


@student_side
def interrupted(student, weights, x, t):
    """Save twice; the second time the disk is full."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        model, optimizer = started_run(weights, x, t)
        student.save_checkpoint(path, model, optimizer, 1)
        first, save = path.read_bytes(), torch.save

        def full_disk(_state, file, *_args, **_kwargs):
            if hasattr(file, "write"):
                file.write(b"half a file")
                file.flush()
            else:
                Path(file).write_bytes(b"half a file")
            raise OSError("no space left on device")

        torch.save = full_disk
        try:
            student.save_checkpoint(path, model, optimizer, 2)
        except OSError:
            pass
        finally:
            torch.save = save
        return len(first), path.read_bytes() == first if path.is_file() else None


@lab.check("save_checkpoint")
def interrupted_in_the_middle(student, rng):
    """when the disk is full, the older checkpoint is still whole"""
    size, same = student.run(interrupted, *run_problem(rng))
    require(size > 1000, "the checkpoint has hardly any content")
    require(
        same is not None, "the older checkpoint is gone", likely="rename the new file when it is complete, not before"
    )
    require(same, "the older checkpoint is damaged", likely="write under another name first, then os.replace")


@student_side
def restored(student, weights, x, t, epoch):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        model, optimizer = started_run(weights, x, t)
        torch.save(everything(model, optimizer, epoch), path)
        truth = everything(model, optimizer, epoch) | {"next": torch.rand(3)}
        model, optimizer = started_run(weights.flip(0), x.flip(0), t)
        torch.manual_seed(99)
        fresh = everything(model, optimizer, epoch + 1) | {"next": torch.rand(3)}
        torch.manual_seed(99)
        got = student.load_checkpoint(path, model, optimizer)
        found = everything(model, optimizer, got)
        return found | {"next": torch.rand(3)}, truth, fresh


@lab.check("load_checkpoint")
def back_to_the_stored_state(student, rng):
    """model, optimiser, epoch and random numbers are as they were"""
    found, truth, fresh = student.run(restored, *run_problem(rng), 31)
    for key, likely in (
        ("epoch", "the epoch is one too large"),
        ("model", "model.load_state_dict is missing"),
        ("optimizer", "optimizer.load_state_dict is missing"),
        ("rng", "torch.set_rng_state is missing"),
        ("next", "torch.set_rng_state is missing"),
    ):
        with case(f"what was stored under “{key}”"):
            expect(found[key], truth[key], mistakes={likely: fresh[key]})


@student_side
class Trap:
    """Data that make a folder when they are read without care."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@student_side
def trapped(student, weights, x, t):
    with tempfile.TemporaryDirectory() as folder:
        path, trace = Path(folder) / "run.pt", Path(folder) / "trace"
        model, optimizer = started_run(weights, x, t)
        torch.save(everything(model, optimizer, 1) | {"note": Trap(str(trace))}, path)
        try:
            student.load_checkpoint(path, model, optimizer)
        except NotImplementedError:
            raise
        except Exception as error:
            return trace.exists(), type(error).__name__
        return trace.exists(), ""


@lab.check("load_checkpoint")
def runs_no_code(student, rng):
    """a file with code in it is refused"""
    ran, error = student.run(trapped, *run_problem(rng))
    require(not ran, "code from the file was run", likely="weights_only=True is missing")
    require(error == "UnpicklingError", f"the file was not refused ({error or 'no error'})")


@student_side
def resumed(student, weights, x, t):
    """Six steps at a stretch; and three, then a checkpoint, then three with everything new."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        torch.manual_seed(5)
        model, optimizer = started_run(weights, x, t)
        go_on(model, optimizer, x, t, 6)
        whole = parameters_to_vector(model.parameters())
        torch.manual_seed(5)
        model, optimizer = started_run(weights, x, t)
        go_on(model, optimizer, x, t, 3)
        student.save_checkpoint(path, model, optimizer, 3)
        torch.manual_seed(6)
        model, optimizer = started_run(weights.flip(0), x, t)
        student.load_checkpoint(path, model, optimizer)
        go_on(model, optimizer, x, t, 3)
        return whole, parameters_to_vector(model.parameters())


@lab.check("save_checkpoint", "load_checkpoint")
def resumed_run(student, rng):
    """a resumed run ends like one that was not interrupted, to the bit"""
    whole, parts = student.run(resumed, *run_problem(rng))
    expect(
        parts, whole, rtol=0.0, atol=0.0, look="something that determines the next step is not stored or not restored"
    )


if __name__ == "__main__":
    sys.exit(run_checks(lab))
