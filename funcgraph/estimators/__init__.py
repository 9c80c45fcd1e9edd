"""Networks as estimators of scikit-learn: a classifier, a regressor, features of trained models.

    FuncgraphClassifier, FuncgraphRegressor     train a network
    FeatureExtractor                            what a trained model makes of rows

They pass scikit-learn's `check_estimator`: they work in its pipelines, searches and ensembles. No
other package of funcgraph needs scikit-learn, which is why `import funcgraph` leaves this one out.
May import `core`, `losses`, `nn`, `numpy`, `optim`, `random`, `train`, `transforms`, `tree`.
"""

from funcgraph.errors import MissingPackageError

try:
    from funcgraph.estimators.features import FeatureExtractor
    from funcgraph.estimators.supervised import FuncgraphClassifier, FuncgraphRegressor
except ImportError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    raise MissingPackageError(
        "funcgraph.estimators needs scikit-learn 1.6 or newer: pip install 'funcgraph[sklearn]'."
    ) from error

__all__ = ["FeatureExtractor", "FuncgraphClassifier", "FuncgraphRegressor"]
