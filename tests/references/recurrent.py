"""Make `recurrent.npz`: outputs and gradients of PyTorch's recurrent nets and attention.

    python tests/references/recurrent.py        (needs torch; run by hand when a case is added)

For tests/unit/test_recurrent.py and test_attention.py. Every case holds the input `x`, the
parameters `params/...` in the layout of funcgraph, the outputs `y` (and `carry/...`), weights `w`,
and the gradients of sum(y * w) by the input, `dx`, and by the parameters, `grads/...`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
CASES: dict[str, np.ndarray] = {}
N, T, D, H = 3, 5, 4, 3
LENGTHS = torch.tensor([5, 2, 3])


def numbers(x):
    return x.detach().numpy()


def put(name, values):
    CASES.update({f"{name}/{k}": numbers(v) for k, v in values.items()})


def fresh(module):
    for p in module.parameters():
        nn.init.normal_(p, std=0.6)
    return module


# --- recurrent nets ------------------------------------------------------------------------------


def cells(module, part):
    """Return by name (values, gradients) of one layer and direction in funcgraph's layout.

    PyTorch has two biases where one is enough: their gradients are the same.
    """
    get = {k.removesuffix(part): p for k, p in module.named_parameters() if k.endswith(part)}
    out = {
        "w_xh": (get["weight_ih"].T, get["weight_ih"].grad.T),
        "w_hh": (get["weight_hh"].T, get["weight_hh"].grad.T),
    }
    ih, hh = get["bias_ih"], get["bias_hh"]
    if isinstance(module, nn.GRU):
        both = torch.cat([hh[: 2 * H], torch.zeros(H)])
        out["b_h"] = (ih + both, ih.grad)
        out["b_hn"] = (hh[2 * H :], hh.grad[2 * H :])
    else:
        out["b_h"] = (ih + hh, ih.grad)
    return out


def recurrent(name, kind, parts, lengths=None, start=False, **options):
    """Run a recurrent net. `parts` maps the path of parameters in funcgraph to PyTorch's suffix."""
    module = fresh(kind(D, H, batch_first=True, **options))
    x = torch.randn(N, T, D, requires_grad=True)
    carry = None
    if start:
        h, c = (torch.randn(1, N, H, requires_grad=True) for _ in range(2))
        carry = (h, c) if kind is nn.LSTM else h
    given = x if lengths is None else pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    y, end = module(given, carry)
    if lengths is not None:
        y = pad_packed_sequence(y, True, total_length=T)[0]
        CASES[f"{name}/lengths"] = numbers(lengths)
    w = torch.randn_like(y)
    (y * w).sum().backward()
    put(name, {"x": x, "y": y, "w": w, "dx": x.grad})
    ends = end if kind is nn.LSTM else (end,)
    put(f"{name}/carry", {str(k): v for k, v in enumerate(ends)})
    if start:
        starts = carry if kind is nn.LSTM else (carry,)
        put(f"{name}/start", {str(k): v[0] for k, v in enumerate(starts)})
        put(f"{name}/dstart", {str(k): v.grad[0] for k, v in enumerate(starts)})
    for path, suffix in parts.items():
        for k, (p, g) in cells(module, suffix).items():
            put(name, {f"params/{path}{k}": p, f"grads/{path}{k}": g})


ONE = {"": "_l0"}
BOTH = {"forward/": "_l0", "backward/": "_l0_reverse"}
for label, kind in (("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)):
    recurrent(label, kind, ONE)
    recurrent(f"{label}_start", kind, ONE, start=True)
    recurrent(f"{label}_lengths", kind, ONE, LENGTHS)
    recurrent(f"{label}_both", kind, BOTH, LENGTHS, bidirectional=True)
recurrent("lstm_two", nn.LSTM, {"lstm/": "_l0", "lstm_1/": "_l1"}, num_layers=2)
recurrent(
    "gru_two_both",
    nn.GRU,
    {
        f"{layer}/{direction}/": f"_l{k}{suffix}"
        for k, layer in enumerate(("first", "second"))
        for direction, suffix in (("forward", ""), ("backward", "_reverse"))
    },
    LENGTHS,
    num_layers=2,
    bidirectional=True,
)

# The lecture's net: f_t = sigmoid(W_hy h_t + b_y) behind h_t.
module, head = fresh(nn.RNN(D, H, batch_first=True)), fresh(nn.Linear(H, 2))
x = torch.randn(N, T, D, requires_grad=True)
y = torch.sigmoid(head(module(x)[0]))
w = torch.randn_like(y)
(y * w).sum().backward()
put("rnn_outputs", {"x": x, "y": y, "w": w, "dx": x.grad})
pairs = cells(module, "_l0") | {
    "w_hy": (head.weight.T, head.weight.grad.T),
    "b_y": (head.bias, head.bias.grad),
}
for k, (p, g) in pairs.items():
    put("rnn_outputs", {f"params/{k}": p, f"grads/{k}": g})

# --- attention -----------------------------------------------------------------------------------

HEADS, E = 2, 4


def heads_last(weight, n=HEADS):
    """(n h, d) -> (d, n, h)."""
    return weight.T.reshape(weight.shape[1], n, -1)


def attention_parts(module):
    """Yield names, values and gradients in funcgraph's layout."""
    if module.in_proj_weight is None:
        sources = [getattr(module, f"{k}_proj_weight") for k in "qkv"]
        weights = [(s, s.grad) for s in sources]
    else:
        p = module.in_proj_weight
        weights = list(zip(p.chunk(3), p.grad.chunk(3), strict=True))
    b = module.in_proj_bias
    biases = zip(b.chunk(3), b.grad.chunk(3), strict=True)
    for k, (w, gw), (b, gb) in zip("qkv", weights, biases, strict=True):
        yield f"w_{k}", heads_last(w), heads_last(gw)
        yield f"b_{k}", b.reshape(HEADS, -1), gb.reshape(HEADS, -1)
    out = module.out_proj
    yield "w_o", out.weight.T.reshape(HEADS, -1, E), out.weight.grad.T.reshape(HEADS, -1, E)
    yield "b_o", out.bias, out.bias.grad


def attention(name, sources, mask=None, **options):
    """Run attention; `mask` is True where a key may be seen, (n, t, s)."""
    module = fresh(nn.MultiheadAttention(E, HEADS, batch_first=True, **options))
    xs = [s.requires_grad_() for s in sources]
    q, k, v = (xs * 3)[:3] if len(xs) == 1 else xs
    hidden = None if mask is None else ~mask.repeat_interleave(HEADS, 0)
    y = module(q, k, v, attn_mask=hidden, need_weights=False)[0]
    w = torch.randn_like(y)
    (y * w).sum().backward()
    put(name, {"y": y, "w": w})
    for i, s in enumerate(xs):
        put(name, {f"x/{i}": s, f"dx/{i}": s.grad})
    if mask is not None:
        put(name, {"mask": mask[:, None]})
    for k, p, g in attention_parts(module):
        put(name, {f"params/{k}": p, f"grads/{k}": g})


causal = torch.ones(T, T, dtype=bool).tril().expand(N, T, T)
some = torch.rand(N, T, 6) < 0.6
some[..., 1] = True  # every query sees a key
attention("attention", [torch.randn(N, T, E)])
attention("attention_causal", [torch.randn(N, T, E)], causal)
attention(
    "attention_masked",
    [torch.randn(N, T, E), torch.randn(N, 6, 3), torch.randn(N, 6, 5)],
    some,
    kdim=3,
    vdim=5,
)


def block(name, mask=None, padding=None):
    module = nn.TransformerEncoderLayer(
        E,
        HEADS,
        6,
        dropout=0.0,
        activation=lambda x: nn.functional.gelu(x, approximate="tanh"),
        batch_first=True,
        norm_first=True,
    )
    module = fresh(module)
    x = torch.randn(N, T, E, requires_grad=True)
    hidden = None if mask is None else ~mask
    y = module(x, src_mask=hidden, src_key_padding_mask=padding)
    w = torch.randn_like(y)
    (y * w).sum().backward()
    put(name, {"x": x, "y": y, "w": w, "dx": x.grad})
    parts = [(f"attention/{k}", p, g) for k, p, g in attention_parts(module.self_attn)]
    for ours, m in (("norm_1", module.norm1), ("norm_2", module.norm2)):
        parts += [(f"{ours}/scale", m.weight, m.weight.grad), (f"{ours}/bias", m.bias, m.bias.grad)]
    for ours, m in (("up", module.linear1), ("down", module.linear2)):
        parts.append((f"feed_forward/{ours}/w", m.weight.T, m.weight.grad.T))
        parts.append((f"feed_forward/{ours}/b", m.bias, m.bias.grad))
    for k, p, g in parts:
        put(name, {f"params/{k}": p, f"grads/{k}": g})


block("block")
block("block_causal", causal[0])
block("block_padded", padding=torch.arange(T) >= LENGTHS[:, None])

np.savez_compressed(Path(__file__).with_suffix(".npz"), **CASES)
