"""Make `vgg.npz`, `vgg_weights.npz` and `vgg_weights.safetensors`, for tests/unit/test_vgg.py.

    python tests/references/vgg.py        (needs torch and safetensors; run by hand)

The weights are those of a VGG-19 with few channels, in the layout of torchvision's state_dict. The
other file holds pictures, and what PyTorch makes of them. The pictures are not square, and 3 x 2
pixels behind the last pooling layer, so that wrong orders of axes change the numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

CHANNELS, HIDDEN, CLASSES = (4, 6, 8, 8, 8), 12, 5
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
HERE = Path(__file__).parent


def vgg19():
    """Return the modules `features`, `avgpool`, `classifier`, as torchvision names them."""
    layers, inputs = [], 3
    for count, channels in zip((2, 2, 4, 4, 4), CHANNELS, strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = channels
        layers.append(nn.MaxPool2d(2))
    dense = [nn.Linear(inputs * 49, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, CLASSES)]
    between = [nn.ReLU(True), nn.Dropout()]
    return nn.ModuleDict(
        {
            "features": nn.Sequential(*layers),
            "avgpool": nn.AdaptiveAvgPool2d(7),
            "classifier": nn.Sequential(dense[0], *between, dense[1], *between, dense[2]),
        }
    )


torch.manual_seed(0)
model = vgg19().eval()
for name, p in model.named_parameters():
    if name.endswith("weight"):
        nn.init.kaiming_normal_(p)
    else:
        nn.init.normal_(p, std=0.3)
weights = {name: p.numpy() for name, p in model.state_dict().items()}
np.savez(HERE / "vgg_weights.npz", **weights)
save_file(weights, HERE / "vgg_weights.safetensors")

images = np.random.default_rng(0).integers(0, 256, (2, 96, 64, 3), np.uint8)
x = ((torch.tensor(images) / 255 - MEAN) / STD).permute(0, 3, 1, 2)
with torch.no_grad():
    maps = model["features"](x)
    flat = torch.flatten(model["avgpool"](maps), 1)
    fc7 = model["classifier"][:4](flat)
    fc8 = model["classifier"](flat)
np.savez_compressed(
    HERE / "vgg.npz", images=images, pool5=maps.permute(0, 2, 3, 1), fc7=fc7, fc8=fc8
)
