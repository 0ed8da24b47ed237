"""Generated data in the formats of MNIST and CIFAR-10, for machines where no source has the real thing.

Drawn digits and coloured shapes: enough for every lab to run and for a network to learn something, and never to be
taken for the real data. The same bytes on every machine: only integers and the exact operations of IEEE 754.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

TRAINING, TEST = 60_000, 10_000
BATCHES, BATCH = 5, 1_000
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Point = tuple[float, float]

# Each digit as lines through points, in a square of 20 by 20 (x to the right, y down).
STROKES: tuple[tuple[tuple[Point, ...], ...], ...] = (
    (((10, 1), (5, 3), (3, 10), (5, 17), (10, 19), (15, 17), (17, 10), (15, 3), (10, 1)),),
    (((6, 5), (11, 1), (11, 19)),),
    (((4, 5), (7, 1), (13, 1), (16, 5), (14, 10), (4, 19), (17, 19)),),
    (((4, 2), (13, 1), (15, 5), (13, 9), (8, 10)), ((8, 10), (14, 11), (16, 15), (13, 19), (4, 18))),
    (((12, 1), (3, 13), (17, 13)), ((13, 7), (13, 19))),
    (((16, 1), (5, 1), (5, 9), (12, 8), (16, 12), (15, 17), (10, 19), (4, 18)),),
    (((14, 1), (7, 5), (4, 12), (6, 18), (11, 19), (15, 16), (14, 11), (9, 10), (5, 13)),),
    (((3, 1), (17, 1), (9, 19)), ((6, 10), (15, 10))),
    (((10, 1), (5, 3), (6, 8), (14, 11), (15, 17), (10, 19), (5, 17), (6, 11), (14, 8), (15, 3), (10, 1)),),
    (((15, 8), (11, 11), (6, 9), (5, 4), (10, 1), (15, 4), (15, 8), (13, 19)),),
)
SIDE, MARGIN, SHIFT = 28, 4, 3


def mnist_files() -> Iterator[tuple[str, bytes]]:
    """(name, content) of the four idx files: 60 000 and 10 000 images of 28 by 28 bytes, and their labels."""
    chance = random.Random(1998)
    for name, count, variants in (("train", TRAINING, 40), ("t10k", TEST, 10)):
        drawn = [[_draw_digit(strokes, chance) for _ in range(variants)] for strokes in STROKES]
        labels = bytearray()
        images = bytearray()
        for _ in range(count):
            digit = int(chance.random() * 10)
            canvas = drawn[digit][int(chance.random() * variants)]
            down = int(chance.random() * (2 * SHIFT + 1))
            right = int(chance.random() * (2 * SHIFT + 1))
            labels.append(digit)
            for row in range(down, down + SIDE):
                start = row * (SIDE + 2 * SHIFT) + right
                images += canvas[start : start + SIDE]
        yield f"{name}-images-idx3-ubyte", struct.pack(">4I", 0x0803, count, SIDE, SIDE) + bytes(images)
        yield f"{name}-labels-idx1-ubyte", struct.pack(">2I", 0x0801, count) + bytes(labels)


def cifar10_files() -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files of cifar-10-batches-py: six batches of 1 000 images, pickled as Python 2 did."""
    chance = random.Random(2009)
    names = [f"data_batch_{number}" for number in range(1, BATCHES + 1)]
    masks = [[_draw_shape(shape, chance) for _ in range(30)] for shape in SHAPES]
    for name in [*names, "test_batch"]:
        choice = (
            masks if name != "test_batch" else [[_draw_shape(shape, chance) for _ in range(10)] for shape in SHAPES]
        )
        labels = bytearray()
        data = bytearray()
        for _ in range(BATCH):
            kind = int(chance.random() * len(CLASSES))
            mask = choice[kind][int(chance.random() * len(choice[kind]))]
            dark = [int(chance.random() * 110) for _ in "rgb"]
            light = [145 + int(chance.random() * 110) for _ in "rgb"]
            front, back = (dark, light) if chance.random() < 0.5 else (light, dark)
            labels.append(kind)
            for one, other in zip(back, front, strict=True):
                blend = bytes(one + (other - one) * level // 4 for level in range(5))
                data += mask.translate(blend.ljust(256, b"\0"))
        which = "testing batch 1 of 1" if name == "test_batch" else f"training batch {name[-1]} of {BATCHES}"
        yield name, _pickle_batch(which, bytes(labels), bytes(data))
    yield "batches.meta", _pickle_meta()


def _draw_digit(strokes: Sequence[Sequence[Point]], chance: random.Random) -> bytes:
    """A canvas of 34 by 34 bytes with the digit in the middle, written by a slightly different hand each time."""
    wide = 0.75 + chance.random() * 0.3
    slant = (chance.random() - 0.5) * 0.5
    thick = 1.1 + chance.random() * 0.9
    side = SIDE + 2 * SHIFT
    canvas = bytearray(side * side)
    for stroke in strokes:
        moved = []
        for x, y in stroke:
            x += (chance.random() - 0.5) * 1.6
            y += (chance.random() - 0.5) * 1.6
            moved.append(((x - 10) * wide + (10 - y) * slant + side / 2, y - 10 + side / 2))
        for start, end in pairwise(moved):
            _draw_line(canvas, side, start, end, thick)
    return bytes(canvas)


def _draw_line(canvas: bytearray, side: int, start: Point, end: Point, thick: float) -> None:
    """Lighten all pixels near a line: full within `thick`, fading over one pixel around."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy or 1.0
    inner, outer = thick * thick, (thick + 1) * (thick + 1)
    reach = int(thick) + 2
    for y in range(max(0, int(min(y0, y1)) - reach), min(side, int(max(y0, y1)) + reach + 1)):
        for x in range(max(0, int(min(x0, x1)) - reach), min(side, int(max(x0, x1)) + reach + 1)):
            along = min(1.0, max(0.0, ((x - x0) * dx + (y - y0) * dy) / length))
            ex, ey = x - x0 - along * dx, y - y0 - along * dy
            square = ex * ex + ey * ey
            if square < outer:
                light = 255 if square <= inner else int(255 * (outer - square) / (outer - inner))
                canvas[y * side + x] = max(canvas[y * side + x], light)


# Whether a point belongs to the shape of a class; the square goes from -1 to 1 in both directions.
SHAPES: tuple[Callable[[float, float], bool], ...] = (
    lambda x, y: abs(y) < 0.25 or (abs(x) < 0.25 and abs(y) < 1),
    lambda x, y: abs(x) < 0.95 and abs(y) < 0.5,
    lambda x, y: y > -0.9 and abs(x) < (y + 0.9) / 1.9,
    lambda x, y: abs(x) < 0.8 and abs(y) < 0.8,
    lambda x, y: abs(x) + abs(y) < 1,
    lambda x, y: x * x + y * y < 0.9,
    lambda x, y: 0.35 < x * x + y * y < 0.95,
    lambda x, y: abs(x - y) < 0.4 or abs(x + y) < 0.4,
    lambda x, y: y < 0.9 and abs(x) < (0.9 - y) / 1.9,
    lambda x, y: 0.35 < abs(x) < 0.95,
)


def _draw_shape(inside: Callable[[float, float], bool], chance: random.Random) -> bytes:
    """32 by 32 levels from 0 (outside) to 4 (inside), four points looked at for each pixel."""
    size = 8 + chance.random() * 5
    x0, y0 = 13 + chance.random() * 6, 13 + chance.random() * 6
    mask = bytearray()
    for y in range(32):
        for x in range(32):
            points = [((x + a - x0) / size, (y + b - y0) / size) for a in (0.25, 0.75) for b in (0.25, 0.75)]
            mask.append(sum(max(abs(u), abs(v)) <= 1 and inside(u, v) for u, v in points))
    return bytes(mask)


def _text(value: str) -> bytes:
    """SHORT_BINSTRING: a Python 2 string."""
    return b"U" + bytes([len(value)]) + value.encode("ascii")


def _number(value: int) -> bytes:
    """BININT2."""
    return b"M" + struct.pack("<H", value)


def _pickle_batch(name: str, labels: bytes, data: bytes) -> bytes:
    """{'batch_label', 'labels', 'data'} in protocol 2; `data` as an array of uint8 with 3072 columns.

    The opcodes are those of the original batches (pickletools), so that numpy is not needed to write them, and what
    reads the originals reads these.
    """
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _text("b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + _text("u1") + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + _text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"(K\x01" + _number(len(labels)) + _number(3072) + b"\x86" + kind
    state += b"\x89T" + struct.pack("<i", len(data)) + data + b"t"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    entries = _text("batch_label") + _text(name) + _text("labels") + numbers + _text("data") + array + state + b"b"
    return b"\x80\x02}(" + entries + b"u."


def _pickle_meta() -> bytes:
    names = b"](" + b"".join(_text(name) for name in CLASSES) + b"e"
    entries = _text("num_cases_per_batch") + _number(BATCH) + _text("label_names") + names
    return b"\x80\x02}(" + entries + _text("num_vis") + _number(3072) + b"u."


GENERATORS: Mapping[str, Callable[[], Iterator[tuple[str, bytes]]]] = {"mnist": mnist_files, "cifar10": cifar10_files}
