"""The training of lecture 1a on all of MNIST: as the lecture does it, and made fast."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch
from torch import Tensor

from course_selftest import fast as fast_training
from course_selftest import mnist
from course_selftest import plain as plain_training
from course_selftest.catalog import CPU_EPOCHS, EPOCHS
from course_selftest.context import Context
from course_selftest.fast import Plan, Recipe
from course_selftest.mnist import DamagedData, MissingData, Mnist
from course_selftest.net import test_error
from course_selftest.outcome import Failed, Figure, Measured, Skipped
from course_selftest.precision import is_ampere_or_later

LECTURE = "the lecture: about 7 s on a GTX1080, about 1 %"
# In percent. "About 1 %" ends at 1.5; after one epoch the error is between 2 and 3.
LARGEST_ERROR = {EPOCHS: 1.5, CPU_EPOCHS: 6.0}
LARGEST_FAST_ERROR = 1.1


def plain(context: Context) -> Measured:
    data = _data(context)
    images, labels, test_images, test_labels = _on_device(context, data)
    epochs = EPOCHS if context.on_gpu or context.options.full else CPU_EPOCHS
    repeat = context.options.repeat
    seconds, errors = [], []
    for seed in range(repeat):
        net, time_taken = plain_training.train(
            images.view(-1, 1, 28, 28), labels, seed, epochs,
            context.progress_of(seed, repeat),
        )  # fmt: skip
        seconds.append(time_taken)
        errors.append(test_error(net, test_images.view(-1, 1, 28, 28), test_labels))
    text = f"{_summary(epochs, seconds, errors)} ({LECTURE}); batches of {plain_training.BATCH} in their order, SGD"
    figures: dict[str, Figure] = {"batch": plain_training.BATCH}
    figures |= {"epochs": epochs, **_training_figures(seconds, errors)}
    return _judge(data, median(errors), LARGEST_ERROR[epochs], text, figures)


def fast(context: Context) -> Measured:
    data = _data(context)
    images, labels, test_images, test_labels = _on_device(context, data)
    repeat, recipe = context.options.repeat, Recipe()
    with _fastest_convolutions():
        start = time.perf_counter()
        training, tried = fast_training.prepare(images, labels, recipe, plans(context))
        preparation = time.perf_counter() - start
        seconds, errors = [], []
        for seed in range(repeat):
            seconds.append(training.train(seed, context.progress_of(seed, repeat)))
            errors.append(test_error(training.net(), test_images.view(-1, 1, 28, 28), test_labels))
    text = (
        f"{_summary(recipe.epochs, seconds, errors)} ({LECTURE}); {preparation + median(seconds):.1f} s with warm-up"
        f"{' and graph capture' if context.on_gpu else ''}; {training.plan}; other than the lecture: batches of "
        f"{recipe.batch} in random order, Nesterov momentum {recipe.momentum}, learning rate to {recipe.peak} and to 0"
    )
    figures: dict[str, Figure] = {
        "batch": recipe.batch,
        "preparation_seconds": preparation,
        "plan": str(training.plan),
        "graph": context.on_gpu,
    }
    figures |= {f"step_seconds: {plan}": value for plan, value in tried.items()}
    figures |= {"epochs": recipe.epochs, **_training_figures(seconds, errors)}
    return _judge(data, median(errors), LARGEST_FAST_ERROR, text, figures)


def plans(context: Context) -> list[Plan]:
    """What may be the fastest here: bf16 where the GPU has it, on a CPU where it turns out to be worth it."""
    if not context.on_gpu:
        return [Plan(torch.bfloat16, channels_last=True), Plan(torch.float32, channels_last=True)]
    dtype = torch.bfloat16 if is_ampere_or_later(context.device) else torch.float32
    return [Plan(dtype, channels_last=True), Plan(dtype, channels_last=False)]


def _data(context: Context) -> Mnist:
    """Skipped when nobody said where the data are; Failed when they are not where somebody said, or damaged."""
    folder, said = mnist.data_folder(context.options.data)
    if folder is None:
        raise Skipped("MNIST is not here: set PYTORCH_DATA_DIR to a folder that holds mnist/MNIST/raw")
    try:
        return mnist.load(folder)
    except MissingData as error:
        if said:
            raise Failed(f"{error}.") from None
        raise Skipped(f"{error}; set PYTORCH_DATA_DIR") from None
    except DamagedData as error:
        raise Failed(f"{error}.") from None


def _on_device(context: Context, data: Mnist) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images as N × 784, normalised as in the lecture; labels."""
    mean, deviation = data.statistics()

    def normalised(images: Tensor) -> Tensor:
        return images.to(context.device).float().sub_(mean).div_(deviation)

    return (normalised(data.train_images), data.train_labels.to(context.device),
            normalised(data.test_images), data.test_labels.to(context.device))  # fmt: skip


@contextmanager
def _fastest_convolutions() -> Iterator[None]:
    """cuDNN measures its algorithms once for each size, instead of guessing."""
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = False


def _summary(epochs: int, seconds: list[float], errors: list[float]) -> str:
    """Time and error: the median, and from where to where the errors go."""
    taken, error = median(seconds), median(errors)
    time_text = f"{taken:.2f} s" if taken < 10 else f"{taken:.0f} s"
    if epochs == EPOCHS:
        text = f"{epochs} epochs in {time_text}, test error {error:.2f} %"
    else:
        text = (
            f"{epochs} of {EPOCHS} epochs in {time_text}, test error {error:.2f} % so far; "
            f"all take about {taken * EPOCHS / epochs:.0f} s, with --full"
        )
    if len(errors) > 1:
        text += f" (median of {len(errors)} seeds, {min(errors):.2f} to {max(errors):.2f})"
    return text


def _training_figures(seconds: list[float], errors: list[float]) -> dict[str, Figure]:
    """The medians, and each seed's own."""
    return {
        "train_seconds": median(seconds),
        "test_error_percent": median(errors),
        "each_train_seconds": seconds,
        "each_test_error_percent": errors,
    }


def _judge(data: Mnist, error: float, largest: float, text: str, figures: dict[str, Figure]) -> Measured:
    """Fails when the error (in percent) is too large for the real MNIST."""
    if data.remark:
        return Measured(f"{text}; MNIST here is a {data.remark}, so the error says nothing", figures)
    if not error <= largest:
        raise Failed(f"The test error should be at most {largest} %: {text}.", figures)
    return Measured(text, figures)
