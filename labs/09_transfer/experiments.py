"""The experiments of lab 09: what can be measured and seen once its parts work."""

import tempfile
from pathlib import Path

import torch
from check import lab
from checking import progress, student_side
from checking.kit import digit_model
from torch.nn import functional as F

# ---- target


@student_side
def fit(student, model, x, t, nb_epochs, batch_size, seed):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for epoch in range(nb_epochs):
        student.train_mode(model)
        for inputs, targets in student.make_loader(x, t, batch_size, seed, epoch):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    model.eval()


@student_side
def learned(student, x, t):
    """Learn the old digits, each batch moved a little; the checkpoint, as bytes."""
    model = digit_model("pool norm relu", 5)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    student.train_mode(model)
    for inputs, targets in progress(list(student.make_loader(x, t, 100, 0, 0)), "learning 0 to 4"):
        down, right = torch.randint(-3, 4, (2,)).tolist()
        optimizer.zero_grad()
        F.cross_entropy(model(inputs.roll((down, right), (2, 3))), targets).backward()
        optimizer.step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "old.pt"
        student.save_checkpoint(path, model, optimizer, 1)
        return path.read_bytes()


@student_side
def model_of(student, checkpoint):
    """The model in a checkpoint of `learned`, or (None) a new one."""
    model = digit_model("pool norm relu", 5)
    if checkpoint is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "old.pt"
            path.write_bytes(checkpoint)
            student.load_checkpoint(path, model, torch.optim.Adam(model.parameters()))
    return model


@student_side
def transferred(student, checkpoint, few, x, t, ways, seed):
    """The test error of each way to learn the new digits from a few of them."""
    errors = {}
    for way in progress(ways, f"learning 5 to 9 from {len(few[0])} images"):
        torch.manual_seed(seed)
        old = model_of(student, checkpoint if ways[way]["pretrained"] else None)
        torch.manual_seed(seed)
        model = student.replace_head(old, 5)
        student.freeze(model, ways[way]["learns"])
        fit(student, model, *few, 40, max(5, len(few[0]) // 2), seed)
        errors[way] = 100 * model(x).argmax(1).ne(t).float().mean().item()
    return errors


@student_side
def old_features(student, checkpoint, x):
    """What the convolutions of the network that knows 0 to 4 make of the new digits."""
    return student.extract_features(model_of(student, checkpoint).eval(), x, "8")


def neighbours(points, count):
    """For each row the `count` nearest other rows."""
    distances = torch.cdist(points, points)
    distances.fill_diagonal_(float("inf"))
    return distances.topk(count, largest=False).indices


@lab.experiment(*lab.parts, seconds=25)
def new_digits_from_a_few(student, metrics, data, rng):
    """from the digits 0 to 4 to 5 to 9, with 10, 20 and 50 labels"""
    train_x, train_t, test_x, test_t = data.mnist(full=True, normalize=True, flatten=False)
    old, new = train_t < 5, train_t >= 5
    x, t = test_x[test_t >= 5][:1000], test_t[test_t >= 5][:1000] - 5
    rest = ["0", "2", "4", "6"]
    ways = {
        "from scratch": {"pretrained": False, "learns": [*rest, "9", "11"]},
        "random convolutions, frozen": {"pretrained": False, "learns": ["9", "11"]},
        "pretrained convolutions, frozen": {"pretrained": True, "learns": ["9", "11"]},
        "pretrained, all learns": {"pretrained": True, "learns": [*rest, "9", "11"]},
    }
    errors = {way: {} for way in ways}
    checkpoint = student.run(learned, train_x[old], train_t[old])
    for count in 10, 20, 50:
        for seed in range(3):
            pool_x, pool_t = train_x[new][seed * 1000 :][:1000], train_t[new][seed * 1000 :][:1000] - 5
            chosen = torch.cat([(pool_t == c).nonzero().flatten()[: count // 5] for c in range(5)])
            few = (pool_x[chosen], pool_t[chosen])
            for way, error in student.run(transferred, checkpoint, few, x, t, ways, seed).items():
                errors[way].setdefault(count, []).append(error)
    near = {
        "by their pixels": neighbours(x.flatten(1), 6),
        "by features learnt on 0 to 4": neighbours(student.run(old_features, checkpoint, x), 6),
    }
    mean = {way: {count: sum(e) / len(e) for count, e in counts.items()} for way, counts in errors.items()}
    for way, counts in mean.items():
        metrics.seen(f"test error with 20 labels, {way}", counts[20], unit="%")
    scratch, random, kept, tuned = (sum(counts.values()) / len(counts) for counts in mean.values())
    metrics.at_least("points gained by pretraining, all learns", scratch - tuned, 2)
    metrics.at_least("points gained by pretraining, convolutions frozen", random - kept, 3)
    pixels, learnt = (100 * (t[rows[:, 0]] != t).double().mean().item() for rows in near.values())
    metrics.seen("the nearest image, by pixels, is another digit", pixels, unit="%")
    metrics.at_most("by features of a network that never saw one", learnt, 0.8 * pixels, unit="%")
    with metrics.picture("transfer.png", size=(12, 4.2)) as figure:
        grid = figure.add_gridspec(1, 3, width_ratios=[1.2, 1, 1])
        left = figure.add_subplot(grid[0])
        for number, (way, counts) in enumerate(errors.items()):
            sizes, values = list(counts), torch.tensor(list(counts.values()))
            style, mark = ("-", "--", "-.", ":")[number], "os^D"[number]
            (line,) = left.plot(sizes, values.mean(1), marker=mark, linestyle=style, color=f"C{number}", label=way)
            left.plot(sizes, values, linestyle=style, color=line.get_color(), linewidth=0.5, alpha=0.5)
        left.set(xscale="log", xlabel="images of the new digits", ylabel="test error / %", xticks=sizes, ylim=(0, None))
        left.set_xticklabels(map(str, sizes))
        left.minorticks_off()
        left.legend()
        wrong = (t[near["by their pixels"]] != t[:, None]).sum(1)
        shown = [int((wrong * (t == digit)).argmax()) for digit in range(5)]  # of each digit the one that fares worst
        for part, (name, rows) in enumerate(near.items(), start=1):
            axes = figure.add_subplot(grid[part])
            tiles = [torch.cat([x[n, 0], *x[rows[n], 0]], 1) for n in shown]
            axes.imshow(torch.cat(tiles), cmap="gray_r")
            axes.axvline(27.5, color="black", linewidth=1)
            for line, n in enumerate(shown):
                for place, other in enumerate(rows[n], start=1):
                    if t[other] != t[n]:
                        right, top = 28 * place + 1, 28 * line + 1
                        box = [right, right + 25, right + 25, right, right], [top, top, top + 25, top + 25, top]
                        axes.plot(*box, color="#c2571a")
            axes.set_title(f"nearest {name}")
            axes.axis("off")
