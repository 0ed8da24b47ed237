"""The checks of lab 14. Reading them is allowed and useful."""

import math
import sys
import sysconfig
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, beside, case, expect, progress, require

lab = Lab(
    __file__,
    parts=[
        "skipgram_pairs", "skipgram_loss", "attention", "causal_mask",
        "MultiHead", "sinusoidal_positions", "Block", "greedy_decode",
    ],
)  # fmt: skip
lab.forbid("attention", names=["scaled_dot_product_attention", "MultiheadAttention"], why="it is the answer")
lab.forbid("MultiHead", names=["scaled_dot_product_attention", "MultiheadAttention"], why="put it together yourself")
lab.forbid("Block", names=["MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer"],
           why="put it together yourself")  # fmt: skip

DOUBLE = torch.float64


@lab.reference
def attention(q, k, v, mask=None):
    """The weights one by one, by the exponentials of the scores less their maximum."""
    scores = torch.einsum("...td,...sd->...ts", q, k) * q.shape[-1] ** -0.5
    allowed = torch.ones_like(scores) if mask is None else mask.expand(scores.shape).to(scores.dtype)
    top = torch.where(allowed > 0, scores, torch.full_like(scores, -1e30)).amax(-1, keepdim=True)
    powers = torch.exp((scores - top).clamp(max=0)) * allowed
    weights = powers / powers.sum(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
    return torch.einsum("...ts,...se->...te", weights, v), weights


@beside
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
    q, k, v = (cut(inputs @ w[f"{name}.weight"].T) for inputs, name in
               ((x, "query"), (memory, "key"), (memory, "value")))  # fmt: skip
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


# ---------------------------------------------------------------------------------------------------------------------
# Words


def _pairs(words, window, both=True, own=False, places=False):
    """One after the other, with mistakes to choose from."""
    found = []
    for i, word in enumerate(words):
        for j in range(max(0, i - window) if both else i, min(len(words), i + window + 1)):
            if j != i or own:
                found.append((i, j) if places else (int(word), int(words[j])))
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 2)


@lab.check("skipgram_pairs")
def pairs_within_the_window(student, rng):
    """all pairs in their order, for several windows and lengths; a word may occur twice"""
    for length, window in (7, 2), (5, 1), (4, 9), (2, 1), (1, 3):
        with case(f"{length} words, window {window}"):
            words = rng.integers(0, 5, length) if length > 2 else rng.permutation(9)[:length]
            want = _pairs(words, window)
            _expect_pairs(student.skipgram_pairs(words, window), want, words, window)


def _expect_pairs(got, want, words, window):
    expect(got, want, mistakes={
        "these are places in the sentence, not word numbers": lambda: _pairs(words, window, places=True),
        "every word is a neighbour of itself here": lambda: _pairs(words, window, own=True),
        "only the words behind the centre are here; those before it count, too":
            lambda: _pairs(words, window, both=False),
        "the window is one too small": lambda: _pairs(words, window - 1),
        "the window is one too large": lambda: _pairs(words, window + 1),
        "neighbour and centre are exchanged": want.flip(1),
    })  # fmt: skip


def _skipgram(u, v, negatives):
    """Pair by pair, in float64."""
    u, v, negatives = u.double(), v.double(), negatives.double()
    total = torch.zeros((), dtype=DOUBLE)
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
            u, v, negatives = (rng.normal(*shape, dtype=DOUBLE) for shape in ((n, d), (n, d), (n, k, d)))
            _expect_loss(student.skipgram_loss(u, v, negatives), u, v, negatives)


def _expect_loss(got, u, v, negatives):
    want, near = _skipgram(u, v, negatives), _skipgram(u, v, negatives[:, :0])
    expect(got, want, mistakes={
        "the loss is a mean over the pairs; here they are added": len(u) * want,
        "the K negatives of a pair are added, not averaged": near + (want - near) / negatives.size(1),
        "the negatives are missing the minus sign: they are pulled near like the neighbours":
            lambda: _skipgram(u, v, -negatives),
        "the sign of the whole loss is wrong": -want,
        "the negatives are compared with v; they stand against the centre u":
            lambda: near + _skipgram(v, v, negatives) - _skipgram(v, v, negatives[:, :0]),
        "there is no logarithm": lambda: -(torch.sigmoid((u * v).sum(1)) + torch.sigmoid(
            -(negatives * u[:, None]).sum(2)).sum(1)).mean(),
        "the negatives are missing": near,
    })  # fmt: skip


@lab.check("skipgram_loss")
def loss_of_large_products(student, rng):
    """products of ±1000 in float32"""
    u, v = torch.tensor([[1000.0, 0], [-1000.0, 0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    negatives = rng.normal(2, 3, 2)
    got = student.skipgram_loss(u, v, negatives)
    expect(got, _skipgram(u, v, negatives).float(), likely="σ(−1000) is 0 and its logarithm −inf: F.logsigmoid")


# ---------------------------------------------------------------------------------------------------------------------
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
            (scores / k.size(-2) ** 0.5 + hidden).softmax(-1)),
        "the softmax runs over the queries; each query's weights must sum to 1": lambda: of(
            (scores * scale + hidden).softmax(-2)),
        "the mask is used upside down: True means may look": lambda: attention(q, k, v, ~mask),
        "the mask is not used": lambda: attention(q, k, v),
        "masked scores were set to 0; exp(0) is 1, they still take part": lambda: of(
            (scores * scale).masked_fill(~mask, 0).softmax(-1)),
        "the mask came after the softmax: what is left no longer sums to 1": lambda: of(
            (scores * scale).softmax(-1).masked_fill(~mask, 0)),
        "the weights were returned before the softmax": lambda: (attention(q, k, v, mask)[0], scores * scale + hidden),
    }  # fmt: skip


@lab.check("attention")
def attention_is_that_of_torch(student, rng):
    """output and weights without a mask, against scaled_dot_product_attention"""
    for lead, t, s, d, e in ((), 4, 5, 3, 2), ((2, 3), 5, 7, 4, 6), ((1,), 1, 3, 2, 2), ((2,), 3, 1, 5, 1):
        with case(f"queries {t}×{d}, keys {s}×{d}, values {s}×{e}, {len(lead)} dimensions before"):
            q, k, v = (rng.normal(*lead, *shape, dtype=DOUBLE) for shape in ((t, d), (s, d), (s, e)))
            got = student.attention(q, k, v)
            want = F.scaled_dot_product_attention(q, k, v), attention(q, k, v)[1]
            expect(got, want, names=("output", "weights"), mistakes=_kinds_of_attention(q, k, v, None))


@lab.check("attention")
def masks_hide_keys(student, rng):
    """with a mask for each query, for each sample, or for all"""
    q, k, v = (rng.normal(2, 3, *shape, dtype=DOUBLE) for shape in ((5, 4), (6, 4), (6, 3)))
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
    expect(student.attention(q, k, v), (weights @ v, weights), names=("output", "weights"),
           likely="exp overflows: use softmax, or take the maximum away first")  # fmt: skip


@beside
def attention_gradients(student, q, k, v, mask, dl_dout):
    leaves = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
    output, weights = student.attention(*leaves, mask)
    return output, weights, torch.autograd.grad(output, leaves, dl_dout)


@lab.check("attention")
def a_query_that_may_look_nowhere(student, rng):
    """weights and output zero where a mask hides everything, and gradients that are finite"""
    q, k, v = rng.normal(3, 2, dtype=DOUBLE), rng.normal(4, 2, dtype=DOUBLE), rng.normal(4, 5, dtype=DOUBLE)
    mask = torch.tensor([[True, False, True, True], [False] * 4, [False, True, False, False]])
    likely = "softmax of −inf everywhere is 0/0: fill those weights with 0 afterwards"
    output, weights, gradients = student.run(attention_gradients, q, k, v, mask, rng.normal(3, 5, dtype=DOUBLE))
    with case("the second of three queries may look nowhere", likely=likely):
        expect((output, weights), attention(q, k, v, mask), names=("output", "weights"), mistakes={
            "where nothing is allowed, everything is: a large negative number instead of −inf":
                lambda: _with_a_large_number(q, k, v, mask),
        })  # fmt: skip
        require(all(g.isfinite().all() for g in gradients), "the gradient has nan or inf")


def _with_a_large_number(q, k, v, mask):
    shares = torch.where(mask, q @ k.T / 2**0.5, torch.tensor(-1e9, dtype=DOUBLE)).softmax(1)
    return shares @ v, shares


@lab.check("causal_mask")
def the_past_and_the_present(student, rng):
    """True for the position itself and those before it"""
    for size in 5, 1, 2:
        with case(f"size {size}"):
            want = torch.tensor([[s <= t for s in range(size)] for t in range(size)])
            expect(student.causal_mask(size), want, mistakes={
                "this lets each position see the future: [t, s] says whether t may look at s": want.T,
                "a position may look at itself, too": want & ~torch.eye(size, dtype=torch.bool),
                "true and false are exchanged: True means may look": ~want,
            })  # fmt: skip


@beside
def used(student, part, build, weights, arguments):
    """Build a module of the student's, give it these weights, call it."""
    module = getattr(student, part)(*build).double()
    module.load_state_dict(weights)
    module.requires_grad_(False)
    return module(*arguments)


def _weights(rng, module):
    """Weights for all parameters of a module, away from zero and one."""
    return {name: rng.normal(*value.shape, dtype=DOUBLE) * 0.6 for name, value in module.state_dict().items()}


@lab.check("MultiHead")
def heads_are_those_of_torch(student, rng):
    """output and weights, against torch.nn.MultiheadAttention with the same weights"""
    for n, t, s, d, heads in (3, 4, 5, 6, 2), (2, 3, 3, 6, 3), (1, 1, 2, 4, 4), (2, 5, 1, 3, 1):
        with case(f"batch {n}, {t} queries, {s} keys, dimension {d}, {heads} heads"):
            _heads_case(student, rng, n, t, s, d, heads)


def _heads_case(student, rng, n, t, s, d, heads):
    x, memory = rng.normal(n, t, d, dtype=DOUBLE), rng.normal(n, s, d, dtype=DOUBLE)
    mask = rng.uniform(n, t, s) < 0.6
    mask[..., 0] = True
    w = _weights(rng, MultiHead(d, heads))
    own = nn.MultiheadAttention(d, heads, bias=False, batch_first=True, dtype=DOUBLE)
    joined = torch.cat([w["query.weight"], w["key.weight"], w["value.weight"]])
    own.load_state_dict({"in_proj_weight": joined, "out_proj.weight": w["out.weight"]})
    for name, given in ("without a mask", None), ("mask N×T×S", mask), ("mask T×S", mask[0]):
        with case(name), torch.no_grad():
            blocked = None if given is None else ~given.expand(n, t, s).repeat_interleave(heads, 0)
            want = own(x, memory, memory, attn_mask=blocked, average_attn_weights=False)
            got = student.run(used, "MultiHead", (d, heads), w, (x, memory, given))
            _expect_heads(got, want, w, x, memory, given, heads)


def _expect_heads(got, want, w, x, memory, mask, heads):
    def wrong(how):
        return lambda: heads_at_once(w, x, memory, mask, heads, how)

    expect(got, want, names=("output", "weights"), mistakes={
        "the heads were cut by a view alone: that mixes positions; unflatten the last dimension, then transpose":
            wrong("viewed"),
        "head h got every heads-th coordinate; it uses the h-th D/heads of them, side by side": wrong("strided"),
        "the outputs were put together without transposing heads and positions back": wrong("flat"),
        "the last projection, out, is missing": wrong("no out"),
        "the mask is not used": wrong("no mask"),
        "the scores are divided by √D; a head has only D/heads coordinates": wrong("scale"),
        "keys and values come from x; they come from memory": lambda: heads_at_once(w, x, x, mask, heads, ""),
        "the values are keys: value is not used": lambda: heads_at_once(
            w | {"value.weight": w["key.weight"]}, x, memory, mask, heads, ""),
        "the weights are averaged over the heads; wanted are those of each": lambda: (want[0], want[1].mean(1)),
    })  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# The block


def _table(length, dim, halves=False, exponent=2.0):
    """Entry by entry, with mistakes to choose from."""

    def wave(t, place):
        pair, odd = (place % (dim // 2), place >= dim // 2) if halves else divmod(place, 2)
        return (math.cos if odd else math.sin)(t * math.exp(-math.log(10000) * exponent * pair / dim))

    return torch.tensor([[wave(t, place) for place in range(dim)] for t in range(length)])


@lab.check("sinusoidal_positions")
def waves_one_by_one(student, rng):
    """the table, against sin and cos of one entry after the other"""
    for length, dim in (7, 6), (1, 4), (40, 2), (3, 10):
        with case(f"{length} positions, dimension {dim}"):
            want = _table(length, dim)
            _expect_table(student.sinusoidal_positions(length, dim), want, length, dim)


def _expect_table(got, want, length, dim):
    expect(got, want, mistakes={
        "the sines are in the first half and the cosines in the second; they take turns":
            _table(length, dim, halves=True),
        "the exponent is i/dim; it is 2i/dim": _table(length, dim, exponent=1.0),
        "the exponent is 4i/dim: the slice already counts in twos": _table(length, dim, exponent=4.0),
        "sine and cosine are exchanged": want.unflatten(1, (-1, 2)).flip(2).flatten(1),
        "the positions begin at 1; the first is 0": _table(length + 1, dim)[1:],
    })  # fmt: skip


@lab.check("sinusoidal_positions")
def a_shift_is_a_rotation(student, rng):
    """shifting by k turns each pair of coordinates by an angle that does not depend on the place"""
    dim, k = 8, rng.int(1, 9)
    table = student.sinusoidal_positions(50, dim).double().unflatten(1, (-1, 2))
    waves = torch.complex(table[..., 1], table[..., 0])
    turned = waves[k:] / waves[:-k]
    expect(turned, turned[:1].expand_as(turned), atol=1e-4, likely="each pair needs sine and cosine of one angle")


def _block_weights(rng, dim, heads, cross):
    """Weights of a block, named as in the exercise."""
    names = {"norm_self": nn.LayerNorm(dim), "attend_self": MultiHead(dim, heads), "norm_mlp": nn.LayerNorm(dim),
             "mlp": nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))}  # fmt: skip
    if cross:
        names |= {"norm_cross": nn.LayerNorm(dim), "attend_cross": MultiHead(dim, heads)}
    return _weights(rng, nn.ModuleDict(names))


def _layer(w, dim, heads, cross):
    """torch's own layer with these weights; its attention has biases, which stay zero."""
    kind = nn.TransformerDecoderLayer if cross else nn.TransformerEncoderLayer
    own = kind(dim, heads, 4 * dim, dropout=0.0, batch_first=True, norm_first=True, dtype=DOUBLE)
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
    x = (y if how == "normed skip" else 0 if how == "no skip" else x) + first
    if memory is not None and how != "no cross":
        seen = {"no memory mask": None, "wrong mask": mask}.get(how, memory_mask)
        over = norm("norm_cross", memory) if how == "normed memory" else memory
        z = x if how == "raw cross" else norm("norm_cross", x)
        x = (0 if how == "no skip" else x) + heads_of("attend_cross", z, over, seen)
    return (0 if how == "no skip" else x) + mlp(x if how == "raw mlp" else norm("norm_mlp", x))


@lab.check("Block")
def blocks_are_those_of_torch(student, rng):
    """against torch's TransformerEncoderLayer and TransformerDecoderLayer with the same weights"""
    for cross in False, True:
        for n, t, s, d, heads in (3, 4, 5, 6, 2), (1, 1, 3, 4, 1):
            with case(f"{'with' if cross else 'without'} a memory, batch {n}, {t} positions, dimension {d}"):
                _block_case(student, rng, n, t, s, d, heads, cross)


def _block_case(student, rng, n, t, s, d, heads, cross):
    x, memory = rng.normal(n, t, d, dtype=DOUBLE), rng.normal(n, s, d, dtype=DOUBLE)
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
    expect(got, want, mistakes={
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
    })  # fmt: skip


@beside
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
    reach = student.run(reach_of_gradients, 6, 2, rng.normal(2, 5, 6, dtype=DOUBLE))
    later = reach.triu(1).nonzero()
    where = " ".join(f"output {t} depends on input {s}" for t, s in later[:1].tolist())
    require(not where, where, "the mask must reach the self-attention")
    require((reach + torch.ones_like(reach).triu(1) > 0).all(), "an output does not depend on an earlier input at all")


@beside
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


@beside
def decoded(student, source, start, stop, length, classes, training):
    model = Echo(classes).train(training)
    written = student.greedy_decode(model, source, start, stop, length)
    return written, model.training, model.calls, written.requires_grad


def _written(source, start, stop, length, classes, keep=True, first=False, together=False):
    """Row after row, symbol after symbol."""
    rows = []
    for row in source:
        so_far = [start]
        for _count in range(length):
            position = 0 if first else len(so_far) - 1
            following = int(row[0] + 3 * sum(so_far[: position + 1]) + position) % classes
            so_far.append(stop if keep and stop in so_far[1:] else following)
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
            got, mode, calls, alive = student.run(decoded, source, start, stop, length, classes, True)
            a = source, start, stop, length, classes
            _expect_written(got, a)
            require(not any(grad for _, _, grad in calls), "the model ran with gradients on", "torch.no_grad")
            trained = any(train for _, train, _ in calls)
            require(not trained, "the model ran in training mode", "model.eval() comes first")
            require(mode, "the model was in training mode and is no longer", "model.train(before) at the end")
            require(not alive, "the result hangs on its gradients")
    with case("a model that was in evaluation mode", likely="model.train(before), not model.train()"):
        require(not student.run(decoded, rng.integers(0, 9, 2, 3), 4, 1, 3, 5, False)[1], "it is in training mode now")


def _expect_written(got, a):
    expect(got, _written(*a), mistakes={
        "rows go on after their stop": lambda: _written(*a, keep=False),
        "the scores of the first position were read; the next symbol is in those of the last":
            lambda: _written(*a, first=True),
        "all rows stop when one does": lambda: _written(*a, together=True),
        "the start symbol is part of the result":
            lambda: torch.cat((torch.full((len(a[0]), 1), a[1]), _written(*a)), 1),
        "the start symbol is part of the result, and the last symbol is missing":
            lambda: torch.cat((torch.full((len(a[0]), 1), a[1]), _written(*a)), 1)[:, :-1],
    })  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Targets

TOPICS = {
    "animals": "cat dog horse cow bird fish fox wolf mouse sheep",
    "kitchen": "pan knife oven soup bread salt spoon butter plate flour",
    "weather": "rain snow cloud wind storm sun fog hail frost thunder",
    "music": "violin drum song piano chord flute rhythm choir tune cello",
}
FILLING = "the a and with near under"


@beside
def small_talk(count, generator):
    """Sentences about one topic each, as word numbers: four words of the topic, with words between that say nothing."""
    topics, filling = len(TOPICS), len(FILLING.split())
    sentences = []
    for _ in range(count):
        topic = int(torch.randint(topics, (1,), generator=generator))
        words = torch.randperm(10, generator=generator)[:4] + 10 * topic
        between = torch.randint(10 * topics, 10 * topics + filling, (4,), generator=generator)
        sentences.append(torch.stack((between, words), 1).flatten())
    return sentences


@beside
def learn_words(student, seed, dim, steps):
    """The vectors of all words as centres, after training on small talk."""
    g = torch.Generator().manual_seed(seed)
    pairs = torch.cat([student.skipgram_pairs(sentence, 3) for sentence in small_talk(1500, g)])
    words = 10 * len(TOPICS) + len(FILLING.split())
    often = torch.bincount(pairs[:, 0], minlength=words).float() ** 0.75
    u, v = ((0.1 * torch.randn(words, dim, generator=g)).requires_grad_() for _ in range(2))
    optimizer = torch.optim.Adam([u, v], lr=0.02)
    for _ in progress(range(steps), "word vectors"):
        centre, neighbour = pairs[torch.randint(len(pairs), (512,), generator=g)].T
        strangers = torch.multinomial(often, 512 * 5, replacement=True, generator=g).view(512, 5)
        loss = student.skipgram_loss(u[centre], v[neighbour], v[strangers])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return u.detach()


@lab.target("skipgram_pairs", "skipgram_loss", seconds=2)
def words_by_their_company(student, goals, data, rng):
    """word vectors: the nearest neighbour of a word is of its topic"""
    words = [word for topic in TOPICS.values() for word in topic.split()] + FILLING.split()
    u = F.normalize(student.run(learn_words, rng.seed(), 12, 300), dim=1)
    count = 10 * len(TOPICS)
    likeness = (u[:count] @ u[:count].T).fill_diagonal_(-1)
    right = likeness.argmax(1) // 10 == torch.arange(count) // 10
    goals.at_least("nearest word is of the same topic", 100 * right.float().mean().item(), 95, unit="%")
    centred = u - u.mean(0)
    flat = centred @ torch.linalg.svd(centred).Vh[:2].T
    with goals.picture("words.png", size=(10.5, 5.2)) as figure:
        axes, table = figure.subplots(1, 2, width_ratios=[1, 1.05])
        for n, group in enumerate([*TOPICS, "the words between"]):
            colour, (x, y) = f"C{n}" if n < len(TOPICS) else "0.5", flat[10 * n : 10 * n + 10].T
            axes.scatter(x, y, s=18, color=colour, alpha=0.7)
            axes.text(x.mean(), y.max() + 0.04, group, color=colour, ha="center", va="bottom")
        axes.set(title="46 words on two principal axes", xticks=[], yticks=[])
        axes.margins(0.15)
        table.imshow(u @ u.T, cmap="Blues", vmin=0, vmax=1)
        table.set_xticks(range(len(words)), words, rotation=90, fontsize=5.5)
        table.set_yticks(range(len(words)), words, fontsize=5.5)
        table.set_title("the cosine between any two of them")
        for each in axes, table:
            each.grid(False)
            each.spines[:].set_visible(False)


SMALL = (
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize "
    "dix-sept dix-huit dix-neuf"
)
TENS = {2: "vingt", 3: "trente", 4: "quarante", 5: "cinquante", 6: "soixante", 8: "quatre-vingt"}
WORDS = (
    "cent cents cinq cinquante deux dix douze et huit mille neuf onze quarante quatorze quatre quinze seize sept six "
    "soixante treize trente trois un vingt vingts zéro"
)
START = 11
STOP = 10
PLACES = 7


@beside
def below_hundred(n):
    """French, as Paris counts: 77 is sixty and seventeen, 92 is four twenties and twelve."""
    if n < 20:
        return SMALL.split()[n]
    ten = n // 10 - (n // 10 in (7, 9))
    rest = n - 10 * ten
    if rest == 0:
        return TENS[ten] + ("s" if ten == 8 else "")
    return TENS[ten] + ("-et-" if rest in (1, 11) and ten != 8 else "-") + below_hundred(rest)


@beside
def in_french(n):
    """The name of a number from 0 to 999 999."""
    if n < 100:
        return below_hundred(n)
    many, rest = divmod(n, 1000 if n >= 1000 else 100)
    words = [in_french(many).replace("cents", "cent").replace("vingts", "vingt")] if many > 1 else []
    words.append("mille" if n >= 1000 else "cents" if many > 1 and rest == 0 else "cent")
    return " ".join(words + ([in_french(rest)] if rest else []))


@beside
def word_numbers(numbers):
    """N × S, int64: the words of each number's name from 1 on, 0 behind the end."""
    known = {word: n for n, word in enumerate(WORDS.split(), start=1)}
    rows = [[known[word] for word in in_french(n).replace("-", " ").split()] for n in numbers]
    return torch.tensor([row + [0] * (max(map(len, rows)) - len(row)) for row in rows])


@beside
def digits(numbers):
    """N × PLACES, int64: the digits, STOP behind them."""
    rows = [[int(digit) for digit in str(n)] for n in numbers]
    return torch.tensor([row + [STOP] * (PLACES - len(row)) for row in rows])


@beside
def draw_numbers(count, shortest, generator):
    """Numbers of `shortest` to 6 digits, each length as often."""
    lengths = torch.randint(shortest, 7, (count,), generator=generator).tolist()
    return [int(torch.randint(10 ** (n - 1) if n > 1 else 0, 10**n, (1,), generator=generator)) for n in lengths]


@beside
class Translator(torch.nn.Module):
    """The student's blocks: one reads the words, one writes the digits."""

    def __init__(self, student, dim, heads):
        super().__init__()
        self.student, self.dim = student, dim
        self.read, self.wrote = torch.nn.Embedding(28, dim), torch.nn.Embedding(12, dim)
        self.encoder, self.decoder = student.Block(dim, heads), student.Block(dim, heads, cross=True)
        self.norm_memory, self.norm = torch.nn.LayerNorm(dim), torch.nn.LayerNorm(dim)
        self.out = torch.nn.Linear(dim, 12)

    def placed(self, vectors):
        return vectors + self.student.sinusoidal_positions(vectors.size(1), self.dim)

    def forward(self, source, written):
        words = (source > 0).unsqueeze(1)
        memory = self.norm_memory(self.encoder(self.placed(self.read(source)), words))
        mask = self.student.causal_mask(written.size(1))
        return self.out(self.norm(self.decoder(self.placed(self.wrote(written)), mask, memory, words)))


@beside
def learn_french(student, seed, steps, shown):
    """Losses, answers to new numbers, and how the numbers `shown` are read: digits and N × heads × T × S weights."""
    g = torch.Generator().manual_seed(seed)
    new = sorted(set(draw_numbers(1000, 4, g)) | set(shown))
    secret = set(new)
    torch.manual_seed(seed)
    model = Translator(student, 48, 4)
    optimizer, losses = torch.optim.Adam(model.parameters()), []
    for step in progress(range(steps), "French numbers"):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, (step + 1) / 50, max(0.05, 1.6 * (1 - step / steps)))
        numbers = [n for n in draw_numbers(80, 1, g) if n not in secret]
        answer = digits(numbers)
        shifted = torch.cat((torch.full((len(numbers), 1), START), answer[:, :-1]), 1)
        loss = F.cross_entropy(model(word_numbers(numbers), shifted).flatten(0, 1), answer.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    answers = student.greedy_decode(model, word_numbers(new), START, STOP, PLACES)
    maps = []
    model.decoder.attend_cross.register_forward_hook(lambda module, inputs, result: maps.append(result[1]))
    read = word_numbers(shown)
    written = student.greedy_decode(model, read, START, STOP, PLACES)
    with torch.inference_mode():
        model.eval()(read, torch.cat((torch.full((len(shown), 1), START), written[:, :-1]), 1))
    return losses, new, answers, written, maps[-1]


@lab.target("attention", "causal_mask", "MultiHead", "sinusoidal_positions", "Block", "greedy_decode", seconds=16)
def french_numbers(student, goals, data, rng):
    """a small transformer reads French numbers: quatre-vingt-dix-sept → 97"""
    shown = (92, 77_097, 380_471)
    losses, new, answers, written, maps = student.run(learn_french, rng.seed(), 700, list(shown))
    right = (answers == digits(new)).all(1)
    goals.at_least(f"{len(new)} numbers never seen, all digits right", 100 * right.double().mean().item(), 92, unit="%")
    goals.at_most("loss of the last 50 updates", sum(losses[-50:]) / 50, 0.05)
    with goals.picture("french.png", size=(11, 4.2)) as figure:
        widths = [len(in_french(n).replace("-", " ").split()) + 2 for n in shown]
        for axes, n, row, weights in zip(figure.subplots(1, 3, width_ratios=widths), shown, written, maps, strict=True):
            read = in_french(n).replace("-", " ").split()
            said = ["■" if digit == STOP else str(digit) for digit in row.tolist()][: len(str(n)) + 1]
            axes.imshow(weights.mean(0)[: len(said), : len(read)], cmap="Blues", vmin=0, vmax=0.8, aspect="equal")
            axes.set_xticks(range(len(read)), read, rotation=60, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(len(said)), said)
            axes.set_title(in_french(n), fontsize=8)
            axes.set_anchor("N")
            axes.grid(False)
            axes.spines[:].set_visible(False)
        figure.supylabel("digit written (■: the end)", fontsize=9)
        figure.suptitle("Which word it looks at for each digit (mean of four heads)", fontsize=10)


# ---------------------------------------------------------------------------------------------------------------------
# On a GPU


@beside
class Writer(torch.nn.Module):
    """Bytes in, scores of the next byte out: the student's blocks under a causal mask."""

    def __init__(self, student, dim, heads, layers, context):
        super().__init__()
        self.read = torch.nn.Embedding(256, dim)
        self.blocks = torch.nn.ModuleList(student.Block(dim, heads) for _ in range(layers))
        self.norm, self.out = torch.nn.LayerNorm(dim), torch.nn.Linear(dim, 256)
        self.register_buffer("places", student.sinusoidal_positions(context, dim))
        self.register_buffer("mask", student.causal_mask(context))

    def forward(self, text):
        size = text.size(1)
        x = self.read(text) + self.places[:size]
        for block in self.blocks:
            x = block(x, self.mask[:size, :size])
        return self.out(self.norm(x))


@beside
def python_library():
    """The modules of Python's standard library as bytes, uint8; the last twentieth of them is for the test."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()
    texts = [torch.frombuffer(bytearray(files[n].read_bytes() or b"\n"), dtype=torch.uint8) for n in order]
    last = len(texts) - max(1, len(texts) // 20)
    return torch.cat(texts[:last]), torch.cat(texts[last:])


@beside
def write_python(student, device, seed, steps, batch, context, dim, layers):
    """Bits per character on unseen modules, characters per second, and some Python of the network's own."""
    torch.manual_seed(seed)
    train, test = (text.to(device) for text in python_library())
    model = Writer(student, dim, 4, layers, context).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    fast = device == "cuda" and torch.cuda.get_device_capability()[0] >= 8  # older ones only imitate bfloat16

    def bits(text, begin):
        window = text[begin[:, None] + torch.arange(context + 1, device=device)].long()
        with torch.autocast(device, torch.bfloat16, enabled=fast):
            scores = model(window[:, :-1])
        return F.cross_entropy(scores.float().flatten(0, 1), window[:, 1:].flatten()) / math.log(2)

    started = time.monotonic()
    for step in progress(range(steps), "reading Python"):
        optimizer.param_groups[0]["lr"] = 1.5e-3 * min(1, (step + 1) / 100, max(0.03, 1.1 * (1 - step / steps)))
        loss = bits(train, torch.randint(len(train) - context, (batch,), device=device))
        optimizer.zero_grad()
        (loss * math.log(2)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    loss.item()  # waits for the GPU, so that the time is the time
    seconds = time.monotonic() - started
    model.eval()
    with torch.inference_mode():
        begin = torch.arange(0, len(test) - context, context, device=device)[: 32 * batch]
        whole = begin.split(batch)[: len(begin) // batch or 1]  # without the short batch, which would count too much
        tested = torch.stack([bits(test, part) for part in whole]).mean().item()
        text = torch.tensor([list(b"def ")], device=device)
        for _ in progress(range(700), "writing Python"):
            p = (model(text[:, -context:])[:, -1].float() / 0.7).softmax(1)
            text = torch.cat((text, torch.multinomial(p, 1)), 1)
    return tested, steps * batch * context / seconds, text[0].tolist()


@beside
def on_both(student, x):
    """One causal block on the CPU and on the GPU."""
    torch.manual_seed(0)
    block, mask = student.Block(x.size(2), 4), student.causal_mask(x.size(1))
    with torch.inference_mode():
        return block(x, mask), block.cuda()(x.cuda(), mask.cuda()).cpu()


@lab.gpu("attention", "causal_mask", "MultiHead", "sinusoidal_positions", "Block", seconds=60)
def a_transformer_writes_python(student, goals, data, rng):
    """a transformer of 3 million parameters reads the standard library and writes Python"""
    here, there = student.run(on_both, rng.normal(2, 50, 64))
    goals.at_most("largest difference between CPU and GPU", (here - there).abs().max().item(), 1e-2)
    tested, speed, text = student.run(write_python, "cuda", rng.seed(), 1500, 64, 256, 256, 4)
    goals.at_most("bits per character, unseen modules", tested, 2.4)
    goals.seen("characters read per second", round(speed))
    with goals.picture("python.png", size=(8, 5)) as figure:
        lines = bytes(text).decode("utf-8", "replace").expandtabs(4).split("\n")
        shown = [line[n : n + 96] for line in lines for n in range(0, max(len(line), 1), 96)][:30]
        figure.text(0.03, 0.95, "\n".join(shown).replace("$", r"\$"), family="monospace", fontsize=7, va="top")


if __name__ == "__main__":
    sys.exit(lab.main())
