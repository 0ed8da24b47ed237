"""Known-wrong versions of lab 05, as students write them, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant

edit("unbroadcast", "keepdim=True", "keepdim=False", says="a dimension of size 1 is too many or missing")
edit("unbroadcast", "g = g.sum(dim, keepdim=True)", "g = g.mean(dim, keepdim=True)", says="the mean over the copies")


@mutant("unbroadcast", says="everything was summed")
def sum_over_no_dimension(g, shape):
    extra = g.dim() - len(shape)
    g = g.sum(tuple(range(extra)))
    return g.sum(tuple(dim for dim, size in enumerate(shape) if size == 1), keepdim=True)


@mutant("unbroadcast", says="one copy was taken")
def first_copy(g, shape):
    g = g[(0,) * (g.dim() - len(shape))]
    return g[tuple(slice(size) for size in shape)]


edit(
    "mul_vjp", "unbroadcast(g * b, a.shape), unbroadcast(g * a, b.shape)", "g * b, g * a", says="unbroadcast is missing"
)
edit("mul_vjp", "g * b", "g * a", says="the derivative with respect to a contains b")
edit("mul_vjp", "unbroadcast(g * a, b.shape)", "unbroadcast(a.expand(g.shape), b.shape)", says="g is not used")
edit("matmul_vjp", "b.transpose(-1, -2)", "b", says="the other operand is not transposed")
edit("matmul_vjp", "a.transpose(-1, -2) @ g", "g @ a.transpose(-1, -2)", says="wrong order")
edit(
    "matmul_vjp",
    "unbroadcast(a.transpose(-1, -2) @ g, b.shape)",
    "a.transpose(-1, -2) @ g",
    says="unbroadcast is missing",
)
edit("sum_vjp", "(g.expand(a.shape),)", "(torch.ones_like(a),)", says="g is not used")
edit("sum_vjp", "g = g.unsqueeze(dim)", "g = g.unsqueeze(-1 - dim)", says="along the wrong dimension")
edit("sum_vjp", "(g.expand(a.shape),)", "(g.expand(a.shape) / a.size(dim or 0),)", says="a mean")


@mutant("topological_order", says="Python's stack ends", check="deep_and_wide")
def recursive(root):
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent in node.parents:
                visit(parent)
            order.append(node)

    visit(root)
    return order


@mutant(
    "topological_order",
    says="are there more than once",
    also=["an endless loop", "remember which variables were seen"],
    check="parents_first",
)
def forgetful(root):
    order, waiting = [], [root]
    while waiting:
        node = waiting.pop(0)
        order.insert(0, node)
        waiting += node.parents
    return order


@mutant("topological_order", says="endless loop", check="deep_and_wide")
def late_memory(root):
    order, waiting = [], [(root, False)]
    while waiting:
        node, done = waiting.pop()
        if done and node not in order:
            order.append(node)
        elif not done:
            waiting.append((node, True))
            waiting += [(parent, False) for parent in node.parents]
    return order


@mutant("topological_order", says="when all of its parents are in the list", check="parents_first")
def breadth_first(root):
    order, seen, waiting = [], {root}, [root]
    while waiting:
        node = waiting.pop(0)
        order.insert(0, node)
        for parent in node.parents:
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return order


edit(
    "topological_order",
    "return order",
    "return order[::-1]",
    says="parents first, root last",
    also=["each variable once, root last"],
)
edit(
    "topological_order",
    "return order",
    "return order[:-1]",
    says="root itself belongs to the list",
    also=["each variable once, root last"],
)

edit("backward", "arrived[parent] + part if parent in arrived else part", "part", says="only the last part")
edit("backward", "g if node.grad is None else node.grad + g", "g", says="replaces what the first")
edit("backward", "torch.ones_like(root.data)", "torch.ones(())", says="one number")


@mutant(
    "backward",
    says="a constant has got a gradient",
    also=["ask needs_grad before anything is kept"],
    check="small_graphs",
)
def constants_too(root):
    arrived = {root: torch.ones_like(root.data)}
    for node in reversed(topological_order(root)):
        g = arrived.pop(node)
        if node.rule is None:
            node.grad = g if node.grad is None else node.grad + g
            continue
        for parent, part in zip(node.parents, node.rule(g), strict=True):
            arrived[parent] = arrived[parent] + part if parent in arrived else part


@mutant("backward", says="only leaves keep theirs", check="small_graphs")
def everyone_keeps(root):
    start = torch.ones_like(root.data)
    root.grad = start if root.grad is None else root.grad + start
    for node in reversed(topological_order(root)):
        if node.rule is not None:
            for parent, part in zip(node.parents, node.rule(node.grad), strict=True):
                if parent.needs_grad:
                    parent.grad = part if parent.grad is None else parent.grad + part


@mutant("backward", says="before all parts had arrived", check="small_graphs")
def too_early(root):
    arrived, waiting, done = {root: torch.ones_like(root.data)}, [root], set()
    while waiting:
        node = waiting.pop(0)
        if node.rule is None or node in done:
            continue
        done.add(node)
        for parent, part in zip(node.parents, node.rule(arrived[node]), strict=True):
            if parent.needs_grad:
                arrived[parent] = arrived[parent] + part if parent in arrived else part
                waiting.append(parent)
    for node, g in arrived.items():
        if node.rule is None:
            node.grad = g if node.grad is None else node.grad + g


edit("gradcheck", "max(worst, (quotient - grad.reshape(-1)[n]).abs().item())",
     "(quotient - grad.reshape(-1)[n]).abs().item()", says="the last difference, not the largest")  # fmt: skip
edit("gradcheck", "x.contiguous().clone()", "x.contiguous()", says="moved back")


@mutant("gradcheck", says="one-sided differences")
def one_sided(f, inputs, step=1e-5):
    variables = [Var(x, needs_grad=True) for x in inputs]
    backward(f(*variables))
    worst, base = 0.0, f(*variables).data.sum()
    for place, variable in enumerate(variables):
        for n in range(variable.data.numel()):
            moved = [x.contiguous().clone() for x in inputs]
            moved[place].view(-1)[n] += step
            quotient = (f(*map(Var, moved)).data.sum() - base) / step
            slope = 0.0 if variable.grad is None else variable.grad.reshape(-1)[n]
            worst = max(worst, (quotient - slope).abs().item())
    return worst


@mutant("gradcheck", says="reshape copies")
def moving_a_copy(f, inputs, step=1e-5):
    variables = [Var(x, needs_grad=True) for x in inputs]
    backward(f(*variables))
    worst = 0.0
    for place, variable in enumerate(variables):
        for n in range(variable.data.numel()):
            up, down = [x.clone() for x in inputs], [x.clone() for x in inputs]
            up[place].reshape(-1)[n] += step
            down[place].reshape(-1)[n] -= step
            quotient = (f(*map(Var, up)).data.sum() - f(*map(Var, down)).data.sum()) / (2 * step)
            slope = 0.0 if variable.grad is None else variable.grad.reshape(-1)[n]
            worst = max(worst, (quotient - slope).abs().item())
    return worst


edit(
    "Softplus",
    "x.clamp(min=0) + x.abs().neg().exp().log1p()",
    "(1 + x.exp()).log()",
    says="an exponential or a division overflows",
)
edit("Softplus", "x.abs().neg().exp().log1p()", "(1 + x.abs().neg().exp()).log()", says="digits of small results")
edit("Softplus", "g * x.sigmoid()", "x.sigmoid()", says="g is not used")
edit(
    "Softplus", "x.sigmoid()", "x.sigmoid() * (1 - x.sigmoid())", says="the derivative of the sigmoid, not of softplus"
)


@mutant("Softplus", says="what forward computed is a constant for backward", check="second_derivative")
class SavedTooMuch(torch.autograd.Function):
    """log(1 + exp(x))."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.sigmoid())
        return torch.logaddexp(x, torch.zeros_like(x))

    @staticmethod
    def backward(ctx, g):
        (slope,) = ctx.saved_tensors
        return g * slope


@alternative("unbroadcast")
def in_one_sum(g, shape):
    front = g.dim() - len(shape)
    dims = list(range(front)) + [front + d for d, size in enumerate(shape) if size == 1]
    return (g.sum(dims) if dims else g).reshape(shape)


@alternative("matmul_vjp")
def by_einsum(g, out, a, b):
    for_a, for_b = torch.einsum("...nm,...km->...nk", g, b), torch.einsum("...nk,...nm->...km", a, g)
    return unbroadcast(for_a, a.shape), unbroadcast(for_b, b.shape)


@alternative("topological_order")
def by_depth(root):
    depth, waiting, children = {}, [root], {root: 0}
    while waiting:
        for parent in waiting.pop().parents:
            if parent not in children:
                waiting.append(parent)
            children[parent] = children.get(parent, 0) + 1
    ready = [root]
    while ready:
        node = ready.pop(0)
        depth[node] = len(depth)
        for parent in node.parents:
            children[parent] -= 1
            if children[parent] == 0:
                ready.append(parent)
    return sorted(depth, key=depth.__getitem__, reverse=True)


@alternative("Softplus")
class FromTheOutput(torch.autograd.Function):
    """The derivative is 1 − exp(−y), which the output gives; saved outputs may be differentiated, too."""

    @staticmethod
    def forward(ctx, x):
        y = torch.logaddexp(x, torch.zeros_like(x))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return -g * torch.expm1(-y)
