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


# ---- more wrong versions

edit(
    "generate_disc_set", "points = torch.empty", "torch.manual_seed(0)\n    points = torch.empty", says="a seed is set"
)
edit("generate_disc_set", "torch.empty(nb, 2)", "torch.empty(nb, 2, dtype=torch.float64)", says="should be float32")
edit("generate_disc_set", ".long()", "", says="bool")
edit("generate_disc_set", "torch.empty(nb, 2).uniform_(-1, 1)", "torch.empty(nb, 1).uniform_(-1, 1).repeat(1, 2)",
     says="not independent")  # fmt: skip
edit("generate_disc_set", "points.square().sum(1) < 2 / math.pi", "points.abs().sum(1) < (2 / math.pi) ** 0.5",
     says="|x| + |y|")  # fmt: skip
edit("generate_disc_set", "< 2 / math.pi", "< 1", says="disc of radius 1")
edit("xavier_", "w.normal_(0, math.sqrt(2 / (fan_in + fan_out)))", "torch.randn_like(w) * math.sqrt(2 / (fan_in + fan_out))",
     says="a new tensor was filled")  # fmt: skip
edit("xavier_", "w.normal_(0, math.sqrt(2 / (fan_in + fan_out)))",
     "w.uniform_(-math.sqrt(6 / (fan_in + fan_out)), math.sqrt(6 / (fan_in + fan_out)))", says="not normal", also=["uniform_ instead of normal_"])  # fmt: skip
edit("xavier_", "math.sqrt(2 /", "math.sqrt(1 /", says="1 instead of 2")
edit("xavier_", "math.sqrt(2 /", "math.sqrt(6 /", says="bound of the uniform version")
edit("xavier_", "math.sqrt(2 / (fan_in + fan_out))", "math.sqrt(2 / fan_in)", says="that is 2 / fan_in")
edit("xavier_", "w[:, 0].numel()", "w.shape[0]", says="one of them lacks it")
edit(
    "kaiming_", "w.normal_(0,", "w.normal_(0.5,", says="the mean is not 0", also=["signal explodes", "signal vanishes"]
)
edit("kaiming_", "math.sqrt(2 / w[0].numel())", "2 / w[0].numel()", says="that is a variance",
     also=["the signal vanishes"])  # fmt: skip
edit("kaiming_", "w[0].numel()", "w.shape[1]", says="kh·kw")
edit("Dropout", "if self.training else torch.ones_like(x)", "if not self.training else torch.ones_like(x)",
     says="nothing becomes zero", also=["there are zeros, too", "the mask is missing"])  # fmt: skip
edit("Dropout", "kept.to(x.dtype) / (1 - self.p)", "(~kept).to(x.dtype) / self.p", says="probability of a zero",
     also=["there is nothing", "draws", "the mask"])  # fmt: skip
edit("Dropout", "kept.to(x.dtype) / (1 - self.p) if self.training else torch.ones_like(x)",
     "kept.to(x.dtype) if self.training else torch.full_like(x, 1 - self.p)", says="training does it",
     also=["should be divided by 1", "1 / (1 − p) is missing", "passes as it is"])  # fmt: skip
edit("Dropout", "return dl_dy * self.mask", "return dl_dy", says="the mask is missing")
edit("Dropout", "return dl_dy * self.mask", "return dl_dy * (self.mask > 0)", says="the scale 1 / (1 − p) is missing")
edit("Dropout", "kept = torch.rand_like(x) >= self.p",
     "kept = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) >= self.p", says="same zeros",
     also=["drawn in forward"])  # fmt: skip


@mutant("Dropout", says="an older pass")
class StaleMask:
    def __init__(self, p):
        self.p, self.training, self.mask = p, True, 1.0

    def forward(self, x):
        if not self.training:
            return x
        self.mask = (torch.rand_like(x) >= self.p).to(x.dtype) / (1 - self.p)
        return x * self.mask

    def backward(self, dl_dy):
        return dl_dy * self.mask


edit("BatchNorm", "return self.weight * self.z + self.bias", "return self.z", says="weight and bias are missing")
edit("BatchNorm", " + self.eps).sqrt()", ").sqrt()", says="eps is missing")
edit("BatchNorm", "1 / (variance + self.eps).sqrt()", "1 / (variance + self.eps)", says="the root is missing",
     also=["its root is missing", "divided by the variance"])  # fmt: skip
edit("BatchNorm", "if self.training:", "if not self.training:", says="in training it is the batch's own",
     also=["not updated", "own mean and variance are used", "taken again", "must not move", "constants", "moves"])  # fmt: skip
edit("BatchNorm", "x.mean(0), x.var(0, correction=0)", "x.mean(), x.var(correction=0)", says="each has its own",
     also=["running"])  # fmt: skip
edit("BatchNorm", "g = self.weight * dl_dy", "g = dl_dy", says="the weight is missing")
edit("BatchNorm", "self.factor * (g - g.mean(0) - self.z * (g * self.z).mean(0))", "self.factor * (g - g.mean(0))",
     says="only the mean is differentiated")  # fmt: skip
edit("BatchNorm", "self.factor * (g - g.mean(0) - ", "self.factor * (g - ", says="only the variance is differentiated")
edit("BatchNorm", "- self.z * (g * self.z).mean(0)", "+ self.z * (g * self.z).mean(0)", says="it should be removed")
edit("BatchNorm", "(dl_dy * self.z).sum(0), dl_dy.sum(0)", "(dl_dy * self.z).mean(0), dl_dy.mean(0)",
     says="sums over the batch")  # fmt: skip
edit("BatchNorm", "self.dl_dweight, self.dl_dbias = (dl_dy * self.z).sum(0), dl_dy.sum(0)",
     "self.dl_dweight, self.dl_dbias = self.dl_dweight + (dl_dy * self.z).sum(0), self.dl_dbias + dl_dy.sum(0)",
     says="backward sets them")  # fmt: skip


@mutant("BatchNorm", says="after the normalisation")
class RecomputesStatistics:
    def __init__(self, nb_features, eps=1e-5, momentum=0.1):
        self.eps, self.momentum, self.training = eps, momentum, True
        self.weight, self.bias = torch.ones(nb_features), torch.zeros(nb_features)
        self.running_mean, self.running_var = torch.zeros(nb_features), torch.ones(nb_features)

    def forward(self, x):
        if not self.training:
            z = (x - self.running_mean) / (self.running_var + self.eps).sqrt()
            return self.weight * z + self.bias
        self.factor = (x.var(0, correction=0) + self.eps).rsqrt()
        x = (x - x.mean(0)) * self.factor
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * x.mean(0)
        self.running_var = (1 - self.momentum) * self.running_var + self.momentum * x.var(0)
        self.z = x
        return self.weight * self.z + self.bias

    def backward(self, dl_dy):
        self.dl_dweight, self.dl_dbias = (dl_dy * self.z).sum(0), dl_dy.sum(0)
        g = self.weight * dl_dy
        return self.factor * (g - g.mean(0) - self.z * (g * self.z).mean(0))


edit("ResNetBlock", "y = self.bn2(y)", "y = F.relu(self.bn2(y))", says="before the input is added, too")
edit("ResNetBlock", "y = self.bn1(y)", "pass", says="bn1 is not used")
edit("ResNetBlock", "y = self.conv2(F.relu(y))", "y = self.conv1(F.relu(y))", says="conv1 is used twice")
edit("ResNetBlock", "return F.relu(y)", "return y", says="the last ReLU is missing")
edit("ResNetBlock", "y = self.bn2(y)", "y = self.bn1(y)", says="bn1 is used twice")
edit("get_stats", ".grad.norm()", ".grad.abs().sum()", says="sum of the absolute values")
edit("get_stats", ".grad.norm()", ".grad.abs().max()", says="largest absolute value")
edit("get_stats", ".grad.norm()", ".grad.square().sum()", says="square of the norm")
edit("get_stats", "block.conv1", "block.conv2", says="derivative of conv2.weight")
edit("get_stats", "    stats = torch.empty", "    model.eval()\n    stats = torch.empty", says="evaluation mode")
edit("get_stats", "return stats", "return stats.T", says="a row is a block")
edit("get_stats", "skip_connections=skip_connections, batch_normalization=batch_normalization",
     "skip_connections=batch_normalization, batch_normalization=skip_connections", says="exchanged")  # fmt: skip

# ---- more right versions


@alternative("generate_disc_set")
def by_distributions(nb):
    points = torch.distributions.Uniform(-1.0, 1.0).sample((nb, 2))
    inside = torch.hypot(points[:, 0], points[:, 1]).lt(math.sqrt(2 / math.pi))
    return points, inside.to(torch.int64)


@alternative("xavier_")
def by_a_distribution(w):
    fan_out, fan_in = w.shape[0], w.shape[1]
    for side in w.shape[2:]:
        fan_in, fan_out = fan_in * side, fan_out * side
    w.data.copy_(torch.distributions.Normal(0.0, (2 / (fan_in + fan_out)) ** 0.5).sample(w.shape))
    return w


@alternative("xavier_")
def by_a_helper(w):
    pixels = w[0, 0].numel()
    return _filled(w, 2 / ((w.size(0) + w.size(1)) * pixels))


def _filled(w, variance):
    with torch.no_grad():
        w[...] = torch.normal(0.0, variance**0.5, tuple(w.shape))
    return w


@alternative("Dropout")
class AsAModule(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p, self.training = p, True

    def forward(self, x):
        if self.training:
            self.dropped = torch.rand(x.shape) < self.p
            return x.masked_fill(self.dropped, 0) * (1 / (1 - self.p))
        self.dropped = None
        return x.clone()

    def backward(self, dl_dy):
        if self.dropped is None:
            return dl_dy
        return torch.where(self.dropped, torch.zeros_like(dl_dy), dl_dy / (1 - self.p))


@alternative("BatchNorm")
class InPlace(nn.Module):
    def __init__(self, nb_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = torch.ones(nb_features), torch.zeros(nb_features)
        self.running_mean, self.running_var = torch.zeros(nb_features), torch.ones(nb_features)

    def forward(self, x):
        if not self.training:
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            return x * scale + (self.bias - self.running_mean * scale)
        self.var, self.mean = torch.var_mean(x, dim=0, unbiased=False)
        self.running_mean.mul_(1 - self.momentum).add_(self.momentum * self.mean)
        self.running_var += self.momentum * (x.var(0) - self.running_var)
        self.x = x
        return torch.addcmul(self.bias, self.weight, (x - self.mean) / (self.var + self.eps) ** 0.5)

    def backward(self, dl_dy):
        n = dl_dy.shape[0]
        std = (self.var + self.eps) ** 0.5
        z = (self.x - self.mean) / std
        self.dl_dbias = torch.einsum("nd->d", dl_dy)
        self.dl_dweight = torch.einsum("nd,nd->d", dl_dy, z)
        return self.weight / (n * std) * (n * dl_dy - self.dl_dbias - z * self.dl_dweight)


@alternative("ResNetBlock")
class ByLists(nn.Module):
    def __init__(self, nb_channels, kernel_size, skip_connections=True, batch_normalization=True):
        super().__init__()
        for n in 1, 2:
            layer = nn.Conv2d(nb_channels, nb_channels, kernel_size, padding=(kernel_size - 1) // 2)
            setattr(self, f"conv{n}", layer)
            if batch_normalization:
                setattr(self, f"bn{n}", nn.BatchNorm2d(nb_channels))
        self.relu, self.skip = nn.ReLU(inplace=True), skip_connections

    def forward(self, x):
        y = x
        for n in 1, 2:
            y = getattr(self, f"conv{n}")(y)
            y = getattr(self, f"bn{n}")(y) if hasattr(self, "bn1") else y
            y = self.relu(y) if n == 1 else y
        return (x + y if self.skip else y).clamp(min=0)


@alternative("get_stats")
def by_hooks(skip_connections, batch_normalization, images, labels, nb_blocks=30):
    model = ResNet(nb_blocks, skip_connections=skip_connections, batch_normalization=batch_normalization)
    found = {}
    for b, one in enumerate(model.blocks):
        one.conv1.weight.register_hook(lambda g, b=b: found.setdefault(b, []).append(torch.linalg.vector_norm(g)))
    for image, label in zip(images, labels, strict=True):
        nn.functional.nll_loss(model(image.unsqueeze(0)).log_softmax(1), label.view(1)).backward()
    return torch.stack([torch.stack(found[b]) for b in range(nb_blocks)])
