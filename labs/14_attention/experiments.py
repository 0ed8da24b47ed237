"""The experiments of lab 14: what can be measured and seen once its parts work."""

import math
import sysconfig
import time
from pathlib import Path

import torch
from check import lab
from checking import progress, student_side
from torch.nn import functional as F

# Targets

TOPICS = {
    "animals": "cat dog horse cow bird fish fox wolf mouse sheep",
    "kitchen": "pan knife oven soup bread salt spoon butter plate flour",
    "weather": "rain snow cloud wind storm sun fog hail frost thunder",
    "music": "violin drum song piano chord flute rhythm choir tune cello",
}
FILLING = "the a and with near under"


@student_side
def small_talk(count, generator):
    """Sentences about one topic each, as word numbers: four words of the topic, with words between that say nothing."""
    topics, filling = len(TOPICS), len(FILLING.split())
    sentences = []
    for _ in range(count):
        topic = int(torch.randint(topics, (1,), generator=generator))
        words = torch.randperm(10, generator=generator)[:4] + 10 * topic
        between = torch.randint(10 * topics, 10 * topics + filling, (4,), generator=generator)
        sentences.append(torch.stack((between, words), 1).flatten())
    return sentences


@student_side
def learn_words(student, seed, dim, steps):
    """The vectors of all words as centres, after training on small talk."""
    g = torch.Generator().manual_seed(seed)
    pairs = torch.cat([student.skipgram_pairs(sentence, 3) for sentence in small_talk(1500, g)])
    words = 10 * len(TOPICS) + len(FILLING.split())
    often = torch.bincount(pairs[:, 0], minlength=words).float() ** 0.75
    u, v = ((0.1 * torch.randn(words, dim, generator=g)).requires_grad_() for _ in range(2))
    optimizer = torch.optim.Adam([u, v], lr=0.02)
    for _ in progress(range(steps), "word vectors"):
        centre, neighbour = pairs[torch.randint(len(pairs), (512,), generator=g)].T
        strangers = torch.multinomial(often, 512 * 5, replacement=True, generator=g).view(512, 5)
        loss = student.skipgram_loss(u[centre], v[neighbour], v[strangers])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return u.detach()


@lab.experiment("skipgram_pairs", "skipgram_loss", seconds=2)
def words_by_their_company(student, metrics, data, rng):
    """word vectors: the nearest neighbour of a word is of its topic"""
    words = [word for topic in TOPICS.values() for word in topic.split()] + FILLING.split()
    u = F.normalize(student.run(learn_words, rng.seed(), 12, 300), dim=1)
    count = 10 * len(TOPICS)
    likeness = (u[:count] @ u[:count].T).fill_diagonal_(-1)
    right = likeness.argmax(1) // 10 == torch.arange(count) // 10
    metrics.at_least("nearest word is of the same topic", 100 * right.float().mean().item(), 95, unit="%")
    centred = u - u.mean(0)
    flat = centred @ torch.linalg.svd(centred).Vh[:2].T
    with metrics.picture("words.png", size=(10.5, 5.2)) as figure:
        axes, table = figure.subplots(1, 2, width_ratios=[1, 1.05])
        for n, group in enumerate([*TOPICS, "the words between"]):
            colour, (x, y) = f"C{n}" if n < len(TOPICS) else "0.5", flat[10 * n : 10 * n + 10].T
            axes.scatter(x, y, s=18, marker="o^sDvPX<>*"[n], color=colour, alpha=0.7)
            axes.text(x.mean(), y.max() + 0.04, group, color=colour, ha="center", va="bottom")
        axes.set(title="46 words on two principal axes", xticks=[], yticks=[])
        axes.margins(0.15)
        table.imshow(u @ u.T, cmap="Blues", vmin=0, vmax=1)
        table.set_xticks(range(len(words)), words, rotation=90, fontsize=5.5)
        table.set_yticks(range(len(words)), words, fontsize=5.5)
        table.set_title("the cosine between any two of them")
        for each in axes, table:
            each.grid(False)
            each.spines[:].set_visible(False)


SMALL = (
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize "
    "dix-sept dix-huit dix-neuf"
)
TENS = {2: "vingt", 3: "trente", 4: "quarante", 5: "cinquante", 6: "soixante", 8: "quatre-vingt"}
WORDS = (
    "cent cents cinq cinquante deux dix douze et huit mille neuf onze quarante quatorze quatre quinze seize sept six "
    "soixante treize trente trois un vingt vingts zéro"
)
START = 11
STOP = 10
PLACES = 7


@student_side
def below_hundred(n):
    """French, as Paris counts: 77 is sixty and seventeen, 92 is four twenties and twelve."""
    if n < 20:
        return SMALL.split()[n]
    ten = n // 10 - (n // 10 in (7, 9))
    rest = n - 10 * ten
    if rest == 0:
        return TENS[ten] + ("s" if ten == 8 else "")
    return TENS[ten] + ("-et-" if rest in (1, 11) and ten != 8 else "-") + below_hundred(rest)


@student_side
def in_french(n):
    """The name of a number from 0 to 999 999."""
    if n < 100:
        return below_hundred(n)
    many, rest = divmod(n, 1000 if n >= 1000 else 100)
    words = [in_french(many).replace("cents", "cent").replace("vingts", "vingt")] if many > 1 else []
    words.append("mille" if n >= 1000 else "cents" if many > 1 and rest == 0 else "cent")
    return " ".join(words + ([in_french(rest)] if rest else []))


@student_side
def word_numbers(numbers):
    """N × S, int64: the words of each number's name from 1 on, 0 behind the end."""
    known = {word: n for n, word in enumerate(WORDS.split(), start=1)}
    rows = [[known[word] for word in in_french(n).replace("-", " ").split()] for n in numbers]
    return torch.tensor([row + [0] * (max(map(len, rows)) - len(row)) for row in rows])


@student_side
def digits(numbers):
    """N × PLACES, int64: the digits, STOP behind them."""
    rows = [[int(digit) for digit in str(n)] for n in numbers]
    return torch.tensor([row + [STOP] * (PLACES - len(row)) for row in rows])


@student_side
def draw_numbers(count, shortest, generator):
    """Numbers of `shortest` to 6 digits, each length as often."""
    lengths = torch.randint(shortest, 7, (count,), generator=generator).tolist()
    return [int(torch.randint(10 ** (n - 1) if n > 1 else 0, 10**n, (1,), generator=generator)) for n in lengths]


@student_side
class Translator(torch.nn.Module):
    """The student's blocks: one reads the words, one writes the digits."""

    def __init__(self, student, dim, heads):
        super().__init__()
        self.student, self.dim = student, dim
        self.read, self.wrote = torch.nn.Embedding(28, dim), torch.nn.Embedding(12, dim)
        self.encoder, self.decoder = student.Block(dim, heads), student.Block(dim, heads, cross=True)
        self.norm_memory, self.norm = torch.nn.LayerNorm(dim), torch.nn.LayerNorm(dim)
        self.out = torch.nn.Linear(dim, 12)

    def placed(self, vectors):
        return vectors + self.student.sinusoidal_positions(vectors.size(1), self.dim)

    def forward(self, source, written):
        words = (source > 0).unsqueeze(1)
        memory = self.norm_memory(self.encoder(self.placed(self.read(source)), words))
        mask = self.student.causal_mask(written.size(1))
        return self.out(self.norm(self.decoder(self.placed(self.wrote(written)), mask, memory, words)))


@student_side
def learn_french(student, seed, steps, shown):
    """Losses, answers to new numbers, and how the numbers `shown` are read: digits and N × heads × T × S weights."""
    g = torch.Generator().manual_seed(seed)
    new = sorted(set(draw_numbers(1000, 4, g)) | set(shown))
    secret = set(new)
    torch.manual_seed(seed)
    model = Translator(student, 48, 4)
    optimizer, losses = torch.optim.Adam(model.parameters()), []
    for step in progress(range(steps), "French numbers"):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, (step + 1) / 50, max(0.05, 1.6 * (1 - step / steps)))
        numbers = [n for n in draw_numbers(80, 1, g) if n not in secret]
        answer = digits(numbers)
        shifted = torch.cat((torch.full((len(numbers), 1), START), answer[:, :-1]), 1)
        loss = F.cross_entropy(model(word_numbers(numbers), shifted).flatten(0, 1), answer.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    answers = student.greedy_decode(model, word_numbers(new), START, STOP, PLACES)
    maps = []
    model.decoder.attend_cross.register_forward_hook(lambda module, inputs, result: maps.append(result[1]))
    read = word_numbers(shown)
    written = student.greedy_decode(model, read, START, STOP, PLACES)
    with torch.inference_mode():
        model.eval()(read, torch.cat((torch.full((len(shown), 1), START), written[:, :-1]), 1))
    return losses, new, answers, written, maps[-1]


@lab.experiment("attention", "causal_mask", "MultiHead", "sinusoidal_positions", "Block", "greedy_decode", seconds=16)
def french_numbers(student, metrics, data, rng):
    """a small transformer reads French numbers: quatre-vingt-dix-sept → 97"""
    shown = (92, 77_097, 380_471)
    losses, new, answers, written, maps = student.run(learn_french, rng.seed(), 700, list(shown))
    right = (answers == digits(new)).all(1)
    metrics.at_least(
        f"{len(new)} numbers never seen, all digits right", 100 * right.double().mean().item(), 92, unit="%"
    )
    metrics.at_most("loss of the last 50 updates", sum(losses[-50:]) / 50, 0.05)
    with metrics.picture("french.png", size=(11, 4.2)) as figure:
        widths = [len(in_french(n).replace("-", " ").split()) + 2 for n in shown]
        for axes, n, row, weights in zip(figure.subplots(1, 3, width_ratios=widths), shown, written, maps, strict=True):
            read = in_french(n).replace("-", " ").split()
            said = ["■" if digit == STOP else str(digit) for digit in row.tolist()][: len(str(n)) + 1]
            axes.imshow(weights.mean(0)[: len(said), : len(read)], cmap="Blues", vmin=0, vmax=0.8, aspect="equal")
            axes.set_xticks(range(len(read)), read, rotation=60, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(len(said)), said)
            axes.set_title(in_french(n), fontsize=8)
            axes.set_anchor("N")
            axes.grid(False)
            axes.spines[:].set_visible(False)
        figure.supylabel("digit written (■: the end)", fontsize=9)
        figure.suptitle("Which word it looks at for each digit (mean of four heads)", fontsize=10)


# On a GPU


@student_side
class Writer(torch.nn.Module):
    """Bytes in, scores of the next byte out: the student's blocks under a causal mask."""

    def __init__(self, student, dim, heads, layers, context):
        super().__init__()
        self.read = torch.nn.Embedding(256, dim)
        self.blocks = torch.nn.ModuleList(student.Block(dim, heads) for _ in range(layers))
        self.norm, self.out = torch.nn.LayerNorm(dim), torch.nn.Linear(dim, 256)
        self.register_buffer("places", student.sinusoidal_positions(context, dim))
        self.register_buffer("mask", student.causal_mask(context))

    def forward(self, text):
        size = text.size(1)
        x = self.read(text) + self.places[:size]
        for block in self.blocks:
            x = block(x, self.mask[:size, :size])
        return self.out(self.norm(x))


@student_side
def python_library():
    """The modules of Python's standard library as bytes, uint8; the last twentieth of them is for the test."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()
    texts = [torch.frombuffer(bytearray(files[n].read_bytes() or b"\n"), dtype=torch.uint8) for n in order]
    last = len(texts) - max(1, len(texts) // 20)
    return torch.cat(texts[:last]), torch.cat(texts[last:])


@student_side
def write_python(student, device, seed, steps, batch, context, dim, layers):
    """Bits per character on unseen modules, characters per second, and some Python of the network's own."""
    torch.manual_seed(seed)
    train, test = (text.to(device) for text in python_library())
    model = Writer(student, dim, 4, layers, context).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    fast = device == "cuda" and torch.cuda.get_device_capability()[0] >= 8  # older ones only imitate bfloat16

    def bits(text, begin):
        window = text[begin[:, None] + torch.arange(context + 1, device=device)].long()
        with torch.autocast(device, torch.bfloat16, enabled=fast):
            scores = model(window[:, :-1])
        return F.cross_entropy(scores.float().flatten(0, 1), window[:, 1:].flatten()) / math.log(2)

    started = time.monotonic()
    for step in progress(range(steps), "reading Python"):
        optimizer.param_groups[0]["lr"] = 1.5e-3 * min(1, (step + 1) / 100, max(0.03, 1.1 * (1 - step / steps)))
        loss = bits(train, torch.randint(len(train) - context, (batch,), device=device))
        optimizer.zero_grad()
        (loss * math.log(2)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    loss.item()  # waits for the GPU, so that the time is the time
    seconds = time.monotonic() - started
    model.eval()
    with torch.inference_mode():
        begin = torch.arange(0, len(test) - context, context, device=device)[: 32 * batch]
        whole = begin.split(batch)[: len(begin) // batch or 1]  # without the short batch, which would count too much
        tested = torch.stack([bits(test, part) for part in whole]).mean().item()
        text = torch.tensor([list(b"def ")], device=device)
        for _ in progress(range(700), "writing Python"):
            p = (model(text[:, -context:])[:, -1].float() / 0.7).softmax(1)
            text = torch.cat((text, torch.multinomial(p, 1)), 1)
    return tested, steps * batch * context / seconds, text[0].tolist()


@student_side
def on_both(student, x):
    """One causal block on the CPU and on the GPU."""
    torch.manual_seed(0)
    block, mask = student.Block(x.size(2), 4), student.causal_mask(x.size(1))
    with torch.inference_mode():
        return block(x, mask), block.cuda()(x.cuda(), mask.cuda()).cpu()


@lab.gpu("attention", "causal_mask", "MultiHead", "sinusoidal_positions", "Block", seconds=60)
def a_transformer_writes_python(student, metrics, data, rng):
    """a transformer of 3 million parameters reads the standard library and writes Python"""
    here, there = student.run(on_both, rng.normal(2, 50, 64))
    metrics.at_most("largest difference between CPU and GPU", (here - there).abs().max().item(), 1e-2)
    tested, speed, text = student.run(write_python, "cuda", rng.seed(), 1500, 64, 256, 256, 4)
    metrics.at_most("bits per character, unseen modules", tested, 2.4)
    metrics.seen("characters read per second", round(speed))
    with metrics.picture("python.png", size=(8, 5)) as figure:
        lines = bytes(text).decode("utf-8", "replace").expandtabs(4).split("\n")
        shown = [line[n : n + 96] for line in lines for n in range(0, max(len(line), 1), 96)][:30]
        figure.text(0.03, 0.95, "\n".join(shown).replace("$", r"\$"), family="monospace", fontsize=7, va="top")
