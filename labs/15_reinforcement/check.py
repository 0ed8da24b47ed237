"""The checks of lab 15. Reading them is allowed and useful: the cart with its pole is here, too."""

import math
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import float64

PARTS = [
    "value_iteration",
    "discounted_returns",
    "reinforce_loss",
    "leave_one_out",
    "entropy_bonus",
    "gae",
    "actor_critic_loss",
    "ppo_loss",
]
lab = Lab(__file__, parts=PARTS)
lab.forbid("leave_one_out", loops=True, why="the sum of all, less oneself, is the sum of the others")
lab.forbid("reinforce_loss", names=["distributions"], why="log_softmax and one index are the exercise")
lab.forbid("entropy_bonus", names=["distributions"], why="the formula is the exercise")
lab.forbid("value_iteration", names=["solve", "inv"], why="the sheet asks for iterations")


# ---- planning


@lab.reference
def value_iteration(transition, reward, gamma, tolerance):
    states = torch.arange(len(reward))
    policy = torch.zeros_like(states)
    while True:  # policy iteration: exact values of a policy, then the best policy for them
        own = torch.eye(len(states), dtype=float64) - gamma * transition[states, policy].double()
        value = torch.linalg.solve(own, reward[states, policy].double())
        quality = reward.double() + gamma * torch.einsum("sar,r->sa", transition.double(), value)
        if bool((quality.amax(1) <= value + 1e-10).all()):
            return value.to(reward.dtype), quality.argmax(1)
        policy = quality.argmax(1)


def random_world(rng, states: int, actions: int) -> tuple[Tensor, Tensor]:
    transition = rng.uniform(states, actions, states, dtype=float64) ** 3
    return transition / transition.sum(2, keepdim=True), rng.normal(states, actions, dtype=float64)


@lab.check("value_iteration")
def values_of_random_worlds(student, rng):
    """against policy iteration, with exact values"""
    for states, actions, gamma in (5, 3, 0.1), (5, 3, 0.9), (7, 2, 0.5), (1, 4, 0.8), (4, 1, 0.95):
        transition, reward = random_world(rng, states, actions)
        want, best = value_iteration(transition, reward, gamma, 0.0)

        def otherwise(best, t=transition, r=reward, gamma=gamma, backwards=False):
            value = torch.zeros(len(r), dtype=float64)
            for _round in range(800):
                value = best(r + gamma * (t.permute(2, 1, 0) if backwards else t) @ value)
            return value

        with case(f"{states} states, {actions} actions, gamma {gamma}"):
            got = student.value_iteration(transition, reward, gamma, 1e-10)
            require(isinstance(got, (tuple, list)) and len(got) == 2, "two results are expected: values and actions")
            expect(
                got[0],
                want,
                rtol=1e-6,
                atol=1e-7,
                mistakes={
                    "the mean over the actions, not the best": lambda f=otherwise: f(lambda quality: quality.mean(1)),
                    "the smallest value, not the best": lambda f=otherwise: f(lambda quality: quality.amin(1)),
                    "gamma is missing at the reward's side: value = reward + gamma …, not gamma (reward + …)": gamma
                    * want,
                    "transition is used backwards: from r to s": lambda f=otherwise: f(
                        lambda quality: quality.amax(1), backwards=True
                    ),
                    "gamma is missing": lambda f=otherwise: f(lambda quality: quality.amax(1), gamma=1.0),
                    "gamma is used twice": lambda f=otherwise, g=gamma: f(lambda quality: quality.amax(1), gamma=g**2),
                    "the sum over the actions, not the best": lambda f=otherwise: f(lambda quality: quality.sum(1)),
                    "that is the largest reward alone, without what follows": reward.amax(1),
                },
            )
            worth = reward + gamma * transition @ want
            expect(
                got[1],
                best,
                mistakes={
                    "these are the worst actions": worth.argmin(1),
                    "these are the actions with the largest reward now, whatever follows": reward.argmax(1),
                    "these are the actions to the best states; the reward of the step counts, too": (
                        (worth - reward).argmax(1)
                    ),
                },
                look="the actions are those that are best for the final values",
            )


@lab.check("value_iteration")
def all_values_at_once(student, rng):
    """one sweep, two sweeps: where it stops, and that all values change together"""
    after = torch.tensor([1, 2, 3, 4, 5, 5])
    transition = torch.zeros(6, 1, 6, dtype=float64)
    transition[torch.arange(6), 0, after] = 1
    reward = torch.tensor([[0.0], [0.0], [0.0], [0.0], [1.0], [0.0]], dtype=float64)
    values = [torch.zeros(6, dtype=float64)]
    for _round in range(7):
        values.append(reward[:, 0] + 0.5 * values[-1][after])
    for tolerance, sweeps in ((0.9, 2), (0.4, 3), (0.2, 4), (0.5, 2)):
        late = "a change of just the tolerance is not more than it" if tolerance == 0.5 else "it stops a sweep too late"
        with case(f"a corridor of 6 states, gamma 0.5, tolerance {tolerance}: {sweeps} sweeps"):
            got, _ = student.value_iteration(transition, reward, 0.5, tolerance)
            expect(
                got,
                values[sweeps],
                mistakes={
                    "values that are new already are used in the same sweep": values[-1],
                    "it stops a sweep too early: the values that changed by less are returned": values[sweeps - 1],
                    late: values[sweeps + 1],
                    "gamma is missing": torch.tensor([1.0, 1, 1, 1, 1, 0], dtype=float64),
                    "nothing is swept: the values are still zero": values[0],
                },
                look="stop after the sweep in which no value changed by more than the tolerance",
            )


# ---- policy gradients


@lab.reference
def discounted_returns(reward, done, gamma):
    steps, episodes = reward.shape
    out = torch.zeros_like(reward)
    for n in range(episodes):
        for t in range(steps):
            factor = 1.0
            for later in range(t, steps):
                out[t, n] += factor * float(reward[later, n])
                factor *= gamma
                if done[later, n]:
                    break
    return out


def forgetting(reward: Tensor, done: Tensor, gamma: float, what: str) -> Tensor:
    """Returns with a mistake."""
    out, later = torch.zeros_like(reward), torch.zeros_like(reward[0])
    order = range(len(reward)) if what == "forward" else range(len(reward) - 1, -1, -1)
    for t in order:
        if what == "own end":
            later = (reward[t] + gamma * later) * (~done[t])
        elif what in ("later", "scaled", "no gamma"):
            later = reward[t] + (1.0 if what == "no gamma" else gamma) * later * (~done[t])
        elif what == "late end":
            later = reward[t] + gamma * later * (~done[t + 1] if t + 1 < len(reward) else True)
        else:
            later = reward[t] + gamma * (later if what == "no end" else later * (~done[t]))
        out[t] = later
    if what == "later":
        out = out - reward
    if what == "scaled":
        out = out * gamma
    if what == "absolute":
        out = out * gamma ** torch.arange(len(reward), dtype=reward.dtype)[:, None]
    return out


RETURN_MISTAKES = {
    "no end": "returns run on behind the end of an episode",
    "own end": "the reward of the step that ends an episode belongs to that episode",
    "late end": "an episode ends one step too early: done[t] cuts between t and t + 1",
    "later": "the reward of the step itself is missing: k begins at 0",
    "scaled": "one gamma too many: the reward of the step itself is not discounted",
    "no gamma": "gamma is missing",
    "forward": "summed from the first row to the last: that is what was, not what comes",
    "absolute": "discounted from the beginning of the episode, not from the step itself",
}


@lab.check("discounted_returns")
def returns_step_by_step(student, rng):
    """against sums over all later steps, with ends in between"""
    for steps, episodes, gamma, chance in (9, 4, 0.9, 0.3), (1, 3, 0.5, 0.5), (7, 1, 1.0, 0.2), (6, 5, 0.0, 0.3):
        reward, done = rng.normal(steps, episodes, dtype=float64), rng.uniform(steps, episodes) < chance
        mistakes = {text: forgetting(reward, done, gamma, what) for what, text in RETURN_MISTAKES.items()}
        with case(f"{steps} steps of {episodes} episodes, gamma {gamma}"):
            expect(
                student.discounted_returns(reward, done, gamma),
                discounted_returns(reward, done, gamma),
                mistakes=mistakes,
            )


@student_side
def value_and_gradients(student, name, tensors, others):
    """What a loss gives, and its gradients with respect to `tensors`, a dict; its other arguments are `others`."""
    leaves = {key: value.clone().requires_grad_() for key, value in tensors.items()}
    result = getattr(student, name)(**leaves, **others)
    if not isinstance(result, torch.Tensor) or not result.requires_grad:
        return result, None
    result.sum().backward()
    return result.detach(), {key: leaf.grad for key, leaf in leaves.items()}


def expected(function, tensors: dict[str, Tensor], others: dict) -> tuple[Tensor, dict[str, Tensor]]:
    """The same for a reference, on this side."""
    leaves = {key: value.clone().requires_grad_() for key, value in tensors.items()}
    result = function(**leaves, **others)
    gradients = torch.autograd.grad(result, list(leaves.values()), allow_unused=True)
    return result.detach(), {k: g for k, g in zip(leaves, gradients, strict=True) if g is not None}


def slope_of(function, tensors: dict[str, Tensor], others: dict, want: Tensor, key: str) -> Tensor:
    """The gradient of a mistake that gives the right value; another mistake would have been named by its value."""
    value, slopes = expected(function, tensors, others)
    if not torch.allclose(value, want):
        raise ValueError("not this mistake")
    return slopes[key]


def loss_and_gradient(student, function, tensors: dict[str, Tensor], others: dict, mistakes: dict) -> None:
    """Compare value and gradients; `mistakes`: sentence → a function with the arguments of the part."""
    want, slopes = expected(function, tensors, others)
    got, gradients = student.run(value_and_gradients, function.__name__, tensors, others)
    wrong = {text: lambda f=f: expected(f, tensors, others)[0] for text, f in mistakes.items()}
    expect(got, want, mistakes=wrong)
    require(gradients is not None, "the result has no gradient: detached, or made a Python number?")
    for key, slope in slopes.items():
        require(gradients[key] is not None, f"no gradient arrives at {key}")
        with case(f"gradient with respect to {key}"):
            own = {text: lambda f=f, k=key: slope_of(f, tensors, others, want, k) for text, f in mistakes.items()}
            expect(gradients[key], slope, mistakes=own)
    for key in tensors.keys() - slopes.keys():
        nothing = gradients[key] is None or bool((gradients[key] == 0).all())
        require(nothing, f"{key} gets a gradient, but must not: detach it")


@student_side
def log_policy(logits, action):
    """log π(action), row by row."""
    return torch.stack([row[a] - torch.logsumexp(row, 0) for row, a in zip(logits, action.tolist(), strict=True)])


@lab.reference
def reinforce_loss(logits, action, weight):
    total = 0.0
    for row, a, w in zip(logits, action.tolist(), weight, strict=True):
        total = total - (row[a] - torch.logsumexp(row, 0)) * w
    return total / len(action)


@lab.check("reinforce_loss")
def loss_of_weighted_actions(student, rng):
    """value and gradient, row by row; large logits"""
    for count, actions, scale in (7, 3, 1), (1, 2, 1), (5, 4, 1000):
        tensors = {"logits": scale * rng.normal(count, actions, dtype=float64)}
        others = {"action": rng.integers(0, actions, count), "weight": rng.normal(count, dtype=float64)}
        with case(
            f"{count} steps, {actions} actions, logits of the size {scale}",
            look="the logarithm of a softmax overflows: log_softmax",
        ):
            loss_and_gradient(
                student,
                reinforce_loss,
                tensors,
                others,
                {
                    "the sign: good actions would become less probable": lambda logits, action, weight: (
                        log_policy(logits, action) * weight
                    ).mean(),
                    "the sum over the steps, not their mean": lambda logits, action, weight: (
                        -(log_policy(logits, action) * weight).sum()
                    ),
                    "probabilities instead of their logarithms": lambda logits, action, weight: (
                        -(log_policy(logits, action).exp() * weight).mean()
                    ),
                    "a table of B × B (a shape B × 1 met a shape B), or the product of two means": (
                        lambda logits, action, weight: -log_policy(logits, action).mean() * weight.mean()
                    ),
                    "the weights are missing": lambda logits, action, weight: -log_policy(logits, action).mean(),
                    "divided by the sum of the weights, not by their number": lambda logits, action, weight: (
                        -(log_policy(logits, action) * weight).sum() / weight.sum()
                    ),
                    "the softmax runs over the steps: dim=1 holds the actions": lambda logits, action, weight: (
                        -(logits.log_softmax(0).gather(1, action[:, None])[:, 0] * weight).mean()
                    ),
                    "the logarithms of all actions, not of the chosen one": lambda logits, action, weight: (
                        -(logits.log_softmax(1) * weight[:, None]).sum(1).mean()
                    ),
                    "the mean over the actions, too": lambda logits, action, weight: (
                        -(log_policy(logits, action) * weight).mean() / logits.shape[1]
                    ),
                    "one action too far": lambda logits, action, weight: (
                        -(log_policy(logits, (action + 1) % logits.shape[1]) * weight).mean()
                    ),
                    "the logits themselves, without log_softmax": lambda logits, action, weight: (
                        -(logits.gather(1, action[:, None])[:, 0] * weight).mean()
                    ),
                },
            )


@lab.reference
def leave_one_out(returns, alive):
    out = torch.zeros_like(returns)
    for t in range(len(returns)):
        for n in range(returns.shape[1]):
            others = [float(returns[t, m]) for m in range(returns.shape[1]) if m != n and alive[t, m]]
            if alive[t, n] and others:
                out[t, n] = returns[t, n] - sum(others) / len(others)
    return out


@lab.check("leave_one_out")
def others_one_by_one(student, rng):
    """against loops; one alive episode, none, all"""
    for steps, episodes, chance in (6, 5, 0.6), (3, 2, 1.0), (4, 1, 1.0), (5, 7, 0.3):
        returns = 10 + rng.normal(steps, episodes, dtype=float64)
        alive = rng.uniform(steps, episodes) < chance
        held = returns * alive
        count = alive.sum(1, keepdim=True)
        zero = torch.zeros_like(returns)
        others = (held.sum(1, keepdim=True) - held) / (count - 1).clamp(min=1)
        with case(f"{steps} steps of {episodes} episodes, {int(alive.sum())} of {alive.numel()} alive"):
            expect(
                student.leave_one_out(returns, alive),
                leave_one_out(returns, alive),
                mistakes={
                    "one alone has nobody to be compared with: 0": torch.where(alive, returns - others, zero),
                    "the own return is in the sum of the others": torch.where(
                        alive & (count > 1), returns - held.sum(1, keepdim=True) / (count - 1).clamp(min=1), zero
                    ),
                    "episodes that are not alive are in the sum of the others": torch.where(
                        alive & (count > 1),
                        returns - (returns.sum(1, keepdim=True) - returns) / (count - 1).clamp(min=1),
                        zero,
                    ),
                    "that is the mean of the others, not the difference from it": torch.where(
                        alive & (count > 1), others, zero
                    ),
                    "the mean is subtracted from others: the sign is wrong": torch.where(
                        alive & (count > 1), others - returns, zero
                    ),
                    "divided by the number of all alive ones, not of the others": torch.where(
                        alive & (count > 1), returns - (held.sum(1, keepdim=True) - held) / count.clamp(min=1), zero
                    ),
                    "nothing is subtracted": torch.where(alive, returns, zero),
                    "the sum of the others is subtracted, not their mean": torch.where(
                        alive & (count > 1), returns - (held.sum(1, keepdim=True) - held), zero
                    ),
                    "the own return is in the mean": torch.where(
                        alive, returns - held.sum(1, keepdim=True) / count, zero
                    ),
                    "the own return is in the mean, and one alone gets 0": torch.where(
                        alive & (count > 1), returns - held.sum(1, keepdim=True) / count, zero
                    ),
                    "the mean over all episodes, alive or not": torch.where(
                        alive, returns - (returns.sum(1, keepdim=True) - returns) / max(1, episodes - 1), zero
                    ),
                    "divided by all others, alive or not": torch.where(
                        alive & (count > 1), returns - (held.sum(1, keepdim=True) - held) / max(1, episodes - 1), zero
                    ),
                    "the mean over the steps of an episode: compare episodes at the same step": torch.where(
                        alive, returns - (held.sum(0) - held) / (alive.sum(0) - 1).clamp(min=1), zero
                    ),
                    "episodes that are not alive get a number, too": returns - others,
                },
            )


@lab.reference
def entropy_bonus(logits):
    total = 0.0
    for row in logits:
        logs = row - torch.logsumexp(row, 0)
        total = total - (logs.exp() * logs).sum()
    return total / len(logits)


@lab.check("entropy_bonus")
def entropy_row_by_row(student, rng):
    """value and gradient; log A at most; ±1000"""
    for count, actions, scale in (5, 3, 1), (1, 2, 1), (4, 6, 1000):
        with case(
            f"{count} policies of {actions} actions, logits of the size {scale}", look="0 · log 0: use log_softmax"
        ):
            loss_and_gradient(
                student,
                entropy_bonus,
                {"logits": scale * rng.normal(count, actions, dtype=float64)},
                {},
                {
                    "the sign: an entropy is never negative": lambda logits: -entropy_bonus(logits),
                    "the sum over the policies, not their mean": lambda logits: entropy_bonus(logits) * len(logits),
                    "the mean over the actions, too": lambda logits: entropy_bonus(logits) / logits.shape[1],
                    "there is no logarithm: Σ p²": lambda logits: (logits.softmax(1) ** 2).sum(1).mean(),
                    "the factor p is missing: Σ log p": lambda logits: -logits.log_softmax(1).sum(1).mean(),
                    "the entropy of the mean policy, not the mean entropy": lambda logits: (
                        -torch.xlogy(logits.softmax(1).mean(0), logits.softmax(1).mean(0)).sum()
                    ),
                    "the logits take the place of log p": lambda logits: -(logits.softmax(1) * logits).sum(1).mean(),
                    "divided by log A": lambda logits: entropy_bonus(logits) / math.log(logits.shape[1]),
                    "in bits, not in nats": lambda logits: entropy_bonus(logits) / math.log(2),
                    "softmax over the rows: dim=1 holds the actions": lambda logits: (
                        -(logits.softmax(0) * logits.log_softmax(0)).sum(1).mean()
                    ),
                },
            )
    got, _ = student.run(value_and_gradients, "entropy_bonus", {"logits": torch.full((3, 5), 7.0, dtype=float64)}, {})
    with case("all logits are the same"):
        expect(got, torch.tensor(math.log(5), dtype=float64))


# ---- actor and critic


@lab.reference
def gae(reward, value, last, done, gamma, lam):
    steps, episodes = reward.shape
    out = torch.zeros_like(reward)
    for n in range(episodes):
        for t in range(steps):
            factor = 1.0
            for k in range(t, steps):
                after = 0.0 if done[k, n] else float(last[n] if k + 1 == steps else value[k + 1, n])
                out[t, n] += factor * (float(reward[k, n]) + gamma * after - float(value[k, n]))
                factor *= gamma * lam
                if done[k, n]:
                    break
    return out


def gae_otherwise(reward, value, last, done, gamma, lam, what):
    """Advantages with a mistake."""
    behind = torch.cat([value[1:], (torch.zeros_like(last) if what == "last" else last)[None]])
    go_on = torch.ones_like(reward) if what == "bootstrap" else (~done).to(reward.dtype)
    delta = reward + gamma * behind * go_on - value
    if what == "plus":
        delta = delta + 2 * value
    if what == "no gamma":
        delta = reward + behind * go_on - value
    if what == "no value":
        delta = reward + gamma * behind * go_on
    if what == "no next":
        delta = reward - value
    if what == "value":
        delta = reward + gamma * value * go_on - value
    factor = {"lam": lam, "gamma": gamma, "undiscounted": 1.0, "twice": (gamma * lam) ** 2}.get(what, gamma * lam)
    out, later = torch.zeros_like(reward), torch.zeros_like(last)
    for t in range(len(reward) - 1, -1, -1):
        later = delta[t] + factor * later * (1.0 if what == "run on" else (~done[t]).to(reward.dtype))
        out[t] = later
    return delta if what == "one step" else out + value if what == "returns" else out


GAE_MISTAKES = {
    "last": "V after the last step is not used",
    "bootstrap": "behind the end of an episode V is 0: the value of the next episode has been used",
    "run on": "the sum runs on behind the end of an episode",
    "value": "δ has V of the next state in it, not of the same one",
    "plus": "V(s) is added; δ subtracts it",
    "no gamma": "gamma is missing in δ",
    "no value": "V(s) is not subtracted in δ",
    "no next": "V(s') is missing in δ",
    "undiscounted": "the factor gamma · lam is missing",
    "twice": "the factor is (gamma · lam)², it should be gamma · lam",
    "lam": "gamma is missing in the factor gamma · lam",
    "gamma": "lam is missing in the factor gamma · lam",
    "one step": "only δ: the sum of later ones is missing",
    "returns": "these are returns: advantage + value",
}


@lab.check("gae")
def advantages_step_by_step(student, rng):
    """against sums over all later steps"""
    for steps, episodes, gamma, lam in (8, 4, 0.9, 0.7), (1, 3, 0.9, 0.5), (6, 1, 0.99, 0.95), (5, 5, 0.5, 0.9):
        reward, value = rng.normal(steps, episodes, dtype=float64), 3 + rng.normal(steps, episodes, dtype=float64)
        last, done = 3 + rng.normal(episodes, dtype=float64), rng.uniform(steps, episodes) < 0.3
        arguments = reward, value, last, done, gamma, lam
        mistakes = {text: lambda a=arguments, what=what: gae_otherwise(*a, what) for what, text in GAE_MISTAKES.items()}
        with case(f"{steps} steps of {episodes} episodes, gamma {gamma}, lam {lam}"):
            expect(student.gae(*arguments), gae(*arguments), mistakes=mistakes)


@lab.check("gae")
def advantages_at_both_ends(student, rng):
    """lam = 0 gives δ, lam = 1 gives return − V"""
    reward, value = rng.normal(7, 3, dtype=float64), rng.normal(7, 3, dtype=float64)
    done = rng.uniform(7, 3) < 0.25
    done[-1] = True
    last = rng.normal(3, dtype=float64)
    behind = torch.cat([value[1:], last[None]])
    with case("lam = 0"):
        expect(student.gae(reward, value, last, done, 0.9, 0.0), reward + 0.9 * behind * ~done - value)
    with case("lam = 1, and all episodes end"):
        expect(student.gae(reward, value, last, done, 0.9, 1.0), discounted_returns(reward, done, 0.9) - value)


@lab.reference
def actor_critic_loss(logits, action, advantage, value, returns, value_weight, entropy_weight):
    fixed, goal = advantage.detach(), returns.detach()
    actor = -(log_policy(logits, action) * fixed).mean()
    critic = sum((v - g) ** 2 for v, g in zip(value, goal, strict=True)) / len(value)
    return actor + value_weight * critic - entropy_weight * entropy_bonus(logits)


def composed(
    policy: float = 1, critic: float = 1, entropy: float = -1, half: float = 1, swapped=False, goal="returns", cut=False
):
    """An actor-critic loss with other signs or factors."""

    def loss(logits, action, advantage, value, returns, value_weight, entropy_weight):
        if swapped:
            value_weight, entropy_weight = entropy_weight, value_weight
        weight = returns if goal == "weights" else advantage
        parts = policy * -(log_policy(logits, action) * weight.detach()).mean()
        error = value - (advantage if goal == "advantage" else returns).detach()
        error = error.abs() if goal == "absolute" else error.square()
        parts = parts + critic * half * value_weight * error.mean()
        return parts + entropy * entropy_weight * entropy_bonus(logits.detach() if cut else logits)

    return loss


@lab.check("actor_critic_loss")
def losses_together(student, rng):
    """value and gradients; nothing flows into advantage and returns"""
    for count, actions, value_weight, entropy_weight in (6, 3, 0.5, 0.01), (1, 2, 0.3, 0.7), (5, 4, 1.0, 0.0):
        logits, value = rng.normal(count, actions, dtype=float64), 2 + rng.normal(count, dtype=float64)
        advantage, returns = rng.normal(count, dtype=float64), rng.normal(count, dtype=float64)
        tensors = {"logits": logits, "advantage": advantage, "value": value, "returns": returns}
        others = {
            "action": rng.integers(0, actions, count),
            "value_weight": value_weight,
            "entropy_weight": entropy_weight,
        }
        with case(f"{count} steps, {actions} actions, weights {value_weight} and {entropy_weight}"):
            loss_and_gradient(
                student,
                actor_critic_loss,
                tensors,
                others,
                {
                    "the entropy is added to the loss: that punishes a policy for being uncertain": composed(entropy=1),
                    "the sign of the policy's loss": composed(policy=-1),
                    "the sign of the critic's loss": composed(critic=-1),
                    "the entropy is missing": composed(entropy=0),
                    "the critic is missing": composed(critic=0),
                    "value_weight and entropy_weight are exchanged": composed(swapped=True),
                    "the critic learns the advantages; it should learn the returns": composed(goal="advantage"),
                    "the absolute error of the critic; the squared one is asked for": composed(goal="absolute"),
                    "value_weight is not used": composed(critic=1 / value_weight),
                    "entropy_weight is not used": composed(entropy=-1 / max(entropy_weight, 1e-9)),
                    "the policy's loss is missing": composed(policy=0),
                    "the policy's loss is a sum, the others are means": composed(policy=count),
                    "no gradient arrives through the entropy: it is detached": composed(cut=True),
                    "the returns are the weights of the policy; the advantages should be": composed(goal="weights"),
                    "half the squared error: the factor is value_weight alone": composed(half=0.5),
                    "the sum of the squared errors, not their mean": composed(half=count),
                },
            )


@lab.reference
def ppo_loss(logits, action, old, advantage, clip):
    total = 0.0
    for row, a, before, good in zip(logits, action.tolist(), old, advantage, strict=True):
        ratio = (row[a] - torch.logsumexp(row, 0) - before).exp()
        free, low, high = ratio * good, (1 - clip) * good + 0 * ratio, (1 + clip) * good + 0 * ratio
        if good > 0:
            total = total - (high if ratio > 1 + clip else free)
        else:
            total = total - (low if ratio < 1 - clip else free)
    return total / len(action)


@lab.check("ppo_loss")
def clipped_ratios(student, rng):
    """value and gradient, inside and outside of the bounds, for good and for bad actions"""
    for count, actions, clip in (16, 3, 0.2), (1, 2, 0.1), (9, 4, 0.5):
        logits, action = rng.normal(count, actions, dtype=float64), rng.integers(0, actions, count)
        advantage = rng.normal(count, dtype=float64)
        old = log_policy(logits, action) + 0.5 * rng.normal(count, dtype=float64)
        others = {"action": action, "old": old, "advantage": advantage, "clip": clip}

        with case(f"{count} steps, {actions} actions, clip {clip}"):
            mistakes = {text: ppo_otherwise(what) for what, text in PPO_MISTAKES.items()}
            loss_and_gradient(student, ppo_loss, {"logits": logits}, others, mistakes)


PPO_MISTAKES = {
    "sign": "the sign: good actions would become less probable",
    "free": "the ratio is not clipped",
    "clipped": "always the clipped one: the smaller of both products counts",
    "larger": "the larger of both products instead of the smaller",
    "ratio": "the smaller ratio times the advantage: for a bad action that is the larger product",
    "old over new": "the ratio is upside down: new over old",
    "no exp": "a difference of logarithms is no ratio yet: exp",
    "outside": "the product is clipped, not the ratio",
    "wrong log": "the sign of log π(action) is wrong in the ratio",
    "sum": "the sum over the steps, not their mean",
    "around 0": "the ratio is held between −clip and clip, it should be between 1 − clip and 1 + clip",
    "above": "the ratio is clipped only above; 1 − clip is a bound, too",
    "below": "the ratio is clipped only below; 1 + clip is a bound, too",
    "no old": "old is not used: that is π(action), not the ratio",
    "logs": "log π(action) in the place of the ratio",
}


def ppo_otherwise(what: str):
    """A clipped loss with a mistake."""

    def loss(logits, action, old, advantage, clip):
        gap = log_policy(logits, action) - old
        ratio = gap if what == "no exp" else (-gap if what == "old over new" else gap).exp()
        if what == "wrong log":
            ratio = (-log_policy(logits, action) - old).exp()
        if what == "no old":
            ratio = log_policy(logits, action).exp()
        if what == "logs":
            ratio = log_policy(logits, action)
        bounded = {
            "around 0": lambda: ratio.clamp(-clip, clip),
            "above": lambda: ratio.clamp(max=1 + clip),
            "below": lambda: ratio.clamp(min=1 - clip),
        }.get(what, lambda: ratio.clamp(1 - clip, 1 + clip))()
        free, held = ratio * advantage, bounded * advantage
        if what == "outside":
            held = free.clamp(1 - clip, 1 + clip)
        chosen = {"free": free, "clipped": held, "larger": torch.maximum(free, held)}.get(
            what, torch.minimum(free, held)
        )
        if what == "ratio":
            chosen = torch.minimum(ratio, bounded) * advantage
        return -chosen.sum() if what == "sum" else chosen.mean() if what == "sign" else -chosen.mean()

    return loss


if __name__ == "__main__":
    sys.exit(run_checks(lab))
