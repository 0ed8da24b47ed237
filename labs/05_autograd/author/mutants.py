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
    also=["an endless loop"],
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
)
edit(
    "topological_order",
    "return order",
    "return order[:-1]",
    says="root itself belongs to the list",
)

edit("backward", "arrived[parent] + part if parent in arrived else part", "part", says="only the last part")
edit("backward", "g if node.grad is None else node.grad + g", "g", says="replaces what the first")
edit("backward", "torch.ones_like(root.data)", "torch.ones(())", says="one number")


@mutant(
    "backward",
    says="a constant has got a gradient",
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
edit("gradcheck", "x.contiguous().clone()", "x.contiguous()", says="in contiguous inputs")


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


# ---- more wrong versions

edit("unbroadcast", "    for dim, size in enumerate(shape):\n        if size == 1:\n            g = g.sum(dim, keepdim=True)\n",
     "", says="g came back as it was")  # fmt: skip
edit(
    "unbroadcast",
    "    while g.dim() > len(shape):\n        g = g.sum(0)\n",
    "    return g\n",
    says="g came back as it was",
)
edit("unbroadcast", "g = g.sum(0)", "g = g.sum(-1)", says="expected shape")
edit("unbroadcast", "g = g.sum(0)", "g = g.mean(0)", says="the mean over the copies")
edit("mul_vjp", "unbroadcast(g * b, a.shape), unbroadcast(g * a, b.shape)",
     "unbroadcast(g, a.shape), unbroadcast(g, b.shape)", says="g itself is passed on")  # fmt: skip
edit("mul_vjp", "unbroadcast(g * b, a.shape), unbroadcast(g * a, b.shape)",
     "unbroadcast(g * out, a.shape), unbroadcast(g * out, b.shape)", says="the result stands where")  # fmt: skip
edit("mul_vjp", "unbroadcast(g * b, a.shape), unbroadcast(g * a, b.shape)",
     "unbroadcast(g / b, a.shape), unbroadcast(g / a, b.shape)", says="divided by the other operand")  # fmt: skip
edit("mul_vjp", "unbroadcast(g * b, a.shape), unbroadcast(g * a, b.shape)",
     "unbroadcast(unbroadcast(g, a.shape) * b, a.shape), unbroadcast(unbroadcast(g, b.shape) * a, b.shape)",
     says="g was summed before the product")  # fmt: skip
edit("mul_vjp", "unbroadcast(g * b, a.shape), unbroadcast(g * a, b.shape)",
     "unbroadcast(g * b, a.shape)", says="expected a tuple of 2")  # fmt: skip
edit("matmul_vjp", "unbroadcast(g @ b.transpose(-1, -2), a.shape), unbroadcast(a.transpose(-1, -2) @ g, b.shape)",
     "unbroadcast(a.transpose(-1, -2) @ g, b.shape), unbroadcast(g @ b.transpose(-1, -2), a.shape)",
     says="that of the other operand")  # fmt: skip
edit("matmul_vjp", "unbroadcast(g @ b.transpose(-1, -2), a.shape), unbroadcast(a.transpose(-1, -2) @ g, b.shape)",
     "g.transpose(-1, -2) @ b, a @ g.transpose(-1, -2)", says="g is transposed")  # fmt: skip
edit("matmul_vjp", "unbroadcast(g @ b.transpose(-1, -2), a.shape), unbroadcast(a.transpose(-1, -2) @ g, b.shape)",
     "g * b.transpose(-1, -2), a.transpose(-1, -2) * g", says="an elementwise product")  # fmt: skip
edit("matmul_vjp", "unbroadcast(g @ b.transpose(-1, -2), a.shape), unbroadcast(a.transpose(-1, -2) @ g, b.shape)",
     "g @ b.T, a.T @ g", says="must match the size")  # fmt: skip
edit("sum_vjp", "g.expand(a.shape)", "g.expand(a.shape) * a", says="does not contain a")
edit("sum_vjp", "    if dim is not None:\n        g = g.unsqueeze(dim)\n", "", says="along the wrong dimension")
edit("sum_vjp", "(g.expand(a.shape),)", "g.expand(a.shape)", says="expected a tuple of 1")
edit("sum_vjp", "(g.expand(a.shape),)", "(g,)", says="expected shape")
edit("sum_vjp", "(g.expand(a.shape),)", "(g.expand(a.shape) * a.size(dim or 0),)", says="multiplied by the number")
edit("topological_order", "if parents_done:\n            order.append(node)",
     "if parents_done:\n            if node.parents:\n                order.append(node)",
     says="the leaves belong to the list")  # fmt: skip
edit("topological_order", "[(parent, False) for parent in node.parents]",
     "[(parent, False) for parent in node.parents if parent.needs_grad]", says="constants belong to the list")  # fmt: skip
edit("topological_order", "elif node not in seen:", "else:", says="are there more than once", check="parents_first",
     also=["an endless loop"])  # fmt: skip


@mutant("topological_order", says="when all of its parents are in the list", check="parents_first")
def appended_when_met(root):
    order, seen, waiting = [], set(), [root]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            order.insert(0, node)
            waiting += node.parents
    return order


edit("backward", "if not node.needs_grad:\n            continue", "if not node.needs_grad:\n            return",
     says="have got no gradient")  # fmt: skip
edit("backward", "arrived[parent] = arrived[parent] + part if parent in arrived else part",
     "if parent in arrived:\n                    arrived[parent] += part\n                else:\n                    arrived[parent] = part",
     says="a part was added in place")  # fmt: skip
edit("backward", "node.grad = g if node.grad is None else node.grad + g",
     "if node.grad is None:\n                node.grad = g\n            else:\n                node.grad += g",
     says="both leaves hold the same tensor")  # fmt: skip
edit("backward", "torch.ones_like(root.data)", "torch.ones_like(root.data) / root.data.numel()", says="of the mean")
edit("backward", "torch.ones_like(root.data)", "root.data", says="it should begin with ones")
edit("backward", "zip(node.parents, node.rule(g), strict=True)", "zip(node.parents, node.rule(g)[::-1], strict=True)",
     says="each other's part")  # fmt: skip
edit("backward", "zip(node.parents, node.rule(g), strict=True)", "zip(node.parents, [g] * len(node.parents), strict=True)",
     says="the rules are not applied")  # fmt: skip
edit("backward", "reversed(topological_order(root))", "topological_order(root)", says="KeyError")
edit("backward", "node.grad = g if node.grad is None else node.grad + g", "node.grad = g.sum()", says="one number")

edit("gradcheck", "/ (2 * step)", "/ step", says="divided by h, not by 2h")
edit("gradcheck", " / (2 * step)", "", says="divided by nothing")
edit("gradcheck", "/ (2 * step)", "/ 2 * step", says="multiplied by h")
edit("gradcheck", "(step, -step)", "(-step, step)", says="the sign of the quotient")
edit("gradcheck", "(step, -step)", "(1e-5, -1e-5)", says="with a step of 0.01")
edit("gradcheck", "    worst = 0.0", "    step, worst = 1e-5, 0.0", says="`step` is not used")
edit("gradcheck", "(step, -step)", "(0.0, 0.0)", says="no number was moved")
edit("gradcheck", "range(grad.numel())", "range(1)", says="only the first number of each input")
edit("gradcheck", "(quotient - grad.reshape(-1)[n]).abs().item()", "(quotient - grad.reshape(-1)[n]).item()",
     says="quotient − derivative may be negative")  # fmt: skip
edit("gradcheck", "(quotient - grad.reshape(-1)[n]).abs().item()", "(grad.reshape(-1)[n] - quotient).item()",
     says="derivative − quotient may be negative")  # fmt: skip
edit("gradcheck", "(quotient - grad.reshape(-1)[n]).abs().item()", "(quotient - grad.reshape(-1)[n]).square().item()",
     says="the square of the difference")  # fmt: skip
edit("gradcheck", "(quotient - grad.reshape(-1)[n]).abs().item()",
     "((quotient - grad.reshape(-1)[n]).abs() / grad.reshape(-1)[n].abs().clamp(min=1e-12)).item()",
     says="relative, not absolute")  # fmt: skip
edit("gradcheck", "worst = max(worst, (quotient - grad.reshape(-1)[n]).abs().item())",
     "worst += (quotient - grad.reshape(-1)[n]).abs().item()", says="the sum of the differences")  # fmt: skip
edit("gradcheck", "max(worst, (quotient - grad.reshape(-1)[n]).abs().item())",
     "max(worst, (quotient - grad.reshape(-1)[n]).abs())", says="a plain number")  # fmt: skip
edit(
    "gradcheck",
    "torch.zeros_like(variable.data) if variable.grad is None else variable.grad",
    "variable.grad",
    says="NoneType",
)

edit("Softplus", "x.clamp(min=0) + x.abs().neg().exp().log1p()", "x.sigmoid()", says="that is the sigmoid")
edit("Softplus", "x.clamp(min=0) + x.abs().neg().exp().log1p()", "x.clamp(min=0)", says="that is the ReLU")
edit("Softplus", "x.clamp(min=0) + x.abs().neg().exp().log1p()", "x.neg().exp().log1p()", says="the sign of x is turned",
     also=["an exponential or a division overflows"])  # fmt: skip
edit("Softplus", "x.clamp(min=0) + x.abs()", "x.abs()", says="where it is positive")
edit("Softplus", "x.clamp(min=0)", "x.abs()", says="|x| is added")
edit("Softplus", "g * x.sigmoid()", "g", says="the derivative is missing")
edit("Softplus", "g * x.sigmoid()", "g * (-x).sigmoid()", says="the sigmoid of −x")
edit("Softplus", "g * x.sigmoid()", "g * (x > 0)", says="the derivative of the ReLU")
edit("Softplus", "g * x.sigmoid()", "g * x.exp() / (1 + x.exp())", says="exp(1000) is infinite", check="far_out")
edit("Softplus", "g * x.sigmoid()", "g * x.sigmoid().detach()", says="does not depend on x", check="second_derivative")


@mutant("Softplus", says="the sigmoid of the result")
class SigmoidOfTheResult(torch.autograd.Function):
    """log(1 + exp(x))."""

    @staticmethod
    def forward(ctx, x):
        y = torch.logaddexp(x, torch.zeros_like(x))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y.sigmoid()


# ---- more right ones


@alternative("unbroadcast")
def dimension_by_dimension(g, shape):
    padded = (1,) * (g.ndim - len(shape)) + tuple(shape)
    for dim in reversed(range(g.ndim)):
        if padded[dim] != g.shape[dim]:
            g = g.sum(dim, keepdim=True)
    return g.view(shape) if g.is_contiguous() else g.reshape(shape)


@alternative("unbroadcast")
def by_recursion(g, shape):
    if g.dim() > len(shape):
        return unbroadcast(g.sum(0), shape)
    for dim, size in enumerate(shape):
        if size == 1 and g.size(dim) > 1:
            return unbroadcast(g.sum(dim, keepdim=True), shape)
    return g


@alternative("mul_vjp")
def from_a_list(g, out, a, b):
    return tuple([unbroadcast(torch.mul(g, other), own.shape) for own, other in ((a, b), (b, a))])


@alternative("matmul_vjp")
def with_mt(g, out, a, b):
    for_a, for_b = g.matmul(b.mT), (g.mT.matmul(a)).mT
    return unbroadcast(for_a, a.size()), unbroadcast(for_b, b.size())


@alternative("sum_vjp")
def by_ones(g, out, a, dim):
    return (torch.ones_like(a) * (g if dim is None else g.unsqueeze(dim)),)


@alternative("sum_vjp")
def by_stacking(g, out, a, dim):
    if dim is None:
        return (torch.full_like(a, g.item()),)
    return (torch.stack([g] * a.size(dim), dim),)


@alternative("topological_order")
def with_iterators(root):
    order, seen, path = [], {id(root)}, [(root, iter(root.parents))]
    while path:
        node, rest = path[-1]
        for parent in rest:
            if id(parent) not in seen:
                seen.add(id(parent))
                path.append((parent, iter(parent.parents)))
                break
        else:
            path.pop()
            order.append(node)
    return order


@alternative("topological_order")
def by_waves(root):
    everything, waiting = {root: None}, [root]
    while waiting:
        for parent in waiting.pop().parents:
            if parent not in everything:
                everything[parent] = None
                waiting.append(parent)
    children = {node: [] for node in everything}
    left = {node: len(set(node.parents)) for node in everything}
    for node in everything:
        for parent in set(node.parents):
            children[parent].append(node)
    ready = [node for node in everything if not left[node]]
    for node in ready:
        for child in children[node]:
            left[child] -= 1
            if not left[child]:
                ready.append(child)
    return ready


@alternative("backward")
def with_zeros_first(root):
    order = topological_order(root)
    sums = {id(node): torch.zeros_like(node.data) for node in order}
    sums[id(root)] += 1
    for node in order[::-1]:
        if node.rule:
            for parent, part in zip(node.parents, node.rule(sums[id(node)]), strict=True):
                sums[id(parent)] += part
        elif node.needs_grad:
            node.grad = sums[id(node)].clone() if node.grad is None else node.grad + sums[id(node)]


@alternative("backward")
def with_lists_of_parts(root):
    parts = {root: [torch.ones(root.data.shape, dtype=root.data.dtype)]}
    for node in topological_order(root)[::-1]:
        if node not in parts or not node.needs_grad:
            continue
        g = sum(parts[node])
        if not node.parents:
            node.grad = g + (0 if node.grad is None else node.grad)
        for parent, part in zip(node.parents, node.rule(g) if node.parents else (), strict=True):
            parts.setdefault(parent, []).append(part)


@alternative("gradcheck")
def with_unit_tensors(f, inputs, step=1e-5):
    leaves = [Var(x.clone(), True) for x in inputs]
    backward(f(*leaves))
    gaps = [0.0]
    for place, leaf in enumerate(leaves):
        for unit in torch.eye(leaf.data.numel(), dtype=leaf.data.dtype):
            push = step * unit.reshape(leaf.data.shape)
            up = [x + push if n == place else x for n, x in enumerate(inputs)]
            down = [x - push if n == place else x for n, x in enumerate(inputs)]
            slope = (f(*[Var(x) for x in up]).sum().data - f(*[Var(x) for x in down]).sum().data) / step / 2
            found = 0.0 if leaf.grad is None else (leaf.grad * unit.reshape(leaf.data.shape)).sum()
            gaps.append(abs(float(slope - found)))
    return max(gaps)


@alternative("Softplus")
class WithASwitch(torch.autograd.Function):
    """Two formulas, one for each sign of x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x > 0, x + torch.log1p(torch.exp(-x.abs())), torch.log1p(torch.exp(-x.abs())))

    @staticmethod
    def backward(ctx, g):
        x = ctx.saved_tensors[0]
        small = torch.exp(-x.abs())
        return g * torch.where(x > 0, 1 / (1 + small), small / (1 + small))


@alternative("Softplus")
class ByLibraryFunctions(torch.autograd.Function):
    """What torch has: logsigmoid."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return -torch.nn.functional.logsigmoid(-x)

    @staticmethod
    def backward(ctx, g):
        return torch.sigmoid(*ctx.saved_tensors) * g
