# %% [markdown]
# # 07 · Optimisers
#
# A few lines each: the update rules behind almost all of deep learning. You write them, compare them with
# `torch.optim` number by number, and then race them: down a curved valley, on a quadratic where theory says what to
# expect, and on MNIST.
#
# All rules are called alike, once for each step: `rule(parameters, gradients, state, rate, …)`. `parameters` is a
# list of tensors, changed in place. `gradients` is a list of as many tensors, not changed; where it holds None the
# parameter had no part in the loss and is skipped, as if this step had not happened for it. `state` is a
# dictionary, empty before the first step, in which a rule keeps what it must remember for each parameter, under
# names of your choice.

# %%
import math

import torch

Tensors = list[torch.Tensor]
Gradients = list[torch.Tensor | None]


# %% [markdown]
# ## Downhill
#
# g is the gradient of one parameter w, r the rate. Weight decay λ adds the gradient of λ/2 ‖w‖²:
# g ← g + λ w, then w ← w − r g.


# %%
def sgd(parameters: Tensors, gradients: Gradients, state: dict, rate: float, decay: float = 0.0) -> None:
    """One step of gradient descent with weight decay.

    Hint: `w -= …` changes w in place; `g += …` would change the caller's gradient. My version has 110 characters.
    """
    # BEGIN SOLUTION
    for w, g in zip(parameters, gradients, strict=True):
        if g is not None:
            w -= rate * (g + decay * w)
    # END SOLUTION


# %% [markdown]
# ## Velocity
#
# Heavy ball (Polyak, 1964): v ← m v + g, then w ← w − r v, with v = 0 at first. Nesterov's variant steps along the
# gradient and the new velocity: w ← w − r (g + m v).


# %%
def momentum(parameters: Tensors, gradients: Gradients, state: dict, rate: float, m: float = 0.9) -> None:
    """One step of the heavy ball.

    Hint: the number of a parameter is a key for `state`. My version has 170 characters.
    """
    # BEGIN SOLUTION
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is not None:
            state[n] = m * state.get(n, 0.0) + g
            w -= rate * state[n]
    # END SOLUTION


def nesterov(parameters: Tensors, gradients: Gradients, state: dict, rate: float, m: float = 0.9) -> None:
    """One step with Nesterov's momentum.

    Hint: `momentum` with one more term. My version has 180 characters.
    """
    # BEGIN SOLUTION
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is not None:
            state[n] = m * state.get(n, 0.0) + g
            w -= rate * (g + m * state[n])
    # END SOLUTION


# %% [markdown]
# ## A rate for each weight
#
# Divide each component by the size that its gradients usually have. AdaGrad (2011) sums the squares: s ← s + g²,
# then w ← w − r g / (√s + ε). RMSProp (2012) forgets: s ← a s + (1 − a) g². Adam (2014) averages the gradient, too:
# v ← β₁ v + (1 − β₁) g and s ← β₂ s + (1 − β₂) g². Both begin at zero and are too small at first; after t steps of
# this parameter they are divided by 1 − β₁ᵗ and 1 − β₂ᵗ. Then w ← w − r v̂ / (√ŝ + ε).


# %%
def adagrad(parameters: Tensors, gradients: Gradients, state: dict, rate: float, eps: float = 1e-10) -> None:
    """One step of AdaGrad.

    Hint: ε is added to the root. My version has 180 characters.
    """
    # BEGIN SOLUTION
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is not None:
            state[n] = state.get(n, 0.0) + g**2
            w -= rate * g / (state[n].sqrt() + eps)
    # END SOLUTION


def rmsprop(
    parameters: Tensors, gradients: Gradients, state: dict, rate: float, a: float = 0.99, eps: float = 1e-8
) -> None:
    """One step of RMSProp.

    Hint: `adagrad` with a memory that fades. My version has 200 characters.
    """
    # BEGIN SOLUTION
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is not None:
            state[n] = a * state.get(n, 0.0) + (1 - a) * g**2
            w -= rate * g / (state[n].sqrt() + eps)
    # END SOLUTION


def adam(
    parameters: Tensors, gradients: Gradients, state: dict, rate: float, betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8, decay: float = 0.0, decoupled: bool = False,
) -> None:  # fmt: skip
    """One step of Adam; with `decoupled`, of AdamW.

    Weight decay as in `sgd`, before anything else. When it is decoupled (AdamW, 2017), it does not enter g: first
    w ← w − r λ w, then the step of Adam.

    Hint: three things to remember for each parameter, one of them t. My version has 430 characters.
    """
    # BEGIN SOLUTION
    for n, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
        if g is None:
            continue
        if decoupled:
            w *= 1 - rate * decay
        else:
            g = g + decay * w
        v, s, t = state.get(n, (0.0, 0.0, 0))
        v, s, t = betas[0] * v + (1 - betas[0]) * g, betas[1] * s + (1 - betas[1]) * g**2, t + 1
        state[n] = v, s, t
        w -= rate * v / (1 - betas[0] ** t) / ((s / (1 - betas[1] ** t)).sqrt() + eps)
    # END SOLUTION


# %% [markdown]
# ## How fast?


# %%
def cosine_schedule(step: int, total: int, warmup: int, top: float, bottom: float = 0.0) -> float:
    """The rate of a step, numbered from 0.

    In the first `warmup` steps it grows in equal steps, so that step warmup − 1 has `top`. Then it follows half a
    period of the cosine, from `top` at step `warmup` to `bottom` at step `total`, and stays there. 0 ≤ warmup <
    total.

    Hint: `math.cos`, and no division by zero without warm-up. My version has 170 characters.
    """
    # BEGIN SOLUTION
    if step < warmup:
        return top * (step + 1) / warmup
    done = min(1.0, (step - warmup) / (total - warmup))
    return bottom + (top - bottom) * (1 + math.cos(math.pi * done)) / 2
    # END SOLUTION


# %% [markdown]
# On a quadratic with curvatures from μ to L, each direction of curvature h obeys w ← (1 − r h) w for gradient
# descent: the best rate is 2 / (L + μ), the error shrinks by (κ − 1)/(κ + 1) in a step, κ = L/μ. The heavy ball
# obeys a recursion of second order, w_{k+1} = (1 + m − r h) w_k − m w_{k−1}. Its roots have modulus √m as long as
# they are complex, (1 + m − r h)² ≤ 4 m. Best is the smallest m for which that holds for all h from μ to L.


# %%
def best_heavy_ball(smallest: float, largest: float) -> tuple[float, float]:
    """The rate r and the momentum m with which the heavy ball is fastest on curvatures from `smallest` to `largest`.

    Hint: at both ends the inequality is an equation, with different signs of the root. My version has 120
    characters.
    """
    # BEGIN SOLUTION
    low, high = math.sqrt(smallest), math.sqrt(largest)
    return 4 / (low + high) ** 2, ((high - low) / (high + low)) ** 2
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# 2 cores, AMD EPYC 2.6 GHz, one thread; 7 s for everything. Two pictures lie in `results/`.
#
# | quadratic, κ = 100: steps to a millionth of the distance | |
# | --- | --- |
# | gradient descent, heavy ball, each at its best | 600, 85 |
# | AdaGrad, valley along the axes | **1** |
# | AdaGrad, the same valley rotated | 720 |
#
# | two epochs on 10 000 digits | loss | test errors |
# | --- | --- | --- |
# | sgd | 0.44 | 11 % |
# | momentum, nesterov, adagrad, rmsprop | 0.21–0.23 | 6.5 % |
# | adam; with warm-up, cosine and a larger rate | 0.27; 0.17 | 7.7 %; 6.5 % |
#
# How can AdaGrad be done after one step, and what does the rotation take away from it? Which of the six rules do
# not care about a rotation? The rates were chosen by hand: is the race fair, and how would you make it so?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` runs your rules down a curved valley, on a quadratic and on 10 000 digits, and draws their ways
# (7 s). This lab has no part for a GPU.
#
# Next is lab 08, training deep networks: there, no rule helps as long as the weights begin with the wrong size.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
