# Made by tools/labs.py from labs/05_autograd/author/lab.py; write your functions here.
"""Lab 05: Autograd from scratch.

What to do is in sheet.md. Check your work with: python check.py
"""

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


def unbroadcast(g: Tensor, shape: Sequence[int]) -> Tensor:
    """Sum g over everything that broadcasting from `shape` to g.shape has repeated.

    g: any shape to which a tensor of `shape` can be broadcast. Returns a tensor of that shape.

    Not allowed: `sum_to_size`. The function is the exercise.

    Hint: dimensions that g has in front, and those of size 1 that grew. Beware: `g.sum(())` sums over everything.
    My version has 140 characters.
    """
    raise NotImplementedError("05.1 unbroadcast")


def mul_vjp(g: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rule of out = a * b, element by element with broadcasting.

    g: in the shape of out. Returns the derivatives with respect to a and b, each in the shape of its operand.

    Not allowed: `autograd`, `requires_grad_`, `torch.func`. The engine is yours, not PyTorch's.

    Hint: the product rule and `unbroadcast`. My version has 63 characters.
    """
    raise NotImplementedError("05.2 mul_vjp")


def matmul_vjp(g: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rule of out = a @ b, for matrices and batches of them.

    a: … × N × K, b: … × K × M, with leading dimensions that broadcast; g: in the shape of out. Returns the
    derivatives with respect to a and b, each in the shape of its operand.

    Not allowed: `autograd`, `requires_grad_`, `torch.func`. The engine is yours, not PyTorch's.

    Hint: the shapes leave little choice; `transpose(-1, -2)`. My version has 99 characters.
    """
    raise NotImplementedError("05.3 matmul_vjp")


def sum_vjp(g: Tensor, out: Tensor, a: Tensor, dim: int | None) -> tuple[Tensor]:
    """The rule of out = a.sum(dim), or a.sum() where dim is None.

    g: in the shape of out; dim may be negative. Returns the derivative with respect to a, in its shape, as a tuple
    of one.

    Not allowed: `autograd`, `requires_grad_`, `torch.func`. The engine is yours, not PyTorch's.

    Hint: every summand counts once. `unsqueeze`, `expand`. My version has 72 characters.
    """
    raise NotImplementedError("05.4 sum_vjp")


def topological_order(root: Var) -> list[Var]:
    """All variables that root was computed from, and root itself: each once, and after all of its parents.

    Hint: depth first. The graph of a long program is deep, and Python's stack ends near 1000 calls: keep a list of
    what is still to do. Remember what you have seen. My version has 320 characters.
    """
    raise NotImplementedError("05.5 topological_order")


def backward(root: Var) -> None:
    """Add the derivatives of root.data.sum() to `grad` of every leaf that needs a gradient.

    Constants, and results on the way, keep grad None. A second call adds the same again.

    Not allowed: `autograd`, `requires_grad_`, `torch.func`. The engine is yours, not PyTorch's.

    Hint: `reversed(topological_order(root))`, and a dictionary from variable to the derivative that has arrived. My
    version has 450 characters.
    """
    raise NotImplementedError("05.6 backward")


def gradcheck(f: Callable[..., Var], inputs: Sequence[Tensor], step: float = 1e-5) -> float:
    """The largest difference between `backward` and central differences, over all numbers in all inputs.

    f: takes one Var for each input and returns a Var of any shape, of which the sum counts. inputs: float64
    tensors, perhaps not contiguous; they stay as they are. An input that f ignores has derivative zero.

    Hint: move one number at a time by ±step. My version has 610 characters.
    """
    raise NotImplementedError("05.7 gradcheck")


class Softplus(torch.autograd.Function):
    """log(1 + exp(x)), element by element, for numbers of any size: `Softplus.apply(x)`.

    forward(ctx, x): the value. backward(ctx, g): g times the derivative; it must allow a second derivative.

    Hint: for large x the result is x. `log1p`; the derivative is `sigmoid`. My version has 120 characters.
    """

    @staticmethod
    def forward(ctx, x):
        raise NotImplementedError("05.8 Softplus.forward")

    @staticmethod
    def backward(ctx, g):
        raise NotImplementedError("05.8 Softplus.backward")
