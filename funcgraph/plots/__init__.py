"""Pictures that people expect of training and of models, drawn with matplotlib.

>>> import funcgraph as fg
>>> axes = fg.plots.training_curves({"loss": [2.0, 1.0, 0.5]})

Each function takes the Axes (or, where it draws several panels, the Figure) to draw into, makes new
ones if there are none, and returns them. Nothing is shown or saved, no setting of matplotlib is
changed, and matplotlib is imported at the first call. May import `tree`, `errors`, `train`.
"""

from funcgraph.plots.bars import benchmark_bars
from funcgraph.plots.curves import training_curves
from funcgraph.plots.images import attention_maps, feature_maps, filters
from funcgraph.plots.leaves import histograms

__all__ = [
    "attention_maps",
    "benchmark_bars",
    "feature_maps",
    "filters",
    "histograms",
    "training_curves",
]
