"""Known-wrong versions of lab 15, each with the words that its message must hold, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant
from torch import Tensor
from torch.nn import functional as F

edit("value_iteration", "change <= tolerance", "change <= 100 * tolerance", says="a sweep too early")
edit("value_iteration", "best = (reward + gamma * transition @ value).max(1)",
     "best = (gamma * (reward + transition @ value)).max(1)", says="not gamma (reward + …)")  # fmt: skip


@mutant("value_iteration", says="used in the same sweep")
def values_in_place(transition: Tensor, reward: Tensor, gamma: float, tolerance: float) -> tuple[Tensor, Tensor]:
    value = torch.zeros_like(reward[:, 0])
    change = 2 * tolerance + 1
    while change > tolerance:
        change = 0.0
        for s in reversed(range(len(value))):
            new = (reward[s] + gamma * transition[s] @ value).max()
            change = max(change, abs(float(new - value[s])))
            value[s] = new
    return value, (reward + gamma * transition @ value).argmax(1)


@mutant("value_iteration", says="the mean over the actions")
def values_of_chance(transition: Tensor, reward: Tensor, gamma: float, tolerance: float) -> tuple[Tensor, Tensor]:
    value = torch.zeros_like(reward[:, 0])
    while True:
        quality = reward + gamma * transition @ value
        old, value = value, quality.mean(1)
        if (value - old).abs().max() <= tolerance:
            return value, quality.argmax(1)


edit("discounted_returns", " * ~done[t]", "", says="behind the end of an episode")
edit(
    "discounted_returns",
    "reward[t] + gamma * later * ~done[t]",
    "(reward[t] + gamma * later) * ~done[t]",
    says="belongs to that episode",
)
edit("discounted_returns", "reversed(range(len(reward)))", "range(len(reward))", says="from the first row")


@mutant("discounted_returns", says="not from the step itself")
def returns_from_the_beginning(reward: Tensor, done: Tensor, gamma: float) -> Tensor:
    result, later = torch.zeros_like(reward), torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        later = reward[t] + gamma * later * ~done[t]
        result[t] = later * gamma**t
    return result


edit("reinforce_loss", ".mean()", ".sum()", says="the sum over the steps")
edit("reinforce_loss", "(F.cross_entropy", "(-F.cross_entropy", says="the sign")
edit("reinforce_loss", 'F.cross_entropy(logits, action, reduction="none")',
     "-logits.softmax(1).log().gather(1, action[:, None])[:, 0]", says="overflows")  # fmt: skip


@mutant("reinforce_loss", says="a table of B × B")
def loss_of_a_table(logits: Tensor, action: Tensor, weight: Tensor) -> Tensor:
    return -(logits.log_softmax(1).gather(1, action[:, None]) * weight).mean()


edit("leave_one_out", "(returns.sum(1, keepdim=True) - returns)", "returns.sum(1, keepdim=True)", says="expected")
edit("leave_one_out", "alive & (others > 0)", "alive", says="one alone has nobody")
edit("leave_one_out", "returns = returns * alive", "pass", says="expected")


@mutant("leave_one_out", says="the own return is in the mean")
def mean_of_all(returns: Tensor, alive: Tensor) -> Tensor:
    mean = (returns * alive).sum(1, keepdim=True) / alive.sum(1, keepdim=True).clamp(min=1)
    return torch.where(alive & (alive.sum(1, keepdim=True) > 1), returns - mean, 0)


@mutant("leave_one_out", says="compare episodes at the same step")
def mean_over_time(returns: Tensor, alive: Tensor) -> Tensor:
    held = returns * alive
    return torch.where(alive, returns - (held.sum(0) - held) / (alive.sum(0) - 1).clamp(min=1), 0)


edit("entropy_bonus", "return -", "return ", says="the sign")
edit("entropy_bonus", ".sum(1).mean()", ".mean()", says="the mean over the actions, too")
edit("entropy_bonus", "logits.log_softmax(1)", "logits.softmax(1).log()", says="use log_softmax")
edit("entropy_bonus", "log_softmax(1)", "log_softmax(0)", says="softmax over the rows: dim=1 holds the actions")

edit("gae", "gamma * lam * later * ~done[t]", "gamma * lam * later", says="runs on behind the end")
edit("gae", "gamma * following * ~done[t]", "gamma * following", says="behind the end of an episode V is 0")
edit("gae", "gamma * lam * later", "lam * later", says="gamma is missing")
edit("gae", "gamma * lam * later", "gamma * later", says="lam is missing")
edit(
    "gae", "last if t + 1 == len(reward)", "0 * last if t + 1 == len(reward)", says="V after the last step is not used"
)
edit("gae", "return result", "return result + value", says="these are returns")

edit("actor_critic_loss", "- entropy_weight", "+ entropy_weight", says="punishes a policy for being uncertain")
edit("actor_critic_loss", "advantage.detach()", "advantage", says="detach it")
edit("actor_critic_loss", "returns.detach()", "returns", says="detach it")
edit("actor_critic_loss", "value_weight * critic", "0.5 * value_weight * critic", says="half the squared error")

edit("ppo_loss", "torch.minimum(", "torch.maximum(", says="the larger of both products")
edit("ppo_loss", " - old).exp()", " - old)", says="no ratio yet")
edit("ppo_loss", "-F.cross_entropy", "F.cross_entropy", says="expected")
edit("ppo_loss", "return -torch", "return torch", says="the sign")


@mutant("ppo_loss", says="the smaller ratio times the advantage")
def ppo_of_the_smaller_ratio(logits: Tensor, action: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    ratio = (-F.cross_entropy(logits, action, reduction="none") - old).exp()
    return -(torch.minimum(ratio, ratio.clamp(1 - clip, 1 + clip)) * advantage).mean()


@mutant("ppo_loss", says="the ratio is not clipped")
def ppo_without_clipping(logits: Tensor, action: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    return -((-F.cross_entropy(logits, action, reduction="none") - old).exp() * advantage).mean()


@alternative("value_iteration")
def values_by_einsum(transition: Tensor, reward: Tensor, gamma: float, tolerance: float) -> tuple[Tensor, Tensor]:
    value, change = reward.new_zeros(len(reward)), float("inf")
    while change > tolerance:
        quality = reward + gamma * torch.einsum("sar,r->sa", transition, value)
        change = float((quality.amax(1) - value).abs().amax())
        value = quality.amax(1)
    return value, (reward + gamma * torch.einsum("sar,r->sa", transition, value)).max(1).indices


@alternative("discounted_returns")
def returns_by_a_matrix(reward: Tensor, done: Tensor, gamma: float) -> Tensor:
    steps = torch.arange(len(reward))
    power = gamma ** (steps[None] - steps[:, None]).clamp(min=0).to(reward.dtype)
    ended = done.long().cumsum(0) - done.long()  # ends before each step
    same = (ended[None] == ended[:, None]) & (steps[None] >= steps[:, None])[:, :, None]
    return (power[:, :, None] * same * reward[None]).sum(1)


@alternative("reinforce_loss")
def loss_by_one_hot(logits: Tensor, action: Tensor, weight: Tensor) -> Tensor:
    chosen = (logits * F.one_hot(action, logits.shape[1])).sum(1) - logits.logsumexp(1)
    return -(chosen @ weight) / len(weight)


@alternative("leave_one_out")
def advantage_by_a_matrix(returns: Tensor, alive: Tensor) -> Tensor:
    n = returns.shape[1]
    others = alive[:, None] & alive[:, :, None] & ~torch.eye(n, dtype=torch.bool)
    mean = (others * returns[:, None].double()).sum(2) / others.sum(2).clamp(min=1)
    return (returns - mean) * others.any(2)


@alternative("entropy_bonus")
def entropy_by_logsumexp(logits: Tensor) -> Tensor:
    return (logits.logsumexp(1) - (logits.softmax(1) * logits).sum(1)).mean()


@alternative("gae")
def gae_from_two_sums(reward: Tensor, value: Tensor, last: Tensor, done: Tensor, gamma: float, lam: float) -> Tensor:
    behind = torch.cat([value[1:], last[None]]) * ~done
    delta, rows = reward + gamma * behind - value, []
    for step, end in zip(reversed(delta), reversed(done), strict=True):
        rows.append(step + gamma * lam * torch.where(end, 0.0, rows[-1]) if rows else step)
    return torch.stack(rows[::-1])


@alternative("ppo_loss")
def ppo_by_cases(logits: Tensor, action: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    ratio = (logits.log_softmax(1)[torch.arange(len(action)), action] - old).exp()
    stopped = torch.where(advantage > 0, ratio > 1 + clip, ratio < 1 - clip)
    bound = 1 + clip * advantage.sign()
    return -(torch.where(stopped, bound, ratio) * advantage).mean()
