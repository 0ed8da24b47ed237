# %% [markdown]
# # 15 · Reinforcement learning
#
# Nobody says what the right action is. The agent acts, gets rewards, and must find out by itself which of its actions
# they were for. With a known world this is a matter of planning (part 1). Without one, it is a matter of gradients:
# make actions that turned out well more probable, and be careful with the noise (parts 2 to 8).
#
# Tables of experience are T × N: N episodes side by side, T steps each, all started afresh in row 0. `done` is true
# where a step ended its episode; what stands in later rows of the column belongs to the next episode.

# %%
import torch
from torch import Tensor
from torch.nn import functional as F

# %% [markdown]
# ## Planning


# %%
def value_iteration(transition: Tensor, reward: Tensor, gamma: float, tolerance: float) -> tuple[Tensor, Tensor]:
    """The best values and actions in a known world.

    transition: S × A × S; transition[s, a, r] is the probability to get from state s to state r by action a. reward: S
    × A, the mean reward for a in s. Starting from zeros, all values become max over a of reward + gamma · Σ transition
    · value, at once, until none changes by more than the tolerance. Returns the values (S, of the dtype of reward) and
    the best actions for them (S int64).

    Hint: `@` of an S × A × S tensor with S values works as it is. My version has 275 characters.
    """
    # BEGIN SOLUTION
    value = torch.zeros_like(reward[:, 0])
    while True:
        best = (reward + gamma * transition @ value).max(1)
        change = (best.values - value).abs().max()
        value = best.values
        if change <= tolerance:
            return value, (reward + gamma * transition @ value).argmax(1)
    # END SOLUTION


# %% [markdown]
# ## Policy gradients
#
# For a policy π with logits, ∇ E[return] = E[ Σ ∇ log π(a | s) · (return after a) ] (Williams, 1992). An optimizer
# minimises, so all losses here are negative.


# %%
def discounted_returns(reward: Tensor, done: Tensor, gamma: float) -> Tensor:
    """What is still to come: Σ gammaᵏ · (reward k steps later), up to the end of the episode.

    reward: T × N. done: T × N bool; the reward of the step that ends an episode belongs to it. Returns T × N.

    Hint: from the last row to the first, with one row at a time. My version has 193 characters.
    """
    # BEGIN SOLUTION
    result = torch.zeros_like(reward)
    later = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        later = reward[t] + gamma * later * ~done[t]
        result[t] = later
    return result
    # END SOLUTION


# %%
def reinforce_loss(logits: Tensor, action: Tensor, weight: Tensor) -> Tensor:
    """− the mean of log π(action) · weight.

    logits: B × A (A actions), of any size. action: B int64. weight: B, how good each action was. Returns one number.

    Hint: `log_softmax`, `gather`; or `F.cross_entropy` with its `reduction`. My version has 74 characters.
    """
    # BEGIN SOLUTION
    return (F.cross_entropy(logits, action, reduction="none") * weight).mean()
    # END SOLUTION


# %%
def leave_one_out(returns: Tensor, alive: Tensor) -> Tensor:
    """By how much each return is above those of the other episodes at the same time.

    returns: T × N. alive: T × N bool, where an episode was still running. From each return, the mean over the *other*
    alive ones in its row is subtracted. 0 where an episode is not alive, or no other one is. Returns T × N.

    A baseline that does not depend on the action leaves the mean of the gradient as it is, and takes away noise. With
    its own return in the mean it would depend on it.

    Hint: the others are the sum of all less oneself. My version has 195 characters.
    """
    # BEGIN SOLUTION
    returns = returns * alive
    others = alive.sum(1, keepdim=True) - 1
    mean = (returns.sum(1, keepdim=True) - returns) / others.clamp(min=1)
    return torch.where(alive & (others > 0), returns - mean, 0)
    # END SOLUTION


# %%
def entropy_bonus(logits: Tensor) -> Tensor:
    """The mean entropy of policies, in nats: log A for a policy that knows nothing, 0 for one that is sure.

    logits: B × A, ±1000 included. Returns one number that autograd can follow, with a finite gradient.

    Hint: `log_softmax` is safe, the logarithm of `softmax` is not. My version has 103 characters.
    """
    # BEGIN SOLUTION
    log_probability = logits.log_softmax(1)
    return -(log_probability.exp() * log_probability).sum(1).mean()
    # END SOLUTION


# %% [markdown]
# ## Actor and critic
#
# A critic learns V(s), the mean return from s. Then one step is enough to judge an action: δ = r + gamma V(s') − V(s).
# It is biased as long as V is wrong; the return is right on average and noisy. λ goes from one to the other.


# %%
def gae(reward: Tensor, value: Tensor, last: Tensor, done: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantages (Schulman and others, 2016): Σ (gamma lam)ᵏ · (δ k steps later), within the episode.

    reward, value: T × N; value[t] is V before step t. last: N, V after the last step. done: T × N bool; behind the end
    of an episode V is 0. Returns T × N.

    Hint: as `discounted_returns`, with δ. My version has 317 characters.
    """
    # BEGIN SOLUTION
    result = torch.zeros_like(reward)
    later = torch.zeros_like(last)
    for t in reversed(range(len(reward))):
        following = last if t + 1 == len(reward) else value[t + 1]
        delta = reward[t] + gamma * following * ~done[t] - value[t]
        later = delta + gamma * lam * later * ~done[t]
        result[t] = later
    return result
    # END SOLUTION


# %%
def actor_critic_loss(
    logits: Tensor,
    action: Tensor,
    advantage: Tensor,
    value: Tensor,
    returns: Tensor,
    value_weight: float,
    entropy_weight: float,
) -> Tensor:
    """The loss of actor and critic together.

    logits: B × A. action: B int64. advantage, value, returns: B. The sum of reinforce_loss with the advantages,
    value_weight times the mean squared error of value, and − entropy_weight times the entropy. Neither advantage nor
    returns pass on a gradient, whatever they were computed from. Returns one number.

    Hint: `detach`. Use the parts above. My version has 183 characters.
    """
    # BEGIN SOLUTION
    policy = reinforce_loss(logits, action, advantage.detach())
    critic = F.mse_loss(value, returns.detach())
    return policy + value_weight * critic - entropy_weight * entropy_bonus(logits)
    # END SOLUTION


# %%
def ppo_loss(logits: Tensor, action: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The clipped loss of proximal policy optimisation (Schulman and others, 2017).

    logits: B × A. action: B int64. old: B, log π(action) when the action was taken. advantage: B. With the ratio ρ =
    π(action) / π_old(action), the result is − the mean of the smaller of ρ · advantage and (ρ between 1 − clip and 1 +
    clip) · advantage: there is nothing to gain outside of these bounds.

    Hint: `torch.minimum`, `clamp`. The smaller of the two products, not the product of the smaller ratio. My version
    has 165 characters.
    """
    # BEGIN SOLUTION
    ratio = (-F.cross_entropy(logits, action, reduction="none") - old).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# `python check.py --targets` makes `worlds.png`: the values in a maze, and a walk along a cliff that keeps away from
# the edge as soon as the ground is slippery. A bandit with three arms shows what a baseline is worth: the same gradient
# on average, with a sixteenth of the variance. `cartpole.png`: a pole on a cart falls after some 20 steps; after 640
# episodes with baseline, actor-critic or PPO it stands for all 200. The cart is 20 lines of torch in `check.py`.
# Checks take 2 s, everything 18 s (2 cores, AMD EPYC 2.6 GHz, one thread).
#
# Beside the cliff, the best move is straight into the wall or away from the edge. Why? With λ = 0.95 instead of 0.99
# the actor-critic has better gradients, says theory, and it learns worse. What is wrong with the critic in the first
# iterations? PPO uses each episode four times: what would happen without the clipping?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` walks through the maze and along the cliff, and balances the pole; look at its pictures (18 s).
#
# Next is lab 16, graphs: networks on data with neighbours, which are no longer pixels in a row.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
