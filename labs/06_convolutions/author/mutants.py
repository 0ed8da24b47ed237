"""Wrong versions of lab 06 that students write, and right ones by another route."""

import numpy as np
import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.nn import functional as F

edit("conv2d_naive", "(window[:, None] * w)", "(window[:, None] * w.flip(2, 3))", says="flipped")
edit("conv2d_naive", " + b", "", says="bias")
edit("conv2d_naive", "x = F.pad(x, (padding, padding, padding, padding))",
     "x = F.pad(x, (padding, padding, padding, padding), mode='replicate')", says="with zeros")  # fmt: skip
edit("im2col", "return torch.stack(pixels, 2).reshape(len(x), -1, h * v)",
     "return torch.stack(pixels, 1).reshape(len(x), -1, h * v)", says="channel by channel")  # fmt: skip
edit("im2col", "return torch.stack(pixels, 2).reshape(len(x), -1, h * v)",
     "return torch.stack(pixels, 2).reshape(len(x), -1, h * v).mT", says="should be a column")  # fmt: skip
edit("conv2d_im2col", " + b[:, None]", "", says="bias")
edit("conv2d_backward", ".reshape(w.shape)", ".reshape(w.shape) / len(x)", says="mean over the batch")
edit("conv2d_backward", "dl_dy.sum((0, 2))", "dl_dy.mean(2).sum(0)", says="average over the positions")
edit("max_pool2d_with_grad", "used.reshape(n, c, h, k, w, k).transpose(3, 4).reshape(n, c, h, w, k * k)",
     "used.reshape(n, c, h, w, k * k)", says="mixed")  # fmt: skip


@mutant("conv2d_backward", says="flipped")
def back_with_flipping(x, w, dl_dy, stride=1, padding=0):
    h, v = dl_dy.shape[2:]
    kh, kw = w.shape[2:]
    dl_dx = torch.zeros_like(F.pad(x, (padding,) * 4))
    dl_dw = torch.zeros_like(w)
    for i in range(h):
        for j in range(v):
            rows, columns = slice(i * stride, i * stride + kh), slice(j * stride, j * stride + kw)
            window = F.pad(x, (padding,) * 4)[:, :, rows, columns]
            dl_dw += torch.einsum("nd,ncij->dcij", dl_dy[:, :, i, j], window)
            dl_dx[:, :, rows, columns] += torch.einsum("nd,dcij->ncij", dl_dy[:, :, i, j], w.flip(2, 3))
    inner = dl_dx[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]]
    return inner, dl_dw, dl_dy.sum((0, 2, 3))


@mutant("max_pool2d_with_grad", says="every pixel that equals the largest")
def all_equal_pixels(x, k, dl_dy):
    n, c, h, w = *x.shape[:2], x.shape[2] // k, x.shape[3] // k
    used = x[:, :, : h * k, : w * k]
    y = used.reshape(n, c, h, k, w, k).amax((3, 5))
    dl_dx = torch.zeros_like(x)
    large = y.repeat_interleave(k, 2).repeat_interleave(k, 3)
    spread = dl_dy.repeat_interleave(k, 2).repeat_interleave(k, 3)
    dl_dx[:, :, : h * k, : w * k] = (used == large) * spread
    return y, dl_dx


edit("Net", "F.relu(self.fc1(x.flatten(1)))", "self.fc1(x.flatten(1))", says="after fc1 is missing")


@mutant("Net", says="exchanged")
class PoolingsExchanged(nn.Module):
    def __init__(self, nb_hidden=200):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 5), nn.Conv2d(32, 64, 5)
        self.fc1, self.fc2 = nn.Linear(256, nb_hidden), nn.Linear(nb_hidden, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 3))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@mutant("Net", says="nb_hidden", check="layers")
class AlwaysTwoHundred(nn.Module):
    def __init__(self, nb_hidden=200):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 5), nn.Conv2d(32, 64, 5)
        self.fc1, self.fc2 = nn.Linear(256, 200), nn.Linear(200, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 3))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


edit("train_model", "model.zero_grad()\n", "\n", says="zero_grad is missing")
edit("train_model", "p -= lr * p.grad", "p = p - lr * p.grad", says="copies")


@mutant("train_model", says="left out")
def only_whole_batches(model, criterion, train_input, train_target, mini_batch_size, nb_epochs, lr=0.1):
    for _ in range(nb_epochs):
        for b in range(len(train_input) // mini_batch_size):
            here = slice(b * mini_batch_size, (b + 1) * mini_batch_size)
            loss = criterion(model(train_input[here]), train_target[here])
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= lr * p.grad


@mutant("compute_nb_errors", says="fewer than mini_batch_size")
def as_if_every_batch_were_whole(model, data_input, data_target, mini_batch_size):
    # the slip of the published solution: the inner loop runs over the size of a batch, not over the samples in it
    nb_errors = 0
    with torch.no_grad():
        for start in range(0, len(data_input), mini_batch_size):
            predicted = model(data_input[start : start + mini_batch_size]).argmax(1)
            for k in range(mini_batch_size):
                if data_target[start + k] != predicted[k]:
                    nb_errors += 1
    return nb_errors


edit("compute_nb_errors", "!= t", "== t", says="right answers")
edit("compute_nb_errors", "with torch.no_grad()", "with torch.enable_grad()", says="torch.no_grad() is missing")


@alternative("conv2d_naive")
def pixel_by_pixel(x, w, b, stride=1, padding=0, dilation=1):
    n, _, height, width = x.shape
    d, _, kh, kw = w.shape
    x = F.pad(x, (padding,) * 4)
    h = (height + 2 * padding - dilation * (kh - 1) - 1) // stride + 1
    v = (width + 2 * padding - dilation * (kw - 1) - 1) // stride + 1
    y = torch.zeros(n, d, h, v, dtype=x.dtype) + b[:, None, None]
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation, j * dilation
            seen = x[:, :, top : top + stride * h : stride, left : left + stride * v : stride][:, :, :h, :v]
            y = y + torch.einsum("nchv,dc->ndhv", seen, w[:, :, i, j])
    return y


@alternative("im2col")
def by_strides(x, kernel_size, stride=1, padding=0, dilation=1):
    kh, kw = kernel_size
    x = F.pad(x, (padding,) * 4).contiguous()
    n, c, height, width = x.shape
    h = (height - dilation * (kh - 1) - 1) // stride + 1
    v = (width - dilation * (kw - 1) - 1) // stride + 1
    sn, sc, sh, sw = x.stride()
    windows = x.as_strided((n, c, kh, kw, h, v), (sn, sc, dilation * sh, dilation * sw, stride * sh, stride * sw))
    return windows.reshape(n, c * kh * kw, h * v)


@alternative("conv2d_backward")
def by_transposed_convolution(x, w, dl_dy, stride=1, padding=0):
    rest = [(x.shape[n] + 2 * padding - w.shape[n]) % stride for n in (2, 3)]
    dl_dx = F.conv_transpose2d(dl_dy, w, stride=stride, padding=padding, output_padding=rest)
    columns = im2col(x, tuple(w.shape[2:]), stride, padding)
    dl_dw = (dl_dy.flatten(2) @ columns.mT).sum(0).reshape(w.shape)
    return dl_dx, dl_dw, dl_dy.sum(3).sum(2).sum(0)


@alternative("max_pool2d_with_grad")
def by_windows(x, k, dl_dy):
    windows = x.unfold(2, k, k).unfold(3, k, k)
    flat = windows.flatten(4)
    y = flat.amax(4)
    chosen = F.one_hot(flat.argmax(4), k * k).to(x.dtype) * dl_dy[..., None]
    dl_dx = torch.zeros_like(x)
    dl_dx.unfold(2, k, k).unfold(3, k, k).copy_(chosen.reshape(windows.shape))
    return y, dl_dx


@alternative("train_model")
def by_ranges(model, criterion, train_input, train_target, mini_batch_size, nb_epochs, lr=0.1):
    for _ in range(nb_epochs):
        for b in range(0, train_input.size(0), mini_batch_size):
            size = min(mini_batch_size, train_input.size(0) - b)
            loss = criterion(model(train_input.narrow(0, b, size)), train_target.narrow(0, b, size))
            grads = torch.autograd.grad(loss, list(model.parameters()))
            for p, g in zip(model.parameters(), grads, strict=True):
                p.data.sub_(g, alpha=lr)


# ---- more wrong versions

edit("conv2d_naive", "* w).sum((2, 3, 4))", "* w).mean((2, 3, 4))", says="become a mean")
edit("conv2d_naive", " + b", " + w.shape[1] * b", says="once for each channel", also=["once for each pixel"])
edit("conv2d_naive", "(padding, padding, padding, padding)", "(2 * padding, 0, 2 * padding, 0)",
     says="above and to the left")  # fmt: skip
edit("conv2d_naive", "columns = slice(j * stride, j * stride + dilation", "columns = slice(j, j + dilation",
     says="the stride counts for the rows only")  # fmt: skip
edit("conv2d_naive", "(window[:, None] * w)", "(window[:, None, :1] * w[:, :1])", says="only the first channel")
edit("conv2d_naive", "y = x.new_empty(n, d, h, v)", "y = torch.empty(n, d, h, v)", says="float32")
edit("conv2d_naive", "return y", "return y.double()", says="should have x's type")


@mutant("conv2d_naive", says="dilation is ignored")
def without_dilation(x, w, b, stride=1, padding=0, dilation=1):
    x = F.pad(x, (padding,) * 4)
    windows = x.unfold(2, w.shape[2], stride).unfold(3, w.shape[3], stride)
    return torch.einsum("nchvij,dcij->ndhv", windows, w) + b[:, None, None]


edit("im2col", "torch.stack(pixels, 2)", "torch.stack(pixels[::-1], 2)", says="reversed order")
edit(
    "im2col", "(padding, padding, padding, padding)", "(0, 2 * padding, 0, 2 * padding)", says="below and to the right"
)
edit("im2col", "(len(x), -1, h * v)", "(len(x), -1, h, v)", says="L should be one dimension")
edit("im2col", "return torch.stack", "return torch.stack(pixels, 2).sum(1).reshape(len(x), -1, h * v) if 1 else torch.stack",
     says="channels of a window are added up")  # fmt: skip
edit("im2col", "(len(x), -1, h * v)", "(len(x), -1, h, v)[..., :-1, :-1].flatten(2)", says="last window of each row")
edit("im2col", "kh, kw = kernel_size", "kw, kh = kernel_size", says="height and the width")


@mutant("im2col", says="downwards first")
def windows_downwards(x, kernel_size, stride=1, padding=0, dilation=1):
    kh, kw = kernel_size
    x = F.pad(x, (padding,) * 4)
    side = [(n - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(x.shape[2:], kernel_size, strict=True)]
    pixels = [
        x[:, :, i : i + stride * (side[0] - 1) + 1 : stride, j : j + stride * (side[1] - 1) + 1 : stride]
        for i in range(0, dilation * kh, dilation)
        for j in range(0, dilation * kw, dilation)
    ]
    return torch.stack(pixels, 2).mT.reshape(len(x), -1, side[0] * side[1])


@mutant("im2col", says="side by side")
def one_matrix(x, kernel_size, stride=1, padding=0, dilation=1):
    kh, kw = kernel_size
    x = F.pad(x, (padding,) * 4)
    side = [(n - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(x.shape[2:], kernel_size, strict=True)]
    pixels = [
        x[:, :, i : i + stride * (side[0] - 1) + 1 : stride, j : j + stride * (side[1] - 1) + 1 : stride]
        for i in range(0, dilation * kh, dilation)
        for j in range(0, dilation * kw, dilation)
    ]
    return torch.stack(pixels, 2).flatten(3).flatten(1, 2).transpose(0, 1).flatten(1)


edit("conv2d_im2col", "w.flatten(1) @", "w.flip(2, 3).flatten(1) @", says="flipped")
edit("conv2d_im2col", "w.flatten(1) @", "w.flatten(1) / w[0].numel() @", says="become a mean")
edit("conv2d_backward", "F.fold(dl_dcolumns, x.shape[2:]", "F.fold(w.flip(2, 3).flatten(1).T @ dl_dy, x.shape[2:]",
     says="flipped filters")  # fmt: skip
edit("conv2d_backward", "dl_dy.sum((0, 2))", "dl_dy.sum(2).mean(0)", says="dl_db is a mean over the batch")
edit("conv2d_backward", "dl_dy.sum((0, 2))", "dl_dy.sum(2)", says="dl_db of each sample")
edit("conv2d_backward", "dl_dy.sum((0, 2))", "dl_dy.sum()", says="adds up the filters, too")
edit("conv2d_backward", '"ndl,nkl->dk", dl_dy, columns', '"dl,kl->dk", dl_dy[0], columns[0]',
     says="only the first sample of the batch")  # fmt: skip
edit("conv2d_backward", ".reshape(w.shape)", "", says="not yet the shape of w")
edit("conv2d_backward", "return dl_dx, dl_dw", "return dl_dw, dl_dx", says="the order should be")
edit("conv2d_backward", "return dl_dx,", "return dl_dcolumns,", says="F.fold adds them up")
edit("max_pool2d_with_grad", "blocks.max(4)", "blocks.min(4)", says="smallest pixel")
edit("max_pool2d_with_grad", "spread.reshape(n, c, h, w, k, k).transpose(3, 4)", "spread",
     says="on the way back the blocks are mixed")  # fmt: skip
edit("max_pool2d_with_grad", "dl_dy[..., None])", "torch.ones_like(dl_dy)[..., None])", says="the derivative is 1")
edit("max_pool2d_with_grad", "where[..., None], dl_dy", "torch.zeros_like(where)[..., None], dl_dy",
     says="first pixel of each block")  # fmt: skip
edit("max_pool2d_with_grad", "return y, dl_dx", "return dl_dx, y", says="order should be y")
edit(
    "max_pool2d_with_grad",
    "return y, dl_dx",
    "return y, dl_dx[:, :, : h * k, : w * k]",
    says="rows and columns left over",
)


@mutant("max_pool2d_with_grad", says="starts from 0")
def from_zero(x, k, dl_dy):
    windows = x.unfold(2, k, k).unfold(3, k, k)
    flat = windows.flatten(4)
    y = flat.amax(4).clamp(min=0)
    chosen = F.one_hot(flat.argmax(4), k * k).to(x.dtype) * dl_dy[..., None]
    dl_dx = torch.zeros_like(x)
    dl_dx.unfold(2, k, k).unfold(3, k, k).copy_(chosen.reshape(windows.shape))
    return y, dl_dx


edit("Net", "return self.fc2(x)", "return self.fc2(x).softmax(1)", says="there is a softmax")
edit("Net", "return self.fc2(x)", "return self.fc2(x).squeeze()", says="lost its dimension")
edit("Net", "F.relu(F.max_pool2d(self.conv1(x), 3))", "F.max_pool2d(self.conv1(x), 3)", says="after conv1 is missing")
edit("Net", "F.relu(F.max_pool2d(self.conv1(x), 3))", "F.relu(F.avg_pool2d(self.conv1(x), 3))",
     says="first pooling is an average")  # fmt: skip
edit("Net", "F.relu(self.fc1(x.flatten(1)))", "F.dropout(F.relu(self.fc1(x.flatten(1))))", says="dropout")
edit("train_model", "-= lr", "+= lr", says="uphill")
edit("train_model", "-= lr *", "-= lr / mini_batch_size *", says="divided by mini_batch_size")
edit("train_model", "range(nb_epochs)", "range(1)", says="one epoch, whatever")
edit("train_model", "range(nb_epochs)", "range(nb_epochs - 1)", says="one epoch too few")
edit("train_model", "criterion(model(x), t)", "criterion(t, model(x))", says="output first", check="batches_in_order")
edit("train_model", "loss.backward()\n", "loss.backward()\n            model.zero_grad(set_to_none=False)\n",
     says="already zero")  # fmt: skip


@mutant("train_model", says="in their order", check="batches_in_order")
def shuffled(model, criterion, train_input, train_target, mini_batch_size, nb_epochs, lr=0.1):
    for _ in range(nb_epochs):
        order = torch.randperm(len(train_input))
        for here in order.split(mini_batch_size):
            loss = criterion(model(train_input[here]), train_target[here])
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= lr * p.grad


@mutant("train_model", says="for each epoch, not for each batch", also=["zero_grad is called for each epoch"])
def one_step_each_epoch(model, criterion, train_input, train_target, mini_batch_size, nb_epochs, lr=0.1):
    for _ in range(nb_epochs):
        model.zero_grad()
        for x, t in zip(train_input.split(mini_batch_size), train_target.split(mini_batch_size), strict=True):
            criterion(model(x), t).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= lr * p.grad


@mutant("train_model", says="called for each epoch")
def zero_each_epoch(model, criterion, train_input, train_target, mini_batch_size, nb_epochs, lr=0.1):
    for _ in range(nb_epochs):
        model.zero_grad()
        for x, t in zip(train_input.split(mini_batch_size), train_target.split(mini_batch_size), strict=True):
            criterion(model(x), t).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= lr * p.grad


edit("compute_nb_errors", "argmax(1)", "argmin(1)", says="not of the smallest")
edit("compute_nb_errors", "return nb_errors", "return nb_errors / len(data_input)", says="an int")


@mutant("compute_nb_errors", says="at once")
def everything_at_once(model, data_input, data_target, mini_batch_size):
    with torch.no_grad():
        return int((model(data_input).argmax(1) != data_target).sum())


@mutant("compute_nb_errors", says="only the last batch")
def forgets_to_add(model, data_input, data_target, mini_batch_size):
    with torch.no_grad():
        for x, t in zip(data_input.split(mini_batch_size), data_target.split(mini_batch_size), strict=True):
            nb_errors = int((model(x).argmax(1) != t).sum())
    return nb_errors


# ---- more right versions


@alternative("conv2d_naive")
def every_number_by_itself(x, w, b, stride=1, padding=0, dilation=1):
    n, _, height, width = x.shape
    d, _, kh, kw = w.shape
    wide = torch.zeros(n, x.shape[1], height + 2 * padding, width + 2 * padding, dtype=torch.float64)
    wide[:, :, padding : padding + height, padding : padding + width] = x
    rows = range(0, wide.shape[2] - dilation * (kh - 1), stride)
    columns = range(0, wide.shape[3] - dilation * (kw - 1), stride)
    y = torch.zeros(n, d, len(rows), len(columns), dtype=torch.float64)
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            seen = wide[:, :, top : top + dilation * kh : dilation, left : left + dilation * kw : dilation]
            for f in range(d):
                y[:, f, i, j] = (seen[:, :, :kh, :kw] * w[f].double()).flatten(1).sum(1) + b[f].double()
    return y.to(x.dtype)


@alternative("conv2d_naive")
def by_numpy(x, w, b, stride=1, padding=0, dilation=1):
    kh, kw = w.shape[2:]
    side = np.pad(x.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    seen = np.lib.stride_tricks.sliding_window_view(side, (dilation * (kh - 1) + 1, dilation * (kw - 1) + 1), (2, 3))
    seen = seen[:, :, ::stride, ::stride, ::dilation, ::dilation]
    return torch.from_numpy(np.einsum("nchvij,dcij->ndhv", seen, w.numpy())) + b.view(-1, 1, 1)


@alternative("im2col")
def by_indices(x, kernel_size, stride=1, padding=0, dilation=1):
    x = nn.ZeroPad2d(padding)(x)
    places = [
        torch.arange(0, side - dilation * (k - 1), stride) + dilation * torch.arange(k)[:, None]
        for side, k in zip(x.shape[2:], kernel_size, strict=True)
    ]
    found = x[:, :, places[0][:, None, :, None], places[1][None, :, None, :]]
    return found.flatten(4).flatten(1, 3)


@alternative("im2col")
def window_after_window(x, kernel_size, stride=1, padding=0, dilation=1):
    kh, kw = kernel_size
    x = F.pad(x, [padding] * 4)
    columns, top = [], 0
    while top + dilation * (kh - 1) < x.shape[2]:
        for left in range(0, x.shape[3] - dilation * (kw - 1), stride):
            rows = slice(top, top + dilation * (kh - 1) + 1, dilation)
            columns.append(x[:, :, rows, left : left + dilation * (kw - 1) + 1 : dilation].flatten(1))
        top += stride
    return torch.stack(columns, dim=-1)


@alternative("conv2d_im2col")
def by_einsum(x, w, b, stride=1, padding=0, dilation=1):
    columns = im2col(x, w.shape[2:], stride=stride, padding=padding, dilation=dilation)
    y = torch.einsum("dk,nkl->ndl", w.reshape(len(w), -1), columns)
    h = output_size(x.size(2), w.size(2), stride, padding, dilation)
    return y.unflatten(2, (h, -1)) + b.reshape(1, -1, 1, 1)


@alternative("conv2d_backward")
def window_by_window(x, w, dl_dy, stride=1, padding=0):
    kh, kw = w.shape[2:]
    wide = F.pad(x, (padding,) * 4)
    dl_dx, dl_dw = torch.zeros_like(wide), torch.zeros_like(w)
    for i in range(dl_dy.shape[2]):
        for j in range(dl_dy.shape[3]):
            g = dl_dy[:, :, i, j]
            here = (slice(None), slice(None), slice(i * stride, i * stride + kh), slice(j * stride, j * stride + kw))
            dl_dw += torch.tensordot(g, wide[here], dims=([0], [0]))
            dl_dx[here] += torch.tensordot(g, w, dims=1)
    end = [side - padding for side in wide.shape[2:]]
    return dl_dx[:, :, padding : end[0], padding : end[1]], dl_dw, torch.einsum("ndhv->d", dl_dy)


@alternative("max_pool2d_with_grad")
def by_equality_and_order(x, k, dl_dy):
    h, w = dl_dy.shape[2:]
    blocks = x[:, :, : h * k, : w * k].unflatten(3, (w, k)).unflatten(2, (h, k)).permute(0, 1, 2, 4, 3, 5).flatten(4)
    y = blocks.max(dim=-1).values
    equal = blocks == y.unsqueeze(-1)
    last = equal & (equal.flip(-1).cumsum(-1).flip(-1) == 1)
    spread = (last * dl_dy.unsqueeze(-1)).unflatten(4, (k, k)).permute(0, 1, 2, 4, 3, 5)
    return y, F.pad(spread.reshape(*x.shape[:2], h * k, w * k), (0, x.shape[3] - w * k, 0, x.shape[2] - h * k))


@alternative("Net")
class WithModules(nn.Module):
    def __init__(self, nb_hidden=200):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, (5, 5))
        self.conv2 = nn.Conv2d(32, 64, (5, 5))
        self.fc1 = nn.Linear(64 * 2 * 2, nb_hidden)
        self.fc2 = nn.Linear(nb_hidden, 10)
        self.pool1, self.pool2, self.act = nn.MaxPool2d(3), nn.MaxPool2d(2), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.pool1(self.act(self.conv1(x)))  # the largest of the positive parts is the positive part of the largest
        x = self.pool2(self.act(self.conv2(x)))
        return self.fc2(self.act(self.fc1(x.view(x.size(0), -1))))


@alternative("train_model")
def by_a_loader(model, criterion, train_input, train_target, mini_batch_size, nb_epochs, lr=0.1):
    pairs = torch.utils.data.TensorDataset(train_input, train_target)
    for _ in range(nb_epochs):
        for x, t in torch.utils.data.DataLoader(pairs, batch_size=mini_batch_size):
            loss = criterion(model(x), t)
            loss.backward()
            for p in model.parameters():
                p.data = p.data - lr * p.grad
                p.grad = None
    return model


@alternative("compute_nb_errors")
def by_ranks(model, data_input, data_target, mini_batch_size):
    model.eval()
    right = 0
    for start in range(0, len(data_input), mini_batch_size):
        with torch.no_grad():
            scores = model(data_input[start : start + mini_batch_size])
        right += sum(int(s.max(0)[1] == t) for s, t in zip(scores, data_target[start:], strict=False))
    return len(data_input) - right


@alternative("compute_nb_errors")
def by_inference_mode(model, data_input, data_target, mini_batch_size):
    with torch.inference_mode():
        found = torch.cat([model(x).topk(1).indices[:, 0] for x in data_input.split(mini_batch_size)])
    return int(torch.count_nonzero(found - data_target))
