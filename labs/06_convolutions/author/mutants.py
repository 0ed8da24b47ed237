"""Wrong versions of lab 06 that students write, and right ones by another route."""

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
def back_without_flipping(x, w, dl_dy, stride=1, padding=0):
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
