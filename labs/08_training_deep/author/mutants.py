"""Wrong versions of lab 08 that students write, and right ones by another route."""

import math

import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.nn import functional as F

# the published solution has it this way round
edit("generate_disc_set", "< 2 / math.pi", "> 2 / math.pi", says="inside of the disc")
edit("generate_disc_set", "points.square().sum(1) <", "points.square().sum(1).sqrt() <", says="not with its root")
edit("generate_disc_set", "torch.empty(nb, 2).uniform_(-1, 1)", "torch.rand(nb, 2)", says="[0, 1]")
edit("xavier_", "math.sqrt(2 / (fan_in + fan_out))", "2 / (fan_in + fan_out)", says="standard deviation")
edit("xavier_", "w[0].numel(), w[:, 0].numel()", "w.shape[1], w.shape[0]", says="kh·kw")
edit("xavier_", "with torch.no_grad():", "if True:", says="torch.no_grad() is missing")
edit("kaiming_", "w[0].numel()", "w[:, 0].numel()", says="exchanged")
edit(
    "kaiming_",
    "math.sqrt(2 / w[0].numel())",
    "math.sqrt(1 / w[0].numel())",
    says="the signal vanishes",
    also=["the variance has 1 instead of 2 above"],
)
edit(
    "Dropout",
    "kept.to(x.dtype) / (1 - self.p)",
    "kept.to(x.dtype)",
    says="divided by 1 − p",
    also=["the scale 1 / (1 − p) is missing"],
)
edit("Dropout", ">= self.p", "< self.p", says="probability of a zero")
edit(
    "Dropout",
    "torch.rand_like(x)",
    "torch.rand(len(x), 1)",
    says="whole samples",
    also=["each value needs a random number of its own"],
)
edit("Dropout", "return dl_dy * self.mask", "return dl_dy * (torch.rand_like(dl_dy) >= self.p) / (1 - self.p)",
     says="not a new one")  # fmt: skip
edit("BatchNorm", "x.mean(0), x.var(0, correction=0)", "x.mean(0), x.var(0)", says="not by N − 1")
edit("BatchNorm", "x.var(0, correction=1)", "x.var(0, correction=0)", says="with N − 1")
edit("BatchNorm", "(variance + self.eps).sqrt()", "(variance.sqrt() + self.eps)", says="under the root")
edit("BatchNorm", "self.running_mean = torch.lerp(self.running_mean, mean, self.momentum)",
     "self.running_mean = torch.lerp(mean, self.running_mean, self.momentum)", says="exchanged")  # fmt: skip
edit("BatchNorm", "self.factor * (g - g.mean(0) - self.z * (g * self.z).mean(0))", "self.factor * g",
     says="treated as constants")  # fmt: skip


@mutant("BatchNorm", says="must not move")
class AlwaysMoves:
    def __init__(self, nb_features, eps=1e-5, momentum=0.1):
        self.eps, self.momentum, self.training = eps, momentum, True
        self.weight, self.bias = torch.ones(nb_features), torch.zeros(nb_features)
        self.running_mean, self.running_var = torch.zeros(nb_features), torch.ones(nb_features)

    def forward(self, x):
        mean, variance = (x.mean(0), x.var(0, correction=0)) if self.training else (self.running_mean, self.running_var)
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * x.mean(0)
        self.running_var = (1 - self.momentum) * self.running_var + self.momentum * x.var(0)
        self.factor = (variance + self.eps).rsqrt()
        self.z = (x - mean) * self.factor
        return self.weight * self.z + self.bias

    def backward(self, dl_dy):
        self.dl_dweight, self.dl_dbias = (dl_dy * self.z).sum(0), dl_dy.sum(0)
        g = self.weight * dl_dy
        return self.factor * (g - g.mean(0) - self.z * (g * self.z).mean(0))


edit("ResNetBlock", "if batch_normalization:\n", "if True:\n", says="too many: bn1", check="flags_make_layers")
edit(
    "kaiming_",
    "with torch.no_grad()",
    "with torch.enable_grad()",
    says="in-place operation",
    check="kaiming_of_parameter",
)
edit("ResNetBlock", "y = y + x\n", "return F.relu(y) + x\n", says="after the last ReLU")
edit("ResNetBlock", "if self.skip_connections:", "if True:", says="skip_connections is ignored")
edit("ResNetBlock", "self.conv2(F.relu(y))", "self.conv2(y)", says="first ReLU")
edit("get_stats", "ResNet(nb_blocks, skip_connections=skip_connections, batch_normalization=batch_normalization)",
     "ResNet(nb_blocks)", says="do not reach")  # fmt: skip
edit("get_stats", "        model.zero_grad()\n", "", says="zero_grad")


@mutant("get_stats", says="one at a time")
def all_at_once(skip_connections, batch_normalization, images, labels, nb_blocks=30):
    model = ResNet(nb_blocks, 10, 3, 10, skip_connections, batch_normalization)
    F.cross_entropy(model(images), labels).backward()
    return torch.stack([block.conv1.weight.grad.norm() for block in model.blocks])[:, None].repeat(1, len(images))


@alternative("generate_disc_set")
def by_distance(nb):
    points = 2 * torch.rand(nb, 2) - 1
    return points, torch.where(points.norm(dim=1) < (2 / math.pi) ** 0.5, 1, 0)


@alternative("kaiming_")
def by_product(w):
    w.data = torch.randn_like(w.data).mul_((2 / math.prod(w.shape[1:])) ** 0.5)
    return w


@alternative("kaiming_")
def by_copy(w):
    w.detach().copy_(torch.randn(w.shape, dtype=torch.float64) * math.sqrt(2 / math.prod(w.shape[1:])))
    return w


@alternative("Dropout")
class ByBernoulli:
    def __init__(self, p):
        self.p, self.training = p, True

    def forward(self, x):
        self.mask = None
        if not self.training:
            return x
        self.mask = torch.bernoulli(torch.full_like(x, 1 - self.p))
        return x * self.mask / (1 - self.p)

    def backward(self, dl_dy):
        return dl_dy if self.mask is None else dl_dy * self.mask / (1 - self.p)


@alternative("BatchNorm")
class ByLongFormula:
    def __init__(self, nb_features, eps=1e-5, momentum=0.1):
        self.eps, self.momentum, self.training = eps, momentum, True
        self.weight, self.bias = torch.ones(nb_features), torch.zeros(nb_features)
        self.running_mean, self.running_var = torch.zeros(nb_features), torch.ones(nb_features)

    def forward(self, x):
        n = len(x)
        if self.training:
            self.mean = x.sum(0) / n
            self.variance = ((x - self.mean) ** 2).sum(0) / n
            self.running_mean = self.running_mean * (1 - self.momentum) + self.mean * self.momentum
            unbiased = self.variance * n / (n - 1)
            self.running_var = self.running_var * (1 - self.momentum) + unbiased * self.momentum
        else:
            self.mean, self.variance = self.running_mean, self.running_var
        self.x = x
        return (x - self.mean) / torch.sqrt(self.variance + self.eps) * self.weight + self.bias

    def backward(self, dl_dy):
        n, centred, std = len(self.x), self.x - self.mean, torch.sqrt(self.variance + self.eps)
        self.dl_dweight, self.dl_dbias = (dl_dy * centred / std).sum(0), dl_dy.sum(0)
        dl_dz = dl_dy * self.weight
        dl_dvariance = (dl_dz * centred).sum(0) * -0.5 / std**3
        dl_dmean = -dl_dz.sum(0) / std
        return dl_dz / std + dl_dvariance * 2 * centred / n + dl_dmean / n


@alternative("ResNetBlock")
class WithIdentities(nn.Module):
    def __init__(self, nb_channels, kernel_size, skip_connections=True, batch_normalization=True):
        super().__init__()
        self.conv1 = nn.Conv2d(nb_channels, nb_channels, kernel_size, padding="same")
        self.bn1 = nn.BatchNorm2d(nb_channels) if batch_normalization else nn.Identity()
        self.conv2 = nn.Conv2d(nb_channels, nb_channels, kernel_size, padding="same")
        self.bn2 = nn.BatchNorm2d(nb_channels) if batch_normalization else nn.Identity()
        self.skip = skip_connections

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(x + y) if self.skip else torch.relu(y)


@alternative("get_stats")
def by_autograd(skip_connections, batch_normalization, images, labels, nb_blocks=30):
    model = ResNet(nb_blocks, 10, 3, 10, skip_connections, batch_normalization)
    weights = [block.conv1.weight for block in model.blocks]
    columns = []
    for image, label in zip(images, labels, strict=True):
        loss = nn.CrossEntropyLoss()(model(image[None]), label[None])
        columns.append([g.pow(2).sum().sqrt().item() for g in torch.autograd.grad(loss, weights)])
    return torch.tensor(columns).T
