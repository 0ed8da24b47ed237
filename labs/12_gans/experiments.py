"""The experiments of lab 12: what can be measured and seen once its parts work."""

import math
import time
from itertools import pairwise

import torch
from check import PLAIN, lab
from checking import data, progress, student_side
from torch import nn
from torch.nn import functional as F


@student_side
def layers(*sizes, kind=nn.ReLU):
    """A multi-layer perceptron."""
    found = []
    for before, after in pairwise(sizes):
        found += [nn.Linear(before, after), kind()]
    return nn.Sequential(*found[:-1])


@student_side
def rules(student, kind, weight):
    """The losses of the two players."""
    if kind == "GAN":
        return lambda d, real, fake: student.d_loss(d(real), d(fake)), student.g_loss
    return lambda f, real, fake: student.critic_loss(f, real, fake, weight), lambda scores: -scores.mean()


@student_side
def on_line(n, x):
    """n points on the vertical line at x, between heights 0 and 1."""
    return torch.stack((torch.full((n,), float(x)), torch.rand(n)), 1)


@student_side
class Shift(nn.Module):
    """A generator that puts z on the line at theta, and has nothing to learn."""

    def __init__(self, theta):
        super().__init__()
        self.theta = theta

    def forward(self, z):
        return z + torch.tensor([self.theta, 0.0])


@student_side
def two_lines(student, shifts, steps, weight):
    """What discriminators and critics say about samples on two parallel lines."""
    said = {"GAN": [], "WGAN": []}
    for theta in progress(shifts, "two lines"):
        for kind, values in said.items():
            critic, generator, (loss, _) = (
                layers(2, 32, 32, 1, kind=nn.Tanh),
                Shift(theta),
                rules(student, kind, weight),
            )
            optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3, betas=(0.5, 0.9))
            for _ in range(steps):
                student.critic_step(critic, generator, optimizer, on_line(128, 0), on_line(128, 0), loss)
            real, fake = critic(on_line(4000, 0)), critic(on_line(4000, theta))
            tells = (math.log(4) - student.d_loss(real, fake)) / 2 if kind == "GAN" else real.mean() - fake.mean()
            values.append(tells.item())
    return said


@lab.experiment("d_loss", "critic_step", "gradient_penalty", "critic_loss", seconds=4)
def how_far_apart(student, metrics, data, rng):
    """samples on two lines: how far apart are they?"""
    shifts, weight = (0.0, 0.25, 0.5, 1.0, 2.0, 3.0), 20.0
    said = student.run(two_lines, shifts, 250, weight)
    for theta in 0.5, 1.0, 2.0:
        value = said["WGAN"][shifts.index(theta)]
        metrics.within(f"critic, lines {theta:g} apart", value, 0.85 * theta, 1.15 * theta)
    for theta in 0.5, 2.0:
        metrics.within(
            f"discriminator, lines {theta:g} apart (log 2 = 0.693)", said["GAN"][shifts.index(theta)], 0.6, 0.7
        )
    metrics.within("critic, the same line", said["WGAN"][0], -0.1, 0.1)
    with metrics.picture("lines.png", size=(8.4, 3.4)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
        for x, colour, mark, name in (0, "#17457d", "o", "real"), (1, "#c2571a", "^", "made"):
            points = on_line(130, x)
            left.scatter(points[:, 0], points[:, 1], s=9, marker=mark, color=colour, alpha=0.6, linewidths=0)
            left.annotate(name, (x, 1.04), ha="center", color=colour)
        left.annotate("", (1, 0.5), (0, 0.5), arrowprops={"arrowstyle": "<->", "color": "0.4"})
        left.annotate("θ", (0.5, 0.53), ha="center", fontsize=11)
        left.set(xlim=(-0.4, 1.4), ylim=(-0.05, 1.15), title="Two distributions that never meet")
        left.set_axis_off()
        right.plot((0, 3), (0, 3), color="0.7", linewidth=1)
        right.plot(shifts, said["WGAN"], "o-", color="#2f855a", label="critic: difference of mean scores")
        right.plot(shifts, said["GAN"], "s--", color="#805ad5", label="discriminator: (log 4 − loss) / 2")
        right.annotate("the distance itself", (1.5, 1.5), (2.3, 2.02), fontsize=8, color="0.5")
        right.set(xlabel="distance of the lines, θ", title="What the opponent says about it")
        right.legend()


@student_side
def ring(n):
    """n points around eight centres on a circle of radius 2."""
    angle = torch.randint(0, 8, (n,)) * (math.pi / 4)
    return 2 * torch.stack((angle.cos(), angle.sin()), 1) + 0.05 * torch.randn(n, 2)


@student_side
def play(student, kind, steps, looks, weight):
    """A game on the ring; samples and the opponent's scores on a grid, at some steps."""
    generator, critic = layers(4, 64, 64, 2), layers(2, 64, 64, 1)
    of_d, of_g = rules(student, kind, weight)
    turns, rate = (1, 1e-3) if kind == "GAN" else (3, 2e-3)
    optimizers = [torch.optim.Adam(net.parameters(), lr=rate, betas=(0.5, 0.9)) for net in (generator, critic)]
    line, found = torch.linspace(-3, 3, 61), []
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), 2).view(-1, 2)
    for step in progress(range(1, steps + 1), f"{kind} on the ring"):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate * min(1.0, 2 - 2 * (step - 1) / steps)
        for _ in range(turns):
            student.critic_step(critic, generator, optimizers[1], ring(128), torch.randn(128, 4), of_d)
        student.generator_step(critic, generator, optimizers[0], torch.randn(128, 4), of_g)
        if step in looks:
            with torch.no_grad():
                found.append((generator(torch.randn(2000, 4)), critic(grid).view(61, 61)))
    return found


def heaps(samples):
    """How many of the eight heaps get at least one sample in a hundred, and the share of samples on any, in %."""
    angle = torch.arange(8) * (math.pi / 4)
    distance, nearest = torch.cdist(samples, 2 * torch.stack((angle.cos(), angle.sin()), 1)).min(1)
    on = distance < 0.25
    counts = torch.bincount(nearest[on], minlength=8)
    return int((counts >= len(samples) // 100).sum()), 100 * on.double().mean().item()


@lab.experiment(*PLAIN, "gradient_penalty", "critic_loss", seconds=12)
def eight_heaps(student, metrics, data, rng):
    """eight heaps in a ring: the plain game, and the one with a critic"""
    looks = 100, 300, 700, 1500
    games = {kind: student.run(play, kind, 1500, looks, 0.3) for kind in ("GAN", "WGAN")}
    for kind, name in ("GAN", "plain GAN"), ("WGAN", "WGAN"):
        modes, share = heaps(games[kind][-1][0])
        if kind == "GAN":
            metrics.seen(f"heaps of 8, {name}", modes)
            metrics.seen(f"samples on a heap, {name}", share, unit="%")
        else:
            metrics.at_least(f"heaps of 8, {name}", modes, 7)
            metrics.at_least(f"samples on a heap, {name}", share, 55, unit="%")
    with metrics.picture("ring.png", size=(9, 4.9)) as figure:
        grid = figure.subplots(2, len(looks))
        line = torch.linspace(-3, 3, 61)
        for row, (kind, title) in zip(grid, (("GAN", "plain"), ("WGAN", "with a critic")), strict=True):
            for axes, step, (samples, scores) in zip(row, looks, games[kind], strict=True):
                axes.contourf(line, line, scores, levels=14, cmap="viridis", alpha=0.55)
                axes.scatter(samples[:700, 0], samples[:700, 1], s=2.2, color="black", linewidths=0, alpha=0.7)
                axes.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
                axes.spines[:].set_visible(False)
                axes.set_title(f"{title}, step {step}: {heaps(samples)[0]} heaps", fontsize=8.5)
                for angle in range(8):
                    axes.plot(
                        2 * math.cos(angle * math.pi / 4),
                        2 * math.sin(angle * math.pi / 4),
                        "o",
                        markersize=9,
                        fillstyle="none",
                        color="#2f855a",
                        markeredgewidth=0.9,
                    )


@student_side
class Told(nn.Module):
    """A network that is told classes, by the student's `condition`."""

    def __init__(self, student, network):
        super().__init__()
        self.student, self.network, self.classes = student, network, None

    def forward(self, x):
        return self.network(self.student.condition(x, self.classes, 10))


@student_side
def reader(x, t):
    """A classifier that has seen real images, on their device."""
    model = layers(x[0].numel(), 128, 10).to(x.device)
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(2):
        for batch in torch.randperm(len(x), device=x.device).split(100):
            adam.zero_grad()
            F.cross_entropy(model(x[batch].flatten(1)), t[batch]).backward()
            adam.step()
    return model


@student_side
def judged(made, ordered, x, t):
    """Share of made images that are read as ordered; their variance within a digit, compared with real ones."""
    right = reader(x, t)(made.flatten(1)).argmax(1).eq(ordered).float().mean().item()
    pairs = [(made[ordered == digit].flatten(1), x[t == digit].flatten(1)) for digit in range(10)]
    return right, sum(float(m.var(0).sum() / r.var(0).sum()) for m, r in pairs) / 10


@student_side
def to_order(student, steps, weight):
    """A conditional game on digits of 14 × 14 pixels; 100 samples of each."""
    x, t, _, _ = data.mnist(full=True, flatten=False)
    x = F.avg_pool2d(x / 255, 2).flatten(1)
    n, size, rate = 64, x.size(1), 3e-3
    generator = Told(student, nn.Sequential(layers(26, 128, 256, size, kind=lambda: nn.LeakyReLU(0.2)), nn.Sigmoid()))
    critic = Told(student, layers(size + 10, 256, 128, 1, kind=lambda: nn.LeakyReLU(0.2)))
    of_d, of_g = rules(student, "WGAN", weight)
    optimizers = [torch.optim.Adam(net.parameters(), lr=rate, betas=(0.5, 0.9)) for net in (generator, critic)]
    for step in progress(range(steps), "digits to order"):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate * min(1.0, 2 - 2 * step / steps)
        for _ in range(2):
            batch = torch.randint(0, len(x), (n,))
            critic.classes = generator.classes = t[batch]
            student.critic_step(critic, generator, optimizers[1], x[batch], torch.randn(n, 16), of_d)
        critic.classes = generator.classes = torch.randint(0, 10, (n,))
        student.generator_step(critic, generator, optimizers[0], torch.randn(n, 16), of_g)
    ordered = generator.classes = torch.arange(10).repeat_interleave(100)
    with torch.no_grad():
        made = generator(torch.randn(1000, 16))
    return made, judged(made, ordered, x[:12_000], t[:12_000])


def sheet_of(figure, made, columns, pixels):
    """Rows of made digits, one for each order."""
    axes = figure.subplots()
    images = made.view(10, -1, pixels, pixels)[:, :columns]
    images = F.pad(images, (1, 1, 1, 1)).permute(0, 2, 1, 3)
    side = pixels + 2
    axes.imshow(images.reshape(10 * side, columns * side), interpolation="bicubic", vmin=0, vmax=1)
    axes.set_yticks([side * (row + 0.5) for row in range(10)], [f"“{row}”" for row in range(10)])
    axes.tick_params(length=0)
    axes.set(xticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(False)


@lab.experiment("critic_step", "generator_step", "gradient_penalty", "critic_loss", "condition", seconds=14)
def digits_to_order(student, metrics, data, rng):
    """digits to order, 14 × 14 pixels"""
    made, (right, variety) = student.run(to_order, 1200, 0.3)
    metrics.at_least("made digits that are read as ordered", 100 * right, 75, unit="%")
    metrics.within("variance within a digit, real digits have 1", variety, 0.5, 1.5)
    with metrics.picture("digits.png", size=(8.4, 5)) as figure:
        sheet_of(figure, made, 18, 14)
        figure.suptitle("Ordered and delivered: every digit here is made up", fontsize=10)


@student_side
def deep_players(student):
    """Convolutional players on images of 28 × 28 pixels from −1 to 1 (Radford et al., 2015), told the classes."""
    generator = nn.Sequential(
        nn.ConvTranspose2d(64 + 10, 128, 7, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1 + 10, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.Conv2d(128, 1, 7),
        nn.Flatten(),
    )
    for layer in [*generator, *discriminator]:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=0.02)
    return Told(student, generator), Told(student, discriminator)


@student_side
def deep_game(student, device, images, epochs):
    """The plain game, conditional and convolutional, on whole images; 100 samples of each digit, and the seconds."""
    x, t = (part[:images].to(device) for part in data.mnist(full=True, flatten=False)[:2])
    x = x / 127.5 - 1
    generator, critic = (player.to(device) for player in deep_players(student))
    of_d, of_g = rules(student, "GAN", 0.0)
    optimizers = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator, critic)]
    begin = time.monotonic()
    for epoch in range(epochs):
        for batch in progress(torch.randperm(len(x), device=device).split(128), f"epoch {epoch + 1}"):
            n = len(batch)
            critic.classes = generator.classes = t[batch]
            noise = torch.randn(n, 64, 1, 1, device=device)
            student.critic_step(critic, generator, optimizers[1], x[batch], noise, of_d)
            critic.classes = generator.classes = torch.randint(0, 10, (n,), device=device)
            student.generator_step(critic, generator, optimizers[0], torch.randn(n, 64, 1, 1, device=device), of_g)
    seconds = time.monotonic() - begin  # each step ends in .item(), which waits for the GPU
    generator.eval()
    ordered = generator.classes = torch.arange(10, device=device).repeat_interleave(100)
    with torch.no_grad():
        made = (generator(torch.randn(1000, 64, 1, 1, device=device)) + 1) / 2
    return made.cpu(), judged(made, ordered, (x + 1) / 2, t), seconds


@lab.gpu(*PLAIN, "condition", seconds=60)
def whole_images_to_order(student, metrics, data, rng):
    """digits to order by convolutions, 60 000 images, 5 epochs"""
    made, (right, variety), seconds = student.run(deep_game, "cuda", 60_000, 5)
    metrics.at_least("made digits that are read as ordered", 100 * right, 85, unit="%")
    metrics.within("variance within a digit, real digits have 1", variety, 0.3, 1.7)
    metrics.seen("the game", seconds, unit="s")
    with metrics.picture("digits_by_convolutions.png", size=(9, 5)) as figure:
        sheet_of(figure, made, 18, 28)
