"""The certificate: derivatives beside those of JAX and of finite differences.

`compare` makes a `Report`; `assert_matches_jax` and `check_grads` are for tests. JAX is optional,
and looked up when it is needed. May import all packages but `estimators`.
"""

from funcgraph.check.comparison import compare
from funcgraph.check.report import Gap, Report, Row, Worst
from funcgraph.check.testing import assert_matches_jax, check_grads

__all__ = ["Gap", "Report", "Row", "Worst", "assert_matches_jax", "check_grads", "compare"]
