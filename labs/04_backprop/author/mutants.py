"""Known-wrong versions of lab 04, as students write them, and right ones by another route."""

import itertools

import torch
from labkit import alternative, edit, mutant

edit("prepare_data", "(test_input - mean) / std", "test_input / 255", says="divided by 255")
edit(
    "prepare_data",
    "(test_input - mean) / std",
    "(test_input - test_input.mean()) / test_input.std()",
    says="normalised with its own mean",
)
edit("prepare_data", "train_input.mean(), train_input.std()", "train_input.mean(0), train_input.std(0)", says="column")
edit("prepare_data", "classes), -0.9", "classes), 0.0", says="other columns hold 0")


@mutant("prepare_data", says="the inputs are multiplied by 0.9, not the targets")
def inputs_instead_of_targets(train_input, train_target, test_input, classes):
    mean, std = train_input.mean(), train_input.std()
    targets = train_input.new_full((len(train_target), classes), -1.0)
    targets.scatter_(1, train_target.view(-1, 1), 1.0)
    return 0.9 * (train_input - mean) / std, targets, 0.9 * (test_input - mean) / std


edit("dsigma", "x.tanh() ** 2", "x**2", says="taken for tanh(x)")
edit("dsigma", "x.tanh() ** 2", "x.tanh()", says="square of tanh(x) is missing")
edit("dloss", "v - t", "t - v", says="are exchanged")
edit("dloss", "2 * (v - t)", "2 * (v - t) / v.numel()", says="a mean, where the loss is a sum")
edit("dloss", "2 * (v - t)", "v - t", says="the factor 2 is missing")

edit("forward_pass", "x @ w1.T + b1", "(x + b1) @ w1.T", says="added before the linear map")
edit("forward_pass", "x @ w1.T", "x @ w1", says="not transposed")
edit("forward_pass", "sigma(s2)", "s2", says="does not go through sigma")

edit("backward_pass", "dsigma(s1)", "dsigma(x1)", says="taken at x1, not at s1")
edit("backward_pass", " * dsigma(s2)", "", says="at the output is missing")
edit("backward_pass", "dl_dw1 += d_s1.T @ x", "dl_dw1 = dl_dw1 + d_s1.T @ x", says="nothing has arrived")
edit("backward_pass", "dl_dw2 += d_s2.T @ x1", "dl_dw2 += d_s2.T @ x1 / len(x)", says="mean over the batch")


@mutant("backward_pass", says="are overwritten", also=["each call replaces"])
def overwriting(w1, b1, w2, b2, t, x, s1, x1, s2, x2, dl_dw1, dl_db1, dl_dw2, dl_db2):
    d_s2 = 2 * (x2 - t) * (1 - s2.tanh() ** 2)
    d_s1 = (d_s2 @ w2) * (1 - s1.tanh() ** 2)
    dl_dw2.copy_(d_s2.T @ x1)
    dl_db2.copy_(d_s2.sum(0))
    dl_dw1.copy_(d_s1.T @ x)
    dl_db1.copy_(d_s1.sum(0))


@mutant("backward_pass", says="nothing has arrived")
def new_tensors(w1, b1, w2, b2, t, x, s1, x1, s2, x2, dl_dw1, dl_db1, dl_dw2, dl_db2):
    d_s2 = 2 * (x2 - t) * (1 - s2.tanh() ** 2)
    d_s1 = (d_s2 @ w2) * (1 - s1.tanh() ** 2)
    dl_dw2, dl_db2 = dl_dw2 + d_s2.T @ x1, dl_db2 + d_s2.sum(0)
    dl_dw1, dl_db1 = dl_dw1 + d_s1.T @ x, dl_db1 + d_s1.sum(0)


@mutant("backward_pass", says="taken at x, not at s")
def slope_of_the_output(w1, b1, w2, b2, t, x, s1, x1, s2, x2, dl_dw1, dl_db1, dl_dw2, dl_db2):
    d_s2 = 2 * (x2 - t) * (1 - x2.tanh() ** 2)
    d_s1 = (d_s2 @ w2) * (1 - x1.tanh() ** 2)
    dl_dw2 += d_s2.T @ x1
    dl_db2 += d_s2.sum(0)
    dl_dw1 += d_s1.T @ x
    dl_db1 += d_s1.sum(0)


edit("Linear", "x @ self.weight.T + self.bias", "(x + self.bias) @ self.weight.T", says="before the linear map")
edit("Linear", "self.d_weight += d_out.T @ self.x", "self.d_weight = d_out.T @ self.x", says="overwritten")
edit("Linear", "d_out @ self.weight", "d_out @ self.weight.T", says="transposed weights")
edit("Linear", "d_out.sum(0)", "d_out.mean(0)", says="averaged over the batch")
edit(
    "Linear",
    "(self.weight, self.d_weight)",
    "(self.weight.clone(), self.d_weight)",
    says="hands out a copy of the weight",
)
edit("ReLU", "self.x > 0", "self.x >= 0", says="at 0 the derivative is 0")
edit("ReLU", "d_out * (self.x > 0)", "d_out.clamp(min=0)", says="the sign of d_out decides")
edit("ReLU", "x.clamp(min=0)", "x.clamp_(min=0)", says="leaves its arguments as they were")
edit("Sequential", "reversed(self.modules)", "self.modules", says="in the order of forward")
edit(
    "Sequential",
    "for module in self.modules for pair in module.param()",
    "for pair in self.modules[0].param()",
    says="pairs of all blocks",
)


@alternative("dsigma")
def by_exponentials(x):
    e = (-2 * x.double().abs()).exp()
    return 4 * e / (1 + e) ** 2


@alternative("backward_pass")
def with_einsum(w1, b1, w2, b2, t, x, s1, x1, s2, x2, dl_dw1, dl_db1, dl_dw2, dl_db2):
    d2 = -2 * (t - x2) * (1 - x2**2)
    d1 = torch.einsum("nk,kh->nh", d2, w2) * (1 - x1**2)
    for total, part in ((dl_dw2, torch.einsum("nk,nh->kh", d2, x1)), (dl_dw1, torch.einsum("nh,nd->hd", d1, x))):
        total.add_(part)
    dl_db2.add_(torch.einsum("nk->k", d2))
    dl_db1.add_(torch.einsum("nh->h", d1))


@alternative("ReLU")
class RememberTheMask:
    """Remembers the mask, which is enough."""

    def forward(self, x):
        self.mask = x.gt(0).to(x.dtype)
        return x * self.mask

    def backward(self, d_out):
        return self.mask * d_out

    def param(self):
        return []


# ---- more wrong versions

edit("prepare_data", "scatter_(1, train_target.unsqueeze(1), 0.9)",
     "scatter_(1, (train_target.unsqueeze(1) + 1) % classes, 0.9)", says="too far to the right")  # fmt: skip
edit("prepare_data", "(train_input - mean) / std, targets, (test_input - mean) / std",
     "train_input / std, targets, test_input / std", says="the mean is not subtracted")  # fmt: skip
edit("prepare_data", "(train_input - mean) / std, targets, (test_input - mean) / std",
     "train_input - mean, targets, test_input - mean", says="not divided by the standard deviation")  # fmt: skip
edit("prepare_data", "(train_input - mean) / std, targets, (test_input - mean) / std",
     "train_input / std - mean, targets, test_input / std - mean", says="subtract first")  # fmt: skip
edit("prepare_data", "(test_input - mean) / std", "test_input", says="left as it was")
edit("prepare_data", "train_input.std()", "train_input.std(correction=0)", says="divides by N − 1")
edit("prepare_data", "train_input.std()", "train_input.var()", says="by the variance")
edit("prepare_data", "train_input.std()", "train_input.max()", says="by the largest value")
edit("prepare_data", "train_input.mean(), train_input.std()",
     "torch.cat((train_input, test_input)).mean(), torch.cat((train_input, test_input)).std()",
     says="both sets together")  # fmt: skip

edit("dsigma", "1 - x.tanh() ** 2", "x.sigmoid() * (1 - x.sigmoid())", says="of the logistic function")
edit("dsigma", "1 - x.tanh() ** 2", "x.tanh() * (1 - x.tanh())", says="belongs to the logistic function")
edit("dsigma", "x.tanh() ** 2", "x.tanh().tanh() ** 2", says="taken at tanh(x)")
edit("dsigma", "1 - x.tanh() ** 2", "(1 - x.tanh()) ** 2", says="only tanh(x) is")
edit("dsigma", "1 - x.tanh() ** 2", "1 / x.cosh()", says="is not squared")
edit("dsigma", "1 - x.tanh() ** 2", "x.tanh()", says="that is tanh itself")
edit("dloss", "2 * (v - t)", "(v - t) ** 2", says="not its derivative")
edit("dloss", "2 * (v - t)", "2 * v - t", says="only v is doubled")
edit("dloss", "2 * (v - t)", "2 * (v - t) / len(v)", says="a mean over the rows")

edit("forward_pass", " + b1", "", says="b1 is missing")
edit("forward_pass", " + b2", "", says="b2 is missing")
edit("forward_pass", "x1 @ w2.T", "s1 @ w2.T", says="it should be given x1")
edit("forward_pass", "x1 = sigma(s1)", "x1 = s1", says="the hidden layer does not go through sigma")
edit("forward_pass", "return x, s1, x1, s2, sigma(s2)", "return x, x1, s1, sigma(s2), s2", says="sums and outputs")
edit("forward_pass", "sigma(s1)\n    s2 = x1 @ w2.T + b2\n    return x, s1, x1, s2, sigma(s2)",
     "s1.sigmoid()\n    s2 = x1 @ w2.T + b2\n    return x, s1, x1, s2, s2.sigmoid()", says="not the logistic")  # fmt: skip

edit("backward_pass", " * dsigma(s1)", "", says="at the hidden layer is missing")
edit("backward_pass", "(d_s2 @ w2)", "(dloss(x2, t) @ w2)", says="lacks the derivative of sigma")
edit("backward_pass", "dloss(x2, t)", "(x2 - t)", says="the factor 2 of the loss")
edit("backward_pass", "dloss(x2, t)", "dloss(t, x2)", says="the sign is wrong")
edit("backward_pass", "    dl_db2 += d_s2.sum(0)\n    dl_dw1 += d_s1.T @ x\n    dl_db1 += d_s1.sum(0)",
     "    dl_dw1 += d_s1.T @ x", says="biases are forgotten")  # fmt: skip
edit("backward_pass", "dl_dw1 += d_s1.T @ x", "dl_dw1 += x.T @ d_s1", says="must match the size")
edit("backward_pass", "d_s2 @ w2)", "d_s2 @ w2.T)", says="shapes cannot be multiplied")

edit("Linear", " + self.bias", "", says="the bias is missing")
edit(
    "Linear",
    "        self.d_bias += d_out.sum(0)\n",
    "",
    says="the gradient of the bias is not written",
    also=["the bias does not move"],
)
edit(
    "Linear",
    "self.d_bias += d_out.sum(0)",
    "self.d_bias = d_out.sum(0)",
    says="the gradient of the bias is overwritten",
)
edit("Linear", "return d_out @ self.weight", "return d_out", says="returns d_out as it came")
edit("Linear", "self.d_weight += d_out", "self.d_weight -= d_out", says="is subtracted")
edit("Linear", "d_out.T @ self.x", "d_out.T @ self.x / len(self.x)", says="weights is averaged")
edit("Linear", "return d_out @ self.weight", "d_out @ self.weight", says="return missing")
edit("ReLU", "d_out * (self.x > 0)", "d_out", says="passed on everywhere")
edit("ReLU", "d_out * (self.x > 0)", "d_out * (self.x < 0)", says="where the input is negative")
edit("ReLU", "d_out * (self.x > 0)", "(self.x > 0).to(d_out.dtype)", says="not multiplied by d_out")
edit("ReLU", "x.clamp(min=0)", "x.abs()", says="size without the sign")
edit("ReLU", "x.clamp(min=0)", "x.clamp(max=0)", says="min(0, x)")
edit("ReLU", "x.clamp(min=0)", "torch.nn.functional.leaky_relu(x)", says="slope below 0")
edit("Sequential", "            x = module.forward(x)\n        return x",
     "            out = module.forward(x)\n        return out", says="every block the first input",
     also=["UnboundLocalError"])  # fmt: skip
edit("Sequential", "            d_out = module.backward(d_out)\n        return d_out",
     "            d_in = module.backward(d_out)\n        return d_in", says="every block the first d_out")  # fmt: skip
edit("Sequential", "d_out = module.backward(d_out)", "module.backward(d_out)", says="backward returns d_out as it came")
edit("Sequential", "x = module.forward(x)", "module.forward(x)", says="forward returns the input as it came")
edit("Sequential", "for module in self.modules for pair", "for module in reversed(self.modules) for pair",
     says="param goes through the blocks backwards")  # fmt: skip

# ---- more right versions


@alternative("prepare_data")
def by_comparing_with_every_class(train_input, train_target, test_input, classes):
    std, mean = torch.std_mean(train_input.double())
    hot = train_target[:, None] == torch.arange(classes)
    targets = torch.where(hot, 0.9, -0.9).to(train_input.dtype)
    return [((x.double() - mean) / std).to(x.dtype) if k != 1 else x
            for k, x in enumerate((train_input, targets, test_input))]  # fmt: skip


@alternative("prepare_data")
def in_place_on_copies(train_input, train_target, test_input, classes):
    mean = train_input.sum() / train_input.numel()
    std = ((train_input - mean) ** 2).sum().div(train_input.numel() - 1).sqrt()
    train, test = train_input.clone(), test_input.clone()
    train.sub_(mean).div_(std)
    test.sub_(mean).div_(std)
    targets = 1.8 * torch.nn.functional.one_hot(train_target, classes).to(train_input.dtype) - 0.9
    return train, targets, test


@alternative("dsigma")
def from_the_logistic_function(x):
    return 4 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x)


@alternative("dloss")
def by_adding(v, t):
    return v.sub(t).mul(2.0)


@alternative("forward_pass")
def by_functional_linear(w1, b1, w2, b2, x):
    s1 = torch.nn.functional.linear(x, w1, b1)
    s2 = torch.einsum("nh,kh->nk", torch.tanh(s1), w2).add(b2)
    return [x, s1, torch.tanh(s1), s2, torch.tanh(s2)]


@alternative("forward_pass")
def by_columns(w1, b1, w2, b2, x):
    s1 = (w1.mm(x.t()) + b1.view(-1, 1)).t()
    s2 = torch.stack([torch.mv(w2, row) + b2 for row in s1.tanh()])
    return x.clone(), s1, s1.tanh(), s2, s2.tanh()


@alternative("backward_pass")
def sample_after_sample(w1, b1, w2, b2, t, x, s1, x1, s2, x2, dl_dw1, dl_db1, dl_dw2, dl_db2):
    for n in range(len(x)):
        d_s2 = 2 * (x2[n] - t[n]) * (1 - x2[n] * x2[n])
        d_s1 = torch.mv(w2.T, d_s2) * (1 + x1[n]) * (1 - x1[n])
        dl_dw1.addr_(d_s1, x[n])
        dl_dw2.addr_(d_s2, x1[n])
        dl_db1.add_(d_s1)
        dl_db2[:] = dl_db2 + d_s2


@alternative("Linear")
class InPlaceLinear:
    """By addmm, in place."""

    def __init__(self, inputs, outputs):
        self.weight = (2 * torch.rand(outputs, inputs) - 1) / inputs**0.5
        self.bias = torch.zeros(outputs)
        self.d_weight, self.d_bias = torch.zeros(outputs, inputs), torch.zeros(outputs)

    def forward(self, x):
        self.seen = x
        return torch.addmm(self.bias, x, self.weight.t())

    def backward(self, d_out):
        self.d_weight.addmm_(d_out.t(), self.seen)
        self.d_bias.add_(torch.einsum("no->o", d_out))
        return torch.einsum("no,oi->ni", d_out, self.weight)

    def param(self):
        pairs = []
        pairs.append((self.weight, self.d_weight))
        pairs.append((self.bias, self.d_bias))
        return pairs


@alternative("ReLU")
class FromTheOutput:
    """Remembers its output: positive where the input is."""

    def forward(self, x):
        self.out = torch.maximum(x, torch.zeros_like(x))
        return self.out

    def backward(self, d_out):
        return torch.where(self.out > 0, d_out, 0.0)

    def param(self):
        return []


@alternative("ReLU")
class InPlaceOnCopies:
    """Changes copies in place."""

    def forward(self, x):
        self.negative = x <= 0
        out = x.clone()
        out[self.negative] = 0
        return out

    def backward(self, d_out):
        return d_out.masked_fill(self.negative, 0)

    def param(self):
        return list(())


@alternative("Sequential")
class ByReduce:
    """By recursion over a list."""

    def __init__(self, *modules):
        self.modules = list(modules)

    def forward(self, x, first=0):
        return self.forward(self.modules[first].forward(x), first + 1) if first < len(self.modules) else x

    def backward(self, d_out):
        for k in range(len(self.modules) - 1, -1, -1):
            d_out = self.modules[k].backward(d_out)
        return d_out

    def param(self):
        return list(itertools.chain.from_iterable(map(lambda module: module.param(), self.modules)))
