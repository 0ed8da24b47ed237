"""Wrong versions of lab 11 that students write, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.nn import functional as F

edit("transposed_conv1d", "stride] += ", "stride] = ", says="only one of them is left")
edit("transposed_conv1d", "w[:, :, s])", "w[:, :, -1 - s])", says="the filter is reversed")
edit("transposed_conv1d", "len(x), w.size(1), (length - 1) * stride + w.size(2))",
     "len(x), w.size(1), (length - 1) * stride + w.size(2) + stride - 1)", says="the output is too long")  # fmt: skip
edit("transposed_conv1d", '"ncl,ck->nkl"', '"ncl,kc->nkl"', says="w is C × K × S")


@mutant("transposed_conv1d", says="the stride is not used")
def full_convolution(x, w, stride):
    return F.conv1d(F.pad(x, (w.size(2) - 1,) * 2), w.transpose(0, 1).flip(2))


@mutant("transposed_conv1d", says="zeros are missing at the end")
def cut_at_the_end(x, w, stride):
    n, c, length = x.shape
    spread = x.new_zeros(n, c, length * stride)
    spread[:, :, ::stride] = x
    return F.conv1d(F.pad(spread, (w.size(2) - 1, 0)), w.transpose(0, 1).flip(2))


edit("denoising_loss", "encode(kept * x)), x)", "encode(kept * x)), kept * x)", says="compared with the damaged image")
edit("denoising_loss", ">= share", "< share", says="that share is kept")
edit("denoising_loss", "kept * x", "kept * x / (1 - share)", says="as dropout does")
edit("denoising_loss", "torch.rand_like(x)", "torch.rand(x.size(1))", says="not for each column")
edit("denoising_loss", "torch.rand_like(x)", "torch.rand(len(x), 1)", says="not for each row")
edit("denoising_loss", "torch.rand_like(x)", "torch.randn_like(x)", says="of the numbers are deleted, not")


@mutant("denoising_loss", says="noise was added")
def with_normal_noise(encode, decode, x, share):
    return F.mse_loss(decode(encode(x + share * torch.randn_like(x))), x)


@mutant("denoising_loss", says="the sum, not the mean")
def summed(encode, decode, x, share):
    return F.mse_loss(decode(encode(x * (torch.rand_like(x) >= share))), x, reduction="sum")


@mutant("denoising_loss", says="a detach, no_grad, or .item()")
def a_plain_number(encode, decode, x, share):
    return torch.tensor(F.mse_loss(decode(encode(x * (torch.rand_like(x) >= share))), x).item())


edit("reparameterise", "(0.5 * log_var).exp()", "log_var.exp()", says="that is the variance")
edit("reparameterise", "(0.5 * log_var).exp()", "log_var", says="the standard deviation is log_var")
edit("reparameterise", "randn_like", "rand_like", says="rand is uniform, not normal")
edit(
    "reparameterise",
    "torch.randn_like(mu)",
    "torch.randn(mu.size(1), dtype=mu.dtype)",
    says="all rows get the same",
    also=["a random number for each number of mu"],
)
edit("reparameterise", "torch.randn_like(mu)", "torch.randn(len(mu), 1, dtype=mu.dtype)",
     says="the numbers of a row get the same", also=["a random number for each number of mu"])  # fmt: skip


@mutant("reparameterise", says="cut the way")
def drawn_by_torch(mu, log_var):
    return torch.normal(mu, (log_var / 2).exp()).detach()


edit("kl_gaussian", "0.5 * terms", "terms", says="factor ½ is missing")
edit("kl_gaussian", "terms.sum(dim=1)", "terms.mean(dim=1)", says="the mean over the D numbers")
edit("kl_gaussian", "terms.sum(dim=1)", "terms.sum()", says="each row has its own")
edit("kl_gaussian", "terms.sum(dim=1)", "terms.sum(dim=0)", says="the sum goes over the rows")
edit("kl_gaussian", "- 1 - log_var", "- 1 + log_var", says="the sign of log σ² is wrong")
edit("kl_gaussian", " - 1 - log_var", " - log_var", says="the term −1 is missing")
edit("kl_gaussian", "log_var.exp() - 1 - log_var", "(2 * log_var).exp() - 1 - 2 * log_var", says="it is log σ²")
edit("kl_gaussian", "mu.square()", "mu", says="µ is not squared")


@mutant("kl_gaussian", says="its logarithm is not")
def over_the_variance(mu, log_var):
    variance = log_var.exp()
    return 0.5 * (mu**2 + variance - 1 - variance.log()).sum(1)


edit("bernoulli_log_likelihood", "-cost", "cost", says="has the other sign")
edit("bernoulli_log_likelihood", "cost.sum(dim=1)", "cost.mean(dim=1)", says="a log-likelihood is a sum")
edit("bernoulli_log_likelihood", "cost.sum(dim=1)", "cost.sum()", says="each row has its own")
edit("bernoulli_log_likelihood", "_with_logits(logits,", "_with_logits(logits.sigmoid(),", says="σ is applied twice")


@mutant("bernoulli_log_likelihood", says="use the logits themselves")
def over_probabilities(logits, x):
    p = logits.sigmoid()
    return (x * p.log() + (1 - x) * (1 - p).log()).sum(1)


@mutant("bernoulli_log_likelihood", says="use the logits themselves")
def cut_off(logits, x):
    return -F.binary_cross_entropy(logits.sigmoid(), x, reduction="none").sum(1)


@mutant("bernoulli_log_likelihood", says="only the pixels that are 1 count")
def ink_only(logits, x):
    return (x * F.logsigmoid(logits)).sum(1)


edit("bernoulli_log_likelihood", "return -cost.sum(dim=1)", "return -cost.sum(dim=1).detach()",
     says="no way back to the logits", also=["a detach, or no_grad"], check="slope_of_the_likelihood")  # fmt: skip
edit(
    "kl_gaussian",
    "0.5 * terms",
    "0.5 * terms.detach()",
    says="no way back to mu",
    also=["a detach, or no_grad"],
    check="slope_of_the_divergence",
)
edit("elbo", "x, z) - kl", "x, z) + kl", says="the divergence is added")
edit("elbo", " - kl_gaussian(mu, log_var)", "", says="the divergence is missing")
edit("elbo", "return log_likelihood(x, z) - kl_gaussian(mu, log_var)",
     "return kl_gaussian(mu, log_var) - log_likelihood(x, z)", says="that is the loss")  # fmt: skip
edit("elbo", "kl_gaussian(mu, log_var)", "kl_gaussian(mu, log_var).mean()", says="mean divergence of all rows")
edit("elbo", "z = reparameterise(mu, log_var)", "z = mu", says="the code is mu itself", also=("have the same code",))
edit("elbo", "z = reparameterise(mu, log_var)", "z = reparameterise(mu, log_var).detach()", says="a detach on the way")
edit("coupling_forward", "net(torch.where(mask, x, 0))", "net(x)", says="sees all of x")
edit("coupling_forward", "a, b = net", "b, a = net", says="a and b are exchanged")
edit("coupling_forward", "x * a.exp() + b", "(x + b) * a.exp()", says="the shift is scaled, too")
edit("coupling_forward", "a, b = a.masked_fill(mask, 0), b.masked_fill(mask, 0)", "", says="kept numbers are moved")
edit("coupling_forward", "return x * a.exp() + b, a.sum(dim=1)", "return x * a.exp() + b, a.sum()",
     says="one number for all rows")  # fmt: skip
edit("coupling_forward", "a.sum(dim=1)", "a.sum(dim=1).exp()", says="its logarithm is asked for")


@mutant("coupling_forward", says="those of the kept numbers count nothing")
def counts_all(x, mask, net):
    a, b = net(torch.where(mask, x, 0)).chunk(2, dim=1)
    return torch.where(mask, x, x * a.exp() + b), a.sum(1)


@mutant("coupling_forward", says="mask is True for those that are kept")
def mask_the_other_way(x, mask, net):
    a, b = (part * mask for part in net(x * ~mask).chunk(2, dim=1))
    return x * a.exp() + b, a.sum(1)


edit("coupling_inverse", "(y - b) * (-a).exp()", "y * (-a).exp() - b", says="in the wrong order")
edit("coupling_inverse", "(-a).exp()", "a.exp()", says="the inverse divides")
edit("coupling_inverse", "net(torch.where(mask, y, 0))", "net(y)", says="see what it saw on the way there")
edit("coupling_inverse", "torch.where(mask, y, (y", "torch.where(mask & ~mask, y, (y", says="kept numbers are moved")
edit("flow_nll", "return -log_normal - total", "return log_normal + total", says="−log p(x) is asked for")
edit("flow_nll", "-log_normal - total", "-log_normal + total", says="the log-determinants have the wrong sign")
edit("flow_nll", "-log_normal - total", "-log_normal", says="the log-determinants are missing")
edit("flow_nll", "total = total + log_det", "total = log_det", says="only the last layer's")
edit("flow_nll", " + math.log(2 * math.pi)", "", says="½ log 2π for each number, is missing")
edit(
    "flow_nll", "zip(masks, nets, strict=True)", "zip(masks[::-1], nets[::-1], strict=True)", says="in the wrong order"
)
edit("flow_nll", "(x.square() + math.log(2 * math.pi)).sum(dim=1)", "x.square().sum(dim=1) - 0.5 * math.log(2 * math.pi)",
     says="the constant is counted once")  # fmt: skip

# More of the classics.
edit("transposed_conv1d", "x, w[:, :, s])", "x.flip(2), w[:, :, s])", says="the places of x are in reversed order")
edit("transposed_conv1d", "x, w[:, :, s])", "x / x.size(1), w[:, :, s])", says="input channels are averaged")
edit("transposed_conv1d", "x, w[:, :, s])", "x[:, :1], w[:1, :, s])", says="only the first input channel")


@mutant("transposed_conv1d", says="side by side")
def without_an_overlap(x, w, stride):
    return torch.einsum("ncl,cks->nkls", x, w).flatten(2)


edit("denoising_loss", "F.mse_loss(", "F.l1_loss(", says="the absolute error")
edit("denoising_loss", "return F.mse_loss(", "return 0.5 * F.mse_loss(", says="half the squared error")
edit("denoising_loss", "kept * x)), x)", "kept * x)), x).sqrt()", says="the root of the error")
edit("denoising_loss", "F.mse_loss(", "F.binary_cross_entropy_with_logits(", says="the binary cross-entropy")
edit("denoising_loss", "kept * x", "torch.where(kept, x, 0.5)", says="damaged numbers became 0.5")
edit("denoising_loss", "decode(encode(kept * x)), x)", "decode(encode(x)), x)", says="the encoder sees the whole image")
edit("denoising_loss", "decode(encode(kept * x))", "decode(encode(kept * x)).detach()", says="a detach, no_grad")
edit("denoising_loss", "return F.mse_loss(decode(", "encode(x)\n    return F.mse_loss(decode(",
     says="encode was called 2 times")  # fmt: skip


@mutant("denoising_loss", says="only the deleted numbers are compared")
def where_it_was_deleted(encode, decode, x, share):
    kept = torch.rand_like(x) >= share
    return ((decode(encode(kept * x)) - x) ** 2)[~kept].mean()


edit("reparameterise", "return mu + ", "return ", says="mu is missing")
edit("reparameterise", "return mu + ", "return -mu + ", says="mu is subtracted")
edit("reparameterise", "(0.5 * log_var).exp()", "0.5 * log_var.exp()", says="belongs into the exponent")
edit("reparameterise", "(0.5 * log_var).exp()", "(-0.5 * log_var).exp()", says="that of exp(−log_var)")
edit("reparameterise", "(0.5 * log_var).exp() * ", "", says="the noise is not scaled")
edit("reparameterise", " + (0.5 * log_var).exp() * torch.randn_like(mu)", "", says="there is no noise")
edit("kl_gaussian", "0.5 * terms", "-0.5 * terms", says="that is −KL")
edit("kl_gaussian", "mu.square() + ", "", says="the term µ² is missing")
edit("kl_gaussian", "log_var.exp() - 1", "(log_var / 2).exp() - 1", says="σ in the place of σ²")
edit("kl_gaussian", " - 1 - log_var", " + 1 - log_var", says="the term −1 has the wrong sign")
edit("kl_gaussian", " - 1 - log_var", " - 1", says="the term log σ² is missing")
edit("kl_gaussian", "mu.square() + log_var.exp() - 1", "mu.square() - 1", says="the term σ² is missing")
edit("kl_gaussian", "mu.square()", "0.5 * mu.square()", says="expected")
edit("kl_gaussian", ".sum(dim=1)", "", says="the sum over the D numbers is missing")


@mutant("kl_gaussian", says="the other way round")
def reverse_divergence(mu, log_var):
    return 0.5 * ((1 + mu**2) / log_var.exp() - 1 + log_var).sum(1)


@mutant("kl_gaussian", says="counted once for a row")
def minus_one_outside(mu, log_var):
    return 0.5 * ((mu**2 + log_var.exp() - log_var).sum(1) - 1)


edit("bernoulli_log_likelihood", "logits, x,", "-logits, x,", says="x and 1 − x are exchanged")
edit("bernoulli_log_likelihood", "-cost.sum(dim=1)", "-cost.sum(dim=1) / 0.6931471805599453", says="to the base 2")
edit("bernoulli_log_likelihood", "-cost.sum(dim=1)", "(-cost.sum(dim=1)).exp()", says="that is the likelihood")
edit("bernoulli_log_likelihood", "cost.sum(dim=1)", "cost.sum(dim=0)", says="the sum goes over the rows")
edit("bernoulli_log_likelihood", "cost.sum(dim=1)", "cost", says="the sum over the pixels is missing")


@mutant("bernoulli_log_likelihood", says="that is the squared error")
def as_a_gaussian(logits, x):
    return -((logits.sigmoid() - x) ** 2).sum(1)


@mutant("bernoulli_log_likelihood", says="only the pixels that are 0 count")
def paper_only(logits, x):
    return ((1 - x) * F.logsigmoid(-logits)).sum(1)


@mutant("bernoulli_log_likelihood", says="the second term has the wrong sign")
def with_a_minus(logits, x):
    return (x * F.logsigmoid(logits) - (1 - x) * F.logsigmoid(-logits)).sum(1)


edit("elbo", "kl_gaussian(mu, log_var)", "0.5 * kl_gaussian(mu, log_var)", says="half of the divergence")
edit("elbo", "kl_gaussian(mu, log_var)", "kl_gaussian(z, log_var)", says="taken at z, not at mu")
edit("elbo", "kl_gaussian(mu, log_var)", "kl_gaussian(mu, log_var).sum()", says="sum of the divergences of all rows")
edit("elbo", "log_likelihood(x, z) - ", "log_likelihood(x, z).mean() - ", says="the likelihood is the mean of all rows")
edit("elbo", "log_likelihood(x, z) - ", "-", says="what was called")
edit("elbo", "kl_gaussian(mu, log_var)", "kl_gaussian(mu, log_var).detach()", says="the divergence is cut off")
edit("elbo", "reparameterise(mu, log_var)", "reparameterise(mu, log_var.detach())", says="z is cut off from log_var")
edit("elbo", "reparameterise(mu, log_var)", "mu + log_var.exp() * torch.randn_like(mu)", says="that is the variance",
     check="bound_of_a_probability_that_is_known")  # fmt: skip
edit("elbo", "reparameterise(mu, log_var)", "mu + torch.randn_like(mu)", says="the standard deviation 1", also=("cut off from log_var",),
     check="bound_of_a_probability_that_is_known")  # fmt: skip


@mutant("elbo", says="that of the drawn code alone")
def by_the_drawn_code(encode, log_likelihood, x):
    mu, log_var = encode(x)
    own = torch.distributions.Normal(mu, (log_var / 2).exp())
    z = own.rsample()
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return log_likelihood(x, z) - (own.log_prob(z) - prior.log_prob(z)).sum(1)


edit("coupling_forward", "return x * a.exp() + b, a.sum(dim=1)", "return x * a.exp() + b, -a.sum(dim=1)",
     says="the log-determinant has the wrong sign")  # fmt: skip
edit("coupling_forward", "x * a.exp() + b", "x * (-a).exp() + b * 1", says="the factor is exp(−a)",
     also=("the Jacobian",))  # fmt: skip
edit("coupling_forward", "x * a.exp() + b", "x * a.exp() - b", says="b is subtracted")
edit("coupling_forward", "x * a.exp() + b", "x * a.exp()", says="b is not used")
edit("coupling_forward", "x * a.exp() + b", "torch.where(mask, x, x * a + b)", says="the factor is a,")
edit("coupling_forward", "a.sum(dim=1)", "a.abs().sum(dim=1)", says="the sum of |a|")
edit("coupling_forward", "a.sum(dim=1)", "b.sum(dim=1)", says="the sum of b")
edit("coupling_forward", "a.sum(dim=1)", "a.sum(dim=1) / (~mask).sum().clamp(min=1)", says="mean of the others' a")
edit("coupling_forward", "a.sum(dim=1)", "a.mean(dim=1)", says="the mean of a, not the sum")
edit("coupling_forward", "a.sum(dim=1)", "a", says="the sum over the D numbers is missing")


@mutant("coupling_forward", says="take turns")
def taking_turns(x, mask, net):
    both = net(torch.where(mask, x, 0))
    a, b = both[:, ::2].masked_fill(mask, 0), both[:, 1::2].masked_fill(mask, 0)
    return x * a.exp() + b, a.sum(dim=1)


edit("coupling_inverse", "a, b = net", "b, a = net", says="a and b are exchanged")
edit("coupling_inverse", "(y - b) * (-a).exp()", "(y + b) * (-a).exp()", says="the inverse subtracts")
edit("coupling_inverse", "(y - b) * (-a).exp()", "y * a.exp() + b", says="that is the way there")
edit("coupling_inverse", "(y - b) * (-a).exp()", "(y - b) / a", says="it should be by exp(a)")
edit("coupling_inverse", "(y - b) * (-a).exp()", "y - b", says="the factor is not undone")
edit("coupling_inverse", "net(torch.where(mask, y, 0))", "net(torch.where(mask, 0, y))", says="it saw the others")
edit("coupling_inverse", "return torch.where", "net(y)\n    return torch.where", says="was called 2 times")
edit("flow_nll", "total = total + log_det", "total = total + log_det / len(nets)", says="are averaged; they add up")
edit("flow_nll", "total = total + log_det", "total = total + log_det.detach()", says="are cut off by a detach")
edit("flow_nll", "-0.5 * (x.square()", "-1.0 * (0.5 * x.square()", says="it is ½ log 2π")
edit("flow_nll", "(x.square() + math.log(2 * math.pi))", "(2 * x.square() + math.log(2 * math.pi))",
     says="the factor ½ of the square is missing")  # fmt: skip
edit("flow_nll", "-0.5 * (x.square() + math", "-0.5 * (x.square() - math", says="the constant has the wrong sign")
edit("flow_nll", "return -log_normal - total", "return (-log_normal - total).mean()", says="one number for all rows")
edit("flow_nll", "(x.square() + math.log(2 * math.pi)).sum(dim=1)",
     "(x.square() + math.log(2 * math.pi)).mean(dim=1)", says="a mean over the numbers of a row")  # fmt: skip
edit("flow_nll", "return -log_normal - total", "return log_normal - total", says="and it is log p(x)")


@alternative("transposed_conv1d")
def by_zeros_in_between(x, w, stride):
    n, c, length = x.shape
    spread = x.new_zeros(n, c, (length - 1) * stride + 1, dtype=torch.float64)
    spread[:, :, ::stride] = x
    return F.conv1d(F.pad(spread, (w.size(2) - 1,) * 2), w.double().transpose(0, 1).flip(2))


@alternative("denoising_loss")
def by_dropout(encode, decode, x, share):
    damaged = F.dropout(x, share) * (1 - share)
    damaged = torch.where(damaged == 0, damaged, x)
    return (x - decode(encode(damaged))).pow(2).sum() / x.numel()


@alternative("reparameterise")
def by_a_distribution(mu, log_var):
    return torch.distributions.Normal(mu, log_var.exp().sqrt().clamp(min=1e-30)).rsample()


@alternative("kl_gaussian")
def over_sigma(mu, log_var):
    sigma = (log_var.double() / 2).exp()
    return ((mu.double() ** 2 + sigma**2) / 2 - log_var.double() / 2 - 0.5).sum(-1)


@alternative("bernoulli_log_likelihood")
def by_softplus(logits, x):
    return (x * logits - F.softplus(logits)).sum(1)


@alternative("bernoulli_log_likelihood")
def by_two_sigmoids(logits, x):
    return (x * nn.LogSigmoid()(logits) + (1 - x) * nn.LogSigmoid()(-logits)).sum(1)


@alternative("elbo")
def with_a_draw_of_its_own(encode, log_likelihood, x):
    mu, log_var = encode(x)
    sigma = torch.exp(log_var * 0.5)
    divergence = (mu**2 + sigma**2 - log_var - 1).sum(1) / 2
    return -divergence + log_likelihood(x, torch.addcmul(mu, sigma, torch.randn(mu.shape, dtype=mu.dtype)))


@alternative("coupling_forward")
def by_numbers(x, mask, net):
    kept = mask.to(x.dtype)
    a, b = net(x * kept).split(len(mask), 1)
    return kept * x + (1 - kept) * (x * a.exp() + b), (a * (1 - kept)).sum(1)


@alternative("coupling_inverse")
def column_by_column(y, mask, net):
    decided, x = net(y * mask), y.clone()
    for k in range(len(mask)):
        if not mask[k]:
            x[:, k] = (y[:, k] - decided[:, len(mask) + k]) / decided[:, k].exp()
    return x


@alternative("flow_nll")
def with_a_distribution(x, masks, nets):
    log_dets = []
    for k, mask in enumerate(masks):
        x, log_det = coupling_forward(x, mask, nets[k])
        log_dets.append(log_det)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)
    return -(log_p + sum(log_dets))


@alternative("transposed_conv1d")
def filter_after_filter(x, w, stride):
    n, _, length = x.shape
    parts = []
    for k in range(w.shape[1]):
        out = torch.zeros(n, (length - 1) * stride + w.shape[2], dtype=x.dtype)
        for at in range(length):
            out[:, at * stride : at * stride + w.shape[2]] += x[:, :, at] @ w[:, k]
        parts.append(out)
    return torch.stack(parts, dim=1)


@alternative("denoising_loss")
def by_bernoulli(encode, decode, x, share):
    damaged = x.masked_fill(torch.bernoulli(torch.full_like(x, share)).bool(), 0.0)
    return nn.MSELoss()(decode(encode(damaged)), x)


@alternative("reparameterise")
def by_normal_of_torch(mu, log_var):
    return torch.distributions.Normal(loc=mu, scale=(0.5 * log_var).exp()).rsample()


@alternative("reparameterise")
def by_addcmul(mu, log_var):
    noise = torch.normal(0.0, 1.0, size=mu.shape).to(mu.dtype)
    return torch.addcmul(mu, torch.sqrt(torch.exp(log_var)), noise)


@alternative("kl_gaussian")
def number_by_number(mu, log_var):
    total = 0
    for m, s in zip(mu.T, log_var.T, strict=True):
        total = total + (m * m + torch.expm1(s) - s) / 2
    return total


@alternative("bernoulli_log_likelihood")
def by_a_distribution_of_torch(logits, x):
    own = torch.distributions.Bernoulli(logits=logits, validate_args=False)
    return own.log_prob(x).sum(-1)


@alternative("elbo")
def with_torchs_divergence(encode, log_likelihood, x):
    mu, log_var = encode(x)
    q = torch.distributions.Normal(mu, torch.exp(log_var / 2))
    p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    z = q.rsample()
    return log_likelihood(x, z) - torch.distributions.kl_divergence(q, p).sum(dim=-1)


@alternative("coupling_forward")
def by_indices(x, mask, net):
    rows = x.clone()
    decided = net(x.masked_fill(~mask, 0.0))
    scale, shift = decided[:, : x.size(1)], decided[:, x.size(1) :]
    rows[:, ~mask] = x[:, ~mask] * torch.exp(scale[:, ~mask]) + shift[:, ~mask]
    return rows, scale[:, ~mask].sum(dim=-1)


@alternative("coupling_inverse")
def by_division(y, mask, net):
    kept = y * mask
    scale, shift = torch.tensor_split(net(kept), 2, dim=-1)
    return kept + (~mask) * ((y - shift) / torch.exp(scale))


@alternative("flow_nll")
def by_recursion(x, masks, nets):
    if len(masks) == 0:
        normal = torch.distributions.MultivariateNormal(
            torch.zeros(x.size(1), dtype=x.dtype), torch.eye(x.size(1), dtype=x.dtype)
        )
        return -normal.log_prob(x)
    x, log_det = coupling_forward(x, masks[0], nets[0])
    return flow_nll(x, masks[1:], nets[1:]) - log_det
