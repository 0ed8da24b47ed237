"""The checks of lab 12. Reading them is allowed and useful."""

import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import differentiable, filled, float64

PLAIN = ["d_loss", "g_loss", "critic_step", "generator_step"]
lab = Lab(__file__, parts=[*PLAIN, "gradient_penalty", "critic_loss", "condition"])


# ---- the losses


@student_side
def slope(student, name, *scores):
    """What a loss of scores sends back to each of them."""
    leaves = differentiable(*scores)
    return torch.autograd.grad(getattr(student, name)(*leaves), leaves)


def log_d(scores):
    return scores.sigmoid().log()


@lab.check("d_loss")
def cross_entropy_of_both(student, rng):
    """the loss, against the logarithms of probabilities"""
    for n, m in (7, 4), (1, 3), (5, 5):
        for shape in (), (1,):
            with case(f"{n} real and {m} made samples, scores {n}{' × 1' if shape else ''}"):
                real, fake = rng.normal(n, *shape, dtype=float64), 2 * rng.normal(m, *shape, dtype=float64)
                of_real, of_fake = -log_d(real).mean(), -log_d(-fake).mean()
                expect(
                    student.d_loss(real, fake),
                    of_real + of_fake,
                    mistakes={
                        "that is what the discriminator maximises: the sign is wrong": -of_real - of_fake,
                        "real and made samples are exchanged": -log_d(-real).mean() - log_d(fake).mean(),
                        "log D(fake) instead of log(1 − D(fake))": of_real - log_d(fake).mean(),
                        "the mean of the two halves, it should be their sum": (of_real + of_fake) / 2,
                        "sums over the samples, they should be means": -log_d(real).sum() - log_d(-fake).sum(),
                        "one mean over all scores, it should be one for each kind": -torch.cat(
                            (log_d(real), log_d(-fake))
                        ).mean(),
                        "the scores of the made samples are missing": of_real,
                        "the second term has the wrong sign": of_real - of_fake,
                        "the first term has the wrong sign": of_fake - of_real,
                        "there is no logarithm: −mean D(real) − mean (1 − D(fake))": -real.sigmoid().mean()
                        - (-fake).sigmoid().mean(),
                        "the scores of the real samples are missing": of_fake,
                        "the scores are no probabilities yet: the sigmoid is missing": lambda r=real, f=fake: (
                            -(r.clamp(1e-9, 1).log().mean() + (1 - f).clamp(1e-9, 1).log().mean())
                        ),
                    },
                )


@lab.check("d_loss")
def undecided(student, rng):
    """log 4 where the discriminator cannot tell: all scores 0"""
    expect(
        student.d_loss(torch.zeros(3), torch.zeros(5)),
        torch.tensor(math.log(4)),
    )


SURE = "a probability rounds to 0 or 1 before the logarithm: F.logsigmoid, F.softplus"


@lab.check("d_loss")
def sure_of_itself(student, rng):
    """scores of ±1000: the loss and its derivative"""
    real, fake = torch.tensor([1000.0, -1000.0, 0.5]), torch.tensor([-1000.0, 1000.0])
    with case("scores of ±1000", look=SURE):
        want = (1000 - float(log_d(torch.tensor(0.5)))) / 3 + 500
        expect(student.d_loss(real, fake), torch.tensor(want), look=SURE)
    with case("the derivative at scores of ±1000", look=SURE):
        expect(
            student.run(slope, "d_loss", real, fake),
            (-(-real).sigmoid() / 3, fake.sigmoid() / 2),
            names=("of real scores", "of made scores"),
            look=SURE,
        )


@lab.check("g_loss")
def non_saturating(student, rng):
    """the loss, against the logarithms of probabilities"""
    for shape in (7,), (1, 1), (4, 1):
        fake = 2 * rng.normal(*shape, dtype=float64)
        with case(f"scores {' × '.join(map(str, shape))}"):
            expect(
                student.g_loss(fake),
                -log_d(fake).mean(),
                mistakes={
                    "the sign is wrong: the generator wants log D to be large": log_d(fake).mean(),
                    "that is mean log(1 − D), the loss that saturates": log_d(-fake).mean(),
                    "that is −mean log(1 − D): it helps the discriminator": -log_d(-fake).mean(),
                    "a sum over the samples, it should be a mean": -log_d(fake).sum(),
                    "there is no logarithm: that is −mean D": -fake.sigmoid().mean(),
                    "that is the loss of Wasserstein's generator, the mean score": -fake.mean(),
                },
            )


@lab.check("g_loss")
def learns_when_it_loses(student, rng):
    """where the discriminator is sure, the derivative is −1/N, not 0"""
    fake = torch.tensor([-1000.0, -30.0, 0.0, 30.0, 1000.0])
    want = -(-fake).sigmoid() / 5
    with case("scores −1000, −30, 0, 30, 1000", look=SURE):
        expect(
            student.run(slope, "g_loss", fake),
            (want,),
            names=("derivative",),
            look=SURE,
            mistakes={
                "log(1 − D) is flat where the generator has most to learn: that loss saturates": (-fake.sigmoid() / 5,),
            },
        )


# ---- the moves

CRITIC, GENERATOR = 26, 27  # parameters of the two networks below


@student_side
def players(a, b):
    """A critic of three numbers and a generator from two, in float64, with these weights."""
    critic = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    generator = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    filled(critic, a)
    filled(generator, b)
    return critic, generator


@student_side
def of_critic(critic, real, fake):
    """Some loss of a critic that tells real from made."""
    return critic(fake).mean() - critic(real).mean() + 0.3 * critic(real).square().mean()


@student_side
def of_generator(scores):
    return (scores - 2).square().mean()


@student_side
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
            a, b = rng.normal(CRITIC, dtype=float64), rng.normal(GENERATOR, dtype=float64)
            real, z = 1 + rng.normal(3, n, 3, dtype=float64), rng.normal(3, n, 2, dtype=float64)
            losses, weights, others, left, records, hangs = student.run(moves, name, a, b, real, z)
            setting = name, a, b, real, z
            mistakes = {
                f"the {player} has not changed: no optimizer.step(), or no gradient arrives": lambda s=setting: (
                    written_out(*s, lr=0.0)
                ),
                "what was in .grad before is added: optimizer.zero_grad() is missing": lambda s=setting: written_out(
                    *s, keep=True
                ),
                "the update uses the gradients of the step before: step() comes after backward()": lambda s=setting: (
                    written_out(*s, stale=True)
                ),
                "the loss grows: it should be minimised as it is": lambda s=setting: written_out(*s, lr=-0.2),
                "the loss after the update is returned, it should be the one before": lambda s=setting: written_out(
                    *s, after=True
                ),
            }
            if name == "critic_step":
                mistakes["real and made samples are exchanged"] = lambda s=setting: written_out(*s, swap=True)
            expect(
                (losses, weights),
                written_out(*setting),
                names=("losses", f"weights of the {player}"),
                mistakes=mistakes,
            )
            require(torch.equal(others, b if name == "critic_step" else a), f"the weights of the {other} have changed")
            require(records, f"some weights no longer require a gradient: give it back to the {other} at the end")
            why = f": {remedy}" if hangs or name == "generator_step" else ""
            require(left.eq(1).all(), f"the .grad of the {other} has changed{why}")


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


# ---- the critic


@student_side
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


@student_side
def of_weights(value, critic):
    """The derivative of a value with respect to the critic's weights; None where there is none."""
    if not (isinstance(value, torch.Tensor) and value.requires_grad):
        return None
    found = torch.autograd.grad(value, list(critic.parameters()), allow_unused=True, retain_graph=True)
    return tuple(torch.zeros_like(w) if g is None else g for w, g in zip(critic.parameters(), found, strict=True))


@student_side
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
        return (rng.normal(1, d, dtype=float64),)
    return rng.normal(6, d, dtype=float64), rng.normal(6, dtype=float64), rng.normal(6, dtype=float64)


def batches(rng, n, *shape):
    return rng.normal(n, *shape, dtype=float64), 1 + 2 * rng.normal(n, *shape, dtype=float64)


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
            number = torch.tensor((k - 1) ** 2, dtype=float64)
            expect(
                value,
                number,
                mistakes={
                    "that is (‖∇f‖² − 1)²: the root is missing": torch.tensor((k**2 - 1) ** 2, dtype=float64),
                    "that is ‖∇f‖²: the length should be 1, not 0": torch.tensor(k**2, dtype=float64),
                    "slopes below 1 are not punished": torch.tensor(max(0, k - 1) ** 2, dtype=float64),
                    "that is ‖∇f‖ − 1: the square is missing": torch.tensor(k - 1, dtype=float64),
                    "the norm is taken over the whole batch, it should be one for each sample": torch.tensor(
                        (7**0.5 * k - 1) ** 2, dtype=float64
                    ),
                },
            )


def check_points(x, real, fake):
    """Are the points where they should be?"""
    require(len(x) == len(real), f"the critic was asked at {len(x)} points, expected {len(real)}")
    require(x.shape == real.shape, f"the critic was asked at points of shape {tuple(x.shape)}")
    span = (real - fake).flatten(1)
    each = (x - fake).flatten(1) / span  # t, in every coordinate
    t = ((x - fake).flatten(1) * span).sum(1) / span.square().sum(1)
    apart = not torch.allclose(each, t[:, None].expand_as(each), atol=1e-4)
    own = apart and bool(((each > -1e-6) & (each < 1 + 1e-6)).all())
    require(
        not apart,
        "a point is not on the line from its real sample to its made sample",
        "each coordinate has a t of its own; it should be one for each sample" if own else None,
    )
    require(
        t.min() > -1e-6 and t.max() < 1 + 1e-6,
        f"t goes from {t.min():.3g} to {t.max():.3g}, expected 0 to 1",
        "torch.rand is uniform, torch.randn is not" if t.abs().max() > 2.5 else None,
    )
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
            expect(
                value,
                want.detach(),
                mistakes={
                    "a sum over the samples, it should be a mean": (n * want).detach(),
                    "the norm is taken over the whole batch, it should be one for each sample": (slopes.norm() - 1)
                    .square()
                    .detach(),
                    "that is (‖∇f‖² − 1)²: the root is missing": (lengths.square() - 1).square().mean().detach(),
                    "slopes below 1 are not punished": (lengths - 1).clamp(min=0).square().mean().detach(),
                    "the derivative of the mean score divides by N": (lengths / n - 1).square().mean().detach(),
                    "the norm is over one dimension only, it should be over all of a sample": (
                        slopes.view(x.shape).norm(dim=1) - 1
                    )
                    .square()
                    .mean()
                    .detach(),
                    "the mean is outside of the square": (lengths.mean() - 1).square().detach(),
                },
            )
            require(
                left,
                "the .grad of the critic has changed",
                "backward() writes it: torch.autograd.grad gives the derivative for x alone",
            )
            require(
                derivative is not None,
                "the penalty does not depend on the critic's weights: nothing to learn",
                "torch.autograd.grad forgets how it came to its result, unless create_graph=True",
            )
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
                "the difference has the wrong sign: real samples should score high": lambda s=setting: wasserstein(
                    *s, distance=1.0
                ),
                "the penalty is missing": lambda s=setting: wasserstein(*s, penalty=False),
                "the penalty has the wrong sign: it rewards steep critics": lambda s=setting: wasserstein(
                    *s[:3], -s[3]
                ),
                "the penalty is not multiplied by the weight": lambda s=setting: wasserstein(*s[:3], 1.0),
                "sums over the samples, they should be means": lambda s=setting, m=n: wasserstein(*s, distance=-m),
            }
            expect((value, derivative), wasserstein(*setting), names=("loss", "derivative"), mistakes=mistakes)


# ---- made to order


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
        for dtype in torch.float32, float64:
            with case(f"x {' × '.join(map(str, shape))} {str(dtype)[6:]}, {k} classes"):
                x, classes = rng.normal(*shape, dtype=dtype), rng.integers(0, k - 1, shape[0])  # never the last class
                number = classes.to(dtype).view(-1, *[1] * (x.dim() - 1)).expand(-1, 1, *shape[2:])
                got = student.condition(x, classes, k)
                as_number = isinstance(got, torch.Tensor) and got.shape == (shape[0], shape[1] + 1, *shape[2:])
                require(
                    not (as_number and torch.equal(got, torch.cat((x, number), 1))),
                    "one column was added",
                    "that is the number of the class, not its one-hot code",
                )
                want = coded(x, classes, k)
                wide = f"{k} columns or planes, even if the last classes do not occur; behind x, along dimension 1"
                require(
                    not isinstance(got, torch.Tensor) or got.shape == want.shape,
                    f"shape {tuple(getattr(got, 'shape', ()))}, expected {tuple(want.shape)}: {wide}",
                )
                require(
                    not isinstance(got, torch.Tensor) or got.dtype == dtype,
                    f"type {getattr(got, 'dtype', None)}, expected {dtype}, the type of x",
                )
                expect(
                    got,
                    want,
                    mistakes={
                        "the class is before the features, it should be behind them": coded(x, classes, k, first=True),
                        "the code has −1 for the other classes, it should have 0": coded(x, classes, k, values=(-1, 1)),
                        "the class is off by one": coded(x, (classes + 1) % k, k),
                        "every sample has the class of the first": coded(x, classes[:1].expand(len(x)), k),
                    },
                )


if __name__ == "__main__":
    sys.exit(run_checks(lab))
