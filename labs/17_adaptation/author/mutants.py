"""Known-wrong versions of lab 17, each with the words that its message must hold, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant
from torch import Tensor, nn
from torch.nn import functional as F


@mutant("median_distance", says="the lower of the two")
def lower_median(x: Tensor, y: Tensor) -> float:
    return torch.pdist(torch.cat([x, y])).median().item()


@mutant("median_distance", says="the distance of a row to itself counts")
def median_of_the_table(x: Tensor, y: Tensor) -> float:
    both = torch.cat([x, y])
    return torch.quantile((both[:, None] - both[None]).norm(dim=2).flatten()[:100_000], 0.5).item()


@mutant("median_distance", says="between x and y only")
def median_between(x: Tensor, y: Tensor) -> float:
    distance = torch.cdist(x, y).flatten().sort().values
    return (distance[len(distance) // 2] + distance[(len(distance) - 1) // 2]).item() / 2


edit("mmd_rbf", "2 * bandwidth**2", "bandwidth**2", says="the factor 2")
edit("mmd_rbf", "2 * bandwidth**2", "2 * bandwidth", says="the bandwidth is not squared")
edit("mmd_rbf", "- 2 * mean_kernel(x, y)", "- mean_kernel(x, y)", says="the mixed pairs count once")
edit("mmd_rbf", ".mean()", ".sum()", says="sums instead of means")
edit(
    "mmd_rbf",
    "(a[:, None] - b[None])",
    "(a.detach()[:, None] - b[None])",
    check="discrepancy_has_a_gradient",
    says="gradient",
)


@mutant("mmd_rbf", says="infinite derivative at 0")
def mmd_by_roots(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    def mean_kernel(a, b):
        distance = (a[:, None] - b[None]).square().sum(2).sqrt()
        return (-(distance**2) / (2 * bandwidth**2)).exp().mean()

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


@mutant("mmd_rbf", says="left out")
def mmd_without_the_diagonal(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    def kernel(a, b):
        return torch.exp(-(a[:, None] - b[None]).square().sum(2) / (2 * bandwidth**2))

    within = [(kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1)) for a in (x, y)]
    return within[0] + within[1] - 2 * kernel(x, y).mean()


edit("coral_align", " + target.mean(0)", " + source.mean(0)", says="the mean of the source is kept")
edit(
    "coral_align",
    "power(source, -0.5) @ power(target, 0.5)",
    "power(target, 0.5) @ power(source, -0.5)",
    says="the order is",
)
edit(
    "coral_align",
    "power(source, -0.5) @ power(target, 0.5)",
    "power(target, -0.5) @ power(source, 0.5)",
    says="exchanged",
)
edit("coral_align", "power(target, 0.5)", "power(target, 1.0)", says="not its root")
edit(
    "coral_align",
    "torch.where(usable, values.clamp(min=1e-30) ** exponent, 0)",
    "values**exponent",
    says="use 0 in its place",
)


@mutant("coral_align", says="Cholesky factors")
def coral_by_cholesky(source: Tensor, target: Tensor) -> Tensor:
    ls = torch.linalg.cholesky(torch.cov(source.T).reshape(source.size(1), -1))
    lt = torch.linalg.cholesky(torch.cov(target.T).reshape(source.size(1), -1))
    return (source - source.mean(0)) @ torch.linalg.inv(ls).T @ lt.T + target.mean(0)


edit("adabn", "layer.momentum = None", "pass", says="the momentum still weights the batches")
edit("adabn", "layer.reset_running_stats()", "pass", says="the statistics of the source are averaged in")
edit("adabn", "x.split(batch_size)", "[x]", says="all of x in one batch")
edit("adabn", "model.eval()", "model.train()", says="did dropout")
edit("adabn", "module.training = mode", "pass", says="remember the mode of every module")
edit("adabn", "layer.momentum = momentum", "pass", says="momentum = None was left")


@mutant("adabn", says="mixed in")
def adabn_in_train_mode(model: nn.Module, x: Tensor, batch_size: int) -> None:
    modes = {module: module.training for module in model.modules()}
    for module in model.modules():
        module.training = isinstance(module, nn.modules.batchnorm._BatchNorm)
    with torch.no_grad():
        for batch in x.split(batch_size):
            model(batch)
    for module, mode in modes.items():
        module.training = mode


edit("GradReverse", "-ctx.strength * gradient", "ctx.strength * gradient", says="the gradient keeps its sign")
edit("GradReverse", "-ctx.strength * gradient", "-gradient", says="strength is ignored")
edit("GradReverse", "x.view_as(x)", "-x", says="the sign is turned in forward")

edit("dann_step", "GradReverse.apply(shared, strength)", "shared", says="the features help the discriminator")
edit("dann_step", "discriminator(GradReverse.apply(shared, strength))",
     "GradReverse.apply(discriminator(shared), strength)", says="own gradient is reversed")  # fmt: skip
edit("dann_step", "torch.zeros(len(source), 1), torch.ones(len(target), 1)",
     "torch.ones(len(source), 1), torch.zeros(len(target), 1)", says="the domains are exchanged")  # fmt: skip
edit("dann_step", "optimizer.zero_grad()", "pass", says="zero_grad")
edit(
    "dann_step",
    "class_loss.item(), domain_loss.item()",
    "domain_loss.item(), class_loss.item()",
    says="losses are exchanged",
)


@mutant("dann_step", says="take one mean over all rows")
def dann_with_two_means(features, classifier, discriminator, optimizer, source, label, target, strength):
    a, b = features(source), features(target)
    class_loss = F.cross_entropy(classifier(a), label)
    odds = [discriminator(GradReverse.apply(h, strength)) for h in (a, b)]
    domain_loss = F.softplus(odds[0]).mean() + F.softplus(-odds[1]).mean()
    optimizer.zero_grad()
    (class_loss + domain_loss).backward()
    optimizer.step()
    return class_loss.item(), domain_loss.item()


edit("label_shift", "weight * confusion.sum(0)", "weight", says="multiply them by the source frequencies")
edit("label_shift", "confusion.sum(0)", "confusion.sum(1)", says="not row sums")
edit("label_shift", ".clamp(min=0)", "", says="negative weights become 0")
edit("label_shift", "torch.linalg.solve(confusion,", "torch.linalg.solve(confusion.T,", says="transposed")
edit("label_shift", "frequency / frequency.sum()", "frequency", says="the sum is not 1")


@alternative("median_distance")
def median_by_numpy(x: Tensor, y: Tensor) -> float:
    import numpy as np

    both = torch.cat([x, y]).double().numpy()
    i, j = np.triu_indices(len(both), 1)
    return float(np.median(np.linalg.norm(both[i] - both[j], axis=1)))


@alternative("mmd_rbf")
def mmd_by_one_table(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    both = torch.cat([x, y])
    squares = both.square().sum(1)
    kernel = ((2 * both @ both.T - squares - squares[:, None]) / (2 * bandwidth * bandwidth)).exp()
    sign = torch.cat([torch.ones_like(x[:, 0]) / len(x), -torch.ones_like(y[:, 0]) / len(y)])
    return sign @ kernel @ sign


@alternative("coral_align")
def coral_in_small_steps(source: Tensor, target: Tensor) -> Tensor:
    def roots(x):
        centred = x.double() - x.double().mean(0)
        values, vectors = torch.linalg.eigh(centred.T @ centred / (len(x) - 1))
        kept = vectors[:, values > 1e-6 * values.max()]
        values = values[values > 1e-6 * values.max()]
        return centred, kept, values

    centred, u, values = roots(source)
    _, v, others = roots(target)
    white = (centred @ u / values.sqrt()) @ u.T
    return (white @ v * others.sqrt()) @ v.T + target.mean(0)


@alternative("adabn")
def adabn_with_hooks(model: nn.Module, x: Tensor, batch_size: int) -> None:
    layers = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    modes = [(m, m.training) for m in model.modules()]
    seen = {layer: [] for layer in layers}

    def note(layer, inputs):
        flat = inputs[0].detach().transpose(0, 1).flatten(1)
        seen[layer].append((flat.mean(1), flat.var(1)))

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    old = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()
    with torch.no_grad():
        for start in range(0, len(x), batch_size):
            model(x[start : start + batch_size])
    for hook in hooks:
        hook.remove()
    for layer, _ in zip(layers, old, strict=True):
        layer.running_mean = torch.stack([mean for mean, _ in seen[layer]]).mean(0)
        layer.running_var = torch.stack([var for _, var in seen[layer]]).mean(0)
    for module, mode in modes:
        module.training = mode


@alternative("dann_step")
def dann_by_two_passes(features, classifier, discriminator, optimizer, source, label, target, strength):
    optimizer.zero_grad()
    a, b = features(source), features(target)
    class_loss = F.nll_loss(classifier(a).log_softmax(1), label)
    turned = [GradReverse.apply(h, strength) for h in (a, b)]
    total = F.softplus(discriminator(turned[0])).sum() + F.softplus(-discriminator(turned[1])).sum()
    domain_loss = total / (len(source) + len(target))
    class_loss.backward(retain_graph=True)
    domain_loss.backward()
    optimizer.step()
    return float(class_loss), float(domain_loss)


@alternative("label_shift")
def label_shift_by_an_inverse(confusion: Tensor, answers: Tensor) -> Tensor:
    source = confusion.double().sum(0)
    given = confusion.double() / source
    found = (torch.linalg.inv(given) @ answers.double()).relu()
    return found / found.sum()
