"""Known-wrong versions of lab 07, as students write them, and right ones by another route."""

import math

import torch
from labkit import alternative, edit, mutant

edit("sgd", "w -= rate * (g + decay * w)", "w = w - rate * (g + decay * w)", says="nothing moves")
edit("sgd", "w -= rate", "w += rate", says="uphill")
edit("sgd", "g + decay * w", "g - decay * w", says="pushes outwards")
edit("sgd", "rate * (g + decay * w)", "rate * g + decay * w", says="not multiplied by the rate")
edit("sgd", "if g is not None", "if True", says="NoneType")


@mutant("sgd", says="a function leaves its arguments as they were")
def decay_in_place(parameters, gradients, state, rate, decay=0.0):
    for w, g in zip(parameters, gradients, strict=True):
        if g is not None:
            g += decay * w
            w -= rate * g


@mutant("sgd", says="other tensors than before", also=["makes a new tensor"])
def replacing(parameters, gradients, state, rate, decay=0.0):
    for n, g in enumerate(gradients):
        if g is not None:
            parameters[n] = parameters[n] - rate * (g + decay * parameters[n])


edit("momentum", "state[n] = m * state.get(n, 0.0) + g", "state[n] = g", says="forgotten between the steps")
edit("momentum", "+ g", "+ (1 - m) * g", says="that is an average")
edit("nesterov", "g + m * state[n]", "state[n]", says="that is the heavy ball")


@mutant("momentum", says="the rate is inside the velocity")
def rate_inside(parameters, gradients, state, rate, m=0.9):
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is not None:
            state[n] = m * state.get(n, 0.0) - rate * g
            w += state[n]


@mutant("momentum", says="the memory of the first", check="heavy_ball")
def memory_of_its_own(parameters, gradients, state, rate, m=0.9, hidden={}):  # noqa: B006
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is not None:
            hidden[n] = m * hidden.get(n, 0.0) + g
            w -= rate * hidden[n]


@mutant("nesterov", says="with the old one it is v itself")
def old_velocity(parameters, gradients, state, rate, m=0.9):
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is not None:
            old = state.get(n, torch.zeros_like(w))
            state[n] = m * old + g
            w -= rate * (g + m * old)


edit("adagrad", "(state[n].sqrt() + eps)", "(state[n] + eps).sqrt()", says="ε is inside the root")
edit("adagrad", "state.get(n, 0.0) + g**2", "g**2", says="the squares are forgotten")
edit("adagrad", "state[n].sqrt()", "state[n]", says="the root is missing")
edit("rmsprop", "(1 - a) * g**2", "g**2", says="not multiplied by 1 − a")
edit("rmsprop", "a * state.get(n, 0.0) + (1 - a) * g**2", "(1 - a) * state.get(n, 0.0) + a * g**2", says="exchanged")
edit("rmsprop", "a * state.get(n, 0.0) + (1 - a) * g**2", "state.get(n, 0.0) + g**2", says="that is AdaGrad")
edit("rmsprop", "(state[n].sqrt() + eps)", "(state[n] + eps).sqrt()", says="ε is inside the root")

edit("adam", "w -= rate * v / (1 - betas[0] ** t) / ((s / (1 - betas[1] ** t)).sqrt() + eps)",
     "w -= rate * v / (s.sqrt() + eps)", says="3.16 times too long", check="first_step",
     also=["neither average is corrected"])  # fmt: skip
edit("adam", "s / (1 - betas[1] ** t)", "s", says="the average of the squares is not corrected")
edit("adam", "(0.0, 0.0, 0)", "(0.0, 0.0, 1)", says="t is one too large")
edit("adam", "w *= 1 - rate * decay", "g = g + decay * w", says="decoupled means that it does not", check="decay_apart")
edit("adam", "if decoupled:", "if True:", says="that is AdamW", check="two_averages")
edit("adam", "g = g + decay * w", "g += decay * w", says="a function leaves its arguments as they were")


@mutant("adam", says="a parameter that was skipped has seen fewer")
def one_clock_for_all(parameters, gradients, state, rate, betas=(0.9, 0.999), eps=1e-8, decay=0.0, decoupled=False):
    state["t"] = t = state.get("t", 0) + 1
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is not None:
            if decoupled:
                w -= rate * decay * w
            else:
                g = g + decay * w
            v, s = state.get(n, (torch.zeros_like(w), torch.zeros_like(w)))
            v, s = betas[0] * v + (1 - betas[0]) * g, betas[1] * s + (1 - betas[1]) * g**2
            state[n] = v, s
            w -= rate * (v / (1 - betas[0] ** t)) / ((s / (1 - betas[1] ** t)).sqrt() + eps)


edit("cosine_schedule", "(step + 1)", "step", says="the warm-up begins at 0")
edit("cosine_schedule", "(step - warmup) / (total - warmup)", "step / total", says="not from the end of the warm-up")
edit("cosine_schedule", "min(1.0, (step - warmup) / (total - warmup))", "(step - warmup) / (total - warmup)",
     says="rises again")  # fmt: skip
edit("cosine_schedule", "step < warmup", "step <= warmup", says="one step too many")
edit("best_heavy_ball", "math.sqrt(smallest), math.sqrt(largest)", "smallest, largest", says="where their roots belong")
edit("best_heavy_ball", "((high - low) / (high + low)) ** 2", "(high - low) / (high + low)", says="m is its square")
edit("best_heavy_ball", "4 / (low + high) ** 2", "2 / (smallest + largest)", says="best rate of gradient descent")


@alternative("momentum")
def averaged_and_rescaled(parameters, gradients, state, rate, m=0.9):
    for n in range(len(parameters)):
        if gradients[n] is None:
            continue
        if n not in state:
            state[n] = torch.zeros_like(parameters[n])
        state[n].mul_(m).add_(gradients[n], alpha=1 - m)
        parameters[n].sub_(state[n], alpha=rate / (1 - m))


@alternative("adam")
def with_lerp(parameters, gradients, state, rate, betas=(0.9, 0.999), eps=1e-8, decay=0.0, decoupled=False):
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is None:
            continue
        memory = state.setdefault(n, {"t": 0, "v": torch.zeros_like(w), "s": torch.zeros_like(w)})
        memory["t"] += 1
        if decay and decoupled:
            w.sub_(w, alpha=rate * decay)
        elif decay:
            g = g.add(w, alpha=decay)
        memory["v"].lerp_(g, 1 - betas[0])
        memory["s"].lerp_(g * g, 1 - betas[1])
        correction = math.sqrt(1 - betas[1] ** memory["t"])
        step = rate * correction / (1 - betas[0] ** memory["t"])
        w.addcdiv_(memory["v"], memory["s"].sqrt() + eps * correction, value=-step)


@alternative("best_heavy_ball")
def by_the_condition(smallest, largest):
    m = ((math.sqrt(largest / smallest) - 1) / (math.sqrt(largest / smallest) + 1)) ** 2
    return (1 + math.sqrt(m)) ** 2 / largest, m


# ---- more wrong versions

edit("sgd", "if g is not None:\n", "if True:\n            g = torch.zeros_like(w) if g is None else g\n",
     says="None is not a gradient of zero")  # fmt: skip
edit("sgd", "g + decay * w", "g", says="decay is not used")
edit("sgd", "g + decay * w", "g + 2 * decay * w", says="the decay counts twice")
edit("sgd", "g + decay * w", "g + decay * w.sign()", says="the sign of w")
edit("sgd", "w -= rate * (g + decay * w)", "w -= rate * g\n            w -= rate * decay * w", says="after the step")
edit("momentum", "state[n] = m * state.get(n, 0.0) + g", "state[n] = state.get(n, 0.0) + g", says="never fades")
edit("momentum", "m * state.get(n, 0.0) + g", "(1 - m) * state.get(n, 0.0) + m * g", says="on the wrong sides")
edit("momentum", "w -= rate * state[n]", "w -= rate * (g + m * state[n])", says="Nesterov's step")
edit("momentum", "state[n] = m * state.get(n, 0.0) + g\n            w -= rate * state[n]",
     "w -= rate * state.get(n, 0.0)\n            state[n] = m * state.get(n, 0.0) + g", says="before it changes")  # fmt: skip
edit("nesterov", "g + m * state[n]", "g + state[n]", says="not multiplied by m")
edit("nesterov", "g + m * state[n]", "state[n] + m * g", says="exchanged in the step")
edit("nesterov", "(g + m * state[n])", "m * state[n]", says="the gradient is missing in the step")
edit("nesterov", "+ g\n", "+ (1 - m) * g\n", says="that is an average")


@mutant("nesterov", says="None is not a gradient of zero")
def rolls_without_gradient(parameters, gradients, state, rate, m=0.9):
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        g = torch.zeros_like(w) if g is None else g
        state[n] = m * state.get(n, 0.0) + g
        w -= rate * (g + m * state[n])


edit("adagrad", "state[n] = state.get(n, 0.0) + g**2\n            w -= rate * g / (state[n].sqrt() + eps)",
     "w -= rate * g / (state.get(n, torch.zeros_like(w)).sqrt() + eps)\n"
     "            state[n] = state.get(n, 0.0) + g**2", says="before the new square")  # fmt: skip
edit("adagrad", "state.get(n, 0.0)", "state.get(n, 1.0)", says="s begins at 1")
edit("adagrad", "g**2", "g.abs()", says="absolute values are summed")
edit("adagrad", "g**2", "(g**2).sum()", says="share one sum")
edit("adagrad", " + eps", "", says="ε is missing")
edit("rmsprop", "state.get(n, 0.0)", "state.get(n, 1.0)", says="s begins at 1")
edit("rmsprop", "state[n].sqrt()", "state[n]", says="the root is missing")
edit("rmsprop", "a * state.get(n, 0.0) + (1 - a) * g**2", "(1 - a) * g**2", says="forgotten between the steps")
edit("rmsprop", " + eps", "", says="ε is missing")
edit("adam", "(1 - betas[0]) * g, betas[1]", "g, betas[1]", says="not multiplied by 1 − β₁")
edit("adam", "(1 - betas[1]) * g**2", "g**2", says="not multiplied by 1 − β₂")
edit("adam", "w -= rate * v / (1 - betas[0] ** t)", "w -= rate * v", says="average of the gradient is not corrected",
     also=["neither"])  # fmt: skip
edit("adam", "betas[1] ** t)).sqrt() + eps", "betas[1] ** t) + eps).sqrt()", says="ε is inside the root")
edit("adam", "betas[1] ** t)).sqrt() + eps", "betas[1] ** t)) + eps", says="the root is missing")
edit("adam", "(1 - betas[0] ** t) / ((s / (1 - betas[1] ** t))", "(1 - betas[0] * t) / ((s / (1 - betas[1] * t))",
     says="raised to the power")  # fmt: skip
edit("adam", "betas[1] * s + (1 - betas[1]) * g**2, t + 1", "betas[1] * s + (1 - betas[1]) * g**2, 1",
     says="t does not grow")  # fmt: skip
edit("adam", "w *= 1 - rate * decay", "w *= 1 - decay", says="not multiplied by the rate")
edit("adam", "        v, s, t = state.get", "        betas = betas[::-1]\n        v, s, t = state.get",
     says="β₁ and β₂ are exchanged", also=["3.16"])  # fmt: skip
edit("cosine_schedule", "math.pi * done", "2 * math.pi * done", says="a whole period")
edit("cosine_schedule", "(1 + math.cos(math.pi * done)) / 2", "(1 - done)", says="in a straight line")
edit(
    "cosine_schedule", "(1 + math.cos(math.pi * done)) / 2", "math.cos(math.pi * done)", says="the 1 beside the cosine"
)
edit("cosine_schedule", "(top - bottom) *", "top *", says="the swing is top − bottom")
edit("cosine_schedule", "bottom + (top - bottom) *", "top *", says="the floor is not used")
edit("cosine_schedule", "(total - warmup))", "(total - 1 - warmup))", says="one step too early")
edit("best_heavy_ball", "return 4 / (low + high) ** 2, ((high - low) / (high + low)) ** 2",
     "return ((high - low) / (high + low)) ** 2, 4 / (low + high) ** 2", says="the rate should come first")  # fmt: skip
edit("best_heavy_ball", "4 / (low + high) ** 2", "1 / largest", says="the rate is 1/L")
edit("best_heavy_ball", "(low + high) ** 2", "(low + high)", says="the square is missing")

# ---- more right versions


@alternative("sgd")
def in_two_moves(parameters, gradients, state, rate, decay=0.0):
    for w, g in zip(parameters, gradients, strict=True):
        if g is None:
            continue
        w.mul_(1 - rate * decay).sub_(g, alpha=rate)


@alternative("sgd")
def by_copying(parameters, gradients, state, rate, decay=0.0):
    n = 0
    while n < len(parameters):
        if isinstance(gradients[n], torch.Tensor):
            new = parameters[n] - rate * gradients[n] - rate * decay * parameters[n]
            parameters[n].copy_(new)
        n += 1


@alternative("momentum")
def keyed_by_tensors(parameters, gradients, state, rate, m=0.9):
    velocities = state.setdefault("velocities", {})
    for w, g in zip(parameters, gradients, strict=True):
        if g is None:
            continue
        v = velocities[id(w)] = g.clone() if id(w) not in velocities else velocities[id(w)] * m + g
        w.add_(v, alpha=-rate)


@alternative("nesterov")
def from_the_old_velocity(parameters, gradients, state, rate, m=0.9):
    if not state:
        state.update(enumerate(torch.zeros_like(w) for w in parameters))
    for n, g in enumerate(gradients):
        if g is not None:
            parameters[n].data -= rate * ((1 + m) * g + m * m * state[n])
            state[n] = torch.add(g, state[n], alpha=m)


@alternative("adagrad")
def by_a_list_of_squares(parameters, gradients, state, rate, eps=1e-10):
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is not None:
            squares = state.setdefault(f"squares of {n}", [])
            squares.append(g * g)
            w -= rate * g / (torch.stack(squares).sum(0) ** 0.5 + eps)


@alternative("rmsprop")
def step_by_lerp(parameters, gradients, state, rate, a=0.99, eps=1e-8):
    with torch.no_grad():
        for n in range(len(gradients)):
            g = gradients[n]
            if g is None:
                continue
            s = state.get(n)
            s = (1 - a) * g.square() if s is None else torch.lerp(g.square(), s, a)
            state[n] = s
            parameters[n].addcdiv_(g, torch.sqrt(s).add_(eps), value=-rate)


@alternative("cosine_schedule")
def by_the_square_of_a_cosine(step, total, warmup, top, bottom=0.0):
    if warmup and step < warmup:
        return (step + 1) / warmup * top
    if step >= total:
        return float(bottom)
    return float(
        bottom
        + (top - bottom)
        * torch.cos(torch.tensor(math.pi / 2 * (step - warmup) / (total - warmup), dtype=torch.float64)) ** 2
    )


@alternative("best_heavy_ball")
def by_kappa(smallest, largest):
    kappa = largest / smallest
    q = (kappa**0.5 - 1) / (kappa**0.5 + 1)
    return 4 / (smallest + largest + 2 * math.sqrt(smallest * largest)), q * q
