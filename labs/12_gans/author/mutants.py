"""Wrong versions of lab 12 that students write, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant
from torch.nn import functional as F

edit("d_loss", "F.softplus(-real).mean() + F.softplus(fake)", "F.softplus(real).mean() + F.softplus(-fake)",
     says="real and made samples are exchanged")  # fmt: skip
edit("d_loss", "F.softplus(fake)", "F.softplus(-fake)", says="log D(fake) instead of")


@mutant("d_loss", says="the mean of the two halves")
def one_call_for_all(real, fake):
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


@mutant("d_loss", says="one mean over all scores")
def mean_of_all(real, fake):
    scores, labels = torch.cat((real, fake)), torch.cat((torch.ones_like(real), torch.zeros_like(fake)))
    return F.binary_cross_entropy_with_logits(scores, labels)


@mutant("d_loss", says="rounds to 0 or 1", check="sure_of_itself")
def logarithms_of_probabilities(real, fake):
    return -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()


@mutant("d_loss", says="what the discriminator maximises")
def value_of_the_game(real, fake):
    return F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()


@mutant("g_loss", says="the loss that saturates", also=("that loss saturates",))
def saturating(fake):
    return F.logsigmoid(-fake).mean()


edit("g_loss", "-fake", "fake", says="it helps the discriminator")


@mutant("g_loss", says="rounds to 0 or 1", check="learns_when_it_loses")
def logarithm_of_a_probability(fake):
    return -(fake.sigmoid() + 1e-12).log().mean()


edit("critic_step", "generator(z).detach()", "generator(z)", says="still hang on the generator")
edit("critic_step", "optimizer.zero_grad()", "pass", says="zero_grad() is missing")
edit("critic_step", "loss(critic, real, fake)", "loss(critic, fake, real)", says="real and made samples are exchanged")
edit("critic_step", "value.item()", "loss(critic, real, fake).item()", says="after the update is returned")


@mutant("critic_step", says="step() comes after backward()")
def steps_too_early(critic, generator, optimizer, real, z, loss):
    optimizer.step()
    optimizer.zero_grad()
    value = loss(critic, real, generator(z).detach())
    value.backward()
    return value.item()


edit("generator_step", "inputs=list(generator.parameters())", "", says="name those that should get one")
edit("generator_step", "optimizer.step()", "pass", says="no optimizer.step()")


@mutant("generator_step", says="no longer require a gradient", also=["give it back to the critic"])
def leaves_the_critic_frozen(critic, generator, optimizer, z, loss):
    critic.requires_grad_(False)
    value = loss(critic(generator(z)))
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.item()


@mutant("generator_step", says=".grad of the critic has changed")
def cleans_the_critic(critic, generator, optimizer, z, loss):
    optimizer.zero_grad()
    value = loss(critic(generator(z)))
    value.backward()
    critic.zero_grad()
    optimizer.step()
    return value.item()


edit("gradient_penalty", "create_graph=True", "retain_graph=True", says="unless create_graph=True")
edit("gradient_penalty", "len(real), *[1] * (real.dim() - 1)", "1", says="one t for the whole batch")
edit("gradient_penalty", "len(real), *[1] * (real.dim() - 1)", "real.shape", says="a t of its own")
edit("gradient_penalty", ".uniform_()", ".normal_()", says="torch.randn is not")
edit("gradient_penalty", "t * real + (1 - t) * fake", "0 * t + fake", says="the points are the made samples")
edit("gradient_penalty", "slopes.flatten(1).norm(dim=1)", "slopes.norm()", says="the whole batch")
edit("gradient_penalty", "slopes.flatten(1).norm(dim=1)", "slopes.norm(dim=1)", says="over one dimension only")
edit("gradient_penalty", "slopes.flatten(1).norm(dim=1)", "slopes.flatten(1).square().sum(1)", says="root is missing")
edit("gradient_penalty", "critic(x).sum()", "critic(x).mean()", says="divides by N")
edit("gradient_penalty", "dim=1) - 1)", "dim=1) - 1).clamp(min=0)", says="slopes below 1 are not punished")


@mutant("gradient_penalty", says="backward() writes it")
def by_backward(critic, real, fake):
    t = real.new_empty(len(real), *[1] * (real.dim() - 1)).uniform_()
    x = (t * real + (1 - t) * fake).requires_grad_()
    critic(x).sum().backward(create_graph=True)
    return (x.grad.flatten(1).norm(dim=1) - 1).square().mean()


edit("critic_loss", "- distance", "+ distance", says="real samples should score high")
edit("critic_loss", "weight * gradient_penalty(critic, real, fake)", "-weight * gradient_penalty(critic, real, fake)",
     says="rewards steep critics")  # fmt: skip
edit("critic_loss", "weight * gradient", "gradient", says="not multiplied by the weight")
edit("critic_loss", "weight * gradient_penalty(critic, real, fake)", "0", says="penalty is missing")


@mutant("condition", says="the number of the class")
def as_a_number(x, classes, k):
    number = classes.to(x.dtype).view(-1, *[1] * (x.dim() - 1))
    return torch.cat((x, number.expand(-1, 1, *x.shape[2:])), dim=1)


edit("condition", "torch.cat((x, code.expand(-1, -1, *x.shape[2:])), dim=1)",
     "torch.cat((code.expand(-1, -1, *x.shape[2:]), x), dim=1)", says="before the features")  # fmt: skip
edit("condition", "F.one_hot(classes, k)", "(2 * F.one_hot(classes, k) - 1)", says="should have 0")


@mutant("condition", says="even if the last classes do not occur")
def classes_that_occur(x, classes, k):
    code = F.one_hot(classes).to(x.dtype)
    code = code.view(*code.shape, *[1] * (x.dim() - 2))
    return torch.cat((x, code.expand(-1, -1, *x.shape[2:])), dim=1)


# More of the classics.
edit("d_loss", " + F.softplus(fake).mean()", "", says="made samples are missing")
edit("d_loss", "F.softplus(-real).mean() + ", "", says="real samples are missing")
edit("d_loss", ".mean() + F", ".mean() - F", says="the second term has the wrong sign")


@mutant("d_loss", says="sums over the samples")
def sums(real, fake):
    return F.softplus(-real).sum() + F.softplus(fake).sum()


@mutant("d_loss", says="there is no logarithm")
def probabilities_themselves(real, fake):
    return -real.sigmoid().mean() - (1 - fake.sigmoid()).mean()


edit("g_loss", ".mean()", ".sum()", says="a sum over the samples")
edit("g_loss", "F.softplus(-fake)", "(-fake)", says="Wasserstein's generator")
edit("g_loss", "F.softplus(-fake)", "F.logsigmoid(fake)", says="the sign is wrong")
edit("g_loss", "F.softplus(-fake)", "-fake.sigmoid()", says="there is no logarithm")
edit("critic_step", "optimizer.step()", "pass", says="no optimizer.step()")
edit("critic_step", "value.backward()", "(-value).backward()", says="the loss grows")
edit("critic_step", "return value.item()", "return value.detach()", says="call .item()")
edit("critic_step", "optimizer.step()", "optimizer.step()\n    generator.zero_grad()",
     says="the .grad of the generator has changed")  # fmt: skip
edit("generator_step", "optimizer.zero_grad()", "pass", says="zero_grad() is missing")
edit("generator_step", "value.backward", "(-value).backward", says="the loss grows")
edit("generator_step", "return value.item()", "return loss(critic(generator(z))).item()", says="after the update")
edit("generator_step", "generator(z))", "generator(z).detach())", says="no gradient arrives")
edit("gradient_penalty", "t * real + (1 - t) * fake", "0 * t + real", says="the points are the real samples")
edit("gradient_penalty", ".square().mean()", ".square().sum()", says="a sum over the samples")
edit("gradient_penalty", "dim=1) - 1)", "dim=1))", says="the length should be 1, not 0")
edit("gradient_penalty", "dim=1) - 1).square()", "dim=1) - 1)", says="the square is missing")
edit("gradient_penalty", ".square().mean()", ".mean().square()", says="the mean is outside of the square")
edit("gradient_penalty", ".uniform_()", ".uniform_(-1, 1)", says="expected 0 to 1")
edit("gradient_penalty", ".uniform_()", ".uniform_(0.4, 0.6)", says="t is not uniform")
edit("critic_loss", "critic(real).mean() - critic(fake).mean()", "critic(real).sum() - critic(fake).sum()",
     says="sums over the samples")  # fmt: skip
edit("critic_loss", " - distance", "", says="expected")
edit("condition", "F.one_hot(classes, k)", "F.one_hot((classes + 1) % k, k)", says="the class is off by one")
edit("condition", "F.one_hot(classes, k)", "F.one_hot(classes[:1].expand_as(classes), k)", says="class of the first")
edit("condition", "return torch.cat((x, code", "return torch.cat((x.double(), code", says="the type of x")


@alternative("d_loss")
def by_cross_entropy(real, fake):
    of_real = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    return of_real + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))


@alternative("g_loss")
def in_double_precision(fake):
    return -F.logsigmoid(fake.double()).mean()


@alternative("critic_step")
def without_a_graph(critic, generator, optimizer, real, z, loss):
    for p in critic.parameters():
        p.grad = None
    with torch.no_grad():
        fake = generator(z)
    value = loss(critic, real, fake)
    value.backward()
    optimizer.step()
    return float(value)


@alternative("generator_step")
def by_a_frozen_critic(critic, generator, optimizer, z, loss):
    optimizer.zero_grad()
    critic.requires_grad_(False)
    value = loss(critic(generator(z)))
    value.backward()
    critic.requires_grad_(True)
    optimizer.step()
    return value.detach().item()


@alternative("generator_step")
def by_grad(critic, generator, optimizer, z, loss):
    value = loss(critic(generator(z)))
    parameters = list(generator.parameters())
    for p, g in zip(parameters, torch.autograd.grad(value, parameters), strict=True):
        p.grad = g
    optimizer.step()
    return value.item()


@alternative("gradient_penalty")
def the_other_way_round(critic, real, fake):
    t = torch.rand(len(real), dtype=real.dtype, device=real.device).view(-1, *[1] * (real.dim() - 1))
    x = torch.lerp(real, fake, t.expand_as(real)).clone().requires_grad_(True)
    scores = critic(x)
    slopes = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)[0]
    length = slopes.reshape(len(x), -1).pow(2).sum(1).sqrt()
    return ((1 - length) ** 2).mean()


@alternative("critic_loss")
def one_batch_for_both(critic, real, fake, weight):
    real_scores, fake_scores = critic(torch.cat((real, fake))).chunk(2)
    return (fake_scores - real_scores).mean() + weight * gradient_penalty(critic, real, fake)


@alternative("condition")
def by_indices(x, classes, k):
    result = x.new_zeros(len(x), x.size(1) + k, *x.shape[2:])
    result[:, : x.size(1)] = x
    result[torch.arange(len(x)), x.size(1) + classes] = 1
    return result


@alternative("d_loss")
def over_all_scores_by_hand(real, fake):
    signs = torch.cat((torch.full_like(real, -1.0 / len(real)), torch.full_like(fake, 1.0 / len(fake))))
    scores = torch.cat((real, fake))
    return (signs.abs() * torch.logaddexp(torch.zeros_like(scores), signs.sign() * scores)).sum()


@alternative("g_loss")
def by_cross_entropy_with_ones(fake):
    return torch.nn.BCEWithLogitsLoss()(fake, torch.ones_like(fake))


@alternative("critic_step")
def by_inputs(critic, generator, optimizer, real, z, loss):
    value = loss(critic, real, generator(z))
    optimizer.zero_grad(set_to_none=False)
    value.backward(inputs=[p for p in critic.parameters()])
    optimizer.step()
    return float(value.detach())


@alternative("gradient_penalty")
def sample_by_sample(critic, real, fake):
    t = torch.stack([torch.rand((), dtype=real.dtype) for _ in real])
    x = torch.stack([a * s + b * (1 - s) for a, b, s in zip(real, fake, t, strict=True)]).detach().requires_grad_()
    (slopes,) = torch.autograd.grad([critic(x).sum()], [x], create_graph=True)
    return torch.stack([(torch.linalg.vector_norm(each) - 1) ** 2 for each in slopes]).mean()


@alternative("critic_loss")
def in_another_order(critic, real, fake, weight):
    loss = torch.mean(critic(fake)) - torch.mean(critic(real))
    loss += gradient_penalty(critic=critic, real=real, fake=fake) * weight
    return loss


@alternative("condition")
def by_the_identity(x, classes, k):
    code = torch.eye(k, dtype=x.dtype)[classes]
    while code.dim() < x.dim():
        code = code[..., None]
    return torch.cat([x, code * torch.ones_like(x[:, :1])], dim=1)


@alternative("condition")
def by_scatter(x, classes, k):
    code = torch.zeros(len(x), k, *x.shape[2:], dtype=x.dtype)
    for n in range(len(x)):
        code[n, classes[n]] = 1
    return torch.hstack((x, code))
