"""The checks of lab 07. Reading them is allowed and useful."""

import math
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import float64

RULES = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"]
lab = Lab(__file__, parts=[*RULES, "cosine_schedule", "best_heavy_ball"])
for part in RULES:
    lab.forbid(part, names=["optim"], why="the rule is the exercise")

SHAPES = [(3, 2), (4,), ()]
NAMES = ["3×2 parameter", "parameter of 4", "parameter of one number"]


# ---- runs


@student_side
def runs(student, name, start, sequence, options):
    """Two trainings from one start with the same gradients: the parameters step by step; whether any was replaced."""
    histories, replaced = [], False
    for _ in range(2):
        parameters, state = [p.clone() for p in start], {}
        held, history = list(parameters), []
        for gradients, chosen in zip(sequence, options, strict=True):
            getattr(student, name)(parameters, gradients, state, **chosen)
            history.append([p.clone() for p in held])
            replaced = replaced or any(a is not b for a, b in zip(parameters, held, strict=True))
        histories.append([torch.stack(steps) for steps in zip(*history, strict=True)])
    return histories, replaced


def by_torch(kind, start, sequence, options, translate):
    """The same by torch.optim; translate: our names of options → torch's."""
    parameters = [torch.nn.Parameter(p.clone()) for p in start]
    optimiser = kind(parameters, **translate(options[0]))
    history = []
    for gradients, chosen in zip(sequence, options, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = chosen["rate"]
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = None if g is None else g.clone()
        optimiser.step()
        history.append([p.detach().clone() for p in parameters])
    return [torch.stack(steps) for steps in zip(*history, strict=True)]


def variation(start, sequence, options, step):
    """What a wrong rule gives: `step(w, g, memory, t, options)` returns the new w; t counts the steps of all from 1."""
    parameters, memories, history = [p.clone() for p in start], [{} for _ in start], []
    for t, (gradients, chosen) in enumerate(zip(sequence, options, strict=True), start=1):
        for n, g in enumerate(gradients):
            if g is not None:
                parameters[n] = step(parameters[n], g, memories[n], t, chosen)
        history.append(list(parameters))
    return [torch.stack(steps) for steps in zip(*history, strict=True)]


def settings(rng, **options):
    """Cases for a rule: a few steps first, so that a mistake is easy to find, then a long training with gaps."""
    gaps = [(n, t) for n in range(3) for t in range(60) if (n == 1 and t < 4) or rng.number() < 0.15]
    for text, steps, holes in ("three steps", 3, []), ("60 steps, some without gradient, the rate falls", 60, gaps):
        start = [rng.normal(*shape, dtype=float64) for shape in SHAPES]
        sequence = [
            [None if (n, t) in holes else rng.normal(*shape, dtype=float64) for n, shape in enumerate(SHAPES)]
            for t in range(steps)
        ]
        rates = [0.05 / (1 + t) if holes else 0.05 for t in range(steps)]
        yield text, start, sequence, [{"rate": rate, **options} for rate in rates]


def compare(student, rng, name, kind, translate, wrong, **options):
    """The student's rule against torch.optim; `wrong` names typical mistakes: sentence → step for `variation`."""
    for text, start, sequence, chosen in settings(rng, **options):
        said = ", ".join(f"{key} {value}" for key, value in options.items())
        with case(f"{text}{', ' if said else ''}{said}"):
            histories, replaced = student.run(runs, name, start, sequence, chosen)
            require(
                not replaced,
                "the list holds other tensors than before the step",
                likely="w = w − … makes a new tensor, w -= … changes the one that is there",
            )
            mistakes = {
                "nothing moves: w = w − … makes a new tensor, w -= … changes the one that is there": [
                    p.expand(len(sequence), *p.shape) for p in start
                ],
                "uphill: the step goes against the gradient": by_torch(
                    kind, start, [[None if g is None else -g for g in row] for row in sequence], chosen, translate
                ),
                **{sentence: variation(start, sequence, chosen, step) for sentence, step in wrong.items()},
            }
            if any(g is None for row in sequence for g in row):
                filled = [
                    [torch.zeros_like(p) if g is None else g for p, g in zip(start, row, strict=True)]
                    for row in sequence
                ]
                mistakes["a parameter without gradient is skipped: None is not a gradient of zero"] = by_torch(
                    kind, start, filled, chosen, translate
                )
            want = by_torch(kind, start, sequence, chosen, translate)
            expect(histories[0], want, names=NAMES, rtol=1e-10, atol=1e-12, mistakes=mistakes)
            expect(
                histories[1],
                want,
                names=NAMES,
                rtol=1e-10,
                atol=1e-12,
                look="a second training begins with the memory of the first: all memory belongs into `state`",
            )


# ---- the rules


def plain(w, g, memory, t, options):
    return w - options["rate"] * g


@lab.check("sgd")
def downhill(student, rng):
    """against torch.optim.SGD, with and without weight decay"""
    wrong = {
        "the weight decay is not used": plain,
        "the weight decay pushes outwards": lambda w, g, memory, t, o: w - o["rate"] * (g - o["decay"] * w),
        "the decay acts on w after the step, it should act on w before": lambda w, g, memory, t, o: (
            (w - o["rate"] * g) * (1 - o["rate"] * o["decay"])
        ),
        "the decay counts twice: the gradient of λ/2 ‖w‖² is λ w": lambda w, g, memory, t, o: (
            w - o["rate"] * (g + 2 * o["decay"] * w)
        ),
        "the decay takes the sign of w, it should take w": lambda w, g, memory, t, o: (
            w - o["rate"] * (g + o["decay"] * w.sign())
        ),
        "the decay takes the square of w, it should take w": lambda w, g, memory, t, o: (
            w - o["rate"] * (g + o["decay"] * w**2)
        ),
        "the decay has replaced the gradient, it is added to it": lambda w, g, memory, t, o: (
            w - o["rate"] * o["decay"] * w
        ),
        "the decay is not multiplied by the rate": lambda w, g, memory, t, o: w - o["rate"] * g - o["decay"] * w,
    }
    for decay in 0.0, 0.3:
        compare(
            student,
            rng,
            "sgd",
            torch.optim.SGD,
            lambda o: {"lr": o["rate"], "weight_decay": o["decay"]},
            wrong if decay else {},
            decay=decay,
        )


def rolling(w, g, memory, t, o, keep=None, damp=1.0, fade=None, inside=False, ahead=False, step=None):
    """Momentum with its variations.

    damp: a factor of the gradient. fade: that of the velocity, m by default. inside: the rate is in the velocity.
    ahead: Nesterov's step. step: another step, made of g, the new velocity, the old one and m.
    """
    m, old = o["m"], memory.get("v", torch.zeros_like(w))
    v = (m if fade is None else fade) * old + damp * (o["rate"] * g if inside else g)
    memory["v"] = v if keep is None else keep(v, g)
    rate = 1.0 if inside else o["rate"]
    if step:
        return w - rate * step(g, v, old, m)
    return w - rate * (g + m * v if ahead else v)


SHARED = {
    "the velocity is forgotten between the steps: keep it in state": lambda v, g: torch.zeros_like(v),
    "only the last gradient is remembered, not the velocity": lambda v, g: g,
}


def inside_ahead(w, g, memory, o):
    """Nesterov's step with the rate in the velocity."""
    memory["v"] = v = o["m"] * memory.get("v", torch.zeros_like(w)) + o["rate"] * g
    return w - o["rate"] * g - o["m"] * v


def rolled(**change):
    return lambda w, g, memory, t, o: rolling(w, g, memory, t, o, **change)


@lab.check("momentum")
def heavy_ball(student, rng):
    """against torch.optim.SGD with momentum"""
    for m in 0.9, 0.5:
        compare(
            student,
            rng,
            "momentum",
            torch.optim.SGD,
            lambda o: {"lr": o["rate"], "momentum": o["m"]},
            {
                **{sentence: rolled(keep=keep) for sentence, keep in SHARED.items()},
                "the gradient is multiplied by 1 − m: that is an average, here it is a sum": rolled(damp=1 - m),
                "the rate is inside the velocity: old steps keep their old rate": rolled(inside=True),
                "that is Nesterov's step": rolled(ahead=True),
                "the step is made with the old velocity, before it changes": rolled(step=lambda g, v, old, m: old),
                "m belongs to the velocity, it is on the gradient": rolled(fade=1.0, damp=m),
                "m and 1 − m are on the wrong sides: v ← m v + g": rolled(fade=1 - m, damp=m),
                "the velocity never fades: v ← m v + g": rolled(fade=1.0),
                "v is subtracted: v ← m v + g": rolled(fade=-m),
                "m is on the step, too": rolled(step=lambda g, v, old, m: m * v),
            },
            m=m,
        )


@lab.check("nesterov")
def looking_ahead(student, rng):
    """against torch.optim.SGD with Nesterov's momentum"""
    for m in 0.9, 0.5:
        compare(
            student,
            rng,
            "nesterov",
            torch.optim.SGD,
            lambda o: {"lr": o["rate"], "momentum": o["m"], "nesterov": True},
            {
                **{sentence: rolled(keep=keep, ahead=True) for sentence, keep in SHARED.items()},
                "that is the heavy ball: g + m v needs the new v, with the old one it is v itself": rolled(),
                "the gradient is multiplied by 1 − m: that is an average, here it is a sum": rolled(
                    damp=1 - m, ahead=True
                ),
                "v is not multiplied by m in the step: g + m v": rolled(step=lambda g, v, old, m: g + v),
                "g and v are exchanged in the step: g + m v": rolled(step=lambda g, v, old, m: v + m * g),
                "the gradient is missing in the step: g + m v": rolled(step=lambda g, v, old, m: m * v),
                "the velocity never fades: v ← m v + g": rolled(fade=1.0, ahead=True),
                "that is plain gradient descent, m has no effect": plain,
                "the rate is inside the velocity: old steps keep their old rate": lambda w, g, memory, t, o: (
                    inside_ahead(w, g, memory, o)
                ),
            },
            m=m,
        )


def scaled(
    w, g, memory, t, o, old=1.0, new=1.0, root=True, inside=False, size=torch.square, first=0.0, late=False,
    used=lambda s, t: s, eps=1.0,
):  # fmt: skip
    """Division by the size of the gradients, with its variations.

    old and new: factors of the memory and of the new square; first: the memory at the start; late: the step comes
    before the new square; used: what the step makes of the memory after t steps; eps: a factor of ε.
    """
    before = memory.get("s", first + torch.zeros_like(w))
    memory["s"], memory["t"] = old * before + new * size(g), memory.get("t", 0) + 1
    s, eps = used(before if late else memory["s"], memory["t"]), eps * o["eps"]
    below = (s + eps).sqrt() if inside else (s.sqrt() if root else s) + eps
    return w - o["rate"] * g / below


def divided(**change):
    return lambda w, g, memory, t, o: scaled(w, g, memory, t, o, **change)


@lab.check("adagrad")
def sum_of_squares(student, rng):
    """against torch.optim.Adagrad; ε of the usual size, and large"""
    for eps in 1e-10, 0.1:
        compare(
            student,
            rng,
            "adagrad",
            torch.optim.Adagrad,
            lambda o: {"lr": o["rate"], "eps": o["eps"]},
            {
                "the squares are forgotten between the steps: keep their sum in state": divided(old=0.0),
                "ε is inside the root": divided(inside=True),
                "the root is missing": divided(root=False),
                "the gradients are summed, not their squares": divided(size=torch.clone),
                "the absolute values are summed, not the squares": divided(size=torch.abs),
                "the step comes before the new square: g² is added first": divided(late=True),
                "s begins at 1, it should begin at 0": divided(first=1.0),
                "that is the mean of the squares, it should be their sum": divided(used=lambda s, t: s / t),
                "all components share one sum; each has its own": divided(size=lambda g: (g**2).sum() + 0 * g),
                "ε is missing": divided(eps=0.0),
                "that is RMSProp": divided(old=0.99, new=0.01),
            },
            eps=eps,
        )


@lab.check("rmsprop")
def fading_squares(student, rng):
    """against torch.optim.RMSprop; ε of the usual size, and large"""
    for a, eps in (0.99, 1e-8), (0.7, 0.1):
        compare(
            student,
            rng,
            "rmsprop",
            torch.optim.RMSprop,
            lambda o: {"lr": o["rate"], "alpha": o["a"], "eps": o["eps"]},
            {
                "that is AdaGrad: old squares must fade": divided(),
                "the new square is not multiplied by 1 − a": divided(old=a),
                "a and 1 − a are exchanged": divided(old=1 - a, new=a),
                "the squares are forgotten between the steps: keep s in state": divided(old=0.0, new=1 - a),
                "ε is inside the root": divided(old=a, new=1 - a, inside=True),
                "the root is missing": divided(old=a, new=1 - a, root=False),
                "the step comes before the new square: s changes first": divided(old=a, new=1 - a, late=True),
                "s begins at 1, it should begin at 0": divided(old=a, new=1 - a, first=1.0),
                "s is corrected for its start at zero: that is Adam's": divided(
                    old=a, new=1 - a, used=lambda s, t, a=a: s / (1 - a**t)
                ),
                "the absolute values are averaged, not the squares": divided(old=a, new=1 - a, size=torch.abs),
                "ε is missing": divided(old=a, new=1 - a, eps=0.0),
                "all components share one average; each has its own": divided(
                    old=a, new=1 - a, size=lambda g: (g**2).mean() + 0 * g
                ),
            },
            a=a,
            eps=eps,
        )


def adaptive(
    w, g, memory, t, o, right=(True, True), everyone=False, inside=False, swap=False, late=False, decay="L2",
    new=(True, True), root=True, size=torch.square, stopped=False, power=True, plain_g=False, uncorrected_eps=False,
):  # fmt: skip
    """Adam with its variations.

    right: which averages are corrected. everyone: t counts all steps; stopped: t is always 1; late: one too large.
    new: which averages multiply what is new by 1 − β. power: βᵗ, not β t. plain_g: the step takes g, not its average.
    uncorrected_eps: ε is added to the root of s before the correction.
    """
    b1, b2 = o["betas"][::-1] if swap else o["betas"]
    if decay == "decoupled":
        w = w - o["rate"] * o["decay"] * w
    elif decay == "L2":
        g = g + o["decay"] * w
    memory["t"] = memory.get("t", 0) + 1
    memory["v"] = v = b1 * memory.get("v", torch.zeros_like(w)) + (1 - b1 if new[0] else 1.0) * g
    memory["s"] = s = b2 * memory.get("s", torch.zeros_like(w)) + (1 - b2 if new[1] else 1.0) * size(g)
    t = 1 if stopped else (t if everyone else memory["t"]) + late
    first, second = (1 - b1**t, 1 - b2**t) if power else (1 - b1 * t, 1 - b2 * t)
    v = v / first if right[0] else v
    if plain_g:
        v = g
    if uncorrected_eps:
        return w - o["rate"] * v * second**0.5 / (s.sqrt() + o["eps"])
    s = s / second if right[1] else s
    below = (s + o["eps"]).sqrt() if inside else (s.sqrt() if root else s) + o["eps"]
    w = w - o["rate"] * v / below
    return w - o["rate"] * o["decay"] * w if decay == "after" else w


def twice_decayed(w, g, memory, t, o):
    """AdamW whose gradient has the decay, too."""
    smaller = w - o["rate"] * o["decay"] * w
    return adaptive(smaller, g + o["decay"] * smaller, memory, t, o, decay="")


def adapted(**change):
    return lambda w, g, memory, t, o: adaptive(w, g, memory, t, o, **change)


def wrong_adams(own, other):
    return {
        "neither average is corrected for its start at zero": adapted(right=(False, False), decay=own),
        "the average of the gradient is not corrected": adapted(right=(False, True), decay=own),
        "the average of the squares is not corrected": adapted(right=(True, False), decay=own),
        "β₁ and β₂ are exchanged": adapted(swap=True, decay=own),
        "ε is inside the root": adapted(inside=True, decay=own),
        "t is one too large: the first step has t = 1": adapted(late=True, decay=own),
        "t counts all steps: a parameter that was skipped has seen fewer": adapted(everyone=True, decay=own),
        "t does not grow: after t steps it is βᵗ": adapted(stopped=True, decay=own),
        "β is multiplied by t, it should be raised to the power t": adapted(power=False, decay=own),
        "the root is missing": adapted(root=False, decay=own),
        "the new gradient is not multiplied by 1 − β₁": adapted(new=(False, True), decay=own),
        "the new square is not multiplied by 1 − β₂": adapted(new=(True, False), decay=own),
        "the step takes the gradient, it should take its average": adapted(plain_g=True, decay=own),
        "ε is added before the correction of s": adapted(uncorrected_eps=True, decay=own),
        "the absolute values are averaged, not the squares": adapted(size=torch.abs, decay=own),
        "the gradient is averaged twice, its square is missing": adapted(size=torch.clone, decay=own),
        **other,
    }


@lab.check("adam")
def two_averages(student, rng):
    """against torch.optim.Adam; ε of the usual size and large, weight decay"""
    for betas, eps, decay in ((0.9, 0.999), 1e-8, 0.0), ((0.6, 0.8), 0.1, 0.0), ((0.9, 0.99), 1e-8, 0.4):
        other = {
            "the weight decay is not used": adapted(decay=""),
            "that is AdamW: here the decay enters the gradient": adapted(decay="decoupled"),
        }
        compare(
            student,
            rng,
            "adam",
            torch.optim.Adam,
            lambda o: {"lr": o["rate"], "betas": o["betas"], "eps": o["eps"], "weight_decay": o["decay"]},
            wrong_adams("L2", other if decay else {}),
            betas=betas,
            eps=eps,
            decay=decay,
        )


@lab.check("adam")
def decay_apart(student, rng):
    """against torch.optim.AdamW"""
    other = {
        "the weight decay is not used": adapted(decay=""),
        "the decay enters the gradient: decoupled means that it does not": adapted(decay="L2"),
        "the decay acts on w after the step, it comes first": adapted(decay="after"),
        "the decay is not multiplied by the rate": lambda w, g, memory, t, o: adaptive(
            w - o["decay"] * w, g, memory, t, o, decay=""
        ),
        "the decay acts twice: on w and in the gradient": lambda w, g, memory, t, o: twice_decayed(w, g, memory, t, o),
    }
    compare(
        student,
        rng,
        "adam",
        torch.optim.AdamW,
        lambda o: {"lr": o["rate"], "betas": o["betas"], "eps": o["eps"], "weight_decay": o["decay"]},
        wrong_adams("decoupled", other),
        betas=(0.9, 0.99),
        eps=1e-8,
        decay=0.4,
        decoupled=True,
    )


@lab.check("adam")
def first_step(student, rng):
    """the first step moves every component by the rate, whatever its gradient"""
    g = torch.tensor([0.1, -1.0, 10.0, -1000.0], dtype=float64)
    histories, _ = student.run(runs, "adam", [torch.zeros_like(g)], [[g]], [{"rate": 0.01}])
    expect(
        histories[0][0][0],
        -0.01 * g.sign(),
        rtol=1e-4,
        mistakes={
            "without correction for the start at zero the first step is 3.16 times too long": -0.01
            * g.sign()
            * 0.1
            / 0.001**0.5,
            "uphill: the step goes against the gradient": 0.01 * g.sign(),
        },
    )


# ---- theory


def schedule(
    step, total, warmup, top, bottom, early=0, whole=False, stay=True, long=0, share=None, last=0, begin=0.0, more=0
):
    """The specification of cosine_schedule with its typical variations.

    share: what is left of top − bottom, in place of (1 + cos π done)/2. last: subtracted from total. begin: where the
    warm-up comes from. more: steps into which the warm-up is divided beyond `warmup`.
    """
    if step < warmup + long:
        return begin + (top - begin) * (step + 1 - early) / (warmup + more)
    done = step / total if whole else (step - warmup) / (total - last - warmup)
    done = min(done, 1.0) if stay else done
    left = share(done) if share else (1 + math.cos(math.pi * done)) / 2
    return bottom + (top - bottom) * left


@lab.check("cosine_schedule")
def up_and_down(student, rng):
    """every step of some trainings, and after their end; no warm-up, a floor"""
    for total, warmup, top, bottom in (20, 5, 0.3, 0.0), (13, 0, 1.0, 0.0), (11, 3, 0.2, 0.05), (2, 1, 1.0, 0.5):
        with case(f"{total} steps, {warmup} for warm-up, from {top:g} to {bottom:g}"):
            steps = range(total + 5)

            def rates(arguments=(total, warmup, top, bottom), steps=steps, **change):
                return [schedule(step, *arguments, **change) for step in steps]

            got = [student.cosine_schedule(step, total, warmup, top, bottom) for step in steps]
            changed = {
                "the rate falls in a straight line, it should follow a cosine": {"share": lambda done: 1 - done},
                "a whole period of the cosine, it should be half of one": {
                    "share": lambda done: (1 + math.cos(2 * math.pi * done)) / 2
                },
                "a quarter of a period, it should be half of one": {"share": lambda done: math.cos(math.pi * done / 2)},
                "1 + cos is not halved": {"share": lambda done: 1 + math.cos(math.pi * done)},
                "the 1 beside the cosine is missing": {"share": lambda done: math.cos(math.pi * done)},
                "the cosine goes from bottom to top": {"share": lambda done: (1 - math.cos(math.pi * done)) / 2},
                "a sine in the place of the cosine": {"share": lambda done: (1 + math.sin(math.pi * done)) / 2},
                "the end is one step too early": {"last": 1},
                "the end is one step too late": {"last": -1},
                "the warm-up begins at bottom, it should grow from 0": {"begin": bottom},
                "the warm-up is divided into one step too many": {"more": 1},
            }
            one_more = [bottom + top * (rate - bottom) / (top - bottom) for rate in rates()]
            expect(
                torch.tensor(got, dtype=float64),
                torch.tensor(rates(), dtype=float64),
                mistakes={
                    **{
                        sentence: lambda change=change, rates=rates: torch.tensor(rates(**change), dtype=float64)
                        for sentence, change in changed.items()
                    },
                    "bottom is added to the whole of top: the swing is top − bottom": torch.tensor(
                        rates()[:warmup] + one_more[warmup:], dtype=float64
                    ),
                    "after the last step the rate is 0, it should stay at bottom": torch.tensor(
                        [*rates()[: total + 1], *[0.0] * (len(steps) - total - 1)], dtype=float64
                    ),
                    "at the last step the rate is 0 already, it should stay at bottom": torch.tensor(
                        [*rates()[:total], *[0.0] * (len(steps) - total)], dtype=float64
                    ),
                    "the warm-up is not there": torch.tensor([top] * warmup + rates()[warmup:], dtype=float64),
                    "the warm-up begins at 0: step 0 would do nothing": torch.tensor(rates(early=1), dtype=float64),
                    "the warm-up has one step too many": torch.tensor(rates(long=1), dtype=float64) if warmup else None,
                    "the cosine counts from step 0, not from the end of the warm-up": torch.tensor(
                        rates(whole=True), dtype=float64
                    ),
                    "after the last step the rate rises again": torch.tensor(rates(stay=False), dtype=float64),
                    "the floor is not used": torch.tensor(
                        [schedule(step, total, warmup, top, 0.0) for step in steps], dtype=float64
                    ),
                },
            )
    with case("one step", look="the rate is a float"):
        expect(student.cosine_schedule(3, 10, 2, 0.5), schedule(3, 10, 2, 0.5, 0.0))


def slowest(rate, m, curvatures):
    """The factor by which the heavy ball shrinks the error in its slowest direction, from its recursion."""
    zero, one = torch.zeros_like(curvatures), torch.ones_like(curvatures)
    rows = [torch.stack((1 + m - rate * curvatures, -m * one), 1), torch.stack((one, zero), 1)]
    return torch.linalg.eigvals(torch.stack(rows, 1)).abs().max().item()


@lab.check("best_heavy_ball")
def fastest_of_all(student, rng):
    """against the closed form, and against its neighbours in the recursion"""
    for low, high in (1.0, 100.0), (0.02, 3.0), (5.0, 7.0):
        with case(f"curvatures from {low:g} to {high:g}"):
            a, b = low**0.5, high**0.5
            got = student.best_heavy_ball(low, high)
            expect(
                got,
                ((2 / (a + b)) ** 2, 1 - 4 * a * b / (a + b) ** 2),
                names=("rate", "momentum"),
                mistakes={
                    "curvatures were taken where their roots belong": (
                        4 / (low + high) ** 2,
                        ((high - low) / (high + low)) ** 2,
                    ),
                    "2 / (L + μ) is the best rate of gradient descent": {0: 2 / (low + high)},
                    "(√κ − 1) / (√κ + 1) is √m, the factor of a step; m is its square": {1: (b - a) / (b + a)},
                    "the rate is 1/L": {0: 1 / high},
                    "the rate should come first, then the momentum": (1 - 4 * a * b / (a + b) ** 2, 4 / (a + b) ** 2),
                    "the rate has the sum of the curvatures below, it should be the square of the sum of their roots": {
                        0: 4 / (low + high)
                    },
                    "the square is missing in the rate": {0: 4 / (a + b)},
                    "the roots are squared one by one, it should be their sum": {0: 4 / (a * a + b * b)},
                    "that is ((κ − 1) / (κ + 1))²; m has √κ in the place of κ": {1: ((high - low) / (high + low)) ** 2},
                    "(κ − 1) / (κ + 1) is the factor of gradient descent": {1: (high - low) / (high + low)},
                    "the sign of the momentum is wrong": {1: -(((b - a) / (b + a)) ** 2)},
                },
            )
            curvatures = torch.linspace(low, high, 200, dtype=float64)
            best = slowest(*got, curvatures)
            for rate, m in (1.03, 1.0), (0.97, 1.0), (1.0, 1.03), (1.0, 0.97):
                other = slowest(got[0] * rate, got[1] * m, curvatures)
                require(best <= other + 1e-9, f"rate × {rate}, momentum × {m} is faster: {other:.4f} < {best:.4f}")
    with case("all curvatures equal: one step is enough"):
        expect(student.best_heavy_ball(4.0, 4.0), (0.25, 0.0), names=("rate", "momentum"))


if __name__ == "__main__":
    sys.exit(run_checks(lab))
