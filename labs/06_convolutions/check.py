"""The checks of lab 06. Reading them is allowed and useful."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import differentiable, filled, shape_texts

lab = Lab(
    __file__,
    parts=[
        "conv2d_naive",
        "im2col",
        "conv2d_im2col",
        "conv2d_backward",
        "max_pool2d_with_grad",
        "Net",
        "train_model",
        "compute_nb_errors",
    ],
)
LIBRARY = ["conv2d", "functional.unfold"]
HERE = "it is what you are writing"
lab.forbid("conv2d_naive", names=LIBRARY, why=HERE)
lab.forbid("im2col", names=LIBRARY, why=HERE)
lab.forbid("conv2d_im2col", loops=True, names=LIBRARY, why="im2col and one matrix product do all of it")
lab.forbid("conv2d_backward", names=[*LIBRARY, "autograd"], why="the derivatives are to be written by hand")
lab.forbid("max_pool2d_with_grad", loops=True, names=["max_pool2d", "autograd"], why=HERE)
lab.forbid("train_model", names=["optim"], why="the sheet asks for steps made by hand")

# images N, C, H, W; filters D, kh, kw; stride, padding, dilation
GEOMETRIES = {
    "one image of one pixel": ((1, 1, 1, 1), (1, 1, 1), (1, 0, 1)),
    "rectangular images and filters": ((2, 3, 7, 5), (4, 3, 2), (1, 0, 1)),
    "a filter as large as the image": ((3, 2, 4, 6), (5, 4, 6), (1, 0, 1)),
    "padding 2": ((2, 1, 5, 4), (2, 3, 3), (1, 2, 1)),
    "stride 3, with pixels left over": ((2, 2, 9, 11), (3, 2, 3), (3, 0, 1)),
    "dilation 2": ((1, 3, 8, 9), (2, 3, 3), (1, 0, 2)),
    "stride 2, padding 1, dilation 3": ((2, 3, 11, 10), (4, 3, 2), (2, 1, 3)),
}


def problem(rng, images, filters, dtype=torch.float32):
    """x, w, b of the given sizes."""
    d, kh, kw = filters
    x = rng.normal(*images, dtype=dtype)
    return x, rng.normal(d, images[1], kh, kw, dtype=dtype), rng.normal(d, dtype=dtype)


@lab.reference
def im2col(x, kernel_size, stride=1, padding=0, dilation=1):
    return F.unfold(x, kernel_size, stride=stride, padding=padding, dilation=dilation)


def convolution_mistakes(x, w, b, s, p, k):
    return {
        "the filters are flipped, as in signal processing; here they are not": lambda: F.conv2d(
            x, w.flip(2, 3), b, s, p, k
        ),
        "the bias is missing": lambda: F.conv2d(x, w, None, s, p, k),
        "the padding is missing": lambda: F.conv2d(x, w, b, s, 0, k),
        "the stride is ignored": lambda: F.conv2d(x, w, b, 1, p, k),
        "the dilation is ignored": lambda: F.conv2d(x, w, b, s, p, 1),
        "stride and dilation are exchanged": lambda: F.conv2d(x, w, b, k, p, s),
        "only the first channel counts: a filter is a sum over all channels": lambda: F.conv2d(
            x[:, :1], w[:, :1], b, s, p, k
        ),
        "the border is repeated; the padding is with zeros": lambda: F.conv2d(
            F.pad(x, (p, p, p, p), "replicate"), w, b, s, 0, k
        ),
    }


def check_convolution(convolve, rng):
    for name, (images, filters, (s, p, k)) in GEOMETRIES.items():
        with case(name):
            x, w, b = problem(rng, images, filters)
            expect(
                convolve(x, w, b, s, p, k), F.conv2d(x, w, b, s, p, k), mistakes=convolution_mistakes(x, w, b, s, p, k)
            )
    with case("stride, padding and dilation not given, float64, rows and columns exchanged by transpose"):
        x, w, b = problem(rng, (2, 3, 6, 8), (3, 2, 4), torch.float64)
        x = x.transpose(2, 3)
        expect(convolve(x, w, b), F.conv2d(x, w, b))
    with case("values around ±1000"):
        x, w, b = problem(rng, (1, 2, 5, 5), (2, 3, 3))
        expect(convolve(1000 * x, w, b), F.conv2d(1000 * x, w, b), atol=1e-2)


@lab.check("conv2d_naive")
def definition(student, rng):
    """the convolution by its definition, against torch"""
    check_convolution(student.conv2d_naive, rng)


@lab.check("conv2d_naive")
def shifts(student, rng):
    """a filter with a single one only shifts the image"""
    x = rng.normal(2, 1, 6, 5)
    for i, j in (0, 0), (2, 1), (1, 2):
        with case(f"the one is in row {i}, column {j}"):
            w = torch.zeros(1, 1, 3, 3)
            w[0, 0, i, j] = 1
            expect(
                student.conv2d_naive(x, w, torch.zeros(1)),
                x[:, :, i : i + 4, j : j + 3],
                mistakes={
                    "the filters are flipped, as in signal processing; here they are not": lambda i=i, j=j: x[
                        :, :, 2 - i : 6 - i, 2 - j : 5 - j
                    ],
                    "rows and columns are exchanged": lambda i=i, j=j: x[:, :, j : j + 4, i : i + 3],
                },
            )


def column_mistakes(x, want, kh, kw, s, p, k):
    n, c = x.shape[:2]
    h, v = ((size + 2 * p - k * (side - 1) - 1) // s + 1 for size, side in zip(x.shape[2:], (kh, kw), strict=True))
    return {
        "a window has become a row, it should be a column": want.mT,
        "in a column the channels come last: it should be channel by channel": want.reshape(n, c, kh * kw, h * v)
        .transpose(1, 2)
        .reshape(want.shape),
        "in a column the pixels go downwards first: it should be row after row": want.reshape(n, c, kh, kw, h * v)
        .transpose(2, 3)
        .reshape(want.shape),
        "the windows go downwards first: they should go from left to right, then downwards": want.reshape(
            n, -1, h, v
        ).mT.reshape(want.shape),
        "the padding is missing": lambda: im2col(x, (kh, kw), s, 0, k),
        "stride and dilation are exchanged": lambda: im2col(x, (kh, kw), k, p, s),
        "the stride is ignored": lambda: im2col(x, (kh, kw), 1, p, k),
        "the dilation is ignored": lambda: im2col(x, (kh, kw), s, p, 1),
    }


@lab.check("im2col")
def columns(student, rng):
    """every window as a column, against torch"""
    for name, (images, (_, kh, kw), (s, p, k)) in GEOMETRIES.items():
        with case(name):
            x = rng.normal(*images)
            want = im2col(x, (kh, kw), s, p, k)
            expect(student.im2col(x, (kh, kw), s, p, k), want, mistakes=column_mistakes(x, want, kh, kw, s, p, k))
    with case("stride, padding and dilation not given, float64, rows and columns exchanged by transpose"):
        x = rng.normal(2, 3, 6, 8, dtype=torch.float64).transpose(2, 3)
        expect(student.im2col(x, (3, 2)), im2col(x, (3, 2)))


@lab.check("conv2d_im2col")
def product(student, rng):
    """the convolution as one matrix product, against torch"""
    check_convolution(student.conv2d_im2col, rng)


def derivatives(x, w, b, dl_dy, s, p):
    """The derivatives by autograd."""
    leaves = differentiable(x, w, b)
    return torch.autograd.grad(F.conv2d(*leaves, s, p), leaves, dl_dy)


def derivative_mistakes(x, w, b, dl_dy, s, p, want):
    kh, kw = w.shape[2:]
    around = F.pad(dl_dy, (kw - 1, kw - 1, kh - 1, kh - 1))
    return {
        "mean over the batch; the derivatives of the samples add up": [t / len(x) for t in want],
        "only the first sample of the batch": lambda: derivatives(x[:1], w, b, dl_dy[:1], s, p),
        "the filters must be flipped on the way back": {0: F.conv2d(around, w.transpose(0, 1))},
        "dl_db is an average over the positions": {2: dl_dy.mean((2, 3)).sum(0)},
        "dl_db sums over the batch only; every position adds to it": {2: dl_dy.sum(0)},
        "the padding is still around dl_dx": {0: F.pad(want[0], (p, p, p, p))},
    }


@lab.check("conv2d_backward")
def against_autograd(student, rng):
    """the three derivatives, against autograd in float64"""
    for name, (images, filters, (s, p, dilation)) in GEOMETRIES.items():
        if dilation == 1:
            with case(name):
                x, w, b = problem(rng, images, filters, torch.float64)
                dl_dy = rng.normal(*F.conv2d(x, w, b, s, p).shape, dtype=torch.float64)
                want = derivatives(x, w, b, dl_dy, s, p)
                expect(
                    student.conv2d_backward(x, w, dl_dy, s, p),
                    want,
                    names=("dl_dx", "dl_dw", "dl_db"),
                    mistakes=derivative_mistakes(x, w, b, dl_dy, s, p, want),
                )


@lab.check("conv2d_backward")
def transpose_of_the_forward_pass(student, rng):
    """⟨conv(x), y⟩ = ⟨x, dl_dx(y)⟩ = ⟨w, dl_dw(y)⟩ without bias"""
    x, w, b = problem(rng, (3, 2, 7, 6), (4, 3, 2), torch.float64)
    for s, p in (1, 0), (2, 1):
        with case(f"stride {s}, padding {p}"):
            out = F.conv2d(x, w, None, s, p)
            y = rng.normal(*out.shape, dtype=torch.float64)
            dl_dx, dl_dw, dl_db = student.conv2d_backward(x, w, y, s, p)
            for label, got, other in (("x", dl_dx, x), ("w", dl_dw, w), ("b", dl_db, b)):
                expect(got.shape == other.shape, True, look=f"dl_d{label} has not the shape of {label}")
            inner = (out * y).sum().item()
            expect((x * dl_dx).sum().item(), inner, rtol=1e-9, look="dl_dx is not the transpose of the convolution")
            expect((w * dl_dw).sum().item(), inner, rtol=1e-9, look="dl_dw is not linear in x as it should be")


def pooled(x, k, dl_dy):
    """Max-pooling and its derivative by autograd."""
    leaf = x.clone().requires_grad_()
    y = F.max_pool2d(leaf, k)
    return y.detach(), torch.autograd.grad(y, leaf, dl_dy)[0]


def pooling_mistakes(x, k, dl_dy):
    y, dl_dx = pooled(x, k, dl_dy)
    n, c, h, w = dl_dy.shape
    spread = torch.zeros_like(x)
    spread[:, :, : h * k, : w * k] = dl_dy.repeat_interleave(k, 2).repeat_interleave(k, 3)
    return {
        "the blocks are mixed: reshape alone does not bring the pixels of a block together": {
            0: x[:, :, : h * k, : w * k].reshape(n, c, h, w, -1).amax(4)
        },
        "the largest value starts from 0: pixels may be negative": {0: y.clamp(min=0)},
        "that is average-pooling": {0: F.avg_pool2d(x, k), 1: spread / k**2},
        "the block at the end that is not complete should be left out": {0: F.max_pool2d(x, k, ceil_mode=True)},
        "every pixel of a block gets the derivative, only the largest should": {1: spread},
        "the derivative is 1 at the largest pixel: multiply by dl_dy": {1: (dl_dx != 0).float()},
    }


@lab.check("max_pool2d_with_grad")
def largest_pixels(student, rng):
    """values and derivatives, against torch"""
    for text, shape, k in (
        ("blocks of 2 × 2", (2, 3, 4, 6), 2),
        ("blocks of 3 × 3, rows and columns left over", (1, 2, 8, 7), 3),
        ("blocks of one pixel", (2, 1, 3, 2), 1),
        ("one block", (1, 1, 5, 5), 5),
    ):
        for shift in 0.0, -1000.0:
            with case(f"{text}, values around {shift:g}"):
                n, c, h, w = shape
                # a permutation: all values differ, so that the largest pixel is clear
                x = (rng.permutation(n * c * h * w).reshape(shape) / 8 + shift).float()
                dl_dy = rng.normal(n, c, h // k, w // k)
                expect(
                    student.max_pool2d_with_grad(x, k, dl_dy),
                    pooled(x, k, dl_dy),
                    names=("y", "dl_dx"),
                    mistakes=pooling_mistakes(x, k, dl_dy),
                )


@lab.check("max_pool2d_with_grad")
def equal_pixels(student, rng):
    """of several equal pixels exactly one gets the derivative"""
    for text, high in ("all pixels equal", 1), ("many pixels equal", 2):
        with case(text):
            x = rng.integers(0, high, 3, 2, 4, 6).float()
            dl_dy = rng.uniform(*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2, low=1, high=2)
            y, dl_dx = student.max_pool2d_with_grad(x, 2, dl_dy)
            expect(y, F.max_pool2d(x, 2))
            expect(dl_dx.shape == x.shape, True, look="dl_dx has not the shape of x")
            largest = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
            require(not dl_dx[x != largest].any(), "a pixel that is not the largest of its block has a derivative")
            receivers = 4 * F.avg_pool2d((dl_dx != 0).float(), 2)
            require(
                receivers.eq(1).all(),
                "not exactly one pixel of each block has a derivative",
                likely="it goes to every pixel that equals the largest, it should go to one of them",
            )
            expect(4 * F.avg_pool2d(dl_dx, 2), dl_dy, look="what goes in at a block must come out of it")


@student_side
def sizes_of(student, *nb_hidden):
    model = student.Net(*nb_hidden)
    return shape_texts(dict(model.named_parameters()))


@student_side
def scores_of(student, nb_hidden, weights, x):
    model = student.Net(nb_hidden)
    model.load_state_dict(weights)
    return model(x)


def shapes(nb_hidden):
    return {
        "conv1.weight": (32, 1, 5, 5),
        "conv1.bias": (32,),
        "conv2.weight": (64, 32, 5, 5),
        "conv2.bias": (64,),
        "fc1.weight": (nb_hidden, 256),
        "fc1.bias": (nb_hidden,),
        "fc2.weight": (10, nb_hidden),
        "fc2.bias": (10,),
    }


@lab.check("Net")
def layers(student, rng):
    """four layers with the sizes of the table"""
    for arguments in (), (7,):
        with case(f"Net({', '.join(map(str, arguments))})"):
            nb_hidden = arguments[0] if arguments else 200
            want = {name: "×".join(map(str, shape)) for name, shape in shapes(nb_hidden).items()}
            expect(
                student.run(sizes_of, *arguments),
                want,
                look="the sizes follow from the table; nb_hidden is the width between fc1 and fc2",
            )


def forward(weights, x, pools=(3, 2), relus=(1, 1, 1)):
    """The scores by the table, or by a table with a mistake in it."""
    rectify = [F.relu if wanted else (lambda t: t) for wanted in relus]
    for layer, k, f in zip(("conv1", "conv2"), pools, rectify[:2], strict=True):
        x = f(F.max_pool2d(F.conv2d(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"]), k))
    x = rectify[2](F.linear(x.flatten(1), weights["fc1.weight"], weights["fc1.bias"]))
    return F.linear(x, weights["fc2.weight"], weights["fc2.bias"])


def score_mistakes(weights, x):
    want = forward(weights, x)
    return {
        "the two poolings are exchanged: 3 × 3 comes first": forward(weights, x, pools=(2, 3)),
        "the ReLU after fc1 is missing": forward(weights, x, relus=(1, 1, 0)),
        "the ReLU after conv1 is missing": forward(weights, x, relus=(0, 1, 1)),
        "the ReLU after conv2 is missing": forward(weights, x, relus=(1, 0, 1)),
        "there is a ReLU on the scores": want.relu(),
        "there is a softmax at the end: the loss brings its own": want.softmax(1),
        "there is a log-softmax at the end: the loss brings its own": want.log_softmax(1),
    }


@lab.check("Net")
def scores(student, rng):
    """the scores, with weights of ours"""
    weights = {name: rng.normal(*shape) / max(1, shape[-1]) for name, shape in shapes(11).items()}
    for n in 5, 1:
        with case(f"{n} images" if n > 1 else "one image"):
            x = rng.normal(n, 1, 28, 28)
            expect(
                student.run(scores_of, 11, weights, x),
                forward(weights, x),
                rtol=1e-3,
                atol=1e-3,
                mistakes=score_mistakes(weights, x),
            )


@student_side
def little_model(weights):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    filled(model, weights)
    return model


@student_side
def trained(student, weights, loss, *arguments):
    model = little_model(weights)
    student.train_model(model, getattr(nn, loss)(), *arguments)
    return parameters_to_vector(model.parameters())


def descend(weights, loss, x, t, size, epochs, lr=0.1, add_up=False, keep=True, once=False):
    """The weights after training: the specification, or one of the usual mistakes."""
    model, criterion = little_model(weights), getattr(nn, loss)()
    parameters, total = list(model.parameters()), [0.0] * 4
    for _ in range(epochs):
        used = [n for n in range(0, len(x), size) if keep or n + size <= len(x)]
        for n in used:
            found = torch.autograd.grad(criterion(model(x[n : n + size]), t[n : n + size]), parameters)
            total = [old + new for old, new in zip(total, found, strict=True)] if add_up or (once and n) else found
            if not once or n == used[-1]:
                for p, g in zip(parameters, total, strict=True):
                    p.data -= lr * g
    return parameters_to_vector(parameters).detach()


@lab.check("train_model")
def steps(student, rng):
    """the weights after some epochs, against steps written out"""
    for text, loss, n, size, epochs, rest in (
        ("one batch, one epoch", "MSELoss", 6, 6, 1, ()),
        ("a short last batch, lr = 0.3", "MSELoss", 23, 5, 3, (0.3,)),
        ("cross-entropy, the last batch has one sample", "CrossEntropyLoss", 17, 4, 2, (0.05,)),
        ("a batch larger than the set", "CrossEntropyLoss", 7, 100, 4, ()),
    ):
        with case(text):
            weights = rng.normal(26, dtype=torch.float64)
            x = rng.normal(n, 3, dtype=torch.float64)
            t = rng.normal(n, 2, dtype=torch.float64) if loss == "MSELoss" else rng.integers(0, 2, n)
            setting = (weights, loss, x, t, size, epochs, *rest)
            got = student.run(trained, *setting)
            expect(
                got,
                descend(*setting),
                mistakes={
                    "nothing has changed: are the steps made on copies of the parameters?": weights,
                    "the derivatives of all batches add up: zero_grad is missing": lambda s=setting: descend(
                        *s, add_up=True
                    ),
                    "the short batch at the end is left out": lambda s=setting: descend(*s, keep=False),
                    "there is one step for each epoch, not for each batch": lambda s=setting: descend(*s, once=True),
                    "there is one epoch, whatever nb_epochs says": lambda s=setting: descend(*s[:5], 1, *s[6:]),
                    "lr is ignored": lambda s=setting: descend(*s[:6]),
                    "the steps go uphill": lambda s=setting: descend(*s[:6], -(s[6] if len(s) > 6 else 0.1)),
                },
            )


@student_side
class Watched(nn.Linear):
    """A linear model that notes what comes in."""

    def forward(self, x):
        self.seen.append([len(x), torch.is_grad_enabled()])
        return super().forward(x)


@student_side
def errors_of(student, weight, x, t, size):
    model = Watched(weight.shape[1], weight.shape[0], bias=False)
    model.weight.data, model.seen = weight.clone(), []
    return student.compute_nb_errors(model, x, t, size), model.seen


@lab.check("compute_nb_errors")
def every_sample_counts(student, rng):
    """the number of errors, with any size of batch"""
    short = "the last batch may have fewer than mini_batch_size samples"
    for n, size, likely in (6, 3, None), (1, 1, None), (105, 100, short), (20, 7, short), (3, 50, short):
        with case(f"{n} samples in batches of {size}", likely):
            weight, x = rng.normal(4, 5), rng.normal(n, 5)
            right = (x @ weight.T).argmax(1)
            wrong = rng.permutation(n) < (n + 1) // 2
            wrong[-1] = True
            t = torch.where(wrong, (right + 1) % 4, right)
            full = n - n % size
            count, seen = student.run(errors_of, weight, x, t, size)
            expect(
                count,
                int(wrong.sum()),
                mistakes={
                    "the short batch at the end is left out": int(wrong[:full].sum()),
                    "that is the number of right answers": int((~wrong).sum()),
                    "only the first batch counts": int(wrong[:size].sum()),
                    "only the last batch counts": int(wrong[full - size if full == n else full :].sum()),
                },
            )
            require(max(length for length, _ in seen) <= size, f"more than {size} samples go through the model at once")
            require(sum(length for length, _ in seen) == n, "not every sample goes through the model exactly once")
            require(
                not any(recorded for _, recorded in seen),
                "the model's work is recorded for autograd",
                likely="torch.no_grad() is missing",
            )


if __name__ == "__main__":
    sys.exit(run_checks(lab))
