"""Known-wrong versions of lab 15, each with the words that its message must hold, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant
from torch import Tensor
from torch.nn import functional as F

edit("value_iteration", "change <= tolerance", "change <= 2.4 * tolerance", says="a sweep too early")
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


edit(
    "leave_one_out",
    "(returns.sum(1, keepdim=True) - returns)",
    "returns.sum(1, keepdim=True)",
    says="in the sum of the others",
)
edit("leave_one_out", "alive & (others > 0)", "alive", says="one alone has nobody")
edit("leave_one_out", "returns = returns * alive", "pass", says="not alive are in the sum")


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
edit("entropy_bonus", "log_softmax(1)", "log_softmax(0)", says="softmax over the rows")

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
edit("ppo_loss", "-F.cross_entropy", "F.cross_entropy", says="the sign of log π(action)")
edit("ppo_loss", "return -torch", "return torch", says="the sign")


@mutant("ppo_loss", says="the smaller ratio times the advantage")
def ppo_of_the_smaller_ratio(logits: Tensor, action: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    ratio = (-F.cross_entropy(logits, action, reduction="none") - old).exp()
    return -(torch.minimum(ratio, ratio.clamp(1 - clip, 1 + clip)) * advantage).mean()


@mutant("ppo_loss", says="the ratio is not clipped")
def ppo_without_clipping(logits: Tensor, action: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    return -((-F.cross_entropy(logits, action, reduction="none") - old).exp() * advantage).mean()


# More of the classics.
edit("value_iteration", "change <= tolerance", "change < tolerance", says="a change of just the tolerance")
edit("value_iteration", ".max(1)", ".min(1)", says="the smallest value, not the best")
edit("value_iteration", "@ value).argmax(1)", "@ value).argmin(1)", says="the worst actions")
edit("value_iteration", "(reward + gamma * transition @ value).argmax(1)", "reward.argmax(1)", says="reward now")
edit("value_iteration", "best = (reward + gamma * transition @ value).max(1)",
     "best = (reward + gamma**2 * transition @ value).max(1)", says="gamma is used twice")  # fmt: skip
edit("value_iteration", "best = (reward + gamma * transition @ value).max(1)",
     "best = (reward + 0.05 * gamma * transition.permute(2, 1, 0) @ value).max(1)", says="expected")  # fmt: skip
edit("discounted_returns", "gamma * later", "later", says="gamma is missing")
edit("discounted_returns", "result[t] = later", "result[t] = later - reward[t]", says="the step itself is missing")
edit("discounted_returns", "result[t] = later", "result[t] = gamma * later", says="one gamma too many")
edit("discounted_returns", "~done[t]", "~done[min(t + 1, len(done) - 1)]", says="one step too early")
edit("reinforce_loss", " * weight", "", says="the weights are missing")
edit("reinforce_loss", "action, reduction", "(action + 1) % logits.size(1), reduction", says="one action too far")
edit("reinforce_loss", ".mean()", ".mean() / logits.size(1)", says="the mean over the actions, too")
edit("reinforce_loss", "(F.cross_entropy(logits,", "(F.cross_entropy(logits.log_softmax(0).exp(),", says="expected")


@mutant("reinforce_loss", says="without log_softmax")
def loss_of_the_logits(logits: Tensor, action: Tensor, weight: Tensor) -> Tensor:
    return -(logits.gather(1, action[:, None]).squeeze(1) * weight).mean()


@mutant("reinforce_loss", says="probabilities instead of their logarithms")
def loss_of_probabilities(logits: Tensor, action: Tensor, weight: Tensor) -> Tensor:
    return -(logits.softmax(1).gather(1, action[:, None]).squeeze(1) * weight).mean()


edit("leave_one_out", "returns - mean, 0", "mean, 0", says="that is the mean of the others")
edit("leave_one_out", "returns - mean, 0", "mean - returns, 0", says="the sign is wrong")
edit("leave_one_out", "returns - mean, 0", "returns, 0", says="nothing is subtracted")
edit("leave_one_out", " / others.clamp(min=1)", "", says="the sum of the others is subtracted")
edit("leave_one_out", "/ others.clamp(min=1)", "/ (others + 1).clamp(min=1)", says="not of the others")
edit("entropy_bonus", "(log_probability.exp() * log_probability)", "log_probability", says="the factor p is missing")
edit("entropy_bonus", "log_probability.exp() * log_probability", "log_probability.exp() * logits",
     says="take the place of log p")  # fmt: skip
edit("entropy_bonus", ".sum(1).mean()", ".sum()", says="the sum over the policies")
edit("entropy_bonus", ".sum(1).mean()", ".sum(1).mean() / 0.6931471805599453", says="in bits, not in nats")
edit("gae", "- value[t]", "+ value[t]", says="V(s) is added")
edit("gae", " - value[t]", "", says="not subtracted in δ")
edit("gae", "gamma * following", "following", says="gamma is missing in δ")
edit("gae", "reward[t] + gamma * following * ~done[t]", "reward[t]", says="V(s') is missing")
edit("gae", "delta + gamma * lam * later * ~done[t]", "delta", says="the sum of later ones is missing")
edit("gae", "gamma * lam * later", "later", says="the factor gamma · lam is missing")
edit("gae", "gamma * lam * later", "(gamma * lam) ** 2 * later", says="it should be gamma · lam")
edit("actor_critic_loss", "return policy +", "return -policy +", says="the sign of the policy's loss")
edit("actor_critic_loss", "return policy + value", "return policy - value", says="the sign of the critic's loss")
edit("actor_critic_loss", "value_weight * critic", "critic", says="value_weight is not used")
edit("actor_critic_loss", "- entropy_weight * ", "- ", says="entropy_weight is not used")
edit("actor_critic_loss", " - entropy_weight * entropy_bonus(logits)", "", says="the entropy is missing")
edit("actor_critic_loss", " + value_weight * critic", "", says="the critic is missing")
edit("actor_critic_loss", "(value, returns.detach())", "(value, advantage.detach())", says="learns the advantages")
edit("actor_critic_loss", "F.mse_loss", "F.l1_loss", says="the absolute error")
edit("actor_critic_loss", "advantage.detach())", "returns.detach())", says="are the weights of the policy")
edit("actor_critic_loss", "entropy_bonus(logits)", "entropy_bonus(logits).detach()", says="it is detached")
edit("actor_critic_loss", "F.mse_loss(value,", "F.mse_loss(value.detach(),", says="no gradient arrives at value")
edit("ppo_loss", ".mean()", ".sum()", says="the sum over the steps")
edit("ppo_loss", "clamp(1 - clip, 1 + clip)", "clamp(-clip, clip)", says="between −clip and clip")
edit("ppo_loss", "clamp(1 - clip, 1 + clip)", "clamp(max=1 + clip)", says="clipped only above")
edit("ppo_loss", "clamp(1 - clip, 1 + clip)", "clamp(min=1 - clip)", says="clipped only below")
edit("ppo_loss", " - old)", ")", says="old is not used")
edit("ppo_loss", '(-F.cross_entropy(logits, action, reduction="none") - old)',
     '(F.cross_entropy(logits, action, reduction="none") + old)', says="the ratio is upside down")  # fmt: skip
edit("ppo_loss", "torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)",
     "(ratio.clamp(1 - clip, 1 + clip) * advantage)", says="always the clipped one")  # fmt: skip
edit("ppo_loss", "ratio.clamp(1 - clip, 1 + clip) * advantage)", "(ratio * advantage).clamp(1 - clip, 1 + clip))",
     says="the product is clipped")  # fmt: skip


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


@alternative("value_iteration")
def values_by_loops(transition: Tensor, reward: Tensor, gamma: float, tolerance: float) -> tuple[Tensor, Tensor]:
    def quality(value):
        return torch.stack([reward[:, a] + gamma * transition[:, a] @ value for a in range(reward.shape[1])], dim=1)

    value = torch.zeros(len(reward), dtype=reward.dtype)
    while True:
        new = torch.amax(quality(value), dim=1)
        done = torch.all((new - value).abs() <= tolerance)
        value = new
        if done:
            break
    return value, torch.argmax(quality(value), dim=1)


@alternative("discounted_returns")
def returns_by_lists(reward: Tensor, done: Tensor, gamma: float) -> Tensor:
    columns = []
    for rewards, ends in zip(reward.T.tolist(), done.T.tolist(), strict=True):
        total, column = 0.0, []
        for r, end in zip(rewards[::-1], ends[::-1], strict=True):
            total = r + (0.0 if end else gamma * total)
            column.insert(0, total)
        columns.append(column)
    return torch.tensor(columns, dtype=reward.dtype).T


@alternative("reinforce_loss")
def loss_by_nll(logits: Tensor, action: Tensor, weight: Tensor) -> Tensor:
    return torch.mean(weight * F.nll_loss(F.log_softmax(logits, dim=-1), action, reduction="none"))


@alternative("reinforce_loss")
def loss_by_an_index(logits: Tensor, action: Tensor, weight: Tensor) -> Tensor:
    log_p = logits.log_softmax(dim=1)
    return -sum(log_p[b, action[b]] * weight[b] for b in range(len(action))) / len(action)


@alternative("leave_one_out")
def advantage_by_einsum(returns: Tensor, alive: Tensor) -> Tensor:
    pairs = torch.einsum("tn,tm->tnm", alive.to(returns.dtype), alive.to(returns.dtype))
    pairs = pairs * (1 - torch.eye(returns.size(1), dtype=returns.dtype))
    count = pairs.sum(dim=2)
    mean = torch.einsum("tnm,tm->tn", pairs, returns) / torch.clamp(count, min=1)
    return torch.where(count > 0, returns - mean, torch.zeros_like(returns))


@alternative("entropy_bonus")
def entropy_by_cross_entropy(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, logits.softmax(dim=1))


@alternative("gae")
def gae_step_by_step(reward: Tensor, value: Tensor, last: Tensor, done: Tensor, gamma: float, lam: float) -> Tensor:
    advantages, going = [], 1 - done.to(reward.dtype)
    following, later = last, 0
    for t in range(reward.shape[0] - 1, -1, -1):
        later = reward[t] - value[t] + gamma * going[t] * (following + lam * later)
        following = value[t]
        advantages.append(later)
    return torch.flip(torch.stack(advantages), dims=(0,))


@alternative("actor_critic_loss")
def loss_in_one_line(logits, action, advantage, value, returns, value_weight, entropy_weight):
    log_p = torch.log_softmax(logits, dim=1)
    chosen = log_p[torch.arange(len(action)), action]
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    with torch.no_grad():
        weight, goal = advantage.clone(), returns.clone()
    return torch.mean(-chosen * weight + value_weight * (value - goal) ** 2 - entropy_weight * entropy)


@alternative("ppo_loss")
def ppo_by_a_distribution(logits: Tensor, action: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    ratio = torch.exp(torch.distributions.Categorical(logits=logits).log_prob(action) - old)
    both = torch.stack([ratio * advantage, torch.clip(ratio, 1 - clip, 1 + clip) * advantage])
    return both.min(dim=0).values.mean().neg()
