"""Losses with optax's names, measures of quality, and penalties on parameters.

Losses return one value for each example, or element: take the mean, or weigh them, as you like.

    >>> import numpy as np
    >>> import funcgraph as fg
    >>> from funcgraph import losses
    >>> logits, labels = np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([0, 1])
    >>> loss = lambda z: np.mean(losses.softmax_cross_entropy_with_integer_labels(z, labels))
    >>> print(fg.grad(loss)(logits).round(4))
    [[-0.0596  0.0596]
     [ 0.25   -0.25  ]]

May import `control`, `numpy`, `tree`.
"""

from funcgraph.losses import classification, ctc, metrics, penalties, regression
from funcgraph.losses.classification import *  # noqa: F403
from funcgraph.losses.ctc import *  # noqa: F403
from funcgraph.losses.metrics import *  # noqa: F403
from funcgraph.losses.penalties import *  # noqa: F403
from funcgraph.losses.regression import *  # noqa: F403

__all__ = classification.__all__ + ctc.__all__ + metrics.__all__ + penalties.__all__
__all__ += regression.__all__
