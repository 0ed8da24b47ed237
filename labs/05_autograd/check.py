"""The checks of lab 05. Reading them is allowed and useful."""

import math
import sys
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import float64

PARTS = [
    "unbroadcast",
    "mul_vjp",
    "matmul_vjp",
    "sum_vjp",
    "topological_order",
    "backward",
    "gradcheck",
    "Softplus",
]
lab = Lab(__file__, parts=PARTS)
lab.forbid("unbroadcast", names=["sum_to_size"], why="the function is the exercise")
for part in "mul_vjp", "matmul_vjp", "sum_vjp", "backward":
    lab.forbid(part, names=["autograd", "requires_grad_", "torch.func"], why="the engine is yours, not PyTorch's")


def text_of(shape):
    return "×".join(map(str, shape)) or "a number"


# ---- rules


@lab.reference
def unbroadcast(g, shape):
    return g.sum_to_size(list(shape))


@lab.reference
def mul_vjp(g, out, a, b):
    return (g * b).sum_to_size(a.shape), (g * a).sum_to_size(b.shape)


@lab.reference
def matmul_vjp(g, out, a, b):
    return torch.matmul(g, b.mT).sum_to_size(a.shape), torch.matmul(a.mT, g).sum_to_size(b.shape)


@lab.reference
def sum_vjp(g, out, a, dim):
    return (torch.zeros_like(a) + (g if dim is None else g.unsqueeze(dim)),)


def transposed_jacobian(operation, operands, g):
    """gᵀJ of an operation for each operand, from the whole Jacobian."""
    jacobians = torch.autograd.functional.jacobian(operation, tuple(operands))
    return tuple(torch.tensordot(g, jacobian, dims=g.dim()) for jacobian in jacobians)


@lab.check("unbroadcast")
def copies_are_summed(student, rng):
    """against the derivative of `expand`; dimensions in front, of size 1, both, none"""
    for shape, wide in (
        ((3, 4), (3, 4)),
        ((4,), (3, 4)),
        ((3, 1), (3, 4)),
        ((1, 3, 1), (2, 5, 3, 4)),
        ((), (2, 3)),
        ((1,), (1,)),
        ((2, 1, 3), (2, 1, 3)),
        ((1, 1), (5, 1)),
    ):
        with case(f"from {text_of(wide)} back to {text_of(shape)}"):
            g = rng.normal(*wide, dtype=float64)
            (want,) = transposed_jacobian(
                lambda x, wide=wide: x.expand(wide) * 1, [torch.zeros(shape, dtype=float64)], g
            )
            mistakes = {
                "everything was summed: sum(()) sums over all dimensions": g.sum(),
                "the mean over the copies, where the sum is wanted": want * want.numel() / g.numel(),
                "nothing is summed: g came back as it was": lambda g=g, shape=shape: g if g.shape != shape else None,
                "one copy was taken, where all must be summed": g[
                    (0,) * (g.dim() - len(shape)) + tuple(slice(n) for n in shape)
                ],
            }
            expect(student.unbroadcast(g, tuple(shape)), want, mistakes=mistakes)


PAIRS = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 1, 3), (5, 1)), ((1,), (1,))]


@lab.check("mul_vjp")
def products(student, rng):
    """gᵀJ of a * b, with and without broadcasting"""
    for left, right in PAIRS:
        with case(f"{text_of(left)} times {text_of(right)}"):
            a, b = rng.normal(*left, dtype=float64), rng.normal(*right, dtype=float64)
            g = rng.normal(*(a * b).shape, dtype=float64)
            want = transposed_jacobian(torch.mul, [a, b], g)
            expect(
                student.mul_vjp(g, a * b, a, b),
                want,
                names=("for a", "for b"),
                mistakes={
                    "the operands are exchanged: the derivative with respect to a contains b": [
                        (g * a).sum_to_size(left) if left else (g * a).sum(),
                        (g * b).sum_to_size(right),
                    ],
                    "unbroadcast is missing: each result has the shape of its operand": [g * b, g * a],
                    "g itself is passed on: the derivative with respect to a contains b": [
                        g.sum_to_size(left),
                        g.sum_to_size(right),
                    ],
                    "the result stands where the other operand belongs": [
                        (g * a * b).sum_to_size(left),
                        (g * a * b).sum_to_size(right),
                    ],
                    "divided by the other operand, where it should be multiplied": [
                        (g / b).sum_to_size(left),
                        (g / a).sum_to_size(right),
                    ],
                    "g was summed before the product: multiply first, then sum": lambda g=g, a=a, b=b: summed_first(
                        g, a, b
                    ),
                    "g is not used": [
                        torch.ones_like(g).mul(b).sum_to_size(left),
                        torch.ones_like(g).mul(a).sum_to_size(right),
                    ],
                },
            )


def summed_first(g, a, b):
    return (g.sum_to_size(a.shape) * b).sum_to_size(a.shape), (g.sum_to_size(b.shape) * a).sum_to_size(b.shape)


def wrong_matmuls(g, a, b):
    return {
        "unbroadcast is missing: each result has the shape of its operand": lambda: (g @ b.mT, a.mT @ g),
        "the other operand is not transposed": lambda: (g @ b, a @ g),
        "the factors are in the wrong order": lambda: (b.mT @ g, g @ a.mT),
        "each derivative is that of the other operand": lambda: (a.mT @ g, g @ b.mT),
        "g is transposed, where the other operand should be": lambda: (g.mT @ b, a @ g.mT),
        "an elementwise product, where a product of matrices is wanted": lambda: (g * b.mT, a.mT * g),
        "each derivative is transposed": lambda: (b @ g.mT, g.mT @ a),
        "g is not used": lambda: (
            (torch.ones_like(g) @ b.mT).sum_to_size(a.shape),
            (a.mT @ torch.ones_like(g)).sum_to_size(b.shape),
        ),
    }


@lab.check("matmul_vjp")
def matrix_products(student, rng):
    """gᵀJ of a @ b; square and rectangular, batches, one batch for all"""
    for left, right in (
        ((3, 3), (3, 3)),
        ((3, 4), (4, 2)),
        ((1, 5), (5, 1)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (4, 2)),
        ((3, 4), (5, 1, 4, 2)),
    ):
        with case(f"{text_of(left)} @ {text_of(right)}"):
            a, b = rng.normal(*left, dtype=float64), rng.normal(*right, dtype=float64)
            g = rng.normal(*(a @ b).shape, dtype=float64)
            expect(
                student.matmul_vjp(g, a @ b, a, b),
                transposed_jacobian(torch.matmul, [a, b], g),
                names=("for a", "for b"),
                mistakes=wrong_matmuls(g, a, b),
            )


@lab.check("sum_vjp")
def sums(student, rng):
    """gᵀJ of a.sum(dim) and a.sum(); square and other tables, negative dim"""
    for shape, dim in (
        ((3, 3), 0),
        ((3, 3), 1),
        ((3, 3), -1),
        ((2, 4, 3), 1),
        ((2, 4, 3), -2),
        ((3, 2), None),
        ((1,), 0),
    ):
        with case(f"{text_of(shape)}, dim {dim}"):
            a = rng.normal(*shape, dtype=float64)
            out = a.sum() if dim is None else a.sum(dim)
            g = rng.normal(*out.shape, dtype=float64)
            want = transposed_jacobian(lambda x, dim=dim: x.sum() if dim is None else x.sum(dim), [a], g)
            mistakes = {
                "g is not used: the derivative is g, not 1": [torch.ones_like(a)],
                "a mean, where every summand counts once": [want[0] * out.numel() / a.numel()],
                "multiplied by the number of summands: every summand counts once": [want[0] * a.numel() / out.numel()],
                "g times a: the derivative of a sum does not contain a": [want[0] * a],
            }
            if out.dim() == 1 and a.dim() == 2:
                mistakes["g is spread along the wrong dimension"] = [want[0].T]
            expect(student.sum_vjp(g, out, a, dim), want, names=("for a",), mistakes=mistakes)


# ---- order


@lab.reference
def topological_order(root):
    uses, reached, waiting = {}, [root], [root]
    while waiting:
        for parent in waiting.pop().parents:
            if parent not in uses and parent is not root:
                waiting.append(parent)
                reached.append(parent)
            uses[parent] = uses.get(parent, 0) + 1
    ready, children_first = [root], []
    while ready:
        node = ready.pop()
        children_first.append(node)
        for parent in node.parents:
            uses[parent] -= 1
            if not uses[parent]:
                ready.append(parent)
    return children_first[::-1]


@student_side
def constant(number, parents):
    """Every second leaf is a constant."""
    return not parents[number] and number % 2 == 1


@student_side
def orders(student, graphs):
    """The order of each graph, as numbers of its variables; a graph is the list of the parents of each variable."""
    found = []
    for parents in graphs:
        nodes = []
        for number, numbers in enumerate(parents):
            node = student.Var(torch.zeros(()), needs_grad=not constant(number, parents))
            node.parents = tuple(nodes[n] for n in numbers)
            nodes.append(node)
        place = {id(node): number for number, node in enumerate(nodes)}
        found.append([place.get(id(node), -1) for node in student.topological_order(nodes[-1])])
    return found


def reachable_from(parents):
    found, waiting = set(), [len(parents) - 1]
    while waiting:
        n = waiting.pop()
        if n not in found:
            found.add(n)
            waiting += parents[n]
    return found


def too_late(parents, order):
    """Pairs of a variable and one of its parents that comes after it."""
    place = {n: k for k, n in enumerate(order)}
    return [(n, p) for n in order for p in parents[n] if place[p] > place[n]]


def examine_order(parents, order):
    root, reachable = len(parents) - 1, reachable_from(parents)
    twice = [n for n, count in Counter(order).items() if count > 1]
    require(
        not twice,
        f"{len(twice)} of {len(reachable)} variables are there more than once",
        look="is it remembered which variables were seen?",
    )
    require(set(order) <= reachable, "there is a variable that root was not computed from")
    missing = reachable - set(order)
    likely = None
    if missing == {root} and len(reachable) > 1:
        likely = "root itself belongs to the list"
    elif missing and missing == {n for n in reachable if not parents[n]} != {root}:
        likely = "the leaves belong to the list"
    elif missing and missing == {n for n in reachable if constant(n, parents)}:
        likely = "constants belong to the list, too: root was computed from them"
    require(not missing, f"{len(missing)} of {len(reachable)} variables are missing", likely=likely)
    late = too_late(parents, order)
    require(
        not late,
        f"{len(late)} of {sum(len(parents[n]) for n in order)} times a variable comes before one of its parents",
        likely=None
        if too_late(parents, order[::-1])
        else "the list is in the opposite order: parents first, root last",
        look="append a variable when all of its parents are in the list, not when it is met",
    )


@lab.check("topological_order")
def parents_first(student, rng):
    """each variable once, after its parents: a leaf, diamonds, short cuts, random graphs"""
    graphs = {
        "a leaf": [[]],
        "x + x": [[], [0, 0]],
        "a diamond": [[], [0], [0], [1, 2]],
        "a short cut past two variables": [[], [0], [1], [0, 2]],
        "two leaves, one of them for another result": [[], [], [0], [1], [2, 0]],
        "a leaf times a constant": [[], [], [0, 1]],
    }
    for number in range(20):
        size = rng.int(4, 30)
        graphs[f"random graph {number}"] = [
            [rng.int(0, n) for _ in range(rng.int(0, 3))] if n else [] for n in range(size)
        ]
    found = student.run(orders, list(graphs.values()))
    for (text, parents), order in zip(graphs.items(), found, strict=True):
        with case(f"{text}: parents {parents}" if len(parents) < 6 else text):
            examine_order(parents, order)


@lab.check("topological_order", seconds=5)
def deep_and_wide(student, rng):
    """a chain of 5000 variables, and 60 diamonds in a row"""
    chain = [[n - 1] if n else [] for n in range(5000)]
    with case("a chain of 5000", look="Python's stack ends near 1000 calls: keep a list of what is still to do"):
        examine_order(chain, student.run(orders, [chain])[0])
    doubled = [[n - 1, n - 1] if n else [] for n in range(60)]
    with case("x + x, sixty times over", look="a variable that was seen is visited again: twice as long each time"):
        examine_order(doubled, student.run(orders, [doubled])[0])


# ---- backwards


@lab.reference
def backward(root):
    sums = {root: torch.ones_like(root.data)}
    for node in topological_order(root)[::-1]:
        if node.needs_grad and node.parents:
            for parent, part in zip(node.parents, node.rule(sums[node]), strict=True):
                sums[parent] = sums.get(parent, 0) + part
        elif node.needs_grad:
            node.grad = sums[node] + (0 if node.grad is None else node.grad)


@student_side
def compute(values, program):
    """Do the steps of a program to a list of values, Vars or tensors; every step appends one."""
    for name, first, second in program:
        a = values[first]
        if name == "add":
            values.append(a + values[second])
        elif name == "mul":
            values.append(a * values[second])
        elif name == "matmul":
            values.append(a @ values[second])
        elif name == "tanh":
            values.append(a.tanh())
        else:
            values.append(a.sum() if second is None else a.sum(second))
    return values[-1]


@student_side
def differentiated(student, jobs):
    """For each job (leaves, which of them need a gradient, program, calls): the result, and what each leaf holds."""
    answers = []
    for leaves, needs, program, calls in jobs:
        variables = [student.Var(leaf, need) for leaf, need in zip(leaves, needs, strict=True)]
        values = list(variables)
        root = compute(values, program)
        for _ in range(calls):
            student.backward(root)
        held = [v.grad for v in values[len(leaves) :]]
        answers.append((root.data, [v.grad for v in variables], sum(g is not None for g in held) if program else 0))
    return answers


def by_torch(leaves, needs, program, calls=1):
    """Result and gradients by PyTorch."""
    values = [leaf.clone().requires_grad_(need) for leaf, need in zip(leaves, needs, strict=True)]
    root = compute(list(values), program)
    wanted = [v for v in values if v.requires_grad]
    found = iter(torch.autograd.grad(root.sum(), wanted, allow_unused=True)) if root.requires_grad else iter([])
    gradients = [next(found, None) if v.requires_grad else None for v in values]
    return root.detach(), [None if g is None else calls * g for g in gradients]


@lab.check("backward")
def small_graphs(student, rng):
    """a chain, a variable used twice, a second call, a constant, a leaf alone"""
    x, y, c = (rng.normal(2, 3, dtype=float64) for _ in range(3))
    t = x.tanh()
    jobs = {
        "a leaf alone": (
            ([x], [True], [], 1),
            {
                "the derivative of the mean, not of the sum": [torch.full_like(x, 1 / 6)],
                "the chain begins with the result, it should begin with ones": [x],
            },
        ),
        "tanh(x) * y": (
            ([x, y], [True, True], [("tanh", 0, None), ("mul", 2, 1)], 1),
            {
                "the rules are not applied: every leaf has got g itself": [torch.ones_like(x), torch.ones_like(x)],
                "the derivative of the mean, not of the sum": [y * (1 - t**2) / 6, t / 6],
                "the chain begins with the result, it should begin with ones": [t * y * y * (1 - t**2), t * y * t],
                "the parents have got each other's part": [t * (1 - t**2), y],
            },
        ),
        "x * x + x: x is used three times": (
            ([x], [True], [("mul", 0, 0), ("add", 1, 0)], 1),
            {
                "the parts of a variable that is used several times must be added": [torch.ones_like(x)],
                "only the last part that arrives is kept: add them": [x],
            },
        ),
        "u + u * u with u = tanh(x)": (
            ([x], [True], [("tanh", 0, None), ("mul", 1, 1), ("add", 1, 2)], 1),
            {"a rule ran before all parts had arrived: each variable before its parents": [1 - t**2]},
        ),
        "u * u + u with u = tanh(x)": (
            ([x], [True], [("tanh", 0, None), ("mul", 1, 1), ("add", 2, 1)], 1),
            {"a rule ran before all parts had arrived: each variable before its parents": [1 - t**2]},
        ),
        "two calls of backward on tanh(x) * y": (
            ([x, y], [True, True], [("tanh", 0, None), ("mul", 2, 1)], 2),
            {
                "the second call replaces what the first has found": [y * (1 - t**2), t],
                "results on the way have kept what they got in the first call": [3 * y * (1 - t**2), 2 * t],
            },
        ),
        "v + x with v = x + y": (
            ([x, y], [True, True], [("add", 0, 1), ("add", 2, 0)], 1),
            {
                "a part was added in place: that tensor may stand for another variable, too": [
                    torch.full_like(x, 2.0),
                    torch.full_like(x, 2.0),
                ],
            },
        ),
        "two calls of backward on x + y": (
            ([x, y], [True, True], [("add", 0, 1)], 2),
            {
                "grad was changed in place: both leaves hold the same tensor": [
                    torch.full_like(x, 3.0),
                    torch.full_like(x, 3.0),
                ],
                "the second call replaces what the first has found": [torch.ones_like(x), torch.ones_like(x)],
            },
        ),
        "x * c, where c is a constant": (([x, c], [True, False], [("mul", 0, 1)], 1), {}),
        "sum over rows of x + y, y used twice, broadcast": (
            ([x, y[0].clone()], [True, True], [("add", 0, 1), ("mul", 2, 1), ("sum", 3, 1)], 1),
            {},
        ),
        "x * c, and both are constants": (([x, c], [False, False], [("mul", 0, 1)], 1), {}),
    }
    for text, (job, mistakes) in jobs.items():
        with case(text):
            ((value, gradients, held),) = student.run(differentiated, [job])
            want_value, want = by_torch(*job)
            expect(value, want_value)
            if any(g is not None and w is None for g, w in zip(gradients, want, strict=True)):
                require(False, "a constant has got a gradient", look="ask needs_grad before anything is kept")
            missing = sum(g is None and w is not None for g, w in zip(gradients, want, strict=True))
            require(not missing, f"{missing} of {len(want)} leaves have got no gradient")
            expect(gradients, want, mistakes=mistakes, names=("for the first leaf", "for the second leaf"))
            require(held == 0, f"{held} results on the way hold a gradient: only leaves keep theirs")


SHAPES = [(3, 4), (4,), (3, 1), (1, 4), (), (4, 3), (3, 3), (2, 3, 4)]


def random_program(rng):
    """Leaves, which of them need a gradient, and steps that fit their shapes; at least one gradient arrives."""
    while True:
        leaves = [rng.normal(*SHAPES[rng.int(0, len(SHAPES))], dtype=float64) for _ in range(rng.int(2, 5))]
        needs = [rng.number() < 0.7 for _ in leaves]
        values, program = list(leaves), []
        while len(program) < 9:
            count = len(values)
            first, second = rng.int(max(0, count - 4), count), rng.int(0, count)
            name = ("add", "mul", "mul", "matmul", "tanh", "sum")[rng.int(0, 6)]
            if name == "matmul" and min(values[first].dim(), values[second].dim()) < 2:
                continue
            if name == "sum":
                second = rng.int(0, values[first].dim()) if values[first].dim() > 1 else None
            try:
                compute(values, [(name, first, second)])
            except RuntimeError:
                continue
            if values[-1].numel() > 200:
                values.pop()
                continue
            program.append((name, first, second))
        _, gradients = by_torch(leaves, needs, program)
        if any(g is not None and g.abs().max() > 1e-3 for g in gradients):
            return leaves, needs, program, 1


@lab.check("backward")
def fifty_programs(student, rng):
    """fifty random programs of nine steps against PyTorch"""
    jobs = [random_program(rng) for _ in range(50)]
    answers = student.run(differentiated, jobs)
    for job, (value, gradients, _) in zip(jobs, answers, strict=True):
        leaves, _, program, _ = job
        lines = [f"v{len(leaves) + k} = {n} v{a}{'' if b is None else f' {b}'}" for k, (n, a, b) in enumerate(program)]
        with case("; ".join(lines)):
            want_value, want = by_torch(*job)
            expect(value, want_value, rtol=1e-7)
            expect(gradients, want, rtol=1e-7, atol=1e-9, names=[f"grad of v{n}" for n in range(len(leaves))])


# ---- differences


@student_side
def smooth(v, w, b):
    """A function of three inputs that has second and third derivatives everywhere; w enters twice."""
    return ((v @ w).tanh() * b + (w * w).sum()).sum(1)


@student_side
def gaps(student, inputs, factor):
    """What gradcheck says of right functions, of one that ignores inputs, and of two with a wrong rule."""

    def wrong_tanh(x):
        return student.record(torch.tanh, lambda g, out, a: (factor * g * (1 - out * out),), x)

    return (
        student.gradcheck(smooth, inputs),
        student.gradcheck(lambda v, w, b: (w * w * w).sum(), inputs),
        student.gradcheck(lambda v, w, b: wrong_tanh(b), inputs),
        student.gradcheck(lambda v, w, b: wrong_tanh(v) * 3.0, inputs),
        student.gradcheck(smooth, inputs, 0.01),
    )


def gap_lists(inputs, factor, quotient, step=None):
    """quotient − derivative for each number of each input, for each of the five functions above.

    quotient: of what f gives at x + h, x and x − h, and of h. step: in the place of what gradcheck is called with.
    """
    functions = (
        (smooth, 1.0, 1e-5),
        (lambda v, w, b: (w * w * w).sum(), 1.0, 1e-5),
        (lambda v, w, b: b.tanh(), factor, 1e-5),
        (lambda v, w, b: v.tanh() * 3.0, factor, 1e-5),
        (smooth, 1.0, 0.01),
    )
    lists = []
    for f, wrong, h in functions:
        leaves = [x.clone().requires_grad_() for x in inputs]
        found = torch.autograd.grad(f(*leaves).sum(), leaves, allow_unused=True)
        claimed = [torch.zeros_like(x) if g is None else wrong * g for x, g in zip(inputs, found, strict=True)]
        lists.append([moved(f, inputs, place, quotient, step or h) - g for place, g in enumerate(claimed)])
    return lists


def moved(f, inputs, place, quotient, h):
    """The quotient for every number of one input."""
    result = torch.zeros_like(inputs[place])
    for at in torch.cartesian_prod(*map(torch.arange, result.shape)).reshape(-1, result.dim()).tolist():
        sums = []
        for shift in (h, 0.0, -h):
            others = [x.clone() for x in inputs]
            others[place][tuple(at)] += shift
            sums.append(f(*others).sum())
        result[tuple(at)] = quotient(*sums, h, place)
    return result


def central(up, base, down, h, place):
    return (up - down) / (2 * h)


def wrong_gaps(inputs, factor):
    """The five answers of gradcheck with a typical mistake."""

    def largest(quotient, step=None):
        lists = gap_lists(inputs, factor, quotient, step)
        return [max(one.abs().max().item() for one in differences) for differences in lists]

    def judged(judge):
        return [judge([one.contiguous().flatten() for one in d]) for d in gap_lists(inputs, factor, central)]

    def everything(differences):
        return torch.cat(differences)

    return {
        "one-sided differences miss by a multiple of the step: take x + h and x − h": lambda: largest(
            lambda up, base, down, h, place: (up - base) / h
        ),
        "one-sided differences, from x − h to x: take x + h and x − h": lambda: largest(
            lambda up, base, down, h, place: (base - down) / h
        ),
        "the difference of f(x + h) and f(x − h) is divided by h, not by 2h": lambda: largest(
            lambda up, base, down, h, place: (up - down) / h
        ),
        "the difference of f(x + h) and f(x − h) is divided by nothing": lambda: largest(
            lambda up, base, down, h, place: up - down
        ),
        "the difference of f(x + h) and f(x − h) is multiplied by h": lambda: largest(
            lambda up, base, down, h, place: (up - down) * h / 2
        ),
        "the sign of the quotient is wrong": lambda: largest(lambda up, base, down, h, place: (down - up) / (2 * h)),
        "no number was moved": lambda: largest(lambda up, base, down, h, place: 0.0 * base),
        "the transposed input is not moved: reshape copies a tensor that is not contiguous": lambda: largest(
            lambda up, base, down, h, place: (up - down) / (2 * h) * (place > 0)
        ),
        "f(x) stands where f(x − h) belongs: after + h, − h leads back to x": lambda: largest(
            lambda up, base, down, h, place: (up - base) / (2 * h)
        ),
        "f(x) stands where f(x − h) belongs, in contiguous inputs: these were moved themselves, not a copy": (
            lambda: largest(lambda up, base, down, h, place: (up - (base if place else down)) / (2 * h))
        ),
        "`step` is not used": lambda: largest(central, 1e-5),
        "the last difference, not the largest": lambda: judged(lambda d: abs(d[-1][-1].item())),
        "the largest difference of the last input alone": lambda: judged(lambda d: d[-1].abs().max().item()),
        "the largest difference of the first input alone": lambda: judged(lambda d: d[0].abs().max().item()),
        "only the first number of each input is moved": lambda: judged(lambda d: max(abs(one[0].item()) for one in d)),
        "the mean difference, not the largest": lambda: judged(lambda d: everything(d).abs().mean().item()),
        "the sum of the differences, not the largest": lambda: judged(lambda d: everything(d).abs().sum().item()),
        "the largest mean difference of an input, not the largest difference": lambda: judged(
            lambda d: max(one.abs().mean().item() for one in d)
        ),
        "the square of the difference, not its absolute value": lambda: judged(
            lambda d: everything(d).square().max().item()
        ),
        "the root of the sum of squares, not the largest difference": lambda: judged(
            lambda d: everything(d).norm().item()
        ),
        "the smallest difference, not the largest": lambda: judged(lambda d: everything(d).abs().min().item()),
        "the absolute value is missing: quotient − derivative may be negative": lambda: judged(
            lambda d: max(0.0, everything(d).max().item())
        ),
        "the absolute value is missing: derivative − quotient may be negative": lambda: judged(
            lambda d: max(0.0, -everything(d).min().item())
        ),
    }


@lab.check("gradcheck")
def finds_what_is_wrong(student, rng):
    """small for right rules, as large as the mistake for wrong ones; a transposed input, a larger step"""
    inputs = [rng.normal(4, 3, dtype=float64).T, rng.normal(4, 2, dtype=float64), rng.normal(2, dtype=float64)]
    factor = 1.3
    got = student.run(gaps, inputs, factor)
    expect([type(gap).__name__ for gap in got], ["float"] * 5, look="a plain number: .item()")
    require(got[0] > 0, "the difference is exactly 0 for a right function: is anything compared?")
    relative = "the difference is relative, not absolute"
    shares = [(factor - 1) / factor, (factor - 1), (factor - 1) / (factor + 1), (factor - 1) / factor / 2]
    require(not any(abs(got[2] - share) < 1e-6 and abs(got[3] - share) < 1e-6 for share in shares), relative)
    want = [max(one.abs().max().item() for one in d) for d in gap_lists(inputs, factor, central)]
    expect(
        got,
        want,
        rtol=1e-6,
        atol=1e-7,
        names=(
            "for a right function",
            "for a function that ignores two of its inputs",
            "for a rule that is wrong by a factor of 1.3",
            "for a rule that is wrong by a factor of 1.3, in the first input",
            "for a right function, with a step of 0.01",
        ),
        mistakes=wrong_gaps(inputs, factor),
    )


# ---- PyTorch's engine


@student_side
def derivatives(student, x, g):
    """Softplus, its derivative times g, and the derivative of that with respect to x and to g."""
    x, g = x.clone().requires_grad_(), g.clone().requires_grad_()
    value = student.Softplus.apply(x)
    (slope,) = torch.autograd.grad((value * g).sum(), x, create_graph=True)
    if not slope.requires_grad:
        return value, slope, None, None
    bend, back = torch.autograd.grad(slope.sum(), (x, g), allow_unused=True)
    return value, slope, bend, back


@lab.check("Softplus")
def value_and_slope(student, rng):
    """value and derivative against log(1 + exp(x)) where that is exact"""
    for shape in (7,), (3, 4), (1, 1):
        with case(f"shape {text_of(shape)}"):
            x, g = 3 * rng.normal(*shape, dtype=float64), rng.normal(*shape, dtype=float64)
            value, slope, *_ = student.run(derivatives, x, g)
            expect(
                value,
                (1 + x.exp()).log(),
                mistakes={
                    "that is the sigmoid": 1 / (1 + (-x).exp()),
                    "that is the ReLU": x.clamp(min=0),
                    "log(1 + exp(−x)): the sign of x is turned": (1 + (-x).exp()).log(),
                    "log(1 + exp(−|x|)) is the part that x must be added to where it is positive": lambda x=x: (
                        1 + (-x.abs()).exp()
                    ).log(),
                    "|x| is added, where only a positive x should be": lambda x=x: (
                        x.abs() + (1 + (-x.abs()).exp()).log()
                    ),
                    "a logarithm to the base 2": lambda x=x: (1 + x.exp()).log2(),
                    "exp(x) itself: the 1 or the logarithm is missing": x.exp(),
                },
            )
            expect(
                slope,
                g * x.exp() / (1 + x.exp()),
                mistakes={
                    "g is not used": x.exp() / (1 + x.exp()),
                    "the derivative of the sigmoid, not of softplus": g * x.exp() / (1 + x.exp()) ** 2,
                    "the sigmoid of −x: the sign of x is turned": g / (1 + x.exp()),
                    "g was passed on: the derivative is missing": g,
                    "the derivative of the ReLU": g * (x > 0),
                    "the sigmoid of the result, it should be that of x": g * (1 + x.exp()) / (2 + x.exp()),
                    "g times the value, where the derivative belongs": g * (1 + x.exp()).log(),
                },
            )


@lab.check("Softplus")
def second_derivative(student, rng):
    """differentiated twice"""
    x, g = 2 * rng.normal(5, 3, dtype=float64), rng.normal(5, 3, dtype=float64)
    _, _, bend, back = student.run(derivatives, x, g)
    look = "what forward computed is a constant for backward: save x itself, and compute the sigmoid in backward"
    require(bend is not None, "the derivative does not depend on x", look=look)
    sigma = 1 / (1 + (-x).exp())
    expect(back, sigma)
    expect(bend, g * sigma * (1 - sigma), look=look)


@lab.check("Softplus")
def far_out(student, rng):
    """±1000 and ±50, in float64 and float32"""
    for dtype in float64, torch.float32:
        with case(f"{dtype}".removeprefix("torch."), look="exp(1000) is infinite: use exp(−|x|)"):
            x = torch.tensor([-1000.0, -50.0, 0.0, 50.0, 1000.0], dtype=dtype)
            value, slope, *_ = student.run(derivatives, x, torch.ones_like(x))
            want = torch.tensor([0.0, math.exp(-50), math.log(2), 50.0, 1000.0], dtype=dtype)
            expect(value, want, atol=1e-30, look="digits of small results are lost: log1p")
            expect(slope, torch.tensor([0.0, math.exp(-50), 0.5, 1.0, 1.0], dtype=dtype), atol=1e-30)


if __name__ == "__main__":
    sys.exit(run_checks(lab))
