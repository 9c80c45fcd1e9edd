"""CASES: calls of public NumPy and SciPy functions; one module per chapter."""

from __future__ import annotations

from tests.conformance.collect import tables
from tests.conformance.spec import Case

CASES: list[Case] = [case for table in tables(__name__, list(__path__), "CASES") for case in table]
