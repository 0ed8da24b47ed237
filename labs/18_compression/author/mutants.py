"""Wrong versions of lab 18 that students write, and right ones by another route."""

import copy

import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.nn import functional as F

edit("magnitude_prune", "w.detach().abs().flatten()", "w.detach().flatten()", says="absolute values")
edit("magnitude_prune", "if p.dim() > 1", "if p.dim() > 0", says="two dimensions or more")
edit("magnitude_prune", "w *= masks[name]", "w * masks[name]", says="the masks must be applied")


@mutant("magnitude_prune", says="in all of them together")
def layer_by_layer(model, sparsity):
    masks = {}
    for name, p in model.named_parameters():
        if p.dim() > 1:
            bound = p.detach().abs().flatten().sort().values[round(sparsity * p.numel()) - 1]
            masks[name] = p.detach().abs() > bound if sparsity > 0 else torch.ones_like(p, dtype=torch.bool)
            p.data *= masks[name]
    return masks


@mutant("magnitude_prune", says="all equal weights together")
def by_a_threshold(model, sparsity):
    weights = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    sizes = torch.cat([w.detach().abs().flatten() for w in weights.values()])
    count = round(sparsity * len(sizes))
    bound = sizes.sort().values[count - 1] if count else -1.0
    masks = {name: w.detach().abs() > bound for name, w in weights.items()}
    for name, w in weights.items():
        w.data *= masks[name]
    return masks


@mutant("fine_tune_masked", says="momentum moves weights")
def masks_the_derivatives(model, masks, optimizer, batches):
    for x, t in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), t).backward()
        for name, p in model.named_parameters():
            if name in masks:
                p.grad *= masks[name]
        optimizer.step()


@mutant("fine_tune_masked", says="act at the end only")
def masks_at_the_end(model, masks, optimizer, batches):
    for x, t in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), t).backward()
        optimizer.step()
    for name, p in model.named_parameters():
        if name in masks:
            p.data *= masks[name]


edit("fine_tune_masked", "optimizer.zero_grad()\n", "\n", says="zero_grad is missing")
edit(
    "quantise_per_channel",
    "w.flatten(1).abs().amax(1)",
    "w.abs().max().expand(len(w))",
    says="each channel has its own",
)
edit("quantise_per_channel", "w.flatten(1).abs().amax(1)", "w.flatten(1).amax(1)", says="abs is missing")
edit("quantise_per_channel", "m = 2 ** (bits - 1) - 1", "m = 2 ** (bits - 1)", says="not 2^(b−1)")
edit("quantise_per_channel", ".round()", "", says="cut off, not rounded")
edit("quantise_per_channel", "torch.where(largest > 0, largest / m, 1.0)", "largest / m", says="a channel of zeros")
edit("int8_linear", "xq[0].int() @ q.int().T", "(xq[0] @ q.T)", says="int8 overflows")


@mutant("int8_linear", says="x is not quantised")
def only_the_weights(x, q, scale, bias):
    return x @ (q * scale[:, None]).T + bias


@mutant("int8_linear", says="not one for each sample")
def a_scale_for_each_sample(x, q, scale, bias):
    x_scale = x.abs().amax(1, keepdim=True).clamp(min=1e-20) / 127
    xq = (x / x_scale).round()
    return (xq.int() @ q.int().T) * x_scale * scale + bias


edit("fold_batchnorm", "(bn.running_var + bn.eps).sqrt()", "(bn.running_var + bn.eps)", says="root of the variance")
edit("fold_batchnorm", "bn.bias + factor * bias", "bn.bias - factor * bn.running_mean", says="old bias is missing")
edit("fold_batchnorm", "copy.deepcopy(conv)", "conv", says="copy.deepcopy comes first")
edit("count_flops", "2 * y.numel()", "y.numel()", says="count as 2")
edit("count_flops", "2 * y.numel()", "2 * y[0].numel()", says="all samples")


@mutant("count_flops", says="positions of the window")
def only_the_weights_count(model, x):
    return sum(2 * m.weight.numel() for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


edit("distillation_loss", " * temperature**2", "", says="T² is missing")
edit("distillation_loss", 'reduction="batchmean"', 'reduction="mean"', says="(reduction)")
edit("distillation_loss", "F.kl_div(log_q, log_p,", "F.kl_div(log_p, log_q,", says="the other way round")
edit("distillation_loss", "teacher_scores.detach()", "teacher_scores", says="detach is missing")


@mutant("distillation_loss", says="log_softmax")
def logarithm_of_softmax(scores, teacher_scores, labels, temperature, alpha):
    p = (teacher_scores.detach() / temperature).softmax(1)
    q = (scores / temperature).softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    return alpha * F.cross_entropy(scores, labels) + (1 - alpha) * temperature**2 * divergence


@alternative("magnitude_prune")
def by_topk(model, sparsity):
    weights = [(name, p) for name, p in model.named_parameters() if p.dim() >= 2]
    flat = torch.cat([p.data.reshape(-1) for _, p in weights])
    mask = torch.zeros(flat.numel(), dtype=torch.bool)
    mask[flat.abs().topk(flat.numel() - round(sparsity * flat.numel())).indices] = True
    masks, at = {}, 0
    for name, p in weights:
        masks[name] = mask[at : at + p.numel()].reshape(p.shape)
        p.data[~masks[name]] = 0
        at += p.numel()
    return masks


@alternative("fine_tune_masked")
def with_masked_fill(model, masks, optimizer, batches):
    criterion = nn.CrossEntropyLoss()
    for x, t in batches:
        model.zero_grad()
        criterion(model(x), t).backward()
        optimizer.step()
        for name, mask in masks.items():
            model.get_parameter(name).data.masked_fill_(~mask, 0.0)


@alternative("quantise_per_channel")
def in_float64(w, bits):
    m = 2 ** (bits - 1) - 1
    scale = w.double().flatten(1).abs().max(1).values / m
    scale[scale == 0] = 1
    q = torch.stack([(row / s).round() for row, s in zip(w.double(), scale, strict=True)])
    return q.to(torch.int8), scale


@alternative("int8_linear")
def with_float64_integers(x, q, scale, bias):
    x_scale = x.abs().max().item() / 127 or 1.0
    xq = torch.round(x / x_scale).to(torch.int8)
    return F.linear(xq.double(), q.double()) * x_scale * scale + bias


@alternative("fold_batchnorm")
def a_new_convolution(conv, bn):
    new = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
                    conv.groups, bias=True, padding_mode=conv.padding_mode)  # fmt: skip
    deviation = torch.sqrt(bn.running_var.double() + bn.eps)
    shift = -bn.running_mean.double() if conv.bias is None else conv.bias.data.double() - bn.running_mean.double()
    new.weight.data.copy_((bn.weight.data.double() / deviation).reshape(-1, 1, 1, 1) * conv.weight.data.double())
    new.bias.data.copy_(bn.weight.data.double() * shift / deviation + bn.bias.data.double())
    return copy.deepcopy(new)


@alternative("distillation_loss")
def by_cross_entropy(scores, teacher_scores, labels, temperature, alpha):
    with torch.no_grad():
        p = F.softmax(teacher_scores / temperature, dim=1)
        entropy = -(p * F.log_softmax(teacher_scores / temperature, dim=1)).sum(1).mean()
    soft = F.cross_entropy(scores / temperature, p) - entropy
    return alpha * F.cross_entropy(scores, labels) + (1 - alpha) * temperature * temperature * soft
