"""Wrong versions of lab 18 that students write, and right ones by another route."""

import copy

import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.nn import functional as F

edit("magnitude_prune", "w.detach().abs().flatten()", "w.detach().flatten()", says="abs is missing")
edit("magnitude_prune", "if p.dim() > 1", "if p.dim() > 0", says="two dimensions or more")
edit("magnitude_prune", "w *= masks[name]", "w * masks[name]", says="the masks must be applied")
edit("magnitude_prune", "w *= masks[name]", "w *= ~masks[name]", says="that should stay are zero")
edit("magnitude_prune", "round(sparsity * len(sizes))", "int(sparsity * len(sizes))", says="is rounded down")
edit("magnitude_prune", "round(sparsity * len(sizes))", "round(sparsity * sum(p.numel() for p in model.parameters()))",
     says="in the number n")  # fmt: skip
edit("magnitude_prune", "sizes.argsort()", "sizes.argsort(descending=True)", says="the largest weights are pruned")
edit("magnitude_prune", "[: round(sparsity * len(sizes))]", "[round(sparsity * len(sizes)) :]",
     says="the largest weights are pruned", also=["the other way round"])  # fmt: skip
edit("magnitude_prune", "    return masks", "    return {name: ~mask for name, mask in masks.items()}",
     says="the other way round")  # fmt: skip
edit("magnitude_prune", "round(sparsity * len(sizes))", "round((1 - sparsity) * len(sizes))",
     says="should become zero, not stay")  # fmt: skip
edit("magnitude_prune", "    return masks", "    return {name: mask.float() for name, mask in masks.items()}",
     says="torch.bool")  # fmt: skip
edit("magnitude_prune", "    return masks", "    return list(masks.values())", says="a dictionary of masks")
edit("magnitude_prune", "            w *= masks[name]",
     "            parent, _, last = name.rpartition('.')\n"
     "            setattr(model.get_submodule(parent), last, nn.Parameter(w * masks[name]))",
     says="a new parameter in the place of")  # fmt: skip


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


edit("fine_tune_masked", "for x, t in batches:", "for x, t in batches[:-1]:", says="the last batch is left out")
edit("fine_tune_masked", "for x, t in batches:", "for x, t in batches[:1]:", says="only the first batch")
edit("fine_tune_masked", "for x, t in batches:", "for x, t in batches * 2:", says="each batch is used twice")
edit("fine_tune_masked", "        optimizer.step()\n", "", says="have not moved")
edit("fine_tune_masked", "model(x), t)", "model(x).softmax(1), t)", says="which has its own")
edit("fine_tune_masked", "model(x), t)", "model(x), t, reduction='sum')", says="not their mean", also=["new optimiser"])
edit("fine_tune_masked", "*= mask", "*= ~mask", says="True is what stays")
edit("fine_tune_masked", "    parameters = dict(model.named_parameters())",
     "    parameters = dict(model.named_parameters())\n    batches = [tuple(torch.cat(b) for b in zip(*batches))]",
     says="all batches in one step")  # fmt: skip
edit("fine_tune_masked", "    parameters = dict(model.named_parameters())",
     "    parameters = dict(model.named_parameters())\n"
     "    optimizer = type(optimizer)(model.parameters(), **optimizer.defaults)",
     says="a new optimiser")  # fmt: skip
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
edit("quantise_per_channel", ".round()", ".floor()", says="rounded down")
edit("quantise_per_channel", ".round()", ".ceil()", says="rounded up")
edit("quantise_per_channel", "m = 2 ** (bits - 1) - 1", "m = 127", says="whatever `bits` says")
edit("quantise_per_channel", ".abs().amax(1)", ".abs().mean(1)", says="the mean of the absolute values")
edit("quantise_per_channel", ".abs().amax(1)", ".std(1)", says="the standard deviation")
edit("quantise_per_channel", ".abs().amax(1)", ".norm(dim=1)", says="the length of the channel")
edit("quantise_per_channel", ".to(torch.int8), scale", ".to(torch.int8), 1 / scale", says="one divided by the scale")
edit("quantise_per_channel", ".to(torch.int8), scale", ".to(torch.int8), largest", says="1/m of them")
edit("quantise_per_channel", "(w / scale", "(w * scale", says="multiplied by the scale")
edit(
    "quantise_per_channel", "q.clamp(-m, m).to(torch.int8)", "q.clamp(-m, m)", says="expected int8 numbers, got float32"
)
edit("quantise_per_channel", "q.clamp(-m, m).to(torch.int8), scale", "scale, q.clamp(-m, m).to(torch.int8)",
     says="expected shape")  # fmt: skip


@mutant("quantise_per_channel", says="it is symmetric", also=["nan", "integer"])
def from_least_to_most(w, bits):
    rows = w.flatten(1)
    scale = (rows.amax(1) - rows.amin(1)) / (2**bits - 1)
    q = ((rows - rows.amin(1, keepdim=True)) / scale[:, None] - 2 ** (bits - 1)).round()
    return q.to(torch.int8).view_as(w), scale


@mutant("quantise_per_channel", says="each row, an output channel")
def a_scale_for_each_column(w, bits):
    m = 2 ** (bits - 1) - 1
    scale = w.abs().amax(0) / m
    return (w / scale).round().to(torch.int8), scale


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


edit("int8_linear", "xq[0].int() @ q.int().T", "(xq[0].short() @ q.short().T)", says="int16 overflows",
     also=["int8 and int16"])  # fmt: skip
edit("int8_linear", "(x_scale * scale)", "scale", says="the scale of x is missing")
edit("int8_linear", "(x_scale * scale)", "x_scale", says="scales of the channels are missing")
edit("int8_linear", " + bias", "", says="the bias is missing")
edit(
    "int8_linear",
    "products * (x_scale * scale) + bias",
    "(products + bias) * (x_scale * scale)",
    says="must not be scaled",
)
edit("int8_linear", "+ bias", "- bias", says="the bias is subtracted", also=["sign"])
edit("int8_linear", "products * (x_scale * scale)", "products / (x_scale * scale)", says="divided by the scales")


@mutant("int8_linear", says="not one for each feature")
def a_scale_for_each_feature(x, q, scale, bias):
    x_scale = x.abs().amax(0).clamp(min=1e-20) / 127
    return ((x / x_scale).round() * x_scale) @ (scale[:, None] * q).T + bias


@mutant("int8_linear", says="cut off, not rounded")
def cut_off(x, q, scale, bias):
    x_scale = x.abs().max().clamp(min=1e-20) / 127
    return ((x / x_scale).int() @ q.int().T) * x_scale * scale + bias


@mutant("int8_linear", says="not 1/128")
def by_128(x, q, scale, bias):
    x_scale = x.abs().max().clamp(min=1e-20) / 128
    return ((x / x_scale).round().int() @ q.int().T) * x_scale * scale + bias


@mutant("int8_linear", says="counts with its sign")
def without_abs(x, q, scale, bias):
    x_scale = x.max().clamp(min=1e-20) / 127
    return ((x / x_scale).round().int() @ q.int().T) * x_scale * scale + bias


edit("fold_batchnorm", "bn.weight / (bn", "1 / (bn", says="bn.weight is missing")
edit("fold_batchnorm", "(bn.running_var + bn.eps).sqrt()", "bn.running_var.sqrt()", says="eps is missing")
edit(
    "fold_batchnorm", "(bn.running_var + bn.eps).sqrt()", "(bn.running_var.sqrt() + bn.eps)", says="it belongs under it"
)
edit("fold_batchnorm", "bn.weight / (bn.running_var + bn.eps).sqrt()", "bn.weight * (bn.running_var + bn.eps).sqrt()",
     says="multiplied by the root of the variance")  # fmt: skip
edit("fold_batchnorm", "nn.Parameter(conv.weight * factor[:, None, None, None])", "conv.weight",
     says="the weight of the convolution is as before")  # fmt: skip
edit("fold_batchnorm", "bn.bias + factor * bias", "factor * bias", says="bn.bias is missing")
edit("fold_batchnorm", "bn.bias + factor * bias", "factor * (bn.bias + bias)", says="it comes last")
edit("fold_batchnorm", "conv.bias - bn.running_mean", "conv.bias", says="the running mean is missing")
edit("fold_batchnorm", "conv.bias - bn.running_mean", "conv.bias + bn.running_mean", says="is added, not subtracted")
edit("fold_batchnorm", "conv.bias - bn.running_mean", "conv.bias / factor - bn.running_mean",
     says="goes through the normalisation, too")  # fmt: skip
edit("fold_batchnorm", "copy.deepcopy(conv)", "copy.copy(conv)", says="must stay as they are")
edit("fold_batchnorm", "    return folded", "    bn.eval()\n    return folded", says="has left training mode")
edit("fold_batchnorm", "copy.deepcopy(conv)", "nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size)",
     says="stride, padding, dilation and groups")  # fmt: skip
edit("fold_batchnorm", "(bn.running_var + bn.eps).sqrt()", "(bn.running_var + bn.eps)", says="root of the variance")
edit("fold_batchnorm", "bn.bias + factor * bias", "bn.bias - factor * bn.running_mean", says="old bias is missing")
edit("fold_batchnorm", "copy.deepcopy(conv)", "conv", says="a new one should come back")
edit("count_flops", "2 * y.numel()", "y.numel()", says="count as 2")
edit("count_flops", "2 * y.numel()", "2 * y[0].numel()", says="all samples")
edit("count_flops", "    for hook in hooks:\n        hook.remove()\n", "", says="hook.remove()")
edit("count_flops", "layer.weight[0].numel()", "(layer.weight[0, 0] if layer.weight.dim() > 2 else layer.weight[0]).numel()", says="the channels are missing",
     also=["1 for a number"])  # fmt: skip
edit("count_flops", "lambda layer, _, y: counts.append(2 * y.numel()",
     "lambda layer, x, y: counts.append(2 * (y.numel() if y.dim() < 4 else x[0][:, :1].numel() * y.size(1))",
     says="not the places of the input")  # fmt: skip
edit("count_flops", "2 * y.numel() * layer.weight[0].numel()",
     "2 * y.numel() * layer.weight[0].numel() + (0 if layer.bias is None else y.numel())", says="biases count 0")  # fmt: skip
edit("count_flops", "2 * y.numel() * layer.weight[0].numel()", "y.numel()", says="1 for a number of the output")
edit("count_flops", "model.modules()", "model.children()", says="layers inside of other modules")
edit("count_flops", "layer.weight[0].numel()", "layer.weight[0].numel() * getattr(layer, 'groups', 1)",
     says="groups are ignored")  # fmt: skip
edit("count_flops", "with torch.no_grad():", "model.eval()\n    with torch.no_grad():", says="mode of the model")


@mutant("count_flops", says="a layer that is used twice")
def each_layer_once(model, x):
    counts = {}
    hooks = [
        m.register_forward_hook(lambda m, _, y: counts.update({m: 2 * y.numel() * m.weight[0].numel()}))
        for m in model.modules()
        if isinstance(m, (nn.Conv2d, nn.Linear))
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return sum(counts.values())


@mutant("count_flops", says="positions of the window")
def only_the_weights_count(model, x):
    return sum(2 * m.weight.numel() for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


edit("distillation_loss", " * temperature**2", "", says="T² is missing")
edit("distillation_loss", " * temperature**2", " * temperature", says="not T")
edit("distillation_loss", " * temperature**2", " / temperature**2", says="divided by T²")
edit("distillation_loss", "alpha * F.cross_entropy(scores, labels) + (1 - alpha)",
     "(1 - alpha) * F.cross_entropy(scores, labels) + alpha", says="are exchanged")  # fmt: skip
edit("distillation_loss", "(1 - alpha) * temperature", "temperature", says="1 − alpha is missing")
edit("distillation_loss", "alpha * F.cross", "F.cross", says="alpha is missing")
edit("distillation_loss", "(scores, labels)", "(scores / temperature, labels)", says="has no temperature")
edit("distillation_loss", "alpha * F.cross_entropy(scores, labels)", "temperature**2 * alpha * F.cross_entropy(scores, labels)",
     says="no factor T²")  # fmt: skip
edit("distillation_loss", "teacher_scores.detach() / temperature", "teacher_scores.detach()", says="only the student's")
edit("distillation_loss", "(scores / temperature, 1)", "(scores, 1)", says="only the teacher's")
edit("distillation_loss", "(scores, labels)", "(scores.softmax(1), labels)", says="which has its own")
edit("distillation_loss", 'reduction="batchmean"', 'reduction="sum"', says="the divergence is the sum")
edit("distillation_loss", "F.log_softmax(scores / temperature, 1)", "F.softmax(scores / temperature, 1)",
     says="takes the logarithm of q")  # fmt: skip
edit("distillation_loss", "+ (1 - alpha)", "- (1 - alpha)", says="the wrong sign")


@mutant("distillation_loss", says="over the batch, not over the classes", also=["infinite", "nan"])
def softmax_over_the_batch(scores, teacher_scores, labels, temperature, alpha):
    log_p = F.log_softmax(teacher_scores.detach() / temperature, 0)
    log_q = F.log_softmax(scores / temperature, 0)
    divergence = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    return alpha * F.cross_entropy(scores, labels) + (1 - alpha) * temperature**2 * divergence


@mutant("distillation_loss", says="subtracts its entropy")
def soft_cross_entropy(scores, teacher_scores, labels, temperature, alpha):
    soft = F.cross_entropy(scores / temperature, (teacher_scores.detach() / temperature).softmax(1))
    return alpha * F.cross_entropy(scores, labels) + (1 - alpha) * temperature**2 * soft


@mutant("distillation_loss", says="the teacher's best class")
def hard_answers(scores, teacher_scores, labels, temperature, alpha):
    soft = F.cross_entropy(scores / temperature, teacher_scores.argmax(1))
    return alpha * F.cross_entropy(scores, labels) + (1 - alpha) * temperature**2 * soft


@mutant("distillation_loss", says="differences of the scores")
def squared_differences(scores, teacher_scores, labels, temperature, alpha):
    return alpha * F.cross_entropy(scores, labels) + (1 - alpha) * F.mse_loss(scores, teacher_scores.detach())


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


@alternative("magnitude_prune")
def by_a_sorted_list(model, sparsity):
    masks = {n: torch.ones_like(p, dtype=torch.bool) for n, p in model.named_parameters() if p.ndim >= 2}
    places = [(abs(value), n, k) for n in masks for k, value in enumerate(model.get_parameter(n).flatten().tolist())]
    for _, name, k in sorted(places)[: round(sparsity * len(places))]:
        masks[name].view(-1)[k] = False
        model.get_parameter(name).data.view(-1)[k] = 0.0
    return masks


@alternative("fine_tune_masked")
def by_where(model, masks, optimizer, batches):
    for inputs, targets in batches:
        loss = -F.log_softmax(model(inputs), dim=1).gather(1, targets[:, None]).mean()
        for p in model.parameters():
            p.grad = None
        loss.backward()
        optimizer.step()
        for name, p in model.named_parameters():
            if name in masks:
                p.data.copy_(torch.where(masks[name], p.data, torch.zeros_like(p)))


@alternative("quantise_per_channel")
def channel_by_channel(w, bits):
    m = 2 ** (bits - 1) - 1
    q, scale = torch.zeros_like(w, dtype=torch.int8), torch.ones(len(w))
    for d, channel in enumerate(w):
        if channel.any():
            scale[d] = max(channel.max(), -channel.min()) / m
            q[d] = torch.round(channel / scale[d]).type(torch.int8)
    return q, scale


@alternative("quantise_per_channel")
def by_numpy(w, bits):
    import numpy as np

    array = w.numpy()
    top = np.abs(array).reshape(len(array), -1).max(axis=1)
    scale = np.where(top == 0, 1, top / (2 ** (bits - 1) - 1)).astype(np.float32)
    q = np.rint(array / scale.reshape([-1] + [1] * (array.ndim - 1)))
    return torch.from_numpy(q.astype(np.int8)), torch.from_numpy(scale)


@alternative("int8_linear")
def by_einsum(x, q, scale, bias):
    largest = float(x.abs().max())
    step = largest / 127 if largest else 1.0
    integers = torch.einsum("nc,dc->nd", (x / step).round().to(torch.int32), q.to(torch.int32))
    return torch.addcmul(bias, integers.float(), step * scale)


@alternative("fold_batchnorm")
def with_functional(conv, bn):
    folded = copy.deepcopy(conv).requires_grad_(False)
    gain = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
    old = torch.zeros_like(bn.bias) if conv.bias is None else conv.bias
    folded.weight.copy_(torch.einsum("oihw,o->oihw", conv.weight, gain))
    folded.register_parameter("bias", nn.Parameter((old - bn.running_mean) * gain + bn.bias))
    return folded


@alternative("count_flops")
def by_pre_hooks(model, x):
    total = 0

    def note(layer, inputs):
        nonlocal total
        shape = inputs[0].shape
        if isinstance(layer, nn.Linear):
            total += 2 * inputs[0].numel() * layer.out_features
        else:
            places = shape[0]
            for size, k, s, p, d in zip(
                shape[2:], layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True
            ):
                places *= (size + 2 * p - d * (k - 1) - 1) // s + 1
            total += 2 * places * layer.weight.numel()

    handles = [m.register_forward_pre_hook(note) for m in model.modules() if type(m) in (nn.Linear, nn.Conv2d)]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return total


@alternative("distillation_loss")
def sample_by_sample(scores, teacher_scores, labels, temperature, alpha):
    terms = []
    for s, t, label in zip(scores, teacher_scores.detach(), labels.tolist(), strict=True):
        log_q, log_p = (s / temperature).log_softmax(-1), (t / temperature).log_softmax(-1)
        soft = sum(a.exp() * (a - b) for a, b in zip(log_p, log_q, strict=True))
        terms.append(alpha * (s.logsumexp(0) - s[label]) + (1 - alpha) * temperature**2 * soft)
    return torch.stack(terms).mean()


@mutant("distillation_loss", says="infinity")
def by_distributions(scores, teacher_scores, labels, temperature, alpha):
    teacher = torch.distributions.Categorical(logits=teacher_scores.detach() / temperature)
    learner = torch.distributions.Categorical(logits=scores / temperature)
    soft = torch.distributions.kl_divergence(teacher, learner).mean()
    hard = torch.nn.CrossEntropyLoss()(scores, labels)
    return alpha * hard + (1.0 - alpha) * temperature**2 * soft
