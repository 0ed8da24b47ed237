"""Wrong versions of lab 09 that students write, and right ones by another route."""

import copy
import os
import random

import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

edit("replace_head", "copy.deepcopy(model)", "model", says="copy.deepcopy comes first")
edit("replace_head", ", bias=old.bias is not None", "", says="only if the old one had it")
edit("replace_head", "isinstance(module, nn.Linear)][-1]", "isinstance(module, nn.Linear)][0]", says="and no other one")


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


@mutant("train_mode", says="dropout and all other modules train")
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


@mutant("make_loader", says="global random numbers have moved", also=["torch.manual_seed"])
def seeds_everything(x, t, batch_size, seed, epoch):
    torch.manual_seed(1_000_003 * seed + epoch)
    return DataLoader(TensorDataset(x, t), batch_size, shuffle=True)


@mutant("make_loader", says="depends on the global random numbers", also=["shuffling without a generator"])
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
@torch.no_grad()
def by_copying_out(model, x, layer):
    kept = {}

    def keep(module, inputs, output):
        kept["output"] = output.detach().double()

    hook = dict(model.named_modules())[layer].register_forward_hook(keep)
    try:
        model(x)
    finally:
        hook.remove()
    return kept["output"]


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
