# %% [markdown]
# # 05 · Autograd from scratch
#
# A program that computes a number also says how to differentiate it: remember what was done, then go through it
# backwards. You write such an engine, about as long as this page, train a network with it, and then teach PyTorch's
# own engine a new function.
#
# The class `Var` and the function `record` in the exercise are the memory. A `Var` holds a tensor `data`; the
# result of an operation holds its `parents` and a `rule`. A rule turns g, the derivative of the final sum with
# respect to the result (in its shape), into the derivatives with respect to the operands (in their shapes). No
# Jacobian is ever written down: each rule is a vector-Jacobian product, gᵀJ.

# %%
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Var:
    """A tensor that remembers how it was computed.

    `needs_grad`: whether anything is to be differentiated with respect to it, or to one of its ancestors. `grad`:
    the derivative, for leaves that need it, else None. A leaf has no parents; a result that needs no gradient has
    none, either.
    """

    def __init__(self, data: Tensor, needs_grad: bool = False) -> None:
        self.data, self.needs_grad = data, needs_grad
        self.grad: Tensor | None = None
        self.parents: tuple[Var, ...] = ()
        self.rule: Callable[[Tensor], tuple[Tensor, ...]] | None = None

    def __add__(self, other: "Var | float") -> "Var":
        return record(torch.add, add_vjp, self, other)

    def __sub__(self, other: "Var") -> "Var":
        return self + other * -1.0

    def __mul__(self, other: "Var | float") -> "Var":
        return record(torch.mul, mul_vjp, self, other)

    def __matmul__(self, other: "Var") -> "Var":
        return record(torch.matmul, matmul_vjp, self, other)

    def tanh(self) -> "Var":
        return record(torch.tanh, tanh_vjp, self)

    def sum(self, dim: int | None = None) -> "Var":
        def total(a: Tensor) -> Tensor:
            return a.sum() if dim is None else a.sum(dim)

        return record(total, lambda g, out, a: sum_vjp(g, out, a, dim), self)


def record(operation: Callable[..., Tensor], vjp: Callable[..., tuple[Tensor, ...]], *inputs: Var | float) -> Var:
    """The Var that `operation` gives; `vjp(g, out, *operands)` becomes its rule."""
    parents = tuple(p if isinstance(p, Var) else Var(torch.as_tensor(p)) for p in inputs)
    operands = [p.data for p in parents]
    value = operation(*operands)
    result = Var(value, any(p.needs_grad for p in parents))
    if result.needs_grad:
        result.parents, result.rule = parents, lambda g: vjp(g, value, *operands)
    return result


def add_vjp(g: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return unbroadcast(g, a.shape), unbroadcast(g, b.shape)


def tanh_vjp(g: Tensor, out: Tensor, a: Tensor) -> tuple[Tensor]:
    return (g * (1 - out * out),)


# %% [markdown]
# ## Rules
#
# Broadcasting copies a number to many places, so its derivative is the sum over those places. Every rule for two
# operands needs this, and `add_vjp` shows how it is used.


# %%
def unbroadcast(g: Tensor, shape: Sequence[int]) -> Tensor:
    """Sum g over everything that broadcasting from `shape` to g.shape has repeated.

    g: any shape to which a tensor of `shape` can be broadcast. Returns a tensor of that shape.

    Hint: dimensions that g has in front, and those of size 1 that grew. Beware: `g.sum(())` sums over everything.
    My version has 140 characters.
    """
    # BEGIN SOLUTION
    while g.dim() > len(shape):
        g = g.sum(0)
    for dim, size in enumerate(shape):
        if size == 1:
            g = g.sum(dim, keepdim=True)
    return g
    # END SOLUTION


def mul_vjp(g: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rule of out = a * b, element by element with broadcasting.

    g: in the shape of out. Returns the derivatives with respect to a and b, each in the shape of its operand.

    Hint: the product rule and `unbroadcast`. My version has 63 characters.
    """
    # BEGIN SOLUTION
    return unbroadcast(g * b, a.shape), unbroadcast(g * a, b.shape)
    # END SOLUTION


def matmul_vjp(g: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rule of out = a @ b, for matrices and batches of them.

    a: … × N × K, b: … × K × M, with leading dimensions that broadcast; g: in the shape of out. Returns the
    derivatives with respect to a and b, each in the shape of its operand.

    Hint: the shapes leave little choice; `transpose(-1, -2)`. My version has 99 characters.
    """
    # BEGIN SOLUTION
    return unbroadcast(g @ b.transpose(-1, -2), a.shape), unbroadcast(a.transpose(-1, -2) @ g, b.shape)
    # END SOLUTION


def sum_vjp(g: Tensor, out: Tensor, a: Tensor, dim: int | None) -> tuple[Tensor]:
    """The rule of out = a.sum(dim), or a.sum() where dim is None.

    g: in the shape of out; dim may be negative. Returns the derivative with respect to a, in its shape, as a tuple
    of one.

    Hint: every summand counts once. `unsqueeze`, `expand`. My version has 72 characters.
    """
    # BEGIN SOLUTION
    if dim is not None:
        g = g.unsqueeze(dim)
    return (g.expand(a.shape),)
    # END SOLUTION


# %% [markdown]
# ## Backwards
#
# A variable that is used in several places gets a part of its derivative from each. Its own rule must wait until
# all have arrived: variables are visited in an order in which each comes before its parents. Only leaves keep their
# derivative, and add to what they hold already, as in PyTorch.


# %%
def topological_order(root: Var) -> list[Var]:
    """All variables that root was computed from, and root itself: each once, and after all of its parents.

    Hint: depth first. The graph of a long program is deep, and Python's stack ends near 1000 calls: keep a list of
    what is still to do. Remember what you have seen. My version has 320 characters.
    """
    # BEGIN SOLUTION
    order, seen, waiting = [], set(), [(root, False)]
    while waiting:
        node, parents_done = waiting.pop()
        if parents_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            waiting.append((node, True))
            waiting += [(parent, False) for parent in node.parents]
    return order
    # END SOLUTION


def backward(root: Var) -> None:
    """Add the derivatives of root.data.sum() to `grad` of every leaf that needs a gradient.

    Constants, and results on the way, keep grad None. A second call adds the same again.

    Hint: `reversed(topological_order(root))`, and a dictionary from variable to the derivative that has arrived. My
    version has 450 characters.
    """
    # BEGIN SOLUTION
    arrived = {root: torch.ones_like(root.data)}
    for node in reversed(topological_order(root)):
        if not node.needs_grad:
            continue
        g = arrived.pop(node)
        if node.rule is None:
            node.grad = g if node.grad is None else node.grad + g
            continue
        for parent, part in zip(node.parents, node.rule(g), strict=True):
            if parent.needs_grad:
                arrived[parent] = arrived[parent] + part if parent in arrived else part
    # END SOLUTION


# %% [markdown]
# ## Trust, but measure
#
# (f(x + h) − f(x − h)) / 2h misses the derivative by a multiple of h², the one-sided quotient by a multiple of h.
# The function below calls h `step`.


# %%
def gradcheck(f: Callable[..., Var], inputs: Sequence[Tensor], step: float = 1e-5) -> float:
    """The largest difference between `backward` and central differences, over all numbers in all inputs.

    f: takes one Var for each input and returns a Var of any shape, of which the sum counts. inputs: float64
    tensors, perhaps not contiguous; they stay as they are. An input that f ignores has derivative zero.

    Hint: move one number at a time by ±step. My version has 610 characters.
    """
    # BEGIN SOLUTION
    variables = [Var(x, needs_grad=True) for x in inputs]
    backward(f(*variables))
    worst = 0.0
    for place, variable in enumerate(variables):
        grad = torch.zeros_like(variable.data) if variable.grad is None else variable.grad
        for n in range(grad.numel()):
            sums = []
            for shift in (step, -step):
                moved = [x.contiguous().clone() for x in inputs]
                moved[place].view(-1)[n] += shift
                sums.append(f(*map(Var, moved)).data.sum())
            quotient = (sums[0] - sums[1]) / (2 * step)
            worst = max(worst, (quotient - grad.reshape(-1)[n]).abs().item())
    return worst
    # END SOLUTION


# %% [markdown]
# ## PyTorch's engine
#
# It takes new functions, too. `ctx.save_for_backward` keeps what the rule needs. The rule is itself recorded, so
# that it can be differentiated again, but only through saved *inputs and outputs*: anything else that `forward`
# computed is a constant for it, and second derivatives are silently wrong.


# %%
class Softplus(torch.autograd.Function):
    """log(1 + exp(x)), element by element, for numbers of any size: `Softplus.apply(x)`.

    forward(ctx, x): the value. backward(ctx, g): g times the derivative; it must allow a second derivative.

    Hint: for large x the result is x. `log1p`; the derivative is `sigmoid`. My version has 120 characters.
    """

    @staticmethod
    def forward(ctx, x):
        # BEGIN SOLUTION
        ctx.save_for_backward(x)
        return x.clamp(min=0) + x.abs().neg().exp().log1p()
        # END SOLUTION

    @staticmethod
    def backward(ctx, g):
        # BEGIN SOLUTION
        (x,) = ctx.saved_tensors
        return g * x.sigmoid()
        # END SOLUTION


# %% [markdown]
# ## What you should see
#
# 2 cores, AMD EPYC 2.6 GHz, one thread. Two pictures lie in `results/`.
#
# | | | time |
# | --- | --- | --- |
# | disc, 2–25–25–25–1, 120 epochs by your engine | 2 % test errors | 2 s |
# | its weights after 200 steps, against PyTorch's engine | equal to 1e-15 | |
# | central differences, best step | 5e-5, off by 6e-10 | 1 s |
#
# Your engine is hardly slower than PyTorch's here. Where does the time go, and for which networks would that
# change? In the picture, what does an engine have to keep until `backward` is done? And why does gradcheck get
# worse when the step gets smaller than 1e-5?

# %% [markdown] notebook
# ## How to go on
#
# `check(targets=True)` trains a network on a disc by your engine, compares its weights with those of PyTorch's engine,
# and looks for the best step of central differences (3 s). This lab has no part for a GPU.
#
# Next is lab 06, convolutions: one rule for an operation that shares its weights among all places of an image.
#
# To keep your work, download this notebook: *File ▸ Download*, or a right click on it in the file browser.
