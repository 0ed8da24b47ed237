"""The experiments of lab 06: what can be measured and seen once its parts work."""

import time

import torch
from check import lab, problem
from checking import data, progress, student_side
from checking.kit import least_seconds, mosaic
from torch import nn
from torch.nn import functional as F


@student_side
def seconds_of(student, functions, x, w, b):
    """Seconds of computing."""
    return [least_seconds(lambda name=name: getattr(student, name)(x, w, b)) for name in functions]


@lab.experiment("conv2d_naive", "im2col", "conv2d_im2col", seconds=1)
def speed(student, metrics, data, rng):
    """a 64 × 64 colour image, 32 filters of 5 × 5"""
    x, w, b = problem(rng, (1, 3, 64, 64), (32, 5, 5))
    naive, fast = student.run(seconds_of, ["conv2d_naive", "conv2d_im2col"], x, w, b)
    metrics.seen("by the definition", 1000 * naive, unit="ms")
    metrics.seen("by im2col", 1000 * fast, unit="ms")
    metrics.at_least("how many times faster", naive / fast, 5)


@student_side
def digit_reader(student, loss, nb_epochs):
    """Test errors after each epoch, the filters, what they make of a digit, and the scores of all test digits."""
    x, t, test_x, test_t = data.mnist(normalize=True, flatten=False, one_hot=loss == "MSELoss")
    classes = test_t.argmax(1) if loss == "MSELoss" else test_t
    model, errors = student.Net(), []
    for _ in progress(range(nb_epochs), loss):
        student.train_model(model, getattr(nn, loss)(), x, t, 100, 1)
        errors.append(student.compute_nb_errors(model, test_x, classes, 100))
    return errors, model.conv1.weight[:, 0], F.relu(model.conv1(test_x[:1]))[0], model(test_x)


@lab.experiment("Net", "train_model", "compute_nb_errors", seconds=18)
def digits(student, metrics, data, rng):
    """1000 digits, 25 epochs"""
    _, _, images, classes = data.mnist(flatten=False)
    curves = {}
    for name, loss, bound in (("mean square error", "MSELoss", 16), ("cross-entropy", "CrossEntropyLoss", 10)):
        errors, filters, maps, scores = student.run(digit_reader, loss, 25)
        curves[name] = [100 * n / len(classes) for n in errors]
        metrics.at_most(f"test error, {name}", curves[name][-1], bound, unit="%")
    wrong = (scores.argmax(1) != classes).nonzero().flatten()
    wrong = wrong[: 4 * min(5, len(wrong) // 4)]
    with metrics.picture("digits.png", size=(13, 5)) as figure:
        grid = figure.add_gridspec(2, 3, width_ratios=[1.1, 1.2, 1])
        axes = figure.add_subplot(grid[:, 0])
        for name, values in curves.items():
            axes.plot(range(1, len(values) + 1), values, label=f"{name}: {values[-1]:.1f} %")
        axes.set(xlabel="epoch", ylabel="test error / %", ylim=(0, 60))
        axes.legend()
        high = filters.abs().max().item()
        maps = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-6)
        for place, picture, title, colours, *limits in (
            (
                grid[0, 1],
                mosaic(filters, 8),
                "the 32 filters of conv1: bright adds, dark subtracts",
                "gray",
                -high,
                high,
            ),
            (grid[1, 1], mosaic(maps, 8), f"what each of them sees in a {classes[0]}", "gray", 0, 1),
            (grid[:, 2], mosaic(images[wrong, 0], 4), "wrong answers of the second network", "gray_r", 0, 255),
        ):
            axes = figure.add_subplot(place)
            axes.imshow(picture, cmap=colours, vmin=limits[0], vmax=limits[1])
            axes.set_title(title)
            axes.axis("off")
        for n, answer in enumerate(scores[wrong].argmax(1).tolist()):
            axes.text(29 * (n % 4) + 1, 29 * (n // 4) + 2, answer, color="#c2571a", fontsize=11, va="top")


@student_side
def reader_on_gpu(student, nb_epochs):
    x, t, test_x, test_t = (part.cuda() for part in data.mnist(full=True, normalize=True, flatten=False))
    model = student.Net().cuda()
    student.train_model(student.Net().cuda(), nn.CrossEntropyLoss(), x[:1000], t[:1000], 100, 1)  # cuDNN starts here
    torch.cuda.synchronize()
    start, errors = time.perf_counter(), []
    for _ in progress(range(nb_epochs), "60 000 digits"):
        student.train_model(model, nn.CrossEntropyLoss(), x, t, 100, 1)
    torch.cuda.synchronize()  # a GPU works on after the last call has returned
    seconds = time.perf_counter() - start
    errors = student.compute_nb_errors(model, test_x, test_t, 1000)
    return errors, len(test_x), seconds, torch.cuda.get_device_name()


@lab.gpu("Net", "train_model", "compute_nb_errors", seconds=40)
def digits_on_gpu(student, metrics, data, rng):
    """60 000 digits, 10 epochs: the experiment of the first lecture"""
    data.mnist(full=True)  # where they are missing, this says so
    errors, count, seconds, device = student.run(reader_on_gpu, 10)
    metrics.at_most("test error", 100 * errors / count, 1.3, unit="%")
    metrics.seen(f"{device} (a GTX 1080 took 7 s)", seconds, unit="s")
