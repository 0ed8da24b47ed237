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


# ---- more wrong versions

edit("saliency", "model(x).gather(1, classes[:, None])", "model(x)[:, classes]", says="takes the classes of all images")
edit("saliency", "model(x).gather(1, classes[:, None])", "model(x).log_softmax(1).gather(1, classes[:, None])",
     says="derivative of the log-probability")  # fmt: skip
edit("saliency", "model(x).gather(1, classes[:, None])", "model(x).softmax(1).gather(1, classes[:, None])",
     says="derivative of the probability", also=["sum of all scores"])  # fmt: skip
edit("saliency", "scores.sum(), x)[0]", "scores.sum(), x)[0] * x", says="that is grad_times_input")
edit("saliency", "model(x).gather(1, classes[:, None])", 'F.cross_entropy(model(x), classes, reduction="none")',
     says="derivative of the cross-entropy")  # fmt: skip
edit("grad_times_input", "x * saliency(model, x, classes)", "(x * saliency(model, x, classes)).abs()",
     says="the sign should stay")  # fmt: skip
edit("grad_times_input", "x * saliency", "x + saliency", says="are added")
edit("grad_times_input", "return x * saliency(model, x, classes)", "return (x * saliency(model, x, classes)).flatten(1).sum(1)",
     says="each should keep its own")  # fmt: skip
edit("smooth_grad", "return total / n", "return total / (n - 1)", says="not by n − 1")
edit("smooth_grad", "sigma * torch.randn_like(x)", "sigma**0.5 * torch.randn_like(x)", says="not a variance")
edit("smooth_grad", "sigma * torch.randn_like(x)", "sigma * (x.max() - x.min()) * torch.randn_like(x)",
     says="the range of x")  # fmt: skip
edit("smooth_grad", "torch.randn_like(x)", "torch.randn_like(x[:1])", says="all images get the same noise",
     also=["for each pixel of each image"])  # fmt: skip
edit("smooth_grad", "total += saliency(model, x + sigma * torch.randn_like(x), classes)",
     "x = x + sigma * torch.randn_like(x)\n        total += saliency(model, x, classes)", says="stays in the next")  # fmt: skip
edit("smooth_grad", "total += saliency(model, x + sigma * torch.randn_like(x), classes)",
     "total += saliency(model, x + sigma * torch.randn_like(x), classes).abs()", says="lose their sign")  # fmt: skip
edit("integrated_gradients", "(k + 0.5)", "k", says="t begins at 0 and ends before 1")
edit("integrated_gradients", "(k + 0.5) / steps * x", "x", says="taken at x itself")
edit("integrated_gradients", "return x * total / steps", "return x * total", says="divide by steps")
edit("integrated_gradients", "total += saliency(model, (k + 0.5) / steps * x, classes)",
     "total += (k + 0.5) / steps * saliency(model, (k + 0.5) / steps * x, classes)", says="multiplied with t·x")  # fmt: skip
edit("integrated_gradients", "total += saliency", "total = saliency", says="only the last derivative counts")
edit("guided_saliency", "clamp(min=0)", "clamp(max=0)", says="positive derivatives are cut")
edit("guided_saliency", "clamp(min=0)", "abs()", says="turn positive")
edit("guided_saliency", "return saliency(model, x, classes)", "return saliency(model, x, classes).clamp(min=0)",
     says="once more")  # fmt: skip
edit("guided_saliency", "model.modules()", "model.children()", says="children() does not")
edit("guided_saliency", "hook.remove()", "break", says="hook.remove() is missing")
edit("guided_saliency", "for hook in hooks", "for hook in hooks[:1]", says="hook.remove() is missing")
edit("guided_saliency", "for relu in relus", "for relu in relus[:1]", says="only the first ReLU is guided")
edit("guided_saliency", "for relu in relus", "for relu in relus[-1:]", says="only the last ReLU is guided")


@mutant("guided_saliency", says="finally, not except")
def swallows(model, x, classes):
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    hooks = [relu.register_full_backward_hook(lambda m, dl_dx, dl_dy: (dl_dx[0].clamp(min=0),)) for relu in relus]
    try:
        return saliency(model, x, classes)
    except ZeroDivisionError:
        return None
    finally:
        for hook in hooks:
            hook.remove()


edit("activation_maximisation", "range(steps)", "range(steps + 1)", says="one step too many")
edit("activation_maximisation", "lr * (saliency(model, x, classes) - decay * x)",
     "lr * saliency(model, x, classes) - decay * x", says="multiplied by lr, too")  # fmt: skip
edit("activation_maximisation", "(saliency(model, x, classes) - decay * x)", "saliency(model, x, classes)",
     says="decay is missing")  # fmt: skip
edit(
    "activation_maximisation",
    "saliency(model, x, classes)",
    "saliency(model, x, classes).sign()",
    says="the sign of the derivative",
)
edit("activation_maximisation", "    return x", "    return x.clamp(0, 1)", says="nobody asked for that")
edit("activation_maximisation", "x + lr * (saliency(model, x, classes) - decay * x)",
     "(x + lr * saliency(model, x, classes)) * (1 - lr * decay)", says="x before the step")  # fmt: skip
edit("fgsm", "epsilon * torch.autograd.grad(loss, leaf)[0].sign()", "torch.autograd.grad(loss, leaf)[0].clamp(-epsilon, epsilon)",
     says="epsilon times its sign")  # fmt: skip
edit("fgsm", ".clamp(0, 1)", ".clamp(-1, 1)", says="−1 … 1")
edit("fgsm", "labels, reduction", "model(leaf).argmax(1), reduction", says="labels are not used")
edit("fgsm", "return (x + epsilon * torch.autograd.grad(loss, leaf)[0].sign()).clamp(0, 1)",
     "return epsilon * torch.autograd.grad(loss, leaf)[0].sign()", says="only the change is returned")  # fmt: skip
edit("fgsm", 'F.cross_entropy(model(leaf), labels, reduction="sum")', "-model(leaf).gather(1, labels[:, None]).sum()",
     says="the loss looks at all scores")  # fmt: skip
edit("pgd", "        attacked = attacked.clamp(x - epsilon, x + epsilon)\n", "", says="not brought back")
edit("pgd", "range(steps)", "range(1)", says="one step only")
edit("pgd", "range(steps)", "range(steps + 1)", says="one step too many")
edit("pgd", "fgsm(model, attacked, labels, step)", "fgsm(model, attacked, labels, -step)", says="downhill")
edit("pgd", "    attacked = x\n", "    attacked = (x + epsilon * (2 * torch.rand_like(x) - 1)).clamp(0, 1)\n",
     says="a random place")  # fmt: skip
edit("pgd", "    return attacked", "    return attacked - x", says="only the change is returned")

# ---- more right versions


@alternative("saliency")
def image_by_image(model, x, classes):
    rows = []
    for n, c in enumerate(classes.tolist()):
        with torch.enable_grad():
            one = x[n].detach()[None].clone()
            one.requires_grad = True
            score = model(one)[0, c]
        rows.append(torch.autograd.grad(outputs=score, inputs=one)[0].squeeze(0))
    return torch.stack(rows)


@alternative("saliency")
def by_functional_jacobian(model, x, classes):
    return torch.autograd.functional.vjp(model, x, F.one_hot(classes, model(x).shape[-1]).to(x.dtype))[1]


@alternative("grad_times_input")
def without_the_helper(model, x, classes):
    leaf = x.clone().requires_grad_()
    chosen = torch.stack([row[c] for row, c in zip(model(leaf), classes, strict=True)])
    return torch.mul(*torch.autograd.grad(chosen.sum(), leaf), x)


@alternative("smooth_grad")
def by_a_running_mean(model, x, classes, sigma, n):
    mean = 0.0
    for k in range(1, n + 1):
        noise = torch.empty_like(x).normal_(0, 1) * sigma
        mean = mean + (saliency(model, x + noise, classes) - mean) / k
    return mean


@alternative("integrated_gradients")
def all_images_at_once(model, x, classes, steps):
    t = (torch.arange(steps, dtype=x.dtype) + 0.5) / steps
    many = (t.reshape(-1, *[1] * x.dim()) * x).flatten(0, 1)
    maps = saliency(model, many, classes.repeat(steps)).unflatten(0, (steps, len(x)))
    return maps.mean(0).mul(x)


@alternative("guided_saliency")
def by_recursion_without_finally(model, x, classes):
    def relus_of(module):
        inner = [relu for child in module.children() for relu in relus_of(child)]
        return [module, *inner] if isinstance(module, nn.ReLU) else inner

    def guide(_module, dl_dx, _dl_dy):
        return (dl_dx[0] * (dl_dx[0] > 0),)

    removals = [relu.register_full_backward_hook(guide).remove for relu in relus_of(model)]
    try:
        result = saliency(model, x, classes)
    except Exception:
        for remove in removals:
            remove()
        raise
    for remove in removals:
        remove()
    return result


@alternative("guided_saliency")
def by_name(model, x, classes):
    handles = []

    def guide(module, given, came):
        return tuple(None if g is None else torch.relu(g) for g in given)

    try:
        for _, module in model.named_modules():
            if type(module) is nn.ReLU:
                handles.append(module.register_full_backward_hook(guide))
        return saliency(model, x, classes)
    finally:
        while handles:
            handles.pop().remove()


@alternative("activation_maximisation")
def in_place_on_a_copy(model, x, classes, steps, lr, decay):
    x = x.clone()
    while steps > 0:
        g = saliency(model, x, classes)
        x.mul_(1 - lr * decay).add_(g, alpha=lr)
        steps -= 1
    return x


@alternative("pgd")
def by_maximum_and_minimum(model, x, labels, epsilon, step, steps):
    low, high = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    now = x.clone()
    for _ in range(steps):
        now = torch.minimum(torch.maximum(fgsm(model, x=now, labels=labels, epsilon=step), low), high)
    return now
