"""Wrong and right versions of the parts of lab 14."""

import math

import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.nn import functional as F

edit("skipgram_pairs", "(distance > 0) & ", "", says="every word is a neighbour of itself")
edit("skipgram_pairs", "distance <= window", "distance < window", says="one too small")
edit("skipgram_pairs", ".abs()", ".neg()", says="words before and behind it count")
edit("skipgram_pairs", "return sentence[((distance > 0) & (distance <= window)).nonzero()]",
     "return ((distance > 0) & (distance <= window)).nonzero()", says="places in the sentence")  # fmt: skip
edit("skipgram_loss", ".mean()", ".sum()", says="here they are added")
edit("skipgram_loss", ".squeeze(2)).sum(1)", ".squeeze(2)).mean(1)", says="are added, not averaged")
edit("skipgram_loss", "F.logsigmoid(-(", "F.logsigmoid((", says="missing the minus sign")
edit("skipgram_loss", "u.unsqueeze(2)", "v.unsqueeze(2)", says="they stand against the centre u")
edit("skipgram_loss", "F.logsigmoid((u * v).sum(1))", "torch.sigmoid((u * v).sum(1)).log()", says="F.logsigmoid")
edit("attention", " / math.sqrt(q.size(-1))", "", says="not divided by √D")
edit("attention", "math.sqrt(q.size(-1))", "q.size(-1)", says="by D, not by its root")
edit("attention", "math.sqrt(q.size(-1))", "math.sqrt(k.size(-2))", says="the root of the number of keys")
edit("attention", "weights = scores.softmax(-1)", "weights = scores.softmax(-2)", says="runs over the queries")
edit("attention", "scores.masked_fill(~mask, -math.inf)", "scores", says="no longer sums to 1")
edit("attention", "weights = weights.masked_fill(~mask, 0.0)", "pass", says="0/0")


@mutant("attention", says="upside down")
def true_means_hidden(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    weights = scores.softmax(-1).nan_to_num(0.0)
    return weights @ v, weights


@mutant("attention", says="exp(0) is 1")
def times_the_mask(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    if mask is not None:
        scores = scores * mask
    weights = scores.softmax(-1)
    return weights @ v, weights


@mutant("attention", says="everything is")
def with_a_large_negative_number(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    weights = scores.softmax(-1)
    return weights @ v, weights


@mutant("attention", says="exp overflows")
def without_a_softmax(q, k, v, mask=None):
    powers = (q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))).exp()
    if mask is not None:
        powers = powers * mask
    weights = powers / powers.sum(-1, keepdim=True).clamp(min=1e-300)
    return weights @ v, weights


edit("causal_mask", "tril", "triu", says="lets each position see the future")
edit("causal_mask", "tril()", "tril(-1)", says="may look at itself, too")
edit("causal_mask", ".tril()", ".triu(1)", says="exchanged")


@mutant("MultiHead", says="cut by a view alone")
class Viewed(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x, memory, mask=None):
        q, k, v = (
            whole.view(len(whole), self.heads, whole.size(1), -1)
            for whole in (self.query(x), self.key(memory), self.value(memory))
        )
        found, weights = attention(q, k, v, None if mask is None else mask.unsqueeze(-3))
        return self.out(found.reshape(x.shape)), weights


edit("MultiHead", "found.transpose(1, 2).flatten(2)", "found.reshape(x.shape)", says="without transposing")
edit("MultiHead", "self.out(found.transpose(1, 2).flatten(2))", "found.transpose(1, 2).flatten(2)",
     says="the last projection, out, is missing")  # fmt: skip
edit("MultiHead", "None if mask is None else mask.unsqueeze(-3)", "None", says="the mask is not used")
edit("MultiHead", "self.key(memory), self.value(memory)", "self.key(x), self.value(x)", says="come from x")
edit("MultiHead", "self.value(memory)", "self.key(memory)", says="value is not used")


@mutant("MultiHead", says="every heads-th coordinate")
class Interleaved(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x, memory, mask=None):
        q, k, v = (
            whole.unflatten(2, (-1, self.heads)).permute(0, 3, 1, 2)
            for whole in (self.query(x), self.key(memory), self.value(memory))
        )
        found, weights = attention(q, k, v, None if mask is None else mask.unsqueeze(-3))
        return self.out(found.permute(0, 2, 3, 1).flatten(2)), weights


edit("sinusoidal_positions", "(torch.arange(0, dim, 2) / dim)", "(torch.arange(dim // 2) / dim)", says="it is 2i/dim")
edit("sinusoidal_positions", "/ dim)", "* 2 / dim)", says="already counts in twos")
edit("sinusoidal_positions", "= angle.sin(), angle.cos()", "= angle.cos(), angle.sin()", says="exchanged")
edit("sinusoidal_positions", "torch.arange(length)", "torch.arange(1, length + 1)", says="the first is 0")


@mutant("sinusoidal_positions", says="they take turns")
def halves(length, dim):
    angle = torch.arange(length).unsqueeze(1) / 10000.0 ** (torch.arange(0, dim, 2) / dim)
    return torch.cat((angle.sin(), angle.cos()), 1)


@mutant("Block", says="the norm comes after each step")
class NormedAfter(nn.Module):
    def __init__(self, dim, heads, cross=False):
        super().__init__()
        self.norm_self, self.attend_self = nn.LayerNorm(dim), MultiHead(dim, heads)
        if cross:
            self.norm_cross, self.attend_cross = nn.LayerNorm(dim), MultiHead(dim, heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))

    def forward(self, x, mask, memory=None, memory_mask=None):
        x = self.norm_self(x + self.attend_self(x, x, mask)[0])
        if memory is not None:
            x = self.norm_cross(x + self.attend_cross(x, memory, memory_mask)[0])
        return self.norm_mlp(x + self.mlp(x))


@mutant("Block", says="the way past a step is missing")
class NoWayPast(nn.Module):
    def __init__(self, dim, heads, cross=False):
        super().__init__()
        self.norm_self, self.attend_self = nn.LayerNorm(dim), MultiHead(dim, heads)
        if cross:
            self.norm_cross, self.attend_cross = nn.LayerNorm(dim), MultiHead(dim, heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))

    def forward(self, x, mask, memory=None, memory_mask=None):
        x = self.norm_self(x)
        x = self.attend_self(x, x, mask)[0]
        if memory is not None:
            x = self.attend_cross(self.norm_cross(x), memory, memory_mask)[0]
        return self.mlp(self.norm_mlp(x))


edit("Block", "x = x + self.attend_self", "x = normed + self.attend_self", says="the normalised x was carried on")
edit("Block", "(normed, normed, mask)", "(x, x, mask)", says="self-attention got x without its norm")
edit("Block", "(normed, normed, mask)", "(normed, x, mask)", says="only the queries were normalised")
edit(
    "Block",
    "(normed, normed, mask)",
    "(normed, normed)",
    says="the mask must reach the self-attention",
    also=("the mask is not used",),
)
edit("Block", "memory, memory_mask)", "memory)", says="the memory mask is not used")
edit("Block", "self.norm_cross(x), memory, memory_mask", "self.norm_cross(x), self.norm_cross(memory), memory_mask",
     says="the caller has done that")  # fmt: skip
edit("Block", "self.attend_cross(self.norm_cross(x)", "self.attend_cross(x", says="are missing their norm")
edit("Block", "self.mlp(self.norm_mlp(x))", "self.mlp(x)", says="the mlp got x without its norm")
edit("greedy_decode", "[:, -1].argmax(1)", "[:, 0].argmax(1)", says="the scores of the first position")
edit("greedy_decode", "return written[:, 1:]", "return written", says="the start symbol is part of the result")
edit("greedy_decode", "best[done] = stop", "pass", says="go on after their stop")
edit("greedy_decode", "model.eval()", "pass", says="ran in training mode", also=["model.eval() comes first"])
edit("greedy_decode", "model.train(training)", "pass", says="is no longer", also=["model.train(before) at the end"])
edit("greedy_decode", "model.train(training)", "model.train()", says="not model.train()")
edit(
    "greedy_decode",
    "with torch.no_grad()",
    "with torch.enable_grad()",
    says="ran with gradients on",
    also=["torch.no_grad"],
)


@mutant("greedy_decode", says="all rows stop when one does")
def ends_with_the_first(model, source, start, stop, length):
    training = model.training
    model.eval()
    written = torch.full((len(source), length + 1), stop)
    written[:, 0] = start
    with torch.no_grad():
        for t in range(length):
            best = model(source, written[:, : t + 1])[:, -1].argmax(1)
            if (best == stop).any():
                break
            written[:, t + 1] = best
    model.train(training)
    return written[:, 1:]


# More of the classics.
edit("skipgram_pairs", "distance <= window", "distance <= window + 1", says="one too large")
edit("skipgram_pairs", "distance <= window", "distance <= window // 2", says="both sides together")
edit("skipgram_pairs", "distance <= window)).nonzero()]", "distance <= window)).nonzero()].flip(1)",
     says="are exchanged", also=())  # fmt: skip
edit("skipgram_pairs", "distance <= window)).nonzero()]", "distance <= window)).nonzero()].flip(0)",
     says="from the last to the first", also=("exchanged",))  # fmt: skip


@mutant("skipgram_pairs", says="the window wraps around")
def around_the_corner(sentence, window):
    steps = [step for step in range(-window, window + 1) if step]
    found = [
        (int(word), int(sentence[(i + step) % len(sentence)])) for i, word in enumerate(sentence) for step in steps
    ]
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 2)


@mutant("skipgram_pairs", says="only the same place is")
def other_words_only(sentence, window):
    words = sentence.tolist()
    found = [(a, b) for i, a in enumerate(words) for j, b in enumerate(words) if a != b and abs(i - j) <= window]
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 2)


edit("skipgram_loss", "-(right + wrong).mean()", "-right.mean()", says="the negatives are missing")
edit("skipgram_loss", "-(right + wrong).mean()", "-wrong.mean()", says="the neighbours are missing")
edit("skipgram_loss", "-(right + wrong).mean()", "(right + wrong).mean()", says="the sign of the whole loss")
edit("skipgram_loss", "-(right + wrong).mean()", "-(right - wrong).mean()", says="the negatives are subtracted")
edit("skipgram_loss", "-(right + wrong).mean()", "-(right + wrong)", says="one number for each pair")
edit("skipgram_loss", "(u * v).sum(1)", "(u * v).mean(1)", says="expected")
edit("skipgram_loss", "F.logsigmoid((u * v)", "F.logsigmoid(-(u * v)", says="the neighbour is pushed away")
edit("skipgram_loss", "(negatives @", "(negatives[:, :1] @", says="only the first negative")


@mutant("skipgram_loss", says="there is no logarithm")
def without_a_logarithm(u, v, negatives):
    wrong = torch.sigmoid(-(negatives @ u.unsqueeze(2)).squeeze(2)).sum(1)
    return -(torch.sigmoid((u * v).sum(1)) + wrong).mean()


edit("attention", "/ math.sqrt(q.size(-1))", "* math.sqrt(q.size(-1))", says="multiplied by √D")
edit("attention", "math.sqrt(q.size(-1))", "math.sqrt(v.size(-1))", says="dimension of the values")
edit("attention", "scores = q @", "scores = -q @", says="the sign of the scores is wrong")
edit("attention", "weights = scores.softmax(-1)", "weights = scores", says="there is no softmax")
edit("attention", "weights = scores.softmax(-1)", "weights = scores.exp()", says="not divided by their sum")
edit("attention", "return weights @ v, weights", "return weights @ v, scores", says="before the softmax")


@mutant("attention", says="the mask is not used", also=("everything is",))
def mask_forgotten(q, k, v, mask=None):
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))).softmax(-1)
    return weights @ v, weights


@mutant("attention", says="as 0 and 1", also=("everything is",))
def mask_added(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return weights @ v, weights


edit("causal_mask", ".tril()", "", says="everything may be seen")
edit("causal_mask", ".tril()", ".tril(1)", says="one position of the future")
edit("causal_mask", ", dtype=torch.bool", "", says="expected bool")
edit("causal_mask", "torch.ones(size, size, dtype=torch.bool).tril()", "torch.eye(size, dtype=torch.bool)",
     says="sees itself alone")  # fmt: skip
edit("MultiHead", "self.query(x), ", "x, ", says="query is not used")
edit("MultiHead", "self.key(memory), ", "memory, ", says="key is not used")
edit("MultiHead", "self.value(memory)", "memory", says="value is not used: the values are the memory")
edit("MultiHead", "self.query(x), self.key(memory)", "self.key(x), self.query(memory)", says="are exchanged")
edit("MultiHead", "mask.unsqueeze(-3))", "~mask.unsqueeze(-3))", says="upside down")
edit("MultiHead", "flatten(2)), weights", "flatten(2)), weights.mean(1)", says="averaged over the heads")
edit("MultiHead", "return self.out(", "return x + self.out(", says="the block does that")
edit("MultiHead", "q, k, v, None", "q / self.heads**0.5, k, v, None", says="only D/heads coordinates")
edit("sinusoidal_positions", "10000.0", "1000.0", says="the base is 1000")
edit("sinusoidal_positions", "(torch.arange(0, dim, 2) / dim)", "(0 * torch.arange(0, dim, 2) / dim)",
     says="the same period")  # fmt: skip
edit("sinusoidal_positions", "angle.sin(), angle.cos()", "angle.sin(), angle.sin()", says="all entries are sines",
     check="waves_one_by_one")  # fmt: skip


@mutant("sinusoidal_positions", says="have different angles", check="waves_one_by_one")
def an_angle_for_each(length, dim):
    table = torch.arange(length).unsqueeze(1) / 10000.0 ** (torch.arange(dim) / dim)
    table[:, 0::2], table[:, 1::2] = table[:, 0::2].sin(), table[:, 1::2].cos()
    return table


edit("Block", "x = x + self.attend_self", "x = self.attend_self", says="the way past self-attention")
edit("Block", "x = x + self.attend_cross", "x = self.attend_cross", says="the way past cross-attention")
edit("Block", "return x + self.mlp", "return self.mlp", says="the way past the mlp")
edit("Block", "return x + self.mlp(self.norm_mlp(x))", "return x", says="the mlp is missing")
edit("Block", "self.mlp(self.norm_mlp(x))", "self.mlp(self.norm_self(x))", says="norm_self was used")
edit("Block", "self.attend_cross(self", "self.attend_self(self", says="that is for attend_cross")
edit("Block", "if memory is not None", "if False", says="the memory is not used")
edit("greedy_decode", "model(source, written)", "model(source, written[:, -1:])", says="the last symbol alone")
edit("greedy_decode", "best[done] = stop", "best[done] = 0", says="has zeros")
edit("greedy_decode", "best[done] = stop", "best[done] = start", says="a row has start")
edit("greedy_decode", "argmax(1)", "argmin(1)", says="expected")
edit("greedy_decode", "range(length)", "range(length - 1)", says="expected shape")
edit("greedy_decode", "return written[:, 1:]", "return written[:, :-1]", says="and the last symbol is missing")
edit("greedy_decode", "(source, written)", "(source[:1].expand_as(source), written)", says="answers for all rows")


@alternative("skipgram_pairs")
def by_two_loops(sentence, window):
    words = sentence.tolist()
    found = [
        (word, words[j])
        for i, word in enumerate(words)
        for j in range(len(words))
        if i != j and -window <= i - j <= window
    ]
    return torch.tensor(found, dtype=torch.int64).view(-1, 2)


@alternative("skipgram_loss")
def by_cross_entropy(u, v, negatives):
    u, v, negatives = u.double(), v.double(), negatives.double()
    scores = torch.cat((torch.einsum("nd,nd->n", u, v)[:, None], torch.einsum("nd,nkd->nk", u, negatives)), 1)
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1
    return F.binary_cross_entropy_with_logits(scores, labels, reduction="sum") / len(u)


@alternative("attention")
def by_finite_numbers(q, k, v, mask=None):
    scores = torch.einsum("...td,...sd->...ts", q.double() / q.size(-1) ** 0.5, k.double())
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    powers = (scores - scores.where(mask, scores.new_tensor(-1e30)).amax(-1, keepdim=True)).clamp(max=0).exp() * mask
    weights = powers / (powers.sum(-1, keepdim=True) + 1e-300)
    return weights @ v.double(), weights


@alternative("causal_mask")
def by_comparison(size):
    places = torch.arange(size)
    return places[:, None] >= places


@alternative("MultiHead")
class OneProductPerHead(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x, memory, mask=None):
        cut = zip(*(z.chunk(self.heads, 2) for z in (self.query(x), self.key(memory), self.value(memory))), strict=True)
        outputs, weights = zip(*(attention(q, k, v, mask) for q, k, v in cut), strict=True)
        return self.out(torch.cat(outputs, 2)), torch.stack(weights, 1)


@alternative("sinusoidal_positions")
def by_complex_numbers(length, dim):
    pace = torch.exp(-torch.arange(dim // 2, dtype=torch.float64) * 2 * math.log(10000) / dim)
    waves = torch.polar(torch.ones(length, dim // 2, dtype=torch.float64), torch.outer(torch.arange(length), pace))
    return torch.view_as_real(waves).flip(2).flatten(1).float()


@alternative("greedy_decode")
def with_a_table(model, source, start, stop, length):
    before = model.training
    with torch.inference_mode():
        model.train(False)
        table = torch.full((len(source), length + 1), stop)
        table[:, 0] = start
        for t in range(1, length + 1):
            going = (table[:, 1:t] != stop).all(1)
            table[:, t] = torch.where(going, model(source, table[:, :t]).max(2).indices[:, t - 1], stop)
        model.train(before)
    return table[:, 1:].clone()


@alternative("skipgram_pairs")
def by_slices(sentence, window):
    found = []
    for i in range(len(sentence)):
        around = torch.cat((sentence[max(i - window, 0) : i], sentence[i + 1 : i + 1 + window]))
        found += [torch.stack((sentence[i], other)) for other in around]
    return torch.stack(found) if found else torch.empty(0, 2, dtype=torch.long)


@alternative("skipgram_loss")
def row_by_row(u, v, negatives):
    total = 0.0
    for centre, neighbour, others in zip(u, v, negatives, strict=True):
        total = total + F.softplus(-(centre @ neighbour)) + F.softplus(others @ centre).sum()
    return total / u.shape[0]


@alternative("attention")
def by_torchs_functions(q, k, v, mask=None):
    scores = torch.matmul(q, torch.swapaxes(k, -1, -2)).div(q.shape[-1] ** 0.5)
    if mask is not None:
        scores = torch.where(mask, scores, torch.tensor(float("-inf"), dtype=scores.dtype))
    weights = torch.softmax(scores, dim=-1).nan_to_num(nan=0.0)
    return torch.einsum("...ts,...se->...te", weights, v), weights


@alternative("causal_mask")
def by_two_loops_over_places(size):
    return torch.tensor([[t >= s for s in range(size)] for t in range(size)])


@alternative("causal_mask")
def not_the_future(size):
    return torch.triu(torch.ones((size, size)), diagonal=1) == 0


@alternative("MultiHead")
class ByEinsum(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.size = dim // heads

    def split(self, z):
        return z.reshape(z.shape[0], z.shape[1], self.heads, self.size).permute(0, 2, 1, 3)

    def forward(self, x, memory, mask=None):
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        found, weights = attention(
            q=self.split(self.query(x)), k=self.split(self.key(memory)), v=self.split(self.value(memory)), mask=mask
        )
        return self.out(found.permute(0, 2, 1, 3).reshape(x.shape)), weights


@alternative("sinusoidal_positions")
def entry_by_entry(length, dim):
    table = torch.zeros(length, dim)
    for t in range(length):
        for i in range(dim // 2):
            angle = t / 10000 ** (2 * i / dim)
            table[t, 2 * i], table[t, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


@alternative("Block")
class WithResiduals(nn.Module):
    def __init__(self, dim, heads, cross=False):
        super().__init__()
        self.norm_self, self.attend_self = nn.LayerNorm(dim), MultiHead(dim, heads)
        if cross:
            self.norm_cross, self.attend_cross = nn.LayerNorm(dim), MultiHead(dim, heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))

    def forward(self, x, mask, memory=None, memory_mask=None):
        own = self.norm_self(x)
        out, _ = self.attend_self(x=own, memory=own, mask=mask)
        total = torch.add(x, out)
        if memory is not None:
            out, _ = self.attend_cross(self.norm_cross(total), memory, memory_mask)
            total = total + out
        return total + self.mlp(self.norm_mlp(total))


@alternative("greedy_decode")
def stops_when_all_have(model, source, start, stop, length):
    was = model.training
    model.eval()
    rows = [[start] for _ in range(source.shape[0])]
    with torch.no_grad():
        while len(rows[0]) < length + 1:
            if all(stop in row[1:] for row in rows):
                rows = [row + [stop] * (length + 1 - len(row)) for row in rows]
                break
            scores = model(source, torch.tensor(rows))
            for row, values in zip(rows, scores, strict=True):
                row.append(stop if stop in row[1:] else int(values[-1].argmax()))
    model.train(mode=was)
    return torch.tensor([row[1:] for row in rows])
