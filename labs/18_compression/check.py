"""The checks of lab 18. Reading them is allowed and useful."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import filled

lab = Lab(
    __file__,
    parts=[
        "magnitude_prune",
        "fine_tune_masked",
        "quantise_per_channel",
        "int8_linear",
        "fold_batchnorm",
        "count_flops",
        "distillation_loss",
    ],
)
lab.forbid("magnitude_prune", names=["prune"], why="it is what you are writing")
lab.forbid(
    "fold_batchnorm",
    names=["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_modules"],
    why="it is what you are writing",
)


@student_side
def small_model(weights):
    """Convolution, batch normalisation, two linear layers, on images of 5 × 4; 178 weights, 29 other numbers."""
    model = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.AvgPool2d((5, 4)),
        nn.Flatten(),
        nn.Linear(5, 11),
        nn.ReLU(),
        nn.Linear(11, 3),
    )
    filled(model, weights)
    return model


def named_parameters(weights):
    return {name: p.detach() for name, p in small_model(weights).named_parameters()}


def uneven(rng):
    """Weights whose layers differ much in size."""
    weights = rng.normal(400)
    weights[90:] *= 0.2
    return weights


# ---- 1 and 2, pruning and fine-tuning


@student_side
def pruned(student, weights, sparsity):
    model = small_model(weights)
    before = dict(model.named_parameters())
    masks = student.magnitude_prune(model, sparsity)
    after = dict(model.named_parameters())
    return masks, after, [name for name in before if before[name] is not after.get(name)]


def masks_for(weights, sparsity, each_layer=False):
    """The masks by sorting; or with the same share in each layer."""
    layers = {name: p.abs() for name, p in named_parameters(weights).items() if p.dim() > 1}
    if each_layer:
        bounds = {name: p.flatten().sort().values[round(sparsity * p.numel()) - 1] for name, p in layers.items()}
    else:
        every = torch.cat([p.flatten() for p in layers.values()]).sort().values
        bounds = dict.fromkeys(layers, every[min(round(sparsity * len(every)), len(every)) - 1])
    return {name: p > bounds[name] for name, p in layers.items()}


def signed_masks_for(weights, sparsity):
    """The masks that the numbers themselves would give, without their absolute values."""
    layers = {name: p for name, p in named_parameters(weights).items() if p.dim() > 1}
    every = torch.cat([p.flatten() for p in layers.values()]).sort().values
    return {name: p > every[round(sparsity * len(every)) - 1] for name, p in layers.items()}


def not_a_dictionary(masks):
    kind = "nothing came back: is the return missing?" if masks is None else f"a {type(masks).__name__} came back"
    return f"a dictionary of masks should come back; {kind}"


def as_text(masks):
    """How many weights of each layer stay."""
    return ", ".join(f"{name}: {int(mask.sum())} of {mask.numel()}" for name, mask in masks.items())


@lab.check("magnitude_prune")
def smallest_of_all_layers(student, rng):
    """the smallest weights of the whole model are zero, all else is as it was"""
    for sparsity in 0.5, 0.9, 0.37:
        with case(f"sparsity = {sparsity}"):
            weights = uneven(rng)
            masks, after, others = student.run(pruned, weights, sparsity)
            before, want = named_parameters(weights), masks_for(weights, sparsity)
            require(isinstance(masks, dict), not_a_dictionary(masks))
            biases = [name for name, p in before.items() if p.dim() == 1]
            require(
                not set(masks) & set(biases),
                "biases or batch normalisations are among the masks",
                likely="weights have two dimensions or more",
            )
            expect(sorted(masks), sorted(want), look="the names are those of named_parameters")
            for name in want:
                expect(masks[name].dtype, torch.bool)
            expect(
                as_text({name: masks[name] for name in want}),
                as_text(want),
                mistakes={
                    "the share is taken in each layer; it should be in all of them together": as_text(
                        masks_for(weights, sparsity, each_layer=True)
                    ),
                    "the largest weights are pruned, the smallest should be": as_text(
                        {name: ~mask for name, mask in masks_for(weights, 1 - sparsity).items()}
                    ),
                    "the masks are the other way round: True is what stays": as_text(
                        {name: ~mask for name, mask in want.items()}
                    ),
                    "that share should become zero, not stay": as_text(masks_for(weights, 1 - sparsity)),
                    "negative weights count as the smallest: abs is missing": as_text(
                        signed_masks_for(weights, sparsity)
                    ),
                    "biases and normalisations are in the number n": as_text(masks_for(weights, sparsity * 207 / 178)),
                    "sparsity · n is rounded down, not to the nearest": as_text(
                        masks_for(weights, int(sparsity * 178) / 178)
                    ),
                },
            )
            expect({name: masks[name] for name in want}, want)
            expect(
                after,
                {name: p * want[name] if name in want else p for name, p in before.items()},
                mistakes={
                    "the model has not changed: the masks must be applied": before,
                    "the weights that should stay are zero, the others stay": {
                        name: p * ~want[name] if name in want else p for name, p in before.items()
                    },
                },
            )
            require(not others, f"{', '.join(others)}: a new parameter in the place of the old one, which must change")


@lab.check("magnitude_prune")
def exactly_so_many(student, rng):
    """exactly round(sparsity · n) zeros, also with many equal weights"""
    n = 178
    for text, weights in ("different weights", uneven(rng)), ("weights of ±1 only", rng.normal(400).sign()):
        for sparsity in 0.0, 1 / 3, 0.5, 1.0:
            with case(f"{text}, sparsity = {sparsity:.3g}"):
                masks, after, _ = student.run(pruned, weights, sparsity)
                require(isinstance(masks, dict), not_a_dictionary(masks))
                zeros = sum(int((after[name] == 0).sum()) for name in masks)
                expect(zeros, round(sparsity * n), look="a threshold keeps or drops all equal weights together")
                expect(sum(int((~mask).sum()) for mask in masks.values()), round(sparsity * n))


@student_side
def add_derivatives(model, x, t, twice=False):
    """Add those of the cross-entropy of Linear, Tanh, Linear to each .grad, by hand; twice: after another softmax."""
    # In torch 2.6, children of a process that has used autograd cannot, and the trusted side has children:
    # https://github.com/pytorch/pytorch/wiki/Autograd-and-Fork
    with torch.set_grad_enabled(False):
        h = model[:2](x)
        p = model(x).softmax(1)
        of_scores = (p - F.one_hot(t, 3)) / len(x)
        if twice:
            of_p = (p.softmax(1) - F.one_hot(t, 3)) / len(x)
            of_scores = p * (of_p - (of_p * p).sum(1, keepdim=True))
        of_sums = of_scores @ model[2].weight * (1 - h**2)
        found = of_sums.T @ x, of_sums.sum(0), of_scores.T @ h, of_scores.sum(0)
    for p, d in zip(model.parameters(), found, strict=True):
        p.grad = d if p.grad is None else p.grad + d


@student_side
def fine_tuned(student, weights, masks, x, t, kind):
    """Two steps of ordinary training, pruning, then fine-tuning."""
    model = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))
    filled(model, weights)
    options = {"lr": 0.02} if kind == "Adam" else {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    opt = getattr(torch.optim, kind)(model.parameters(), **options)
    batches = list(zip(x.split(4), t.split(4), strict=True))
    for inputs, targets in batches[:2]:
        opt.zero_grad()
        add_derivatives(model, inputs, targets)
        opt.step()
    apply(model, masks)
    student.fine_tune_masked(model, masks, opt, batches)
    return {name: p.detach() for name, p in model.named_parameters()}


@student_side
def apply(model, masks):
    for name, p in model.named_parameters():
        p.data = p.data * masks.get(name, 1)


class FineTuning:
    """The part, step by step; or with a mistake."""

    def __init__(self, mistake=""):
        self.mistake = mistake

    def fine_tune_masked(self, model, masks, opt, batches):
        chosen = {"short": batches[:-1], "one": batches[:1], "none": [], "again": batches * 2, "all": [joined(batches)]}
        if self.mistake == "fresh":
            opt = type(opt)(model.parameters(), **opt.defaults)
        for inputs, targets in chosen.get(self.mistake, batches):
            if self.mistake != "add up":
                opt.zero_grad()
            add_derivatives(model, inputs, targets, self.mistake == "softmax")
            if self.mistake == "sum":
                for p in model.parameters():
                    p.grad *= len(inputs)
            opt.step()
            apply(model, {} if self.mistake == "late" else masks)
        apply(model, masks)


def joined(batches):
    """All batches as one."""
    return tuple(torch.cat(part) for part in zip(*batches, strict=True))


TUNING_MISTAKES = {
    "late": "the masks act at the end only; they should act after each step",
    "add up": "the derivatives of the batches add up: zero_grad is missing",
    "short": "the last batch is left out",
    "one": "only the first batch is used: one step for each",
    "none": "the weights that stay have not moved",
    "again": "each batch is used twice",
    "all": "all batches in one step: one step for each",
    "fresh": "a new optimiser: the one that is given remembers the time before",
    "softmax": "a softmax before the cross-entropy, which has its own",
    "sum": "the sum of the batch's cross-entropies, not their mean",
}


@lab.check("fine_tune_masked")
def zeros_stay(student, rng):
    """after some steps with momentum, with Adam: zeros are zero, the rest has learned"""
    for kind in "SGD", "Adam":
        with case(f"{kind}, batches of 4, 4, 4 and 2, an optimiser that has made steps before"):
            masks = {"0.weight": rng.uniform(5, 7) < 0.4, "2.weight": rng.uniform(3, 5) < 0.4}
            setting = (rng.normal(58), masks, rng.normal(14, 7), rng.integers(0, 3, 14), kind)
            got = student.run(fine_tuned, *setting)
            for name, kept in masks.items():
                require(
                    bool((got[name] * kept).any()) or not bool((got[name] * ~kept).any()),
                    f"the weights of {name} that should stay are zero, and the others are not",
                    likely="the masks are the other way round: True is what stays",
                )
                moved = int((got[name] * ~kept).count_nonzero())
                require(
                    moved == 0,
                    f"{moved} pruned weights of {name} are no longer zero",
                    look="momentum moves weights without derivative: the masks must act on the weights after each step",
                )
            expect(
                got,
                fine_tuned(FineTuning(), *setting),
                mistakes={
                    text: lambda what=what, setting=setting: fine_tuned(FineTuning(what), *setting)
                    for what, text in TUNING_MISTAKES.items()
                },
                rtol=1e-3,
                atol=1e-4,
            )


# ---- 3 and 4, fewer bits


@student_side
def largest_of(bits):
    return 2 ** (bits - 1) - 1


@student_side
def scales_of(w, bits, m=None):
    m = m or largest_of(bits)
    return torch.stack([row.abs().max() / m if row.abs().max() > 0 else torch.tensor(1.0) for row in w.flatten(1)])


def along(scale, w):
    return scale.reshape(-1, *[1] * (w.dim() - 1))


def integers_of(w, bits):
    return torch.round(w / along(scales_of(w, bits), w)).to(torch.int8)


@lab.reference
def quantise_per_channel(w, bits):
    scale = scales_of(w, bits)
    return torch.stack([torch.round(row / s).to(torch.int8) for row, s in zip(w, scale, strict=True)]), scale


def quantising_mistakes(w, bits):
    m, ratio = largest_of(bits), w / along(scales_of(w, bits), w)
    wrong = {
        "one scale for the whole weight; each channel has its own": ((w.abs().max() / m).expand(len(w)), m),
        "the largest value counts with its sign: abs is missing": (w.flatten(1).amax(1) / m, m),
        "m is 2^(b−1) − 1, not 2^(b−1)": (scales_of(w, bits, m + 1), m + 1),
        "m is 2^(b−1) − 1, not 2^b − 1": (scales_of(w, bits, 2 * m + 1), 2 * m + 1),
        "m is 127, whatever `bits` says": (scales_of(w, 8), 127),
        "the mean of the absolute values, not the largest": (w.flatten(1).abs().mean(1) / m, m),
        "the standard deviation, not the largest absolute value": (
            w.flatten(1).std(1, correction=min(1, w[0].numel() - 1)) / m,
            m,
        ),
        "the length of the channel, not its largest absolute value": (w.flatten(1).norm(dim=1) / m, m),
    }
    # q comes before its scale, so a wrong scale shows in q first
    both = {
        sentence: {0: (w / along(scale, w)).round().clamp(-most, most).to(torch.int8), 1: scale}
        for sentence, (scale, most) in wrong.items()
    }
    return both | {
        "the numbers are cut off, not rounded": {0: ratio.trunc().to(torch.int8)},
        "the numbers are rounded down, not to the nearest": {0: ratio.floor().to(torch.int8)},
        "the numbers are rounded up, not to the nearest": {0: ratio.ceil().to(torch.int8)},
        "m / largest: that is one divided by the scale": {1: 1 / scales_of(w, bits)},
        "the largest absolute values themselves: the scale is 1/m of them": {1: m * scales_of(w, bits)},
        "multiplied by the scale, not divided": {
            0: (w * along(scales_of(w, bits), w)).round().clamp(-m, m).to(torch.int8)
        },
        "one scale for each column: each row, an output channel, has its own": lambda: {
            0: (w / (w.abs().amax(0) / m)).round().to(torch.int8),
            1: w.abs().amax(0) / m,
        },
        "the range goes from the smallest to the largest: it is symmetric, from −m to m": lambda: between(w, bits),
    }


def between(w, bits):
    """Quantised from the smallest number to the largest, as int8."""
    rows, low = w.flatten(1), -(2 ** (bits - 1))
    scale = (rows.amax(1) - rows.amin(1)) / (2**bits - 1)
    q = (low + (rows - rows.amin(1, keepdim=True)) / scale[:, None]).round().to(torch.int8)
    return {0: q.view_as(w), 1: scale}


@lab.check("quantise_per_channel")
def nearest_multiples(student, rng):
    """integers and scales, channel by channel"""
    for shape in (5, 7), (3, 2, 3, 5), (1, 1), (4, 11):
        for bits in 8, 4, 3, 2:
            with case(f"a weight of {' × '.join(map(str, shape))}, {bits} bits"):
                w = rng.normal(*shape)
                w = w * along(torch.tensor([1.0, 1000.0, 0.01, 1.0, 30.0])[: shape[0]], w)
                expect(
                    student.quantise_per_channel(w, bits),
                    (integers_of(w, bits), scales_of(w, bits)),
                    names=("q", "scale"),
                    mistakes=quantising_mistakes(w, bits),
                )


@lab.check("quantise_per_channel")
def errors_are_small(student, rng):
    """no error above half a scale, a symmetric range, channels of zeros"""
    for bits in 8, 4, 3, 2:
        with case(f"{bits} bits, the third channel is zero"):
            w = rng.normal(6, 40)
            w[2] = 0
            q, scale = student.quantise_per_channel(w, bits)
            m = largest_of(bits)
            expect(q[2], torch.zeros(40, dtype=torch.int8), look="0/0: a channel of zeros has scale 1")
            expect(scale[2].item(), 1.0, look="a channel of zeros has scale 1")
            require(q.min() >= -m and q.max() <= m, f"the integers should lie in −{m} … {m}")
            error = ((scale[:, None] * q - w).abs() / scale[:, None]).max().item()
            require(error <= 0.501, f"the largest error is {error:.3g} scales, it should be at most 0.5")


def integer_product(x, q, scale, bias, x_scale=None, wrap=0, cut=False):
    x_scale = x.abs().max() / 127 if x_scale is None else x_scale
    xq = (
        (torch.trunc if cut else torch.round)(x / x_scale).long() if x.any() else torch.zeros(x.shape, dtype=torch.long)
    )
    products = torch.stack([(row * q.long()).sum(1) for row in xq])
    if wrap:
        products = (products + wrap // 2) % wrap - wrap // 2
    return (products.double() * x_scale.double() * scale.double() + bias.double()).float()


def product_mistakes(x, q, scale, bias):
    w = scale[:, None] * q
    rows, columns = x.abs().amax(1, keepdim=True) / 127, x.abs().amax(0) / 127
    return {
        "x is not quantised: the products are not products of integers": x @ w.T + bias,
        "int8 overflows: multiply and add up as int32": lambda: integer_product(x, q, scale, bias, wrap=256),
        "int16 overflows: multiply and add up as int32": lambda: integer_product(x, q, scale, bias, wrap=65536),
        "x is cut off, not rounded to the nearest": lambda: integer_product(x, q, scale, bias, cut=True),
        "the scale of x is 1/127 of its largest absolute value, not 1/128": lambda: integer_product(
            x, q, scale, bias, x.abs().max() / 128
        ),
        "the largest value of x counts with its sign: abs is missing": lambda: integer_product(
            x, q, scale, bias, x.max() / 127
        ),
        "x has one scale for the whole batch, not one for each feature": lambda: (
            ((x / columns).round() * columns) @ w.T + bias
        ),
        "divided by the scales: products are multiplied by them": lambda: (
            integer_product(x, q, 1 / scale, 0 * bias) / (x.abs().max() / 127) ** 2 + bias
        ),
        "the bias is subtracted": lambda: integer_product(x, q, scale, -bias),
        "x has one scale for the whole batch, not one for each sample": lambda: (
            ((x / rows).round() * rows) @ w.T + bias
        ),
        "the scale of x is missing": lambda: integer_product(x, q, scale, 0 * bias) / (x.abs().max() / 127) + bias,
        "the scales of the channels are missing": lambda: integer_product(x, q, torch.ones_like(scale), bias),
        "the bias is missing": lambda: integer_product(x, q, scale, 0 * bias),
        "the bias comes after the scales, it must not be scaled": lambda: (
            integer_product(x, q, scale, 0 * bias) + bias * scale * x.abs().max() / 127
        ),
    }


@lab.check("int8_linear")
def integers_inside(student, rng):
    """the result, against products of integers in a loop"""
    for n, c, d in (3, 7, 5), (1, 300, 2), (4, 4, 4):
        for size in 1.0, 1000.0:
            with case(f"{n} samples, {c} → {d}, values around {size:g}"):
                x, w, bias = size * rng.normal(n, c), rng.normal(d, c), size * rng.normal(d)
                arguments = (x, integers_of(w, 8), scales_of(w, 8), bias)
                expect(
                    student.int8_linear(*arguments),
                    integer_product(*arguments),
                    rtol=1e-4,
                    atol=1e-4 * size,
                    mistakes=product_mistakes(*arguments),
                )


@lab.check("int8_linear")
def all_at_their_largest(student, rng):
    """the largest integers everywhere do not overflow, zeros give the bias"""
    with case("1000 inputs, all integers ±127", look="int8 and int16 overflow: multiply and add up as int32"):
        q, scale = torch.full((2, 1000), 127, dtype=torch.int8), torch.tensor([0.5, 2.0])
        q[1] = -127
        expect(student.int8_linear(torch.ones(1, 1000), q, scale, torch.zeros(2)), torch.tensor([[63500.0, -254000.0]]))
    with case("x is zero", look="0/0: an x of zeros has scale 1"):
        bias = rng.normal(2)
        expect(student.int8_linear(torch.zeros(3, 1000), q, scale, bias), bias.expand(3, 2))


# ---- 5 and 6, fewer operations


@student_side
def folded(student, options, weights, norm, x):
    conv, bn = nn.Conv2d(**options), nn.BatchNorm2d(options["out_channels"], eps=0.1)
    filled(conv, weights)
    bn.weight.data, bn.bias.data, bn.running_mean, bn.running_var = (part.clone() for part in norm)
    before = {f"conv.{k}": t.clone() for k, t in conv.state_dict().items()} | {
        f"bn.{k}": t for k, t in bn.state_dict().items()
    }
    bn.train()
    new = student.fold_batchnorm(conv, bn)
    after = {f"conv.{k}": t for k, t in conv.state_dict().items()} | {f"bn.{k}": t for k, t in bn.state_dict().items()}
    y, kind = new(x), type(new).__name__
    mode, bn.training = bn.training, False
    return y, bn(conv(x)), kind, before, after, new is conv, mode, new.weight, new.bias


@lab.check("fold_batchnorm")
def one_convolution(student, rng):
    """the folded convolution gives what convolution and normalisation gave"""
    for text, options in (
        ("with bias", {"in_channels": 3, "out_channels": 5, "kernel_size": (3, 2)}),
        (
            "no bias, stride 2, padding 1",
            {"in_channels": 2, "out_channels": 4, "kernel_size": 3, "bias": False, "stride": 2, "padding": 1},
        ),
        ("2 groups, dilation 2", {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "groups": 2, "dilation": 2}),
    ):
        with case(text):
            d = options["out_channels"]
            norm = [rng.normal(d), rng.normal(d), rng.normal(d), rng.uniform(d, low=0.2, high=4)]
            weights, x = rng.normal(400), rng.normal(2, options["in_channels"], 9, 8)
            y, want, kind, before, after, same, mode, w, b = student.run(folded, options, weights, norm, x)
            gamma, beta, mean, variance = norm
            conv_w, conv_b = before["conv.weight"], before.get("conv.bias", torch.zeros(d))
            root = (variance + 0.1).sqrt()
            expect(kind, "Conv2d")
            require(not same, "the convolution itself was changed, a new one should come back: copy.deepcopy")
            expect(after, before, look="the two layers must stay as they are")
            require(mode, "the batch normalisation has left training mode")
            mistakes = {
                "the root of the variance is missing": gamma / (variance + 0.1),
                "eps is missing": gamma / variance.sqrt(),
                "bn.weight is missing": 1 / root,
                "eps is added to the root, it belongs under it": gamma / (variance.sqrt() + 0.1),
                "divided by bn.weight, not multiplied": 1 / (gamma * root),
                "multiplied by the root of the variance, not divided": gamma * root,
                "the weight of the convolution is as before": torch.ones(d),
                "bn.bias instead of bn.weight": beta / root,
            }
            expect(
                w,
                conv_w * along(gamma / root, conv_w),
                mistakes={text: conv_w * along(factor, conv_w) for text, factor in mistakes.items()},
            )
            expect(
                b,
                beta + gamma / root * (conv_b - mean),
                mistakes={
                    "the old bias goes through the normalisation, too": beta + conv_b - gamma / root * mean,
                    "the old bias is missing": beta - gamma / root * mean,
                    "the mean must be divided like the weight": beta + gamma / root * conv_b - mean,
                    "the running mean is missing": beta + gamma / root * conv_b,
                    "the running mean is added, not subtracted": beta + gamma / root * (conv_b + mean),
                    "bn.bias is missing": gamma / root * (conv_b - mean),
                    "bn.bias is multiplied, too: it comes last": gamma / root * (beta + conv_b - mean),
                    "the bias is bn.bias alone": beta,
                    "eps is missing": beta + gamma / variance.sqrt() * (conv_b - mean),
                    "the root of the variance is missing": beta + gamma / (variance + 0.1) * (conv_b - mean),
                },
            )
            expect(y, want, atol=1e-4, look="stride, padding, dilation and groups are those of conv")


@student_side
class Shapes(nn.Module):
    """Layers of all kinds, one of them used twice."""

    def __init__(self, kind):
        super().__init__()
        if kind == "linear":
            self.layers = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3, bias=False))
        elif kind == "convolution":
            self.layers = nn.Sequential(nn.Conv2d(3, 5, (3, 2)), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2))
        elif kind == "stride, padding, groups":
            self.layers = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, dilation=2))
        else:
            twice = nn.Linear(6, 6)
            self.layers = nn.Sequential(twice, nn.Tanh(), twice)

    def forward(self, x):
        return self.layers(x)


@student_side
def counted(student, kind, x):
    model = Shapes(kind)
    count = student.count_flops(model, x)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return count, hooks, model.training


@lab.check("count_flops")
def multiplications_and_additions(student, rng):
    """2 for each product of a weight with a value, from the shapes"""
    for kind, shape, products, positions in (
        ("linear", (4, 7), 4 * (7 * 5 + 5 * 3), 4),
        ("linear", (2, 3, 7), 6 * (7 * 5 + 5 * 3), 6),
        ("convolution", (2, 3, 9, 8), 2 * 7 * 7 * 5 * 3 * 3 * 2, 2 * 7 * 7),
        ("stride, padding, groups", (1, 4, 10, 7), 4 * 3 * 6 * 2 * 9, 4 * 3),
        ("one layer used twice", (5, 6), 5 * 2 * 36, 10),
    ):
        with case(f"{kind}, an input of {' × '.join(map(str, shape))}"):
            x = rng.normal(*shape)
            count, hooks, training = student.run(counted, kind, x)
            channels = shape[1] if len(shape) == 4 else 1
            outputs = {"linear": 8, "convolution": 5}.get(kind, 6)
            bias_numbers = 5 if kind == "linear" else outputs
            expect(
                count,
                2 * products,
                mistakes={
                    "a multiplication and an addition count as 2": products,
                    "all samples of x count, not only one": 2 * products // shape[0],
                    "the positions of the window are missing: it stands at many": 2 * products // positions,
                    "groups are ignored: a filter sees only the channels of its group": 4 * products,
                    "the channels are missing": 2 * products // channels,
                    "a layer that is used twice counts twice": products if "twice" in kind else -1,
                    "biases count 0, here they count": 2 * products + positions * bias_numbers,
                    "the places of the window in the output count, not the places of the input": (
                        2 * products * shape[0] * shape[2] * shape[3] // positions if len(shape) == 4 else -1
                    ),
                    "each output channel counts": 2 * products // outputs if len(shape) == 4 else -1,
                    "layers inside of other modules count, too: model.modules()": 0,
                    "1 for a number of the output: each is a sum of products": (positions * outputs),
                },
            )
            require(hooks == 0, f"{hooks} hooks are still there: hook.remove()")
            require(training, "the mode of the model has changed")


# ---- 7 distillation_loss


def soft(scores, teacher, temperature):
    """T² · KL by its definition."""
    p, q = (teacher / temperature).softmax(1), (scores / temperature).log_softmax(1)
    return temperature**2 * (torch.xlogy(p, p) - p * q).sum(1).mean()


def without_logarithm(scores, teacher, temperature):
    """As F.kl_div gives it for q in the place of its logarithm."""
    p, q = (teacher / temperature).softmax(1), (scores / temperature).softmax(1)
    return temperature**2 * (torch.xlogy(p, p) - p * q).sum(1).mean()


def distilled(scores, teacher, labels, temperature, alpha):
    hard = -scores.log_softmax(1)[range(len(labels)), labels].mean()
    return alpha * hard + (1 - alpha) * soft(scores, teacher, temperature)


@lab.check("distillation_loss")
def both_terms(student, rng):
    """the loss, against its definition"""
    for n, k, temperature, alpha in (5, 4, 3.0, 0.3), (1, 7, 1.0, 0.0), (6, 3, 0.5, 1.0), (4, 10, 20.0, 0.5):
        with case(f"{n} samples, {k} classes, T = {temperature:g}, alpha = {alpha:g}"):
            s, t = 2 * rng.normal(n, k, dtype=torch.float64), 3 * rng.normal(n, k, dtype=torch.float64)
            labels = rng.integers(0, k, n)
            hard = -s.log_softmax(1)[range(n), labels].mean()
            kl, want = soft(s, t, temperature), distilled(s, t, labels, temperature, alpha)
            expect(
                student.distillation_loss(s, t, labels, temperature, alpha),
                want,
                mistakes={
                    "the factor T² is missing": alpha * hard + (1 - alpha) * kl / temperature**2,
                    "the factor is T², not T": alpha * hard + (1 - alpha) * kl / temperature,
                    "alpha and 1 − alpha are exchanged": (1 - alpha) * hard + alpha * kl,
                    "the mean is over all N · K numbers, it should be over the batch (reduction)": alpha * hard
                    + (1 - alpha) * kl / k,
                    "the divergence is the sum over the batch, not the mean": alpha * hard + (1 - alpha) * kl * n,
                    "the divergence is the other way round: the teacher's p comes first": alpha * hard
                    + (1 - alpha) * soft(t, s, temperature),
                    "the cross-entropy has no temperature": alpha
                    * -(s / temperature).log_softmax(1)[range(n), labels].mean()
                    + (1 - alpha) * kl,
                    "that is the cross-entropy with the teacher, the divergence subtracts its entropy": alpha * hard
                    - (1 - alpha)
                    * temperature**2
                    * ((t / temperature).softmax(1) * (s / temperature).log_softmax(1)).sum(1).mean(),
                    "the temperature is ignored": alpha * hard + (1 - alpha) * soft(s, t, 1.0),
                    "the temperature is ignored, T² is not": alpha * hard
                    + (1 - alpha) * temperature**2 * soft(s, t, 1.0),
                    "scores are multiplied by T, not divided": alpha * hard
                    + (1 - alpha) * temperature**4 * soft(s, t, 1 / temperature),
                    "only the teacher's scores are divided by T": alpha * hard
                    + (1 - alpha) * soft(s * temperature, t, temperature),
                    "only the student's scores are divided by T": alpha * hard
                    + (1 - alpha) * soft(s, t * temperature, temperature),
                    "the cross-entropy has no factor T²": temperature**2 * alpha * hard + (1 - alpha) * kl,
                    "divided by T², not multiplied": alpha * hard + (1 - alpha) * kl / temperature**4,
                    "1 − alpha is missing": alpha * hard + kl,
                    "alpha is missing": hard + (1 - alpha) * kl,
                    "the softmax runs over the batch, not over the classes": alpha * hard
                    + (1 - alpha) * soft(s.T, t.T, temperature) * k / n,
                    "a softmax before the cross-entropy, which has its own": alpha
                    * -s.softmax(1).log_softmax(1)[range(n), labels].mean()
                    + (1 - alpha) * kl,
                    "F.kl_div takes the logarithm of q": alpha * hard
                    + (1 - alpha) * without_logarithm(s, t, temperature),
                    "the teacher's best class, not its probabilities": alpha * hard
                    + (1 - alpha) * temperature**2 * -(s / temperature).log_softmax(1)[range(n), t.argmax(1)].mean(),
                    "squares of the differences of the scores, not the divergence": alpha * hard
                    + (1 - alpha) * (s - t).square().mean(),
                    "squares of the differences of the probabilities, not the divergence": alpha * hard
                    + (1 - alpha)
                    * temperature**2
                    * ((s / temperature).softmax(1) - (t / temperature).softmax(1)).square().sum(1).mean(),
                    "the cross-entropy is the sum over the batch, not the mean": alpha * hard * n + (1 - alpha) * kl,
                    "the divergence has the wrong sign": alpha * hard - (1 - alpha) * kl,
                },
            )


@lab.check("distillation_loss")
def large_scores(student, rng):
    """scores of ±1000 give a finite number"""
    s = torch.tensor([[1000.0, -1000.0, 0.0], [0.0, 1000.0, -1000.0]], dtype=torch.float64)
    for text, t in ("the teacher agrees", s), ("the teacher disagrees", s.flip(1)):
        with case(text, look="log(softmax) is −inf where log_softmax is −2000"):
            labels = torch.tensor([0, 1])
            expect(student.distillation_loss(s, t, labels, 2.0, 0.5), distilled(s, t, labels, 2.0, 0.5))


@student_side
def gradients(student, scores, teacher, labels, temperature, alpha):
    scores, teacher = scores.clone().requires_grad_(), teacher.clone().requires_grad_()
    student.distillation_loss(scores, teacher, labels, temperature, alpha).backward()
    return scores.grad, teacher.grad is None or not teacher.grad.any()


@lab.check("distillation_loss")
def derivative_of_the_scores(student, rng):
    """the derivative, and its limit for T → ∞: the teacher's scores are copied"""
    n, k = 5, 4
    s, t = rng.normal(n, k, dtype=torch.float64), 2 * rng.normal(n, k, dtype=torch.float64)
    labels = rng.integers(0, k, n)
    with case("T = 2, alpha = 0.4"):
        got, untouched = student.run(gradients, s, t, labels, 2.0, 0.4)
        hard = (s.softmax(1) - F.one_hot(labels, k)) / n
        expect(got, 0.4 * hard + 0.6 * 2.0 * ((s / 2).softmax(1) - (t / 2).softmax(1)) / n)
        require(untouched, "the teacher's scores get a derivative: detach is missing")
    with case("T = 10 000, alpha = 0"):
        got, _ = student.run(gradients, s, t, labels, 1e4, 0.0)
        difference = (s - s.mean(1, keepdim=True)) - (t - t.mean(1, keepdim=True))
        expect(
            got, difference / (k * n), rtol=1e-3, atol=1e-4, look="the factor T² keeps the derivative from vanishing"
        )


@student_side
def error(model, x, t):
    with torch.inference_mode():
        return 100 * model(x).argmax(1).ne(t).float().mean().item()


if __name__ == "__main__":
    sys.exit(run_checks(lab))
