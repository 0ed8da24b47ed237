# Made by tools/labs.py from labs/07_optimisers/author/lab.py; write your functions here.
"""Lab 07: Optimisers.

What to do is in sheet.md. Check your work with: python check.py
"""

import math

import torch

Tensors = list[torch.Tensor]
Gradients = list[torch.Tensor | None]


def sgd(parameters: Tensors, gradients: Gradients, state: dict, rate: float, decay: float = 0.0) -> None:
    """One step of gradient descent with weight decay.

    Not allowed: `optim`. The rule is the exercise.

    Hint: `w -= …` changes w in place; `g += …` would change the caller's gradient. My version has 110 characters.
    """
    raise NotImplementedError("07.1 sgd")


def momentum(parameters: Tensors, gradients: Gradients, state: dict, rate: float, m: float = 0.9) -> None:
    """One step of the heavy ball.

    Not allowed: `optim`. The rule is the exercise.

    Hint: the number of a parameter is a key for `state`. My version has 170 characters.
    """
    raise NotImplementedError("07.2 momentum")


def nesterov(parameters: Tensors, gradients: Gradients, state: dict, rate: float, m: float = 0.9) -> None:
    """One step with Nesterov's momentum.

    Not allowed: `optim`. The rule is the exercise.

    Hint: `momentum` with one more term. My version has 180 characters.
    """
    raise NotImplementedError("07.3 nesterov")


def adagrad(parameters: Tensors, gradients: Gradients, state: dict, rate: float, eps: float = 1e-10) -> None:
    """One step of AdaGrad.

    Not allowed: `optim`. The rule is the exercise.

    Hint: ε is added to the root. My version has 180 characters.
    """
    raise NotImplementedError("07.4 adagrad")


def rmsprop(
    parameters: Tensors, gradients: Gradients, state: dict, rate: float, a: float = 0.99, eps: float = 1e-8
) -> None:
    """One step of RMSProp.

    Not allowed: `optim`. The rule is the exercise.

    Hint: `adagrad` with a memory that fades. My version has 200 characters.
    """
    raise NotImplementedError("07.5 rmsprop")


def adam(
    parameters: Tensors, gradients: Gradients, state: dict, rate: float, betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8, decay: float = 0.0, decoupled: bool = False,
) -> None:  # fmt: skip
    """One step of Adam; with `decoupled`, of AdamW.

    Weight decay as in `sgd`, before anything else. When it is decoupled (AdamW, 2017), it does not enter g: first
    w ← w − r λ w, then the step of Adam.

    Not allowed: `optim`. The rule is the exercise.

    Hint: three things to remember for each parameter, one of them t. My version has 430 characters.
    """
    raise NotImplementedError("07.6 adam")


def cosine_schedule(step: int, total: int, warmup: int, top: float, bottom: float = 0.0) -> float:
    """The rate of a step, numbered from 0.

    In the first `warmup` steps it grows in equal steps, so that step warmup − 1 has `top`. Then it follows half a
    period of the cosine, from `top` at step `warmup` to `bottom` at step `total`, and stays there. 0 ≤ warmup <
    total.

    Hint: `math.cos`, and no division by zero without warm-up. My version has 170 characters.
    """
    raise NotImplementedError("07.7 cosine_schedule")


def best_heavy_ball(smallest: float, largest: float) -> tuple[float, float]:
    """The rate r and the momentum m with which the heavy ball is fastest on curvatures from `smallest` to `largest`.

    Hint: at both ends the inequality is an equation, with different signs of the root. My version has 120
    characters.
    """
    raise NotImplementedError("07.8 best_heavy_ball")
