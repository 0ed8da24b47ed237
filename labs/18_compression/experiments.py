"""The experiments of lab 18: what can be measured and seen once its parts work."""

import contextlib
import os
import tempfile
import time

import torch
from check import error, lab
from checking import progress, student_side
from checking.kit import digit_model, loaded, mosaic
from torch import nn
from torch.nn import functional as F

BLOCK = "norm relu pool"  # behind each convolution of the network for digits


@student_side
def train(student, x, t):
    """Three epochs, the last with a smaller step."""
    model = digit_model(BLOCK)
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for n in progress(range(3 * len(x) // 100), "training"):
        opt.param_groups[0]["lr"] = 0.05 if n < 2 * len(x) // 100 else 0.01
        here = slice(100 * n % len(x), 100 * n % len(x) + 100)
        opt.zero_grad()
        F.cross_entropy(model(x[here]), t[here]).backward()
        opt.step()
    return model.state_dict()


_trained = {}


def trained(student, data):
    """A network that saw 6000 digits three times, the same for all targets; the digits; 1000 digits to test it."""
    train_x, train_t, x, t = data.mnist(full=True, normalize=True, flatten=False)
    if not _trained:
        _trained.update(student.run(train, train_x[:6000], train_t[:6000]))
    return _trained, (train_x[:6000], train_t[:6000]), (x[:1000], t[:1000])


@student_side
def pruning_curve(student, weights, train_set, test_set, sparsities):
    before, after, layers = [], [], {}
    for sparsity in progress(sparsities, "pruning"):
        model = loaded(digit_model(BLOCK), weights)
        masks = student.magnitude_prune(model, sparsity)
        before.append(error(model, *test_set))
        opt = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        batches = list(zip(train_set[0].split(100), train_set[1].split(100), strict=True))
        student.fine_tune_masked(model.train(), masks, opt, batches)
        after.append(error(model.eval(), *test_set))
        layers[sparsity] = model[4].weight.clone()
    return before, after, layers


@lab.experiment("magnitude_prune", "fine_tune_masked", seconds=14)
def fewer_weights(student, metrics, data, rng):
    """weights set to zero, before and after an epoch of fine-tuning"""
    weights, train_set, test_set = trained(student, data)
    sparsities = [0.0, 0.5, 0.8, 0.9, 0.95, 0.98]
    before, after, layers = student.run(pruning_curve, weights, train_set, test_set, sparsities)
    metrics.seen("test error, all weights", before[0], unit="%")
    metrics.seen("test error, 90 % pruned", before[3], unit="%")
    metrics.at_most("test error, 90 % pruned, then fine-tuned", after[3], before[0] + 2, unit="%")
    metrics.at_least("test error, 98 % pruned", before[5], 25, unit="%")
    with metrics.picture("pruning.png", size=(12, 3.6)) as figure:
        axes, *others = figure.subplots(1, 4, width_ratios=[1.2, 1, 1, 1])
        remaining = [100 * (1 - sparsity) for sparsity in sparsities]
        axes.plot(remaining, before, "-o", label="pruned")
        axes.plot(remaining, after, "--s", label="and fine-tuned")
        axes.set(xscale="log", xlabel="weights that stay / %", ylabel="test error / %", ylim=(0, None))
        axes.set_xticks(remaining, [f"{share:.0f}" for share in remaining])
        axes.minorticks_off()
        axes.invert_xaxis()
        axes.legend()
        for axes, sparsity in zip(others, (0.0, 0.9, 0.98), strict=True):
            part = layers[sparsity][:9, :9]
            high = part.abs().max().item() + 1e-9
            axes.imshow(mosaic(part.flatten(0, 1), part.shape[1]), cmap="gray", vmin=-high, vmax=high)
            axes.set_title(f"{100 * (1 - sparsity):.0f} % stay (81 filters of conv 2)", fontsize=9)
            axes.text(0.5, -0.02, "black: negative, grey: 0, white: positive", size=8, ha="center", va="top",
                      transform=axes.transAxes)  # fmt: skip
            axes.axis("off")


@student_side
def bits_curve(student, weights, test_set, bits):
    """Errors with weights of few bits, the first filters; the error with both linear layers in integers."""
    errors, filters = [], []
    for b in progress(bits, "quantising"):
        model = loaded(digit_model(BLOCK), weights)
        for p in model.parameters():
            if p.dim() > 1:
                q, scale = student.quantise_per_channel(p.detach(), b)
                p.data = q * scale.reshape(-1, *[1] * (p.dim() - 1))
        errors.append(error(model, *test_set))
        filters.append(model[0].weight[:, 0].clone())
    model = loaded(digit_model(BLOCK), weights)

    def linear(layer, x):
        return student.int8_linear(x, *student.quantise_per_channel(layer.weight.detach(), 8), layer.bias.detach())

    with torch.inference_mode():
        scores = linear(model[11], linear(model[9], model[:9](test_set[0])).relu())
    integers = 100 * scores.argmax(1).ne(test_set[1]).float().mean().item()
    return errors, filters, integers, error(model, *test_set), model[0].weight[:, 0]


@lab.experiment("quantise_per_channel", "int8_linear", seconds=8)
def fewer_bits(student, metrics, data, rng):
    """weights of 8 to 2 bits"""
    weights, _, test_set = trained(student, data)
    bits = [8, 6, 5, 4, 3, 2]
    errors, filters, integers, plain, original = student.run(bits_curve, weights, test_set, bits)
    metrics.seen("test error, 32 bits", plain, unit="%")
    metrics.at_most("test error, 8 bits", errors[0], plain + 1, unit="%")
    metrics.at_most("test error, linear layers in integers", integers, plain + 1, unit="%")
    metrics.at_most("test error, 4 bits", errors[3], plain + 1.5, unit="%")
    metrics.at_least("test error, 2 bits", errors[5], plain + 4, unit="%")
    with metrics.picture("bits.png", size=(11, 3.2)) as figure:
        axes, picture = figure.subplots(1, 2, width_ratios=[1, 2.4])
        axes.plot(bits, errors, marker="o", label="all weights")
        axes.axhline(plain, color="gray", linewidth=0.8, linestyle=":", label="32 bits")
        axes.set(xlabel="bits for a weight", ylabel="test error / %", ylim=(0, None))
        axes.legend()
        shown = {"32": original, "8": filters[0], "4": filters[3], "3": filters[4], "2": filters[5]}
        high = original.abs().max().item()
        table = torch.stack(list(shown.values()))
        picture.imshow(mosaic(table.flatten(0, 1), table.shape[1]), cmap="gray", vmin=-high, vmax=high)
        picture.set_yticks([6 * n + 2 for n in range(len(shown))], [f"{b} bits" for b in shown])
        picture.set_xticks([])
        picture.grid(False)
        picture.spines[:].set_visible(False)
        picture.set_title("the 16 filters of the first convolution (black: negative, white: positive)")


@student_side
def fold_all(student, model):
    """Every convolution with the batch normalisation behind it as one."""
    layers = list(model)
    for n, layer in reversed(list(enumerate(layers))):
        if isinstance(layer, nn.BatchNorm2d):
            layers[n - 1 : n + 1] = [student.fold_batchnorm(layers[n - 1], layer)]
    return nn.Sequential(*layers).eval()


@student_side
def times(student, weights, x, sizes):
    """Seconds of computing for an image, with and without folding; the largest difference; operations for an image."""
    model = loaded(digit_model(BLOCK), weights)
    models = [model, fold_all(student, model)]
    found = [[], []]
    with torch.inference_mode():
        for size in progress(sizes, "timing"):
            for which, one in enumerate(models):
                best, batches = float("inf"), x[: max(size, 64)].split(size)
                for _ in range(5):
                    start = time.thread_time()
                    for batch in batches:
                        one(batch)
                    best = min(best, (time.thread_time() - start) / max(size, 64))
                found[which].append(best)
        difference = (models[0](x) - models[1](x)).abs().max().item()
    return found, difference, student.count_flops(model, x[:1])


@lab.experiment("fold_batchnorm", "count_flops", seconds=7)
def faster(student, metrics, data, rng):
    """milliseconds for an image: many at once, batch normalisation folded"""
    weights, _, (x, _) = trained(student, data)
    sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    (plain, folded_), difference, operations = student.run(times, weights, x[:256], sizes)
    metrics.seen("operations for one image", operations / 1e6, unit="million")
    metrics.seen("one at a time", 1e3 * plain[0], unit="ms")
    metrics.seen("one at a time, folded", 1e3 * folded_[0], unit="ms")
    metrics.seen("at the best size, folded", 1e3 * min(folded_), unit="ms")
    metrics.seen("operations in a second, at the best size, folded", operations / min(folded_) / 1e9, unit="billion")
    metrics.at_least("times faster: best size, folded, to one at a time", plain[0] / min(folded_), 1.7)
    metrics.at_most("largest difference of a score through folding", difference, 1e-3)
    with metrics.picture("speed.png", size=(6, 3.4)) as figure:
        axes = figure.subplots()
        axes.semilogx(sizes, [1e3 * s for s in plain], "-o", label="as trained")
        axes.semilogx(sizes, [1e3 * s for s in folded_], "--s", label="batch normalisation folded")
        axes.set(xlabel="images at once", ylabel="ms for one image", ylim=(0, None))
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
        axes.legend()


@student_side
def students(student, weights, train_set, test_set, ways):
    """The error of a small network for each way to teach it: the mean of two."""
    x, t = train_set
    with torch.inference_mode():
        teacher = loaded(digit_model(BLOCK), weights)(x)
    teacher = teacher.clone()
    errors = {}
    for way, seed in progress([(way, seed) for way in ways for seed in range(2)], "distilling"):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10))
        opt = torch.optim.Adam(model.parameters(), lr=2e-3)
        for n in range(1500):
            here = slice(100 * n % len(x), 100 * n % len(x) + 100)
            opt.zero_grad()
            student.distillation_loss(model(x[here]), teacher[here], t[here], *ways[way]).backward()
            opt.step()
        errors[way] = errors.get(way, 0.0) + error(model, *test_set) / 2
    return errors


@lab.experiment("distillation_loss", seconds=15)
def a_small_student(student, metrics, data, rng):
    """30 hidden units, taught by labels or by the network, 6000 images"""
    weights, train_set, test_set = trained(student, data)
    ways = {
        "labels": (1.0, 1.0),
        "the teacher's answers, T = 1": (1.0, 0.0),
        "the teacher's answers, T = 3": (3.0, 0.0),
    }
    errors = student.run(students, weights, train_set, test_set, ways)
    metrics.at_most("test error, taught by labels", errors["labels"], 13, unit="%")
    metrics.seen("test error, the teacher's answers, T = 1", errors["the teacher's answers, T = 1"], unit="%")
    softer = errors["the teacher's answers, T = 3"]
    metrics.at_most("test error, the teacher's answers, T = 3", softer, 10.5, unit="%")
    metrics.seen("points gained without a label", errors["labels"] - softer)


@student_side
def latency(student, weights, x, t):
    """Milliseconds on the GPU for each variant and size; how often the answers are those of 32 bits."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.mkdtemp())
    model = loaded(digit_model(BLOCK), weights).cuda()
    folded_ = fold_all(student, model)
    variants = {"32 bits": (model, torch.float32), "32 bits, folded": (folded_, torch.float32)}
    variants["16 bits, folded"] = fold_all(student, loaded(digit_model(BLOCK), weights).cuda()).half(), torch.float16
    with contextlib.suppress(Exception):  # torch.compile needs a C compiler, which not every machine has
        compiled = torch.compile(folded_)
        with torch.inference_mode():
            compiled(x[:1].cuda()), compiled(x.cuda())
        variants["compiled"] = compiled, torch.float32

    def milliseconds(work, repeats):
        for _ in range(3):
            work()
        torch.cuda.synchronize()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(repeats):
            work()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / repeats

    found, agree = {}, {}
    with torch.inference_mode():
        reference = model(x.cuda()).argmax(1)
        for name, (one, dtype) in progress(list(variants.items()), "timing"):
            for size in 1, 1000:
                batch = x[:size].cuda().to(dtype)
                found[f"{name}, {size} at once"] = milliseconds(lambda one=one, batch=batch: one(batch), 50)
            agree[name] = 100 * (one(x.cuda().to(dtype)).argmax(1) == reference).float().mean().item()
        static, stream = x[:1].cuda().clone(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # a graph is captured on another stream, after a first run there
            for _ in range(3):
                folded_(static)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = folded_(static)
        found["CUDA graph, 1 at once"] = milliseconds(graph.replay, 50)
        static.copy_(x[1:2].cuda())
        graph.replay()
        torch.cuda.synchronize()
        difference = (captured - folded_(x[1:2].cuda())).abs().max().item()
    return found, agree, difference, torch.cuda.get_device_name()


@lab.gpu("fold_batchnorm", seconds=60)
def latency_on_gpu(student, metrics, data, rng):
    """milliseconds on a GPU: 32 and 16 bits, folded, compiled, as a CUDA graph"""
    weights, _, test_set = trained(student, data)
    found, agree, difference, device = student.run(latency, weights, *test_set)
    for name, milliseconds in found.items():
        metrics.seen(f"{name} ({device})" if name == "32 bits, 1 at once" else name, milliseconds, unit="ms")
    for name, share in agree.items():
        metrics.at_least(f"the same answers, {name}", share, 99, unit="%")
    metrics.at_most("largest difference of a score, CUDA graph", difference, 1e-2)
    metrics.at_least(
        "times faster: CUDA graph, 1 at once", found["32 bits, 1 at once"] / found["CUDA graph, 1 at once"], 1.3
    )
