"""Wrong versions of lab 10 that students write, and right ones by another route."""

import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.nn import functional as F

edit("saliency", "model(x).gather(1, classes[:, None])", "model(x)", says="sum of all scores")
edit("saliency", "model(x).gather(1, classes[:, None])", "model(x).amax(1)", says="largest score")
edit("saliency", "return torch.autograd.grad(scores.sum(), x)[0]", "return torch.autograd.grad(scores.mean(), x)[0]",
     says="divides by N")  # fmt: skip
edit("saliency", "scores.sum(), x)[0]", "scores.sum(), x)[0].abs()", says="sign should stay")


@mutant("saliency", says="torch.autograd.grad gives")
def by_backward(model, x, classes):
    x = x.clone().requires_grad_()
    model(x)[range(len(x)), classes].sum().backward()
    return x.grad


@mutant("saliency", says="that changed")
def switches_to_eval(model, x, classes):
    model.eval()
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x)[range(len(x)), classes].sum(), x)[0]


edit("grad_times_input", "x * saliency", "saliency", says="product with the pixels")
edit("smooth_grad", "sigma * torch.randn_like(x)", "sigma * torch.rand_like(x)", says="uniform")
edit("smooth_grad", "return total / n", "return total", says="divide by n")


@mutant("smooth_grad", says="same in all n maps")
def one_noise(model, x, classes, sigma, n):
    noise = sigma * torch.randn_like(x)
    return sum(saliency(model, x + noise, classes) for _ in range(n)) / n


edit("integrated_gradients", "(k + 0.5)", "(k + 1)", says="1/steps")
edit("integrated_gradients", "return x * total / steps", "return total / steps", says="product with x")


@mutant("guided_saliency", says="only the last derivative")
def cut_at_the_end(model, x, classes):
    return saliency(model, x, classes).clamp(min=0)


@mutant("guided_saliency", says="hook.remove() is missing", also=["removes them in any case"])
def leaves_its_hooks(model, x, classes):
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_full_backward_hook(lambda m, dl_dx, dl_dy: (dl_dx[0].clamp(min=0),))
    return saliency(model, x, classes)


@mutant("guided_saliency", says="in any case")
def without_finally(model, x, classes):
    hooks = []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            hooks.append(module.register_full_backward_hook(lambda m, dl_dx, dl_dy: (dl_dx[0].clamp(min=0),)))
    result = saliency(model, x, classes)
    for hook in hooks:
        hook.remove()
    return result


@mutant("guided_saliency", says="ReLU's input still counts")
def deconvolution(model, x, classes):
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    hooks = [relu.register_full_backward_hook(lambda m, dl_dx, dl_dy: (dl_dy[0].clamp(min=0),)) for relu in relus]
    try:
        return saliency(model, x, classes)
    finally:
        for hook in hooks:
            hook.remove()


edit("activation_maximisation", "x = x + lr", "x = x - lr", says="downhill")
edit("activation_maximisation", "- decay * x", "+ decay * x", says="makes x larger")
edit("fgsm", ".sign()", "", says="sign is missing")
edit("fgsm", "x + epsilon", "x - epsilon", says="downhill")
edit("fgsm", ".clamp(0, 1)", "", says="leave 0 … 1")
edit("pgd", "attacked.clamp(x - epsilon, x + epsilon)", "attacked.clamp(attacked - epsilon, attacked + epsilon)",
     says="those of the step before")  # fmt: skip
edit("pgd", "fgsm(model, attacked, labels, step)", "fgsm(model, attacked, labels, epsilon)", says="should be `step`")


@alternative("saliency")
def by_grad_of_the_copy(model, x, classes):
    leaf = x.clone()
    leaf.requires_grad_()
    one_hot = F.one_hot(classes, model(x).shape[1]).to(x.dtype)
    (derivative,) = torch.autograd.grad(model(leaf), leaf, one_hot)
    return derivative


@alternative("smooth_grad")
def all_at_once(model, x, classes, sigma, n):
    many = x.repeat(n, *[1] * (x.dim() - 1))
    noisy = torch.normal(many, torch.full_like(many, sigma)) if sigma > 0 else many
    return saliency(model, noisy, classes.repeat(n)).reshape(n, *x.shape).mean(0)


@alternative("guided_saliency")
def by_tensor_hooks(model, x, classes):
    class Guide(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.clone()

        @staticmethod
        def backward(ctx, g):
            return g.clamp(min=0)

    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    hooks = [relu.register_forward_hook(lambda m, inputs, output: Guide.apply(output)) for relu in relus]
    try:
        return saliency(model, x, classes)
    finally:
        for hook in hooks:
            hook.remove()


@alternative("fgsm")
def in_two_steps(model, x, labels, epsilon):
    x = x.detach().requires_grad_(False).clone()
    x.requires_grad_(True)
    loss = -model(x).log_softmax(1)[torch.arange(len(x)), labels].mean()
    direction = torch.sign(torch.autograd.grad(loss, [x])[0])
    return torch.minimum(torch.maximum(x.detach() + direction * epsilon, torch.zeros(())), torch.ones(()))


@alternative("pgd")
def by_change(model, x, labels, epsilon, step, steps):
    change = torch.zeros_like(x)
    for _ in range(steps):
        change = (fgsm(model, x + change, labels, step) - x).clamp(-epsilon, epsilon)
    return (x + change).clamp(0, 1)
