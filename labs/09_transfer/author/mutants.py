"""Wrong versions of lab 09 that students write, and right ones by another route."""

import copy
import os
import random

import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

edit("replace_head", "copy.deepcopy(model)", "model", says="copy.deepcopy comes first")
edit("replace_head", ", bias=old.bias is not None", "", says="the old one had none")
edit(
    "replace_head",
    "isinstance(module, nn.Linear)][-1]",
    "isinstance(module, nn.Linear)][0]",
    says="it should be the last one",
)


@mutant("replace_head", says="still has the old weights")
def keeps_the_head_that_fits(model, nb_classes):
    model = copy.deepcopy(model)
    name = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, child = name.rpartition(".")
    old = model.get_submodule(name)
    if old.out_features != nb_classes:
        setattr(model.get_submodule(parent), child, nn.Linear(old.in_features, nb_classes, old.bias is not None))
    else:
        old.requires_grad_()
    return model


edit("freeze", 'name.startswith(f"{module}.")', "name.startswith(module)", says="fc10")
edit("freeze", "p.numel() if p.requires_grad else 0", "int(p.requires_grad)", says="number of tensors")


@mutant("freeze", says="whatever was before")
def only_stops(model, trainable):
    count = 0
    for name, p in model.named_parameters():
        if any(name.startswith(module + ".") for module in trainable):
            count += p.numel()
        else:
            p.requires_grad = False
    return count


@mutant("train_mode", says="a frozen batch normalisation is in training mode", also=["a buffer moves in training mode"])
def only_train(model):
    model.train()


@mutant("train_mode", says="dropout and all other modules train")
def every_frozen_module_sleeps(model):
    model.train()
    for module in model.modules():
        if not any(p.requires_grad for p in module.parameters()):
            module.eval()


@mutant("train_mode", says="also those that learn", also=["it should learn"])
def all_norms_sleep(model):
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


edit("extract_features", "y.clone()", "y", says="keep a clone")
edit("extract_features", "with torch.no_grad():", "if True:", says="torch.no_grad() is missing")


@mutant("extract_features", says="hook.remove() is missing", also=["removes them in any case"])
def leaves_its_hook(model, x, layer):
    found = []
    model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: found.append(output.clone()))
    with torch.no_grad():
        model(x)
    return found[0]


@mutant("extract_features", says="mode of the model")
def switches_to_eval(model, x, layer):
    found = []
    model.eval()
    hook = model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: found.append(output.clone()))
    try:
        with torch.no_grad():
            model(x)
    finally:
        hook.remove()
    return found[0]


edit("make_loader", "1_000_003 * seed + epoch", "seed + epoch", says="seed + epoch is the same")
edit("make_loader", "1_000_003 * seed + epoch", "seed", says="the epoch is not used")
edit("make_loader", "shuffle=True", "shuffle=True, drop_last=True", says="not left out")


@mutant("make_loader", says="global random numbers have moved", also=["something draws from them"])
def seeds_everything(x, t, batch_size, seed, epoch):
    torch.manual_seed(1_000_003 * seed + epoch)
    return DataLoader(TensorDataset(x, t), batch_size, shuffle=True)


@mutant("make_loader", says="depends on the global random numbers", also=["something draws from them"])
def without_generator(x, t, batch_size, seed, epoch):
    return DataLoader(TensorDataset(x, t), batch_size, shuffle=True)


edit("save_checkpoint", '"optimizer": optimizer.state_dict(), ', "", says="missing: optimizer")
edit("save_checkpoint", '"model": model.state_dict()', '"model": model', says="a state_dict, not the model itself")
edit("save_checkpoint", "torch.get_rng_state()}, beside)\n    os.replace(beside, path)", "torch.get_rng_state()}, path)",
     says="os.replace")  # fmt: skip
edit("save_checkpoint", "os.replace(beside, path)", "path.write_bytes(beside.read_bytes())",
     says="other files")  # fmt: skip
edit("load_checkpoint", '    torch.set_rng_state(state["rng"])\n', "", says="set_rng_state is missing")
edit("load_checkpoint", '    optimizer.load_state_dict(state["optimizer"])\n', "",
     says="optimizer.load_state_dict is missing")  # fmt: skip
edit("load_checkpoint", "weights_only=True", "weights_only=False", says="weights_only=True is missing")


@alternative("replace_head")
def by_walking(model, nb_classes):
    new = copy.deepcopy(model)
    found = None
    for parent in new.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                found = parent, name, child
    last = [module for module in new.modules() if isinstance(module, nn.Linear)][-1]
    for parent in new.modules():
        for name, child in parent.named_children():
            if child is last:
                found = parent, name, child
    parent, name, child = found
    parent.add_module(name, nn.Linear(child.in_features, nb_classes, child.bias is not None))
    return new


@alternative("freeze")
def by_modules(model, trainable):
    model.requires_grad_(False)
    for name in trainable:
        model.get_submodule(name).requires_grad_(True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@alternative("train_mode")
def by_weight(model):
    for module in model.modules():
        norm = isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        module.training = not (norm and not module.weight.requires_grad)


@alternative("extract_features")
def by_copying_out(model, x, layer):
    kept = {}

    def keep(module, inputs, output):
        kept["output"] = output.detach().double()

    hook = dict(model.named_modules())[layer].register_forward_hook(keep)
    try:
        with torch.inference_mode():
            model(x)
    finally:
        hook.remove()
    return kept["output"].clone()


@alternative("make_loader")
def by_batches(x, t, batch_size, seed, epoch):
    order = list(range(len(x)))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return [(x[order[n : n + batch_size]], t[order[n : n + batch_size]]) for n in range(0, len(x), batch_size)]


@alternative("save_checkpoint")
def by_file_object(path, model, optimizer, epoch):
    part = path.parent / "unfinished"
    with open(part, "wb") as file:
        everything = dict(model=model.state_dict(), optimizer=optimizer.state_dict(), epoch=epoch)
        torch.save({**everything, "rng": torch.random.get_rng_state()}, file)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


# ---- more wrong versions

edit("replace_head", "nn.Linear(old.in_features, nb_classes", "nn.Linear(old.in_features, old.out_features",
     says="as many classes as before", also=["old weights"])  # fmt: skip
edit("replace_head", "nn.Linear(old.in_features, nb_classes", "nn.Linear(nb_classes, old.in_features",
     says="inputs and outputs are exchanged")  # fmt: skip
edit("replace_head", "copy.deepcopy(model)", "copy.copy(model)", says="copy.deepcopy comes first")  # fmt: skip


@mutant("replace_head", says="even in a frozen model")
def frozen_head(model, nb_classes):
    model = copy.deepcopy(model)
    name = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, child = name.rpartition(".")
    old = model.get_submodule(name)
    new = nn.Linear(old.in_features, nb_classes, old.bias is not None).requires_grad_(old.weight.requires_grad)
    setattr(model.get_submodule(parent), child, new)
    return model


@mutant("replace_head", says="stays frozen in the copy")
def thawed(model, nb_classes):
    model = copy.deepcopy(model)
    name = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, child = name.rpartition(".")
    old = model.get_submodule(name)
    setattr(model.get_submodule(parent), child, nn.Linear(old.in_features, nb_classes, old.bias is not None))
    return model.requires_grad_()


edit("freeze", "p.requires_grad_(any(", "p.requires_grad_(not any(", says="the other way round",
     also=["a parameter by its gradient"])  # fmt: skip
edit("freeze", "p.numel() if p.requires_grad else 0", "p.numel()", says="number of all parameters")
edit("freeze", 'name.startswith(f"{module}.")', 'name.rpartition(".")[0] == module', says="deeper inside")


@mutant("freeze", says="only the last name")
def each_undoes_the_other(model, trainable):
    for p in model.parameters():
        p.requires_grad = False
    for module in trainable:
        for name, p in model.named_parameters():
            p.requires_grad = name.startswith(module + ".")
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@mutant("freeze", says="must stop, whatever was before", also=["a parameter by its gradient"])
def only_starts(model, trainable):
    for name in trainable:
        model.get_submodule(name).requires_grad_(True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@mutant("train_mode", says="only batch normalisations should")
def every_frozen_layer_sleeps(model):
    model.train()
    for module in model.modules():
        inside = list(module.parameters())
        if inside and not any(p.requires_grad for p in inside):
            module.eval()


@mutant("train_mode", says="(2d) are forgotten")
def only_one_dimension(model):
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d) and not module.weight.requires_grad:
            module.eval()


@mutant("train_mode", says="not in training mode at all", also=["a buffer moves"])
def evaluation(model):
    model.eval()


@mutant("train_mode", says="it should be the frozen ones", also=["a buffer moves"])
def upside_down(model):
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight.requires_grad:
            module.eval()


@mutant(
    "extract_features",
    says="input of the model",
    also=["that is the answer of", "in place", "input of the model"],
)
def what_comes_in(model, x, layer):
    found = []
    hook = model.get_submodule(layer).register_forward_pre_hook(lambda module, inputs: found.append(inputs[0].clone()))
    try:
        with torch.no_grad():
            model(x)
    finally:
        hook.remove()
    return found[0]


@mutant("extract_features", says="that is the answer of out.head")
def the_end(model, x, layer):
    with torch.no_grad():
        return model(x)


@mutant("extract_features", says="finally, not except")
def swallows(model, x, layer):
    found = []
    hook = model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: found.append(output.clone()))
    try:
        with torch.no_grad():
            model(x)
    except ZeroDivisionError:
        pass
    hook.remove()
    return found[0]


@mutant("extract_features", says="in any case")
def removes_only_after_success(model, x, layer):
    found = []
    hook = model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: found.append(output.clone()))
    with torch.no_grad():
        model(x)
    hook.remove()
    return found[0]


edit("make_loader", "shuffle=True", "shuffle=False", says="shuffle=True is missing",
     also=["is not used", "is the same for"])  # fmt: skip
edit("make_loader", "1_000_003 * seed + epoch", "epoch", says="the seed is not used", also=["seed + epoch is the same"])
edit("make_loader", "TensorDataset(x, t), batch_size,", "TensorDataset(x, t), 1,", says="each sample comes alone")


@mutant("make_loader", says="shuffled apart")
def two_orders(x, t, batch_size, seed, epoch):
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    x, t = x[torch.randperm(len(x), generator=generator)], t[torch.randperm(len(t), generator=generator)]
    return list(zip(x.split(batch_size), t.split(batch_size), strict=True))


@mutant("make_loader", says="with replacement")
def with_replacement(x, t, batch_size, seed, epoch):
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randint(len(x), (len(x),), generator=generator)
    return [(x[n], t[n]) for n in order.split(batch_size)]


edit("save_checkpoint", '"epoch": epoch}', '"epoch": epoch + 1}', says="the epoch is one too large")
edit("save_checkpoint", 'state | {"rng": torch.get_rng_state()}', "state", says="missing: rng")
edit("save_checkpoint", "os.replace(beside, path)", "torch.rand(1)\n    os.replace(beside, path)",
     says="saving has moved the random numbers")  # fmt: skip
edit("save_checkpoint", "    torch.save(state |", "    path.unlink(missing_ok=True)\n    torch.save(state |",
     says="not before")  # fmt: skip
edit("load_checkpoint", '    model.load_state_dict(state["model"])\n', "", says="model.load_state_dict is missing")
edit("load_checkpoint", 'return state["epoch"]', 'return state["epoch"] + 1', says="one too large")
edit("load_checkpoint", 'return state["epoch"]', "return None", says="is the return missing")

# ---- more right versions


@alternative("replace_head")
def by_modules_of_the_copy(model, nb_classes):
    new = copy.deepcopy(model)
    last = None
    for name, module in new.named_modules():
        last = name if type(module) is nn.Linear else last
    old = new.get_submodule(last)
    fresh = nn.Linear(old.in_features, nb_classes, bias=old.bias is not None)
    *path, child = last.split(".")
    where = new
    for step in path:
        where = where._modules[step]
    where._modules[child] = fresh
    return new


@alternative("freeze")
def by_the_parts_of_a_name(model, trainable):
    total = 0
    for name, p in model.named_parameters():
        parts = name.split(".")
        p.requires_grad = any(parts[: len(m.split("."))] == m.split(".") for m in trainable)
        if p.requires_grad:
            total += p.nelement()
    return total


@alternative("train_mode")
def by_recursion(model):
    _recurse(model)


def _recurse(model):
    model.training = True
    for child in model.children():
        _recurse(child)
    if isinstance(model, nn.modules.batchnorm._BatchNorm) and not any(p.requires_grad for p in model.parameters()):
        model.eval()


@alternative("extract_features")
def with_a_list(model, x, layer):
    outputs = {}
    module = model.get_submodule(layer)

    def note(*arguments):
        outputs.setdefault("first", arguments[-1].detach().clone())

    handle = module.register_forward_hook(note)
    try:
        model(x)
    finally:
        handle.remove()
    return outputs["first"]


@alternative("make_loader")
def by_a_generator_function(x, t, batch_size, seed, epoch):
    def batches():
        order = torch.randperm(len(t), generator=torch.Generator().manual_seed(hash((seed, epoch)) % 2**31))
        for n in range(0, len(t), batch_size):
            chosen = order[n : n + batch_size]
            yield x.index_select(0, chosen), t.index_select(0, chosen)

    return batches()


@alternative("save_checkpoint")
def into_a_hidden_file(path, model, optimizer, epoch):
    hidden = str(path.parent / f".{path.name}.{os.getpid()}")
    try:
        torch.save(
            {
                "rng": torch.get_rng_state().clone(),
                "epoch": int(epoch),
                "model": {name: t.clone() for name, t in model.state_dict().items()},
                "optimizer": copy.deepcopy(optimizer.state_dict()),
            },
            hidden,
        )
        os.rename(hidden, str(path))
    finally:
        if os.path.exists(hidden):
            os.remove(hidden)


@alternative("load_checkpoint")
def from_an_open_file(path, model, optimizer):
    with path.open("rb") as file:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    optimizer.load_state_dict(stored.pop("optimizer"))
    model.load_state_dict(stored.pop("model"), strict=True)
    torch.random.set_rng_state(stored["rng"].to(torch.uint8))
    return int(stored["epoch"])
