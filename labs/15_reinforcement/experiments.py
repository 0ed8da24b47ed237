"""The experiments of lab 15: what can be measured and seen once its parts work."""

import math

import torch
from check import lab
from checking import progress, student_side
from checking.kit import float64
from torch import Tensor

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


def grid_world(plan: list[str], slip: float) -> tuple[Tensor, Tensor, dict[tuple[int, int], int]]:
    """A world from a drawing: "#" wall, "G" goal (reward 1, then the end), "P" pit (reward −1, then the end).

    With the chance `slip` a move goes to one of its two sides. The last state is the end. Returns transition, reward
    and the number of each place.
    """
    places = [(r, c) for r, row in enumerate(plan) for c, mark in enumerate(row) if mark != "#"]
    number = {place: n for n, place in enumerate(places)}
    transition = torch.zeros(len(places) + 1, 4, len(places) + 1)
    reward = torch.zeros(len(places) + 1, 4)
    transition[-1, :, -1] = 1
    for (r, c), s in number.items():
        for a in range(4):
            if plan[r][c] in "GP":
                transition[s, a, -1], reward[s, a] = 1, 1 if plan[r][c] == "G" else -1
                continue
            for turn, chance in (0, 1 - slip), (1, slip / 2), (3, slip / 2):
                dr, dc = MOVES[(a + turn) % 4]
                transition[s, a, number.get((r + dr, c + dc), s)] += chance
    return transition, reward, number


def maze(size: int, rng) -> list[str]:
    """A maze by a random walk that never closes a circle, with a few walls broken; odd size."""
    cells = [["#"] * size for _ in range(size)]
    way = [(1, 1)]
    cells[1][1] = "."
    while way:
        r, c = way[-1]
        around = [(r + 2 * dr, c + 2 * dc) for dr, dc in MOVES]
        free = [(y, x) for y, x in around if 0 < y < size and 0 < x < size and cells[y][x] == "#"]
        if not free:
            way.pop()
            continue
        there = free[rng.int(0, len(free))]
        cells[(r + there[0]) // 2][(c + there[1]) // 2] = cells[there[0]][there[1]] = "."
        way.append(there)
    for _round in range(size):
        r, c = rng.int(1, size - 1), rng.int(1, size - 1)
        cells[r][c] = "."
    cells[size - 2][size - 2] = "G"
    return ["".join(row) for row in cells]


CLIFF = [
    "#############",
    "#...........#",
    "#...........#",
    "#...........#",
    "#...........#",
    "#..PPPPPPPPG#",
    "#############",
]


def path_in(policy: Tensor, number: dict[tuple[int, int], int], start: tuple[int, int], plan: list[str]) -> list:
    """The places that a policy without slips goes through."""
    place, seen = start, [start]
    while plan[place[0]][place[1]] == "." and len(seen) < 1000:
        dr, dc = MOVES[int(policy[number[place]])]
        place = (place[0] + dr, place[1] + dc) if (place[0] + dr, place[1] + dc) in number else place
        seen.append(place)
    return seen


def steps_to_goal(plan: list[str], start: tuple[int, int]) -> int:
    """The length of the shortest way, by breadth-first search."""
    distance, waiting = {start: 0}, [start]
    for r, c in waiting:
        if plan[r][c] == "G":
            return distance[r, c]
        for dr, dc in MOVES:
            there = (r + dr, c + dc)
            if plan[there[0]][there[1]] != "#" and there not in distance:
                distance[there] = distance[r, c] + 1
                waiting.append(there)
    return -1


@lab.experiment("value_iteration", seconds=2)
def a_way_out_of_the_maze(student, metrics, data, rng):
    """A maze, and a walk along a cliff with firm and with slippery ground"""
    plan = maze(25, rng)
    worlds = [(plan, 0.0, (1, 1), 0.97), (CLIFF, 0.0, (5, 1), 0.95), (CLIFF, 0.3, (5, 1), 0.95)]
    solved = []
    for drawing, slip, start, gamma in worlds:
        transition, reward, number = grid_world(drawing, slip)
        value, policy = student.value_iteration(transition, reward, gamma, 1e-7)
        quality = reward + gamma * transition @ value
        residual = (quality.amax(1) - value).abs().max().item()
        solved.append((drawing, number, value, policy, path_in(policy, number, start, drawing), residual))
    metrics.equal("steps in the maze", len(solved[0][4]) - 1, steps_to_goal(plan, (1, 1)))
    metrics.at_most("largest error in Bellman's equation", max(one[5] for one in solved), 1e-5)
    rows = [min(r for r, _ in one[4]) for one in solved[1:]]
    metrics.equal("row of the walk along the cliff, firm ground (the cliff is row 5)", rows[0], 4)
    metrics.at_most("row of the walk along the cliff, slippery ground", rows[1], 3)
    with metrics.picture("worlds.png", size=(10, 4)) as figure:
        left, right = figure.subfigures(1, 2, width_ratios=[1, 1.1])
        upper, lower = right.subplots(2, 1)
        titles = ("values in the maze, and the way out", "a cliff, firm ground", "a cliff, every third step slips")
        for axes, one, title in zip((left.subplots(), upper, lower), solved, titles, strict=True):
            draw_world(axes, *one[:5])
            axes.set_title(title)


def draw_world(axes, plan: list[str], number: dict, value: Tensor, policy: Tensor, path: list) -> None:
    picture = torch.full((len(plan), len(plan[0])), torch.nan)
    for (r, c), s in number.items():
        picture[r, c] = value[s]
    spread = picture.numpy()
    lowest = float(value[:-1].min())
    image = axes.imshow(spread, cmap="cividis" if lowest < 0 else "viridis", vmin=-1 if lowest < 0 else None, vmax=1)
    axes.figure.colorbar(image, ax=axes, label="value", shrink=0.8)
    axes.set_facecolor("#2d3748")
    for (r, c), s in number.items():
        if plan[r][c] == ".":
            dr, dc = MOVES[int(policy[s])]
            axes.annotate(
                "",
                (c + 0.33 * dc, r + 0.33 * dr),
                (c - 0.33 * dc, r - 0.33 * dr),
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": "#1a202c",
                    "linewidth": 0.3,
                    "alpha": 0.5,
                    "mutation_scale": 4,
                },
            )
    axes.plot([c for _, c in path], [r for r, _ in path], color="#f6e05e" if lowest >= 0 else "#1a202c", linewidth=1.6)
    words = {"start": [path[0]]}
    for word, letter in ("goal", "G"), ("cliff", "P"):
        words[word] = [(r, c) for r, row in enumerate(plan) for c, cell in enumerate(row) if cell == letter]
    for word, places in words.items():
        if places:
            r, c = places[len(places) // 2]
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
            axes.text(c, r, word, ha="center", va="center", fontsize=7, color="black", bbox=box)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


@student_side
def bandit_gradients(student, logits, means, rounds, count):
    """Gradients of the loss for `rounds` samples of `count` pulls: weighted with rewards, and with leave_one_out."""
    found = [], []
    alive = torch.ones(1, count, dtype=torch.bool)
    for _ in progress(range(rounds), "bandit"):
        action = torch.multinomial(logits.softmax(0), count, replacement=True)
        reward = means[action] + torch.randn(count, dtype=torch.float64)
        for gradients, weight in zip(found, (reward, student.leave_one_out(reward[None], alive)[0]), strict=True):
            leaf = logits.clone().requires_grad_()
            student.reinforce_loss(leaf.expand(count, -1), action, weight).backward()
            gradients.append(leaf.grad)
    return [torch.stack(gradients) for gradients in found]


@lab.experiment("reinforce_loss", "leave_one_out", seconds=1)
def noise_of_the_gradient(student, metrics, data, rng):
    """A bandit with three arms: the same gradient on average, with less noise"""
    logits = torch.tensor([0.3, 0.0, -0.3], dtype=float64)
    means = torch.tensor([5.0, 6.0, 4.0], dtype=float64)
    probability = logits.softmax(0)
    exact = -probability * (means - probability @ means)
    plain, compared = student.run(bandit_gradients, logits, means, 2000, 8)
    for name, gradients in ("plain", plain), ("leave_one_out", compared):
        error = (gradients.mean(0) - exact).abs() / (gradients.std(0) / len(gradients) ** 0.5)
        metrics.at_most(f"{name}: distance of the mean to the exact gradient", error.max().item(), 5, "standard errors")
    ratio = (plain.var(0).sum() / compared.var(0).sum()).item()
    metrics.at_least("variance, plain / leave_one_out", ratio, 4)


@student_side
class CartPole:
    """Carts with a pole each, side by side (Barto, Sutton and Anderson, 1983); states are … × 4, actions 0 and 1.

    A state is position (m), velocity, angle (rad) and its velocity; a step takes 0.02 s. An episode fails when the cart
    is more than 2.4 m from the middle, or the pole leans by more than 12°.
    """

    @staticmethod
    def start(shape, generator):
        return 0.1 * torch.rand(*shape, 4, generator=generator) - 0.05

    @staticmethod
    def step(state, action):
        _, speed, angle, turning = state.unbind(-1)
        sine, cosine = angle.sin(), angle.cos()
        push = (20.0 * action - 10.0 + 0.05 * turning**2 * sine) / 1.1
        bend = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        gain = push - 0.05 * bend * cosine / 1.1
        change = torch.stack([speed, gain, turning, bend], -1)
        state = state + 0.02 * change
        return state, (state[..., 0].abs() > 2.4) | (state[..., 2].abs() > math.radians(12))


@student_side
class Networks:
    """Several networks 4 → 32 → outputs of equal size, trained side by side: states are runs × … × 4."""

    def __init__(self, runs, outputs, generator):
        def uniform(*shape, bound):
            return (bound * (2 * torch.rand(runs, *shape, generator=generator) - 1)).requires_grad_()

        self.parameters = [
            uniform(4, 32, bound=0.5),
            uniform(1, 32, bound=0.5),
            uniform(32, outputs, bound=32**-0.5),
            uniform(1, outputs, bound=32**-0.5),
        ]

    def __call__(self, state):
        w1, b1, w2, b2 = self.parameters
        flat = state.flatten(1, -2)
        return (((flat @ w1 + b1).tanh() @ w2) + b2).unflatten(1, state.shape[1:-1])


@student_side
def rollout(actor, runs, episodes, steps, generator):
    """Episodes until all have failed: states T × runs × episodes × 4, actions, alive, failed, and the last state."""
    state, alive = CartPole.start((runs, episodes), generator), torch.ones(runs, episodes, dtype=torch.bool)
    rows = []
    with torch.no_grad():
        for _ in range(steps):
            chance = actor(state).softmax(-1)[..., 1]
            action = (torch.rand(runs, episodes, generator=generator) < chance).long()
            following, failed = CartPole.step(state, action)
            rows.append((state, action, alive, failed))
            state, alive = following, alive & ~failed
            if not alive.any():
                break
    return [*(torch.stack(column) for column in zip(*rows, strict=True)), state]


@student_side
def balanced(student, method, runs, iterations, rate, lam, seed):
    """Mean returns, iterations × runs, and the states of episodes before and after training."""
    generator = torch.Generator().manual_seed(seed)
    actor, critic = Networks(runs, 2, generator), Networks(runs, 1, generator)
    optimizer = torch.optim.Adam([*actor.parameters, *critic.parameters], rate)
    curve, shown = [], []
    for number in progress(range(iterations), method):
        state, action, alive, failed, last = rollout(actor, runs, 16, 200, generator)
        if number in (0, iterations - 1):
            shown.append((state[:, 0, 0], alive[:, 0, 0]))
        reward, done = alive.float(), failed | ~alive
        curve.append(reward.sum(0).mean(1))
        state, last, kept = state.transpose(0, 1), last[:, None], []
        for turn in range(4 if method == "ppo" else 1):
            logits, guess = actor(state), critic(state)[..., 0]  # the critic counts in units of 20 steps
            total = 0.0
            for run in range(runs):  # each run has weights of its own, so their losses may be summed
                here = alive[:, run]
                steps = logits[run][here], action[:, run][here]
                args = reward[:, run], done[:, run], 0.99
                if method in ("reinforce", "baseline"):
                    weight = student.discounted_returns(*args)
                    weight = student.leave_one_out(weight, here) if method == "baseline" else weight
                    total = total + student.reinforce_loss(*steps, weight[here])
                    continue
                if turn == 0:
                    with torch.no_grad():
                        ahead = critic(last)[run, 0, :, 0]
                        advantage = student.gae(args[0], 20 * guess[run], 20 * ahead, args[1], 0.99, lam)
                        returns = (advantage / 20 + guess[run])[here]
                        good = advantage[here]
                        good = (good - good.mean()) / (good.std() + 1e-6)
                        kept.append((good, returns, steps[0].log_softmax(1).gather(1, steps[1][:, None])[:, 0]))
                good, returns, old = kept[run]
                if method == "ppo":
                    critics = torch.nn.functional.mse_loss(guess[run][here], returns)
                    total = total + student.ppo_loss(*steps, old, good, 0.2) + 0.5 * critics
                else:
                    total = total + student.actor_critic_loss(*steps, good, guess[run][here], returns, 0.5, 0.01)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    return torch.stack(curve), shown


METHODS = {  # how it is called → method, learning rate, lam
    "reinforce": ("reinforce", 0.02, 1.0),
    "baseline": ("baseline", 0.02, 1.0),
    "actor-critic, λ = 0.95": ("actor-critic", 0.02, 0.95),
    "actor-critic": ("actor-critic", 0.02, 0.99),
    "ppo": ("ppo", 0.015, 0.99),
}


@lab.experiment(
    "discounted_returns",
    "reinforce_loss",
    "leave_one_out",
    "entropy_bonus",
    "gae",
    "actor_critic_loss",
    "ppo_loss",
    seconds=13,
)
def a_pole_on_a_cart(student, metrics, data, rng):
    """A pole balanced on a cart: 40 times 16 episodes, 200 steps at most, three runs of each method"""
    curves, shown = {}, []
    for name, (method, rate, lam) in METHODS.items():
        curves[name], shown = student.run(balanced, method, 3, 40, rate, lam, rng.seed())
        final = curves[name][-10:].mean(0).median().item()
        label = f"{name}: mean steps in the last 10 iterations"
        if name in ("baseline", "actor-critic", "ppo"):
            metrics.at_least(label, final, 150)
        else:
            metrics.seen(label, final)
    with metrics.picture("cartpole.png", size=(10, 3.6)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.2])
        for method, values in curves.items():
            middle = values.median(1).values
            (line,) = left.plot(middle.numpy(), label=method)
            left.fill_between(
                range(len(values)), values.amin(1).numpy(), values.amax(1).numpy(), alpha=0.15, color=line.get_color()
            )
        left.set(xlabel="iteration", ylabel="steps until the pole falls", ylim=(0, 210), title="three runs each")
        left.legend(loc="lower right")
        for height, (state, alive), name in zip((2.4, 0.0), shown, ("before", "after"), strict=True):
            state = state[: int(alive.sum())]
            chosen = torch.linspace(0, len(state) - 1, min(12, len(state))).long()
            for n, (x, _, angle, _) in enumerate(state[chosen].tolist()):
                at, shade = n + x, 0.25 + 0.75 * n / max(1, len(chosen) - 1)
                right.plot([at - 0.25, at + 0.25], [height, height], color="#2b6cb0", linewidth=4, alpha=shade)
                right.plot(
                    [at, at + 1.4 * math.sin(angle)],
                    [height, height + 1.4 * math.cos(angle)],
                    color="#c2571a",
                    linewidth=2.5,
                    alpha=shade,
                )
            right.text(-1.2, height + 1.7, f"{name} training: {len(state)} steps", fontsize=9)
        right.set(xticks=[], yticks=[], xlim=(-1.4, 12.6), ylim=(-0.4, 4.8), title="one cart, time from left to right")
        right.set_aspect("equal")
        right.grid(False)
