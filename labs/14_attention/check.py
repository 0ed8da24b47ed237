"""The checks of lab 14. Reading them is allowed and useful."""

import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side
from checking.kit import differentiable, float64

lab = Lab(
    __file__,
    parts=[
        "skipgram_pairs",
        "skipgram_loss",
        "attention",
        "causal_mask",
        "MultiHead",
        "sinusoidal_positions",
        "Block",
        "greedy_decode",
    ],
)
lab.forbid("attention", names=["scaled_dot_product_attention", "MultiheadAttention"], why="it is the answer")
lab.forbid("MultiHead", names=["scaled_dot_product_attention", "MultiheadAttention"], why="put it together yourself")
lab.forbid(
    "Block",
    names=["MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer"],
    why="put it together yourself",
)


@lab.reference
def attention(q, k, v, mask=None):
    """The weights one by one, by the exponentials of the scores less their maximum."""
    scores = torch.einsum("...td,...sd->...ts", q, k) * q.shape[-1] ** -0.5
    allowed = torch.ones_like(scores) if mask is None else mask.expand(scores.shape).to(scores.dtype)
    top = torch.where(allowed > 0, scores, torch.full_like(scores, -1e30)).amax(-1, keepdim=True)
    powers = torch.exp((scores - top).clamp(max=0)) * allowed
    weights = powers / powers.sum(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
    return torch.einsum("...ts,...se->...te", weights, v), weights


@student_side
def heads_at_once(w, x, memory, mask, heads, how=""):
    """Several heads at once, with mistakes to choose from."""
    n, t, d = x.shape
    cut = {
        "viewed": lambda z: z.reshape(n, heads, -1, d // heads),
        "strided": lambda z: z.reshape(n, -1, d // heads, heads).permute(0, 3, 1, 2),
    }.get(how, lambda z: z.reshape(n, -1, heads, d // heads).permute(0, 2, 1, 3))
    together = {
        "viewed": lambda z: z.reshape(n, t, d),
        "flat": lambda z: z.reshape(n, t, d),
        "strided": lambda z: z.permute(0, 2, 3, 1).reshape(n, t, d),
    }.get(how, lambda z: z.permute(0, 2, 1, 3).reshape(n, t, d))
    q, k, v = (
        cut(inputs @ w[f"{name}.weight"].T) for inputs, name in ((x, "query"), (memory, "key"), (memory, "value"))
    )
    each = None if mask is None or how == "no mask" else mask.expand(n, t, memory.size(1))[:, None]
    found, weights = attention(q / heads**0.5 if how == "scale" else q, k, v, each)
    return together(found) @ (torch.eye(d, dtype=x.dtype) if how == "no out" else w["out.weight"].T), weights


@lab.reference
class MultiHead(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        for name in "query", "key", "value", "out":
            self.add_module(name, nn.Linear(dim, dim, bias=False))

    def forward(self, x, memory, mask=None):
        return heads_at_once(dict(self.named_parameters()), x, memory, mask, self.heads)


# Words


def _pairs(words, window, both=True, own=False, places=False, differ=False, wrap=False):
    """One after the other, with mistakes to choose from."""
    found = []
    if wrap:
        steps = [step for step in range(-window, window + 1) if step]
        found = [(int(words[i]), int(words[(i + step) % len(words)])) for i in range(len(words)) for step in steps]
        return torch.tensor(found, dtype=torch.int64).reshape(-1, 2)
    for i, word in enumerate(words):
        for j in range(max(0, i - window) if both else i, min(len(words), i + window + 1)):
            if (j != i or own) and not (differ and words[i] == words[j]):
                found.append((i, j) if places else (int(word), int(words[j])))
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 2)


@lab.check("skipgram_pairs")
def pairs_within_the_window(student, rng):
    """all pairs in their order, for several windows and lengths; a word may occur twice"""
    for length, window in (9, 3), (5, 1), (4, 9), (2, 1), (1, 3):
        with case(f"{length} words, window {window}"):
            words = rng.integers(0, 5, length) if length > 2 else rng.permutation(9)[:length]
            want = _pairs(words, window)
            _expect_pairs(student.skipgram_pairs(words, window), want, words, window)


def _expect_pairs(got, want, words, window):
    expect(
        got,
        want,
        mistakes={
            "these are places in the sentence, not word numbers": lambda: _pairs(words, window, places=True),
            "every word is a neighbour of itself here": lambda: _pairs(words, window, own=True),
            "the window wraps around: beyond the ends there is nothing": lambda: _pairs(words, window, wrap=True),
            "the window is as wide as both sides together": lambda: _pairs(words, window // 2),
            "a neighbour that is the same word is left out; only the same place is": lambda: _pairs(
                words, window, differ=True
            ),
            "the pairs come from the last to the first": want.flip(0),
            "only one side of the centre is here; words before and behind it count": lambda: _pairs(
                words, window, both=False
            ),
            "the window is one too small": lambda: _pairs(words, window - 1),
            "the window is one too large": lambda: _pairs(words, window + 1),
            "neighbour and centre are exchanged: the order is that of the centre": want.flip(1),
        },
    )


def _skipgram(u, v, negatives):
    """Pair by pair, in float64."""
    u, v, negatives = u.double(), v.double(), negatives.double()
    total = torch.zeros((), dtype=float64)
    for n in range(len(u)):
        total = total + F.softplus(-u[n].dot(v[n]))
        for row in negatives[n]:
            total = total + F.softplus(row.dot(u[n]))
    return total / len(u)


@lab.check("skipgram_loss")
def loss_against_pair_by_pair(student, rng):
    """the loss, against the sum term by term"""
    for n, k, d in (5, 3, 4), (1, 1, 2), (3, 7, 1):
        with case(f"{n} pairs, {k} negatives, dimension {d}"):
            u, v, negatives = (rng.normal(*shape, dtype=float64) for shape in ((n, d), (n, d), (n, k, d)))
            _expect_loss(student.skipgram_loss(u, v, negatives), u, v, negatives)


def _expect_loss(got, u, v, negatives):
    want, near = _skipgram(u, v, negatives), _skipgram(u, v, negatives[:, :0])
    expect(
        got,
        want,
        mistakes={
            "the loss is a mean over the pairs; here they are added": len(u) * want,
            "the K negatives of a pair are added, not averaged": near + (want - near) / negatives.size(1),
            "the negatives are missing the minus sign: they are pulled near like the neighbours": lambda: _skipgram(
                u, v, -negatives
            ),
            "the sign of the whole loss is wrong": -want,
            "the negatives are compared with v; they stand against the centre u": lambda: (
                near + _skipgram(v, v, negatives) - _skipgram(v, v, negatives[:, :0])
            ),
            "there is no logarithm": lambda: (
                -(torch.sigmoid((u * v).sum(1)) + torch.sigmoid(-(negatives * u[:, None]).sum(2)).sum(1)).mean()
            ),
            "the negatives are missing": near,
            "the neighbours are missing": want - near,
            "the neighbour and the negatives have the wrong sign": lambda: _skipgram(-u, v, negatives),
            "the neighbour is pushed away: −log σ(u · v), not −log σ(−u · v)": lambda: (
                want - near + _skipgram(u, -v, negatives[:, :0])
            ),
            "the products are means over the D numbers, not sums": lambda: _skipgram(u / u.size(1), v, negatives),
            "only the first negative of each pair counts": lambda: _skipgram(u, v, negatives[:, :1]),
            "the mean over all K + 1 products; it is over the pairs": want / (1 + negatives.size(1)),
            "one number for each pair; their mean is asked for": lambda: torch.stack(
                [_skipgram(u[n : n + 1], v[n : n + 1], negatives[n : n + 1]) for n in range(len(u))]
            ),
            "the negatives are subtracted": 2 * near - want,
            "the logarithm is outside of the sum over the negatives": lambda: (
                near - torch.sigmoid(-(negatives * u[:, None]).sum(2)).sum(1).log().mean()
            ),
        },
    )


@lab.check("skipgram_loss")
def loss_of_large_products(student, rng):
    """products of ±1000 in float32"""
    u, v = torch.tensor([[1000.0, 0], [-1000.0, 0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    negatives = rng.normal(2, 3, 2)
    got = student.skipgram_loss(u, v, negatives)
    expect(got, _skipgram(u, v, negatives).float(), look="σ(−1000) is 0 and its logarithm −inf: F.logsigmoid")


# Attention


def _kinds_of_attention(q, k, v, mask):
    """What mistakes would give: sentence → (output, weights)."""
    scores = torch.einsum("...td,...sd->...ts", q, k)
    scale = q.size(-1) ** -0.5
    hidden = torch.zeros_like(scores) if mask is None else torch.zeros_like(scores).masked_fill(~mask, -1e9)

    def of(shares):
        return shares @ v, shares

    return {
        "the scores are not divided by √D": lambda: of((scores + hidden).softmax(-1)),
        "the scores are divided by D, not by its root": lambda: of((scores * scale**2 + hidden).softmax(-1)),
        "the scores are divided by the root of the number of keys": lambda: of(
            (scores / k.size(-2) ** 0.5 + hidden).softmax(-1)
        ),
        "the scores are multiplied by √D": lambda: of((scores / scale + hidden).softmax(-1)),
        "the scores are divided by the root of the dimension of the values": lambda: of(
            (scores / v.size(-1) ** 0.5 + hidden).softmax(-1)
        ),
        "the mask is added to the scores as 0 and 1": lambda: of((scores * scale + mask.double()).softmax(-1)),
        "the weights were returned before the softmax": lambda: (attention(q, k, v, mask)[0], scores * scale + hidden),
        "there is no softmax": lambda: of(scores * scale + hidden),
        "the weights are exp(score), not divided by their sum": lambda: of((scores * scale + hidden).exp()),
        "the sign of the scores is wrong: the softmax of what fits least": lambda: of(
            (hidden - scores * scale).softmax(-1)
        ),
        "the scores are cosines: q and k are normalised": lambda: of(
            (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) + hidden).softmax(-1)
        ),
        "all weights are the same": lambda: of(torch.full_like(scores, 1 / k.size(-2))),
        "the keys are returned in the place of the values": lambda: (attention(q, k, k, mask)[0], of(0 * scores)[1]),
        "the softmax runs over the queries; each query's weights must sum to 1": lambda: of(
            (scores * scale + hidden).softmax(-2)
        ),
        "the mask is used upside down: True means may look": lambda: attention(q, k, v, ~mask),
        "the mask is not used": lambda: attention(q, k, v),
        "masked scores were set to 0; exp(0) is 1, they still take part": lambda: of(
            (scores * scale).masked_fill(~mask, 0).softmax(-1)
        ),
        "the mask came after the softmax: what is left no longer sums to 1": lambda: of(
            (scores * scale).softmax(-1).masked_fill(~mask, 0)
        ),
    }


@lab.check("attention")
def attention_is_that_of_torch(student, rng):
    """output and weights without a mask, against scaled_dot_product_attention"""
    for lead, t, s, d, e in ((), 4, 5, 3, 2), ((2, 3), 5, 7, 4, 6), ((1,), 1, 3, 2, 2), ((2,), 3, 1, 5, 1):
        with case(f"queries {t}×{d}, keys {s}×{d}, values {s}×{e}, {len(lead)} dimensions before"):
            q, k, v = (rng.normal(*lead, *shape, dtype=float64) for shape in ((t, d), (s, d), (s, e)))
            got = student.attention(q, k, v)
            want = F.scaled_dot_product_attention(q, k, v), attention(q, k, v)[1]
            expect(got, want, names=("output", "weights"), mistakes=_kinds_of_attention(q, k, v, None))


@lab.check("attention")
def masks_hide_keys(student, rng):
    """with a mask for each query, for each sample, or for all"""
    q, k, v = (rng.normal(2, 3, *shape, dtype=float64) for shape in ((5, 4), (6, 4), (6, 3)))
    for name, shape in ("T×S", (5, 6)), ("N×1×1×S", (2, 1, 1, 6)), ("S", (6,)), ("all", (2, 3, 5, 6)):
        with case(f"mask {name}"):
            mask = rng.uniform(*shape) < 0.5
            mask[..., 0] = True
            got = student.attention(q, k, v, mask)
            want = F.scaled_dot_product_attention(q, k, v, mask.expand(2, 3, 5, 6)), attention(q, k, v, mask)[1]
            expect(got, want, names=("output", "weights"), mistakes=_kinds_of_attention(q, k, v, mask))


@lab.check("attention")
def large_scores(student, rng):
    """queries and keys of ±1000 in float32; the weights are one-hot"""
    q, k, v = 1000 * rng.normal(3, 4), 1000 * rng.normal(5, 4), rng.normal(5, 2)
    weights = F.one_hot((q @ k.T).argmax(1), 5).float()
    expect(
        student.attention(q, k, v),
        (weights @ v, weights),
        names=("output", "weights"),
        look="exp overflows: use softmax, or take the maximum away first",
    )


@student_side
def attention_gradients(student, q, k, v, mask, dl_dout):
    leaves = differentiable(q, k, v)
    output, weights = student.attention(*leaves, mask)
    return output, weights, torch.autograd.grad(output, leaves, dl_dout)


@lab.check("attention")
def a_query_that_may_look_nowhere(student, rng):
    """weights and output zero where a mask hides everything, and gradients that are finite"""
    q, k, v = rng.normal(3, 2, dtype=float64), rng.normal(4, 2, dtype=float64), rng.normal(4, 5, dtype=float64)
    mask = torch.tensor([[True, False, True, True], [False] * 4, [False, True, False, False]])
    likely = "softmax of −inf everywhere is 0/0: fill those weights with 0 afterwards"
    output, weights, gradients = student.run(attention_gradients, q, k, v, mask, rng.normal(3, 5, dtype=float64))
    with case("the second of three queries may look nowhere", look=likely):
        expect(
            (output, weights),
            attention(q, k, v, mask),
            names=("output", "weights"),
            mistakes={
                "where nothing is allowed, everything is: a large negative number instead of −inf": lambda: (
                    _with_a_large_number(q, k, v, mask)
                ),
            },
        )
        require(all(g.isfinite().all() for g in gradients), "the gradient has nan or inf")


def _with_a_large_number(q, k, v, mask):
    shares = torch.where(mask, q @ k.T / 2**0.5, torch.tensor(-1e9, dtype=float64)).softmax(1)
    return shares @ v, shares


@lab.check("causal_mask")
def the_past_and_the_present(student, rng):
    """True for the position itself and those before it"""
    for size in 5, 1, 2:
        with case(f"size {size}"):
            want = torch.tensor([[s <= t for s in range(size)] for t in range(size)])
            expect(
                student.causal_mask(size),
                want,
                mistakes={
                    "this lets each position see the future: [t, s] says whether t may look at s": want.T,
                    "everything may be seen": torch.ones_like(want),
                    "a position sees itself alone; those before it, too": torch.eye(size, dtype=torch.bool),
                    "one position of the future may be seen": torch.ones_like(want).tril(1),
                    "the table is reversed": want.flip(0),
                    "a position may look at itself, too": want & ~torch.eye(size, dtype=torch.bool),
                    "true and false are exchanged: True means may look": ~want,
                },
            )


@student_side
def used(student, part, build, weights, arguments):
    """Build a module of the student's, give it these weights, call it."""
    module = getattr(student, part)(*build).double()
    module.load_state_dict(weights)
    module.requires_grad_(False)
    return module(*arguments)


def _weights(rng, module):
    """Weights for all parameters of a module, away from zero and one."""
    return {name: rng.normal(*value.shape, dtype=float64) * 0.6 for name, value in module.state_dict().items()}


@lab.check("MultiHead")
def heads_are_those_of_torch(student, rng):
    """output and weights, against torch.nn.MultiheadAttention with the same weights"""
    for n, t, s, d, heads in (3, 4, 5, 6, 2), (2, 3, 3, 6, 3), (1, 1, 2, 4, 4), (2, 5, 1, 3, 1):
        with case(f"batch {n}, {t} queries, {s} keys, dimension {d}, {heads} heads"):
            _heads_case(student, rng, n, t, s, d, heads)


def _heads_case(student, rng, n, t, s, d, heads):
    x, memory = rng.normal(n, t, d, dtype=float64), rng.normal(n, s, d, dtype=float64)
    mask = rng.uniform(n, t, s) < 0.6
    mask[..., 0] = True
    w = _weights(rng, MultiHead(d, heads))
    own = nn.MultiheadAttention(d, heads, bias=False, batch_first=True, dtype=float64)
    joined = torch.cat([w["query.weight"], w["key.weight"], w["value.weight"]])
    own.load_state_dict({"in_proj_weight": joined, "out_proj.weight": w["out.weight"]})
    for name, given in (
        ("without a mask", None),
        ("mask N×T×S", mask),
        ("mask T×S", mask[0]),
        ("mask N×1×S", mask[:, :1]),
    ):
        with case(name), torch.no_grad():
            blocked = None if given is None else ~given.expand(n, t, s).repeat_interleave(heads, 0)
            want = own(x, memory, memory, attn_mask=blocked, average_attn_weights=False)
            got = student.run(used, "MultiHead", (d, heads), w, (x, memory, given))
            _expect_heads(got, want, w, x, memory, given, heads)


def _expect_heads(got, want, w, x, memory, mask, heads):
    def wrong(how):
        return lambda: heads_at_once(w, x, memory, mask, heads, how)

    expect(
        got,
        want,
        names=("output", "weights"),
        mistakes={
            "the heads were cut by a view alone: unflatten the last dimension, then transpose": wrong("viewed"),
            "head h got every heads-th coordinate; it uses the h-th D/heads of them, side by side": wrong("strided"),
            "the outputs were put together without transposing heads and positions back": wrong("flat"),
            "the last projection, out, is missing": wrong("no out"),
            "the mask is not used": wrong("no mask"),
            "the scores are divided by √D; a head has only D/heads coordinates": wrong("scale"),
            "keys and values come from x; they come from memory": lambda: heads_at_once(w, x, x, mask, heads, ""),
            "the values are keys: value is not used": lambda: heads_at_once(
                w | {"value.weight": w["key.weight"]}, x, memory, mask, heads, ""
            ),
            "query is not used: the queries are x": lambda: heads_at_once(
                w | {"query.weight": torch.eye(x.size(2), dtype=x.dtype)}, x, memory, mask, heads, ""
            ),
            "key is not used: the keys are the memory": lambda: heads_at_once(
                w | {"key.weight": torch.eye(x.size(2), dtype=x.dtype)}, x, memory, mask, heads, ""
            ),
            "value is not used: the values are the memory": lambda: heads_at_once(
                w | {"value.weight": torch.eye(x.size(2), dtype=x.dtype)}, x, memory, mask, heads, ""
            ),
            "query and key are exchanged": lambda: heads_at_once(
                w | {"query.weight": w["key.weight"], "key.weight": w["query.weight"]}, x, memory, mask, heads, ""
            ),
            "the mask is used upside down: True means may look": lambda: heads_at_once(w, x, memory, ~mask, heads, ""),
            "out comes before the values are put together: it is applied to the values": lambda: heads_at_once(
                w | {"value.weight": w["out.weight"], "out.weight": w["value.weight"]}, x, memory, mask, heads, ""
            ),
            "queries come from memory; they come from x": lambda: heads_at_once(w, memory, memory, mask, heads, ""),
            "x is added to the result; the block does that": lambda: (want[0] + x, want[1]),
            "the weights are averaged over the heads; wanted are those of each": lambda: (want[0], want[1].mean(1)),
        },
    )


# The block


def _table(length, dim, halves=False, exponent=2.0, base=10000, own=False):
    """Entry by entry, with mistakes to choose from."""

    def wave(t, place):
        pair, odd = (place % (dim // 2), place >= dim // 2) if halves else divmod(place, 2)
        power = place / dim if own else exponent * pair / dim
        return (math.cos if odd else math.sin)(t * math.exp(-math.log(base) * power))

    return torch.tensor([[wave(t, place) for place in range(dim)] for t in range(length)])


def _sines(length, dim):
    return torch.tensor(
        [[math.sin(t * 10000 ** (-(place // 2) * 2 / dim)) for place in range(dim)] for t in range(length)]
    )


@lab.check("sinusoidal_positions")
def waves_one_by_one(student, rng):
    """the table, against sin and cos of one entry after the other"""
    for length, dim in (7, 6), (1, 4), (40, 2), (3, 10):
        with case(f"{length} positions, dimension {dim}"):
            want = _table(length, dim)
            _expect_table(student.sinusoidal_positions(length, dim), want, length, dim)


def _expect_table(got, want, length, dim):
    expect(
        got,
        want,
        mistakes={
            "the sines are in the first half and the cosines in the second; they take turns": _table(
                length, dim, halves=True
            ),
            "the exponent is i/dim; it is 2i/dim": _table(length, dim, exponent=1.0),
            "the exponent is 4i/dim: the slice already counts in twos": _table(length, dim, exponent=4.0),
            "sine and cosine of a pair have different angles; 2i/dim is that of both": _table(length, dim, own=True),
            "the base is 1000, it should be 10000": _table(length, dim, base=1000),
            "the division by dim is missing in the exponent": _table(length, dim, exponent=2.0 * dim),
            "all pairs have the same period": _table(length, dim, exponent=0.0),
            "all entries are sines": _sines(length, dim),
            "sine and cosine are exchanged": want.unflatten(1, (-1, 2)).flip(2).flatten(1),
            "the positions begin at 1; the first is 0": _table(length + 1, dim)[1:],
        },
    )


@lab.check("sinusoidal_positions")
def a_shift_is_a_rotation(student, rng):
    """shifting by k turns each pair of coordinates by an angle that does not depend on the place"""
    dim, k = 8, rng.int(1, 9)
    table = student.sinusoidal_positions(50, dim).double().unflatten(1, (-1, 2))
    waves = torch.complex(table[..., 1], table[..., 0])
    turned = waves[k:] / waves[:-k]
    expect(turned, turned[:1].expand_as(turned), atol=1e-4, look="each pair needs sine and cosine of one angle")


def _block_weights(rng, dim, heads, cross):
    """Weights of a block, named as in the exercise."""
    names = {
        "norm_self": nn.LayerNorm(dim),
        "attend_self": MultiHead(dim, heads),
        "norm_mlp": nn.LayerNorm(dim),
        "mlp": nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim)),
    }
    if cross:
        names |= {"norm_cross": nn.LayerNorm(dim), "attend_cross": MultiHead(dim, heads)}
    return _weights(rng, nn.ModuleDict(names))


def _layer(w, dim, heads, cross):
    """torch's own layer with these weights; its attention has biases, which stay zero."""
    kind = nn.TransformerDecoderLayer if cross else nn.TransformerEncoderLayer
    own = kind(dim, heads, 4 * dim, dropout=0.0, batch_first=True, norm_first=True, dtype=float64)
    state = {name: torch.zeros_like(value) for name, value in own.state_dict().items()}
    norms = ["norm_self", "norm_cross", "norm_mlp"] if cross else ["norm_self", "norm_mlp"]
    for number, name in enumerate(norms, start=1):
        state |= {f"norm{number}.{kind}": w[f"{name}.{kind}"] for kind in ("weight", "bias")}
    for theirs, ours in (("self_attn", "attend_self"), ("multihead_attn", "attend_cross"))[: 1 + cross]:
        joined = [w[f"{ours}.{kind}.weight"] for kind in ("query", "key", "value")]
        state[f"{theirs}.in_proj_weight"] = torch.cat(joined)
        state[f"{theirs}.out_proj.weight"] = w[f"{ours}.out.weight"]
    for theirs, ours in ("linear1", "mlp.0"), ("linear2", "mlp.2"):
        state |= {f"{theirs}.{kind}": w[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    own.load_state_dict(state)
    return own.train()  # in evaluation mode torch takes another path, whose masks follow other rules


def _block_wrong(w, heads, x, mask, memory, memory_mask, how):
    """The three steps with a mistake."""
    dim = x.size(2)

    def norm(name, z):
        return F.layer_norm(z, (dim,), w[f"{name}.weight"], w[f"{name}.bias"])

    def heads_of(name, z, over, seen):
        own = {key.removeprefix(f"{name}."): value for key, value in w.items() if key.startswith(name)}
        return heads_at_once(own, z, over, seen, heads)[0]

    def mlp(z):
        return F.linear((z @ w["mlp.0.weight"].T + w["mlp.0.bias"]).relu(), w["mlp.2.weight"], w["mlp.2.bias"])

    if how == "post":
        x = norm("norm_self", x + heads_of("attend_self", x, x, mask))
        if "norm_cross.weight" in w:
            x = norm("norm_cross", x + heads_of("attend_cross", x, memory, memory_mask))
        return norm("norm_mlp", x + mlp(x))
    y = x if how == "raw self" else norm("norm_self", x)
    first = heads_of("attend_self", y, x if how == "raw keys" else y, None if how == "no mask" else mask)
    x = (y if how == "normed skip" else 0 if how in ("no skip", "no skip self") else x) + first
    if memory is not None and how != "no cross":
        seen = {"no memory mask": None, "wrong mask": mask}.get(how, memory_mask)
        over = norm("norm_cross", memory) if how == "normed memory" else memory
        z = x if how == "raw cross" else norm("norm_self" if how == "one norm" else "norm_cross", x)
        keys = z if how == "self again" else over
        step = heads_of("attend_self" if how == "one attention" else "attend_cross", z, keys, seen)
        x = (0 if how in ("no skip", "no skip cross") else x) + step
    if how == "no mlp":
        return x
    z = x if how == "raw mlp" else norm("norm_self" if how == "one norm" else "norm_mlp", x)
    return (0 if how in ("no skip", "no skip mlp") else norm("norm_mlp", x) if how == "normed mlp" else x) + mlp(z)


@lab.check("Block")
def blocks_are_those_of_torch(student, rng):
    """against torch's TransformerEncoderLayer and TransformerDecoderLayer with the same weights"""
    for cross in False, True:
        for n, t, s, d, heads in (3, 4, 5, 6, 2), (1, 1, 3, 4, 1):
            with case(f"{'with' if cross else 'without'} a memory, batch {n}, {t} positions, dimension {d}"):
                _block_case(student, rng, n, t, s, d, heads, cross)


def _block_case(student, rng, n, t, s, d, heads, cross):
    x, memory = rng.normal(n, t, d, dtype=float64), rng.normal(n, s, d, dtype=float64)
    mask = torch.ones(t, t).tril() > 0
    seen = rng.uniform(n, 1, s) < 0.6
    seen[..., 0] = True
    w = _block_weights(rng, d, heads, cross)
    own = _layer(w, d, heads, cross).requires_grad_(False)
    if cross:
        rest, want = (memory, seen), own(x, memory, tgt_mask=~mask, memory_key_padding_mask=~seen[:, 0])
    else:
        rest, want = (None, None), own(x, src_mask=~mask)

    def wrong(how):
        return lambda: _block_wrong(w, heads, x, mask, *rest, how)

    got = student.run(used, "Block", (d, heads, cross), w, (x, mask, *rest))
    expect(
        got,
        want,
        mistakes={
            "the norm comes after each step; it comes before, inside of the sum": wrong("post"),
            "the way past a step is missing: x + step(norm(x))": wrong("no skip"),
            "the normalised x was carried on; the sum goes to x itself": wrong("normed skip"),
            "self-attention got x without its norm": wrong("raw self"),
            "only the queries were normalised, keys and values were not": wrong("raw keys"),
            "the mask is not used": wrong("no mask"),
            "the memory is not used": wrong("no cross"),
            "the memory mask is not used": wrong("no memory mask"),
            "the memory was normalised; the caller has done that": wrong("normed memory"),
            "the queries of the cross-attention are missing their norm": wrong("raw cross"),
            "the mlp got x without its norm": wrong("raw mlp"),
            "the way past self-attention is missing: x + step(norm(x))": wrong("no skip self"),
            "the way past cross-attention is missing: x + step(norm(x))": wrong("no skip cross"),
            "the way past the mlp is missing: x + step(norm(x))": wrong("no skip mlp"),
            "the mlp's step was added to the normalised x; the sum goes to x itself": wrong("normed mlp"),
            "norm_self was used for all steps; each has its own": wrong("one norm"),
            "attend_self was used for the memory, too; that is for attend_cross": wrong("one attention"),
            "the mlp is missing": wrong("no mlp"),
        },
    )


@student_side
def reach_of_gradients(student, dim, heads, x):
    """[t, s]: how strongly position t of a causal block's output depends on position s of its input."""
    torch.manual_seed(0)
    block = student.Block(dim, heads).double()
    x = x.clone().requires_grad_()
    out = block(x, torch.tril(torch.ones(x.size(1), x.size(1))).bool())
    rows = [torch.autograd.grad(out[:, t].square().sum(), x, retain_graph=True)[0] for t in range(x.size(1))]
    return torch.stack([row.abs().sum((0, 2)) for row in rows])


@lab.check("Block")
def the_future_has_no_influence(student, rng):
    """under a causal mask no output depends on a later input, by its gradient"""
    reach = student.run(reach_of_gradients, 6, 2, rng.normal(2, 5, 6, dtype=float64))
    later = reach.triu(1).nonzero()
    where = " ".join(f"output {t} depends on input {s}" for t, s in later[:1].tolist())
    require(not where, f"{where}: the mask must reach the self-attention")
    require((reach + torch.ones_like(reach).triu(1) > 0).all(), "an output does not depend on an earlier input at all")


@student_side
class Echo(torch.nn.Module):
    """Scores that follow from the row's source and from what is written; keeps an account of how it is used."""

    def __init__(self, classes):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))
        self.classes, self.calls = classes, []

    def forward(self, source, written):
        self.calls.append((tuple(written.shape), self.training, torch.is_grad_enabled()))
        places = torch.arange(written.size(1))
        following = (source[:, :1] + 3 * written.cumsum(1) + places) % self.classes
        return self.factor * torch.nn.functional.one_hot(following, self.classes).double()


@student_side
def decoded(student, source, start, stop, length, classes, training):
    model = Echo(classes).train(training)
    written = student.greedy_decode(model, source, start, stop, length)
    return written, model.training, model.calls, written.requires_grad


def _written(source, start, stop, length, classes, keep=True, first=False, together=False, alone=False, fill=None):
    """Row after row, symbol after symbol."""
    rows = []
    for row in source:
        so_far = [start]
        for _count in range(length):
            position = 0 if first else len(so_far) - 1
            seen = so_far[-1:] if alone else so_far[: position + 1]
            following = int(row[0] + 3 * sum(seen) + (0 if alone else position)) % classes
            so_far.append((stop if fill is None else fill) if keep and stop in so_far[1:] else following)
        rows.append(so_far[1:])
    found = torch.tensor(rows)
    if together and (found == stop).any():
        found[:, int((found == stop).any(0).nonzero()[0]) :] = stop
    return found


@lab.check("greedy_decode")
def symbol_after_symbol(student, rng):
    """what is written, against one row and one symbol at a time; rows stop at different times"""
    for n, length, classes in (6, 8, 7), (1, 1, 3), (4, 5, 5):
        with case(f"{n} rows, {length} symbols of {classes}"):
            source = rng.integers(0, 50, n, 3)
            start, stop = classes - 1, 1
            source[0, 0] = (stop + 2 - 3 * start) % classes  # the first row does not begin with its stop
            got, mode, calls, alive = student.run(decoded, source, start, stop, length, classes, True)
            a = source, start, stop, length, classes
            _expect_written(got, a)
            require(
                not any(grad for _, _, grad in calls), "the model ran with gradients on: torch.no_grad() is missing"
            )
            trained = any(train for _, train, _ in calls)
            require(not trained, "the model ran in training mode; model.eval() comes first")
            require(mode, "the model was in training mode and is no longer")
            require(not alive, "the result hangs on its gradients")
    with case("a model that was in evaluation mode", look="model.train(before), not model.train()"):
        require(not student.run(decoded, rng.integers(0, 9, 2, 3), 4, 1, 3, 5, False)[1], "it is in training mode now")


def _expect_written(got, a):
    expect(
        got,
        _written(*a),
        mistakes={
            "rows go on after their stop": lambda: _written(*a, keep=False),
            "the scores of the first position were read; the next symbol is in those of the last": lambda: _written(
                *a, first=True
            ),
            "all rows stop when one does": lambda: _written(*a, together=True),
            "the model sees the last symbol alone; it should see all that is written": lambda: _written(*a, alone=True),
            "behind its stop a row has zeros, it should have stop": lambda: _written(*a, fill=0),
            "behind its stop a row has −1, it should have stop": lambda: _written(*a, fill=-1),
            "behind its stop a row has start, it should have stop": lambda: _written(*a, fill=a[1]),
            "the first symbol is missing, and the last is there twice": lambda: torch.cat(
                (_written(*a)[:, 1:], _written(*a)[:, -1:]), 1
            ),
            "the source of the first row answers for all rows": lambda: _written(a[0][:1].expand(len(a[0]), 3), *a[1:]),
            "the start symbol is part of the result": lambda: torch.cat(
                (torch.full((len(a[0]), 1), a[1]), _written(*a)), 1
            ),
            "the start symbol is part of the result, and the last symbol is missing": lambda: torch.cat(
                (torch.full((len(a[0]), 1), a[1]), _written(*a)), 1
            )[:, :-1],
        },
    )


if __name__ == "__main__":
    sys.exit(run_checks(lab))
