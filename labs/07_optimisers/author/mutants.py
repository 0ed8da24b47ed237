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
