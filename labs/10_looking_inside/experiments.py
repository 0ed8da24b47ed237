"""The experiments of lab 10: what can be measured and seen once its parts work."""

import torch
from check import MAPS, lab
from checking import data, progress, student_side
from checking.kit import digit_model, loaded
from torch.nn import functional as F

BLOCK = "pool relu"  # behind each convolution of the network for digits


@student_side
def train(student, x, t, nb_epochs):
    model = digit_model(BLOCK)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(nb_epochs):
        for inputs, targets in progress(list(zip(x.split(100), t.split(100), strict=True)), "training"):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    return model.state_dict()


_trained = {}


def trained(student, data):
    """The weights of a network that saw 6000 digits three times, and 1000 test digits; the same for all targets."""
    train_x, train_t, x, t = data.mnist(full=True, flatten=False)
    if not _trained:
        _trained.update(student.run(train, train_x[:6000] / 255, train_t[:6000], 3))
    return _trained, x[:1000] / 255, t[:1000]


@student_side
def answers(student, weights, x):
    with torch.inference_mode():
        return loaded(digit_model(BLOCK), weights)(x).argmax(1)


@student_side
def all_maps(student, weights, x, classes):
    model = loaded(digit_model(BLOCK), weights)
    extra = {"smooth_grad": (0.3, 20), "integrated_gradients": (20,)}
    names = ["saliency", "smooth_grad", "grad_times_input", "integrated_gradients", "guided_saliency"]
    return {name: getattr(student, name)(model, x, classes, *extra.get(name, ())) for name in progress(names, "maps")}


@lab.experiment(*MAPS, seconds=8)
def what_matters(student, metrics, data, rng):
    """which pixels carry the answer: delete the 60 that a map calls the most important"""
    weights, x, t = trained(student, data)
    x, t = x[:300], t[:300]
    right = student.run(answers, weights, x) == t
    x, t = x[right], t[right]
    maps = student.run(all_maps, weights, x, t)

    def flipped(map_):
        deleted = x.flatten(1).scatter(1, map_.flatten(1).topk(60, 1).indices, 0.0).reshape(x.shape)
        return 100 * (student.run(answers, weights, deleted) != t).double().mean().item()

    for name, low in (("saliency", 60), ("grad_times_input", 60), ("integrated_gradients", 60), ("smooth_grad", None)):
        map_ = maps[name] if name != "smooth_grad" else x * maps[name]
        label = f"answers that change, {name}{'' if low else ' · x'}"
        if low:
            metrics.at_least(label, flipped(map_), low, unit="%")
        else:
            metrics.seen(label, flipped(map_), unit="%")
    metrics.at_most("answers that change, 60 random pixels", flipped(rng.uniform(*x.shape)), 20, unit="%")
    ink = rng.uniform(*x.shape) * (x > 0)
    metrics.at_most("answers that change, 60 random pixels with ink", flipped(ink), 45, unit="%")
    shown = [int((t == digit).nonzero()[0]) for digit in (2, 3, 5, 7, 8)]
    with metrics.picture("maps.png", size=(8.4, 7)) as figure:
        grid = figure.subplots(len(shown), len(maps) + 1)
        for row, n in zip(grid, shown, strict=True):
            row[0].imshow(x[n, 0], cmap="gray_r")
            for axes, (name, values) in zip(row[1:], maps.items(), strict=True):
                high = values[n].abs().max()
                axes.imshow(values[n, 0], cmap="cividis", vmin=-high, vmax=high)
                axes.contour(x[n, 0], levels=[0.5], colors="black", linewidths=0.4, alpha=0.6)
                if n == shown[0]:
                    axes.set_title(name, fontsize=8)
        for axes in grid.flat:
            axes.axis("off")


@student_side
def dreams(student, weights):
    model, x = loaded(digit_model(BLOCK), weights), torch.zeros(10, 1, 28, 28)
    for _ in progress(range(10), "dreaming"):
        x = student.activation_maximisation(model, x, torch.arange(10), 10, 0.1, 0.05)
    return x, model(x).softmax(1)


@lab.experiment("activation_maximisation", seconds=4)
def what_it_wants_to_see(student, metrics, data, rng):
    """from a black image to the ideal of each digit, 100 steps"""
    weights, _, _ = trained(student, data)
    x, probabilities = student.run(dreams, weights)
    metrics.at_least("smallest probability of the wanted digit", probabilities.diag().min().item(), 0.99)
    with metrics.picture("dreams.png", size=(9, 4)) as figure:
        for digit, axes in enumerate(figure.subplots(2, 5).flat):
            high = x[digit].abs().max()
            axes.imshow(x[digit, 0], cmap="cividis", vmin=-high, vmax=high)
            axes.set_title(f"{digit}: {100 * probabilities[digit, digit]:.1f} %")
            axes.axis("off")


@student_side
def attacks(student, weights, x, t, epsilons):
    """Test errors under three changes of the same size; the images for one size."""
    model, found, shown = loaded(digit_model(BLOCK), weights), {"random signs": [], "fgsm": [], "pgd": []}, None
    for epsilon in progress(epsilons, "attacks"):
        noise = epsilon * torch.randn_like(x).sign()
        changed = {
            "random signs": (x + noise).clamp(0, 1),
            "fgsm": student.fgsm(model, x, t, epsilon),
            "pgd": student.pgd(model, x, t, epsilon, epsilon / 3, 6),
        }
        for name, images in changed.items():
            found[name].append(100 * model(images).argmax(1).ne(t).float().mean().item())
        if epsilon == 0.1:
            shown = changed["fgsm"], model(changed["fgsm"]).argmax(1)
    return found, *shown


@lab.experiment("fgsm", "pgd", seconds=12)
def how_to_fool_it(student, metrics, data, rng):
    """the test error on 500 images that were changed a little"""
    weights, x, t = trained(student, data)
    x, t = x[:500], t[:500]
    epsilons = [0.0, 0.05, 0.1, 0.15, 0.2]
    errors, changed, wrong = student.run(attacks, weights, x, t, epsilons)
    metrics.at_most("error, no change", errors["fgsm"][0], 10, unit="%")
    metrics.at_most("error, random signs, ε = 0.1", errors["random signs"][2], 12, unit="%")
    metrics.at_least("error, fgsm, ε = 0.1", errors["fgsm"][2], 20, unit="%")
    metrics.at_least("error, fgsm, ε = 0.2", errors["fgsm"][4], 60, unit="%")
    metrics.at_least("error, pgd, ε = 0.2", errors["pgd"][4], 75, unit="%")
    fooled = ((student.run(answers, weights, x) == t) & (wrong != t)).nonzero().flatten()[:6].tolist()
    with metrics.picture("attacks.png", size=(11, 4.6)) as figure:
        grid = figure.add_gridspec(3, 9)
        axes = figure.add_subplot(grid[:, :3])
        for name, values in errors.items():
            axes.plot(epsilons, values, marker="o", markersize=3, label=name)
        axes.set(xlabel="largest change of a pixel, ε", ylabel="test error / %", ylim=(0, 100))
        axes.legend(loc="upper left")
        for column, n in enumerate(fooled, start=3):
            difference = changed[n, 0] - x[n, 0]
            for row, (image, colours, low, high, title) in enumerate(
                (
                    (x[n, 0], "gray_r", 0, 1, f"{t[n]}"),
                    (difference, "cividis", -0.1, 0.1, "change × 10"),
                    (changed[n, 0], "gray_r", 0, 1, f"“{wrong[n]}”"),
                )
            ):
                axes = figure.add_subplot(grid[row, column])
                axes.imshow(image, cmap=colours, vmin=low, vmax=high)
                axes.set_title(title, fontsize=8 if row == 1 else 10, color="#c2571a" if row == 2 else "black")
                axes.axis("off")


@student_side
def hardened(student, nb_epochs, epsilon):
    """Train on attacked images only, on the GPU; errors on clean and on attacked test images."""
    x, t, test_x, test_t = (part.cuda() for part in data.mnist(full=True, flatten=False))
    x, test_x = x / 255, test_x / 255
    model = digit_model(BLOCK).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in progress(range(nb_epochs), "adversarial training"):
        now = epsilon * min(1, (epoch + 1) / 3)  # a full attack from the start is more than a new network can learn
        for b in torch.randperm(len(x), device="cuda").split(200):
            attacked = student.pgd(model, x[b], t[b], now, now / 3, 5)
            optimizer.zero_grad()
            F.cross_entropy(model(attacked), t[b]).backward()
            optimizer.step()
    model.eval()

    def error(images):
        return 100 * model(images).argmax(1).ne(test_t).float().mean().item()

    steps = torch.zeros(10, 1, 28, 28, device="cuda")
    ideals = student.activation_maximisation(model, steps, torch.arange(10, device="cuda"), 100, 0.1, 0.05)
    return error(test_x), error(student.pgd(model, test_x, test_t, epsilon, epsilon / 8, 20)), ideals


@lab.gpu("activation_maximisation", "fgsm", "pgd", seconds=120)
def a_network_that_resists(student, metrics, data, rng):
    """trained on attacked images, all 60 000, 8 epochs"""
    data.mnist(full=True)  # where they are missing, this says so
    clean, attacked, ideals = student.run(hardened, 8, 0.2)
    metrics.at_most("error, no change", clean, 5, unit="%")
    metrics.at_most("error, 20 steps of pgd, ε = 0.2", attacked, 25, unit="%")
    with metrics.picture("dreams_of_a_hardened_network.png", size=(9, 4)) as figure:
        for digit, axes in enumerate(figure.subplots(2, 5).flat):
            high = ideals[digit].abs().max()
            axes.imshow(ideals[digit, 0], cmap="cividis", vmin=-high, vmax=high)
            axes.set_title(str(digit))
            axes.axis("off")
