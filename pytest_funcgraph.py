"""pytest's plugin of funcgraph: the fixture `gradients`.

It lies beside the package, because pytest imports its plugins at every start: funcgraph is imported
by the first test that asks for the fixture.
"""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def gradients(request: pytest.FixtureRequest) -> Any:
    """Return a function that fails the test unless the derivatives of a function are right.

    `gradients(f, *args, **options)` takes what `funcgraph.compare` takes, and returns its report.
    Without JAX, finite differences alone are compared with. The whole report is printed with a
    test that fails.
    """
    import funcgraph as fg
    from funcgraph.check.testing import demand

    def gradients(fun: Any, *args: Any, **options: Any) -> fg.check.Report:
        report = fg.compare(fun, *args, **options)
        request.node.add_report_section("call", f"derivatives of {report.function}", str(report))
        demand(report)
        return report

    return gradients
