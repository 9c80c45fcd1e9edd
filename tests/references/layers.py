"""Make `layers.npz`: outputs and gradients of PyTorch's layers, for tests/unit/test_layers.py.

    python tests/references/layers.py        (needs torch; run by hand when a case is added)

Every case holds the input `x` and `params` in the layout of funcgraph (channels last), the output
`y`, and the gradients of sum(y * w) by the input, `dx`, and by the parameters, `grads`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
CASES: dict[str, np.ndarray] = {}


def last(x):
    """Channels last."""
    return np.moveaxis(x.detach().numpy(), 1, -1)


def case(name, module, x, spatial, parameters):
    """Run a module on an input with channels second, and store all with channels last.

    `parameters` maps our name to (PyTorch's name, function that changes the layout).
    """
    for p in module.parameters():
        nn.init.normal_(p, std=0.7)
    x = x.requires_grad_()
    y = module(x)
    w = torch.randn_like(y)
    (y * w).sum().backward()
    move = last if spatial else lambda v: v.detach().numpy()
    CASES.update(
        {f"{name}/{k}": move(v) for k, v in {"x": x, "y": y, "dx": x.grad, "w": w}.items()}
    )
    for ours, (theirs, change) in parameters.items():
        p = dict(module.named_parameters())[theirs]
        CASES[f"{name}/params/{ours}"] = change(p.detach().numpy())
        CASES[f"{name}/grads/{ours}"] = change(p.grad.numpy())


def same(a):
    return a


AFFINE = {"scale": ("weight", same), "bias": ("bias", same)}
case("dense", nn.Linear(4, 3), torch.randn(5, 4), False,
     {"w": ("weight", np.transpose), "b": ("bias", same)})  # fmt: skip
case("layer_norm", nn.LayerNorm(6), torch.randn(4, 6), False, AFFINE)
case("layer_norm_2", nn.LayerNorm((3, 6)), torch.randn(4, 3, 6), False, AFFINE)
case("rms_norm", nn.RMSNorm(6, eps=1e-6), torch.randn(4, 6), False, {"scale": ("weight", same)})
case("group_norm", nn.GroupNorm(2, 6), torch.randn(3, 6, 4, 2), True, AFFINE)
case("instance_norm", nn.InstanceNorm2d(5, affine=True), torch.randn(3, 5, 4, 2), True, AFFINE)
case("batch_norm_1", nn.BatchNorm1d(5), torch.randn(7, 5), True, AFFINE)
case("batch_norm_2", nn.BatchNorm2d(5), torch.randn(3, 5, 4, 2), True, AFFINE)

# --- convolutions: (O, I, *taps) becomes (*taps, I, O) ---


def kernel(w):
    return np.moveaxis(w, (0, 1), (-1, -2))


def spread(w):
    """(I, O, *taps) becomes (*taps, I, O), flipped: PyTorch's is the transpose of a convolution."""
    taps = tuple(range(2, w.ndim))
    return np.flip(np.moveaxis(w, (0, 1), (-2, -1)), tuple(k - 2 for k in taps))


WEIGHTS = {"w": ("weight", kernel), "b": ("bias", same)}
TRANSPOSED = {"w": ("weight", spread), "b": ("bias", same)}
case("conv_1", nn.Conv1d(3, 4, 3, stride=2, padding=1), torch.randn(2, 3, 9), True, WEIGHTS)
case("conv_2", nn.Conv2d(2, 3, (3, 2), dilation=(2, 1)), torch.randn(2, 2, 7, 5), True, WEIGHTS)
case("conv_2_groups", nn.Conv2d(4, 6, 3, groups=2), torch.randn(2, 4, 5, 5), True, WEIGHTS)
case("conv_3", nn.Conv3d(2, 3, 2, bias=False), torch.randn(2, 2, 4, 3, 3), True,
     {"w": ("weight", kernel)})  # fmt: skip
case("depthwise", nn.Conv2d(3, 6, 3, groups=3), torch.randn(2, 3, 5, 5), True, WEIGHTS)
for k, cls in enumerate((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), 1):
    x = torch.randn(2, 2, *(4, 3, 3)[:k])
    case(f"conv_transpose_{k}", cls(2, 3, 3, stride=2), x, True, TRANSPOSED)
case("max_pool", nn.MaxPool2d(2), torch.randn(2, 3, 6, 5), True, {})
case("max_pool_overlapping", nn.MaxPool1d(3, 2, 1), torch.randn(2, 3, 9), True, {})
case("avg_pool", nn.AvgPool2d(3, 2, 1), torch.randn(2, 3, 7, 7), True, {})
case(
    "avg_pool_inside",
    nn.AvgPool3d(2, count_include_pad=False),
    torch.randn(1, 2, 4, 4, 4),
    True,
    {},
)
case("adaptive_avg", nn.AdaptiveAvgPool2d((3, 2)), torch.randn(2, 3, 7, 5), True, {})
case("adaptive_max", nn.AdaptiveMaxPool2d(3), torch.randn(2, 3, 7, 5), True, {})

# Batch normalisation after 100 steps of training.
module = nn.BatchNorm2d(3)
steps = torch.randn(100, 4, 3, 2, 2) * torch.linspace(0.5, 3, 100)[:, None, None, None, None] + 1
for step in steps:
    module(step)
CASES["batch_norm_100/x"] = np.moveaxis(steps.numpy(), 2, -1)
CASES["batch_norm_100/mean"] = module.running_mean.numpy()
CASES["batch_norm_100/var"] = module.running_var.numpy()
module.eval()
CASES["batch_norm_100/y"] = last(module(steps[0]))

indices = torch.tensor([[0, 2, 2], [1, 3, 0]])
module = nn.Embedding(4, 3)
y = module(indices)
w = torch.randn_like(y)
(y * w).sum().backward()
CASES.update({
    "embedding/x": indices.numpy(), "embedding/y": y.detach().numpy(), "embedding/w": w.numpy(),
    "embedding/params/w": module.weight.detach().numpy(),
    "embedding/grads/w": module.weight.grad.numpy(),
})  # fmt: skip

np.savez_compressed(Path(__file__).with_suffix(".npz"), **CASES)
