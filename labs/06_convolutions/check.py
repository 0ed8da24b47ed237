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
LIBRARY = ["conv2d", "nn.Conv2d", "functional.unfold", "nn.Unfold"]
HERE = "it is what you are writing"
lab.forbid("conv2d_naive", names=LIBRARY, why=HERE)
lab.forbid("im2col", names=LIBRARY, why=HERE)
lab.forbid("conv2d_im2col", loops=True, names=LIBRARY, why="im2col and one matrix product do all of it")
lab.forbid("conv2d_backward", names=[*LIBRARY, "autograd"], why="the derivatives are to be written by hand")
lab.forbid("max_pool2d_with_grad", loops=True, names=["max_pool2d", "nn.MaxPool2d", "autograd"], why=HERE)
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
    plain, bias = F.conv2d(x, w, None, s, p, k), b[:, None, None]
    return {
        "the sum over a window has become a mean": plain / w[0].numel() + bias,
        "the bias is added once for each channel, once is enough": plain + w.shape[1] * bias,
        "the bias is added once for each pixel of the filter, once is enough": plain + w[0].numel() * bias,
        "the bias is subtracted": plain - bias,
        "all padding is above and to the left": lambda: F.conv2d(F.pad(x, (2 * p, 0, 2 * p, 0)), w, b, s, 0, k),
        "all padding is below and to the right": lambda: F.conv2d(F.pad(x, (0, 2 * p, 0, 2 * p)), w, b, s, 0, k),
        "the stride counts for the rows only": lambda: F.conv2d(x, w, b, (s, 1), p, k)[..., : plain.shape[3]],
        "the stride counts for the columns only": lambda: F.conv2d(x, w, b, (1, s), p, k)[:, :, : plain.shape[2]],
        "the windows move on by one pixel: the stride is ignored": lambda: F.conv2d(x, w, b, 1, p, k)[
            :, :, : plain.shape[2], : plain.shape[3]
        ],
        "the windows have no gaps: the dilation is ignored": lambda: F.conv2d(x, w, b, s, p, 1)[
            :, :, : plain.shape[2], : plain.shape[3]
        ],
        "the last window of each row and of each column is left out": (plain + bias)[:, :, :-1, :-1],
        "rows and columns of the filters are exchanged": lambda: F.conv2d(x, w.mT, b, s, p, k),
        "the channels are not added up": lambda: sum_over_pixels(x, w, s, p, k),
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


def sum_over_pixels(x, w, s, p, k):
    """Each channel by itself, N × D × C × h × v."""
    alone = [F.conv2d(x[:, c : c + 1], w[:, c : c + 1], None, s, p, k) for c in range(x.shape[1])]
    return torch.stack(alone, 2)


def check_convolution(convolve, rng):
    for name, (images, filters, (s, p, k)) in GEOMETRIES.items():
        with case(name):
            x, w, b = problem(rng, images, filters)
            got = convolve(x, w, b, s, p, k)
            expect(got, F.conv2d(x, w, b, s, p, k), mistakes=convolution_mistakes(x, w, b, s, p, k))
            require(got.dtype == x.dtype, f"the result should have x's type, float32; it has {str(got.dtype)[6:]}")
    with case("stride, padding and dilation not given, float64, rows and columns exchanged by transpose"):
        x, w, b = problem(rng, (2, 3, 6, 8), (3, 2, 4), torch.float64)
        x = x.transpose(2, 3)
        expect(convolve(x, w, b), F.conv2d(x, w, b), mistakes=convolution_mistakes(x, w, b, 1, 0, 1))
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
    pixels = want.reshape(n, c, kh * kw, -1)
    h, v = ((size + 2 * p - k * (side - 1) - 1) // s + 1 for size, side in zip(x.shape[2:], (kh, kw), strict=True))
    return {
        "the pixels of a window are in reversed order": pixels.flip(2).reshape(want.shape),
        "the images are side by side in one matrix, each should have its own": want.transpose(0, 1).flatten(1),
        "the last window of each row and of each column is left out": want.reshape(n, -1, h, v)[..., :-1, :-1].flatten(
            2
        ),
        "all padding is above and to the left": lambda: im2col(F.pad(x, (2 * p, 0, 2 * p, 0)), (kh, kw), s, 0, k),
        "all padding is below and to the right": lambda: im2col(F.pad(x, (0, 2 * p, 0, 2 * p)), (kh, kw), s, 0, k),
        "the border is repeated; the padding is with zeros": lambda: im2col(
            F.pad(x, (p, p, p, p), "replicate"), (kh, kw), s, 0, k
        ),
        "the height and the width of a window are exchanged": lambda: im2col(x, (kw, kh), s, p, k),
        "L should be one dimension: all windows of an image, one after the other": want.reshape(n, -1, h, v),
        "the channels of a window are added up, each has its own pixels": pixels.sum(1),
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
            got = student.im2col(x, (kh, kw), s, p, k)
            expect(got, want, mistakes=column_mistakes(x, want, kh, kw, s, p, k))
            require(got.dtype == x.dtype, f"the result should have x's type, float32; it has {str(got.dtype)[6:]}")
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
    rest = [(x.shape[n] + 2 * p - w.shape[n]) % s for n in (2, 3)]
    flat, columns = dl_dy.flatten(2), im2col(x, tuple(w.shape[2:]), s, p)
    return {
        "the order should be dl_dx, dl_dw, dl_db": [want[1], want[0], want[2]],
        "dl_dx holds only the last window that sees a pixel, it should add up all of them": lambda: {
            0: overwritten(x, w, dl_dy, s, p)
        },
        "dl_dx is made from one window for each pixel, it should add up all of them": lambda: {
            0: want[0] / F.fold(torch.ones_like(columns), x.shape[2:], w.shape[2:], padding=p, stride=s)
        },
        "dl_dw is flipped": {1: want[1].flip(2, 3)},
        "dl_dw is an average over the positions": {1: want[1] / flat.shape[2]},
        "dl_dw is a mean over the batch, the samples add up": {1: want[1] / len(x)},
        "dl_db is a mean over the batch, the samples add up": {2: want[2] / len(x)},
        "dl_dw of each sample by itself: the samples add up": lambda: {
            1: torch.einsum("ndl,nkl->ndk", flat, columns).reshape(len(x), *w.shape)
        },
        "dl_dw has not yet the shape of w": {1: want[1].flatten(1)},
        "dl_db of each sample by itself: the samples add up": {2: flat.sum(2)},
        "dl_db adds up the filters, too; each has its own": {2: dl_dy.sum()},
        "the columns' derivatives are not yet an image: F.fold adds them up": {0: w.flatten(1).T @ flat},
        "mean over the batch; the derivatives of the samples add up": [t / len(x) for t in want],
        "only the first sample of the batch": lambda: derivatives(x[:1], w, b, dl_dy[:1], s, p),
        "dl_dx is made with flipped filters": lambda: {
            0: F.conv_transpose2d(dl_dy, w.flip(2, 3), stride=s, padding=p, output_padding=rest)
        },
        "dl_db is an average over the positions": {2: dl_dy.mean((2, 3)).sum(0)},
        "dl_db sums over the batch only; every position adds to it": {2: dl_dy.sum(0)},
        "the padding is still around dl_dx": {0: F.pad(want[0], (p, p, p, p))},
    }


def overwritten(x, w, dl_dy, s, p):
    """dl_dx by a loop over the windows that forgets to add."""
    kh, kw = w.shape[2:]
    found = torch.zeros_like(F.pad(x, (p, p, p, p)))
    for i in range(dl_dy.shape[2]):
        for j in range(dl_dy.shape[3]):
            here = torch.einsum("nd,dcij->ncij", dl_dy[:, :, i, j], w)
            found[:, :, i * s : i * s + kh, j * s : j * s + kw] = here
    return found[:, :, p : p + x.shape[2], p : p + x.shape[3]]


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
    with case("stride and padding not given, float32"):
        x, w, b = problem(rng, (2, 3, 7, 5), (4, 3, 2))
        dl_dy = rng.normal(*F.conv2d(x, w, b).shape)
        want = derivatives(x, w, b, dl_dy, 1, 0)
        expect(
            student.conv2d_backward(x, w, dl_dy),
            want,
            names=("dl_dx", "dl_dw", "dl_db"),
            atol=1e-4,
            mistakes=derivative_mistakes(x, w, b, dl_dy, 1, 0, want),
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
    inside = (n, c, h * k, w * k)

    def grown(t):
        found = torch.zeros_like(x)
        found[:, :, : h * k, : w * k] = t
        return found

    def large(t):
        return t.repeat_interleave(k, 2).repeat_interleave(k, 3)

    spread = grown(large(dl_dy))
    corner = grown(
        F.conv_transpose2d(
            dl_dy, F.one_hot(torch.tensor(0), k * k).float().reshape(1, 1, k, k).expand(c, 1, k, k), stride=k, groups=c
        )
    )
    inner = dl_dx[:, :, : h * k, : w * k].reshape(n, c, h, k, w, k)
    return {
        "that is the smallest pixel of each block": {0: -F.max_pool2d(-x, k), 1: pooled(-x, k, dl_dy)[1]},
        "that is the sum of each block": {0: k * k * F.avg_pool2d(x, k)},
        "the blocks overlap, they should stand side by side": lambda: (F.max_pool2d(x, k, 1), dl_dx),
        "the order should be y, dl_dx": (dl_dx, y),
        "the derivative goes to the first pixel of each block, it belongs to the largest": {1: corner},
        "rows and columns within a block are exchanged on the way back": lambda: {
            1: grown(inner.transpose(3, 5).reshape(inside))
        },
        "on the way back the blocks are mixed: reshape alone does not bring pixels to their places": lambda: {
            1: grown(inner.transpose(3, 4).reshape(inside))
        },
        "dl_dx is multiplied with the largest value; only dl_dy belongs there": lambda: {1: dl_dx * grown(large(y))},
        "dl_dx is multiplied with x; only dl_dy belongs there": {1: dl_dx * x},
        "dl_dx lacks the rows and columns left over: it has the shape of x": {1: inner.reshape(inside)},
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
    return model(x), torch.equal(model(x), model(x))


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
                mistakes={
                    "nb_hidden is ignored": {name: "×".join(map(str, shape)) for name, shape in shapes(200).items()}
                },
                look="the sizes follow from the table; nb_hidden is the width between fc1 and fc2",
            )


def forward(weights, x, pools=(3, 2), relus=(1, 1, 1), pool=F.max_pool2d, relu=F.relu):
    """The scores by the table, or by a table with a mistake in it."""
    rectify = [relu if wanted else (lambda t: t) for wanted in relus]
    for layer, k, f in zip(("conv1", "conv2"), pools, rectify[:2], strict=True):
        x = f(pool(F.conv2d(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"]), k))
    x = rectify[2](F.linear(x.flatten(1), weights["fc1.weight"], weights["fc1.bias"]))
    return F.linear(x, weights["fc2.weight"], weights["fc2.bias"])


def score_mistakes(weights, x):
    want = forward(weights, x)
    return {
        "the two poolings are exchanged: 3 × 3 comes first": forward(weights, x, pools=(2, 3)),
        "the ReLU after fc1 is missing": forward(weights, x, relus=(1, 1, 0)),
        "the ReLU after conv1 is missing": forward(weights, x, relus=(0, 1, 1)),
        "the ReLU after conv2 is missing": forward(weights, x, relus=(1, 0, 1)),
        "no ReLU is there at all": forward(weights, x, relus=(0, 0, 0)),
        "the ReLU after both poolings is missing": forward(weights, x, relus=(0, 0, 1)),
        "only the first ReLU is there": forward(weights, x, relus=(1, 0, 0)),
        "only the second ReLU is there": forward(weights, x, relus=(0, 1, 0)),
        "the first pooling is an average": lambda: forward(
            weights, x, pool=lambda t, k: F.avg_pool2d(t, k) if k == 3 else F.max_pool2d(t, k)
        ),
        "that is average-pooling": lambda: forward(weights, x, pool=F.avg_pool2d),
        "average-pooling comes after the ReLU; it should be max-pooling": lambda: forward(
            weights, x, pool=lambda t, k: F.avg_pool2d(t.relu(), k)
        ),
        "that is tanh, not ReLU": lambda: forward(weights, x, relu=torch.tanh),
        "that is the sigmoid, not ReLU": lambda: forward(weights, x, relu=torch.sigmoid),
        "a batch of one image has lost its dimension": lambda: want.squeeze(0),
        "there is a softmax at the end, and it runs over the images": lambda: want.softmax(0),
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
            got, same = student.run(scores_of, 11, weights, x)
            require(
                same,
                "two calls with the same images give different scores; the table has nothing random",
                likely="there is a dropout, or another layer with random numbers",
            )
            expect(
                got,
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


def descend(
    weights,
    loss,
    x,
    t,
    size,
    epochs,
    lr=0.1,
    add_up=False,
    keep=True,
    once=False,
    fresh=False,
    which=None,
    moved=lambda p: True,
):
    """The weights after training: the specification, or one of the usual mistakes.

    add_up: the derivatives are never set to zero; with fresh, only when an epoch begins. keep: the short batch, too.
    once: one step for each epoch. which: the batches of an epoch that count. moved: which parameters move.
    """
    model, criterion = little_model(weights), getattr(nn, loss)()
    parameters, total = list(model.parameters()), [0.0] * 4
    for _ in range(epochs):
        total = [0.0] * 4 if fresh else total
        used = [n for n in range(0, len(x), size) if keep or n + size <= len(x)]
        for n in used[which or slice(None)]:
            found = torch.autograd.grad(criterion(model(x[n : n + size]), t[n : n + size]), parameters)
            total = [old + new for old, new in zip(total, found, strict=True)] if add_up or (once and n) else found
            if not once or n == used[-1]:
                for p, g in zip(parameters, total, strict=True):
                    p.data -= lr * g * moved(p)
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
                    "nothing has changed: the steps are on copies, or the derivatives are already zero": weights,
                    "zero_grad is called for each epoch, it should be for each batch": lambda s=setting: descend(
                        *s, add_up=True, fresh=True
                    ),
                    "only the first batch counts": lambda s=setting: descend(*s, which=slice(1)),
                    "only the last batch counts": lambda s=setting: descend(*s, which=slice(-1, None)),
                    "the first batch is left out": lambda s=setting: descend(*s, which=slice(1, None)),
                    "one epoch too few": lambda s=setting: descend(*s[:5], s[5] - 1, *s[6:]),
                    "one epoch too many": lambda s=setting: descend(*s[:5], s[5] + 1, *s[6:]),
                    "the steps are divided by mini_batch_size": lambda s=setting: descend(
                        *s[:6], (s[6] if len(s) > 6 else 0.1) / s[4]
                    ),
                    "the steps are multiplied with mini_batch_size": lambda s=setting: descend(
                        *s[:6], (s[6] if len(s) > 6 else 0.1) * s[4]
                    ),
                    "the biases do not move": lambda s=setting: descend(*s, moved=lambda p: p.dim() > 1),
                    "each sample makes a step of its own": lambda s=setting: descend(*s[:4], 1, *s[5:]),
                    "all samples make one step, whatever mini_batch_size says": lambda s=setting: descend(
                        *s[:4], len(s[2]), *s[5:]
                    ),
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
class Ordered(nn.Linear):
    """A linear model that notes the number in the first column."""

    def forward(self, x):
        self.numbers.append(x[:, 0].tolist())
        return super().forward(x)


@student_side
def order_of(student, x, t, size, epochs):
    """The samples in each call of the model, and whether the first and the second argument of the loss record."""
    model, recorded = Ordered(2, 1), []
    model.numbers = []

    def criterion(output, target):
        recorded.append([output.requires_grad, target.requires_grad])
        return (output - target).square().mean()

    student.train_model(model, criterion, x, t, size, epochs, 0.01)
    return model.numbers, recorded


@lab.check("train_model")
def batches_in_order(student, rng):
    """which samples go through the model, in which order"""
    for n, size, epochs in (12, 4, 2), (11, 3, 3):
        with case(f"{n} samples in batches of {size}, {epochs} epochs"):
            x = torch.stack((torch.arange(float(n)), rng.normal(n)), 1)
            numbers, recorded = student.run(order_of, x, rng.normal(n, 1), size, epochs)
            require(
                all(first and not second for first, second in recorded),
                "criterion wants the model's output first, then the targets",
            )
            batches = [list(map(float, range(start, min(start + size, n)))) for start in range(0, n, size)] * epochs
            calls = [call for k, call in enumerate(numbers) if not k or call != numbers[k - 1]]
            require(max(map(len, calls)) <= size, f"more than {size} samples go through the model at once")
            short = [batch for batch in batches if len(batch) == size]
            require(calls != short or short == batches, "the short batch at the end is left out")
            shuffled = sorted(n for call in calls for n in call) == sorted(n for batch in batches for n in batch)
            require(
                calls == batches or not shuffled,
                "all samples come, but not in their order",
                likely="an epoch takes them in their order: no shuffling",
            )
            require(calls == batches, f"expected {len(batches)} batches one after the other, got {len(calls)}")


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
                    "that is the number of samples": n,
                    "the class is the index of the largest score, not of the smallest": int(
                        ((x @ weight.T).argmin(1) != t).sum()
                    ),
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
