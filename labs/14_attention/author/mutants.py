"""Wrong and right versions of the parts of lab 14."""

import math

import torch
from labkit import alternative, edit, mutant
from torch import nn
from torch.nn import functional as F

edit("skipgram_pairs", "(distance > 0) & ", "", says="every word is a neighbour of itself")
edit("skipgram_pairs", "distance <= window", "distance < window", says="one too small")
edit("skipgram_pairs", ".abs()", ".neg()", says="those before it count, too")
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
    also=["the mask is not used"],
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
