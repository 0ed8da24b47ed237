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


edit("median_distance", "(distance[middle].item() + distance[-1 - middle].item()) / 2", "distance[middle].item()",
     says="the upper of the two")  # fmt: skip
edit("median_distance", ".sort()", ".square().sort()", says="of squared distances", check="median_of_all_pairs")
edit("median_distance", "torch.cat([x, y])", "x", says="within x only", check="median_of_all_pairs")
edit(
    "median_distance", "return (", "return distance.mean().item()\n    return (", says="the mean instead of the median"
)
edit("median_distance", "item()) / 2", "item()) / 2 / 2**0.5", says="divided by √2")
edit("median_distance", "torch.cat([x, y])", "torch.cat([x, y]), 1", says="sums of absolute differences")
edit("median_distance", "distance = torch.pdist(torch.cat([x, y]))",
     "distance = torch.cat([torch.pdist(x), torch.pdist(y)])", says="no pair of a row of x and a row of y",
     also=["off by"])  # fmt: skip
edit("median_distance", "return (distance[middle].item() + distance[-1 - middle].item()) / 2",
     "return (distance[middle] + distance[-1 - middle]) / 2", says=".item()")  # fmt: skip

edit("mmd_rbf", "- 2 * mean_kernel(x, y)", "+ 2 * mean_kernel(x, y)", says="they are subtracted")
edit("mmd_rbf", ".sum(2)", ".mean(2)", says="averaged over the D features")
edit("mmd_rbf", "-squared / (2 * bandwidth**2)", "-squared * (2 * bandwidth**2)", says="multiplied by 2 bandwidth²")
edit("mmd_rbf", "-squared / (2 * bandwidth**2)", "-squared * bandwidth", says="multiplied by the bandwidth")
edit("mmd_rbf", "-squared /", "squared /", says="the minus in the exponent")
edit("mmd_rbf", "- 2 * mean_kernel(x, y)", "- 2 * mean_kernel(x, y).item()", says="expected",
     check="discrepancy_has_a_gradient")  # fmt: skip
edit("mmd_rbf", "return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)",
     "return (mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)).sqrt()", says="the root: the squared",
     also=["nan", "square root"])  # fmt: skip
edit("mmd_rbf", "return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)",
     "return (x.mean(0) - y.mean(0)).square().sum()", says="no kernel")  # fmt: skip
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
edit(
    "coral_align", "(source - source.mean(0))", "(source - target.mean(0))", says="centred with the mean of the target"
)
edit("coral_align", "(source - source.mean(0))", "source", says="is not subtracted")
edit("coral_align", " + target.mean(0)", "", says="the mean of the target is missing")
edit("coral_align", "torch.cov(x.T)", "torch.cov(x.T, correction=0)", says="not by N − 1")
edit("coral_align", " @ power(target, 0.5)", "", says="whitened and not coloured")
edit("coral_align", "power(source, -0.5) @ ", "", says="coloured and not whitened")
edit("coral_align", "power(source, -0.5)", "power(source, 0.5)", says="it is inverted")
edit("coral_align", "power(source, -0.5)", "power(source, -1.0)", says="Cs itself is inverted")
edit("coral_align", "(vectors * torch.where(usable, values.clamp(min=1e-30) ** exponent, 0)) @ vectors.T",
     "(vectors.T * torch.where(usable, values.clamp(min=1e-30) ** exponent, 0)) @ vectors", says="Uᵀ Λᵖ U")  # fmt: skip
edit("coral_align", "torch.cov(x.T).reshape(x.size(1), x.size(1))", "x.T @ x / (len(x) - 1)",
     says="means are not subtracted")  # fmt: skip
edit("coral_align", "torch.cov(x.T).reshape(x.size(1), x.size(1))",
     "torch.cov(x.T).reshape(x.size(1), -1) + torch.eye(x.size(1))", says="I is added")  # fmt: skip
edit("coral_align", "return (source - source.mean(0)) @ power(source, -0.5) @ power(target, 0.5) + target.mean(0)",
     "return (source - source.mean(0)) / source.std(0) * target.std(0) + target.mean(0)",
     says="only the standard deviations", also=["inf", "nan"])  # fmt: skip


@mutant("coral_align", says="Cholesky factors")
def coral_by_cholesky(source: Tensor, target: Tensor) -> Tensor:
    ls = torch.linalg.cholesky(torch.cov(source.T).reshape(source.size(1), -1))
    lt = torch.linalg.cholesky(torch.cov(target.T).reshape(source.size(1), -1))
    return (source - source.mean(0)) @ torch.linalg.inv(ls).T @ lt.T + target.mean(0)


edit("adabn", "layer.momentum = None", "pass", says="the momentum still weights the batches")
edit("adabn", "layer.reset_running_stats()", "pass", says="the statistics of the source are averaged in")
edit("adabn", "x.split(batch_size)", "[x]", says="all of x in one batch")
edit("adabn", "layer.train()", "pass", says="nothing is measured", also=["was never"])
edit("adabn", "layer.momentum = None", "layer.momentum = 1.0", says="of the last batch alone")
edit("adabn", "x.split(batch_size)", "x.split(batch_size)[:1]", says="of the first batch alone",
     also=["of the last batch alone"])  # fmt: skip
edit("adabn", "x.split(batch_size)", "reversed(x.split(batch_size))", says="in the order of x")
edit("adabn", "x.split(batch_size)", "2 * x.split(batch_size)", says="one pass", check="one_pass_in_order")
edit("adabn", "layer.momentum = momentum", "layer.momentum = momentum\n    model.zero_grad()", says="is gone")
edit("adabn", "            model(batch)", "            model(batch)\n    for layer in layers:\n"
     "        layer.running_var.sqrt_()", says="not standard deviations", also=["nothing is measured"])  # fmt: skip
edit("adabn", "isinstance(module, nn.modules.batchnorm._BatchNorm)", "isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))",
     says="whatever their class")  # fmt: skip
edit("adabn", "[module for module in model.modules() if", "[module for module in model.children() if",
     says="whatever their class")  # fmt: skip
edit("adabn", "        module.training = mode", "        module.training = False", says="put it back")
edit("adabn", "model.eval()", "model.train()", says="did dropout")
edit("adabn", "module.training = mode", "pass", says="remember the mode of every module")
edit("adabn", "layer.momentum = momentum", "pass", says="momentum = None was left")
edit("adabn", "            model(batch)", "            pass", says="was never called",
     also=["nothing is measured"])  # fmt: skip
edit("adabn", "    for layer, momentum in", "    for layer in layers:\n        layer.reset_parameters()\n    for layer, momentum in",
     says="has changed", also=["nothing is measured"])  # fmt: skip


@mutant("adabn", says="as before", also=["nothing is measured"])
def adabn_in_eval_mode(model: nn.Module, x: Tensor, batch_size: int) -> None:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        for batch in x.split(batch_size):
            model(batch)
    for module, mode in modes:
        module.training = mode


@mutant("adabn", says="divided by N", also=["nothing is measured"])
def adabn_with_biased_variances(model: nn.Module, x: Tensor, batch_size: int) -> None:
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    modes = [(m, m.training) for m in model.modules()]
    seen = {layer: [] for layer in layers}

    def note(layer, inputs):
        flat = inputs[0].transpose(0, 1).flatten(1)
        seen[layer].append((flat.mean(1), flat.var(1, correction=0)))

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()
    with torch.no_grad():
        for batch in x.split(batch_size):
            model(batch)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        layer.running_mean, layer.running_var = (torch.stack(part).mean(0) for part in zip(*seen[layer], strict=True))
    for module, mode in modes:
        module.training = mode


@mutant("adabn", says="with the old statistics", also=["nothing is measured"])
def adabn_through_frozen_layers(model: nn.Module, x: Tensor, batch_size: int) -> None:
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    modes = [(m, m.training) for m in model.modules()]
    seen = {layer: [] for layer in layers}

    def note(layer, inputs):
        flat = inputs[0].transpose(0, 1).flatten(1)
        seen[layer].append((flat.mean(1), flat.var(1)))

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    model.eval()
    with torch.no_grad():
        for batch in x.split(batch_size):
            model(batch)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        layer.running_mean, layer.running_var = (torch.stack(part).mean(0) for part in zip(*seen[layer], strict=True))
    for module, mode in modes:
        module.training = mode


@mutant("adabn", says="mixed in", also=["nothing is measured"])
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
edit("GradReverse", "x.view_as(x)", "strength * x", says="scaled in forward")
edit("GradReverse", "-ctx.strength * gradient", "gradient", says="passes as it is")
edit(
    "GradReverse",
    "-ctx.strength * gradient",
    "-gradient / ctx.strength",
    says="divided by −strength",
    also=["inf", "nan"],
)
edit("GradReverse", "-ctx.strength * gradient", "-ctx.strength**2 * gradient", says="strength twice",
     also=["sign", "off by"])  # fmt: skip
edit(
    "GradReverse", "-ctx.strength * gradient, None", "-ctx.strength * gradient", says="returned an incorrect number of"
)
edit("GradReverse", "-ctx.strength * gradient", "0 * gradient", says="it is 0")


@mutant("GradReverse", says="which belongs to one call")
class StrengthOfTheClass(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        GradReverse.strength = strength
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -GradReverse.strength * gradient, None


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
edit("dann_step", "GradReverse.apply(shared, strength)", "GradReverse.apply(shared, 1.0)", says="strength is ignored")
edit(
    "dann_step",
    "GradReverse.apply(shared, strength)",
    "GradReverse.apply(shared, -strength)",
    says="scaled and not reversed",
)
edit("dann_step", "GradReverse.apply(shared, strength)", "shared.detach()", says="no gradient of the domains",
     also=["no part in the step"])  # fmt: skip
edit("dann_step", "(class_loss + domain_loss)", "(class_loss + strength * domain_loss)", says="strength is used twice")
edit("dann_step", "(class_loss + domain_loss)", "class_loss", says="the loss of the domains has no part",
     also=["does not learn"])  # fmt: skip
edit("dann_step", "(class_loss + domain_loss)", "domain_loss", says="the loss of the classes has no part")
edit("dann_step", "(class_loss + domain_loss)", "(class_loss - domain_loss)", says="GradReverse turns the sign")
edit("dann_step", "classifier(shared[: len(source)])", "classifier(shared[: len(source)].detach())",
     says="no gradient of the classes")  # fmt: skip
edit("dann_step", "    optimizer.zero_grad()\n    (class_loss + domain_loss).backward()",
     "    (class_loss + domain_loss).backward()\n    optimizer.zero_grad()", says="nothing has changed")  # fmt: skip
edit("dann_step", "    optimizer.step()", "    pass", says="nothing has changed")
edit("dann_step", "strength)), domain)", "strength)).sigmoid(), domain)", says="a sigmoid before the loss")
edit("dann_step", "strength)), domain)", "strength)), domain, reduction='sum')", says="not the mean, of the domains")
edit("dann_step", "class_loss.item(), domain_loss.item()", "(class_loss + domain_loss).item(), domain_loss.item()",
     says="the sum of both losses")  # fmt: skip
edit("dann_step", "class_loss.item(), domain_loss.item()", "class_loss, domain_loss", says=".item()")


@mutant("dann_step", says="measured after the step")
def dann_with_late_losses(features, classifier, discriminator, optimizer, source, label, target, strength):
    def losses():
        a, b = features(source), features(target)
        odds = torch.cat([discriminator(GradReverse.apply(h, strength)) for h in (a, b)])[:, 0]
        domain = torch.cat([torch.zeros(len(a)), torch.ones(len(b))]).to(odds.dtype)
        return F.cross_entropy(classifier(a), label), F.binary_cross_entropy_with_logits(odds, domain)

    optimizer.zero_grad()
    sum(losses()).backward()
    optimizer.step()
    class_loss, domain_loss = losses()
    return class_loss.item(), domain_loss.item()


@mutant("dann_step", says="both domains weigh the same")
def dann_with_a_mean_of_means(features, classifier, discriminator, optimizer, source, label, target, strength):
    a, b = features(source), features(target)
    class_loss = F.cross_entropy(classifier(a), label)
    odds = [discriminator(GradReverse.apply(h, strength)) for h in (a, b)]
    domain_loss = (F.softplus(odds[0]).mean() + F.softplus(-odds[1]).mean()) / 2
    optimizer.zero_grad()
    (class_loss + domain_loss).backward()
    optimizer.step()
    return class_loss.item(), domain_loss.item()


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
edit("label_shift", "torch.linalg.solve(confusion, answers)", "(confusion @ answers)", says="solve for the weights")
edit("label_shift", "weight * confusion.sum(0)", "answers", says="the answers as they are")
edit("label_shift", "weight * confusion.sum(0)", "confusion.sum(0)", says="are not used")
edit("label_shift", "weight * confusion.sum(0)", "weight * confusion.sum(0) ** 2", says="source frequencies twice")
edit("label_shift", "weight * confusion.sum(0)", "weight / confusion.sum(0)", says="source frequencies, not multiplied")
edit("label_shift", "frequency = weight * confusion.sum(0)", "return weight", says="the weights themselves")
edit("label_shift", ".clamp(min=0)", ".abs()", says="the absolute value of a negative weight")
edit("label_shift", "frequency / frequency.sum()", "(frequency / frequency.sum()).float()", says="digits are lost")
edit("label_shift", ".clamp(min=0)", "", says="negative weights become 0")
edit("label_shift", "torch.linalg.solve(confusion,", "torch.linalg.solve(confusion.T,", says="transposed")
edit("label_shift", "frequency / frequency.sum()", "frequency", says="the sum is not 1")
edit("label_shift", "solve(confusion, answers)", "solve(confusion / confusion.sum(0), answers)",
     says="divided by its column sums")  # fmt: skip
edit("label_shift", "weight * confusion.sum(0)", "(confusion / confusion.sum(0)) @ answers",
     says="divided by its column sums, times answers")  # fmt: skip
edit("label_shift", "weight * confusion.sum(0)", "(confusion / confusion.sum(0)).T @ answers",
     says="divided by its column sums, transposed")  # fmt: skip
edit("label_shift", "weight * confusion.sum(0)", "answers / confusion.sum(0)",
     says="the answers divided by the column sums")  # fmt: skip


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
    layers = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d))]
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


@alternative("median_distance")
def median_of_a_sorted_list(x: Tensor, y: Tensor) -> float:
    import statistics

    rows = torch.cat((x, y)).tolist()
    differences = []
    while rows:
        first = rows.pop()
        differences += [sum((a - b) ** 2 for a, b in zip(first, other, strict=True)) ** 0.5 for other in rows]
    return statistics.median(differences)


@alternative("median_distance")
def median_by_quantile(x: Tensor, y: Tensor) -> float:
    both = torch.cat([x, y]).double()
    i, j = torch.tril_indices(len(both), len(both), -1)
    return torch.quantile((both[i] - both[j]).norm(dim=1), 0.5).item()


@alternative("mmd_rbf")
def mmd_row_by_row(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    def mean(a, b):
        total = a.new_zeros(())
        for row in a:
            total = total + (-0.5 * ((b - row) / bandwidth).pow(2).sum(dim=-1)).exp().sum()
        return total / (len(a) * len(b))

    return torch.clamp(mean(x, x) - mean(x, y) - mean(y, x) + mean(y, y), min=0)


@alternative("mmd_rbf")
def mmd_by_einsum(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    def kernel(a, b):
        difference = a.unsqueeze(1).sub(b.unsqueeze(0))
        return torch.einsum("ijk,ijk->ij", difference, difference).div(-2 * bandwidth**2).exp()

    return kernel(x, x).mean().add(kernel(y, y).mean()).sub(kernel(x, y).mean(), alpha=2)


@alternative("coral_align")
def coral_by_svd(source: Tensor, target: Tensor) -> Tensor:
    def parts(x):
        _, s, v = torch.linalg.svd((x - x.mean(dim=0)) / (x.shape[0] - 1) ** 0.5)
        return torch.cat([s, s.new_zeros(v.shape[0] - len(s))]), v

    (s, v), (r, w) = parts(source), parts(target)
    inverse = torch.zeros_like(s)
    usable = s**2 > 1e-6 * s[0] ** 2
    inverse[usable] = 1 / s[usable]
    return torch.einsum(
        "nd,de,ef->nf", source - source.mean(0), v.T @ inverse.diag() @ v, w.T @ r.diag() @ w
    ) + target.mean(0)


@alternative("adabn")
def adabn_with_sums(model: nn.Module, x: Tensor, batch_size: int) -> None:
    modes = {name: module.training for name, module in model.named_modules()}
    norms = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)}
    momenta = {name: norm.momentum for name, norm in norms.items()}
    sums = {
        name: [torch.zeros_like(norm.running_mean), torch.zeros_like(norm.running_var)] for name, norm in norms.items()
    }
    model.train(False)
    for norm in norms.values():
        norm.train(True)
        norm.momentum = 1.0
    with torch.inference_mode():
        count = len(x) // batch_size
        for i in range(count):
            model(x[i * batch_size : (i + 1) * batch_size])
            for name, norm in norms.items():
                sums[name][0] += norm.running_mean / count
                sums[name][1] += norm.running_var / count
    with torch.no_grad():
        for name, norm in norms.items():
            norm.running_mean.copy_(sums[name][0])
            norm.running_var.copy_(sums[name][1])
            norm.momentum = momenta[name]
    for name, module in model.named_modules():
        module.training = modes[name]


@alternative("GradReverse")
class ReverseByAFactor(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.save_for_backward(torch.tensor(-float(strength), dtype=x.dtype))
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        (factor,) = ctx.saved_tensors
        return gradient.mul(factor), None


@alternative("dann_step")
def dann_with_autograd_grad(features, classifier, discriminator, optimizer, source, label, target, strength):
    networks = (features, classifier, discriminator)
    parameters = [p for network in networks for p in network.parameters()]
    both = features(torch.cat((source, target), dim=0))
    odds = discriminator(GradReverse.apply(both, strength)).squeeze(1)
    truth = (torch.arange(len(both)) >= len(source)).to(odds)
    classes = torch.nn.CrossEntropyLoss()(classifier(both[: label.numel()]), label)
    domains = torch.nn.BCEWithLogitsLoss()(odds, truth)
    for p, g in zip(parameters, torch.autograd.grad(classes + domains, parameters), strict=True):
        p.grad = g
    optimizer.step()
    return classes.detach().item(), domains.detach().item()


@alternative("label_shift")
def label_shift_by_numpy(confusion: Tensor, answers: Tensor) -> Tensor:
    import numpy as np

    table = confusion.numpy()
    weights = np.maximum(np.linalg.lstsq(table, answers.numpy(), rcond=None)[0], 0)
    found = weights * table.sum(axis=0)
    return torch.from_numpy(found / found.sum())
