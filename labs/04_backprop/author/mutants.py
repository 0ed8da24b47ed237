"""Known-wrong versions of lab 04, as students write them, and right ones by another route."""

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
edit("dloss", "v - t", "t - v", says="sign")
edit("dloss", "2 * (v - t)", "2 * (v - t) / v.numel()", says="a mean, where the loss is a sum")
edit("dloss", "2 * (v - t)", "v - t", says="the factor 2 is missing")

edit("forward_pass", "x @ w1.T + b1", "(x + b1) @ w1.T", says="added before the linear map")
edit("forward_pass", "x @ w1.T", "x @ w1", says="not transposed")
edit("forward_pass", "sigma(s2)", "s2", says="does not go through sigma")

edit("backward_pass", "dsigma(s1)", "dsigma(x1)", says="taken at x1, not at s1")
edit("backward_pass", " * dsigma(s2)", "", says="at the output is missing")
edit("backward_pass", "dl_dw1 += d_s1.T @ x", "dl_dw1 = dl_dw1 + d_s1.T @ x", says="nothing has arrived")
edit("backward_pass", "dl_dw2 += d_s2.T @ x1", "dl_dw2 += d_s2.T @ x1 / len(x)", says="mean over the batch")


@mutant("backward_pass", says="are overwritten", also=["the second call replaces the first"])
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
