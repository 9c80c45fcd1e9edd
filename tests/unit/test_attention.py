"""Attention, positions and transformer blocks against PyTorch's and JAX's numbers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn, random
from funcgraph.control.loops import scan
from funcgraph.errors import DtypeError, LayerError, RandomKeyError, RangeError, ShapeError
from tests.unit.test_recurrent import BACKENDS, DATA, close, nested

KEY = random.key(0)


def normal(seed, *shape, dtype=np.float64):
    return np.asarray(random.normal(random.key(seed), shape, dtype))


def example(layer, *shape, dtype=np.float64):
    x = normal(3, *shape, dtype=dtype)
    return layer.init(KEY, x)[1], x


# --- the function --------------------------------------------------------------------------------


def plain(q, k, v, mask, scale=None):
    """Attention, written out for arrays (n, t, heads, h)."""
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for n, t, head in np.ndindex(*q.shape[:3]):
        logits = k[n, :, head] @ q[n, t, head] * (q.shape[-1] ** -0.5 if scale is None else scale)
        p = np.exp(logits) * mask[n, head, t]
        out[n, t, head] = p @ v[n, :, head] / max(p.sum(), 1e-300)
    return out


def test_the_formula():
    q, k, v = normal(1, 2, 4, 3, 5), normal(2, 2, 6, 3, 5), normal(3, 2, 6, 3, 2)
    every = np.ones((2, 3, 4, 6), bool)
    close(nn.attention(q, k, v), plain(q, k, v, every))
    mask = normal(4, 2, 3, 4, 6) < 0.3
    close(nn.attention(q, k, v, mask, scale=2.0), plain(q, k, v, mask, 2.0))
    close(nn.attention(q, k, v, causal=True), plain(q, k, v, np.tril(every)))
    close(nn.attention(q, k, v, mask, True), plain(q, k, v, np.tril(mask)))
    close(nn.attention(q[0], k[0], v[0], mask[0]), nn.attention(q, k, v, mask)[0])


@pytest.mark.skipif("xla" not in BACKENDS, reason="needs jax")
@pytest.mark.parametrize("heads", [4, 2, 1])
def test_as_in_jax(heads):
    import jax

    q, k, v = normal(1, 2, 3, 4, 6), normal(2, 2, 5, heads, 6), normal(3, 2, 5, heads, 6)
    bias = normal(4, 2, 4, 3, 5)
    mask = (normal(5, 2, 1, 3, 5) < 0.5) | (np.arange(5) == 0)
    theirs = jax.nn.dot_product_attention
    cases = [{}, {"causal": True}, {"mask": mask, "bias": bias, "scale": 0.3}]

    @jax.jit
    def expected(q, k, v):
        out = []
        for options in cases:
            named = {"is_causal" if n == "causal" else n: x for n, x in options.items()}
            out.append(jax.vjp(lambda q, k, v, n=named: theirs(q, k, v, **n), q, k, v))
        return [(y, pull(jax.numpy.sin(y))) for y, pull in out]

    # JAX computes the weights in float32.
    for options, (y, grads) in zip(cases, expected(q, k, v), strict=True):
        found, pull = fg.vjp(partial(nn.attention, **options), q, k, v)
        close(found, np.asarray(y), 1e-6)
        close(pull(np.sin(found)), tuple(map(np.asarray, grads)), 1e-5)


def test_large_and_masked_logits_are_stable():
    q = k = 1e4 * normal(1, 1, 3, 1, 4)
    v = normal(2, 1, 3, 1, 4)
    slope = fg.grad(lambda q: np.sum(nn.attention(q, k, v, causal=True)))(q)
    assert np.isfinite(nn.attention(q, k, v)).all() and np.isfinite(slope).all()
    half = [np.float16(x) for x in (q / 1e4, k / 1e4, v)]
    out = nn.attention(*half, causal=True)
    assert out.dtype == np.float16
    close(out.astype(float), nn.attention(q / 1e4, k / 1e4, v, causal=True), 1e-2)


@pytest.mark.parametrize("transform", [lambda f: f, fg.jit])
def test_masks_block(transform):
    q, k, v = normal(1, 2, 4, 2, 3), normal(2, 2, 5, 2, 3), normal(3, 2, 5, 2, 3)
    mask = nn.padding_mask(np.array([3, 0]), 5)
    out, pull = fg.vjp(transform(lambda *a: nn.attention(*a, mask=mask)), q, k, v)
    assert out[0].all() and not out[1].any()
    for g in pull(np.ones_like(out))[1:]:
        assert g[0, :3].all() and not g[0, 3:].any() and not g[1].any()
    grads = fg.jacrev(lambda v: nn.attention(q, k[:, :4], v, causal=True)[0, :, 0, 0])(v[:, :4])
    for t in range(4):
        assert grads[t, 0, : t + 1, 0, 0].all() and not grads[t, 0, t + 1 :].any()


# --- the layers ----------------------------------------------------------------------------------


LAYERS = {
    "attention": nn.MultiHeadAttention(2),
    "attention_causal": nn.MultiHeadAttention(2, causal=True),
    "attention_masked": nn.MultiHeadAttention(2),
    "block": nn.TransformerBlock(2, 6),
    "block_causal": nn.TransformerBlock(2, 6, causal=True),
    "block_padded": nn.TransformerBlock(2, 6),
}


def case(name):
    """Return loss(params, xs), y(params, xs), the arrays, and the expected values."""
    d = nested(name)
    xs = tuple(d["x"][k] for k in sorted(d["x"])) if isinstance(d["x"], dict) else (d["x"],)
    dxs = tuple(d["dx"][k] for k in sorted(d["dx"])) if isinstance(d["x"], dict) else (d["dx"],)
    options = {}
    if name == "attention_masked":
        options["mask"] = d["mask"]
    if name == "block_padded":
        options["mask"] = nn.padding_mask(DATA["rnn_lengths/lengths"], 5)
    y = lambda p, xs: LAYERS[name].apply(p, *xs, **options)
    return lambda p, xs: np.sum(y(p, xs) * d["w"]), y, (d["params"], xs), d["y"], (d["grads"], dxs)


@pytest.mark.parametrize("name", LAYERS)
def test_as_in_torch(name):
    loss, y, (params, xs), expected, grads = case(name)
    shape, fresh = LAYERS[name].init(KEY, *xs)
    assert shape == expected.shape
    assert fg.tree.structure(fresh) == fg.tree.structure(params)
    assert [p.shape for p in fg.tree.leaves(fresh)] == [p.shape for p in fg.tree.leaves(params)]
    close(y(params, xs), expected)
    close(fg.grad(loss, (0, 1))(params, xs), grads)
    for backend in BACKENDS if "block" not in name or name == "block_causal" else ["numpy"]:
        close(fg.jit(fg.grad(loss, (0, 1)), backend=backend)(params, xs), grads)
    tangents = fg.tree.map(np.ones_like, (params, xs))
    total = sum(np.sum(g) for g in fg.tree.leaves(grads))
    close(fg.jvp(loss, (params, xs), tangents)[1], total, 1e-8)


EVERY = {
    "attention": nn.MultiHeadAttention(4, kv_heads=2, causal=True, rotary=100.0),
    "block": nn.TransformerBlock(2, causal=True),
    "modern": nn.TransformerBlock(
        2, 6, norm=nn.RMSNorm(), activation=nn.swiglu, bias=False, rotary=10000.0, kv_heads=1
    ),
    "forward": nn.FeedForward(6, outputs=3),
    "sinusoidal": nn.SinusoidalPositions(),
    "learned": nn.LearnedPositions(9),
}


@pytest.mark.parametrize("name", EVERY)
def test_second_order_and_batches(name):
    layer = EVERY[name]
    p, x = example(layer, 2, 3, 8)
    loss = lambda p, x: np.sum(layer.apply(p, x) ** 3)
    slope = fg.grad(loss, (0, 1))
    direction = fg.tree.map(lambda a: normal(5, *a.shape), (p, x))
    product = fg.jvp(slope, (p, x), direction)[1]
    moved = lambda e: fg.tree.map(lambda a, d: a + e * d, (p, x), direction)
    low, high = slope(*moved(-1e-5)), slope(*moved(1e-5))
    close(product, fg.tree.map(lambda a, b: (a - b) / 2e-5, high, low), 1e-4)
    each = fg.vmap(fg.grad(loss), (None, 0))(p, x)
    close(fg.tree.map(lambda g: g.sum(0), each), slope(p, x)[0])
    several = fg.tree.map(lambda a: np.stack([a, 2 * a]), p)
    if p:
        close(fg.vmap(layer.apply, (0, None))(several, x)[0], layer.apply(p, x))
    close(fg.jit(slope)(p, x), slope(p, x))


@pytest.mark.parametrize("name", EVERY)
def test_single_precision(name):
    layer = EVERY[name]
    p, x = example(layer, 2, 3, 8, dtype=np.float32)
    y, grads = fg.jit(fg.value_and_grad(lambda p, x: np.sum(layer.apply(p, x)), (0, 1)))(p, x)
    assert {a.dtype for a in fg.tree.leaves((p, y, grads))} == {np.dtype(np.float32)}
    assert layer.apply(p, x).dtype == np.float32
    close(layer.apply(p, x[0]), layer.apply(p, x)[0], 1e-5)


def test_lengths_of_a_padding_mask_are_checked():
    assert nn.padding_mask([0, 3], 3).sum() == 3
    with pytest.raises(RangeError, match=r"from 0 to 3, .*, got 4 at index \(1,\)"):
        nn.padding_mask([0, 4], 3)
    with pytest.raises(DtypeError, match="lengths must be integers, got the dtype float64"):
        nn.padding_mask(np.ones(2), 3)


def test_lengths_of_inputs_and_outputs():
    layer = nn.MultiHeadAttention(4, head_features=5, kv_heads=2, outputs=7)
    shape, params = layer.init(KEY, (-1, 3, 8), (-1, 6, 9), (-1, 6, 10))
    assert shape == (-1, 3, 7)
    found = {k: v.shape for k, v in params.items() if k[0] == "w"}
    assert found == {"w_q": (8, 4, 5), "w_k": (9, 2, 5), "w_v": (10, 2, 5), "w_o": (4, 5, 7)}
    assert layer.init(KEY, (-1, 3, 8), (-1, 6, 9))[1]["w_v"].shape == (9, 2, 5)
    x, mask = nn.Input(), nn.Input()
    model = nn.Model([x, mask], nn.TransformerBlock(2)(x, mask))
    masks = fg.ShapeDtype((-1, 1, 1, 3), np.dtype(bool))
    shape, params = model.init(KEY, (-1, 3, 8), masks)
    assert shape == (-1, 3, 8)
    x, mask = normal(1, 2, 3, 8, dtype=np.float32), nn.padding_mask(np.array([1, 3]), 3)
    assert model.apply(params, x, mask).shape == (2, 3, 8)


# --- dropout -------------------------------------------------------------------------------------


def test_dropout():
    layer = nn.MultiHeadAttention(2, dropout=0.5)
    p, x = example(layer, 2, 3, 8)
    close(layer.apply(p, x, key=KEY), nn.MultiHeadAttention(2).apply(p, x))
    a, b = (layer.apply(p, x, key=random.key(k), train=True) for k in (0, 1))
    assert not np.allclose(a, b)
    close(a, layer.apply(p, x, key=KEY, train=True))
    with pytest.raises(RandomKeyError, match="Dropout needs a random key"):
        layer.apply(p, x, train=True)
    v = np.ones((1, 1000, 1, 1))
    out = nn.attention(np.zeros((1, 500, 1, 1)), v, v, dropout=0.3, key=KEY)
    assert abs(out.mean() - 1) < 0.01 and out.std() > 0.01

    block = nn.TransformerBlock(2, dropout=0.5)
    p, x = example(block, 2, 3, 8)
    close(block.apply(p, x), nn.TransformerBlock(2).apply(p, x))
    assert not np.allclose(*(block.apply(p, x, key=random.key(k), train=True) for k in (0, 1)))
    with pytest.raises(RandomKeyError, match=r"in layer 'transformer_block'"):
        nn.serial(block).apply({"transformer_block": p}, x, train=True)
    many = nn.repeat(block, 2)
    stacked = many.init(KEY, x)[1]
    assert many.apply(stacked, x, key=KEY, train=True).shape == x.shape


# --- decoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["attention", "block"])
@pytest.mark.parametrize("backend", [None, *BACKENDS])
def test_step_by_step_as_the_whole(name, backend):
    layer = EVERY[name]
    p, x = example(layer, 2, 5, 8)
    part = p["attention"] if name == "block" else p

    def decode(p, x):
        def step(cache, x):
            y, cache = layer.apply(p, x[:, None], cache=cache)
            return cache, y[:, 0]

        cache, y = scan(step, nn.attention_cache(part, (2,), 7), np.swapaxes(x, 0, 1))
        return np.swapaxes(y, 0, 1), cache["position"]

    whole = layer.apply(p, x)
    if backend:
        close(fg.jit(decode, backend=backend)(p, x), (whole, 5))
        return
    close(decode(p, x), (whole, 5))
    # The prompt at once, the rest in pieces.
    cache, found = nn.attention_cache(part, (2,), 5), []
    for piece in (x[:, :3], x[:, 3:4], x[:, 4:]):
        y, cache = layer.apply(p, piece, cache=cache)
        found.append(y)
    close(np.concatenate(found, 1), whole)
    with pytest.raises(LayerError, match="holds 5 steps, 5 of them are filled, and 1 more"):
        layer.apply(p, x[:, :1], cache=cache)
    loss = lambda f: fg.grad(lambda x: np.sum(f(x) ** 2))(x)
    close(loss(lambda x: decode(p, x)[0]), loss(lambda x: layer.apply(p, x)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_full_cache_is_no_silent_error(backend):
    layer = EVERY["attention"]
    p, x = example(layer, 1, 3, 8)
    call = fg.jit(lambda x, cache: layer.apply(p, x, cache=cache)[0], backend=backend)
    assert np.isfinite(call(x, nn.attention_cache(p, (1,), 3))).all()
    full = {**nn.attention_cache(p, (1,), 3), "position": np.int32(1)}
    if backend == "xla":
        assert np.isnan(call(x, full)).all()
    else:
        with pytest.raises(IndexError, match="out of bounds"):
            call(x, full)


def test_caches_under_vmap_and_with_masks():
    layer = nn.MultiHeadAttention(2, causal=True)
    p, x = example(layer, 2, 4, 8)
    mask = np.array([True, False, True, True])
    whole = layer.apply(p, x, mask=mask)
    cache = nn.attention_cache(p, (2,), 4)
    first, cache = layer.apply(p, x[:, :2], mask=mask, cache=cache)
    second, _ = layer.apply(p, x[:, 2:], mask=mask, cache=cache)
    close(np.concatenate([first, second], 1), whole)
    one = lambda x: layer.apply(p, x, cache=nn.attention_cache(p, (), 4))[0]
    close(fg.vmap(one)(x), layer.apply(p, x))
    # Lanes may stand at different positions.
    starts = [
        layer.apply(p, x[1 - k, : k + 1], cache=nn.attention_cache(p, (), 4))[1] for k in (0, 1)
    ]
    caches = fg.tree.map(lambda *a: np.stack(a), *starts)
    inputs = np.stack([x[1, 1:2], x[0, 2:3]])
    found = fg.vmap(lambda x, c: layer.apply(p, x, cache=c)[0])(inputs, caches)
    close(found[0, 0], layer.apply(p, x[1, :2])[1])


# --- positions -----------------------------------------------------------------------------------


def test_sinusoidal():
    y = nn.sinusoidal(np.arange(7), 5, dtype=np.float64)
    for p in range(7):
        for i in range(5):
            angle = p / 10000 ** ((i - i % 2) / 5)
            assert abs(y[p, i] - (np.cos(angle) if i % 2 else np.sin(angle))) < 1e-12
    x = normal(1, 2, 7, 5)
    layer = nn.SinusoidalPositions()
    close(layer.apply({}, x), x + y)
    close(fg.jit(lambda s: layer.apply({}, x[:, :2], position=s))(3), x[:, :2] + y[3:5])


def test_rotary():
    q, k = normal(1, 2, 6, 3, 4), normal(2, 2, 6, 3, 4)
    dots = lambda shift: np.einsum(
        "btnh,bsnh->bnts", *(nn.rotary(z, shift + np.arange(6)) for z in (q, k))
    )
    close(dots(0), dots(11))
    close(np.sum(nn.rotary(q) ** 2, -1), np.sum(q**2, -1))
    turned = nn.rotary(q, base=100.0)
    z = (q[..., :2] + 1j * q[..., 2:]) * np.exp(
        1j * np.arange(6)[:, None, None] * np.array([1, 0.1])
    )
    close(turned, np.concatenate([z.real, z.imag], -1))
    each = np.stack([np.arange(6), np.arange(6) + 2])
    close(nn.rotary(q, each)[1], nn.rotary(q[1], np.arange(6) + 2))


def test_learned_positions():
    layer = nn.LearnedPositions(6)
    p, x = example(layer, 2, 4, 8)
    close(layer.apply(p, x), x + p["w"][:4])
    close(layer.apply(p, x, position=2), x + p["w"][2:])
    close(fg.jit(lambda s: layer.apply(p, x, position=s))(1), x + p["w"][1:5])
    assert not fg.grad(lambda p: np.sum(layer.apply(p, x)))(p)["w"][4:].any()


# --- errors --------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused():
    q, k = normal(1, 2, 3, 4, 6), normal(2, 2, 5, 4, 6)
    for bad in (k[:1], k[..., :3, :], k[..., :5], k[0]):
        with pytest.raises(ShapeError, match=r"attention needs queries.*got \(2, 3, 4, 6\), "):
            nn.attention(q, bad, k)
    with pytest.raises(LayerError, match=r"must be of bools.*float64.*bias"):
        nn.attention(q, k, k, mask=np.zeros((3, 5)))
    with pytest.raises(ShapeError, match=r"mask.*\(2, 4, 3, 5\), got \(2, 3, 5\).*mask\[:, None\]"):
        nn.attention(q, k, k, mask=np.ones((2, 3, 5), bool))
    with pytest.raises(ShapeError, match=r"bias of attention must broadcast.*got \(7,\)"):
        nn.attention(q, k, k, bias=np.ones(7))
    layer = nn.MultiHeadAttention(2)
    p, x = example(layer, 2, 3, 8)
    with pytest.raises(ShapeError, match=r"time, 8\), because its w_q.*\(8, 2, 4\), got \(2, 3, 7"):
        layer.apply(p, x[..., :7])
    with pytest.raises(ShapeError, match="its w_k has the shape"):
        layer.apply(p, x, x[..., :7])
    with pytest.raises(LayerError, match=r"causal=True.*got causal=False and no keys"):
        layer.apply(p, x, cache=nn.attention_cache(p, (2,), 3))
    causal = nn.MultiHeadAttention(2, causal=True)
    with pytest.raises(LayerError, match=r"got causal=True and keys of shape \(2, 3, 8\)"):
        causal.apply(p, x, x, cache=nn.attention_cache(p, (2,), 3))
    with pytest.raises(ShapeError, match=r"leading axes \(4,\), got \(2,\)"):
        causal.apply(p, x, cache=nn.attention_cache(p, (4,), 3))


def test_options_that_are_refused():
    with pytest.raises(LayerError, match=r"3 heads do not divide the 8 features.*float32\[-1,5,8"):
        nn.MultiHeadAttention(3).init(KEY, (-1, 5, 8))
    with pytest.raises(LayerError, match="multiple of kv_heads, got 4 and 3"):
        nn.MultiHeadAttention(4, kv_heads=3)
    with pytest.raises(LayerError, match="MultiHeadAttention needs a positive number"):
        nn.MultiHeadAttention(0)
    with pytest.raises(LayerError, match="FeedForward needs a positive number"):
        nn.TransformerBlock(2, 0)
    with pytest.raises(LayerError, match="layer without state, got <StatefulLayer BatchNorm>"):
        nn.TransformerBlock(2, norm=nn.BatchNorm())
    with pytest.raises(ValueError, match="rate of dropout"):
        nn.TransformerBlock(2, dropout=1.5)
    for layer in (nn.MultiHeadAttention(2), nn.TransformerBlock(2), nn.LearnedPositions(3)):
        with pytest.raises(ShapeError, match=r"\(\.\.\., time, features\), got"):
            layer.init(KEY, (8,))
    with pytest.raises(ShapeError, match="at least one axis"):
        nn.FeedForward().init(KEY, ())
    with pytest.raises(ShapeError, match=r"even number of features, got the shape \(2, 3, 1, 5\)"):
        nn.rotary(np.zeros((2, 3, 1, 5)))
    with pytest.raises(
        ShapeError, match=r"positions must have the shape \(\.\.\., 3\).*got \(4,\)"
    ):
        nn.rotary(np.zeros((2, 3, 1, 4)), np.arange(4))
    learned = nn.LearnedPositions(4)
    p, x = example(learned, 2, 4, 8)
    with pytest.raises(ShapeError, match=r"at most 4 steps, got \(2, 4, 8\), from position 1 on"):
        learned.apply(p, x, position=1)


# --- JAX -----------------------------------------------------------------------------------------


@pytest.mark.skipif("xla" not in BACKENDS, reason="needs jax")
@pytest.mark.parametrize(
    "layer", [nn.Bidirectional(nn.LSTM(3)), nn.TransformerBlock(2, causal=True, rotary=100.0)]
)
def test_on_jax_arrays_and_in_its_transformations(layer):
    import jax

    p, x = example(layer, 2, 4, 8)
    loss = lambda p, x: (layer.apply(p, x) ** 2).sum()
    theirs = jax.jit(jax.grad(loss, (0, 1)))(p, x)
    close(fg.grad(loss, (0, 1))(p, x), fg.tree.map(np.asarray, theirs))
    assert isinstance(layer.apply(p, jax.numpy.asarray(x)), jax.Array)
