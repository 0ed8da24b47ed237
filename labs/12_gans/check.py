"""The checks of lab 12. Reading them is allowed and useful."""

import math
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, beside, case, expect, progress, require

PLAIN = ["d_loss", "g_loss", "critic_step", "generator_step"]
lab = Lab(__file__, parts=[*PLAIN, "gradient_penalty", "critic_loss", "condition"])

DOUBLE = torch.float64


# --------------------------------------------------------------------------------------------------------- the losses


@beside
def slope(student, name, *scores):
    """What a loss of scores sends back to each of them."""
    leaves = [s.clone().requires_grad_() for s in scores]
    return torch.autograd.grad(getattr(student, name)(*leaves), leaves)


def log_d(scores):
    return scores.sigmoid().log()


@lab.check("d_loss")
def cross_entropy_of_both(student, rng):
    """the loss, against the logarithms of probabilities"""
    for n, m in (7, 4), (1, 3), (5, 5):
        for shape in (), (1,):
            with case(f"{n} real and {m} made samples, scores {n}{' × 1' if shape else ''}"):
                real, fake = rng.normal(n, *shape, dtype=DOUBLE), 2 * rng.normal(m, *shape, dtype=DOUBLE)
                of_real, of_fake = -log_d(real).mean(), -log_d(-fake).mean()
                expect(student.d_loss(real, fake), of_real + of_fake, mistakes={
                    "that is what the discriminator maximises: the sign is wrong": -of_real - of_fake,
                    "real and made samples are exchanged": -log_d(-real).mean() - log_d(fake).mean(),
                    "log D(fake) instead of log(1 − D(fake))": of_real - log_d(fake).mean(),
                    "the mean of the two halves, it should be their sum": (of_real + of_fake) / 2,
                    "sums over the samples, they should be means": -log_d(real).sum() - log_d(-fake).sum(),
                    "one mean over all scores, it should be one for each kind":
                        -torch.cat((log_d(real), log_d(-fake))).mean(),
                    "the scores of the made samples are missing": of_real,
                    "the scores of the real samples are missing": of_fake,
                    "the scores are no probabilities yet: the sigmoid is missing":
                        lambda r=real, f=fake: -(r.clamp(1e-9, 1).log().mean() + (1 - f).clamp(1e-9, 1).log().mean()),
                })  # fmt: skip


@lab.check("d_loss")
def undecided(student, rng):
    """log 4 where the discriminator cannot tell: all scores 0"""
    expect(student.d_loss(torch.zeros(3), torch.zeros(5)), torch.tensor(math.log(4)), mistakes={
        "the mean of the two halves, it should be their sum": torch.tensor(math.log(2)),
    })  # fmt: skip


SURE = "a probability rounds to 0 or 1 before the logarithm: F.logsigmoid, F.softplus"


@lab.check("d_loss")
def sure_of_itself(student, rng):
    """scores of ±1000: the loss and its derivative"""
    real, fake = torch.tensor([1000.0, -1000.0, 0.5]), torch.tensor([-1000.0, 1000.0])
    with case("scores of ±1000", likely=SURE):
        want = (1000 - float(log_d(torch.tensor(0.5)))) / 3 + 500
        expect(student.d_loss(real, fake), torch.tensor(want), likely=SURE)
    with case("the derivative at scores of ±1000", likely=SURE):
        expect(student.run(slope, "d_loss", real, fake), (-(-real).sigmoid() / 3, fake.sigmoid() / 2),
               names=("of real scores", "of made scores"), likely=SURE)  # fmt: skip


@lab.check("g_loss")
def non_saturating(student, rng):
    """the loss, against the logarithms of probabilities"""
    for shape in (7,), (1, 1), (4, 1):
        fake = 2 * rng.normal(*shape, dtype=DOUBLE)
        with case(f"scores {' × '.join(map(str, shape))}"):
            expect(student.g_loss(fake), -log_d(fake).mean(), mistakes={
                "the sign is wrong: the generator wants log D to be large": log_d(fake).mean(),
                "that is mean log(1 − D), the loss that saturates": log_d(-fake).mean(),
                "that is −mean log(1 − D): it helps the discriminator": -log_d(-fake).mean(),
                "a sum over the samples, it should be a mean": -log_d(fake).sum(),
                "that is the loss of Wasserstein's generator, the mean score": -fake.mean(),
            })  # fmt: skip


@lab.check("g_loss")
def learns_when_it_loses(student, rng):
    """where the discriminator is sure, the derivative is −1/N, not 0"""
    fake = torch.tensor([-1000.0, -30.0, 0.0, 30.0, 1000.0])
    want = -(-fake).sigmoid() / 5
    with case("scores −1000, −30, 0, 30, 1000", likely=SURE):
        expect(student.run(slope, "g_loss", fake), (want,), names=("derivative",), likely=SURE, mistakes={
            "log(1 − D) is flat where the generator has most to learn: that loss saturates": (-fake.sigmoid() / 5,),
        })  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- the moves

CRITIC, GENERATOR = 26, 27  # parameters of the two networks below


@beside
def players(a, b):
    """A critic of three numbers and a generator from two, in float64, with these weights."""
    critic = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    generator = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    vector_to_parameters(a.clone(), critic.parameters())
    vector_to_parameters(b.clone(), generator.parameters())
    return critic, generator


@beside
def of_critic(critic, real, fake):
    """Some loss of a critic that tells real from made."""
    return critic(fake).mean() - critic(real).mean() + 0.3 * critic(real).square().mean()


@beside
def of_generator(scores):
    return (scores - 2).square().mean()


@beside
def moves(student, name, a, b, real, z):
    """Some moves; the losses, and what became of the weights and of their .grad, which held ones before."""
    critic, generator = players(a, b)
    for p in [*critic.parameters(), *generator.parameters()]:
        p.grad = torch.ones_like(p)
    mine, other = (critic, generator) if name == "critic_step" else (generator, critic)
    optimizer, losses, hangs = torch.optim.SGD(mine.parameters(), lr=0.2), [], []

    def watched(critic, real, fake):
        hangs.append(fake.requires_grad)
        return of_critic(critic, real, fake)

    for one, noise in zip(real, z, strict=True):
        if name == "critic_step":
            losses.append(student.critic_step(critic, generator, optimizer, one, noise, watched))
        else:
            losses.append(student.generator_step(critic, generator, optimizer, noise, of_generator))
    weights = parameters_to_vector(mine.parameters()), parameters_to_vector(other.parameters())
    left = parameters_to_vector(torch.zeros_like(p) if p.grad is None else p.grad for p in other.parameters())
    records = all(p.requires_grad for p in [*critic.parameters(), *generator.parameters()])
    return losses, *weights, left, records, any(hangs)


def written_out(name, a, b, real, z, lr=0.2, keep=False, swap=False, after=False, stale=False):
    """The losses and the weights after the moves, by autograd for the vector of all weights; or after a mistake."""
    critic, generator = players(a, b)
    mine = list((critic if name == "critic_step" else generator).parameters())
    losses, gathered = [], torch.ones_like(a if name == "critic_step" else b)

    def value(one, noise):
        if name != "critic_step":
            return of_generator(critic(generator(noise)))
        pair = (generator(noise), one) if swap else (one, generator(noise))
        return of_critic(critic, *pair)

    def move():
        vector_to_parameters(parameters_to_vector(mine).detach() - lr * gathered, mine)

    for one, noise in zip(real, z, strict=True):
        if stale:
            move()
        now = value(one, noise)
        gathered = parameters_to_vector(torch.autograd.grad(now, mine)) + (gathered if keep else 0)
        if not stale:
            move()
        losses.append((value(one, noise) if after else now).item())
    return losses, parameters_to_vector(mine).detach()


def check_moves(student, rng, name, player, other, remedy):
    for n in 5, 1:
        with case(f"batches of {n}, three updates"):
            a, b = rng.normal(CRITIC, dtype=DOUBLE), rng.normal(GENERATOR, dtype=DOUBLE)
            real, z = 1 + rng.normal(3, n, 3, dtype=DOUBLE), rng.normal(3, n, 2, dtype=DOUBLE)
            losses, weights, others, left, records, hangs = student.run(moves, name, a, b, real, z)
            setting = name, a, b, real, z
            mistakes = {
                f"the {player} has not changed: is optimizer.step() missing?":
                    lambda s=setting: written_out(*s, lr=0.0),
                "what was in .grad before is added: optimizer.zero_grad() is missing":
                    lambda s=setting: written_out(*s, keep=True),
                "the update uses the gradients of the step before: step() comes after backward()":
                    lambda s=setting: written_out(*s, stale=True),
                "the loss grows: it should be minimised as it is": lambda s=setting: written_out(*s, lr=-0.2),
                "the loss after the update is returned, it should be the one before":
                    lambda s=setting: written_out(*s, after=True),
            }  # fmt: skip
            if name == "critic_step":
                mistakes["real and made samples are exchanged"] = lambda s=setting: written_out(*s, swap=True)
            expect((losses, weights), written_out(*setting), names=("losses", f"weights of the {player}"),
                   mistakes=mistakes)  # fmt: skip
            require(torch.equal(others, b if name == "critic_step" else a), f"the weights of the {other} have changed")
            require(records, "some weights no longer require a gradient", f"give it back to the {other} at the end")
            require(left.eq(1).all() and not hangs, f"the .grad of the {other} has changed", remedy)


@lab.check("critic_step")
def moves_the_critic_alone(student, rng):
    """three updates, against updates written out; the generator stays as it is"""
    remedy = "the made samples still hang on the generator: detach them"
    check_moves(student, rng, "critic_step", "critic", "generator", remedy)


@lab.check("generator_step")
def moves_the_generator_alone(student, rng):
    """three updates, against updates written out; the critic stays as it is"""
    remedy = "backward() leaves derivatives in all weights on its way: name those that should get one, with `inputs`"
    check_moves(student, rng, "generator_step", "generator", "critic", remedy)


# -------------------------------------------------------------------------------------------------------- the critic


@beside
class Watched(nn.Module):
    """A critic that notes what it is asked. Its weights w, b, v: score = v · tanh(w x + b), or w x without b and v."""

    def __init__(self, *weights):
        super().__init__()
        self.weights = nn.ParameterList(w.clone() for w in weights)
        self.asked = []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        w, *rest = self.weights
        x = x.flatten(1) @ w.T
        return (torch.tanh(x + rest[0]) @ rest[1]).unsqueeze(1) if rest else x


@beside
def of_weights(value, critic):
    """The derivative of a value with respect to the critic's weights; None where there is none."""
    if not (isinstance(value, torch.Tensor) and value.requires_grad):
        return None
    found = torch.autograd.grad(value, list(critic.parameters()), allow_unused=True, retain_graph=True)
    return tuple(torch.zeros_like(w) if g is None else g for w, g in zip(critic.parameters(), found, strict=True))


@beside
def on_watched(student, name, weights, *arguments):
    """A loss of a critic, its derivative, the points at which the critic was asked, its .grad, which held ones."""
    critic = Watched(*weights)
    for p in critic.parameters():
        p.grad = torch.ones_like(p)
    value = getattr(student, name)(critic, *arguments)
    left = all(p.grad is not None and bool(p.grad.eq(1).all()) for p in critic.parameters())
    return value, of_weights(value, critic), critic.asked, left


def slopes_at(critic, x):
    """∇f at each row of x, flattened: in closed form."""
    w, *rest = critic.weights
    if not rest:
        return w.expand(len(x), -1)
    return (rest[1] * (1 - torch.tanh(x.flatten(1) @ w.T + rest[0]).square())) @ w


def random_critic(rng, d, linear=False):
    if linear:
        return (rng.normal(1, d, dtype=DOUBLE),)
    return rng.normal(6, d, dtype=DOUBLE), rng.normal(6, dtype=DOUBLE), rng.normal(6, dtype=DOUBLE)


def batches(rng, n, *shape):
    return rng.normal(n, *shape, dtype=DOUBLE), 1 + 2 * rng.normal(n, *shape, dtype=DOUBLE)


@lab.reference
def gradient_penalty(critic, real, fake):
    total = 0.0
    for one, other in zip(real, fake, strict=True):
        x = torch.lerp(one, other, torch.rand((), dtype=real.dtype, device=real.device))[None].requires_grad_()
        length = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0].norm()
        total = total + (length - 1) ** 2
    return total / len(real)


@lab.check("gradient_penalty")
def of_a_linear_critic(student, rng):
    """(k − 1)² for a linear critic of slope k, wherever the points are"""
    for k in 0.25, 1.0, 4.0:
        with case(f"slope {k}"):
            (w,) = random_critic(rng, 5, linear=True)
            value, *_ = student.run(on_watched, "gradient_penalty", (k * w / w.norm(),), *batches(rng, 7, 5))
            number = torch.tensor((k - 1) ** 2, dtype=DOUBLE)
            expect(value, number, mistakes={
                "that is (‖∇f‖² − 1)²: the root is missing": torch.tensor((k**2 - 1) ** 2, dtype=DOUBLE),
                "that is ‖∇f‖²: the length should be 1, not 0": torch.tensor(k**2, dtype=DOUBLE),
                "slopes below 1 are not punished": torch.tensor(max(0, k - 1) ** 2, dtype=DOUBLE),
                "that is ‖∇f‖ − 1: the square is missing": torch.tensor(k - 1, dtype=DOUBLE),
                "the norm is taken over the whole batch, it should be one for each sample":
                    torch.tensor((7**0.5 * k - 1) ** 2, dtype=DOUBLE),
            })  # fmt: skip


def check_points(x, real, fake):
    """Are the points where they should be?"""
    require(len(x) == len(real), f"the critic was asked at {len(x)} points, expected {len(real)}")
    require(x.shape == real.shape, f"the critic was asked at points of shape {tuple(x.shape)}")
    span = (real - fake).flatten(1)
    each = (x - fake).flatten(1) / span  # t, in every coordinate
    t = ((x - fake).flatten(1) * span).sum(1) / span.square().sum(1)
    apart = not torch.allclose(each, t[:, None].expand_as(each), atol=1e-4)
    own = apart and bool(((each > -1e-6) & (each < 1 + 1e-6)).all())
    require(not apart, "a point is not on the line from its real sample to its made sample",
            "each coordinate has a t of its own; it should be one for each sample" if own else None)  # fmt: skip
    require(t.min() > -1e-6 and t.max() < 1 + 1e-6, f"t goes from {t.min():.3g} to {t.max():.3g}, expected 0 to 1",
            "torch.rand is uniform, torch.randn is not")  # fmt: skip
    if len(t) > 1:
        ends = {0.0: "the points are the made samples", 1.0: "the points are the real samples"}
        single = ends.get(round(float(t[0]), 6), "one t for the whole batch; it should be one for each sample")
        require(t.std() > 1e-6, f"all points have the same t, {t[0]:.4g}", single)
    return t


@lab.check("gradient_penalty")
def points_in_between(student, rng):
    """the points are on the lines from real to made samples, with t uniform"""
    for n, shape in (1500, (3,)), (6, (2, 3, 4)), (1, (2,)):
        with case(f"{n} samples of shape {' × '.join(map(str, shape))}"):
            real, fake = batches(rng, n, *shape)
            weights = random_critic(rng, math.prod(shape))
            _, _, asked, _ = student.run(on_watched, "gradient_penalty", weights, real, fake)
            require(len(asked) > 0, "the critic was not asked")
            t = check_points(torch.cat(asked), real, fake)
            if n > 1000:
                uneven = (t.sort().values - (torch.arange(n) + 0.5) / n).abs().max()
                require(uneven < 0.06, "t is not uniform between 0 and 1")  # by chance: once in 10 000 times


@lab.check("gradient_penalty")
def length_of_the_derivative(student, rng):
    """the penalty of a curved critic, and its derivative for the critic's weights"""
    for n, shape in (5, (3,)), (4, (2, 3, 4)), (1, (2,)):
        with case(f"{n} samples of shape {' × '.join(map(str, shape))}"):
            real, fake = batches(rng, n, *shape)
            weights = random_critic(rng, math.prod(shape))
            value, derivative, asked, left = student.run(on_watched, "gradient_penalty", weights, real, fake)
            require(len(asked) > 0, "the critic was not asked")
            x, critic = torch.cat(asked), Watched(*weights)
            check_points(x, real, fake)
            slopes = slopes_at(critic, x)
            lengths = slopes.norm(dim=1)
            want = (lengths - 1).square().mean()
            expect(value, want.detach(), mistakes={
                "a sum over the samples, it should be a mean": (n * want).detach(),
                "the norm is taken over the whole batch, it should be one for each sample":
                    (slopes.norm() - 1).square().detach(),
                "that is (‖∇f‖² − 1)²: the root is missing": (lengths.square() - 1).square().mean().detach(),
                "slopes below 1 are not punished": (lengths - 1).clamp(min=0).square().mean().detach(),
                "the derivative of the mean score divides by N": (lengths / n - 1).square().mean().detach(),
                "the norm is over one dimension only, it should be over all of a sample":
                    (slopes.view(x.shape).norm(dim=1) - 1).square().mean().detach(),
                "the mean is outside of the square": (lengths.mean() - 1).square().detach(),
            })  # fmt: skip
            require(left, "the .grad of the critic has changed",
                    "backward() writes it: torch.autograd.grad gives the derivative for x alone")  # fmt: skip
            require(derivative is not None, "the penalty does not depend on the critic's weights: nothing to learn",
                    "torch.autograd.grad forgets how it came to its result, unless create_graph=True")  # fmt: skip
            expect(derivative, torch.autograd.grad(want, list(critic.parameters())), names=("w", "b", "v"))


def wasserstein(weights, real, fake, weight, *, distance=-1.0, penalty=True):
    """The loss of a linear critic and its derivative; or with a mistake."""
    critic = Watched(*weights)
    gap = (critic(real).mean() - critic(fake).mean()) * distance
    punished = (critic.weights[0].norm() - 1).square() if penalty else 0
    value = gap + weight * punished
    return value.detach(), torch.autograd.grad(value, list(critic.parameters()))


@lab.check("critic_loss")
def distance_and_penalty(student, rng):
    """the loss of a linear critic and its derivative, in closed form"""
    for n, weight in (5, 10.0), (1, 0.3), (8, 0.0):
        with case(f"{n} samples, weight {weight:g}"):
            real, fake = batches(rng, n, 3)
            setting = random_critic(rng, 3, linear=True), real, fake, weight
            value, derivative, _, _ = student.run(on_watched, "critic_loss", *setting)
            require(derivative is not None, "the loss does not depend on the critic's weights")
            mistakes = {
                "the difference has the wrong sign: real samples should score high":
                    lambda s=setting: wasserstein(*s, distance=1.0),
                "the penalty is missing": lambda s=setting: wasserstein(*s, penalty=False),
                "the penalty has the wrong sign: it rewards steep critics":
                    lambda s=setting: wasserstein(*s[:3], -s[3]),
                "the penalty is not multiplied by the weight": lambda s=setting: wasserstein(*s[:3], 1.0),
                "sums over the samples, they should be means": lambda s=setting, m=n: wasserstein(*s, distance=-m),
            }  # fmt: skip
            expect((value, derivative), wasserstein(*setting), names=("loss", "derivative"), mistakes=mistakes)


# ------------------------------------------------------------------------------------------------------- made to order


def coded(x, classes, k, first=False, values=(0, 1)):
    """x with the planes of its classes, one entry after the other."""
    planes = torch.full((len(x), k, *x.shape[2:]), values[0], dtype=x.dtype)
    for n, c in enumerate(classes.tolist()):
        planes[n, c] = values[1]
    return torch.cat((planes, x) if first else (x, planes), 1)


@lab.check("condition")
def class_behind_the_features(student, rng):
    """the columns or planes of the class, against a loop"""
    for shape, k in ((7, 5), 4), ((1, 3), 6), ((5, 2, 3, 4), 3), ((3, 1, 2, 2), 5), ((2, 3, 1, 1), 2):
        for dtype in torch.float32, DOUBLE:
            with case(f"x {' × '.join(map(str, shape))} {str(dtype)[6:]}, {k} classes"):
                x, classes = rng.normal(*shape, dtype=dtype), rng.integers(0, k - 1, shape[0])  # never the last class
                number = classes.to(dtype).view(-1, *[1] * (x.dim() - 1)).expand(-1, 1, *shape[2:])
                got = student.condition(x, classes, k)
                as_number = isinstance(got, torch.Tensor) and got.shape == (shape[0], shape[1] + 1, *shape[2:])
                require(not (as_number and torch.equal(got, torch.cat((x, number), 1))),
                        "one column was added", "that is the number of the class, not its one-hot code")  # fmt: skip
                want = coded(x, classes, k)
                wide = f"{k} columns or planes, even if the last classes do not occur; behind x, along dimension 1"
                require(not isinstance(got, torch.Tensor) or got.shape == want.shape,
                        f"shape {tuple(getattr(got, 'shape', ()))}, expected {tuple(want.shape)}", wide)  # fmt: skip
                require(not isinstance(got, torch.Tensor) or got.dtype == dtype,
                        f"type {getattr(got, 'dtype', None)}, expected {dtype}", "keep the type of x")  # fmt: skip
                expect(got, want, mistakes={
                    "the class is before the features, it should be behind them": coded(x, classes, k, first=True),
                    "the code has −1 for the other classes, it should have 0": coded(x, classes, k, values=(-1, 1)),
                    "the class is off by one": coded(x, (classes + 1) % k, k),
                    "every sample has the class of the first": coded(x, classes[:1].expand(len(x)), k),
                })  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- targets


@beside
def layers(*sizes, kind=nn.ReLU):
    """A multi-layer perceptron."""
    found = []
    for before, after in pairwise(sizes):
        found += [nn.Linear(before, after), kind()]
    return nn.Sequential(*found[:-1])


@beside
def rules(student, kind, weight):
    """The losses of the two players."""
    if kind == "GAN":
        return lambda d, real, fake: student.d_loss(d(real), d(fake)), student.g_loss
    return lambda f, real, fake: student.critic_loss(f, real, fake, weight), lambda scores: -scores.mean()


@beside
def on_line(n, x):
    """n points on the vertical line at x, between heights 0 and 1."""
    return torch.stack((torch.full((n,), float(x)), torch.rand(n)), 1)


@beside
class Shift(nn.Module):
    """A generator that puts z on the line at theta, and has nothing to learn."""

    def __init__(self, theta):
        super().__init__()
        self.theta = theta

    def forward(self, z):
        return z + torch.tensor([self.theta, 0.0])


@beside
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


@lab.target("d_loss", "critic_step", "gradient_penalty", "critic_loss", seconds=4)
def how_far_apart(student, goals, data, rng):
    """samples on two lines: how far apart are they?"""
    shifts, weight = (0.0, 0.25, 0.5, 1.0, 2.0, 3.0), 20.0
    said = student.run(two_lines, shifts, 250, weight)
    for theta in 0.5, 1.0, 2.0:
        value = said["WGAN"][shifts.index(theta)]
        goals.within(f"critic, lines {theta:g} apart", value, 0.85 * theta, 1.15 * theta)
    for theta in 0.5, 2.0:
        goals.within(
            f"discriminator, lines {theta:g} apart (log 2 = 0.693)", said["GAN"][shifts.index(theta)], 0.6, 0.7
        )
    goals.within("critic, the same line", said["WGAN"][0], -0.1, 0.1)
    with goals.picture("lines.png", size=(8.4, 3.4)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
        for x, colour, name in (0, "#17457d", "real"), (1, "#c2571a", "made"):
            points = on_line(130, x)
            left.scatter(points[:, 0], points[:, 1], s=9, color=colour, alpha=0.6, linewidths=0)
            left.annotate(name, (x, 1.04), ha="center", color=colour)
        left.annotate("", (1, 0.5), (0, 0.5), arrowprops={"arrowstyle": "<->", "color": "0.4"})
        left.annotate("θ", (0.5, 0.53), ha="center", fontsize=11)
        left.set(xlim=(-0.4, 1.4), ylim=(-0.05, 1.15), title="Two distributions that never meet")
        left.set_axis_off()
        right.plot((0, 3), (0, 3), color="0.7", linewidth=1)
        right.plot(shifts, said["WGAN"], "o-", color="#2f855a", label="critic: difference of mean scores")
        right.plot(shifts, said["GAN"], "o-", color="#805ad5", label="discriminator: (log 4 − loss) / 2")
        right.annotate("the distance itself", (1.5, 1.5), (2.3, 2.02), fontsize=8, color="0.5")
        right.set(xlabel="distance of the lines, θ", title="What the opponent says about it")
        right.legend()


@beside
def ring(n):
    """n points around eight centres on a circle of radius 2."""
    angle = torch.randint(0, 8, (n,)) * (math.pi / 4)
    return 2 * torch.stack((angle.cos(), angle.sin()), 1) + 0.05 * torch.randn(n, 2)


@beside
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


@lab.target(*PLAIN, "gradient_penalty", "critic_loss", seconds=12)
def eight_heaps(student, goals, data, rng):
    """eight heaps in a ring: the plain game, and the one with a critic"""
    looks = 100, 300, 700, 1500
    games = {kind: student.run(play, kind, 1500, looks, 0.3) for kind in ("GAN", "WGAN")}
    for kind, name in ("GAN", "plain GAN"), ("WGAN", "WGAN"):
        modes, share = heaps(games[kind][-1][0])
        if kind == "GAN":
            goals.seen(f"heaps of 8, {name}", modes)
            goals.seen(f"samples on a heap, {name}", share, unit="%")
        else:
            goals.at_least(f"heaps of 8, {name}", modes, 7)
            goals.at_least(f"samples on a heap, {name}", share, 55, unit="%")
    with goals.picture("ring.png", size=(9, 4.9)) as figure:
        grid = figure.subplots(2, len(looks))
        line = torch.linspace(-3, 3, 61)
        for row, (kind, title) in zip(grid, (("GAN", "plain"), ("WGAN", "with a critic")), strict=True):
            for axes, step, (samples, scores) in zip(row, looks, games[kind], strict=True):
                axes.contourf(line, line, scores, levels=14, cmap="PuOr_r", alpha=0.55)
                axes.scatter(samples[:700, 0], samples[:700, 1], s=2.2, color="black", linewidths=0, alpha=0.7)
                axes.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
                axes.spines[:].set_visible(False)
                axes.set_title(f"{title}, step {step}: {heaps(samples)[0]} heaps", fontsize=8.5)
                for angle in range(8):
                    axes.plot(2 * math.cos(angle * math.pi / 4), 2 * math.sin(angle * math.pi / 4), "o",
                              markersize=9, fillstyle="none", color="#2f855a", markeredgewidth=0.9)  # fmt: skip


@beside
class Told(nn.Module):
    """A network that is told classes, by the student's `condition`."""

    def __init__(self, student, network):
        super().__init__()
        self.student, self.network, self.classes = student, network, None

    def forward(self, x):
        return self.network(self.student.condition(x, self.classes, 10))


@beside
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


@beside
def judged(made, ordered, x, t):
    """Share of made images that are read as ordered; their variance within a digit, compared with real ones."""
    right = reader(x, t)(made.flatten(1)).argmax(1).eq(ordered).float().mean().item()
    pairs = [(made[ordered == digit].flatten(1), x[t == digit].flatten(1)) for digit in range(10)]
    return right, sum(float(m.var(0).sum() / r.var(0).sum()) for m, r in pairs) / 10


@beside
def to_order(student, steps, weight):
    """A conditional game on digits of 14 × 14 pixels; 100 samples of each."""
    x, t, _, _ = data.mnist(full=True, flatten=False)  # noqa: F821
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


@lab.target("critic_step", "generator_step", "gradient_penalty", "critic_loss", "condition", seconds=14)
def digits_to_order(student, goals, data, rng):
    """digits to order, 14 × 14 pixels"""
    made, (right, variety) = student.run(to_order, 1200, 0.3)
    goals.at_least("made digits that are read as ordered", 100 * right, 75, unit="%")
    goals.within("variance within a digit, real digits have 1", variety, 0.5, 1.5)
    with goals.picture("digits.png", size=(8.4, 5)) as figure:
        sheet_of(figure, made, 18, 14)
        figure.suptitle("Ordered and delivered: every digit here is made up", fontsize=10)


@beside
def deep_players(student):
    """Convolutional players on images of 28 × 28 pixels from −1 to 1 (Radford et al., 2015), told the classes."""
    generator = nn.Sequential(
        nn.ConvTranspose2d(64 + 10, 128, 7, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(1 + 10, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2),
        nn.Conv2d(128, 1, 7), nn.Flatten(),
    )  # fmt: skip
    for layer in [*generator, *discriminator]:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=0.02)
    return Told(student, generator), Told(student, discriminator)


@beside
def deep_game(student, device, images, epochs):
    """The plain game, conditional and convolutional, on whole images; 100 samples of each digit, and the seconds."""
    x, t = (part[:images].to(device) for part in data.mnist(full=True, flatten=False)[:2])  # noqa: F821
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
def whole_images_to_order(student, goals, data, rng):
    """digits to order by convolutions, 60 000 images, 5 epochs"""
    made, (right, variety), seconds = student.run(deep_game, "cuda", 60_000, 5)
    goals.at_least("made digits that are read as ordered", 100 * right, 85, unit="%")
    goals.within("variance within a digit, real digits have 1", variety, 0.3, 1.7)
    goals.seen("the game", seconds, unit="s")
    with goals.picture("digits_by_convolutions.png", size=(9, 5)) as figure:
        sheet_of(figure, made, 18, 28)


if __name__ == "__main__":
    sys.exit(lab.main())
