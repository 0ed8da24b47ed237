"""The experiments of lab 11: what can be measured and seen once its parts work."""

import math

import torch
from check import FLOW, VAE, lab
from checking import progress, student_side
from checking.kit import half_circles
from torch import nn
from torch.distributions import Normal


@student_side
def descend(loss, parameters, x, epochs, lr, text):
    """Adam on batches of 100, with a step that shrinks in the second half."""
    optimizer, total = torch.optim.Adam(parameters, lr=lr), epochs * len(x) // 100
    batches = (b for _ in range(epochs) for b in torch.randperm(len(x)).split(100))
    for k, b in enumerate(progress(list(batches), text)):
        optimizer.param_groups[0]["lr"] = lr * min(1, 2 * (1 - k / total) + 0.02)
        optimizer.zero_grad()
        loss(x[b]).backward()
        optimizer.step()


def digits(data, n):
    train, _, test, labels = data.mnist(full=True)
    return train[:n] / 255, test[:2000] / 255, labels[:2000]


def rows_of_digits(figure, rows):
    """A row of images for each title."""
    grid = figure.subplots(len(rows), len(next(iter(rows.values()))))
    for row, (title, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(row, images, strict=True):
            axes.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(title, rotation=0, ha="right", va="center")


@lab.experiment("transposed_conv1d", seconds=1)
def signals_made_longer(student, metrics, data, rng):
    """stride 4: one wave, three filters"""
    wave = torch.sin(torch.linspace(0.4, 7.2, 12))[None, None]
    ramp = 1 - torch.arange(-3, 4).abs() / 4
    filters = {"4 ones: steps": torch.ones(4), "a triangle: straight lines": ramp, "6 ones: a comb": torch.ones(6)}
    made = {title: student.transposed_conv1d(wave, f[None, None], 4)[0, 0] for title, f in filters.items()}
    lines = made["a triangle: straight lines"][3:-3]
    parts = torch.arange(45) / 4
    between = wave[0, 0, parts.floor().long()].lerp(wave[0, 0, parts.ceil().long()], parts % 1)
    metrics.equal("numbers, from 12 with a filter of 6", len(made["6 ones: a comb"]), 50)
    metrics.at_most("triangle: distance from straight lines", (lines - between).abs().max().item(), 1e-5)
    with metrics.picture("longer.png", size=(10, 2.6)) as figure:
        for axes, (title, y) in zip(figure.subplots(1, 3, sharey=True), made.items(), strict=True):
            first = {4: 0, 7: 3, 6: 0}[len(filters[title])]
            axes.plot(torch.arange(12) * 4 + first, wave[0, 0], "o", color="#c2571a", markersize=4)
            axes.step(torch.arange(len(y)), y, where="mid")
            axes.set_title(title)


@student_side
def auto_encoder(student, x, test, code, share, epochs):
    """Trained on x; what it makes of damaged test images, these, and what it makes of random codes."""
    encoder = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, code))
    decoder = nn.Sequential(nn.Linear(code, 256), nn.ReLU(), nn.Linear(256, 784), nn.Sigmoid())
    parameters = [*encoder.parameters(), *decoder.parameters()]
    descend(lambda rows: student.denoising_loss(encoder, decoder, rows, share), parameters, x, epochs, 3e-3, "training")
    with torch.no_grad():
        damaged = test * (torch.rand_like(test) >= share)
        codes = encoder(x)
        random = codes.mean(0) + codes.std(0) * torch.randn(12, code)
        return decoder(encoder(damaged)), damaged, decoder(random)


@lab.experiment("denoising_loss", seconds=7)
def squeezed_and_repaired(student, metrics, data, rng):
    """images from 8 numbers, beside PCA; and images of which 70 % was deleted"""
    x, test, _ = digits(data, 6000)
    mean = x.mean(0)
    axes = torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors[:, -8:]
    linear = (test - mean) @ axes @ axes.T + mean
    eight, _, invented = student.run(auto_encoder, x, test, 8, 0.0, 8)
    repaired, damaged, _ = student.run(auto_encoder, x, test, 128, 0.7, 8)

    def error(images):
        return (images - test).square().mean().item()

    metrics.seen("squared error, PCA to 8 numbers", error(linear))
    metrics.at_most("squared error, auto-encoder to 8 numbers", error(eight), 0.029)
    metrics.at_most("the same, as a share of PCA's", error(eight) / error(linear), 0.80)
    metrics.seen("squared error, 70 % deleted", error(damaged))
    metrics.at_most("squared error, repaired", error(repaired), 0.034)
    with metrics.picture("repaired.png", size=(9, 4.9)) as figure:
        rows_of_digits(
            figure,
            {
                "digits": test[:12],
                "PCA, 8 numbers": linear[:12],
                "auto-encoder, 8": eight[:12],
                "its random codes": invented,
                "70 % deleted": damaged[:12],
                "repaired": repaired[:12],
            },
        )


@student_side
def variational(student, x, test, code, epochs, shown):
    """Train; the bounds for test images, their codes, and what the codes `shown` become (None: 64 random ones)."""
    encoder = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 2 * code))
    deeper = [nn.Linear(code, 64), nn.ReLU()] if code == 2 else []
    decoder = nn.Sequential(*deeper, nn.Linear(64 if deeper else code, 256), nn.ReLU(), nn.Linear(256, 784))

    def encode(rows):
        return encoder(rows).chunk(2, 1)

    def log_likelihood(rows, z):
        return student.bernoulli_log_likelihood(decoder(z), rows)

    def loss(rows):
        return -student.elbo(encode, log_likelihood, rows).mean()

    parameters = [*encoder.parameters(), *decoder.parameters()]
    descend(loss, parameters, x, epochs, 3e-3, f"a code of {code}")
    with torch.no_grad():
        bounds = student.elbo(encode, log_likelihood, test)
        kl = student.kl_gaussian(*encode(test))
        codes = torch.randn(64, code) if shown is None else shown
        return bounds, kl, encode(test)[0], decoder(codes).sigmoid()


def tiled(images, n):
    """n × n images as one."""
    return images.reshape(n, n, 28, 28).permute(0, 2, 1, 3).reshape(28 * n, 28 * n)


@lab.experiment(*VAE, seconds=13)
def digits_nobody_wrote(student, metrics, data, rng):
    """a VAE with codes of 10 numbers, and one with 2 that fit on a map"""
    x, test, labels = digits(data, 10_000)
    bounds, kl, _, drawn = student.run(variational, x, test, 10, 7, None)
    metrics.at_most("−ELBO on test digits, codes of 10 numbers", -bounds.mean().item(), 128, unit="nats")
    metrics.seen("of which divergence", kl.mean().item(), unit="nats")
    quantiles = Normal(0.0, 1.0).icdf(torch.linspace(0.015, 0.985, 16))
    places = torch.stack((quantiles.repeat(16), quantiles.flip(0).repeat_interleave(16)), 1)
    bounds, _, codes, map_ = student.run(variational, x, test, 2, 10, places)
    metrics.at_most("−ELBO on test digits, codes of 2 numbers", -bounds.mean().item(), 168, unit="nats")
    with metrics.picture("digits.png", size=(13, 4.6)) as figure:
        left, middle, right = figure.subplots(1, 3)
        for digit in range(10):  # each point is the digit itself: no colour is needed
            x, y = codes[labels == digit].T
            left.scatter(x, y, marker=f"${digit}$", s=16, linewidths=0, color=f"C{digit % 6}")
        left.set(title="test digits: the means of their codes", aspect="equal", xlim=(-3.6, 3.6), ylim=(-3.6, 3.6))
        for axes, image, title in (
            (middle, tiled(map_, 16), "the map: what each place becomes"),
            (right, tiled(drawn, 8), "drawn: codes of 10 random numbers"),
        ):
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            axes.set_title(title)
            axes.axis("off")


@student_side
def moons(n):
    """Points on two half circles, with noise, and the angle of each."""
    angle, upper = math.pi * torch.rand(n), torch.rand(n) < 0.5
    return half_circles(angle, ~upper) + 0.1 * torch.randn(n, 2), torch.where(upper, angle, angle + math.pi)


@student_side
class Decides(nn.Module):
    """The network of a coupling: a between −2 and 2, so that no layer can explode, and b; both begin at 0."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, x):
        a, b = self.layers(x).chunk(2, 1)
        return torch.cat((2 * a.tanh(), b), 1)


@student_side
def flow(student, mean, std, steps, grid):
    """A flow of eight layers for the two moons: its NLL on new points and on the grid, and noise on its way back."""
    masks = [torch.tensor([k % 2 == 0, k % 2 == 1]) for k in range(8)]
    nets = nn.ModuleList(Decides() for _ in masks)
    optimizer = torch.optim.Adam(nets.parameters(), lr=5e-3)
    units = std.log().sum()  # the flow sees (x − mean)/std: a density per other units of area
    for k in progress(range(steps), "a flow"):
        optimizer.param_groups[0]["lr"] = 5e-3 * min(1, 2 * (1 - k / steps) + 0.02)
        optimizer.zero_grad()
        student.flow_nll((moons(256)[0] - mean) / std, masks, nets).mean().backward()
        optimizer.step()
    with torch.no_grad():
        nll = student.flow_nll((moons(5000)[0] - mean) / std, masks, nets) + units
        on_grid = student.flow_nll((grid - mean) / std, masks, nets) + units
        way = [torch.randn(3000, 2)]
        for mask, net in list(zip(masks, nets, strict=True))[::-1]:
            way.append(student.coupling_inverse(way[-1], mask, net))
        there = way[-1]
        for k, mask in enumerate(masks):
            there, _ = student.coupling_forward(there, mask, nets[k])
        return nll.mean().item(), on_grid, [z * std + mean for z in way], (there - way[0]).abs().max().item()


@lab.experiment(*FLOW, seconds=7)
def noise_becomes_two_moons(student, metrics, data, rng):
    """eight couplings, 1000 steps; the density, and noise on its way back to the data"""
    sample = moons(20_000)[0]
    mean, std = sample.mean(0), sample.std(0)
    across, up = torch.linspace(-1.75, 2.75, 181), torch.linspace(-1.25, 1.75, 121)
    grid = torch.cartesian_prod(across, up)
    nll, on_grid, way, lost = student.run(flow, mean, std, 1000, grid)
    gauss = 0.5 * torch.logdet(2 * math.pi * math.e * torch.cov(sample.T)).item()
    p = (-on_grid).exp().reshape(181, 121).T
    metrics.at_most("−log p of new points, the flow", nll, 1.25, unit="nats")
    metrics.seen("−log p of new points, the best Gaussian", gauss, unit="nats")
    metrics.within("probability on the picture", (p.sum() * 0.025**2).item(), 0.97, 1.02)
    metrics.at_most("there and back, largest error", lost, 0.01)
    with metrics.picture("moons.png", size=(13, 2.9)) as figure:
        panels = figure.subplots(1, 5)
        hue = way[0][:, 0]  # each point keeps the colour of its noise, from left to right
        for axes, k in zip(panels, (0, 3, 6, 8), strict=False):
            low, high = way[k].quantile(0.002, 0) - 0.1, way[k].quantile(0.998, 0) + 0.1
            axes.scatter(way[k][:, 0], way[k][:, 1], c=hue, cmap="viridis", s=2, alpha=0.6)
            axes.set(title="noise, dark on the left" if k == 0 else f"{k} layers back")
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        panels[4].imshow(p, origin="lower", extent=(-1.75, 2.75, -1.25, 1.75), cmap="magma", aspect="auto")
        panels[4].set_title("density")
        for axes in panels:
            axes.set(xticks=[], yticks=[])
