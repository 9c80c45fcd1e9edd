"""Kinds of nodes with their names and colours, for light and for dark backgrounds.

May import `core`.
"""

from __future__ import annotations

from typing import NamedTuple

from funcgraph.core.primitive import Bilinear, Elementwise, Linear, Primitive, Zero

__all__ = ["DARK", "EDGES", "KINDS", "LIGHT", "Ink", "Look", "kind_of"]


class Look(NamedTuple):
    """How a kind of node is shown."""

    name: str  # in the legend
    light: str  # fill
    dark: str
    round: bool = False  # like a pill: what is no operation


class Ink(NamedTuple):
    """Colours of everything else."""

    background: str
    text: str
    faint: str
    border: str
    box: str
    control: str
    data: str
    cotangent: str


KINDS: dict[str, Look] = {
    "input": Look("input", "#ffffff", "#2b3036", True),
    "parameter": Look("parameter", "#f7e3c2", "#5c4520", True),
    "constant": Look("constant", "#ebebeb", "#3d4248", True),
    "output": Look("output", "#ffffff", "#2b3036", True),
    "elementwise": Look("elementwise", "#d3e5f7", "#1f4468"),
    "linear": Look("linear", "#e6ebf0", "#343c45"),
    "product": Look("product", "#cdebd3", "#1d5130"),
    "reduction": Look("reduction", "#fbe5d6", "#6b3a1c"),
    "general": Look("other operation", "#e7dcf4", "#463163"),
    "zero": Look("no derivative", "#f1f1f1", "#2f3337"),
    "control": Look("loop, branch", "#fbd9de", "#6a2834"),
    "custom": Look("own derivative", "#f6d5ec", "#632750"),
    "group": Look("layer, closed", "#dfe7d0", "#3c4a25"),
}

EDGES: dict[str, str] = {
    "data": "value",
    "cotangent": "cotangent",
    "residual": "kept for the way back",
    "loop": "to the next step",
    "loop-back": "to the step before",
}

LIGHT = Ink("#ffffff", "#1d2329", "#5b6670", "#7d8994", "#f6f8fa", "#fdf6f7", "#56616b", "#c2410c")
DARK = Ink("#14181c", "#e8ecef", "#a2adb7", "#7f8b96", "#1b2127", "#251c1f", "#9aa6b1", "#fb923c")

_CONTROL = {"scan", "while", "switch", "jit_call", "eager_call", "jax_call"}
_REDUCTIONS = {
    "cumsum",
    "cumsum_back",
    "cumprod",
    "cummax",
    "cummin",
    "count_nonzero",
    "psum",
    "window_sum",
}


def kind_of(primitive: Primitive) -> str:
    """Return the kind of a node that stands for one operation."""
    name, derivative = primitive.name, primitive.derivative
    if name in _CONTROL:
        return "control"
    if name == "custom_call":
        return "custom"
    if isinstance(derivative, Bilinear):
        return "product"
    if name.startswith("reduce_") or name in _REDUCTIONS or name.startswith("window_m"):
        return "reduction"
    if isinstance(derivative, Elementwise):
        return "elementwise"
    if isinstance(derivative, Zero):
        return "zero"
    return "linear" if isinstance(derivative, Linear) else "general"
