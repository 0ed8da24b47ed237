# Made by tools/labs.py from labs/15_reinforcement/author/lab.py; write your functions here.
"""Lab 15: Reinforcement learning.

What to do is in sheet.md. Check your work with: python check.py
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def value_iteration(transition: Tensor, reward: Tensor, gamma: float, tolerance: float) -> tuple[Tensor, Tensor]:
    """The best values and actions in a known world.

    transition: S × A × S; transition[s, a, r] is the probability to get from state s to state r by action a. reward: S
    × A, the mean reward for a in s. Starting from zeros, all values become max over a of reward + gamma · Σ transition
    · value, at once, until none changes by more than the tolerance. Returns the values (S, of the dtype of reward) and
    the best actions for them (S int64).

    Not allowed: `solve`, `inv`. The sheet asks for iterations.

    Hint: `@` of an S × A × S tensor with S values works as it is. My version has 275 characters.
    """
    raise NotImplementedError("15.1 value_iteration")


def discounted_returns(reward: Tensor, done: Tensor, gamma: float) -> Tensor:
    """What is still to come: Σ gammaᵏ · (reward k steps later), up to the end of the episode.

    reward: T × N. done: T × N bool; the reward of the step that ends an episode belongs to it. Returns T × N.

    Hint: from the last row to the first, with one row at a time. My version has 193 characters.
    """
    raise NotImplementedError("15.2 discounted_returns")


def reinforce_loss(logits: Tensor, action: Tensor, weight: Tensor) -> Tensor:
    """− the mean of log π(action) · weight.

    logits: B × A (A actions), of any size. action: B int64. weight: B, how good each action was. Returns one number.

    Not allowed: `distributions`. Log_softmax and one index are the exercise.

    Hint: `log_softmax`, `gather`; or `F.cross_entropy` with its `reduction`. My version has 74 characters.
    """
    raise NotImplementedError("15.3 reinforce_loss")


def leave_one_out(returns: Tensor, alive: Tensor) -> Tensor:
    """By how much each return is above those of the other episodes at the same time.

    returns: T × N. alive: T × N bool, where an episode was still running. From each return, the mean over the *other*
    alive ones in its row is subtracted. 0 where an episode is not alive, or no other one is. Returns T × N.

    A baseline that does not depend on the action leaves the mean of the gradient as it is, and takes away noise. With
    its own return in the mean it would depend on it.

    Not allowed: loops, comprehensions. The sum of all, less oneself, is the sum of the others.

    Hint: the others are the sum of all less oneself. My version has 195 characters.
    """
    raise NotImplementedError("15.4 leave_one_out")


def entropy_bonus(logits: Tensor) -> Tensor:
    """The mean entropy of policies, in nats: log A for a policy that knows nothing, 0 for one that is sure.

    logits: B × A, ±1000 included. Returns one number that autograd can follow, with a finite gradient.

    Not allowed: `distributions`. The formula is the exercise.

    Hint: `log_softmax` is safe, the logarithm of `softmax` is not. My version has 103 characters.
    """
    raise NotImplementedError("15.5 entropy_bonus")


def gae(reward: Tensor, value: Tensor, last: Tensor, done: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantages (Schulman and others, 2016): Σ (gamma lam)ᵏ · (δ k steps later), within the episode.

    reward, value: T × N; value[t] is V before step t. last: N, V after the last step. done: T × N bool; behind the end
    of an episode V is 0. Returns T × N.

    Hint: as `discounted_returns`, with δ. My version has 317 characters.
    """
    raise NotImplementedError("15.6 gae")


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
    raise NotImplementedError("15.7 actor_critic_loss")


def ppo_loss(logits: Tensor, action: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The clipped loss of proximal policy optimisation (Schulman and others, 2017).

    logits: B × A. action: B int64. old: B, log π(action) when the action was taken. advantage: B. With the ratio ρ =
    π(action) / π_old(action), the result is − the mean of the smaller of ρ · advantage and (ρ between 1 − clip and 1 +
    clip) · advantage: there is nothing to gain outside of these bounds.

    Hint: `torch.minimum`, `clamp`. The smaller of the two products, not the product of the smaller ratio. My version
    has 165 characters.
    """
    raise NotImplementedError("15.8 ppo_loss")
