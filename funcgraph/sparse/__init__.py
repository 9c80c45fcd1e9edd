"""Sparse Jacobians and Hessians: which elements can be nonzero, and few products that give them.

SciPy is imported when they are used. May import `core`, `ops`, `tree`, `transforms`.
"""

from funcgraph.sparse.jacobian import SparseDerivative, sparse_hessian, sparse_jacobian
from funcgraph.sparse.plan import Plan
from funcgraph.sparse.sparsity import hessian_sparsity, jacobian_sparsity

__all__ = [
    "Plan",
    "SparseDerivative",
    "hessian_sparsity",
    "jacobian_sparsity",
    "sparse_hessian",
    "sparse_jacobian",
]
